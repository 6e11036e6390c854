"""Universal Robots' published numbers, and the Hand-E's; what is cited in models/ur5e.xml is compared here."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from roborl import models
from roborl.models.arms import UR5E, tool_position

JOINTS = ["shoulder_pan", "shoulder_lift", "elbow", "wrist_1", "wrist_2", "wrist_3"]
LINKS = ["shoulder", "upper_arm", "forearm", "wrist_1", "wrist_2", "wrist_3"]


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return models.compile_spec(models.load("ur5e"))


def test_the_total_mass_is_the_sum_of_the_published_masses(model):
    # Universal Robots, "DH Parameters for calculations of kinematics and dynamics", UR5e
    links = [3.761, 8.058, 2.846, 1.37, 1.3, 0.365]
    assert [model.body(name).mass[0] for name in LINKS] == links
    # the base: ur_description, config/ur5e/physical_parameters.yaml; the gripper: cambel/robotiq, robotiq_hande_gripper
    assert model.body_mass.sum() == pytest.approx(4.0 + sum(links) + 0.86387 + 2 * 0.03804, rel=1e-12)


# Universal Robots' page: centres of mass in the links' DH frames, at the links' ends; ur_description's
# physical_parameters.yaml: inertias xx, xy, xz, yy, yz, zz in axes along those frames'. Of the DH frames the joints'
# bodies are a turn about x (the DH parameter alpha) and the link's length away.
PUBLISHED = {
    "shoulder": (90, 0.0, [0.0, -0.02561, 0.00193], [0.0070021, 7.3e-7, -1.053e-5, 0.00648091, 0.00049994, 0.00657286]),
    "upper_arm": (0, -0.425, [0.2125, 0.0, 0.11336], [0.01505885, -5.4e-5, 5.63e-6, 0.33388086, -1.81e-6, 0.33247207]),
    "forearm": (0, -0.3922, [0.15, 0.0, 0.0265], [0.00399632, -1.365e-5, 0.00137272, 0.07879254, -6.6e-6, 0.0784851]),
    "wrist_1": (90, 0.0, [0.0, -0.0018, 0.01634], [0.00165491, -2.82e-6, -4.38e-6, 0.00135962, 0.00010157, 0.00126279]),
    "wrist_2": (-90, 0.0, [0.0, 0.0018, 0.01634], [0.00135617, -2.74e-6, 4.44e-6, 0.00127827, -5.048e-5, 0.00096614]),
    "wrist_3": (0, 0.0, [0.0, 0.0, -0.001159], [0.00018694, 6e-8, -1.7e-7, 0.00018908, -9.2e-7, 0.00025756]),
}


@pytest.mark.parametrize("link", LINKS)
def test_centres_of_mass_and_inertias_are_the_published_ones_turned_into_the_bodies_frames(model, link):
    degrees, length, centre, (xx, xy, xz, yy, yz, zz) = PUBLISHED[link]
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.array([[1.0, 0.0, 0.0], [0.0, cos, -sin], [0.0, sin, cos]])
    body, axes = model.body(link), np.zeros(9)
    mujoco.mju_quat2Mat(axes, body.iquat)
    inertia = axes.reshape(3, 3) @ np.diag(body.inertia) @ axes.reshape(3, 3).T
    assert body.ipos == pytest.approx(turn @ np.array(centre) + [length, 0.0, 0.0], abs=1e-12)
    assert inertia == pytest.approx(turn @ np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) @ turn.T, abs=1e-9)


@pytest.mark.parametrize(
    ("q", "tool"),
    [
        # Universal Robots' DH parameters, in m: d1 0.1625, a2 -0.425, a3 -0.3922, d4 0.1333, d5 0.0997, d6 0.0996, and
        # the tool 0.139 beyond; our base is half a turn about z from the DH one, so that x and y change their signs.
        # All joints 0: stretched and level. x = 0.425 + 0.3922; y = 0.1333 + 0.0996 + 0.139; z = 0.1625 - 0.0997
        ([0.0] * 6, [0.8172, 0.3719, 0.0628]),
        # Upright, the base a quarter turned. x = -(0.1333 + 0.0996 + 0.139); z = 0.1625 + 0.425 + 0.3922 + 0.0997
        ([0.5 * np.pi, -0.5 * np.pi, 0.0, -0.5 * np.pi, 0.0, 0.0], [-0.3719, 0.0, 1.0794]),
        # The upper arm upright, the forearm level, the tool down.
        # x = 0.3922 + 0.0997; y = 0.1333; z = 0.1625 + 0.425 - 0.0996 - 0.139
        ([0.0, -0.5 * np.pi, 0.5 * np.pi, -0.5 * np.pi, -0.5 * np.pi, 0.0], [0.4919, 0.1333, 0.3489]),
    ],
)
def test_the_tool_is_where_the_published_dh_parameters_put_it(model, q, tool):
    data = mujoco.MjData(model)
    data.qpos[:6] = q
    mujoco.mj_kinematics(model, data)
    assert data.site("tool").xpos == pytest.approx(tool, abs=1e-12)
    assert tool_position(np, UR5E, np.array([q]))[0] == pytest.approx(tool, abs=1e-12)


def test_limits_are_universal_robots(model):
    # ur_description, config/ur5e/joint_limits.yaml: +-360 degrees (the elbow +-180), 180 degrees/s, 150 and 28 N m
    high = np.deg2rad([360.0, 360.0, 180.0, 360.0, 360.0, 360.0])
    torque = [150.0] * 3 + [28.0] * 3
    assert [model.joint(i).name for i in range(6)] == JOINTS and list(UR5E.joints) == JOINTS
    assert model.jnt_range[:6] == pytest.approx(np.stack((-high, high), axis=1), rel=1e-15)
    assert model.jnt_limited[:6].all()
    assert model.actuator_ctrlrange[:6] == pytest.approx(model.jnt_range[:6], rel=1e-12)
    # what holds the arm up counts among the motors' torques
    assert model.jnt_actfrclimited[:6].all() and model.jnt_actgravcomp.all()
    assert model.jnt_actfrcrange[:6].tolist() == [[-t, t] for t in torque]
    assert model.actuator_forcerange[:6].tolist() == [[-t, t] for t in torque]
    assert list(zip(UR5E.low, UR5E.high, strict=True)) == [tuple(pair) for pair in model.jnt_range[:6]]
    assert list(UR5E.torque) == torque and UR5E.velocity == pytest.approx(np.deg2rad([180.0] * 6), rel=1e-15)


def test_the_gripper_is_the_hand_e(model):
    # cambel/robotiq, robotiq_hande_gripper.urdf.xacro: each finger 0 to 0.025 m, 0.15 m/s, 130 N
    for name in ("left_finger", "right_finger"):
        assert model.joint(name).range.tolist() == [0.0, 0.025]
        assert model.body(name).pos.tolist() == [0.0, 0.0, 0.099] and model.body(name).mass[0] == 0.03804
    assert model.body("hand").mass[0] == 0.86387 and model.body("hand").ipos.tolist() == [0.0, 0.0, 0.04607]
    assert model.actuator("gripper").ctrlrange.tolist() == [0.0, UR5E.gripper_width] == [0.0, 2 * 0.025]
    assert model.actuator("gripper").forcerange.tolist() == [-130.0, 130.0]
    assert UR5E.gripper_speed == 2 * 0.15
