r"""The equations of motion of trees of hinges and slides, compiled, as planners ask for them thousands of times.

All spatial vectors are taken at the world's origin, in its axes: motions (linear, angular), forces (linear, angular).
With V, A the bodies' velocities and accelerations (gravity is an acceleration of the world upwards), S a joint's axis,
I a body's inertia, and sums over a joint's subtree marked by c,

    F = I A + V x* I V,    b_i = S_i . Fc_i,    M_ij = S_j . Ic_i S_i    (j carries i).

The derivatives of the inverse dynamics are those of Singh, Russell, Wensing, "Efficient Analytical Derivatives of
Rigid-Body Dynamics using Spatial Vector Algebra", RA-L 2022, for joints of one degree of freedom: with
S'_j = V_j x S_j, S''_j = A_p x S_j + V_p x S'_j of the parent p, and 2 B u = V x* I u - I (V x u) + u x* I V,

    d tau_i / d q_j = S_i . (2 Bc_i S'_j + Ic_i S''_j),
    d tau_j / d q_i = S_j . (2 Bc_i S'_i + Ic_i S''_i + S_i x* Fc_i),
    d tau_i / d v_j = S_i . (2 Bc_i S_j + 2 Ic_i S'_j),
    d tau_j / d v_i = S_j . (2 Bc_i S_i + 2 Ic_i S'_i).

Compiled when first called, which takes half a minute, and kept on disk after that.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np


class Tree(NamedTuple):
    """The n joints of a robot, each after the one that carries it.

    Attributes:
        parent: (n,) the joint that carries each; -1: the world.
        hinge: (n,) bool; a slide otherwise.
        turn: (n, 3, 3) where a joint's frame is in its parent's at position 0: the orientation, and
        offset: (n, 3) the place.
        axis: (n, 3) unit vectors in the joints' frames.
        reference: (n,) the positions at which joints are where ``turn`` and ``offset`` say.
        mass: (n,) of what each joint carries up to the next.
        centre: (n, 3) its centre of mass in the joint's frame.
        inertia: (n, 3, 3) about that.
        gravity: (3,)
    """

    parent: np.ndarray
    hinge: np.ndarray
    turn: np.ndarray
    offset: np.ndarray
    axis: np.ndarray
    reference: np.ndarray
    mass: np.ndarray
    centre: np.ndarray
    inertia: np.ndarray
    gravity: np.ndarray


class Scratch(NamedTuple):
    """What the functions below keep between their loops: made once, as making it would cost more than they do."""

    S: np.ndarray
    bodies: np.ndarray
    V: np.ndarray
    A: np.ndarray
    Sdot: np.ndarray
    Sddot: np.ndarray
    F: np.ndarray
    B: np.ndarray
    R: np.ndarray
    P: np.ndarray
    turns: np.ndarray
    few: np.ndarray
    zero: np.ndarray


@numba.njit(cache=True)
def scratch(n: int) -> Scratch:
    """Return what n joints take."""
    return Scratch(
        np.empty((n, 6)),
        np.empty((n, 10)),
        np.empty((n, 6)),
        np.empty((n, 6)),
        np.empty((n, 6)),
        np.empty((n, 6)),
        np.empty((n, 6)),
        np.empty((n, 6, 6)),
        np.empty((n, 3, 3)),
        np.empty((n, 3)),
        np.empty((3, 3, 3)),
        np.empty((8, 6)),
        np.zeros(n),
    )


def tree_of(model: Any, reference: np.ndarray) -> Tree:
    """Return the tree of a Pinocchio model whose joints are all hinges and slides.

    Args:
        model: the model.
        reference: (n,) the positions that are its zero.
    """
    joints = range(1, model.njoints)
    inertias = [model.inertias[j] for j in joints]
    return Tree(
        np.array([model.parents[j] - 1 for j in joints]),
        np.array(["Revolute" in model.joints[j].shortname() for j in joints]),
        np.array([model.jointPlacements[j].rotation for j in joints]),
        np.array([model.jointPlacements[j].translation for j in joints]),
        np.array([_axis(model.joints[j]) for j in joints]),
        np.asarray(reference, float).copy(),
        np.array([inertia.mass for inertia in inertias]),
        np.array([inertia.lever for inertia in inertias]),
        np.array([inertia.inertia for inertia in inertias]),
        np.array(model.gravity.linear),
    )


def _axis(joint: Any) -> np.ndarray:
    """Return the axis (3,) of a hinge or slide."""
    motion = np.asarray(joint.createData().S).reshape(6)
    return motion[3:] if np.any(motion[3:]) else motion[:3]


@numba.njit(cache=True)
def _cross(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    out[0] = a[1] * b[2] - a[2] * b[1]
    out[1] = a[2] * b[0] - a[0] * b[2]
    out[2] = a[0] * b[1] - a[1] * b[0]


@numba.njit(cache=True)
def _add_motion_cross(a: np.ndarray, b: np.ndarray, factor: float, out: np.ndarray) -> None:
    """Add ``factor a x b`` of motions (6,): how b changes that moves with a."""
    out[0] += factor * (a[4] * b[2] - a[5] * b[1] + a[1] * b[5] - a[2] * b[4])
    out[1] += factor * (a[5] * b[0] - a[3] * b[2] + a[2] * b[3] - a[0] * b[5])
    out[2] += factor * (a[3] * b[1] - a[4] * b[0] + a[0] * b[4] - a[1] * b[3])
    out[3] += factor * (a[4] * b[5] - a[5] * b[4])
    out[4] += factor * (a[5] * b[3] - a[3] * b[5])
    out[5] += factor * (a[3] * b[4] - a[4] * b[3])


@numba.njit(cache=True)
def _add_force_cross(a: np.ndarray, f: np.ndarray, factor: float, out: np.ndarray) -> None:
    """Add ``factor a x* f``: how a force f (6,) changes that moves with the motion a."""
    out[0] += factor * (a[4] * f[2] - a[5] * f[1])
    out[1] += factor * (a[5] * f[0] - a[3] * f[2])
    out[2] += factor * (a[3] * f[1] - a[4] * f[0])
    out[3] += factor * (a[4] * f[5] - a[5] * f[4] + a[1] * f[2] - a[2] * f[1])
    out[4] += factor * (a[5] * f[3] - a[3] * f[5] + a[2] * f[0] - a[0] * f[2])
    out[5] += factor * (a[3] * f[4] - a[4] * f[3] + a[0] * f[1] - a[1] * f[0])


@numba.njit(cache=True)
def _momentum(body: np.ndarray, u: np.ndarray, out: np.ndarray) -> None:
    """Set ``out = I u`` for an inertia of ten numbers: mass, first moment (3), and xx yy zz xy xz yz at the origin."""
    m, hx, hy, hz = body[0], body[1], body[2], body[3]
    out[0] = m * u[0] + u[4] * hz - u[5] * hy
    out[1] = m * u[1] + u[5] * hx - u[3] * hz
    out[2] = m * u[2] + u[3] * hy - u[4] * hx
    out[3] = hy * u[2] - hz * u[1] + body[4] * u[3] + body[7] * u[4] + body[8] * u[5]
    out[4] = hz * u[0] - hx * u[2] + body[7] * u[3] + body[5] * u[4] + body[9] * u[5]
    out[5] = hx * u[1] - hy * u[0] + body[8] * u[3] + body[9] * u[4] + body[6] * u[5]


@numba.njit(cache=True)
def _dot(a: np.ndarray, b: np.ndarray) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3] + a[4] * b[4] + a[5] * b[5]


@numba.njit(cache=True)
def _place(tree: Tree, q: np.ndarray, s: Scratch) -> None:
    """Set the joints' axes S (n, 6) and the inertias (n, 10) of what each carries, at positions q (n,)."""
    n = len(q)
    S, bodies, R, P = s.S, s.bodies, s.R, s.P
    before, turned, world = s.turns[0], s.turns[1], s.turns[2]
    mass, centre, inertia = tree.mass, tree.centre, tree.inertia
    parent, hinge, turn, offset, axis, reference = (
        tree.parent,
        tree.hinge,
        tree.turn,
        tree.offset,
        tree.axis,
        tree.reference,
    )
    for i in range(n):
        p = parent[i]
        for r in range(3):
            if p < 0:
                P[i, r] = offset[i, r]
                for c in range(3):
                    before[r, c] = turn[i, r, c]
            else:
                P[i, r] = P[p, r]
                for k in range(3):
                    P[i, r] += R[p, r, k] * offset[i, k]
                for c in range(3):
                    before[r, c] = 0.0
                    for k in range(3):
                        before[r, c] += R[p, r, k] * turn[i, k, c]
        x, y, z = axis[i]
        position = q[i] - reference[i]
        ax = before[0, 0] * x + before[0, 1] * y + before[0, 2] * z
        ay = before[1, 0] * x + before[1, 1] * y + before[1, 2] * z
        az = before[2, 0] * x + before[2, 1] * y + before[2, 2] * z
        if hinge[i]:
            sine, cosine = np.sin(position), np.cos(position)
            versine = 1.0 - cosine  # Rodrigues' formula
            xy, xz, yz = versine * x * y, versine * x * z, versine * y * z
            turned[0, 0], turned[0, 1], turned[0, 2] = cosine + versine * x * x, xy - sine * z, xz + sine * y
            turned[1, 0], turned[1, 1], turned[1, 2] = xy + sine * z, cosine + versine * y * y, yz - sine * x
            turned[2, 0], turned[2, 1], turned[2, 2] = xz - sine * y, yz + sine * x, cosine + versine * z * z
            for r in range(3):
                for c in range(3):
                    R[i, r, c] = before[r, 0] * turned[0, c] + before[r, 1] * turned[1, c] + before[r, 2] * turned[2, c]
            S[i, 0] = P[i, 1] * az - P[i, 2] * ay
            S[i, 1] = P[i, 2] * ax - P[i, 0] * az
            S[i, 2] = P[i, 0] * ay - P[i, 1] * ax
            S[i, 3], S[i, 4], S[i, 5] = ax, ay, az
        else:
            for r in range(3):
                for c in range(3):
                    R[i, r, c] = before[r, c]
            P[i, 0] += position * ax
            P[i, 1] += position * ay
            P[i, 2] += position * az
            S[i, 0], S[i, 1], S[i, 2] = ax, ay, az
            S[i, 3], S[i, 4], S[i, 5] = 0.0, 0.0, 0.0
        m = mass[i]
        cx, cy, cz = P[i, 0], P[i, 1], P[i, 2]
        for k in range(3):
            cx += R[i, 0, k] * centre[i, k]
            cy += R[i, 1, k] * centre[i, k]
            cz += R[i, 2, k] * centre[i, k]
        for r in range(3):
            for c in range(3):
                world[r, c] = 0.0
                for k in range(3):
                    world[r, c] += R[i, r, k] * inertia[i, k, c]
        for r in range(3):
            for c in range(3):
                turned[r, c] = 0.0
                for k in range(3):
                    turned[r, c] += world[r, k] * R[i, c, k]
        bodies[i, 0], bodies[i, 1], bodies[i, 2], bodies[i, 3] = m, m * cx, m * cy, m * cz
        bodies[i, 4] = turned[0, 0] + m * (cy * cy + cz * cz)
        bodies[i, 5] = turned[1, 1] + m * (cx * cx + cz * cz)
        bodies[i, 6] = turned[2, 2] + m * (cx * cx + cy * cy)
        bodies[i, 7] = turned[0, 1] - m * cx * cy
        bodies[i, 8] = turned[0, 2] - m * cx * cz
        bodies[i, 9] = turned[1, 2] - m * cy * cz


