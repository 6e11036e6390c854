"""The simulator as what predicts: a task's own physics, rewards, delays and commands, K futures at once."""

from __future__ import annotations

import functools

import mujoco
import numpy as np

from roborl import models
from roborl.dynamics.contract import Prediction, Rollout, stepwise
from roborl.dynamics.smooth import SmoothTask
from roborl.dynamics.task import TaskDynamics
from roborl.functions import TaskFunctions
from roborl.layout import STATE_FIELDS, Layout, side_by_side
from roborl.rows import Rows
from roborl.sim import Sim, SimState
from roborl.task.contract import Task

_RECORDED = {
    "time": mujoco.mjtState.mjSTATE_TIME,
    "qpos": mujoco.mjtState.mjSTATE_QPOS,
    "qvel": mujoco.mjtState.mjSTATE_QVEL,
    "act": mujoco.mjtState.mjSTATE_ACT,
}
"""The state fields that physics changes, as `Batch.rollout` records them."""

_KEPT_SIZES = 6
"""Simulations are kept for so many different numbers of them: making them costs more than stepping them."""

_DIFFERENCE_STEP = 1e-6
"""Of the centred differences, in the coordinates' own units. Their error is about the step's square, and 1e-16 over
the step: 1e-10 where the state and its derivatives are near 1."""


