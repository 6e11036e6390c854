"""What the arms' tasks add to an arm's model: the goal's mark and a cube, and where their sensors' readings are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roborl.task import Fields
from roborl.task.fields import Array

if TYPE_CHECKING:
    import mujoco

CUBE_HALF_M = 0.02
CUBE_MASS_KG = 0.1

_SENSORS = {
    "tool_position": (0, 3),
    "tool_velocity": (3, 3),
    "gripper_width": (6, 1),
    "cube_position": (7, 3),
    "cube_from_tool": (10, 3),
    "cube_x_axis": (13, 3),
    "cube_z_axis": (16, 3),
    "cube_velocity": (19, 3),
    "cube_spin": (22, 3),
}
"""Where the sensors' readings begin, and how many they are; the cube's come after the model's own."""


def reading(f: Fields, name: str) -> Array:
    """Return a sensor's reading, (N, k)."""
    first, width = _SENSORS[name]
    return f.sensordata[:, first : first + width]


def add_goal(spec: mujoco.MjSpec) -> None:
    """Add the goal's mark, a body that each simulation puts where its goal is."""
    mark = spec.worldbody.add_body(name="goal", mocap=True, pos=[0.5, 0.0, 0.3])
    mark.add_site(name="goal", size=[0.02, 0.0, 0.0], rgba=[0.2, 0.65, 0.3, 0.7])


def add_cube(spec: mujoco.MjSpec) -> None:
    """Add a free cube at rest on the table, and its sensors."""
    import mujoco

    cube = spec.worldbody.add_body(name="cube", pos=[0.5, 0.0, CUBE_HALF_M])
    cube.add_freejoint(name="cube")
    cube.add_geom(
        name="cube",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[CUBE_HALF_M] * 3,
        mass=CUBE_MASS_KG,
        condim=4,
        rgba=[0.90, 0.49, 0.13, 1.0],
    )
    kinds = mujoco.mjtSensor
    for name, kind in (
        ("cube_position", kinds.mjSENS_FRAMEPOS),
        ("cube_from_tool", kinds.mjSENS_FRAMEPOS),
        ("cube_x_axis", kinds.mjSENS_FRAMEXAXIS),
        ("cube_z_axis", kinds.mjSENS_FRAMEZAXIS),
        ("cube_velocity", kinds.mjSENS_FRAMELINVEL),
        ("cube_spin", kinds.mjSENS_FRAMEANGVEL),
    ):
        reading = spec.add_sensor(name=name, type=kind, objtype=mujoco.mjtObj.mjOBJ_BODY, objname="cube")
        if name == "cube_from_tool":
            reading.reftype, reading.refname = mujoco.mjtObj.mjOBJ_SITE, "tool"
