r"""Gradient shooting: descend the gradient of a trajectory's cost, by its actions alone.

The actions are followed through the dynamics, and the cost's gradient is carried back through their derivatives:

    J(U) = sum_t l(x_{t+1}, u_t) + l_H(x_H),    x_{t+1} = f(x_t, u_t),
    lambda_H = dl/dx(x_H, u_{H-1}) + dl_H/dx(x_H),    lambda_t = A_t' lambda_{t+1} + dl/dx(x_t, u_{t-1}),
    dJ/du_t = dl/du(x_{t+1}, u_t) + B_t' lambda_{t+1}

(Bryson and Ho, "Applied Optimal Control", 1975, section 2.2). Adam makes steps of these gradients (Kingma and Ba,
"Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1), in halves of the action's range, cut off at the
bounds; their size falls to 0 as half a cosine wave. The cheapest actions met on the way are the plan. It takes far more
iterations than iLQR, but no second derivatives, and nothing that grows with the cube of the state's size.

Departure: the gradients have no noise, so that their squares need no long memory. With the source's beta2 of 0.999 the
steep first ones slow all later steps: a linear-quadratic plan ends 8e-3 above its optimum where it now ends 3e-8 above.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from roborl.dynamics.contract import SmoothDynamics
from roborl.errors import ConfigError, NonFinite, check_count, check_range
from roborl.planners.contract import Plan
from roborl.planners.gradient import GradientPlanner
from roborl.sim import SimState


@dataclass(frozen=True)
class GradientShootingConfig:
    """Settings of gradient shooting."""

    horizon_s: float = 1.0
    """Seconds that a plan looks ahead."""

    iterations: int = 200
    """Gradients of a plan that begins anew."""

    warm_iterations: int = 10
    """Gradients of a plan that goes on from another."""

    step_size: float = 0.2
    """Adam's first step size, in halves of the action's range (of 1 where it has no bounds)."""

    beta1: float = 0.9
    """Decay of the mean of the gradients."""

    beta2: float = 0.9
    """Decay of the mean of their squares."""

    start_noise: float = 0.0
    """Standard deviation of the actions that a plan begins with, in halves of their range: where doing nothing is a
    stationary point, something must move it."""

    def __post_init__(self) -> None:
        check_range("horizon_s", self.horizon_s, 0.0, open_low=True)
        check_count("iterations", self.iterations, 1)
        check_count("warm_iterations", self.warm_iterations, 1)
        check_range("step_size", self.step_size, 0.0, open_low=True)
        check_range("beta1", self.beta1, 0.0, 1.0, open_high=True)
        check_range("beta2", self.beta2, 0.0, 1.0, open_high=True)
        check_range("start_noise", self.start_noise, 0.0)


class GradientShooting(GradientPlanner):
    """Plans by the gradient of the actions; the seed is of those that a plan begins with."""

    name: ClassVar = "gradient_shooting"
    Config: ClassVar = GradientShootingConfig

    def __init__(self, dynamics: SmoothDynamics, config: GradientShootingConfig | None = None, seed: int = 0) -> None:
        super().__init__(dynamics, config, seed)
        half = 0.5 * (dynamics.action_high - dynamics.action_low)
        self._unit = np.where(np.isfinite(half), half, 1.0)

    def plan(self, x0: SimState, warm_start: Plan | None = None) -> Plan:
        """Return the cheapest actions met as a plan from a state; see `Planner.plan`.

        Its stats are the largest entry of the last gradient, per unit of the actions, where no bound is in its way; how
        many steps led to where the cost or its gradient is not finite; and the control steps predicted.

        Raises:
            NonFinite: if the cost of the actions to begin with, or its gradient, is not finite.
            ConfigError: if the warm start has another horizon.
        """
        config, dynamics, steps_before = self.config, self.dynamics, self.dynamics.steps
        iterations = config.iterations if warm_start is None else config.warm_iterations
        low, high = dynamics.action_low, dynamics.action_high
        U = np.clip(self._first(warm_start), low, high)
        best, largest, lost, size = Plan(U, np.inf), np.inf, 0, config.step_size
        mean, square, count = np.zeros_like(U), np.zeros_like(U), 0
        for i in range(iterations):
            cost, X, gradient = self.cost_and_gradient(x0, U)
            if gradient is None:  # too far: from the best again, in smaller steps
                if not np.isfinite(best.cost):
                    raise NonFinite(
                        f"the cost of the actions that {self.name} begins with, or its gradient, is not finite"
                    )
                lost, size, U = lost + 1, 0.5 * size, best.U
                mean, square, count = np.zeros_like(U), np.zeros_like(U), 0
                continue
            if cost < best.cost:
                best = Plan(U, cost, X=X)
            g, count = gradient * self._unit, count + 1
            largest = np.abs(np.where(((U <= low) & (g > 0.0)) | ((U >= high) & (g < 0.0)), 0.0, g)).max()
            mean = config.beta1 * mean + (1.0 - config.beta1) * g
            square = config.beta2 * square + (1.0 - config.beta2) * g**2
            m, v = mean / (1.0 - config.beta1**count), square / (1.0 - config.beta2**count)
            alpha = 0.5 * size * (1.0 + np.cos(np.pi * i / iterations))
            U = np.clip(U - alpha * self._unit * m / (np.sqrt(v) + 1e-8), low, high)
        stats = {"gradient": float(largest), "lost": float(lost), "steps": float(self.dynamics.steps - steps_before)}
        return Plan(best.U, best.cost, stats, best.X)

    def cost_and_gradient(self, x0: SimState, U: np.ndarray) -> tuple[float, np.ndarray, np.ndarray | None]:
        """Return what actions (H, na) cost, the points (H + 1, nx) they lead to, and the gradient (H, na).

        The gradient is None where it, or the cost, is not finite.
        """
        dynamics, ndx = self.dynamics, self.dynamics.space.ndx
        start = np.tile(dynamics.coordinates(x0)[0], (len(U) + 1, 1))
        still, no_gains, no_gaps = np.zeros_like(U), np.zeros((*U.shape, ndx)), np.zeros((len(U) + 1, ndx))
        X = dynamics.follow(x0, start, U, still, no_gains, np.ones(1), no_gaps)[0][0]
        cost = float(self._costs.of(x0, X[None], U[None])[0])
        if not np.isfinite(cost):
            return cost, X, None
        A, B = dynamics.linearize(x0, X[:-1], U)
        stage, adjoint = self._costs.stage(x0, X[1:], U).gradient, self._costs.terminal(x0, X[-1]).gradient
        gradient = stage[:, ndx:].copy()
        for t in reversed(range(len(U))):
            adjoint = adjoint + stage[t, :ndx]
            gradient[t] += B[t].T @ adjoint
            adjoint = A[t].T @ adjoint
        return cost, X, gradient if np.isfinite(gradient).all() else None

    def _first(self, warm_start: Plan | None) -> np.ndarray:
        """Return the actions (H, na) to begin with."""
        shape = (self.horizon, len(self._unit))
        if warm_start is None:
            return self.config.start_noise * self._unit * self._rng.standard_normal(shape)
        if warm_start.U.shape != shape:
            raise ConfigError(f"a warm start of {self.name} must have actions {shape}, got {warm_start.U.shape}")
        return warm_start.U
