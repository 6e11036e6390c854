"""Time steps of robots of hinges and slides, and their derivatives, compiled: what `RigidBody` computes, row by row.

Compiled when first called, which takes half a minute, and kept on disk after that.
"""

from __future__ import annotations

from typing import NamedTuple

import mujoco
import numba
import numpy as np

from roborl.dynamics.rigid_tree import Scratch, Tree, derivatives, inertia_and_bias, scratch

_HUGE = float(mujoco.mjMAXVAL)
_RK4 = int(mujoco.mjtIntegrator.mjINT_RK4)
_EULER = int(mujoco.mjtIntegrator.mjINT_EULER)


class Forces(NamedTuple):
    """The forces of `JointForces` on n joints by m actuators and k tendons, in numbers."""

    stiffness: np.ndarray
    rest: np.ndarray
    damping: np.ndarray
    tendons: np.ndarray
    tendon_stiffness: np.ndarray
    tendon_damping: np.ndarray
    tendon_rest: np.ndarray
    moment: np.ndarray
    joint_of: np.ndarray
    on_joint: np.ndarray
    gain: np.ndarray
    bias: np.ndarray
    by_length: np.ndarray
    by_speed: np.ndarray
    ctrl_range: np.ndarray
    force_range: np.ndarray
    joint_range: np.ndarray
    by_motor: np.ndarray
    in_line: np.ndarray
    constant_damping: np.ndarray


class Plant(NamedTuple):
    """A robot of hinges and slides, and how it is stepped.

    Attributes:
        tree: its joints and bodies.
        compensated: the same with point masses whose weight is borne.
        compensates: whether there are any.
        forces: what acts on its joints.
        armature: (n, n) what adds to the inertia.
        euler_damping: (n,) what Euler's method takes implicitly.
        timestep: [s].
        integrator: MuJoCo's number of it.
        substeps: time steps in a control step.
    """

    tree: Tree
    compensated: Tree
    compensates: bool
    forces: Forces
    armature: np.ndarray
    euler_damping: np.ndarray
    timestep: float
    integrator: int
    substeps: int


class Work(NamedTuple):
    """What the functions below keep between their loops, of n joints and m actuators; made once for many steps."""

    tree: Scratch
    M: np.ndarray
    L: np.ndarray
    spare: np.ndarray
    acc: np.ndarray
    borne: np.ndarray
    joints: np.ndarray
    actuators: np.ndarray
    state: np.ndarray
    rates: np.ndarray
    total: np.ndarray
    tau_q: np.ndarray
    tau_v: np.ndarray
    tau_u: np.ndarray
    b_q: np.ndarray
    b_v: np.ndarray
    by_x: np.ndarray
    by_stage: np.ndarray
    by_rates: np.ndarray
    by_total: np.ndarray


@numba.njit(cache=True)
def _work(n: int, m: int) -> Work:
    return Work(
        scratch(n),
        np.empty((n, n)),
        np.empty((n, n)),
        np.empty((n, n)),
        np.empty(n),
        np.zeros(n),
        np.empty(n),
        np.empty(m),
        np.empty(2 * n),
        np.empty(2 * n),
        np.empty(2 * n),
        np.empty((n, n)),
        np.empty((n, n)),
        np.empty((n, m)),
        np.empty((n, n)),
        np.empty((n, n)),
        np.empty((n, 2 * n + m)),
        np.empty((2 * n, 2 * n + m)),
        np.empty((2 * n, 2 * n + m)),
        np.empty((2 * n, 2 * n + m)),
    )


class Law(NamedTuple):
    """How an action becomes control, where nothing but the action decides: ``offset + scale u`` within limits, (m,)."""

    offset: np.ndarray
    scale: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


# Numba counts references where an array is taken out of a tuple: what loops read has a name of its own before them.


@numba.njit(cache=True)
def _motors(plant: Plant, q: np.ndarray, v: np.ndarray, ctrl: np.ndarray, w: Work) -> None:
    """Set the actuators' forces, what bears weight, and the motors' torques on joints, with what bears weight."""
    f, actuators, joints, borne = plant.forces, w.actuators, w.joints, w.borne
    moment, gain, bias, by_length, by_speed = f.moment, f.gain, f.bias, f.by_length, f.by_speed
    ctrl_range, force_range, by_motor = f.ctrl_range, f.force_range, f.by_motor
    if plant.compensates:
        inertia_and_bias(plant.compensated, q, w.tree.zero, w.spare, borne, w.tree)
    for i in range(len(q)):
        joints[i] = borne[i] if by_motor[i] else 0.0
    for a in range(len(ctrl)):
        length, speed = 0.0, 0.0
        for i in range(len(q)):
            length += moment[a, i] * q[i]
            speed += moment[a, i] * v[i]
        clamped = min(max(ctrl[a], ctrl_range[0, a]), ctrl_range[1, a])
        actuators[a] = gain[a] * clamped + bias[a] + by_length[a] * length + by_speed[a] * speed
        limited = min(max(actuators[a], force_range[0, a]), force_range[1, a])
        for i in range(len(q)):
            joints[i] += moment[a, i] * limited


