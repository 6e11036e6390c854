"""What every learner owes: purity, exact resumption, a stop at NaN, typed errors, an export that does what it does."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learners import OFF_POLICY, ON_POLICY, small
from torch import Tensor

from roborl.algos import LEARNERS, learner_class
from roborl.errors import ConfigError, NonFinite
from roborl.learner import Learner, OffPolicyLearner, OnPolicyLearner, Rollout, Spaces, Transitions
from roborl.nn.compile import Compiler
from roborl.nn.graph import evaluate
from roborl.nn.tree import Tree, flatten, tree_map
from roborl.run import training
from roborl.run.checkpoint import Checkpoints
from roborl.run.config import RunConfig, build_config
from roborl.run.log import read_metrics

ASYMMETRIC = Spaces({"policy": 3, "critic": 5}, 2)
"""Critics see more than actors."""
STEPS, ENVS = 6, 4
"""Of a rollout: as many steps as `small` asks for."""


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(name: str, **changes: Any) -> Learner:
    settings = small(name, **changes)
    known = {field.name for field in dataclasses.fields(learner_class(name).Config)}
    config = build_config(learner_class(name).Config, {k: v for k, v in settings.items() if k in known})
    return learner_class(name)(ASYMMETRIC, config)


def normal(g: torch.Generator, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=g, dtype=dtype)


def experience(learner: Learner, seed: int, dtype: torch.dtype = torch.float64) -> Transitions | Rollout:
    """Draw what the learner learns from, with ends of both kinds."""
    g, widths, actions = generator(seed), learner.spaces.obs.items(), learner.spaces.action
    if isinstance(learner, OffPolicyLearner):
        n = learner.updates_per_call * learner.config.batch_size
        obs, next_obs = ({k: normal(g, n, d, dtype=dtype) for k, d in widths} for _ in range(2))
        action = torch.tanh(normal(g, n, actions, dtype=dtype))
        ended = (normal(g, n, dtype=dtype) > 1).to(dtype)
        return Transitions(obs, action, normal(g, n, dtype=dtype), next_obs, ended, torch.ones_like(ended))
    terminated, truncated, live = (torch.full((STEPS, ENVS), x, dtype=dtype) for x in (0.0, 0.0, 1.0))
    terminated[1, 0], live[2, 0] = 1.0, 0.0
    truncated[3, 2], live[4, 2] = 1.0, 0.0
    obs = {k: normal(g, STEPS + 1, ENVS, d, dtype=dtype) for k, d in widths}
    action = normal(g, STEPS, ENVS, actions, dtype=dtype)
    reward, so_far = (normal(g, STEPS, ENVS, dtype=dtype) for _ in range(2))
    memory = tree_map(lambda m: normal(g, *m.shape, dtype=dtype), learner.init_memory(ENVS))
    return Rollout(obs, action, reward, terminated, truncated, live, so_far, memory, torch.tensor(0.5).double())


def observed(learner: Learner, state: Tree, seen: Transitions | Rollout) -> Tree:
    """Show the learner's normalisers what was seen."""
    obs = {name: value.reshape(-1, value.shape[-1]) for name, value in seen.obs.items()}
    return learner.observe(state, obs) if learner.observes else state


def learned(learner: Learner, updates: int, compiled: bool = False, seed: int = 0) -> tuple[Tree, dict[str, Tensor]]:
    """Return the state, in double precision, and the metrics after some updates from drawn experience."""
    state, metrics = learner.init(generator(seed), torch.float64), {}
    compiler = Compiler(compiled)
    for number in range(updates):
        seen = experience(learner, number)
        if isinstance(learner, OffPolicyLearner):
            assert isinstance(seen, Transitions)
            noise = normal(generator(number), *learner.update_noise_shape())
            state, metrics = compiler.pure(learner.update)(state, seen, noise)
        else:
            assert isinstance(learner, OnPolicyLearner) and isinstance(seen, Rollout)
            state, metrics = learner.learn(state, seen, generator(number), compiler)
        state = observed(learner, state, seen)
    return state, metrics


def same_bits(a: Tree, b: Tree) -> bool:
    flat_a, flat_b = flatten(a), flatten(b)
    return flat_a.keys() == flat_b.keys() and all(torch.equal(flat_a[k], flat_b[k]) for k in flat_a)


def test_every_learner_is_of_a_kind_that_a_loop_takes() -> None:
    assert sorted(OFF_POLICY + ON_POLICY) == sorted(LEARNERS)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_seed_fixes_the_first_state_and_what_is_learned_and_another_gives_others(name: str) -> None:
    learner = make(name)
    assert same_bits(learned(learner, 3)[0], learned(make(name), 3)[0])
    first, other = learner.init(generator(0)), learner.init(generator(1))
    assert same_bits(first, learner.init(generator(0))) and not same_bits(first, other)
    assert not same_bits(learned(learner, 3)[0], learner.init(generator(0), torch.float64))


