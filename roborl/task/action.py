"""The action of a task: what a policy's or a planner's numbers mean."""

from __future__ import annotations

from dataclasses import dataclass

from roborl.errors import ConfigError, check_count


@dataclass(frozen=True)
class Action:
    """How an action becomes MuJoCo's ``ctrl``: ``ctrl = default + scale * action``, after the delay.

    A task may replace the law by its own ``control(f, action)``. Left alone, an action is the actuators' control
    itself, within their ``ctrlrange``.
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

    scale: float = 1.0
    """Control units for one unit of the action."""

    delay: tuple[int, int] = (0, 0)
    """Control steps between the choice of an action and its effect, drawn for each episode, both ends included."""

    def __post_init__(self) -> None:
        shortest, longest = self.delay
        check_count("Action.delay's shorter end", shortest, 0)
        check_count("Action.delay's longer end", longest, shortest)
        if (self.low is None) != (self.high is None):
            raise ConfigError("Action.low and Action.high must be given together, got only one of them")
