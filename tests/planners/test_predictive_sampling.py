from __future__ import annotations

import numpy as np
from plants import NOWHERE, Valley

from roborl.planners.contract import Plan
from roborl.planners.predictive_sampling import PredictiveSampling, PredictiveSamplingConfig


def test_the_plan_is_the_cheapest_sample_of_all_rounds() -> None:
    dynamics = Valley()
    plan = PredictiveSampling(dynamics, PredictiveSamplingConfig(samples=16, iterations=3), seed=3).plan(NOWHERE)
    samples = np.concatenate(dynamics.seen)
    costs = np.sum((samples - dynamics.goal) ** 2, axis=(1, 2))
    assert np.array_equal(plan.U, samples[costs.argmin()])
    assert plan.cost == costs.min() == plan.stats["best_cost"]
    later = [np.sum((U[0] - dynamics.goal) ** 2) for U in dynamics.seen]  # each round begins from the best so far
    assert later[0] > later[1] >= later[2]


def test_a_plan_is_never_worse_than_the_one_it_began_from() -> None:
    planner, warm = PredictiveSampling(Valley()), Plan(np.full((25, 2), 0.7), 0.0)  # the optimum itself
    assert np.array_equal(planner.plan(NOWHERE, warm).U, warm.U)
