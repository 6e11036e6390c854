"""The learners by name; a module is imported when its learner is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roborl.registry import named_class

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
        name: one of LEARNERS.

    Raises:
        UnknownName: there is no such learner.
    """
    return named_class("learner", name, LEARNERS)
