"""A training run: its folder, its loop, its metrics and checkpoints, and how it is stopped and resumed."""

from __future__ import annotations

import dataclasses
import fcntl
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import torch

import roborl
from roborl.errors import CorruptFile, NonFinite, RunError, UsageError
from roborl.learner import OffPolicyLearner, OnPolicyLearner
from roborl.run.checkpoint import Checkpoints
from roborl.run.config import RunConfig
from roborl.run.executor import make_executor
from roborl.run.files import atomic_dir, atomic_write_json, os_errors, remove_leftovers, remove_tree
from roborl.run.log import MetricsLog, Progress
from roborl.run.loop import Loop
from roborl.run.off_policy import OffPolicyLoop
from roborl.run.on_policy import OnPolicyLoop

CONFIG = "config.json"


class TrainingResult(NamedTuple):
    """What a call of `train` or `resume` ends with.

    Attributes:
        run_dir: the run's folder.
        env_steps: steps taken in all.
        episode_return: mean return of the last training episodes, None before one has ended.
        wall_s: seconds trained for in all.
        interrupted: whether it was stopped before its end, and waits to be resumed.
    """

    run_dir: Path
    env_steps: int
    episode_return: float | None
    wall_s: float
    interrupted: bool


def default_run_dir(config: RunConfig) -> Path:
    """Return the folder that a run gets where none is asked for, as runs/sac-CartpoleSwingup-v1-s0."""
    learner, task = (Path(name).name.replace(".py:", "-") for name in (config.learner, config.task))
    return Path("runs") / f"{learner}-{task}-s{config.seed}"


def train(config: RunConfig, run_dir: Path | None = None, *, quiet: bool = False) -> TrainingResult:
    """Train from the beginning in a new folder.

    Args:
        config: the run's configuration.
        run_dir: the folder, which must not exist; None: `default_run_dir`.
        quiet: say nothing.

    Raises:
        UsageError: if the folder exists, or the configuration asks for what cannot be.
        RunError: if something broke; checkpoints written before are intact.
    """
    config = config.resolve()
    run_dir = default_run_dir(config) if run_dir is None else run_dir
    if run_dir.exists():
        raise UsageError(
            f"{run_dir} exists already; continue it with `roborl resume {run_dir}`, or choose another --out"
        )
    loop = _make_loop(config)  # before anything is written: most mistakes show here
    with os_errors("create", run_dir):
        run_dir.parent.mkdir(parents=True, exist_ok=True)
    with atomic_dir(run_dir) as folder:
        atomic_write_json(folder / CONFIG, config.to_json())
        atomic_write_json(folder / "versions.json", {"roborl": roborl.__version__, "torch": torch.__version__})
    with _locked(run_dir), MetricsLog(run_dir, tensorboard=config.tensorboard) as log:
        loop.begin()
        return _train(config, run_dir, loop, Checkpoints(run_dir, config.keep), log, 0.0, quiet)


def resume(
    run_dir: Path, *, steps: int | None = None, checkpoint: int | None = None, quiet: bool = False
) -> TrainingResult:
    """Continue a run from its last checkpoint, to the bit what it would have been without the stop.

    Args:
        run_dir: the run's folder.
        steps: train to this many steps instead of those it was begun with. Step sizes that are annealed are from there
            on what they would be in a run of so many steps from its beginning: they fall to 0 at the new end.
        checkpoint: the step of the checkpoint to continue from; None: the last.
        quiet: say nothing.

    Raises:
        UsageError: if it is no run, or is being trained by another process.
        CorruptFile: if a file of it is damaged.
    """
    config = RunConfig.load(run_dir / CONFIG)
    if steps is not None:
        config = dataclasses.replace(config, steps=steps)
    with _locked(run_dir), MetricsLog(run_dir, tensorboard=config.tensorboard) as log:
        remove_leftovers(run_dir, CONFIG)
        checkpoints = Checkpoints(run_dir, config.keep)
        loop = _make_loop(config)
        if checkpoints.latest() is None and checkpoint is None:  # stopped before its first checkpoint
            log.truncate_to(0)
            atomic_write_json(run_dir / CONFIG, config.to_json())
            loop.begin()
            return _train(config, run_dir, loop, checkpoints, log, 0.0, quiet)
        loaded = checkpoints.load(checkpoint)
        meta = loaded.meta
        if steps is not None and steps < meta["env_steps"]:
            trained = f"{run_dir} has been trained for {meta['env_steps']} steps"
            raise UsageError(f"{trained}: steps must be at least as many, got {steps}")
        if loop.replay is not None:
            loaded.fill_replay(loop.replay)
        try:
            loop.restore(loaded.tensors, meta)
        except KeyError as error:
            raise CorruptFile(
                f"checkpoint {loaded.step} of {run_dir} is of another roborl: it lacks {error}"
            ) from error
        log.check(meta["metrics_offset"])
        # All that could be wrong with the run would have shown by now: from here on it is changed.
        checkpoints.discard_after(loaded.step)
        log.truncate_to(meta["metrics_offset"], loaded.step)
        atomic_write_json(run_dir / CONFIG, config.to_json())
        if not (quiet or loop.executor.restorable):
            _say(f"the state of {config.task} cannot be saved: its environments begin new episodes")
        return _train(config, run_dir, loop, checkpoints, log, meta["wall_s"], quiet)


