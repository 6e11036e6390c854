"""The command line: what it takes, what it refuses and how, and what machines get from it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from roborl import models
from roborl.arguments import field_docs
from roborl.cli import _parser, main
from roborl.run.checkpoint import Checkpoints
from roborl.run.config import RunConfig

COMMANDS = ("tasks", "train", "resume", "eval", "plan", "export", "verify", "view", "doctor", "demo")

MY_TASK = '''
from math import inf
from roborl.task import Action
from roborl.tasks.pendulum import PendulumSwingup

class Mine(PendulumSwingup):
    """A task of the user's own."""

class Unbounded(PendulumSwingup):
    """The same without bounds."""
    action = Action(low=(-inf,), high=(inf,))

class NoTask:
    pass
'''

MY_LEARNER = """
from dataclasses import dataclass
from roborl.algos.a2c import A2C, A2CConfig

@dataclass(frozen=True)
class ClashingConfig(A2CConfig):
    steps: int = 3

class Mine(A2C):
    name = "mine"

class Clashing(A2C):
    name, Config = "clashing", ClashingConfig
"""


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file in a folder; a lock's name may appear, its content is empty."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def assert_refused(finished: Any, message: str) -> None:
    """Assert that a command ended as bad input should: one line, exit code 2, nothing on stdout."""
    assert finished.code == 2, finished.err
    assert finished.out == ""
    (line,) = finished.err.splitlines()
    assert line.startswith("roborl") and "error: " in line and message in line, line


REFUSED = {
    "an unknown command": ("trian sac", "invalid choice: 'trian'"),
    "no command": ("", "required: COMMAND"),
    "an unknown task": ("train sac Pendulm", "unknown task 'Pendulm'; did you mean 'roborl/PendulumSwingup-v1'?"),
    "an unknown task to describe": ("tasks Cartpol", "unknown task 'Cartpol'; did you mean 'roborl/Cartpole"),
    "an unknown learner": ("train sca PendulumSwingup --hidden 16", "unknown learner 'sca'; did you mean 'sac'?"),
    "a missing learner file": ("train nowhere.py:L PendulumSwingup", "nowhere.py' to load the learner 'L' from"),
    "a learner file without the class": ("train my_learner.py:Min my_task.py:Mine", "did you mean 'Mine'?"),
    "a learner file without a class named": ("train my_learner.py Hopper", "name the class of the learner, too"),
    "a learner file that is broken": ("train broken.py:Mine Hopper", "broken.py cannot be loaded: SyntaxError"),
    "a task as learner": ("train my_task.py:Mine Hopper", "unknown learner in my_task.py 'Mine'"),
    "a setting named as one of the run's": ("train my_learner.py:Clashing Hopper", "names of their own: argument --st"),
    "a setting that the user's learner has not": ("train my_learner.py:Mine Hopper --tau 1", "arguments: --tau 1"),
    "resume without the learner's file": ("resume ORPHAN", "gone.py' to load the learner 'Mine' from"),
    "eval without the learner's file": ("eval ORPHAN", "gone.py' to load the learner 'Mine' from"),
    "export without the learner's file": ("export ORPHAN", "gone.py' to load the learner 'Mine' from"),
    "no task": ("train sac", "train needs a task"),
    "no steps": ("train sac PendulumSwingup --steps 0", "steps must be a whole number of at least 1, got 0"),
    "negative steps": ("train sac PendulumSwingup --steps -5", "steps must be a whole number of at least 1, got -5"),
    "steps that are no number": ("train sac PendulumSwingup --steps many", "invalid int value: 'many'"),
    "no environments": (
        "train sac PendulumSwingup --num-envs 0",
        "num_envs must be a whole number of at least 1, got 0",
    ),
    "a negative seed": ("train sac PendulumSwingup --seed -1", "seed must be a whole number of at least 0, got -1"),
    "discrete actions": ("train sac CartPole-v1", "CartPole-v1 has the action space Discrete(2)"),
    "unbounded actions": ("train sac my_task.py:Unbounded", "the actions of Unbounded must be bounded"),
    "malformed widths": ("train sac PendulumSwingup --hidden 64,a", "invalid list of int value: '64,a'"),
    "empty widths": ("train sac PendulumSwingup --hidden=", "invalid list of int value: ''"),
    "a width of 0": ("train sac PendulumSwingup --hidden 64,0", "each width in hidden must be a whole number"),
    "a setting out of its range": ("train sac PendulumSwingup --gamma 2", "gamma must be a number in [0, 1], got 2.0"),
    "a setting that is not a number": ("train sac PendulumSwingup --gamma nan", "gamma must be a number in [0, 1]"),
    "an unknown precision": ("train sac PendulumSwingup --precision half", "precision must be one of 'float32'"),
    "an unknown setting": ("train sac PendulumSwingup --hiden 64", "unrecognized arguments: --hiden 64"),
    "a shortened setting": ("train sac PendulumSwingup --step 5", "unrecognized arguments: --step 5"),
    "an unknown option": ("train sac PendulumSwingup --option length=2", "unknown option of PendulumSwingup 'length'"),
    "an inverted range": (
        "train sac Hopper --option mass=[1.2,0.8]",
        "mass's upper end must be a number in [1.2, inf]",
    ),
    "a range that is none": (
        "train sac Hopper --option friction=2",
        "friction must be two numbers, the lower one first",
    ),
    "noise of a term that is not": (
        'train sac CartpoleSwingup --option sensor_noise={"angle":0.1}',
        "unknown measured observation term 'angle'; did you mean 'pole_angle'?",
    ),
    "a range of what the model has not": ("tasks CartpoleSwingup --option armature=[0.5,1]", "the model has no"),
    "a model file that is not there": ("train sac Hopper --option xml_file=nowhere.xml", "no MJCF at 'nowhere.xml'"),
    "a model file that does not parse": ("tasks Hopper --option xml_file=broken.xml", "broken.xml is not a valid MJCF"),
    "a model file of another robot": ("tasks CartpoleSwingup --option xml_file=other.xml", "unknown joint 'slider'"),
    "a gallery that is no picture": ("tasks --gallery film.gif", "--gallery takes a .png or .jpg file"),
    "an option without a value": ("train sac PendulumSwingup --option mass", "expected NAME=VALUE, got 'mass'"),
    "an option of a wrong kind": ("train sac CartpoleTrack --option command_period_s=3", "command_period_s"),
    "an unknown device": ("train sac PendulumSwingup --device tpu", "device must be cpu, cuda or cuda:NUMBER"),
    "a device that is not there": ("train sac PendulumSwingup --device cuda:77", "device 'cuda:77' was asked for"),
    "a missing task file": ("train sac nowhere.py:Mine", "nowhere.py' to load the task 'Mine' from"),
    "a task file without the class": ("train sac my_task.py:Min", "did you mean 'Mine'?"),
    "a class that is no task": ("train sac my_task.py:NoTask", "my_task.py 'NoTask' (valid: Mine, Unbounded)"),
    "a task file without a class named": ("train sac my_task.py", "name the class of the task, too"),
    "a task file that is broken": ("train sac broken.py:Mine", "broken.py cannot be loaded: SyntaxError"),
    "resume of nothing": ("resume nowhere", "nowhere is no run"),
    "resume of a file": ("resume my_task.py", "my_task.py is no run"),
    "resume of a folder that is no run": ("resume folder", "folder is no run: it has no config.json"),
    "eval of nothing": ("eval nowhere", "nowhere is no run"),
    "eval of a run without checkpoint": ("eval young", "young has no checkpoint yet"),
    "export of a run without checkpoint": ("export young", "young has no checkpoint yet"),
    "view of nothing": ("view nowhere", "nowhere is no run"),
    "no episodes": ("eval RUN --episodes 0", "episodes must be a whole number of at least 1, got 0"),
    "a negative first seed": ("eval RUN --seed -1", "seed must be a whole number of at least 0, got -1"),
    "an unknown checkpoint": ("eval RUN --checkpoint 123", "unknown checkpoint '123'"),
    "an unknown checkpoint to resume": ("resume RUN --checkpoint 123", "unknown checkpoint '123'"),
    "a video that is none": ("eval RUN --video film.gif", "a video is a file whose name ends in .mp4"),
    "steps below what was trained": ("resume RUN --steps 499", "has been trained for 500 steps"),
    "an existing run folder": (
        "train sac PendulumSwingup --out RUN",
        "exists already; continue it with `roborl resume",
    ),
    "an existing file as run folder": ("train sac PendulumSwingup --out my_task.py", "my_task.py exists already"),
    "no bundle": ("verify my_task.py", "my_task.py is no roborl bundle"),
    "an empty bundle": ("verify empty.onnx", "empty.onnx is no roborl bundle (0 bytes"),
    "a missing bundle": ("verify nowhere.onnx", "cannot read the bundle nowhere.onnx: No such file or directory"),
    "a folder as bundle": ("verify folder", "cannot read the bundle folder: Is a directory"),
    "no episodes to verify": ("verify my_task.py --episodes 0", "episodes must be a whole number of at least 1, got 0"),
    "a demo over something else": ("demo --out folder2", "folder2 holds something that is no demo"),
    "a demo over a file": ("demo --out my_task.py", "my_task.py holds something that is no demo"),
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> Path:
    """Return a folder with what the bad input refers to."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "my_task.py").write_text(MY_TASK)
    (folder / "my_learner.py").write_text(MY_LEARNER)
    (folder / "broken.py").write_text("class Mine(\n")
    (folder / "empty.onnx").touch()
    (folder / "broken.xml").write_text("<mujoco>\n  <worldbody>\n    <bod/>\n  </worldbody>\n</mujoco>\n")
    shutil.copy(models.path_of("gymnasium/hopper"), folder / "other.xml")
    (folder / "folder").mkdir()
    (folder / "folder2" / "run").mkdir(parents=True)
    (folder / "folder2" / "run" / "config.json").touch()
    (folder / "folder2" / "thesis.tex").touch()
    shutil.copytree(trained, folder / "RUN")
    shutil.copytree(trained, folder / "ORPHAN")  # whose learner's file has been moved
    config = json.loads((trained / "config.json").read_text())
    (folder / "ORPHAN" / "config.json").write_text(json.dumps(config | {"learner": f"{folder}/gone.py:Mine"}))
    (folder / "young").mkdir()
    shutil.copy(trained / "config.json", folder / "young")
    return folder


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_one_line_and_exit_code_2_and_nothing_is_written_or_lost(
    name: str, command: Any, desk: Path
) -> None:
    line, message = REFUSED[name]
    before = contents(desk)
    assert_refused(command(*line.split(), cwd=desk), message)
    assert contents(desk) == before


@pytest.mark.parametrize("damage", ["truncated", "altered", "missing"])
@pytest.mark.parametrize("file", ["state.safetensors", "state.json", "segment"])
def test_a_damaged_checkpoint_is_refused_and_nothing_is_lost(
    file: str, damage: str, command: Any, trained: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(trained, run_dir)
    last = run_dir / "checkpoints" / "0000000500"
    # rows 400 and on are not those of an earlier checkpoint
    path = max(run_dir.glob("replay/rows-4*")) if file == "segment" else last / file
    data = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(data[:-5])
    elif damage == "altered":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        path.unlink()
    before = contents(run_dir)
    commands = (
        [["resume", run_dir]] if file == "segment" else [["resume", run_dir], ["eval", run_dir], ["export", run_dir]]
    )
    for argv in commands:
        finished = command(*argv)
        assert_refused(finished, path.name)
        assert "intact: checkpoint 300, 400" in finished.err
        assert contents(run_dir) == before
    # What the message says holds: an earlier checkpoint leads to the same end.
    assert command("resume", run_dir, "--checkpoint", 400, "--quiet").code == 0
    a, b = (Checkpoints(folder, read_only=True).load() for folder in (run_dir, trained))
    assert a.step == b.step == 500
    assert all((a.tensors[name] == b.tensors[name]).all() for name in b.tensors)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("config.json", "{", "config.json is no configuration of a run"),
        ("config.json", "[]", "config.json is no configuration of a run"),
        ("config.json", '{"format": 99}', "config.json has format 99; this version reads 1"),
        ("config.json", '{"format": 1, "learner": "sac", "task": "X", "stpes": 1}', "unknown setting of run 'stpes'"),
        ("config.json", '{"format": 1, "learner": "sac", "task": 3}', "task must be a str, got 3"),
        ("config.json", '{"format": 1, "learner": "sac"}', "config.json: RunConfig: "),
        ("metrics.jsonl", '{"env_steps": 100}\n', "metrics.jsonl is truncated: it has 19 of"),
    ],
)
def test_a_damaged_configuration_or_log_is_refused(
    file: str, text: str, message: str, command: Any, trained: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(trained, run_dir)
    (run_dir / file).write_text(text)
    before = contents(run_dir)
    assert_refused(command("resume", run_dir, "--checkpoint", 400), message)
    assert contents(run_dir) == before


def test_a_run_with_other_networks_than_its_checkpoint_is_refused(command: Any, trained: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(trained, run_dir)
    config = json.loads((run_dir / "config.json").read_text())
    for changes, message in (
        ({"settings": config["settings"] | {"hidden": [32]}}, "must be torch.float32 of shape"),
        ({"task": "roborl/CartpoleSwingup-v1"}, "the run has one of"),
        ({"num_envs": 2}, "the run has one of"),
    ):
        (run_dir / "config.json").write_text(json.dumps(config | changes))
        before = contents(run_dir)
        assert_refused(command("resume", run_dir, "--checkpoint", 300), message)
        assert contents(run_dir) == before


def test_a_run_that_another_process_trains_is_left_alone(command: Any, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    child = command.start("train", "sac", "PendulumSwingup", "--no-compile", "--quiet", "--out", run_dir)
    while not (run_dir / "metrics.jsonl").exists():
        pass
    assert_refused(command("resume", run_dir), f"{run_dir} is being trained by another process")
    assert_refused(command("train", "sac", "PendulumSwingup", "--out", run_dir), "exists already")
    child.kill()
    child.wait()


def test_a_bundle_with_one_changed_byte_is_refused(command: Any, trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "policy.onnx"
    assert command("export", trained, "--out", path).code == 0
    data = path.read_bytes()
    for position in (0, len(data) // 3, len(data) // 2, len(data) - 1):
        changed = bytearray(data)
        changed[position] ^= 0x20
        (tmp_path / "changed.onnx").write_bytes(changed)
        assert_refused(command("verify", tmp_path / "changed.onnx"), "changed.onnx is")
    (tmp_path / "changed.onnx").write_bytes(data[:-1])
    assert_refused(command("verify", tmp_path / "changed.onnx"), "truncated or altered")


def test_what_the_system_refuses_is_one_line_and_exit_code_1(command: Any, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for argv in (
        ["train", "sac", "PendulumSwingup", "--out", tmp_path / "file" / "run"],
        ["export", trained, "--out", tmp_path / "file" / "policy.onnx"],
        ["export", trained, "--out", tmp_path],
        ["eval", trained, "--episodes", 1, "--video", tmp_path / "file" / "film.mp4"],
    ):
        finished = command(*argv)
        assert finished.code == 1 and finished.out == "", finished.err
        (line,) = finished.err.splitlines()
        assert line.startswith("roborl: error: ")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_every_command_gives_one_json_document_on_stdout_and_nothing_else(command: Any, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    arguments = "--steps 150 --no-compile --hidden 16 --batch-size 16 --learning-starts 140 --no-tensorboard".split()
    train = command("train", "sac", "PendulumSwingup", *arguments, "--out", run_dir, "--json")
    assert train.code == 0 and train.json()["run_dir"] == str(run_dir)
    assert train.json()["env_steps"] == 150 and train.json()["interrupted"] is False
    assert "150 of 150 steps" in train.err  # what is for people goes to stderr
    resume = command("resume", run_dir, "--steps", 210, "--json").json()
    assert resume["env_steps"] == 210 and resume["episode_return"] < 0
    evaluation = command("eval", run_dir, "--episodes", 3, "--json").json()
    assert len(evaluation["returns"]) == 3 and evaluation["lengths"] == [200] * 3
    assert command("export", run_dir, "--json").json() == {"bundle": str(run_dir / "policy.onnx")}
    verify = command("verify", run_dir / "policy.onnx", "--episodes", 2, "--json")
    assert verify.code == 0 and verify.json()["passed"] is True
    listed = command("tasks", "--json").json()
    assert "roborl/CartpoleTrack-v1" in [row["task"] for row in listed]
    described = command("tasks", "CartpoleTrack", "--json").json()
    assert described["task"] == "CartpoleTrack" and "pole_mass" in described["parameters"]
    doctor = command("doctor", "--json")
    assert {"what", "works", "found", "remedy"} == set(doctor.json()[0])
    assert doctor.code == (0 if all(finding["works"] for finding in doctor.json()) else 1)


def test_without_json_it_says_what_came_of_it_and_what_to_do_next(command: Any, trained: Path, tmp_path: Path) -> None:
    assert command("resume", trained, "--quiet").out.splitlines()[-1] == f"next: roborl eval {trained}"
    shown = command("eval", trained, "--episodes", 2).out
    assert shown.startswith("2 episodes: return -") and "interquartile mean" in shown
    path = tmp_path / "policy.onnx"
    assert command("export", trained, "--out", path).out == f"{path}\nnext: roborl verify {path}\n"
    assert command("verify", path, "--episodes", 1).out.splitlines()[-1] == f"{path}: verified"
    assert "roborl/Hopper-v1" in command("tasks").out
    table = command("tasks", "CartpoleTrack").out
    assert "observation group 'critic'" in table and "last_action" in table and "reward = on_command + upright" in table


@pytest.mark.parametrize("name", COMMANDS)
def test_every_commands_help_has_an_example_that_parses(name: str, command: Any, capsys: Any) -> None:
    finished = command(name, "--help")
    assert finished.code == 0 and finished.err == ""
    example = finished.out.rpartition("example:\n")[2].strip().split()
    assert example[:2] == ["roborl", name]
    assert callable(_parser(example[1:]).parse_args(example[1:]).run)
    assert "--json" in finished.out


def test_the_help_of_train_shows_every_setting_of_the_learner(command: Any) -> None:
    shown = " ".join(command("train", "sac", "--help").out.split())
    assert "--updates-per-step FLOAT Updates for each environment step" in shown
    assert "--hidden INT,... Widths of the hidden layers of actor and critics. (default: 256,256)" in shown
    assert "--compile, --no-compile Whether the update is compiled, where the machine can. (default: True)" in shown
    assert all(text for text in field_docs(RunConfig).values())


def test_options_are_taken_by_their_fields_names_and_defaults_leave_no_trace() -> None:
    plain = _parser(argv := ["train", "sac", "roborl/CartpoleSwingup-v1"]).parse_args(argv)
    assert (plain.algo, plain.task, plain.out, plain.quiet) == ("sac", "roborl/CartpoleSwingup-v1", None, False)
    assert not {"steps", "hidden", "seed"} & set(vars(plain))
    argv = "train --steps 7 sac my_task.py:Mine --hidden 8,9 --target-entropy -0.5 --no-compile --normalize-obs"
    argv += " --option a=[1,2] --option b=text --sim-threads 2 --updates-per-step 0.5"
    words = [str(word) for word in argv.split()]
    given = _parser(words).parse_args(words)
    assert (given.steps, given.hidden, given.target_entropy, given.compile) == (7, (8, 9), -0.5, False)
    assert given.option == [("a", [1, 2]), ("b", "text")]
    assert (given.normalize_obs, given.sim_threads, given.updates_per_step) == (True, 2, 0.5)


def test_python_m_roborl_is_the_command_line_and_help_and_tasks_load_no_torch() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "roborl", "--help"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert shown.startswith("usage: roborl ") and "examples:" in shown
    code = (
        "import sys\nfrom roborl.cli import main\n"
        "for argv in (['tasks'], ['tasks', 'CartpoleTrack'], ['resume', 'nowhere', '--steps', 'x'], ['--help']):\n"
        "    try:\n        main(argv)\n    except SystemExit:\n        pass\n"
        "    print(argv, 'torch' in sys.modules, file=sys.stderr)\n"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = [line for line in finished.stderr.splitlines() if line.startswith("[")]
    assert len(loaded) == 4 and all(line.endswith(" False") for line in loaded)


def test_a_reader_that_goes_away_is_no_error() -> None:
    line = f"{sys.executable} -m roborl tasks | head -c 1"
    finished = subprocess.run(line, shell=True, capture_output=True, text=True, check=True, timeout=60)
    assert finished.stdout == "t" and finished.stderr == ""


def test_an_interrupt_outside_of_training_is_exit_code_130(monkeypatch: Any, capsys: Any) -> None:
    def interrupted(_: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("roborl.commands.doctor", interrupted)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == "roborl: error: interrupted\n"


def test_too_little_memory_is_said_in_a_line(command: Any, tmp_path: Path) -> None:
    finished = command("train", "sac", "PendulumSwingup", "--buffer-size", 10**15, "--out", tmp_path / "run")
    assert finished.code == 1
    (line,) = finished.err.splitlines()
    assert line.startswith("roborl: error: not enough memory: ")
    assert not (tmp_path / "run").exists()
