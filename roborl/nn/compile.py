"""Compile a pure function of trees of tensors whole, where the machine can."""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import sysconfig
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any, ParamSpec, TypeVar

import torch
from torch._higher_order_ops.while_loop import while_loop

from roborl.nn.tree import Tree, flatten, unflatten

P = ParamSpec("P")
R = TypeVar("R")


def compile_pure(function: Callable[P, R], enabled: bool = True, device: torch.device | str = "cpu") -> Callable[P, R]:
    """Return a function that does the same, compiled as one graph at its first call.

    Shapes are taken as static: a call with other shapes compiles once more, and what a shape's code is does
    not depend on the shapes seen before, so that a resumed run computes the same bits.

    Args:
        function: pure, of trees of tensors whose structure is the same in all calls; what else it reads (a
            configuration, ``self``) never changes. Gradients come from torch.func, not from autograd's tape.
        enabled: False returns the function as it is (under no_grad).
        device: where the tensors live. On the CPU the calls between the kernels are compiled too
            (cpp_wrapper), which for small networks is a fifth of the time.

    Returns:
        The same function, run without autograd's tape. Where the machine lacks what compiling needs, the
        uncompiled one, with a warning that says what is missing.
    """
    problem = compiler_problem() if enabled else None
    if problem is not None:
        _warn_once(f"{problem}: running uncompiled, which is slower")
    run = function
    if enabled and problem is None:
        from roborl.nn.onednn import OneDnnProducts, mkl_is_slow  # loads the compiler, which takes a second

        options = {"cpp_wrapper": torch.device(device).type == "cpu", "guard_filter_fn": _tensors_only}
        if mkl_is_slow():
            options["post_grad_custom_post_pass"] = OneDnnProducts()
        run = torch.compile(_own_code(function), fullgraph=True, dynamic=False, options=options)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.no_grad():
            return run(*args, **kwargs)

    return call


class Compiler:
    """Compiles a learner's pure functions, each when it is first asked for; see `compile_pure`.

    Args:
        enabled: False leaves them as they are.
        device: where the tensors live.
    """

    def __init__(self, enabled: bool = True, device: torch.device | str = "cpu") -> None:
        self._enabled, self._device = enabled, device
        self._done: dict[Callable[..., Any], Callable[..., Any]] = {}

    def pure(self, function: Callable[P, R]) -> Callable[P, R]:
        """Return the function, compiled."""
        if function not in self._done:
            self._done[function] = compile_pure(function, self._enabled, self._device)
        return self._done[function]


def fold(step: Callable[[Tree, torch.Tensor], Tree], state: Tree, xs: torch.Tensor) -> Tree:
    """Return ``step(... step(step(state, xs[0]), xs[1]) ..., xs[-1])``.

    In a compiled function it is compiled as a loop: what a call costs is paid once, not at each step, and of many steps
    of small networks that is half the time.

    Args:
        step: pure, from a state and one of ``xs`` to the next state.
        state: a tree of tensors that share no memory.
        xs: (K, ...).
    """
    if not torch.compiler.is_compiling():
        for x in xs:
            state = step(state, x)
        return state
    names, count = list(flatten(state)), len(xs)

    def going_on(i: torch.Tensor, *leaves: torch.Tensor) -> torch.Tensor:
        return i < count

    def body(i: torch.Tensor, *leaves: torch.Tensor) -> tuple[torch.Tensor, ...]:
        before = unflatten(state, dict(zip(names, leaves, strict=True)))
        after = flatten(step(before, xs.index_select(0, i.reshape(1)).squeeze(0))).values()
        # A loop's outputs may not be its inputs: what a step hands on as it is is copied.
        return i + 1, *(new.clone() if new is old else new for new, old in zip(after, leaves, strict=True))

    start = torch.zeros((), dtype=torch.int64, device=xs.device)
    _, *leaves = while_loop(going_on, body, (start, *flatten(state).values()))
    return unflatten(state, dict(zip(names, leaves, strict=True)))


@functools.cache
def compiler_problem() -> str | None:
    """Return what this machine lacks for compiling ("no C++ compiler ..."), or None."""
    compiler = os.environ.get("CXX", "g++")  # as torch looks for it
    if shutil.which(shlex.split(compiler)[0]) is None:
        return f"no C++ compiler ({compiler}) on the path"
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    if not headers.is_file():
        return f"no Python headers ({headers}; Debian's package is python3-dev)"
    return None


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)


def _tensors_only(guards: Sequence[Any]) -> list[bool]:
    """Choose which guards to keep: those on the tensors' shapes and dtypes.

    All others (on dict keys, classes, globals, configuration) cannot fail for a pure function of trees of one
    structure, and cost a sixth of the time of a small update.
    """
    return [guard.guard_type == "TENSOR_MATCH" for guard in guards]


def _own_code(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function behind a code object of its own.

    torch.compile caches by code object: without guards on ``self``, two learners that differ only in their
    configuration would share what was compiled for the first.
    """

    def entry(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs)

    return FunctionType(entry.__code__.replace(), globals(), "entry", None, entry.__closure__)
