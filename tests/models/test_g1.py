"""The G1 against Unitree's MJCF: github.com/unitreerobotics/unitree_ros, robots/g1_description/g1_29dof_rev_1_0.xml."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from roborl import models

SIDES = {"left": 1, "right": -1}

HOME = {"hip_pitch": -0.312, "hip_roll": 0.0, "hip_yaw": 0.0, "knee": 0.669, "ankle_pitch": -0.363, "ankle_roll": 0.0}


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return models.compile_spec(models.load("g1"))


def test_masses_are_unitrees(model):
    # shoulder pitch, roll, yaw, elbow, wrist roll, pitch, yaw with the hand
    arm = 0.718 + 0.643 + 0.734 + 0.6 + 0.085445 + 0.48405 + 0.254576
    leg = {
        "hip_pitch": 1.35,
        "hip_roll": 1.52,
        "hip_yaw": 1.702,
        "knee": 1.932,
        "ankle_pitch": 0.074,
        "ankle_roll": 0.608,
    }
    for side in SIDES:
        for name, mass in leg.items():
            assert model.body(f"{side}_{name}_link").mass[0] == pytest.approx(mass, abs=1e-9)
    assert model.body("pelvis").mass[0] == pytest.approx(3.813, abs=1e-9)
    assert model.body("torso_link").mass[0] == pytest.approx(7.818 + 2 * arm, abs=1e-9)  # the arms are fused with it
    # 3.813 + 2 * 7.186 + 0.214 + 0.086 + 7.818 + 2 * 3.519071
    assert model.body_mass.sum() == pytest.approx(33.341142, abs=1e-9)


def rotation(axis: str, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    rows = {
        "x": [[1, 0, 0], [0, c, -s], [0, s, c]],
        "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
        "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]],
    }
    return np.array(rows[axis])


def ankle_by_hand(side: int, hip_pitch, hip_roll, hip_yaw, knee, ankle_pitch, ankle_roll) -> np.ndarray:
    """Return where the ankle is from the pelvis, by the published offsets; the thigh is set at 10 degrees."""
    tilt = 2.0 * np.arcsin(0.0873386)
    chain = [
        ((0.0, side * 0.064452, -0.1027), rotation("y", hip_pitch)),
        ((0.0, side * 0.052, -0.030465), rotation("y", -tilt) @ rotation("x", hip_roll)),
        ((0.025001, 0.0, -0.12412), rotation("z", hip_yaw)),
        ((-0.078273, side * 0.0021489, -0.17734), rotation("y", tilt) @ rotation("y", knee)),
        ((0.0, -side * 9.4445e-05, -0.30001), rotation("y", ankle_pitch)),
        ((0.0, 0.0, -0.017558), np.eye(3)),
    ]
    place, turned = np.zeros(3), np.eye(3)
    for offset, turn in chain:
        place, turned = place + turned @ np.array(offset), turned @ turn
    return place


@pytest.mark.parametrize(
    "angles",
    [
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        tuple(HOME.values()),
        (-0.8, 0.3, 0.5, 1.2, -0.4, 0.1),
    ],
)
def test_the_ankles_are_where_the_published_offsets_put_them(model, angles):
    data = mujoco.MjData(model)
    data.qpos[:7] = [0, 0, 0, 1, 0, 0, 0]
    for side, sign in SIDES.items():
        for name, angle in zip(HOME, angles, strict=True):
            mirrored = sign * angle if name.endswith(("roll", "yaw")) else angle
            data.qpos[model.joint(f"{side}_{name}_joint").qposadr[0]] = mirrored
    mujoco.mj_forward(model, data)
    left = ankle_by_hand(1, *angles)
    assert data.body("left_ankle_roll_link").xpos == pytest.approx(left, abs=1e-6)
    assert data.body("right_ankle_roll_link").xpos == pytest.approx(left * [1, -1, 1], abs=1e-6)


def test_straight_legs_are_as_long_as_published(model):
    # with all angles 0: 0.1027 + 0.030465 + 0.30613 + 0.30001 + 0.017558 m from the pelvis to the ankle, where the
    # thigh's offsets (-0.053272, 0, -0.30146), turned by 10.02 degrees, have 0.30146 cos + 0.053272 sin = 0.30613
    assert ankle_by_hand(1, *[0.0] * 6) == pytest.approx([0.0, 0.118506, -0.756863], abs=2e-5)


def test_limits_gains_and_armature_are_the_published_ones(model):
    # limits: Unitree; motors: mjlab, g1_constants.py: armature I0 (g1 g2)^2 + I1 g2^2 + I2, kp = armature (20 pi)^2,
    # kv = 4 armature 20 pi
    motors = {
        "7520-14": (0.489e-4 * (4.5 * (1 + 48 / 22)) ** 2 + 0.098e-4 * (1 + 48 / 22) ** 2 + 0.533e-4, 88.0),
        "7520-22": (0.489e-4 * (4.5 * 5) ** 2 + 0.109e-4 * 5**2 + 0.738e-4, 139.0),
        "2x5020": (2 * (0.139e-4 * ((1 + 46 / 18) * 4.5) ** 2 + 0.017e-4 * 4.5**2 + 0.169e-4), 50.0),
    }
    expected = {
        "hip_pitch": ("7520-14", -2.5307, 2.8798),
        "hip_roll": ("7520-22", -0.5236, 2.9671),
        "hip_yaw": ("7520-14", -2.7576, 2.7576),
        "knee": ("7520-22", -0.087267, 2.8798),
        "ankle_pitch": ("2x5020", -0.87267, 0.5236),
        "ankle_roll": ("2x5020", -0.2618, 0.2618),
    }
    rows = {f"left_{name}": row for name, row in expected.items()}
    rows |= {f"right_{name}": row for name, row in expected.items()}
    rows["right_hip_roll"] = ("7520-22", -2.9671, 0.5236)
    rows["waist_yaw"] = ("7520-14", -2.618, 2.618)
    rows["waist_roll"] = rows["waist_pitch"] = ("2x5020", -0.52, 0.52)
    assert {model.actuator(i).name for i in range(model.nu)} == set(rows)
    for name, (motor, low, high) in rows.items():
        armature, effort = motors[motor]
        joint, actuator = model.joint(f"{name}_joint"), model.actuator(name)
        assert joint.range.tolist() == [low, high]
        assert actuator.forcerange.tolist() == [-effort, effort]
        assert model.dof_armature[joint.dofadr[0]] == pytest.approx(armature, rel=1e-6)
        assert actuator.gainprm[0] == pytest.approx(armature * (20 * np.pi) ** 2, rel=1e-6)
        assert actuator.biasprm[:3] == pytest.approx([0.0, -actuator.gainprm[0], -4 * armature * 20 * np.pi], rel=1e-6)


def stand(model: mujoco.MjModel, seconds: float) -> mujoco.MjData:
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, model.key("home").id)
    for _ in range(round(seconds / model.opt.timestep)):
        mujoco.mj_step(model, data)
        assert (np.abs(data.actuator_force) <= model.actuator_forcerange[:, 1]).all()
    return data


def test_it_stands_with_stiff_servos():
    # the published gains cannot hold it: an ankle gives 28.5 N m/rad, and the weight over two of them takes
    # 33.3 * 9.81 * 0.67 / 2 = 109 N m/rad; it must balance
    model = models.compile_spec(models.load("g1"))
    assert stand(model, 3.0).body("pelvis").xpos[2] < 0.3
    model.actuator_gainprm[:, 0], model.actuator_biasprm[:, 1], model.actuator_biasprm[:, 2] = 500.0, -500.0, -20.0
    data = stand(model, 10.0)
    assert data.body("pelvis").xpos[2] == pytest.approx(0.757, abs=0.01)
    assert np.degrees(np.arccos(data.body("torso_link").xmat[8])) < 3.0
    assert not any(warning.number for warning in data.warning)
