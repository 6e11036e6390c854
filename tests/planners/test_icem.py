from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from plants import NOWHERE, Valley

from roborl.errors import ConfigError
from roborl.planners.icem import ICEM, ICEMConfig


def costs(samples: np.ndarray) -> np.ndarray:
    return np.sum((samples - 0.7) ** 2, axis=(1, 2))


def test_populations_shrink_down_to_twice_the_elites() -> None:
    # 40 / 1.25^i: 40, 32, 25.6, 20.48, 16.4; no fewer than 2 * 9
    assert ICEMConfig(samples=40, iterations=5, elites=9, decay=1.25).populations == [40, 32, 26, 20, 18]


def test_elites_are_kept_from_round_to_round_and_the_mean_joins_the_last() -> None:
    dynamics = Valley()
    config = ICEMConfig(horizon_s=0.2, samples=32, iterations=3, elites=6, kept=0.5, momentum=0.25)
    plan = ICEM(dynamics, config, seed=1).plan(NOWHERE)
    first, second, third = dynamics.seen
    assert [len(samples) for samples in dynamics.seen] == [32, 26, 20]
    best = first[np.argsort(costs(first))[:6]]
    assert np.array_equal(second[:3], best[:3])
    mean = 0.75 * best.mean(axis=0) + 0.25 * first[0]  # the first sample of all is the first mean
    best = second[np.argsort(costs(second))[:6]]
    mean = 0.75 * best.mean(axis=0) + 0.25 * mean
    assert third[0] == pytest.approx(mean, rel=1e-12)
    assert np.array_equal(third[1:4], best[:3])
    best = third[np.argsort(costs(third))[:6]]
    assert np.array_equal(plan.U, best[0]) and plan.cost == pytest.approx(costs(best[:1])[0])  # executed
    assert plan.carried["mean"][0] == pytest.approx(0.75 * best.mean(axis=0) + 0.25 * mean, rel=1e-12)
    assert np.array_equal(plan.carried["elites"], best[:3])


def test_the_next_plan_begins_from_the_shifted_mean_and_elites() -> None:
    dynamics = Valley()
    planner = ICEM(dynamics, ICEMConfig(horizon_s=0.2, samples=32, iterations=2, elites=6, kept=0.5))
    plan = planner.plan(NOWHERE)
    dynamics.seen.clear()
    planner.plan(NOWHERE, plan.shifted(1))
    first = dynamics.seen[0]
    expected = np.concatenate((plan.carried["mean"], plan.carried["elites"]))
    assert np.array_equal(first[:4, :3], expected[:, 1:])
    assert np.array_equal(first[:4, 3], expected[:, 3])  # the last action is held
    spread = (first[4:] - first[0])[:, 0, 0].std()
    assert spread == pytest.approx(0.5 * 2.0, rel=0.35)  # the deviation begins anew


def test_settings_of_its_own_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="elites must be at most half the samples, 4, got 5"):
        ICEMConfig(samples=8, elites=5)
    refused: list[dict[str, Any]] = [
        {"elites": 1},
        {"decay": 0.9},
        {"exponent": -1.0},
        {"kept": 1.1},
        {"momentum": 1.0},
    ]
    for settings in refused:
        with pytest.raises(ConfigError, match=next(iter(settings))):
            ICEMConfig(**settings)
