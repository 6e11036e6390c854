"""Arrays of which only the shape is known.

A function that is called with them computes nothing: every operation on their entries is recorded in a graph, each
once. What looks at a value, as a Python ``if`` does, cannot be traced, nor what the graph has no operation for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from roborl.tracing.interpreter import Op


class NotTraceable(TypeError):
    """What a function does is not known before the values are that it is given."""


class Graph:
    """Operations on columns of numbers, each of them once.

    Attributes:
        nodes: (operation, a, b, c) in an order in which they can be done; operands are numbers of nodes.
        constants: the constants.
        tables: tables of constants.
    """

    def __init__(self) -> None:
        self.nodes: list[tuple[Op, int, int, int]] = []
        self.constants: list[float] = []
        self.tables: list[np.ndarray] = []
        self._numbers: dict[tuple[Op, int, int, int], int] = {}
        self._constants: dict[str, int] = {}

    def node(self, op: Op, a: int, b: int = 0, c: int = 0) -> int:
        """Return the number of an operation, which is made where it is new."""
        node = (op, a, b, c)
        number = self._numbers.setdefault(node, len(self.nodes))
        if number == len(self.nodes):
            self.nodes.append(node)
        return number

    def constant(self, value: float) -> int:
        """Return the number of a constant."""
        place = self._constants.setdefault(value.hex(), len(self.constants))  # 0.0 is not -0.0, and NaN is NaN
        if place == len(self.constants):
            self.constants.append(value)
        return self.node(Op.CONSTANT, place)

    def table(self, values: np.ndarray) -> tuple[int, int]:
        """Return where a table begins behind all others, and its length; the same one is not kept twice."""
        start = 0
        for known in self.tables:
            if np.array_equal(known, values):
                return start, len(known)
            start += len(known)
        self.tables.append(values)
        return start, len(values)

    def source(self, number: int, width: int) -> Traced:
        """Return a row that is read from a source, (1, width)."""
        columns = [self.node(Op.LOAD, number, column) for column in range(width)]
        return Traced(self, np.array(columns, np.int64)[None], np.dtype(float))

    def numbers(self, value: Any) -> np.ndarray:
        """Return the nodes of an array's entries: what is not traced is constant."""
        if isinstance(value, Traced):
            return value.numbers
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise NotTraceable(f"{type(value).__name__} is no array of numbers")
        flat = [self.constant(entry) for entry in array.astype(float).ravel().tolist()]
        return np.array(flat, np.int64).reshape(array.shape)

    def apply(self, op: Op, *operands: Any, dtype: Any = None) -> Traced:
        """Return an operation on arrays, entry by entry, of the type that numpy gives it, or the given one."""
        if dtype is None:
            dtype = result_type(*operands)
            if dtype.kind == "b":
                raise NotTraceable(f"{op.name} of truth values")
        parts = np.broadcast_arrays(*(self.numbers(value) for value in operands))
        entries = zip(*(part.ravel().tolist() for part in parts), strict=True)
        flat = [self.node(op, *entry) for entry in entries]
        return Traced(self, np.array(flat, np.int64).reshape(parts[0].shape), np.dtype(dtype))


def result_type(*operands: Any) -> np.dtype:
    """Return the type that numpy gives a result of these; Python's numbers take the arrays'."""
    weak = (bool, int, float)
    return np.result_type(*(x if isinstance(x, weak) else getattr(x, "dtype", None) or np.asarray(x) for x in operands))


def _operator(op: Op, swapped: bool = False, dtype: Any = None) -> Callable[[Traced, Any], Traced]:
    def method(self: Traced, other: Any) -> Traced:
        operands = (other, self) if swapped else (self, other)
        return self.graph.apply(op, *operands, dtype=dtype)

    return method


def _logical(op: Op) -> Callable[[Traced, Any], Traced]:
    def method(self: Traced, other: Any) -> Traced:
        if result_type(self, other).kind != "b":
            raise NotTraceable(f"{op.name} of bits")
        return self.graph.apply(op, self, other, dtype=bool)

    return method


