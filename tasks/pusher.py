"""Push an object to a goal with a seven-joint arm: Gymnasium's Pusher-v5, from its model file."""

from __future__ import annotations

from dataclasses import dataclass

from roborl.task import Draw, Fields, Residual, Task, Term, body_pos, joint_pos, joint_vel
from roborl.task.fields import Array

ARM = (
    "r_shoulder_pan_joint",
    "r_shoulder_lift_joint",
    "r_upper_arm_roll_joint",
    "r_elbow_flex_joint",
    "r_forearm_roll_joint",
    "r_wrist_flex_joint",
    "r_wrist_roll_joint",
)
TIP, OBJECT, GOAL = 10, 11, 12
"""Numbers of the bodies in the model."""

TRIES = 32
"""Places drawn for the object, of which the first that is far enough from the goal is taken: none is, once in 10^13."""


@dataclass(frozen=True)
class Pusher(Task):
    """Gymnasium's Pusher-v5: the distances from tip to object and from object to goal, and the squared action."""

    reward_near_weight: float = 0.5
    """Cost of 1 m between tip and object."""

    reward_dist_weight: float = 1.0
    """Cost of 1 m between object and goal."""

    reward_control_weight: float = 0.1
    """Cost of the squared action."""

    robot = "gymnasium/pusher_v5"
    control_dt = 0.05
    episode_length_s = 5.0
    observations = {
        "policy": [
            Term("angles", joint_pos(*ARM), unit="rad"),
            Term("speeds", joint_vel(*ARM), unit="rad/s"),
            Term("tip", body_pos("tips_arm"), unit="m", frame="world"),
            Term("object", body_pos("object"), unit="m", frame="world"),
            Term("goal", body_pos("goal"), unit="m", frame="world"),
        ]
    }
    reads = ("xpos",)
    camera = {"distance": 4.0, "trackbodyid": -1}

    def reset(self, draw: Draw, f: Fields) -> dict[str, Array]:
        """The arm at its pose, the object uniform beside the goal and at least 0.17 m from it."""
        xp, n = f.xp, f.qpos.shape[0]
        x = draw.uniform("object_x", -0.3, 0.0, size=TRIES)
        y = draw.uniform("object_y", -0.2, 0.2, size=TRIES)
        chosen = xp.argmax(xp.astype(x * x + y * y > 0.17**2, x.dtype), axis=1)
        rows = xp.arange(n)
        place = xp.stack((x[rows, chosen], y[rows, chosen]), axis=1)
        speeds = draw.uniform("qvel", -0.005, 0.005, size=7)
        still = xp.zeros((n, 4), dtype=speeds.dtype)
        return {
            "qpos": xp.concat((f.qpos[:, :7], place, still[:, :2]), axis=1),
            "qvel": xp.concat((speeds, still), axis=1),
        }

    def reward_terms(self, before: Fields, action: Array, after: Fields) -> dict[str, Array]:
        """The two distances, and the cost of the action."""
        xp, place = after.xp, after.xpos[:, OBJECT]
        near, far = place - after.xpos[:, TIP], place - after.xpos[:, GOAL]
        return {
            "goal": -self.reward_dist_weight * xp.sqrt(xp.sum(far * far, axis=1)),
            "control": -self.reward_control_weight * xp.sum(action * action, axis=1),
            "near": -self.reward_near_weight * xp.sqrt(xp.sum(near * near, axis=1)),
        }

    def stage_residuals(self, after: Fields, action: Array) -> dict[str, Residual]:
        """The object at the goal, with little control; where the tip is, the joints do not say in smooth terms."""
        return {
            "goal": Residual(after.qpos[:, 7:9] - after.qpos[:, 9:11], 10.0),
            "speeds": Residual(after.qvel[:, :7], 0.01),
            "control": Residual(action, 0.1),
        }
