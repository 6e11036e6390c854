"""Building blocks of rewards, on numpy arrays and torch tensors alike."""

from __future__ import annotations

import functools
import math
from typing import Any

from roborl.errors import check_in, check_range
from roborl.task.fields import Array

_SIGMOIDS = ("gaussian", "quadratic", "linear", "hyperbolic")


def tolerance(
    xp: Any,
    x: Array,
    low: float = 0.0,
    high: float = 0.0,
    margin: float = 0.0,
    value_at_margin: float = 0.1,
    sigmoid: str = "gaussian",
) -> Array:
    r"""Return 1 where ``low <= x <= high``, falling smoothly to ``value_at_margin`` at ``margin`` beyond.

    The reward shape of the DeepMind Control Suite (Tassa et al. 2018, section 2, "Reward"): with d the distance to
    the interval in units of the margin, gaussian ``exp(-d^2 s^2 / 2)``, quadratic ``max(1 - d^2 s^2, 0)``, linear
    ``max(1 - d s, 0)``, hyperbolic ``1 / cosh(d s)``, where s makes the value at d = 1 ``value_at_margin``.

    Args:
        xp: the array namespace.
        x: the quantity, any shape.
        low: lower end of the interval of value 1.
        high: upper end of it.
        margin: the distance over which the value falls, in x's unit; 0 makes a step.
        value_at_margin: the value at that distance.
        sigmoid: one of gaussian, quadratic, linear, hyperbolic.

    Returns:
        The value in [0, 1], of x's shape.

    Raises:
        ConfigError: if a parameter is outside what is allowed.
    """
    _check(low, high, margin, value_at_margin, sigmoid)
    distance = xp.abs(x - low) if low == high else xp.maximum(xp.maximum(low - x, x - high), 0.0)
    if margin == 0.0:
        return xp.where(distance == 0.0, xp.ones_like(x), xp.zeros_like(x))
    d = distance / margin
    if sigmoid == "gaussian":
        return xp.exp(math.log(value_at_margin) * (d * d))
    if sigmoid == "quadratic":
        return xp.maximum(1.0 - (1.0 - value_at_margin) * (d * d), 0.0)
    if sigmoid == "linear":
        return xp.maximum(1.0 - (1.0 - value_at_margin) * d, 0.0)
    return 1.0 / xp.cosh(math.acosh(1.0 / value_at_margin) * d)


@functools.cache  # rewards are computed at every step, with the same parameters
def _check(low: float, high: float, margin: float, value_at_margin: float, sigmoid: str) -> None:
    check_in("sigmoid", sigmoid, _SIGMOIDS)
    check_range("margin", margin, 0.0)
    check_range("high", high, low)
    zero_allowed = sigmoid in ("quadratic", "linear")
    check_range("value_at_margin", value_at_margin, 0.0, 1.0, open_low=not zero_allowed, open_high=True)
