r"""MPPI: model-predictive path integral control, planning by sampling (Williams et al. 2018).

"Information-Theoretic Model Predictive Control: Theory and Applications to Autonomous Driving", IEEE T-RO 34(6),
algorithms 1 and 2. Of K noisy copies of a plan U, the cheap ones pull it to themselves:

    S_k = sum of costs of U + eps_k  +  gamma sum_t u_t' Sigma^-1 eps_k,t
    w_k ~ exp(-(S_k - min S) / lambda),    U <- U + sum_k w_k eps_k

Departures: the noise is smooth in time (drawn at knots, linear between them); bounds hold by clamping, and eps is
what the clamping leaves of it; lambda is a multiple of the costs' spread, so that it means the same for rewards of any
scale.
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
class MPPIConfig(AnnealedConfig):
    """Settings of MPPI; the first sample of a round is the plan itself."""

    temperature: float = 0.3
    """lambda, in standard deviations of the samples' costs: the lower, the more the cheapest sample decides."""

    control_cost: float = 0.0
    """gamma / lambda, in [0, 1]: how much the noise's own cost counts; it draws actions towards 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("temperature", self.temperature, 0.0, open_low=True)
        check_range("control_cost", self.control_cost, 0.0, 1.0)


def noise_costs(U: np.ndarray, noise: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Return ``sum_t u_t' Sigma^-1 eps_k,t`` (K,) for U (H, na), noise eps (K, H, na), deviations sigma (na,)."""
    return np.sum(U * noise / sigma**2, axis=(1, 2))


def weights(costs: np.ndarray, temperature: float) -> np.ndarray:
    """Return weights (K,) ~ ``exp(-(S - min S) / lambda)`` that sum to 1; infinite costs weigh nothing.

    Args:
        costs: S (K,), of which one at least is finite.
        temperature: lambda, in the costs' unit; at 0 the cheapest shares all.
    """
    above = costs - costs.min()
    w = np.exp(-above / temperature) if temperature > 0.0 else (above == 0.0).astype(float)
    return w / w.sum()


class MPPI(SamplingPlanner):
    """Plans with any Dynamics by weighing noisy samples; see `SamplingPlanner`."""

    name: ClassVar = "mppi"
    Config: ClassVar = MPPIConfig

    def __init__(self, dynamics: Dynamics, config: MPPIConfig | None = None, seed: int = 0) -> None:
        super().__init__(dynamics, config, seed)
        self._basis = self.spline_basis()

    def plan(self, x0: SimState, warm_start: Plan | None = None) -> Plan:
        """Return a plan from a state; see `Planner.plan`.

        Its cost is the average of the samples' costs in the last round, weighed as their actions are. Among its stats
        is how many samples' worth the weights are: one over the sum of their squares.
        """
        settings, predictions, U = self.config, self.predictions(x0), self.first(warm_start)
        costs = w = np.zeros(0)
        for level in settings.noise_levels:
            sigma = level * self.half_range
            samples = self.around(U, sigma * self.noise(self._basis, settings.samples - 1))
            noise = samples - U  # what the clamping has left of it
            costs = predictions.costs(samples)
            temperature = settings.temperature * float(costs[np.isfinite(costs)].std())
            total = costs
            if settings.control_cost > 0.0:
                total = costs + temperature * settings.control_cost * noise_costs(U, noise, sigma)
            w = weights(total, temperature)
            U = U + np.tensordot(w, noise, 1)
        finite = np.isfinite(costs)
        stats = predictions.stats() | {"effective_samples": float(1.0 / np.sum(w**2))}
        return Plan(np.clip(U, self.low, self.high), float(np.sum(w[finite] * costs[finite])), stats)
