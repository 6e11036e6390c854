from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from roborl.data.replay import Layout, Replay, unpack
from roborl.errors import ConfigError, RunError

OBS, ACTION = {"policy": 3, "critic": 2}, 2


@dataclass
class Stream:
    """Made-up environments in NEXT_STEP autoreset mode; each number tells its environment and its step."""

    num_envs: int
    done_rate: float = 0.2
    step: int = 0
    transitions: list[tuple[np.ndarray, ...]] = field(default_factory=list)
    """What a buffer without limit holds: (obs, action, reward, terminated, next obs) of each."""

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(5)
        self.obs = self.observe()
        self.live = np.ones(self.num_envs, bool)

    def observe(self) -> dict[str, np.ndarray]:
        return {name: self.rng.normal(size=(self.num_envs, width)) for name, width in OBS.items()}

    def feed(self, *replays: Replay) -> None:
        action = self.rng.uniform(-1, 1, (self.num_envs, ACTION)).astype(np.float32)
        reward = np.where(self.live, self.step + np.arange(self.num_envs) / 100, 0.0)
        ended = self.live & (self.rng.random(self.num_envs) < self.done_rate)
        terminated = ended & (self.rng.random(self.num_envs) < 0.5)
        following = self.observe()
        for replay in replays:
            replay.append(self.obs, action, reward, terminated, self.live, following)
        for i in np.flatnonzero(self.live):
            now, then = (np.concatenate([o[name][i] for name in OBS]) for o in (self.obs, following))
            self.transitions.append((now, action[i], reward[i], terminated[i], then))
        self.obs, self.live, self.step = following, ~ended, self.step + 1


class InOrder:
    """In place of a generator: "draws" every live transition once, the oldest first."""

    def integers(self, low: int, high: int, size: int) -> np.ndarray:
        assert (low, high) == (0, size)
        return np.arange(size)


def content(replay: Replay) -> torch.Tensor:
    rng: Any = InOrder()
    return replay.sample(rng, len(replay)).clone()


def test_the_layout_is_obs_groups_action_reward_terminated_live() -> None:
    layout = Layout({"policy": 3, "critic": 2}, 2)
    assert layout.columns() == {"policy": slice(0, 3), "critic": slice(3, 5)}
    assert (layout.obs_width, layout.width) == (5, 10)


def test_an_episode_ends_with_its_final_observation_and_the_dead_row_is_never_sampled() -> None:
    replay = Replay(10, 1, {"policy": 1}, 1)
    # Observations 0, 1, 2 (final), then a new episode: 10, 11. The step from 2 to 10 is the reset.
    for obs, action, reward, terminated, live, following in (
        (0, 0.1, 5, False, True, 1),
        (1, 0.2, 6, True, True, 2),
        (2, 0.3, 0, False, False, 10),
        (10, 0.4, 7, False, True, 11),
    ):
        replay.append(
            {"policy": np.array([[obs]])},
            np.array([[action]]),
            np.array([reward]),
            np.array([terminated]),
            np.array([live]),
            {"policy": np.array([[following]])},
        )
    assert len(replay) == 3
    batch = unpack(content(replay), replay.layout)
    assert batch.obs["policy"].tolist() == [[0], [1], [10]]
    assert batch.next_obs["policy"].tolist() == [[1], [2], [11]]
    torch.testing.assert_close(batch.action, torch.tensor([[0.1], [0.2], [0.4]]))
    assert batch.reward.tolist() == [5, 6, 7]
    assert batch.terminated.tolist() == [0, 1, 0]


