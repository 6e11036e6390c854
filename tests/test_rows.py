"""A task's functions are compiled where that is right, and computed by numpy where it is not."""

from __future__ import annotations

import numpy as np
import pytest

from roborl.sim import Sim
from roborl.task import Term, computed
from roborl.tasks.cartpole import CartpoleBalance
from roborl.tasks.half_cheetah import HalfCheetah

REWARD = "reward, terminated, success"


def stepped(task, steps: int = 5, num_sims: int = 3) -> tuple[Sim, list[dict[str, np.ndarray]]]:
    sim = Sim(task, num_sims, num_threads=1)
    sim.reset()
    actions = np.random.default_rng(0).uniform(-1.0, 1.0, (steps, num_sims, len(sim.action_low)))
    return sim, [sim.step(action).terms for action in actions]


class Looking(CartpoleBalance):
    """Its reward looks at values, as no program can."""

    def reward_terms(self, before, action, after):
        position = after.qpos[:, 0]
        return {"out": position if (after.qvel[:, 0] > 0.0).any() else -position}


def test_a_function_that_looks_at_values_is_computed_by_numpy():
    sim, terms = stepped(Looking())
    assert "no attribute 'any'" in sim.not_compiled[REWARD]
    last = sim.fields
    assert np.array_equal(terms[-1]["out"], np.where((last.qvel[:, 0] > 0.0).any(), 1.0, -1.0) * last.qpos[:, 0])
    assert set(sim.not_compiled) == {REWARD}
    sim.observe()
    assert set(sim.not_compiled) == {REWARD}  # observations are compiled all the same


class Counting(CartpoleBalance):
    """Its reward is not a function of its arguments: it counts its calls."""

    calls = 0

    def reward_terms(self, before, action, after):
        type(self).calls += 1
        return {"calls": 0.0 * after.qpos[:, 0] + type(self).calls}


def test_what_is_no_function_of_its_arguments_is_computed_by_numpy_at_every_step():
    Counting.calls = 0
    sim, terms = stepped(Counting())
    assert sim.not_compiled[REWARD] == "it gives other numbers for the same fields"
    steps = [float(term["calls"][0]) for term in terms]
    assert np.diff(steps).tolist() == [1.0] * (len(steps) - 1)


class Mixing(CartpoleBalance):
    """Its observation mixes simulations, which is wrong; it is not made worse by being compiled for one."""

    observations = {"policy": [Term("x", computed("x", lambda f: f.qpos[:, :1] - f.qpos[0, 0], ("x",)))]}  # noqa: RUF012


def test_a_function_that_mixes_simulations_is_computed_by_numpy():
    sim, _ = stepped(Mixing())
    seen = sim.observe()["policy"]
    assert sim.not_compiled["observation 'policy'"] == "rows are chosen"
    assert np.array_equal(seen[:, 0], sim.fields.qpos[:, 0] - sim.fields.qpos[0, 0])


@pytest.mark.parametrize("num_sims", [1, 63, 64, 65])
def test_a_simulation_is_worth_the_same_bits_beside_any_number_of_others(num_sims):
    _, few = stepped(HalfCheetah(), 10, 1)
    sim = Sim(HalfCheetah(), num_sims, num_threads=1)
    sim.reset()
    actions = np.random.default_rng(0).uniform(-1.0, 1.0, (10, 1, 6))
    for action, expected in zip(actions, few, strict=True):
        result = sim.step(np.repeat(action, num_sims, axis=0))
        for name, value in expected.items():
            assert result.terms[name][0] == value[0]


def test_actions_of_any_kind_and_order_are_taken():
    expected = stepped(HalfCheetah(), 1, 4)[1][0]
    given = np.random.default_rng(0).uniform(-1.0, 1.0, (1, 4, 6))[0]
    read_only = given.copy()
    read_only.flags.writeable = False
    for action in (np.asfortranarray(given), np.repeat(given, 2, axis=1)[:, ::2], read_only):
        sim = Sim(HalfCheetah(), 4, num_threads=1)
        sim.reset()
        for name, value in sim.step(action).terms.items():
            assert np.array_equal(value, expected[name])


def test_what_a_step_gave_is_not_changed_by_the_next():
    sim, terms = stepped(CartpoleBalance(), 1)
    kept, seen = {name: value.copy() for name, value in terms[0].items()}, sim.observe()["policy"]
    before = seen.copy()
    sim.step(np.ones((3, 1)))
    sim.observe()
    assert np.array_equal(seen, before)
    assert all(np.array_equal(terms[0][name], value) for name, value in kept.items())
