"""The learners by name; a module is imported when its learner is asked for. Beside them are those in files."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from inspect import isabstract
from typing import TYPE_CHECKING

from roborl.errors import UsageError
from roborl.registry import class_from_file, named_class

if TYPE_CHECKING:
    from roborl.learner import Learner

LEARNERS: dict[str, str] = {
    "a2c": "roborl.algos.a2c:A2C",
    "crossq": "roborl.algos.crossq:CrossQ",
    "ddpg": "roborl.algos.ddpg:DDPG",
    "npg": "roborl.algos.npg:NPG",
    "ppo": "roborl.algos.ppo:PPO",
    "recurrent_ppo": "roborl.algos.recurrent_ppo:RecurrentPPO",
    "reinforce": "roborl.algos.reinforce:REINFORCE",
    "sac": "roborl.algos.sac:SAC",
    "td3": "roborl.algos.td3:TD3",
    "trpo": "roborl.algos.trpo:TRPO",
}


def learner_class(name: str) -> type[Learner]:
    """Return a learner's class.

    Args:
        name: one of LEARNERS, or FILE.py:Class of the user's own.

    Raises:
        UnknownName: there is no such learner.
        UsageError: the file or the class in it cannot be loaded, or the class lacks what the training loops need.
    """
    if ".py:" not in name:
        return named_class("learner", name, LEARNERS)
    from roborl.learner import Learner, OffPolicyLearner, OnPolicyLearner

    found = class_from_file("learner", name, Learner)
    if not issubclass(found, OffPolicyLearner | OnPolicyLearner):
        raise UsageError(f"the learner {name} must derive from OffPolicyLearner or OnPolicyLearner")
    if isabstract(found):
        raise UsageError(f"the learner {name} lacks {', '.join(sorted(found.__abstractmethods__))}")
    config = getattr(found, "Config", None)
    if not is_dataclass(config):
        raise UsageError(f"the learner {name} must have a dataclass of its settings as Config, got {config!r}")
    lacking = [setting for setting in found.needs if setting not in {field.name for field in fields(config)}]
    if lacking:
        raise UsageError(f"the settings of the learner {name} lack {', '.join(lacking)}")
    return found