class Traced:
    """An array of numbers that are not known yet, for one row of many: its first axis is 1 long.

    Args:
        graph: what records the operations.
        numbers: the nodes of its entries, int64 of the array's shape.
        dtype: float64, int64 or bool.

    Raises:
        NotTraceable: if the first axis is no longer that of the rows.
    """

    __slots__ = ("dtype", "graph", "numbers")
    __array_ufunc__ = None  # numpy's arrays leave operations with it to it
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, graph: Graph, numbers: np.ndarray, dtype: np.dtype) -> None:
        if numbers.shape[:1] != (1,):
            raise NotTraceable("rows are mixed")
        self.graph, self.numbers, self.dtype = graph, numbers, dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """As of a numpy array."""
        return self.numbers.shape

    @property
    def ndim(self) -> int:
        """As of a numpy array."""
        return self.numbers.ndim

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, key: Any) -> Traced:
        parts = key if isinstance(key, tuple) else (key,)
        if not (parts[0] is Ellipsis or (isinstance(parts[0], slice) and parts[0] == slice(None))):
            raise NotTraceable("rows are chosen")
        if any(isinstance(part, Traced) for part in parts):
            raise NotTraceable("entries are chosen by values")
        return Traced(self.graph, self.numbers[key], self.dtype)

    def reshape(self, *shape: Any) -> Traced:
        """As of a numpy array."""
        return Traced(self.graph, self.numbers.reshape(*shape), self.dtype)

    def __bool__(self) -> bool:
        raise NotTraceable("a value is looked at")

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise NotTraceable("numpy is called, in place of f.xp")

    def __iter__(self) -> Any:
        raise NotTraceable("rows are taken one by one")

    def __neg__(self) -> Traced:
        return self.graph.apply(Op.NEG, self)

    def __abs__(self) -> Traced:
        return self.graph.apply(Op.ABS, self)

    def __pow__(self, exponent: Any) -> Traced:
        if isinstance(exponent, int | float) and exponent == 2:  # numpy's shortcut
            return self * self
        return self.graph.apply(Op.POW, self, exponent)

    def __invert__(self) -> Traced:
        if self.dtype.kind != "b":
            raise NotTraceable("NOT of bits")
        return self.graph.apply(Op.NOT, self, dtype=bool)

    __add__ = __radd__ = _operator(Op.ADD)
    __mul__ = __rmul__ = _operator(Op.MUL)
    __sub__, __rsub__ = _operator(Op.SUB), _operator(Op.SUB, swapped=True)
    __truediv__, __rtruediv__ = _operator(Op.DIV, dtype=float), _operator(Op.DIV, swapped=True, dtype=float)
    __mod__, __rmod__ = _operator(Op.MOD), _operator(Op.MOD, swapped=True)
    __rpow__ = _operator(Op.POW, swapped=True)
    __lt__, __gt__ = _operator(Op.LT, dtype=bool), _operator(Op.LT, swapped=True, dtype=bool)
    __le__, __ge__ = _operator(Op.LE, dtype=bool), _operator(Op.LE, swapped=True, dtype=bool)
    __eq__, __ne__ = _operator(Op.EQ, dtype=bool), _operator(Op.NE, dtype=bool)  # type: ignore[assignment]
    __and__ = __rand__ = _logical(Op.AND)
    __or__ = __ror__ = _logical(Op.OR)


class Table(np.ndarray):
    """Constants of which a traced whole number may choose one."""

    def __getitem__(self, key: Any) -> Any:
        """As of a numpy array; of a table with one axis, ``table[i]`` of traced whole numbers i too."""
        if not isinstance(key, Traced):
            return super().__getitem__(key)
        if self.ndim != 1 or key.dtype.kind != "i":
            raise NotTraceable("a table has several axes, or entries are chosen by what is no whole number")
        start, length = key.graph.table(np.asarray(self, float))
        flat = [key.graph.node(Op.TAKE, number, start, length) for number in key.numbers.ravel().tolist()]
        return Traced(key.graph, np.array(flat, np.int64).reshape(key.shape), np.dtype(float))
