"""Observer: a task's groups of terms, bound to a model; reads them, and keeps the recorded ones in memory."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from roborl.errors import ConfigError, UnknownName
from roborl.task.contract import Task
from roborl.task.fields import Array, Fields
from roborl.task.randomization import Randomization
from roborl.task.sources import LAST_ACTION
from roborl.task.terms import Reader, Term

if TYPE_CHECKING:
    import mujoco

    from roborl.task.draw import Draw

OBS_DELAY = "obs/delay"
"""The memory of the control steps by which a policy's observation is late."""


@dataclass(frozen=True)
class BoundTerm:
    """A term of a group, bound to a model.

    Attributes:
        term: the term.
        read: fields -> the current reading, (N, width).
        labels: names of the reading's entries.
        start: where it begins in its group's observation.
        key: the memory that holds its readings, where it is recorded.
        late: the most control steps by which, beside the term's own delay, it may be late.
    """

    term: Term
    read: Reader
    labels: tuple[str, ...]
    start: int
    key: str
    late: int

    @functools.cached_property
    def width(self) -> int:
        """Entries of one reading."""
        return len(self.labels)

    @functools.cached_property
    def size(self) -> int:
        """Entries in the observation: one reading for each moment of the history."""
        return self.width * self.term.history

    @functools.cached_property
    def recorded(self) -> bool:
        """Whether its readings live in memory."""
        return self.term.recorded or self.late > 0

    @functools.cached_property
    def memory_size(self) -> int:
        """Entries that its memory holds: the history, and what is still on its way."""
        return self.width * (self.term.history + self.term.delay + self.late)

    @functools.cached_property
    def bias_key(self) -> str:
        """The memory that holds its bias."""
        return f"{self.key}/bias"

    def seen(self, f: Fields) -> Array:
        """Return its part of the observation, (N, size)."""
        if not self.recorded:
            return self.read(f)
        readings = f.memory[self.key]
        if not self.late:
            return readings[:, : self.size]
        late = f.memory[OBS_DELAY]
        windows = [readings[:, i * self.width : i * self.width + self.size] for i in range(self.late + 1)]
        seen = windows[-1]  # readings are the oldest first
        for steps in range(1, self.late + 1):
            seen = f.xp.where(late >= steps, windows[-1 - steps], seen)
        return seen

    def describe(self) -> dict[str, Any]:
        """Return the term's line of the observation table, as JSON."""
        term = self.term
        return {
            "name": term.name,
            "start": self.start,
            "stop": self.start + self.size,
            "entries": list(self.labels),
            "unit": term.unit,
            "frame": term.frame,
            "noise": term.noise,
            "bias": term.bias,
            "delay": term.delay,
            "history": term.history,
            "source": term.source.describe(),
            "on_hardware": term.source.on_hardware,
        }


