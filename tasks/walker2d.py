"""Walk forward on two legs without falling: Gymnasium's Walker2d-v5, from its model file."""

from __future__ import annotations

from dataclasses import dataclass

from roborl.task import Draw, Fields, Residual, Task, Term, clipped, joint_pos, joint_vel
from roborl.task.fields import Array

LEGS = ("thigh_joint", "leg_joint", "foot_joint", "thigh_left_joint", "leg_left_joint", "foot_left_joint")


@dataclass(frozen=True)
class Walker2d(Task):
    """Gymnasium's Walker2d-v5: forward speed and 1 for each step in health, less a small cost of control."""

    forward_reward_weight: float = 1.0
    """Reward for 1 m/s."""

    ctrl_cost_weight: float = 1e-3
    """Cost of the squared action."""

    healthy_reward: float = 1.0
    """Reward of a step in health."""

    terminate_when_unhealthy: bool = True
    """Whether a fall ends the episode."""

    reset_noise_scale: float = 5e-3
    """The initial state is uniform within this of standing at rest."""

    robot = "gymnasium/walker2d_v5"
    control_dt = 0.008
    episode_length_s = 8.0
    observations = {
        "policy": [
            Term("positions", joint_pos("rootz", "rooty", *LEGS), unit="m, rad"),
            Term("speeds", clipped(joint_vel("rootx", "rootz", "rooty", *LEGS), -10.0, 10.0), unit="m/s, rad/s"),
        ]
    }
    camera = {"trackbodyid": 2, "distance": 4.0, "lookat": (0.0, 0.0, 1.15), "elevation": -20.0}

    def reset(self, draw: Draw, f: Fields) -> dict[str, Array]:
        """Standing, with a small spread."""
        noise = self.reset_noise_scale
        return {
            "qpos": f.qpos + draw.uniform("qpos", -noise, noise, size=f.qpos.shape[1]),
            "qvel": draw.uniform("qvel", -noise, noise, size=f.qvel.shape[1]),
        }

    def healthy(self, after: Fields) -> Array:
        """Whether it is between 0.8 m and 2 m high, and within 1 rad of upright."""
        height, angle = after.qpos[:, 1], after.qpos[:, 2]
        return (height > 0.8) & (height < 2.0) & (after.xp.abs(angle) < 1.0)

    def reward_terms(self, before: Fields, action: Array, after: Fields) -> dict[str, Array]:
        """Mean forward speed over the step, health, and the cost of the action."""
        speed = (after.qpos[:, 0] - before.qpos[:, 0]) / self.control_dt
        return {
            "forward": self.forward_reward_weight * speed,
            "healthy": self.healthy_reward * after.xp.astype(self.healthy(after), speed.dtype),
            "control": -self.ctrl_cost_weight * after.xp.sum(action * action, axis=1),
        }

    def terminated(self, after: Fields) -> Array | None:
        """It has fallen."""
        return ~self.healthy(after) if self.terminate_when_unhealthy else None

    def stage_residuals(self, after: Fields, action: Array) -> dict[str, Residual]:
        """Walk at 1.5 m/s, upright, 1.25 m high, with little control."""
        return {
            "speed": Residual(after.qvel[:, 0:1] - 1.5, 1.0),
            "height": Residual(after.qpos[:, 1:2] - 1.25, 10.0),
            "upright": Residual(after.qpos[:, 2:3], 5.0),
            "control": Residual(action, 0.01),
        }
