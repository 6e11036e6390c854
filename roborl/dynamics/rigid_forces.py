"""The forces on a MuJoCo model's joints that follow from its state and control, and their derivatives.

They are those of springs, dampers, actuators and gravity compensation. What is modelled is linear but for limits: fixed
gains and affine biases (motors, position and velocity servos) on hinges, slides and fixed tendons, limits of control
and of force, linear springs and dampers. Anything else is refused by name, never left out in silence.
"""

from __future__ import annotations

from typing import NamedTuple

import mujoco
import numpy as np

from roborl.dynamics.rigid_joints import JOINT, MOTOR, TENDON, Forces
from roborl.dynamics.rigid_model import RigidModel
from roborl.dynamics.rigid_tree import Tree
from roborl.errors import ConfigError

_SCALAR = (int(mujoco.mjtJoint.mjJNT_SLIDE), int(mujoco.mjtJoint.mjJNT_HINGE))
_DISABLE = mujoco.mjtDisableBit


class ForceDerivatives(NamedTuple):
    """How forces change.

    Attributes:
        by_q: (N, nv, nv) by differences of qpos.
        by_v: (N, nv, nv) by qvel.
        by_ctrl: (N, nv, nu) by ctrl.
    """

    by_q: np.ndarray
    by_v: np.ndarray
    by_ctrl: np.ndarray


class MotorForces(NamedTuple):
    """What motors do in N states, before their limits.

    Attributes:
        placed: (N, nv) joints' positions by degree of freedom; 0 for free and ball joints.
        actuators: (N, nu) the actuators' forces.
        compensation: (N, nv) what compensates gravity, of motors or not.
        joints: (N, nv) the torques of motors on joints, actuators' limits kept.
    """

    placed: np.ndarray
    actuators: np.ndarray
    compensation: np.ndarray
    joints: np.ndarray


def unsupported(model: mujoco.MjModel) -> list[str]:
    """Return what a model has that no `JointForces` models, in words; empty: all of it is modelled."""
    scalar = np.isin(model.jnt_type, _SCALAR)
    tendons = np.ones(model.ntendon, bool)
    for tendon in range(model.ntendon):
        wraps = slice(model.tendon_adr[tendon], model.tendon_adr[tendon] + model.tendon_num[tendon])
        tendons[tendon] = (model.wrap_type[wraps] == int(mujoco.mjtWrap.mjWRAP_JOINT)).all()
    on_joint = model.actuator_trntype == int(mujoco.mjtTrn.mjTRN_JOINT)
    on_tendon = model.actuator_trntype == int(mujoco.mjtTrn.mjTRN_TENDON)
    driven = np.where(on_joint, model.actuator_trnid[:, 0], 0)
    polynomials = (model.dof_dampingpoly, model.jnt_stiffnesspoly, model.tendon_dampingpoly, model.tendon_stiffnesspoly)
    found = {
        "fluid forces (density or viscosity)": model.opt.density != 0.0 or model.opt.viscosity != 0.0,
        "the integrator 'implicit'": model.opt.integrator == mujoco.mjtIntegrator.mjINT_IMPLICIT,
        "activations": model.na > 0,
        "flexes": model.nflex > 0,
        "plugins": model.nplugin > 0,
        "spatial tendons": not tendons.all(),
        "springs of free or ball joints": bool(model.jnt_stiffness[~scalar].any()),
        "springs or dampers that are not linear": any(bool(np.any(values)) for values in polynomials),
        "force limits of tendons": bool(model.tendon_actfrclimited.any()),
        "actuators that drive neither a joint nor a tendon": not (on_joint | on_tendon).all(),
        "actuators of free or ball joints": not scalar[driven[on_joint]].all(),
        "actuators whose gain is not fixed": bool(np.any(model.actuator_gaintype)),
        "actuators whose bias is neither none nor affine": bool(np.any(model.actuator_biastype > 1)),
        "damping or rotor inertia of actuators": bool(
            np.any(model.actuator_damping) or np.any(model.actuator_dampingpoly) or np.any(model.actuator_armature)
        ),
        "actuator groups that are switched off": model.opt.disableactuator != 0,
    }
    return [name for name, there in found.items() if there]


