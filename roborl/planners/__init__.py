"""The planners by name; a module is imported when its planner is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from roborl.errors import UnknownName

if TYPE_CHECKING:
    from roborl.planners.contract import Planner

PLANNERS: dict[str, str] = {
    "mppi": "roborl.planners.mppi:MPPI",
}


def planner_class(name: str) -> type[Planner]:
    """Return a planner's class.

    Args:
        name: one of PLANNERS.

    Raises:
        UnknownName: there is no such planner.
    """
    if name not in PLANNERS:
        raise UnknownName("planner", name, PLANNERS)
    module, attribute = PLANNERS[name].split(":")
    return getattr(import_module(module), attribute)