@numba.njit(cache=True)
def _system(plant: Plant, q: np.ndarray, v: np.ndarray, ctrl: np.ndarray, w: Work) -> None:
    """Solve what a time step begins with: set the acceleration, and the Cholesky factor L of its matrix."""
    f, n, h, M, right = plant.forces, len(q), plant.timestep, w.L, w.acc
    stiffness, rest, damping, by_motor, joint_range = f.stiffness, f.rest, f.damping, f.by_motor, f.joint_range
    armature, euler_damping, joints, borne = plant.armature, plant.euler_damping, w.joints, w.borne
    inertia_and_bias(plant.tree, q, v, M, right, w.tree)
    _motors(plant, q, v, ctrl, w)
    for i in range(n):
        passive = -stiffness[i] * (q[i] - rest[i]) - damping[i] * v[i]
        if not by_motor[i]:
            passive += borne[i]
        right[i] = passive + min(max(joints[i], joint_range[0, i]), joint_range[1, i]) - right[i]
        for j in range(n):
            M[i, j] += armature[i, j]
    if len(f.tendon_stiffness):
        _add_tendons(f, q, v, right)
    if plant.integrator == _EULER:
        for i in range(n):
            M[i, i] += h * euler_damping[i]
    elif plant.integrator != _RK4:
        _add_damping(f, h, w)
    _factorise(M)
    _solve(M, right)


@numba.njit(cache=True)
def _add_tendons(f: Forces, q: np.ndarray, v: np.ndarray, total: np.ndarray) -> None:
    """Add the tendons' forces on the joints."""
    tendons, rest, stiffness, damping = f.tendons, f.tendon_rest, f.tendon_stiffness, f.tendon_damping
    for t in range(len(stiffness)):
        length, speed = 0.0, 0.0
        for i in range(len(q)):
            length += tendons[t, i] * q[i]
            speed += tendons[t, i] * v[i]
        stretch = length - min(max(length, rest[t, 0]), rest[t, 1])
        for i in range(len(q)):
            total[i] -= tendons[t, i] * (stiffness[t] * stretch + damping[t] * speed)


@numba.njit(cache=True)
def _add_damping(f: Forces, h: float, w: Work) -> None:
    """Add what 'implicitfast' takes implicitly to the matrix; a force at its limit does not damp."""
    M, n, joints, actuators = w.L, len(w.acc), w.joints, w.actuators
    constant, in_line, moment, by_speed = f.constant_damping, f.in_line, f.moment, f.by_speed
    joint_of, on_joint, force_range, joint_range = f.joint_of, f.on_joint, f.force_range, f.joint_range
    for i in range(n):
        for j in range(n):
            M[i, j] += h * constant[i, j]
    for a in range(len(actuators)):
        joint = joint_of[a]
        free = not on_joint[a] or joint_range[0, joint] <= joints[joint] <= joint_range[1, joint]
        if by_speed[a] != 0.0 and free and force_range[0, a] <= actuators[a] <= force_range[1, a]:
            for i in range(n):
                if moment[a, i] != 0.0:
                    for j in range(n):
                        M[i, j] -= h * by_speed[a] * in_line[i, j] * moment[a, i] * moment[a, j]


@numba.njit(cache=True)
def _factorise(M: np.ndarray) -> None:
    """Replace the lower half of M by its Cholesky factor; NaN where it is not positive definite."""
    for i in range(len(M)):
        for j in range(i + 1):
            total = M[i, j]
            for k in range(j):
                total -= M[i, k] * M[j, k]
            M[i, j] = np.sqrt(total) if i == j else total / M[j, j]


