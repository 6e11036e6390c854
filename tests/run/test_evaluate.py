from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from roborl.learner import Spaces
from roborl.run.evaluate import EVALUATION_SEED, Evaluation, evaluate, summarise
from roborl.run.executor import Executor, Step


class Known(Executor):
    """Episodes of lengths that are known; the observation is (seed, step), the reward 1 + 10 * action."""

    restorable, control_dt = True, 0.05

    def __init__(self, lengths: list[int], success: list[bool] | None = None) -> None:
        super().__init__(np.array([-1.0]), np.array([1.0]))
        self.num_envs, self.lengths, self.success = len(lengths), np.array(lengths), success
        self.spaces = Spaces({"policy": 2}, 1)
        self.steps = 0
        self.pictures = 0

    def reset(self, seeds: np.ndarray) -> dict[str, np.ndarray]:
        assert seeds.dtype == np.uint64
        self.seeds, self.time = seeds, np.zeros(self.num_envs, int)
        return self._obs()

    def _obs(self) -> dict[str, np.ndarray]:
        return {"policy": np.stack([self.seeds.astype(float), self.time.astype(float)], axis=1)}

    def step(self, action: np.ndarray) -> Step:
        assert action.shape == (self.num_envs, 1)
        live = self.time < self.lengths
        self.time = np.where(live, self.time + 1, 0)
        self.steps += 1
        ended = self.time == self.lengths
        even = np.arange(self.num_envs) % 2 == 0
        reward = np.where(live, 1.0 + 10.0 * action[:, 0], 0.0)
        success = None if self.success is None else np.array(self.success)
        return Step(self._obs(), reward, ended & even, ended & ~even, live, success)

    def state(self) -> dict[str, np.ndarray]:
        return {}

    def restore(self, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {}

    def picture(self, index: int) -> np.ndarray:
        assert index == 0
        self.pictures += 1
        return np.full((32, 32, 3), 8 * self.time[0], np.uint8)

    def close(self) -> None: ...


def stay(obs: np.ndarray) -> np.ndarray:
    return np.zeros((len(obs), 1), np.float32)


def test_each_environment_plays_one_episode_with_its_own_fixed_seed() -> None:
    executor = Known([2, 7, 3, 1])
    seen: list[np.ndarray] = []
    result = evaluate(lambda obs: (seen.append(obs), stay(obs))[1], executor)
    assert result.returns == [2.0, 7.0, 3.0, 1.0] and result.lengths == [2, 7, 3, 1]
    assert executor.steps == 7  # until the last one has ended; those that began again do not count
    assert seen[0][:, 0].tolist() == [EVALUATION_SEED + i for i in range(4)]
    assert evaluate(lambda obs: (seen.append(obs), stay(obs))[1], Known([1, 1]), seed=5).returns == [1.0, 1.0]
    assert seen[-1][:, 0].tolist() == [5.0, 6.0]


def test_the_policys_actions_make_the_return() -> None:
    # an action of 0.1 in every other step: five steps with 1 and 0.1 * 10 more in steps 1 and 3
    result = evaluate(lambda obs: 0.1 * (obs[:, 1:] % 2 == 1), Known([5]))
    assert result.returns == [7.0]


def test_statistics_are_those_computed_by_hand() -> None:
    result = evaluate(stay, Known([4, 8, 1, 3]))
    assert result.mean == 4.0
    assert result.std == pytest.approx(np.sqrt((0 + 16 + 9 + 1) / 4))
    assert result.iqm == 3.5  # of 1, 3, 4, 8 the middle two
    low, high = result.iqm_interval
    assert 1.0 <= low < 3.5 < high <= 8.0
    assert result.success_rate is None
    assert result.summary().startswith("4 episodes: return 4.0 +- 2.5, interquartile mean 3.5 [")


def test_success_is_that_of_an_episodes_last_step() -> None:
    result = evaluate(stay, Known([4, 8, 1, 3], success=[True, False, True, True]))
    assert result.success_rate == 0.75
    assert result.summary().endswith(", success 75%")


def test_an_evaluation_is_json_and_comes_back() -> None:
    result = summarise(np.array([1.0, 2.0]), np.array([3, 4]), np.array([True, False]))
    data = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert Evaluation(**(data | {"iqm_interval": tuple(data["iqm_interval"])})) == result
    assert data["returns"] == [1.0, 2.0] and data["lengths"] == [3, 4] and data["success_rate"] == 0.5


def test_video_and_trace_are_of_the_first_episode_alone(tmp_path: Path) -> None:
    executor, trace = Known([4, 30]), []
    path = tmp_path / "film.mp4"
    evaluate(stay, executor, seed=3, video=path, trace=trace)
    assert np.array_equal(trace, [[3, 0], [3, 1], [3, 2], [3, 3]])  # what was acted on: not the final observation
    frames, _ = imageio_ffmpeg.count_frames_and_secs(str(path))
    assert frames == executor.pictures == 4


def test_where_the_policy_breaks_no_part_of_a_video_stays(tmp_path: Path) -> None:
    def breaks(obs: np.ndarray) -> np.ndarray:
        if obs[0, 1] == 2:
            raise RuntimeError
        return stay(obs)

    with pytest.raises(RuntimeError):
        evaluate(breaks, Known([4]), video=tmp_path / "film.mp4")
    assert list(tmp_path.iterdir()) == []