@pytest.mark.parametrize("name", LEARNERS)
def test_a_state_keeps_its_names_shapes_and_dtypes_and_what_is_learned_is_finite(name: str) -> None:
    learner = make(name)
    before, (after, metrics) = flatten(learner.init(generator(), torch.float64)), learned(learner, 3)
    assert {k: (v.shape, v.dtype) for k, v in flatten(after).items()} == {
        k: (v.shape, v.dtype) for k, v in before.items()
    }
    assert all(leaf.isfinite().all() for leaf in flatten(after).values())
    assert any(metric.endswith("loss") for metric in metrics)
    assert all(value.shape == () and value.isfinite() for value in metrics.values())


@pytest.mark.parametrize("name", OFF_POLICY)
def test_an_update_is_pure(name: str) -> None:
    learner = make(name)
    assert isinstance(learner, OffPolicyLearner)
    state, batch = learner.init(generator(), torch.float64), experience(learner, 0)
    noise = normal(generator(), *learner.update_noise_shape())
    copies = tree_map(torch.clone, (state, batch, noise))
    assert isinstance(batch, Transitions)
    assert same_bits(learner.update(state, batch, noise)[0], learner.update(state, batch, noise)[0])
    assert same_bits((state, batch, noise), copies)


@pytest.mark.parametrize("name", LEARNERS)
def test_acting_is_pure_bounded_without_noise_and_blind_to_what_critics_see(name: str) -> None:
    learner = make(name)
    state = learned(learner, 3)[0]
    obs = {"policy": 3 * normal(generator(), 7, 3), "critic": normal(generator(), 7, 5)}
    noise = normal(generator(), *learner.act_noise_shape(7))
    copy = tree_map(torch.clone, state)
    memory = tree_map(lambda m: m.double(), learner.init_memory(7))
    for drawn in (None, noise):
        action, _, _ = learner.act(state, obs, memory, drawn)
        other, _, _ = learner.act(state, obs | {"critic": obs["critic"] + 1}, memory, drawn)
        assert torch.equal(action, other) and action.shape == (7, 2)
    assert same_bits(state, copy)
    assert learner.act(state, obs, None, None)[0].abs().max() <= 1
    assert not torch.equal(learner.act(state, obs, None, None)[0], action)


