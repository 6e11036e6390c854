"""Swing a pendulum up with a motor too weak to lift it, and hold it there."""

from __future__ import annotations

import math

from roborl.task import Action, Draw, Fields, Residual, Task, Term, cos_sin, joint_pos, joint_vel
from roborl.task.fields import Array

MAX_TORQUE = 2.0  # [N m]
MAX_SPEED = 8.0  # [rad/s]
INERTIA = 1.0 / 3.0  # of the rod about the hinge [kg m^2]
GRAVITY_TORQUE = 5.0  # at the horizontal: 1 kg, 10 m/s^2, half a metre [N m]


class PendulumSwingup(Task):
    """Gymnasium's Pendulum-v1 on MuJoCo: the same dynamics, initial states, limits and reward.

    Pendulum-v1 clips the speed to 8 rad/s within its integrator. Here the motor does it: beyond its 2 N m it gives
    whatever torque keeps the speed after the step within the limit, which is the same step to rounding.
    """

    robot, control_dt, episode_length_s = "pendulum", 0.05, 10.0
    action = Action(low=(-MAX_TORQUE,), high=(MAX_TORQUE,), unit="N m")
    observations = {
        "policy": [
            Term("angle", cos_sin(joint_pos("hinge"))),
            Term("speed", joint_vel("hinge"), unit="rad/s"),
        ]
    }
    camera = "fixed"

    def reset(self, draw: Draw, f: Fields) -> dict[str, Array]:
        """Anywhere on the circle, at a speed of up to 1 rad/s."""
        return {
            "qpos": draw.uniform("angle", -math.pi, math.pi),
            "qvel": draw.uniform("speed", -1.0, 1.0),
        }

    def control(self, f: Fields, action: Array) -> Array:
        """Return the torque, governed so that the speed stays within its limit."""
        torque = f.xp.clip(action, -MAX_TORQUE, MAX_TORQUE)
        gravity = GRAVITY_TORQUE * f.xp.sin(f.qpos)
        speed_after = f.qvel + (torque + gravity) / INERTIA * self.control_dt
        excess = speed_after - f.xp.clip(speed_after, -MAX_SPEED, MAX_SPEED)
        return torque - excess * INERTIA / self.control_dt

    def reward_terms(self, before: Fields, action: Array, after: Fields) -> dict[str, Array]:
        """Costs of the state in which the torque was chosen, as Pendulum-v1 has them."""
        torque = before.xp.clip(action[:, 0], -MAX_TORQUE, MAX_TORQUE)
        return {
            "angle": -(wrap(before.qpos[:, 0]) ** 2),
            "speed": -0.1 * before.qvel[:, 0] ** 2,
            "torque": -0.001 * torque**2,
        }

    def stage_residuals(self, after: Fields, action: Array) -> dict[str, Residual]:
        """Upright, slow, with little torque; the distance to upright is smooth all round the circle."""
        xp = after.xp
        upright = xp.concat((xp.cos(after.qpos) - 1.0, xp.sin(after.qpos)), axis=1)
        return {
            "upright": Residual(upright, 2.0),
            "speed": Residual(after.qvel, 0.2),
            "torque": Residual(action, 0.002),
        }

    def terminal_residuals(self, after: Fields) -> dict[str, Residual]:
        """The same distance, ten times as dear."""
        xp = after.xp
        upright = xp.concat((xp.cos(after.qpos) - 1.0, xp.sin(after.qpos)), axis=1)
        return {"upright": Residual(upright, 20.0), "speed": Residual(after.qvel, 2.0)}


def wrap(angle: Array) -> Array:
    """Return the angle in [-pi, pi)."""
    return (angle + math.pi) % (2.0 * math.pi) - math.pi
