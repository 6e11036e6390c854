from __future__ import annotations

import array_api_compat.torch
import mujoco
import numpy as np
import pytest
import torch

from roborl import tasks
from roborl.envs import TaskVectorEnv
from roborl.errors import UnknownName
from roborl.models.arms import ARMS, arm, tool_position
from roborl.sim import Sim
from roborl.tasks.arm import AREA_HIGH_M, AREA_LOW_M, SPEED_FRACTION, ArmTask, near
from roborl.tasks.arm_pick_place import HIGHEST_GOAL_M
from roborl.tasks.arm_reach import GOAL_SPREAD_RAD, LOWEST_GOAL_M
from roborl.tasks.arm_scene import CUBE_HALF_M, reading

NAMES = ["ArmReach", "ArmPush", "ArmPickPlace"]
every_task = pytest.mark.parametrize("name", NAMES)
every_arm = pytest.mark.parametrize("arm_name", ARMS)


def make(name: str, num_sims: int = 8, **options) -> tuple[Sim, ArmTask]:
    sim = Sim(tasks.load(name, **options), num_sims, num_threads=1)
    sim.reset()
    assert isinstance(sim.task, ArmTask)
    return sim, sim.task


def at_distances(*metres: float) -> tuple[np.ndarray, np.ndarray]:
    """Return achieved and desired goals, (N, 3) each, at distances from one another."""
    achieved = np.full((len(metres), 3), 0.3)
    return achieved, achieved + np.array(metres)[:, None] * np.array([0.6, 0.0, 0.8])


def test_a_sparse_reward_is_zero_within_five_centimetres_and_minus_one_beyond():
    task = tasks.load("ArmReach", reward="sparse")
    assert isinstance(task, ArmTask)
    goals = at_distances(0.0, 0.049, 0.051, 1.0)
    assert task.goal_reward(*goals, np).tolist() == [0.0, 0.0, -1.0, -1.0]
    assert task.goal_success(*goals, np).tolist() == [True, True, False, False]


@pytest.mark.parametrize(("name", "weight"), [("ArmReach", 1.0), ("ArmPush", 0.7), ("ArmPickPlace", 0.6)])
def test_a_dense_reward_of_goals_equals_hand_computed_values(name, weight):
    task = tasks.load(name)
    assert isinstance(task, ArmTask)
    # at 0.4 m the wide half is at its value at the margin, 0.1, and the narrow one at 0.1^16; at 0.1 m the narrow one
    # is at 0.1 and the wide one at 1 / cosh(acosh(10) / 4), where acosh(10) = 2.993223
    wide = 1.0 / np.cosh(0.25 * 2.993222846)
    expected = weight * np.array([1.0, 0.5 * wide + 0.05, 0.05 + 0.5e-16])
    assert task.goal_reward(*at_distances(0.0, 0.1, 0.4), np) == pytest.approx(expected, abs=1e-9)


@every_task
@pytest.mark.parametrize("reward", ["dense", "sparse"])
def test_a_reward_relabelled_from_goals_alone_is_the_environments_at_the_other_goal(name, reward):
    sim, task = make(name, reward=reward)
    rng = np.random.default_rng(0)
    for _ in range(10):
        before = sim.fields[np.arange(8)]
        action = rng.uniform(-1.0, 1.0, (8, len(sim.action_names)))
        result, groups = sim.step(action), sim.observe()
        achieved, desired = groups["achieved_goal"], groups["desired_goal"]
        assert task.goal_reward(achieved, desired, np) == pytest.approx(result.terms["goal"], abs=1e-14)
        assert result.success is not None
        assert np.array_equal(task.goal_success(achieved, desired, np), result.success)
        assert reward == "dense" or np.array_equal(result.reward, result.terms["goal"])
        # the goals of others, and what they have achieved
        for other in (desired[::-1].copy(), achieved[::-1].copy(), achieved + [0.03, 0.0, 0.0]):
            after = sim.fields[np.arange(8)]
            after.memory["goal"][...] = other
            again = task.reward_terms(before, action, after)
            relabelled = result.reward - task.goal_reward(achieved, desired, np) + task.goal_reward(achieved, other, np)
            assert relabelled == pytest.approx(sum(again.values()), abs=1e-14)
            assert np.array_equal(task.goal_success(achieved, other, np), task.success(after))
            # and the observation: the goal is its last three entries, and nothing else changes with it
            expected = groups["policy"].copy()
            expected[:, -3:] = other
            assert np.array_equal(sim.observer.observe(after, "policy"), expected)


