"""Swim forward by bending two joints: Gymnasium's Swimmer-v5, from its model file."""

from __future__ import annotations

from dataclasses import dataclass

from roborl.task import Draw, Fields, Residual, Task, Term, joint_pos, joint_vel
from roborl.task.fields import Array


@dataclass(frozen=True)
class Swimmer(Task):
    """Gymnasium's Swimmer-v5: forward speed in a viscous fluid, less a small cost of control."""

    forward_reward_weight: float = 1.0
    """Reward for 1 m/s."""

    ctrl_cost_weight: float = 1e-4
    """Cost of the squared action."""

    reset_noise_scale: float = 0.1
    """The initial state is uniform within this of stretched and at rest."""

    robot = "gymnasium/swimmer"
    control_dt = 0.04
    episode_length_s = 40.0
    observations = {
        "policy": [
            Term("angles", joint_pos("free_body_rot", "motor1_rot", "motor2_rot"), unit="rad"),
            Term("speeds", joint_vel(), unit="m/s, rad/s"),
        ]
    }
    camera = {"distance": 6.0, "elevation": -45.0}

    def reset(self, draw: Draw, f: Fields) -> dict[str, Array]:
        """Stretched, with a spread."""
        noise = self.reset_noise_scale
        return {
            "qpos": f.qpos + draw.uniform("qpos", -noise, noise, size=f.qpos.shape[1]),
            "qvel": draw.uniform("qvel", -noise, noise, size=f.qvel.shape[1]),
        }

    def reward_terms(self, before: Fields, action: Array, after: Fields) -> dict[str, Array]:
        """Mean forward speed of the head over the step, and the cost of the action."""
        speed = (after.qpos[:, 0] - before.qpos[:, 0]) / self.control_dt
        return {
            "forward": self.forward_reward_weight * speed,
            "control": -self.ctrl_cost_weight * after.xp.sum(action * action, axis=1),
        }

    def stage_residuals(self, after: Fields, action: Array) -> dict[str, Residual]:
        """A forward speed of 0.5 m/s, with little control."""
        return {
            "speed": Residual(after.qvel[:, 0:1] - 0.5, 1.0),
            "control": Residual(action, 0.01),
        }
