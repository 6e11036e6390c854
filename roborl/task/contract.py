"""Task: the contract that every task keeps, with defaults that keep a plain task short."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from roborl.errors import ConfigError, UnknownName
from roborl.task.action import Action
from roborl.task.fields import Array, Fields
from roborl.task.parameters import Parameter
from roborl.task.randomization import Randomization

if TYPE_CHECKING:
    import mujoco

    from roborl.task.draw import Draw

LEVEL = "level"
"""The memory of each simulation's level, where the task has levels."""


@dataclass(frozen=True)
class Residual:
    """One term of a smooth cost: ``weight * norm(value)``, with norm half the square, as least squares want it.

    Attributes:
        value: (N, k), zero where all is well.
        weight: its weight.
    """

    value: Array
    weight: float = 1.0

    def cost(self, xp: Any) -> Array:
        """Return ``weight / 2 * |value|^2``, (N,)."""
        return 0.5 * self.weight * xp.sum(self.value * self.value, axis=1)


@dataclass(frozen=True)
class TaskOptions:
    """The options that every task has."""

    randomization: Randomization = field(default=Randomization(), kw_only=True)
    """What makes the simulations like real robots; its fields are options of the task too."""

    xml_file: str | None = field(default=None, kw_only=True)
    """The path of an MJCF to use instead of the task's robot: a variant of it, with the names that the task reads."""


