from __future__ import annotations

import mujoco
import numpy as np
import pytest

from roborl.errors import UnknownName
from roborl.task import Fields, base_lin_vel, gravity_in_base, projected_gravity, rotate_into

BOX = """
<mujoco>
  <worldbody>
    <body name="cart"><joint name="slide" type="slide"/><geom name="cart" size="0.1"/></body>
    <body name="box"><freejoint name="root"/><geom name="box" size="0.1"/><site name="imu"/></body>
  </worldbody>
  <sensor>
    <velocimeter name="velocity" site="imu"/>
    <framezaxis name="up" objtype="body" objname="world" reftype="site" refname="imu"/>
  </sensor>
</mujoco>
"""


def test_turning_by_a_quarter_about_each_axis():
    h = np.sqrt(0.5)
    quaternions = np.array([[1, 0, 0, 0], [h, h, 0, 0], [h, 0, h, 0], [h, 0, 0, h]])
    vector = np.tile([1.0, 2.0, 3.0], (4, 1))
    # R^T v: about x: (x, z, -y); about y: (-z, y, x); about z: (y, -x, z)
    expected = [[1, 2, 3], [1, 3, -2], [-3, 2, 1], [2, -1, 3]]
    assert rotate_into(np, quaternions, vector) == pytest.approx(np.array(expected), abs=1e-15)
    down = [[0, 0, -1], [0, -1, 0], [1, 0, 0], [0, 0, -1]]
    assert gravity_in_base(np, quaternions) == pytest.approx(np.array(down), abs=1e-15)


def test_the_readings_are_those_of_mujocos_sensors():
    model = mujoco.MjModel.from_xml_string(BOX)
    data = mujoco.MjData(model)
    rng = np.random.default_rng(0)
    for _ in range(20):
        data.qpos[:], data.qvel[:] = rng.normal(size=8), rng.normal(size=7)
        data.qpos[4:8] /= np.linalg.norm(data.qpos[4:8])
        mujoco.mj_forward(model, data)
        f = Fields(np, {"qpos": data.qpos[None], "qvel": data.qvel[None]}, {}, {})
        for source, name, sign in ((base_lin_vel(), "velocity", 1.0), (projected_gravity(), "up", -1.0)):
            read, labels = source.bind(model)
            assert len(labels) == 3
            assert read(f)[0] == pytest.approx(sign * data.sensor(name).data, abs=1e-12)


def test_an_imu_tells_gravity_and_no_sensor_tells_velocity():
    assert projected_gravity().on_hardware and not base_lin_vel().on_hardware


def test_a_joint_that_is_not_free_is_refused():
    model = mujoco.MjModel.from_xml_string(BOX)
    with pytest.raises(UnknownName, match="unknown free joint 'slide'.*root"):
        projected_gravity("slide").bind(model)
