"""Sim: a Task on `mujoco.batch.Batch`: N simulations, their fields, and their whole saved state."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import mujoco
import numpy as np
from mujoco.batch import Batch

from roborl import models, timers
from roborl.derived import Derived, on_demand
from roborl.disturbances import ActionDelay, InitialSpread, Pushes
from roborl.drawn import DrawnParameters
from roborl.errors import ConfigError, NonFinite, check_count, check_in
from roborl.functions import StepResult, TaskFunctions
from roborl.layout import Layout, state_columns
from roborl.levels import Levels
from roborl.rows import Rows
from roborl.task.action import Action
from roborl.task.contract import LEVEL, Task
from roborl.task.draw import Draw
from roborl.task.observer import Observer
from roborl.task.sources import LAST_ACTION

# NaN, infinite or huge: MuJoCo resets the simulation, or for a control takes 0, and only counts a warning
_UNSTABLE = slice(int(mujoco.mjtWarning.mjWARN_BADQPOS), int(mujoco.mjtWarning.mjWARN_BADCTRL) + 1)

_NOT_RESET = np.uint64(2**64 - 1)
"""The episode counter of a simulation that was never reset: a reset adds one, and begins episode 0."""


timers.switch_off()


class SimState(NamedTuple):
    """Everything that a simulation's future depends on, one row a simulation.

    Attributes:
        physics: (N, nstate) MuJoCo's integration state, warm start included.
        memory: (N, nmemory) the task's memory, observation records, action queue, and the derived fields it reads.
        params: (N, nparams) the drawn parameters.
        counters: (N, 3) uint64: seed, episode, step.
    """

    physics: np.ndarray
    memory: np.ndarray
    params: np.ndarray
    counters: np.ndarray


class Sim:
    """N simulations of a task.

    Args:
        task: the task.
        num_sims: N.
        num_threads: threads that step them; 0: one for each processor.
        seeds: (N,) each simulation's seed; default 0, 1, ..., N - 1.
        model: the task's compiled model, where it has been compiled before.
        record_observations: see the attribute.

    Attributes:
        record_observations: whether the readings of recorded terms are kept; who does not observe can do without.
        fields: the live fields; arrays change with each step.
        diverged: (N,) bool, true where MuJoCo found the last step unstable (and reset the state in silence), or its
            control not finite (and took 0).
        action_low, action_high: (na,) bounds of the action.
        action_names: the action's entries.
        memory_widths: name -> entries, in the order in which they stand in `SimState.memory`.
    """

    def __init__(
        self,
        task: Task,
        num_sims: int = 1,
        *,
        num_threads: int = 0,
        seeds: np.ndarray | None = None,
        model: mujoco.MjModel | None = None,
        record_observations: bool = True,
    ) -> None:
        check_count("num_sims", num_sims, 1)
        check_count("num_threads", num_threads, 0)
        check_in("derived", task.derived, ("current", "as_stepped"))
        self.task = task
        self.model = models.compile_task(task) if model is None else model
        self.num_sims = num_sims
        self.substeps = round(task.control_dt / self.model.opt.timestep)
        current = task.derived == "current" and bool(task.reads)
        self.batch = Batch(
            self.model, num_sims, min(num_threads, num_sims), persistent=current or on_demand(task.reads)
        )
        self._stage = int(mujoco.mjtStage.mjSTAGE_VEL if current else mujoco.mjtStage.mjSTAGE_NONE)

        self._bind_action()
        self.observer = Observer(task, self.model, len(self.action_names))
        self.record_observations = record_observations
        self._parameters = DrawnParameters(task.parameters(), self.batch, self.model)
        self._delay = ActionDelay(task.action_delay, len(self.action_names))
        self._pushes = Pushes(task.randomization, self.batch, self.model, task.control_dt)
        self._start = InitialSpread(task.randomization, self.model)
        self._levels = Levels(task)
        self._derived = Derived(self.batch, self.model, task.reads)
        outputs = self._derived.outputs
        self._layout = Layout(
            state_columns(self.batch),
            {**task.memory, **self.observer.memory, **self._delay.memory, **self._pushes.memory, **self._levels.memory},
            {name: output.shape[1:] for name, output in outputs.items()}
            | {name: (width,) for name, width in task.derives.items()},
            self._parameters.widths,
        )
        self.memory_widths = self._layout.memory_widths
        self._memory = np.zeros((num_sims, self._layout.nmemory))
        self._counters = np.zeros((num_sims, 3), np.uint64)
        self.seed(np.arange(num_sims) if seeds is None else seeds)

        self._begin = self.batch.state[0].copy()  # the model's default state
        self._before_physics = np.empty_like(self.batch.state)
        self._before_memory = np.empty_like(self._memory)
        before = (self._before_physics, self._before_memory)
        self._rows = Rows(self._layout, self.batch.state, self._memory, self._parameters.rows, before)
        self.fields = self._rows.after
        physics, memory, params = (np.empty_like(r) for r in (self.batch.state, self._memory, self._parameters.rows))
        layout = self._layout  # not self: a cycle would keep simulations, which are large, until they are collected
        # most resets are of a few simulations
        self._fresh = functools.lru_cache(maxsize=32)(lambda n: Rows(layout, physics[:n], memory[:n], params[:n]))
        self.observer.check(self.fields)
        self._copies = [(getattr(self.fields, name), output) for name, output in outputs.items()]
        self._functions = TaskFunctions(task, self.observer, self._layout)
        self._ctrl = self.fields.ctrl
        self._overrides_advance = type(task).advance is not Task.advance
        self._warnings = self.batch.warning[:, _UNSTABLE, 1]
        self.diverged = np.zeros(num_sims, bool)

    def _bind_action(self) -> None:
        law = self.task.action
        actuators = tuple(self.model.actuator(i).name or f"actuator{i}" for i in range(self.model.nu))
        self.action_names = law.names or actuators
        if law.low is not None and law.high is not None:
            low, high = np.array(law.low), np.array(law.high)
        else:
            if len(self.action_names) != self.model.nu or law != Action(law.names, unit=law.unit, delay=law.delay):
                raise ConfigError(
                    f"{type(self.task).__name__}.action changes the actuators' control: give its low and high"
                )
            limited = self.model.actuator_ctrllimited.astype(bool)
            low = np.where(limited, self.model.actuator_ctrlrange[:, 0], -np.inf)
            high = np.where(limited, self.model.actuator_ctrlrange[:, 1], np.inf)
        if low.shape != (len(self.action_names),) or high.shape != low.shape or not (low < high).all():
            raise ConfigError(
                f"{type(self.task).__name__}.action needs {len(self.action_names)} bounds with low < high, "
                f"got low {low.tolist()} and high {high.tolist()}"
            )
        self.action_low, self.action_high = low, high

    def _draw(self, ids: np.ndarray | None = None) -> Draw:
        counters = self._counters if ids is None else self._counters[ids]
        return Draw(counters[:, 0], counters[:, 1], counters[:, 2])

    def seed(self, seeds: np.ndarray, ids: np.ndarray | None = None) -> None:
        """Give simulations (all, or those of ``ids``) new seeds (n,); their next reset begins episode 0."""
        rows = slice(None) if ids is None else ids
        self._counters[rows, 0] = seeds
        self._counters[rows, 1] = _NOT_RESET
        self._counters[rows, 2] = 0

    def reset(self, ids: np.ndarray | None = None) -> None:
        """Begin new episodes in all simulations, or in those of ``ids (n,)``."""
        ids = np.arange(self.num_sims) if ids is None else ids
        self._counters[ids, 1] += np.uint64(1)
        self._counters[ids, 2] = 0
        draw = self._draw(ids)
        self._parameters.reset(ids, self._counters)
        level = self._levels.begin_episodes(self.fields, ids, self._counters[ids, 1], draw)
        # the rows that begin are made apart and written as a whole: their fields are read and written without ids
        rows = self._fresh(len(ids))
        f = rows.after
        rows.physics[...], rows.memory[...], rows.params[...] = self._begin, 0.0, self._parameters.rows[ids]
        if level is not None:
            f.memory[LEVEL][...] = level
        # copied before any is written: one may be a view of another's field
        start = {name: np.array(value) for name, value in self.task.reset(draw, f).items()}
        for name, value in start.items():
            target = f.memory[name] if name in f.memory else getattr(f, name)
            target[...] = value
        self._start.reset(f, draw)
        self._delay.reset(f.memory, draw)
        self._pushes.reset(f.memory, draw)
        self.batch.state[ids] = rows.physics
        # the forward pass of Gymnasium's set_state: it also sets the solver's warm start
        self.batch.forward(ids)
        self._derived.after_reset(ids)
        for name, output in self._derived.outputs.items():
            getattr(f, name)[...] = output[ids]
        self._functions.derive(rows)
        if self.record_observations and self.observer.recorded:
            for name, value in self.observer.begin(draw).items():
                f.memory[name][...] = value
            self._functions.record(rows, self.observer.noise(draw), first=True)
        self._memory[ids] = rows.memory
        self._warnings[ids] = 0
        self.diverged[ids] = False

    def end_episodes(self, ids: np.ndarray) -> None:
        """Say that the episodes of ``ids (n,)`` end in their present state: it decides their next levels."""
        self._levels.end_episodes(self.fields, ids)

    def advance(self, action: np.ndarray, resting: np.ndarray | None = None) -> None:
        """Advance physics and memory by one control period, as `step` does, without looking at what it is worth."""
        f = self.fields
        self._ctrl[...] = self.task.control(f, self._delay.step(f.memory, action))
        if self._pushes.memory:
            self._pushes.step(f.memory, self._draw())
        moving = None if resting is None else ~resting
        self.batch.step(moving, self.substeps, self._stage)
        self._derived.after_step()
        for view, output in self._copies:
            view[...] = output
        self._functions.derive(self._rows)
        self.note_divergence()
        self._counters[:, 2] += np.uint64(1)
        if self._memory.size:
            self._advance_memory(action)

    def step(self, action: np.ndarray, resting: np.ndarray | None = None) -> StepResult:
        """Advance every simulation by one control period.

        Args:
            action: (N, na), float64, in the action's units; MuJoCo itself clips controls to their range.
            resting: (N,) bool, simulations that are about to be reset: their physics stands still, and what is
                returned for them means nothing; by default none.

        Returns:
            The reward, its terms, and what ended.
        """
        np.copyto(self._before_physics, self.batch.state)
        if self._memory.size:
            np.copyto(self._before_memory, self._memory)
        self.advance(action, resting)
        return self._functions.worth(self._rows, action)

    @property
    def not_compiled(self) -> dict[str, str]:
        """Which of the task's functions numpy computes at every step, and why, of those that have been called."""
        return self._functions.not_compiled

    def _advance_memory(self, action: np.ndarray) -> None:
        memory, draw = self.fields.memory, self._draw()
        if LAST_ACTION in memory:
            memory[LAST_ACTION][...] = action
        if self._overrides_advance:
            for name, value in self.task.advance(self.fields, action, draw).items():
                memory[name][...] = value
        if self.record_observations and self.observer.recorded:
            self._functions.record(self._rows, self.observer.noise(draw), first=False)

    def observe(self) -> dict[str, np.ndarray]:
        """Return each observation group, (N, width), as new arrays."""
        return self._functions.observe(self._rows)

    def note_divergence(self) -> None:
        """Set `diverged` from the warnings that MuJoCo gave since the last call, or the last restore.

        They are cleared, for MuJoCo itself sets them back to 1 at each divergence: a second one would not show.
        """
        if np.count_nonzero(self._warnings):  # a tenth of any()'s time
            self.diverged = self._warnings.any(axis=1)
            self._warnings[...] = 0
        else:
            self.diverged = np.zeros(self.num_sims, bool)

    def check_finite(self, step: int | None = None) -> None:
        """Raise NonFinite if a simulation diverged in the last step."""
        if self.diverged.any():
            ids = np.flatnonzero(self.diverged)
            at = "" if step is None else f" at step {step}"
            raise NonFinite(
                f"the physics of {type(self.task).__name__} became unstable{at} "
                f"in simulation{'s' if len(ids) > 1 else ''} {', '.join(map(str, ids[:5]))}"
            )

    def state(self) -> SimState:
        """Return copies of everything the simulations' futures depend on."""
        return SimState(
            self.batch.state.copy(), self._memory.copy(), self._parameters.rows.copy(), self._counters.copy()
        )

    def restore(self, state: SimState) -> None:
        """Continue from saved states: one row for each simulation, or one row for all of them."""
        self.batch.state[...] = state.physics
        self._memory[...] = state.memory
        self._counters[...] = state.counters
        self._parameters.restore(state.params)
        self._warnings[...] = 0
        self.diverged[...] = False

    def describe(self) -> dict[str, Any]:
        """Return the tables of observations and actions, rates and lengths, as JSON."""
        return {
            "task": type(self.task).__name__,
            "robot": self.task.robot,
            "control_dt": self.task.control_dt,
            "timestep": self.model.opt.timestep,
            "episode_steps": self.task.episode_steps,
            "observations": {
                group: [bound.describe() for bound in terms] for group, terms in self.observer.groups.items()
            },
            "actions": [
                {"name": name, "low": float(low), "high": float(high), "unit": self.task.action.unit}
                for name, low, high in zip(self.action_names, self.action_low, self.action_high, strict=True)
            ],
        }
