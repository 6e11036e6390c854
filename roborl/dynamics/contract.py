"""Dynamics: what predicts (x, u) -> x', the contract that lets every planner work on every model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

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
    """Predicts a task.

    The state ``x`` is a simulation's whole `SimState`: physics, memory, parameters and counters. What a task draws on
    the way (a new command, say) is drawn from the planner's ``seed`` and never from the environment's, whose future no
    planner may see.

    Attributes:
        task: the task that is predicted.
        action_low, action_high: (na,) bounds of the action, in its units.
        steps: control steps predicted so far, over all simulations: what a planner costs.
    """

    task: Task
    action_low: np.ndarray
    action_high: np.ndarray
    steps: int

    @abstractmethod
    def step(self, x: SimState, u: np.ndarray, seed: int) -> Prediction:
        """Predict one control step.

        Args:
            x: N states, or one for all.
            u: (N, na) actions, in their units.
            seed: what the task draws is drawn from this, the same for all; in [0, 2^64).
        """

    @abstractmethod
    def rollout(self, x0: SimState, U: np.ndarray, seed: int) -> Rollout:
        """Predict what action sequences are worth.

        Args:
            x0: one state (one row).
            U: (K, H, na) actions, in their units.
            seed: what the task draws is drawn from this, the same for all sequences, so that they differ by their
                actions alone; in [0, 2^64).
        """
