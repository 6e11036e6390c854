"""Every task, plain and with all that makes a simulation like a real robot, for tests that any task must pass."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from roborl import tasks
from roborl.errors import ConfigError
from roborl.sim import Sim
from roborl.task import Task

REALISM: dict[str, Any] = {
    "mass": (0.9, 1.1),
    "inertia": (0.9, 1.1),
    "com": 0.003,
    "friction": (0.7, 1.2),
    "joint_friction": (0.0, 0.001),
    "damping": (0.8, 1.2),
    "armature": (0.8, 1.2),
    "motor_strength": (0.9, 1.1),
    "gains": (0.9, 1.1),
    "gravity_tilt": 0.02,
    "initial_pos": 0.005,
    "initial_vel": 0.005,
    "sensor_noise": 0.001,
    "sensor_bias": 0.001,
    "observation_delay": (0, 2),
    "action_delay": (0, 2),
    "push_speed": (0.05, 0.1),
    "push_interval_s": (0.1, 0.3),
}

PLAIN_AND_REAL = [(task_id, real) for task_id in tasks.TASKS for real in (False, True)]
PLAIN_AND_REAL_IDS = [task_id + ("-real" if real else "") for task_id, real in PLAIN_AND_REAL]


def variants(task_id: str) -> list[dict[str, Any]]:
    """Return a task's options: none, then each other value of each of its own that is true or false, or one of some."""
    task = tasks.load(task_id)
    others = {name: (not value,) for name, value in task.options().items() if isinstance(value, bool)}
    others |= {name: [n for n in names if n != getattr(task, name)] for name, names in task.choices.items()}
    return [{}, *({name: value} for name, values in others.items() for value in values)]


EVERY_VARIANT = [
    pytest.param(task_id, real, options, id="-".join([task_id, *(f"{k}={v}" for k, v in options.items()), kind]))
    for task_id in tasks.TASKS
    for options in variants(task_id)
    for real, kind in ((False, "plain"), (True, "real"))
]
"""Every task with every value of its options, plain and real: ``(task_id, real, options)``."""


def task_of(task_id: str, real: bool, **options: Any) -> Task:
    """Return a task; a real one has all of REALISM that its model can take."""
    return tasks.load(task_id, **options, **(_possible(task_id, tuple(options.items())) if real else {}))


@functools.cache
def _possible(task_id: str, options: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    possible = {}
    for name, value in REALISM.items():
        try:
            Sim(tasks.load(task_id, **dict(options), **{name: value}), num_threads=1)
        except ConfigError as error:
            assert "the model has no" in str(error)
        else:
            possible[name] = value
    assert len(possible) >= 13
    return possible
