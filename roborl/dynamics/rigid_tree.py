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

Of u = (., w) B asks for w alone: written out, by Jacobi's identity and as [w]J + J[w] + [Jw] = tr(J)[w] for any
symmetric J, what is linear in its other half cancels. With V = (v_0, w_0), I's mass m, first moment h and second moment
J, and p = m v_0 + w_0 x h,

    2 B u = (2 w x p, E w),    E = 2 ((h . v_0) 1 - v_0 h') + [w_0] (2 J - tr(J) 1).

Compiled when first called, which takes half a minute, and kept on disk after that.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from roborl.dynamics.compiled import Records, compiled

LINK = np.dtype(
    [
        ("parent", np.int64),  # the joint that carries it; -1: the world
        ("hinge", np.bool_),  # a slide otherwise
        ("turn", np.float64, (3, 3)),  # where its frame is in its parent's at its reference: the orientation, and
        ("offset", np.float64, (3,)),  # the place; the joint's axis is the frame's third
        ("reference", np.float64),  # the position at which it is there
        ("mass", np.float64),  # of what it carries up to the next joint
        ("centre", np.float64, (3,)),  # its centre of mass in the joint's frame
        ("inertia", np.float64, (3, 3)),  # about that
    ],
    align=True,
)
"""A joint and what it carries."""

MOTION = np.dtype(
    [
        ("R", np.float64, (3, 3)),  # where the joint's frame is in the world: its orientation, and
        ("P", np.float64, (3,)),  # its place
        ("S", np.float64, (6,)),  # its axis
        ("Sdot", np.float64, (6,)),  # S'
        ("Sddot", np.float64, (6,)),  # S''
        ("V", np.float64, (6,)),
        ("A", np.float64, (6,)),
        ("F", np.float64, (6,)),
        ("body", np.float64, (10,)),  # I: mass, first moment (3), and xx yy zz xy xz yz of the second at the origin
        ("subtree", np.float64, (10,)),  # Ic
        ("p", np.float64, (3,)),
        ("E", np.float64, (3, 3)),
        ("momentum", np.float64, (6,)),  # how Fc changes as this joint moves: by its acceleration,
        ("along", np.float64, (6,)),  # its position,
        ("turned", np.float64, (6,)),  # its speed
        ("row", np.float64, (3,)),  # S . 2 Bc
    ],
    align=True,
)
"""What the functions below find out of a joint and keep for one another."""


class Tree(NamedTuple):
    """A robot.

    Attributes:
        links: (n,) `LINK`, each joint after the one that carries it.
        gravity: along x, y and z; numbers, as an array would be one more reference to count wherever a tree is passed
            on.
    """

    links: Records
    gravity: tuple[float, float, float]


def tree_of(model: Any, reference: np.ndarray) -> Tree:
    """Return the tree of a Pinocchio model whose joints are all hinges and slides.

    Args:
        model: the model.
        reference: (n,) the positions that are its zero.
    """
    links = np.zeros(model.njoints - 1, LINK)
    along = [np.eye(3)]  # of each joint, the world first: from the axes with the joint's own third to Pinocchio's
    for j, link in enumerate(links, start=1):
        joint, placement, inertia = model.joints[j], model.jointPlacements[j], model.inertias[j]
        carrier, turned = along[model.parents[j]], _axes_along(_axis(joint))
        along.append(turned)
        link["parent"], link["hinge"] = model.parents[j] - 1, "Revolute" in joint.shortname()
        link["turn"], link["offset"] = carrier.T @ placement.rotation @ turned, carrier.T @ placement.translation
        link["reference"], link["mass"] = reference[j - 1], inertia.mass
        link["centre"], link["inertia"] = turned.T @ inertia.lever, turned.T @ inertia.inertia @ turned
    x, y, z = model.gravity.linear.tolist()
    return Tree(links, (x, y, z))


def _axis(joint: Any) -> np.ndarray:
    """Return the axis (3,) of a hinge or slide."""
    motion = np.asarray(joint.createData().S).reshape(6)
    return motion[3:] if np.any(motion[3:]) else motion[:3]


def _axes_along(axis: np.ndarray) -> np.ndarray:
    """Return axes, as columns (3, 3), whose third is a unit vector: the unit matrix, if that is the third already."""
    first = np.eye(3)[1 if abs(axis[0]) > 0.9 else 0]
    first = first - (first @ axis) * axis
    first /= np.linalg.norm(first)
    return np.stack((first, np.cross(axis, first), axis), axis=1)


@compiled
def _cross(a: Any, b: np.ndarray, factor: float, out: np.ndarray) -> None:
    """Add ``factor a x b`` (3,)."""
    out[0] += factor * (a[1] * b[2] - a[2] * b[1])
    out[1] += factor * (a[2] * b[0] - a[0] * b[2])
    out[2] += factor * (a[0] * b[1] - a[1] * b[0])


@compiled
def _add_motion_cross(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Add ``a x b`` of motions (6,): how b changes that moves with a."""
    _cross(a[3:], b[:3], 1.0, out[:3])
    _cross(a[:3], b[3:], 1.0, out[:3])
    _cross(a[3:], b[3:], 1.0, out[3:])


@compiled
def _add_force_cross(a: np.ndarray, f: np.ndarray, out: np.ndarray) -> None:
    """Add ``a x* f``: how a force f (6,) changes that moves with the motion a."""
    _cross(a[3:], f[:3], 1.0, out[:3])
    _cross(a[3:], f[3:], 1.0, out[3:])
    _cross(a[:3], f[:3], 1.0, out[3:])


@compiled
def _momentum(body: np.ndarray, u: np.ndarray, out: np.ndarray) -> None:
    """Set ``out = I u``."""
    m, hx, hy, hz = body[0], body[1], body[2], body[3]
    out[0] = m * u[0] + u[4] * hz - u[5] * hy
    out[1] = m * u[1] + u[5] * hx - u[3] * hz
    out[2] = m * u[2] + u[3] * hy - u[4] * hx
    out[3] = hy * u[2] - hz * u[1] + body[4] * u[3] + body[7] * u[4] + body[8] * u[5]
    out[4] = hz * u[0] - hx * u[2] + body[7] * u[3] + body[5] * u[4] + body[9] * u[5]
    out[5] = hx * u[1] - hy * u[0] + body[8] * u[3] + body[9] * u[4] + body[6] * u[5]


@compiled
def _dot(a: np.ndarray, b: np.ndarray) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3] + a[4] * b[4] + a[5] * b[5]


@compiled
def _dot3(a: np.ndarray, b: np.ndarray) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@compiled
def _place(links: Records, q: np.ndarray, motions: Records) -> None:
    """Set where the joints' frames are, their axes, and the inertias of what each carries, at positions q (n,)."""
    for i in range(len(links)):
        link, s = links[i], motions[i]
        R, P, S, body, turn, offset = s.R, s.P, s.S, s.body, link.turn, link.offset
        if link.parent < 0:
            for r in range(3):
                P[r] = offset[r]
                for c in range(3):
                    R[r, c] = turn[r, c]
        else:
            carrier = motions[link.parent]
            for r in range(3):
                P[r] = carrier.P[r] + _dot3(carrier.R[r], offset)
                for c in range(3):
                    R[r, c] = carrier.R[r, 0] * turn[0, c] + carrier.R[r, 1] * turn[1, c] + carrier.R[r, 2] * turn[2, c]
        position = q[i] - link.reference
        for r in range(6):
            S[r] = 0.0
        if link.hinge:
            sine, cosine = np.sin(position), np.cos(position)
            for r in range(3):
                x, y = R[r, 0], R[r, 1]
                R[r, 0], R[r, 1] = cosine * x + sine * y, cosine * y - sine * x
                S[3 + r] = R[r, 2]
            _cross(P, S[3:], 1.0, S[:3])
        else:
            for r in range(3):
                S[r] = R[r, 2]
                P[r] += position * S[r]
        _set_inertia(link, R, P, body)


@compiled
def _set_inertia(link: Any, R: np.ndarray, P: np.ndarray, body: np.ndarray) -> None:
    """Set the inertia (10,) of what a joint carries, whose frame is at P, turned by R."""
    m, centre, inertia = link.mass, link.centre, link.inertia
    x, y, z = P[0] + _dot3(R[0], centre), P[1] + _dot3(R[1], centre), P[2] + _dot3(R[2], centre)
    body[0], body[1], body[2], body[3] = m, m * x, m * y, m * z
    for r in range(3):
        row0 = R[r, 0] * inertia[0, 0] + R[r, 1] * inertia[1, 0] + R[r, 2] * inertia[2, 0]
        row1 = R[r, 0] * inertia[0, 1] + R[r, 1] * inertia[1, 1] + R[r, 2] * inertia[2, 1]
        row2 = R[r, 0] * inertia[0, 2] + R[r, 1] * inertia[1, 2] + R[r, 2] * inertia[2, 2]
        body[4 + r] = row0 * R[r, 0] + row1 * R[r, 1] + row2 * R[r, 2]
        for c in range(r):
            body[6 + r + c] = row0 * R[c, 0] + row1 * R[c, 1] + row2 * R[c, 2]  # xy, xz, yz
    body[4] += m * (y * y + z * z)
    body[5] += m * (x * x + z * z)
    body[6] += m * (x * x + y * y)
    body[7] -= m * x * y
    body[8] -= m * x * z
    body[9] -= m * y * z


@compiled
def _set_forces(tree: Tree, v: np.ndarray, a: np.ndarray, motions: Records) -> None:
    """Set velocities V, accelerations A, S' and the forces F on each body alone, at speeds v and dv/dt a, both (n,)."""
    links, gravity = tree.links, tree.gravity
    for i in range(len(links)):
        s, p = motions[i], links[i].parent
        S, Sdot, V, A, momentum = s.S, s.Sdot, s.V, s.A, s.momentum
        for k in range(6):
            V[k], A[k], Sdot[k] = S[k] * v[i], S[k] * a[i], 0.0
            if p >= 0:
                V[k] += motions[p].V[k]
                A[k] += motions[p].A[k]
            elif k < 3:
                A[k] -= gravity[k]
        _add_motion_cross(V, S, Sdot)
        for k in range(6):
            A[k] += Sdot[k] * v[i]
        _momentum(s.body, A, s.F)
        _momentum(s.body, V, momentum)
        _add_force_cross(V, momentum, s.F)


@compiled
def inertia_and_bias(tree: Tree, q: np.ndarray, v: np.ndarray, M: np.ndarray, b: np.ndarray, motions: Records) -> None:
    """Set M (n, n) and b (n,) of ``M a + b = tau`` at positions q (n,) and speeds v (n,)."""
    links, n = tree.links, len(tree.links)
    _place(links, q, motions)
    b[:] = 0.0
    _set_forces(tree, v, b, motions)
    M[:] = 0.0
    for i in range(n):
        for k in range(10):
            motions[i].subtree[k] = motions[i].body[k]
    for i in range(n - 1, -1, -1):
        s, p = motions[i], links[i].parent
        b[i] = _dot(s.S, s.F)
        if p >= 0:
            for k in range(6):
                motions[p].F[k] += s.F[k]
            for k in range(10):
                motions[p].subtree[k] += s.subtree[k]
        _momentum(s.subtree, s.S, s.momentum)
        M[i, i] = _dot(s.S, s.momentum)
        while p >= 0:
            M[i, p] = M[p, i] = _dot(motions[p].S, s.momentum)
            p = links[p].parent


@compiled
def _set_rates(s: Any) -> None:
    """Set p and E of a body's B."""
    V, body, p, E = s.V, s.body, s.p, s.E
    vx, vy, vz, wx, wy, wz = V[0], V[1], V[2], V[3], V[4], V[5]
    m, hx, hy, hz = body[0], body[1], body[2], body[3]
    p[0], p[1], p[2] = m * vx + wy * hz - wz * hy, m * vy + wz * hx - wx * hz, m * vz + wx * hy - wy * hx
    trace, along = body[4] + body[5] + body[6], hx * vx + hy * vy + hz * vz
    xx, yy, zz = 2.0 * body[4] - trace, 2.0 * body[5] - trace, 2.0 * body[6] - trace
    xy, xz, yz = 2.0 * body[7], 2.0 * body[8], 2.0 * body[9]
    E[0, 0] = 2.0 * (along - vx * hx) + wy * xz - wz * xy
    E[0, 1] = wy * yz - wz * yy - 2.0 * vx * hy
    E[0, 2] = wy * zz - wz * yz - 2.0 * vx * hz
    E[1, 0] = wz * xx - wx * xz - 2.0 * vy * hx
    E[1, 1] = 2.0 * (along - vy * hy) + wz * xy - wx * yz
    E[1, 2] = wz * xz - wx * zz - 2.0 * vy * hz
    E[2, 0] = wx * xy - wy * xx - 2.0 * vz * hx
    E[2, 1] = wx * yy - wy * xy - 2.0 * vz * hy
    E[2, 2] = 2.0 * (along - vz * hz) + wx * yz - wy * xz


@compiled
def _add_rates(s: Any, u: np.ndarray, out: np.ndarray) -> None:
    """Add ``2 B u``."""
    w, p, E = u[3:], s.p, s.E
    _cross(w, p, 2.0, out[:3])
    for r in range(3):
        out[3 + r] += _dot3(E[r], w)


@compiled
def derivatives(tree: Tree, v: np.ndarray, a: np.ndarray, by_q: np.ndarray, by_v: np.ndarray, motions: Records) -> None:
    """Set the derivatives (n, n) of the forces ``M a + b`` by q and by v, after `inertia_and_bias` at the same."""
    links, gravity, n = tree.links, tree.gravity, len(tree.links)
    _set_forces(tree, v, a, motions)
    by_q[:] = 0.0
    by_v[:] = 0.0
    for i in range(n):
        s, p = motions[i], links[i].parent
        for k in range(6):
            s.Sddot[k] = 0.0
        if p >= 0:
            _add_motion_cross(motions[p].A, s.S, s.Sddot)
            _add_motion_cross(motions[p].V, s.Sdot, s.Sddot)
        else:
            _cross(gravity, s.S[3:], -1.0, s.Sddot[:3])
        _set_rates(s)
    for i in range(n - 1, -1, -1):
        s, p = motions[i], links[i].parent
        momentum, along, turned, row = s.momentum, s.along, s.turned, s.row
        _momentum(s.subtree, s.S, momentum)
        _momentum(s.subtree, s.Sddot, along)
        _momentum(s.subtree, s.Sdot, turned)
        for k in range(6):
            turned[k] *= 2.0
        _add_rates(s, s.Sdot, along)
        _add_rates(s, s.S, turned)
        _add_force_cross(s.S, s.F, along)
        for c in range(3):  # S_i . 2 B
            row[c] = s.S[3] * s.E[0, c] + s.S[4] * s.E[1, c] + s.S[5] * s.E[2, c]
        _cross(s.p, s.S[:3], 2.0, row)
        j = i
        while j >= 0:
            carrier = motions[j]
            if j != i:
                by_q[j, i] = _dot(carrier.S, along)
                by_v[j, i] = _dot(carrier.S, turned)
            by_q[i, j] = _dot3(row, carrier.Sdot[3:]) + _dot(momentum, carrier.Sddot)
            by_v[i, j] = _dot3(row, carrier.S[3:]) + 2.0 * _dot(momentum, carrier.Sdot)
            j = links[j].parent
        if p >= 0:
            carrier = motions[p]
            for k in range(6):
                carrier.F[k] += s.F[k]
            for r in range(3):
                carrier.p[r] += s.p[r]
                for c in range(3):
                    carrier.E[r, c] += s.E[r, c]
