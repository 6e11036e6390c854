"""Dynamics that predict a task: its state space and its smooth costs, whatever predicts its physics."""

from __future__ import annotations

import numpy as np

from roborl.dynamics.contract import SmoothDynamics
from roborl.dynamics.manifold import StateSpace
from roborl.dynamics.smooth import SmoothTask
from roborl.sim import SimState


class TaskDynamics(SmoothDynamics):
    """Dynamics whose points and costs are those of a `SmoothTask`."""

    _smooth: SmoothTask

    @property
    def space(self) -> StateSpace:
        """The space of points; see `SmoothTask`."""
        return self._smooth.space

    def coordinates(self, x: SimState) -> np.ndarray:
        """Return the points (N, nx) of N states."""
        return self._smooth.coordinates(x)

    def stage_residuals(self, at: SimState, after: np.ndarray, U: np.ndarray) -> np.ndarray:
        """Return the task's weighed residuals; see `SmoothDynamics.stage_residuals`."""
        return self._smooth.stage_residuals(at, after, U)

    def terminal_residuals(self, at: SimState, last: np.ndarray) -> np.ndarray:
        """Return the task's weighed residuals; see `SmoothDynamics.terminal_residuals`."""
        return self._smooth.terminal_residuals(at, last)