@every_task
def test_rewards_of_goals_are_the_same_on_torch(name):
    for reward in ("dense", "sparse"):
        task = tasks.load(name, reward=reward)
        assert isinstance(task, ArmTask)
        goals = at_distances(0.0, 0.03, 0.2)
        achieved, desired = torch.from_numpy(goals[0]), torch.from_numpy(goals[1])
        tensors = task.goal_reward(achieved, desired, array_api_compat.torch)
        assert tensors.numpy() == pytest.approx(task.goal_reward(*goals, np), rel=1e-12)


def test_the_goal_is_the_last_term_of_what_the_policy_sees_and_a_group_of_its_own():
    for name in NAMES:
        sim, _ = make(name)
        assert sim.observer.groups["policy"][-1].term.name == "goal"
        assert sim.observer.widths["achieved_goal"] == sim.observer.widths["desired_goal"] == 3
        groups = sim.observe()
        assert np.array_equal(groups["desired_goal"], sim.fields.memory["goal"])
        assert np.array_equal(groups["policy"][:, -3:], sim.fields.memory["goal"])
        assert np.array_equal(sim.fields.mocap_pos[:, 0], sim.fields.memory["goal"])  # the mark in pictures


def test_the_readings_are_those_of_the_named_sensors():
    sim, task = make("ArmPickPlace")
    sim.step(np.ones((8, 8)))
    for i in range(sim.model.nsensor):
        sensor = sim.model.sensor(i)
        start, width = int(sensor.adr[0]), int(sensor.dim[0])
        assert np.array_equal(reading(sim.fields, sensor.name), sim.fields.sensordata[:, start : start + width])


@every_arm
def test_goals_in_the_air_are_where_the_tool_has_been(arm_name):
    sim, task = make("ArmReach", 2000, arm=arm_name)
    numbers, spread = arm(arm_name), np.array(GOAL_SPREAD_RAD[arm_name])
    goal, start = sim.fields.memory["goal"], reading(sim.fields, "tool_position")
    assert (goal[:, 2] > LOWEST_GOAL_M).all()
    # the poses that goals are drawn from are within the joints' limits
    assert (np.array(numbers.ready) - spread > numbers.low).all()
    assert (np.array(numbers.ready) + spread < numbers.high).all()
    # and inverse kinematics, from the ready pose, finds a pose for each goal
    n, data, jacobian = len(spread), mujoco.MjData(sim.model), np.zeros((3, sim.model.nv))
    tool = sim.model.site("tool").id
    for place in goal[:50]:
        data.qpos[:n] = numbers.ready
        for _ in range(200):
            mujoco.mj_kinematics(sim.model, data)
            mujoco.mj_comPos(sim.model, data)
            mujoco.mj_jacSite(sim.model, data, jacobian, None, tool)
            weighted = jacobian[:, :n] * spread
            step = spread * (np.linalg.pinv(weighted, rcond=1e-3) @ (place - data.site_xpos[tool]))
            data.qpos[:n] = np.clip(data.qpos[:n] + 0.5 * step, numbers.low, numbers.high)
        assert np.linalg.norm(place - data.site_xpos[tool]) < 1e-3
    # they spread, and few are where the arm begins
    assert (goal.std(axis=0) > 0.05).all()
    assert (np.linalg.norm(goal - start, axis=1) < 0.05).mean() < 0.1
    ready = tool_position(np, numbers, np.array([numbers.ready]))
    assert start == pytest.approx(np.repeat(ready, 2000, axis=0), abs=0.06)


