"""What planners that sample share: horizon and bounds, noise in time, and predictions of which the diverged lose.

A sampling planner asks its dynamics what K action sequences are worth, and makes a better one of the answers; how is
what makes the planner itself, and stands in its own file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from roborl.dynamics.contract import Dynamics
from roborl.errors import ConfigError, NonFinite, check_count, check_range
from roborl.planners.contract import Plan, Planner, horizon_steps
from roborl.sim import SimState


@dataclass(frozen=True)
class SamplingConfig:
    """The settings that all sampling planners have."""

    horizon_s: float = 1.25
    """Seconds that a plan looks ahead."""

    samples: int = 32
    """K, action sequences in a round."""

    iterations: int = 1
    """Rounds in which a plan is improved."""

    noise: float = 0.5
    """Standard deviation of the first round's noise, in halves of the action's range."""

    def __post_init__(self) -> None:
        check_range("horizon_s", self.horizon_s, 0.0, open_low=True)
        check_count("samples", self.samples, 2)
        check_count("iterations", self.iterations, 1)
        check_range("noise", self.noise, 0.0, open_low=True)


@dataclass(frozen=True)
class SplineConfig(SamplingConfig):
    """The settings of those whose noise is drawn at knots, linear between them."""

    knot_s: float = 0.15
    """Seconds between the knots of the noise: the longer, the smoother; at most a control step: white noise."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("knot_s", self.knot_s, 0.0)


@dataclass(frozen=True)
class AnnealedConfig(SplineConfig):
    """The settings of those whose noise falls from round to round."""

    last_noise: float = 0.2
    """The noise of the last of several rounds, in units of the first: a wide search, then a fine one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("last_noise", self.last_noise, 0.0, 1.0, open_low=True)

    @property
    def noise_levels(self) -> np.ndarray:
        """The noise of each round (iterations,), in halves of the action's range: a geometric series."""
        return self.noise * self.last_noise ** (np.arange(self.iterations) / max(self.iterations - 1, 1))


