"""Parameters: values of a model that differ between simulations, drawn at each reset around the nominal value."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from roborl.errors import ConfigError, UnknownName, check_range

if TYPE_CHECKING:
    import mujoco

    from roborl.task.draw import Draw


class Parameter(ABC):
    """A named value of the model, and how it is drawn.

    Attributes:
        unit: the unit of the value.
        fields: the `MjModel` fields that it writes ("opt.gravity" for one of its options).
    """

    unit: str
    fields: tuple[str, ...]

    def prepare(self, spec: mujoco.MjSpec) -> None:  # noqa: B027  most models can take any value
        """Edit the model before it is compiled, where it would be compiled for nominal values alone."""

    @abstractmethod
    def nominal(self, model: mujoco.MjModel) -> np.ndarray:
        """Return the value that leaves the model as it is, (k,).

        Raises:
            UsageError: if the model has nothing that this parameter could change.
        """

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
        """Change rows ``ids (n,)`` of the per-simulation model fields by ``values (n, k)``.

        The rows hold the nominal values, or what other parameters made of them: multiply or add, so that parameters
        that share a field (a payload, and the masses of all bodies) work together.
        """


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
        """Scale the body's mass and inertia to the masses ``values (n, 1)``."""
        body = model.body(self.body).id
        multiple = values / model.body_mass[body]
        fields["body_mass"][ids, body] *= multiple[:, 0]
        fields["body_inertia"][ids, body] *= multiple


@dataclass(frozen=True)
class Scale(Parameter):
    """Multiples of some of a model's numbers, uniform in [low, high): 1 is nominal.

    Rows of the fields (bodies, degrees of freedom, actuators, geoms) whose first listed number is 0 are left out: a
    multiple of it would change nothing.
    """

    entries: Mapping[str, tuple[int, ...]]
    """`MjModel` field -> the columns to scale, all where there are none to choose: ``{"geom_friction": (0,)}``."""

    low: float
    """The least multiple."""

    high: float
    """The greatest multiple."""

    shared: bool = False
    """Whether all rows take one multiple; else each its own."""

    unit = "of nominal"

    def __post_init__(self) -> None:
        check_range("Scale.low", self.low, 0.0)
        check_range("Scale.high", self.high, self.low)

    @property
    def fields(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The fields that are scaled."""
        return tuple(self.entries)

    def nominal(self, model: mujoco.MjModel) -> np.ndarray:
        """Return ones, (rows,) or, where they share one, (1,)."""
        rows = self._rows(model)
        if not len(rows):
            raise ConfigError(f"the model has no {' and no '.join(self.entries)} other than 0 to scale")
        return np.ones(1 if self.shared else len(rows))

    def sample(self, name: str, draw: Draw, nominal: np.ndarray) -> np.ndarray:
        """Return multiples, (N, k)."""
        return draw.uniform(f"param/{name}", self.low, self.high, size=len(nominal))

    def apply(
        self,
        model: mujoco.MjModel,
        fields: Mapping[str, np.ndarray],
        ids: np.ndarray,
        values: np.ndarray,
    ) -> None:
        """Multiply."""
        rows = self._rows(model)
        for name, columns in self.entries.items():
            where = np.ix_(ids, rows, np.array(columns)) if columns else np.ix_(ids, rows)
            extra = (1,) * (fields[name].ndim - 2)
            fields[name][where] *= values.reshape(*values.shape, *extra)

    def _rows(self, model: mujoco.MjModel) -> np.ndarray:
        name, columns = next(iter(self.entries.items()))
        numbers = getattr(model, name).reshape(len(getattr(model, name)), -1)
        return np.flatnonzero(numbers[:, columns[0] if columns else 0])


@dataclass(frozen=True)
class Shift(Parameter):
    """Something added to a field of a model, uniform in [low, high), each number its own: 0 is nominal."""

    field: str
    """The `MjModel` field: ``body_ipos``, ``dof_frictionloss``."""

    low: float
    """The least that is added, in ``unit``."""

    high: float
    """The greatest."""

    unit: str = ""
    """The field's unit."""

    def __post_init__(self) -> None:
        check_range("Shift.high", self.high, self.low)

    @property
    def fields(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The field that is changed."""
        return (self.field,)

    def prepare(self, spec: mujoco.MjSpec) -> None:
        """Have no body compiled as one whose centre of mass is in its frame: it will not be."""
        if self.field == "body_ipos":
            for body in spec.bodies[1:]:
                body.simple = False

    def nominal(self, model: mujoco.MjModel) -> np.ndarray:
        """Return zeros, a number for each number of the field but the world body's."""
        return np.zeros(getattr(model, self.field)[self._rows].size)

    def sample(self, name: str, draw: Draw, nominal: np.ndarray) -> np.ndarray:
        """Return what is added, (N, k)."""
        return draw.uniform(f"param/{name}", self.low, self.high, size=len(nominal))

    def apply(
        self,
        model: mujoco.MjModel,
        fields: Mapping[str, np.ndarray],
        ids: np.ndarray,
        values: np.ndarray,
    ) -> None:
        """Add."""
        shape = getattr(model, self.field)[self._rows].shape
        fields[self.field][ids, self._rows] += values.reshape(-1, *shape)

    @property
    def _rows(self) -> slice:
        return slice(1, None) if self.field.startswith("body_") else slice(None)


@dataclass(frozen=True)
class GravityTilt(Parameter):
    """Gravity [m/s^2], turned away from its nominal direction by an angle uniform in [0, tilt), to any side."""

    tilt: float
    """The greatest angle [rad]: as if the robot stood on a slope."""

    unit = "m/s^2"
    fields = ("opt.gravity",)

    def __post_init__(self) -> None:
        check_range("GravityTilt.tilt", self.tilt, 0.0, np.pi / 2)

    def nominal(self, model: mujoco.MjModel) -> np.ndarray:
        """Return the model's gravity, (3,)."""
        if not model.opt.gravity.any():
            raise ConfigError("the model has no gravity to tilt")
        return model.opt.gravity.copy()

    def sample(self, name: str, draw: Draw, nominal: np.ndarray) -> np.ndarray:
        """Return gravity, (N, 3), as long as the nominal one."""
        angle = draw.uniform(f"param/{name}/angle", 0.0, self.tilt)
        side = draw.uniform(f"param/{name}/side", 0.0, 2.0 * np.pi)
        down = nominal / np.linalg.norm(nominal)
        first = np.cross(down, np.eye(3)[np.argmin(np.abs(down))])
        first /= np.linalg.norm(first)
        across = np.cos(side) * first + np.sin(side) * np.cross(down, first)
        return np.linalg.norm(nominal) * (np.cos(angle) * down + np.sin(angle) * across)

    def apply(
        self,
        model: mujoco.MjModel,
        fields: Mapping[str, np.ndarray],
        ids: np.ndarray,
        values: np.ndarray,
    ) -> None:
        """Set gravity."""
        fields["opt.gravity"][ids] = values
