from __future__ import annotations

import numpy as np
import pytest
import torch

from roborl.data.replay import Replay, unpack
from roborl.data.sampling import Goals, Hindsight, NStep, n_step_returns


def test_n_step_returns_hand_computed() -> None:
    # Four columns, three steps each, gamma 0.5, rewards 1, 2, 4.
    # Running: 1 + 0.5 * 2 + 0.25 * 4 = 3, discount 0.25 (times gamma: gamma^3).
    # Truncated after two steps (the third row is the reset): 1 + 1 = 2, discount 0.5, and it still bootstraps.
    # Terminated after two: the same sum, without a future.
    # Terminated after one: 1; the rows after a reset belong to another episode, though they are live again.
    reward = np.array([[1.0] * 4, [2.0] * 4, [4.0] * 4], np.float32)
    live = np.array([[1, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, 1]], np.float32)
    terminated = np.array([[0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]], np.float32)
    total, ended, discount, steps = n_step_returns(reward, terminated, live, 0.5)
    assert total.tolist() == [3, 2, 2, 1]
    assert ended.tolist() == [0, 0, 1, 1]
    assert discount.tolist() == [0.25, 0.5, 0.5, 1]
    assert steps.tolist() == [3, 2, 2, 1]
    assert total.dtype == discount.dtype == np.float32


