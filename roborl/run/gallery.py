"""A picture of every task in one file, for people."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np

from roborl import tasks
from roborl.envs import TaskVectorEnv
from roborl.registry import short_name

COLUMNS = 6
STEPS = 12
"""Steps of random actions before the picture: what stands still looks alike in many tasks."""


def picture(name: str) -> np.ndarray:
    """Return a picture of a task shortly after the start of an episode, uint8 (height, width, 3)."""
    with closing(TaskVectorEnv(tasks.load(name), 1, "rgb_array", num_threads=1)) as env:
        env.reset(seed=0)
        rng = np.random.default_rng(0)
        for _ in range(STEPS):
            env.step(rng.uniform(env.sim.action_low, env.sim.action_high)[None])
        return env.picture(0)


def draw(path: Path) -> list[str]:
    """Draw all tasks, each with its name.

    Args:
        path: the picture to write; its suffix says how (.png, .jpg).

    Returns:
        The tasks' names, in the order of their pictures.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(tasks.TASKS)
    rows = -(-len(names) // COLUMNS)
    figure = Figure(figsize=(2.2 * COLUMNS, 1.95 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for axes in figure.subplots(rows, COLUMNS).flat:
        axes.axis("off")
    for name, axes in zip(names, figure.axes, strict=False):
        axes.imshow(picture(name))
        axes.set_title(short_name(name), fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    return names
