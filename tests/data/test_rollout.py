from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from roborl.data.rollout import RolloutStore
from roborl.errors import ConfigError, CorruptFile
from roborl.nn.tree import flatten


def store(steps: int = 3) -> RolloutStore:
    return RolloutStore(steps, 2, {"policy": 1, "critic": 2}, 1, gamma=0.5)


def obs(value: float) -> dict[str, np.ndarray]:
    return {"policy": np.array([[value], [value + 0.5]]), "critic": np.full((2, 2), -value)}


def append(into: RolloutStore, value: float, **changes: Any) -> None:
    row: dict[str, Any] = {
        "action": np.full((2, 1), 10 * value),
        "reward": np.array([value, 2 * value]),
        "terminated": np.zeros(2, bool),
        "truncated": np.zeros(2, bool),
        "live": np.ones(2, bool),
        "next_obs": obs(value),
    }
    into.append(**(row | changes))


def test_rows_come_back_in_time_order_each_observation_once() -> None:
    s = store()
    s.begin(obs(0.0))
    for value in (1.0, 2.0, 3.0):
        assert not s.full
        append(s, value)
    assert s.full
    rollout = s.rollout(None)
    assert rollout.obs["policy"][:, :, 0].tolist() == [[0, 0.5], [1, 1.5], [2, 2.5], [3, 3.5]]
    assert rollout.obs["critic"][3].tolist() == [[-3, -3], [-3, -3]]
    assert rollout.action[:, 0, 0].tolist() == [10, 20, 30]
    assert rollout.reward.tolist() == [[1, 2], [2, 4], [3, 6]]
    assert rollout.live.min() == 1 and rollout.terminated.max() == rollout.truncated.max() == 0


def test_returns_so_far_hand_computed_over_ends_and_from_rollout_to_rollout() -> None:
    # gamma 1/2, rewards 1, 2, 3: 1, 2 + 1/2 = 2.5, 3 + 2.5/2 = 4.25; in the next rollout 4 + 4.25/2 = 6.125.
    # The other environment (rewards 2, 4, 6) ends after its second: 2, 5; then its reset (reward 0): 0, then 8.
    s = store()
    s.begin(obs(0.0))
    append(s, 1.0)
    append(s, 2.0, truncated=np.array([False, True]))
    append(s, 3.0, reward=np.array([3.0, 0.0]), live=np.array([True, False]))
    assert s.rollout(None).return_so_far.tolist() == [[1, 2], [2.5, 5], [4.25, 0]]
    s.begin(obs(3.0))
    append(s, 4.0)
    assert s.rollout(None).return_so_far[0].tolist() == [6.125, 8]


def test_a_restart_cuts_the_episodes_under_way_off_and_leads_nowhere() -> None:
    s = store(4)
    s.begin(obs(0.0))
    append(s, 1.0, terminated=np.array([False, True]))
    s.restart(obs(50.0))
    append(s, 51.0)
    rollout = s.rollout(None)
    assert rollout.obs["policy"][:4, 0, 0].tolist() == [0, 1, 50, 51]  # what followed the first step is kept
    assert rollout.truncated[:3].tolist() == [[1, 0], [0, 0], [0, 0]]
    assert rollout.terminated[:3].tolist() == [[0, 1], [0, 0], [0, 0]]
    assert rollout.live[:3].tolist() == [[1, 1], [0, 0], [1, 1]]
    assert rollout.reward[1].tolist() == [0, 0]
    assert rollout.return_so_far[2].tolist() == [51, 102]


def test_a_restart_of_an_empty_rollout_takes_no_row() -> None:
    s = store()
    s.begin(obs(0.0))
    s.restart(obs(7.0))
    assert s.filled == 0
    assert s.rollout(None).obs["policy"][0, 0, 0] == 7


def test_a_rollout_under_way_is_saved_and_restored() -> None:
    s, other = store(), store()
    s.begin(obs(0.0))
    append(s, 1.0)
    other.load(s.arrays())
    for each in (s, other):
        append(each, 2.0)
        append(each, 3.0)
    a, b = flatten(s.rollout(None)), flatten(other.rollout(None))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_saved_rollout_of_other_sizes_is_refused() -> None:
    s = store()
    s.begin(obs(0.0))
    arrays = s.arrays()
    with pytest.raises(CorruptFile, match=r"rollout/obs/policy must have the shape \(1, 2, 1\), got \(1, 3, 1\)"):
        store().load(arrays | {"obs/policy": np.zeros((1, 3, 1), np.float32)})


def test_a_rollout_without_steps_is_refused() -> None:
    with pytest.raises(ConfigError, match="steps of a rollout must be a whole number of at least 1, got 0"):
        store(0)
