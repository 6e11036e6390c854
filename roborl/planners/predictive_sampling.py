"""Predictive sampling: of the plan and noisy copies of it, take the cheapest (Howell et al. 2022).

"Predictive Sampling: Real-time Behaviour Synthesis with MuJoCo", algorithm 1. The simplest planner there is, and so
the one that the others must beat. The plan is a sample, so that with a true model and nothing drawn on the way a plan
is never worse than the one it began from.

Departure: not the plan is a spline, but its noise (drawn at knots, linear between them).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from roborl.dynamics.contract import Dynamics
from roborl.planners.contract import Plan
from roborl.planners.sampling import AnnealedConfig, SamplingPlanner
from roborl.sim import SimState


@dataclass(frozen=True)
class PredictiveSamplingConfig(AnnealedConfig):
    """Settings of predictive sampling; the first sample of a round is the plan itself."""

    noise: float = 0.2
    """Standard deviation of the first round's noise, in halves of the action's range."""


class PredictiveSampling(SamplingPlanner):
    """Plans with any Dynamics by taking the cheapest sample; see `SamplingPlanner`."""

    name: ClassVar = "predictive_sampling"
    Config: ClassVar = PredictiveSamplingConfig

    def __init__(self, dynamics: Dynamics, config: PredictiveSamplingConfig | None = None, seed: int = 0) -> None:
        super().__init__(dynamics, config, seed)
        self._basis = self.spline_basis()

    def plan(self, x0: SimState, warm_start: Plan | None = None) -> Plan:
        """Return the cheapest sample of all rounds as a plan from a state; see `Planner.plan`."""
        settings, predictions, U = self.config, self.predictions(x0), self.first(warm_start)
        for level in settings.noise_levels:
            deviations = level * self.half_range * self.noise(self._basis, settings.samples - 1)
            predictions.costs(self.around(U, deviations))
            U = predictions.best_U
        return Plan(U, predictions.best_cost, predictions.stats())
