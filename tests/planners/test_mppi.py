from __future__ import annotations

import math

import numpy as np
import pytest

from roborl import tasks
from roborl.dynamics.contract import Dynamics, Prediction, Rollout
from roborl.errors import ConfigError, NonFinite, UnknownName
from roborl.planners import planner_class
from roborl.planners.contract import Plan
from roborl.planners.mppi import MPPI, MPPIConfig, noise_costs, smooth_basis, weights
from roborl.sim import SimState

NOWHERE = SimState(np.zeros((1, 1)), np.zeros((1, 0)), np.zeros((1, 0)), np.zeros((1, 3), np.uint64))


class Valley(Dynamics):
    """A step's reward is minus the squared distance of the action to a goal; some actions can be made to diverge."""

    def __init__(self, goal: float = 0.7, breaks_above: float = math.inf) -> None:
        self.task = tasks.load("PendulumSwingup")  # for the control period alone
        self.action_low, self.action_high = np.array([-2.0, -1.0]), np.array([2.0, 1.0])
        self.goal, self.breaks_above, self.steps = goal, breaks_above, 0
        self.seen: list[np.ndarray] = []
        self.seeds: list[int] = []

    def step(self, x: SimState, u: np.ndarray, seed: int) -> Prediction:
        raise NotImplementedError

    def rollout(self, x0: SimState, U: np.ndarray, seed: int) -> Rollout:
        self.seen.append(U)
        self.seeds.append(seed)
        rewards = -np.sum((U - self.goal) ** 2, axis=2)
        diverged = np.asarray((U > self.breaks_above).any(axis=(1, 2)))
        rewards[diverged] = np.nan
        return Rollout(rewards, diverged)


def test_weights_computed_by_hand() -> None:
    # above the least: 0, 1, 2 in units of lambda = 2; e^0, e^-0.5, e^-1 and their sum
    total = 1.0 + math.exp(-0.5) + math.exp(-1.0)
    expected = [1.0 / total, math.exp(-0.5) / total, math.exp(-1.0) / total]
    assert weights(np.array([5.0, 6.0, 7.0]), 2.0) == pytest.approx(expected, rel=1e-15)


def test_the_least_cost_is_subtracted_so_that_huge_costs_do_not_underflow() -> None:
    w = weights(np.array([1e9, 1e9 + 1.0]), 1.0)
    assert w == pytest.approx([1 / (1 + math.exp(-1)), math.exp(-1) / (1 + math.exp(-1))], rel=1e-6)


def test_infinite_costs_weigh_nothing_and_equal_ones_share() -> None:
    assert weights(np.array([np.inf, 1.0, 1.0]), 0.0).tolist() == [0.0, 0.5, 0.5]
    assert weights(np.array([np.inf, 1.0, 3.0]), 1.0)[0] == 0.0


def test_noise_costs_computed_by_hand() -> None:
    U = np.array([[1.0, 2.0], [0.5, -1.0]])
    noise = np.array([[[0.1, 0.2], [0.4, 0.3]], [[0.0, 0.0], [0.0, 0.0]]])
    sigma = np.array([0.5, 2.0])
    # (0.1 * 1 + 0.4 * 0.5) / 0.25 + (0.2 * 2 - 0.3 * 1) / 4 = 1.2 + 0.025
    assert noise_costs(U, noise, sigma) == pytest.approx([1.225, 0.0])


def test_the_noise_has_variance_one_everywhere_and_is_linear_between_knots() -> None:
    basis = smooth_basis(10, 4)
    assert basis.shape == (10, 4)  # knots at steps 0, 4, 8, 12: the last step, 9, lies between two
    assert np.linalg.norm(basis, axis=1) == pytest.approx(np.ones(10))
    assert basis[2] == pytest.approx([math.sqrt(0.5), math.sqrt(0.5), 0, 0])  # half-way, weights 1/2 and 1/2, normed
    assert np.array_equal(smooth_basis(5, 1), np.eye(5))  # white
    assert smooth_basis(1, 3).shape == (1, 1)


def test_the_plan_is_the_weighted_mean_of_the_clamped_samples() -> None:
    dynamics = Valley()
    config = MPPIConfig(horizon_s=0.2, samples=16, noise=2.0, temperature=0.5, control_cost=0.3)
    warm = Plan(np.full((4, 2), [1.5, -0.8]), 0.0)
    plan = MPPI(dynamics, config, seed=3).plan(NOWHERE, warm)
    samples = dynamics.seen[0]
    assert (samples >= dynamics.action_low).all() and (samples <= dynamics.action_high).all()
    assert np.array_equal(samples[0], warm.U)
    assert (samples == dynamics.action_high).any()  # some noise has been clamped

    costs = np.sum((samples - dynamics.goal) ** 2, axis=(1, 2))
    temperature = 0.5 * costs.std()
    sigma = 2.0 * np.array([2.0, 1.0])
    clamped = samples - warm.U
    total = costs + 0.3 * temperature * np.sum(warm.U * clamped / sigma**2, axis=(1, 2))
    w = np.exp(-(total - total.min()) / temperature)
    w /= w.sum()
    assert plan.U == pytest.approx(warm.U + np.tensordot(w, clamped, 1), rel=1e-12)
    assert plan.cost == pytest.approx(float(w @ costs))
    assert plan.stats["best_cost"] == costs.min()
    assert plan.stats["effective_samples"] == pytest.approx(1 / np.sum(w**2))


