"""Training, in the process itself; what kills, full disks and NaN do to it is in test_resume.py."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict
from learners import OFF_POLICY, small

import roborl
from roborl.algos import LEARNERS
from roborl.data.replay import Replay
from roborl.errors import ConfigError, RunError, UnknownName, UsageError
from roborl.run import training
from roborl.run.checkpoint import Checkpoints
from roborl.run.config import RunConfig
from roborl.run.log import read_metrics
from roborl.run.training import default_run_dir

MY_TASK = '''
from dataclasses import dataclass
from roborl.tasks.pendulum import PendulumSwingup

@dataclass(frozen=True)
class Mine(PendulumSwingup):
    """A pendulum with an option."""
    bonus: float = 0.0
    episode_length_s = 1.0

    def reward_terms(self, before, action, after):
        return {"bonus": after.qpos[:, 0] * 0.0 + self.bonus}
'''


class Short(gymnasium.Env):
    """Counts its steps; ends after three, each second time by truncation."""

    observation_space: Any = Dict({"time": Box(0.0, 9.0, (1,)), "episode": Box(0.0, 99.0, (1,))})
    action_space: Any = Box(-1.0, 1.0, (1,))

    def __init__(self) -> None:
        self.episode, self.time = -1, 0

    def _obs(self) -> dict[str, Any]:
        return {"time": np.array([self.time], np.float32), "episode": np.array([self.episode], np.float32)}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.time = self.episode + 1, 0
        return self._obs(), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.time += 1
        ended, odd = self.time == 3, bool(self.episode % 2)
        return self._obs(), float(self.time), ended and not odd, ended and odd, {}


@pytest.fixture(autouse=True, scope="module")
def registered() -> Iterator[None]:
    threads = torch.get_num_threads()
    gymnasium.register("roborltest/Short-v0", Short)  # pyright: ignore[reportArgumentType]
    yield
    del gymnasium.registry["roborltest/Short-v0"]
    torch.set_num_threads(threads)


def run_config(learner: str, task: str, **changes: Any) -> RunConfig:
    common = {
        "steps": 120,
        "compile": False,
        "threads": 1,
        "log_every": 40,
        "checkpoint_every": 60,
        "tensorboard": False,
    }
    settings = small(learner, **changes.pop("settings", {}))
    return RunConfig(learner, task, **(common | changes), settings=settings)


def replay_of(run_dir: Path) -> Replay:
    """Return the buffer that the last checkpoint holds."""
    last = Checkpoints(run_dir, read_only=True).latest()
    saved = json.loads((run_dir / "checkpoints" / f"{last:010d}" / "state.json").read_text())["replay"]
    replay = Replay(saved["rows"] * saved["num_envs"], saved["num_envs"], saved["obs"], saved["action"])
    Checkpoints(run_dir, read_only=True).load().fill_replay(replay)
    return replay


def learned(run_dir: Path) -> dict[str, torch.Tensor]:
    tensors = Checkpoints(run_dir, read_only=True).load().tensors
    return {name: tensor for name, tensor in tensors.items() if name.startswith("learner/")}


@pytest.mark.parametrize("task", ["PendulumSwingup", "CartpoleTrack", "Pendulum-v1", "HalfCheetah-v5", "FILE:Mine"])
@pytest.mark.parametrize("learner", LEARNERS)
def test_every_learner_trains_on_our_tasks_on_gymnasiums_and_on_a_users_own(
    learner: str, task: str, tmp_path: Path
) -> None:
    (tmp_path / "my_task.py").write_text(MY_TASK)
    config = run_config(learner, task.replace("FILE", f"{tmp_path}/my_task.py"), num_envs=2)
    result = training.train(config, tmp_path / "run", quiet=True)
    assert result.run_dir == tmp_path / "run" and result.env_steps >= 120 and not result.interrupted
    assert Checkpoints(result.run_dir).list() == [60, result.env_steps]
    rows = read_metrics(result.run_dir)
    assert [row["env_steps"] for row in rows] == [40, 80, 120]
    assert {"wall_s", "updates", "episode_return", "episode_length"} <= set(rows[-1])
    assert any(name.endswith("loss") for name in rows[-1])
    assert all(0 <= a["wall_s"] <= b["wall_s"] for a, b in zip(rows, rows[1:], strict=False))
    if learner in OFF_POLICY:
        action = replay_of(result.run_dir).rows_between(0, 5)[0][:, :, -4]
        assert (np.abs(action) <= 1.0).all() and np.abs(action).max() > 0.1


def test_the_folder_holds_the_whole_configuration_and_the_versions(tmp_path: Path) -> None:
    training.train(run_config("sac", "PendulumSwingup", steps=50), tmp_path / "runs" / "a", quiet=True)
    config = RunConfig.load(tmp_path / "runs" / "a" / "config.json")
    assert config.task == "roborl/PendulumSwingup-v1" and config.settings["gamma"] == 0.99
    assert config.learner_config().hidden == (8, 8)
    versions = json.loads((tmp_path / "runs" / "a" / "versions.json").read_text())
    assert versions == {"roborl": roborl.__version__, "torch": torch.__version__}


def test_a_folder_is_named_after_learner_task_and_seed() -> None:
    for learner, task, name in (
        ("sac", "roborl/CartpoleSwingup-v1", "sac-CartpoleSwingup-v1-s7"),
        ("sac", "HalfCheetah-v5", "sac-HalfCheetah-v5-s7"),
        ("sac", "/home/me/my_task.py:Mine", "sac-my_task-Mine-s7"),
        ("/home/me/my_learner.py:Mine", "Hopper", "my_learner-Mine-Hopper-s7"),
    ):
        assert default_run_dir(RunConfig(learner, task, seed=7)) == Path("runs") / name


@pytest.mark.parametrize("task", ["InvertedPendulum", "roborltest/Short-v0"])
@pytest.mark.parametrize("num_envs", [1, 3, 8])
def test_steps_are_live_steps_and_updates_follow_from_them_with_any_number_of_environments(
    task: str, num_envs: int, tmp_path: Path
) -> None:
    config = run_config("sac", task, num_envs=num_envs, steps=150, settings={"updates_per_step": 0.25})
    result = training.train(config, tmp_path / "run", quiet=True)
    assert 150 <= result.env_steps < 150 + num_envs
    replay = replay_of(result.run_dir)
    live = np.concatenate(replay.rows_between(0, replay.head))[:, :, -1]
    assert live.sum() == len(replay) == result.env_steps
    assert live.size > result.env_steps  # episodes ended: some rows are resets
    meta = Checkpoints(result.run_dir, read_only=True).load().meta
    assert meta["updates"] == math.floor((result.env_steps - 40) * 0.25)


def test_the_buffer_holds_each_transition_as_it_was_and_a_truncation_does_not_end_the_future(tmp_path: Path) -> None:
    config = run_config("sac", "roborltest/Short-v0", num_envs=2, steps=60)
    run_dir = training.train(config, tmp_path / "run", quiet=True).run_dir
    replay = replay_of(run_dir)
    rows = np.concatenate([*replay.rows_between(0, replay.head)])  # columns: episode, time, action, reward, ...
    after = np.concatenate([rows[1:, :, :2], replay.newest[None]])
    episode, time, reward, terminated, live = (rows[:, :, i] for i in (0, 1, 3, 4, 5))
    live = live.astype(bool)
    assert np.array_equal(live, time < 3)  # what a final observation leads to is the reset
    assert np.array_equal(after[live][:, 1], time[live] + 1)  # the next observation is of the same episode
    assert np.array_equal(after[live][:, 0], episode[live])
    assert np.array_equal(reward[live], time[live] + 1)
    assert np.array_equal(terminated[live], (time[live] == 2) & (episode[live] % 2 == 0))
    assert not reward[~live].any() and not terminated[~live].any()
    (row,) = read_metrics(run_dir)
    assert (row["episode_return"], row["episode_length"]) == (6.0, 3.0)  # 1 + 2 + 3


def test_the_normaliser_sees_what_the_policy_acts_on_and_nothing_else(tmp_path: Path) -> None:
    config = run_config("sac", "roborltest/Short-v0", num_envs=2, steps=60, settings={"normalize_obs": True})
    run_dir = training.train(config, tmp_path / "run", quiet=True).run_dir
    replay = replay_of(run_dir)
    rows = np.concatenate(replay.rows_between(0, replay.head))
    seen = rows[rows[:, :, -1] == 1][:, :2]  # the observations of live rows, and the newest if it is no final one
    seen = np.concatenate([seen, replay.newest[replay.newest[:, 1] < 3]])
    state = learned(run_dir)
    assert state["learner/normalizer/policy/count"] == len(seen)
    assert np.allclose(state["learner/normalizer/policy/mean"], seen.mean(0), atol=1e-5)
    assert np.allclose(state["learner/normalizer/policy/var"], seen.var(0), atol=1e-4)


def test_the_same_seed_gives_the_same_numbers_and_another_one_others(tmp_path: Path) -> None:
    states = [
        learned(training.train(run_config("sac", "CartpoleTrack", seed=seed), tmp_path / name, quiet=True).run_dir)
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["learner/actor/0/w"], states[2]["learner/actor/0/w"])


def test_the_options_of_a_users_task_reach_it_and_are_kept(tmp_path: Path) -> None:
    (tmp_path / "my_task.py").write_text(MY_TASK)
    task = f"{tmp_path}/my_task.py:Mine"
    run_dir = training.train(run_config("sac", task, options={"bonus": 2.5}), tmp_path / "run", quiet=True).run_dir
    assert read_metrics(run_dir)[-1]["episode_return"] == 20 * 2.5  # 1 s of 50 ms
    assert training.resume(run_dir, steps=180, quiet=True).episode_return == 50.0
    with pytest.raises(UnknownName, match="unknown option of Mine 'bonsu'; did you mean 'bonus'"):
        training.train(run_config("sac", task, options={"bonsu": 1.0}), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_what_cannot_be_trained_leaves_no_folder(tmp_path: Path) -> None:
    for task, error in (("CartPole-v1", UsageError), ("Nothing", UnknownName)):
        with pytest.raises(error):
            training.train(run_config("sac", task), tmp_path / "run")
    with pytest.raises(ConfigError):
        training.train(run_config("sac", "PendulumSwingup", settings={"gamma": 2.0}), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="exists already"):
        training.train(run_config("sac", "PendulumSwingup"), tmp_path)


def test_a_finished_run_that_is_resumed_says_so_and_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # eight environments: more steps than were asked for
    run_dir = training.train(run_config("sac", "PendulumSwingup", num_envs=8, steps=101), tmp_path / "run").run_dir
    assert "104 of 101 steps" in capsys.readouterr().err
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    assert training.resume(run_dir, quiet=True).env_steps == 104
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before
    with pytest.raises(UsageError, match="has been trained for 104 steps: steps must be at least as many, got 103"):
        training.resume(run_dir, steps=103)


def test_quiet_is_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    training.resume(training.train(run_config("sac", "Pendulum-v1"), tmp_path / "run", quiet=True).run_dir, quiet=True)
    assert capfd.readouterr() == ("", "")


def test_a_second_ctrl_c_acts_at_once_and_the_handlers_are_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, count = signal.getsignal(signal.SIGINT), 0

    def advance(loop: Any) -> None:
        nonlocal count
        count += 1
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("roborl.run.off_policy.OffPolicyLoop.advance", advance)
    with pytest.raises(KeyboardInterrupt):
        training.train(run_config("sac", "PendulumSwingup"), tmp_path / "run", quiet=True)
    assert count == 1 and signal.getsignal(signal.SIGINT) is before


def test_training_in_a_thread_leaves_signals_to_others(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(training.train, run_config("sac", "PendulumSwingup"), tmp_path / "run", quiet=True)
        assert future.result().env_steps == 120


def test_a_failure_whose_state_cannot_be_written_is_still_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roborl.run.off_policy.OffPolicyLoop._keep", lambda loop, *_: break_(loop))

    def break_(loop: Any) -> None:
        from roborl.errors import NonFinite

        monkeypatch.setattr(Checkpoints, "save", refuse)
        raise NonFinite("critic_loss is nan")

    def refuse(*_: Any) -> None:
        raise RunError("cannot write: No space left on device")

    message = (
        "training broke at step 50: critic_loss is nan; the state could not be written for inspection: cannot write"
    )
    with pytest.raises(RunError, match=message):
        training.train(run_config("sac", "PendulumSwingup"), tmp_path / "run", quiet=True)
