"""Runs recorded operations on columns of numbers, a block of rows at a time.

One compiled loop runs every program: an operation costs a few nanoseconds to find, and then does a block of rows, which
the compiler makes vector instructions of. To compile each program by itself would be a little faster, and take seconds
for each.
"""

from __future__ import annotations

import math
from enum import IntEnum, auto

import numba
import numpy as np

BLOCK = 64
"""Rows at a time: enough to hide what finding an operation costs, few enough for a program's registers to stay in the
processor's cache."""


class Op(IntEnum):
    """What is done to operands a, b and c."""

    CONSTANT = 0  # constant a; nothing is done for it
    LOAD = auto()  # column b of source a
    ADD = auto()
    SUB = auto()
    MUL = auto()
    DIV = auto()
    MOD = auto()
    POW = auto()
    ATAN2 = auto()
    HYPOT = auto()
    MAX = auto()
    MIN = auto()
    LT = auto()
    LE = auto()
    EQ = auto()
    NE = auto()
    AND = auto()
    OR = auto()
    NOT = auto()
    NEG = auto()
    ABS = auto()
    SQRT = auto()
    EXP = auto()
    LOG = auto()
    SIN = auto()
    COS = auto()
    TAN = auto()
    ASIN = auto()
    ACOS = auto()
    ATAN = auto()
    SINH = auto()
    COSH = auto()
    TANH = auto()
    FLOOR = auto()
    CEIL = auto()
    TRUNC = auto()
    SIGN = auto()
    WHERE = auto()  # b where a is not 0, else c
    TAKE = auto()  # entry a (the nearest that there is) of the table of c entries that begins at entry b of all tables


(
    _, _LOAD, _ADD, _SUB, _MUL, _DIV, _MOD, _POW, _ATAN2, _HYPOT, _MAX, _MIN, _LT, _LE, _EQ, _NE, _AND, _OR, _NOT, _NEG,
    _ABS, _SQRT, _EXP, _LOG, _SIN, _COS, _TAN, _ASIN, _ACOS, _ATAN, _SINH, _COSH, _TANH, _FLOOR, _CEIL, _TRUNC, _SIGN,
    _WHERE, _TAKE,
) = (int(op) for op in Op)  # fmt: skip  # the compiler takes whole numbers for constants


@numba.njit(inline="always")
def _remainder(a: float, b: float) -> float:
    """Return a modulo b, with b's sign, as Python and numpy have it."""
    if 0.0 <= a < b:
        return a
    if b <= a < b + b:
        return a - b  # exact
    m = np.fmod(a, b)
    if m == 0.0:
        return math.copysign(0.0, b)
    return m + b if (b < 0.0) != (m < 0.0) else m


@numba.njit(inline="always")
def _greater(a: float, b: float) -> float:
    """Return the greater one; NaN where one is NaN, as numpy."""
    return a if a >= b or a != a else b


@numba.njit(inline="always")
def _less(a: float, b: float) -> float:
    return a if a <= b or a != a else b


