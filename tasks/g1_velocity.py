"""Walk with the Unitree G1, a biped of 33 kg, as a command says, on level ground."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from roborl.task import Action, GaitClock, VelocityCommand
from roborl.task.fields import Array
from roborl.tasks.velocity import Leg, Velocity


def _leg(side: str, roll: tuple[float, float]) -> tuple[Leg, ...]:
    return (
        Leg(f"{side}_hip_pitch_joint", -0.312, -2.5307, 2.8798, walk_width=0.4, stand_width=0.1),
        Leg(f"{side}_hip_roll_joint", 0.0, *roll, walk_width=0.15, stand_width=0.1),
        Leg(f"{side}_hip_yaw_joint", 0.0, -2.7576, 2.7576, walk_width=0.15, stand_width=0.1),
        Leg(f"{side}_knee_joint", 0.669, -0.087267, 2.8798, walk_width=0.5, stand_width=0.1),
        Leg(f"{side}_ankle_pitch_joint", -0.363, -0.87267, 0.5236, walk_width=0.3, stand_width=0.1),
        Leg(f"{side}_ankle_roll_joint", 0.0, -0.2618, 0.2618, walk_width=0.1, stand_width=0.1),
    )


JOINTS = (
    *_leg("left", (-0.5236, 2.9671)),
    *_leg("right", (-2.9671, 0.5236)),
    Leg("waist_yaw_joint", 0.0, -2.618, 2.618, walk_width=0.2, stand_width=0.1),
    Leg("waist_roll_joint", 0.0, -0.52, 0.52, walk_width=0.08, stand_width=0.08),
    Leg("waist_pitch_joint", 0.0, -0.52, 0.52, walk_width=0.1, stand_width=0.1),
)


@dataclass(frozen=True)
class G1VelocityFlat(Velocity):
    """Walk on two legs on level ground as a command says: up to 1 m/s forward, 0.4 m/s sideways, 0.8 rad/s turning.

    Actions are offsets of the joints' targets from the default pose, of half a radian each; servos follow them. The
    arms stand still.
    """

    command_most: tuple[float, float, float] = (1.0, 0.4, 0.8)
    """The greatest command: forward [m/s], to the left [m/s], turning [rad/s]."""

    robot = "g1"
    action = Action(
        names=tuple(leg.name for leg in JOINTS),
        low=(-1.0,) * len(JOINTS),
        high=(1.0,) * len(JOINTS),
        unit="0.5 rad",
        default=tuple(leg.default for leg in JOINTS),
        scale=0.5,
    )
    memory = {**VelocityCommand.memory, **GaitClock.memory}
    joints, feet = JOINTS, ("left", "right")
    sole_m, stand_m, lowest_m = 0.0055, 0.757, 0.45
    clock, swing_width_m = GaitClock((0.0, 0.5), frequency_hz=1.3, swing_m=0.1), 0.08
    weights = {
        # what is wanted
        "track_lin_vel": 2.0,
        "track_ang_vel": 1.0,
        # how to walk
        "upright": 1.0,
        "pose": 1.0,
        "gait": 2.0,
        "swing": 1.0,
        "foot_slip": -0.2,
        # what is not wanted
        "lin_vel_z": -0.5,
        "ang_vel_xy": -0.02,
        "torques": -1e-5,
        "dof_acc": -5e-8,
        "action_rate": -0.02,
        "dof_limits": -2.0,
    }

    def ground(self, xp: Any, x: Array, y: Array) -> float:
        """The floor is level."""
        return 0.0
