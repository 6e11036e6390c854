"""Bring the tool of an arm to a point in the air."""

from __future__ import annotations

from dataclasses import dataclass

from roborl.models.arms import tool_position
from roborl.task import Draw, Fields, Residual
from roborl.task.fields import Array
from roborl.tasks.arm import ArmTask

GOAL_SPREAD_RAD = {
    "panda": (1.0, 0.5, 0.3, 0.4, 0.3, 0.3, 0.3),
    "ur5e": (1.0, 0.4, 0.4, 0.3, 0.3, 0.3),
}
"""How far from the ready pose the joints of a goal's pose are, at most."""

LOWEST_GOAL_M = 0.05
"""Goals are higher than this above the table: in poses with such a tool the arm touches nothing."""

POSES = 8
"""Poses drawn, of which the first whose tool is high enough gives the goal: none is, once in a million."""


@dataclass(frozen=True)
class ArmReach(ArmTask):
    """Bring the tool to a goal in the air, within 5 cm.

    Goals are where the tool is in a pose drawn about the ready pose, so each can be reached. The gripper is closed and
    stays so: an action has an entry for each joint of the arm.
    """

    episode_length_s = 3.0

    def reset(self, draw: Draw, f: Fields) -> dict[str, Array]:
        """Near the ready pose, with a goal."""
        xp, spec, n = f.xp, self.spec, len(self.spec.joints)
        spread = xp.asarray(GOAL_SPREAD_RAD[self.arm], dtype=f.qpos.dtype)
        ready = xp.asarray(spec.ready, dtype=f.qpos.dtype)
        parts = xp.reshape(draw.uniform("goal_poses", -1.0, 1.0, size=POSES * n), (-1, n))
        goals = xp.reshape(tool_position(xp, spec, ready + spread * parts), (-1, POSES, 3))
        high = xp.astype(goals[:, :, 2] > LOWEST_GOAL_M, goals.dtype)
        goal = goals[xp.arange(len(goals)), xp.argmax(high, axis=1)]  # (N, 3)
        return self.start(draw, f, width=0.0) | self.goal(goal)

    def stage_residuals(self, after: Fields, action: Array) -> dict[str, Residual]:
        """The tool at the goal, at rest, with small actions; the tool's place from the joints."""
        n = len(self.spec.joints)
        offset = tool_position(after.xp, self.spec, after.qpos[:, :n]) - after.memory["goal"]
        return {
            "goal": Residual(offset, 10.0),
            "speeds": Residual(after.qvel[:, :n], 0.01),
            "control": Residual(action, 0.01),
        }
