"""Plots for people: a run's learning curve, an episode's trajectory."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np

from roborl.errors import UsageError
from roborl.planners.mpc import Episode
from roborl.run.log import read_metrics


def learning_curve(run_dir: Path, path: Path, title: str) -> None:
    """Draw the training episodes' return over environment steps.

    Args:
        run_dir: the run's folder.
        path: the PNG to write.
        title: the plot's title.

    Raises:
        UsageError: if no episode has ended yet.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [row for row in read_metrics(run_dir) if row["episode_return"] is not None]
    if not rows:
        raise UsageError(f"{run_dir} has no finished episode to plot yet")
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    steps = np.array([row["env_steps"] for row in rows])
    returns = np.array([row["episode_return"] for row in rows])
    axes.plot(steps, returns, color="#2a5587", linewidth=1.8)
    axes.set(xlabel="environment steps", ylabel="return of training episodes", title=title)
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def trajectory(
    path: Path, model: mujoco.MjModel, control_dt: float, episode: Episode, bounds: np.ndarray, title: str
) -> None:
    """Draw an episode's positions, speeds and actions over time, with the joints' and the actions' limits.

    Args:
        path: the PNG to write.
        model: the task's model, for names and limits.
        control_dt: seconds between actions.
        episode: the episode, of T steps.
        bounds: (2, na) the least and the greatest action.
        title: the plot's title.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7), layout="constrained")
    FigureCanvasAgg(figure)
    positions, speeds, controls = figure.subplots(3, 1, sharex=True)
    time_s = control_dt * np.arange(len(episode.qpos))
    limits = set()
    for j in range(model.njnt):
        if mujoco.mjtJoint(model.jnt_type[j]) not in (mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_HINGE):
            continue  # a pose in space is no single number
        name = model.joint(j).name
        positions.plot(time_s, episode.qpos[:, model.jnt_qposadr[j]], label=name, linewidth=1.4)
        speeds.plot(time_s, episode.qvel[:, model.jnt_dofadr[j]], linewidth=1.2)
        if model.jnt_limited[j]:
            limits.update(model.jnt_range[j].tolist())
    controls.step(time_s[:-1], episode.actions, where="post", linewidth=1.2)
    for axes, levels in ((positions, limits), (controls, set(bounds[np.isfinite(bounds)].tolist()))):
        for level in levels:
            axes.axhline(level, color="gray", linewidth=0.8, linestyle="--")
    positions.set(ylabel="positions [rad, m]", title=title)
    positions.legend(fontsize="small", ncols=4)
    speeds.set(ylabel="speeds [rad/s, m/s]")
    controls.set(xlabel="time [s]", ylabel="actions")
    for axes in (positions, speeds, controls):
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
