from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from roborl.algos.recurrent_ppo import RecurrentPPO
from roborl.errors import CorruptFile, NonFinite, UnknownName, UsageError
from roborl.learner import Spaces
from roborl.run.checkpoint import Checkpoints
from roborl.run.config import RunConfig
from roborl.run.policy import TrainedPolicy, load_policy


@pytest.fixture(scope="module")
def policy(trained: Path) -> TrainedPolicy:
    return load_policy(trained)


def test_an_observation_gives_an_action_and_a_batch_gives_a_batch(policy: TrainedPolicy) -> None:
    rows = np.random.default_rng(0).normal(size=(5, 3))
    actions = policy.act(rows)
    assert actions.shape == (5, 1) and actions.dtype == np.float32
    one = policy.act(rows[2])
    assert one.shape == (1,) and np.allclose(one, actions[2], atol=1e-5)
    assert np.array_equal(policy.act(rows.astype(np.float32)), actions)
    assert np.array_equal(policy.act(rows.tolist()), actions)
    assert policy.act(np.zeros((0, 3))).shape == (0, 1)


def test_actions_are_the_learners_in_the_environments_units(policy: TrainedPolicy) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 3)) * 100.0
    units, actions = policy.act_units(rows), policy.act(rows)
    assert (np.abs(units) <= 1.0).all()
    assert policy.action_low == -2.0 and policy.action_high == 2.0  # Nm
    assert np.allclose(actions, 2.0 * units)


def test_the_normaliser_is_that_of_the_checkpoint_and_frozen(policy: TrainedPolicy, trained: Path) -> None:
    saved = Checkpoints(trained, read_only=True).load().tensors
    row = np.array([0.3, -0.2, 4.0], np.float32)
    first = policy.act(row)
    for _ in range(20):
        policy.act(1000.0 * row)
    assert np.array_equal(policy.act(row), first)
    x = torch.tensor(row)
    x = (x - saved["learner/normalizer/policy/mean"]) / (saved["learner/normalizer/policy/var"] + 1e-8).sqrt()
    hidden = (x @ saved["learner/actor/0/w"] + saved["learner/actor/0/b"]).relu()
    mean = (hidden @ saved["learner/actor/1/w"] + saved["learner/actor/1/b"])[0]
    assert first == pytest.approx(2.0 * torch.tanh(mean).item(), abs=1e-4)


def test_what_is_no_observation_is_refused(policy: TrainedPolicy) -> None:
    for obs in (np.zeros(4), np.zeros((2, 4)), np.zeros((1, 2, 3)), np.zeros(()), 1.0):
        with pytest.raises(UsageError, match=r"the policy wants observations \(3,\) or \(N, 3\), got"):
            policy.act(obs)
    for value in (np.nan, np.inf, 1e300):
        with pytest.raises(NonFinite, match="the observation is not finite"):
            policy.act(np.array([0.0, value, 0.0]))
    with pytest.raises(UsageError, match="the policy wants numbers"):
        policy.act(["a", "b", "c"])


def test_an_earlier_checkpoint_is_another_policy_and_an_unknown_one_is_named(trained: Path) -> None:
    first, last = load_policy(trained, 300), load_policy(trained)
    assert (first.env_steps, last.env_steps) == (300, 500)
    assert not np.array_equal(first.act(np.ones(3)), last.act(np.ones(3)))
    with pytest.raises(UnknownName, match="unknown checkpoint '5'"):
        load_policy(trained, 5)


def test_loading_changes_nothing_in_the_folder(trained: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(trained, run_dir)
    leftover = run_dir / "checkpoints" / ".0000000600.tmp-1"
    leftover.mkdir()  # of a checkpoint that another process may be writing
    load_policy(run_dir)
    assert leftover.is_dir()


def test_a_run_without_a_checkpoint_or_with_one_of_other_networks_is_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no run"):
        load_policy(tmp_path)
    shutil.copy(trained / "config.json", tmp_path)
    with pytest.raises(UsageError, match="has no checkpoint yet"):
        load_policy(tmp_path)
    shutil.copytree(trained / "checkpoints", tmp_path / "checkpoints")
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace("PendulumSwingup", "CartpoleSwingup"))
    with pytest.raises(CorruptFile, match="learner/|tensor '"):
        load_policy(tmp_path)


@pytest.fixture
def recurrent() -> TrainedPolicy:
    config = RunConfig("recurrent_ppo", "PendulumSwingup", settings={"hidden": (8,), "memory_size": 4})
    learner = RecurrentPPO(Spaces({"policy": 3}, 1), config.learner_config())
    state = learner.init(torch.Generator().manual_seed(0))
    head = state.params.actor.mean[-1]
    head["w"] *= 100.0  # a first policy does nearly nothing
    return TrainedPolicy(Path("run"), config, learner, state, 0, np.array([-2.0]), np.array([2.0]))


def test_a_recurrent_policy_remembers_each_episode_until_it_is_reset(recurrent: TrainedPolicy) -> None:
    rows = 0.2 * np.random.default_rng(0).normal(size=(2, 3))  # no action is at its limit
    first, second = recurrent.act(rows), recurrent.act(rows)
    assert np.abs(second - first).min() > 1e-3
    recurrent.reset(np.array([False, True]))
    third = recurrent.act(rows)
    assert third[1] == first[1] and third[0] not in (first[0], second[0])
    recurrent.reset()
    assert np.array_equal(recurrent.act(rows), first)


def test_observations_of_other_episodes_than_those_remembered_are_refused(recurrent: TrainedPolicy) -> None:
    recurrent.act(np.zeros((2, 3)))
    with pytest.raises(UsageError, match=r"remembers 2 episodes, got 3 observations; reset\(\) begins others"):
        recurrent.act(np.zeros((3, 3)))
    recurrent.reset()
    assert recurrent.act(np.zeros((3, 3))).shape == (3, 1)


def test_resetting_a_policy_without_a_memory_changes_nothing(policy: TrainedPolicy) -> None:
    row = np.ones(3)
    first = policy.act(row)
    policy.reset()
    policy.reset(np.array([True]))
    assert np.array_equal(policy.act(row), first)