@numba.njit(cache=True, error_model="numpy")
def run(
    code: np.ndarray,
    registers: np.ndarray,
    tables: np.ndarray,
    sources: tuple[np.ndarray, ...],
    outputs: np.ndarray,
    columns: np.ndarray,
    out: np.ndarray,
    upright: bool,
) -> None:
    """Run a program on all rows.

    What it writes may be what it reads: a row is written after all of it has been read.

    Args:
        code: (operations, 5) uint64 (signed numbers would be checked for being negative): operation, register of the
            result, and a, b, c.
        registers: (registers, BLOCK) float64, the constants in their places.
        tables: (entries,) float64, all tables one after another.
        sources: (n, ...) float64 each.
        outputs: (k,) uint64, the registers of the outputs.
        columns: (k,) int64, where each goes.
        out: (n, ...), or, where it is ``upright``, (..., n).
        upright: whether an output is a row of ``out``, in place of a column.
    """
    rows = out.shape[1] if upright else out.shape[0]
    for block in range(0, rows, BLOCK):
        start = np.uint64(block)
        n = np.uint64(min(BLOCK, rows - block))
        for i in range(len(code)):
            op, to, a, b, c = code[i, 0], code[i, 1], code[i, 2], code[i, 3], code[i, 4]
            if op == _LOAD:
                source = sources[a]
                for r in range(n):
                    registers[to, r] = source[start + r, b]
                continue
            if op == _TAKE:
                length = np.int64(c)
                for r in range(n):
                    index = np.int64(registers[a, r])
                    if index < 0:
                        index += length
                    registers[to, r] = tables[np.int64(b) + min(max(index, 0), length - 1)]
                continue
            if op == _ADD:
                for r in range(n):
                    registers[to, r] = registers[a, r] + registers[b, r]
            elif op == _SUB:
                for r in range(n):
                    registers[to, r] = registers[a, r] - registers[b, r]
            elif op == _MUL:
                for r in range(n):
                    registers[to, r] = registers[a, r] * registers[b, r]
            elif op == _DIV:
                for r in range(n):
                    registers[to, r] = registers[a, r] / registers[b, r]
            elif op == _MOD:
                for r in range(n):
                    registers[to, r] = _remainder(registers[a, r], registers[b, r])
            elif op == _POW:
                for r in range(n):
                    registers[to, r] = registers[a, r] ** registers[b, r]
            elif op == _ATAN2:
                for r in range(n):
                    registers[to, r] = math.atan2(registers[a, r], registers[b, r])
            elif op == _HYPOT:
                for r in range(n):
                    registers[to, r] = math.hypot(registers[a, r], registers[b, r])
            elif op == _MAX:
                for r in range(n):
                    registers[to, r] = _greater(registers[a, r], registers[b, r])
            elif op == _MIN:
                for r in range(n):
                    registers[to, r] = _less(registers[a, r], registers[b, r])
            elif op == _LT:
                for r in range(n):
                    registers[to, r] = 1.0 if registers[a, r] < registers[b, r] else 0.0
            elif op == _LE:
                for r in range(n):
                    registers[to, r] = 1.0 if registers[a, r] <= registers[b, r] else 0.0
            elif op == _EQ:
                for r in range(n):
                    registers[to, r] = 1.0 if registers[a, r] == registers[b, r] else 0.0
            elif op == _NE:
                for r in range(n):
                    registers[to, r] = 1.0 if registers[a, r] != registers[b, r] else 0.0
            elif op == _AND:
                for r in range(n):
                    registers[to, r] = 1.0 if registers[a, r] != 0.0 and registers[b, r] != 0.0 else 0.0
            elif op == _OR:
                for r in range(n):
                    registers[to, r] = 1.0 if registers[a, r] != 0.0 or registers[b, r] != 0.0 else 0.0
            elif op == _NOT:
                for r in range(n):
                    registers[to, r] = 1.0 if registers[a, r] == 0.0 else 0.0
            elif op == _NEG:
                for r in range(n):
                    registers[to, r] = -registers[a, r]
            elif op == _ABS:
                for r in range(n):
                    registers[to, r] = abs(registers[a, r])
            elif op == _SQRT:
                for r in range(n):
                    registers[to, r] = math.sqrt(registers[a, r])
            elif op == _EXP:
                for r in range(n):
                    registers[to, r] = math.exp(registers[a, r])
            elif op == _LOG:
                for r in range(n):
                    registers[to, r] = np.log(registers[a, r])
            elif op == _SIN:
                for r in range(n):
                    registers[to, r] = math.sin(registers[a, r])
            elif op == _COS:
                for r in range(n):
                    registers[to, r] = math.cos(registers[a, r])
            elif op == _TAN:
                for r in range(n):
                    registers[to, r] = math.tan(registers[a, r])
            elif op == _ASIN:
                for r in range(n):
                    registers[to, r] = np.arcsin(registers[a, r])
            elif op == _ACOS:
                for r in range(n):
                    registers[to, r] = np.arccos(registers[a, r])
            elif op == _ATAN:
                for r in range(n):
                    registers[to, r] = math.atan(registers[a, r])
            elif op == _SINH:
                for r in range(n):
                    registers[to, r] = math.sinh(registers[a, r])
            elif op == _COSH:
                for r in range(n):
                    registers[to, r] = math.cosh(registers[a, r])
            elif op == _TANH:
                for r in range(n):
                    registers[to, r] = math.tanh(registers[a, r])
            elif op == _FLOOR:
                for r in range(n):
                    registers[to, r] = np.floor(registers[a, r])
            elif op == _CEIL:
                for r in range(n):
                    registers[to, r] = np.ceil(registers[a, r])
            elif op == _TRUNC:
                for r in range(n):
                    registers[to, r] = np.trunc(registers[a, r])
            elif op == _SIGN:
                for r in range(n):
                    registers[to, r] = np.sign(registers[a, r])
            elif op == _WHERE:
                for r in range(n):
                    registers[to, r] = registers[b, r] if registers[a, r] != 0.0 else registers[c, r]
        for k in range(len(outputs)):
            a = outputs[k]
            if upright:
                for r in range(n):
                    out[columns[k], start + r] = registers[a, r]
            else:
                for r in range(n):
                    out[start + r, columns[k]] = registers[a, r]
