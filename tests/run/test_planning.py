from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from roborl.errors import ConfigError, CorruptFile, UnknownName, UsageError
from roborl.run import api
from roborl.run.planning import MPCConfig, plan

QUICK = {"horizon_s": 0.2, "samples": 8}


def test_a_plan_shows_a_table_and_what_planning_cost(tmp_path: Path) -> None:
    config = MPCConfig("predictive_sampling", "CartpoleTrack", {"command_period_s": [0.5, 0.5]}, QUICK, replan_steps=5)
    files = {"plot": tmp_path / "new" / "plot.png", "policy": tmp_path / "mpc.json", "video": tmp_path / "film.mp4"}
    result = plan(
        config, episodes=2, seed=5, quiet=True, plot=files["plot"], policy=files["policy"], video=files["video"]
    )
    lines = result.summary().splitlines()
    assert lines[0].split() == ["seed", "return", "steps", "in", "success"]
    steps = sum(result.evaluation.lengths)
    planned = result.results.planner_steps
    assert 0 < planned <= result.results.plans * 8 * 20  # fewer where all poles have fallen before the horizon
    assert f"{planned:,} simulated steps in planning beside the task's {steps:,}" in result.summary()
    assert lines[-3:] == [f"{name}: {files[name]}" for name in ("video", "plot", "policy")]
    shown = json.loads(json.dumps(result.to_json()))
    assert shown["plot"] == str(files["plot"]) and shown["returns"] == result.evaluation.returns
    assert shown["settings"]["replan_steps"] == 5
    picture = imread(files["plot"])
    assert picture.shape[:2] == (1050, 1200)
    gray = np.abs(picture[:, :, :3] - 0.5).max(axis=2) < 0.02
    assert gray.any(axis=1).sum() >= 4  # the dashed lines of the limits
    assert files["video"].stat().st_size > 1000


def test_eval_takes_the_policy_that_plan_wrote_and_gives_the_same_returns(tmp_path: Path) -> None:
    path = tmp_path / "mpc.json"
    config = MPCConfig("mppi", "InvertedPendulum", {"mass": [0.9, 1.1]}, QUICK, replan_steps=3)
    result = plan(config, episodes=2, seed=5, policy=path, quiet=True)
    assert MPCConfig.load(path) == config.resolve()
    assert json.loads(path.read_text())["settings"]["temperature"] == 0.3  # nothing is left to defaults that may change
    assert api.evaluate(path, episodes=2, seed=5) == result.evaluation
    with pytest.raises(UsageError, match="an MPC policy has no checkpoints"):
        api.evaluate(path, checkpoint=3)


def test_presets_are_what_the_settings_begin_from() -> None:
    assert MPCConfig("mppi", "CartpoleTrack").resolve().settings["iterations"] == 2
    assert MPCConfig("mppi", "CartpoleTrack", settings={"iterations": 3}).resolve().settings["iterations"] == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no file of an MPC policy"),
        ('{"planner": "mppi"}', "is no file of an MPC policy"),
        ('{"format": 9}', "has format 9; this version reads 1"),
        ('{"format": 1, "planner": "mppi", "tusk": "X"}', "unknown setting of mpc 'tusk'"),
        ('{"format": 1, "planner": "mppi", "task": 3}', "task must be a str, got 3"),
        ('{"format": 1, "planner": "mppi"}', "MPCConfig: "),
    ],
)
def test_a_damaged_policy_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mpc.json"
    path.write_text(text)
    with pytest.raises(CorruptFile, match=message):
        api.evaluate(path)
    with pytest.raises(CorruptFile, match="is no file"):
        api.evaluate(tmp_path / "nothing.json")


def test_names_and_numbers_are_checked() -> None:
    refused: list[tuple[dict[str, Any], str]] = [
        ({"planner": "mpi", "task": "CartpoleTrack"}, "did you mean 'mppi'"),
        ({"planner": "mppi", "task": "CartpoleTrak"}, "did you mean 'roborl/CartpoleTrack-v1'"),
        ({"planner": "mppi", "task": "CartpoleTrack", "dynamics": "mujuco"}, "did you mean 'mujoco'"),
        ({"planner": "mppi", "task": "CartpoleTrack", "settings": {"sample": 3}}, "did you mean 'samples'"),
        ({"planner": "mppi", "task": "CartpoleTrack", "options": {"mas": 3}}, "did you mean 'mass'"),
    ]
    for words, message in refused:
        with pytest.raises(UnknownName, match=message):
            plan(MPCConfig(**words), quiet=True)
    with pytest.raises(ConfigError, match="replan_steps"):
        MPCConfig("mppi", "CartpoleTrack", replan_steps=0)
    with pytest.raises(ConfigError, match="speed must be a number"):
        plan(MPCConfig("mppi", "CartpoleTrack"), real_time=-1.0, quiet=True)


def test_the_command_plans_in_real_time_too(command: Any, tmp_path: Path) -> None:
    arguments = ["PendulumSwingup", "--set", "samples=8", "--set", "horizon_s=0.2", "--replan-steps", 2]
    finished = command("plan", "pi2", *arguments, "--real-time", 20, "--json")
    shown = finished.json()
    assert shown["real_time"]["speed"] == 20.0 and shown["plans"] == shown["real_time"]["plans"]
    assert shown["task_steps"] == 200 and shown["planner_steps"] == shown["plans"] * 8 * 4
    refused = command("plan", "mppi", "PendulumSwingup", "--policy", tmp_path / "policy.onnx")
    assert refused.code == 2 and "--policy takes a .json file" in refused.err
    said = command("plan", "pi2", *arguments, "--real-time", 20, "--quiet")
    assert "at 20 times real time: " in said.out and "missed their deadline" in said.out
