"""What sampling planners share, by hand; and what every one of them must keep to."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from plants import NOWHERE, DoubleIntegrator, Valley, state

from roborl import tasks
from roborl.errors import ConfigError, NonFinite, UnknownName
from roborl.planners import PLANNERS, planner_class
from roborl.planners.contract import Plan
from roborl.planners.mpc import make_planner
from roborl.planners.sampling import SamplingPlanner, coloured_basis, elite, fitted, smooth_basis
from roborl.sim import Sim

SAMPLING = [name for name in PLANNERS if issubclass(planner_class(name), SamplingPlanner)]


def make(name: str, dynamics: Any, seed: int = 0, **settings: Any) -> SamplingPlanner:
    cls: Any = planner_class(name)
    return cls(dynamics, cls.Config(**settings), seed)


def test_the_noise_has_variance_one_everywhere_and_is_linear_between_knots() -> None:
    basis = smooth_basis(10, 4)
    assert basis.shape == (10, 4)  # knots at steps 0, 4, 8, 12: the last step, 9, lies between two
    assert np.linalg.norm(basis, axis=1) == pytest.approx(np.ones(10))
    assert basis[2] == pytest.approx([math.sqrt(0.5), math.sqrt(0.5), 0, 0])  # half-way, weights 1/2 and 1/2, normed
    assert np.array_equal(smooth_basis(5, 1), np.eye(5))  # white
    assert smooth_basis(1, 3).shape == (1, 1)


@pytest.mark.parametrize("horizon", [1, 2, 7, 8])
def test_noise_without_colour_is_white(horizon: int) -> None:
    basis = coloured_basis(horizon, 0.0)
    assert basis @ basis.T == pytest.approx(np.eye(horizon), abs=1e-12)


def test_coloured_noise_has_the_power_spectrum_asked_for() -> None:
    basis = coloured_basis(64, 2.0)
    assert np.linalg.norm(basis, axis=1) == pytest.approx(np.ones(64))
    power = np.sum(np.abs(np.fft.rfft(basis, axis=0)) ** 2, axis=1)  # expected, as z is white
    assert power[2:32] / power[1] == pytest.approx(1.0 / np.arange(2, 32) ** 2, rel=1e-9)
    assert power[0] == pytest.approx(power[1])


def test_elites_are_the_cheapest_in_order_and_never_infinite() -> None:
    costs = np.array([3.0, np.inf, 1.0, 2.0, np.inf])
    assert elite(costs, 2).tolist() == [2, 3]
    assert elite(costs, 5).tolist() == [2, 3, 0]


def test_the_fitted_distribution_computed_by_hand() -> None:
    elites = np.array([[[1.0]], [[3.0]]])  # mean 2, deviation 1
    mean, sigma = fitted(np.array([[10.0]]), np.array([[5.0]]), elites, 0.25)
    assert mean.item() == 0.75 * 2.0 + 0.25 * 10.0
    assert sigma.item() == 0.75 * 1.0 + 0.25 * 5.0


def test_a_shifted_plan_drops_what_is_past_and_holds_its_last_action() -> None:
    U = np.arange(4.0)[:, None]
    plan = Plan(U, 1.0, X=np.arange(5.0)[:, None], carried={"elites": np.stack((U, 10.0 + U))})
    assert plan.shifted(1).U[:, 0].tolist() == [1, 2, 3, 3]
    assert plan.shifted(1).carried["elites"][:, :, 0].tolist() == [[1, 2, 3, 3], [11, 12, 13, 13]]
    X = plan.shifted(3).X
    assert X is not None and X[:, 0].tolist() == [3, 4, 4, 4, 4]
    assert plan.shifted(3).U[:, 0].tolist() == [3, 3, 3, 3]
    assert plan.shifted(9).U[:, 0].tolist() == [3, 3, 3, 3]
    assert plan.shifted(0).U[:, 0].tolist() == [0, 1, 2, 3]


def test_a_plan_survives_json() -> None:
    for carried in ({}, {"elites": np.ones((3, 2, 1))}, {"elites": np.ones((0, 2, 1))}):
        plan = Plan(np.ones((2, 1)), 1.0, {"steps": 2.0}, np.ones((3, 4)), np.ones((2, 1, 4)), carried)
        other = Plan.from_json(json.loads(json.dumps(plan.to_json())))
        assert other.X is not None and other.gains is not None
        assert other.U.shape == (2, 1) and other.X.shape == (3, 4) and other.gains.shape == (2, 1, 4)
        assert {k: v.shape for k, v in other.carried.items()} == {k: v.shape for k, v in carried.items()}
        assert (other.cost, other.stats) == (1.0, {"steps": 2.0})


def test_planners_are_found_by_name() -> None:
    assert planner_class("mppi").name == "mppi"
    assert all(planner_class(name).name == name for name in PLANNERS)
    with pytest.raises(UnknownName, match="did you mean 'mppi'"):
        planner_class("mpi")


@pytest.mark.parametrize("name", SAMPLING)
def test_samples_and_plans_keep_to_the_bounds(name: str) -> None:
    dynamics = Valley(goal=5.0)  # far beyond them
    plan = make(name, dynamics, samples=64, iterations=3, noise=2.0).plan(NOWHERE)
    for samples in (*dynamics.seen, plan.U[None]):
        assert (samples >= dynamics.action_low).all() and (samples <= dynamics.action_high).all()
    assert any((samples == dynamics.action_high).any() for samples in dynamics.seen)


@pytest.mark.parametrize("name", SAMPLING)
def test_the_same_seed_gives_the_same_plans_and_others_others(name: str) -> None:
    def plans(seed: int) -> np.ndarray:
        planner = make(name, Valley(), seed)
        first = planner.plan(NOWHERE)
        return np.stack([first.U, planner.plan(NOWHERE, first.shifted()).U])

    assert np.array_equal(plans(1), plans(1))
    assert not np.array_equal(plans(1), plans(2))


@pytest.mark.parametrize("name", SAMPLING)
def test_a_saved_planner_and_its_plan_continue_as_if_nothing_had_happened(name: str) -> None:
    planner = make(name, Valley(), 1)
    plan = planner.plan(NOWHERE)
    saved = json.loads(json.dumps({"planner": planner.state(), "plan": plan.to_json()}))
    expected = planner.plan(NOWHERE, plan.shifted())
    other = make(name, Valley(), 99)
    other.restore(saved["planner"])
    assert np.array_equal(other.plan(NOWHERE, Plan.from_json(saved["plan"]).shifted()).U, expected.U)


@pytest.mark.parametrize("name", SAMPLING)
def test_all_rounds_of_a_plan_meet_the_same_future_and_the_next_plan_another(name: str) -> None:
    dynamics = Valley()
    planner = make(name, dynamics, iterations=3)
    planner.plan(NOWHERE)
    planner.plan(NOWHERE)
    assert len(set(dynamics.seeds[:3])) == 1
    assert dynamics.seeds[3] != dynamics.seeds[0]


@pytest.mark.parametrize("name", SAMPLING)
def test_every_step_is_counted_in_its_plan(name: str) -> None:
    dynamics = Valley()
    planner = make(name, dynamics, samples=16, iterations=2)
    for _ in range(2):
        dynamics.seen.clear()
        plan = planner.plan(NOWHERE)
        assert plan.stats["steps"] == sum(U.shape[0] * U.shape[1] for U in dynamics.seen) > 0


@pytest.mark.parametrize("name", SAMPLING)
def test_the_plan_it_began_from_is_among_the_samples(name: str) -> None:
    dynamics = Valley()
    warm = Plan(np.full((4, 2), [1.5, -0.8]), 0.0)
    make(name, dynamics, horizon_s=0.2, samples=16).plan(NOWHERE, warm)
    assert np.array_equal(dynamics.seen[0][0], warm.U)


@pytest.mark.parametrize("name", SAMPLING)
def test_a_warm_start_carries_over_what_was_found(name: str) -> None:
    # one round a plan, twenty plans, each begun from the one before: the valley is found across plans
    planner = make(name, Valley(), horizon_s=0.2, samples=64, iterations=1, noise=0.2)
    first = plan = planner.plan(NOWHERE)
    for _ in range(20):
        plan = planner.plan(NOWHERE, plan.shifted(0))
    assert np.sum((plan.U - 0.7) ** 2) < 0.2 * np.sum((first.U - 0.7) ** 2)


@pytest.mark.parametrize("name", SAMPLING)
def test_samples_that_diverge_lose_and_are_counted(name: str) -> None:
    dynamics = Valley(goal=0.9, breaks_above=0.2)
    plan = make(name, dynamics, horizon_s=0.25, samples=64, iterations=5).plan(NOWHERE)
    assert np.isfinite(plan.U).all() and np.isfinite(plan.cost)
    assert plan.stats["diverged"] > 0
    assert plan.U.max() <= 0.2
    assert np.isfinite(plan.stats["best_cost"])


@pytest.mark.parametrize("name", SAMPLING)
def test_a_plan_without_any_finite_prediction_is_an_error(name: str) -> None:
    with pytest.raises(NonFinite, match=f"all 12 samples of {name} diverged"):
        make(name, Valley(breaks_above=-3.0), samples=12).plan(NOWHERE)


@pytest.mark.parametrize("name", SAMPLING)
def test_physics_that_explodes_loses(name: str) -> None:
    # a state at a speed of 1e9 rad/s: MuJoCo gives up on it, whatever the action
    task = tasks.load("CartpoleSwingup")
    sim = Sim(task, 1, num_threads=1)
    sim.reset()
    sim.fields.qvel[...] = 1e12
    with pytest.raises(NonFinite, match="diverged"):
        make_planner(name, task, {"horizon_s": 0.1, "samples": 12}, num_threads=1).plan(sim.state())


@pytest.mark.parametrize("name", SAMPLING)
@pytest.mark.parametrize(
    "settings",
    [{"horizon_s": 0.0}, {"samples": 1}, {"iterations": 0}, {"noise": -1.0}, {"noise": math.nan}],
)
def test_settings_out_of_range_are_refused_by_name(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        planner_class(name).Config(**settings)


@pytest.mark.parametrize("name", SAMPLING)
def test_bad_horizons_and_unbounded_actions_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"horizon_s must be at least a control step, 0.05 s, got 0.001"):
        make(name, Valley(), horizon_s=0.001)
    with pytest.raises(ConfigError, match=rf"a warm start of {name} must have actions \(4, 2\), got \(3, 2\)"):
        make(name, Valley(), horizon_s=0.2).plan(NOWHERE, Plan(np.zeros((3, 2)), 0.0))
    dynamics = Valley()
    dynamics.action_high = np.array([np.inf, 1.0])
    with pytest.raises(ConfigError, match=f"{name} needs bounded actions"):
        make(name, dynamics)


def test_the_riccati_value_is_what_its_actions_cost() -> None:
    plant, x0 = DoubleIntegrator(), state(1.0, 0.5)
    U, cost = plant.optimum(x0, 20)
    assert plant.rollout(x0, U[None], 0).costs[0] == pytest.approx(cost, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("cem", {"samples": 500, "iterations": 40, "elites": 50, "noise": 0.3, "least_noise": 0.0, "knot_s": 0.0}),
        ("icem", {"samples": 500, "iterations": 40, "elites": 50, "decay": 1.0, "noise": 0.3, "exponent": 0.0}),
        ("mppi", {"samples": 500, "iterations": 40, "temperature": 0.2, "noise": 0.3, "last_noise": 0.02, "knot_s": 0}),
        ("pi2", {"samples": 500, "iterations": 40, "noise": 0.3, "last_noise": 0.02, "knot_s": 0.0}),
    ],
)
def test_planners_reach_the_linear_quadratic_optimum_within_a_hundredth(name: str, settings: dict[str, Any]) -> None:
    x0 = state(1.0, 0.5)
    for seed in range(3):
        plant = DoubleIntegrator()
        _, optimum = plant.optimum(x0, 20)
        plan = make(name, plant, seed, horizon_s=2.0, **settings).plan(x0)
        assert sum(len(U) for U in plant.seen) <= 20_000
        assert optimum <= plant.rollout(x0, plan.U[None], 0).costs[0] <= 1.01 * optimum
