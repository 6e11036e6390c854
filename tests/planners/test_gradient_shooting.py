from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from roborl import tasks
from roborl.dynamics.linear import LinearDynamics, linear_state
from roborl.dynamics.mujoco import MujocoDynamics
from roborl.errors import ConfigError, NonFinite
from roborl.planners.contract import Plan
from roborl.planners.gradient_shooting import GradientShooting, GradientShootingConfig
from roborl.planners.ilqr import ILQR, ILQRConfig
from roborl.planners.lqr import LQR, LQRConfig
from roborl.sim import Sim, SimState

A, B = np.array([[1.0, 0.1, 0.0], [0.0, 1.0, 0.1], [0.1, 0.0, 0.9]]), np.array([[0.0, 0.1], [0.1, 0.0], [0.0, 0.2]])
Q, R, LAST = np.diag([2.0, 0.1, 0.5]), np.diag([0.5, 0.2]), np.diag([5.0, 3.0, 1.0])
START = linear_state(np.array([[1.0, -0.5, 0.3]]))


def linear(bound: float = np.inf) -> LinearDynamics:
    return LinearDynamics(A, B, Q, R, last=LAST, low=np.full(2, -bound), high=np.full(2, bound))


def started(name: str, seed: int) -> SimState:
    sim = Sim(tasks.load(name), 1, num_threads=1, seeds=np.array([seed], np.uint64))
    sim.reset()
    return sim.state()


def test_a_gradient_computed_by_hand() -> None:
    # x' = x + u, weights 1, the last state's 3, from x = 1 with u = (2, 0.5): x = 1, 3, 3.5
    # dJ/du_1 = u_1 + (1 + 3) x_2 = 0.5 + 14 = 14.5; dJ/du_0 = u_0 + x_1 + (1 + 3) x_2 = 2 + 3 + 14 = 19
    # J = (x_1^2 + u_0^2 + (1 + 3) x_2^2 + u_1^2) / 2 = (9 + 4 + 49 + 0.25) / 2 = 31.125
    one = np.eye(1)
    planner = GradientShooting(LinearDynamics(one, one, one, one, last=3.0 * one), GradientShootingConfig(0.2))
    cost, X, gradient = planner.cost_and_gradient(linear_state(one), np.array([[2.0], [0.5]]))
    assert cost == pytest.approx(31.125) and X[:, 0].tolist() == [1.0, 3.0, 3.5]
    assert gradient is not None
    np.testing.assert_allclose(gradient, [[19.0], [14.5]], rtol=1e-8)


def test_the_gradient_is_the_costs_derivative_on_the_simulator() -> None:
    planner = GradientShooting(MujocoDynamics(tasks.load("CartpoleSwingup"), num_threads=1))
    x0, U = started("CartpoleSwingup", 0), np.random.default_rng(0).uniform(-0.9, 0.9, (12, 1))
    gradient = planner.cost_and_gradient(x0, U)[2]
    assert gradient is not None
    for t in (0, 5, 11):
        step = np.zeros_like(U)
        step[t] = 1e-4
        forth, back = (planner.cost_and_gradient(x0, U + sign * step)[0] for sign in (1.0, -1.0))
        assert gradient[t, 0] == pytest.approx((forth - back) / 2e-4, rel=1e-4)


def test_it_descends_to_lqrs_cost() -> None:
    expected = LQR(linear(), LQRConfig(horizon_s=2.5, infinite=False)).plan(START)
    config = GradientShootingConfig(horizon_s=2.5)
    plan = GradientShooting(linear(), config).plan(START)
    assert plan.cost == pytest.approx(expected.cost, rel=1e-6) and plan.cost >= expected.cost * (1.0 - 1e-12)
    np.testing.assert_allclose(plan.U, expected.U, atol=1e-3)
    assert plan.stats["gradient"] < 0.01 and plan.stats["lost"] == 0.0


def test_with_bounds_it_descends_to_what_ilqr_finds_there() -> None:
    dynamics = linear(0.3)
    expected = ILQR(dynamics, ILQRConfig(horizon_s=2.5)).plan(START)
    before = dynamics.steps
    plan = GradientShooting(dynamics, GradientShootingConfig(horizon_s=2.5)).plan(START)
    assert (np.abs(expected.U) == 0.3).any() and np.abs(plan.U).max() <= 0.3
    assert plan.cost == pytest.approx(expected.cost, rel=1e-6)
    assert plan.stats["gradient"] < 0.01  # none is left where no bound is in the way
    assert plan.stats["steps"] == dynamics.steps - before > 0


def test_a_plan_that_goes_on_is_never_dearer_than_what_it_began_from() -> None:
    planner = GradientShooting(linear(), GradientShootingConfig(horizon_s=2.5, iterations=100, warm_iterations=50))
    first = planner.plan(START)
    second = planner.plan(START, first)
    assert second.cost < first.cost
    assert second.X is not None
    np.testing.assert_allclose(linear().predict(START, second.X[:-1], second.U), second.X[1:], atol=1e-12)
    with pytest.raises(
        ConfigError, match=r"a warm start of gradient_shooting must have actions \(25, 2\), got \(3, 2\)"
    ):
        planner.plan(START, Plan(np.zeros((3, 2)), 0.0))


class Cliff(LinearDynamics):
    """A linear system that has no numbers for large actions."""

    def predict(self, at: SimState, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        after = super().predict(at, x, u)
        return np.where(np.abs(u).max(axis=1, keepdims=True) > 1.0, np.nan, after)


def test_steps_over_a_cliff_are_taken_back_and_counted() -> None:
    dynamics = Cliff(A, B, Q, R, last=LAST)
    config = GradientShootingConfig(horizon_s=1.0, step_size=4.0)
    plan = GradientShooting(dynamics, config).plan(START)
    nothing = GradientShooting(dynamics, config).cost_and_gradient(START, np.zeros((10, 2)))[0]
    assert plan.stats["lost"] >= 2.0 and np.isfinite(plan.cost) and plan.cost < nothing
    assert np.abs(plan.U).max() <= 1.0
    with pytest.raises(NonFinite, match="the cost of the actions that gradient_shooting begins with"):
        GradientShooting(dynamics, config).plan(START, Plan(np.full((10, 2), 2.0), 0.0))


def test_the_same_seed_gives_the_same_plan_and_the_state_resumes() -> None:
    planner = GradientShooting(linear(), GradientShootingConfig(iterations=3, start_noise=0.3), seed=3)
    saved = planner.state()
    first, second = planner.plan(START), planner.plan(START)
    assert not np.array_equal(first.U, second.U)
    planner.restore(saved)
    assert np.array_equal(planner.plan(START).U, first.U)
    planner.seed(3)
    assert np.array_equal(planner.plan(START).U, first.U)


@pytest.mark.parametrize(
    "settings",
    [
        {"horizon_s": 0.0},
        {"iterations": 0},
        {"warm_iterations": 0},
        {"step_size": 0.0},
        {"beta1": 1.0},
        {"beta2": -0.1},
        {"start_noise": -1.0},
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        GradientShootingConfig(**settings)
