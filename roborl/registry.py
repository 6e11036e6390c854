"""Classes by name, of which a module is imported when its class is asked for: listing the names costs nothing.

Beside those that are listed there are those of the user's own, in files: FILE.py:Class.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from roborl.errors import UnknownName, UsageError

T = TypeVar("T")


def short_name(task: str) -> str:
    """Return a task's id without the prefix and version that all of roborl's have: "roborl/Hopper-v1" -> "Hopper"."""
    return task.removeprefix("roborl/").removesuffix("-v1")


def named_class(kind: str, name: str, places: Mapping[str, str]) -> Any:
    """Return a class by name.

    Args:
        kind: what is named, as "learner".
        name: one of ``places``.
        places: name to "module:Class".

    Raises:
        UnknownName: there is no such name.
        UsageError: it is a file's, without the class in it.
    """
    if name.endswith(".py"):
        raise UsageError(f"name the class of the {kind}, too: {name}:CLASS")
    if name not in places:
        raise UnknownName(kind, name, places)
    module, _, attribute = places[name].partition(":")
    return getattr(import_module(module), attribute)


def class_from_file(kind: str, name: str, base: type[T]) -> type[T]:
    """Return a class of a file of the user's own.

    Args:
        kind: what is named, as "task".
        name: FILE.py:Class.
        base: what the class must derive from.

    Raises:
        UsageError: if there is no such file, or it cannot be loaded.
        UnknownName: if the file has no such class of that kind.
    """
    file, _, class_name = name.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise UsageError(f"there is no file {file!r} to load the {kind} {class_name!r} from")
    module_name = f"roborl_user_{kind}_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up here
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"{file} cannot be loaded: {type(error).__name__}: {error}") from error
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, base)):
        candidates = [
            key
            for key, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, base) and value.__module__ == module_name
        ]
        raise UnknownName(f"{kind} in {file}", class_name, candidates)
    return found
