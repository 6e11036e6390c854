from __future__ import annotations

import math

import numpy as np
import pytest
from plants import NOWHERE, Valley

from roborl.errors import ConfigError
from roborl.planners.contract import Plan
from roborl.planners.mppi import MPPI, MPPIConfig, noise_costs, weights


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
