r"""A task's robot as a rigid-body model with analytic derivatives: one time step is MuJoCo's where nothing touches.

With the forces tau of joints and motors, and M and b of `RigidModel`, MuJoCo's integrators are

    Euler, implicitfast:   (M + h D) a = tau(q, v) - b(q, v),   v' = v + h a,   q' = q + h v'
    RK4:                   M a = tau - b at four stages, the classic weights, positions on their manifold

where D is the joints' damping (Euler), or minus the derivative of all of tau by v (implicitfast). A control step is as
many time steps as in MuJoCo, or fewer and longer ones where that is asked for.

Contacts, limits of joints, equality constraints and dry friction are constraints in MuJoCo, which this model does not
have: `leaves_out` says which of them the robot has. It is the nominal robot: parameters that a task draws are not known
to it.
"""

from __future__ import annotations

from typing import NamedTuple

import mujoco
import numpy as np

from roborl import models
from roborl.dynamics.manifold import StateSpace, integrate_jacobians, rotation_rate_jacobians, rotation_rates
from roborl.dynamics.physics import PhysicsDynamics
from roborl.dynamics.rigid_forces import ForceDerivatives, JointForces
from roborl.dynamics.rigid_model import RigidModel
from roborl.dynamics.rigid_steps import Plant, control_step_derivatives, control_steps, follow
from roborl.errors import check_count
from roborl.sim import SimState
from roborl.task.contract import Task

_RK4_TIMES = (0.0, 0.5, 0.5, 1.0)
_RK4_WEIGHTS = (1.0 / 6.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0)


class _Stage(NamedTuple):
    """A stage of a Runge-Kutta step: how far from the start, the state there, its acceleration, how fast it moves."""

    change: np.ndarray
    state: np.ndarray
    acc: np.ndarray
    rates: np.ndarray


