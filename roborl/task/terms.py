"""Observation terms: a small vocabulary from which observations, their documentation and robot code are made.

A Source says where numbers come from; a Term gives them a name, a unit, and what a real sensor does to them. Sources
are data: `describe` returns them as JSON, from which a deployed policy's contract is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from roborl.errors import UnknownName, check_count, check_range
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


@dataclass(frozen=True)
class Term:
    """One named part of an observation.

    With noise, delay or history a term is *recorded*: its readings live in the simulation's memory, so that the
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

    delay: int = 0
    """Control steps by which a reading is late."""

    history: int = 1
    """How many readings are given, oldest first, one control step apart; at a reset all are the first one."""

    def __post_init__(self) -> None:
        check_range(f"noise of term {self.name!r}", self.noise, 0.0)
        check_count(f"delay of term {self.name!r}", self.delay, 0)
        check_count(f"history of term {self.name!r}", self.history, 1)

    @property
    def recorded(self) -> bool:
        """Whether its readings live in memory."""
        return self.noise > 0.0 or self.delay > 0 or self.history > 1


def _as_index(addresses: list[int]) -> slice | np.ndarray:
    """Return a slice where the addresses are consecutive (a view, no copy), else an index array."""
    first, count = addresses[0], len(addresses)
    if addresses == list(range(first, first + count)):
        return slice(first, first + count)
    return np.array(addresses)


def _joint_addresses(
    model: mujoco.MjModel, names: tuple[str, ...], field_name: str
) -> tuple[list[int], tuple[str, ...]]:
    """Return addresses into qpos or qvel and labels; no names: all joints."""
    known = [model.joint(i).name for i in range(model.njnt)]
    addresses: list[int] = []
    labels: list[str] = []
    starts, total = (model.jnt_qposadr, model.nq) if field_name == "qpos" else (model.jnt_dofadr, model.nv)
    ends = [*starts[1:], total]
    for name in names or known:
        if name not in known:
            raise UnknownName("joint", name, known)
        joint = known.index(name)
        width = int(ends[joint] - starts[joint])
        addresses += range(int(starts[joint]), int(ends[joint]))
        labels += [name] if width == 1 else [f"{name}[{i}]" for i in range(width)]
    return addresses, tuple(labels)


def joint_pos(*names: str) -> Source:
    """Joint positions, (N, k): radians, metres, or a free joint's 7 numbers; no names: every joint's."""
    return _joint_source("joint_pos", names, "qpos")


def joint_vel(*names: str) -> Source:
    """Joint velocities, (N, k); no names: every joint's."""
    return _joint_source("joint_vel", names, "qvel")


def _joint_source(kind: str, names: tuple[str, ...], field_name: str) -> Source:
    def bind(model: mujoco.MjModel) -> tuple[Reader, tuple[str, ...]]:
        addresses, labels = _joint_addresses(model, names, field_name)
        index = _as_index(addresses)
        if field_name == "qpos":
            return (lambda f: f.qpos[:, index]), labels
        return (lambda f: f.qvel[:, index]), labels

    return Source(kind, {"joints": list(names) or "all"}, bind)


def cos_sin(angles: Source) -> Source:
    """Cosines, then sines, of angles, (N, 2k): an observation without a jump at half a turn."""

    def bind(model: mujoco.MjModel) -> tuple[Reader, tuple[str, ...]]:
        read, labels = angles.bind(model)

        def reader(f: Fields) -> Array:
            angle = read(f)
            return f.xp.concat((f.xp.cos(angle), f.xp.sin(angle)), axis=1)

        return reader, tuple(f"{op}({label})" for op in ("cos", "sin") for label in labels)

    return Source("cos_sin", {"of": angles.describe()}, bind, angles.on_hardware)


def clipped(source: Source, low: float, high: float) -> Source:
    """Another source, clipped to [low, high]."""

    def bind(model: mujoco.MjModel) -> tuple[Reader, tuple[str, ...]]:
        read, labels = source.bind(model)
        return (lambda f: f.xp.clip(read(f), low, high)), labels

    return Source("clipped", {"of": source.describe(), "low": low, "high": high}, bind, source.on_hardware)


def sensor(*names: str) -> Source:
    """Readings of the model's named sensors, (N, k); the task lists ``sensordata`` in ``reads``."""

    def bind(model: mujoco.MjModel) -> tuple[Reader, tuple[str, ...]]:
        known = [model.sensor(i).name for i in range(model.nsensor)]
        addresses: list[int] = []
        labels: list[str] = []
        for name in names:
            if name not in known:
                raise UnknownName("sensor", name, known)
            start, width = int(model.sensor(name).adr[0]), int(model.sensor(name).dim[0])
            addresses += range(start, start + width)
            labels += [name] if width == 1 else [f"{name}[{i}]" for i in range(width)]
        index = _as_index(addresses)
        return (lambda f: f.sensordata[:, index]), tuple(labels)

    return Source("sensor", {"sensors": list(names)}, bind)


def remembered(name: str, width: int = 1) -> Source:
    """An array of the task's memory, (N, width), as a command."""

    def bind(model: mujoco.MjModel) -> tuple[Reader, tuple[str, ...]]:
        labels = (name,) if width == 1 else tuple(f"{name}[{i}]" for i in range(width))
        return (lambda f: f.memory[name]), labels

    return Source("remembered", {"memory": name}, bind)


LAST_ACTION = "action/last"
"""The memory in which the last action is kept for tasks that observe it."""


def last_action(width: int) -> Source:
    """The last action as the policy gave it, (N, width); 0 after a reset."""

    def bind(model: mujoco.MjModel) -> tuple[Reader, tuple[str, ...]]:
        return (lambda f: f.memory[LAST_ACTION]), tuple(f"last_action[{i}]" for i in range(width))

    return Source("last_action", {}, bind)


def parameter(name: str) -> Source:
    """A parameter of the simulation, (N, k): known in simulation alone, for a critic's group."""

    def bind(model: mujoco.MjModel) -> tuple[Reader, tuple[str, ...]]:
        return (lambda f: f.params[name]), (name,)

    return Source("parameter", {"parameter": name}, bind, on_hardware=False)


def computed(name: str, function: Reader, labels: tuple[str, ...]) -> Source:
    """A free function of the fields, (N, len(labels)): allowed, and marked as not available on hardware."""

    def bind(model: mujoco.MjModel) -> tuple[Reader, tuple[str, ...]]:
        return function, labels

    return Source("computed", {"function": name}, bind, on_hardware=False)
