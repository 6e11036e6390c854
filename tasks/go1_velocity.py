"""Walk with the Unitree Go1, a quadruped of 13 kg, as a command says: on level and on rough ground."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roborl.task import Action, Draw, Fields, GaitClock, Terrain, VelocityCommand, tiled, tracking
from roborl.task.fields import Array
from roborl.tasks.velocity import Leg, Velocity

if TYPE_CHECKING:
    import mujoco

FEET = ("FR", "FL", "RR", "RL")
TROT = (0.0, 0.5, 0.5, 0.0)

JOINTS = tuple(
    leg
    for foot in FEET
    for leg in (
        Leg(f"{foot}_hip_joint", 0.0, -0.863, 0.863, walk_width=0.3, stand_width=0.1),
        Leg(f"{foot}_thigh_joint", 0.9, -0.686, 4.501, walk_width=0.5, stand_width=0.15),
        Leg(f"{foot}_calf_joint", -1.8, -2.818, -0.888, walk_width=0.8, stand_width=0.25),
    )
)

ACTION = Action(
    names=tuple(leg.name for leg in JOINTS),
    low=(-1.0,) * 12,
    high=(1.0,) * 12,
    unit="0.5 rad",
    default=tuple(leg.default for leg in JOINTS),
    scale=0.5,
)

WEIGHTS = {
    # what is wanted
    "track_lin_vel": 2.0,
    "track_ang_vel": 1.5,
    # how to walk
    "upright": 3.0,
    "pose": 1.0,
    "gait": 2.0,
    "swing": 1.0,
    "foot_slip": -0.1,
    # what is not wanted
    "lin_vel_z": -1.0,
    "ang_vel_xy": -0.02,
    "torques": -1e-4,
    "dof_acc": -5e-8,
    "action_rate": -0.05,
    "dof_limits": -2.0,
}
"""Reward per second; the sizes are those of legged_gym, MuJoCo Playground and Isaac Lab's Spot."""


@dataclass(frozen=True)
class Go1VelocityFlat(Velocity):
    """Trot on level ground as a command says: up to 1 m/s forward, 0.5 m/s sideways, 1 rad/s turning.

    Actions are offsets of the joints' targets from the default pose, of half a radian each; servos follow them.
    """

    robot = "go1"
    action = ACTION
    memory = {**VelocityCommand.memory, **GaitClock.memory}
    joints, feet = JOINTS, FEET
    clock, swing_width_m = GaitClock(TROT, frequency_hz=2.5, swing_m=0.08), 0.07
    sole_m, stand_m, lowest_m = 0.02, 0.2848059, 0.13
    weights = WEIGHTS

    def ground(self, xp: Any, x: Array, y: Array) -> float:
        """The floor is level."""
        return 0.0


@dataclass(frozen=True)
class Go1VelocityRough(Velocity):
    """The same on waves, rubble, slopes and stairs, in levels of difficulty: the robot feels the ground with its feet.

    A robot starts on the flat middle of a tile of its level, of any kind. It goes up a level when, on average over the
    episode, it earned 0.7 of the most that tracking the linear velocity can earn, and down below 0.4.
    """

    terrain_seed: int = 0
    """What the terrain is drawn from."""

    robot = "go1"
    action = ACTION
    levels, first_levels = 6, 3
    memory = {**VelocityCommand.memory, **GaitClock.memory, "origin": 3, "tracked": 1}
    joints, feet = JOINTS, FEET
    clock, swing_width_m = GaitClock(TROT, frequency_hz=2.5, swing_m=0.1), 0.09
    sole_m, stand_m, lowest_m = 0.02, 0.2848059, 0.13
    # on a slope the base moves up and down, and leans, as it should
    weights = {**WEIGHTS, "upright": 0.5, "lin_vel_z": -0.25}

    @property
    def terrain(self) -> Terrain:
        """The field on which all simulations walk."""
        return tiled(self.levels, seed=self.terrain_seed)

    def edit(self, spec: mujoco.MjSpec) -> None:
        """Replace the floor by the terrain."""
        self.terrain.replace_floor(spec)

    def ground(self, xp: Any, x: Array, y: Array) -> Array:
        """The height of the terrain."""
        return self.terrain.height(xp, x, y)

    def reset(self, draw: Draw, f: Fields) -> dict[str, Array]:
        """On the middle of a tile of the level, within 0.4 m of its centre and turned any way."""
        xp = f.xp
        origin = self.terrain.origin(xp, f.memory["level"], draw.integers("kind", 0, len(self.terrain.kinds) - 1))
        place = draw.uniform("place", -0.4, 0.4, size=2)
        half_turn = draw.uniform("heading", -0.5 * math.pi, 0.5 * math.pi)
        pose = self.pose(xp, f)
        zero = xp.zeros_like(half_turn)
        base = (origin[:, :2] + place, origin[:, 2:] + pose[:, 2:3], xp.cos(half_turn), zero, zero, xp.sin(half_turn))
        return {
            "qpos": xp.concat((*base, pose[:, 7:]), axis=1),
            "qvel": self.push(draw, f),
            "origin": origin,
            **self.orders(draw, f),
        }

    def advance(self, f: Fields, action: Array, draw: Draw) -> dict[str, Array]:
        """Also what was earned so far by tracking the linear velocity, as a share of the most in a whole episode."""
        earned = tracking(f.xp, f.memory["command"][:, :2] - self.base_lin_vel(f)[:, :2], 0.5)
        tracked = f.memory["tracked"] + earned[:, None] / self.episode_steps
        return {"tracked": tracked, **super().advance(f, action, draw)}

    def promotion(self, last: Fields) -> Array:
        """Return by how many levels a robot goes up at the end of an episode, (N,): 1, 0 or -1."""
        xp, tracked = last.xp, last.memory["tracked"][:, 0]
        one = xp.ones_like(tracked)
        return xp.where(tracked > 0.7, one, xp.where(tracked < 0.4, -one, xp.zeros_like(one)))
