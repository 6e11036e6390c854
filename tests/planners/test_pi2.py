from __future__ import annotations

import math

import numpy as np
import pytest
from plants import NOWHERE, Plant, Valley

from roborl.dynamics.contract import Rollout
from roborl.errors import ConfigError
from roborl.planners.contract import Plan
from roborl.planners.pi2 import PI2, PI2Config, costs_to_go, step_weights
from roborl.sim import SimState


def test_costs_to_go_computed_by_hand() -> None:
    assert costs_to_go(np.array([[1.0, 2.0, 4.0]])).tolist() == [[7.0, 6.0, 4.0]]


def test_step_weights_computed_by_hand() -> None:
    # step 0: costs to go 3, 4, 7, above the least 0, 1, 4 of a spread of 4: e^0, e^-0.5, e^-2 at h = 2
    # step 1: all the same, so all the same weight
    w = step_weights(np.array([[3.0, 5.0], [4.0, 5.0], [7.0, 5.0]]), 2.0)
    total = 1.0 + math.exp(-0.5) + math.exp(-2.0)
    assert w[:, 0] == pytest.approx([1.0 / total, math.exp(-0.5) / total, math.exp(-2.0) / total], rel=1e-15)
    assert w[:, 1] == pytest.approx([1.0 / 3.0] * 3)


def test_infinite_costs_weigh_nothing_and_do_not_widen_the_spread() -> None:
    w = step_weights(np.array([[3.0], [np.inf], [5.0]]), 2.0)
    assert w[:, 0] == pytest.approx([1.0 / (1.0 + math.exp(-2.0)), 0.0, math.exp(-2.0) / (1.0 + math.exp(-2.0))])


class Memoryless(Plant):
    """A first action of which nothing follows but its own cost, however bad; and a second one."""

    action_low, action_high = np.array([-1.0]), np.array([1.0])

    def rollout(self, x0: SimState, U: np.ndarray, seed: int) -> Rollout:
        self.note(U, seed)
        return Rollout(np.stack((-100.0 * U[:, 0, 0] ** 2, -((U[:, 1, 0] - 0.5) ** 2)), axis=1), np.zeros(len(U), bool))


def test_what_a_sample_did_before_does_not_count_against_what_it_does_now() -> None:
    dynamics = Memoryless()
    config = PI2Config(horizon_s=0.1, samples=8, noise=0.5, knot_s=0.0)
    plan = PI2(dynamics, config, seed=2).plan(NOWHERE)
    (samples,) = dynamics.seen
    second = (samples[:, 1, 0] - 0.5) ** 2
    w = np.exp(-10.0 * (second - second.min()) / (second.max() - second.min()))
    assert plan.U[1, 0] == pytest.approx(float(w @ samples[:, 1, 0] / w.sum()), rel=1e-12)


def test_the_plan_is_the_weighted_mean_of_the_clamped_samples_step_by_step() -> None:
    dynamics = Valley()
    config = PI2Config(horizon_s=0.2, samples=16, noise=2.0, sharpness=3.0)
    warm = Plan(np.full((4, 2), [1.5, -0.8]), 0.0)
    plan = PI2(dynamics, config, seed=3).plan(NOWHERE, warm)
    (samples,) = dynamics.seen
    step_costs = np.sum((samples - dynamics.goal) ** 2, axis=2)
    for t in range(4):
        to_go = step_costs[:, t:].sum(axis=1)
        w = np.exp(-3.0 * (to_go - to_go.min()) / (to_go.max() - to_go.min()))
        w /= w.sum()
        assert plan.U[t] == pytest.approx(warm.U[t] + w @ (samples[:, t] - warm.U[t]), rel=1e-12)


def test_a_sharpness_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match="sharpness"):
        PI2Config(sharpness=0.0)
