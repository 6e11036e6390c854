"""Time steps of robots of hinges and slides, and their derivatives, compiled: what `RigidBody` computes, row by row.

Compiled when first called, which takes half a minute, and kept on disk after that.
"""

from __future__ import annotations

from typing import NamedTuple

import mujoco
import numpy as np

from roborl.dynamics.compiled import Records, compiled, factorise, solve
from roborl.dynamics.physics import Law
from roborl.dynamics.rigid_joints import (
    Forces,
    add_motor_damping,
    force_derivatives,
    joint_forces,
    motor_forces,
)
from roborl.dynamics.rigid_tree import MOTION, Tree, derivatives, inertia_and_bias

_HUGE = float(mujoco.mjMAXVAL)
_RK4 = int(mujoco.mjtIntegrator.mjINT_RK4)
_IMPLICITFAST = int(mujoco.mjtIntegrator.mjINT_IMPLICITFAST)
_WEIGHTS = (1.0 / 6.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0)
_TIMES = (0.0, 0.5, 0.5, 1.0)


class Plant(NamedTuple):
    """A robot of hinges and slides, and how it is stepped.

    Attributes:
        tree: its joints and bodies.
        compensated: the same with point masses whose weight is borne; without links, if there are none.
        forces: what acts on its joints.
        added: (n, n) what adds to the inertia: rotors, and what damping the integrator takes implicitly.
        timestep: [s].
        integrator: MuJoCo's number of it.
        substeps: time steps in a control step.
    """

    tree: Tree
    compensated: Tree
    forces: Forces
    added: np.ndarray
    timestep: float
    integrator: int
    substeps: int


_ZERO, _BIAS, _ACC, _BORNE, _TORQUES, _PULLS, _STATE, _RATES, _TOTAL = range(9)
_M, _SPARE, _TAU_Q, _TAU_V, _TAU_U, _B_Q, _B_V, _BY_X, _BY_ACC, _BY_STATE, _BY_RATES, _BY_TOTAL = range(12)


class _Work(NamedTuple):
    """What the functions below keep between their loops, of n joints and m actuators; made once for many steps.

    Attributes:
        tree: (n,) `MOTION` of the robot.
        compensated: the same of the point masses whose weight is borne.
        rows: (9, 2n + m) vectors, by the names above.
        pages: (12, 2n, 2n + m) matrices, by the names above.
    """

    tree: Records
    compensated: Records
    rows: np.ndarray
    pages: np.ndarray


@compiled
def _work(n: int, m: int) -> _Work:
    rows, pages = np.zeros((9, 2 * n + m)), np.zeros((12, 2 * n, 2 * n + m))
    return _Work(np.empty(n, MOTION), np.empty(n, MOTION), rows, pages)


@compiled
def _accelerate(plant: Plant, x: np.ndarray, ctrl: np.ndarray, w: _Work) -> None:
    """Set the acceleration that a time step from x (2n,) begins with, and the Cholesky factor of its matrix M."""
    n, forces, added, rows, M = len(x) // 2, plant.forces, plant.added, w.rows, w.pages[_M]
    q, v, borne, torques, pulls = x[:n], x[n:], rows[_BORNE], rows[_TORQUES], rows[_PULLS]
    acc, bias = rows[_ACC], rows[_BIAS]
    if len(plant.compensated.links):
        inertia_and_bias(plant.compensated, q, rows[_ZERO], w.pages[_SPARE], borne, w.compensated)
    inertia_and_bias(plant.tree, q, v, M, bias, w.tree)
    motor_forces(forces, q, v, ctrl, borne, torques, pulls)
    joint_forces(forces, q, v, borne, torques, acc)
    for i in range(n):
        acc[i] -= bias[i]
        for j in range(n):
            M[i, j] += added[i, j]
    if plant.integrator == _IMPLICITFAST:
        add_motor_damping(forces, plant.timestep, torques, pulls, M)
    if factorise(M, n):
        solve(M, n, acc.reshape(-1, 1))
    else:
        acc[:] = np.nan


