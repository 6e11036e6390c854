"""The contract of a task: what is wanted of a robot, written once, as functions of arrays over N simulations.

Everything that a task's file needs is importable from here.
"""

from __future__ import annotations

from roborl.task.action import Action
from roborl.task.contract import Residual, Task
from roborl.task.draw import Draw
from roborl.task.fields import Fields
from roborl.task.parameters import BodyMass, GravityTilt, Parameter, Scale, Shift
from roborl.task.randomization import Randomization
from roborl.task.rewards import tolerance
from roborl.task.sources import (
    actuator_force,
    bodies,
    body_offset,
    body_pos,
    clipped,
    computed,
    constraint_force,
    cos_sin,
    cumulative,
    joint_pos,
    joint_vel,
    last_action,
    parameter,
    remembered,
    sensor,
    sin_cos,
)
from roborl.task.terms import Source, Term

__all__ = [
    "Action",
    "BodyMass",
    "Draw",
    "Fields",
    "GravityTilt",
    "Parameter",
    "Randomization",
    "Residual",
    "Scale",
    "Shift",
    "Source",
    "Task",
    "Term",
    "actuator_force",
    "bodies",
    "body_offset",
    "body_pos",
    "clipped",
    "computed",
    "constraint_force",
    "cos_sin",
    "cumulative",
    "joint_pos",
    "joint_vel",
    "last_action",
    "parameter",
    "remembered",
    "sensor",
    "sin_cos",
    "tolerance",
]