class RigidBody:
    """One time step of a MuJoCo model without constraints, and its derivatives, for N states at once.

    Args:
        model: the compiled model.
        timestep: h [s]; None: the model's own.

    Attributes:
        equations: M and b.
        forces: tau.
        space: the space of states ``(qpos, qvel)``.
        plant: all of it for compiled functions, where every joint is a hinge or a slide; else None.

    Raises:
        ConfigError: if the model has forces that are not modelled.
    """

    def __init__(self, model: mujoco.MjModel, timestep: float | None = None) -> None:
        self.forces = JointForces(model)
        self.equations = RigidModel(model)
        self.space = StateSpace.of_model(model)
        self.timestep = model.opt.timestep if timestep is None else timestep
        self._integrator = mujoco.mjtIntegrator(model.opt.integrator)
        explicit = bool(model.opt.disableflags & int(mujoco.mjtDisableBit.mjDSBL_EULERDAMP))
        self._euler_damping = np.zeros_like(self.forces.damping) if explicit else self.forces.damping
        self.plant = self._compiled()

    def _compiled(self) -> Plant | None:
        tree = self.equations.tree()
        if tree is None:
            return None
        forces, borne = self.forces.compiled(tree)
        damping = {
            mujoco.mjtIntegrator.mjINT_EULER: np.diag(self._euler_damping),
            mujoco.mjtIntegrator.mjINT_IMPLICITFAST: self.forces.constant_damping,
        }.get(self._integrator, 0.0)
        added = self.equations.armature + self.forces.armature + self.timestep * damping
        return Plant(tree, borne, forces, added, float(self.timestep), int(self._integrator), 1)

    def acceleration(self, qpos: np.ndarray, qvel: np.ndarray, ctrl: np.ndarray) -> np.ndarray:
        """Return ``M^-1 (tau - b)`` (N, nv), MuJoCo's qacc where no constraint acts."""
        M, b = self.equations.inertia_and_bias(qpos, qvel)
        tau = self.forces.forces(qpos, qvel, ctrl)
        return np.linalg.solve(M + self.forces.armature, (tau - b)[..., None])[..., 0]

    def inverse_dynamics(self, qpos: np.ndarray, qvel: np.ndarray, acc: np.ndarray) -> np.ndarray:
        """Return the forces (N, nv) on the joints that move them with accelerations ``acc (N, nv)``."""
        return self.equations.inverse_dynamics(qpos, qvel, acc) + acc @ self.forces.armature

    def gravity_compensation(self, qpos: np.ndarray) -> np.ndarray:
        """Return the forces (N, nv) on the joints that hold the robot still against gravity."""
        at_rest = np.zeros((len(qpos), self.space.nv))
        return self.inverse_dynamics(qpos, at_rest, at_rest)

    def _solve(self, qpos: np.ndarray, qvel: np.ndarray, ctrl: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the solution of ``(M + h D) a = tau - b`` (N, nv), and ``h D``."""
        M, b = self.equations.inertia_and_bias(qpos, qvel)
        motors = self.forces.motors(qpos, qvel, ctrl)
        tau = self.forces.forces(qpos, qvel, ctrl, motors)
        if self._integrator == mujoco.mjtIntegrator.mjINT_EULER:
            added = self.timestep * np.diag(self._euler_damping)
        else:
            added = self.timestep * self.forces.implicit_damping(motors)
        return np.linalg.solve(M + (self.forces.armature + added), (tau - b)[..., None])[..., 0], added

    def step(self, x: np.ndarray, ctrl: np.ndarray) -> np.ndarray:
        """Return the states (N, nq + nv) one time step after ``x``."""
        if self.plant is not None:
            return control_steps(self.plant, np.ascontiguousarray(x), np.ascontiguousarray(ctrl))
        h, nq = self.timestep, self.space.nq
        qpos, qvel = x[:, :nq], x[:, nq:]
        if self._integrator == mujoco.mjtIntegrator.mjINT_RK4:
            return self._rk4(x, ctrl)[0]
        acc, _ = self._solve(qpos, qvel, ctrl)
        return self.space.integrate(x, np.concatenate((h * (qvel + h * acc), h * acc), axis=1))

    def _rk4(self, x: np.ndarray, ctrl: np.ndarray) -> tuple[np.ndarray, list[_Stage]]:
        """Return the next states, and the four stages."""
        h, nq, nv = self.timestep, self.space.nq, self.space.nv
        stages: list[_Stage] = []
        change, total = np.zeros((len(x), 2 * nv)), np.zeros((len(x), 2 * nv))
        for part, weight in zip(_RK4_TIMES, _RK4_WEIGHTS, strict=True):
            if stages:
                change = part * h * stages[-1].rates
            state = self.space.integrate(x, change)
            acc = self.acceleration(state[:, :nq], state[:, nq:], ctrl)
            speeds = rotation_rates(self.space, change[:, :nv], state[:, nq:])
            stages.append(_Stage(change, state, acc, np.concatenate((speeds, acc), axis=1)))
            total += weight * h * stages[-1].rates
        return self.space.integrate(x, total), stages

    def _acceleration_derivatives(
        self, x: np.ndarray, ctrl: np.ndarray, acc: np.ndarray, added: np.ndarray
    ) -> ForceDerivatives:
        """Return how the solution of ``(M + added) acc = tau - b`` changes, by q, v and ctrl."""
        qpos, qvel = x[:, : self.space.nq], x[:, self.space.nq :]
        by_q, by_v, M = self.equations.derivatives(qpos, qvel, acc)
        tau = self.forces.derivatives(qpos, qvel, ctrl)
        right = np.concatenate((tau.by_q - by_q, tau.by_v - by_v, tau.by_ctrl), axis=2)
        solved = np.linalg.solve(M + self.forces.armature + added, right)
        nv = self.space.nv
        return ForceDerivatives(solved[:, :, :nv], solved[:, :, nv : 2 * nv], solved[:, :, 2 * nv :])

    def derivatives(self, x: np.ndarray, ctrl: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the next states, and their derivatives A (N, 2 nv, 2 nv) by states and B (N, 2 nv, nu) by control."""
        h, nq, nv, nu = self.timestep, self.space.nq, self.space.nv, ctrl.shape[1]
        if self.plant is not None:
            return control_step_derivatives(self.plant, np.ascontiguousarray(x), np.ascontiguousarray(ctrl))
        start = np.concatenate((np.eye(2 * nv), np.zeros((2 * nv, nu))), axis=1)
        if self._integrator != mujoco.mjtIntegrator.mjINT_RK4:
            acc, added = self._solve(x[:, :nq], x[:, nq:], ctrl)
            by = np.concatenate(self._acceleration_derivatives(x, ctrl, acc, added), axis=2)  # (N, nv, 2 nv + nu)
            moved = h * (start[nv:] + h * by)  # how h v' changes
            change = np.concatenate((h * (x[:, nq:] + h * acc), h * acc), axis=1)
            after, by_start = self.space.integrate(x, change), np.concatenate((moved, h * by), axis=1)
        else:
            after, stages = self._rk4(x, ctrl)
            change, by_start, by_rates = np.zeros((len(x), 2 * nv)), np.zeros((len(x), 2 * nv, 2 * nv + nu)), None
            for part, weight, stage in zip(_RK4_TIMES, _RK4_WEIGHTS, stages, strict=True):
                by_change = np.zeros_like(by_start) if by_rates is None else part * h * by_rates
                by_state = self._moved(stage.change[:, :nv], start, by_change)
                by = self._acceleration_derivatives(stage.state, ctrl, stage.acc, np.zeros((nv, nv)))
                by_acc = by.by_q @ by_state[:, :nv] + by.by_v @ by_state[:, nv:]
                by_acc[:, :, 2 * nv :] += by.by_ctrl
                by_dq, by_v = rotation_rate_jacobians(self.space, stage.change[:, :nv], stage.state[:, nq:])
                by_speeds = by_dq @ by_change[:, :nv] + by_v @ by_state[:, nv:]
                by_rates = np.concatenate((by_speeds, by_acc), axis=1)
                change, by_start = change + weight * h * stage.rates, by_start + weight * h * by_rates
        total = self._moved(change[:, :nv], start, by_start)
        return after, total[:, :, : 2 * nv], total[:, :, 2 * nv :]

    def _moved(self, dq: np.ndarray, start: np.ndarray, by: np.ndarray) -> np.ndarray:
        """Return how ``x + dx`` changes with the start, of positions' differences dq, where dx changes by ``by``."""
        nv = self.space.nv
        if not self.space.quats:
            return start + by
        by_q, by_dq = integrate_jacobians(self.space, dq)
        total = start + by
        total[:, :nv] = by_q @ start[:nv] + by_dq @ by[:, :nv]
        return total


class RigidBodyDynamics(PhysicsDynamics):
    """A task's robot as a rigid-body model.

    Args:
        task: the task.
        num_threads: taken for the sake of the other dynamics: this one has a single thread.
        model: the task's compiled model, where it has been compiled before.
        substeps: time steps in a control step; None: as many as in MuJoCo.

    Attributes:
        body: the model itself.
        leaves_out: what the robot has in MuJoCo and this model has not, in words.

    Raises:
        ConfigError: if the model has forces that are not modelled.
    """

    def __init__(
        self,
        task: Task,
        *,
        num_threads: int = 0,
        model: mujoco.MjModel | None = None,
        substeps: int | None = None,
    ) -> None:
        model = models.compile_task(task) if model is None else model
        super().__init__(task, num_threads=num_threads, model=model)
        if substeps is not None:
            check_count("substeps", substeps, 1)
            self.substeps = substeps
        self.body = RigidBody(model, task.control_dt / self.substeps)
        self.leaves_out = _constraints(model)
        self._plant = None if self.body.plant is None else self.body.plant._replace(substeps=self.substeps)

    def physics_after(self, physics: np.ndarray, ctrl: np.ndarray) -> np.ndarray:
        """Return qpos and qvel one control step later; rows that are not finite, or huge, become NaN, as in MuJoCo."""
        if self._plant is not None:
            return control_steps(self._plant, np.ascontiguousarray(physics), np.ascontiguousarray(ctrl))
        after = np.full_like(physics, np.nan)
        sound = np.asarray(np.isfinite(ctrl).all(axis=1))
        for _ in range(self.substeps):
            sound = sound & (np.abs(physics) < mujoco.mjMAXVAL).all(axis=1)
            if sound.all():
                after = physics = self.body.step(physics, ctrl)
            elif sound.any():
                after, stepped = np.full_like(physics, np.nan), self.body.step(physics[sound], ctrl[sound])
                after[sound] = stepped
                physics = after
        return np.where(sound[:, None], after, np.nan)

    def physics_derivatives(self, physics: np.ndarray, ctrl: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return qpos and qvel one control step later, and their derivatives, analytic."""
        self.steps += len(physics)
        if self._plant is not None:
            return control_step_derivatives(self._plant, np.ascontiguousarray(physics), np.ascontiguousarray(ctrl))
        n = self.physics.ndx
        A, B = np.tile(np.eye(n), (len(physics), 1, 1)), np.zeros((len(physics), n, ctrl.shape[1]))
        for _ in range(self.substeps):
            physics, step_A, step_B = self.body.derivatives(physics, ctrl)
            A, B = step_A @ A, step_A @ B + step_B
        return physics, A, B

    def follow(
        self,
        at: SimState,
        X: np.ndarray,
        U: np.ndarray,
        k: np.ndarray,
        K: np.ndarray,
        lengths: np.ndarray,
        gaps: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Follow a trajectory; see `SmoothDynamics.follow`. Compiled, where nothing but the action decides."""
        if self._plant is None or self.law is None:
            return super().follow(at, X, U, k, K, lengths, gaps)
        self.steps += len(lengths) * len(U)
        X, U, k, K, lengths, gaps = (np.ascontiguousarray(part) for part in (X, U, k, K, lengths, gaps))
        return follow(self._plant, self.law, X, U, k, K, lengths, gaps, self.action_low, self.action_high)


def _constraints(model: mujoco.MjModel) -> tuple[str, ...]:
    """Return the kinds of constraints that a model has, in words."""
    flags, bits = model.opt.disableflags, mujoco.mjtDisableBit
    if flags & int(bits.mjDSBL_CONSTRAINT):
        return ()
    touching = model.npair > 0 or bool(np.any(model.geom_contype) and np.any(model.geom_conaffinity))
    found = {
        "contacts": touching and not flags & int(bits.mjDSBL_CONTACT),
        "limits of joints": bool(model.jnt_limited.any()) and not flags & int(bits.mjDSBL_LIMIT),
        "limits of tendons": bool(model.tendon_limited.any()) and not flags & int(bits.mjDSBL_LIMIT),
        "equality constraints": bool(model.eq_active0.any()) and not flags & int(bits.mjDSBL_EQUALITY),
        "dry friction": bool(model.dof_frictionloss.any() or model.tendon_frictionloss.any())
        and not flags & int(bits.mjDSBL_FRICTIONLOSS),
    }
    return tuple(name for name, there in found.items() if there)
