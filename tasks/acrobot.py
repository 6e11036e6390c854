"""Swing two arms up by the motor between them: the DeepMind Control Suite's acrobot (Tassa et al. 2018)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from roborl.task import Draw, Fields, Residual, Task, Term, cumulative, joint_pos, joint_vel, sin_cos, tolerance
from roborl.task.fields import Array

TARGET_RADIUS = 0.2
"""How near the tip must come to the highest place that it can reach [m]."""


@dataclass(frozen=True)
class AcrobotSwingup(Task):
    """Bring the tip to the highest place that it can reach, and keep it there."""

    sparse: bool = False
    """Whether the reward is 1 within the target and 0 elsewhere, as in the suite's swingup_sparse."""

    hanging: bool = False
    """Whether an episode begins hanging, with a small spread, and not with both joints anywhere."""

    robot, control_dt, episode_length_s = "acrobot", 0.01, 10.0
    observations = {
        "policy": [
            Term("orientations", sin_cos(cumulative(joint_pos("shoulder", "elbow")))),
            Term("speeds", joint_vel("shoulder", "elbow"), unit="rad/s"),
        ]
    }
    camera = "fixed"

    def reset(self, draw: Draw, f: Fields) -> dict[str, Array]:
        """Both joints anywhere, at rest; or hanging."""
        if self.hanging:
            spread = draw.normal("angles", 0.01, size=2)
            return {"qpos": f.xp.concat((math.pi + spread[:, :1], spread[:, 1:]), axis=1)}
        return {"qpos": draw.uniform("angles", -math.pi, math.pi, size=2)}

    def reward_terms(self, before: Fields, action: Array, after: Fields) -> dict[str, Array]:
        """The suite's reward, in [0, 1]: near the target."""
        xp, offset = after.xp, tip_from_target(after)
        distance = xp.sqrt(xp.sum(offset * offset, axis=1))
        return {"near": tolerance(xp, distance, 0.0, TARGET_RADIUS, margin=0.0 if self.sparse else 1.0)}

    def success(self, after: Fields) -> Array:
        """Within the target."""
        offset = tip_from_target(after)
        return after.xp.sum(offset * offset, axis=1) <= TARGET_RADIUS**2

    def stage_residuals(self, after: Fields, action: Array) -> dict[str, Residual]:
        """Little torque, and the tip at the target; cheap, for what swings up must be far from there for long."""
        return {"target": Residual(tip_from_target(after), 0.01), "torque": Residual(action, 0.01)}

    def terminal_residuals(self, after: Fields) -> dict[str, Residual]:
        """Both arms upright, and at rest, the latter for a hundredth: a plan must first learn to pass there at all."""
        upright = (off for angle in _from_upright(after) for off in (after.xp.sin(angle), 1.0 - after.xp.cos(angle)))
        return {
            "upright": Residual(after.xp.concat(tuple(upright), axis=1), 100.0),
            "speeds": Residual(after.qvel, 1.0),
        }


def tip_from_target(f: Fields) -> Array:
    """Return where the tip is from the target, (N, 2) [m], to the right and up; both arms are 1 m long."""
    xp, (upper, lower) = f.xp, _from_upright(f)
    return xp.concat((xp.sin(upper) + xp.sin(lower), xp.cos(upper) + xp.cos(lower) - 2.0), axis=1)


def _from_upright(f: Fields) -> tuple[Array, Array]:
    """Return each arm's angle from upright, (N, 1) [rad]."""
    shoulder = f.qpos[:, 0:1]
    return shoulder, shoulder + f.qpos[:, 1:2]