@pytest.mark.parametrize(("capacity", "num_envs"), [(7, 1), (21, 3), (20, 3), (2, 5)])
def test_it_holds_exactly_the_last_rows_live_transitions_in_time_order(capacity: int, num_envs: int) -> None:
    replay, stream = Replay(capacity, num_envs, OBS, ACTION), Stream(num_envs)
    assert replay.rows == -(-capacity // num_envs)
    per_row = [0]
    for _ in range(60):
        stream.feed(replay)
        per_row.append(len(stream.transitions))
        kept = stream.transitions[per_row[max(0, stream.step - replay.rows)] :]
        assert len(replay) == len(kept)
        if not kept:
            continue
        batch = unpack(content(replay), replay.layout)
        obs, action, reward, terminated, following = (
            torch.tensor(np.array(column), dtype=torch.float32) for column in zip(*kept, strict=True)
        )
        assert torch.equal(torch.cat(list(batch.obs.values()), 1), obs)
        assert torch.equal(torch.cat(list(batch.next_obs.values()), 1), following)
        assert torch.equal(batch.action, action)
        assert torch.equal(batch.reward, reward)
        assert torch.equal(batch.terminated, terminated)


def test_sampling_is_uniform_over_live_transitions() -> None:
    replay, stream = Replay(60, 3, OBS, ACTION), Stream(3)
    for _ in range(47):
        stream.feed(replay)
    rng = np.random.default_rng(0)
    rewards = unpack(replay.sample(rng, 200_000), replay.layout).reward.numpy()
    _, counts = np.unique(rewards, return_counts=True)
    assert len(counts) == len(replay) < 60
    expected = 200_000 / len(replay)
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    # Mean n - 1 and deviation sqrt(2 (n - 1)) where the draws are uniform.
    freedom = len(replay) - 1
    assert abs(chi_squared - freedom) < 4 * np.sqrt(2 * freedom)


def test_a_batch_stays_valid_while_the_next_is_drawn() -> None:
    replay, stream = Replay(50, 2, OBS, ACTION), Stream(2)
    for _ in range(10):
        stream.feed(replay)
    rng = np.random.default_rng(0)
    first = replay.sample(rng, 8)
    copy = first.clone()
    second = replay.sample(rng, 8)
    assert torch.equal(first, copy) and not torch.equal(first, second)
    assert first.shape == (16, replay.layout.width) and first.dtype == torch.float32


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("steps", [1, 9, 10, 11, 12, 25, 43])
def test_a_buffer_loaded_from_saved_rows_samples_the_same_to_the_bit(num_envs: int, steps: int) -> None:
    def fresh() -> Replay:
        return Replay(10 * num_envs, num_envs, OBS, ACTION)

    replay, stream = fresh(), Stream(num_envs)
    saved = []  # (number, rows), as segments of a few rows each; some begin before the oldest row held
    for step in range(steps):
        stream.feed(replay)
        if step % 4 == 3 or step == steps - 1:
            start = saved[-1][0] + len(saved[-1][1]) if saved else 0
            for part in replay.rows_between(start, replay.head):
                saved.append((start, part.copy()))
                start += len(part)
    resumed = fresh()
    for number, rows in saved:
        if number + len(rows) > replay.first:
            resumed.load_rows(number, rows)
    resumed.load_newest(replay.newest.copy())
    assert (resumed.head, len(resumed)) == (replay.head, len(replay))
    assert len(resumed) == 0 or torch.equal(content(replay), content(resumed))
    ours, theirs = np.random.default_rng(3), np.random.default_rng(3)
    for _ in range(30):
        stream.feed(replay, resumed)
        assert torch.equal(replay.sample(ours, 16), resumed.sample(theirs, 16))
        assert np.array_equal(
            np.concatenate(replay.rows_between(replay.first, replay.head)),
            np.concatenate(resumed.rows_between(replay.first, replay.head)),
        )


def test_more_rows_than_it_holds_leave_the_last_ones() -> None:
    large, small, stream = Replay(100, 1, OBS, ACTION), Replay(10, 1, OBS, ACTION), Stream(1)
    resumed = Replay(10, 1, OBS, ACTION)
    for _ in range(45):
        stream.feed(large, small)
    resumed.load_rows(3, large.rows_between(3, 45)[0])
    resumed.load_newest(large.newest)
    assert torch.equal(content(resumed), content(small))


def test_rows_come_as_views_without_a_copy() -> None:
    replay, stream = Replay(10, 2, OBS, ACTION), Stream(2)
    for _ in range(9):
        stream.feed(replay)
    parts = replay.rows_between(replay.first, replay.head)
    assert sum(map(len, parts)) == 5 and all(part.base is not None for part in parts)
    with pytest.raises(ValueError, match="rows 3 to 9 are not within the rows held, 4 to 9"):
        replay.rows_between(3, 9)


def test_after_a_restart_the_last_transition_keeps_what_followed_and_nothing_joins_the_episodes() -> None:
    replay, stream = Replay(10, 2, OBS, ACTION), Stream(2, done_rate=0.0)
    stream.feed(replay)
    before = content(replay)
    stream.obs = stream.observe()
    replay.restart(stream.obs)
    assert torch.equal(content(replay), before)
    stream.feed(replay)
    batch = unpack(content(replay), replay.layout)
    assert len(replay) == 4
    np.testing.assert_allclose(batch.obs["policy"][2], stream.transitions[2][0][:3], rtol=1e-6)
    np.testing.assert_allclose(batch.next_obs["policy"][3], stream.transitions[3][4][:3], rtol=1e-6)


def test_a_restart_before_the_first_row_changes_nothing() -> None:
    replay, stream = Replay(10, 2, OBS, ACTION), Stream(2)
    replay.restart(stream.obs)
    assert replay.head == 0


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="capacity"):
        Replay(0, 1, OBS, ACTION)
    replay = Replay(10, 1, OBS, ACTION)
    with pytest.raises(RunError, match="holds no transition"):
        replay.sample(np.random.default_rng(0), 4)
    rows = np.zeros((3, 1, replay.layout.width), np.float32)
    with pytest.raises(ValueError, match=r"rows must be float32 \(n, 1, 10\), got float64"):
        replay.load_rows(0, rows.astype(float))
    replay.load_rows(4, rows)
    with pytest.raises(ValueError, match="continue at 7, got 8"):
        replay.load_rows(8, rows)
    with pytest.raises(ValueError, match=r"\(1, 5\), got \(1, 4\)"):
        replay.load_newest(np.zeros((1, 4), np.float32))


GROWTH = """
import resource
import numpy as np
from roborl.data.replay import Replay

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

N = 8
replay, rng = Replay(1_000_000, N, {"policy": 17}, 6), np.random.default_rng(0)
obs, action = {"policy": rng.normal(size=(N, 17))}, rng.normal(size=(N, 6))
ones, live = np.ones(N), np.ones(N, bool)
def fill(transitions):
    while len(replay) < transitions:
        replay.append(obs, action, ones, ones, live, obs)
    replay.sample(rng, 256)
fill(10_000)
before = resident()
fill(1_000_000)
print((resident() - before) / (990_000 * 4 * (17 + 6 + 3)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_from_10k_to_1m_transitions_the_process_grows_by_little_more_than_their_arrays() -> None:
    done = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True)
    assert 0.9 < float(done.stdout) < 1.1
