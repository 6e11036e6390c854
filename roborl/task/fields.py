"""Fields: what a task may read of N simulations, as arrays whose first axis is the simulation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Array = Any
"""A numpy array or a torch tensor: a task's functions run on both."""


class Fields:
    """A view over N simulations.

    Attribute access gives the arrays, named as in MuJoCo: ``qpos (N, nq)``, ``qvel (N, nv)``, ``ctrl (N, nu)``,
    ``time (N,)``, and what else the task lists in ``reads`` (``sensordata (N, ns)``, ``site_xpos (N, nsite, 3)``,
    ...). A task computes with ``f.xp``, the array namespace, and never with a matrix product: BLAS rounds
    differently for different N.

    Attributes:
        xp: the array namespace of the arrays (numpy, or torch through array-api-compat).
        params: the values that differ between simulations, name -> (N, k), in SI units.
        memory: the task's own arrays that live with the simulation, name -> (N, k).
    """

    def __init__(
        self,
        xp: Any,
        arrays: Mapping[str, Array],
        params: Mapping[str, Array],
        memory: Mapping[str, Array],
    ) -> None:
        self.xp = xp
        self._arrays = arrays
        self.__dict__.update(arrays)  # plain attributes: a task reads them at every step
        self.params = params
        self.memory = memory

    def __getattr__(self, name: str) -> Array:
        """Say what there is, for a name that is not: Python asks here last."""
        raise AttributeError(
            f"field {name!r} is not available; a task names derived fields in `reads` "
            f"(available here: {', '.join(self.__dict__.get('_arrays', ()))})"
        )

    def __getitem__(self, ids: Array) -> Fields:
        """Return copies of the rows ``ids`` as Fields of their own."""
        return Fields(
            self.xp,
            {name: array[ids] for name, array in self._arrays.items()},
            {name: array[ids] for name, array in self.params.items()},
            {name: array[ids] for name, array in self.memory.items()},
        )

    def replace_memory(self, memory: Mapping[str, Array]) -> Fields:
        """Return the same view with other memory."""
        return Fields(self.xp, self._arrays, self.params, memory)
