"""The contract of a task: what is wanted of a robot, written once, as functions of arrays over N simulations.

Everything that a task's file needs is importable from here.
"""

from __future__ import annotations

from roborl.task.action import Action
from roborl.task.contract import Residual, Task
from roborl.task.draw import Draw
from roborl.task.fields import Fields
from roborl.task.floating import base_lin_vel, gravity_in_base, projected_gravity, rotate_into
from roborl.task.locomotion import (
    GaitClock,
    VelocityCommand,
    beyond,
    moving,
    slip,
    tracking,
)
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
    derived,
    joint_pos,
    joint_vel,
    last_action,
    minus,
    parameter,
    remembered,
    sensor,
    sin_cos,
)
from roborl.task.terms import Source, Term
from roborl.task.terrain import Terrain, tiled

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
    "Terrain",
    "VelocityCommand",
    "GaitClock",
    "actuator_force",
    "base_lin_vel",
    "beyond",
    "bodies",
    "body_offset",
    "body_pos",
    "clipped",
    "computed",
    "constraint_force",
    "cos_sin",
    "cumulative",
    "derived",
    "gravity_in_base",
    "joint_pos",
    "joint_vel",
    "last_action",
    "minus",
    "moving",
    "parameter",
    "projected_gravity",
    "remembered",
    "rotate_into",
    "sensor",
    "sin_cos",
    "slip",
    "tiled",
    "tolerance",
    "tracking",
]
