"""Run forward on four legs: Gymnasium's Ant-v5, from its model file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from roborl.task import Draw, Fields, Residual, Task, Term, bodies, clipped, joint_pos, joint_vel
from roborl.task.fields import Array

TORSO = 1
"""Number of the body in the model."""


@dataclass(frozen=True)
class Ant(Task):
    """Gymnasium's Ant-v5: forward speed and 1 for each step in health, less costs of control and of contacts.

    By default without contact forces, in the observation (27 numbers) and as a cost: Gymnasium's with
    ``include_cfrc_ext_in_observation=False, contact_cost_weight=0``. They cost 13 microseconds a simulation and step.
    """

    contact_forces: bool = False
    """Whether forces on the bodies, clipped to [-1, 1], are observed (105 numbers) and their square is a cost."""

    forward_reward_weight: float = 1.0
    """Reward for 1 m/s."""

    ctrl_cost_weight: float = 0.5
    """Cost of the squared action."""

    contact_cost_weight: float = 5e-4
    """Cost of the squared contact forces, where they are asked for."""

    healthy_reward: float = 1.0
    """Reward of a step in health."""

    terminate_when_unhealthy: bool = True
    """Whether the loss of health ends the episode."""

    reset_noise_scale: float = 0.1
    """Spread of the initial state: uniform in position, normal in velocity."""

    robot = "gymnasium/ant"
    control_dt = 0.05
    episode_length_s = 50.0
    camera = {"distance": 4.0}

    @property
    def observations(self) -> dict[str, list[Term]]:
        """Height, orientation (quaternion, w first), joint angles, all speeds; and the contact forces."""
        terms = [
            Term("positions", joint_pos()[2:], unit="m, rad"),
            Term("speeds", joint_vel(), unit="m/s, rad/s"),
        ]
        if self.contact_forces:
            forces = clipped(bodies("cfrc_ext"), -1.0, 1.0)
            terms.append(Term("contact_forces", forces, unit="N m, N", frame="world, at the centre of mass"))
        return {"policy": terms}

    @property
    def reads(self) -> tuple[str, ...]:
        """The torso's place, and the contact forces."""
        return ("xpos", "cfrc_ext") if self.contact_forces else ("xpos",)

    def reset(self, draw: Draw, f: Fields) -> dict[str, Array]:
        """At the model's pose, spread."""
        noise = self.reset_noise_scale
        return {
            "qpos": f.qpos + draw.uniform("qpos", -noise, noise, size=f.qpos.shape[1]),
            "qvel": draw.normal("qvel", noise, size=f.qvel.shape[1]),
        }

    def healthy(self, after: Fields) -> Array:
        """Whether the torso is between 0.2 m and 1 m high."""
        height = after.qpos[:, 2]
        return (height >= 0.2) & (height <= 1.0)

    def reward_terms(self, before: Fields, action: Array, after: Fields) -> dict[str, Array]:
        """Mean forward speed of the torso over the step, health, and the costs."""
        xp = after.xp
        speed = (after.xpos[:, TORSO, 0] - before.xpos[:, TORSO, 0]) / self.control_dt
        terms: dict[str, Any] = {
            "forward": self.forward_reward_weight * speed,
            "healthy": self.healthy_reward * xp.astype(self.healthy(after), speed.dtype),
            "control": -self.ctrl_cost_weight * xp.sum(action * action, axis=1),
        }
        if self.contact_forces:
            forces = xp.clip(after.cfrc_ext, -1.0, 1.0)
            terms["contact"] = -self.contact_cost_weight * xp.sum(forces * forces, axis=(1, 2))
        return terms

    def terminated(self, after: Fields) -> Array | None:
        """It is not in health."""
        return ~self.healthy(after) if self.terminate_when_unhealthy else None

    def stage_residuals(self, after: Fields, action: Array) -> dict[str, Residual]:
        """A forward speed of 3 m/s, upright (the horizontal part of the quaternion is 0), with little control."""
        return {
            "speed": Residual(after.qvel[:, 0:1] - 3.0, 1.0),
            "height": Residual(after.qpos[:, 2:3] - 0.6, 5.0),
            "upright": Residual(after.qpos[:, 4:6], 5.0),
            "control": Residual(action, 0.1),
        }
