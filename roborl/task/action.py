"""The action of a task: what a policy's or a planner's numbers mean."""

from __future__ import annotations

from dataclasses import dataclass

from roborl.errors import ConfigError, check_count


@dataclass(frozen=True)
class Action:
    """How an action becomes MuJoCo's ``ctrl``: ``ctrl = default + scale * action``, after the delay.

    Entries that move their control on count from the control before instead of from the default. A task may replace
    the law by its own ``control(f, action)``. Left alone, an action is the actuators' control itself, within their
    ``ctrlrange``.
    """

    names: tuple[str, ...] | None = None
    """The names of the action's entries; None: the actuators' names."""

    low: tuple[float, ...] | None = None
    """The lower bounds, in ``unit``; None: the actuators' ``ctrlrange``."""

    high: tuple[float, ...] | None = None
    """The upper bounds."""

    unit: str = ""
    """The unit of the action's entries."""

    default: tuple[float, ...] | None = None
    """The control at action 0, as a default pose; None: 0."""

    scale: float | tuple[float, ...] = 1.0
    """Control units for one unit of the action: one number, or one for each entry."""

    moves: tuple[bool, ...] = ()
    """Which entries move their control on, ``ctrl = previous ctrl + scale * action``; empty: none."""

    lead: tuple[float, ...] = ()
    """How far a control that moves may be from its joint's position; 0: any. Empty: any for all. A task with one
    says in `driven` which joints those are."""

    lower: tuple[float, ...] = ()
    """What each entry's control is not less than, at last; empty: nothing but ``ctrlrange``."""

    upper: tuple[float, ...] = ()
    """What it is not more than."""

    delay: tuple[int, int] = (0, 0)
    """Control steps between the choice of an action and its effect, drawn for each episode, both ends included."""

    def __post_init__(self) -> None:
        shortest, longest = self.delay
        check_count("Action.delay's shorter end", shortest, 0)
        check_count("Action.delay's longer end", longest, shortest)
        if (self.low is None) != (self.high is None):
            raise ConfigError("Action.low and Action.high must be given together, got only one of them")
        if bool(self.lower) != bool(self.upper):
            raise ConfigError("Action.lower and Action.upper must be given together, got only one of them")
        if any(self.moves) and self.low is None:
            raise ConfigError("Action.moves needs the action's bounds, low and high: they are how fast it moves")
        width = None if self.names is None else len(self.names)
        for name in ("moves", "lead", "lower", "upper"):
            value = getattr(self, name)
            if value and len(value) != width:
                raise ConfigError(f"Action.{name} needs an entry for each of Action.names, got {value!r}")

    @property
    def plain(self) -> bool:
        """Whether control follows from the action alone."""
        return not any(self.moves)
