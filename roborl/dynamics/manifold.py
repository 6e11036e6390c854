"""The space of states: positions that may hold orientations, velocities, and what else moves with them.

A state is a row of numbers ``x = (qpos, qvel, rest)``. Orientations (of free and ball joints) are unit quaternions in
it, w first, and so four numbers for three degrees of freedom: a difference of states ``dx = (dq, dv, drest)`` has
``ndx`` entries, fewer than ``nx`` of them. As in MuJoCo (`mj_integratePos`, `mj_differentiatePos`) an orientation's
difference is a rotation vector in the body's own frame, and a free joint's translation is in the world's.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np


def quat_multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the products of quaternions (..., 4), w first."""
    aw, ax, ay, az = np.moveaxis(a, -1, 0)
    bw, bx, by, bz = np.moveaxis(b, -1, 0)
    return np.stack(
        (
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ),
        axis=-1,
    )


def quat_exp(rotation: np.ndarray) -> np.ndarray:
    """Return the quaternions (..., 4) of rotation vectors (..., 3) [rad]."""
    half = 0.5 * np.linalg.norm(rotation, axis=-1, keepdims=True)
    return np.concatenate((np.cos(half), 0.5 * np.sinc(half / np.pi) * rotation), axis=-1)


def quat_log(quat: np.ndarray) -> np.ndarray:
    """Return the rotation vectors (..., 3) [rad] of quaternions (..., 4), at most pi long.

    A quaternion and its negative are one orientation.
    """
    quat = np.where(quat[..., :1] < 0.0, -quat, quat)
    w, vector = quat[..., :1], quat[..., 1:]
    sine = np.linalg.norm(vector, axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(sine, w)
    small = sine < 1e-12  # there 2 / w is the limit of angle / sine
    return np.where(small, 2.0, angle / np.where(small, 1.0, sine)) * vector


@dataclass(frozen=True)
class StateSpace:
    """A space of states ``(qpos, qvel, rest)`` with differences ``(dq, dv, drest)``."""

    nq: int
    """Entries of qpos."""

    nv: int
    """Degrees of freedom: entries of qvel, and of a difference of positions."""

    nrest: int = 0
    """Further entries, of a flat space: activations, targets of servos, actions on their way."""

    quats: tuple[tuple[int, int], ...] = ()
    """Where orientations are: their first entry in qpos, and in dq."""

    @classmethod
    def of_model(cls, model: mujoco.MjModel, nrest: int = 0) -> StateSpace:
        """Return the space of a model's states."""
        quats = []
        for kind, position, dof in zip(model.jnt_type, model.jnt_qposadr, model.jnt_dofadr, strict=True):
            if kind == mujoco.mjtJoint.mjJNT_FREE:
                quats.append((int(position) + 3, int(dof) + 3))
            elif kind == mujoco.mjtJoint.mjJNT_BALL:
                quats.append((int(position), int(dof)))
        return cls(model.nq, model.nv, nrest, tuple(quats))

    @property
    def nx(self) -> int:
        """Entries of a state."""
        return self.nq + self.nv + self.nrest

    @property
    def ndx(self) -> int:
        """Entries of a difference."""
        return 2 * self.nv + self.nrest

    def integrate(self, x: np.ndarray, dx: np.ndarray) -> np.ndarray:
        """Return ``x + dx``: the states (..., nx) that are differences (..., ndx) away; quaternions stay normalised."""
        if not self.quats:
            return x + dx
        qpos, dq = x[..., : self.nq], dx[..., : self.nv]
        moved = np.empty((*np.broadcast_shapes(x.shape[:-1], dx.shape[:-1]), self.nx))
        flat_q, flat_v = self._flat
        moved[..., flat_q] = qpos[..., flat_q] + dq[..., flat_v]
        for position, dof in self.quats:
            turned = quat_multiply(qpos[..., position : position + 4], quat_exp(dq[..., dof : dof + 3]))
            moved[..., position : position + 4] = turned / np.linalg.norm(turned, axis=-1, keepdims=True)
        moved[..., self.nq :] = x[..., self.nq :] + dx[..., self.nv :]
        return moved

    def difference(self, x0: np.ndarray, x1: np.ndarray) -> np.ndarray:
        """Return the differences (..., ndx) ``x1 - x0``, so that integrating them from ``x0`` leads to ``x1``."""
        if not self.quats:
            return x1 - x0
        dx = np.empty((*np.broadcast_shapes(x0.shape[:-1], x1.shape[:-1]), self.ndx))
        flat_q, flat_v = self._flat
        dx[..., flat_v] = x1[..., flat_q] - x0[..., flat_q]
        for position, dof in self.quats:
            quat = slice(position, position + 4)
            inverse = x0[..., quat] * np.array([1.0, -1.0, -1.0, -1.0])
            dx[..., dof : dof + 3] = quat_log(quat_multiply(inverse, x1[..., quat]))
        dx[..., self.nv :] = x1[..., self.nq :] - x0[..., self.nq :]
        return dx

    @property
    def _flat(self) -> tuple[np.ndarray, np.ndarray]:
        """The entries of qpos, and of dq, that are plain numbers."""
        positions = np.setdiff1d(np.arange(self.nq), [p + i for p, _ in self.quats for i in range(4)])
        dofs = np.setdiff1d(np.arange(self.nv), [d + i for _, d in self.quats for i in range(3)])
        return positions, dofs


def integrate_jacobians(space: StateSpace, dq: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the derivatives (N, nv, nv) of ``q + dq`` by q and by dq, for differences ``dq (N, nv)`` of positions.

    For a rotation vector r of angle t they are exp(r)' and the right Jacobian of SO(3) (Sola, Deray, Atchuthan, "A
    micro Lie theory", 2018, eq. 143):  I - (1 - cos t) / t^2 [r] + (t - sin t) / t^3 [r]^2.
    """
    by_q = np.tile(np.eye(space.nv), (len(dq), 1, 1))
    by_dq = by_q.copy()
    for _, dof in space.quats:
        turn = slice(dof, dof + 3)
        r = dq[:, turn]
        hat = np.cross(np.eye(3), r[:, None, :])  # rows e_i x r, which is [r] as a matrix
        t2 = np.sum(r * r, axis=1)[:, None, None]
        small = t2 < 1e-8  # there the series: 1/2 - t^2/24 and 1/6 - t^2/120
        t = np.sqrt(np.where(small, 1.0, t2))
        first = np.where(small, 0.5 - t2 / 24.0, (1.0 - np.cos(t)) / (t * t))
        second = np.where(small, 1.0 / 6.0 - t2 / 120.0, (t - np.sin(t)) / t**3)
        square = hat @ hat
        by_dq[:, turn, turn] = np.eye(3) - first * hat + second * square
        # exp(r)' = I - sin t / t [r] + (1 - cos t) / t^2 [r]^2, and sin t / t = 1 - t^2 (t - sin t) / t^3
        by_q[:, turn, turn] = np.eye(3) - (1.0 - t2 * second) * hat + first * square
    return by_q, by_dq


def rotation_rates(space: StateSpace, dq: np.ndarray, v: np.ndarray) -> np.ndarray:
    r"""Return how fast differences ``dq (N, nv)`` from a fixed position change at velocities ``v (N, nv)``, (N, nv).

    Velocities themselves, but for rotations: with r the rotation so far and w the angular velocity in the body,

        dr/dt = w + r x w / 2 + c r x (r x w),   c = 1 / t^2 - cot(t / 2) / (2 t),   t = |r|,

    the inverse of SO(3)'s right Jacobian (Sola et al. 2018, eq. 144). Without it a Runge-Kutta method is of second
    order where bodies turn (Munthe-Kaas, "High order Runge-Kutta methods on manifolds", 1999).
    """
    if not space.quats:
        return v
    rates = v.copy()
    for _, dof in space.quats:
        turn = slice(dof, dof + 3)
        r, w = dq[:, turn], v[:, turn]
        c, _ = _rate_factors(np.sum(r * r, axis=1)[:, None])
        rates[:, turn] = w + 0.5 * np.cross(r, w) + c * np.cross(r, np.cross(r, w))
    return rates


def rotation_rate_jacobians(space: StateSpace, dq: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the derivatives (N, nv, nv) of `rotation_rates` by dq and by v."""
    by_dq, by_v = np.zeros((len(dq), space.nv, space.nv)), np.tile(np.eye(space.nv), (len(dq), 1, 1))
    for _, dof in space.quats:
        turn = slice(dof, dof + 3)
        r, w = dq[:, turn], v[:, turn]
        c, dc = _rate_factors(np.sum(r * r, axis=1)[:, None])
        double = np.cross(r, np.cross(r, w))  # = r (r.w) - w (r.r)
        by_double = np.sum(r * w, axis=1)[:, None, None] * np.eye(3)
        by_double = by_double + r[:, :, None] * w[:, None, :] - 2.0 * w[:, :, None] * r[:, None, :]
        r_hat, w_hat = (np.cross(np.eye(3), a[:, None, :]) for a in (r, w))
        by_dq[:, turn, turn] = c[:, None] * by_double - 0.5 * w_hat + dc[:, None] * double[:, :, None] * r[:, None, :]
        by_v[:, turn, turn] = np.eye(3) + 0.5 * r_hat + c[:, None] * (r_hat @ r_hat)
    return by_dq, by_v


def _rate_factors(t2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return c of `rotation_rates`, and its derivative by t over t, for squares t2 of t; near 0 by their series."""
    small = t2 < 1e-2
    t = np.sqrt(np.where(small, 1.0, t2))
    cot, sine = 1.0 / np.tan(0.5 * t), np.sin(0.5 * t)
    c = np.where(small, 1 / 12 + t2 * (1 / 720 + t2 * (1 / 30240 + t2 / 1209600)), 1.0 / t**2 - cot / (2.0 * t))
    exact = (-2.0 / t**3 + cot / (2.0 * t**2) + 1.0 / (4.0 * t * sine**2)) / t
    dc = np.where(small, 1 / 360 + t2 * (1 / 7560 + t2 * (1 / 201600 + t2 / 5987520)), exact)
    return c, dc
