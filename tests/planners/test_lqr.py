from __future__ import annotations

import numpy as np
import pytest

from roborl import tasks
from roborl.dynamics import make_dynamics
from roborl.dynamics.contract import SmoothDynamics
from roborl.dynamics.linear import LinearDynamics, linear_state
from roborl.errors import ConfigError
from roborl.planners.lqr import (
    LQR,
    LQRConfig,
    NoEquilibrium,
    Unstabilizable,
    by_state_before,
    equilibrium,
    infinite_horizon,
)
from roborl.planners.mpc import make_planner, plan_episodes
from roborl.sim import Sim
from roborl.tasks.cartpole import CartpoleBalance

A, B = np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([[0.005], [0.1]])
Q, R, LAST = np.diag([2.0, 0.1]), np.array([[0.5]]), np.diag([5.0, 3.0])
START = linear_state(np.array([[1.0, -0.5]]))


def test_a_scalar_system_by_hand() -> None:
    # x' = x + u with q = r = 1, s = 0: V = 1 + V - V^2 / (1 + V), so V^2 = 1 + V: the golden ratio; K = -V / (1 + V)
    golden = (1.0 + np.sqrt(5.0)) / 2.0
    one = np.eye(1)
    K, V = infinite_horizon(one, one, one, one, np.zeros((1, 1)))
    assert V[0, 0] == pytest.approx(golden, rel=1e-12)
    assert K[0, 0] == pytest.approx(-golden / (1.0 + golden), rel=1e-12)


@pytest.mark.parametrize("infinite", [True, False])
def test_the_plans_cost_is_the_riccati_value(infinite: bool) -> None:
    dynamics = LinearDynamics(A, B, Q, R, last=None if infinite else LAST)
    plan = LQR(dynamics, LQRConfig(horizon_s=60.0 if infinite else 3.0, infinite=infinite)).plan(START)
    assert plan.cost == pytest.approx(plan.stats["expected"], rel=1e-8)
    assert plan.X is not None and plan.gains is not None
    assert plan.gains.shape == (len(plan.U), 1, 2) and plan.X.shape == (len(plan.U) + 1, 2)


def test_no_other_actions_are_cheaper() -> None:
    # the least squares' solution of the whole problem at once, without any recursion
    dynamics, horizon = LinearDynamics(A, B, Q, R, last=LAST), 12
    plan = LQR(dynamics, LQRConfig(horizon_s=1.2, infinite=False)).plan(START)
    rows, x, by_u = [], START.physics[0], np.zeros((2, horizon))
    for t in range(horizon):
        x, by_u = A @ x, A @ by_u
        by_u[:, t] += B[:, 0]
        weight = np.sqrt(Q + (LAST if t == horizon - 1 else 0.0))
        rows.append((weight @ by_u, weight @ x))
    rows.append((np.sqrt(R[0, 0]) * np.eye(horizon), np.zeros(horizon)))
    F, r = np.concatenate([row[0] for row in rows]), np.concatenate([row[1] for row in rows])
    U = np.linalg.lstsq(F, -r, rcond=None)[0]
    np.testing.assert_allclose(plan.U[:, 0], U, atol=1e-8)


def test_the_goal_is_the_equilibrium_and_bounds_are_kept() -> None:
    dynamics = LinearDynamics(A, B, Q, R, goal=np.array([3.0, 0.0]), low=np.array([-0.5]), high=np.array([0.5]))
    plan = LQR(dynamics, LQRConfig(horizon_s=20.0)).plan(START)
    assert plan.X is not None
    np.testing.assert_allclose(plan.X[-1], [3.0, 0.0], atol=1e-2)
    assert plan.U.max() == 0.5 and plan.U.min() >= -0.5


@pytest.mark.parametrize("kind", ["mujoco", "rigid"])
def test_the_cartpoles_equilibrium_is_upright_in_the_middle(kind: str) -> None:
    task = tasks.load("CartpoleBalance")
    sim = Sim(task, 1, num_threads=1)
    sim.reset()
    dynamics = make_dynamics(kind, task, num_threads=1)
    assert isinstance(dynamics, SmoothDynamics)
    guess = np.concatenate((sim.fields.qpos[0], np.zeros(2)))
    point = equilibrium(dynamics, sim.state(), guess, np.zeros(1), 50)
    np.testing.assert_allclose(point.x, 0.0, atol=1e-8)
    np.testing.assert_allclose(point.u, 0.0, atol=1e-8)
    K, _ = infinite_horizon(point.A, point.B, *by_state_before(point))
    assert np.abs(np.linalg.eigvals(point.A)).max() > 1.0  # a pole falls,
    assert np.abs(np.linalg.eigvals(point.A + point.B @ K)).max() < 1.0  # but not a held one


def test_it_balances_the_cartpole() -> None:
    class Short(CartpoleBalance):
        episode_length_s = 2.0

    results = plan_episodes(make_planner("lqr", Short(), {"horizon_s": 0.1}, num_threads=1), seed=3, replan_steps=5)
    episode = results.episodes[0]
    assert np.abs(episode.qpos[-1]).max() < 0.01
    assert results.returns[0] > 195.0  # of 200


def test_what_no_action_reaches_and_grows_is_named() -> None:
    dynamics = LinearDynamics(np.diag([1.2, 0.5]), np.array([[0.0], [1.0]]), np.eye(2), np.eye(1))
    with pytest.raises(Unstabilizable, match=r"mode 1.2.* is not stable, and no action reaches it"):
        LQR(dynamics).plan(START)


def test_a_mode_that_costs_nothing_and_stays_is_not_stabilised() -> None:
    # an integrator that no cost sees: the cheapest is to leave it alone
    with pytest.raises(Unstabilizable, match="stabilis"):
        infinite_horizon(np.eye(1), np.eye(1), np.zeros((1, 1)), np.eye(1), np.zeros((1, 1)))


def test_no_equilibrium_is_an_error() -> None:
    # x' = 2 x with the goal at 1: to stay there takes u = -1, which is out of bounds
    goal = np.array([1.0])
    dynamics = LinearDynamics(2 * np.eye(1), np.eye(1), np.eye(1), 1e-9 * np.eye(1), goal=goal, low=-0.1 * goal)
    with pytest.raises(NoEquilibrium, match="beyond its bounds"):
        LQR(dynamics).plan(linear_state(np.zeros((1, 1))))


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="horizon_s"):
        LQRConfig(horizon_s=0.0)
    with pytest.raises(ConfigError, match="iterations"):
        LQRConfig(iterations=0)
    with pytest.raises(ConfigError, match=r"horizon_s must be at least a control step, 0.1 s, got 0.01"):
        LQR(LinearDynamics(A, B, Q, R), LQRConfig(horizon_s=0.01))
    with pytest.raises(ConfigError, match=r"lqr needs dynamics with derivatives \(SmoothDynamics\), got object"):
        LQR(object())  # pyright: ignore[reportArgumentType]
