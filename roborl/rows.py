"""Functions of simulations on their rows: compiled where they can be traced, computed by numpy where they cannot.

Numpy's calls cost as much for one number as for a hundred, and a reward has many: they would take as long as the
physics. A task's functions are therefore traced once, and then run as one compiled program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from roborl.layout import Layout
from roborl.task.fields import Array, Fields
from roborl.tracing import NotTraceable, Program, trace

Function = Callable[[Fields, Array, Fields], Mapping[str, Array]]
"""Fields before a step, what is given (n, k), and fields after it -> arrays by name, (n, ...)."""


class Rows:
    """The rows of n simulations, and their fields.

    Args:
        layout: where fields stand in them.
        physics: (n, ...) float64 in consecutive memory, as all of them.
        memory: (n, ...)
        params: (n, ...)
        before: physics and memory before a step; None: as they are.

    Attributes:
        after: the fields of physics, memory and parameters.
        before: those of physics and memory before a step.
    """

    def __init__(
        self,
        layout: Layout,
        physics: np.ndarray,
        memory: np.ndarray,
        params: np.ndarray,
        before: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        self.physics, self.memory, self.params = physics, memory, params
        self.after = layout.fields(physics, memory, params)
        self.before = self.after if before is None else layout.fields(*before, params)
        self._arrays = (*(before or (physics, memory)), physics, memory, params)

    def with_given(self, given: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return what a program reads, with a copy of what is given (n, k), which may be of any kind and order."""
        return (*self._arrays, np.array(given, np.float64, order="C"))


class RowFunction:
    """A function of simulations.

    Its first call is computed by numpy and then by the program, if there is one: where they differ, as they do if the
    function is not one of its arguments alone, numpy's results count from then on.

    Args:
        function: what is computed.
        layout: of the rows that it is called with.

    Attributes:
        not_compiled: why it is not compiled; None where it is, or where it has not been called.
    """

    def __init__(self, function: Function, layout: Layout) -> None:
        self._function, self._layout = function, layout
        self._program: Program | None = None
        self._names: tuple[str, ...] = ()
        self._every: np.ndarray | None = None  # the numbers of all entries; None before the first call
        self.not_compiled: str | None = None

    def numbers(self, rows: Rows, given: np.ndarray) -> dict[str, np.ndarray]:
        """Return arrays of which each has one entry a simulation, name -> (n,)."""
        every = self._prepared(rows, given)
        out = np.empty((len(every), len(given)))
        self._compute(rows, given, out, every, upright=True)
        return dict(zip(self._names, out, strict=True))

    def matrix(self, rows: Rows, given: np.ndarray) -> np.ndarray:
        """Return all arrays side by side, (n, k)."""
        every = self._prepared(rows, given)
        out = np.empty((len(given), len(every)))
        self._compute(rows, given, out, every, upright=False)
        return out

    def remember(self, rows: Rows, given: np.ndarray, columns: np.ndarray) -> None:
        """Write all arrays, side by side, to columns (k,) of the rows' memory."""
        self._prepared(rows, given)
        self._compute(rows, given, rows.memory, columns, upright=False)

    def _compute(self, rows: Rows, given: np.ndarray, out: np.ndarray, columns: np.ndarray, upright: bool) -> None:
        if self._program is not None:
            self._program(rows.with_given(given), out, columns, upright)
            return
        values = _side_by_side(self._function(rows.before, given, rows.after), len(given))
        if upright:
            out[columns] = values.T
        else:
            out[:, columns] = values

    def _prepared(self, rows: Rows, given: np.ndarray) -> np.ndarray:
        """Return the numbers of all entries; find out at the first call which there are, and compile."""
        if self._every is not None:
            return self._every
        values = self._function(rows.before, given, rows.after)
        expected = _side_by_side(values, len(given))
        every = self._every = np.arange(expected.shape[1])
        self._names = tuple(values)
        try:
            self._program = self._compiled(rows.with_given(given), expected)
        except NotTraceable as error:
            self.not_compiled = str(error)
        return every

    def _compiled(self, sources: tuple[np.ndarray, ...], expected: np.ndarray) -> Program:
        program = trace(self._traced, [source.shape[1] for source in sources])
        found = np.empty(expected.shape)
        program(sources, found, np.arange(expected.shape[1]))
        if not np.allclose(found, expected, rtol=1e-7, atol=1e-9, equal_nan=True):
            raise NotTraceable("it gives other numbers for the same fields")
        return program

    def _traced(self, xp: Any, *rows: Any) -> Mapping[str, Any]:
        before_physics, before_memory, physics, memory, params, given = rows
        before = self._layout.fields(before_physics, before_memory, params, xp)
        return self._function(before, given, self._layout.fields(physics, memory, params, xp))


def _side_by_side(values: Mapping[str, Array], n: int) -> np.ndarray:
    parts = [np.reshape(value, (n, -1)) for value in values.values()]
    return np.concatenate(parts, axis=1) if parts else np.zeros((n, 0))
