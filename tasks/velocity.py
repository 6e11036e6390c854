"""Follow a velocity command on legs: what the tasks of all walking robots share.

The observation, the reward's terms and the way of falling are here; a robot's file has its feet, its pose and its
table of weights.
"""

from __future__ import annotations

import functools
import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np

from roborl.task import (
    Draw,
    Fields,
    GaitClock,
    Randomization,
    Residual,
    Task,
    Term,
    VelocityCommand,
    beyond,
    computed,
    cos_sin,
    derived,
    gravity_in_base,
    joint_pos,
    joint_vel,
    last_action,
    minus,
    moving,
    projected_gravity,
    remembered,
    rotate_into,
    sensor,
    slip,
    tracking,
)
from roborl.task.fields import Array
from roborl.task.sources import LAST_ACTION

TILT_LIMIT = math.cos(math.radians(70.0))
"""A base that leans by more than 70 degrees has fallen."""

CONTACT_N = 1.0
"""A foot touches the ground where it presses with more than this [N]."""


LIFT_M = 0.01
"""A foot is down until its sole is higher than this [m]: what hops lower has not been lifted."""


def uniform_noise(half_width: float) -> float:
    """Return the standard deviation of noise uniform within ``half_width``, as the field states its noise."""
    return half_width / math.sqrt(3.0)


class Leg(NamedTuple):
    """A joint of a walking robot.

    Attributes:
        name: the joint's name.
        default: its angle in the default pose [rad].
        low: its lower limit [rad].
        high: its upper limit [rad].
        walk_width: how far from the default pose costs a walking robot most of the reward of its pose [rad].
        stand_width: the same for a robot that shall stand still [rad].
    """

    name: str
    default: float
    low: float
    high: float
    walk_width: float
    stand_width: float


@functools.cache
def _columns(joints: tuple[Leg, ...]) -> tuple[np.ndarray, ...]:
    """Return the default pose, soft limits (nine tenths of the range) and the pose's widths, (joints,) each [rad]."""
    default, low, high, walk, stand = (np.array(column) for column in list(zip(*joints, strict=True))[1:])
    margin = 0.05 * (high - low)
    return default, low + margin, high - margin, walk, stand


