from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from roborl.dynamics.linear import linear_state
from roborl.dynamics.manifold import StateSpace
from roborl.planners.dependence import dependence
from roborl.sim import SimState

FLAT = StateSpace(2, 2)  # x = (q0, q1, v0, v1)


def pattern(function: Callable[..., Any], space: StateSpace = FLAT, at: SimState | None = None) -> list[str]:
    """Return for each residual, a row of 0 and 1 for the directions of states and of two actions."""
    at = linear_state(np.ones((1, space.nx))) if at is None else at
    found = dependence(function, space, at, np.ones((1, space.nx)), np.zeros((1, 2)))
    return ["".join(map(str, row.astype(int))) for row in found]


def test_what_is_computed_depends_on_what_it_was_computed_from() -> None:
    def residuals(at: SimState, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        q, v = x[:, :2], x[:, 2:]
        parts = (q[:, :1] * np.sin(q[:, 1:]), 2.0 - v, u[:, 1:] * at.physics[:, :1] + v[:, :1] ** 2, np.ones((1, 1)))
        return np.concatenate((*parts, np.sqrt(np.sum(q * q, axis=1, keepdims=True))), axis=1)

    assert pattern(residuals) == ["110000", "001000", "000100", "001001", "000000", "110000"]


@pytest.mark.parametrize(
    "function",
    [
        lambda at, x, u: np.where(x > 0.0, x, 0.0),
        lambda at, x, u: np.maximum(x, 1.0),
        lambda at, x, u: np.clip(x, -1.0, 1.0),
        lambda at, x, u: np.where(at.physics > 0.0, x, 2.0 * x),  # decided by what is another time otherwise
        lambda at, x, u: x[:, np.argsort(at.physics[0])],
        lambda at, x, u: x if at.physics[0, 0] == 1.0 else 2.0 * x[:, ::-1],
        lambda at, x, u: np.array(x, float),
        lambda at, x, u: x.astype(float),
        lambda at, x, u: np.cbrt(x),
    ],
)
def test_where_a_value_matters_everything_may_depend_on_everything(function: Callable[..., Any]) -> None:
    assert pattern(function) == ["111111"] * 4


def test_an_entry_of_a_quaternion_changes_in_all_three_directions() -> None:
    free = StateSpace(7, 6, 0, ((3, 3),))  # x = (place, quaternion, speeds), dx = (place, rotation, speeds)
    found = pattern(lambda at, x, u: x[:, [0, 3, 6, 7]], free)
    assert found == ["100000" + 8 * "0", "000111" + 8 * "0", "000111" + 8 * "0", "000000" + "10000000"]
