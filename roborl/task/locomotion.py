"""Building blocks of walking tasks: a velocity command that changes, a clock for the feet, and named reward shapes.

What there is of each foot is an array (N, feet). The shapes are unweighted: a task multiplies them by the weights of
its table and by its control period.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from roborl.errors import ConfigError, check_range
from roborl.task.draw import Draw
from roborl.task.fields import Array, Fields


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


@dataclass(frozen=True)
class GaitClock:
    """A rhythm for the feet: each stands for a share of every cycle, and swings for the rest of it.

    The clock runs while the robot shall move; while it shall stand it rests at 0, where all feet are down. Kept in the
    memory "phase" (N, 1) [rad], whose cosine and sine a policy is to see. A clock gives the legs of a pair equal swings
    and leaves no profit in a limp, which rewards of contact times alone do. After Siekmann et al. 2021, "Sim-to-Real
    Learning of All Common Bipedal Gaits via Periodic Reward Composition", https://arxiv.org/abs/2011.01387, and
    Margolis and Agrawal 2022, "Walk These Ways", https://arxiv.org/abs/2212.03238.
    """

    offsets: tuple[float, ...]
    """By how much of a cycle each foot is ahead of the clock; (0, 0.5, 0.5, 0) of diagonal pairs is a trot."""

    frequency_hz: float
    """Cycles a second."""

    swing_m: float
    """How high a sole is at the middle of its swing [m]."""

    stance: float = 0.55
    """The share of the cycle for which a foot is to stand; above a half, all stand at phase 0 of such a trot."""

    control_dt: float = 0.02
    """Seconds between control steps."""

    memory: ClassVar[dict[str, int]] = {"phase": 1}
    """What a task that has a clock remembers."""

    def __post_init__(self) -> None:
        if not self.offsets:
            raise ConfigError("GaitClock.offsets needs a number for each foot, got none")
        for name in ("frequency_hz", "swing_m", "control_dt"):
            check_range(f"GaitClock.{name}", getattr(self, name), 0.0, open_low=True)
        check_range("GaitClock.stance", self.stance, 0.01, 0.99)

    def start(self, draw: Draw, moves: Array, xp: Any) -> dict[str, Array]:
        """Return the memory with the clock at any time; ``moves`` (N,) bool: whether the robot shall move."""
        phase = draw.uniform("phase", 0.0, 2.0 * math.pi)
        return {"phase": xp.where(moves[:, None], phase, xp.zeros_like(phase))}

    def advance(self, phase: Array, moves: Array, xp: Any) -> dict[str, Array]:
        """Return the memory a control step after the phase (N, 1) was as given."""
        later = (phase + 2.0 * math.pi * self.frequency_hz * self.control_dt) % (2.0 * math.pi)
        return {"phase": xp.where(moves[:, None], later, xp.zeros_like(later))}

    def targets(self, phase: Array, xp: Any) -> tuple[Array, Array]:
        """Return how high the soles are to be, and which feet are to stand, (N, feet) [m] and bool.

        The heights are a raised cosine over each swing, and 0 while a foot stands.

        Args:
            phase: (N, 1) of the clock [rad].
            xp: the array namespace.
        """
        # the share of its cycle that each foot has behind it
        cycle = (phase / (2.0 * math.pi) + xp.asarray(self.offsets, dtype=phase.dtype)) % 1.0
        swing = xp.maximum((cycle - self.stance) / (1.0 - self.stance), 0.0)
        return (0.5 * self.swing_m) * (1.0 - xp.cos((2.0 * math.pi) * swing)), cycle < self.stance


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


def slip(xp: Any, contact: Array, speed: Array) -> Array:
    """Return the sum of the squared horizontal speeds of the feet on the ground, (N,) [m^2/s^2]."""
    return xp.vecdot(speed * contact, speed)


def beyond(xp: Any, x: Array, low: Array, high: Array) -> Array:
    """Return by how much the entries of x (N, k) lie outside [low, high], summed, (N,)."""
    return xp.sum(xp.abs(x - xp.minimum(xp.maximum(x, low), high)), axis=1)