class Walk:
    """Environments in which a cart walks by its action: achieved goal = place, reward 10 t + near the goal or not.

    Episodes end after `length[i]` steps; each second one terminates, the others are truncated.
    """

    OBS = {"policy": 4, "achieved_goal": 1, "desired_goal": 1}
    """policy: place, step, episode, goal."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths, self.n = np.array(lengths), len(lengths)
        self.rng = np.random.default_rng(3)
        self.step = np.zeros(self.n, int)
        self.episode = np.zeros(self.n, int)
        self.place = np.zeros(self.n)
        self.goal = self.rng.integers(5, 9, self.n).astype(float)
        self.live = np.ones(self.n, bool)
        self.places: dict[tuple[int, int, int], float] = {}
        """(environment, episode, step) -> place."""
        self.rewards: dict[tuple[int, int, int], float] = {}
        self.goals: dict[tuple[int, int], float] = {}
        self._note()

    def _note(self) -> None:
        for i, (episode, step) in enumerate(zip(self.episode.tolist(), self.step.tolist(), strict=True)):
            self.places[i, episode, step] = self.place[i]
            self.goals[i, episode] = self.goal[i]

    def obs(self) -> dict[str, np.ndarray]:
        policy = np.stack([self.place, self.step, self.episode, self.goal], 1)
        return {"policy": policy, "achieved_goal": self.place[:, None], "desired_goal": self.goal[:, None]}

    def feed(self, *replays: Replay) -> None:
        before, live = self.obs(), self.live
        action = self.rng.integers(-2, 3, self.n) * live
        ended = live & (self.step + 1 == self.lengths)
        terminated = ended & (self.episode % 2 == 0)
        self.place = np.where(live, self.place + action, self.rng.integers(-3, 3, self.n))
        self.step = np.where(live, self.step + 1, 0)
        self.episode += ~live
        self.goal = np.where(live, self.goal, self.rng.integers(5, 9, self.n))
        near = goal_reward(self.place[:, None], self.goal[:, None])
        reward = np.where(live, 10.0 * self.step + near, 0.0)
        for replay in replays:
            replay.append(before, action[:, None], reward, terminated, live, self.obs())
        for i in np.flatnonzero(live):
            self.rewards[int(i), int(self.episode[i]), int(self.step[i]) - 1] = reward[i]
        self.live = ~ended
        self._note()


def goal_reward(achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
    return np.where(np.abs(achieved - desired)[:, 0] < 1.5, 0.0, -1.0)


GOALS = Goals(
    achieved=("achieved_goal", slice(0, 1)),
    desired=("desired_goal", slice(0, 1)),
    shown={"policy": (slice(3, 4),), "desired_goal": (slice(0, 1),)},
    reward=goal_reward,
)


def filled(rows: int, capacity: int, lengths: list[int]) -> tuple[Replay, Walk]:
    replay, walk = Replay(capacity, len(lengths), Walk.OBS, 1), Walk(lengths)
    for _ in range(rows):
        walk.feed(replay)
    return replay, walk


@pytest.mark.parametrize(("rows", "capacity"), [(30, 300), (50, 60), (67, 60)])
@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_n_step_samples_lead_to_where_the_environments_went(rows: int, capacity: int, n: int) -> None:
    # Rewards are 10 (t + 1) + (0 or -1) at step t; from what is seen follows where k steps lead and what they paid.
    lengths = [4, 7, 3]
    replay, walk = filled(rows, capacity, lengths)
    gamma = 0.9
    rng = np.random.default_rng(0)
    batch = unpack(NStep(replay, n, gamma).sample(rng, 2000), replay.layout)
    cells = replay.pick(np.random.default_rng(0), 2000).now % 3  # the same draw: each one's environment
    seen = set()
    for row, i in enumerate(cells.tolist()):
        _, step, episode, goal = batch.obs["policy"][row].tolist()
        t, e = int(step), int(episode)
        rewards = [walk.rewards[i, e, s] for s in range(t, min(t + n, lengths[i])) if (i, e, s) in walk.rewards]
        k = len(rewards)
        assert batch.next_obs["policy"][row].tolist() == [walk.places[i, e, t + k], t + k, e, goal]
        assert batch.reward[row].item() == pytest.approx(sum(gamma**j * r for j, r in enumerate(rewards)), rel=1e-6)
        assert batch.discount[row].item() == pytest.approx(gamma ** (k - 1))
        assert batch.terminated[row] == (t + k == lengths[i] and e % 2 == 0)
        seen.add((k, t + k == lengths[i], e % 2 == 0))
    # all kinds were met: full, cut by a termination, by a truncation, and by the newest row
    full = {(n, False, True), (n, False, False), (n, True, True), (n, True, False)} if n < 7 else set()
    cut = {(1, True, True), (1, True, False)}
    assert full | cut <= seen and (n == 1 or any(k < n and not ended for k, ended, _ in seen))


def test_one_step_sampled_as_n_step_is_the_plain_sample_to_the_bit() -> None:
    replay, _ = filled(67, 60, [4, 7, 3])
    plain = replay.sample(np.random.default_rng(1), 64).clone()
    assert torch.equal(NStep(replay, 1, 0.97).sample(np.random.default_rng(1), 64), plain)
    assert (unpack(plain, replay.layout).discount == 1).all()


def test_an_episode_relabelled_by_hand() -> None:
    # One environment, places 0, 1, 3, 4, goal 9: each step pays -1. With the place after a later step as the goal, a
    # step pays 0 where it comes within 1.5 of it:
    #   from place 0, to 1: goal 1 -> 0, goal 3 -> -1, goal 4 -> -1
    #   from place 1, to 3: goal 3 -> 0, goal 4 -> 0;  from place 3, to 4: goal 4 -> 0
    replay = Replay(10, 1, Walk.OBS, 1)
    places = [0.0, 1.0, 3.0, 4.0]

    def seen(t: int) -> dict[str, np.ndarray]:
        policy = np.array([[places[t], t, 0, 9.0]])
        return {"policy": policy, "achieved_goal": policy[:, :1], "desired_goal": policy[:, 3:]}

    one, no = np.ones(1), np.zeros(1)
    for t in range(3):
        replay.append(seen(t), np.zeros((1, 1)), -one, no, one, seen(t + 1))
    paid = {(0.0, 9.0): -1.0, (1.0, 9.0): -1.0, (3.0, 9.0): -1.0}
    paid |= {(0.0, 1.0): 0.0, (0.0, 3.0): -1.0, (0.0, 4.0): -1.0, (1.0, 3.0): 0.0, (1.0, 4.0): 0.0, (3.0, 4.0): 0.0}
    batch = unpack(Hindsight(replay, GOALS, 4, 1, 0.9).sample(np.random.default_rng(0), 4000), replay.layout)
    place, goal = batch.obs["policy"][:, 0], batch.obs["policy"][:, 3]
    assert {(p, g): r for p, g, r in zip(place.tolist(), goal.tolist(), batch.reward.tolist(), strict=True)} == paid
    for shown in (
        batch.next_obs["policy"][:, 3],
        batch.obs["desired_goal"][:, 0],
        batch.next_obs["desired_goal"][:, 0],
    ):
        assert torch.equal(shown, goal)
    # 4 of 5 have another goal; from place 0 each of the three later ones is as likely
    own = (goal == 9).float().mean().item()
    assert abs(own - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 4000)
    counts = [((place == 0) & (goal == g)).sum().item() for g in (1, 3, 4)]
    assert max(counts) - min(counts) < 6 * np.sqrt(np.mean(counts))
    assert replay.columns_of(np.arange(3), slice(3, 4))[:, 0].tolist() == [9.0, 9.0, 9.0]  # the buffer keeps its own


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize(("rows", "capacity"), [(5, 300), (30, 300), (50, 60), (67, 60)])
def test_goals_come_from_the_future_of_the_same_episode_and_pay_what_the_task_pays(
    rows: int, capacity: int, n: int
) -> None:
    lengths = [4, 7, 3]
    replay, walk = Replay(capacity, 3, Walk.OBS, 1), Walk(lengths)
    hindsight, gamma = Hindsight(replay, GOALS, 4, n, 0.9), 0.9
    for _ in range(rows):
        walk.feed(replay)
        hindsight.sample(np.random.default_rng(0), 4)  # while the ring turns, as in training
    rng = np.random.default_rng(1)
    cells = replay.pick(np.random.default_rng(1), 1000).now % 3  # the same draw: each one's environment
    batch = unpack(hindsight.sample(rng, 1000), replay.layout)
    relabelled = 0
    for row, i in enumerate(cells.tolist()):
        _, step, episode, goal = batch.obs["policy"][row].tolist()
        key, t = (i, int(episode)), int(step)
        future = [walk.places[*key, s] for s in range(t + 1, lengths[i] + 1) if (*key, s) in walk.places]
        assert goal in future or goal == walk.goals[key]
        relabelled += goal != walk.goals[key]
        k = min(n, len(future))
        near = goal_reward(np.array([future[:k]]).T, np.full((k, 1), goal))
        expected = sum(gamma**j * (10 * (t + 1 + j) + near[j]) for j in range(k))
        assert batch.reward[row].item() == pytest.approx(expected, rel=1e-5)
        assert batch.next_obs["policy"][row].tolist() == [future[k - 1], t + k, episode, goal]
        assert batch.terminated[row] == (t + k == lengths[i] and key[1] % 2 == 0)
    assert relabelled > 600


@pytest.mark.parametrize("n", [1, 3])
def test_a_buffer_loaded_from_its_rows_samples_in_hindsight_the_same_to_the_bit(n: int) -> None:
    replay, walk = Replay(60, 3, Walk.OBS, 1), Walk([4, 7, 3])
    hindsight = Hindsight(replay, GOALS, 4, n, 0.9)
    for row in range(67):
        walk.feed(replay)
        if row % 5 == 0:
            hindsight.sample(np.random.default_rng(0), 4)
    resumed = Replay(60, 3, Walk.OBS, 1)
    first = replay.first
    for part in replay.rows_between(first, replay.head):
        resumed.load_rows(first, part.copy())
        first += len(part)
    resumed.load_newest(replay.newest.copy())
    again = Hindsight(resumed, GOALS, 4, n, 0.9)
    for seed in range(3):
        a, b = (sampler.sample(np.random.default_rng(seed), 256) for sampler in (hindsight, again))
        assert torch.equal(a, b)
        walk.feed(replay, resumed)  # and they go on alike