class Observer:
    """Reads a task's observation groups.

    Attributes:
        groups: group -> its bound terms.
        widths: group -> entries of its observation.
        memory: the memory that recorded terms and the last action need, name -> width.
        recorded: the memory of the recorded terms' readings.
    """

    def __init__(self, task: Task, model: mujoco.MjModel, action_width: int) -> None:
        self.groups: dict[str, list[BoundTerm]] = {}
        self.memory: dict[str, int] = {}
        observations: Mapping[str, Sequence[Term]] = task.observations
        if "policy" not in observations:
            raise ConfigError(f"{type(task).__name__}.observations needs a group 'policy', got {list(observations)}")
        self._delay = task.randomization.observation_delay
        self._recorded: list[BoundTerm] = []
        sensors = _sensors(task.randomization, observations["policy"])
        keys: dict[int, str] = {}  # one term in several groups is one sensor, with one memory
        for group, terms in observations.items():
            start = 0
            self.groups[group] = []
            for declared in terms:
                if any(declared.name == earlier.term.name for earlier in self.groups[group]):
                    raise ConfigError(f"{type(task).__name__}.observations[{group!r}] has two terms {declared.name!r}")
                _check_names(task, declared)
                term = sensors.get(id(declared), declared)
                read, labels = term.source.bind(model)
                key = keys.setdefault(id(declared), f"obs/{group}/{term.name}")
                late = self._delay[1] if id(declared) in sensors else 0
                bound = BoundTerm(term, read, labels, start, key, late)
                self.groups[group].append(bound)
                start += bound.size
                if bound.recorded and key not in self.memory:
                    self.memory[key] = bound.memory_size
                    self._recorded.append(bound)
                    if term.bias > 0.0:
                        self.memory[bound.bias_key] = bound.width
                if term.source.kind == "last_action":
                    self.memory[LAST_ACTION] = action_width
        if self._delay[1] > 0:
            self.memory[OBS_DELAY] = 1
        self.recorded = [b.key for b in self._recorded]
        noisy = [b for b in self._recorded if b.term.noise > 0.0]
        self._noise = np.repeat([b.term.noise for b in noisy], [b.width for b in noisy])
        self.widths = {group: sum(b.size for b in bound) for group, bound in self.groups.items()}

    def check(self, f: Fields) -> None:
        """Raise ConfigError for a term that cannot be read, or whose reading is not as wide as it is said to be."""
        for bound in self.groups.values():
            for b in bound:
                try:
                    shape = tuple(b.read(f).shape)
                except (AttributeError, IndexError, KeyError) as error:
                    raise ConfigError(f"the observation term {b.term.name!r} cannot be read: {error}") from error
                if shape != (len(f.qpos), b.width):
                    raise ConfigError(
                        f"the observation term {b.term.name!r} must have the shape ({len(f.qpos)}, {b.width}), "
                        f"a column for each of {', '.join(b.labels)}; got {shape}"
                    )

    def begin(self, draw: Draw) -> dict[str, Array]:
        """Return the memory of what sensors are like in episodes that begin: their biases, and how late they are."""
        drawn: dict[str, Array] = {}
        if self._delay[1] > 0:
            drawn[OBS_DELAY] = draw.integers(OBS_DELAY, *self._delay)
        for b in self._recorded:
            if b.term.bias > 0.0:
                drawn[b.bias_key] = draw.uniform(b.bias_key, -b.term.bias, b.term.bias, size=b.width)
        return drawn

    def noise(self, draw: Draw) -> Array:
        """Return the noise of one reading, that of all terms side by side, (N, noisy entries)."""
        if not len(self._noise):
            return np.empty((len(draw), 0))
        return draw.normal("obs/noise", size=len(self._noise)) * self._noise

    def record(self, f: Fields, noise: Array, first: bool) -> dict[str, Array]:
        """Return the memory of the recorded terms after one more reading; at a reset every reading is the first."""
        updates: dict[str, Array] = {}
        start = 0
        for b in self._recorded:
            reading = b.read(f)
            if b.term.bias > 0.0:
                reading = reading + f.memory[b.bias_key]
            if b.term.noise > 0.0:
                reading = reading + noise[:, start : start + b.width]
                start += b.width
            if b.memory_size == b.width:
                updates[b.key] = reading
            elif first:
                updates[b.key] = f.xp.concat([reading] * (b.memory_size // b.width), axis=1)
            else:
                updates[b.key] = f.xp.concat((f.memory[b.key][:, b.width :], reading), axis=1)
        return updates

    def observe(self, f: Fields, group: str) -> Array:
        """Return a group's observation, (N, width): an array of its own, no view."""
        return f.xp.concat([b.seen(f) for b in self.groups[group]], axis=1)


def _sensors(randomization: Randomization, terms: Sequence[Term]) -> dict[int, Term]:
    """Return what a policy's measured terms become by the randomisation, by the declared term's id."""
    measured = [term for term in terms if term.source.measured]
    changes: dict[str, dict[str, float]] = {term.name: {} for term in measured}
    for field, given in {"noise": randomization.sensor_noise, "bias": randomization.sensor_bias}.items():
        by_name = given if isinstance(given, Mapping) else dict.fromkeys(changes, given)
        for name, value in by_name.items():
            if name not in changes:
                raise UnknownName("measured observation term", name, changes)
            changes[name][field] = value
    return {id(term): replace(term, **changes[term.name]) for term in measured}


def _check_names(task: Task, term: Term) -> None:
    """Raise if a term reads memory or a parameter that the task has not."""
    source = term.source.origin()
    owner = type(task).__name__
    if source["kind"] == "remembered" and source["memory"] not in task.remembers:
        raise UnknownName(f"memory of {owner}", source["memory"], task.remembers)
    if source["kind"] == "parameter" and source["parameter"] not in task.parameters():
        raise UnknownName(f"parameter of {owner}", source["parameter"], task.parameters())
