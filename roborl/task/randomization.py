"""What makes a simulation like a real robot, as options of every task: drawn anew for each simulation at each reset.

Everything is drawn from the model's nominal values and from the simulation's own seed. By default all is off, so that a
task is what its file says; a task may turn some of it on by a default of its own::

    @dataclass(frozen=True)
    class MyTask(Task):
        randomization: Randomization = Randomization(friction=(0.5, 1.25), action_delay=(0, 1))
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from roborl.errors import ConfigError, check_count, check_range
from roborl.task.parameters import GravityTilt, Parameter, Scale, Shift

Pair = tuple[float, float]
"""The two ends of a range, the lower one first."""


@dataclass(frozen=True)
class Randomization:
    """The ranges of what differs between simulations; None and 0 are off.

    On the command line: ``--option mass=[0.8,1.2] --option sensor_noise=0.01``.
    """

    mass: Pair | None = None
    """Multiples of each body's mass, its inertia with it."""

    inertia: Pair | None = None
    """Multiples of each body's inertia alone."""

    com: float = 0.0
    """Greatest shift of each body's centre of mass along each of its axes [m]."""

    friction: Pair | None = None
    """Multiples of the sliding friction of all contacts, one for the simulation."""

    joint_friction: Pair | None = None
    """Dry friction added to each joint [N or N m]."""

    damping: Pair | None = None
    """Multiples of each joint's damping."""

    armature: Pair | None = None
    """Multiples of each joint's armature."""

    motor_strength: Pair | None = None
    """Multiples of what each motor does for the same control, its limit with it."""

    gains: Pair | None = None
    """Multiples of each position servo's stiffness, and others of its damping."""

    gravity_tilt: float = 0.0
    """Greatest angle of gravity from its nominal direction [rad]: as if the robot stood on a slope."""

    initial_pos: float = 0.0
    """Greatest shift of each joint at the start [rad or m], within the joint's limits."""

    initial_vel: float = 0.0
    """Greatest change of each joint's speed at the start [rad/s or m/s]."""

    sensor_noise: float | Mapping[str, float] = field(default_factory=dict)
    """Standard deviation of the white noise of what a policy sees, in each term's unit: one number for all terms, or
    one by the term's name; the terms' own where nothing is given."""

    sensor_bias: float | Mapping[str, float] = field(default_factory=dict)
    """Greatest bias of what a policy sees, constant in an episode, as for ``sensor_noise``."""

    observation_delay: tuple[int, int] = (0, 0)
    """Control steps by which all that a policy sees is late, drawn for each episode, both ends included."""

    action_delay: tuple[int, int] | None = None
    """Control steps between the choice of an action and its effect, drawn for each episode; None: the task's own."""

    push_speed: Pair | None = None
    """Speed that a push gives the whole robot, to any side [m/s]."""

    push_interval_s: Pair = (5.0, 10.0)
    """Seconds between pushes, drawn after each."""

    push_body: str | None = None
    """The body that is pushed; None: the first that moves."""

    def __post_init__(self) -> None:
        for option in fields(self):
            value: Any = getattr(self, option.name)
            if isinstance(value, list):  # as JSON has it
                value = tuple(value)
                object.__setattr__(self, option.name, value)
            if value is not None:
                _check(option.name, value)

    def parameters(self) -> dict[str, Parameter]:
        """Return the parameters that are drawn, by the name under which they stand in ``f.params``."""
        drawn: dict[str, Parameter] = {
            name: Scale(entries, *getattr(self, option), shared=name == "friction")
            for name, (option, entries) in _SCALES.items()
            if getattr(self, option) is not None
        }
        if self.com > 0.0:
            drawn["com"] = Shift("body_ipos", -self.com, self.com, "m")
        if self.joint_friction is not None:
            drawn["joint_friction"] = Shift("dof_frictionloss", *self.joint_friction, "N or N m")
        if self.gravity_tilt > 0.0:
            drawn["gravity"] = GravityTilt(self.gravity_tilt)
        return drawn


_DELAYS = ("observation_delay", "action_delay")
_SENSOR = ("sensor_noise", "sensor_bias")

_POSITIVE = ("mass", "inertia", "push_interval_s")
_PAIRS = (
    *_POSITIVE,
    *("friction", "joint_friction", "damping", "armature", "motor_strength", "gains", "push_speed"),
)

_SCALES: dict[str, tuple[str, dict[str, tuple[int, ...]]]] = {
    "mass": ("mass", {"body_mass": (), "body_inertia": ()}),
    "inertia": ("inertia", {"body_inertia": ()}),
    "friction": ("friction", {"geom_friction": (0,)}),
    "damping": ("damping", {"dof_damping": ()}),
    "armature": ("armature", {"dof_armature": ()}),
    "motor_strength": (
        "motor_strength",
        {"actuator_gainprm": (0, 1, 2), "actuator_biasprm": (0, 1, 2), "actuator_forcerange": ()},
    ),
    # force = kp (ctrl - q) - kd qvel: gain kp, biases 0, -kp and -kd (MuJoCo's affine bias)
    "stiffness": ("gains", {"actuator_biasprm": (1,), "actuator_gainprm": (0,)}),
    "servo_damping": ("gains", {"actuator_biasprm": (2,)}),
}
"""Parameter -> the option that turns it on, and what it scales."""


def _check(name: str, value: Any) -> None:
    """Raise ConfigError unless a value is one that its option can take."""
    if name in _DELAYS or name in _PAIRS:
        if not (isinstance(value, tuple) and len(value) == 2):
            raise ConfigError(f"{name} must be two numbers, the lower one first, got {value!r}")
        low, high = value
        if name in _DELAYS:
            check_count(f"{name}'s shorter end", low, 0)
            check_count(f"{name}'s longer end", high, low)
        else:
            check_range(f"{name}'s lower end", low, 0.0, open_low=name in _POSITIVE)
            check_range(f"{name}'s upper end", high, low)
    elif name in _SENSOR:
        for term, number in value.items() if isinstance(value, Mapping) else [("of all terms", value)]:
            check_range(f"{name} {term}", number, 0.0)
    elif name != "push_body":
        check_range(name, value, 0.0, 1.5 if name == "gravity_tilt" else math.inf)
