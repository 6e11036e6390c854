"""Bring the tip of a two-joint arm to a target: Gymnasium's Reacher-v5, from its model file."""

from __future__ import annotations

import math
from dataclasses import dataclass

from roborl.task import Draw, Fields, Residual, Task, Term, body_offset, cos_sin, joint_pos, joint_vel
from roborl.task.fields import Array

FINGERTIP, TARGET = 3, 4
"""Numbers of the bodies in the model."""

ARM_1, ARM_2 = 0.1, 0.11
"""Lengths of the arm's parts [m], from its model file."""


@dataclass(frozen=True)
class Reacher(Task):
    """Gymnasium's Reacher-v5: the distance from the tip to the target, and the squared action, as costs."""

    reward_dist_weight: float = 1.0
    """Cost of 1 m of distance."""

    reward_control_weight: float = 1.0
    """Cost of the squared action."""

    robot = "gymnasium/reacher"
    control_dt = 0.02
    episode_length_s = 1.0
    observations = {
        "policy": [
            Term("angles", cos_sin(joint_pos("joint0", "joint1"))),
            Term("target", joint_pos("target_x", "target_y"), unit="m", frame="world"),
            Term("speeds", joint_vel("joint0", "joint1"), unit="rad/s"),
            Term("tip_from_target", body_offset("fingertip", "target", axes="xy"), unit="m", frame="world"),
        ]
    }
    reads = ("xpos",)
    camera = {"distance": 0.8, "elevation": -60.0}

    def reset(self, draw: Draw, f: Fields) -> dict[str, Array]:
        """The arm nearly stretched, the target uniform in a disc of 0.2 m."""
        radius = 0.2 * f.xp.sqrt(draw.uniform("target_radius", 0.0, 1.0))
        angle = draw.uniform("target_angle", 0.0, 2.0 * math.pi)
        arm = f.qpos[:, :2] + draw.uniform("qpos", -0.1, 0.1, size=2)
        speeds = draw.uniform("qvel", -0.005, 0.005, size=2)
        return {
            "qpos": f.xp.concat((arm, radius * f.xp.cos(angle), radius * f.xp.sin(angle)), axis=1),
            "qvel": f.xp.concat((speeds, f.xp.zeros_like(speeds)), axis=1),
        }

    def reward_terms(self, before: Fields, action: Array, after: Fields) -> dict[str, Array]:
        """The distance to the target, and the cost of the action."""
        xp, offset = after.xp, after.xpos[:, FINGERTIP] - after.xpos[:, TARGET]
        return {
            "distance": -self.reward_dist_weight * xp.sqrt(xp.sum(offset * offset, axis=1)),
            "control": -self.reward_control_weight * xp.sum(action * action, axis=1),
        }

    def stage_residuals(self, after: Fields, action: Array) -> dict[str, Residual]:
        """The tip at the target, at rest, with little control; the tip's place from the angles."""
        xp, first, both = after.xp, after.qpos[:, 0:1], after.qpos[:, 0:1] + after.qpos[:, 1:2]
        x = ARM_1 * xp.cos(first) + ARM_2 * xp.cos(both)
        y = ARM_1 * xp.sin(first) + ARM_2 * xp.sin(both)
        return {
            "distance": Residual(xp.concat((x, y), axis=1) - after.qpos[:, 2:4], 100.0),
            "speeds": Residual(after.qvel[:, :2], 1e-3),
            "control": Residual(action, 1.0),
        }
