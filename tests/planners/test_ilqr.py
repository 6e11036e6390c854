from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import quadprog

from roborl import presets, tasks
from roborl.dynamics import make_dynamics
from roborl.dynamics.contract import SmoothDynamics
from roborl.dynamics.linear import LinearDynamics, linear_state
from roborl.dynamics.mujoco import MujocoDynamics
from roborl.errors import ConfigError, NonFinite
from roborl.planners.backward import backward_pass, box_qp, model_change
from roborl.planners.contract import Plan
from roborl.planners.ilqr import ILQR, ILQRConfig
from roborl.planners.lqr import LQR, LQRConfig
from roborl.planners.mpc import make_planner, plan_episodes
from roborl.sim import Sim, SimState

A, B = np.array([[1.0, 0.1, 0.0], [0.0, 1.0, 0.1], [0.1, 0.0, 0.9]]), np.array([[0.0, 0.1], [0.1, 0.0], [0.0, 0.2]])
Q, R, LAST = np.diag([2.0, 0.1, 0.5]), np.diag([0.5, 0.2]), np.diag([5.0, 3.0, 1.0])
START = linear_state(np.array([[1.0, -0.5, 0.3]]))
HORIZON_S, HORIZON = 2.5, 25


def linear(bound: float = np.inf) -> LinearDynamics:
    return LinearDynamics(A, B, Q, R, last=LAST, low=np.full(2, -bound), high=np.full(2, bound))


def quadratic_program(bound: float) -> np.ndarray:
    """The cheapest actions (H, 2) within bounds, by an active-set method on the whole problem at once."""
    x, by_u = START.physics[0], np.zeros((3, 2 * HORIZON))
    H, g = np.kron(np.eye(HORIZON), R), np.zeros(2 * HORIZON)
    for t in range(HORIZON):
        x, by_u = A @ x, A @ by_u
        by_u[:, 2 * t : 2 * t + 2] += B
        weight = Q + (LAST if t == HORIZON - 1 else 0.0)
        H, g = H + by_u.T @ weight @ by_u, g + by_u.T @ weight @ x
    sides = np.concatenate((np.eye(2 * HORIZON), -np.eye(2 * HORIZON)), axis=1)
    return quadprog.solve_qp(H, -g, sides, np.full(4 * HORIZON, -bound))[0].reshape(HORIZON, 2)


def random_program(rng: np.random.Generator, m: int) -> tuple[np.ndarray, ...]:
    root = rng.normal(size=(m, m))
    low = rng.uniform(-1.0, 0.0, m)
    return root @ root.T + 0.1 * np.eye(m), rng.normal(size=m), low, low + rng.uniform(0.1, 1.5, m)


@pytest.mark.parametrize("m", [1, 2, 5, 12])
def test_small_programs_with_bounds_are_solved_as_by_an_active_set_method(m: int) -> None:
    rng = np.random.default_rng(m)
    for _ in range(30):
        H, g, low, high = random_program(rng, m)
        sound, x, free, _ = box_qp(H, g, low, high, rng.normal(size=m))
        sides = np.concatenate((np.eye(m), -np.eye(m)), axis=1)
        expected = quadprog.solve_qp(H, -g, sides, np.concatenate((low, -high)))[0]
        assert sound
        np.testing.assert_allclose(x, expected, atol=1e-9)
        inside = (expected > low + 1e-9) & (expected < high - 1e-9)
        assert set(free) == set(np.flatnonzero(inside))


def test_a_program_without_a_minimum_is_said_to_be_unsound() -> None:
    H = np.array([[1.0, 0.0], [0.0, -1.0]])
    wide = np.full(2, np.inf)
    assert not box_qp(H, np.ones(2), -wide, wide, np.zeros(2))[0]
    assert not box_qp(np.zeros((2, 2)), np.ones(2), -wide, wide, np.zeros(2))[0]


STARTS = ["nothing", "actions", "points"]


def warm_start(kind: str) -> Plan | None:
    rng = np.random.default_rng(0)
    U, X = rng.normal(size=(HORIZON, 2)), rng.normal(size=(HORIZON + 1, 3))
    return {"nothing": None, "actions": Plan(U, 0.0), "points": Plan(U, 0.0, X=X)}[kind]