@pytest.mark.parametrize("normalize_obs", [False, True])
@pytest.mark.parametrize("name", LEARNERS)
def test_the_policy_graph_does_what_the_policy_does(name: str, normalize_obs: bool) -> None:
    learner = make(name, normalize_obs=normalize_obs)
    state = tree_map(lambda x: x.float() if x.ndim else x, learned(learner, 3)[0])
    obs = 5 + 3 * normal(generator(), 50, 3, dtype=torch.float32)
    memory = tree_map(lambda m: normal(generator(), *m.shape, dtype=torch.float32), learner.init_memory(50))
    action, _, after = learner.act(state, {"policy": obs}, memory, None)
    inputs = {f"{name}_in": value.numpy() for name, value in (memory or {}).items()}
    result = evaluate(learner.policy_graph(state), {"obs": obs.numpy()} | inputs)
    np.testing.assert_allclose(result["actions"], action.numpy(), rtol=0, atol=1e-6)
    for name, value in (after or {}).items():
        np.testing.assert_allclose(result[f"{name}_out"], value.numpy(), rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_ten_compiled_updates_are_ten_eager_ones(name: str) -> None:
    learner = make(name)
    (eager, metrics), (compiled, others) = (learned(learner, 10, compiled) for compiled in (False, True))
    torch.testing.assert_close(others, metrics, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(flatten(compiled), flatten(eager), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_setting_outside_its_range_is_answered_with_what_is_allowed(name: str) -> None:
    config = learner_class(name).Config
    for field, bad, message in (
        ("gamma", 1.5, r"gamma must be a number in \[0, 1\], got 1.5"),
        ("gamma", float("nan"), r"gamma must be a number in \[0, 1\], got nan"),
        ("hidden", (), "hidden must be a tuple of one or more widths"),
        ("hidden", (0,), "each width in hidden must be a whole number of at least 1, got 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            config(**{field: bad})


def config_for(name: str, task: str, **changes: Any) -> RunConfig:
    run: dict[str, Any] = {"compile": False, "threads": 1, "tensorboard": False, "num_envs": 4, "steps": 200}
    run |= {"log_every": 20, "checkpoint_every": 60}
    return RunConfig(name, task, settings=small(name), **(run | changes))


def assert_equal_to_the_bit(run_dir: Path, other: Path) -> None:
    a, b = (Checkpoints(folder, read_only=True).load() for folder in (run_dir, other))
    assert a.step == b.step and a.tensors.keys() == b.tensors.keys()
    for name, tensor in a.tensors.items():
        assert tensor.dtype == b.tensors[name].dtype and torch.equal(tensor, b.tensors[name]), name
    clock = {"wall_s", "metrics_offset"}  # the bytes of metrics.jsonl depend on the digits of wall_s
    assert {k: v for k, v in a.meta.items() if k not in clock} == {k: v for k, v in b.meta.items() if k not in clock}
    rows, others = ([row | {"wall_s": 0} for row in read_metrics(folder)] for folder in (run_dir, other))
    assert rows == others


@pytest.mark.parametrize("num_envs", [1, 4])
@pytest.mark.parametrize("name", LEARNERS)
def test_a_run_that_was_stopped_and_resumed_is_to_the_bit_one_that_was_not(
    name: str, num_envs: int, tmp_path: Path
) -> None:
    # 101 steps end within a rollout. CartpoleTrack has delays, drawn masses, and a critic that sees more.
    config = config_for(name, "CartpoleTrack", num_envs=num_envs)
    training.train(config, tmp_path / "straight", quiet=True)
    training.train(dataclasses.replace(config, steps=101), tmp_path / "resumed", quiet=True)
    training.resume(tmp_path / "resumed", steps=200, quiet=True)
    # a checkpoint more was written where the first part ended, which changes nothing but their list
    assert_equal_to_the_bit(tmp_path / "resumed", tmp_path / "straight")


@pytest.mark.parametrize("name", [name for name in ON_POLICY if hasattr(learner_class(name).Config, "anneal")])
def test_annealed_step_sizes_go_on_to_the_bit_and_with_more_steps_fall_to_the_new_end(
    name: str, tmp_path: Path
) -> None:
    config = dataclasses.replace(config_for(name, "CartpoleTrack", steps=100), settings=small(name, anneal=True))
    training.train(config, tmp_path / "straight", quiet=True)
    shutil.copytree(tmp_path / "straight", tmp_path / "again")
    training.resume(tmp_path / "again", checkpoint=60, quiet=True)
    assert_equal_to_the_bit(tmp_path / "again", tmp_path / "straight")
    # 60 of 100 steps, then as in a run of 200: from the 61st on the steps are longer, and not 0 after the 100th
    training.resume(tmp_path / "again", checkpoint=60, steps=200, quiet=True)
    assert [row["env_steps"] for row in read_metrics(tmp_path / "again")] == list(range(20, 201, 20))
    states = [Checkpoints(tmp_path / "again", read_only=True).load(step).tensors for step in (120, 180, 200)]
    learned = [name for name in states[0] if name.startswith("learner/") and name.endswith("/w")]
    assert all((a[w] != b[w]).any() for a, b in zip(states, states[1:], strict=False) for w in learned)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_foreign_environment_begins_new_episodes_after_a_resumption(name: str, tmp_path: Path) -> None:
    training.train(config_for(name, "Pendulum-v1", steps=100), tmp_path / "run", quiet=True)
    result = training.resume(tmp_path / "run", steps=1000, quiet=True)
    assert result.env_steps == 1000
    lengths = [row["episode_length"] for row in read_metrics(tmp_path / "run") if row["episode_length"]]
    assert lengths == [200.0]  # of four episodes that began with the resumption; 225 steps of each were taken


@pytest.mark.parametrize("name", LEARNERS)
def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_its_state(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = learner_class(name)
    method = "update" if issubclass(kind, OffPolicyLearner) else "learn"
    real, calls = getattr(kind, method), 0

    def broken(self: Any, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        state, metrics = real(self, *arguments)
        spoilt = next(metric for metric in metrics if metric.endswith("loss"))
        return state, metrics | ({spoilt: metrics[spoilt] * float("nan")} if calls == 5 else {})

    monkeypatch.setattr(kind, method, broken)
    with pytest.raises(NonFinite, match="training broke at step .*loss is nan.*the state is in .*failure"):
        training.train(config_for(name, "PendulumSwingup"), tmp_path / "run", quiet=True)
    failure = Checkpoints(tmp_path / "run" / "failure", read_only=True).load()
    assert any(tensor.startswith("learner/") for tensor in failure.tensors)
    intact = Checkpoints(tmp_path / "run", read_only=True)
    assert intact.list() and list(intact.intact()) == intact.list()
    monkeypatch.undo()
    assert training.resume(tmp_path / "run", quiet=True).env_steps == 200
