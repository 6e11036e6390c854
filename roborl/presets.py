"""Settings that differ from a learner's or a planner's defaults, by task, each with the evidence for it."""

from __future__ import annotations

from typing import Any

PRESETS: dict[tuple[str, str], dict[str, Any]] = {}


def settings(method: str, task: str) -> dict[str, Any]:
    """Return the settings of a method for a task that differ from its defaults.

    Args:
        method: a learner's or a planner's name.
        task: a task's id; the prefix "roborl/" and the version may be left out.
    """
    short = task.removeprefix("roborl/").removesuffix("-v1")
    return dict(PRESETS.get((method, short), {}))
