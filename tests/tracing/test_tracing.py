"""What is traced and run as a program gives the numbers of numpy, or is refused."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest

from roborl.tracing import NotTraceable, trace
from roborl.tracing.interpreter import BLOCK


def compiled(function, *sources: np.ndarray) -> dict[str, np.ndarray]:
    """Return what the program of ``function(xp, *rows)`` gives, in numpy's shapes."""
    program = trace(function, [source.shape[1] for source in sources])
    expected = function(np, *sources)
    widths = [int(np.prod(np.shape(value)[1:])) for value in expected.values()]
    out = np.full((len(sources[0]), sum(widths)), np.nan)
    program(sources, out, np.arange(sum(widths)))
    parts = np.split(out, np.cumsum(widths)[:-1], axis=1)
    return {name: part.reshape(np.shape(expected[name])) for name, part in zip(expected, parts, strict=True)}


def check(function, *sources: np.ndarray) -> None:
    expected, found = function(np, *sources), compiled(function, *sources)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-15, atol=1e-15, err_msg=name)


@pytest.fixture
def sources() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(150, 5)), rng.normal(size=(150, 5))


UNARY = (
    *("abs", "negative", "sign", "exp", "sin", "cos", "tan", "arctan", "atan", "sinh", "cosh", "tanh"),
    *("floor", "ceil", "trunc"),
)
BINARY = (
    *("add", "subtract", "multiply", "divide", "hypot", "arctan2", "atan2", "maximum", "minimum", "remainder"),
    *("less", "less_equal", "equal", "not_equal"),
)


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_array(name, sources):
    check(lambda xp, a, b: {"y": getattr(xp, name)(a)}, *sources)


@pytest.mark.parametrize("name", ["sqrt", "log", "arcsin", "asin", "arccos", "acos"])
def test_functions_of_numbers_between_0_and_1(name, sources):
    check(lambda xp, a, b: {"y": getattr(xp, name)(xp.abs(a) % 1.0)}, *sources)


@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_arrays(name, sources):
    for second in (lambda b: b, lambda b: 0.7):
        check(lambda xp, a, b, second=second: {"y": getattr(xp, name)(a, second(b))}, *sources)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv", "mod", "lt", "le", "gt", "ge", "eq", "ne"])
def test_operators_with_arrays_and_with_numbers_on_either_side(name, sources):
    apply, row = getattr(operator, name), np.array([1.0, -2.0, 0.5, 3.0, -0.25])
    for function in (
        lambda xp, a, b: {"y": apply(a, b)},
        lambda xp, a, b: {"y": apply(a, 0.7), "z": apply(0.7, a)},
        lambda xp, a, b: {"y": apply(a, row), "z": apply(row, a)},
    ):
        check(function, *sources)


def test_powers_and_signs(sources):
    check(lambda xp, a, b: {"x": a**2, "y": abs(a) ** 1.5, "z": 2.0**a, "w": -a, "v": abs(b)}, *sources)


def test_a_remainder_has_the_sign_of_what_it_is_divided_by():
    a = np.array([[5.5], [-5.5], [1e9], [-0.0], [2.0], [-1e-20], [3.999999]])
    for divisor in (2.0, -2.0):
        check(lambda xp, x, divisor=divisor: {"y": x % divisor}, a)


def test_truth_values(sources):
    def function(xp, a, b):
        up, near = a > b, xp.abs(a) < 0.5
        return {
            "and": up & near,
            "or": up | near,
            "not": ~up,
            "all": xp.all(a > -1.0, axis=1),
            "any": xp.any(near, axis=1),
            "any of numbers": xp.any(xp.floor(xp.abs(a[:, :1])), axis=1),
            "all of numbers": xp.all(xp.floor(xp.abs(a[:, :2])), axis=1, keepdims=True),
            "number": xp.astype(up, a.dtype),
            "times": a * near,
            "count": xp.sum(near, axis=1),
            "of number": xp.astype(xp.floor(a), bool),
            "logical": xp.logical_and(up, xp.logical_or(near, xp.logical_not(up))),
        }

    check(function, *sources)


