"""Parameters: values of a model that differ between simulations, drawn at each reset around the nominal value."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from roborl.errors import UnknownName, check_range

if TYPE_CHECKING:
    import mujoco

    from roborl.task.draw import Draw


class Parameter(ABC):
    """A named value of the model, and how it is drawn.

    Attributes:
        unit: the unit of the value.
        fields: the `MjModel` fields that it writes.
    """

    unit: str
    fields: tuple[str, ...]

    @abstractmethod
    def nominal(self, model: mujoco.MjModel) -> np.ndarray:
        """Return the model's own value, (k,)."""

    @abstractmethod
    def sample(self, name: str, draw: Draw, nominal: np.ndarray) -> np.ndarray:
        """Return one value for each simulation of the draw, (N, k), from the nominal one, never from the last."""

    @abstractmethod
    def apply(
        self,
        model: mujoco.MjModel,
        fields: Mapping[str, np.ndarray],
        ids: np.ndarray,
        values: np.ndarray,
    ) -> None:
        """Write ``values (n, k)`` to rows ``ids (n,)`` of the per-simulation model fields."""


@dataclass(frozen=True)
class BodyMass(Parameter):
    """The mass of a body [kg], uniform between two multiples of the nominal mass; its inertia scales with it."""

    body: str
    """The body's name."""

    low: float = 0.8
    """The least multiple."""

    high: float = 1.2
    """The greatest multiple."""

    unit = "kg"
    fields = ("body_mass", "body_inertia")

    def __post_init__(self) -> None:
        check_range("BodyMass.low", self.low, 0.0, open_low=True)
        check_range("BodyMass.high", self.high, self.low)

    def nominal(self, model: mujoco.MjModel) -> np.ndarray:
        """Return the body's mass, (1,)."""
        known = [model.body(i).name for i in range(model.nbody)]
        if self.body not in known:
            raise UnknownName("body", self.body, known)
        return np.array([model.body(self.body).mass[0]])

    def sample(self, name: str, draw: Draw, nominal: np.ndarray) -> np.ndarray:
        """Return masses, (N, 1)."""
        return nominal * draw.uniform(f"param/{name}", self.low, self.high)

    def apply(
        self,
        model: mujoco.MjModel,
        fields: Mapping[str, np.ndarray],
        ids: np.ndarray,
        values: np.ndarray,
    ) -> None:
        """Write masses ``values (n, 1)`` and the inertias that go with them."""
        body = model.body(self.body).id
        fields["body_mass"][ids, body] = values[:, 0]
        fields["body_inertia"][ids, body] = model.body_inertia[body] * (values / model.body_mass[body])