@compiled
def _step(plant: Plant, x: np.ndarray, ctrl: np.ndarray, w: _Work) -> None:
    """Replace a state x (2n,) by that one time step later."""
    n, h, rows = len(x) // 2, plant.timestep, w.rows
    acc, state, rates, total = rows[_ACC], rows[_STATE, : 2 * n], rows[_RATES], rows[_TOTAL]
    if plant.integrator != _RK4:
        _accelerate(plant, x, ctrl, w)
        for i in range(n):
            x[n + i] += h * acc[i]
            x[i] += h * x[n + i]
        return
    rates[:] = 0.0
    total[:] = 0.0
    for stage in range(4):
        for i in range(2 * n):
            state[i] = x[i] + _TIMES[stage] * h * rates[i]
        _accelerate(plant, state, ctrl, w)
        for i in range(n):
            rates[i], rates[n + i] = state[n + i], acc[i]
        for i in range(2 * n):
            total[i] += _WEIGHTS[stage] * h * rates[i]
    for i in range(2 * n):
        x[i] += total[i]


@compiled
def _control_step(plant: Plant, x: np.ndarray, ctrl: np.ndarray, w: _Work) -> None:
    """Replace a state by that one control step later; by NaN where it, or the control, is not finite, or huge."""
    sound = True
    for a in range(len(ctrl)):
        sound = sound and np.isfinite(ctrl[a])
    for _ in range(plant.substeps):
        for i in range(len(x)):
            sound = sound and abs(x[i]) < _HUGE  # false for NaN
        if not sound:
            x[:] = np.nan
            return
        _step(plant, x, ctrl, w)