def test_choices_bounds_and_nan():
    a = np.array([[np.nan, 1.0], [2.0, np.nan], [3.0, -np.inf], [np.inf, 0.0]])
    check(
        lambda xp, x: {
            "where": xp.where(x > 1.5, x, -1.0),
            "clip": xp.clip(x, -0.5, 2.5),
            "low": xp.clip(x, None, 2.0),
            "greater": xp.maximum(x[:, 0], x[:, 1]),
            "less": xp.minimum(x[:, 1], x[:, 0]),
            "unlike": x != x,
        },
        a,
    )


def test_reductions_keep_rows_apart(sources):
    def function(xp, a, b):
        return {
            "sum": xp.sum(a, axis=1),
            "kept": xp.sum(a, axis=1, keepdims=True),
            "last": xp.sum(xp.reshape(xp.concat((a, b[:, :1]), axis=1), (-1, 2, 3)), axis=-1),
            "middle": xp.sum(xp.reshape(xp.concat((a, b[:, :1]), axis=1), (-1, 2, 3)), axis=1, keepdims=True),
            "min": xp.min(a, axis=1),
            "max": xp.max(a, axis=1),
            "mean": xp.mean(a, axis=1),
            "both": xp.sum(xp.stack((a, b), axis=1), axis=(1, 2)),
            "both kept": xp.mean(xp.stack((a, b), axis=-1), axis=(-1, 1), keepdims=True),
            "vecdot": xp.vecdot(a, b),
        }

    expected, found = function(np, *sources), compiled(function, *sources)
    for name, value in expected.items():  # numpy adds in another order
        np.testing.assert_allclose(found[name], value, rtol=1e-13, atol=1e-13, err_msg=name)


def test_shapes_and_constants(sources):
    def function(xp, a, b):
        return {
            "slices": a[:, 1:4] * b[:, None, 0],
            "from the end": a[:, -2],
            "chosen": a[:, [3, 0]],
            "ellipsis": a[..., ::2],
            "stack": xp.stack((a[:, 0], b[:, 1], a[:, 2]), axis=1),
            "zeros": xp.zeros_like(a) + xp.ones_like(b[:, :1]),
            "full": xp.full_like(a, 3.0),
            "constant": xp.asarray([[1.0, -0.0]]) + xp.zeros_like(a[:, :2]),
            "broadcast": a * xp.asarray([1.0, 2.0, 3.0, 4.0, 5.0], dtype=a.dtype),
            "count": len(a) * 0.0 + a,
            "pi": xp.pi * a,
        }

    check(function, *sources)


def test_tables_are_read_at_whole_numbers(sources):
    table, other = np.arange(10.0) ** 2, np.arange(4.0)

    def function(xp, a, b):
        index = xp.astype(xp.clip(xp.floor(3.0 * xp.abs(a)), None, 7.0), xp.int64)
        few = xp.astype(xp.clip(xp.abs(b), None, 3.0), xp.int64)
        return {
            "one": xp.asarray(table)[index],
            "next": xp.asarray(table)[xp.where(a > 0, index + 1, index + 2)],
            "other": xp.asarray(other)[few],
            "from the end": xp.asarray(table)[-few - 1],
        }

    check(function, *sources)


def test_what_is_computed_twice_is_computed_once():
    once = trace(lambda xp, a: {"x": xp.sin(a[:, 0])}, [2])
    twice = trace(lambda xp, a: {"x": xp.sin(a[:, 0]), "y": xp.sin(a[:, 0] + 0.0 * 1) * 1.0, "z": xp.sin(a[:, 0])}, [2])
    assert once.operations == 2  # a column that nobody needs is not read
    assert twice.operations == 5


@pytest.mark.parametrize("n", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 3])
def test_a_row_does_not_depend_on_how_many_there_are(n):
    rng = np.random.default_rng(1)
    a = rng.normal(size=(5 * BLOCK + 3, 3))

    def function(xp, x):
        return {"y": xp.exp(-xp.vecdot(x, x)) * xp.sin(x[:, 1])}

    assert np.array_equal(compiled(function, a[:n].copy())["y"], compiled(function, a)["y"][:n])