@numba.njit(cache=True)
def _move(tree: Tree, v: np.ndarray, a: np.ndarray, s: Scratch) -> None:
    """Set the velocities V, accelerations A (n, 6), and how the axes change Sdot (n, 6), at speeds v and dv/dt a."""
    S, V, A, Sdot = s.S, s.V, s.A, s.Sdot
    parent, gravity = tree.parent, tree.gravity
    for i in range(len(v)):
        p = parent[i]
        for k in range(6):
            V[i, k] = S[i, k] * v[i] + (0.0 if p < 0 else V[p, k])
            A[i, k] = S[i, k] * a[i] + (A[p, k] if p >= 0 else (-gravity[k] if k < 3 else 0.0))
            Sdot[i, k] = 0.0
        _add_motion_cross(V[i], S[i], 1.0, Sdot[i])
        for k in range(6):
            A[i, k] += Sdot[i, k] * v[i]


@numba.njit(cache=True)
def inertia_and_bias(tree: Tree, q: np.ndarray, v: np.ndarray, M: np.ndarray, b: np.ndarray, s: Scratch) -> None:
    """Set M (n, n) and b (n,) of ``M a + b = tau`` at positions q (n,) and speeds v (n,)."""
    n = len(q)
    S, bodies, V, A, F, momentum = s.S, s.bodies, s.V, s.A, s.F, s.few[0]
    parent = tree.parent
    _place(tree, q, s)
    _move(tree, v, s.zero, s)
    M[:] = 0.0
    for i in range(n):
        _momentum(bodies[i], A[i], F[i])
        _momentum(bodies[i], V[i], momentum)
        _add_force_cross(V[i], momentum, 1.0, F[i])
    for i in range(n - 1, -1, -1):
        b[i] = _dot(S[i], F[i])
        p = parent[i]
        if p >= 0:
            for k in range(6):
                F[p, k] += F[i, k]
            for k in range(10):
                bodies[p, k] += bodies[i, k]
        _momentum(bodies[i], S[i], momentum)
        M[i, i] = _dot(S[i], momentum)
        while p >= 0:
            M[i, p] = _dot(S[p], momentum)
            p = parent[p]
    for i in range(n):
        for j in range(i):
            M[j, i] = M[i, j]


