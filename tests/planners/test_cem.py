from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from plants import NOWHERE, Valley

from roborl.errors import ConfigError
from roborl.planners.cem import CEM, CEMConfig
from roborl.planners.contract import Plan


def test_a_round_fits_the_mean_to_the_cheapest_samples() -> None:
    dynamics = Valley()
    config = CEMConfig(horizon_s=0.2, samples=16, iterations=1, elites=3, momentum=0.25)
    warm = Plan(np.full((4, 2), [1.5, -0.8]), 0.0)
    plan = CEM(dynamics, config, seed=3).plan(NOWHERE, warm)
    (samples,) = dynamics.seen
    costs = np.sum((samples - dynamics.goal) ** 2, axis=(1, 2))
    elites = samples[np.argsort(costs)[:3]]
    assert plan.U == pytest.approx(0.75 * elites.mean(axis=0) + 0.25 * warm.U, rel=1e-12)
    assert plan.cost == pytest.approx(np.sort(costs)[:3].mean())
    assert plan.stats["best_cost"] == costs.min()


def test_the_deviation_follows_the_elites_down_to_the_least() -> None:
    def spread(least_noise: float) -> float:
        dynamics = Valley()
        config = CEMConfig(
            horizon_s=0.05, samples=400, iterations=12, elites=20, momentum=0.0, noise=0.5, least_noise=least_noise
        )
        CEM(dynamics, config).plan(NOWHERE)
        first, last = dynamics.seen[0][1:], dynamics.seen[-1][1:]
        assert first[:, 0, 0].std() == pytest.approx(0.5 * 2.0, rel=0.15)  # half the range of the first action is 2
        return last[:, 0, 0].std() / 2.0

    assert spread(0.1) == pytest.approx(0.1, rel=0.15)
    assert spread(0.0) < 1e-3


def test_elites_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="elites must be at most the number of samples, 8, got 9"):
        CEMConfig(samples=8, elites=9)
    refused: list[dict[str, Any]] = [
        {"elites": 1},
        {"momentum": 1.0},
        {"least_noise": -0.1},
        {"least_noise": 0.6, "noise": 0.5},
    ]
    for settings in refused:
        with pytest.raises(ConfigError, match=next(iter(settings))):
            CEMConfig(**settings)