@dataclass(frozen=True)
class Velocity(Task):
    """Walk as a command says, which changes within the episode; a tenth of the commands are to stand still.

    The reward's terms are multiplied by the weights of the table and by the control period: weights are per second. The
    term only_positive makes up for a sum below 0.
    """

    command_most: tuple[float, float, float] = (1.0, 0.5, 1.0)
    """The greatest command: forward [m/s], to the left [m/s], turning [rad/s]."""

    command_period_s: tuple[float, float] = (5.0, 10.0)
    """The time between changes of command, uniform between the two."""

    standing_share: float = 0.1
    """The share of commands that are to stand still."""

    randomization: Randomization = field(
        default=Randomization(
            mass=(0.9, 1.1),
            com=0.01,
            friction=(0.5, 1.25),
            motor_strength=(0.9, 1.1),
            gains=(0.9, 1.1),
            action_delay=(0, 1),
            push_speed=(0.0, 0.5),
        ),
        kw_only=True,
    )
    """What differs between robots: as much as from one robot to the next, and a push now and then."""

    control_dt = 0.02
    episode_length_s = 20.0
    derived = "current"  # a gyro that lags is a delay that nobody asked for
    reads = ("sensordata", "actuator_force")
    camera = "track"

    joints: ClassVar[tuple[Leg, ...]]
    """The actuated joints, in the order of the model's."""

    feet: ClassVar[tuple[str, ...]]
    """The feet's names. The model's sensors are the gyro, NAME_touch, NAME_pos and NAME_vel of all feet, in this order,
    and last the base's velocity and the world's upward direction, both in the base's frame."""

    clock: ClassVar[GaitClock]
    """The rhythm of the feet."""

    sole_m: ClassVar[float]
    """How far the foot's site is over the ground in the default pose [m]."""

    stand_m: ClassVar[float]
    """The base's height over the ground in the default pose [m]."""

    lowest_m: ClassVar[float]
    """A base lower than this has fallen [m]."""

    swing_width_m: ClassVar[float]
    """The feet's distance from the heights that the clock asks for, at which the reward of the swing is 1/e [m]."""

    weights: ClassVar[Mapping[str, float]]
    """The weight of each term of the reward, per second."""

    def __post_init__(self) -> None:
        self.command  # noqa: B018  its options are checked where it is made

    @functools.cached_property
    def command(self) -> VelocityCommand:
        """The command that the robot follows."""
        return VelocityCommand(self.command_most, self.command_period_s, self.standing_share, self.control_dt)

    @property
    def observations(self) -> dict[str, list[Term]]:
        """What the robot's own sensors tell, with their noise; a critic sees all without noise, and the feet."""
        policy = self._seen(noisy=True)
        feet = self.feet
        critic = [
            *self._seen(noisy=False),
            Term(
                "base_lin_vel",
                computed("base_lin_vel", self.base_lin_vel, ("vx", "vy", "vz")),
                unit="m/s",
                frame="base",
            ),
            Term("base_height", derived("base_height"), unit="m"),
            Term("foot_height", derived("foot_height", len(feet)), unit="m"),
            Term("foot_force", computed("foot_force", self.foot_force, feet), unit="N"),
            Term("foot_contact", computed("foot_contact", self._contact_as_number, feet)),
        ]
        return {"policy": policy, "critic": critic}

    def _seen(self, noisy: bool) -> list[Term]:
        names = tuple(leg.name for leg in self.joints)
        default = tuple(leg.default for leg in self.joints)

        def noise(half_width: float) -> float:
            return uniform_noise(half_width) if noisy else 0.0

        # noise: legged_gym (Rudin et al. 2021) and MuJoCo Playground
        return [
            Term("command", remembered("command", 3), unit="m/s, m/s, rad/s", frame="base"),
            Term("gait_clock", cos_sin(remembered("phase"))),
            Term("gyro", sensor("imu_gyro"), unit="rad/s", frame="imu", noise=noise(0.2)),
            Term("projected_gravity", projected_gravity(up="base_up"), frame="base", noise=noise(0.05)),
            Term("joint_pos", minus(joint_pos(*names), default), unit="rad", noise=noise(0.01)),
            Term("joint_vel", joint_vel(*names), unit="rad/s", noise=noise(1.5)),
            Term("last_action", last_action(len(names))),
        ]

    def foot_force(self, f: Fields) -> Array:
        """Return what presses on each sole along its normal, in the last time step, (N, feet) [N]."""
        return f.sensordata[:, 3 : 3 + len(self.feet)]

    def foot_contact(self, f: Fields) -> Array:
        """Return whether each foot touches the ground, (N, feet) bool."""
        return self.foot_force(f) > CONTACT_N

    def foot_down(self, f: Fields) -> Array:
        """Return whether each foot touches the ground or is not lifted, (N, feet) bool."""
        return self.foot_contact(f) | (f.foot_height < LIFT_M)

    def _contact_as_number(self, f: Fields) -> Array:
        return f.xp.astype(self.foot_contact(f), f.sensordata.dtype)

    def foot_speed(self, f: Fields) -> Array:
        """Return the horizontal speed of each foot, (N, feet) [m/s]."""
        n = len(self.feet)
        vx, vy = (f.sensordata[:, 3 + 4 * n + i : 3 + 7 * n : 3] for i in range(2))
        return f.xp.sqrt(vx * vx + vy * vy)

    @abstractmethod
    def ground(self, xp: Any, x: Array, y: Array) -> Array | float:
        """Return the height of the ground, of x's shape, or a number where it is level [m]."""

    def base_lin_vel(self, f: Fields) -> Array:
        """Return the base's velocity in its own frame, (N, 3) [m/s]: `rotate_into` without its arithmetic."""
        return f.sensordata[:, -6:-3]

    def up(self, f: Fields) -> Array:
        """Return the world's upward direction in the base's frame, (N, 3): (0, 0, 1) upright."""
        return f.sensordata[:, -3:]

    @property
    def derives(self) -> dict[str, int]:
        """What several terms of the reward and the observation are made of."""
        return {"base_height": 1, "foot_height": len(self.feet)}

    def derive(self, f: Fields) -> dict[str, Array]:
        """The base's height over the ground, and that of each sole [m]."""
        xp, n = f.xp, len(self.feet)
        feet = xp.reshape(f.sensordata[:, 3 + n : 3 + 4 * n], (-1, n, 3))
        places = xp.concat((feet, f.qpos[:, None, :3]), axis=1)
        height = places[:, :, 2] - self.ground(xp, places[:, :, 0], places[:, :, 1])
        return {"foot_height": height[:, :n] - self.sole_m, "base_height": height[:, n:]}

    def reset(self, draw: Draw, f: Fields) -> dict[str, Array]:
        """In the default pose at the world's origin, moving a little, with a first command."""
        return {"qpos": self.pose(f.xp, f), "qvel": self.push(draw, f), **self.orders(draw, f)}

    def orders(self, draw: Draw, f: Fields) -> dict[str, Array]:
        """Return a first command, and the clock at any time if it is to move."""
        command = self.command.start(f, draw)
        return command | self.clock.start(draw, moving(f.xp, command["command"]), f.xp)

    def pose(self, xp: Any, f: Fields) -> Array:
        """Return the default pose over the world's origin, (N, nq): the feet touch level ground."""
        row = [0.0, 0.0, self.stand_m, 1.0, 0.0, 0.0, 0.0, *(leg.default for leg in self.joints)]
        return xp.zeros_like(f.qpos) + xp.asarray(row, dtype=f.qpos.dtype)

    def push(self, draw: Draw, f: Fields) -> Array:
        """Return small velocities of the base, (N, nv)."""
        base = draw.uniform("push", -0.3, 0.3, size=6)
        return f.xp.concat((base, f.xp.zeros_like(f.qvel[:, 6:])), axis=1)

    def advance(self, f: Fields, action: Array, draw: Draw) -> dict[str, Array]:
        """The command, when it is due, and the clock."""
        command = self.command.advance(f, draw)
        moves = moving(f.xp, command.get("command", f.memory["command"]))
        return command | self.clock.advance(f.memory["phase"], moves, f.xp)

    def reward_terms(self, before: Fields, action: Array, after: Fields) -> dict[str, Array]:
        """The terms of the table, for the command that the action was chosen for."""
        xp = after.xp
        command = before.memory["command"]
        moves = moving(xp, command)
        velocity, turning, lean = self.base_lin_vel(after), after.qvel[:, 3:6], self.up(after)[:, :2]
        angles, speeds = after.qpos[:, 7:], after.qvel[:, 6:]
        default, low, high, walk, stand = (xp.asarray(row, dtype=angles.dtype) for row in _columns(self.joints))
        width = xp.where(moves[:, None], walk, stand)
        deviation = (angles - default) / width
        acceleration = (speeds - before.qvel[:, 6:]) / self.control_dt
        torque = after.actuator_force
        change = action - before.memory[LAST_ACTION]
        heights, stands = self.clock.targets(after.memory["phase"], xp)
        in_time = xp.astype(self.foot_down(after) == stands, angles.dtype)
        values = {
            "track_lin_vel": tracking(xp, command[:, :2] - velocity[:, :2], 0.5),
            "track_ang_vel": tracking(xp, command[:, 2:] - turning[:, 2:], 0.5),
            "upright": tracking(xp, lean, math.sqrt(0.2)),
            "pose": xp.exp(xp.vecdot(deviation, deviation) / -len(self.joints)),
            "gait": xp.vecdot(in_time, in_time) / len(self.feet),
            "swing": tracking(xp, after.foot_height - heights, self.swing_width_m),
            "foot_slip": slip(xp, self.foot_contact(after), self.foot_speed(after)),
            "lin_vel_z": velocity[:, 2] * velocity[:, 2],
            "ang_vel_xy": xp.vecdot(turning[:, :2], turning[:, :2]),
            "torques": xp.vecdot(torque, torque),
            "dof_acc": xp.vecdot(acceleration, acceleration),
            "action_rate": xp.vecdot(change, change),
            "dof_limits": beyond(xp, angles, low, high),
        }
        terms = {name: (self.control_dt * weight) * values[name] for name, weight in self.weights.items()}
        # as in legged_gym and Playground: else a robot that cannot walk yet would learn to fall at once
        first, *others = terms.values()
        terms["only_positive"] = xp.maximum(-sum(others, start=first), 0.0)
        return terms

    def terminated(self, after: Fields) -> Array:
        """It has fallen: the base leans too far, or is too low."""
        return (self.up(after)[:, 2] < TILT_LIMIT) | (after.base_height[:, 0] < self.lowest_m)

    def stage_residuals(self, after: Fields, action: Array) -> dict[str, Residual]:
        """Move as the command says, upright, near the default pose, with small actions."""
        xp, quaternion = after.xp, after.qpos[:, 3:7]
        command = after.memory["command"]
        default = xp.asarray(_columns(self.joints)[0], dtype=after.qpos.dtype)
        velocity = rotate_into(xp, quaternion, after.qvel[:, :3])
        return {
            "velocity": Residual(velocity[:, :2] - command[:, :2], 4.0),
            "turning": Residual(after.qvel[:, 5:6] - command[:, 2:], 2.0),
            "bouncing": Residual(velocity[:, 2:], 1.0),
            "upright": Residual(gravity_in_base(xp, quaternion)[:, :2], 10.0),
            "pose": Residual(after.qpos[:, 7:] - default, 1.0),
            "action": Residual(action, 0.1),
        }
