"""Settings that differ from a learner's or a planner's defaults, by task, each with the evidence for it."""

from __future__ import annotations

from typing import Any

# Small networks with a large step: the tasks have up to 17 observations and one action, and a 256-wide update costs ten
# times as much. PendulumSwingup -150 after 20,000 steps, CartpoleSwingup 760 after 33,000 (`make bench-learning`).
_SMALL_SAC = {"hidden": (64, 64), "batch_size": 128, "actor_lr": 1e-3, "critic_lr": 1e-3, "alpha_lr": 1e-3}

PRESETS: dict[tuple[str, str], dict[str, Any]] = {
    ("sac", "PendulumSwingup"): _SMALL_SAC,
    ("sac", "Pendulum"): _SMALL_SAC,
    ("sac", "CartpoleBalance"): _SMALL_SAC,
    ("sac", "CartpoleSwingup"): _SMALL_SAC,
    ("sac", "CartpoleTrack"): _SMALL_SAC,
    ("sac", "InvertedPendulum"): _SMALL_SAC,
}


def settings(method: str, task: str) -> dict[str, Any]:
    """Return the settings of a method for a task that differ from its defaults.

    Args:
        method: a learner's or a planner's name.
        task: a task's id; the prefix "roborl/" and the version may be left out.
    """
    short = task.removeprefix("roborl/").removesuffix("-v1")
    return dict(PRESETS.get((method, short), {}))
