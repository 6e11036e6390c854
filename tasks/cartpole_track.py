"""A cart-pole that follows a position command through everything that makes real robots hard."""

from __future__ import annotations

from dataclasses import dataclass

from roborl.errors import check_range
from roborl.task import (
    Action,
    BodyMass,
    Draw,
    Fields,
    Residual,
    Task,
    Term,
    cos_sin,
    joint_pos,
    joint_vel,
    last_action,
    parameter,
    remembered,
)
from roborl.task.fields import Array
from roborl.tasks.cartpole import residuals, smooth_reward


@dataclass(frozen=True)
class CartpoleTrack(Task):
    """Balance the pole while the cart goes where a command says; the command changes within the episode.

    Actions take effect one or two control steps late, which of the two is drawn for each episode and not told. The
    pole's mass is drawn too; only a critic sees it.
    """

    command_range_m: float = 1.0
    """Commands are uniform within this distance of the middle."""

    command_period_s: tuple[float, float] = (2.0, 4.0)
    """The time between changes of command, uniform between the two."""

    robot = "cartpole"
    control_dt = 0.01
    episode_length_s = 10.0
    action = Action(delay=(1, 2))
    memory = {"command": 1, "command_steps_left": 1}
    params = {"pole_mass": BodyMass("pole", 0.5, 2.0)}
    camera = "fixed"

    _seen = [
        Term("cart_position", joint_pos("slider"), unit="m", history=3),
        Term("pole_angle", cos_sin(joint_pos("hinge")), history=3),
        Term("cart_speed", joint_vel("slider"), unit="m/s", history=3),
        Term("pole_speed", joint_vel("hinge"), unit="rad/s", history=3),
        Term("command", remembered("command"), unit="m"),
        Term("last_action", last_action(1)),
    ]
    observations = {
        "policy": _seen,
        "critic": [*_seen, Term("pole_mass", parameter("pole_mass"), unit="kg")],
    }

    def __post_init__(self) -> None:
        check_range("command_range_m", self.command_range_m, 0.0, 1.5)
        shortest, longest = self.command_period_s
        check_range("command_period_s's shorter end", shortest, self.control_dt)
        check_range("command_period_s's longer end", longest, shortest)

    def reset(self, draw: Draw, f: Fields) -> dict[str, Array]:
        """Near the middle and upright, with a first command."""
        return {
            "qpos": f.xp.concat(
                (draw.uniform("cart_position", -0.2, 0.2), draw.uniform("pole_angle", -0.1, 0.1)), axis=1
            ),
            "qvel": draw.normal("speeds", 0.01, size=2),
            **self._new_command(draw),
        }

    def advance(self, f: Fields, action: Array, draw: Draw) -> dict[str, Array]:
        """Count down to the next change of command."""
        left = f.memory["command_steps_left"] - 1.0
        due = left <= 0.0
        if not due.any():  # most steps: nothing is drawn
            return {"command_steps_left": left}
        new = self._new_command(draw)
        return {
            "command": f.xp.where(due, new["command"], f.memory["command"]),
            "command_steps_left": f.xp.where(due, new["command_steps_left"], left),
        }

    def _new_command(self, draw: Draw) -> dict[str, Array]:
        shortest, longest = (round(period / self.control_dt) for period in self.command_period_s)
        return {
            "command": draw.uniform("command", -self.command_range_m, self.command_range_m),
            "command_steps_left": draw.integers("command_steps", shortest, longest),
        }

    def reward_terms(self, before: Fields, action: Array, after: Fields) -> dict[str, Array]:
        """The cart-pole's smooth reward about the command that the action was chosen for, sharpened near it."""
        xp = after.xp
        command = before.memory["command"][:, 0]
        error = after.qpos[:, 0] - command
        upright = 0.5 * smooth_reward(after, action, command)
        return {"upright": upright, "on_command": upright * xp.exp(-((error / 0.2) ** 2))}

    def terminated(self, after: Fields) -> Array:
        """The pole has fallen: beyond a right angle."""
        return after.xp.cos(after.qpos[:, 1]) < 0.0

    def success(self, after: Fields) -> Array:
        """The cart is within 10 cm of the command, the pole within 0.2 rad of upright."""
        xp = after.xp
        near = xp.abs(after.qpos[:, 0] - after.memory["command"][:, 0]) < 0.1
        return near & (xp.cos(after.qpos[:, 1]) > 0.98)

    def stage_residuals(self, after: Fields, action: Array) -> dict[str, Residual]:
        """Upright at the command, slow, with little force."""
        return residuals(after, after.memory["command"]) | {"force": Residual(action, 0.02)}

    def terminal_residuals(self, after: Fields) -> dict[str, Residual]:
        """The same, ten times as dear."""
        command = after.memory["command"]
        return {name: Residual(r.value, 10.0 * r.weight) for name, r in residuals(after, command).items()}
