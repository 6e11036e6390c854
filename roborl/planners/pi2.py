r"""PI2: policy improvement with path integrals, planning by sampling (Theodorou, Buchli, Schaal 2010).

"A Generalized Path Integral Control Approach to Reinforcement Learning", JMLR 11, table 1. As in MPPI the cheap ones
of K noisy copies of a plan U pull it to themselves, but in each time step those whose cost *from there on* is low: what
a sample did before does not count against what it does now.

    S_k,t = sum of costs from step t on
    P_k,t ~ exp(-h (S_k,t - min_k S) / (max_k S - min_k S)),    U_t <- U_t + sum_k P_k,t eps_k,t

Departures: the parameters are the actions themselves, one basis function a step, so that the projection M is the
identity; the noise is smooth in time (drawn at knots, linear between them); bounds hold by clamping, and eps is what
the clamping leaves of it. The control cost that the paper adds is the task's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from roborl.dynamics.contract import Dynamics
from roborl.errors import check_range
from roborl.planners.contract import Plan
from roborl.planners.sampling import AnnealedConfig, SamplingPlanner
from roborl.sim import SimState


@dataclass(frozen=True)
class PI2Config(AnnealedConfig):
    """Settings of PI2; the first sample of a round is the plan itself."""

    sharpness: float = 10.0
    """h: the dearest sample weighs exp(-h) times the cheapest; 10 in the paper."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("sharpness", self.sharpness, 0.0, open_low=True)


def costs_to_go(step_costs: np.ndarray) -> np.ndarray:
    """Return the sum of costs (K, H) from each step on, (K, H)."""
    return np.cumsum(step_costs[:, ::-1], axis=1)[:, ::-1]


def step_weights(to_go: np.ndarray, sharpness: float) -> np.ndarray:
    """Return weights (K, H) ~ ``exp(-h (S - min S) / (max S - min S))`` that sum to 1 in each step.

    Args:
        to_go: S (K, H), of which one sample's at least are finite; infinite ones weigh nothing.
        sharpness: h.
    """
    above = to_go - to_go.min(axis=0)
    spread = np.where(np.isfinite(above), above, 0.0).max(axis=0)
    w = np.exp(-sharpness * above / np.where(spread > 0.0, spread, 1.0))
    return w / w.sum(axis=0)


class PI2(SamplingPlanner):
    """Plans with any Dynamics by weighing noisy samples step by step; see `SamplingPlanner`."""

    name: ClassVar = "pi2"
    Config: ClassVar = PI2Config

    def __init__(self, dynamics: Dynamics, config: PI2Config | None = None, seed: int = 0) -> None:
        super().__init__(dynamics, config, seed)
        self._basis = self.spline_basis()

    def plan(self, x0: SimState, warm_start: Plan | None = None) -> Plan:
        """Return a plan from a state; see `Planner.plan`.

        Its cost is the sum over its steps of the samples' costs in the last round, weighed as their actions are. Among
        its stats is how many samples' worth the weights are on average: one over the sum of their squares.
        """
        settings, predictions, U = self.config, self.predictions(x0), self.first(warm_start)
        step_costs = w = np.zeros((0, self.horizon))
        for level in settings.noise_levels:
            samples = self.around(U, level * self.half_range * self.noise(self._basis, settings.samples - 1))
            step_costs = predictions.step_costs(samples)
            w = step_weights(costs_to_go(step_costs), settings.sharpness)
            U = U + np.einsum("kh,kha->ha", w, samples - U)
        finite = np.isfinite(step_costs[:, 0])
        stats = predictions.stats() | {"effective_samples": float(np.mean(1.0 / np.sum(w**2, axis=0)))}
        return Plan(np.clip(U, self.low, self.high), float(np.sum(w[finite] * step_costs[finite])), stats)
