r"""A Pinocchio model built from a compiled MuJoCo model, and its equations of motion in MuJoCo's coordinates.

    M(q) a + b(q, v) = tau,        a = dv/dt

It is built from the compiled model, joint by joint, and not from a file: Pinocchio's own `buildModelFromMJCF` drops
parts of many models without a word. Where the two libraries differ, MuJoCo's convention holds outside of this file:

- quaternions are w first in MuJoCo, last in Pinocchio;
- a free joint's linear velocity is in the world's frame in MuJoCo, in the body's in Pinocchio: with R the body's
  orientation and l for Pinocchio's, v = R v_l, and so dv/dt = R (dv_l/dt + w x v_l);
- a hinge's or slide's position counts from `qpos0` in Pinocchio.

Rotor inertia is no part of the Pinocchio model: M is its M plus `dof_armature`. Equations and derivatives of
inverse dynamics: Featherstone, "Rigid Body Dynamics Algorithms" (2008); Carpentier and Mansard, "Analytical Derivatives
of Rigid Body Dynamics Algorithms", RSS 2018.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from roborl.dynamics.rigid_tree import Tree, tree_of
from roborl.errors import UsageError

_JOINT = mujoco.mjtJoint


def pinocchio() -> Any:
    """Return the module, imported when it is first needed: it comes with an extra of the package.

    Raises:
        UsageError: if it is not installed.
    """
    try:
        import pinocchio
    except ImportError as error:
        raise UsageError("the rigid-body model needs Pinocchio: pip install 'roborl[rigid]'") from error
    return pinocchio


def _placement(position: np.ndarray, quat: np.ndarray) -> Any:
    """Return a frame from a position and a quaternion, w first."""
    pin = pinocchio()
    w, x, y, z = quat
    return pin.SE3(pin.Quaternion(w, x, y, z).normalized().matrix(), np.asarray(position, float))


def build(model: mujoco.MjModel, masses: np.ndarray | None = None) -> Any:
    """Return a Pinocchio model whose degrees of freedom stand in MuJoCo's order.

    Args:
        model: the compiled model.
        masses: (nbody,) point masses to put at the bodies' centres in place of the bodies [kg]; None: the bodies.
    """
    pin = pinocchio()
    result = pin.Model()
    joint_of, offset_of = [0], [pin.SE3.Identity()]  # of each body: the joint it hangs on, and where it is on that
    for body in range(1, model.nbody):
        parent = model.body_parentid[body]
        joint, offset = joint_of[parent], offset_of[parent]
        offset = offset * _placement(model.body_pos[body], model.body_quat[body])
        first = model.body_jntadr[body]
        for j in range(first, first + model.body_jntnum[body]):
            # a hinge turns about its anchor: go there, turn, come back
            anchor = pin.SE3(np.eye(3), model.jnt_pos[j].copy())
            kind, axis = model.jnt_type[j], model.jnt_axis[j].copy()
            if kind == _JOINT.mjJNT_FREE:
                joint_model, placement, offset = pin.JointModelFreeFlyer(), pin.SE3.Identity(), pin.SE3.Identity()
            elif kind == _JOINT.mjJNT_BALL:
                joint_model, placement, offset = pin.JointModelSpherical(), offset * anchor, anchor.inverse()
            elif kind == _JOINT.mjJNT_HINGE:
                joint_model, placement, offset = (
                    pin.JointModelRevoluteUnaligned(axis),
                    offset * anchor,
                    anchor.inverse(),
                )
            else:
                joint_model, placement, offset = pin.JointModelPrismaticUnaligned(axis), offset, pin.SE3.Identity()
            joint = result.addJoint(joint, joint_model, placement, f"joint{j}")
        joint_of.append(joint)
        offset_of.append(offset)
        centre = _placement(model.body_ipos[body], model.body_iquat[body])
        if masses is None:
            inertia = pin.Inertia(float(model.body_mass[body]), np.zeros(3), np.diag(model.body_inertia[body]))
        else:
            inertia = pin.Inertia(float(masses[body]), np.zeros(3), np.zeros((3, 3)))
        result.appendBodyToJoint(joint, inertia, offset * centre)
    off = model.opt.disableflags & int(mujoco.mjtDisableBit.mjDSBL_GRAVITY)
    result.gravity.linear = np.zeros(3) if off else model.opt.gravity.copy()
    return result


def skew(v: np.ndarray) -> np.ndarray:
    """Return the matrices (..., 3, 3) of the cross products with v (..., 3)."""
    matrix = np.zeros((*v.shape, 3))
    matrix[..., 0, 1], matrix[..., 0, 2], matrix[..., 1, 2] = -v[..., 2], v[..., 1], -v[..., 0]
    return matrix - np.swapaxes(matrix, -1, -2)


def rotations(quat: np.ndarray) -> np.ndarray:
    """Return the rotation matrices (..., 3, 3) of unit quaternions (..., 4), w first."""
    w, vector = quat[..., 0, None, None], skew(quat[..., 1:])
    return np.eye(3) + 2.0 * w * vector + 2.0 * vector @ vector


class RigidModel:
    """The equations of motion of a MuJoCo model's bodies and joints, without forces other than gravity.

    All functions take N rows, in MuJoCo's coordinates: qpos (N, nq), qvel and accelerations (N, nv).

    Args:
        model: the compiled model.
        masses: as for `build`; then there is no rotor inertia either.
    """

    def __init__(self, model: mujoco.MjModel, masses: np.ndarray | None = None) -> None:
        self._pin, self._model = pinocchio(), build(model, masses)
        self._data = self._model.createData()
        self._armature = np.diag(model.dof_armature if masses is None else np.zeros(model.nv))
        self._order = np.arange(model.nq)  # Pinocchio's entry of qpos -> MuJoCo's
        self._reference = np.zeros(model.nq)
        self._free: list[tuple[int, int]] = []  # where a free joint's orientation is in qpos, and its first dof
        for j in range(model.njnt):
            position, dof, kind = model.jnt_qposadr[j], model.jnt_dofadr[j], model.jnt_type[j]
            if kind == _JOINT.mjJNT_FREE:
                self._order[position + 3 : position + 7] = position + 3 + np.array([1, 2, 3, 0])
                self._free.append((int(position) + 3, int(dof)))
            elif kind == _JOINT.mjJNT_BALL:
                self._order[position : position + 4] = position + np.array([1, 2, 3, 0])
            else:
                self._reference[position] = model.qpos0[position]

    @property
    def armature(self) -> np.ndarray:
        """The rotors' inertia (nv, nv)."""
        return self._armature

    def tree(self) -> Tree | None:
        """Return the same for compiled functions, without rotors; None where there are free or ball joints."""
        return (
            tree_of(self._model, self._reference)
            if self._model.nq == self._model.nv == self._model.njoints - 1
            else None
        )

    def _positions(self, qpos: np.ndarray) -> np.ndarray:
        return (qpos - self._reference)[:, self._order]

    def _to_pin(self, qpos: np.ndarray, qvel: np.ndarray, acc: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return Pinocchio's positions, velocities and accelerations."""
        q = self._positions(qpos)
        if self._free:
            qvel, acc = qvel.copy(), acc.copy()
            for quat, dof in self._free:
                lin, ang, R = slice(dof, dof + 3), slice(dof + 3, dof + 6), rotations(qpos[:, quat : quat + 4])
                qvel[:, lin] = np.einsum("nji,nj->ni", R, qvel[:, lin])
                acc[:, lin] = np.einsum("nji,nj->ni", R, acc[:, lin]) - np.cross(qvel[:, ang], qvel[:, lin])
        return q, qvel, acc

    def inverse_dynamics(self, qpos: np.ndarray, qvel: np.ndarray, acc: np.ndarray) -> np.ndarray:
        """Return the forces ``M a + b`` (N, nv) of a motion."""
        q, v, a = self._to_pin(qpos, qvel, acc)
        tau = np.array([self._pin.rnea(self._model, self._data, *row) for row in zip(q, v, a, strict=True)])
        for quat, dof in self._free:
            R = rotations(qpos[:, quat : quat + 4])
            tau[:, dof : dof + 3] = np.einsum("nij,nj->ni", R, tau[:, dof : dof + 3])
        return tau + acc @ self._armature

    def inertia_and_bias(self, qpos: np.ndarray, qvel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return M (N, nv, nv) and b (N, nv)."""
        q, v, a = self._to_pin(qpos, qvel, np.zeros_like(qvel))
        M, b = np.empty((len(q), *self._armature.shape)), np.empty_like(v)
        for i in range(len(q)):
            M[i] = self._pin.crba(self._model, self._data, q[i])
            b[i] = self._pin.rnea(self._model, self._data, q[i], v[i], a[i])
        for quat, dof in self._free:
            lin, R = slice(dof, dof + 3), rotations(qpos[:, quat : quat + 4])
            M[:, lin] = R @ M[:, lin]
            M[:, :, lin] = M[:, :, lin] @ R.swapaxes(1, 2)
            b[:, lin] = np.einsum("nij,nj->ni", R, b[:, lin])
        return M + self._armature, b

    def derivatives(
        self, qpos: np.ndarray, qvel: np.ndarray, acc: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the derivatives (N, nv, nv) of the inverse dynamics by differences of qpos, qvel, and acc: M."""
        q, v, a = self._to_pin(qpos, qvel, acc)
        dq, dv, M = (np.empty((len(q), *self._armature.shape)) for _ in range(3))
        for i in range(len(q)):
            dq[i], dv[i], M[i] = self._pin.computeRNEADerivatives(self._model, self._data, q[i], v[i], a[i])
        M = np.triu(M) + np.triu(M, 1).swapaxes(1, 2)
        for quat, dof in self._free:
            tau = np.array(
                [self._pin.rnea(self._model, self._data, *row)[dof : dof + 3] for row in zip(q, v, a, strict=True)]
            )
            self._turn(dof, rotations(qpos[:, quat : quat + 4]), v, a, tau, dq, dv, M)
        return dq, dv, M + self._armature

    @staticmethod
    def _turn(
        dof: int,
        R: np.ndarray,
        v: np.ndarray,
        a: np.ndarray,
        tau: np.ndarray,
        dq: np.ndarray,
        dv: np.ndarray,
        M: np.ndarray,
    ) -> None:
        """Turn the derivatives by a free joint's Pinocchio coordinates into those by MuJoCo's, in place.

        With dp the change of position in the world, r the rotation in the body, and v, a, tau Pinocchio's:
        dp_l = R' dp;  dv_l = R' dv + [v] r;  da_l = R' da - [w] dv_l + [v] dw + [a + w x v] r;  and the forces
        tau_world = R tau turn with the body: - R [tau] r.
        """
        lin, ang = slice(dof, dof + 3), slice(dof + 3, dof + 6)
        Rt, v_hat, w_hat = R.swapaxes(1, 2), skew(v[:, lin]), skew(v[:, ang])
        world_acc_hat = skew(a[:, lin] + np.cross(v[:, ang], v[:, lin]))
        dq[:, :, ang] += dv[:, :, lin] @ v_hat + M[:, :, lin] @ (world_acc_hat - w_hat @ v_hat)
        dq[:, :, lin] = dq[:, :, lin] @ Rt
        dv[:, :, ang] += M[:, :, lin] @ v_hat
        dv[:, :, lin] = (dv[:, :, lin] - M[:, :, lin] @ w_hat) @ Rt
        M[:, :, lin] = M[:, :, lin] @ Rt
        dq[:, lin, ang] -= skew(tau)
        for derivative in (dq, dv, M):
            derivative[:, lin] = R @ derivative[:, lin]
