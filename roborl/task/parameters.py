"""Parameters: values of a model that differ between simulations, drawn at each reset around the nominal value."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from roborl.errors import ConfigError, check_range
from roborl.task.sources import as_index, body_number

if TYPE_CHECKING:
    import mujoco


Apply = Callable[[Mapping[str, np.ndarray], np.ndarray], None]
"""(fields by name, (n, ...) each, values (n, k)) -> None: changes the fields."""


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

    def draws(self, nominal: np.ndarray) -> int:
        """Return how many uniform numbers one value is made of; by default one for each entry."""
        return len(nominal)

    @abstractmethod
    def sample(self, units: np.ndarray, nominal: np.ndarray) -> np.ndarray:
        """Return one value for each simulation, (N, k), from the nominal one, never from the last.

        Args:
            units: (N, draws), uniform in [0, 1).
            nominal: (k,).
        """

    @abstractmethod
    def bind(self, model: mujoco.MjModel) -> Apply:
        """Return what writes values to the fields of the models of n simulations, called at each reset.

        The fields that it is given hold the nominal values, or what other parameters made of them: it multiplies or
        adds, so that parameters that share a field (a payload, and the masses of all bodies) work together.
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
        return model.body_mass[[body_number(model, self.body)]]

    def sample(self, units: np.ndarray, nominal: np.ndarray) -> np.ndarray:
        """Return masses, (N, 1)."""
        return nominal * _between(self.low, self.high, units)

    def bind(self, model: mujoco.MjModel) -> Apply:
        """Scale the body's mass and inertia."""
        body, nominal = body_number(model, self.body), self.nominal(model)

        def apply(fields: Mapping[str, np.ndarray], values: np.ndarray) -> None:
            multiple = values / nominal
            fields["body_mass"][:, body] *= multiple[:, 0]
            fields["body_inertia"][:, body] *= multiple

        return apply


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

    def sample(self, units: np.ndarray, nominal: np.ndarray) -> np.ndarray:
        """Return multiples, (N, k)."""
        return _between(self.low, self.high, units)

    def bind(self, model: mujoco.MjModel) -> Apply:
        """Multiply."""
        rows = self._rows(model)
        places = {name: _block(rows, columns) for name, columns in self.entries.items()}

        def apply(fields: Mapping[str, np.ndarray], values: np.ndarray) -> None:
            for name, place in places.items():
                extra = fields[name].ndim - 2
                fields[name][place] *= values.reshape(*values.shape, *(1,) * extra)

        return apply

    def _rows(self, model: mujoco.MjModel) -> np.ndarray:
        name, columns = next(iter(self.entries.items()))
        numbers = getattr(model, name).reshape(len(getattr(model, name)), -1)
        return np.flatnonzero(numbers[:, columns[0] if columns else 0])


def _block(rows: np.ndarray, columns: tuple[int, ...]) -> tuple[Any, ...]:
    """Return the index of some rows and columns (all, where none are given) of a field, after the simulations' axis."""
    if not columns:
        return slice(None), as_index(rows.tolist())
    which, across = as_index(rows.tolist()), as_index(list(columns))
    if isinstance(which, slice) or isinstance(across, slice):
        return slice(None), which, across
    return slice(None), which[:, None], across


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

    def sample(self, units: np.ndarray, nominal: np.ndarray) -> np.ndarray:
        """Return what is added, (N, k)."""
        return _between(self.low, self.high, units)

    def bind(self, model: mujoco.MjModel) -> Apply:
        """Add."""
        rows, shape = self._rows, getattr(model, self.field)[self._rows].shape

        def apply(fields: Mapping[str, np.ndarray], values: np.ndarray) -> None:
            fields[self.field][:, rows] += values.reshape(-1, *shape)

        return apply

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

    def draws(self, nominal: np.ndarray) -> int:
        """Return 2: the angle, and the side to which it is."""
        return 2

    def sample(self, units: np.ndarray, nominal: np.ndarray) -> np.ndarray:
        """Return gravity, (N, 3), as long as the nominal one."""
        angle, side = self.tilt * units[:, :1], 2.0 * np.pi * units[:, 1:]
        length, down, first, second = _frame(*nominal)
        across = np.cos(side) * first + np.sin(side) * second
        return length * (np.cos(angle) * down + np.sin(angle) * across)

    def bind(self, model: mujoco.MjModel) -> Apply:
        """Set gravity."""

        def apply(fields: Mapping[str, np.ndarray], values: np.ndarray) -> None:
            fields["opt.gravity"][...] = values

        return apply


@functools.cache
def _frame(x: float, y: float, z: float) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Return a vector's length, its direction, and two directions across it and each other."""
    vector = np.array([x, y, z])
    length = float(np.linalg.norm(vector))
    direction = vector / length
    first = np.cross(direction, np.eye(3)[np.argmin(np.abs(direction))])
    first /= np.linalg.norm(first)
    return length, direction, first, np.cross(direction, first)


def _between(low: float, high: float, units: np.ndarray) -> np.ndarray:
    return low + (high - low) * units
