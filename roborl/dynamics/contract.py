"""Dynamics: what predicts (x, u) -> x', the contract that lets every planner work on every model.

There are two ways to ask. Planners that sample want to know what actions are worth: `Dynamics` gives rewards. Planners
that follow gradients want a smooth optimal-control problem: `SmoothDynamics` gives derivatives on a `StateSpace`, and
costs in residual form.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from roborl.dynamics.manifold import StateSpace

if TYPE_CHECKING:
    from roborl.sim import SimState
    from roborl.task.contract import Task


class Prediction(NamedTuple):
    """One predicted control step of N simulations.

    Attributes:
        x: the states after it, N rows.
        reward: (N,); what it was worth, NaN where the prediction diverged.
        terminated: (N,) bool, true where the episode ended for good.
        diverged: (N,) bool, true where the prediction is worthless.
    """

    x: SimState
    reward: np.ndarray
    terminated: np.ndarray
    diverged: np.ndarray


class Rollout(NamedTuple):
    """What K action sequences from one state are worth.

    Attributes:
        rewards: (K, H); 0 after an episode has ended, as nothing follows it.
        diverged: (K,) bool, true where the prediction, or its reward, became NaN or infinite.
    """

    rewards: np.ndarray
    diverged: np.ndarray

    @property
    def costs(self) -> np.ndarray:
        """Return minus the sum of the rewards, (K,); +inf where the prediction diverged, so that NaN loses."""
        return np.where(self.diverged, np.inf, -self.rewards.sum(axis=1))


class Dynamics(ABC):
    """Predicts a task, or a system that has none.

    The state ``x`` is a simulation's whole `SimState`: physics, memory, parameters and counters. What a task draws on
    the way (a new command, say) is drawn from the planner's ``seed`` and never from the environment's, whose future no
    planner may see.

    Attributes:
        task: the task that is predicted; a system that has none raises ConfigError when asked for it.
        action_low, action_high: (na,) bounds of the action, in its units.
        steps: control steps predicted so far, over all simulations: what a planner costs.
    """

    task: Task
    action_low: np.ndarray
    action_high: np.ndarray
    steps: int

    @property
    def control_dt(self) -> float:
        """Seconds between actions: the task's; a system without a task says its own."""
        return self.task.control_dt

    @abstractmethod
    def step(self, x: SimState, u: np.ndarray, seed: int) -> Prediction:
        """Predict one control step.

        Args:
            x: N states, or one for all.
            u: (N, na) actions, in their units.
            seed: what the task draws is drawn from this, the same for all; in [0, 2^64).
        """

    def rollout(self, x0: SimState, U: np.ndarray, seed: int) -> Rollout:
        """Predict what action sequences are worth: by default by one step after another.

        Args:
            x0: one state (one row).
            U: (K, H, na) actions, in their units.
            seed: what the task draws is drawn from this, the same for all sequences, so that they differ by their
                actions alone; in [0, 2^64).
        """
        x = x0

        def step(u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            nonlocal x
            prediction = self.step(x, u, seed)
            x = prediction.x
            return prediction.reward, prediction.terminated, prediction.diverged

        return stepwise(step, U)


def stepwise(step: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]], U: np.ndarray) -> Rollout:
    """Return what action sequences are worth that are followed step by step, until all of their episodes have ended.

    Args:
        step: given the next actions (K, na), it returns rewards, what terminated and what diverged, (K,) each. Rows
            that have ended are stepped in vain, and may do as they like.
        U: (K, H, na) actions.
    """
    rewards = np.zeros(U.shape[:2])
    ended, diverged = np.zeros(len(U), bool), np.zeros(len(U), bool)
    for t in range(U.shape[1]):
        reward, terminated, worthless = step(U[:, t])
        rewards[:, t] = np.where(ended, 0.0, reward)
        diverged |= worthless & ~ended
        ended |= terminated | diverged
        if ended.all():
            break
    return Rollout(rewards, diverged | ~np.isfinite(rewards).all(axis=1))


class SmoothDynamics(Dynamics):
    """Dynamics with derivatives, and a smooth cost: what planners that follow gradients need.

    Its states are points ``x (nx,)`` of a state space. Where a function takes ``at``, a `SimState` of one row, whatever
    the points leave out (parameters, a goal, the time) is as it is there.
    """

    @property
    @abstractmethod
    def space(self) -> StateSpace:
        """The space of the points that `predict` takes and gives."""

    @abstractmethod
    def coordinates(self, x: SimState) -> np.ndarray:
        """Return the points (N, nx) of N states."""

    @abstractmethod
    def predict(self, at: SimState, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Return the points (N, nx) one control step after ``x (N, nx)`` with actions ``u (N, na)``.

        Rows are NaN where the prediction diverged.
        """

    def follow(
        self,
        at: SimState,
        X: np.ndarray,
        U: np.ndarray,
        k: np.ndarray,
        K: np.ndarray,
        lengths: np.ndarray,
        gaps: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        r"""Follow a trajectory with changes and feedback, for S lengths alpha of the changes at once.

            u_t = U_t + alpha k_t + K_t (x_t - X_t)  within the bounds,
            x_{t+1} = f(x_t, u_t) + (alpha - 1) gap_{t+1},

        from x_0 = X_0 + alpha gap_0: what there is of gaps closes by the part alpha.

        Args:
            at: what the points leave out.
            X: (H + 1, nx) points.
            U: (H, na) actions.
            k: (H, na) changes.
            K: (H, na, ndx) gains.
            lengths: (S,) alpha.
            gaps: (H + 1, ndx).

        Returns:
            The points (S, H + 1, nx), NaN from where the prediction diverged, and the actions (S, H, na).
        """
        space, (horizon, width) = self.space, U.shape
        points, actions = np.empty((len(lengths), *X.shape)), np.empty((len(lengths), horizon, width))
        alpha = lengths[:, None]
        left, open_gaps = (alpha - 1.0)[:, None] * gaps, bool((alpha < 1.0).any() and gaps.any())
        x = points[:, 0] = space.integrate(X[0], alpha * gaps[0])
        for t in range(horizon):
            u = U[t] + alpha * k[t] + space.difference(X[t], x) @ K[t].T
            u = actions[:, t] = np.minimum(np.maximum(u, self.action_low), self.action_high)
            x = self.predict(at, x, u)
            if open_gaps:
                x = space.integrate(x, left[:, t + 1])
            points[:, t + 1] = x
        return points, actions

    @abstractmethod
    def linearize(self, at: SimState, X: np.ndarray, U: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r"""Return the derivatives of `predict` at H points at once, in differences of states.

        With f for `predict`:  f(x + dx, u + du) - f(x, u) = A dx + B du + o(dx, du).

        Args:
            at: what the points leave out.
            X: (H, nx) points.
            U: (H, na) actions.

        Returns:
            A (H, ndx, ndx) and B (H, ndx, na); NaN where the prediction diverged.
        """

    @abstractmethod
    def stage_residuals(self, at: SimState, after: np.ndarray, U: np.ndarray) -> np.ndarray:
        """Return the weighed residuals (N, m) of steps: half the sum of their squares is a step's smooth cost.

        Args:
            at: what the points leave out.
            after: (N, nx) points after the steps.
            U: (N, na) their actions.

        Raises:
            UnsupportedCost: if there is no smooth cost, or it reads what cannot be had of a predicted state.
        """

    @abstractmethod
    def terminal_residuals(self, at: SimState, last: np.ndarray) -> np.ndarray:
        """Return the weighed residuals (N, m) of a plan's last points (N, nx); m may be 0.

        Raises:
            UnsupportedCost: as for `stage_residuals`.
        """
