"""Layout: where the fields of a simulation stand in its rows, which are what is saved, restored and reset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from mujoco.batch import Batch

from roborl.task.fields import Array, Fields

STATE_FIELDS = ("time", "qpos", "qvel", "act", "ctrl", "mocap_pos", "mocap_quat")
"""The state fields a task may read; all of the state is saved."""

Columns = dict[str, tuple[Any, tuple[int, ...]]]
"""Name -> its columns of a row, and the shape of what stands there."""


class Layout:
    """The columns of fields in rows of physics, memory and parameters, one row a simulation.

    Derived fields have columns of the memory, after its own names: MuJoCo cannot recompute fields as stepped from a
    state, nor a task its own that follow from them.

    Args:
        state: state fields' columns in the rows of physics, as of `state_columns`.
        memory: name -> width.
        derived: name -> the shape of a simulation's derived field.
        params: name -> width.

    Attributes:
        memory_widths: name -> columns, in the memory's order, the derived fields last.
        nmemory: columns of the memory.
    """

    def __init__(
        self,
        state: Columns,
        memory: Mapping[str, int],
        derived: Mapping[str, tuple[int, ...]],
        params: Mapping[str, int],
    ) -> None:
        self._state = state
        shapes = {name: (width,) for name, width in memory.items()}
        shapes |= {_derived_key(name): shape for name, shape in derived.items()}
        self.memory_widths = {name: int(np.prod(shape)) for name, shape in shapes.items()}
        columns, self.nmemory = side_by_side(shapes)
        self._memory = {name: columns[name] for name in memory}
        self._derived = {name: columns[_derived_key(name)] for name in derived}
        self._params, _ = side_by_side({name: (width,) for name, width in params.items()})

    def fields(self, physics: Array, memory: Array, params: Array, xp: Any = np) -> Fields:
        """Return the fields of n simulations, views of their rows (n, ...), arrays of the namespace ``xp``."""
        arrays = _views(physics, self._state) | _views(memory, self._derived)
        return Fields(xp, arrays, _views(params, self._params), _views(memory, self._memory))

    def memory_columns(self, names: Iterable[str]) -> np.ndarray:
        """Return the columns of the memory in which memory or derived fields stand, side by side, (k,) int64."""
        columns = [np.r_[(self._derived.get(name) or self._memory[name])[0]] for name in names]
        return np.concatenate([np.zeros(0, np.int64), *columns])


def state_columns(batch: Batch) -> Columns:
    """Return the columns of state fields in the rows of a batch's state."""
    return {name: _columns_of(batch.bind(name), batch.state) for name in STATE_FIELDS}


def _derived_key(name: str) -> str:
    return f"derived/{name}"


def _columns_of(view: np.ndarray, rows: np.ndarray) -> tuple[Any, tuple[int, ...]]:
    """Return the columns of ``rows`` of which ``view`` is a view, and its shape without the first axis."""
    shape = view.shape[1:]
    size = int(np.prod(shape))
    if size == 0:
        return slice(0, 0), shape
    start = (view.__array_interface__["data"][0] - rows.__array_interface__["data"][0]) // rows.itemsize
    return (slice(start, start + size), shape) if shape else (start, shape)


def side_by_side(shapes: Mapping[str, tuple[int, ...]]) -> tuple[Columns, int]:
    """Return consecutive columns, and how many there are."""
    ends = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes.values())]).tolist()
    columns = {
        name: (slice(start, end) if shape else start, shape)
        for (name, shape), start, end in zip(shapes.items(), ends[:-1], ends[1:], strict=True)
    }
    return columns, ends[-1]


def _views(rows: Array, columns: Columns) -> dict[str, Array]:
    n = len(rows)
    return {
        name: rows[:, at] if len(shape) < 2 else rows[:, at].reshape(n, *shape) for name, (at, shape) in columns.items()
    }
