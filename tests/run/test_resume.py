"""A run that is stopped in whatever way, and resumed, is to the bit the run that was not stopped."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from roborl.data.replay import Replay
from roborl.run.checkpoint import Checkpoints
from roborl.run.log import read_metrics

# The buffers are smaller than the runs: their rings turn over. CartpoleTrack has delays, randomised masses, a command
# in its memory and a critic that sees more.
SMALL = ["--no-compile", "--hidden", "16", "--batch-size", "16", "--threads", 1, "--quiet"]
SMALL += ["--log-every", 30, "--checkpoint-every", 60, "--keep", 2, "--learning-starts", 60]
RUNS: dict[str, list[Any]] = {
    "pendulum, 1 environment, normalised": [
        *["PendulumSwingup", *SMALL, "--steps", 600, "--buffer-size", 300],
        *["--updates-per-step", 0.08, "--normalize-obs"],
    ],
    "track, 8 environments": [
        *["CartpoleTrack", *SMALL, "--steps", 1200, "--buffer-size", 600, "--num-envs", 8],
        *["--updates-per-step", 0.04, "--no-tensorboard", "--checkpoint-every", 150],
    ],
}
OTHERS: dict[str, list[Any]] = {
    "pendulum, 8 environments": [
        *["PendulumSwingup", *SMALL, "--steps", 1200, "--buffer-size", 600, "--num-envs", 8],
        *["--updates-per-step", 0.1, "--no-tensorboard"],
    ],
    "track, 1 environment, normalised": [
        *["CartpoleTrack", *SMALL, "--steps", 600, "--buffer-size", 300],
        *["--updates-per-step", 0.2, "--normalize-obs", "--no-tensorboard"],
    ],
}


@pytest.fixture(scope="module")
def straight(command: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a run that was not stopped: ``straight(arguments)``."""
    done: dict[str, Path] = {}

    def run(arguments: list[Any]) -> Path:
        key = json.dumps(arguments)
        if key not in done:
            done[key] = tmp_path_factory.mktemp("straight") / "run"
            finished = command("train", "sac", *arguments, "--out", done[key])
            assert finished.code == 0, finished.err
        return done[key]

    return run


def replay_of(run_dir: Path) -> Replay:
    """Return the buffer that the last checkpoint holds."""
    folder = run_dir / "checkpoints" / f"{Checkpoints(run_dir, read_only=True).latest():010d}"
    saved = json.loads((folder / "state.json").read_text())["replay"]
    replay = Replay(saved["rows"] * saved["num_envs"], saved["num_envs"], saved["obs"], saved["action"])
    Checkpoints(run_dir, read_only=True).load().fill_replay(replay)
    return replay


def assert_equal_to_the_bit(run_dir: Path, other: Path) -> None:
    a, b = (Checkpoints(folder, read_only=True).load() for folder in (run_dir, other))
    assert a.step == b.step and a.tensors.keys() == b.tensors.keys()
    for name, tensor in a.tensors.items():
        assert tensor.dtype == b.tensors[name].dtype and torch.equal(tensor, b.tensors[name]), name
    clock = {"wall_s", "metrics_offset"}  # the bytes of metrics.jsonl depend on the digits of wall_s
    assert {k: v for k, v in a.meta.items() if k not in clock} == {k: v for k, v in b.meta.items() if k not in clock}
    one, two = replay_of(run_dir), replay_of(other)
    assert (one.first, one.head, len(one)) == (two.first, two.head, len(two))
    for part, counterpart in zip(*(r.rows_between(r.first, r.head) for r in (one, two)), strict=True):
        assert np.array_equal(part, counterpart)
    assert np.array_equal(one.newest, two.newest)
    rows, others = ([row | {"wall_s": 0} for row in read_metrics(folder)] for folder in (run_dir, other))
    assert rows == others


def finish(command: Any, run_dir: Path) -> None:
    finished = command("resume", run_dir, "--quiet")
    assert finished.code == 0, finished.err


def run_with_kills(command: Any, arguments: list[Any], run_dir: Path, rng: random.Random) -> int:
    """Train, killed up to ten times; return how often it was: fewer times where it had ended before."""
    for kills in range(10):
        argv = ["resume", run_dir, "--quiet"] if run_dir.exists() else ["train", "sac", *arguments, "--out", run_dir]
        # At any moment at all, or within the writing of a checkpoint, of a line of metrics, or in the cleaning.
        moment = {"kill_after": [rng.uniform(0.0, 0.15)]} if kills % 2 else {"kill_at_call": [rng.randrange(80)]}
        code = command(*argv, faults=moment).code
        if code == 0:
            return kills
        assert code in (-signal.SIGKILL, -signal.SIGPROF)
    finish(command, run_dir)
    return 10