def test_a_long_program_reuses_registers_and_still_keeps_what_is_needed():
    rng = np.random.default_rng(2)
    a = rng.uniform(-1.0, 1.0, (70, 6))
    choices = rng.integers(0, 4, 400), rng.random((400, 2))

    def function(xp, x):
        values = [x[:, i] for i in range(6)]
        for kind, picks in zip(*choices, strict=True):
            first, second = (values[int(p * len(values))] for p in picks)
            values.append(
                [lambda p, q: 0.5 * (p + q), lambda p, q: p * q, lambda p, q: xp.sin(p - q), xp.maximum][kind](
                    first, second
                )
            )
        return {f"{i}": value for i, value in enumerate(values[-60:])} | {"early": values[7]}

    program = trace(function, [6])
    assert len(program._registers) < 0.75 * program.operations
    check(function, a)


def test_an_output_may_be_written_over_what_it_is_made_of():
    rng = np.random.default_rng(3)
    memory = rng.normal(size=(130, 6))
    expected = np.concatenate((memory[:, 2:], memory[:, :1] + 1.0, memory[:, 5:]), axis=1)
    program = trace(lambda xp, m: {"m": xp.concat((m[:, 2:], m[:, :1] + 1.0, m[:, 5:]), axis=1)}, [6])
    program((memory,), memory, np.arange(6))
    assert np.array_equal(memory, expected)


def test_outputs_may_stand_upright_and_in_columns_of_ones_own():
    a = np.random.default_rng(4).normal(size=(100, 3))
    program = trace(lambda xp, x: {"y": x + 1.0}, [3])
    upright, wide = np.zeros((4, 100)), np.zeros((100, 5))
    program((a,), upright, np.array([3, 0, 2]), upright=True)
    program((a,), wide, np.array([4, 1, 0]))
    assert np.array_equal(upright[[3, 0, 2]].T, a + 1.0) and not upright[1].any()
    assert np.array_equal(wide[:, [4, 1, 0]], a + 1.0) and not wide[:, 2:4].any()


def looks(xp: Any, a: Any) -> Any:
    return {"y": a if a[0, 0] > 0 else -a}


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda xp, a: {"y": a if (a > 0).any() else -a}, "has no attribute 'any'"),
        (lambda xp, a: {"y": a if xp.all(a > 0, axis=1) else -a}, "a value is looked at"),
        (looks, "rows are chosen"),
        (lambda xp, a: {"y": np.sin(a)}, "TypeError"),
        (lambda xp, a: {"y": np.asarray(a)}, "numpy is called, in place of f.xp"),
        (lambda xp, a: {"y": xp.cumsum(a, axis=1)}, "cumsum is not traced"),
        (lambda xp, a: {"y": xp.sum(a)}, "rows are mixed"),
        (lambda xp, a: {"y": xp.sum(a, axis=0)}, "rows are mixed"),
        (lambda xp, a: {"y": xp.mean(a[:, 0], axis=-1)}, "rows are mixed"),
        (lambda xp, a: {"y": xp.concat((a, a))}, "rows are mixed"),
        (lambda xp, a: {"y": xp.reshape(a, (-1, 1))}, "rows are mixed"),
        (lambda xp, a: {"y": a[a > 0]}, "rows are chosen"),
        (lambda xp, a: {"y": a[:, xp.astype(a[:, 0], xp.int64)]}, "entries are chosen by values"),
        (lambda xp, a: {"y": xp.asarray([1.0, 2.0])[a[:, 0]]}, "no whole number"),
        (lambda xp, a: {"y": (a > 0) + (a > 1)}, "ADD of truth values"),
        (lambda xp, a: {"y": xp.astype(a, xp.int64) & 1}, "AND of bits"),
        (lambda xp, a: {"y": ~xp.astype(a, xp.int64)}, "NOT of bits"),
        (lambda xp, a: {"y": [row for row in a]}, "rows are taken one by one"),  # noqa: C416
        (lambda xp, a: {"y": "text"}, "no array of numbers"),
        (lambda xp, a: {"y": 1.0}, "an output has no row"),
        (lambda xp, a: {"y": a[:, 9]}, "IndexError"),
    ],
)
def test_what_cannot_be_traced_is_refused_with_a_reason(function, reason):
    with pytest.raises(NotTraceable, match=reason):
        trace(function, [3])
