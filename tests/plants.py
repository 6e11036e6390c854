"""Small plants on which planners are tested: what they are worth is known by hand."""

from __future__ import annotations

import math

import numpy as np

from roborl.dynamics.contract import Dynamics, Prediction, Rollout
from roborl.sim import SimState


def state(*physics: float) -> SimState:
    """Return a state of one row that has nothing but physics."""
    return SimState(np.array([physics]), np.zeros((1, 0)), np.zeros((1, 0)), np.zeros((1, 3), np.uint64))


NOWHERE = state(0.0)


class Plant(Dynamics):
    """A plant of which planners ask for rollouts alone; it keeps what it was asked."""

    def __init__(self, control_dt: float = 0.05) -> None:
        self.steps, self._control_dt = 0, control_dt
        self.seen: list[np.ndarray] = []
        self.seeds: list[int] = []

    @property
    def control_dt(self) -> float:
        return self._control_dt

    def step(self, x: SimState, u: np.ndarray, seed: int) -> Prediction:
        raise NotImplementedError

    def note(self, U: np.ndarray, seed: int) -> None:
        """Keep a question, and count its steps."""
        self.seen.append(U.copy())
        self.seeds.append(seed)
        self.steps += U.shape[0] * U.shape[1]


class Valley(Plant):
    """A step's reward is minus the squared distance of the action to a goal; some actions can be made to diverge."""

    def __init__(self, goal: float = 0.7, breaks_above: float = math.inf) -> None:
        super().__init__()
        self.action_low, self.action_high = np.array([-2.0, -1.0]), np.array([2.0, 1.0])
        self.goal, self.breaks_above = goal, breaks_above

    def rollout(self, x0: SimState, U: np.ndarray, seed: int) -> Rollout:
        self.note(U, seed)
        rewards = -np.sum((U - self.goal) ** 2, axis=2)
        diverged = np.asarray((U > self.breaks_above).any(axis=(1, 2)))
        rewards[diverged] = np.nan
        return Rollout(rewards, diverged)


class DoubleIntegrator(Plant):
    """A mass that a force moves: x' = A x + B u, a step costs x' Q x' / 2 + u R u / 2, the last state 10 times that."""

    A, B = np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([[0.005], [0.1]])
    Q, R, Q_LAST = np.diag([1.0, 0.1]), np.array([[0.1]]), np.diag([10.0, 1.0])

    def __init__(self, most: float = 10.0) -> None:
        super().__init__(control_dt=0.1)
        self.action_low, self.action_high = np.array([-most]), np.array([most])

    def rollout(self, x0: SimState, U: np.ndarray, seed: int) -> Rollout:
        self.note(U, seed)
        x = np.repeat(x0.physics, len(U), axis=0)
        rewards = np.zeros(U.shape[:2])
        for t in range(U.shape[1]):
            x = x @ self.A.T + U[:, t] @ self.B.T
            weight = self.Q_LAST if t == U.shape[1] - 1 else self.Q
            rewards[:, t] = -0.5 * np.sum(x @ weight * x, axis=1) - 0.5 * np.sum(U[:, t] @ self.R * U[:, t], axis=1)
        return Rollout(rewards, np.zeros(len(U), bool))

    def optimum(self, x0: SimState, horizon: int) -> tuple[np.ndarray, float]:
        """Return the best actions (H, 1) and what they cost, by the Riccati recursion."""
        P, gains, cost = self.Q_LAST, [], 0.0
        for t in reversed(range(horizon)):
            K = np.linalg.solve(self.R + self.B.T @ P @ self.B, self.B.T @ P @ self.A)
            P = self.A.T @ P @ (self.A - self.B @ K)  # of the state before the step, which itself costs from step 1 on
            cost = 0.5 * float(x0.physics[0] @ P @ x0.physics[0])
            P = P + self.Q if t > 0 else P
            gains.append(K)
        x, U = x0.physics[0], []
        for K in reversed(gains):
            U.append(-K @ x)
            x = self.A @ x + self.B @ U[-1]
        return np.array(U), cost
