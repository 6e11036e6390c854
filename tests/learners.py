"""Small settings of every learner, for tests that ask something of all of them."""

from __future__ import annotations

import dataclasses
from typing import Any

from roborl.algos import LEARNERS, learner_class
from roborl.learner import OffPolicyLearner, OnPolicyLearner

_SMALL: dict[str, Any] = {
    "hidden": (8, 8),
    "batch_size": 8,
    "buffer_size": 5000,
    "learning_starts": 40,
    "updates_per_step": 0.1,
    "rollout_size": 24,
    "epochs": 2,
}


def small(learner: str, **changes: Any) -> dict[str, Any]:
    """Return settings, as far as the learner has them, with which it learns a little within a hundred steps."""
    fields = {field.name for field in dataclasses.fields(learner_class(learner).Config)}
    return {name: value for name, value in _SMALL.items() if name in fields} | changes


OFF_POLICY = [name for name in LEARNERS if issubclass(learner_class(name), OffPolicyLearner)]
ON_POLICY = [name for name in LEARNERS if issubclass(learner_class(name), OnPolicyLearner)]
