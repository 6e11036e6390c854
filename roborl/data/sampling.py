"""Other ways to sample a replay buffer than step by step: n-step returns, and goals put in place in hindsight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from roborl.data.replay import Replay


def n_step_returns(
    reward: np.ndarray, terminated: np.ndarray, live: np.ndarray, gamma: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Add up the rewards of up to n steps, as far as the episode goes.

    ``R = sum_{i<k} gamma^i r_i``, where k is n or, where the episode or what is known of it ends before, the number of
    steps until then. At a truncation the value of what followed still counts, with ``gamma^k``; at a termination there
    is none (Sutton and Barto 2018, section 7.1; what follows a time limit is theirs no more).

    Args:
        reward: (n, B), row i of the i-th step from now on.
        terminated: (n, B), 1 where the task ended there.
        live: (n, B), 1 where an environment took a step: the first row is 1 throughout, and the row that follows an
            episode's last step, or the newest, is 0.
        gamma: discount per step.

    Returns:
        R (B,); whether the last of the k steps terminated, (B,); ``gamma^(k - 1)`` (B,); and k (B,).
    """
    alive = np.logical_and.accumulate(live > 0.0, axis=0)  # (n, B)
    steps = alive.sum(axis=0)
    powers = (gamma ** np.arange(len(reward))).astype(reward.dtype)
    total = (powers[:, None] * np.where(alive, reward, 0.0)).sum(axis=0, dtype=reward.dtype)
    last = steps - 1
    return total, terminated[last, np.arange(len(last))], powers[last], steps


class NStep:
    """Samples n-step returns: each transition leads from a live step to what followed up to n steps later.

    Args:
        replay: the buffer.
        n: steps, at most.
        gamma: discount per step.
    """

    def __init__(self, replay: Replay, n: int, gamma: float) -> None:
        self._replay, self._gamma = replay, gamma
        self._rows = np.arange(n)[:, None] * replay.num_envs  # (n, 1)

    def sample(self, rng: np.random.Generator, batch_size: int) -> torch.Tensor:
        """Draw transitions as `Replay.sample` does, with the same rows where n is 1."""
        picked = self._replay.pick(rng, batch_size)
        reward, terminated, live = self._replay.happened(picked.now + self._rows)
        *happened, steps = n_step_returns(reward, terminated, live, self._gamma)
        np.add(picked.now, steps * self._replay.num_envs, out=picked.following)
        return self._replay.gather(picked, *happened)


@dataclass(frozen=True)
class Goals:
    """Where a task's goals stand in its observations, and what it pays to reach one."""

    achieved: tuple[str, slice]
    """Observation group and columns of what has been achieved."""
    desired: tuple[str, slice]
    """Observation group and columns of the goal."""
    shown: Mapping[str, tuple[slice, ...]]
    """Observation group to all the columns in which the goal stands."""
    reward: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """(achieved after a step (M, k), desired (M, k)) -> the part (M,) of the step's reward that depends on the goal."""


class Hindsight:
    """Samples with goals put in place that were reached later: hindsight experience replay, strategy "future".

    Andrychowicz et al. 2017, "Hindsight Experience Replay", https://arxiv.org/abs/1707.01495, section 3.3 and
    algorithm 1. With probability k / (k + 1) a transition's goal is replaced by what was achieved after a step drawn
    uniformly from its own to the last one of its episode that is known, and the part of its reward that depends on the
    goal is computed anew by the task. Goals are put into the batch, at sampling: the buffer keeps what happened.

    (The paper stores k copies of each transition; drawing anew gives the same proportion and never the same copies.)

    Args:
        replay: the buffer.
        goals: the task's.
        k: transitions with a goal put in place for each as it was.
        n: steps of the returns, at most; see `NStep`.
        gamma: discount per step.
    """

    def __init__(self, replay: Replay, goals: Goals, k: int, n: int, gamma: float) -> None:
        self._replay, self._goals, self._gamma = replay, goals, gamma
        self._share = k / (k + 1)
        self._rows = np.arange(n)[:, None] * replay.num_envs  # (n, 1)
        groups = replay.layout.columns()

        def columns(group: str, where: slice) -> slice:
            return slice(groups[group].start + where.start, groups[group].start + where.stop)

        self._achieved, self._desired = columns(*goals.achieved), columns(*goals.desired)
        self._shown = [columns(group, where) for group, places in goals.shown.items() for where in places]
        # For each cell the number of the row after its episode's last step, 0 while the episode is under way.
        self._ends = np.zeros((replay.slots, replay.num_envs), np.int64)
        self._begins = np.full(replay.num_envs, -1, np.int64)  # the rows with which the episodes under way begin
        self._seen = -1  # rows before this one are in _ends

    def sample(self, rng: np.random.Generator, batch_size: int) -> torch.Tensor:
        """Draw transitions as `Replay.sample` does; four more draws than its own decide over the goals."""
        replay = self._replay
        self._follow_episodes()
        picked = replay.pick(rng, batch_size)
        window = picked.now + self._rows  # (n, B)
        reward, terminated, live = replay.happened(window)

        chosen = np.flatnonzero(rng.random(batch_size) < self._share)  # M of them
        goal = replay.columns_of(self._future(rng, picked.now[chosen]), self._achieved)  # (M, k)
        desired = replay.columns_of(picked.now[chosen], self._desired)
        for step, cells in enumerate(window[:, chosen]):
            achieved = replay.columns_of(cells + replay.num_envs, self._achieved)
            reward[step, chosen] += self._goals.reward(achieved, goal) - self._goals.reward(achieved, desired)

        *happened, steps = n_step_returns(reward, terminated, live, self._gamma)
        np.add(picked.now, steps * replay.num_envs, out=picked.following)
        batch = replay.gather(picked, *happened)
        for columns in self._shown:
            picked.out[chosen, columns] = goal
            picked.out[batch_size + chosen, columns] = goal
        return batch

    def _future(self, rng: np.random.Generator, cells: np.ndarray) -> np.ndarray:
        """Draw for each cell one of those that follow it in its episode, its final observation's included."""
        slots, envs = np.divmod(cells, self._replay.num_envs)
        row = self._replay.head - (self._replay.head - slots) % self._replay.slots
        end = self._ends[slots, envs]
        end = np.where(end > 0, end, self._replay.head)
        later = row + 1 + (rng.random(len(cells)) * (end - row)).astype(np.int64)
        return later % self._replay.slots * self._replay.num_envs + envs

    def _follow_episodes(self) -> None:
        """Note the ends of the episodes that ended since the last call; after a resume, of all that are held."""
        replay = self._replay
        row = max(self._seen, replay.first)
        np.maximum(self._begins, replay.first, out=self._begins)
        for part in replay.rows_between(row, replay.head):
            self._ends[np.arange(row, row + len(part)) % replay.slots] = 0
            for dead, env in np.argwhere(part[:, :, -1] == 0.0).tolist():
                end = row + dead
                self._ends[np.arange(int(self._begins[env]), end) % replay.slots, env] = end
                self._begins[env] = end + 1
            row += len(part)
        self._seen = row
