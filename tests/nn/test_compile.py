from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from roborl.nn import compile as under_test
from roborl.nn.compile import Compiler, compile_pure, compiler_problem, fold


class Scaled:
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def times(self, tree: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: self.factor * x for name, x in tree.items()}


@pytest.fixture
def fresh() -> Iterator[None]:
    for cached in (compiler_problem, under_test._warn_once):
        cached.cache_clear()
    yield
    for cached in (compiler_problem, under_test._warn_once):
        cached.cache_clear()


@pytest.mark.skipif(compiler_problem() is not None, reason="needs a C++ compiler")
def test_two_objects_of_one_class_do_not_share_what_was_compiled_and_another_shape_is_compiled_anew() -> None:
    doubled, tripled = compile_pure(Scaled(2.0).times), compile_pure(Scaled(3.0).times)
    for n in (1, 2):
        assert torch.equal(doubled({"x": torch.ones(n)})["x"], torch.full((n,), 2.0))
        assert torch.equal(tripled({"x": torch.ones(n)})["x"], torch.full((n,), 3.0))


def test_without_a_compiler_it_warns_once_and_runs_uncompiled(
    fresh: None, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    for _ in range(2):
        assert compile_pure(Scaled(2.0).times)({"x": torch.ones(1)})["x"] == 2
    assert [str(w.message) for w in recwarn] == [
        "no C++ compiler (no-such-compiler) on the path: running uncompiled, which is slower"
    ]


def test_missing_python_headers_are_named(fresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "true")
    monkeypatch.setattr(under_test.sysconfig, "get_path", lambda name: str(tmp_path))
    assert "no Python headers" in (compiler_problem() or "")


def test_switched_off_it_neither_looks_for_a_compiler_nor_records_a_tape(
    fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    result = compile_pure(Scaled(2.0).times, enabled=False)({"x": torch.ones(1, requires_grad=True)})
    assert not result["x"].requires_grad


def summed(start: torch.Tensor, xs: torch.Tensor) -> dict[str, torch.Tensor]:
    def step(state: dict[str, torch.Tensor], x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"decayed": 0.5 * state["decayed"] + x, "count": state["count"] + 1, "kept": state["kept"]}

    return fold(step, {"decayed": start, "count": torch.zeros(()), "kept": torch.full((), 7.0)}, xs)


@pytest.mark.parametrize("enabled", [False, True])
def test_a_fold_takes_one_step_after_the_other(enabled: bool) -> None:
    # 4, then 4/2 + 1 = 3, 3/2 + 2 = 3.5, 3.5/2 + 3 = 4.75.
    if enabled and compiler_problem() is not None:
        pytest.skip("needs a C++ compiler")
    run = Compiler(enabled).pure(summed)
    result = run(torch.full((2,), 4.0), torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]))
    assert result["decayed"].tolist() == [4.75, 4.75] and result["count"] == 3
    assert result["kept"] == 7  # which every step handed on as it was


def test_a_function_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    monkeypatch.setattr(under_test, "compile_pure", lambda function, *_: made.append(function) or function)
    compiler, scaled = Compiler(enabled=False), Scaled(2.0)
    assert compiler.pure(scaled.times) is compiler.pure(scaled.times)
    assert len(made) == 1