class MujocoDynamics(TaskDynamics):
    """A task's simulator, with as many simulations as a call has rows; they are kept from call to call.

    Args:
        task: the task.
        num_threads: threads that step them; 0: one for each processor.
        model: the task's compiled model, where it has been compiled before.
    """

    def __init__(self, task: Task, *, num_threads: int = 0, model: mujoco.MjModel | None = None) -> None:
        self.task = task
        self.steps = 0
        self._model = models.compile_task(task) if model is None else model
        self._num_threads = num_threads
        self._sims: dict[int, Sim] = {}
        one = self._make_sim(1)
        self.action_low, self.action_high = one.action_low, one.action_high
        # rewards that need only what physics leaves behind can be had after all of it, from one call of Batch.rollout
        self._records_suffice = (
            type(task).control is Task.control
            and task.action.plain
            and type(task).advance is Task.advance
            and not (task.reads or task.derives or one.fields.memory)
        )

    def _make_sim(self, num_sims: int) -> Sim:
        return Sim(self.task, num_sims, num_threads=self._num_threads, model=self._model)

    def _restored(self, x: SimState, num_sims: int, seed: int) -> Sim:
        """Return ``num_sims`` simulations at ``x``, whose draws come from ``seed``."""
        sim = self._sims.pop(num_sims, None)
        if sim is None:
            while len(self._sims) >= _KEPT_SIZES:
                del self._sims[next(iter(self._sims))]  # the one whose last use is longest ago
            sim = self._make_sim(num_sims)
        self._sims[num_sims] = sim
        counters = x.counters.copy()
        counters[:, 0] = seed
        sim.restore(x._replace(counters=counters))
        return sim

    def step(self, x: SimState, u: np.ndarray, seed: int) -> Prediction:
        """Predict one control step; see `Dynamics.step`.

        The seeds in the predicted states' counters are those of ``x``.
        """
        sim = self._restored(x, len(u), seed)
        sim.record_observations = True
        result = sim.step(u)
        self.steps += len(u)
        after = sim.state()
        after.counters[:, 0] = x.counters[:, 0]
        diverged = sim.diverged | ~np.isfinite(result.reward)
        return Prediction(after, np.where(diverged, np.nan, result.reward), result.terminated.copy(), diverged)

    def observe(self, x: SimState) -> dict[str, np.ndarray]:
        """Return what would be observed in predicted states, each group (N, width)."""
        return self._restored(x, len(x.counters), 0).observe()

    def rollout(self, x0: SimState, U: np.ndarray, seed: int) -> Rollout:
        """Predict what action sequences are worth; see `Dynamics.rollout`."""
        if self._records_suffice:
            rollout = self._recorded_rollout(x0, U, seed)
            if not rollout.diverged.any():
                return rollout
        return self._stepped_rollout(x0, U, seed)

    def _stepped_rollout(self, x0: SimState, U: np.ndarray, seed: int) -> Rollout:
        """Predict any task, step by step."""
        sim = self._restored(x0, len(U), seed)
        sim.record_observations = False

        def step(u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            result = sim.step(u)
            self.steps += len(u)
            return result.reward, result.terminated, sim.diverged

        return stepwise(step, U)

    def _recorded_rollout(self, x0: SimState, U: np.ndarray, seed: int) -> Rollout:
        """Predict all physics in one call, and its rewards in another: the same numbers, sooner.

        Where a simulation diverges it does not say when: `rollout` asks again, step by step.
        """
        num, horizon, width = U.shape
        sim = self._restored(x0, num, seed)
        start = {name: getattr(sim.fields, name).reshape(num, -1).copy() for name in STATE_FIELDS}
        control = self.task.control(sim.fields, U.reshape(-1, width)).reshape(num, horizon, -1)
        records = sim.batch.rollout(
            horizon * sim.substeps,
            np.repeat(control, sim.substeps, axis=1),
            int(mujoco.mjtState.mjSTATE_CTRL),
            record=tuple(_RECORDED.values()),
        )
        self.steps += num * horizon
        sim.note_divergence()
        known = {name: records[spec][:, sim.substeps - 1 :: sim.substeps] for name, spec in _RECORDED.items()}
        known["ctrl"] = control
        stays = {name: np.broadcast_to(value[:, None], (num, horizon, value.shape[1])) for name, value in start.items()}
        after = np.concatenate([known.get(name, stays[name]) for name in STATE_FIELDS], axis=2)
        before = np.concatenate((np.concatenate([*start.values()], axis=1)[:, None], after[:, :-1]), axis=1)

        layout, functions = self._of_records
        before, after = before.reshape(num * horizon, -1), after.reshape(num * horizon, -1)
        memory, params = np.zeros((num * horizon, 0)), np.repeat(sim.state().params, horizon, axis=0)
        result = functions.worth(Rows(layout, after, memory, params, (before, memory)), U.reshape(-1, width))
        rewards = result.reward.reshape(num, horizon)
        ended = np.cumsum(result.terminated.reshape(num, horizon), axis=1) > 0
        rewards[:, 1:][ended[:, :-1]] = 0.0
        return Rollout(rewards, sim.diverged | ~np.isfinite(rewards).all(axis=1))

    @functools.cached_property
    def _of_records(self) -> tuple[Layout, TaskFunctions]:
        """The layout of recorded steps' rows, state fields side by side, and the task's functions on them."""
        sim = self._make_sim(1)
        shapes = {name: getattr(sim.fields, name).shape[1:] for name in STATE_FIELDS}
        params = {name: value.shape[1] for name, value in sim.fields.params.items()}
        layout = Layout(side_by_side(shapes)[0], {}, {}, params)
        return layout, TaskFunctions(self.task, sim.observer, layout)

    @functools.cached_property
    def _smooth(self) -> SmoothTask:  # pyright: ignore[reportIncompatibleVariableOverride]  made when asked for
        return SmoothTask(self.task, self._make_sim(1))

    def predict(self, at: SimState, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Return the points one control step later; see `SmoothDynamics.predict`.

        What the task draws on the way comes from seed 0.
        """
        sim = self._restored(at, len(x), 0)
        self._smooth.place(sim, x)
        sim.advance(u)
        self.steps += len(x)
        points = self._smooth.points(sim)
        points[sim.diverged] = np.nan
        return points

    def linearize(self, at: SimState, X: np.ndarray, U: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return derivatives by centred differences, all points' and directions' in one step of the batch."""
        space, width = self.space, U.shape[1]
        directions = space.ndx + width
        offsets = _DIFFERENCE_STEP * np.concatenate((np.eye(directions), -np.eye(directions)))[:, None]
        x = space.integrate(X, offsets[..., : space.ndx])  # (2 directions, H, nx)
        # at its bound an action goes one way only: beyond it the control is clipped, and nothing would change
        low, high = np.minimum(U, self.action_low), np.maximum(U, self.action_high)
        u = np.clip(U + offsets[..., space.ndx :], low, high)
        after = self.predict(at, x.reshape(-1, space.nx), u.reshape(-1, width)).reshape(x.shape)
        spans = np.full((directions, len(X), 1), 2.0 * _DIFFERENCE_STEP)
        spans[space.ndx :, :, 0] = np.sum(u[space.ndx : directions] - u[directions + space.ndx :], axis=2)
        derivative = space.difference(after[directions:], after[:directions]) / spans
        derivative = derivative.transpose(1, 2, 0)  # (H, ndx, directions)
        return derivative[..., : space.ndx], derivative[..., space.ndx :]
