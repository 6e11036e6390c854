"""Where observations come from: the vocabulary of `Source` from which a task's terms are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from roborl.errors import ConfigError, UnknownName
from roborl.task.fields import Array, Fields
from roborl.task.terms import Reader, Source

if TYPE_CHECKING:
    import mujoco


def as_index(addresses: list[int]) -> slice | np.ndarray:
    """Return a slice where the addresses are consecutive (a view, no copy), else an index array."""
    first, count = addresses[0], len(addresses)
    if addresses == list(range(first, first + count)):
        return slice(first, first + count)
    return np.array(addresses)


def _joint_addresses(
    model: mujoco.MjModel, names: tuple[str, ...], field_name: str
) -> tuple[list[int], tuple[str, ...]]:
    """Return addresses into qpos, or into a field with an entry for each velocity, and labels; no names: all joints."""
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


def _joint_source(kind: str, names: tuple[str, ...], field_name: str, on_hardware: bool = True) -> Source:
    def bind(model: mujoco.MjModel) -> tuple[Reader, tuple[str, ...]]:
        addresses, labels = _joint_addresses(model, names, field_name)
        index = as_index(addresses)
        return (lambda f: getattr(f, field_name)[:, index]), labels

    return Source(kind, {"joints": list(names) or "all"}, bind, on_hardware)


def cos_sin(angles: Source) -> Source:
    """Cosines, then sines, of angles, (N, 2k): an observation without a jump at half a turn."""
    return _circular("cos_sin", angles, ("cos", "sin"))


def sin_cos(angles: Source) -> Source:
    """Sines, then cosines, of angles, (N, 2k)."""
    return _circular("sin_cos", angles, ("sin", "cos"))


def _circular(kind: str, angles: Source, operations: tuple[str, str]) -> Source:
    def bind(model: mujoco.MjModel) -> tuple[Reader, tuple[str, ...]]:
        read, labels = angles.bind(model)

        def reader(f: Fields) -> Array:
            angle = read(f)
            return f.xp.concat([getattr(f.xp, operation)(angle) for operation in operations], axis=1)

        return reader, tuple(f"{operation}({label})" for operation in operations for label in labels)

    return Source(kind, {"of": angles.describe()}, bind, angles.on_hardware)


def cumulative(angles: Source) -> Source:
    """Sums of the first, the first two, ... entries, (N, k): angles in the world of a chain whose axes are parallel."""

    def bind(model: mujoco.MjModel) -> tuple[Reader, tuple[str, ...]]:
        read, labels = angles.bind(model)

        def reader(f: Fields) -> Array:
            angle = read(f)
            sums = [angle[:, 0:1]]
            for i in range(1, len(labels)):
                sums.append(sums[-1] + angle[:, i : i + 1])
            return f.xp.concat(sums, axis=1)

        return reader, tuple("+".join(labels[: i + 1]) for i in range(len(labels)))

    return Source("cumulative", {"of": angles.describe()}, bind, angles.on_hardware)


def clipped(source: Source, low: float, high: float) -> Source:
    """Another source, clipped to [low, high]."""

    def bind(model: mujoco.MjModel) -> tuple[Reader, tuple[str, ...]]:
        read, labels = source.bind(model)
        return (lambda f: f.xp.clip(read(f), low, high)), labels

    return Source("clipped", {"of": source.describe(), "low": low, "high": high}, bind, source.on_hardware)


def minus(source: Source, values: tuple[float, ...]) -> Source:
    """Another source less constants, (N, k), as joint positions less those of the default pose."""

    def bind(model: mujoco.MjModel) -> tuple[Reader, tuple[str, ...]]:
        read, labels = source.bind(model)
        if len(values) != len(labels):
            raise ConfigError(f"minus needs {len(labels)} values, one for each of {', '.join(labels)}; got {values!r}")

        def reader(f: Fields) -> Array:
            reading = read(f)
            return reading - f.xp.asarray(values, dtype=reading.dtype)

        return reader, labels

    return Source("minus", {"of": source.describe(), "values": list(values)}, bind, source.on_hardware)


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
        index = as_index(addresses)
        return (lambda f: f.sensordata[:, index]), tuple(labels)

    return Source("sensor", {"sensors": list(names)}, bind)


def body_pos(body: str) -> Source:
    """Where a body's frame is in the world, (N, 3) [m]; the task lists ``xpos`` in ``reads``."""

    def bind(model: mujoco.MjModel) -> tuple[Reader, tuple[str, ...]]:
        number = body_number(model, body)
        return (lambda f: f.xpos[:, number]), tuple(f"{body}.{axis}" for axis in "xyz")

    return Source("body_pos", {"body": body}, bind, on_hardware=False)


