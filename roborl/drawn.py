"""The parameters of N simulations: their drawn values, and the models that follow from them.

To draw a few simulations' parameters, and to derive what follows from them, costs nearly as much as for hundreds, and
where episodes are short, or models large, it would cost more than all else of a reset. What an episode draws depends on
its simulation's seed and its own number alone: the models of several coming episodes are therefore made at once, by a
batch that nobody steps, and copied where an episode begins.
"""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numba
import numpy as np
from mujoco.batch import Batch

from roborl.task.draw import Draw
from roborl.task.parameters import Parameter

_SETCONST_INPUTS = frozenset(mujoco.MjModel._setconst_inputs)
"""What `mj_setConst` derives constants from (gravity and friction it does not read)."""

_MOST_AHEAD = 16
"""Coming episodes of a simulation whose models are made at once, where there are few simulations."""

_MOST_MODELS = 1024
"""Models that are made ahead, over all simulations; at least one for each."""


class DrawnParameters:
    """Values of parameters, one row a simulation.

    Args:
        parameters: by name.
        batch: the simulations; the model fields that parameters change become each simulation's own.
        model: their nominal model.

    Attributes:
        rows: (N, k) the values, those of all parameters side by side.
        widths: name -> entries.
    """

    def __init__(self, parameters: Mapping[str, Parameter], batch: Batch, model: mujoco.MjModel) -> None:
        self._parameters, self._model = parameters, model
        self._nominal = {name: p.nominal(model) for name, p in parameters.items()}
        self.widths = {name: len(value) for name, value in self._nominal.items()}
        nominal = np.concatenate([*self._nominal.values()]) if parameters else np.zeros(0)
        self.rows = np.tile(nominal, (batch.nsim, 1))
        self._draws = {f"param/{name}": p.draws(self._nominal[name]) for name, p in parameters.items()}
        self._models = _Models(parameters, self.widths, batch, model)
        self._ahead: _Ahead | None = None

    def reset(self, ids: np.ndarray, counters: np.ndarray) -> None:
        """Take the parameters of new episodes, drawn from the nominal values.

        Args:
            ids: (n,) the simulations whose episodes begin.
            counters: (N, 3) seed, episode and step of all simulations; those of ``ids`` in their new episodes.
        """
        if self._parameters:
            if self._ahead is None:
                self._ahead = _Ahead(self, self._models)
            self._ahead.begin(ids, counters)

    def restore(self, rows: np.ndarray) -> None:
        """Take over saved values, (N, k), or (1, k) for all simulations."""
        if self._parameters and not np.array_equal(self.rows, np.broadcast_to(rows, self.rows.shape)):
            self.rows[...] = rows
            self._models.write(np.arange(len(self.rows)), self.rows)
            if self._ahead is not None:
                self._ahead.copy_also(self._models.own_fields())

    def draw(self, draw: Draw) -> np.ndarray:
        """Return values (n, k) of the simulations and episodes of ``draw``."""
        units = draw.units(self._draws)
        drawn = [p.sample(units[f"param/{name}"], self._nominal[name]) for name, p in self._parameters.items()]
        return np.concatenate(drawn, axis=1)

    def models_of(self, count: int) -> _Models:
        """Return the models of ``count`` simulations more, which nobody steps."""
        batch = Batch(self._model, count, min(self._models.batch.nthread, count))
        return _Models(self._parameters, self.widths, batch, self._model)


class _Models:
    """The models of a batch's simulations, written from values of parameters.

    Args:
        parameters: by name.
        widths: the entries of each.
        batch: the simulations.
        model: their nominal model.
    """

    def __init__(
        self, parameters: Mapping[str, Parameter], widths: Mapping[str, int], batch: Batch, model: mujoco.MjModel
    ) -> None:
        self.batch = batch
        ends = np.cumsum([0, *widths.values()]).tolist()
        self._columns = {name: slice(ends[i], ends[i + 1]) for i, name in enumerate(widths)}
        self._apply = {name: p.bind(model) for name, p in parameters.items()}
        names = sorted({name for p in parameters.values() for name in p.fields})
        self._fields = {name: batch.expand(name) for name in names}
        self._nominal = {name: rows[:1].copy() for name, rows in self._fields.items()}
        self._constants_follow = not _SETCONST_INPUTS.isdisjoint(names)
        follow = {name for name in mujoco.MjModel._setconst_outputs if getattr(model, name).size}
        self._perhaps_own = follow.union(names) if self._constants_follow else set(names)

    def write(self, ids: np.ndarray, values: np.ndarray) -> None:
        """Make the models of ``ids (n,)``, in growing order, those of values (n, k)."""
        fields = {name: nominal.repeat(len(ids), axis=0) for name, nominal in self._nominal.items()}
        for name, apply in self._apply.items():
            apply(fields, values[:, self._columns[name]])
        for name, rows in fields.items():
            self._fields[name][ids] = rows
        if self._constants_follow:
            self.batch.set_const(ids)

    def own_fields(self) -> set[str]:
        """Return the names of the fields that are each simulation's own, those that follow included."""
        return {name for name in self._perhaps_own if self.batch.expanded(name) is not None}

    def rows_of(self, names: list[str]) -> tuple[np.ndarray, ...]:
        """Return the bytes of fields, (N, bytes) each: live."""
        return tuple(_bytes(self.batch.expand(name)) for name in names)


