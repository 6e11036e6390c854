from __future__ import annotations

import json

import numpy as np
import pytest

from roborl.run.episodes import RECENT, Episodes
from roborl.run.executor import Step


def step(reward: list[float], done: list[int], live: list[int], success: list[int] | None = None) -> Step:
    terminated, alive = np.array(done, bool), np.array(live, bool)
    won = None if success is None else np.array(success, bool)
    return Step({}, np.array(reward), terminated, np.zeros_like(terminated), alive, won)


def test_returns_and_lengths_are_counted_over_live_steps_alone() -> None:
    episodes = Episodes(2)
    assert episodes.recent_return is None
    assert episodes.take() == {"episode_return": None, "episode_length": None, "episodes": 0}
    assert episodes.add(step([1.0, 2.0], [0, 1], [1, 1])) == 2
    assert episodes.add(step([1.0, 0.0], [0, 0], [1, 0])) == 1  # the second was reset
    assert episodes.add(step([1.0, 5.0], [1, 0], [1, 1])) == 2
    # the first: 1 + 1 + 1 in three steps; the second: 2 in one
    assert episodes.recent_return == 2.5
    assert episodes.take() == {"episode_return": 2.5, "episode_length": 2.0, "episodes": 2}
    assert episodes.take() == {"episode_return": None, "episode_length": None, "episodes": 2}
    assert episodes.add(step([0.0, 5.0], [0, 1], [0, 1])) == 1
    assert episodes.take() == {"episode_return": 10.0, "episode_length": 2.0, "episodes": 3}


def test_an_episode_that_is_truncated_has_ended_too_and_success_is_that_of_its_last_step() -> None:
    episodes = Episodes(2)
    last = step([1.0, 1.0], [0, 1], [1, 1], [1, 0])
    episodes.add(step([1.0, 1.0], [0, 0], [1, 1], [1, 1]))
    episodes.add(last._replace(truncated=np.array([True, False])))
    assert episodes.take() == {"episode_return": 2.0, "episode_length": 2.0, "episodes": 2, "success_rate": 0.5}


def test_the_return_shown_is_the_mean_of_the_last_ten() -> None:
    episodes = Episodes(1)
    for i in range(RECENT + 5):
        episodes.add(step([float(i)], [1], [1]))
    assert episodes.recent_return == pytest.approx(np.mean(range(5, RECENT + 5)))


def test_what_is_saved_goes_on_where_it_was() -> None:
    rng = np.random.default_rng(0)

    def play(episodes: Episodes, n: int, rng: np.random.Generator) -> None:
        for _ in range(n):
            live = rng.random(3) < 0.8
            episodes.add(step(rng.normal(size=3) * live, (rng.random(3) < 0.3) & live, live))  # pyright: ignore

    first, second = Episodes(3), Episodes(3)
    play(first, 30, rng)
    second.load(first.arrays(), json.loads(json.dumps(first.finished())))
    rest = np.random.default_rng(1), np.random.default_rng(1)
    play(first, 30, rest[0])
    play(second, 30, rest[1])
    assert first.take() == second.take() and first.recent_return == second.recent_return
    first.restart()
    assert not first.arrays()["return"].any() and not first.arrays()["length"].any() and first.count == second.count
