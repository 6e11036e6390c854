from __future__ import annotations

import numpy as np
import pytest

from roborl import tasks
from roborl.dynamics.linear import LinearDynamics, linear_state
from roborl.dynamics.mujoco import MujocoDynamics
from roborl.planners.costs import Costs
from roborl.sim import Sim

ALL = [name.removeprefix("roborl/").removesuffix("-v1") for name in tasks.TASKS]
STEP = 1e-5


def some_points(name: str, knots: int) -> tuple[MujocoDynamics, Sim, np.ndarray, np.ndarray]:
    task = tasks.load(name)
    dynamics, sim = MujocoDynamics(task, num_threads=1), Sim(task, 1, num_threads=1)
    sim.reset()
    rng = np.random.default_rng(0)
    X, U = [], rng.uniform(sim.action_low, sim.action_high, (knots, len(sim.action_low)))
    for u in U:
        X.append(dynamics.coordinates(sim.state())[0])
        sim.step(u[None])
    return dynamics, sim, np.array(X), U


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_those_of_the_costs_and_second_derivatives_are_never_negative(name: str) -> None:
    dynamics, sim, X, U = some_points(name, 4)
    at, space = sim.state(), dynamics.space
    costs_of = Costs(dynamics)
    gradients, hessians = costs_of.stage(at, X, U)
    n, directions = space.ndx, space.ndx + U.shape[1]

    def costs(dx: np.ndarray, du: np.ndarray) -> np.ndarray:
        return 0.5 * np.sum(dynamics.stage_residuals(at, space.integrate(X, dx), U + du) ** 2, axis=1)

    differences = np.empty((4, directions))
    for i, e in enumerate(STEP * np.eye(directions)):
        differences[:, i] = (costs(e[:n], e[n:]) - costs(-e[:n], -e[n:])) / (2 * STEP)
    np.testing.assert_allclose(gradients, differences, atol=1e-6 * max(np.abs(differences).max(), 1.0))
    assert np.linalg.eigvalsh(hessians).min() > -1e-9 * np.abs(hessians).max()

    gradient, hessian = costs_of.terminal(at, X[0])
    for i, e in enumerate(STEP * np.eye(n)):
        low, high = (0.5 * np.sum(dynamics.terminal_residuals(at, space.integrate(X[:1], s * e)) ** 2) for s in (-1, 1))
        assert gradient[i] == pytest.approx((high - low) / (2 * STEP), rel=1e-6, abs=1e-6)
    assert np.linalg.eigvalsh(hessian).min() > -1e-9 * max(np.abs(hessian).max(), 1.0)


def test_second_derivatives_of_squares_are_exact() -> None:
    rng = np.random.default_rng(1)
    root = rng.normal(size=(3, 3))
    Q, R, last = root @ root.T, np.diag([2.0, 3.0]), np.diag([1.0, 2.0, 0.0])
    Q = 0.5 * (Q + Q.T)
    dynamics = LinearDynamics(np.eye(3), np.zeros((3, 2)), Q, R, last=last)
    X, U = rng.normal(size=(2, 3)), rng.normal(size=(2, 2))
    costs = Costs(dynamics)
    gradients, hessians = costs.stage(linear_state(X[:1]), X, U)
    np.testing.assert_allclose(hessians, [np.block([[Q, np.zeros((3, 2))], [np.zeros((2, 3)), R]])] * 2, atol=1e-8)
    np.testing.assert_allclose(gradients, np.concatenate((X @ Q, U @ R), axis=1), atol=1e-8)
    gradient, hessian = costs.terminal(linear_state(X[:1]), X[0])
    np.testing.assert_allclose(gradient, last @ X[0], atol=1e-8)
    np.testing.assert_allclose(hessian, last, atol=1e-8)


def test_a_trajectory_costs_what_a_rollout_does_not_earn_and_nan_costs_infinity() -> None:
    dynamics = LinearDynamics(np.eye(2), np.ones((2, 1)), np.eye(2), np.eye(1), last=3.0 * np.eye(2))
    x0 = linear_state(np.array([[1.0, -2.0]]))
    U = np.array([[[0.5], [1.0], [-1.0]]])
    X = np.zeros((1, 4, 2))
    X[0, 0] = x0.physics
    for t in range(3):
        X[:, t + 1] = dynamics.predict(x0, X[:, t], U[:, t])
    assert Costs(dynamics).of(x0, X, U) == pytest.approx(dynamics.rollout(x0, U, seed=0).costs)
    X[0, 2, 0] = np.nan
    assert Costs(dynamics).of(x0, X, U).tolist() == [np.inf]
