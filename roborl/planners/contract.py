"""Planner: the contract of what finds good actions by predicting; and Plan, what it finds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

if TYPE_CHECKING:
    from roborl.dynamics.contract import Dynamics
    from roborl.sim import SimState


@dataclass(frozen=True)
class Plan:
    """What a planner found."""

    U: np.ndarray
    """(H, na) actions, in their units."""

    cost: float
    """What the planner expects it to cost: minus the sum of its rewards."""

    stats: dict[str, float] = field(default_factory=dict)
    """What is worth watching, by name."""

    def shifted(self, steps: int = 1) -> Self:
        """Return what is left of the plan after its first steps; its last action is held for as long."""
        rest = self.U[min(steps, len(self.U) - 1) :]
        return replace(self, U=np.concatenate((rest, np.repeat(self.U[-1:], len(self.U) - len(rest), axis=0))))


class Planner(ABC):
    """Finds actions for one state; final subclasses are constructed as ``MPPI(dynamics, config, seed)``.

    Attributes:
        name: the planner's name.
        Config: its configuration, a frozen dataclass.
        dynamics: what it predicts with.
        config: its settings.
    """

    name: ClassVar[str]
    Config: ClassVar[type]
    dynamics: Dynamics
    config: Any

    @abstractmethod
    def __init__(self, dynamics: Dynamics, config: Any = None, seed: int = 0) -> None:
        """Bind what it predicts with; no configuration: the default one."""

    @abstractmethod
    def plan(self, x0: SimState, warm_start: Plan | None = None) -> Plan:
        """Return a plan from a state.

        Args:
            x0: the state, one row.
            warm_start: a plan from about this state, to improve on; None: begin anew.

        Raises:
            NonFinite: if every prediction diverged.
        """

    @abstractmethod
    def seed(self, seed: int) -> None:
        """Begin the planner's own stream of random numbers anew."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return what its next plan depends on beside its arguments, as JSON values."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave."""
