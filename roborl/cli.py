"""The command line: `roborl tasks | train | resume | eval | plan | replay | export | verify | view | doctor | demo`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from roborl import commands
from roborl.arguments import ASSIGNMENT, add_fields
from roborl.errors import RoborlError, UsageError

EXAMPLES = """examples:
  roborl tasks CartpoleSwingup
  roborl train sac roborl/CartpoleSwingup-v1
  roborl eval runs/sac-CartpoleSwingup-v1-s0 --video swingup.mp4
  roborl export runs/sac-CartpoleSwingup-v1-s0 && roborl verify runs/sac-CartpoleSwingup-v1-s0/policy.onnx
  roborl plan mppi CartpoleSwingup --video plan.mp4"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and which takes options by their full names alone."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: error: {message} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(UsageError.exit_code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the arguments; None: those of the process.

    Returns:
        The exit code: 0, 1 if something broke or a check failed, 2 if what was asked for is wrong, 130 if interrupted.
    """
    try:
        return _main(sys.argv[1:] if argv is None else list(argv))
    except RoborlError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains of it at its exit
        return 0
    except MemoryError as error:
        return _fail(f"not enough memory: {error}")
    except OSError as error:  # the machine's doing, not ours
        return _fail(str(error))


def _main(arguments: list[str]) -> int:
    try:
        options = _parser(arguments).parse_args(arguments)
        return options.run(options)
    finally:
        sys.stdout.flush()


def _fail(message: str, exit_code: int = 1) -> int:
    """Say what went wrong in one line."""
    print(f"roborl: error: {' '.join(message.split())}", file=sys.stderr)
    return exit_code


def _parser(arguments: list[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="roborl", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def command(name: str, run: Any, help_text: str, example: str) -> argparse.ArgumentParser:
        sub = subparsers.add_parser(
            name,
            help=help_text,
            description=help_text,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.add_argument("--json", action="store_true", help="print the result as JSON, for machines")
        sub.set_defaults(run=run)
        return sub

    sub = command(
        "tasks", commands.tasks, "List the tasks, or describe one; or check a model.", "roborl tasks CartpoleSwingup"
    )
    sub.add_argument("task", nargs="?", help="a task's name, or FILE.py:Class")
    sub.add_argument(
        "--check", type=Path, metavar="FILE", help="say what an MJCF lacks for a task; exit code 1 for errors"
    )

    sub.add_argument("--option", **ASSIGNMENT, help="an option of the task that is described, as mass=[0.8,1.2]")
    sub.add_argument("--gallery", type=Path, metavar="FILE", help="draw a picture of all tasks into this .png or .jpg")

    sub = command(
        "train", commands.train, "Train a learner on a task.", "roborl train sac CartpoleSwingup --steps 50000"
    )
    _add_train_arguments(sub, arguments)

    sub = command("resume", commands.resume, "Continue a run from its last checkpoint.", "roborl resume runs/RUN")
    sub.add_argument("run_dir", metavar="RUN", type=Path, help="the run's folder")
    sub.add_argument("--steps", type=int, help="train to this many steps instead; annealed step sizes fall to 0 there")
    sub.add_argument("--checkpoint", type=int, help="the step of the checkpoint to continue from (default: the last)")
    sub.add_argument("--quiet", action="store_true", help="show no progress")

    sub = command(
        "eval", commands.evaluate, "Evaluate a policy.", "roborl eval runs/RUN --episodes 20 --video episode.mp4"
    )
    sub.add_argument("run_dir", metavar="RUN", type=Path, help="the run's folder, or an MPC policy's file (.json)")
    sub.add_argument("--episodes", type=int, default=20, help="how many (default: 20)")
    sub.add_argument("--seed", type=int, default=10_000, help="episode i is seeded with this plus i")
    sub.add_argument("--checkpoint", type=int, help="the step of the checkpoint (default: the last)")
    sub.add_argument("--video", type=Path, help="write an mp4 of the first episode here")

    sub = command("plan", commands.plan, "Control a task by planning.", "roborl plan mppi CartpoleSwingup --episodes 3")
    sub.add_argument("planner", help="the planner's name, or FILE.py:Class")
    sub.add_argument("task", help="a task's name, or FILE.py:Class")
    sub.add_argument("--episodes", type=int, default=1, help="how many (default: 1)")
    sub.add_argument("--seed", type=int, default=10_000, help="episode i is seeded with this plus i")
    sub.add_argument("--dynamics", default="mujoco", help="what predicts: mujoco (default), rigid, or FILE.py:Class")
    sub.add_argument("--substeps", type=int, help="time steps in a control step of the rigid-body model")
    sub.add_argument("--replan-steps", type=int, default=1, help="control steps acted on each plan (default: 1)")
    sub.add_argument(
        "--real-time",
        type=float,
        nargs="?",
        const=1.0,
        metavar="SPEED",
        help="do not wait for plans: a thread makes them while the task passes at this speed (default: 1)",
    )
    sub.add_argument("--video", type=Path, help="write an mp4 of the first episode here")
    sub.add_argument("--plot", type=Path, help="write a PNG of the first episode's states and actions here")
    sub.add_argument("--policy", type=Path, metavar="FILE.json", help="write the policy here, for `roborl eval`")
    sub.add_argument(
        "--save", type=Path, metavar="FILE.npz", help="write the first episode here, with gains, for `roborl replay`"
    )
    sub.add_argument(
        "--from", dest="begin", type=Path, metavar="FILE.npz", help="go on from a trajectory that --save kept"
    )
    sub.add_argument("--set", **ASSIGNMENT, help="a setting of the planner, as samples=64")
    sub.add_argument("--option", **ASSIGNMENT, help="an option of the task, as mass=[0.8,1.2]")
    sub.add_argument("--quiet", action="store_true", help="show no progress")

    sub = command("replay", commands.replay, "Follow a planned trajectory again.", "roborl replay swingup.npz --seed 3")
    sub.add_argument("trajectory", type=Path, metavar="FILE.npz", help="what `roborl plan --save` wrote")
    sub.add_argument("--seed", type=int, help="begin as an episode with this seed does (default: as it began)")
    sub.add_argument("--video", type=Path, help="write an mp4 here, with gains if there are any")

    sub = command(
        "export", commands.export, "Write a run's policy as one file.", "roborl export runs/RUN --out policy.onnx"
    )
    sub.add_argument("run_dir", metavar="RUN", type=Path, help="the run's folder")
    sub.add_argument("--out", type=Path, help="the file (default: policy.onnx in the run's folder)")
    sub.add_argument("--checkpoint", type=int, help="the step of the checkpoint (default: the last)")

    sub = command("verify", commands.verify, "Check an exported policy.", "roborl verify runs/RUN/policy.onnx")
    sub.add_argument("bundle", metavar="BUNDLE", type=Path, help="the exported file")
    sub.add_argument("--episodes", type=int, default=20, help="episodes in simulation (default: 20)")

    sub = command("view", commands.view, "Watch a run's policy in MuJoCo's viewer.", "roborl view runs/RUN")
    sub.add_argument("run_dir", metavar="RUN", type=Path, help="the run's folder")

    command("doctor", commands.doctor, "Say what works on this machine, and what to install.", "roborl doctor")

    sub = command(
        "demo", commands.demo, "Train, evaluate, export, verify, and show a cart-pole.", "roborl demo --out demo"
    )
    sub.add_argument("--out", type=Path, default=Path("demo"), help="the folder for everything (default: demo)")
    return parser


def _add_train_arguments(sub: argparse.ArgumentParser, arguments: list[str]) -> None:
    sub.add_argument("algo", help="the learner's name or FILE.py:Class; name it before --help to see its settings")
    sub.add_argument("task", nargs="?", help="a task, FILE.py:Class, or the id of a gymnasium environment")
    sub.add_argument("--out", type=Path, help="the run's folder (default: runs/ALGO-TASK-sSEED)")
    sub.add_argument("--quiet", action="store_true", help="show no progress")
    sub.add_argument("--option", **ASSIGNMENT, help="an option of the task, as ctrl_cost_weight=0.2")
    if arguments[:1] != ["train"]:
        return  # what follows loads torch, which no other command's parsing needs
    from roborl.algos import LEARNERS, learner_class
    from roborl.run.config import RunConfig

    shown = bool({"-h", "--help"} & set(arguments))
    run = sub.add_argument_group("the run", "Where a task has values of its own, they come before these defaults.")
    add_fields(run, RunConfig, ("learner", "task", "options", "settings"), shown)
    algo = next((word for word in arguments[1:] if word in LEARNERS or ".py:" in word), None)
    if algo is None and arguments[1:] and not arguments[1].startswith("-"):
        algo = arguments[1]  # no learner: better said now than that its settings are unknown options
    if algo is None:
        return
    settings = sub.add_argument_group(f"settings of {algo}")
    try:
        add_fields(settings, learner_class(algo).Config, (), shown)
    except argparse.ArgumentError as error:  # a setting of the user's own learner, named as one of the run's
        raise UsageError(f"the settings of the learner {algo} must have names of their own: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
