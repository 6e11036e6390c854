"""Run and stand up on two legs: Gymnasium's Humanoid-v5 and HumanoidStandup-v5, from their model files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from roborl.task import Draw, Fields, Residual, Task, Term, actuator_force, bodies, joint_pos, joint_vel
from roborl.task.fields import Array

JOINTS = (
    *("abdomen_z", "abdomen_y", "abdomen_x"),
    *("right_hip_x", "right_hip_z", "right_hip_y", "right_knee"),
    *("left_hip_x", "left_hip_z", "left_hip_y", "left_knee"),
    *("right_shoulder1", "right_shoulder2", "right_elbow"),
    *("left_shoulder1", "left_shoulder2", "left_elbow"),
)
MAX_CONTACT_COST = 10.0
"""Where the cost of contacts is cut off."""


def contact_cost(after: Fields, weight: float) -> Array:
    """Return ``weight`` times the sum of the squared contact forces, at most MAX_CONTACT_COST, (N,)."""
    xp = after.xp
    return xp.clip(weight * xp.sum(after.cfrc_ext * after.cfrc_ext, axis=(1, 2)), None, MAX_CONTACT_COST)


@dataclass(frozen=True)
class Humanoid(Task):
    """Gymnasium's Humanoid-v5: forward speed and 5 for each step in health, less costs of control and of contacts.

    By default without contact forces, in the observation (270 numbers) and as a cost: Gymnasium's with
    ``include_cfrc_ext_in_observation=False, contact_cost_weight=0``. They cost 13 microseconds a simulation and step.
    """

    contact_forces: bool = False
    """Whether forces on the bodies are observed (348 numbers) and their square is a cost."""

    forward_reward_weight: float = 1.25
    """Reward for 1 m/s."""

    ctrl_cost_weight: float = 0.1
    """Cost of the squared action."""

    contact_cost_weight: float = 5e-7
    """Cost of the squared contact forces, where they are asked for."""

    healthy_reward: float = 5.0
    """Reward of a step in health."""

    terminate_when_unhealthy: bool = True
    """Whether a fall ends the episode."""

    reset_noise_scale: float = 1e-2
    """The initial state is uniform within this of standing at rest."""

    robot = "gymnasium/humanoid"
    control_dt = 0.015
    episode_length_s = 15.0
    camera = {"trackbodyid": 1, "distance": 4.0, "lookat": (0.0, 0.0, 2.0), "elevation": -20.0}

    @property
    def observations(self) -> dict[str, list[Term]]:
        """Positions, speeds, inertias and speeds of the bodies, torques: 270 numbers; and 78 of contact forces."""
        terms = [
            Term("positions", joint_pos()[2:], unit="m, rad"),
            Term("speeds", joint_vel(), unit="m/s, rad/s"),
            Term("inertias", bodies("cinert"), unit="kg m^2, kg m, kg", frame="world, at the centre of mass"),
            Term("body_speeds", bodies("cvel"), unit="rad/s, m/s", frame="world, at the centre of mass"),
            Term("torques", actuator_force(*JOINTS), unit="N m"),
        ]
        if self.contact_forces:
            terms.append(
                Term("contact_forces", bodies("cfrc_ext"), unit="N m, N", frame="world, at the centre of mass")
            )
        return {"policy": terms}

    @property
    def reads(self) -> tuple[str, ...]:
        """What is observed, and the centre of mass."""
        return ("cinert", "cvel", "qfrc_actuator", "subtree_com", *(("cfrc_ext",) if self.contact_forces else ()))

    def reset(self, draw: Draw, f: Fields) -> dict[str, Array]:
        """At the model's pose, with a small spread."""
        noise = self.reset_noise_scale
        return {
            "qpos": f.qpos + draw.uniform("qpos", -noise, noise, size=f.qpos.shape[1]),
            "qvel": draw.uniform("qvel", -noise, noise, size=f.qvel.shape[1]),
        }

    def healthy(self, after: Fields) -> Array:
        """Whether the torso is between 1 m and 2 m high."""
        height = after.qpos[:, 2]
        return (height > 1.0) & (height < 2.0)

    def reward_terms(self, before: Fields, action: Array, after: Fields) -> dict[str, Array]:
        """Mean forward speed of the centre of mass over the step, health, and the costs."""
        xp = after.xp
        speed = (after.subtree_com[:, 0, 0] - before.subtree_com[:, 0, 0]) / self.control_dt
        terms: dict[str, Any] = {
            "healthy": self.healthy_reward * xp.astype(self.healthy(after), speed.dtype),
            "forward": self.forward_reward_weight * speed,
            "control": -self.ctrl_cost_weight * xp.sum(action * action, axis=1),
        }
        if self.contact_forces:
            terms["contact"] = -contact_cost(after, self.contact_cost_weight)
        return terms

    def terminated(self, after: Fields) -> Array | None:
        """It has fallen."""
        return ~self.healthy(after) if self.terminate_when_unhealthy else None

    def stage_residuals(self, after: Fields, action: Array) -> dict[str, Residual]:
        """Walk at 1.5 m/s, upright (the horizontal part of the quaternion is 0), 1.3 m high, with little control."""
        return {
            "speed": Residual(after.qvel[:, 0:1] - 1.5, 1.0),
            "height": Residual(after.qpos[:, 2:3] - 1.3, 20.0),
            "upright": Residual(after.qpos[:, 4:6], 20.0),
            "control": Residual(action, 0.1),
        }


