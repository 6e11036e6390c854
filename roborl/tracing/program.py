"""Programs: what a function does to one row of several arrays, to be done to many rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from roborl.tracing.arrays import Graph, NotTraceable
from roborl.tracing.interpreter import BLOCK, Op, run
from roborl.tracing.namespace import Namespace

_OPERANDS = {Op.CONSTANT: 0, Op.LOAD: 0, Op.WHERE: 3} | dict.fromkeys(
    (
        *(Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.MOD, Op.POW, Op.ATAN2, Op.HYPOT, Op.MAX, Op.MIN),
        *(Op.LT, Op.LE, Op.EQ, Op.NE, Op.AND, Op.OR),
    ),
    2,
)
"""How many of a, b and c are operands; elsewhere 1."""


def trace(function: Callable[..., Mapping[str, Any]], widths: Sequence[int]) -> Program:
    """Return the program of a function.

    Args:
        function: called as ``function(xp, *rows)`` with the array namespace and one traced row (1, width) of each
            source; it gives arrays by name, whose first axis is the rows'.
        widths: columns of each source.

    Raises:
        NotTraceable: if what the function does depends on values, or it does what cannot be traced.
    """
    graph = Graph()
    rows = [graph.source(number, width) for number, width in enumerate(widths)]
    try:
        values = function(Namespace(graph), *rows)
        outputs = {name: graph.numbers(value) for name, value in values.items()}
    except NotTraceable:
        raise
    # what array code raises where it meets something that traced arrays cannot do
    except (TypeError, ValueError, IndexError, AttributeError, KeyError, NotImplementedError) as error:
        raise NotTraceable(f"{type(error).__name__}: {error}") from error
    if any(numbers.shape[:1] != (1,) for numbers in outputs.values()):
        raise NotTraceable("an output has no row")
    return Program(graph, outputs)


class Program:
    """Operations on columns, with a register for each number that is still to be used.

    Args:
        graph: the operations.
        outputs: name -> the nodes of an output's entries, (1, ...).

    Attributes:
        operations: how many operations it has, reading included.
    """

    def __init__(self, graph: Graph, outputs: Mapping[str, np.ndarray]) -> None:
        results = np.concatenate([np.zeros(0, np.int64), *(numbers.ravel() for numbers in outputs.values())])
        needed = _needed(graph, results)
        constants = [n for n in needed if graph.nodes[n][0] is Op.CONSTANT]
        steps = [n for n in needed if graph.nodes[n][0] is not Op.CONSTANT]
        last_use = {operand: i for i, n in enumerate(steps) for operand in _operands(graph, n)}
        register = {n: i for i, n in enumerate(constants)}
        kept, free, count = {*constants, *results.tolist()}, [], len(constants)
        code = np.zeros((len(steps), 5), np.uint64)
        for i, n in enumerate(steps):
            op, a, b, c = graph.nodes[n]
            # a result never takes the register of an operand: its block could not be computed as vectors
            if free:
                register[n] = free.pop()
            else:
                register[n], count = count, count + 1
            entries = [a, b, c]
            operands = _operands(graph, n)
            entries[: len(operands)] = [register[operand] for operand in operands]
            code[i] = int(op), register[n], *entries
            free += [register[m] for m in set(operands) if last_use[m] == i and m not in kept]
        self.operations = len(steps)
        self._code = code
        self._registers = np.zeros((count, BLOCK))
        for n in constants:
            self._registers[register[n]] = graph.constants[graph.nodes[n][1]]
        self._tables = np.concatenate([np.zeros(0), *graph.tables])
        self._outputs = np.array([register[n] for n in results.tolist()], np.uint64)

    def __call__(
        self, sources: tuple[np.ndarray, ...], out: np.ndarray, columns: np.ndarray, upright: bool = False
    ) -> None:
        """Run on n rows of the sources.

        Args:
            sources: (n, width) float64 each, in consecutive memory.
            out: (n, ...) float64, in consecutive memory; it may be one of the sources.
            columns: (k,) int64, the column of ``out`` of each entry of the outputs, one output after another.
            upright: whether an entry is a row of ``out (..., n)``, in place of a column.
        """
        run(self._code, self._registers, self._tables, sources, self._outputs, columns, out, upright)


def _operands(graph: Graph, number: int) -> tuple[int, ...]:
    op, *entries = graph.nodes[number]
    return tuple(entries[: _OPERANDS.get(op, 1)])


def _needed(graph: Graph, results: np.ndarray) -> list[int]:
    """Return the nodes that the results need, in an order in which they can be computed."""
    found: set[int] = set()
    left = results.tolist()
    while left:
        number = left.pop()
        if number not in found:
            found.add(number)
            left += _operands(graph, number)
    return sorted(found)