@numba.njit(cache=True)
def derivatives(
    tree: Tree,
    q: np.ndarray,
    v: np.ndarray,
    a: np.ndarray,
    by_q: np.ndarray,
    by_v: np.ndarray,
    M: np.ndarray,
    s: Scratch,
) -> None:
    """Set the derivatives (n, n) of the forces ``M a + b`` by q, by v, and by a: M."""
    n = len(q)
    S, bodies, V, A, Sdot, Sddot, F, B = s.S, s.bodies, s.V, s.A, s.Sdot, s.Sddot, s.F, s.B
    momentum, unit, crossed, column, other = s.few[0], s.few[1], s.few[2], s.few[3], s.few[4]
    along, turned = s.few[5], s.few[6]
    parent, gravity = tree.parent, tree.gravity
    unit[:] = 0.0
    Sddot[:] = 0.0
    _place(tree, q, s)
    _move(tree, v, a, s)
    by_q[:] = 0.0
    by_v[:] = 0.0
    M[:] = 0.0
    for i in range(n):
        p = parent[i]
        if p >= 0:
            _add_motion_cross(A[p], S[i], 1.0, Sddot[i])
            _add_motion_cross(V[p], Sdot[i], 1.0, Sddot[i])
        else:  # the world's acceleration, upwards
            for k in range(3):
                crossed[k], crossed[k + 3] = -gravity[k], 0.0
            _add_motion_cross(crossed, S[i], 1.0, Sddot[i])
        _momentum(bodies[i], A[i], F[i])
        _momentum(bodies[i], V[i], momentum)
        _add_force_cross(V[i], momentum, 1.0, F[i])
        for c in range(6):  # 2 B, column by column
            unit[c] = 1.0
            _momentum(bodies[i], unit, other)
            column[:] = 0.0
            _add_force_cross(V[i], other, 1.0, column)
            crossed[:] = 0.0
            _add_motion_cross(V[i], unit, 1.0, crossed)
            _momentum(bodies[i], crossed, other)
            _add_force_cross(unit, momentum, 1.0, column)
            for r in range(6):
                B[i, r, c] = column[r] - other[r]
            unit[c] = 0.0
    for i in range(n - 1, -1, -1):
        # forces on i's subtree as joint i moves (along, turned, momentum), felt by every joint that carries it
        _momentum(bodies[i], S[i], momentum)
        _momentum(bodies[i], Sddot[i], along)
        _momentum(bodies[i], Sdot[i], other)
        for r in range(6):
            turned[r] = 2.0 * other[r]
            for c in range(6):
                along[r] += B[i, r, c] * Sdot[i, c]
                turned[r] += B[i, r, c] * S[i, c]
        crossed[:] = 0.0
        _add_force_cross(S[i], F[i], 1.0, crossed)
        for c in range(6):  # S_i . 2 B, and S_i . I = I S_i
            column[c] = 0.0
            for r in range(6):
                column[c] += S[i, r] * B[i, r, c]
        j = i
        while j >= 0:
            M[i, j] = M[j, i] = _dot(S[j], momentum)
            if j != i:
                by_q[j, i] = _dot(S[j], along) + _dot(S[j], crossed)
                by_v[j, i] = _dot(S[j], turned)
            by_q[i, j] = _dot(column, Sdot[j]) + _dot(momentum, Sddot[j])
            by_v[i, j] = _dot(column, S[j]) + 2.0 * _dot(momentum, Sdot[j])
            j = parent[j]
        p = parent[i]
        if p >= 0:
            for k in range(6):
                F[p, k] += F[i, k]
                for c in range(6):
                    B[p, k, c] += B[i, k, c]
            for k in range(10):
                bodies[p, k] += bodies[i, k]
