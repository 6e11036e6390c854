r"""Joint positions that bring an arm's tool to a point, within the joints' limits.

Levenberg and Marquardt's method on  |p(q) - goal|^2 / 2,  with p the tool's position and J its derivative:

    (J' J + damping I) dq = -J' (p - goal),

for the joints that may move so: one at its limit that would go beyond it stays (Nocedal and Wright, "Numerical
Optimization", section 10.3, and 16.7 for the limits). The damping falls after a step that brought the tool nearer, and
grows after one that did not, so that where J loses rank (an arm that is stretched out) steps become short ones down
the slope.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from roborl.errors import ConfigError, check_count, check_range
from roborl.models.arms import Arm, tool_position

_DIFFERENCE_STEP = 1e-6
_DAMPING_FACTOR = 10.0
_MAX_DAMPING = 1e6


class Pose(NamedTuple):
    """The best joint positions that were found.

    Attributes:
        q: (n,) [rad], within the limits.
        error_m: how far the tool is from the goal there.
        reached: whether that is within the tolerance; false where the goal is out of reach.
    """

    q: np.ndarray
    error_m: float
    reached: bool


def tool_jacobian(arm: Arm, q: np.ndarray) -> np.ndarray:
    """Return the derivative (3, n) of the tool's position [m] by joint positions q (n,) [rad], by differences."""
    offsets = _DIFFERENCE_STEP * np.eye(len(q))
    ahead, behind = np.split(tool_position(np, arm, np.concatenate((q + offsets, q - offsets))), 2)
    return (ahead - behind).T / (2.0 * _DIFFERENCE_STEP)


def reach(arm: Arm, goal: np.ndarray, start: np.ndarray, tolerance_m: float = 1e-6, iterations: int = 200) -> Pose:
    """Return joint positions, near those to start with, that bring the tool to a goal.

    Args:
        arm: the arm.
        goal: (3,) in the base's frame [m].
        start: (n,) joint positions to begin with [rad]; brought within the limits first.
        tolerance_m: how near is there.
        iterations: the most steps tried.

    Raises:
        ConfigError: if the goal or the start has the wrong shape or is not finite, or a setting is out of range.
    """
    goal, start = np.asarray(goal, float), np.asarray(start, float)
    for name, value, width in (("goal", goal, 3), ("start", start, len(arm.joints))):
        if value.shape != (width,) or not np.isfinite(value).all():
            raise ConfigError(f"{name} must be {width} finite numbers, got {value.tolist()}")
    check_range("tolerance_m", tolerance_m, 0.0, open_low=True)
    check_count("iterations", iterations, 1)
    low, high = np.array(arm.low), np.array(arm.high)
    q, damping = np.clip(start, low, high), 1e-3
    offset = tool_position(np, arm, q[None])[0] - goal
    for _ in range(iterations):
        if np.linalg.norm(offset) <= tolerance_m or damping > _MAX_DAMPING:
            break
        J = tool_jacobian(arm, q)
        slope = J.T @ offset
        free = ~(((q <= low) & (slope > 0.0)) | ((q >= high) & (slope < 0.0)))
        step = np.zeros_like(q)
        step[free] = -np.linalg.solve(J[:, free].T @ J[:, free] + damping * np.eye(free.sum()), slope[free])
        tried = np.clip(q + step, low, high)
        moved = tool_position(np, arm, tried[None])[0] - goal
        nearer = bool(np.linalg.norm(moved) < np.linalg.norm(offset))
        if nearer:
            q, offset = tried, moved
        damping = damping / _DAMPING_FACTOR if nearer else damping * _DAMPING_FACTOR
        damping = max(damping, 1e-9)
    error = float(np.linalg.norm(offset))
    return Pose(q, error, error <= tolerance_m)