@numba.njit(cache=True)
def _solve(L: np.ndarray, b: np.ndarray) -> None:
    """Replace b (n,) by the solution of ``L L' x = b``."""
    n = len(b)
    for i in range(n):
        for k in range(i):
            b[i] -= L[i, k] * b[k]
        b[i] /= L[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            b[i] -= L[k, i] * b[k]
        b[i] /= L[i, i]


@numba.njit(cache=True)
def _solve_all(L: np.ndarray, b: np.ndarray) -> None:
    """Replace b (n, columns) by the solution of ``L L' x = b``."""
    n, columns = b.shape
    for i in range(n):
        for k in range(i):
            for c in range(columns):
                b[i, c] -= L[i, k] * b[k, c]
        for c in range(columns):
            b[i, c] /= L[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            for c in range(columns):
                b[i, c] -= L[k, i] * b[k, c]
        for c in range(columns):
            b[i, c] /= L[i, i]


@numba.njit(cache=True)
def _step(plant: Plant, x: np.ndarray, ctrl: np.ndarray, w: Work) -> None:
    """Replace a state x (2n,) by that one time step later."""
    n, h, acc, state, rates, total = len(x) // 2, plant.timestep, w.acc, w.state, w.rates, w.total
    if plant.integrator != _RK4:
        _system(plant, x[:n], x[n:], ctrl, w)
        for i in range(n):
            x[n + i] += h * acc[i]
            x[i] += h * x[n + i]
        return
    rates[:] = 0.0
    total[:] = 0.0
    for stage in range(4):
        part = 0.0 if stage == 0 else (1.0 if stage == 3 else 0.5)
        weight = 1.0 / 6.0 if stage == 0 or stage == 3 else 1.0 / 3.0
        for i in range(2 * n):
            state[i] = x[i] + part * h * rates[i]
        _system(plant, state[:n], state[n:], ctrl, w)
        for i in range(n):
            rates[i], rates[n + i] = state[n + i], acc[i]
        for i in range(2 * n):
            total[i] += weight * h * rates[i]
    for i in range(2 * n):
        x[i] += total[i]


@numba.njit(cache=True)
def _control_step(plant: Plant, x: np.ndarray, ctrl: np.ndarray, w: Work) -> None:
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


@numba.njit(cache=True)
def control_steps(plant: Plant, x: np.ndarray, ctrl: np.ndarray) -> np.ndarray:
    """Return the states (N, 2n) one control step after ``x``; NaN where they are not finite, or huge."""
    after, w = x.copy(), _work(x.shape[1] // 2, ctrl.shape[1])
    for i in range(len(x)):
        _control_step(plant, after[i], ctrl[i], w)
    return after


@numba.njit(cache=True)
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
                ctrl[a] = min(max(law.offset[a] + law.scale[a] * u, law.lower[a]), law.upper[a])
            _control_step(plant, x, ctrl, w)
            for i in range(len(x)):
                x[i] += (lengths[s] - 1.0) * gaps[t + 1, i]
            points[s, t + 1] = x
    return points, actions


@numba.njit(cache=True)
def _force_derivatives(plant: Plant, q: np.ndarray, ctrl: np.ndarray, w: Work) -> None:
    """Set how the forces change by q, by v and by ctrl, after `_system`; a force at its limit does not."""
    f, n, by_q, by_v, by_ctrl = plant.forces, len(q), w.tau_q, w.tau_v, w.tau_u
    moment, gain, by_length, by_speed, by_motor = f.moment, f.gain, f.by_length, f.by_speed, f.by_motor
    ctrl_range, force_range, joint_range = f.ctrl_range, f.force_range, f.joint_range
    stiffness, damping, joints, actuators = f.stiffness, f.damping, w.joints, w.actuators
    by_q[:] = 0.0
    by_v[:] = 0.0
    by_ctrl[:] = 0.0
    if plant.compensates:
        derivatives(plant.compensated, q, w.tree.zero, w.tree.zero, by_q, w.b_v, w.spare, w.tree)
    for i in range(n):
        free = joint_range[0, i] <= joints[i] <= joint_range[1, i]
        for j in range(n):
            by_q[i, j] *= 0.0 if by_motor[i] and not free else 1.0
        by_q[i, i] -= stiffness[i]
        by_v[i, i] -= damping[i]
        for a in range(len(ctrl)):
            if free and moment[a, i] != 0.0 and force_range[0, a] <= actuators[a] <= force_range[1, a]:
                for j in range(n):
                    by_q[i, j] += moment[a, i] * by_length[a] * moment[a, j]
                    by_v[i, j] += moment[a, i] * by_speed[a] * moment[a, j]
                if ctrl_range[0, a] <= ctrl[a] <= ctrl_range[1, a]:
                    by_ctrl[i, a] += moment[a, i] * gain[a]
    if len(f.tendon_stiffness):
        _add_tendon_derivatives(f, q, by_q, by_v)


@numba.njit(cache=True)
def _add_tendon_derivatives(f: Forces, q: np.ndarray, by_q: np.ndarray, by_v: np.ndarray) -> None:
    """Add how the tendons' forces on the joints change by q and by v."""
    tendons, rest, stiffness, damping = f.tendons, f.tendon_rest, f.tendon_stiffness, f.tendon_damping
    for t in range(len(stiffness)):
        length = 0.0
        for i in range(len(q)):
            length += tendons[t, i] * q[i]
        taut = length < rest[t, 0] or length > rest[t, 1]
        for i in range(len(q)):
            for j in range(len(q)):
                by_q[i, j] -= tendons[t, i] * tendons[t, j] * stiffness[t] if taut else 0.0
                by_v[i, j] -= tendons[t, i] * tendons[t, j] * damping[t]


@numba.njit(cache=True)
def _by_state(plant: Plant, x: np.ndarray, ctrl: np.ndarray, w: Work) -> None:
    """Set the acceleration that a step begins with, and how it changes by x and ctrl, ``by_x (n, 2n + m)``."""
    n, by_x, tau_q, tau_v, tau_u, b_q, b_v = len(w.acc), w.by_x, w.tau_q, w.tau_v, w.tau_u, w.b_q, w.b_v
    _system(plant, x[:n], x[n:], ctrl, w)
    _force_derivatives(plant, x[:n], ctrl, w)
    derivatives(plant.tree, x[:n], x[n:], w.acc, b_q, b_v, w.M, w.tree)
    for i in range(n):
        for j in range(n):
            by_x[i, j] = tau_q[i, j] - b_q[i, j]
            by_x[i, n + j] = tau_v[i, j] - b_v[i, j]
        for j in range(len(ctrl)):
            by_x[i, 2 * n + j] = tau_u[i, j]
    _solve_all(w.L, by_x)


@numba.njit(cache=True)
def _step_with_derivatives(plant: Plant, x: np.ndarray, ctrl: np.ndarray, by: np.ndarray, w: Work) -> None:
    """Replace x (2n,) by the state a time step later, and ``by (2n, 2n + m)``, how x changes, by how that one does."""
    n, columns, h, runge_kutta = len(x) // 2, by.shape[1], plant.timestep, plant.integrator == _RK4
    state, rates, total, acc, by_x = w.state, w.rates, w.total, w.acc, w.by_x
    by_rates, by_total, by_stage = w.by_rates, w.by_total, w.by_stage
    rates[:] = 0.0
    total[:] = 0.0
    by_rates[:] = 0.0
    by_total[:] = 0.0
    for stage in range(4 if runge_kutta else 1):
        part = 0.0 if stage == 0 else (1.0 if stage == 3 else 0.5)
        weight = 1.0 / 6.0 if stage == 0 or stage == 3 else 1.0 / 3.0
        for i in range(2 * n):
            state[i] = x[i] + part * h * rates[i]
            for j in range(columns):
                by_stage[i, j] = by[i, j] + part * h * by_rates[i, j]
        _by_state(plant, state, ctrl, w)
        for i in range(n):
            rates[i], rates[n + i] = state[n + i], acc[i]
            for j in range(columns):
                by_rates[i, j] = by_stage[n + i, j]
                by_rates[n + i, j] = by_x[i, j] if j >= 2 * n else 0.0  # the control stays
            for k in range(2 * n):
                factor = by_x[i, k]
                for j in range(columns):
                    by_rates[n + i, j] += factor * by_stage[k, j]
        if runge_kutta:
            for i in range(2 * n):
                total[i] += weight * h * rates[i]
                for j in range(columns):
                    by_total[i, j] += weight * h * by_rates[i, j]
    if not runge_kutta:  # positions move with the speed after the step
        for i in range(n):
            total[n + i] = h * acc[i]
            total[i] = h * (x[n + i] + total[n + i])
            for j in range(columns):
                by_total[n + i, j] = h * by_rates[n + i, j]
                by_total[i, j] = h * (by[n + i, j] + by_total[n + i, j])
    for i in range(2 * n):
        x[i] += total[i]
        for j in range(columns):
            by[i, j] += by_total[i, j]


@numba.njit(cache=True)
def control_step_derivatives(plant: Plant, x: np.ndarray, ctrl: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the states one control step after ``x (N, 2n)``, and their derivatives (N, 2n, 2n + m) by x and ctrl."""
    num, width, m = x.shape[0], x.shape[1], ctrl.shape[1]
    after, by, w = x.copy(), np.zeros((num, width, width + m)), _work(width // 2, m)
    for i in range(num):
        for d in range(width):
            by[i, d, d] = 1.0
        for _ in range(plant.substeps):
            _step_with_derivatives(plant, after[i], ctrl[i], by[i], w)
    return after, by