def body_offset(body: str, origin: str, axes: str = "xyz") -> Source:
    """Where a body's frame is from another's, along axes of the world, (N, k) [m]; ``xpos`` is in ``reads``."""

    def bind(model: mujoco.MjModel) -> tuple[Reader, tuple[str, ...]]:
        number, zero = body_number(model, body), body_number(model, origin)
        columns = as_index(["xyz".index(a) for a in axes])
        labels = tuple(f"{body}-{origin}.{axis}" for axis in axes)
        return (lambda f: (f.xpos[:, number] - f.xpos[:, zero])[:, columns]), labels

    return Source("body_offset", {"body": body, "origin": origin, "axes": axes}, bind, on_hardware=False)


def bodies(field_name: str) -> Source:
    """A field of all bodies but the world, body after body, (N, k): cinert, cvel, cfrc_ext; it is in ``reads``."""

    def bind(model: mujoco.MjModel) -> tuple[Reader, tuple[str, ...]]:
        width = {"cinert": 10, "cvel": 6, "cfrc_ext": 6}[field_name]
        names = [model.body(i).name or f"body{i}" for i in range(1, model.nbody)]

        def reader(f: Fields) -> Array:
            values = getattr(f, field_name)[:, 1:]
            return f.xp.reshape(values, (values.shape[0], -1))

        return reader, tuple(f"{name}.{field_name}[{i}]" for name in names for i in range(width))

    return Source("bodies", {"field": field_name}, bind, on_hardware=False)


def actuator_force(*joints: str) -> Source:
    """What all actuators together do to joints, (N, k) [N or N m]; the task lists ``qfrc_actuator`` in ``reads``."""
    return _joint_source("actuator_force", joints, "qfrc_actuator")


def constraint_force(*joints: str) -> Source:
    """What limits, contacts and friction do to joints, (N, k) [N or N m]; ``qfrc_constraint`` is in ``reads``."""
    return _joint_source("constraint_force", joints, "qfrc_constraint", on_hardware=False)


def body_number(model: mujoco.MjModel, name: str) -> int:
    """Return a body's number.

    Raises:
        UnknownName: if the model lacks the body.
    """
    known = [model.body(i).name for i in range(model.nbody)]
    if name not in known:
        raise UnknownName("body", name, known)
    return known.index(name)


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


def derived(name: str, width: int = 1) -> Source:
    """A derived field of the task's own, (N, width), listed in its ``derives``: not available on hardware."""

    def bind(model: mujoco.MjModel) -> tuple[Reader, tuple[str, ...]]:
        labels = (name,) if width == 1 else tuple(f"{name}[{i}]" for i in range(width))
        return (lambda f: getattr(f, name)), labels

    return Source("derived", {"field": name}, bind, on_hardware=False)


def computed(name: str, function: Reader, labels: tuple[str, ...]) -> Source:
    """A free function of the fields, (N, len(labels)): allowed, and marked as not available on hardware."""

    def bind(model: mujoco.MjModel) -> tuple[Reader, tuple[str, ...]]:
        return function, labels

    return Source("computed", {"function": name}, bind, on_hardware=False)