@every_arm
@pytest.mark.parametrize("name", ["ArmPush", "ArmPickPlace"])
def test_cube_and_goal_are_on_the_table_and_apart(name, arm_name):
    sim, task = make(name, 2000, arm=arm_name)
    goal, cube = sim.fields.memory["goal"], reading(sim.fields, "cube_position")
    for place in (goal, cube):
        assert (place[:, :2] >= AREA_LOW_M).all() and (place[:, :2] <= AREA_HIGH_M).all()
    assert np.linalg.norm(goal[:, :2] - cube[:, :2], axis=1).min() > 0.1
    assert cube[:, 2] == pytest.approx(CUBE_HALF_M, abs=1e-12)
    on_table = goal[:, 2] == CUBE_HALF_M
    if name == "ArmPush":
        assert on_table.all()
    else:
        assert on_table.mean() == pytest.approx(0.3, abs=0.04)
        assert goal[:, 2].max() == pytest.approx(CUBE_HALF_M + HIGHEST_GOAL_M, abs=0.01)
    assert not task.success(sim.fields).any()
    # at rest: what is drawn does not fall or touch
    sim.step(np.zeros((2000, len(sim.action_names))))
    assert reading(sim.fields, "cube_position") == pytest.approx(cube, abs=1e-3)


@every_arm
def test_an_action_moves_the_servos_targets_by_its_part_of_half_the_published_speeds(arm_name):
    sim, task = make("ArmPickPlace", 1, arm=arm_name)
    numbers, f = arm(arm_name), sim.fields
    n, targets, width = len(numbers.joints), f.ctrl[0].copy(), numbers.gripper_width
    assert sim.action_names == (*numbers.joints, "gripper")
    assert (sim.action_low == -1.0).all() and (sim.action_high == 1.0).all()
    action = np.linspace(-1.0, 1.0, n + 1)[None]
    action[0, n] = -1.0
    sim.step(action)
    # Panda, joint 1: 2.175 rad/s * 1/2 * 0.04 s = 0.0435 rad; UR5e: pi / 2 * 0.04 s = 0.0628 rad
    step = SPEED_FRACTION * 0.04 * np.array(numbers.velocity)
    assert f.ctrl[0, 0] - targets[0] == pytest.approx(-0.0435 if arm_name == "panda" else -0.0628319, abs=1e-7)
    assert f.ctrl[0, :n] - targets[:n] == pytest.approx(step * action[0, :n], abs=1e-14)
    # both fingers, 0.2 m/s or 0.15 m/s each
    assert f.ctrl[0, n] == pytest.approx(width - 0.04 * (0.4 if arm_name == "panda" else 0.3), abs=1e-14)
    targets = f.ctrl[0].copy()
    sim.step(5.0 * action)  # beyond the bounds an action is cut
    assert (np.abs(f.ctrl[0, :n] - targets[:n]) <= step + 1e-14).all()
    for _ in range(10):
        sim.step(np.append(np.zeros(n), 1.0)[None])
    assert f.ctrl[0, n] == width  # it goes no further


@every_arm
def test_in_torque_mode_an_action_is_its_part_of_the_published_torques(arm_name):
    sim, _ = make("ArmReach", 1, arm=arm_name, action_mode="joint_torque")
    numbers, f = arm(arm_name), sim.fields
    n = len(numbers.joints)
    action = np.full((1, n), 0.25)
    sim.step(action)
    assert f.ctrl[0, :n] == pytest.approx(0.25 * np.array(numbers.torque), rel=1e-14)
    assert "joint_targets" not in f.memory
    # what a motor loses with speed, all of it at the published limit: torque * (action - speed / limit)
    assert sim.model.actuator_gainprm[:n, 0].tolist() == [1.0] * n
    assert sim.model.actuator_biasprm[:n, :2].tolist() == [[0.0, 0.0]] * n
    loss = np.array(numbers.torque) / np.array(numbers.velocity)
    assert -sim.model.actuator_biasprm[:n, 2] == pytest.approx(loss, rel=1e-14)
    assert sim.model.actuator_ctrlrange[:n, 1].tolist() == list(numbers.torque)