@dataclass(frozen=True)
class HumanoidStandup(Task):
    """Gymnasium's HumanoidStandup-v5: the torso's height, less costs of control and of contacts.

    By default without contact forces, in the observation (270 numbers) and as a cost: Gymnasium's with
    ``include_cfrc_ext_in_observation=False, impact_cost_weight=0``. They cost 13 microseconds a simulation and step.
    """

    contact_forces: bool = False
    """Whether forces on the bodies are observed (348 numbers) and their square is a cost."""

    uph_cost_weight: float = 1.0
    """Gymnasium has this option and does not use it; here it multiplies the reward of the height."""

    ctrl_cost_weight: float = 0.1
    """Cost of the squared action."""

    impact_cost_weight: float = 0.5e-6
    """Cost of the squared contact forces, where they are asked for."""

    reset_noise_scale: float = 1e-2
    """The initial state is uniform within this of lying at rest."""

    robot = "gymnasium/humanoidstandup"
    control_dt = 0.015
    episode_length_s = 15.0
    camera = {"trackbodyid": 1, "distance": 4.0, "lookat": (0.0, 0.0, 0.8925), "elevation": -20.0}

    @property
    def reads(self) -> tuple[str, ...]:
        """What is observed."""
        return ("cinert", "cvel", "qfrc_actuator", *(("cfrc_ext",) if self.contact_forces else ()))

    observations = Humanoid.observations
    reset = Humanoid.reset  # lying: the model's pose

    def reward_terms(self, before: Fields, action: Array, after: Fields) -> dict[str, Array]:
        """The height over the model's time step, as Gymnasium has it, 1 for each step, and the costs."""
        xp, height = after.xp, after.qpos[:, 2]
        terms: dict[str, Any] = {
            "height": self.uph_cost_weight * height / (self.control_dt / 5.0),
            "control": -self.ctrl_cost_weight * xp.sum(action * action, axis=1),
            "survive": xp.ones_like(height),
        }
        if self.contact_forces:
            terms["contact"] = -contact_cost(after, self.impact_cost_weight)
        return terms

    def stage_residuals(self, after: Fields, action: Array) -> dict[str, Residual]:
        """The torso 1.3 m high and upright, at rest, with little control."""
        return {
            "height": Residual(after.qpos[:, 2:3] - 1.3, 20.0),
            "upright": Residual(after.qpos[:, 4:6], 5.0),
            "speeds": Residual(after.qvel[:, :6], 0.1),
            "control": Residual(action, 0.1),
        }
