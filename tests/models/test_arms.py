"""What both arms must keep."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from roborl import models
from roborl.errors import UnknownName
from roborl.models.arms import ARMS, arm, tool_position
from roborl.tasks.arm import SPEED_FRACTION, TARGET_LEAD_RAD

every_arm = pytest.mark.parametrize("name", ARMS)


def load(name: str) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """Return an arm's model and its data at home."""
    model = models.compile_spec(models.load(name))
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, model.key("home").id)
    mujoco.mj_forward(model, data)
    return model, data


@every_arm
def test_every_element_has_a_name(name):
    model, _ = load(name)
    kinds = mujoco.mjtObj
    for kind, count in (
        (kinds.mjOBJ_BODY, model.nbody),
        (kinds.mjOBJ_JOINT, model.njnt),
        (kinds.mjOBJ_GEOM, model.ngeom),
        (kinds.mjOBJ_SITE, model.nsite),
        (kinds.mjOBJ_CAMERA, model.ncam),
        (kinds.mjOBJ_LIGHT, model.nlight),
        (kinds.mjOBJ_TENDON, model.ntendon),
        (kinds.mjOBJ_EQUALITY, model.neq),
        (kinds.mjOBJ_EXCLUDE, model.nexclude),
        (kinds.mjOBJ_PAIR, model.npair),
        (kinds.mjOBJ_ACTUATOR, model.nu),
        (kinds.mjOBJ_SENSOR, model.nsensor),
        (kinds.mjOBJ_KEY, model.nkey),
    ):
        assert all(mujoco.mj_id2name(model, kind, i) for i in range(count)), kind


@every_arm
def test_the_kinematics_on_arrays_are_the_simulators(name):
    model, data = load(name)
    n = len(arm(name).joints)
    poses = np.random.default_rng(0).uniform(arm(name).low, arm(name).high, (20, n))
    places = tool_position(np, arm(name), poses)
    for pose, place in zip(poses, places, strict=True):
        data.qpos[:n] = pose
        mujoco.mj_kinematics(model, data)
        assert place == pytest.approx(data.site("tool").xpos, abs=1e-14)
    assert np.array_equal(tool_position(np, arm(name), poses[3:4])[0], places[3])


@every_arm
@pytest.mark.parametrize("pose", ["home", "ready", "stretched"])
def test_with_gravity_compensated_the_arm_holds_a_pose_within_a_millimetre(name, pose):
    model, data = load(name)
    n = len(arm(name).joints)
    if pose != "home":
        stretched = [0.3, 0.9, 0.2, -0.4, 0.1, 1.0, 0.0] if name == "panda" else [0.3, -0.6, 0.4, 0.1, 0.2, 0.0]
        data.qpos[:n] = data.ctrl[:n] = arm(name).ready if pose == "ready" else stretched
        mujoco.mj_forward(model, data)
    place = data.site("tool").xpos.copy()
    worst = 0.0
    for _ in range(1250):  # 5 s
        mujoco.mj_step(model, data)
        worst = max(worst, float(np.linalg.norm(data.site("tool").xpos - place)))
    assert worst < 1e-3
    # without the servos too: what holds the arm up is not them
    model.actuator_gainprm[:n], model.actuator_biasprm[:n] = 0.0, 0.0
    for _ in range(1250):
        mujoco.mj_step(model, data)
    assert np.linalg.norm(data.site("tool").xpos - place) < 1e-3
    assert np.abs(data.qfrc_actuator[:n]).max() > 10.0  # it takes torques


@every_arm
def test_a_cube_in_the_gripper_would_be_no_part_of_what_is_compensated(name):
    model, _ = load(name)
    robot = [i for i in range(1, model.nbody)]
    assert (model.body_gravcomp[robot] == 1.0).all()


@every_arm
def test_on_the_way_to_every_limit_nothing_sinks_into_anything(name):
    """Targets move with half the published speeds and stay within reach of the joints, as the tasks' do."""
    model, data = load(name)
    numbers = arm(name)
    n, dt, rng = len(numbers.joints), model.opt.timestep, np.random.default_rng(1)
    reach = SPEED_FRACTION * dt * np.array(numbers.velocity)
    touched = set()
    for k in range(12):
        mujoco.mj_resetDataKeyframe(model, data, 0)
        low, high = np.maximum(numbers.low, -np.pi), np.minimum(numbers.high, np.pi)
        end = np.where(rng.random(n) < 0.5, low, high) if k % 2 else rng.uniform(low, high)
        target = data.ctrl[:n].copy()
        for _ in range(1000):  # 4 s
            joints = data.qpos[:n]
            target += np.clip(end - target, -reach, reach)
            target = np.clip(target, joints - TARGET_LEAD_RAD, joints + TARGET_LEAD_RAD)
            data.ctrl[:n] = target
            mujoco.mj_step(model, data)
            if data.ncon:
                assert data.contact.dist.min() > -1e-3
                touched |= {model.geom(g).name for g in data.contact.geom.ravel()}
            assert (data.qpos[:n] > np.array(numbers.low) - 0.01).all()
            assert (data.qpos[:n] < np.array(numbers.high) + 0.01).all()
    assert "table" in touched and len(touched) > 4


@every_arm
def test_links_do_not_touch_at_home_nor_where_the_tasks_begin(name):
    model, data = load(name)
    assert data.ncon == 0
    data.qpos[: len(arm(name).joints)] = arm(name).ready
    mujoco.mj_forward(model, data)
    assert data.ncon == 0
    tool = data.site("tool")
    assert tool.xpos == pytest.approx([0.5, 0.0, 0.2], abs=1e-3)
    assert tool.xmat.reshape(3, 3)[:, 2] == pytest.approx([0.0, 0.0, -1.0], abs=1e-3)


def test_an_unknown_arm_is_named_with_the_nearest():
    with pytest.raises(UnknownName, match="unknown arm 'pandas'; did you mean 'panda'"):
        arm("pandas")
