"""The arms' numbers that tasks compute with, beside their MJCFs: names, limits, poses, and kinematics on arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from roborl.errors import UnknownName

FINGERS = ("left_finger", "right_finger")
"""The joints of both grippers [m], each half of the width between the fingers."""


@dataclass(frozen=True)
class Arm:
    """An arm with its gripper; the sources of all numbers stand in its MJCF."""

    name: str
    """The model's name."""

    joints: tuple[str, ...]
    """The names of its joints, and of their actuators."""

    low: tuple[float, ...]
    """Least joint positions [rad]."""

    high: tuple[float, ...]
    """Greatest joint positions [rad]."""

    velocity: tuple[float, ...]
    """Greatest joint speeds [rad/s]."""

    torque: tuple[float, ...]
    """Greatest joint torques [N m], with what holds the arm against gravity."""

    gripper_width: float
    """The greatest width between the fingers [m]."""

    gripper_speed: float
    """The greatest speed of that width [m/s]."""

    ready: tuple[float, ...]
    """A pose [rad] with the tool pointing down, 0.2 m above the table and 0.5 m before the base: ours."""

    heading: float
    """The base's angle about z [rad]: 0 or pi."""

    links: tuple[tuple[tuple[float, float, float], int], ...]
    """For each joint, where its frame is in the one before [m], and the quarter turns about x between the two."""

    tool: float
    """Where the tool is along the last joint's axis [m]."""


PANDA = Arm(
    name="panda",
    joints=("joint1", "joint2", "joint3", "joint4", "joint5", "joint6", "joint7"),
    low=(-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973),
    high=(2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973),
    velocity=(2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61),
    torque=(87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0),
    gripper_width=0.08,
    gripper_speed=0.4,
    ready=(0.0, 0.0459, 0.0, -2.3763, 0.0, 2.4222, 0.7854),
    heading=0.0,
    links=(
        ((0.0, 0.0, 0.333), 0),
        ((0.0, 0.0, 0.0), -1),
        ((0.0, -0.316, 0.0), 1),
        ((0.0825, 0.0, 0.0), 1),
        ((-0.0825, 0.384, 0.0), -1),
        ((0.0, 0.0, 0.0), 1),
        ((0.088, 0.0, 0.0), 1),
    ),
    tool=0.107 + 0.1034,
)

UR5E = Arm(
    name="ur5e",
    joints=("shoulder_pan", "shoulder_lift", "elbow", "wrist_1", "wrist_2", "wrist_3"),
    low=(-2.0 * math.pi, -2.0 * math.pi, -math.pi, -2.0 * math.pi, -2.0 * math.pi, -2.0 * math.pi),
    high=(2.0 * math.pi, 2.0 * math.pi, math.pi, 2.0 * math.pi, 2.0 * math.pi, 2.0 * math.pi),
    velocity=(math.pi,) * 6,
    torque=(150.0, 150.0, 150.0, 28.0, 28.0, 28.0),
    gripper_width=0.05,
    gripper_speed=0.3,
    ready=(-0.2699, -1.5256, 1.9139, -1.959, -1.5708, 1.3009),
    heading=math.pi,
    links=(
        ((0.0, 0.0, 0.1625), 0),
        ((0.0, 0.0, 0.0), 1),
        ((-0.425, 0.0, 0.0), 0),
        ((-0.3922, 0.0, 0.1333), 0),
        ((0.0, -0.0997, 0.0), 1),
        ((0.0, 0.0996, 0.0), -1),
    ),
    tool=0.139,
)

ARMS = {arm.name: arm for arm in (PANDA, UR5E)}
"""Every arm by its name."""


def arm(name: str) -> Arm:
    """Return an arm by its name.

    Raises:
        UnknownName: if there is no such arm.
    """
    if name not in ARMS:
        raise UnknownName("arm", name, ARMS)
    return ARMS[name]


def tool_position(xp: Any, arm: Arm, q: Any) -> Any:
    """Return where the tool is in the base's frame, (N, 3) [m], as a smooth function of the joints.

    Elementwise, without a matrix product: the numbers do not depend on N.

    Args:
        xp: the array namespace.
        arm: the arm.
        q: (N, n) joint positions [rad].
    """
    zero, sign = xp.zeros_like(q[:, 0]), math.cos(arm.heading)
    columns = [[sign], [0.0], [0.0]], [[0.0], [sign], [0.0]], [[0.0], [0.0], [1.0]]
    axes = [zero + xp.asarray(column, dtype=q.dtype, device=q.device) for column in columns]  # (3, N), in the base's
    place = 0.0 * axes[0]
    for i, (offset, quarters) in enumerate(arm.links):
        for length, axis in zip(offset, axes, strict=True):
            if length != 0.0:
                place = place + length * axis
        x, y, z = axes
        if quarters:
            y, z = quarters * z, -quarters * y
        cos, sin = xp.cos(q[:, i]), xp.sin(q[:, i])
        axes = [cos * x + sin * y, cos * y - sin * x, z]
    return (place + arm.tool * axes[2]).T
