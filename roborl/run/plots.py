"""Plots for people: a run's learning curve, an episode's trajectory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from roborl.errors import UsageError
from roborl.run.log import read_metrics

if TYPE_CHECKING:
    import mujoco


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
    path: Path, model: mujoco.MjModel, control_dt: float, qpos: np.ndarray, actions: np.ndarray, title: str
) -> None:
    """Draw an episode's positions and actions over time, with the actuators' limits.

    Args:
        path: the PNG to write.
        model: the task's model, for names and limits.
        control_dt: seconds between actions.
        qpos: (T + 1, nq).
        actions: (T, na).
        title: the plot's title.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    time_s = control_dt * np.arange(len(qpos))
    scalar = [j for j in range(model.njnt) if model.jnt_type[j] in (2, 3)]  # slides and hinges
    for j in scalar:
        above.plot(time_s, qpos[:, model.jnt_qposadr[j]], label=model.joint(j).name, linewidth=1.4)
    above.set(ylabel="joint positions [rad, m]", title=title)
    above.legend(fontsize="small", ncols=3)
    below.step(time_s[:-1], actions, where="post", linewidth=1.2)
    for low, high in model.actuator_ctrlrange[model.actuator_ctrllimited.astype(bool)]:
        below.axhline(low, color="gray", linewidth=0.8, linestyle="--")
        below.axhline(high, color="gray", linewidth=0.8, linestyle="--")
    below.set(xlabel="time [s]", ylabel="actions")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
