"""A task on a model of its robot that is one function: where positions and velocities are a control step later.

All else is the task's: what an action does, what is remembered, rewards, ends of episodes, smooth costs. A model of
one's own is therefore `PhysicsDynamics.physics_after` alone, and its derivatives where they are known.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import mujoco
import numpy as np

from roborl import models
from roborl.dynamics.contract import Prediction
from roborl.dynamics.manifold import StateSpace
from roborl.dynamics.smooth import SmoothTask
from roborl.dynamics.task import TaskDynamics
from roborl.errors import ConfigError
from roborl.functions import total
from roborl.sim import Sim, SimState
from roborl.task.contract import Task

_DIFFERENCE_STEP = 1e-6
"""Of centred differences, in the units of the state and of the action."""


class Law(NamedTuple):
    """How an action becomes control, where nothing but the action decides: ``offset + scale u`` within limits, (m,)."""

    offset: np.ndarray
    scale: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


class PhysicsDynamics(TaskDynamics):
    """Predicts a task from a model of its robot.

    It is the nominal robot: parameters that a task draws are not known to it.

    Args:
        task: the task.
        num_threads: for models that have a use for it; 0: one for each processor.
        model: the task's compiled model, where it has been compiled before.

    Attributes:
        physics: the space of ``(qpos, qvel)``.
        substeps: time steps that MuJoCo takes in a control step.
        law: how actions become control, where nothing but the action decides and nothing else is carried; else None.
    """

    def __init__(self, task: Task, *, num_threads: int = 0, model: mujoco.MjModel | None = None) -> None:
        self.task = task
        self.steps = 0
        model = models.compile_task(task) if model is None else model
        sim = Sim(task, 1, num_threads=1, model=model, record_observations=False)
        self.action_low, self.action_high = sim.action_low, sim.action_high
        self.substeps = sim.substeps
        self.physics = StateSpace.of_model(model)
        self._smooth = SmoothTask(task, sim)
        self.law = None if self.space.nrest else _law(task, sim.model.nu)

    @abstractmethod
    def physics_after(self, physics: np.ndarray, ctrl: np.ndarray) -> np.ndarray:
        """Return where physics is a control step later.

        Args:
            physics: (N, nq + nv) positions and velocities, side by side.
            ctrl: (N, nu) the actuators' controls, which stay as they are meanwhile.

        Returns:
            (N, nq + nv); rows that are not finite have diverged.
        """

    def physics_derivatives(self, physics: np.ndarray, ctrl: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return where physics is a control step later, and the derivatives, by centred differences.

        Args:
            physics: (N, nq + nv).
            ctrl: (N, nu).

        Returns:
            The physics after it, and how it changes, in differences of states, with the state before (N, 2 nv, 2 nv)
            and with the control (N, 2 nv, nu).
        """
        n, (knots, nu) = self.physics.ndx, ctrl.shape
        directions = n + nu
        offsets = _DIFFERENCE_STEP * np.concatenate((np.eye(directions), -np.eye(directions)))[:, None]
        x = self.physics.integrate(physics, offsets[..., :n])
        u = ctrl + offsets[..., n:]
        moved = self._after(x.reshape(2 * directions * knots, -1), u.reshape(-1, nu)).reshape(2, directions, knots, -1)
        by = self.physics.difference(moved[1], moved[0]).transpose(1, 2, 0) / (2.0 * _DIFFERENCE_STEP)
        return self._after(physics, ctrl), by[:, :, :n], by[:, :, n:]

    def predict(self, at: SimState, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Return the points one control step later; see `SmoothDynamics.predict`."""
        ctrl, changed = self._smooth.control(at, x, u)
        return self._smooth.after(at, u, ctrl, changed, self._after(x[:, : self.physics.nx], ctrl))

    def _after(self, physics: np.ndarray, ctrl: np.ndarray) -> np.ndarray:
        self.steps += len(physics)
        after = self.physics_after(physics, ctrl)
        return np.where(np.isfinite(after).all(axis=1, keepdims=True), after, np.nan)

    def linearize(self, at: SimState, X: np.ndarray, U: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return derivatives: of physics as it says, of the task's control law by differences unless it is plain."""
        if self.law is not None:
            offset, scale, lower, upper = self.law
            after, A, B = self.physics_derivatives(X, np.clip(offset + scale * U, lower, upper))
            diverged = ~np.isfinite(after).all(axis=1)
            A[diverged] = B[diverged] = np.nan
            low, high = self.action_low + _DIFFERENCE_STEP, self.action_high - _DIFFERENCE_STEP
            inwards = offset + scale * np.clip(U, low, high)  # a derivative at a bound is that of going inwards
            B *= (scale * ((inwards >= lower) & (inwards <= upper)))[:, None]
            return A, B
        space, n = self.space, self.physics.ndx
        ctrl, changed = self._smooth.control(at, X, U)
        physics, A, B = self.physics_derivatives(X[:, : self.physics.nx], ctrl)

        # the control law and what is carried, by x, u and the physics after the step
        after = self._smooth.after(at, U, ctrl, changed, physics)
        by_z, by_after = self._law_derivatives(at, X, U, physics)
        nu = ctrl.shape[1]
        total = np.zeros((len(U), space.ndx, space.ndx + U.shape[1]))
        total[:, :n, :n] = A
        total[:, :n] += B @ by_z[:, :nu]
        total[:, n:] = by_z[:, nu:] + by_after @ total[:, :n]
        total[~np.isfinite(after).all(axis=1)] = np.nan
        return total[:, :, : space.ndx], total[:, :, space.ndx :]

    def _law_derivatives(
        self, at: SimState, X: np.ndarray, U: np.ndarray, physics: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return how ``(ctrl, rest)`` changes: by (x, u), and of the rest alone by the physics after the step."""
        space, body, width = self.space, self.physics, U.shape[1]
        directions = space.ndx + width + body.ndx
        offsets = _DIFFERENCE_STEP * np.concatenate((np.eye(directions), -np.eye(directions)))[:, None]
        x = space.integrate(X, offsets[..., : space.ndx]).reshape(-1, space.nx)
        low, high = np.minimum(U, self.action_low), np.maximum(U, self.action_high)
        u = np.clip(U + offsets[..., space.ndx : space.ndx + width], low, high)
        spans, of_u = np.full((directions, len(X)), 2.0 * _DIFFERENCE_STEP), slice(space.ndx, space.ndx + width)
        spans[of_u] = np.sum(u[of_u] - u[directions:][of_u], axis=2)  # one-sided at a bound
        u = u.reshape(-1, width)
        moved = body.integrate(physics, offsets[..., space.ndx + width :]).reshape(-1, body.nx)
        ctrl, changed = self._smooth.control(at, x, u)
        rest = self._smooth.after(at, u, ctrl, changed, moved)[:, body.nx :]
        values = np.concatenate((ctrl, rest), axis=1).reshape(2, directions, len(X), -1)
        by = ((values[0] - values[1]) / spans[..., None]).transpose(1, 2, 0)
        split = space.ndx + width
        return by[:, :, :split], by[:, ctrl.shape[1] :, split:]

    def step(self, x: SimState, u: np.ndarray, seed: int) -> Prediction:
        """Predict one control step; see `Dynamics.step`.

        Raises:
            ConfigError: if the reward, or what ends an episode, reads more than is predicted.
        """
        x = SimState(*(np.repeat(part, len(u), axis=0) if len(part) == 1 else part for part in x))
        points = self.coordinates(x)
        ctrl, changed = self._smooth.control(x, points, u)
        physics = self._after(points[:, : self.physics.nx], ctrl)
        diverged = ~np.isfinite(physics).all(axis=1)
        try:
            before = self._smooth.whole_fields(x)
            after = self._smooth.state_after(x, u, ctrl, changed, physics, seed)
            f = self._smooth.whole_fields(after)
            reward = total(self.task.reward_terms(before, u, f))
            terminated = self.task.terminated(f)
        except AttributeError as error:
            name, dynamics = type(self.task).__name__, type(self).__name__
            raise ConfigError(f"what {name} rewards cannot be had of {dynamics}'s predictions: {error}") from error
        diverged |= ~np.isfinite(reward)
        terminated = np.zeros(len(u), bool) if terminated is None else terminated
        return Prediction(after, np.where(diverged, np.nan, reward), terminated, diverged)


def _law(task: Task, num_actuators: int) -> Law | None:
    """Return how a task's actions become control, where nothing but the action decides; else None."""
    action = task.action
    if type(task).control is not Task.control or not action.plain or any(action.lead):
        return None
    if action.names is not None and len(action.names) != num_actuators:
        return None
    row = np.zeros(num_actuators)
    offset = row if action.default is None else row + np.array(action.default)
    lower = row + np.array(action.lower) if action.lower else row - np.inf
    upper = row + np.array(action.upper) if action.upper else row + np.inf
    return Law(offset, row + np.array(action.scale), lower, upper)
