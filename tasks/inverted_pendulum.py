"""Keep a pole upright on a cart: Gymnasium's InvertedPendulum-v5, from its model file."""

from __future__ import annotations

from dataclasses import dataclass

from roborl.task import Draw, Fields, Residual, Task, Term, joint_pos, joint_vel
from roborl.task.fields import Array


@dataclass(frozen=True)
class InvertedPendulum(Task):
    """Gymnasium's InvertedPendulum-v5: 1 for each step in which the pole is within 0.2 rad of upright."""

    reset_noise_scale: float = 0.01
    """The initial state is uniform within this of upright and at rest."""

    robot = "gymnasium/inverted_pendulum"
    control_dt = 0.04
    episode_length_s = 40.0
    observations = {
        "policy": [
            Term("positions", joint_pos("slider", "hinge"), unit="m, rad"),
            Term("speeds", joint_vel("slider", "hinge"), unit="m/s, rad/s"),
        ]
    }
    camera = {"trackbodyid": 0, "distance": 2.04}

    def reset(self, draw: Draw, f: Fields) -> dict[str, Array]:
        """Upright in the middle, with a small spread."""
        noise = self.reset_noise_scale
        return {
            "qpos": f.qpos + draw.uniform("qpos", -noise, noise, size=2),
            "qvel": draw.uniform("qvel", -noise, noise, size=2),
        }

    def reward_terms(self, before: Fields, action: Array, after: Fields) -> dict[str, Array]:
        """1 while it stands."""
        standing = after.xp.abs(after.qpos[:, 1]) <= 0.2
        return {"survive": after.xp.astype(standing, after.qpos.dtype)}

    def terminated(self, after: Fields) -> Array:
        """Beyond 0.2 rad."""
        return ~(after.xp.abs(after.qpos[:, 1]) <= 0.2)

    def stage_residuals(self, after: Fields, action: Array) -> dict[str, Residual]:
        """Upright in the middle, at rest."""
        return {
            "upright": Residual(after.qpos[:, 1:2], 10.0),
            "centred": Residual(after.qpos[:, 0:1], 1.0),
            "speeds": Residual(after.qvel, 0.1),
            "force": Residual(action, 0.01),
        }
