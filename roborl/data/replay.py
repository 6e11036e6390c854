"""Replay buffer: the last transitions of N environments in time order, each observation stored once.

A ring of rows, one row a time step, one column an environment. The next observation of a row is the
observation of the row that follows. Environments run in NEXT_STEP autoreset mode: after an episode's last
transition comes a *dead* row, which holds the final observation and is followed by the new episode's first.
Dead cells are never sampled and never counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from roborl.errors import RunError, check_count
from roborl.learner import Transitions


@dataclass(frozen=True)
class Layout:
    """Where what stands in a packed row: ``[obs groups ... | action | reward | terminated | live]``."""

    obs: Mapping[str, int]
    """Observation group to width, in the order of the columns."""
    action: int
    """Width of the action."""

    @property
    def obs_width(self) -> int:
        """Columns of all observation groups together; they are the first ones."""
        return sum(self.obs.values())

    @property
    def width(self) -> int:
        """Columns of a packed row."""
        return self.obs_width + self.action + 3

    def columns(self) -> dict[str, slice]:
        """Return the columns of each observation group."""
        columns, start = {}, 0
        for name, width in self.obs.items():
            columns[name] = slice(start, start + width)
            start += width
        return columns


def unpack(packed: torch.Tensor, layout: Layout) -> Transitions:
    """Take a sampled batch apart, by slices alone (made to be compiled with the update).

    Args:
        packed: (2 B, width), B rows and below them the B rows that followed.
        layout: the buffer's layout.

    Returns:
        B transitions.
    """
    assert packed.ndim == 2 and packed.shape[1] == layout.width, packed.shape
    now, following = packed.chunk(2)  # (B, width) each
    columns, end = layout.columns(), layout.obs_width + layout.action
    return Transitions(
        obs={name: now[:, where] for name, where in columns.items()},
        action=now[:, layout.obs_width : end],
        reward=now[:, end],
        next_obs={name: following[:, where] for name, where in columns.items()},
        terminated=now[:, end + 1],
        discount=now[:, end + 2],  # where a row is sampled step by step: that it is live, which is 1
    )


class Picked:
    """The cells that a batch is made of, and the batch itself: allocated once for a batch size.

    Attributes:
        batch: (2 B, width), B rows and below them the B rows that followed.
        out: the same memory as an array.
        now: (B,), the cells of the upper rows; ``slot * num_envs + environment``, beyond the last from the first on.
        following: (B,), of the lower rows.
    """

    def __init__(self, batch_size: int, width: int, id_dtype: type) -> None:
        self.batch = torch.empty(2 * batch_size, width)
        self.out = self.batch.numpy()
        self.ids = np.empty(batch_size, id_dtype)
        self.cells = np.empty(2 * batch_size, np.intp)  # the index type of take: it would copy any other
        self.now, self.following = self.cells[:batch_size], self.cells[batch_size:]


class Replay:
    """A ring of the last transitions of N environments.

    Rows are numbered from the run's beginning; ``head`` is the number of the next one, of which only the
    observation is known. Memory is taken as rows are written: pages that were never touched are not resident.

    Args:
        capacity: transitions kept, all environments together (rounded up to whole rows).
        num_envs: environments beside one another, N.
        obs: observation group to width.
        action: width of the action.
    """

    def __init__(self, capacity: int, num_envs: int, obs: Mapping[str, int], action: int) -> None:
        check_count("capacity of the replay buffer", capacity, 1)
        check_count("num_envs", num_envs, 1)
        self.layout = Layout(dict(obs), action)
        self.num_envs = num_envs
        self.rows = -(-capacity // num_envs)
        self.head = 0
        self.slots = self.rows + 1  # one more for the newest observation
        self._slot = 0  # of row `head`
        self._begin = 0  # the oldest row ever held
        self._storage = np.zeros((self.slots, num_envs, self.layout.width), np.float32)
        self._cells = self._storage.reshape(self.slots * num_envs, self.layout.width)
        # The live cells' ids (slot * num_envs + environment) in time order, a ring itself: `_count` ids from
        # `_tail` on. A uniform draw from it is one from the live transitions, whatever lies between them.
        self._id_dtype = np.int32 if len(self._cells) < 2**31 else np.int64
        self._ids = np.zeros(self.rows * num_envs, self._id_dtype)
        self._tail = self._count = 0

        end = self.layout.obs_width + action
        self._obs = [(name, self._storage[:, :, where]) for name, where in self.layout.columns().items()]
        self._happened = self._storage[:, :, end - action :]  # all but the observations; zero in row `head`
        self._action = self._storage[:, :, end - action : end]
        self._reward, self._terminated, self._live = (self._storage[:, :, end + i] for i in range(3))
        self._buffers: dict[int, tuple[Picked, Picked]] = {}

    def __len__(self) -> int:
        """Return the number of live transitions."""
        return self._count

    def append(
        self,
        obs: Mapping[str, np.ndarray],
        action: np.ndarray,
        reward: np.ndarray,
        terminated: np.ndarray,
        live: np.ndarray,
        next_obs: Mapping[str, np.ndarray],
    ) -> None:
        """Add one row; the oldest one falls off when the ring is full.

        Args:
            obs: group to (N, width), what the environments showed; the ``next_obs`` of the call before.
            action: (N, A), in [-1, 1].
            reward: (N,).
            terminated: (N,), true where the task ended (not at a time limit).
            live: (N,) bool, false where this step was an environment's reset.
            next_obs: group to (N, width), what followed.
        """
        here = self._slot
        there = here + 1 if here + 1 < self.slots else 0
        self._drop(int(np.count_nonzero(self._live[there])))
        for name, column in self._obs:
            column[here] = obs[name]
            column[there] = next_obs[name]
        self._happened[there] = 0.0
        self._action[here] = action
        self._reward[here] = reward
        self._terminated[here] = terminated
        self._live[here] = live
        self._enlist(here * self.num_envs, self._live[here])
        self.head += 1
        self._slot = there

    def restart(self, obs: Mapping[str, np.ndarray]) -> None:
        """Start all environments anew: a dead row, so that nothing leads from the newest observation on.

        For a resumed run whose environments could not be restored. The last transition keeps what followed.

        Args:
            obs: group to (N, width), the observations after the reset.
        """
        if self.head == self._begin:
            return  # nothing leads to the newest observation; append will write this one
        newest = {name: column[self._slot] for name, column in self._obs}
        zeros = np.zeros(self.num_envs, np.float32)
        action = np.zeros((self.num_envs, self.layout.action), np.float32)
        self.append(newest, action, zeros, zeros, zeros, obs)

    def sample(self, rng: np.random.Generator, batch_size: int) -> torch.Tensor:
        """Draw transitions uniformly, with replacement, from the live ones.

        Args:
            rng: source of randomness; its state and the buffer's content determine the batch.
            batch_size: transitions, B.

        Returns:
            (2 B, width) float32: B rows and below them the rows that followed. Two buffers take turns: a
            batch is valid until the next but one call with the same batch size.

        Raises:
            RunError: if the buffer is empty.
        """
        picked = self.pick(rng, batch_size)
        np.add(picked.now, self.num_envs, out=picked.following)
        self._cells.take(picked.cells, axis=0, mode="wrap", out=picked.out)
        return picked.batch

    def pick(self, rng: np.random.Generator, batch_size: int) -> Picked:
        """Draw live cells uniformly, with replacement; what follows them is left open.

        Args:
            rng: source of randomness.
            batch_size: transitions, B.

        Returns:
            The cells, in ``now``; valid until the next but one call with the same batch size.

        Raises:
            RunError: if the buffer is empty.
        """
        if self._count == 0:
            raise RunError("the replay buffer holds no transition to sample from")
        pair = self._buffers.get(batch_size)
        if pair is None:
            pair = (
                Picked(batch_size, self.layout.width, self._id_dtype),
                Picked(batch_size, self.layout.width, self._id_dtype),
            )
        into, other = pair
        self._buffers[batch_size] = (other, into)
        # Place 0 is the oldest: the same draws give the same batch wherever the ring has its seam.
        places = rng.integers(0, self._count, batch_size)
        places += self._tail
        # With mode="wrap" take writes straight to `out`; with the default it fills a copy first.
        self._ids.take(places, mode="wrap", out=into.ids)
        into.now[:] = into.ids
        return into

    def happened(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return reward, terminated and live of cells, each with the cells' shape, copied; 0 in row ``head``."""
        columns = self._cells[cells % len(self._cells), -3:]
        return columns[..., 0], columns[..., 1], columns[..., 2]

    def columns_of(self, cells: np.ndarray, columns: slice) -> np.ndarray:
        """Return some columns of cells (M,), copied: (M, width)."""
        return self._cells[cells % len(self._cells), columns]

    def gather(self, picked: Picked, reward: np.ndarray, terminated: np.ndarray, discount: np.ndarray) -> torch.Tensor:
        """Return the picked rows and those that followed, with what happened between them.

        Args:
            picked: the cells, ``following`` included.
            reward: (B,), of all the steps between them.
            terminated: (B,), of the last one.
            discount: (B,), see `Transitions`.

        Returns:
            (2 B, width), as `sample` does.
        """
        self._cells.take(picked.cells, axis=0, mode="wrap", out=picked.out)
        upper = picked.out[: len(picked.now)]
        upper[:, -3], upper[:, -2], upper[:, -1] = reward, terminated, discount
        return picked.batch

    @property
    def first(self) -> int:
        """Number of the oldest row held."""
        return max(self._begin, self.head - self.rows)

    @property
    def newest(self) -> np.ndarray:
        """(N, obs_width), a view: the observations of row ``head``, all groups."""
        return self._storage[self._slot, :, : self.layout.obs_width]

    def rows_between(self, a: int, b: int) -> list[np.ndarray]:
        """Return rows a to b - 1 as views: (n, N, width), two where the ring's seam lies between."""
        if not self.first <= a <= b <= self.head:
            raise ValueError(f"rows {a} to {b} are not within the rows held, {self.first} to {self.head}")
        start, length = a % self.slots, b - a
        upper = min(length, self.slots - start)
        parts = [self._storage[start : start + upper], self._storage[: length - upper]]
        return [part for part in parts if len(part)]

    def load_rows(self, a: int, rows: np.ndarray) -> None:
        """Put saved rows in place; the first call sets where the numbers begin, each later one continues.

        Args:
            a: number of the first one.
            rows: (n, N, width) float32. Where there are more than the ring holds, the oldest fall off.
        """
        if rows.shape[1:] != self._storage.shape[1:] or rows.dtype != np.float32:
            allowed = f"float32 (n, {self.num_envs}, {self.layout.width})"
            raise ValueError(f"rows must be {allowed}, got {rows.dtype} {rows.shape}")
        if self.head == self._begin:
            self.head = self._begin = a
            self._slot = a % self.slots
        if a != self.head:
            raise ValueError(f"rows must continue at {self.head}, got {a}")
        done = 0
        while done < len(rows):
            start = self._slot
            n = min(len(rows) - done, self.slots - start, self.rows)
            end = (start + n) % self.slots
            # Row `head`, now in `start`, will be in `end`: what stands in the slots between falls off.
            self._drop(int(np.count_nonzero(self._live[start : start + n])))
            self._drop(int(np.count_nonzero(self._live[end])))
            self._storage[start : start + n] = rows[done : done + n]
            self._happened[end] = 0.0
            self._enlist(start * self.num_envs, self._live[start : start + n])
            self._slot = end
            self.head += n
            done += n

    def load_newest(self, obs: np.ndarray) -> None:
        """Put back the observations of row ``head``, as ``newest`` gave them: (N, obs_width)."""
        if obs.shape != self.newest.shape:
            raise ValueError(f"the newest observations must be {self.newest.shape}, got {obs.shape}")
        self.newest[:] = obs

    def _drop(self, count: int) -> None:
        """Forget the oldest ``count`` live cells."""
        if count:
            self._count -= count
            self._tail = (self._tail + count) % len(self._ids)

    def _enlist(self, cell: int, live: np.ndarray) -> None:
        """Remember the live ones of the newest cells, ``live.size`` of them from id ``cell`` on."""
        ids = live.reshape(-1).nonzero()[0] + cell
        start = (self._tail + self._count) % len(self._ids)
        upper = min(len(ids), len(self._ids) - start)
        self._ids[start : start + upper] = ids[:upper]
        if upper < len(ids):
            self._ids[: len(ids) - upper] = ids[upper:]
        self._count += len(ids)
