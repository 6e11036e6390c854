r"""Smooth costs of trajectories, and their quadratic models, from residuals.

A step from x_t with u_t costs half the squared residuals r(x_{t+1}, u_t); a plan's last state costs its own. With J the
residuals' derivative, a cost's gradient is J' r, and its second derivative is taken to be J' J (Gauss-Newton), which is
never negative. J is taken by centred differences, all knots' residuals in one call, and of directions that no residual
shares as many at once as there are (Curtis, Powell, Reid, "On the Estimation of Sparse Jacobian Matrices", 1974).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from roborl.dynamics.compiled import compiled
from roborl.dynamics.contract import SmoothDynamics
from roborl.planners.dependence import dependence
from roborl.sim import SimState

_DIFFERENCE_STEP = 1e-6


class Quadratic(NamedTuple):
    """Quadratic models of costs, by differences of states and then changes of actions, n of both.

    Attributes:
        gradient: (..., n)
        hessian: (..., n, n)
    """

    gradient: np.ndarray
    hessian: np.ndarray


class _Residuals:
    """Residuals, and which of them depends on which directions, found out when a model is first asked for.

    Args:
        dynamics: whose.
        function: of what points leave out, of points and of actions.
    """

    def __init__(
        self, dynamics: SmoothDynamics, function: Callable[[SimState, np.ndarray, np.ndarray], np.ndarray]
    ) -> None:
        self.function, self._space = function, dynamics.space
        self._groups: tuple[np.ndarray, np.ndarray] | None = None

    def model(self, at: SimState, x: np.ndarray, u: np.ndarray) -> Quadratic:
        """Return the models of half their squares at points (H, nx) and actions (H, na)."""
        if self._groups is None:
            depends = dependence(self.function, self._space, at, x[:1], u[:1])
            groups = _groups(depends)
            self._groups = (
                np.where(depends, groups, -1),
                _DIFFERENCE_STEP * np.eye(groups.max(initial=-1) + 1)[:, groups],
            )
        group_of, forth = self._groups
        offsets = np.concatenate((forth, -forth, np.zeros((1, forth.shape[1]))))[:, None]
        n, rows = self._space.ndx, len(offsets) * len(x)
        moved_x, moved_u = self._space.integrate(x, offsets[..., :n]), u + offsets[..., n:]  # (2 groups + 1, H, ...)
        values = self.function(at, moved_x.reshape(rows, x.shape[1]), moved_u.reshape(rows, u.shape[1]))
        return Quadratic(*_gauss_newton(values.reshape(len(offsets), len(x), -1), group_of))


class Costs:
    """The smooth costs of a problem.

    Args:
        dynamics: whose costs.
    """

    def __init__(self, dynamics: SmoothDynamics) -> None:
        self._stage = _Residuals(dynamics, dynamics.stage_residuals)
        self._terminal = _Residuals(dynamics, lambda at, last, _: dynamics.terminal_residuals(at, last))

    def of(self, at: SimState, X: np.ndarray, U: np.ndarray) -> np.ndarray:
        """Return the costs (K,) of trajectories; +inf where one is not finite, so that NaN loses.

        Args:
            at: what the points leave out.
            X: (K, H + 1, nx) points.
            U: (K, H, na) actions.
        """
        num, horizon, width = U.shape
        stage = self._stage.function(at, X[:, 1:].reshape(num * horizon, -1), U.reshape(-1, width))
        last = self._terminal.function(at, X[:, -1], U[:, -1])
        costs = 0.5 * (np.sum(stage.reshape(num, -1) ** 2, axis=1) + np.sum(last**2, axis=1))
        return np.where(np.isfinite(costs), costs, np.inf)

    def stage(self, at: SimState, after: np.ndarray, U: np.ndarray) -> Quadratic:
        """Return quadratic models of the costs of steps.

        Args:
            at: what the points leave out.
            after: (H, nx) points after the steps.
            U: (H, na) actions.
        """
        return self._stage.model(at, after, U)

    def terminal(self, at: SimState, last: np.ndarray) -> Quadratic:
        """Return the quadratic model of the cost of a plan's last point (nx,)."""
        gradients, hessians = self._terminal.model(at, last[None], np.empty((1, 0)))
        return Quadratic(gradients[0], hessians[0])


def _groups(depends: np.ndarray) -> np.ndarray:
    """Return groups (directions,), numbered from 0, in which no two directions share a residual (rows of depends)."""
    groups, taken = np.zeros(depends.shape[1], int), np.zeros((depends.shape[1], len(depends)), bool)
    for direction, reached in enumerate(depends.T):
        groups[direction] = np.argmin((taken & reached).any(axis=1))
        taken[groups[direction]] |= reached
    return groups


@compiled
def _gauss_newton(values: np.ndarray, group_of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return gradients (H, n) and second derivatives (H, n, n).

    Args:
        values: (2 groups + 1, H, m) residuals, with groups of directions forth, back, and as they are.
        group_of: (m, n) the group by which a residual changes in a direction; -1: by none.
    """
    groups, (horizon, m, n) = len(values) // 2, (*values.shape[1:], group_of.shape[1])
    gradients, hessians, J = np.zeros((horizon, n)), np.zeros((horizon, n, n)), np.zeros(n)
    for r in range(m):
        first, last = n, 0  # of the directions
        for d in range(n):
            if group_of[r, d] >= 0:
                first, last = min(first, d), d + 1
        for t in range(horizon):
            for d in range(first, last):
                group = group_of[r, d]
                J[d] = values[group, t, r] - values[groups + group, t, r] if group >= 0 else 0.0
                J[d] *= 0.5 / _DIFFERENCE_STEP
                gradients[t, d] += J[d] * values[2 * groups, t, r]
            for i in range(first, last):
                for j in range(first, last):
                    hessians[t, i, j] += J[i] * J[j]
    return gradients, hessians
