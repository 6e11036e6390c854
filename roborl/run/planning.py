"""Planning runs: a planner controls a task; what it is told, and results, plot and video of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from roborl import models, presets, tasks
from roborl.errors import ConfigError, CorruptFile, UnknownName, check_count
from roborl.planners.contract import Planner
from roborl.planners.mpc import PlanResults, make_planner, plan_episodes
from roborl.run.config import build_config, full_name
from roborl.run.evaluate import EVALUATION_SEED, Evaluation, summarise
from roborl.run.files import atomic_write_json
from roborl.run.log import Progress
from roborl.run.plots import trajectory
from roborl.run.tables import table
from roborl.run.trajectory import Trajectory, begun_plan
from roborl.run.video import VideoWriter, check_video_path

FORMAT = 1
"""Version of the file of an MPC policy; it changes when an older roborl could no longer read one."""


@dataclass(frozen=True)
class MPCConfig:
    """An MPC policy in words: enough to make it again; as a file, `roborl eval` takes it as it takes a run."""

    planner: str
    """The planner's name, or FILE.py:Class."""
    task: str
    """A task of roborl's, or FILE.py:Class."""
    options: dict[str, Any] = field(default_factory=dict)
    """The task's options."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The planner's settings, all of them once `resolve` has filled in presets and defaults."""
    dynamics: str = "mujoco"
    """What predicts: the name of dynamics, or FILE.py:Class."""
    replan_steps: int = 1
    """Control steps acted on each plan."""
    substeps: int | None = None
    """Time steps in a control step of the rigid-body model; None: as many as the simulator takes."""

    def __post_init__(self) -> None:
        check_count("replan_steps", self.replan_steps, 1)
        if self.substeps is not None:
            check_count("substeps", self.substeps, 1)
        for name, kind in (("planner", str), ("task", str), ("dynamics", str), ("options", dict), ("settings", dict)):
            if not isinstance(getattr(self, name), kind):
                raise ConfigError(f"{name} must be a {kind.__name__}, got {getattr(self, name)!r}")

    def make(self) -> Planner:
        """Return the planner.

        Raises:
            UnknownName: if there is no such planner, task, option, setting or dynamics.
            ConfigError: if one of them is outside what is allowed.
        """
        settings = presets.settings(self.planner, self.task) | self.settings
        task = tasks.load(self.task, **self.options)
        return make_planner(self.planner, task, settings, dynamics=self.dynamics, substeps=self.substeps)

    def resolve(self) -> MPCConfig:
        """Return the configuration with nothing left open: presets, the planner's defaults, full names."""
        settings = asdict(self.make().config)
        names = {name: full_name(getattr(self, name)) for name in ("planner", "task", "dynamics")}
        return replace(self, **names, settings=settings)

    def save(self, path: Path) -> None:
        """Write the policy to a file.

        Raises:
            RunError: if the system refuses.
        """
        atomic_write_json(path, {"format": FORMAT} | self.words())

    def words(self) -> dict[str, Any]:
        """Return the policy as JSON, with nothing left open."""
        return json.loads(json.dumps(asdict(self.resolve())))  # tuples become lists

    @classmethod
    def load(cls, path: Path) -> MPCConfig:
        """Read a policy's file.

        Raises:
            CorruptFile: if it is none, or of a format that this version does not read.
        """
        try:
            words = json.loads(path.read_text())
            found = words.pop("format")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptFile(f"{path} is no file of an MPC policy: {error!r}") from error
        if found != FORMAT:
            raise CorruptFile(f"{path} has format {found!r}; this version reads {FORMAT}")
        try:
            return build_config(cls, words)
        except (UnknownName, ConfigError) as error:
            raise CorruptFile(f"{path}: {error}") from error