def test_planning_finds_the_valley() -> None:
    dynamics = Valley()
    config = MPPIConfig(horizon_s=0.25, samples=256, iterations=30, noise=0.3, knot_s=0.0)
    plan = MPPI(dynamics, config).plan(NOWHERE)
    assert np.abs(plan.U - 0.7).max() < 0.15


def test_the_noise_falls_from_round_to_round() -> None:
    dynamics = Valley()
    MPPI(dynamics, MPPIConfig(samples=2000, iterations=3, noise=0.2, last_noise=0.04, horizon_s=0.05)).plan(NOWHERE)
    spreads = [samples[1:, 0, 1].std() for samples in dynamics.seen]  # the second action: noise 0.2, half range 1
    assert spreads == pytest.approx([0.2, 0.2 * 0.2, 0.2 * 0.04], rel=0.1)


def test_the_control_cost_draws_actions_towards_zero() -> None:
    start = Plan(np.full((5, 2), 0.7), 0.0)

    def found(control_cost: float) -> float:
        config = MPPIConfig(horizon_s=0.25, samples=256, iterations=20, noise=0.2, control_cost=control_cost)
        return float(MPPI(Valley(), config).plan(NOWHERE, start).U.mean())

    assert found(1.0) < found(0.0) - 0.01


def test_samples_that_diverge_lose_and_are_counted() -> None:
    dynamics = Valley(goal=0.9, breaks_above=0.2)
    plan = MPPI(dynamics, MPPIConfig(horizon_s=0.25, samples=64, iterations=5, last_noise=1.0)).plan(NOWHERE)
    assert np.isfinite(plan.U).all() and np.isfinite(plan.cost)
    assert plan.stats["diverged"] > 0
    assert plan.U.max() <= 0.2


def test_a_plan_without_any_finite_prediction_is_an_error() -> None:
    planner = MPPI(Valley(breaks_above=-3.0), MPPIConfig(samples=8))
    with pytest.raises(NonFinite, match="all 8 samples of mppi diverged"):
        planner.plan(NOWHERE)


def test_the_same_seed_gives_the_same_plans_and_others_others() -> None:
    def plans(seed: int) -> np.ndarray:
        planner = MPPI(Valley(), seed=seed)
        first = planner.plan(NOWHERE)
        return np.stack([first.U, planner.plan(NOWHERE, first.shifted()).U])

    assert np.array_equal(plans(1), plans(1))
    assert not np.array_equal(plans(1), plans(2))


def test_a_saved_planner_continues_as_if_nothing_had_happened() -> None:
    planner = MPPI(Valley(), seed=1)
    planner.plan(NOWHERE)
    saved = planner.state()
    expected = planner.plan(NOWHERE)
    other = MPPI(Valley(), seed=99)
    other.restore(saved)
    assert np.array_equal(other.plan(NOWHERE).U, expected.U)


def test_all_rounds_of_a_plan_meet_the_same_future_and_the_next_plan_another() -> None:
    dynamics = Valley()
    planner = MPPI(dynamics, MPPIConfig(iterations=3))
    planner.plan(NOWHERE)
    planner.plan(NOWHERE)
    assert len(set(dynamics.seeds[:3])) == 1
    assert dynamics.seeds[3] != dynamics.seeds[0]


def test_a_shifted_plan_drops_what_is_past_and_holds_its_last_action() -> None:
    plan = Plan(np.arange(4.0)[:, None], 1.0)
    assert plan.shifted(1).U[:, 0].tolist() == [1, 2, 3, 3]
    assert plan.shifted(3).U[:, 0].tolist() == [3, 3, 3, 3]
    assert plan.shifted(9).U[:, 0].tolist() == [3, 3, 3, 3]
    assert plan.shifted(0).U[:, 0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "settings",
    [
        {"horizon_s": 0.0},
        {"samples": 1},
        {"iterations": 0},
        {"temperature": 0.0},
        {"noise": -1.0},
        {"last_noise": 0.0},
        {"knot_s": -0.1},
    ]
    + [{"control_cost": 1.5}, {"noise": math.nan}],
)
def test_settings_out_of_range_are_refused_by_name(settings: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        MPPIConfig(**settings)


def test_a_horizon_below_a_control_step_and_unbounded_actions_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"horizon_s must be at least a control step, 0.05 s, got 0.001"):
        MPPI(Valley(), MPPIConfig(horizon_s=0.001))
    dynamics = Valley()
    dynamics.action_high = np.array([np.inf, 1.0])
    with pytest.raises(ConfigError, match="bounded actions"):
        MPPI(dynamics)


def test_planners_are_found_by_name() -> None:
    assert planner_class("mppi") is MPPI
    with pytest.raises(UnknownName, match="did you mean 'mppi'"):
        planner_class("mpi")
