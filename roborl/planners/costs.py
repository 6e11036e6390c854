r"""Smooth costs of trajectories, and their quadratic models, from residuals.

A step from x_t with u_t costs half the squared residuals r(x_{t+1}, u_t); a plan's last state costs its own. With J the
residuals' derivative, a cost's gradient is J' r, and its second derivative is taken to be J' J (Gauss-Newton), which is
never negative. J is taken by centred differences, all knots' and directions' residuals in one call.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from roborl.dynamics.contract import SmoothDynamics
from roborl.sim import SimState

_DIFFERENCE_STEP = 1e-6


class Quadratic(NamedTuple):
    """Quadratic models of H costs about points and actions.

    Attributes:
        x: (H, ndx) gradients by differences of the state after the step.
        u: (H, na) gradients by the action.
        xx: (H, ndx, ndx) second derivatives.
        ux: (H, na, ndx).
        uu: (H, na, na).
    """

    x: np.ndarray
    u: np.ndarray
    xx: np.ndarray
    ux: np.ndarray
    uu: np.ndarray


def trajectory_costs(dynamics: SmoothDynamics, at: SimState, X: np.ndarray, U: np.ndarray) -> np.ndarray:
    """Return the costs (K,) of trajectories; +inf where one is not finite, so that NaN loses.

    Args:
        dynamics: whose costs.
        at: what the points leave out.
        X: (K, H + 1, nx) points.
        U: (K, H, na) actions.
    """
    num, horizon, width = U.shape
    stage = dynamics.stage_residuals(at, X[:, 1:].reshape(num * horizon, -1), U.reshape(-1, width))
    last = dynamics.terminal_residuals(at, X[:, -1])
    costs = 0.5 * (np.sum(stage.reshape(num, -1) ** 2, axis=1) + np.sum(last**2, axis=1))
    return np.where(np.isfinite(costs), costs, np.inf)


def stage_model(dynamics: SmoothDynamics, at: SimState, after: np.ndarray, U: np.ndarray) -> Quadratic:
    """Return quadratic models of the costs of steps.

    Args:
        dynamics: whose costs.
        at: what the points leave out.
        after: (H, nx) points after the steps.
        U: (H, na) actions.
    """
    space, (horizon, width) = dynamics.space, U.shape
    n, directions = space.ndx, space.ndx + width
    offsets = _offsets(directions)[:, None]
    x, u = space.integrate(after, offsets[..., :n]), U + offsets[..., n:]
    values = dynamics.stage_residuals(at, x.reshape(-1, space.nx), u.reshape(-1, width))
    r, J = _residuals_and_derivatives(values.reshape(len(x), horizon, -1))
    gradient, hessian = np.einsum("hrd,hr->hd", J, r), J.swapaxes(1, 2) @ J
    return Quadratic(gradient[:, :n], gradient[:, n:], hessian[:, :n, :n], hessian[:, n:, :n], hessian[:, n:, n:])


def terminal_model(dynamics: SmoothDynamics, at: SimState, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradient (ndx,) and second derivative (ndx, ndx) of the cost of a plan's last point (nx,)."""
    ends = dynamics.space.integrate(last[None], _offsets(dynamics.space.ndx))
    r, J = _residuals_and_derivatives(dynamics.terminal_residuals(at, ends)[:, None])
    return J[0].T @ r[0], J[0].T @ J[0]


def _offsets(directions: int) -> np.ndarray:
    """Return offsets (2 directions + 1, directions) forth and back; the last is none."""
    return _DIFFERENCE_STEP * np.concatenate((np.eye(directions), -np.eye(directions), np.zeros((1, directions))))


def _residuals_and_derivatives(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return r (H, m) and J (H, m, directions) from residuals (2 directions + 1, H, m) at `_offsets`."""
    directions = len(values) // 2
    derivative = (values[:directions] - values[directions:-1]) / (2.0 * _DIFFERENCE_STEP)
    return values[-1], derivative.transpose(1, 2, 0)
