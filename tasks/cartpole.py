"""Balance a pole on a cart; swing it up first: the DeepMind Control Suite's cart-pole (Tassa et al. 2018)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from roborl.task import Draw, Fields, Residual, Task, Term, cos_sin, joint_pos, joint_vel, tolerance
from roborl.task.fields import Array

RAIL_M = 1.5
"""So far from the middle the rail is free for plans; it ends at 1.8 m, and no plan should lean on its end."""

OBSERVATION = [
    Term("cart_position", joint_pos("slider"), unit="m"),
    Term("pole_angle", cos_sin(joint_pos("hinge"))),
    Term("cart_speed", joint_vel("slider"), unit="m/s"),
    Term("pole_speed", joint_vel("hinge"), unit="rad/s"),
]


class CartpoleBalance(Task):
    """Keep the pole upright and the cart in the middle; starts close to that."""

    robot, control_dt, episode_length_s = "cartpole", 0.01, 10.0
    observations = {"policy": OBSERVATION}
    camera = "fixed"

    def reset(self, draw: Draw, f: Fields) -> dict[str, Array]:
        """Within 10 cm of the middle and 0.034 rad (2 degrees) of upright, almost at rest."""
        return {
            "qpos": f.xp.concat(
                (draw.uniform("cart_position", -0.1, 0.1), draw.uniform("pole_angle", -0.034, 0.034)), axis=1
            ),
            "qvel": draw.normal("speeds", 0.01, size=2),
        }

    def reward_terms(self, before: Fields, action: Array, after: Fields) -> dict[str, Array]:
        """The suite's smooth reward, in [0, 1]: a product, hence one term."""
        return {"upright": smooth_reward(after, action)}

    def stage_residuals(self, after: Fields, action: Array) -> dict[str, Residual]:
        """Upright, in the middle, off the rail's ends, slow, with little force."""
        return residuals(after) | {"force": Residual(action, 0.02)}

    def terminal_residuals(self, after: Fields) -> dict[str, Residual]:
        """The same, ten times as dear."""
        return {name: Residual(r.value, 10.0 * r.weight) for name, r in residuals(after).items()}


@dataclass(frozen=True)
class CartpoleSwingup(Task):
    """Swing the hanging pole up and balance it."""

    hidden_velocities: bool = False
    """Whether the speeds are left out of the observation, so that a policy needs a memory."""

    robot, control_dt, episode_length_s = "cartpole", 0.01, 10.0
    camera = "fixed"

    @property
    def observations(self) -> dict[str, list[Term]]:
        """Position and angle (cosine, sine), then the speeds where they are not hidden."""
        return {"policy": OBSERVATION[:2] if self.hidden_velocities else OBSERVATION}

    def reset(self, draw: Draw, f: Fields) -> dict[str, Array]:
        """Hanging in the middle, with a small spread."""
        return {
            "qpos": f.xp.concat(
                (draw.normal("cart_position", 0.01), math.pi + draw.normal("pole_angle", 0.01)), axis=1
            ),
            "qvel": draw.normal("speeds", 0.01, size=2),
        }

    reward_terms = CartpoleBalance.reward_terms
    stage_residuals = CartpoleBalance.stage_residuals
    terminal_residuals = CartpoleBalance.terminal_residuals


def pole_angles(f: Fields) -> Array:
    """Return the angles of the poles from upright, (N, k) [rad]: each hinge turns what stands on it."""
    angles = [f.qpos[:, 1:2]]
    for hinge in range(2, f.qpos.shape[1]):
        angles.append(angles[-1] + f.qpos[:, hinge : hinge + 1])
    return f.xp.concat(angles, axis=1)


def smooth_reward(after: Fields, action: Array, target: Array | float = 0.0) -> Array:
    """Return upright * centred * small force * slow, each between its floor and 1; (N,).

    Of several poles the mean is taken of how upright they are, and the fastest one is how fast they are.

    Args:
        after: the state after the step.
        action: (N, 1), in units of 10 N.
        target: the cart position wanted, (N,) or a number [m].
    """
    xp = after.xp
    poles = pole_angles(after)
    upright = xp.sum((xp.cos(poles) + 1.0) / 2.0, axis=1) / poles.shape[1]
    centred = (1.0 + tolerance(xp, after.qpos[:, 0] - target, margin=2.0)) / 2.0
    force = xp.minimum(xp.maximum(action[:, 0], -1.0), 1.0)
    small_force = (4.0 + tolerance(xp, force, margin=1.0, value_at_margin=0.0, sigmoid="quadratic")) / 5.0
    slow = (1.0 + xp.min(tolerance(xp, after.qvel[:, 1:], margin=5.0), axis=1)) / 2.0
    return upright * centred * small_force * slow


def residuals(after: Fields, target: Array | float = 0.0) -> dict[str, Residual]:
    """Return the smooth distance to standing upright at a cart position, off the rail's ends, without the force."""
    xp = after.xp
    poles = pole_angles(after)
    return {
        "upright": Residual(xp.concat((xp.cos(poles) - 1.0, xp.sin(poles)), axis=1), 2.0),
        "centred": Residual(after.qpos[:, 0:1] - target, 0.5),
        "pole_speed": Residual(after.qvel[:, 1:], 0.05),
        "cart_speed": Residual(after.qvel[:, 0:1], 0.05),
        "rail": Residual(xp.clip(xp.abs(after.qpos[:, 0:1]) - RAIL_M, 0.0, None), 500.0),
    }
