from __future__ import annotations

import array_api_compat.torch as xp_torch
import numpy as np
import pytest
import torch

from roborl import tasks
from roborl.sim import Sim
from roborl.task import Fields, Task
from roborl.task.contract import stage_cost, terminal_cost

ALL = [name.removeprefix("roborl/").removesuffix("-v1") for name in tasks.TASKS]
STATES = 7


def some_states(task: Task) -> tuple[Fields, np.ndarray, Fields]:
    """Return fields before and after a step with an action, (STATES, na), at random states of the task."""
    sim = Sim(task, STATES, num_threads=1)
    sim.reset()
    rng = np.random.default_rng(0)
    low, high = sim.action_low, sim.action_high
    for _ in range(4):
        sim.step(rng.uniform(low, high, (STATES, len(low))))
    sim.fields.qpos[...] += rng.normal(0.0, 0.3, sim.fields.qpos.shape)
    sim.fields.qvel[...] += rng.normal(0.0, 0.5, sim.fields.qvel.shape)
    before = sim.fields[np.arange(STATES)]
    action = rng.uniform(low, high, (STATES, len(low)))
    sim.step(action)
    return before, action, sim.fields[np.arange(STATES)]


def on_torch(f: Fields, **replaced: torch.Tensor) -> Fields:
    """Return the same fields as tensors in double precision."""
    arrays = {name: torch.from_numpy(np.array(f._arrays[name])) for name in f._arrays} | replaced
    params = {name: torch.from_numpy(np.array(value)) for name, value in f.params.items()}
    memory = {name: torch.from_numpy(np.array(value)) for name, value in f.memory.items()}
    return Fields(xp_torch, arrays, params, memory)


@pytest.mark.parametrize("name", ALL)
def test_rewards_and_terminations_are_the_same_on_numpy_and_torch(name: str) -> None:
    task = tasks.load(name)
    before, action, after = some_states(task)
    on_numpy = task.reward_terms(before, action, after)
    tensors = task.reward_terms(on_torch(before), torch.from_numpy(action), on_torch(after))
    assert list(tensors) == list(on_numpy)
    for term, value in on_numpy.items():
        assert value.shape == (STATES,)
        assert tensors[term].shape == (STATES,) and tensors[term].dtype == torch.float64
        np.testing.assert_allclose(tensors[term].numpy(), value, rtol=1e-10, atol=1e-10)
    for function in (task.terminated, task.success):
        numpy_flags, torch_flags = function(after), function(on_torch(after))
        assert (numpy_flags is None) == (torch_flags is None)
        if numpy_flags is not None and torch_flags is not None:
            assert torch_flags.dtype == torch.bool
            assert np.array_equal(torch_flags.numpy(), numpy_flags)


@pytest.mark.parametrize("name", ALL)
def test_smooth_costs_are_the_same_on_numpy_and_torch(name: str) -> None:
    task = tasks.load(name)
    _, action, after = some_states(task)
    np.testing.assert_allclose(
        stage_cost(task, on_torch(after), torch.from_numpy(action)).numpy(), stage_cost(task, after, action), rtol=1e-10
    )
    np.testing.assert_allclose(terminal_cost(task, on_torch(after)).numpy(), terminal_cost(task, after), rtol=1e-10)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("which", ["stage", "terminal"])
def test_gradients_of_smooth_costs_agree_with_differences(name: str, which: str) -> None:
    task = tasks.load(name)
    _, action, after = some_states(task)
    nq, nv = after.qpos.shape[1], after.qvel.shape[1]
    point = torch.from_numpy(np.concatenate((after.qpos, after.qvel, action), axis=1))

    def cost(z: torch.Tensor) -> torch.Tensor:
        f = on_torch(after, qpos=z[:, :nq], qvel=z[:, nq : nq + nv])
        return stage_cost(task, f, z[:, nq + nv :]) if which == "stage" else terminal_cost(task, f)

    gradient = torch.func.grad(lambda z: cost(z).sum())(point)  # simulations do not touch one another
    step = 1e-6
    for i in range(point.shape[1]):
        offset = torch.zeros_like(point)
        offset[:, i] = step
        difference = (cost(point + offset) - cost(point - offset)) / (2 * step)
        np.testing.assert_allclose(gradient[:, i].numpy(), difference.numpy(), rtol=1e-5, atol=1e-5)
    if which == "stage":
        assert (gradient.abs().sum(dim=1) > 0).all()
