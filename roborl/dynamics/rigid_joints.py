"""The forces of `JointForces` on n joints by m actuators and k tendons, and their derivatives, compiled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from roborl.dynamics.compiled import Records, compiled

JOINT = np.dtype(
    [
        ("stiffness", np.float64),
        ("rest", np.float64),
        ("damping", np.float64),
        ("low", np.float64),  # limits of what motors do to it
        ("high", np.float64),
        ("by_motor", np.bool_),  # whether it is motors that compensate gravity
    ],
    align=True,
)
"""A joint's spring, damper and limits."""

MOTOR = np.dtype(
    [
        ("gain", np.float64),
        ("bias", np.float64),
        ("by_length", np.float64),
        ("by_speed", np.float64),
        ("ctrl_low", np.float64),
        ("ctrl_high", np.float64),
        ("low", np.float64),  # limits of its force
        ("high", np.float64),
        ("joint", np.int64),  # what it drives; -1: a tendon
    ],
    align=True,
)
"""An actuator: its force is ``gain ctrl + bias + by_length length + by_speed speed``."""

TENDON = np.dtype(
    [
        ("stiffness", np.float64),
        ("damping", np.float64),
        ("low", np.float64),  # the lengths at which it is slack
        ("high", np.float64),
    ],
    align=True,
)
"""A tendon's spring and damper."""


class Forces(NamedTuple):
    """What acts on a robot's joints.

    Attributes:
        joints: (n,) `JOINT`.
        motors: (m,) `MOTOR`.
        moments: (m, n) how the motors' lengths change with the joints.
        tendons: (k,) `TENDON`.
        arms: (k, n) how the tendons' lengths change with the joints.
        in_line: (n, n) of two joints, whether one carries the other.
    """

    joints: Records
    motors: Records
    moments: np.ndarray
    tendons: Records
    arms: np.ndarray
    in_line: np.ndarray


@compiled
def motor_forces(
    f: Forces,
    q: np.ndarray,
    v: np.ndarray,
    ctrl: np.ndarray,
    borne: np.ndarray,
    torques: np.ndarray,
    pulls: np.ndarray,
) -> None:
    """Set the motors' torques on joints (n,) and their forces (m,) before limits; `borne (n,)` compensates gravity."""
    joints, motors, moments = f.joints, f.motors, f.moments
    for i in range(len(joints)):
        torques[i] = borne[i] if joints[i].by_motor else 0.0
    for a in range(len(motors)):
        motor = motors[a]
        length, speed = 0.0, 0.0
        for i in range(len(joints)):
            length += moments[a, i] * q[i]
            speed += moments[a, i] * v[i]
        clamped = min(max(ctrl[a], motor.ctrl_low), motor.ctrl_high)
        pulls[a] = motor.gain * clamped + motor.bias + motor.by_length * length + motor.by_speed * speed
        limited = min(max(pulls[a], motor.low), motor.high)
        for i in range(len(joints)):
            torques[i] += moments[a, i] * limited


@compiled
def joint_forces(
    f: Forces, q: np.ndarray, v: np.ndarray, borne: np.ndarray, torques: np.ndarray, tau: np.ndarray
) -> None:
    """Set the forces ``tau (n,)``, after `motor_forces`."""
    joints, tendons, arms = f.joints, f.tendons, f.arms
    for i in range(len(joints)):
        joint = joints[i]
        tau[i] = min(max(torques[i], joint.low), joint.high)
        tau[i] -= joint.stiffness * (q[i] - joint.rest) + joint.damping * v[i]
        if not joint.by_motor:
            tau[i] += borne[i]
    for t in range(len(tendons)):
        tendon = tendons[t]
        length, speed = 0.0, 0.0
        for i in range(len(joints)):
            length += arms[t, i] * q[i]
            speed += arms[t, i] * v[i]
        stretch = length - min(max(length, tendon.low), tendon.high)
        for i in range(len(joints)):
            tau[i] -= arms[t, i] * (tendon.stiffness * stretch + tendon.damping * speed)


@compiled
def add_motor_damping(f: Forces, h: float, torques: np.ndarray, pulls: np.ndarray, M: np.ndarray) -> None:
    """Add the motors' damping to M, after `motor_forces`, times the time step h; a force at its limit does not damp."""
    joints, motors, moments, in_line, n = f.joints, f.motors, f.moments, f.in_line, len(f.joints)
    for a in range(len(motors)):
        motor = motors[a]
        if motor.joint >= 0 and not joints[motor.joint].low <= torques[motor.joint] <= joints[motor.joint].high:
            continue
        if motor.by_speed != 0.0 and motor.low <= pulls[a] <= motor.high:
            for i in range(n):
                for j in range(n):
                    M[i, j] -= h * motor.by_speed * in_line[i, j] * moments[a, i] * moments[a, j]


@compiled
def force_derivatives(
    f: Forces,
    q: np.ndarray,
    ctrl: np.ndarray,
    torques: np.ndarray,
    pulls: np.ndarray,
    by_q: np.ndarray,
    by_v: np.ndarray,
    by_ctrl: np.ndarray,
) -> None:
    """Set how `joint_forces` change by q and v (n, n) and by ctrl (n, m); a force at its limit does not.

    On entry ``by_q`` is how what compensates gravity changes.
    """
    joints, motors, moments, tendons, arms = f.joints, f.motors, f.moments, f.tendons, f.arms
    n = len(joints)
    by_v[:] = 0.0
    by_ctrl[:] = 0.0
    for i in range(n):
        joint = joints[i]
        free = joint.low <= torques[i] <= joint.high
        if joint.by_motor and not free:
            by_q[i] = 0.0
        by_q[i, i] -= joint.stiffness
        by_v[i, i] -= joint.damping
        for a in range(len(motors)):
            motor, moment = motors[a], moments[a, i]
            if free and moment != 0.0 and motor.low <= pulls[a] <= motor.high:
                for j in range(n):
                    by_q[i, j] += moment * motor.by_length * moments[a, j]
                    by_v[i, j] += moment * motor.by_speed * moments[a, j]
                if motor.ctrl_low <= ctrl[a] <= motor.ctrl_high:
                    by_ctrl[i, a] += moment * motor.gain
    for t in range(len(tendons)):
        tendon, length = tendons[t], 0.0
        for i in range(n):
            length += arms[t, i] * q[i]
        stiffness = tendon.stiffness if length < tendon.low or length > tendon.high else 0.0
        for i in range(n):
            for j in range(n):
                by_q[i, j] -= arms[t, i] * arms[t, j] * stiffness
                by_v[i, j] -= arms[t, i] * arms[t, j] * tendon.damping