def test_a_cube_that_falls_off_the_table_ends_an_episode_where_rewards_are_not_below_zero():
    for name in ("ArmPush", "ArmPickPlace"):
        for reward in ("dense", "sparse"):
            sim, task = make(name, 2, reward=reward)
            n = len(task.spec.joints)
            sim.fields.qpos[0, n + 2 : n + 5] = [1.2, 0.0, -0.1]
            result = sim.step(np.zeros((2, len(sim.action_names))))
            assert result.terminated.tolist() == [reward == "dense", False]
    sim, _ = make("ArmReach", 2)
    assert not sim.step(np.zeros((2, 7))).terminated.any()


@every_task
def test_an_episode_goes_on_after_success_until_its_time_is_up(name):
    env = TaskVectorEnv(tasks.load(name), 1, num_threads=1)
    env.reset(seed=0)
    env.sim.fields.memory["goal"][...] = env.sim.observe()["achieved_goal"]
    steps = {"ArmReach": 75, "ArmPush": 100, "ArmPickPlace": 125}[name]
    for k in range(steps):
        _, reward, terminated, truncated, info = env.step(np.zeros((1, len(env.sim.action_names))))
        assert info["success"][0] and reward[0] > 0.55 and not terminated[0]
        assert truncated[0] == (k == steps - 1)


def test_the_stages_of_a_grasp_equal_hand_computed_values():
    sim, task = make("ArmPickPlace", 1)
    f = sim.fields[np.array([0])]
    readings = f.sensordata
    readings[0, 0:3] = readings[0, 7:10] = [0.5, 0.0, 0.045]  # the tool at the cube, which is 2.5 cm above the table
    readings[0, 6] = 0.04  # as wide as the cube
    # reach all of 0.2, grasp all of 0.1, lift half of 0.1
    assert [float(v[0]) for v in task.shaping_terms(f).values()] == pytest.approx([0.2, 0.1, 0.05], abs=1e-12)
    readings[0, 6] = 0.051  # 1 cm too wide: a tenth
    assert [float(v[0]) for v in task.shaping_terms(f).values()] == pytest.approx([0.2, 0.01, 0.005], abs=1e-12)
    readings[0, 2] += 0.03  # 3 cm off: 2 cm beyond the nearest, another tenth
    terms = task.shaping_terms(f)
    assert terms["grasp"] == pytest.approx([0.001], abs=1e-12)
    assert terms["reach"] == pytest.approx(0.2 * near(np.array([0.03]), np), abs=1e-12)


@every_task
def test_options_that_do_not_exist_are_named(name):
    with pytest.raises(UnknownName, match="unknown arm 'ur5'; did you mean 'ur5e'"):
        tasks.load(name, arm="ur5")
    with pytest.raises(UnknownName, match="unknown reward 'spars'; did you mean 'sparse'"):
        tasks.load(name, reward="spars")
    with pytest.raises(UnknownName, match="unknown action_mode 'torque'.*joint_position_delta, joint_torque"):
        tasks.load(name, action_mode="torque")


@every_task
def test_the_other_arm_and_the_other_mode_step_without_a_fault(name):
    for options in ({"arm": "ur5e"}, {"action_mode": "joint_torque"}, {"arm": "ur5e", "action_mode": "joint_torque"}):
        env = TaskVectorEnv(tasks.load(name, **options), 4, num_threads=1)
        env.reset(seed=0)
        rng = np.random.default_rng(0)
        for _ in range(150):
            obs, reward, *_ = env.step(rng.choice([-1.0, 1.0], (4, len(env.sim.action_names))))
            assert np.isfinite(obs).all() and (reward >= 0.0).all() and (reward <= 1.0 + 1e-12).all()
