"""Planning runs: a planner controls a task in lock-step; results, plot and video of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from roborl import presets, tasks
from roborl.errors import check_count
from roborl.planners.mpc import PlanResults, make_planner, plan_episodes
from roborl.run.evaluate import EVALUATION_SEED, Evaluation, summarise
from roborl.run.log import Progress
from roborl.run.plots import trajectory
from roborl.run.video import VideoWriter
from roborl.sim import compile_task


@dataclass(frozen=True)
class PlanningResult:
    """What a planner did on a task, and where to look at it."""

    results: PlanResults
    evaluation: Evaluation
    video: Path | None
    plot: Path | None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        where = {"video": self.video, "plot": self.plot}
        files = {name: None if path is None else str(path) for name, path in where.items()}
        return self.results.summary() | self.evaluation.to_json() | files

    def summary(self) -> str:
        """Return it in a few lines."""
        r = self.results.summary()
        lines = [
            self.evaluation.summary(),
            f"{r['plans_per_s']:.0f} plans/s; {r['planner_steps']:,} simulated steps in planning "
            f"beside the task's {r['task_steps']:,}",
        ]
        lines += [f"{name}: {path}" for name, path in (("video", self.video), ("plot", self.plot)) if path is not None]
        return "\n".join(lines)


def plan(
    planner: str,
    task_name: str,
    *,
    episodes: int = 1,
    seed: int = EVALUATION_SEED,
    settings: dict[str, Any] | None = None,
    dynamics: str = "mujoco",
    substeps: int | None = None,
    video: Path | None = None,
    plot: Path | None = None,
    quiet: bool = False,
) -> PlanningResult:
    """Control a task by planning, the simulation waiting for each plan.

    Args:
        planner: the planner's name.
        task_name: a task's name, or FILE.py:Class.
        episodes: how many.
        seed: episode i is seeded with ``seed + i``, as in evaluations of learned policies.
        settings: the planner's settings that differ from presets and defaults.
        dynamics: what the planner predicts with, one of `roborl.dynamics.DYNAMICS`; what is controlled is the task's
            simulator in any case.
        substeps: time steps in a control step of the rigid-body model; None: as many as the simulator takes.
        video: where to write an mp4 of the first episode.
        plot: where to write a PNG of the first episode's states and actions.
        quiet: show no progress.

    Raises:
        UnknownName: if there is no such planner, task, setting or dynamics.
        NonFinite: if a simulation, or every prediction of it, diverged.
    """
    check_count("episodes", episodes, 1)
    task = tasks.load(task_name)
    chosen = presets.settings(planner, task_name) | (settings or {})
    writer = None if video is None else VideoWriter(video, task.control_dt)
    progress = Progress(episodes * task.episode_steps, quiet=quiet)
    steps = 0

    def on_step(episode: int, step: int, total: float) -> None:
        nonlocal steps
        steps += 1
        progress.update(steps, total)

    try:
        with progress:
            results = plan_episodes(
                make_planner(planner, task, chosen, dynamics=dynamics, substeps=substeps),
                episodes=episodes,
                seed=seed,
                on_step=on_step,
                on_frame=None if writer is None else writer.add,
            )
        if writer is not None:
            writer.save()
    finally:
        if writer is not None:
            writer.discard()
    first = results.episodes[0]
    if plot is not None:
        trajectory(plot, compile_task(task), task.control_dt, first.qpos, first.actions, f"{planner} on {task_name}")
    lengths = np.array([len(episode.rewards) for episode in results.episodes])
    success = [episode.success[-1] for episode in results.episodes if episode.success is not None]
    return PlanningResult(
        results, summarise(results.returns, lengths, np.array(success) if success else None), video, plot
    )
