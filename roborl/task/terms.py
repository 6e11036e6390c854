"""Observation terms: a small vocabulary from which observations, their documentation and robot code are made.

A Source says where numbers come from; a Term gives them a name, a unit, and what a real sensor does to them. Sources
are data: `describe` returns them as JSON, from which a deployed policy's contract is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roborl.errors import check_count, check_range
from roborl.task.fields import Array, Fields

if TYPE_CHECKING:
    import mujoco

Reader = Callable[[Fields], Array]
"""Fields -> (N, k)."""


@dataclass(frozen=True)
class Source:
    """Where an observation comes from.

    Attributes:
        kind: the operation's name.
        arguments: what the operation was given; JSON.
        bind: model -> (reader, labels of the k entries); raises UnknownName for a name the model lacks.
        on_hardware: whether a robot can measure or know it.
    """

    kind: str
    arguments: dict[str, Any]
    bind: Callable[[mujoco.MjModel], tuple[Reader, tuple[str, ...]]] = field(repr=False, compare=False)
    on_hardware: bool = True

    def describe(self) -> dict[str, Any]:
        """Return the source as JSON."""
        return {"kind": self.kind, **self.arguments}

    def origin(self) -> dict[str, Any]:
        """Return, as `describe` does, the innermost source of those made of another."""
        source = self.describe()
        while "of" in source:
            source = source["of"]
        return source

    @property
    def measured(self) -> bool:
        """Whether it is read off the physics, by a sensor that may be wrong; what the controller knows is not."""
        return self.origin()["kind"] not in ("remembered", "last_action", "parameter")

    def __getitem__(self, entries: slice) -> Source:
        """Return some of the entries, as in ``joint_pos()[2:]``."""

        def bind(model: mujoco.MjModel) -> tuple[Reader, tuple[str, ...]]:
            read, labels = self.bind(model)
            return (lambda f: read(f)[:, entries]), labels[entries]

        arguments = {"of": self.describe(), "start": entries.start, "stop": entries.stop, "step": entries.step}
        return Source("entries", arguments, bind, self.on_hardware)


@dataclass(frozen=True)
class Term:
    """One named part of an observation.

    With noise, bias, delay or history a term is *recorded*: its readings live in the simulation's memory, so that the
    observation remains a function of the saved state.
    """

    name: str
    """The term's name, unique within its group."""

    source: Source
    """Where it comes from."""

    unit: str = ""
    """The unit of its entries."""

    frame: str = ""
    """The frame in which it is expressed, where it has one."""

    noise: float = 0.0
    """Standard deviation of the white noise of each reading, in ``unit``."""

    bias: float = 0.0
    """Greatest bias of the readings of an episode, uniform to either side, in ``unit``."""

    delay: int = 0
    """Control steps by which a reading is late."""

    history: int = 1
    """How many readings are given, oldest first, one control step apart; at a reset all are the first one."""

    def __post_init__(self) -> None:
        check_range(f"noise of term {self.name!r}", self.noise, 0.0)
        check_range(f"bias of term {self.name!r}", self.bias, 0.0)
        check_count(f"delay of term {self.name!r}", self.delay, 0)
        check_count(f"history of term {self.name!r}", self.history, 1)

    @property
    def recorded(self) -> bool:
        """Whether its readings live in memory."""
        return self.noise > 0.0 or self.bias > 0.0 or self.delay > 0 or self.history > 1
