"""Run forward as fast as it goes: Gymnasium's HalfCheetah-v5, from its model file."""

from __future__ import annotations

from dataclasses import dataclass

from roborl.task import Draw, Fields, Residual, Task, Term, joint_pos, joint_vel
from roborl.task.fields import Array

JOINTS = ("rootz", "rooty", "bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot")


@dataclass(frozen=True)
class HalfCheetah(Task):
    """Gymnasium's HalfCheetah-v5: forward speed, less a small cost of control."""

    forward_reward_weight: float = 1.0
    """Reward for 1 m/s."""

    ctrl_cost_weight: float = 0.1
    """Cost of the squared action."""

    reset_noise_scale: float = 0.1
    """Spread of the initial state: uniform in position, normal in velocity."""

    robot = "gymnasium/half_cheetah"
    control_dt = 0.05
    episode_length_s = 50.0
    observations = {
        "policy": [
            Term("positions", joint_pos(*JOINTS), unit="m, rad"),
            Term("speeds", joint_vel("rootx", *JOINTS), unit="m/s, rad/s"),
        ]
    }
    camera = {"distance": 4.0, "elevation": -15.0}

    def reset(self, draw: Draw, f: Fields) -> dict[str, Array]:
        """At the model's pose, spread."""
        noise = self.reset_noise_scale
        return {
            "qpos": f.qpos + draw.uniform("qpos", -noise, noise, size=f.qpos.shape[1]),
            "qvel": draw.normal("qvel", noise, size=f.qvel.shape[1]),
        }

    def reward_terms(self, before: Fields, action: Array, after: Fields) -> dict[str, Array]:
        """Mean forward speed over the step, and the cost of the action."""
        speed = (after.qpos[:, 0] - before.qpos[:, 0]) / self.control_dt
        return {
            "forward": self.forward_reward_weight * speed,
            "control": -self.ctrl_cost_weight * after.xp.sum(action * action, axis=1),
        }

    def stage_residuals(self, after: Fields, action: Array) -> dict[str, Residual]:
        """A forward speed of 10 m/s, with little control."""
        return {
            "speed": Residual(after.qvel[:, 0:1] - 10.0, 0.2),
            "control": Residual(action, 0.2),
        }
