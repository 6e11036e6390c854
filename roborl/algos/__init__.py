"""The learners by name; a module is imported when its learner is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from roborl.errors import UnknownName

if TYPE_CHECKING:
    from roborl.learner import Learner

LEARNERS: dict[str, str] = {
    "sac": "roborl.algos.sac:SAC",
}


def learner_class(name: str) -> type[Learner]:
    """Return a learner's class.

    Args:
        name: one of LEARNERS.

    Raises:
        UnknownName: there is no such learner.
    """
    if name not in LEARNERS:
        raise UnknownName("learner", name, LEARNERS)
    module, attribute = LEARNERS[name].split(":")
    return getattr(import_module(module), attribute)
