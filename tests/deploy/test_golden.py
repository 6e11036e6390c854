from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from roborl.deploy.golden import EXTREME, Golden, record_golden
from roborl.errors import ConfigError, CorruptFile


def test_golden_data_survive_json_to_the_bit(case: Any) -> None:
    again = Golden.from_json(case.golden.to_json())
    np.testing.assert_array_equal(again.observations, case.golden.observations)
    np.testing.assert_array_equal(again.actions, case.golden.actions)
    assert again.kinds == case.golden.kinds
    assert again.observation_labels == case.manifest.observation_labels


def test_a_recording_holds_the_trace_then_extremes_of_both_signs(case: Any) -> None:
    trace = np.arange(21, dtype=np.float64).reshape(3, 7)
    golden = record_golden(case.manifest, lambda obs, begins: obs[:, :2], trace, np.array([True, False, True]), 2)
    assert golden.kinds == ("reset", "step", "reset", "extreme", "extreme")
    np.testing.assert_array_equal(golden.observations[:3], trace)
    np.testing.assert_array_equal(golden.observations[3:], [EXTREME * trace[0], -EXTREME * trace[2]])
    np.testing.assert_array_equal(golden.actions, golden.observations[:, :2])
    assert golden.begins.tolist() == [True, False, True, True, True]  # an extreme observation is an episode of its own


def test_a_recording_that_does_not_fit_is_refused(case: Any) -> None:
    trace = np.zeros((3, 7))
    with pytest.raises(ConfigError, match=r"a trace needs \(T, n\) observations"):
        record_golden(case.manifest, lambda obs, begins: obs[:, :2], trace, np.zeros(2, bool))
    with pytest.raises(ConfigError, match=r"golden actions must be float32 of shape \(11, 2\)"):
        record_golden(case.manifest, lambda obs, begins: obs[:, :3], trace, np.zeros(3, bool))
    with pytest.raises(ConfigError, match="golden actions must be finite"):
        record_golden(case.manifest, lambda obs, begins: obs[:, :2] * np.nan, trace, np.zeros(3, bool))
    with pytest.raises(ConfigError, match="kinds must be of reset, step, extreme, got jump"):
        dataclasses.replace(case.golden, kinds=("jump",) * len(case.golden.kinds))


@pytest.mark.parametrize("key", ["observations", "actions", "kinds", "observation_labels", "action_names"])
def test_incomplete_golden_data_are_refused(case: Any, key: str) -> None:
    data = json.loads(case.golden.to_json())
    for broken in ({k: v for k, v in data.items() if k != key}, data | {key: data[key][1:]}):
        with pytest.raises(CorruptFile, match="golden data cannot be read"):
            Golden.from_json(json.dumps(broken))