@pytest.mark.parametrize("bound", [np.inf, 50.0])
@pytest.mark.parametrize("start", STARTS)
def test_one_iteration_leads_to_lqrs_optimum(start: str, bound: float) -> None:
    # without bounds, with bounds that nothing comes near, and from points that the dynamics do not connect
    expected = LQR(linear(), LQRConfig(horizon_s=HORIZON_S, infinite=False)).plan(START)
    plan = ILQR(linear(bound), ILQRConfig(horizon_s=HORIZON_S, warm_iterations=5)).plan(START, warm_start(start))
    assert plan.stats["iterations"] == 1 and plan.stats["converged"] == 1 and plan.stats["gap"] == 0
    assert plan.cost == pytest.approx(expected.cost, rel=1e-8)
    np.testing.assert_allclose(plan.U, expected.U, atol=1e-8)
    assert plan.gains is not None and expected.gains is not None
    np.testing.assert_allclose(plan.gains, expected.gains, atol=1e-7)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("bound", [0.3, 1.0])
def test_with_bounds_the_plan_is_the_quadratic_programs(bound: float, start: str) -> None:
    config = ILQRConfig(horizon_s=HORIZON_S, warm_iterations=100, tolerance=1e-13)
    plan = ILQR(linear(bound), config).plan(START, warm_start(start))
    expected = quadratic_program(bound)
    assert (np.abs(expected) > bound - 1e-6).any() and (np.abs(expected) < bound - 1e-3).any()
    np.testing.assert_allclose(plan.U, expected, atol=1e-6)
    assert np.abs(plan.U).max() <= bound
    assert plan.gains is not None
    clamped = np.abs(expected) > bound - 1e-9
    assert not plan.gains[clamped].any() and plan.gains[~clamped].any(axis=1).all()


@pytest.mark.parametrize("growth_s", [0.1, 1.0, 2.5, 9.0])
def test_a_horizon_that_grows_leads_to_lqrs_optimum_too(growth_s: float) -> None:
    expected = LQR(linear(), LQRConfig(horizon_s=HORIZON_S, infinite=False)).plan(START)
    plan = ILQR(linear(), ILQRConfig(horizon_s=HORIZON_S, growth_s=growth_s)).plan(START)
    assert plan.cost == pytest.approx(expected.cost, rel=1e-8) and plan.stats["gap"] == 0.0
    np.testing.assert_allclose(plan.U, expected.U, atol=1e-7)


def test_a_horizon_that_grows_finds_the_way_without_another_swing() -> None:
    # falling towards the side on which a swing through leads up: 3 s at once end in an optimum with two swings more
    dynamics, x0 = smooth("mujoco", "PendulumSwingup"), started("PendulumSwingup", 10001)
    whole = ILQR(dynamics, ILQRConfig(horizon_s=3.0)).plan(x0)
    grown = ILQR(dynamics, ILQRConfig(horizon_s=3.0, growth_s=0.25)).plan(x0)
    assert whole.stats["converged"] == 1 and grown.stats["converged"] == 1
    assert grown.cost < 0.5 * whole.cost
    assert grown.stats["iterations"] <= 100


def test_what_the_models_promise_is_what_happens_where_they_are_exact() -> None:
    dynamics, rng = linear(), np.random.default_rng(2)
    planner = ILQR(dynamics, ILQRConfig(horizon_s=HORIZON_S))
    trial = planner._begin(START, Plan(rng.normal(size=(HORIZON, 2)), 0.0, X=rng.normal(size=(HORIZON + 1, 3))))
    models = planner._model(START, trial)
    wide = np.full((HORIZON, 2), np.inf)
    sound, k, K = backward_pass(*models, -wide, wide, 0.7)
    a, b = model_change(*models, k, K)
    assert sound
    for length in (1.0, 0.5, 0.125):
        X, U = dynamics.follow(START, trial.X, trial.U, k, K, np.array([length]), trial.gaps)
        gaps = dynamics.space.difference(X[0, 1:], dynamics.predict(START, X[0, :-1], U[0]))
        np.testing.assert_allclose(gaps, (1.0 - length) * trial.gaps[1:], atol=1e-12)
        cost = 0.5 * np.sum(dynamics.stage_residuals(START, X[0, 1:], U[0]) ** 2)
        cost += 0.5 * np.sum(dynamics.terminal_residuals(START, X[0, -1:]) ** 2)
        assert cost - trial.cost == pytest.approx(length * a + 0.5 * length**2 * b, rel=1e-6)


