"""Franka's, Gaz et al.'s and franka_ros's published numbers; what is cited in models/panda.xml is compared here."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from roborl import models
from roborl.models.arms import PANDA, tool_position

JOINTS = [f"joint{i}" for i in range(1, 8)]


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return models.compile_spec(models.load("panda"))


def test_the_total_mass_is_the_sum_of_the_published_masses(model):
    # franka_ros, franka_description/robots/common/inertial.yaml: links 0 to 7 (Gaz et al. 2019), the hand, two fingers
    links = [0.629769, 4.970684, 0.646926, 3.228604, 3.587895, 1.225946, 1.666555, 0.735522]
    assert [model.body(f"link{i}").mass[0] for i in range(8)] == links
    assert model.body("hand").mass[0] == 0.73
    assert model.body_mass.sum() == pytest.approx(sum(links) + 0.73 + 2 * 0.015, rel=1e-12)


@pytest.mark.parametrize(
    ("link", "centre", "xx_yy_zz_xy_xz_yz"),
    [
        (1, [0.003875, 0.002081, -0.04762], [0.70337, 0.70661, 0.009117, -0.000139, 0.006772, 0.019169]),
        (4, [-0.05317, 0.104419, 0.027454], [0.025853, 0.019552, 0.028323, 0.007796, -0.001332, 0.008641]),
        (7, [0.010517, -0.004252, 0.061597], [0.012516, 0.010027, 0.004815, -0.000428, -0.001196, -0.000741]),
    ],
)
def test_inertias_are_those_that_gaz_et_al_identified(model, link, centre, xx_yy_zz_xy_xz_yz):
    xx, yy, zz, xy, xz, yz = xx_yy_zz_xy_xz_yz
    body, axes = model.body(f"link{link}"), np.zeros(9)
    mujoco.mju_quat2Mat(axes, body.iquat)
    turned = axes.reshape(3, 3) @ np.diag(body.inertia) @ axes.reshape(3, 3).T
    assert body.ipos == pytest.approx(centre, abs=1e-15)
    assert turned == pytest.approx(np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]), abs=1e-9)


@pytest.mark.parametrize(
    ("q", "tool"),
    [
        # Franka's DH parameters after Craig, in m: d1 0.333, d3 0.316, a4 0.0825, a5 -0.0825, d5 0.384, a7 0.088,
        # the flange at 0.107 and the hand's tool at 0.1034 from it, together 0.2104.
        # All joints 0: upright, the hand hanging. x = 0.0825 - 0.0825 + 0.088; z = 0.333 + 0.316 + 0.384 - 0.2104
        ([0.0] * 7, [0.088, 0.0, 0.8226]),
        # A quarter turn of the base, the elbow and the wrist bent by one: the forearm level along y.
        # y = 0.0825 + 0.384 + 0.088; z = 0.333 + 0.316 + 0.0825 - 0.2104
        ([0.5 * np.pi, 0.0, 0.0, -0.5 * np.pi, 0.0, 0.5 * np.pi, 0.0], [0.0, 0.5545, 0.5211]),
        # Franka's ready pose: the upper arm leans back by 45 degrees, the forearm is level.
        # x = (0.0825 - 0.316) / sqrt(2) + 0.384 + 0.088; z = 0.333 + (0.316 + 0.0825) / sqrt(2) + 0.0825 - 0.2104
        ([0.0, -0.25 * np.pi, 0.0, -0.75 * np.pi, 0.0, 0.5 * np.pi, 0.25 * np.pi], [0.30689057, 0.0, 0.48688205]),
    ],
)
def test_the_tool_is_where_the_published_dh_parameters_put_it(model, q, tool):
    data = mujoco.MjData(model)
    data.qpos[:7] = q
    mujoco.mj_kinematics(model, data)
    assert data.site("tool").xpos == pytest.approx(tool, abs=1e-8)
    assert tool_position(np, PANDA, np.array([q]))[0] == pytest.approx(tool, abs=1e-8)


def test_limits_are_frankas(model):
    # franka_ros, franka_description/robots/panda/joint_limits.yaml
    low = [-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973]
    high = [2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973]
    torque = [87.0] * 4 + [12.0] * 3
    assert [model.joint(i).name for i in range(7)] == JOINTS and list(PANDA.joints) == JOINTS
    assert model.jnt_range[:7].tolist() == [list(pair) for pair in zip(low, high, strict=True)]
    assert model.jnt_limited[:7].all()
    assert model.actuator_ctrlrange[:7] == pytest.approx(model.jnt_range[:7], rel=1e-12)
    # what holds the arm up counts among the motors' torques
    assert model.jnt_actfrclimited[:7].all() and model.jnt_actgravcomp.all()
    assert model.jnt_actfrcrange[:7].tolist() == [[-t, t] for t in torque]
    assert model.actuator_forcerange[:7].tolist() == [[-t, t] for t in torque]
    assert (list(PANDA.low), list(PANDA.high), list(PANDA.torque)) == (low, high, torque)
    assert list(PANDA.velocity) == [2.175] * 4 + [2.61] * 3


def test_the_hand_is_frankas(model):
    # franka_ros, franka_description/robots/common/franka_hand.xacro: each finger 0 to 0.04 m, 0.2 m/s, 100 N
    for name in ("left_finger", "right_finger"):
        assert model.joint(name).range.tolist() == [0.0, 0.04]
    assert model.actuator("gripper").ctrlrange.tolist() == [0.0, PANDA.gripper_width] == [0.0, 2 * 0.04]
    assert model.actuator("gripper").forcerange.tolist() == [-100.0, 100.0]
    assert PANDA.gripper_speed == 2 * 0.2
    assert model.site("tool").pos.tolist() == [0.0, 0.0, 0.1034]
