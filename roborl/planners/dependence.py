"""Which entries of a task's residuals depend on which entries of a state and an action, found out by tracing.

The residuals are called once with objects in place of numbers, each of which knows what it was made from. What looks
at a value, as a comparison does, or needs a number, cannot be traced: then everything may depend on everything.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from roborl.dynamics.manifold import StateSpace
from roborl.sim import SimState


class _Traced:
    """A number of which nothing is known but the directions that it changes in."""

    __slots__ = ("directions",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, directions: frozenset[int] = frozenset()) -> None:
        self.directions = directions

    def _with(self, *others: object) -> _Traced:
        """Return what an operation makes of this and others."""
        return _Traced(self.directions.union(*(o.directions for o in others if isinstance(o, _Traced))))

    def _unknown(self, *_: object) -> bool:
        raise TypeError("the value of what is traced is not known")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _with
    __pow__ = __rpow__ = __neg__ = __pos__ = __abs__ = _with
    sqrt = exp = log = sin = cos = tan = arcsin = arccos = arctan = arctan2 = sinh = cosh = tanh = hypot = _with
    __bool__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _unknown


def _constants(values: np.ndarray) -> np.ndarray:
    """Return an array of the same shape of what changes in no direction, and is not known either."""
    return np.array([_Traced() for _ in range(values.size)], object).reshape(values.shape)


def dependence(
    residuals: Callable[[SimState, np.ndarray, np.ndarray], np.ndarray],
    space: StateSpace,
    at: SimState,
    x: np.ndarray,
    u: np.ndarray,
) -> np.ndarray:
    """Return which of m residuals may change in which of the directions of states and actions, (m, ndx + na) bool.

    Args:
        residuals: of what points leave out, of points (N, nx) and of actions (N, na): (N, m).
        space: the points'.
        at: what they leave out; what is found holds for any other as well.
        x: (1, nx) any point.
        u: (1, na) any action.
    """
    width = space.ndx + u.shape[1]
    everything = np.ones((residuals(at, x, u).shape[1], width), bool)
    some = space.integrate(np.linspace(0.3, 0.9, space.nx), np.zeros(space.ndx))  # no quaternion with a 0 in it
    moved = np.abs(space.integrate(some, 1e-3 * np.eye(space.ndx)) - some) > 1e-9  # (ndx, nx)
    traced_x, traced_u = np.empty(x.shape, object), np.empty(u.shape, object)
    traced_x[0] = [_Traced(frozenset(np.flatnonzero(by).tolist())) for by in moved.T]
    traced_u[0] = [_Traced(frozenset([d])) for d in range(space.ndx, width)]
    constants = SimState(_constants(at.physics), _constants(at.memory), _constants(at.params), at.counters)
    try:
        values = residuals(constants, traced_x, traced_u)[0]
    except (TypeError, AttributeError, ValueError, IndexError):
        return everything
    found = np.zeros_like(everything)
    for row, value in zip(found, values, strict=True):
        row[list(value.directions) if isinstance(value, _Traced) else []] = True
    return found
