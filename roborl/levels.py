"""Levels of difficulty: each simulation's own, which outlasts its episodes and follows what it achieves."""

from __future__ import annotations

import numpy as np

from roborl.task.contract import LEVEL, Task
from roborl.task.draw import Draw
from roborl.task.fields import Fields

NEXT_LEVEL = "level/next"
"""The memory of one more than the next episode's level; 0 where it has not been decided."""


class Levels:
    """Decides with which level episodes begin.

    Args:
        task: its ``levels``, ``first_levels`` and ``promotion`` say how.

    Attributes:
        memory: the memory that they need, name -> width.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self.memory = {LEVEL: 1, NEXT_LEVEL: 1} if task.levels > 0 else {}

    def end_episodes(self, fields: Fields, ids: np.ndarray) -> None:
        """Decide the next levels of ``ids (n,)`` from their present state.

        Beginning an episode does so too, where it has not been done; but between an episode's end and the reset there
        may be a step that goes for nothing.
        """
        if self.memory:
            promoted = fields.memory[LEVEL][ids] + self._task.promotion(fields)[ids, None]
            fields.memory[NEXT_LEVEL][ids] = np.maximum(promoted, 0.0) + 1.0

    def begin_episodes(self, fields: Fields, ids: np.ndarray, episodes: np.ndarray, draw: Draw) -> np.ndarray | None:
        """Return the levels (n, 1) with which ``ids`` begin; None where the task has none.

        Args:
            fields: the live fields, of the episodes that have ended.
            ids: (n,) the simulations.
            episodes: (n,) the numbers of the episodes that begin.
            draw: the randomness of these simulations.
        """
        if not self.memory:
            return None
        undecided = fields.memory[NEXT_LEVEL][ids, 0] == 0.0
        if undecided.any():
            self.end_episodes(fields, ids[undecided])
        task, level = self._task, fields.memory[NEXT_LEVEL][ids] - 1.0
        above = level >= task.levels
        if above.any():
            level = np.where(above, draw.integers("level/any", 0, task.levels - 1), level)
        first = (episodes == 0)[:, None]
        if first.any():
            level = np.where(first, draw.integers("level/first", 0, task.first_levels - 1), level)
        return level