@dataclass(frozen=True)
class PlanningResult:
    """What a planner did on a task, and where to look at it."""

    results: PlanResults
    evaluation: Evaluation
    files: dict[str, Path]
    """What was written, by what it is."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        files: dict[str, str | None] = {"video": None, "plot": None, "policy": None, "trajectory": None}
        files |= {name: str(path) for name, path in self.files.items()}
        return self.results.summary() | self.evaluation.to_json() | files

    def summary(self) -> str:
        """Return it as a table of the episodes and a few lines."""
        r = self.results.summary()
        rows = [
            [
                str(e.seed),
                f"{e.total:.1f}",
                str(len(e.rewards)),
                "-" if e.success is None else f"{e.success.mean():.0%}",
            ]
            for e in self.results.episodes
        ]
        lines = [
            *table(["seed", "return", "steps", "in success"], rows),
            self.evaluation.summary(),
            f"{r['plans_per_s']:.0f} plans/s; {r['planner_steps']:,} simulated steps in planning "
            f"beside the task's {r['task_steps']:,}",
        ]
        kept_up = self.results.real_time
        if kept_up is not None:
            latency = "-" if kept_up.latency_mean_s is None else f"{1e3 * kept_up.latency_mean_s:.0f} ms of the task"
            lines.append(
                f"at {kept_up.speed:g} times real time: {kept_up.missed_deadlines} of {kept_up.plans} plans missed "
                f"their deadline, latency {latency}; {kept_up.exhausted_steps} steps without a plan, "
                f"{kept_up.late_steps} late"
            )
        return "\n".join(lines + [f"{name}: {path}" for name, path in self.files.items()])


def plan(
    config: MPCConfig,
    *,
    episodes: int = 1,
    seed: int = EVALUATION_SEED,
    real_time: float | None = None,
    video: Path | None = None,
    plot: Path | None = None,
    policy: Path | None = None,
    save: Path | None = None,
    begin: Path | None = None,
    quiet: bool = False,
) -> PlanningResult:
    """Control a task by planning.

    Args:
        config: the policy.
        episodes: how many.
        seed: episode i is seeded with ``seed + i``, as in evaluations of learned policies.
        real_time: None: the task waits for each plan; else how many of its seconds pass in a second.
        video: where to write an mp4 of the first episode.
        plot: where to write a PNG of the first episode's states and actions.
        policy: where to write the policy's file, for `roborl eval`.
        save: where to write the first episode's states, actions and gains, for `roborl replay`.
        begin: a file that ``save`` wrote: the first plan of each episode goes on from what was done there.
        quiet: show no progress.

    Raises:
        UnknownName: if there is no such planner, task, option, setting or dynamics.
        CorruptFile: if the file to begin from is none of a trajectory.
        UsageError: if it is none of this task, or shorter than a plan.
        NonFinite: if a simulation, or every prediction of it, diverged.
    """
    check_count("episodes", episodes, 1)
    planner = config.make()
    task = planner.dynamics.task
    begun = None if begin is None else begun_plan(begin, planner)
    writer = None if video is None else VideoWriter(check_video_path(video), task.control_dt)
    progress = Progress(episodes * task.episode_steps, quiet=quiet)
    steps = 0

    def on_step(episode: int, step: int, total: float) -> None:
        nonlocal steps
        steps += 1
        progress.update(steps, total)

    try:
        with progress:
            results = plan_episodes(
                planner,
                episodes=episodes,
                seed=seed,
                replan_steps=config.replan_steps,
                real_time=real_time,
                begin=begun,
                on_step=on_step,
                on_frame=None if writer is None else writer.add,
            )
        if writer is not None:
            writer.save()
    finally:
        if writer is not None:
            writer.discard()
    if plot is not None:
        bounds = np.stack((planner.dynamics.action_low, planner.dynamics.action_high))
        title = f"{config.planner} on {config.task}"
        trajectory(plot, models.compile_task(task), task.control_dt, results.episodes[0], bounds, title)
    if policy is not None:
        config.save(policy)
    if save is not None:
        Trajectory.of(config.words(), planner, results.episodes[0]).save(save)
    written = {"video": video, "plot": plot, "policy": policy, "trajectory": save}
    files = {name: path for name, path in written.items() if path is not None}
    return PlanningResult(results, evaluation(results), files)


def evaluation(results: PlanResults) -> Evaluation:
    """Return the statistics of planned episodes, as an evaluation of a learned policy has them."""
    lengths = np.array([len(episode.rewards) for episode in results.episodes])
    success = [episode.success[-1] for episode in results.episodes if episode.success is not None]
    return summarise(results.returns, lengths, np.array(success) if success else None)
