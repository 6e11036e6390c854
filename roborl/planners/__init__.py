"""The planners by name; a module is imported when its planner is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roborl.registry import class_from_file, named_class

if TYPE_CHECKING:
    from roborl.planners.contract import Planner

PLANNERS: dict[str, str] = {
    "cem": "roborl.planners.cem:CEM",
    "gradient_shooting": "roborl.planners.gradient_shooting:GradientShooting",
    "icem": "roborl.planners.icem:ICEM",
    "ilqr": "roborl.planners.ilqr:ILQR",
    "lqr": "roborl.planners.lqr:LQR",
    "mppi": "roborl.planners.mppi:MPPI",
    "pi2": "roborl.planners.pi2:PI2",
    "predictive_sampling": "roborl.planners.predictive_sampling:PredictiveSampling",
}


def planner_class(name: str) -> type[Planner]:
    """Return a planner's class.

    Args:
        name: one of PLANNERS, or FILE.py:Class of the user's own.

    Raises:
        UnknownName: there is no such planner.
        UsageError: the file or the class in it cannot be loaded.
    """
    if ".py:" in name:
        from roborl.planners.contract import Planner

        return class_from_file("planner", name, Planner)
    return named_class("planner", name, PLANNERS)