def started(name: str, seed: int, **options: Any) -> SimState:
    sim = Sim(tasks.load(name, **options), 1, num_threads=1, seeds=np.array([seed], np.uint64))
    sim.reset()
    return sim.state()


def smooth(kind: str, name: str) -> SmoothDynamics:
    dynamics = make_dynamics(kind, tasks.load(name), num_threads=1)
    assert isinstance(dynamics, SmoothDynamics)
    return dynamics


SWINGUP = ILQRConfig(horizon_s=2.0, start_noise=0.1, growth_s=0.5)


def has_swung_up(plan: Plan, dynamics: SmoothDynamics) -> bool:
    """Whether a possible plan, found within 100 iterations, ends with the poles upright and keeps the limits."""
    assert plan.X is not None and plan.stats["passes"] <= 100
    assert (plan.U >= dynamics.action_low).all() and (plan.U <= dynamics.action_high).all()
    angles = np.cumsum(plan.X[-1, 1 : dynamics.space.nq])
    upright = bool((np.abs(np.arctan2(np.sin(angles), np.cos(angles))) < 0.05).all())
    return upright and plan.stats["gap"] < 1e-7 and bool(np.abs(plan.X[:, 0]).max() < 1.8)  # the rail's end


@pytest.mark.parametrize("kind", ["mujoco", "rigid"])
def test_the_cartpole_swings_up_from_hanging(kind: str) -> None:
    dynamics = smooth(kind, "CartpoleSwingup")
    plan = ILQR(dynamics, SWINGUP, seed=1).plan(started("CartpoleSwingup", 1))
    assert has_swung_up(plan, dynamics) and plan.stats["converged"] == 1
    assert dynamics.steps > 0


def test_the_plan_is_what_the_simulator_does_and_gains_bring_it_back() -> None:
    task = tasks.load("CartpoleSwingup")
    x0 = started("CartpoleSwingup", 1)
    dynamics = MujocoDynamics(task, num_threads=1)
    plan = ILQR(dynamics, SWINGUP, seed=1).plan(x0)
    assert plan.X is not None and plan.gains is not None
    ends = []
    for feedback in (0.0, 1.0):
        for push in (0.0, 0.02):
            sim = Sim(task, 1, num_threads=1)
            sim.restore(x0)
            sim.fields.qvel[0, 1] += push
            for t, u in enumerate(plan.U):
                off = dynamics.space.difference(plan.X[t], dynamics.coordinates(sim.state())[0])
                sim.step(np.clip(u + feedback * plan.gains[t] @ off, -1.0, 1.0)[None])
            ends.append(float(np.abs(sim.fields.qpos[0] - plan.X[-1, :2]).max()))
    open_undisturbed, open_pushed, closed_undisturbed, closed_pushed = ends
    assert open_undisturbed == 0.0 and closed_undisturbed < 1e-9
    assert closed_pushed < 0.1 * open_pushed


def test_on_a_manifold_differences_have_the_degrees_of_freedoms_number() -> None:
    dynamics = smooth("rigid", "Ant")
    x0 = started("Ant", 0)
    plan = ILQR(dynamics, ILQRConfig(horizon_s=0.5, iterations=3)).plan(x0)
    assert plan.X is not None and plan.gains is not None
    assert plan.X.shape == (11, 29) and plan.gains.shape == (10, 8, 28)
    assert plan.stats["iterations"] >= 1
    np.testing.assert_allclose(np.linalg.norm(plan.X[:, 3:7], axis=1), 1.0, atol=1e-12)


