from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roborl import tasks
from roborl.deploy.manifest import ACTION_LAW
from roborl.deploy.runtime import Policy
from roborl.run import api, bundle
from roborl.run.bundle import compare_returns
from roborl.run.policy import load_policy
from roborl.sim import Sim


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return api.export(trained, tmp_path_factory.mktemp("bundle") / "policy.onnx")


def test_the_bundle_acts_as_the_run_does(exported: Path, trained: Path) -> None:
    policy, original = Policy.load(exported), load_policy(trained)
    rows = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32) * 3.0
    ours = np.stack([policy.act(row) for row in rows])
    assert np.allclose(ours, original.act(rows), atol=4e-5)  # 1e-5 of the range


def test_the_manifest_says_what_the_task_is(exported: Path, trained: Path) -> None:
    manifest = Policy.load(exported).manifest
    assert (manifest.task, manifest.learner, manifest.run_path) == ("roborl/PendulumSwingup-v1", "sac", "run")
    assert manifest.control_rate_hz == 20.0 and manifest.joint_names == ("hinge",)
    (action,) = manifest.actions
    assert (action.low, action.high, action.unit) == (-2.0, 2.0, "N m")
    assert manifest.training["env_steps"] == 500 and manifest.training["seed"] == 0
    assert len(manifest.training["returns"]) == bundle.COMPARED
    assert manifest.training["returns"] == api.evaluate(trained, episodes=bundle.COMPARED).returns
    assert len(manifest.model_sha256) == 64


def test_a_bundle_of_the_tracking_task_has_its_delays_histories_and_command(tmp_path: Path) -> None:
    settings = {"hidden": (8,), "batch_size": 8, "learning_starts": 40, "updates_per_step": 0.1}
    run: dict[str, Any] = {"steps": 50, "compile": False, "threads": 1, "tensorboard": False, "quiet": True}
    run_dir = api.train("sac", "CartpoleTrack", out=tmp_path / "run", settings=settings, **run).run_dir
    path = api.export(run_dir)
    assert path == run_dir / "policy.onnx"
    manifest = Policy.load(path).manifest
    assert manifest.action_delay == (1, 2) and manifest.command_names == ("command",)
    names = [term.name for term in manifest.observations]
    assert "command" in names and "pole_mass" not in names  # that is for critics alone
    assert manifest.observations[0].history == 3
    assert manifest.action_law == ACTION_LAW
    report = bundle.verify(path, episodes=3)
    assert report.passed, report.table()


def test_a_bundle_states_the_law_that_moves_targets_and_the_delay_that_it_was_trained_with(tmp_path: Path) -> None:
    settings = {"hidden": (8,), "batch_size": 8, "learning_starts": 40, "updates_per_step": 0.1}
    run: dict[str, Any] = {"steps": 50, "compile": False, "threads": 1, "tensorboard": False, "quiet": True}
    options = {"action_delay": [0, 1]}
    trained = api.train("sac", "ArmReach", out=tmp_path / "run", options=options, settings=settings, **run)
    manifest = Policy.load(api.export(trained.run_dir)).manifest
    assert manifest.action_law == ACTION_LAW and manifest.action_delay == (0, 1)
    # the Panda's first joint: half of 2.175 rad/s in 0.04 s, at most 0.15 rad before the joint, within its limits
    first = manifest.actions[0]
    assert (first.moves, first.lead, first.limits) == (True, 0.15, (-2.8973, 2.8973))
    assert first.scale == pytest.approx(0.5 * 2.175 * 0.04)


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("Go1VelocityFlat", {}),
        ("ArmPickPlace", {}),
        ("ArmPickPlace", {"arm": "ur5e"}),
        ("ArmPickPlace", {"action_mode": "joint_torque"}),
        ("ArmPush", {}),
    ],
)
def test_the_law_in_the_manifest_gives_the_controls_of_the_task(task: str, options: dict[str, Any]) -> None:
    sim = Sim(tasks.load(task, action_delay=(0, 0), **options), num_threads=1)
    sim.reset()
    terms = bundle._describe_task(sim, {"task": task, "learner": "sac"}).actions
    rng, f = np.random.default_rng(0), sim.fields
    moved = 0
    for step in range(100):
        action = np.where(step % 30 < 25, 1.0, -1.0) * rng.uniform(0.0, 1.3, len(terms))  # until a limit, and back
        before, joints = f.ctrl[0].copy(), [float(sim.batch.joint(t.name).qpos[0, 0]) if t.lead else 0.0 for t in terms]
        sim.step(np.clip(action, sim.action_low, sim.action_high)[None])
        wanted = [t.control(a, c, j) for t, a, c, j in zip(terms, action, before, joints, strict=False)]
        assert f.ctrl[0, : len(terms)] == pytest.approx(np.array(wanted), abs=1e-12)
        moved += np.count_nonzero(f.ctrl[0] != before)
    assert moved > 500


