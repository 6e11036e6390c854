"""Push a cube over the table to a goal."""

from __future__ import annotations

from dataclasses import dataclass

from roborl.models.arms import tool_position
from roborl.task import Draw, Fields, Residual
from roborl.task.fields import Array
from roborl.tasks.arm import ArmTask, distance, near
from roborl.tasks.arm_scene import reading


@dataclass(frozen=True)
class ArmPush(ArmTask):
    """Push a cube to a goal on the table, within 5 cm.

    The gripper is closed and stays so: an action has an entry for each joint of the arm. A dense reward has the terms
    "goal", 0.7 at most, for the cube at the goal, and "reach", 0.3 at most, for the tool at the cube.
    """

    episode_length_s = 4.0
    uses_cube = True
    goal_weight = 0.7

    def reset(self, draw: Draw, f: Fields) -> dict[str, Array]:
        """Near the ready pose, a cube on the table, a goal at least 10 cm from it."""
        return self.start_with_cube(draw, f, width=0.0)

    def shaping_terms(self, after: Fields) -> dict[str, Array]:
        """The tool at the cube."""
        d = distance(reading(after, "tool_position"), reading(after, "cube_position"), after.xp)
        return {"reach": 0.3 * near(d, after.xp)}

    def stage_residuals(self, after: Fields, action: Array) -> dict[str, Residual]:
        """The cube at the goal, the tool at the cube, at rest, with small actions; the tool's place from the joints."""
        n = len(self.spec.joints)
        cube = after.qpos[:, n + 2 : n + 5]
        return {
            "goal": Residual(cube - after.memory["goal"], 10.0),
            "reach": Residual(tool_position(after.xp, self.spec, after.qpos[:, :n]) - cube, 1.0),
            "speeds": Residual(after.qvel[:, :n], 0.01),
            "control": Residual(action, 0.01),
        }
