from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roborl import tasks
from roborl.errors import ConfigError, CorruptFile, RunError, UsageError
from roborl.planners.mpc import make_planner
from roborl.run import api
from roborl.run.planning import MPCConfig, plan
from roborl.run.trajectory import Trajectory, begun_plan

BALANCE = MPCConfig("lqr", "CartpoleBalance", settings={"horizon_s": 1.0}, replan_steps=10)


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trajectory") / "new" / "balance.npz"
    result = plan(BALANCE, seed=3, save=path, quiet=True)
    assert result.files == {"trajectory": path} and result.to_json()["trajectory"] == str(path)
    return path


def altered(path: Path, to: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    with np.load(path) as file:
        arrays = dict(file)
    change(arrays)
    np.savez(to, **arrays)
    return to


def about(arrays: dict[str, Any], **changed: Any) -> None:
    arrays["about"] = np.array(json.dumps(json.loads(str(arrays["about"])) | changed))


def test_a_replay_from_the_same_state_is_the_same_to_the_bit(balanced: Path) -> None:
    result = api.replay(balanced)
    assert [f.how for f in result.followed] == ["open loop", "with gains"]
    for followed in result.followed:
        assert followed.largest == followed.last == 0.0 and followed.steps == 1000
        assert followed.total == pytest.approx(result.planned, rel=1e-12)


def test_from_another_state_gains_bring_it_back_and_open_loop_does_not(balanced: Path) -> None:
    open_loop, with_gains = api.replay(balanced, seed=4).followed
    assert 0.0 < with_gains.last < 1e-3 < with_gains.largest
    assert open_loop.last > 1.0 and open_loop.total < 0.8 * with_gains.total


def test_what_is_saved_is_what_happened_and_numpy_alone_reads_it(balanced: Path) -> None:
    with np.load(balanced, allow_pickle=False) as file:
        arrays, words = dict(file), json.loads(str(file["about"]))
    assert words["joints"] == ["slider", "hinge"] and words["actions"] == ["slide"] and words["seed"] == 3
    assert words["policy"] == json.loads(json.dumps(words["policy"])) and words["policy"]["planner"] == "lqr"
    np.testing.assert_allclose(arrays["time_s"], 0.01 * np.arange(1001))
    assert np.array_equal(arrays["points"], np.concatenate((arrays["qpos"], arrays["qvel"]), axis=1))
    assert arrays["gains"].shape == (1000, 1, 4) and arrays["gains"].any(axis=(1, 2)).all()
    # one gain of LQR holds at all times: every action is that gain's answer to the state, within the bounds
    K = arrays["gains"][0]
    expected = np.clip(arrays["points"][:-1] @ K.T, arrays["action_low"], arrays["action_high"])
    np.testing.assert_allclose(arrays["actions"], expected, atol=1e-9)


def test_planners_without_gains_are_replayed_in_open_loop(tmp_path: Path) -> None:
    path = tmp_path / "plan.npz"
    settings = {"horizon_s": 0.2, "samples": 4}
    # pushes and masses are drawn: what a simulation draws is part of what is saved
    options = {"mass": [0.5, 2.0], "action_delay": [0, 2]}
    plan(MPCConfig("mppi", "CartpoleTrack", options, settings, replan_steps=10), save=path, quiet=True)
    result = api.replay(path)
    assert [f.how for f in result.followed] == ["open loop"] and "gains" not in Trajectory.load(path).arrays
    assert result.followed[0].largest == 0.0
    assert result.followed[0].total == pytest.approx(result.planned, rel=1e-12)
    other = api.replay(path, seed=8).followed[0]
    assert other.largest > 0.0


def test_a_planner_goes_on_from_what_was_done(balanced: Path) -> None:
    with np.load(balanced) as file:
        arrays = dict(file)
    task = tasks.load("CartpoleBalance")
    planner = make_planner("ilqr", task, {"horizon_s": 0.5, "warm_iterations": 5}, num_threads=1)
    begun = begun_plan(balanced, planner)
    assert np.array_equal(begun.U, arrays["actions"][:50]) and begun.X is not None
    assert np.array_equal(begun.X, arrays["points"][:51])
    better = planner.plan(Trajectory.load(balanced).start, begun)
    alone = make_planner("ilqr", task, {"horizon_s": 0.5}, num_threads=1).plan(Trajectory.load(balanced).start)
    assert better.stats["gap"] == 0.0 and better.stats["iterations"] >= 1
    assert better.cost == pytest.approx(alone.cost, rel=1e-6)


def test_each_episodes_first_plan_goes_on_from_the_trajectory(balanced: Path) -> None:
    # of samples that are all alike the first plan is what it began from; later ones are what is left of it, held
    settings = {"horizon_s": 1.0, "samples": 2, "noise": 1e-12}
    config = MPCConfig("predictive_sampling", "CartpoleBalance", settings=settings, replan_steps=100)
    with np.load(balanced) as file:
        saved = file["actions"]
    done = plan(config, episodes=2, seed=3, begin=balanced, quiet=True).results.episodes
    for episode in done:
        np.testing.assert_allclose(episode.actions[:100], saved[:100], atol=1e-9)
        np.testing.assert_allclose(episode.actions[100:200], np.repeat(saved[99:100], 100, axis=0), atol=1e-9)


def test_what_a_planner_cannot_go_on_from_is_refused(balanced: Path) -> None:
    def going_on(task: str, settings: dict[str, Any], **more: Any) -> None:
        plan(MPCConfig("ilqr", task, settings=settings), begin=balanced, quiet=True, **more)

    with pytest.raises(UsageError, match="has 1000 control steps, fewer than horizon_s asks for, 1001"):
        going_on("CartpoleBalance", {"horizon_s": 10.01})
    with pytest.raises(UsageError, match="the model of PendulumSwingup is not .*: that of roborl/CartpoleBalance-v1"):
        going_on("PendulumSwingup", {})
    with pytest.raises(ConfigError, match="leave out real_time"):
        going_on("CartpoleBalance", {}, real_time=1.0)
    planner = make_planner("ilqr", tasks.load("CartpoleBalance"), num_threads=1)
    planner.config = None
    with pytest.raises(UsageError, match="ilqr has no horizon_s"):
        begun_plan(balanced, planner)


def nan(arrays: dict[str, Any]) -> None:
    arrays["actions"][3] = np.nan


def short(arrays: dict[str, Any]) -> None:
    arrays["qpos"] = arrays["qpos"][:-1]


def flat(arrays: dict[str, Any]) -> None:
    arrays["gains"] = arrays["gains"][:, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (nan, "actions must be finite"),
        (short, r"qpos must have 2 axes and 1001 rows, got \(1000, 2\)"),
        (flat, "gains must have 3 axes and 1000 rows"),
        (lambda arrays: arrays.update(qvel=arrays["qvel"].astype(np.float32)), "qvel must be finite numbers of double"),
        (lambda arrays: arrays.pop("points"), "must have points where it has gains"),
        (lambda arrays: arrays.pop("qvel"), "is no file of a trajectory.*qvel"),
        (lambda arrays: arrays.update(qpos=np.array([None])), "is no file of a trajectory.*allow_pickle"),
        (lambda arrays: about(arrays, format=9), "has format 9; this version reads 1"),
        (lambda arrays: about(arrays, policy={}), "is no file of a trajectory"),
        (lambda arrays: arrays.update(about=np.array("[]")), "is no file of a trajectory"),
        (lambda arrays: arrays.update(qpos=arrays["qpos"][:, :1]), "does not fit its task"),
        (lambda arrays: arrays.update(start_memory=np.zeros((1, 3))), "does not fit its task"),
    ],
)
def test_damaged_files_are_refused(change: Any, message: str, balanced: Path, tmp_path: Path) -> None:
    with pytest.raises(CorruptFile, match=message):
        api.replay(altered(balanced, tmp_path / "damaged.npz", change))


