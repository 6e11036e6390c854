"""Planner: the contract of what finds good actions by predicting; and Plan, what it finds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from roborl.dynamics.contract import Dynamics
from roborl.errors import ConfigError

if TYPE_CHECKING:
    from roborl.sim import SimState


@dataclass(frozen=True)
class Plan:
    """What a planner found."""

    U: np.ndarray
    """(H, na) actions, in their units."""

    cost: float
    """What the planner expects it to cost: minus the sum of its rewards."""

    stats: dict[str, float] = field(default_factory=dict)
    """What is worth watching, by name; "steps" is how many control steps were predicted for it."""

    X: np.ndarray | None = None
    """(H + 1, nx) the predicted points of the dynamics' state space, the first one now; None: not known."""

    gains: np.ndarray | None = None
    """K (H, na, ndx): near X_t the action is ``U_t + K_t (x - X_t)``, within its bounds; None: not known."""

    carried: dict[str, np.ndarray] = field(default_factory=dict)
    """What else the planner's next plan begins from, by name: arrays (n, H, na), shifted in time as U is."""

    def shifted(self, steps: int = 1) -> Self:
        """Return what is left of the plan after its first steps; its last action and point are held for as long."""
        arrays = {name: _shifted(a, steps) for name in ("U", "X", "gains") if (a := getattr(self, name)) is not None}
        carried = {name: _shifted(array, steps, axis=1) for name, array in self.carried.items()}
        return replace(self, **arrays, carried=carried)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        plain = {"U": self.U.tolist(), "cost": self.cost, "stats": self.stats}
        arrays = {name: None if (a := getattr(self, name)) is None else a.tolist() for name in ("X", "gains")}
        return plain | arrays | {"carried": {name: array.tolist() for name, array in self.carried.items()}}

    @classmethod
    def from_json(cls, plan: dict[str, Any]) -> Self:
        """Return the plan that `to_json` gave."""
        U = np.array(plan["U"])
        X, gains = (None if plan[name] is None else np.array(plan[name]) for name in ("X", "gains"))
        carried = {name: np.array(array).reshape(-1, *U.shape) for name, array in plan["carried"].items()}
        return cls(U, plan["cost"], plan["stats"], X, gains, carried)


def _shifted(values: np.ndarray, steps: int, axis: int = 0) -> np.ndarray:
    """Return values from ``steps`` on along an axis, the last one held."""
    last = values.shape[axis] - 1
    return values.take(np.minimum(np.arange(steps, steps + last + 1), last), axis)


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

    def seed(self, seed: int) -> None:
        """Begin the planner's own stream of random numbers anew."""
        self._rng = np.random.Generator(np.random.PCG64(seed))

    def state(self) -> dict[str, Any]:
        """Return what its next plan depends on beside its arguments, as JSON values: by default the random numbers."""
        return dict(self._rng.bit_generator.state)

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave."""
        self._rng.bit_generator.state = state


def horizon_steps(horizon_s: float, control_dt: float) -> int:
    """Return a horizon in control steps.

    Raises:
        ConfigError: if it is shorter than one.
    """
    steps = round(horizon_s / control_dt)
    if steps < 1:
        raise ConfigError(f"horizon_s must be at least a control step, {control_dt:g} s, got {horizon_s:g}")
    return steps
