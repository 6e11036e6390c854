r"""LQR: the linear-quadratic regulator, with a finite or an infinite horizon, about an equilibrium.

For  x' = A x + B u  and a step's cost  (x' q x + u' r u) / 2 + x' s u  the cost to go is  x' V x / 2  with

    K = -(r + B' V B)^-1 (B' V A + s'),      V <- q + A' V A + (A' V B + s) K

(Bertsekas, "Dynamic Programming and Optimal Control" I, section 3.1); with an infinite horizon V is the fixed point,
the solution of the discrete algebraic Riccati equation. Here a step's cost is one of the state after it, Q of x' and R
of u, and so  q = A' Q A,  r = R + B' Q B,  s = A' Q B.

A nonlinear system is taken at an equilibrium: of the states that an action can hold, the nearest that costs least.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, solve_discrete_are

from roborl.dynamics.contract import SmoothDynamics
from roborl.errors import RunError, check_count, check_range
from roborl.planners.contract import Plan
from roborl.planners.costs import Costs, Quadratic
from roborl.planners.gradient import GradientPlanner
from roborl.sim import SimState


class Unstabilizable(RunError):
    """A linear system has a mode that grows, or stays, and that no action reaches."""


class NoEquilibrium(RunError):
    """No state near the given one can be held by an action within its bounds."""


@dataclass(frozen=True)
class LQRConfig:
    """Settings of LQR."""

    horizon_s: float = 1.0
    """Seconds that a plan looks ahead."""

    infinite: bool = True
    """Whether gains are those of an infinite horizon; else the plan's end is the end, with the terminal cost."""

    iterations: int = 50
    """Newton steps in which the equilibrium must be found."""

    def __post_init__(self) -> None:
        check_range("horizon_s", self.horizon_s, 0.0, open_low=True)
        check_count("iterations", self.iterations, 1)