def smooth_basis(horizon: int, spacing: int) -> np.ndarray:
    """Return B (H, knots): ``B z`` is linear between knots ``spacing`` steps apart, and of variance 1 for white z."""
    position = np.arange(horizon)[:, None] / spacing
    knots = np.arange(-(-(horizon - 1) // spacing) + 1)
    return _of_variance_one(np.clip(1.0 - np.abs(position - knots), 0.0, None))


def coloured_basis(horizon: int, exponent: float) -> np.ndarray:
    r"""Return B (H, H): ``B z`` has a power spectrum ``~ 1 / f^exponent``, and variance 1 for white z.

    The real Fourier basis, its amplitudes ``f^(-exponent / 2)`` (Timmer & Koenig, "On generating power law noise",
    1995); the mean, of frequency 0, is given the lowest frequency's. At exponent 0 B is orthogonal: white noise.
    """
    time, columns = np.arange(horizon), []
    for k in range(horizon // 2 + 1):
        amplitude = max(k, 1) ** (-0.5 * exponent)
        angle = 2.0 * np.pi * k * time / horizon
        if k in (0, horizon / 2):  # no sine here: half of a pair's power
            columns.append(np.sqrt(0.5) * amplitude * np.cos(angle))
        else:
            columns += [amplitude * np.cos(angle), amplitude * np.sin(angle)]
    return _of_variance_one(np.stack(columns, axis=1))


def _of_variance_one(basis: np.ndarray) -> np.ndarray:
    return basis / np.linalg.norm(basis, axis=1, keepdims=True)


def elite(costs: np.ndarray, count: int) -> np.ndarray:
    """Return the numbers of the ``count`` cheapest of costs (K,), cheapest first; fewer if fewer are finite."""
    return np.argsort(costs, kind="stable")[: min(count, int(np.isfinite(costs).sum()))]


def fitted(mean: np.ndarray, sigma: np.ndarray, elites: np.ndarray, momentum: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and deviation (H, na) fitted to elites (n, H, na), and partly still the old ones (H, na)."""
    new_mean, new_sigma = elites.mean(axis=0), elites.std(axis=0)
    return new_mean + momentum * (mean - new_mean), new_sigma + momentum * (sigma - new_sigma)


class Predictions:
    """One plan's predictions: what they cost, and the cheapest of them.

    All rounds of a plan meet the same future: what the task draws on the way differs from plan to plan alone.

    Args:
        planner: the planner's name.
        dynamics: what predicts.
        x0: the state to plan from, one row.
        future: the seed of what the task draws.

    Attributes:
        best_U: (H, na) the cheapest actions so far.
        best_cost: what they cost.
    """

    def __init__(self, planner: str, dynamics: Dynamics, x0: SimState, future: int) -> None:
        self._planner, self._dynamics, self._x0, self._future = planner, dynamics, x0, future
        self._steps_before, self._diverged = dynamics.steps, 0
        self.best_U, self.best_cost = np.empty((0, 0)), np.inf

    def step_costs(self, samples: np.ndarray) -> np.ndarray:
        """Return each step's cost (K, H) of action sequences (K, H, na): infinite, all of them, where one diverged.

        Raises:
            NonFinite: if all of them diverged.
        """
        rollout = self._dynamics.rollout(self._x0, samples, self._future)
        lost = rollout.diverged | ~np.isfinite(rollout.rewards).all(axis=1)
        if lost.all():
            raise NonFinite(f"all {len(lost)} samples of {self._planner} diverged: there is no plan from this state")
        self._diverged = int(lost.sum())
        step_costs = -rollout.rewards
        step_costs[lost] = np.inf
        costs = step_costs.sum(axis=1)
        best = int(costs.argmin())
        if costs[best] < self.best_cost:
            self.best_U, self.best_cost = samples[best].copy(), float(costs[best])
        return step_costs

    def costs(self, samples: np.ndarray) -> np.ndarray:
        """Return what action sequences (K, H, na) cost, (K,); infinite where the prediction diverged.

        Raises:
            NonFinite: if all of them diverged.
        """
        return self.step_costs(samples).sum(axis=1)

    def stats(self) -> dict[str, float]:
        """Return the cheapest sample's cost, how many of the last round diverged, and the control steps predicted."""
        return {
            "best_cost": self.best_cost,
            "diverged": float(self._diverged),
            "steps": float(self._dynamics.steps - self._steps_before),
        }


class SamplingPlanner(Planner):
    """What sampling planners have in common; each has its own `plan`.

    Args:
        dynamics: what predicts.
        config: the settings; None: the defaults.
        seed: of the planner's own random numbers.

    Attributes:
        horizon: H, control steps in a plan.
        low, high: (na,) bounds of the action.
        half_range: (na,) half the distance between them, the unit of the noise.

    Raises:
        ConfigError: if the horizon is shorter than a control step, or an action has no bounds.
    """

    config: Any

    def __init__(self, dynamics: Dynamics, config: Any = None, seed: int = 0) -> None:
        self.dynamics = dynamics
        self.config = self.Config() if config is None else config
        self.horizon = horizon_steps(self.config.horizon_s, dynamics.control_dt)
        self.low, self.high = dynamics.action_low, dynamics.action_high
        if not np.isfinite([self.low, self.high]).all():
            raise ConfigError(f"{self.name} needs bounded actions, got low {self.low} and high {self.high}")
        self.half_range = 0.5 * (self.high - self.low)
        self.seed(seed)

    def spline_basis(self) -> np.ndarray:
        """Return the basis of smooth noise for a `SplineConfig`, (H, knots)."""
        return smooth_basis(self.horizon, max(round(self.config.knot_s / self.dynamics.control_dt), 1))

    def predictions(self, x0: SimState) -> Predictions:
        """Return the predictions of a new plan from a state, which meet a future of their own."""
        return Predictions(self.name, self.dynamics, x0, int(self._rng.integers(2**64, dtype=np.uint64)))

    def first(self, warm_start: Plan | None) -> np.ndarray:
        """Return the actions (H, na) to improve on: the warm start's, or else those nearest to 0.

        Raises:
            ConfigError: if the warm start has another horizon.
        """
        if warm_start is None:
            return np.tile(np.clip(np.zeros_like(self.low), self.low, self.high), (self.horizon, 1))
        expected = (self.horizon, len(self.low))
        if warm_start.U.shape != expected:
            raise ConfigError(f"a warm start of {self.name} must have actions {expected}, got {warm_start.U.shape}")
        return np.clip(warm_start.U, self.low, self.high)

    def noise(self, basis: np.ndarray, count: int) -> np.ndarray:
        """Return noise (count, H, na) of variance 1, coloured in time as the basis (H, m) says."""
        return basis @ self._rng.standard_normal((count, basis.shape[1], len(self.low)))

    def around(self, U: np.ndarray, deviations: np.ndarray) -> np.ndarray:
        """Return samples (K, H, na): U (H, na) itself, and U with each of deviations (K - 1, H, na), within bounds."""
        samples = np.empty((1 + len(deviations), *U.shape))
        samples[0] = U
        np.add(U, deviations, out=samples[1:])
        return np.clip(samples, self.low, self.high, out=samples)
