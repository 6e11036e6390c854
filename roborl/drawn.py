"""The parameters of N simulations: their drawn values, and the models that follow from them."""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np
from mujoco.batch import Batch

from roborl.task.draw import Draw
from roborl.task.parameters import Parameter

_SETCONST_INPUTS = frozenset(mujoco.MjModel._setconst_inputs)
"""What `mj_setConst` derives constants from (gravity and friction it does not read)."""


class DrawnParameters:
    """Values of parameters, one row a simulation.

    Args:
        parameters: by name.
        batch: the simulations; the model fields that parameters change become each simulation's own.
        model: their nominal model.

    Attributes:
        rows: (N, k) the values, those of all parameters side by side.
        widths: name -> entries.
    """

    def __init__(self, parameters: Mapping[str, Parameter], batch: Batch, model: mujoco.MjModel) -> None:
        self._parameters, self._batch = parameters, batch
        self._nominal = {name: p.nominal(model) for name, p in parameters.items()}
        self.widths = {name: len(value) for name, value in self._nominal.items()}
        nominal = np.concatenate([*self._nominal.values()]) if parameters else np.zeros(0)
        self.rows = np.tile(nominal, (batch.nsim, 1))
        ends = np.cumsum([0, *self.widths.values()]).tolist()
        self._columns = {name: slice(ends[i], ends[i + 1]) for i, name in enumerate(self.widths)}
        self._draws = {f"param/{name}": p.draws(self._nominal[name]) for name, p in parameters.items()}
        self._apply = {name: p.bind(model) for name, p in parameters.items()}
        names = sorted({name for p in parameters.values() for name in p.fields})
        self._fields = {name: batch.expand(name) for name in names}
        self._nominal_fields = {name: rows.copy() for name, rows in self._fields.items()}
        self._constants_follow = not _SETCONST_INPUTS.isdisjoint(names)

    def reset(self, ids: np.ndarray, draw: Draw) -> None:
        """Draw the parameters of new episodes, from the nominal values."""
        if self._parameters:
            units = draw.units(self._draws)
            drawn = [p.sample(units[f"param/{name}"], self._nominal[name]) for name, p in self._parameters.items()]
            self._write(ids, np.concatenate(drawn, axis=1))

    def restore(self, rows: np.ndarray) -> None:
        """Take over saved values, (N, k), or (1, k) for all simulations."""
        if self._parameters and not np.array_equal(self.rows, np.broadcast_to(rows, self.rows.shape)):
            self._write(np.arange(len(self.rows)), rows)

    def _write(self, ids: np.ndarray, values: np.ndarray) -> None:
        self.rows[ids] = values
        fields = {name: nominal[: len(ids)].copy() for name, nominal in self._nominal_fields.items()}
        for name, apply in self._apply.items():
            apply(fields, values[:, self._columns[name]])
        for name, rows in fields.items():
            self._fields[name][ids] = rows
        if self._constants_follow:
            self._batch.set_const(ids)
