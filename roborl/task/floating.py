"""Readings of a floating base: what its free joint's quaternion and velocities say, in the base's own frame.

They are computed from ``qpos`` and ``qvel`` alone: current in every simulation, known for predicted states, and smooth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roborl.errors import UnknownName
from roborl.task.fields import Array, Fields
from roborl.task.sources import sensor
from roborl.task.terms import Reader, Source

if TYPE_CHECKING:
    import mujoco


def rotate_into(xp: Any, quaternion: Array, vector: Array) -> Array:
    """Return vectors of the world in the base's frame, ``R(q)^T v``.

    Args:
        xp: the array namespace.
        quaternion: (N, 4) the base's orientation in the world, w first, of length 1.
        vector: (N, 3) in the world's frame.

    Returns:
        (N, 3) in the base's frame.
    """
    w, x, y, z = (quaternion[:, i] for i in range(4))
    a, b, c = (vector[:, i] for i in range(3))
    # t = 2 u x v; R^T v = v - w t + u x t, with u the quaternion's vector
    s, t, r = 2.0 * (y * c - z * b), 2.0 * (z * a - x * c), 2.0 * (x * b - y * a)
    return xp.stack(
        (a - w * s + y * r - z * t, b - w * t + z * s - x * r, c - w * r + x * t - y * s),
        axis=1,
    )


def gravity_in_base(xp: Any, quaternion: Array) -> Array:
    """Return the direction of gravity in the base's frame, (N, 3): (0, 0, -1) upright.

    Args:
        xp: the array namespace.
        quaternion: (N, 4) the base's orientation in the world, w first, of length 1.
    """
    w, x, y, z = (quaternion[:, i] for i in range(4))
    return xp.stack((2.0 * (w * y - x * z), -2.0 * (y * z + w * x), 2.0 * (x * x + y * y) - 1.0), axis=1)


def projected_gravity(joint: str = "root", up: str | None = None) -> Source:
    """The direction of gravity in the frame of a free joint's body, (N, 3): what an IMU says, of tilted gravity too.

    Args:
        joint: the free joint.
        up: a sensor of the model that says where the world's upward direction is in that frame (framezaxis), in place
            of the arithmetic; the task lists ``sensordata`` in ``reads``.
    """

    def bind(model: mujoco.MjModel) -> tuple[Reader, tuple[str, ...]]:
        start = _free_joint(model, joint)[0] + 3
        upward, _ = (None, ()) if up is None else sensor(up).bind(model)

        def reader(f: Fields) -> Array:
            xp, quaternion = f.xp, f.qpos[:, start : start + 4]
            gravity = f.params.get("gravity")  # each simulation's own, where it is drawn
            if gravity is not None:
                return rotate_into(xp, quaternion, gravity / xp.sqrt(xp.sum(gravity * gravity, axis=1))[:, None])
            return gravity_in_base(xp, quaternion) if upward is None else -upward(f)

        return reader, tuple(f"gravity.{axis}" for axis in "xyz")

    return Source("projected_gravity", {"joint": joint}, bind)


def base_lin_vel(joint: str = "root") -> Source:
    """The velocity of a free joint's body in its own frame, (N, 3) [m/s]: no sensor measures it."""

    def bind(model: mujoco.MjModel) -> tuple[Reader, tuple[str, ...]]:
        q, v = _free_joint(model, joint)
        return (
            lambda f: rotate_into(f.xp, f.qpos[:, q + 3 : q + 7], f.qvel[:, v : v + 3]),
            tuple(f"{joint}.v{axis}" for axis in "xyz"),
        )

    return Source("base_lin_vel", {"joint": joint}, bind, on_hardware=False)


def _free_joint(model: mujoco.MjModel, name: str) -> tuple[int, int]:
    """Return the addresses of a free joint in qpos and in qvel."""
    free = [model.joint(i).name for i in range(model.njnt) if model.jnt_type[i] == 0]
    if name not in free:
        raise UnknownName("free joint", name, free)
    joint = model.joint(name)
    return int(joint.qposadr[0]), int(joint.dofadr[0])