def test_where_a_file_cannot_be_written_the_path_is_said(balanced: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(RunError, match="cannot make the folder of .*file/plan.npz"):
        Trajectory.load(balanced).save(tmp_path / "file" / "plan.npz")


def test_files_that_are_none_are_refused(balanced: Path, tmp_path: Path) -> None:
    path = tmp_path / "none.npz"
    for content in (b"", b"PK\x03\x04 and no more", balanced.read_bytes()[:-100]):
        path.write_bytes(content)
        with pytest.raises(CorruptFile, match="is no file of a trajectory"):
            api.replay(path)
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name in ("array.npy", "missing.npz"):
        with pytest.raises(CorruptFile, match="is no file of a trajectory"):
            api.replay(tmp_path / name)


def test_a_model_that_has_changed_is_refused(balanced: Path, tmp_path: Path) -> None:
    path = altered(balanced, tmp_path / "other.npz", lambda arrays: about(arrays, model_sha256="0" * 64))
    with pytest.raises(UsageError, match="the model of CartpoleBalance is not the one that .* was made with"):
        api.replay(path)


@pytest.mark.usefixtures("can_render")
def test_the_command_replays_and_films(command: Any, tmp_path: Path, read_film: Any) -> None:
    path, film = tmp_path / "swing.npz", tmp_path / "film.mp4"
    settings = ["--set", "horizon_s=0.5", "--replan-steps", 10, "--quiet"]
    assert f"trajectory: {path}" in command("plan", "ilqr", "PendulumSwingup", *settings, "--save", path).out
    shown = command("replay", path, "--video", film)
    assert shown.out.splitlines()[0].split()[:2] == ["followed", "return"] and f"video: {film}" in shown.out
    assert len(read_film(film).frames) > 100
    followed = command("replay", path, "--seed", 1, "--json").json()["followed"]
    assert [f["how"] for f in followed] == ["open loop", "with gains"]
    refused = command("plan", "ilqr", "PendulumSwingup", "--save", tmp_path / "plan.json")
    assert refused.code == 2 and "--save takes a .npz file" in refused.err