class JointForces:
    """Forces (N, nv) of N states.

    Args:
        model: the compiled model.

    Attributes:
        armature: (nv, nv) the tendons' inertia, which adds to the joints'.
        damping: (nv,) of the joints.
        constant_damping: (nv, nv) of joints and tendons, as MuJoCo's 'implicitfast' takes it.

    Raises:
        ConfigError: if the model has forces that are not modelled.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        lacking = unsupported(model)
        if lacking:
            raise ConfigError(f"the rigid-body model has no {', '.join(lacking)}")
        nv, flags = model.nv, model.opt.disableflags
        scalar = np.isin(model.jnt_type, _SCALAR)
        self._dofs, self._positions = model.jnt_dofadr[scalar], model.jnt_qposadr[scalar]
        self._nv = nv
        springs = 0.0 if flags & int(_DISABLE.mjDSBL_SPRING) else 1.0
        dampers = 0.0 if flags & int(_DISABLE.mjDSBL_DAMPER) else 1.0
        self._stiffness, self._rest = np.zeros(nv), np.zeros(nv)
        self._stiffness[self._dofs] = springs * model.jnt_stiffness[scalar]
        self._rest[self._dofs] = model.qpos_spring[self._positions]
        self.damping = dampers * model.dof_damping

        self._tendons = np.zeros((model.ntendon, nv))
        for tendon in range(model.ntendon):
            for wrap in range(model.tendon_adr[tendon], model.tendon_adr[tendon] + model.tendon_num[tendon]):
                self._tendons[tendon, model.jnt_dofadr[model.wrap_objid[wrap]]] += model.wrap_prm[wrap]
        self._tendon_stiffness = springs * model.tendon_stiffness
        self._tendon_damping = dampers * model.tendon_damping
        self._tendon_rest = model.tendon_lengthspring
        self.armature = self._tendons.T @ (model.tendon_armature[:, None] * self._tendons)
        self._bind_actuators(model, flags)
        self._in_line = np.eye(nv)  # of two joints, whether one carries the other: MuJoCo's matrices hold no others
        for dof in range(nv):
            above = model.dof_parentid[dof]
            while above >= 0:
                self._in_line[dof, above] = self._in_line[above, dof] = 1.0
                above = model.dof_parentid[above]

        constant = np.diag(self.damping) + self._tendons.T @ (self._tendon_damping[:, None] * self._tendons)
        self.constant_damping = self._in_line * constant
        pairs = self._in_line * self._moment[:, :, None] * self._moment[:, None, :]
        self._moment_pairs = pairs.reshape(model.nu, nv * nv)

        compensated = model.body_mass * model.body_gravcomp
        self._compensation = RigidModel(model, compensated) if compensated.any() else None
        self._by_motor = np.zeros(nv, bool)
        self._by_motor[self._dofs] = model.jnt_actgravcomp[scalar].astype(bool)

    def _bind_actuators(self, model: mujoco.MjModel, flags: int) -> None:
        nv, off = self._nv, bool(flags & int(_DISABLE.mjDSBL_ACTUATION))
        self._moment = np.zeros((model.nu, nv))
        self._on_joint = model.actuator_trntype == int(mujoco.mjtTrn.mjTRN_JOINT)
        self._joint_of = model.jnt_dofadr[np.where(self._on_joint, model.actuator_trnid[:, 0], 0)]
        for i in range(model.nu):
            target, gear = model.actuator_trnid[i, 0], model.actuator_gear[i, 0]
            if self._on_joint[i]:
                self._moment[i, model.jnt_dofadr[target]] = gear
            else:
                self._moment[i] = gear * self._tendons[target]
        on = 0.0 if off else 1.0
        self._gain = on * model.actuator_gainprm[:, 0]
        affine = on * (model.actuator_biastype == int(mujoco.mjtBias.mjBIAS_AFFINE))
        self._bias, self._by_length, self._by_speed = affine * model.actuator_biasprm[:, :3].T
        clamped = model.actuator_ctrllimited.astype(bool) & (not flags & int(_DISABLE.mjDSBL_CLAMPCTRL))
        self._ctrl_range = _limits(clamped, model.actuator_ctrlrange)
        self._force_range = _limits(model.actuator_forcelimited.astype(bool), model.actuator_forcerange)
        limited = np.zeros(nv, bool)
        ranges = np.zeros((nv, 2))
        scalar = np.isin(model.jnt_type, _SCALAR)
        limited[self._dofs] = model.jnt_actfrclimited[scalar].astype(bool)
        ranges[self._dofs] = model.jnt_actfrcrange[scalar]
        self._joint_range = _limits(limited, ranges)

    def compiled(self, tree: Tree) -> tuple[Forces, Tree]:
        """Return the same for compiled functions: the numbers, and the point masses whose weight is borne.

        Args:
            tree: the robot, of hinges and slides alone.
        """
        borne = None if self._compensation is None else self._compensation.tree()
        if borne is None:
            borne = tree._replace(links=tree.links[:0])
        joints, motors = np.zeros(self._nv, JOINT), np.zeros(len(self._moment), MOTOR)
        tendons = np.zeros(len(self._tendons), TENDON)
        joints["stiffness"], joints["rest"], joints["damping"] = self._stiffness, self._rest, self.damping
        (joints["low"], joints["high"]), joints["by_motor"] = self._joint_range, self._by_motor
        motors["gain"], motors["bias"] = self._gain, self._bias
        motors["by_length"], motors["by_speed"] = self._by_length, self._by_speed
        (motors["ctrl_low"], motors["ctrl_high"]), (motors["low"], motors["high"]) = self._ctrl_range, self._force_range
        motors["joint"] = np.where(self._on_joint, self._joint_of, -1)
        tendons["stiffness"], tendons["damping"] = self._tendon_stiffness, self._tendon_damping
        tendons["low"], tendons["high"] = self._tendon_rest.T
        moments, arms, in_line = (
            np.array(matrix, order="C") for matrix in (self._moment, self._tendons, self._in_line)
        )
        return Forces(joints, motors, moments, tendons, arms, in_line), borne

    def motors(self, qpos: np.ndarray, qvel: np.ndarray, ctrl: np.ndarray) -> MotorForces:
        """Return what motors do."""
        placed = np.zeros((len(qpos), self._nv))
        placed[:, self._dofs] = qpos[:, self._positions]
        wanted = self._gain * np.minimum(np.maximum(ctrl, self._ctrl_range[0]), self._ctrl_range[1]) + self._bias
        actuators = wanted + self._by_length * (placed @ self._moment.T) + self._by_speed * (qvel @ self._moment.T)
        compensation = at_rest = np.zeros((len(qpos), self._nv))
        if self._compensation is not None:
            compensation = self._compensation.inverse_dynamics(qpos, at_rest, at_rest)
        limited = np.minimum(np.maximum(actuators, self._force_range[0]), self._force_range[1])
        return MotorForces(placed, actuators, compensation, limited @ self._moment + self._by_motor * compensation)

    def forces(
        self, qpos: np.ndarray, qvel: np.ndarray, ctrl: np.ndarray, motors: MotorForces | None = None
    ) -> np.ndarray:
        """Return the forces (N, nv); ``motors``, where they are known already, of the same states."""
        motors = self.motors(qpos, qvel, ctrl) if motors is None else motors
        total = -self._stiffness * (motors.placed - self._rest) - self.damping * qvel
        if len(self._tendons):
            lengths = motors.placed @ self._tendons.T
            stretch = lengths - np.clip(lengths, *self._tendon_rest.T)
            pull = self._tendon_stiffness * stretch + self._tendon_damping * (qvel @ self._tendons.T)
            total -= pull @ self._tendons
        total += np.minimum(np.maximum(motors.joints, self._joint_range[0]), self._joint_range[1])
        return total + ~self._by_motor * motors.compensation

    def derivatives(self, qpos: np.ndarray, qvel: np.ndarray, ctrl: np.ndarray) -> ForceDerivatives:
        """Return how `forces` change; a force at its limit does not."""
        motors, nv = self.motors(qpos, qvel, ctrl), self._nv
        free = self._within(motors.actuators, self._force_range)
        heeded = self._within(ctrl, self._ctrl_range)
        compensation = np.zeros((len(qpos), nv, nv))
        if self._compensation is not None:
            at_rest = np.zeros((len(qpos), nv))
            compensation = self._compensation.derivatives(qpos, at_rest, at_rest)[0]
        unlimited = self._within(motors.joints, self._joint_range)[:, :, None]

        def actuators(factor: np.ndarray) -> np.ndarray:
            return np.einsum("av,na,aw->nvw", self._moment, factor, self._moment)

        motor_gravity = np.where(self._by_motor[:, None], unlimited * compensation, compensation)
        by_q = unlimited * actuators(free * self._by_length) + motor_gravity - np.diag(self._stiffness)
        by_v = unlimited * actuators(free * self._by_speed) - np.diag(self.damping)
        if len(self._tendons):
            lengths = motors.placed @ self._tendons.T
            taut = (lengths < self._tendon_rest[:, 0]) | (lengths > self._tendon_rest[:, 1])
            by_q -= np.einsum("tv,nt,tw->nvw", self._tendons, taut * self._tendon_stiffness, self._tendons)
            by_v -= self._tendons.T @ (self._tendon_damping[:, None] * self._tendons)
        by_ctrl = unlimited * np.einsum("av,na->nva", self._moment, free * heeded * self._gain)
        return ForceDerivatives(by_q, by_v, by_ctrl)

    def implicit_damping(self, motors: MotorForces) -> np.ndarray:
        """Return minus the forces' derivative by qvel as MuJoCo's 'implicitfast' takes it, (nv, nv) or (N, nv, nv)."""
        if not self._by_speed.any():
            return self.constant_damping
        # a joint at its limit of force does not heed the actuators that are its own; those of tendons still count
        free = self._within(motors.actuators, self._force_range)
        free &= self._within(motors.joints, self._joint_range)[:, self._joint_of] | ~self._on_joint
        pairs = (free * self._by_speed) @ self._moment_pairs
        return self.constant_damping - pairs.reshape(len(free), self._nv, self._nv)

    @staticmethod
    def _within(values: np.ndarray, limits: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        return (values >= limits[0]) & (values <= limits[1])


def _limits(limited: np.ndarray, ranges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return lower and upper bounds, infinite where there are none."""
    return np.where(limited, ranges[:, 0], -np.inf), np.where(limited, ranges[:, 1], np.inf)
