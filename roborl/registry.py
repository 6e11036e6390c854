"""Classes by name, of which a module is imported when its class is asked for: listing the names costs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from roborl.errors import UnknownName


def named_class(kind: str, name: str, places: Mapping[str, str]) -> Any:
    """Return a class by name.

    Args:
        kind: what is named, as "learner".
        name: one of ``places``.
        places: name to "module:Class".

    Raises:
        UnknownName: there is no such name.
    """
    if name not in places:
        raise UnknownName(kind, name, places)
    module, _, attribute = places[name].partition(":")
    return getattr(import_module(module), attribute)
