"""Scripted motions of the arms through their tasks: what can be reached, how fast, and a cube that is grasped."""

from __future__ import annotations

import itertools

import mujoco
import numpy as np
import pytest

from roborl import tasks
from roborl.models.arms import ARMS, Arm, arm
from roborl.sim import Sim
from roborl.tasks.arm import AREA_HIGH_M, AREA_LOW_M, SPEED_FRACTION, TARGET_LEAD_RAD, ArmTask
from roborl.tasks.arm_pick_place import HIGHEST_GOAL_M
from roborl.tasks.arm_scene import CUBE_HALF_M, reading

every_arm = pytest.mark.parametrize("name", ARMS)

DOWN = {"panda": np.diag([1.0, -1.0, -1.0]), "ur5e": np.diag([-1.0, 1.0, -1.0])}
"""The tool's axes in the base's frame when it points down as in the ready pose, its fingers side by side along y."""


def make(name: str, **options) -> tuple[Sim, ArmTask]:
    sim = Sim(tasks.load(name, **options), 1, num_threads=1)
    sim.reset()
    assert isinstance(sim.task, ArmTask)
    return sim, sim.task


def pose_at(model: mujoco.MjModel, arm: Arm, position: np.ndarray) -> np.ndarray:
    """Return joints (n,) with which the tool is at a position (3,) and points down, found from the ready pose."""
    n, data, axes = len(arm.joints), mujoco.MjData(model), DOWN[arm.name]
    data.qpos[:n] = arm.ready
    tool, jac_p, jac_r = model.site("tool").id, np.zeros((3, model.nv)), np.zeros((3, model.nv))
    for _ in range(100):
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        now = data.site_xmat[tool].reshape(3, 3)
        turn = 0.5 * np.cross(now, axes, axis=0).sum(axis=1)
        error = np.concatenate((position - data.site_xpos[tool], turn))
        if np.abs(error).max() < 1e-9:
            return data.qpos[:n].copy()
        mujoco.mj_jacSite(model, data, jac_p, jac_r, tool)
        jacobian = np.vstack((jac_p, jac_r))[:, :n]
        step = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + 1e-4 * np.eye(6), error)
        data.qpos[:n] = np.clip(data.qpos[:n] + np.clip(step, -0.1, 0.1), arm.low, arm.high)
    raise AssertionError(f"{position} cannot be reached")


def move(sim: Sim, pose: np.ndarray, steps: int, gripper: float = 0.0) -> None:
    """Bring the servos' targets of the only simulation to a pose, with an entry for the gripper where it is used."""
    task = sim.task
    assert isinstance(task, ArmTask)
    n, reach = len(task.spec.joints), SPEED_FRACTION * task.control_dt * np.array(task.spec.velocity)
    for left in range(steps, 0, -1):
        action = (pose - sim.fields.ctrl[0, :n]) / left / reach
        sim.step(np.clip(np.append(action, gripper), -1.0, 1.0)[None, : len(sim.action_names)])


@every_arm
def test_cubes_and_goals_are_where_the_tool_can_be_pointing_down(name):
    sim, task = make("ArmPickPlace", arm=name)
    (x_low, y_low), (x_high, y_high) = AREA_LOW_M, AREA_HIGH_M
    heights = (CUBE_HALF_M, CUBE_HALF_M + HIGHEST_GOAL_M)
    for corner in itertools.product((x_low, 0.5, x_high), (y_low, 0.0, y_high), heights):
        data = mujoco.MjData(sim.model)
        data.qpos[: len(task.spec.joints)] = pose_at(sim.model, task.spec, np.array(corner))
        data.joint("cube").qpos[:3] = [0.9, 0.6, CUBE_HALF_M]
        mujoco.mj_forward(sim.model, data)
        touching = {sim.model.geom(g).name for c in data.contact if c.dist < 0.0 for g in c.geom}
        assert touching <= {"table", "cube"}, corner