class Task(TaskOptions, ABC):
    """What is wanted of a robot.

    The functions take `Fields` over N simulations and give arrays whose first axis is N. They compute with ``f.xp``,
    so that the same definition runs on numpy arrays in environments and on torch tensors in learned models. They
    never close over a value that differs between simulations: that is in ``f.params``. They are functions of their
    arguments alone: simulations trace them once, and from then on run what was traced (`roborl.rows`).

    A task with options of its own is a frozen dataclass whose fields are the options.
    """

    def __init_subclass__(cls) -> None:
        """Raise ConfigError if the task has an option of its own with the name of one that every task has."""
        for name in cls.__dict__.get("__annotations__", {}):
            if name in vars(Randomization()):
                raise ConfigError(f"{cls.__name__} has an option of its own named {name!r}, which every task has")

    def __post_init__(self) -> None:
        """Check the options that are one of a few names.

        Raises:
            UnknownName: if one is another.
        """
        for option, names in self.choices.items():
            if getattr(self, option) not in names:
                raise UnknownName(option, getattr(self, option), names)

    robot: Any
    """A model of `roborl.models` ("cartpole"), one of Gymnasium's ("gymnasium/hopper"), or an MJCF's path (.xml): a
    str. A property where options decide."""

    control_dt: ClassVar[float]
    """Seconds between actions; a whole multiple of the model's time step."""

    episode_length_s: ClassVar[float]
    """Seconds after which an episode is truncated."""

    observations: Any
    """Groups of terms, ``Mapping[str, Sequence[Term]]``: "policy" is what a policy sees; "critic", where there is one,
    what a critic may see. A property where options decide."""

    action: Any = Action()
    """What an action is: an `Action`. A property where options decide."""

    memory: Any = {}
    """The task's own arrays that live with the simulation, ``Mapping[str, int]``: name -> width. A property where
    options decide."""

    params: ClassVar[Mapping[str, Parameter]] = {}
    """The values that differ between simulations."""

    levels: ClassVar[int] = 0
    """How many levels of difficulty there are; with at least one, ``f.memory["level"] (N, 1)`` is each simulation's,
    which outlasts its episodes: see `promotion`."""

    first_levels: ClassVar[int] = 1
    """A simulation's first level is drawn from the lowest so many."""

    choices: ClassVar[Mapping[str, Sequence[str]]] = {}
    """The task's own options that are one of a few names: option -> the names."""

    reads: Any = ()
    """Names of the derived fields that the task reads (``sensordata``, ``site_xpos``, ...), beside qpos, qvel, act,
    ctrl and time. A property where options decide."""

    derives: Any = {}
    """The task's own derived fields, ``Mapping[str, int]``: name -> width; what `derive` computes once for each state,
    and observations, rewards and terminations then read as ``f.NAME (N, width)``. A property where options decide."""

    derived: ClassVar[str] = "as_stepped"
    """Whether derived fields are "current" or "as_stepped", one substep behind, as Gymnasium's tasks read them."""

    camera: ClassVar[dict[str, Any] | str] = {}
    """The camera of pictures: a camera's name in the model, or attributes of `mujoco.MjvCamera`."""

    def edit(self, spec: mujoco.MjSpec) -> None:  # noqa: B027  a task may leave it as it is
        """Change the model before it is compiled, as an option asks; by default nothing."""

    @abstractmethod
    def reset(self, draw: Draw, f: Fields) -> dict[str, Array]:
        """Return the state at the start of an episode.

        Args:
            draw: the source of randomness.
            f: the simulations at the model's default state, parameters already drawn.

        Returns:
            Values by name, of state fields (``qpos (N, nq)``, ``qvel (N, nv)``, ...) and of memory; what is not named
            stays at the model's default and at 0.
        """

    def control(self, f: Fields, action: Array) -> Array:
        """Return the actuators' control (N, nu) for an action (N, na); by default as `action` says.

        Actuators beyond its entries keep their control.
        """
        xp, law = f.xp, self.action

        def row(values: Sequence[float] | float) -> Array:
            return xp.asarray(values, dtype=action.dtype)

        control, width = action, action.shape[1]
        if any(law.moves):  # none moves faster than its bounds allow
            control = xp.minimum(xp.maximum(control, row(law.low)), row(law.high))
        if law.scale != 1.0:
            control = row(law.scale) * control
        if law.default is not None:
            control = row(law.default) + control
        if any(law.moves):
            control = row(law.moves) * f.ctrl[:, :width] + control
        if any(law.lead):
            lead, joints = row([lead or math.inf for lead in law.lead]), self.driven(f)
            control = xp.minimum(xp.maximum(control, joints - lead), joints + lead)
        if law.lower:
            control = xp.minimum(xp.maximum(control, row(law.lower)), row(law.upper))
        return control if width == f.ctrl.shape[1] else xp.concat((control, f.ctrl[:, width:]), axis=1)

    def driven(self, f: Fields) -> Array:
        """Return the positions of the joints that the action's entries drive, (N, na), where the action has a lead."""
        raise ConfigError(f"{type(self).__name__}.action has a lead: define driven, the joints that it is before")

    def derive(self, f: Fields) -> dict[str, Array]:
        """Return the task's own derived fields (N, width) by name, from the state, what it reads, and parameters."""
        return {}

    def advance(self, f: Fields, action: Array, draw: Draw) -> dict[str, Array]:
        """Return the memory after a step: the arrays that change, from fields whose memory is the old one."""
        return {}

    @abstractmethod
    def reward_terms(self, before: Fields, action: Array, after: Fields) -> dict[str, Array]:
        """Return the named terms of the reward, (N,) each; their sum is the reward.

        Args:
            before: the state in which the action was chosen.
            action: (N, na), as the policy gave it.
            after: the state one control period later, memory advanced.
        """

    def terminated(self, after: Fields) -> Array | None:
        """Return (N,) bool, true where an episode ends for good, beyond which there is no value; None: never."""
        return None

    def promotion(self, last: Fields) -> Array:
        """Return by how many levels to go up, (N,), from the state in which an episode ended; by default 0.

        It is asked of all simulations, and means nothing for those whose episodes go on.

        Levels stay within ``0, ..., levels - 1``; who goes beyond the highest is given any of them anew, so that none
        is forgotten.
        """
        return last.xp.zeros_like(last.time)

    def success(self, after: Fields) -> Array | None:
        """Return (N,) bool, true where the goal is reached; None: the task has no such notion."""
        return None

    def goal_reward(self, achieved: Array, desired: Array, xp: Any) -> Array:
        """Return the part of the reward that depends on the goal, (N,), from goals alone, so that it can be another.

        Only for a task whose observations have the groups "achieved_goal" and "desired_goal", one term each; where the
        goal stands in other groups, it is a term with the same source.

        Args:
            achieved: (N, k) what was achieved after the step.
            desired: (N, k) the goal, any.
            xp: the array namespace.
        """
        raise UnsupportedGoals(f"{type(self).__name__} has no goals; define goal_reward")

    def stage_residuals(self, after: Fields, action: Array) -> dict[str, Residual]:
        """Return the smooth cost of a step, for planners that want gradients, term by term."""
        raise UnsupportedCost(f"{type(self).__name__} has no smooth cost; define stage_residuals")

    def terminal_residuals(self, after: Fields) -> dict[str, Residual]:
        """Return the smooth cost of the last state of a plan; by default none."""
        return {}

    @property
    def episode_steps(self) -> int:
        """Control steps in an episode."""
        return round(self.episode_length_s / self.control_dt)

    @property
    def model_source(self) -> str:
        """The model that is loaded: the user's file, or else the robot."""
        return self.robot if self.xml_file is None else self.xml_file

    @property
    def remembers(self) -> dict[str, int]:
        """What an observation may be of, name -> width: the task's own memory, and the level where there are any."""
        return dict(self.memory) | ({LEVEL: 1} if self.levels > 0 else {})

    @property
    def action_delay(self) -> tuple[int, int]:
        """The shortest and the longest delay of an action, in control steps: the randomisation's, or the task's own."""
        delay = self.randomization.action_delay
        return self.action.delay if delay is None else delay

    def parameters(self) -> dict[str, Parameter]:
        """Return all parameters that are drawn: the task's own and those of its randomisation.

        Raises:
            ConfigError: if one name stands for two.
        """
        drawn = self.randomization.parameters()
        twice = drawn.keys() & self.params.keys()
        if twice:
            raise ConfigError(f"{type(self).__name__}.params has a name of the randomisation's: {sorted(twice)}")
        return {**self.params, **drawn}

    def options(self) -> dict[str, Any]:
        """Return the task's own options and their values, then those that every task has."""
        common = [option.name for option in fields(TaskOptions)]
        own = {option.name: getattr(self, option.name) for option in fields(self) if option.name not in common}
        return own | {"xml_file": self.xml_file} | vars(self.randomization)

    def with_options(self, **options: Any) -> Self:
        """Return the task with other options.

        Raises:
            UnknownName: if there is no such option.
            ConfigError: if one is outside what is allowed.
        """
        if not options:
            return self
        for name in options:
            if name not in self.options():
                raise UnknownName(f"option of {type(self).__name__}", name, self.options())
        common = vars(self.randomization)
        drawn = {name: value for name, value in options.items() if name in common}
        own = {name: value for name, value in options.items() if name not in common}
        if drawn:
            own["randomization"] = replace(self.randomization, **drawn)
        return replace(self, **own)


class UnsupportedGoals(ConfigError):
    """A learner wants to put other goals in place in a task that has none."""


class UnsupportedCost(ConfigError):
    """A planner wants a smooth cost that a task does not define."""


def stage_cost(task: Task, after: Fields, action: Array) -> Array:
    """Return the smooth cost of a step, (N,): the sum of the task's stage residuals' costs."""
    return _total(task.stage_residuals(after, action), after)


def terminal_cost(task: Task, after: Fields) -> Array:
    """Return the smooth cost of a plan's last state, (N,)."""
    return _total(task.terminal_residuals(after), after)


def _total(residuals: Mapping[str, Residual], f: Fields) -> Array:
    costs = [residual.cost(f.xp) for residual in residuals.values()]
    return sum(costs[1:], start=costs[0]) if costs else f.xp.zeros_like(f.qpos[:, 0])
