from __future__ import annotations

import numpy as np
import pytest

from roborl.dynamics.linear import LinearDynamics, linear_state
from roborl.errors import ConfigError

A, B = np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([[0.0], [0.1]])


def test_a_step_and_its_cost_by_hand() -> None:
    dynamics = LinearDynamics(A, B, np.diag([2.0, 4.0]), np.array([[0.5]]), last=np.eye(2), goal=np.array([1.0, 0.0]))
    x0 = linear_state(np.array([[3.0, -1.0]]))
    # x' = (3 - 0.1, -1 + 0.2) = (2.9, -0.8); cost (2 1.9^2 + 4 0.8^2 + 0.5 2^2) / 2 = (7.22 + 2.56 + 2) / 2 = 5.89
    step = dynamics.step(x0, np.array([[2.0]]), seed=0)
    np.testing.assert_allclose(step.x.physics, [[2.9, -0.8]], rtol=1e-15)
    assert step.reward == pytest.approx([-5.89]) and not step.terminated.any() and not step.diverged.any()
    # the last state costs (1.9^2 + 0.8^2) / 2 = 2.125 beside
    assert dynamics.rollout(x0, np.array([[[2.0]]]), seed=0).costs == pytest.approx([5.89 + 2.125])
    assert dynamics.steps == 2
    assert dynamics.rollout(x0, np.array([[[np.nan]], [[0.0]]]), seed=0).diverged.tolist() == [True, False]


def test_its_derivatives_are_its_matrices() -> None:
    dynamics = LinearDynamics(A, B, np.eye(2), np.eye(1))
    X, U = np.ones((3, 2)), np.ones((3, 1))
    by_x, by_u = dynamics.linearize(linear_state(X[:1]), X, U)
    assert np.array_equal(by_x, [A] * 3) and np.array_equal(by_u, [B] * 3)
    assert dynamics.space.nx == dynamics.space.ndx == 2 and dynamics.control_dt == 0.1


@pytest.mark.parametrize(
    ("Q", "R", "message"),
    [
        (-np.eye(2), np.eye(1), "Q must be positive semidefinite, got the eigenvalue -1"),
        (np.array([[1.0, 2.0], [0.0, 1.0]]), np.eye(1), "Q must be a symmetric 2 x 2 matrix"),
        (np.eye(2), np.eye(2), "R must be a symmetric 1 x 1 matrix"),
    ],
)
def test_weights_that_are_none_are_refused(Q: np.ndarray, R: np.ndarray, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LinearDynamics(A, B, Q, R)


def test_shapes_that_do_not_fit_and_episodes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"A must be n x n and B n x m, got the shapes \(2, 2\) and \(1, 2\)"):
        LinearDynamics(A, B.T, np.eye(2), np.eye(1))
    with pytest.raises(ConfigError, match="no task"):
        _ = LinearDynamics(A, B, np.eye(2), np.eye(1)).task
