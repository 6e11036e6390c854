"""Grasp a cube and bring it to a goal, on the table or in the air."""

from __future__ import annotations

from dataclasses import dataclass

from roborl.models.arms import tool_position
from roborl.task import Draw, Fields, Residual, tolerance
from roborl.task.fields import Array
from roborl.tasks.arm import ArmTask, distance, near
from roborl.tasks.arm_scene import CUBE_HALF_M, reading

HIGHEST_GOAL_M = 0.25
"""How far above the table's the highest goals are."""

IN_THE_AIR = 0.7
"""The part of the goals that is in the air: the others, on the table, let a policy begin by pushing."""

LIFT_M = 0.05
"""A cube this far above the table is lifted."""


@dataclass(frozen=True)
class ArmPickPlace(ArmTask):
    """Grasp a cube and bring it to a goal, on the table or in the air, within 5 cm.

    An action's last entry opens and closes the gripper, at 1 with its greatest speed. A dense reward has the terms
    "goal", 0.6 at most, for the cube at the goal; "reach", 0.2, for the tool at the cube; "grasp", 0.1, for fingers
    closed on it; "lift", 0.1, for a grasped cube in the air.
    """

    episode_length_s = 5.0
    uses_cube = True
    uses_gripper = True
    goal_weight = 0.6

    def reset(self, draw: Draw, f: Fields) -> dict[str, Array]:
        """Near the ready pose, the gripper open, a cube on the table, a goal at least 10 cm beside it."""
        up = draw.uniform("goal_in_the_air") < IN_THE_AIR
        height = draw.uniform("goal_height", 0.0, HIGHEST_GOAL_M)
        height = f.xp.where(up, height, f.xp.zeros_like(height))
        return self.start_with_cube(draw, f, self.spec.gripper_width, height)

    def shaping_terms(self, after: Fields) -> dict[str, Array]:
        """The tool at the cube, the fingers on it, the cube in the air between them."""
        xp = after.xp
        cube = reading(after, "cube_position")
        d = distance(reading(after, "tool_position"), cube, xp)
        width = reading(after, "gripper_width")[:, 0]
        # fingers that close beside the cube come to less than its width, and are not paid
        closed = tolerance(xp, width, 1.9 * CUBE_HALF_M, 2.05 * CUBE_HALF_M, margin=0.01)
        grasp = closed * tolerance(xp, d, 0.0, 0.01, margin=0.02)
        lifted = xp.clip((cube[:, 2] - CUBE_HALF_M) / LIFT_M, 0.0, 1.0)
        return {"reach": 0.2 * near(d, xp), "grasp": 0.1 * grasp, "lift": 0.1 * grasp * lifted}

    def stage_residuals(self, after: Fields, action: Array) -> dict[str, Residual]:
        """The cube at the goal, the tool at the cube, at rest, with small actions; the tool's place from the joints.

        Smooth, but blind to what a grasp takes: it is for planners that are given a start in which the cube is held.
        """
        n = len(self.spec.joints)
        cube = after.qpos[:, n + 2 : n + 5]
        return {
            "goal": Residual(cube - after.memory["goal"], 10.0),
            "reach": Residual(tool_position(after.xp, self.spec, after.qpos[:, :n]) - cube, 10.0),
            "speeds": Residual(after.qvel[:, :n], 0.01),
            "control": Residual(action, 0.01),
        }