def _make_loop(config: RunConfig) -> Loop[Any]:
    torch.set_num_threads(config.threads)
    config.learner_config()  # before the environments are made: most mistakes show here
    executor = make_executor(config.task, config.num_envs, num_threads=config.sim_threads, options=config.options)
    learner = config.make_learner(executor.spaces)
    if isinstance(learner, OnPolicyLearner):
        return OnPolicyLoop(config, learner, executor)
    assert isinstance(learner, OffPolicyLearner)
    return OffPolicyLoop(config, learner, executor)


def _train(
    config: RunConfig,
    run_dir: Path,
    loop: Loop[Any],
    checkpoints: Checkpoints,
    log: MetricsLog,
    wall_before_s: float,
    quiet: bool,
) -> TrainingResult:
    began_s = time.perf_counter()
    saved = loop.env_steps if loop.env_steps else None

    def wall_s() -> float:
        return wall_before_s + time.perf_counter() - began_s

    def save() -> None:
        nonlocal saved
        arrays, meta = loop.snapshot()
        _check_finite(arrays)
        meta |= {"wall_s": wall_s(), "metrics_offset": log.offset()}
        checkpoints.save(loop.env_steps, arrays, meta, loop.replay)
        saved = loop.env_steps

    def write_metrics() -> None:
        log.write(
            {"env_steps": loop.env_steps, "wall_s": round(wall_s(), 3), "updates": loop.updates}
            | loop.episodes.take()
            | {name: float(value) for name, value in loop.metrics.items()}
        )

    with (
        closing(loop.executor),
        _stop_signals() as stop,
        Progress(config.steps, loop.env_steps, quiet=quiet) as progress,
    ):
        try:
            while loop.env_steps < config.steps and not stop:
                before = loop.env_steps
                loop.advance()
                progress.update(loop.env_steps, loop.episodes.recent_return)
                if loop.env_steps // config.log_every > before // config.log_every:
                    write_metrics()
                if loop.env_steps // config.checkpoint_every > before // config.checkpoint_every:
                    save()
            if saved != loop.env_steps:
                save()
        except NonFinite as error:
            raise _inspected(error, run_dir, loop, saved) from error
        except RunError as error:  # the disk is full, or broken
            begin = "the beginning" if saved is None else f"step {saved}"
            raise RunError(f"{error}; once that is mended, `roborl resume {run_dir}` continues from {begin}") from error
    interrupted = loop.env_steps < config.steps
    if interrupted and not quiet:
        _say(f"stopped at step {loop.env_steps}, saved; continue with `roborl resume {run_dir}`")
    return TrainingResult(run_dir, loop.env_steps, loop.episodes.recent_return, wall_s(), interrupted)


def _check_finite(arrays: Mapping[str, torch.Tensor | np.ndarray]) -> None:
    """Raise NonFinite if a learner's state is not finite: a checkpoint of it could never be trained on from."""
    for name, array in arrays.items():
        if name.startswith("learner/") and not torch.isfinite(torch.as_tensor(array)).all():
            raise NonFinite(f"{name} is not finite")


def _inspected(error: NonFinite, run_dir: Path, loop: Loop[Any], saved: int | None) -> NonFinite:
    """Write the state in which a run broke for inspection; return the error that says so."""
    folder = run_dir / "failure"
    try:
        if folder.exists():  # of a failure before the run was resumed
            remove_tree(folder)
        arrays, meta = loop.snapshot()
        text = {"error": str(error), "metrics": {name: str(value) for name, value in meta["metrics"].items()}}
        Checkpoints(folder, keep=1).save(loop.env_steps, arrays, meta | text)  # JSON knows no NaN
        where = f"the state is in {folder} for inspection"
    except RunError as second:
        where = f"the state could not be written for inspection: {second}"
    last = "there is no checkpoint yet" if saved is None else f"the last checkpoint is of step {saved}"
    return NonFinite(f"training broke at step {loop.env_steps}: {error}; {where}; {last}")


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect the first Ctrl-C or SIGTERM instead of dying of it; a second one acts at once."""
    received: list[int] = []
    old: dict[int, Any] = {}

    def handler(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for n, previous in old.items():
            signal.signal(n, previous)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            old[number] = signal.signal(number, handler)
    except ValueError:  # not in the main thread: signals are somebody else's
        pass
    try:
        yield received
    finally:
        for number, previous in old.items():
            signal.signal(number, previous)


@contextmanager
def _locked(run_dir: Path) -> Iterator[None]:
    """Hold a run's folder, so that no two processes write to it."""
    if not run_dir.is_dir():
        raise UsageError(f"there is no run at {run_dir}")
    with os_errors("lock", run_dir):
        lock = open(run_dir / ".lock", "w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{run_dir} is being trained by another process") from None
        yield


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
