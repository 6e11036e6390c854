"""What README.md shows works as it stands there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


def block(file: str) -> str:
    """The example that is that file, which its first line says."""
    return next(text for text in BLOCKS if text.startswith(f"# {file}\n"))


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def roborl(folder: Path, *arguments: str) -> str:
    return run(folder, sys.executable, "-m", "roborl", *arguments)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readme")


def test_the_examples_in_python_run_one_after_the_other(folder: Path) -> None:
    training, robot, *_ = BLOCKS
    shown = run(folder, sys.executable, "-c", training)
    assert shown.startswith("4 episodes: return")
    assert (folder / "runs" / "example" / "policy.onnx").is_file()
    shown = run(folder, sys.executable, "-c", robot)
    assert shown.startswith("100.0 ('cart_position.slider'")


def test_a_task_in_a_file_of_ones_own_trains_plans_and_is_described(folder: Path) -> None:
    (folder / "my_task.py").write_text(block("my_task.py"))
    task = "my_task.py:ReachTheEnd"
    described = json.loads(roborl(folder, "tasks", task, "--json"))
    assert described["reward_terms"] == ["near", "upright"]
    settings = ["--hidden=16,16", "--learning-starts=100", "--batch-size=32", "--no-compile", "--quiet", "--json"]
    trained = json.loads(roborl(folder, "train", "sac", task, "--steps=600", "--out=run", *settings))
    assert trained["env_steps"] == 600
    assert json.loads(roborl(folder, "eval", "run", "--episodes=2", "--json"))["success_rate"] is not None
    planned = roborl(folder, "plan", "mppi", task, "--set=samples=8", "--set=horizon_s=0.2", "--quiet", "--json")
    assert json.loads(planned)["episodes"] == 1


def test_a_planner_in_a_file_of_ones_own_plans_and_can_be_evaluated(folder: Path) -> None:
    (folder / "my_planner.py").write_text(block("my_planner.py"))
    planner = ["plan", "my_planner.py:MeanOfTheBest", "PendulumSwingup", "--set=horizon_s=1.0", "--set=samples=64"]
    planned = json.loads(roborl(folder, *planner, "--set=best=3", "--policy=mpc.json", "--quiet", "--json"))
    assert planned["settings"]["best"] == 3 and planned["planner_steps"] == 200 * 64 * 20
    evaluated = json.loads(roborl(folder, "eval", "mpc.json", "--episodes=1", "--json"))
    assert evaluated["returns"] == planned["returns"]


def test_dynamics_in_a_file_of_ones_own_are_planned_with(folder: Path) -> None:
    (folder / "my_dynamics.py").write_text(block("my_dynamics.py"))
    plan = ["plan", "ilqr", "PendulumSwingup", "--seed=10000", "--quiet", "--json"]
    own = json.loads(roborl(folder, *plan, "--dynamics=my_dynamics.py:PendulumEquation", "--policy=own.json"))
    # the equation is the simulator's: so is what its plans earn there, to what rounding makes of a swing-up
    assert own["returns"] == pytest.approx(json.loads(roborl(folder, *plan))["returns"], abs=1.0)
    assert own["planner_steps"] > own["task_steps"] == 200
    evaluated = json.loads(roborl(folder, "eval", "own.json", "--episodes=1", "--seed=10000", "--json"))
    assert evaluated["returns"] == own["returns"]


def test_a_saved_trajectory_is_followed_with_numpy_alone(folder: Path) -> None:
    roborl(folder, "plan", "ilqr", "PendulumSwingup", "--set=horizon_s=1.0", "--save=swing.npz", "--quiet")
    # where it answers most to the angle: nothing where the state is as planned, and the gain for what it is off
    asked = """
K = plan["gains"][:, 0, 0]
t = int(np.argmax(np.abs(K)))
there = plan["qpos"][t], plan["qvel"][t]
print(*(action(t, there[0] + off, there[1]) - plan["actions"][t] - off * K[t] for off in (0.0, 1e-6)), K[t])
"""
    same, off, gain = (
        float(n.strip("[]")) for n in run(folder, sys.executable, "-c", block("on_the_robot.py") + asked).split()
    )
    assert same == 0.0 and abs(off) < 1e-12 and abs(gain) > 1.0
    assert "with gains" in roborl(folder, "replay", "swing.npz", "--seed=3")


def test_a_learner_in_a_file_of_ones_own_learns_resumes_is_evaluated_and_exported(folder: Path) -> None:
    (folder / "my_learner.py").write_text(block("my_learner.py"))
    learning = ["train", "my_learner.py:AWR", "InvertedPendulum", "--num-envs=8", "--no-compile", "--quiet", "--json"]
    begun = json.loads(roborl(folder, *learning, "--steps=2100", "--temperature=0.3", "--out=awr"))
    assert begun["env_steps"] >= 2100 and begun["episode_return"] < 15  # one rollout: it falls as it did
    resumed = json.loads(roborl(folder, "resume", "awr", "--steps=10000", "--quiet", "--json"))
    assert resumed["episode_return"] > 30
    config = json.loads((folder / "awr" / "config.json").read_text())
    assert config["learner"] == f"{folder}/my_learner.py:AWR" and config["settings"]["temperature"] == 0.3
    assert json.loads(roborl(folder, "eval", "awr", "--episodes=2", "--json"))["mean"] > 30
    roborl(folder, "export", "awr")
    assert json.loads(roborl(folder, "verify", "awr/policy.onnx", "--episodes=1", "--json"))["passed"]


def test_every_command_shown_exists() -> None:
    shown = set(re.findall(r"^roborl (\w+)", README.read_text(), flags=re.MULTILINE))
    help_text = run(README.parent, sys.executable, "-m", "roborl", "--help")
    assert shown >= {"tasks", "train", "resume", "eval", "export", "verify", "plan", "doctor"}
    for command in shown:
        assert re.search(rf"^    {command} ", help_text, flags=re.MULTILINE), command