@every_arm
def test_a_cube_stays_in_the_gripper_when_it_is_lifted_by_twenty_centimetres(name):
    sim, task = make("ArmPickPlace", arm=name)
    f, n = sim.fields, len(task.spec.joints)
    cube = np.array([0.5, 0.1, CUBE_HALF_M])
    f.qpos[0, n + 2 :] = [*cube, 1.0, 0.0, 0.0, 0.0]
    f.memory["goal"][0] = cube + [0.0, 0.0, 0.2]
    move(sim, pose_at(sim.model, task.spec, cube + [0.0, 0.0, 0.1]), 25, 1.0)
    move(sim, pose_at(sim.model, task.spec, cube), 25, 1.0)
    move(sim, pose_at(sim.model, task.spec, cube), 8, -1.0)
    held = reading(f, "cube_from_tool").copy()
    assert task.shaping_terms(f)["grasp"] == pytest.approx([0.1], abs=1e-3)
    for height in (0.05, 0.1, 0.15, 0.2):
        move(sim, pose_at(sim.model, task.spec, cube + [0.0, 0.0, height]), 12, -1.0)
    move(sim, pose_at(sim.model, task.spec, cube + [0.0, 0.0, 0.2]), 25, -1.0)
    assert reading(f, "cube_position")[0, 2] - cube[2] == pytest.approx(0.2, abs=5e-3)
    assert np.abs(reading(f, "cube_from_tool") - held).max() < 1e-3
    assert task.success(f)[0]
    terms = task.reward_terms(f, np.zeros((1, n + 1)), f)
    assert sum(float(term[0]) for term in terms.values()) > 0.95  # of 1
    # and when it is carried on fast, and held
    move(sim, pose_at(sim.model, task.spec, np.array([0.4, -0.1, 0.25])), 30, -1.0)
    assert np.abs(reading(f, "cube_from_tool") - held).max() < 2e-3
    # opened, the gripper lets it fall
    move(sim, f.ctrl[0, :n].copy(), 25, 1.0)
    assert reading(f, "cube_position")[0, 2] < 0.1


@every_arm
def test_a_push_with_the_closed_gripper_brings_the_cube_to_a_goal(name):
    sim, task = make("ArmPush", arm=name)
    f, n = sim.fields, len(task.spec.joints)
    f.qpos[0, n + 2 :] = [0.5, 0.0, CUBE_HALF_M, 1.0, 0.0, 0.0, 0.0]
    f.memory["goal"][0] = [0.5, 0.15, CUBE_HALF_M]
    assert not task.success(f)[0]
    move(sim, pose_at(sim.model, task.spec, np.array([0.5, -0.08, 0.1])), 20)
    move(sim, pose_at(sim.model, task.spec, np.array([0.5, -0.08, 0.03])), 10)
    move(sim, pose_at(sim.model, task.spec, np.array([0.5, 0.1, 0.03])), 50)
    assert task.success(f)[0]


@every_arm
@pytest.mark.parametrize("mode", ["joint_position_delta", "joint_torque"])
def test_no_joint_is_faster_than_its_published_limit(name, mode):
    sim, task = make("ArmReach", arm=name, action_mode=mode)
    n, limit = len(task.spec.joints), np.array(task.spec.velocity)
    for joint in range(n):
        sim.reset()
        action = np.zeros((1, n))
        action[0, joint] = 1.0
        fastest = 0.0
        for _ in range(12):
            sim.step(action)
            fastest = max(fastest, abs(float(sim.fields.qvel[0, joint])) / limit[joint])
        assert fastest < (1.0 if mode == "joint_torque" else SPEED_FRACTION + 0.05)


@every_arm
def test_a_blocked_arm_does_not_wind_its_targets_up(name):
    sim, task = make("ArmReach", arm=name)
    n = len(task.spec.joints)
    lift = 1  # the second joint of both arms leans them forward, into the table
    action = np.zeros((1, n))
    action[0, lift] = 1.0
    for _ in range(75):
        sim.step(action)
    f = sim.fields
    assert np.abs(f.qvel[0, :n]).max() < 0.05  # it stands still, on the table
    lead = np.abs(f.ctrl[0, :n] - f.qpos[0, :n]).max()
    assert 0.05 < lead < TARGET_LEAD_RAD + 0.01
    assert np.array_equal(f.memory["joint_targets"], f.ctrl[:, :n])


@every_arm
def test_the_two_action_modes_hold_the_arm_where_it_is_at_action_zero(name):
    for mode in ("joint_position_delta", "joint_torque"):
        sim, task = make("ArmReach", arm=name, action_mode=mode)
        place = reading(sim.fields, "tool_position").copy()
        for _ in range(task.episode_steps):
            sim.step(np.zeros((1, len(arm(name).joints))))
        assert np.abs(reading(sim.fields, "tool_position") - place).max() < 1e-3