def riccati_step(
    A: np.ndarray, B: np.ndarray, q: np.ndarray, r: np.ndarray, s: np.ndarray, V: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gain K (na, nx), for ``u = K x``, and the cost to go (nx, nx) one step earlier.

    Args:
        A: (nx, nx).
        B: (nx, na).
        q: (nx, nx) a step's cost by the state before it,
        r: (na, na) by the action,
        s: (nx, na) and by both.
        V: (nx, nx) the cost to go after the step.
    """
    K = -np.linalg.solve(r + B.T @ V @ B, B.T @ V @ A + s.T)
    V = q + A.T @ V @ A + (A.T @ V @ B + s) @ K
    return K, 0.5 * (V + V.T)


def infinite_horizon(
    A: np.ndarray, B: np.ndarray, q: np.ndarray, r: np.ndarray, s: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gain K (na, nx), for ``u = K x``, and the cost to go V (nx, nx) of the infinite horizon.

    Args:
        A: (nx, nx).
        B: (nx, na).
        q: (nx, nx) a step's cost by the state before it,
        r: (na, na) by the action,
        s: (nx, na) and by both.

    Raises:
        Unstabilizable: if no gain makes the system stable, or none that costs least.
    """
    for mode in np.linalg.eigvals(A):  # the test of Popov, Belevitch and Hautus
        if abs(mode) > 1.0 - 1e-9:
            reach = np.linalg.svd(np.concatenate((A - mode * np.eye(len(A)), B), axis=1), compute_uv=False)
            if reach[-1] < 1e-9 * max(reach[0], 1.0):
                raise Unstabilizable(f"the system's mode {mode:.6g} is not stable, and no action reaches it")
    try:
        V = solve_discrete_are(A, B, q, r, s=s)
    except (LinAlgError, ValueError) as error:
        raise Unstabilizable(f"the Riccati equation has no stabilising solution: {error}") from error
    K, V = riccati_step(A, B, q, r, s, V)
    radius = np.abs(np.linalg.eigvals(A + B @ K)).max()
    if not radius < 1.0:
        raise Unstabilizable(f"the cheapest gain does not stabilise the system: a mode of size {radius:.9g} is left")
    return K, V


class Equilibrium(NamedTuple):
    """A state that an action holds, and the linear system there.

    Attributes:
        x: (nx,) the point.
        u: (na,) the action.
        A: (ndx, ndx), and
        B: (ndx, na): the linear system.
        cost: the quadratic model of a step's cost, of the state after the step and the action.
    """

    x: np.ndarray
    u: np.ndarray
    A: np.ndarray
    B: np.ndarray
    cost: Quadratic


def equilibrium(dynamics: SmoothDynamics, at: SimState, x: np.ndarray, u: np.ndarray, iterations: int) -> Equilibrium:
    """Find the cheapest state that an action holds, by Gauss-Newton steps from a guess.

    They solve ``min |r(x, u)|^2 / 2`` subject to ``f(x, u) = x``, linearised.

    Args:
        dynamics: the dynamics.
        at: what points leave out.
        x: (nx,) where to begin.
        u: (na,) the action to begin with.
        iterations: the most steps.

    Raises:
        NoEquilibrium: if they do not converge, or the action is beyond its bounds.
    """
    space, n, m, costs = dynamics.space, dynamics.space.ndx, len(u), Costs(dynamics)
    for _ in range(iterations):
        A, B = (derivative[0] for derivative in dynamics.linearize(at, x[None], u[None]))
        drift = space.difference(x, dynamics.predict(at, x[None], u[None])[0])
        gradient, hessian = (part[0] for part in costs.stage(at, x[None], u[None]))
        constraint = np.concatenate((A - np.eye(n), B), axis=1)
        system = np.block([[hessian, constraint.T], [constraint, np.zeros((n, n))]])
        right = -np.concatenate((gradient, drift))
        if not (np.isfinite(system).all() and np.isfinite(right).all()):
            break
        step = np.linalg.lstsq(system, right, rcond=1e-12)[0][: n + m]  # the shortest: what costs nothing stays
        x, u = space.integrate(x, step[:n]), u + step[n:]
        if np.abs(step).max() < 1e-9 and np.abs(drift).max() < 1e-9:
            if (u < dynamics.action_low - 1e-9).any() or (u > dynamics.action_high + 1e-9).any():
                raise NoEquilibrium(f"the state could be held by the action {u}, which is beyond its bounds")
            return Equilibrium(x, u, A, B, Quadratic(gradient, hessian))
    raise NoEquilibrium(f"no state near the given one that an action holds was found in {iterations} steps")


def by_state_before(point: Equilibrium) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return q, r and s: a step's cost by the state before it and the action."""
    n, m = point.B.shape
    before = np.block([[point.A, point.B], [np.zeros((m, n)), np.eye(m)]])  # (x', u) = before (x, u)
    total = before.T @ point.cost.hessian @ before
    return total[:n, :n], total[n:, n:], total[:n, n:]


class LQR(GradientPlanner):
    """Plans by the regulator of an equilibrium: ``u = u* + K (x - x*)``, within the bounds.

    It draws nothing, whatever the seed.
    """

    name: ClassVar = "lqr"
    Config: ClassVar = LQRConfig

    def plan(self, x0: SimState, warm_start: Plan | None = None) -> Plan:
        """Return a plan from a state; see `Planner.plan`.

        Its cost is that of its trajectory; ``expected`` is what the linear system would cost in the infinite horizon.

        Raises:
            NoEquilibrium: if no state near this one, at rest, can be held.
            Unstabilizable: if the linear system there cannot be stabilised.
        """
        dynamics, config, steps_before = self.dynamics, self.config, self.dynamics.steps
        low, high, space = dynamics.action_low, dynamics.action_high, dynamics.space
        start = dynamics.coordinates(x0)[0]
        guess = start.copy()
        guess[space.nq : space.nq + space.nv] = 0.0
        middle = np.clip(np.zeros_like(low), low, high)
        point = equilibrium(dynamics, x0, guess, middle, config.iterations)
        q, r, s = by_state_before(point)
        gains = np.empty((self.horizon, len(low), space.ndx))
        if config.infinite:
            gains[:], V = infinite_horizon(point.A, point.B, q, r, s)
        else:
            _, V = self._costs.terminal(x0, point.x)
            for t in reversed(range(self.horizon)):
                gains[t], V = riccati_step(point.A, point.B, q, r, s, V)

        x, X, U = start, [start], []
        for K in gains:
            U.append(np.clip(point.u + K @ space.difference(point.x, x), low, high))
            x = dynamics.predict(x0, x[None], U[-1][None])[0]
            X.append(x)
        trajectory, actions = np.array(X), np.array(U)
        cost = float(self._costs.of(x0, trajectory[None], actions[None])[0])
        away = space.difference(point.x, start)
        stats = {"expected": float(0.5 * away @ V @ away), "distance": float(np.linalg.norm(away))}
        stats["steps"] = float(dynamics.steps - steps_before)
        return Plan(actions, cost, stats, trajectory, gains)
