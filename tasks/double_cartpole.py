"""Swing two poles up, one on the other, on a cart: the DeepMind Control Suite's cart-pole with two poles."""

from __future__ import annotations

import math

from roborl.task import Draw, Fields, Residual, Task, Term, cos_sin, cumulative, joint_pos, joint_vel
from roborl.task.fields import Array
from roborl.tasks.cartpole import CartpoleBalance, residuals


class DoubleCartpoleSwingup(Task):
    """Swing two hanging poles up and balance them."""

    robot, control_dt, episode_length_s = "double_cartpole", 0.01, 10.0
    observations = {
        "policy": [
            Term("cart_position", joint_pos("slider"), unit="m"),
            Term("pole_angles", cos_sin(cumulative(joint_pos("hinge", "hinge_2")))),
            Term("cart_speed", joint_vel("slider"), unit="m/s"),
            Term("pole_speeds", joint_vel("hinge", "hinge_2"), unit="rad/s"),
        ]
    }
    camera = "fixed"

    def reset(self, draw: Draw, f: Fields) -> dict[str, Array]:
        """Hanging in the middle, with a small spread, the outer pole's ten times as large."""
        return {
            "qpos": f.xp.concat(
                (
                    draw.normal("cart_position", 0.01),
                    math.pi + draw.normal("pole_angle", 0.01),
                    draw.normal("outer_pole_angle", 0.1),
                ),
                axis=1,
            ),
            "qvel": draw.normal("speeds", 0.01, size=3),
        }

    reward_terms = CartpoleBalance.reward_terms
    stage_residuals = CartpoleBalance.stage_residuals

    def terminal_residuals(self, after: Fields) -> dict[str, Residual]:
        """The same, a hundred times as dear: two poles that are not quite upright at a plan's end are lost."""
        return {name: Residual(r.value, 100.0 * r.weight) for name, r in residuals(after).items()}
