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

from roborl.nn.tree import Tree, overwrite, scalars

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

    def in_place(self, function: Callable[..., tuple[Tree, R]], state: Tree) -> Callable[..., R]:
        """Return a function of the arguments after the state, which it overwrites with what the function makes of it.

        In a sequence of small steps it takes time to hand over a state's many tensors each time.

        Args:
            function: pure, ``(state, *arguments) -> (state, result)``.
            state: a tree of tensors.
        """
        if function not in self._done:

            def overwriting(state: Tree, *arguments: Any) -> tuple[list[torch.Tensor], R]:
                changed, result = function(state, *arguments)
                return overwrite(state, changed), result

            self._done[function] = compile_pure(overwriting, self._enabled, self._device)
        run, into = self._done[function], scalars(state)

        def step(*arguments: Any) -> R:
            changed, result = run(state, *arguments)
            for scalar, new in zip(into, changed, strict=True):
                scalar.copy_(new)
            return result

        return step


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