@pytest.mark.parametrize("name", RUNS)
def test_ten_kills_in_a_row_some_inside_a_checkpoints_writing_change_nothing(
    name: str, command: Any, straight: Any, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    assert run_with_kills(command, RUNS[name], run_dir, random.Random(name)) >= 6
    assert_equal_to_the_bit(run_dir, straight(RUNS[name]))
    hidden = [path for path in run_dir.rglob(".*") if path.name != ".lock"]
    assert hidden == []  # nothing is left of what the kills interrupted


def test_a_run_killed_before_its_first_checkpoint_begins_anew(command: Any, straight: Any, tmp_path: Path) -> None:
    arguments, run_dir = RUNS["pendulum, 1 environment, normalised"], tmp_path / "run"
    assert command("train", "sac", *arguments, "--out", run_dir, faults={"kill_at_call": [20]}).code == -signal.SIGKILL
    assert Checkpoints(run_dir, read_only=True).latest() is None
    (run_dir / ".config.json.tmp-1").touch()  # of a resume that was killed while it wrote it
    (run_dir / ".policy.onnx.tmp-2").touch()  # of an export, which may be under way
    finish(command, run_dir)
    assert [path.name for path in run_dir.glob(".*.tmp-*")] == [".policy.onnx.tmp-2"]
    assert_equal_to_the_bit(run_dir, straight(arguments))


def test_a_run_resumed_from_an_earlier_checkpoint_equals_a_straight_one(
    command: Any, straight: Any, tmp_path: Path
) -> None:
    expected = straight(RUNS["track, 8 environments"])
    run_dir = tmp_path / "run"
    shutil.copytree(expected, run_dir)
    earlier = Checkpoints(run_dir, read_only=True).list()[0]
    assert command("resume", run_dir, "--checkpoint", earlier, "--quiet").code == 0
    assert_equal_to_the_bit(run_dir, expected)


def test_a_run_with_more_steps_later_equals_one_that_had_them_at_once(
    command: Any, straight: Any, tmp_path: Path
) -> None:
    arguments, run_dir = RUNS["track, 8 environments"], tmp_path / "run"
    expected = straight(arguments)
    fewer = [777 if word == 1200 else word for word in arguments]
    assert command("train", "sac", *fewer, "--out", run_dir).code == 0
    finished = command("resume", run_dir, "--steps", 1200, "--quiet", "--json")
    assert finished.code == 0 and finished.json()["env_steps"] >= 1200
    assert_equal_to_the_bit(run_dir, expected)
    assert json.loads((run_dir / "config.json").read_text())["steps"] == 1200


def test_ctrl_c_saves_says_how_to_resume_and_the_resumed_run_equals_a_straight_one(
    command: Any, straight: Any, tmp_path: Path
) -> None:
    arguments = [word for word in RUNS["pendulum, 1 environment, normalised"] if word != "--quiet"]
    run_dir = tmp_path / "run"
    child = command.start("train", "sac", *arguments, "--out", run_dir, "--json")
    while not (run_dir / "metrics.jsonl").exists() or not (run_dir / "metrics.jsonl").stat().st_size:
        time.sleep(0.005)
    child.kill(signal.SIGINT)
    finished = child.wait()
    assert finished.code == 130
    assert finished.json()["interrupted"] is True
    step = finished.json()["env_steps"]
    assert 30 <= step < 600
    assert finished.err.splitlines()[-1] == f"stopped at step {step}, saved; continue with `roborl resume {run_dir}`"
    assert Checkpoints(run_dir, read_only=True).latest() == step
    finish(command, run_dir)
    assert_equal_to_the_bit(run_dir, straight(RUNS["pendulum, 1 environment, normalised"]))


@pytest.mark.parametrize(
    ("call", "after"), [("write", 20), ("write", 110), ("fsync", 33), ("rename", 5), ("replace", 5)]
)
def test_where_the_disk_is_full_the_run_ends_with_one_line_and_resumes_once_there_is_room(
    call: str, after: int, command: Any, straight: Any, tmp_path: Path
) -> None:
    arguments, run_dir = RUNS["track, 8 environments"], tmp_path / "run"
    expected = straight(arguments)
    finished = command("train", "sac", *arguments, "--out", run_dir, faults={"fail_from_call": [call, after]})
    assert finished.code == 1 and finished.out == ""
    (line,) = finished.err.splitlines()
    assert line.startswith("roborl: error: ") and "No space left on device" in line
    checkpoints = Checkpoints(run_dir, read_only=True)
    last = checkpoints.latest()
    assert list(checkpoints.intact()) == checkpoints.list()
    assert f"`roborl resume {run_dir}` continues from {f'step {last}' if last else 'the beginning'}" in line
    assert last or after == 20
    finish(command, run_dir)
    assert_equal_to_the_bit(run_dir, expected)


BREAKS = {
    "nan_in_loss": (30, "critic_loss is nan"),
    "nan_in_weights": (30, "actor/0/w is not finite|actor_loss is nan|became unstable"),
    "nan_in_physics": (230, "the physics of PendulumSwingup became unstable"),
    "nan_in_reward": (230, "a reward is not finite"),
}


@pytest.mark.parametrize("fault", BREAKS)
def test_nan_stops_the_run_names_the_step_and_leaves_the_state_for_inspection(
    fault: str, command: Any, straight: Any, tmp_path: Path
) -> None:
    number, what = BREAKS[fault]
    arguments = ["PendulumSwingup", *SMALL, "--steps", 300, "--updates-per-step", 0.2, "--no-tensorboard"]
    run_dir = tmp_path / "run"
    finished = command("train", "sac", *arguments, "--out", run_dir, faults={fault: [number]})
    assert finished.code == 1 and finished.out == ""
    line = finished.err.splitlines()[-1]  # MuJoCo itself may have warned before
    failure = Checkpoints(run_dir / "failure", read_only=True).load()
    assert line.startswith(f"roborl: error: training broke at step {failure.step}: ")
    assert any(word in line for word in what.split("|"))
    assert f"the state is in {run_dir / 'failure'} for inspection" in line
    assert failure.meta["error"] in line and "learner/actor/0/w" in failure.tensors
    checkpoints = Checkpoints(run_dir, read_only=True)
    last = checkpoints.latest()
    assert last is not None and f"the last checkpoint is of step {last}" in line
    assert list(checkpoints.intact()) == checkpoints.list()
    assert all(t.isfinite().all() for name, t in checkpoints.load().tensors.items() if name.startswith("learner/"))
    if fault != "nan_in_loss":
        return
    # It breaks once more and says so; then the reason has gone, and the resumed run equals one that never broke.
    again = command("resume", run_dir, "--quiet", faults={"nan_in_loss": [10]})
    assert again.code == 1 and "critic_loss is nan" in again.err and str(run_dir / "failure") in again.err
    finish(command, run_dir)
    assert_equal_to_the_bit(run_dir, straight(arguments))


def test_a_foreign_environment_resumes_at_an_episodes_beginning_and_says_so(command: Any, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    arguments = [word for word in SMALL if word != "--quiet"]
    arguments += ["--steps", 470, "--num-envs", 2, "--updates-per-step", 0.2, "--no-tensorboard"]
    assert command("train", "sac", "Pendulum-v1", *arguments, "--out", run_dir).code == 0
    before = replay_of(run_dir)
    finished = command("resume", run_dir, "--steps", 1000)
    assert finished.code == 0
    assert "the state of Pendulum-v1 cannot be saved: its environments begin new episodes" in finished.err
    after = replay_of(run_dir)
    # 235 rows of two environments, of which the one after the first 200 is dead; then one dead row for the resumption.
    assert before.head == 236 and len(before) == 470
    head = before.head
    live = np.concatenate(after.rows_between(0, after.head))[:, :, -1]
    assert live[:200].all() and not live[200].any() and live[201:head].all() and not live[head].any()
    # the new episodes have their full length: 200 steps, and a dead row
    assert live[head + 1 : head + 201].all() and not live[head + 201].any()
    rows = np.concatenate(after.rows_between(0, after.head))
    assert np.array_equal(rows[head, :, :3], before.newest)  # what followed the last step is kept
    assert [row["episode_length"] for row in read_metrics(run_dir) if row["episode_length"]] == [200.0, 200.0]
    assert Checkpoints(run_dir, read_only=True).load().tensors["executor/restores"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", [*RUNS, *OTHERS])
def test_a_hundred_kills_change_nothing(name: str, command: Any, straight: Any, tmp_path: Path) -> None:
    arguments, rng = (RUNS | OTHERS)[name], random.Random(name)
    for number in range(10):
        run_with_kills(command, arguments, tmp_path / f"run{number}", rng)
        assert_equal_to_the_bit(tmp_path / f"run{number}", straight(arguments))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("num_envs", [1, 8])
@pytest.mark.parametrize("task", ["PendulumSwingup", "CartpoleTrack"])
def test_twenty_thousand_compiled_steps_with_kills_equal_those_without(
    task: str, num_envs: int, tmp_path: Path
) -> None:
    arguments = [task, "--steps", "20000", "--num-envs", num_envs, "--hidden", "64,64", "--batch-size", "100"]
    arguments += ["--checkpoint-every", "2000", "--normalize-obs", "--quiet"]

    def start(*argv: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "roborl", *map(str, argv)], stdout=subprocess.DEVNULL)

    assert start("train", "sac", *arguments, "--out", tmp_path / "straight").wait() == 0
    run_dir = tmp_path / "killed"
    process = start("train", "sac", *arguments, "--out", run_dir)
    kills = 0
    for step in sorted(random.sample(range(17_000), 3)):
        while (Checkpoints(run_dir, read_only=True).latest() or 0) < max(step, 1) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(random.uniform(0.0, 0.5))
        process.kill()
        kills += process.wait() == -signal.SIGKILL
        process = start("resume", run_dir, "--quiet")
    assert process.wait() == 0 and kills
    assert_equal_to_the_bit(run_dir, tmp_path / "straight")
