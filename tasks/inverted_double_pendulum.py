"""Keep two poles upright on a cart: Gymnasium's InvertedDoublePendulum-v5, from its model file."""

from __future__ import annotations

from dataclasses import dataclass

from roborl.task import Draw, Fields, Residual, Task, Term, clipped, constraint_force, joint_pos, joint_vel, sin_cos
from roborl.task.fields import Array

JOINTS = ("slider", "hinge", "hinge2")


@dataclass(frozen=True)
class InvertedDoublePendulum(Task):
    """Gymnasium's InvertedDoublePendulum-v5: 10 while it stands, less the tip's distance and the poles' speeds."""

    healthy_reward: float = 10.0
    """Reward of a step in which the tip is above 1 m."""

    reset_noise_scale: float = 0.1
    """Spread of the initial state: uniform in position, normal in velocity."""

    robot = "gymnasium/inverted_double_pendulum"
    control_dt = 0.05
    episode_length_s = 50.0
    observations = {
        "policy": [
            Term("cart", joint_pos("slider"), unit="m"),
            Term("angles", sin_cos(joint_pos("hinge", "hinge2"))),
            Term("speeds", clipped(joint_vel(*JOINTS), -10.0, 10.0), unit="m/s, rad/s"),
            Term("cart_constraint", clipped(constraint_force("slider"), -10.0, 10.0), unit="N"),
        ]
    }
    reads = ("site_xpos", "qfrc_constraint")
    camera = {"trackbodyid": 0, "distance": 4.1225, "lookat": (0.0, 0.0, 0.1225)}

    def reset(self, draw: Draw, f: Fields) -> dict[str, Array]:
        """Upright, with a spread."""
        noise = self.reset_noise_scale
        return {
            "qpos": f.qpos + draw.uniform("qpos", -noise, noise, size=3),
            "qvel": draw.normal("qvel", noise, size=3),
        }

    def reward_terms(self, before: Fields, action: Array, after: Fields) -> dict[str, Array]:
        """1 m is where it counts as fallen; the tip's place is 2 m high in the middle."""
        x, z = after.site_xpos[:, 0, 0], after.site_xpos[:, 0, 2]
        speeds = after.qvel
        return {
            "survive": self.healthy_reward * after.xp.astype(z > 1.0, z.dtype),
            "distance": -(0.01 * x**2 + (z - 2.0) ** 2),
            "speeds": -(1e-3 * speeds[:, 1] ** 2 + 5e-3 * speeds[:, 2] ** 2),
        }

    def terminated(self, after: Fields) -> Array:
        """The tip is not above 1 m."""
        return ~(after.site_xpos[:, 0, 2] > 1.0)

    def stage_residuals(self, after: Fields, action: Array) -> dict[str, Residual]:
        """Both poles upright in the middle, at rest."""
        xp, first, both = after.xp, after.qpos[:, 1:2], after.qpos[:, 1:2] + after.qpos[:, 2:3]
        return {
            "upright": Residual(xp.concat((xp.sin(first), xp.sin(both)), axis=1), 10.0),
            "centred": Residual(after.qpos[:, 0:1], 0.1),
            "speeds": Residual(after.qvel, 0.05),
            "force": Residual(action, 0.01),
        }
