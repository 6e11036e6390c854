"""A task's functions on the rows of its simulations, and the observer's: what is asked of them at every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from roborl.errors import ConfigError
from roborl.layout import Layout
from roborl.rows import RowFunction, Rows
from roborl.task.contract import Task
from roborl.task.fields import Array, Fields
from roborl.task.observer import Observer

_TERM = "term "
"""Before the names of the reward's terms, among the names of all that a step is worth."""


class StepResult(NamedTuple):
    """What a step gives.

    Attributes:
        reward: (N,) sum of the terms.
        terms: name -> (N,).
        terminated: (N,) bool.
        success: (N,) bool, or None where the task has no such notion.
    """

    reward: np.ndarray
    terms: dict[str, np.ndarray]
    terminated: np.ndarray
    success: np.ndarray | None


class TaskFunctions:
    """The functions of a task and of its observer.

    Args:
        task: the task.
        observer: of the task, bound to its model.
        layout: of the rows.
    """

    def __init__(self, task: Task, observer: Observer, layout: Layout) -> None:
        self._derives = bool(task.derives)

        def derive(_: Fields, __: Array, after: Fields) -> dict[str, Array]:
            derived = task.derive(after)
            return {name: derived[name] for name in task.derives}  # in the order of their columns

        self._derive = RowFunction(derive, layout)
        self._derived_columns = layout.memory_columns(task.derives)
        self._record = {
            first: RowFunction(lambda _, noise, after, first=first: observer.record(after, noise, first), layout)
            for first in (False, True)
        }
        self._recorded_columns = layout.memory_columns(observer.recorded)
        self._observe = {
            group: RowFunction(lambda _, __, after, group=group: {group: observer.observe(after, group)}, layout)
            for group in observer.groups
        }
        self._worth = RowFunction(lambda before, action, after: _worth(task, before, action, after), layout)

    def derive(self, rows: Rows) -> None:
        """Write the task's derived fields."""
        if self._derives:
            self._derive.remember(rows, _nothing(rows), self._derived_columns)

    def record(self, rows: Rows, noise: np.ndarray, first: bool) -> None:
        """Write the memory of recorded terms after one more reading, where there are any; see `Observer.record`."""
        self._record[first].remember(rows, noise, self._recorded_columns)

    def observe(self, rows: Rows) -> dict[str, np.ndarray]:
        """Return each observation group, (n, width), as new arrays."""
        given = _nothing(rows)
        return {group: function.matrix(rows, given) for group, function in self._observe.items()}

    def worth(self, rows: Rows, action: np.ndarray) -> StepResult:
        """Return what steps with actions (n, na) are worth, of which rows have the fields before and after."""
        values = self._worth.numbers(rows, action)
        reward = values.pop("reward")
        terminated, success = (values.pop(name, None) for name in ("terminated", "success"))
        return StepResult(
            reward,
            {name.removeprefix(_TERM): value for name, value in values.items()},
            np.zeros(len(reward), bool) if terminated is None else terminated != 0.0,
            None if success is None else success != 0.0,
        )

    @property
    def not_compiled(self) -> dict[str, str]:
        """Which functions numpy computes at every step, and why, of those that have been called."""
        functions = {"derive": self._derive, "reward, terminated, success": self._worth}
        functions |= {f"observation {group!r}": function for group, function in self._observe.items()}
        functions |= {"recorded observations": self._record[False]}
        return {name: f.not_compiled for name, f in functions.items() if f.not_compiled is not None}


def _nothing(rows: Rows) -> np.ndarray:
    return np.empty((len(rows.memory), 0))


def _worth(task: Task, before: Fields, action: Array, after: Fields) -> dict[str, Array]:
    """Return what a step is worth: "reward", its terms, "terminated" and "success" where a task has them, (n,) each.

    Raises:
        ConfigError: if one of them has another shape.
    """
    terms = task.reward_terms(before, action, after)
    ends = {"terminated": task.terminated(after), "success": task.success(after)}
    for name, value in {**terms, **ends}.items():
        if value is not None and np.shape(value) != after.time.shape:
            raise ConfigError(
                f"{name!r} of {type(task).__name__} must have the shape {after.time.shape}, "
                f"one number for each simulation, got {np.shape(value)}"
            )
    values = {"reward": total(terms), **ends, **{_TERM + name: value for name, value in terms.items()}}
    return {name: value for name, value in values.items() if value is not None}


def total(terms: Mapping[str, Array]) -> Array:
    """Return the reward (n,), the sum of its terms (n,), in their order."""
    reward, *others = terms.values()
    for value in others:
        reward = reward + value
    return reward
