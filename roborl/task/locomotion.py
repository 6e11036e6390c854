"""Building blocks of walking tasks: a velocity command that changes, the feet's timers, and named reward shapes.

A step's contacts are arrays (N, feet); times are in seconds. The shapes are unweighted: a task multiplies them by the
weights of its table and by its control period.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from roborl.errors import ConfigError, check_range
from roborl.task.draw import Draw
from roborl.task.fields import Array, Fields

Pairs = Sequence[tuple[int, int]]
"""Pairs of feet, by their numbers."""


@dataclass(frozen=True)
class VelocityCommand:
    """Velocities that a robot shall follow: forward, to the left, and turning; they change within the episode.

    Kept in the memory `VelocityCommand.memory`: "command" (N, 3) [m/s, m/s, rad/s] in the base's frame, and
    "command_steps_left" (N, 1).
    """

    most: tuple[float, float, float] = (1.0, 0.5, 1.0)
    """Each entry is uniform between minus and plus this [m/s, m/s, rad/s]."""

    period_s: tuple[float, float] = (5.0, 10.0)
    """The time between changes, uniform between the two."""

    standing: float = 0.1
    """The share of commands that are to stand still."""

    control_dt: float = 0.02
    """Seconds between control steps."""

    memory: ClassVar[dict[str, int]] = {"command": 3, "command_steps_left": 1}
    """What a task that has a command remembers."""

    def __post_init__(self) -> None:
        if len(self.most) != 3:
            raise ConfigError(f"VelocityCommand.most needs 3 numbers, got {self.most!r}")
        for number in self.most:
            check_range("VelocityCommand.most", number, 0.0)
        shortest, longest = self.period_s
        check_range("VelocityCommand.period_s's shorter end", shortest, self.control_dt)
        check_range("VelocityCommand.period_s's longer end", longest, shortest)
        check_range("VelocityCommand.standing", self.standing, 0.0, 1.0)

    def start(self, f: Fields, draw: Draw) -> dict[str, Array]:
        """Return the memory with a new command."""
        xp = f.xp
        shortest, longest = (round(period / self.control_dt) for period in self.period_s)
        command = draw.uniform("command", -1.0, 1.0, size=3)
        command = command * xp.asarray(self.most, dtype=command.dtype)
        moves = draw.uniform("command/stands") >= self.standing
        return {
            "command": xp.where(moves, command, xp.zeros_like(command)),
            "command_steps_left": draw.integers("command/steps", shortest, longest),
        }

    def advance(self, f: Fields, draw: Draw) -> dict[str, Array]:
        """Return the memory a control step later: nothing is drawn until a command is due."""
        left = f.memory["command_steps_left"] - 1.0
        due = left <= 0.0
        if not due.any():
            return {"command_steps_left": left}
        new = self.start(f, draw)
        return {
            "command": f.xp.where(due, new["command"], f.memory["command"]),
            "command_steps_left": f.xp.where(due, new["command_steps_left"], left),
        }


def moving(xp: Any, command: Array, threshold: float = 0.1) -> Array:
    """Return (N,) bool: whether the command (N, 3) asks for more than ``threshold``, rad/s counted as m/s."""
    return xp.vecdot(command, command) > threshold**2


def tracking(xp: Any, error: Array, width: float) -> Array:
    r"""Return ``exp(-|error|^2 / width^2)``, (N,).

    The tracking reward of Rudin et al. 2021, "Learning to Walk in Minutes Using Massively Parallel Deep Reinforcement
    Learning", table 2, where ``width^2 = 0.25``.

    Args:
        xp: the array namespace.
        error: (N, k) what is wanted less what is.
        width: the error, in its own unit, at which the reward is 1/e.
    """
    return xp.exp(xp.vecdot(error, error) / (-(width**2)))


def foot_times(xp: Any, contact: Array, air: Array, ground: Array, dt: float) -> tuple[Array, Array]:
    """Return for how long each foot has been in the air, and on the ground, one step later.

    Args:
        xp: the array namespace.
        contact: (N, feet) bool.
        air: (N, feet) time since the foot left the ground, 0 on the ground [s].
        ground: (N, feet) time since it touched down, 0 in the air [s].
        dt: the step [s].

    Returns:
        The new air and ground, (N, feet) each.
    """
    return (air + dt) * ~contact, (ground + dt) * contact


def stepping(xp: Any, air: Array, ground: Array, moves: Array, longest_s: float = 0.3) -> Array:
    """Return the reward of lifting and setting down the feet, (N,) [s].

    Moving, each foot earns the time that it has spent in its phase, in the air or on the ground, and nothing once the
    phase lasts longer than ``longest_s``: neither dragging a foot nor holding it up pays. Standing, each foot earns its
    time on the ground less its time in the air, within ``longest_s``. The shape is that of ``air_time_reward`` of Isaac
    Lab's velocity task for Spot.

    Args:
        xp: the array namespace.
        air: (N, feet) times in the air [s].
        ground: (N, feet) times on the ground [s].
        moves: (N,) bool, whether the robot shall move.
        longest_s: the longest phase that pays [s].
    """
    phase = xp.maximum(air, ground)
    walk = phase * (phase < longest_s)
    stand = xp.minimum(xp.maximum(ground - air, -longest_s), longest_s)
    return xp.sum(xp.where(moves[:, None], walk, stand), axis=1)


def short_swings(xp: Any, air_before: Array, air: Array, least_s: float) -> Array:
    """Return by how much the swings that end in this step were shorter than ``least_s``, summed, (N,) [s].

    A cost against pattering. Paying long swings instead, as the air time of Rudin et al. 2021 does, also pays short
    stances.

    Args:
        xp: the array namespace.
        air_before: (N, feet) times in the air a step before [s].
        air: (N, feet) times in the air now [s].
        least_s: the time in the air from which a swing costs nothing [s].
    """
    missing = xp.maximum(least_s - air_before, 0.0)
    return xp.sum(missing * ((air_before > 0.0) & (air == 0.0)), axis=1)


def gait(xp: Any, air: Array, ground: Array, together: Pairs, apart: Pairs, width_s: float) -> Array:
    r"""Return how well the feet keep time with one another, (N,) in (0, 1].

    ``exp(-mean_p(min(a_p^2, 0.2^2) + min(g_p^2, 0.2^2)) / width^2)`` over all pairs p. Of feet that step together, a
    and g are the differences of their times in the air and on the ground; of feet that step apart, of one's time in the
    air and the other's on the ground. There is no clock: the robot chooses the rhythm. The shape is that of
    ``GaitReward`` of Isaac Lab's velocity task for Spot, with a mean over pairs in place of a product.

    Args:
        xp: the array namespace.
        air: (N, feet) times in the air [s].
        ground: (N, feet) times on the ground [s].
        together: pairs of feet that step together; in a trot the diagonal ones.
        apart: pairs of feet that step in turns.
        width_s: the difference at which the reward is 1/e, where all pairs have one [s].
    """
    first, second = (xp.asarray(columns) for columns in _compared(air.shape[1], tuple(together), tuple(apart)))
    times = xp.concat((air, ground), axis=1)
    error = xp.take(times, first, axis=1) - xp.take(times, second, axis=1)
    error = xp.minimum(xp.abs(error), 0.2)
    return xp.exp(xp.vecdot(error, error) / (-(len(together) + len(apart)) * width_s**2))


@functools.cache
def _compared(feet: int, together: Pairs, apart: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Return the columns, of all times in the air and then all on the ground, that a gait compares with one another."""
    pairs = [*together, *apart]
    first = [i for i, _ in pairs] + [feet + i for i, _ in pairs]
    with_air = [j for _, j in together] + [feet + j for _, j in apart]
    with_ground = [feet + j for _, j in together] + [j for _, j in apart]
    return np.array(first), np.array(with_air + with_ground)


def clearance(xp: Any, height: Array, speed: Array, target: float) -> Array:
    """Return the cost of swinging feet at another height than wanted, (N,) [m^2/s].

    ``sum_i |h_i - target| v_i``: a foot that rests costs nothing. From MuJoCo Playground's ``feet_clearance``, with the
    speed itself in place of its root.

    Args:
        xp: the array namespace.
        height: (N, feet) height of the soles over the ground [m].
        speed: (N, feet) horizontal speed of the feet [m/s].
        target: the wanted height of a foot that swings [m].
    """
    return xp.vecdot(xp.abs(height - target), speed)


def slip(xp: Any, contact: Array, speed: Array) -> Array:
    """Return the sum of the squared horizontal speeds of the feet on the ground, (N,) [m^2/s^2]."""
    return xp.vecdot(speed * contact, speed)


def beyond(xp: Any, x: Array, low: Array, high: Array) -> Array:
    """Return by how much the entries of x (N, k) lie outside [low, high], summed, (N,)."""
    return xp.sum(xp.abs(x - xp.minimum(xp.maximum(x, low), high)), axis=1)
