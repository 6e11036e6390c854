"""The derived fields that a task reads, for N simulations: outputs of the batch, and those computed only when asked."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
from mujoco.batch import DATA_FIELDS, Batch

from roborl.errors import UnknownName

ON_DEMAND = ("cacc", "cfrc_int", "cfrc_ext")
"""Fields of `mj_rnePostConstraint`, which MuJoCo leaves as they are in a step."""


def on_demand(reads: Sequence[str]) -> bool:
    """Whether some of the fields are computed only when asked, from a batch that is persistent."""
    return any(name in ON_DEMAND for name in reads)


class Derived:
    """Derived fields by name.

    Args:
        batch: the simulations; persistent where `on_demand` says so.
        model: their model.
        reads: names of the fields, as in `MjData`.

    Attributes:
        outputs: name -> (N, ...), of each simulation's last call.

    Raises:
        UnknownName: if MuJoCo has no such field.
    """

    def __init__(self, batch: Batch, model: mujoco.MjModel, reads: Sequence[str]) -> None:
        for name in reads:
            if name not in DATA_FIELDS:
                raise UnknownName("derived field", name, DATA_FIELDS)
        self._batch = batch
        self.outputs = {name: batch.bind(name) for name in reads if name not in ON_DEMAND}
        self._asked: dict[str, np.ndarray] = {}
        if on_demand(reads):
            # both are written to, simulation after simulation: the caller's model is not
            self._model, self._data = batch.get_model(0), mujoco.MjData(model)
            shapes = {name: getattr(self._data, name).shape for name in reads if name in ON_DEMAND}
            self._asked = {name: np.zeros((batch.nsim, *shape)) for name, shape in shapes.items()}
        self.outputs |= self._asked

    def after_step(self) -> None:
        """Compute what is computed only when asked, as Gymnasium does after a step: 13 microseconds a simulation."""
        if not self._asked:
            return
        for i in range(self._batch.nsim):
            self._batch.get_data(i, self._data)
            mujoco.mj_rnePostConstraint(self._batch.get_model(i, self._model), self._data)
            for name, rows in self._asked.items():
                rows[i] = getattr(self._data, name)

    def after_reset(self, ids: np.ndarray) -> None:
        """Forget what was computed before a reset: it is 0 until the first step, as in Gymnasium."""
        for rows in self._asked.values():
            rows[ids] = 0.0
