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
from typing import Any, ClassVar

import numpy as np

from roborl.dynamics.contract import Dynamics
from roborl.errors import ConfigError, NonFinite, check_count, check_range
from roborl.planners.contract import Plan, Planner
from roborl.sim import SimState


@dataclass(frozen=True)
class MPPIConfig:
    """Settings of MPPI."""

    horizon_s: float = 1.25
    """Seconds that a plan looks ahead."""

    samples: int = 32
    """K, noisy copies of the plan in a round; the first is the plan itself."""

    iterations: int = 1
    """Rounds in which a plan is improved."""

    temperature: float = 0.3
    """lambda, in standard deviations of the samples' costs: the lower, the more the cheapest sample decides."""

    noise: float = 0.5
    """Standard deviation of the noise, in halves of the action's range."""

    last_noise: float = 0.2
    """The noise of the last of several rounds, in units of the first: a wide search, then a fine one."""

    knot_s: float = 0.15
    """Seconds between the knots of the noise: the longer, the smoother; at most a control step: white noise."""

    control_cost: float = 0.0
    """gamma / lambda, in [0, 1]: how much the noise's own cost counts; it draws actions towards 0."""

    def __post_init__(self) -> None:
        check_range("horizon_s", self.horizon_s, 0.0, open_low=True)
        check_count("samples", self.samples, 2)
        check_count("iterations", self.iterations, 1)
        check_range("temperature", self.temperature, 0.0, open_low=True)
        check_range("noise", self.noise, 0.0, open_low=True)
        check_range("last_noise", self.last_noise, 0.0, 1.0, open_low=True)
        check_range("knot_s", self.knot_s, 0.0)
        check_range("control_cost", self.control_cost, 0.0, 1.0)


def smooth_basis(horizon: int, spacing: int) -> np.ndarray:
    """Return B (H, knots): ``B z`` is linear between knots ``spacing`` steps apart, and of variance 1 for white z."""
    position = np.arange(horizon)[:, None] / spacing
    knots = np.arange(-(-(horizon - 1) // spacing) + 1)
    basis = np.clip(1.0 - np.abs(position - knots), 0.0, None)
    return basis / np.linalg.norm(basis, axis=1, keepdims=True)


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


class MPPI(Planner):
    """Plans with any Dynamics by weighing noisy samples.

    Args:
        dynamics: what predicts.
        config: the settings; None: the defaults.
        seed: of the planner's own random numbers.

    Raises:
        ConfigError: if the horizon is shorter than a control step, or an action has no bounds.
    """

    name: ClassVar = "mppi"
    Config: ClassVar = MPPIConfig

    def __init__(self, dynamics: Dynamics, config: MPPIConfig | None = None, seed: int = 0) -> None:
        self.dynamics = dynamics
        self.config = MPPIConfig() if config is None else config
        dt = dynamics.control_dt
        self.horizon = round(self.config.horizon_s / dt)
        if self.horizon < 1:
            raise ConfigError(f"horizon_s must be at least a control step, {dt:g} s, got {self.config.horizon_s:g}")
        self._low, self._high = dynamics.action_low, dynamics.action_high
        if not np.isfinite([self._low, self._high]).all():
            raise ConfigError(f"mppi needs bounded actions, got low {self._low} and high {self._high}")
        self._sigma = self.config.noise * 0.5 * (self._high - self._low)
        self._basis = smooth_basis(self.horizon, max(round(self.config.knot_s / dt), 1))
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Begin the planner's own stream of random numbers anew."""
        self._rng = np.random.Generator(np.random.PCG64(seed))

    def plan(self, x0: SimState, warm_start: Plan | None = None) -> Plan:
        """Return a plan from a state; see `Planner.plan`.

        Its cost is the average of the samples' costs in the last round, weighed as their actions are. Its stats are
        the best sample's cost, how many samples' worth the weights are (one over the sum of their squares), and how
        many samples diverged.
        """
        settings = self.config
        middle = np.clip(np.zeros_like(self._low), self._low, self._high)
        U = np.tile(middle, (self.horizon, 1)) if warm_start is None else warm_start.U
        future = int(self._rng.integers(2**64, dtype=np.uint64))
        costs = w = np.zeros(0)
        for i in range(settings.iterations):
            sigma = self._sigma * settings.last_noise ** (i / max(settings.iterations - 1, 1))
            knots = self._rng.standard_normal((settings.samples, self._basis.shape[1], len(self._low)))
            noise = np.einsum("hj,kja->kha", self._basis, knots) * sigma
            noise[0] = 0.0
            samples = np.clip(U + noise, self._low, self._high)
            noise = samples - U
            costs = self.dynamics.rollout(x0, samples, future).costs
            finite = np.isfinite(costs)
            if not finite.any():
                raise NonFinite(f"all {settings.samples} samples of mppi diverged: there is no plan from this state")
            temperature = settings.temperature * float(costs[finite].std())
            penalty = temperature * settings.control_cost * noise_costs(U, noise, sigma)
            w = weights(costs + penalty, temperature)
            U = U + np.einsum("k,kha->ha", w, noise)
        finite = np.isfinite(costs)
        stats = {
            "best_cost": float(costs.min()),
            "effective_samples": float(1.0 / np.sum(w**2)),
            "diverged": float(np.sum(~finite)),
        }
        return Plan(np.clip(U, self._low, self._high), float(np.sum(w[finite] * costs[finite])), stats)

    def state(self) -> dict[str, Any]:
        """Return the random numbers' state; see `Planner.state`."""
        return dict(self._rng.bit_generator.state)

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave."""
        self._rng.bit_generator.state = state
