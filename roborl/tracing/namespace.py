"""The array namespace in which a function computes with traced arrays: what numpy calls by the same names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from roborl.tracing.arrays import Graph, NotTraceable, Table, Traced, result_type
from roborl.tracing.interpreter import Op


def _elementwise(op: Op, dtype: Any = None) -> Callable[..., Traced]:
    return lambda graph, *operands: graph.apply(op, *operands, dtype=dtype)


def _clip(graph: Graph, x: Any, low: Any = None, high: Any = None) -> Any:
    if low is not None:
        x = graph.apply(Op.MAX, x, low)
    return x if high is None else graph.apply(Op.MIN, x, high)


def _where(graph: Graph, condition: Any, chosen: Any, other: Any) -> Traced:
    return graph.apply(Op.WHERE, condition, chosen, other, dtype=result_type(chosen, other))


def _astype(graph: Graph, x: Traced, dtype: Any) -> Traced:
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return graph.apply(Op.NE, x, 0.0, dtype=dtype)
    if dtype.kind == "i" and x.dtype.kind == "f":
        return graph.apply(Op.TRUNC, x, dtype=dtype)
    return Traced(graph, x.numbers, dtype)


def _reduced(op: Op, graph: Graph, x: Traced, axis: Any = None, keepdims: bool = False) -> Traced:
    """Return an operation on all entries along an axis, or several, one after another."""
    axes = sorted(a % x.ndim for a in (axis if isinstance(axis, tuple) else (axis,)) if a is not None)
    if not axes or axes[0] == 0:
        raise NotTraceable("rows are mixed")
    of_type = np.dtype(int) if x.dtype.kind == "b" and op is Op.ADD else x.dtype
    numbers = np.moveaxis(x.numbers, axes, range(len(axes)))
    entries = [Traced(graph, entry, of_type) for entry in numbers.reshape(-1, *numbers.shape[len(axes) :])]
    if not entries:
        raise NotTraceable("there is nothing along an axis")
    total = entries[0]
    for entry in entries[1:]:
        total = graph.apply(op, total, entry, dtype=of_type)
    return Traced(graph, np.expand_dims(total.numbers, axes), of_type) if keepdims else total


def _decided(op: Op, graph: Graph, x: Traced, axis: Any = None, keepdims: bool = False) -> Traced:
    return _reduced(op, graph, _astype(graph, x, bool), axis, keepdims)


def _mean(graph: Graph, x: Traced, axis: Any = None, keepdims: bool = False) -> Traced:
    total = _reduced(Op.ADD, graph, x, axis, keepdims)
    return total / (x.numbers.size / total.numbers.size)


def _vecdot(graph: Graph, a: Any, b: Any, axis: int = -1) -> Traced:
    return _reduced(Op.ADD, graph, graph.apply(Op.MUL, a, b), axis)


def _joined(join: Callable[..., np.ndarray], graph: Graph, arrays: Sequence[Any], axis: int = 0) -> Traced:
    numbers = [graph.numbers(x) for x in arrays]
    return Traced(graph, join(numbers, axis=axis), result_type(*arrays))


def _full_like(graph: Graph, x: Traced, value: Any, dtype: Any = None) -> np.ndarray:
    return np.full(x.shape, value, dtype or x.dtype)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": _elementwise(Op.ADD),
    "subtract": _elementwise(Op.SUB),
    "multiply": _elementwise(Op.MUL),
    "remainder": _elementwise(Op.MOD),
    "maximum": _elementwise(Op.MAX),
    "minimum": _elementwise(Op.MIN),
    "abs": _elementwise(Op.ABS),
    "negative": _elementwise(Op.NEG),
    "sign": _elementwise(Op.SIGN),
    **{
        name: _elementwise(op, float)
        for names, op in (
            *(("divide", Op.DIV), ("hypot", Op.HYPOT), ("atan2 arctan2", Op.ATAN2), ("sqrt", Op.SQRT)),
            *(("exp", Op.EXP), ("log", Op.LOG), ("sin", Op.SIN), ("cos", Op.COS), ("tan", Op.TAN)),
            *(("asin arcsin", Op.ASIN), ("acos arccos", Op.ACOS), ("atan arctan", Op.ATAN)),
            *(("sinh", Op.SINH), ("cosh", Op.COSH), ("tanh", Op.TANH)),
            *(("floor", Op.FLOOR), ("ceil", Op.CEIL), ("trunc", Op.TRUNC)),
        )
        for name in names.split()
    },
    **{
        name: _elementwise(op, bool)
        for name, op in (
            *(("less", Op.LT), ("less_equal", Op.LE), ("equal", Op.EQ), ("not_equal", Op.NE)),
            *(("logical_and", Op.AND), ("logical_or", Op.OR), ("logical_not", Op.NOT)),
        )
    },
    "clip": _clip,
    "where": _where,
    "astype": _astype,
    "sum": partial(_reduced, Op.ADD),
    "min": partial(_reduced, Op.MIN),
    "max": partial(_reduced, Op.MAX),
    "all": partial(_decided, Op.AND),
    "any": partial(_decided, Op.OR),
    "mean": _mean,
    "vecdot": _vecdot,
    "concat": partial(_joined, np.concatenate),
    "concatenate": partial(_joined, np.concatenate),
    "stack": partial(_joined, np.stack),
    "reshape": lambda graph, x, shape: x.reshape(shape),
    "zeros_like": lambda graph, x, dtype=None: _full_like(graph, x, 0.0, dtype),
    "ones_like": lambda graph, x, dtype=None: _full_like(graph, x, 1.0, dtype),
    "full_like": _full_like,
}
"""What numpy calls by these names, of arguments of which at least one is traced."""


class Namespace:
    """The array namespace of traced arrays; numpy's, for what is not traced and therefore constant.

    Args:
        graph: what records the operations.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def asarray(self, values: Any, dtype: Any = None) -> Any:
        """As numpy's."""
        return values if isinstance(values, Traced) else np.asarray(values, dtype).view(Table)

    def __getattr__(self, name: str) -> Any:
        """Return what numpy calls by this name, for constants and traced arrays."""
        exact, own = getattr(np, name), _FUNCTIONS.get(name)
        if isinstance(exact, type) or not callable(exact):
            return exact

        def function(*arguments: Any, **options: Any) -> Any:
            given = [part for value in (*arguments, *options.values()) for part in _parts(value)]
            if not any(isinstance(part, Traced) for part in given):
                return exact(*arguments, **options)
            if own is None:
                raise NotTraceable(f"{name} is not traced")
            return own(self._graph, *arguments, **options)

        return function


def _parts(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else (value,)
