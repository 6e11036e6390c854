"""The Go1 against Unitree's URDF: github.com/unitreerobotics/unitree_ros, robots/go1_description/urdf/go1.urdf."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from roborl import models

LEGS = {"FR": (1, -1), "FL": (1, 1), "RR": (-1, -1), "RL": (-1, 1)}
"""Where a leg is: in front or behind, to the left or to the right."""


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return models.compile_spec(models.load("go1"))


def test_masses_are_those_of_the_urdf(model):
    # links: trunk 5.204, imu 0.001, hip 0.591, thigh 0.92, calf 0.135862, foot 0.06, rotor 0.089
    # a link carries the rotor of the joint that follows it: the trunk four, a hip and a thigh one each, a calf the foot
    for leg in LEGS:
        assert model.body(f"{leg}_hip").mass[0] == pytest.approx(0.680, abs=1e-9)
        assert model.body(f"{leg}_thigh").mass[0] == pytest.approx(1.009, abs=1e-9)
        assert model.body(f"{leg}_calf").mass[0] == pytest.approx(0.195862, abs=1e-9)
    assert model.body("trunk").mass[0] == pytest.approx(5.204 + 0.001 + 4 * 0.089, abs=1e-9)
    # 5.205 + 4 * (0.591 + 0.92 + 0.135862 + 0.06 + 3 * 0.089) = 5.205 + 4 * 1.973862
    assert model.body_mass.sum() == pytest.approx(13.100448, abs=1e-9)


def test_the_calfs_inertia_is_that_of_calf_and_foot(model):
    # masses 0.135862 at (0.006197, 0.001408, -0.116695) and 0.06 at (0, 0, -0.213)
    m1, m2 = 0.135862, 0.06
    c1, c2 = np.array([0.006197, 0.001408, -0.116695]), np.array([0.0, 0.0, -0.213])
    centre = (m1 * c1 + m2 * c2) / (m1 + m2)
    inertia = np.array(
        [
            [0.001088793059, -2.55679e-07, 7.117814e-06],
            [-2.55679e-07, 0.001100428748, 2.077264e-06],
            [7.117814e-06, 2.077264e-06, 2.4787446e-05],
        ]
    )
    inertia += 9.6e-06 * np.eye(3)
    for mass, c in ((m1, c1), (m2, c2)):
        r = c - centre
        inertia += mass * (r @ r * np.eye(3) - np.outer(r, r))
    for leg in LEGS:
        calf = model.body(f"{leg}_calf")
        assert calf.ipos == pytest.approx(centre, abs=1e-9)
        assert sorted(calf.inertia) == pytest.approx(sorted(np.linalg.eigvalsh(inertia)), rel=1e-6)


def test_the_robot_is_the_same_on_both_sides(model):
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    mujoco.mj_forward(model, data)
    for right, left in (("FR", "FL"), ("RR", "RL")):
        for link in ("hip", "thigh"):
            a, b = (data.body(f"{side}_{link}").xipos for side in (right, left))
            assert a * [1, -1, 1] == pytest.approx(b, abs=1e-12)
            assert model.body(f"{right}_{link}").inertia == pytest.approx(
                model.body(f"{left}_{link}").inertia, rel=1e-9
            )


@pytest.mark.parametrize(
    ("hip", "thigh", "calf", "foot"),
    [
        # of the left front leg, from the trunk: hip at (0.1881, 0.04675, 0), thigh 0.08 beside it, links of 0.213
        # home: the two links lean by 0.9 to either side; z = -2 * 0.213 * cos(0.9)
        (0.0, 0.9, -1.8, (0.1881, 0.12675, -0.264805846)),
        # by pi/4 to either side: z = -0.213 * sqrt(2)
        (0.0, np.pi / 4, -np.pi / 2, (0.1881, 0.12675, -0.301227489)),
        # thigh straight back, calf straight down, all turned out by pi/6:
        # x = 0.1881 - 0.213, y = 0.04675 + 0.08 cos + 0.213 sin, z = 0.08 sin - 0.213 cos
        (np.pi / 6, np.pi / 2, -np.pi / 2, (-0.0249, 0.222532032, -0.144463411)),
    ],
)
def test_the_feet_are_where_the_link_lengths_put_them(model, hip, thigh, calf, foot):
    data = mujoco.MjData(model)
    data.qpos[:7] = [0, 0, 0, 1, 0, 0, 0]
    for leg, (_, side) in LEGS.items():
        for name, angle in (("hip", side * hip), ("thigh", thigh), ("calf", calf)):
            data.qpos[model.joint(f"{leg}_{name}_joint").qposadr[0]] = angle
    mujoco.mj_forward(model, data)
    for leg, (front, side) in LEGS.items():
        x = foot[0] if front > 0 else foot[0] - 2 * 0.1881
        assert data.site(f"{leg}_foot").xpos == pytest.approx([x, side * foot[1], foot[2]], abs=1e-8)


def test_limits_gains_and_armature_are_the_published_ones(model):
    # limits: URDF; gains: mjlab and MuJoCo Playground; armature: the rotor's 1.11842e-4 kg m^2 times the square of the
    # gear, 6 and 9 (mjlab, go1_constants.py)
    limits = {"hip": (-0.863, 0.863), "thigh": (-0.686, 4.501), "calf": (-2.818, -0.888)}
    for leg in LEGS:
        for name, (low, high) in limits.items():
            joint, actuator = model.joint(f"{leg}_{name}_joint"), model.actuator(f"{leg}_{name}")
            assert joint.range.tolist() == [low, high] and model.jnt_limited[joint.id]
            effort, gear = (35.55, 9) if name == "calf" else (23.7, 6)
            assert actuator.forcerange.tolist() == [-effort, effort] and model.actuator_forcelimited[actuator.id]
            assert model.dof_armature[joint.dofadr[0]] == pytest.approx(1.11842e-4 * gear**2, rel=1e-6)
            assert actuator.trnid[0] == joint.id
            assert actuator.gainprm[0] == 35.0 and actuator.biasprm[:3].tolist() == [0.0, -35.0, -0.5]
    assert not model.dof_damping.any() and not model.dof_frictionloss.any()


def test_it_stands_at_its_default_pose_for_ten_seconds(model):
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, model.key("home").id)
    limit = model.actuator_forcerange[:, 1]
    for _ in range(2000):
        mujoco.mj_step(model, data)
        assert 0.2 < data.qpos[2] < 0.29  # the soft servos give way by 4 cm
        assert (np.abs(data.actuator_force) <= limit).all()
    upward = data.body("trunk").xmat[8]
    assert np.degrees(np.arccos(upward)) < 6.0
    assert np.abs(data.qvel).max() < 1e-3
    assert np.abs(data.actuator_force).max() < 10.0  # at rest, a third of what the motors can
    assert data.sensor("FR_touch").data[0] > 5.0
    total = sum(data.sensor(f"{leg}_touch").data[0] for leg in LEGS)
    assert total == pytest.approx(13.100448 * 9.81, rel=1e-3)
    assert not any(warning.number for warning in data.warning)


@pytest.mark.parametrize("robot", ["go1", "g1"])
def test_home_is_on_the_floor_and_every_element_has_a_name(robot):
    model = models.compile_spec(models.load(robot))
    for kind, count in (
        *(("body", model.nbody), ("joint", model.njnt), ("geom", model.ngeom), ("site", model.nsite)),
        *(("sensor", model.nsensor), ("actuator", model.nu), ("camera", model.ncam), ("key", model.nkey)),
    ):
        found = [getattr(model, kind)(i).name for i in range(count)]
        assert all(found) and len(set(found)) == count
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, model.key("home").id)
    mujoco.mj_forward(model, data)
    touching = [i for i in range(model.ngeom) if model.geom_conaffinity[i]]
    spheres = [i for i in touching if model.geom_type[i] == mujoco.mjtGeom.mjGEOM_SPHERE]
    lowest = min(data.geom_xpos[i, 2] - model.geom_size[i, 0] for i in spheres)
    assert lowest == pytest.approx(0.0, abs=5e-6)
    assert data.ctrl == pytest.approx(data.qpos[7:])


@pytest.mark.parametrize("robot", ["go1", "g1"])
def test_nothing_collides_but_with_the_floor(robot):
    model = models.compile_spec(models.load(robot))
    floor = model.geom("floor").id
    for i in range(model.ngeom):
        for j in range(i):
            collide = (
                model.geom_contype[i] & model.geom_conaffinity[j] or model.geom_contype[j] & model.geom_conaffinity[i]
            )
            assert not collide or floor in (i, j)
