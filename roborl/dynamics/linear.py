r"""A linear system with a quadratic cost: what planners are measured with, for its optimum is known.

x' = A x + B u,      cost of a step:  (x' - g)' Q (x' - g) / 2 + u' R u / 2,      of the last state: S for Q
"""

from __future__ import annotations

import numpy as np

from roborl.dynamics.contract import Prediction, Rollout, SmoothDynamics
from roborl.dynamics.manifold import StateSpace
from roborl.errors import ConfigError
from roborl.sim import SimState
from roborl.task.contract import Task


def linear_state(x: np.ndarray) -> SimState:
    """Return states (N, nx) of a linear system as what planners take: they have no memory, parameters nor chance."""
    n = len(x)
    return SimState(np.array(x, float), np.zeros((n, 0)), np.zeros((n, 0)), np.zeros((n, 3), np.uint64))


def _root(name: str, matrix: np.ndarray, width: int) -> np.ndarray:
    """Return F with ``F' F`` the matrix, which must be symmetric and positive semidefinite."""
    matrix = np.asarray(matrix, float)
    if matrix.shape != (width, width) or not np.array_equal(matrix, matrix.T):
        raise ConfigError(f"{name} must be a symmetric {width} x {width} matrix, got {matrix.tolist()}")
    values, vectors = np.linalg.eigh(matrix)
    if values.min(initial=0.0) < -1e-12 * np.abs(values).max(initial=0.0):
        raise ConfigError(f"{name} must be positive semidefinite, got the eigenvalue {values.min():g}")
    return np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T


class LinearDynamics(SmoothDynamics):
    """A linear system with a quadratic cost.

    Args:
        A: (nx, nx).
        B: (nx, na).
        Q: (nx, nx) the states' weights.
        R: (na, na) the actions' weights.
        last: (nx, nx) S, what the last state costs beside; None: nothing.
        low: (na,) bounds of the action; None: unbounded below,
        high: and above.
        goal: (nx,) g; None: 0.
        control_dt: seconds between actions.

    Raises:
        ConfigError: if the shapes do not fit, or a weight is not positive semidefinite.
    """

    def __init__(
        self,
        A: np.ndarray,
        B: np.ndarray,
        Q: np.ndarray,
        R: np.ndarray,
        *,
        last: np.ndarray | None = None,
        low: np.ndarray | None = None,
        high: np.ndarray | None = None,
        goal: np.ndarray | None = None,
        control_dt: float = 0.1,
    ) -> None:
        self.A, self.B = np.asarray(A, float), np.asarray(B, float)
        if self.A.ndim != 2 or self.A.shape[0] != self.A.shape[1] or self.B.shape[:-1] != self.A.shape[:1]:
            raise ConfigError(f"A must be n x n and B n x m, got the shapes {self.A.shape} and {self.B.shape}")
        nx, na = self.B.shape
        self._Q, self._R = _root("Q", Q, nx), _root("R", R, na)
        self._S = np.zeros((0, nx)) if last is None else _root("last", last, nx)
        self.action_low = np.full(na, -np.inf) if low is None else np.asarray(low, float)
        self.action_high = np.full(na, np.inf) if high is None else np.asarray(high, float)
        self._goal = np.zeros(nx) if goal is None else np.asarray(goal, float)
        self._space = StateSpace(0, 0, nx)
        self._control_dt = control_dt
        self.steps = 0

    @property
    def task(self) -> Task:  # pyright: ignore[reportIncompatibleVariableOverride]
        """There is none.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("a linear system is no task: there are no episodes of it")

    @property
    def control_dt(self) -> float:
        """Seconds between actions."""
        return self._control_dt

    @property
    def space(self) -> StateSpace:
        """A flat space."""
        return self._space

    def coordinates(self, x: SimState) -> np.ndarray:
        """Return the points (N, nx) of N states, as of `linear_state`."""
        return x.physics

    def predict(self, at: SimState, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Return ``A x + B u``."""
        self.steps += len(x)
        return x @ self.A.T + u @ self.B.T

    def linearize(self, at: SimState, X: np.ndarray, U: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return A and B, H times."""
        return np.tile(self.A, (len(X), 1, 1)), np.tile(self.B, (len(X), 1, 1))

    def stage_residuals(self, at: SimState, after: np.ndarray, U: np.ndarray) -> np.ndarray:
        """Return residuals whose squares are the cost of a step."""
        return np.concatenate(((after - self._goal) @ self._Q.T, U @ self._R.T), axis=1)

    def terminal_residuals(self, at: SimState, last: np.ndarray) -> np.ndarray:
        """Return residuals whose squares are the cost of the last state."""
        return (last - self._goal) @ self._S.T

    def step(self, x: SimState, u: np.ndarray, seed: int) -> Prediction:
        """Predict one step; its reward is minus the cost of a step."""
        after = self.predict(x, x.physics, u)
        reward = -0.5 * np.sum(self.stage_residuals(x, after, u) ** 2, axis=1)
        diverged = np.asarray(~np.isfinite(reward))
        return Prediction(linear_state(after), np.where(diverged, np.nan, reward), np.zeros(len(u), bool), diverged)

    def rollout(self, x0: SimState, U: np.ndarray, seed: int) -> Rollout:
        """Predict what action sequences are worth; the last step's reward has minus the last state's cost in it."""
        rewards = np.zeros(U.shape[:2])
        x = linear_state(np.repeat(x0.physics, len(U), axis=0))
        for t in range(U.shape[1]):
            x, rewards[:, t], _, _ = self.step(x, U[:, t], seed)
        rewards[:, -1] -= 0.5 * np.sum(self.terminal_residuals(x, x.physics) ** 2, axis=1)
        return Rollout(rewards, np.asarray(~np.isfinite(rewards).all(axis=1)))