def test_verifying_runs_every_check_and_the_simulation(exported: Path) -> None:
    report = bundle.verify(exported, episodes=4)
    assert report.passed
    assert [check.name for check in report.checks] == ["hash", "schema", "layout", "coverage", "golden", "simulation"]
    assert "over 4 episodes" in report.checks[-1].detail


def test_a_bundle_that_does_otherwise_in_simulation_fails(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate = bundle.evaluate

    def worse(*arguments: Any) -> Any:
        result = evaluate(*arguments)
        return dataclasses.replace(result, returns=[1.5 * value for value in result.returns])

    monkeypatch.setattr(bundle, "evaluate", worse)
    report = bundle.verify(exported)
    assert [check.name for check in report.checks if not check.passed] == ["simulation"]


def test_returns_are_compared_by_their_mean_as_narrowly_as_their_differences_allow() -> None:
    recorded = [float(r) for r in range(100, 120)]  # mean 109.5
    same = np.array(recorded)
    assert compare_returns(same, recorded).passed
    assert compare_returns(same + 1.0, recorded).passed  # within 1% of the mean
    assert not compare_returns(same + 1.2, recorded).passed
    # chaos: differences of +-10 about 0 allow 1.095 + 3 * 10.26 / sqrt(20) = 7.98
    chaos = 10.0 * (-1.0) ** np.arange(20)
    assert compare_returns(same + chaos, recorded).passed
    assert compare_returns(same + chaos + 7.9, recorded).passed
    assert not compare_returns(same + chaos + 8.1, recorded).passed
    # of two episodes the differences say little: sqrt(2) times the spread of the twenty, 5.77, stands in: 18.3
    assert compare_returns(np.array([100.0, 136.0]), recorded).passed
    assert not compare_returns(np.array([100.0, 140.0]), recorded).passed
    # more episodes than were recorded: the first twenty count
    assert compare_returns(np.append(same, 1e9), recorded).passed
    assert not compare_returns(np.full(20, np.nan), recorded).passed


def test_a_bundle_of_a_gymnasium_environment_declares_that_no_robot_knows_its_observations(tmp_path: Path) -> None:
    settings = {"hidden": (8,), "batch_size": 8, "learning_starts": 40}
    run: dict[str, Any] = {"steps": 45, "compile": False, "threads": 1, "tensorboard": False, "quiet": True}
    run_dir = api.train("sac", "Pendulum-v1", out=tmp_path / "run", settings=settings, **run).run_dir
    manifest = Policy.load(api.export(run_dir)).manifest
    assert manifest.control_rate_hz == 20.0
    assert [(term.name, term.on_hardware) for term in manifest.observations] == [("obs", False)]
    assert bundle.verify(run_dir / "policy.onnx", episodes=2).passed
    assert sorted(os.listdir(run_dir)) == sorted(
        [".lock", "checkpoints", "config.json", "metrics.jsonl", "policy.onnx", "replay", "versions.json"]
    )
