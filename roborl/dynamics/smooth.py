"""A task as a smooth optimal-control problem: which of its state moves, and what its residuals are there.

Beside qpos and qvel a task may carry more from step to step: activations, the targets that an action moves, actions
on their way. What is carried is found out by looking: a task's functions are called once with fields that note which
of them are read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import mujoco
import numpy as np

from roborl.disturbances import ACTION_QUEUE, ActionDelay
from roborl.dynamics.manifold import StateSpace
from roborl.errors import ConfigError
from roborl.sim import Sim, SimState
from roborl.task.contract import Residual, Task, UnsupportedCost
from roborl.task.draw import Draw
from roborl.task.fields import Fields
from roborl.task.sources import LAST_ACTION

_STATE = mujoco.mjtState
_PHYSICS = {"qpos": _STATE.mjSTATE_QPOS, "qvel": _STATE.mjSTATE_QVEL, "act": _STATE.mjSTATE_ACT}
_PHYSICS |= {"ctrl": _STATE.mjSTATE_CTRL}
_GIVEN = {"mocap_pos": (_STATE.mjSTATE_MOCAP_POS, 3), "mocap_quat": (_STATE.mjSTATE_MOCAP_QUAT, 4)}


def physics_columns(model: mujoco.MjModel, component: mujoco.mjtState) -> slice:
    """Return where a component stands in the rows of `SimState.physics`."""
    below = int(_STATE.mjSTATE_INTEGRATION) & (int(component) - 1)
    start = mujoco.mj_stateSize(model, below)
    return slice(start, start + mujoco.mj_stateSize(model, int(component)))


def _side_by_side(widths: Mapping[str, int]) -> dict[str, slice]:
    """Return the columns of parts that stand side by side, by name."""
    ends = np.cumsum([0, *widths.values()])
    return {name: slice(int(ends[i]), int(ends[i + 1])) for i, name in enumerate(widths)}


def _rows(values: np.ndarray, n: int) -> np.ndarray:
    """Return n rows: those given, or the one given."""
    return values if len(values) == n else np.broadcast_to(values, (n, *values.shape[1:]))


class _Noted(Mapping[str, np.ndarray]):
    """Arrays by name, that notes which are read."""

    def __init__(self, arrays: Mapping[str, np.ndarray], seen: set[str]) -> None:
        self._arrays, self._seen = arrays, seen

    def __getitem__(self, name: str) -> np.ndarray:
        self._seen.add(name)
        return self._arrays[name]

    def __iter__(self):
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


class _NotingFields:
    """Fields that note what is read of them: names of fields, and ``memory/NAME``."""

    def __init__(self, f: Fields) -> None:
        self._f, self.seen, self._memory_seen = f, set[str](), set[str]()
        self.xp, self.params, self.memory = f.xp, f.params, _Noted(f.memory, self._memory_seen)

    def __getattr__(self, name: str) -> Any:
        self.seen.add(name)
        return getattr(self._f, name)

    def __getitem__(self, ids: Any) -> Fields:
        """Return rows of all that there is: whatever is read of them later has been read here."""
        self.seen.update(self._f._arrays)
        self._memory_seen.update(self._f.memory)
        return self._f[ids]

    def read(self) -> tuple[set[str], set[str]]:
        """Return the names of the fields, and of the memory, that have been read."""
        return self.seen, self._memory_seen


def _reads(function: Callable[..., Any], f: Fields, *arguments: Any) -> tuple[set[str], set[str]]:
    noting = _NotingFields(f)
    function(noting, *arguments)
    return noting.read()


class SmoothTask:
    """The points of a task's state space, and its smooth cost there.

    Args:
        task: the task.
        sim: any simulation of it; it is reset.

    Attributes:
        space: the space of points ``(qpos, qvel, act, carried)``.
        carried: what is carried beside physics, ``ctrl`` or names of memory, with the number of entries.
    """

    def __init__(self, task: Task, sim: Sim) -> None:
        self.task, self._model = task, sim.model
        sim.reset(np.arange(1))
        f = sim.fields[np.arange(1)]
        action = np.clip(np.zeros((1, len(sim.action_low))), sim.action_low, sim.action_high)
        self._unsupported: str | None = None
        fields_read, memory_read = self._control_and_cost_reads(f, action)
        zero = np.zeros(1, np.uint64)
        drawn = task.advance(f, action, Draw(zero, zero, zero))
        produced = set(drawn) | {ACTION_QUEUE, LAST_ACTION} & f.memory.keys()
        self._advances = bool(memory_read & drawn.keys())
        if self._advances:
            memory_read |= _reads(task.advance, f, action, Draw(zero, zero, zero))[1]
        if ACTION_QUEUE in f.memory:
            memory_read.add(ACTION_QUEUE)
        names = [name for name in f.memory if name in memory_read & produced]
        self.carried = {"ctrl": sim.model.nu} if "ctrl" in fields_read else {}
        self.carried |= {name: f.memory[name].shape[1] for name in names}
        self.space = StateSpace.of_model(sim.model, sim.model.na + sum(self.carried.values()))
        model = sim.model
        self._columns = _side_by_side({"qpos": model.nq, "qvel": model.nv, "act": model.na} | self.carried)
        self._physics = {name: physics_columns(model, spec) for name, spec in _PHYSICS.items()}
        given = _GIVEN if model.nmocap else {}
        self._given = {name: (physics_columns(model, spec), width) for name, (spec, width) in given.items()}
        self._memory = _side_by_side(sim.memory_widths)
        self._params = _side_by_side({name: value.shape[1] for name, value in f.params.items()})
        self._delay = ActionDelay(task.action_delay, len(sim.action_low))
        self._check_costs(f, action)

    def _control_and_cost_reads(self, f: Fields, action: np.ndarray) -> tuple[set[str], set[str]]:
        task = self.task
        fields_read, memory_read = _reads(task.control, f, action)
        # every control looks at how many there are; whether one goes on from the last shows where that is NaN
        unknown = Fields(np, {**f._arrays, "ctrl": np.full_like(f.ctrl, np.nan)}, f.params, f.memory)
        if not np.isnan(task.control(unknown, action)).any():
            fields_read = fields_read - {"ctrl"}
        try:
            for function, arguments in ((task.stage_residuals, (action,)), (task.terminal_residuals, ())):
                more = _reads(function, f, *arguments)
                fields_read, memory_read = fields_read | more[0], memory_read | more[1]
        except UnsupportedCost as error:
            self._unsupported = str(error)
        return fields_read, memory_read

    def _check_costs(self, f: Fields, action: np.ndarray) -> None:
        """Find out whether the residuals can be had of a predicted state."""
        had = {*self._physics, *self._given} - ({"ctrl"} - self.carried.keys())
        lacking = Fields(np, {name: f._arrays[name] for name in had}, f.params, f.memory)
        try:
            if self._unsupported is None:
                self.task.stage_residuals(lacking, action)
                self.task.terminal_residuals(lacking)
        except AttributeError as error:
            self._unsupported = (
                f"the smooth cost of {type(self.task).__name__} is not one of a predicted state: {error}"
            )

    def coordinates(self, x: SimState) -> np.ndarray:
        """Return the points (N, nx) of N states."""
        parts = [x.physics[:, self._physics[name]] for name in ("qpos", "qvel", "act")]
        for name in self.carried:
            parts.append(x.physics[:, self._physics["ctrl"]] if name == "ctrl" else x.memory[:, self._memory[name]])
        return np.concatenate(parts, axis=1)

    def _parts(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Return points' parts (N, k) by name."""
        return {name: x[:, columns] for name, columns in self._columns.items()}

    def place(self, sim: Sim, x: np.ndarray) -> None:
        """Put simulations at points (N, nx)."""
        f = sim.fields
        for name, part in self._parts(x).items():
            target = f.memory[name] if name in f.memory else getattr(f, name)
            target[...] = part

    def points(self, sim: Sim) -> np.ndarray:
        """Return the points (N, nx) at which simulations are."""
        f = sim.fields
        parts = [f.qpos, f.qvel, f.act, *(f.memory[n] if n in f.memory else getattr(f, n) for n in self.carried)]
        return np.concatenate(parts, axis=1)

    def fields(self, at: SimState, x: np.ndarray) -> Fields:
        """Return the fields of points (N, nx), with what the points leave out as it is in ``at``: one row, or N."""
        parts, n = self._parts(x), len(x)
        memory = {name: _rows(at.memory[:, columns], n) for name, columns in self._memory.items()}
        params = {name: _rows(at.params[:, columns], n) for name, columns in self._params.items()}
        unknown = {
            "ctrl": np.full((n, self._model.nu), np.nan)
        }  # unless it is carried: no cost and no control reads it
        arrays = unknown | {name: parts[name] for name in self._physics if name in parts}
        for name, (columns, width) in self._given.items():
            arrays[name] = _rows(at.physics[:, columns].reshape(len(at.physics), -1, width), n)
        return Fields(np, arrays, params, memory | {name: parts[name] for name in self.carried if name != "ctrl"})

    def control(self, at: SimState, x: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the actuators' control (N, nu) for actions u (N, na) at points x, and what memory it changes."""
        f = self.fields(at, x)
        changed = {ACTION_QUEUE: f.memory[ACTION_QUEUE].copy()} if ACTION_QUEUE in f.memory else {}
        memory = {**f.memory, **changed}
        applied = self._delay.step(memory, u)
        if LAST_ACTION in memory:
            changed[LAST_ACTION] = u
        return self.task.control(f.replace_memory(memory), applied), changed

    def after(
        self, at: SimState, u: np.ndarray, ctrl: np.ndarray, changed: dict[str, np.ndarray], physics: np.ndarray
    ) -> np.ndarray:
        """Return the points (N, nx) after a step, of the physics ``(qpos, qvel) (N, nq + nv)`` after it.

        Args:
            at: what the points leave out.
            u: (N, na) the actions.
            ctrl: (N, nu) the control, and
            changed: the memory, as of `control`.
            physics: what became of qpos and qvel.
        """
        rest = {name: ctrl if name == "ctrl" else changed.get(name) for name in self.carried}
        if self._advances:
            known = [value if value is not None else at.memory[:, self._memory[name]] for name, value in rest.items()]
            known = [np.broadcast_to(value, (len(u), value.shape[1])) for value in known]
            f = self.fields(at, np.concatenate((physics, *known), axis=1))
            zero = np.zeros(len(u), np.uint64)
            rest |= {k: v for k, v in self.task.advance(f, u, Draw(zero, zero, zero)).items() if k in rest}
        values = [rest[name] for name in self.carried]
        return np.concatenate((physics, *(value for value in values if value is not None)), axis=1)

    def state_after(
        self,
        x: SimState,
        u: np.ndarray,
        ctrl: np.ndarray,
        changed: dict[str, np.ndarray],
        physics: np.ndarray,
        seed: int,
    ) -> SimState:
        """Return the whole states after a step: see `after`; what the task draws comes from ``seed``."""
        rows, counters = x.physics.copy(), x.counters.copy()
        counters[:, 2] += np.uint64(1)
        rows[:, 0] += self.task.control_dt
        rows[:, self._physics["qpos"]] = physics[:, : self._model.nq]
        rows[:, self._physics["qvel"]] = physics[:, self._model.nq :]
        rows[:, self._physics["ctrl"]] = ctrl
        after = SimState(rows, x.memory.copy(), x.params, counters)
        for name, value in changed.items():
            after.memory[:, self._memory[name]] = value
        draw = Draw(np.full(len(u), seed, np.uint64), counters[:, 1], counters[:, 2])
        for name, value in self.task.advance(self.whole_fields(after), u, draw).items():
            after.memory[:, self._memory[name]] = value
        return after

    def whole_fields(self, x: SimState) -> Fields:
        """Return the fields of whole states; derived fields are not among them."""
        f = self.fields(x, self.coordinates(x))
        arrays = {"time": x.physics[:, 0], "ctrl": x.physics[:, self._physics["ctrl"]]}
        return Fields(np, {**f._arrays, **arrays}, f.params, f.memory)

    def stage_residuals(self, at: SimState, after: np.ndarray, U: np.ndarray) -> np.ndarray:
        """Return the weighed residuals of steps; see `SmoothDynamics.stage_residuals`."""
        if self._unsupported is not None:
            raise UnsupportedCost(self._unsupported)
        return self._weighed(self.task.stage_residuals(self.fields(at, after), U), len(after))

    def terminal_residuals(self, at: SimState, last: np.ndarray) -> np.ndarray:
        """Return the weighed residuals of last points; see `SmoothDynamics.terminal_residuals`."""
        if self._unsupported is not None:
            raise UnsupportedCost(self._unsupported)
        return self._weighed(self.task.terminal_residuals(self.fields(at, last)), len(last))

    def _weighed(self, residuals: Mapping[str, Residual], n: int) -> np.ndarray:
        for name, residual in residuals.items():
            if not residual.weight >= 0.0:
                raise ConfigError(
                    f"residual {name!r} of {type(self.task).__name__} must have a weight of at least 0, "
                    f"got {residual.weight!r}"
                )
        values = [math.sqrt(residual.weight) * residual.value for residual in residuals.values()]
        return np.concatenate(values, axis=1) if values else np.zeros((n, 0))
