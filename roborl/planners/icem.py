r"""iCEM: the cross-entropy method made sample-efficient for control (Pinneri et al. 2020).

"Sample-efficient Cross-Entropy Method for Real-time Planning", CoRL 2020, algorithm 1. To CEM it adds: noise that is
coloured in time, of a power spectrum 1 / f^beta; populations that shrink by a factor gamma from round to round; a share
of the elites that is kept from round to round, and, shifted in time, from plan to plan; the mean as one sample of the
last round; and the cheapest sample is executed, not the mean:

    samples_i ~ clip(mu + sigma C_beta),  max(K gamma^-i, 2 n) of them, with kept elites
    mu    <- (1 - alpha) mean(elites)      + alpha mu
    sigma <- (1 - alpha) deviation(elites) + alpha sigma

Departures: what is unknown at the end of a shifted elite is its last action, held, not a new draw; the first sample of
the first round is the mean too, so that a warm start is never lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from roborl.dynamics.contract import Dynamics
from roborl.errors import ConfigError, check_count, check_range
from roborl.planners.contract import Plan
from roborl.planners.sampling import SamplingConfig, SamplingPlanner, coloured_basis, elite, fitted
from roborl.sim import SimState

MEAN, ELITES = "mean", "elites"
"""What the next plan begins from: names in `Plan.carried`."""


@dataclass(frozen=True)
class ICEMConfig(SamplingConfig):
    """Settings of iCEM."""

    iterations: int = 3
    """Rounds in which the distribution is fitted anew."""

    elites: int = 6
    """n, how many of the samples the next distribution is fitted to."""

    decay: float = 1.25
    """gamma, by which the number of samples falls from round to round, down to twice the elites."""

    exponent: float = 2.0
    """beta, the colour of the noise in time: 0 is white, higher is smoother; 2 to 4 for low frequencies."""

    kept: float = 0.3
    """The share of the elites that is kept for the next round, and for the next plan."""

    momentum: float = 0.1
    """alpha, how much of the old mean and deviation stays."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("elites", self.elites, 2)
        if 2 * self.elites > self.samples:
            raise ConfigError(f"elites must be at most half the samples, {self.samples // 2}, got {self.elites}")
        check_range("decay", self.decay, 1.0)
        check_range("exponent", self.exponent, 0.0)
        check_range("kept", self.kept, 0.0, 1.0)
        check_range("momentum", self.momentum, 0.0, 1.0, open_high=True)

    @property
    def populations(self) -> list[int]:
        """How many samples each round has."""
        return [max(round(self.samples * self.decay**-i), 2 * self.elites) for i in range(self.iterations)]


class ICEM(SamplingPlanner):
    """Plans with any Dynamics by fitting a Gaussian to the best samples; see `SamplingPlanner`."""

    name: ClassVar = "icem"
    Config: ClassVar = ICEMConfig

    def __init__(self, dynamics: Dynamics, config: ICEMConfig | None = None, seed: int = 0) -> None:
        super().__init__(dynamics, config, seed)
        self._basis = coloured_basis(self.horizon, self.config.exponent)

    def plan(self, x0: SimState, warm_start: Plan | None = None) -> Plan:
        """Return the cheapest sample as a plan from a state; see `Planner.plan`."""
        settings, predictions, mean = self.config, self.predictions(x0), self.first(warm_start)
        known = np.empty((0, *mean.shape))
        if warm_start is not None:
            mean = warm_start.carried.get(MEAN, mean[None])[0]
            known = warm_start.carried.get(ELITES, known)
        num_kept = round(settings.kept * settings.elites)
        sigma = np.broadcast_to(settings.noise * self.half_range, mean.shape)
        for i, population in enumerate(settings.populations):
            if i in (0, settings.iterations - 1):
                known = np.concatenate((mean[None], known))
            drawn = mean + sigma * self.noise(self._basis, population - len(known))
            samples = np.clip(np.concatenate((known, drawn)), self.low, self.high)
            costs = predictions.costs(samples)
            best = elite(costs, settings.elites)
            mean, sigma = fitted(mean, sigma, samples[best], settings.momentum)
            known = samples[best[:num_kept]]
        carried = {MEAN: mean[None], ELITES: known}
        return Plan(predictions.best_U, predictions.best_cost, predictions.stats(), carried=carried)
