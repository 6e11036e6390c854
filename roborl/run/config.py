"""What a run is told: the learner, the task, and how to run them; written to the run's folder as config.json."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from roborl import presets, tasks
from roborl.algos import learner_class
from roborl.errors import ConfigError, CorruptFile, UnknownName, UsageError, check_count, check_in
from roborl.learner import Learner, Spaces
from roborl.registry import short_name

FORMAT = 1
"""Version of config.json; it changes when an older roborl could no longer read a run."""


@dataclass(frozen=True)
class RunConfig:
    """Settings of a training run, beside the learner's own."""

    learner: str
    """The learner's name, or FILE.py:Class."""
    task: str
    """A task of roborl's, FILE.py:Class, or the id of a gymnasium environment."""
    steps: int = 100_000
    """Environment steps to train for, all environments together."""
    seed: int = 0
    """The seed from which all randomness of the run follows."""
    num_envs: int = 1
    """Environments that run side by side."""
    device: str = "cpu"
    """Where the learner computes: cpu or cuda."""
    compile: bool = True
    """Whether the update is compiled, where the machine can."""
    threads: int = 0
    """Threads of the learner's arithmetic; 0: chosen by the size of the networks."""
    sim_threads: int = 0
    """Threads that step the simulations; 0: one for each processor, at most one for each environment."""
    log_every: int = 1_000
    """Environment steps between lines of metrics."""
    checkpoint_every: int = 10_000
    """Environment steps between checkpoints."""
    keep: int = 3
    """Checkpoints kept."""
    tensorboard: bool = True
    """Whether TensorBoard events are written beside metrics.jsonl."""
    options: dict[str, Any] = field(default_factory=dict)
    """The task's options."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The learner's settings, all of them once `resolve` has filled in presets and defaults."""

    def __post_init__(self) -> None:
        for name in ("steps", "num_envs", "log_every", "checkpoint_every", "keep"):
            check_count(name, getattr(self, name), 1)
        for name in ("seed", "threads", "sim_threads"):
            check_count(name, getattr(self, name), 0)
        for name, kind in (("learner", str), ("task", str), ("device", str), ("options", dict), ("settings", dict)):
            if not isinstance(getattr(self, name), kind):
                raise ConfigError(f"{name} must be a {kind.__name__}, got {getattr(self, name)!r}")
        for name in ("compile", "tensorboard"):
            check_in(name, getattr(self, name), (False, True))
        for name in ("options", "settings"):
            try:
                json.dumps(getattr(self, name))
            except TypeError as error:
                raise ConfigError(f"{name} must be what JSON can say: {error}") from error
        _check_device(self.device)

    @classmethod
    def for_task(cls, learner: str, task: str, **given: Any) -> RunConfig:
        """Return the configuration of a run of which only these fields are given: the others are the task's own."""
        return cls(learner, task, **(presets.run(learner, task) | given))

    def learner_config(self) -> Any:
        """Return the learner's configuration.

        Raises:
            UnknownName: if there is no such learner, or a setting is none of its.
            UsageError: if the learner's file cannot be loaded.
            ConfigError: if a setting is out of its range.
        """
        return build_config(learner_class(self.learner).Config, self.settings)

    def make_learner(self, spaces: Spaces) -> Learner:
        """Return the learner for the widths of a task; raises as `learner_config` does."""
        kind = learner_class(self.learner)  # once: a file that is loaded again makes other classes
        return kind(spaces, build_config(kind.Config, self.settings))

    def resolve(self) -> RunConfig:
        """Return the configuration with nothing left open: presets, the learner's defaults, threads."""
        settings = presets.settings(self.learner, self.task) | self.settings
        names = {"learner": full_name(self.learner), "task": full_name(self.task)}
        filled = dataclasses.replace(self, settings=settings, **names)
        config = filled.learner_config()
        settings = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
        processors = len(os.sched_getaffinity(0))
        # below some width more threads cost more than they bring
        hidden = settings.get("hidden")
        wide = isinstance(hidden, tuple) and max(hidden) * settings.get("batch_size", 256) > 128 * 256
        return dataclasses.replace(
            filled,
            settings=settings,
            threads=self.threads or (processors if wide else 1),
            sim_threads=self.sim_threads or min(processors, self.num_envs),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the configuration as JSON."""
        return json.loads(json.dumps({"format": FORMAT} | dataclasses.asdict(self)))  # tuples become lists

    @classmethod
    def load(cls, path: Path) -> RunConfig:
        """Read config.json.

        Raises:
            CorruptFile: if it is none, or of a format that this version does not read.
        """
        try:
            data = json.loads(path.read_text())
            found = data.pop("format")
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError(f"{path.parent} is no run: it has no {path.name}") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptFile(f"{path} is no configuration of a run: {error!r}") from error
        if found != FORMAT:
            raise CorruptFile(f"{path} has format {found!r}; this version reads {FORMAT}")
        try:
            return build_config(cls, data)
        except (UnknownName, ConfigError) as error:
            raise CorruptFile(f"{path}: {error}") from error


def build_config(config_class: type, values: dict[str, Any]) -> Any:
    """Return a configuration from values by name; lists become the tuples that configurations hold.

    Raises:
        UnknownName: if a name is none of its fields.
        ConfigError: if a field is missing or out of its range.
    """
    names = [f.name for f in dataclasses.fields(config_class)]
    for name in values:
        if name not in names:
            raise UnknownName(f"setting of {config_class.__name__.removesuffix('Config').lower()}", name, names)
    try:
        return config_class(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    except TypeError as error:
        raise ConfigError(f"{config_class.__name__}: {error}") from error


def full_name(name: str) -> str:
    """Return a name such that it means the same in any folder, and a task of ours is spelt in one way.

    Args:
        name: of a task, a learner, a planner or dynamics.
    """
    file, colon, class_name = name.rpartition(".py:")
    if colon:
        return f"{Path(file).absolute()}.py:{class_name}"
    full = f"roborl/{short_name(name)}-v1"
    return full if full in tasks.names() else name


def _check_device(device: str) -> None:
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdecimal()):
        raise ConfigError(f"device must be cpu, cuda or cuda:NUMBER, got {device!r}")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device {device!r} was asked for, but torch sees {torch.cuda.device_count()} CUDA devices here"
        )