@compiled
def control_steps(plant: Plant, x: np.ndarray, ctrl: np.ndarray) -> np.ndarray:
    """Return the states (N, 2n) one control step after ``x``; NaN where they are not finite, or huge."""
    after, w = x.copy(), _work(x.shape[1] // 2, ctrl.shape[1])
    for i in range(len(x)):
        _control_step(plant, after[i], ctrl[i], w)
    return after


@compiled
def follow(
    plant: Plant,
    law: Law,
    X: np.ndarray,
    U: np.ndarray,
    k: np.ndarray,
    K: np.ndarray,
    lengths: np.ndarray,
    gaps: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return points and actions; see `SmoothDynamics.follow`. The actions' bounds are ``low`` and ``high`` (m,)."""
    horizon, width = U.shape
    points, actions = np.empty((len(lengths), horizon + 1, X.shape[1])), np.empty((len(lengths), horizon, width))
    ctrl, w = np.empty(width), _work(X.shape[1] // 2, width)
    offset, scale, lower, upper = law.offset, law.scale, law.lower, law.upper
    for s in range(len(lengths)):
        x = X[0] + lengths[s] * gaps[0]
        points[s, 0] = x
        for t in range(horizon):
            for a in range(width):
                u = U[t, a] + lengths[s] * k[t, a]
                for i in range(len(x)):
                    u += K[t, a, i] * (x[i] - X[t, i])
                u = min(max(u, low[a]), high[a])
                actions[s, t, a] = u
                ctrl[a] = min(max(offset[a] + scale[a] * u, lower[a]), upper[a])
            _control_step(plant, x, ctrl, w)
            for i in range(len(x)):
                x[i] += (lengths[s] - 1.0) * gaps[t + 1, i]
                points[s, t + 1, i] = x[i]
    return points, actions


@compiled
def _accelerate_with_derivatives(plant: Plant, x: np.ndarray, ctrl: np.ndarray, by: np.ndarray, w: _Work) -> None:
    """Set what `_accelerate` does, and how the acceleration changes, ``by_acc (n, 2n + m)``, where x does by ``by``.

    The last m of the 2n + m things that all changes are by are the control, which stays.
    """
    n, m, rows, pages = len(x) // 2, len(ctrl), w.rows, w.pages
    by_x, by_acc, b_q, b_v = pages[_BY_X], pages[_BY_ACC], pages[_B_Q], pages[_B_V]
    tau_q, tau_v, tau_u = pages[_TAU_Q], pages[_TAU_V], pages[_TAU_U]
    _accelerate(plant, x, ctrl, w)
    if len(plant.compensated.links):
        derivatives(plant.compensated, rows[_ZERO], rows[_ZERO], tau_q, tau_v, w.compensated)
    else:
        tau_q[:] = 0.0
    force_derivatives(plant.forces, x[:n], ctrl, rows[_TORQUES], rows[_PULLS], tau_q, tau_v, tau_u)
    derivatives(plant.tree, x[n:], rows[_ACC], b_q, b_v, w.tree)
    for i in range(n):
        for j in range(n):
            by_x[i, j] = tau_q[i, j] - b_q[i, j]
            by_x[i, n + j] = tau_v[i, j] - b_v[i, j]
        for j in range(m):
            by_x[i, 2 * n + j] = tau_u[i, j]
    solve(pages[_M], n, by_x)
    for i in range(n):
        for j in range(2 * n + m):
            by_acc[i, j] = by_x[i, j] if j >= 2 * n else 0.0
        for k in range(2 * n):
            factor = by_x[i, k]
            for j in range(2 * n + m):
                by_acc[i, j] += factor * by[k, j]


@compiled
def _euler_with_derivatives(plant: Plant, x: np.ndarray, ctrl: np.ndarray, by: np.ndarray, w: _Work) -> None:
    """Replace x (2n,) by the state a time step later, and ``by (2n, 2n + m)``, how x changes, by how that one does."""
    n, h, acc, by_acc = len(x) // 2, plant.timestep, w.rows[_ACC], w.pages[_BY_ACC]
    _accelerate_with_derivatives(plant, x, ctrl, by, w)
    for i in range(n):
        x[n + i] += h * acc[i]
        x[i] += h * x[n + i]
        for j in range(by.shape[1]):
            by[n + i, j] += h * by_acc[i, j]
            by[i, j] += h * by[n + i, j]


@compiled
def _rk4_with_derivatives(plant: Plant, x: np.ndarray, ctrl: np.ndarray, by: np.ndarray, w: _Work) -> None:
    """Do as `_euler_with_derivatives` by the classic Runge-Kutta method."""
    n, columns, h, rows, pages = len(x) // 2, by.shape[1], plant.timestep, w.rows, w.pages
    acc, state, rates, total = rows[_ACC], rows[_STATE, : 2 * n], rows[_RATES], rows[_TOTAL]
    by_state, by_rates, by_total, by_acc = pages[_BY_STATE], pages[_BY_RATES], pages[_BY_TOTAL], pages[_BY_ACC]
    rates[:] = 0.0
    total[:] = 0.0
    by_rates[:] = 0.0
    by_total[:] = 0.0
    for stage in range(4):
        part, weight = _TIMES[stage] * h, _WEIGHTS[stage] * h
        for i in range(2 * n):
            state[i] = x[i] + part * rates[i]
            for j in range(columns):
                by_state[i, j] = by[i, j] + part * by_rates[i, j]
        _accelerate_with_derivatives(plant, state, ctrl, by_state, w)
        for i in range(n):
            rates[i], rates[n + i] = state[n + i], acc[i]
            for j in range(columns):
                by_rates[i, j], by_rates[n + i, j] = by_state[n + i, j], by_acc[i, j]
        for i in range(2 * n):
            total[i] += weight * rates[i]
            for j in range(columns):
                by_total[i, j] += weight * by_rates[i, j]
    for i in range(2 * n):
        x[i] += total[i]
        for j in range(columns):
            by[i, j] += by_total[i, j]


@compiled
def control_step_derivatives(
    plant: Plant, x: np.ndarray, ctrl: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the states one control step after ``x (N, 2n)``, how they change by it (N, 2n, 2n), and by ctrl (m)."""
    num, width, m = x.shape[0], x.shape[1], ctrl.shape[1]
    after, A, B = x.copy(), np.empty((num, width, width)), np.empty((num, width, m))
    by, w = np.empty((width, width + m)), _work(width // 2, m)
    for i in range(num):
        by[:] = 0.0
        for d in range(width):
            by[d, d] = 1.0
        for _ in range(plant.substeps):
            if plant.integrator == _RK4:
                _rk4_with_derivatives(plant, after[i], ctrl[i], by, w)
            else:
                _euler_with_derivatives(plant, after[i], ctrl[i], by, w)
        A[i], B[i] = by[:, :width], by[:, width:]
    return after, A, B
