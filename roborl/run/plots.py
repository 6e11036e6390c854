"""Plots for people: a run's learning curve."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from roborl.errors import UsageError
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