class _Ahead:
    """Models of coming episodes: simulation i's episode e has the slot ``i E + e mod E``.

    Args:
        drawn: the parameters.
        simulated: the models that the simulations have.
    """

    def __init__(self, drawn: DrawnParameters, simulated: _Models) -> None:
        num_sims = len(drawn.rows)
        self._drawn, self._simulated = drawn, simulated
        self._episodes = min(max(_MOST_MODELS // num_sims, 1), _MOST_AHEAD)
        slots = num_sims * self._episodes
        self._models = drawn.models_of(slots)
        self._rows = np.tile(drawn.rows[:1], (slots, 1))
        self._of = np.full((slots, 2), 2**64 - 1, np.uint64)  # seed and episode; no episode has this number
        self._names = set[str]()
        self._target, self._source = (_bytes(drawn.rows),), (_bytes(self._rows),)
        self.copy_also(simulated.own_fields())

    def copy_also(self, names: set[str]) -> None:
        """Copy these fields, too: one that follows is each simulation's own from when it first differs."""
        if names <= self._names:
            return
        self._names |= names
        fields = sorted(self._names)
        self._target = (_bytes(self._drawn.rows), *self._simulated.rows_of(fields))
        self._source = (_bytes(self._rows), *self._models.rows_of(fields))

    def begin(self, ids: np.ndarray, counters: np.ndarray) -> None:
        """Give simulations the values and models of the episodes that they are in; see `DrawnParameters.reset`."""
        if not _copy(self._target, self._source, ids, counters, self._of):
            self._make(ids, counters)
            _copy(self._target, self._source, ids, counters, self._of)

    def _make(self, ids: np.ndarray, counters: np.ndarray) -> None:
        """Make all models that lack of every simulation's next episodes; those of ``ids`` begin with the present."""
        num_sims, ahead = len(counters), self._episodes
        first = (counters[:, 1] + np.uint64(1))[:, None]  # of who was never reset, 0
        first[ids] = counters[ids, 1, None]
        wanted = np.empty((num_sims, ahead, 2), np.uint64)
        wanted[:, :, 0] = counters[:, :1]
        wanted[:, :, 1] = first + (np.arange(ahead, dtype=np.uint64) - first) % np.uint64(ahead)
        wanted = wanted.reshape(-1, 2)
        slots = np.flatnonzero((self._of != wanted).any(axis=1))
        wanted = wanted[slots]
        values = self._drawn.draw(Draw(wanted[:, 0], wanted[:, 1], np.zeros(len(wanted), np.uint64)))
        self._models.write(slots, values)
        self._rows[slots], self._of[slots] = values, wanted
        self.copy_also(self._models.own_fields())


def _bytes(rows: np.ndarray) -> np.ndarray:
    """Return the bytes of rows (N, ...), (N, bytes), of whatever type: a view."""
    return rows.view(np.uint8).reshape(len(rows), -1)


@numba.njit(cache=True)
def _copy(
    target: tuple[np.ndarray, ...],
    source: tuple[np.ndarray, ...],
    ids: np.ndarray,
    counters: np.ndarray,
    of: np.ndarray,
) -> bool:
    """Copy the slots of the episodes that simulations are in; False, and nothing copied, where one has not been made.

    Args:
        target: (N, bytes) each.
        source: (slots, bytes) each.
        ids: (n,) the simulations.
        counters: (N, 3) seed, episode and step of all.
        of: (slots, 2) seed and episode.
    """
    ahead = len(of) // len(counters)
    slots = np.empty(len(ids), np.intp)
    for i in range(len(ids)):
        seed, episode = counters[ids[i], 0], counters[ids[i], 1]
        slot = slots[i] = ids[i] * ahead + np.intp(episode % np.uint64(ahead))
        if of[slot, 0] != seed or of[slot, 1] != episode:
            return False
    for field in range(len(target)):
        to, made = target[field], source[field]
        for i in range(len(ids)):
            row, slot = ids[i], slots[i]
            for k in range(to.shape[1]):  # a slice's assignment takes longer than its few bytes
                to[row, k] = made[slot, k]
    return True
