"""What the commands of the command line do: each takes the parsed options, prints, and returns the exit code.

What a command needs is imported when it is called: `roborl --help` loads neither torch nor MuJoCo.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any

from roborl.errors import UsageError


def _print(options: argparse.Namespace, result: Any, text: str) -> None:
    print(json.dumps(result) if options.json else text)


def tasks(options: argparse.Namespace) -> int:
    """List the tasks, or describe one; draw them all, or check a model."""
    from roborl import tasks
    from roborl.run import tables

    if options.check is not None:
        if options.task is not None:
            raise UsageError(f"tasks takes a task or --check FILE, got both: {options.task} and {options.check}")
        return _check(options)
    if options.gallery is not None:
        return _gallery(options)
    if options.task is None:
        rows = tables.list_tasks()
        header = ["task", "steps", "rate", ""]
        cells = [
            [row["task"], str(row["episode_steps"]), f"{1.0 / row['control_dt']:g} Hz", row["summary"]] for row in rows
        ]
        _print(options, rows, "\n".join(tables.table(header, cells)))
        return 0
    description = tables.describe_task(tasks.load(options.task, **dict(options.option)))
    _print(options, description, tables.render_task(description))
    return 0


def _gallery(options: argparse.Namespace) -> int:
    from roborl.run import gallery

    if options.gallery.suffix not in (".png", ".jpg"):
        raise UsageError(f"--gallery takes a .png or .jpg file, got {str(options.gallery)!r}")
    names = gallery.draw(options.gallery)
    _print(options, {"file": str(options.gallery), "tasks": names}, f"{options.gallery}: {len(names)} tasks")
    return 0


def _check(options: argparse.Namespace) -> int:
    from roborl.run import model_check, tables

    findings = model_check.check_model(options.check)
    result = model_check.to_json(findings)
    verdict = f"{options.check}: " + ("a task can use it" if result["usable"] else "no task can use it")
    lines = tables.table(["level", "element", ""], [list(finding) for finding in findings]) if findings else []
    _print(options, result, "\n".join([verdict, *lines]))
    return 0 if result["usable"] else 1


def train(options: argparse.Namespace) -> int:
    """Train a learner on a task."""
    from roborl.algos import learner_class
    from roborl.run import training
    from roborl.run.config import RunConfig

    learner = learner_class(options.algo)
    if options.task is None:
        raise UsageError("train needs a task, as in `roborl train sac CartpoleSwingup`; `roborl tasks` lists them")
    given = vars(options)
    run = {f.name: given[f.name] for f in dataclasses.fields(RunConfig) if f.name in given and f.name != "task"}
    settings = {f.name: given[f.name] for f in dataclasses.fields(learner.Config) if f.name in given}
    config = RunConfig.for_task(options.algo, options.task, options=dict(options.option), settings=settings, **run)
    return _report_training(options, training.train(config, options.out, quiet=options.quiet))


def resume(options: argparse.Namespace) -> int:
    """Continue a run."""
    from roborl.run import training

    result = training.resume(options.run_dir, steps=options.steps, checkpoint=options.checkpoint, quiet=options.quiet)
    return _report_training(options, result)


def _report_training(options: argparse.Namespace, result: Any) -> int:
    shown = "none has ended" if result.episode_return is None else f"{result.episode_return:.1f}"
    text = (
        f"{result.run_dir}: {result.env_steps} steps in {result.wall_s:.0f} s, return of the last episodes {shown}\n"
        f"next: roborl {'resume' if result.interrupted else 'eval'} {result.run_dir}"
    )
    _print(options, result._asdict() | {"run_dir": str(result.run_dir)}, text)
    return 130 if result.interrupted else 0


def evaluate(options: argparse.Namespace) -> int:
    """Evaluate a policy."""
    from roborl.run import api

    result = api.evaluate(
        options.run_dir,
        episodes=options.episodes,
        seed=options.seed,
        checkpoint=options.checkpoint,
        video=options.video,
    )
    text = result.summary() + ("" if options.video is None else f"\nvideo: {options.video}")
    _print(options, result.to_json(), text)
    return 0


def plan(options: argparse.Namespace) -> int:
    """Control a task by planning."""
    from roborl.run import planning

    if options.policy is not None and options.policy.suffix != ".json":
        raise UsageError(f"--policy takes a .json file, got {str(options.policy)!r}")
    if options.save is not None and options.save.suffix != ".npz":
        raise UsageError(f"--save takes a .npz file, got {str(options.save)!r}")
    config = planning.MPCConfig(
        options.planner,
        options.task,
        dict(options.option),
        dict(options.set),
        options.dynamics,
        options.replan_steps,
        options.substeps,
    )
    result = planning.plan(
        config,
        episodes=options.episodes,
        seed=options.seed,
        real_time=options.real_time,
        video=options.video,
        plot=options.plot,
        policy=options.policy,
        save=options.save,
        begin=options.begin,
        quiet=options.quiet,
    )
    _print(options, result.to_json(), result.summary())
    return 0


def replay(options: argparse.Namespace) -> int:
    """Follow a planned trajectory again."""
    from roborl.run import api

    result = api.replay(options.trajectory, seed=options.seed, video=options.video)
    _print(options, result.to_json(), result.summary())
    return 0


def export(options: argparse.Namespace) -> int:
    """Write a run's policy as one file."""
    from roborl.run import api

    path = api.export(options.run_dir, options.out, options.checkpoint)
    _print(options, {"bundle": str(path)}, f"{path}\nnext: roborl verify {path}")
    return 0


def verify(options: argparse.Namespace) -> int:
    """Check an exported policy."""
    from roborl.run import bundle

    report = bundle.verify(options.bundle, options.episodes)
    print(report.to_json() if options.json else report.table())
    return 0 if report.passed else 1


def view(options: argparse.Namespace) -> int:
    """Watch a policy."""
    from roborl.run import viewer

    viewer.view(options.run_dir)
    return 0


def doctor(options: argparse.Namespace) -> int:
    """Say what works on this machine."""
    from roborl.run import doctor, tables

    findings = doctor.examine()
    rows = [[f["what"], "ok" if f["works"] else "MISSING", f["found"], f["remedy"]] for f in findings]
    _print(options, findings, "\n".join(tables.table(["what", "state", "found", "remedy"], rows)))
    return 0 if all(f["works"] for f in findings) else 1


def demo(options: argparse.Namespace) -> int:
    """Train, evaluate, export and verify."""
    from roborl.run import demo

    result = demo.demo(options.out)
    _print(options, result, "\n".join(f"{name}: {value}" for name, value in result.items()))
    return 0 if result["verified"] == "passed" else 1
