r"""CEM: the cross-entropy method, planning by fitting a distribution to the best samples (Rubinstein 1999).

De Boer, Kroese, Mannor, Rubinstein: "A Tutorial on the Cross-Entropy Method", Annals of Operations Research 134 (2005),
algorithm 3.3. Of K samples of a Gaussian over plans, the n cheapest are the elites, to which the next one is fitted:

    mu    <- (1 - alpha) mean(elites)      + alpha mu
    sigma <- (1 - alpha) deviation(elites) + alpha sigma

Departures: the noise is smooth in time (drawn at knots, linear between them), and of each action in each step a
deviation of its own is fitted, no covariance; bounds hold by clamping; deviations keep to a least one, as a population
that collapses early has stopped to search; the mean is itself a sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from roborl.dynamics.contract import Dynamics
from roborl.errors import ConfigError, check_count, check_range
from roborl.planners.contract import Plan
from roborl.planners.sampling import SamplingPlanner, SplineConfig, elite, fitted
from roborl.sim import SimState


@dataclass(frozen=True)
class CEMConfig(SplineConfig):
    """Settings of CEM."""

    iterations: int = 3
    """Rounds in which the distribution is fitted anew."""

    elites: int = 6
    """n, how many of the samples the next distribution is fitted to."""

    momentum: float = 0.1
    """alpha, how much of the old mean and deviation stays."""

    least_noise: float = 0.02
    """The least standard deviation of a fitted distribution, in halves of the action's range."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("elites", self.elites, 2)
        if self.elites > self.samples:
            raise ConfigError(f"elites must be at most the number of samples, {self.samples}, got {self.elites}")
        check_range("momentum", self.momentum, 0.0, 1.0, open_high=True)
        check_range("least_noise", self.least_noise, 0.0, self.noise)


class CEM(SamplingPlanner):
    """Plans with any Dynamics by fitting a Gaussian to the best samples; see `SamplingPlanner`."""

    name: ClassVar = "cem"
    Config: ClassVar = CEMConfig

    def __init__(self, dynamics: Dynamics, config: CEMConfig | None = None, seed: int = 0) -> None:
        super().__init__(dynamics, config, seed)
        self._basis = self.spline_basis()

    def plan(self, x0: SimState, warm_start: Plan | None = None) -> Plan:
        """Return the last round's mean as a plan from a state; see `Planner.plan`.

        Its cost is the mean of the elites' costs. Among its stats is the mean deviation, in halves of the range.
        """
        settings, predictions, mean = self.config, self.predictions(x0), self.first(warm_start)
        sigma = np.broadcast_to(settings.noise * self.half_range, mean.shape)
        cost = np.inf
        for _ in range(settings.iterations):
            samples = self.around(mean, sigma * self.noise(self._basis, settings.samples - 1))
            costs = predictions.costs(samples)
            best = elite(costs, settings.elites)
            mean, sigma = fitted(mean, sigma, samples[best], settings.momentum)
            sigma = np.maximum(sigma, settings.least_noise * self.half_range)
            cost = float(costs[best].mean())
        stats = predictions.stats() | {"noise": float((sigma / self.half_range).mean())}
        return Plan(mean, cost, stats)