class Broken(LinearDynamics):
    """A linear system some of whose numbers are none."""

    def __init__(self, broken: str) -> None:
        super().__init__(A, B, Q, R, last=LAST)
        self.broken = broken

    def predict(self, at: SimState, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        after = super().predict(at, x, u)
        return np.where(np.abs(u).max() > 1e-3, np.nan, after) if self.broken == "rollouts" else after

    def linearize(self, at: SimState, X: np.ndarray, U: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        by_x, by_u = super().linearize(at, X, U)
        return (by_x * np.nan, by_u) if self.broken == "derivatives" else (by_x, by_u)

    def stage_residuals(self, at: SimState, after: np.ndarray, U: np.ndarray) -> np.ndarray:
        residuals = super().stage_residuals(at, after, U)
        return residuals * np.nan if self.broken == "costs" else residuals


def test_numbers_that_are_none_are_errors_and_never_plans() -> None:
    config = ILQRConfig(horizon_s=HORIZON_S)
    with pytest.raises(NonFinite, match="the cost of the trajectory that ilqr begins with is not finite"):
        ILQR(Broken("costs"), config).plan(START)
    with pytest.raises(NonFinite, match=r"a derivative \(A\) along ilqr's trajectory is not finite"):
        ILQR(Broken("derivatives"), config).plan(START)
    with pytest.raises(NonFinite, match="the trajectory that ilqr begins with diverges"):
        ILQR(Broken("rollouts"), config).plan(START, Plan(np.ones((HORIZON, 2)), 0.0))


def test_a_plan_whose_step_fails_is_followed_and_the_next_one_is_regularised_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # no step is good enough: what is left of gaps would stay, and the next plan from this one would fail as it did
    dynamics, first = linear(), warm_start("points")
    planner = ILQR(dynamics, ILQRConfig(horizon_s=HORIZON_S))
    monkeypatch.setattr(planner, "_search", lambda *_: None)
    assert first is not None
    stuck = planner.plan(START, first)
    assert stuck.X is not None and stuck.stats["iterations"] == 0 and stuck.stats["gap"] == 0.0
    np.testing.assert_allclose(dynamics.predict(START, stuck.X[:-1], stuck.U), stuck.X[1:], atol=1e-12)
    assert np.array_equal(stuck.X[0], START.physics[0])
    again = planner.plan(START, stuck)
    assert again.stats["regularization"] == 2.0 * stuck.stats["regularization"] > 0.0
    going_on = ILQR(dynamics, planner.config).plan(START, again)
    assert going_on.stats["iterations"] == 1 and going_on.cost < stuck.cost


def test_where_every_step_diverges_the_best_plan_is_flagged() -> None:
    plan = ILQR(Broken("rollouts"), ILQRConfig(horizon_s=HORIZON_S, max_regularization=1e4)).plan(START)
    assert plan.stats["converged"] == 0 and plan.stats["iterations"] == 0
    assert np.isfinite(plan.cost) and not plan.U.any()


def test_a_singular_hessian_is_regularised_and_said_to_be() -> None:
    # the second action does nothing and costs nothing: only the regularisation decides on it
    dynamics = LinearDynamics(A, B * np.array([1.0, 0.0]), Q, np.diag([0.5, 0.0]), last=LAST)
    plan = ILQR(dynamics, ILQRConfig(horizon_s=HORIZON_S)).plan(START)
    one = LinearDynamics(A, B[:, :1], Q, R[:1, :1], last=LAST)
    expected = LQR(one, LQRConfig(horizon_s=HORIZON_S, infinite=False)).plan(START)
    assert plan.cost == pytest.approx(expected.cost, rel=1e-4)
    assert not plan.U[:, 1].any()


def test_an_unstable_system_is_planned_for_all_the_same() -> None:
    dynamics = LinearDynamics(np.array([[3.0]]), np.array([[1.0]]), np.eye(1), np.eye(1))
    plan = ILQR(dynamics, ILQRConfig(horizon_s=1.0)).plan(linear_state(np.array([[1.0]])))
    expected = LQR(dynamics, LQRConfig(horizon_s=1.0, infinite=False)).plan(linear_state(np.array([[1.0]])))
    assert plan.cost == pytest.approx(expected.cost, rel=1e-6)
    with pytest.raises(NonFinite, match="begins with diverges"):  # 3^25 is too much to begin with
        ILQR(dynamics, ILQRConfig(horizon_s=2.5)).plan(linear_state(np.array([[1.0]])))


def test_the_same_seed_gives_the_same_plan_and_the_state_resumes() -> None:
    dynamics = smooth("mujoco", "CartpoleSwingup")
    x0 = started("CartpoleSwingup", 0)
    config = ILQRConfig(horizon_s=0.2, start_noise=0.5, iterations=2)
    planner = ILQR(dynamics, config, seed=3)
    saved = planner.state()
    first, second = planner.plan(x0), planner.plan(x0)
    assert not np.array_equal(first.U, second.U)
    planner.restore(saved)
    assert np.array_equal(planner.plan(x0).U, first.U)
    planner.seed(3)
    assert np.array_equal(planner.plan(x0).U, first.U)


@pytest.mark.parametrize(
    "settings",
    [
        {"horizon_s": 0.0},
        {"iterations": 0},
        {"warm_iterations": 0},
        {"step_lengths": 0},
        {"acceptance": 1.0},
        {"tolerance": -1.0},
        {"start_noise": -0.1},
        {"start_hold_s": -0.1},
        {"growth_s": -0.1},
        {"start_regularization": -1.0},
        {"min_regularization": 0.0},
        {"max_regularization": 1e-9},
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        ILQRConfig(**settings)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["mujoco", "rigid"])
def test_the_cartpole_swings_up_from_random_starts(kind: str) -> None:
    dynamics, swung_up = smooth(kind, "CartpoleSwingup"), 0
    config = replace(SWINGUP, horizon_s=3.0)
    sim = Sim(tasks.load("CartpoleSwingup"), 1, num_threads=1)
    rng = np.random.default_rng(0)
    for seed in range(20):
        sim.seed(np.array([seed], np.uint64))
        sim.reset()
        sim.fields.qpos[0] = rng.uniform(-0.5, 0.5), rng.uniform(-np.pi, np.pi)
        sim.fields.qvel[0] = rng.uniform(-1.0, 1.0, 2)
        swung_up += has_swung_up(ILQR(dynamics, config, seed=seed).plan(sim.state()), dynamics)
    assert swung_up >= 18


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_poles_swing_up_from_hanging() -> None:
    dynamics = smooth("mujoco", "DoubleCartpoleSwingup")
    config = ILQRConfig(horizon_s=3.0, start_noise=0.1, start_regularization=1.0)
    for seed in range(3):
        assert has_swung_up(ILQR(dynamics, config, seed=seed).plan(started("DoubleCartpoleSwingup", seed)), dynamics)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_acrobot_swings_up_from_hanging_on_from_what_a_sampling_planner_did() -> None:
    # the motor is weak and the way long: most plans from random actions end far from upright
    task, swung_up = tasks.load("AcrobotSwingup", hanging=True), 0
    sampling = make_planner("icem", task, presets.settings("icem", "AcrobotSwingup"), num_threads=1)
    dynamics, horizon = MujocoDynamics(task, num_threads=1), 800
    planner = ILQR(dynamics, ILQRConfig(horizon_s=8.0, warm_iterations=100))
    for seed in range(5):
        (done,) = plan_episodes(sampling, seed=seed, replan_steps=4).episodes
        begun = Plan(done.actions[:horizon], 0.0, X=dynamics.coordinates(done.states)[: horizon + 1])
        plan = planner.plan(started("AcrobotSwingup", seed, hanging=True), begun)
        assert plan.X is not None and plan.stats["passes"] <= 100 and plan.stats["gap"] < 1e-7
        assert np.abs(plan.U).max() <= 1.0
        angles = np.cumsum(plan.X[-1, :2])
        swung_up += bool((np.abs(np.arctan2(np.sin(angles), np.cos(angles))) < 0.05).all())
    assert swung_up >= 4
