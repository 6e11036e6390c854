from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from roborl import tasks
from roborl.errors import ConfigError
from roborl.sim import Sim
from roborl.task import Fields, gravity_in_base, rotate_into
from roborl.tasks.go1_velocity import Go1VelocityRough
from roborl.tasks.velocity import Velocity, uniform_noise

IDS = ["Go1VelocityFlat", "Go1VelocityRough", "G1VelocityFlat"]


def make(name: str, n: int = 1, **options: Any) -> tuple[Velocity, Sim]:
    task = tasks.load(name, **options)
    assert isinstance(task, Velocity)
    sim = Sim(task, n, num_threads=1)
    sim.reset()
    return task, sim


@pytest.mark.parametrize("name", IDS)
def test_a_tasks_joints_feet_and_sensors_are_the_models(name):
    task, sim = make(name)
    model, n = sim.model, len(task.feet)
    assert [model.joint(i).name for i in range(model.njnt)] == ["root", *(leg.name for leg in task.joints)]
    for i, leg in enumerate(task.joints):
        assert model.jnt_range[1 + i].tolist() == [leg.low, leg.high]
        assert model.actuator_trnid[i, 0] == 1 + i and sim.action_names[i] == leg.name
    assert model.sensor("imu_gyro").adr[0] == 0
    for i, foot in enumerate(task.feet):
        assert model.sensor(f"{foot}_touch").adr[0] == 3 + i
        assert model.sensor(f"{foot}_pos").adr[0] == 3 + n + 3 * i
        assert model.sensor(f"{foot}_vel").adr[0] == 3 + 4 * n + 3 * i
    home = model.key("home")
    assert home.qpos[7:].tolist() == [leg.default for leg in task.joints]
    assert home.qpos[2] == pytest.approx(task.stand_m, abs=1e-5)
    assert len(task.clock.offsets) == n


@pytest.mark.parametrize("name", IDS)
def test_a_policy_sees_what_the_robot_can_and_a_critic_sees_more(name):
    task, sim = make(name)
    groups = sim.describe()["observations"]
    nj, nf = len(task.joints), len(task.feet)
    layout = [(t["name"], t["stop"] - t["start"], t["unit"]) for t in groups["policy"]]
    assert layout == [
        ("command", 3, "m/s, m/s, rad/s"),
        ("gait_clock", 2, ""),
        ("gyro", 3, "rad/s"),
        ("projected_gravity", 3, ""),
        ("joint_pos", nj, "rad"),
        ("joint_vel", nj, "rad/s"),
        ("last_action", nj, ""),
    ]
    assert all(t["on_hardware"] for t in groups["policy"])
    # as uniform noise of the half-widths 0.2, 0.05, 0.01 and 1.5
    noise = [0.0, 0.0, 0.2, 0.05, 0.01, 1.5, 0.0]
    assert [t["noise"] for t in groups["policy"]] == pytest.approx([half / math.sqrt(3) for half in noise])
    assert not any(t["noise"] for t in groups["critic"])
    assert [(t["name"], t["stop"] - t["start"]) for t in groups["critic"]] == [
        *((name, size) for name, size, _ in layout),
        *(("base_lin_vel", 3), ("base_height", 1), ("foot_height", nf), ("foot_force", nf), ("foot_contact", nf)),
    ]


def test_uniform_noise_has_the_variance_of_its_width():
    assert uniform_noise(0.3) == pytest.approx(np.std(np.linspace(-0.3, 0.3, 100001)), rel=1e-4)


@pytest.mark.parametrize("name", IDS)
def test_observations_are_current_and_relative_to_the_default_pose(name):
    task, sim = make(name, 3)
    nj = len(task.joints)
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (5, 3, nj))
    for action in actions:
        sim.step(action)
    f, seen = sim.fields, sim.observe()["critic"]
    phase = f.memory["phase"][:, 0]
    assert seen[:, 3:5] == pytest.approx(np.stack([np.cos(phase), np.sin(phase)], axis=1))
    assert seen[:, 5:8] == pytest.approx(f.qvel[:, 3:6], abs=1e-9)  # the gyro turns with the base
    assert seen[:, 11 : 11 + nj] == pytest.approx(f.qpos[:, 7:] - [leg.default for leg in task.joints])
    assert np.array_equal(seen[:, 11 + nj : 11 + 2 * nj], f.qvel[:, 6:])
    assert np.array_equal(seen[:, 11 + 2 * nj : 11 + 3 * nj], actions[-1])
    assert f.ctrl == pytest.approx(np.array([leg.default for leg in task.joints]) + 0.5 * actions[-1])


@pytest.mark.parametrize("name", IDS)
def test_the_bases_velocity_and_its_lean_are_those_of_its_free_joint(name):
    task, sim = make(name, 8)
    rng = np.random.default_rng(0)
    for _ in range(30):
        sim.step(rng.uniform(-1, 1, (8, len(task.joints))))
    f = sim.fields
    assert task.base_lin_vel(f) == pytest.approx(rotate_into(np, f.qpos[:, 3:7], f.qvel[:, :3]), abs=1e-12)
    assert task.up(f) == pytest.approx(-gravity_in_base(np, f.qpos[:, 3:7]), abs=1e-12)
    assert np.ptp(task.up(f)[:, 2]) > 0.01
    seen = sim.observe()["critic"][:, 8:11]
    assert seen == pytest.approx(gravity_in_base(np, f.qpos[:, 3:7]), abs=1e-12)


@pytest.mark.parametrize("name", IDS)
def test_a_robot_starts_on_the_ground_and_not_in_it(name):
    task, sim = make(name, 64)
    height = sim.fields.foot_height
    lowest = height.min(axis=1)  # the G1's soles lean a little, and its foot's site is their middle
    assert (lowest > -1e-6).all() and (lowest < 1e-3).all()
    assert sim.fields.base_height[:, 0] == pytest.approx(task.stand_m, abs=1e-6)
    assert not task.terminated(sim.fields).any()
    for _ in range(10):
        sim.step(np.zeros((64, len(task.joints))))
    assert (task.foot_contact(sim.fields).sum(axis=1) > 0).all()
    assert np.abs(sim.fields.foot_height).max() < 0.02


def flat_fields(task: Velocity, command: list[float], last: float = 0.0, **arrays: Any) -> Fields:
    """Return one simulation in the default pose, at rest, all feet long on the ground."""
    nj, n = len(task.joints), len(task.feet)
    row = {
        "qpos": [0, 0, task.stand_m, 1, 0, 0, 0, *(leg.default for leg in task.joints)],
        "qvel": [0.0] * (6 + nj),
        "sensordata": [0.0] * 3 + [50.0] * n + [0.0, 0.0, task.sole_m] * n + [0.0] * (3 * n),
        "actuator_force": [0.0] * nj,
    }
    memory = {"command": command, "action/last": [last] * nj, "phase": [0.0]}
    for name, value in arrays.items():
        (memory if name in memory else row)[name] = value
    quaternion, velocity = (np.array([row[k][:m]], float) for k, m in (("qpos", 7), ("qvel", 3)))
    quaternion = quaternion[:, 3:]
    base = (*rotate_into(np, quaternion, velocity)[0], *-gravity_in_base(np, quaternion)[0])
    row["sensordata"] = [*row["sensordata"], *base]
    as_rows = [{name: np.array([value], dtype=float) for name, value in part.items()} for part in (row, memory)]
    derived = task.derive(Fields(np, as_rows[0], {}, {}))
    return Fields(np, as_rows[0] | derived, {}, as_rows[1])


def terms_of(task: Velocity, before: Fields, action: float, after: Fields) -> dict[str, float]:
    """Return the terms of the reward per second and without their weights."""
    terms = task.reward_terms(before, np.full((1, len(task.joints)), action), after)
    assert list(terms) == [*task.weights, "only_positive"]
    weights = {**task.weights, "only_positive": 1.0}
    return {name: float(value[0]) / (task.control_dt * weights[name]) for name, value in terms.items()}


def test_the_rewards_of_a_robot_at_rest_by_hand():
    task, _ = make("Go1VelocityFlat")
    at_rest = flat_fields(task, [0.0, 0.0, 0.0])
    terms = terms_of(task, at_rest, 0.0, at_rest)
    # perfect in every way: standing, the clock asks for all feet to be down
    wanted = {"track_lin_vel": 1.0, "track_ang_vel": 1.0, "upright": 1.0, "pose": 1.0, "gait": 1.0, "swing": 1.0}
    assert {name: value for name, value in terms.items() if abs(value) > 1e-9} == pytest.approx(wanted)


def test_the_rewards_of_a_robot_that_moves_by_hand():
    task, _ = make("Go1VelocityFlat")
    command = [0.5, 0.1, -0.2]
    before = flat_fields(task, command, last=0.25)
    qpos = before.qpos[0].copy()
    qpos[2] = 0.3
    h = math.sqrt(0.5)
    qpos[3:7] = [h, 0, 0, h]  # turned to the left by a right angle: the world's y is forward, -x is to the left
    qpos[7:] += 0.1
    qpos[9] = -0.9  # a calf, soft limits -2.818 + 0.0965 and -0.888 - 0.0965
    qvel = np.zeros(18)
    qvel[:6] = [-0.2, 0.3, 0.4, 0.5, -0.6, 0.1]
    qvel[6:] = 2.0
    sensors = np.zeros(31)
    sensors[3:7] = [30.0, 0.0, 0.5, 40.0]  # 0.5 N is no contact
    heights = [0.02, 0.05, 0.08, 0.03]
    sensors[7:19] = np.ravel([[0.0, 0.0, z] for z in heights])
    sensors[19:31] = np.ravel([[0.3, 0.4, 9.0], [0.0, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.1, 0.0]])
    torque = np.zeros(12)
    torque[:2] = [3.0, -4.0]
    after = flat_fields(
        task,
        command,
        qpos=qpos,
        qvel=qvel,
        sensordata=sensors,
        actuator_force=torque,
        phase=[2 * math.pi * 0.775],
    )
    terms = terms_of(task, before, 0.75, after)
    # velocity in the base: forward 0.3, to the left 0.2: errors 0.2 and -0.1; turning -0.3
    assert terms["track_lin_vel"] == pytest.approx(math.exp(-0.05 / 0.25))
    assert terms["track_ang_vel"] == pytest.approx(math.exp(-0.09 / 0.25))
    assert terms["upright"] == pytest.approx(1.0)
    # deviations of 0.1 from widths 0.3, 0.5 and 0.8, but for one calf: 0.9
    pose = 4 * (0.1 / 0.3) ** 2 + 4 * (0.1 / 0.5) ** 2 + 3 * (0.1 / 0.8) ** 2 + (0.9 / 0.8) ** 2
    assert terms["pose"] == pytest.approx(math.exp(-pose / 12))
    # soles 0, 0.03, 0.06 and 0.01 high; of 0.775 of the cycle half of the swing from 0.55 has gone by: the first and
    # the last are to be at 0.08, the others, at 0.275 of theirs, to stand
    # forces of 30, 0, 0.5 and 40 N: the first and the last are down, and should not be; the others should and are not
    assert terms["gait"] == 0.0
    assert terms["swing"] == pytest.approx(math.exp(-(0.08**2 + 0.03**2 + 0.06**2 + 0.07**2) / 0.07**2))
    assert terms["foot_slip"] == pytest.approx(0.25 + 0.01)
    assert terms["lin_vel_z"] == pytest.approx(0.16)
    assert terms["ang_vel_xy"] == pytest.approx(0.25 + 0.36)
    assert terms["torques"] == pytest.approx(25.0)
    assert terms["dof_acc"] == pytest.approx(12 * (2.0 / 0.02) ** 2)
    assert terms["action_rate"] == pytest.approx(12 * 0.5**2)
    assert terms["dof_limits"] == pytest.approx(0.9845 - 0.9)


def test_a_leaning_robot_loses_the_reward_of_being_upright():
    task, _ = make("Go1VelocityFlat")
    before = flat_fields(task, [0.0, 0.0, 0.0])
    qpos = before.qpos[0].copy()
    qpos[3:7] = [math.cos(0.15), math.sin(0.15), 0, 0]  # by 0.3 rad
    terms = terms_of(task, before, 0.0, flat_fields(task, [0.0, 0.0, 0.0], qpos=qpos))
    assert terms["upright"] == pytest.approx(math.exp(-(math.sin(0.3) ** 2) / 0.2))


def test_a_step_never_costs():
    task, _ = make("Go1VelocityFlat")
    before = flat_fields(task, [1.0, 0.0, 0.0])
    after = flat_fields(task, [1.0, 0.0, 0.0], actuator_force=[23.0] * 12, qvel=[3.0] * 18)
    terms = task.reward_terms(before, np.ones((1, 12)), after)
    others = sum(value[0] for name, value in terms.items() if name != "only_positive")
    assert others < 0.0 and terms["only_positive"][0] == pytest.approx(-others)
    good = task.reward_terms(before, np.zeros((1, 12)), before)
    assert good["only_positive"][0] == 0.0 and sum(value[0] for value in good.values()) > 0.0


@pytest.mark.parametrize("name", IDS)
def test_falling_ends_an_episode(name):
    task, sim = make(name, 6)
    for i, degrees in enumerate((69, 71, -69, -71)):
        half = math.radians(degrees) / 2
        sim.fields.qpos[i, 3:7] = [math.cos(half), 0, math.sin(half), 0]
    sim.fields.qpos[4, 2] -= task.stand_m - task.lowest_m + 1e-6
    sim.fields.qpos[5, 2] -= task.stand_m - task.lowest_m - 1e-6
    sim.batch.forward()
    sim.fields.sensordata[...] = sim.batch.bind("sensordata")
    for name, value in task.derive(sim.fields).items():
        getattr(sim.fields, name)[...] = value
    assert task.terminated(sim.fields).tolist() == [False, True, False, True, True, False]


def test_commands_change_within_the_episode():
    task, sim = make("Go1VelocityFlat", 40, command_period_s=(0.2, 0.4), standing_share=0.5)
    commands = [sim.fields.memory["command"].copy()]
    for _ in range(60):
        sim.step(np.zeros((40, 12)))
        commands.append(sim.fields.memory["command"].copy())
    changed = np.any(np.diff(np.array(commands), axis=0) != 0.0, axis=2)
    # of commands half are to stand still, so a quarter follow one another without a difference
    assert 0.6 < changed.sum() / (40 * 1.2 / 0.3) < 0.9
    stands = (np.array(commands) == 0.0).all(axis=2)
    assert 0.35 < stands.mean() < 0.65


def test_the_clock_follows_the_command():
    _, sim = make("Go1VelocityFlat", 40, command_period_s=(0.2, 0.4), standing_share=0.5)
    phase, turn = sim.fields.memory["phase"], 2 * math.pi * 2.5 * 0.02
    stood = 0
    for _ in range(30):
        before = phase.copy()
        sim.step(np.zeros((40, 12)))
        stands = (sim.fields.memory["command"] == 0.0).all(axis=1)
        assert (phase[stands] == 0.0).all()
        assert phase[~stands] == pytest.approx((before[~stands] + turn) % (2 * math.pi))
        stood += stands.sum()
    assert 0 < stood < 40 * 30


@pytest.mark.parametrize("name", ["Go1VelocityFlat", "G1VelocityFlat"])
def test_options_outside_what_is_allowed_are_refused(name):
    for options in ({"command_most": (1.0, 1.0)}, {"command_period_s": (2.0, 1.0)}, {"standing_share": 2.0}):
        with pytest.raises(ConfigError, match="VelocityCommand"):
            tasks.load(name, **options)


def rough(n: int, **options: Any) -> tuple[Go1VelocityRough, Sim]:
    task, sim = make("Go1VelocityRough", n, **options)
    assert isinstance(task, Go1VelocityRough)
    return task, sim


def test_robots_start_on_tiles_of_their_level():
    task, sim = rough(300)
    level, origin = sim.fields.memory["level"][:, 0], sim.fields.memory["origin"]
    assert set(level) == set(range(task.first_levels))
    origins = task.terrain.origins
    kinds = set()
    for i in range(300):
        row = origins[int(level[i])]
        kind = int(np.flatnonzero((row == origin[i]).all(axis=1))[0])
        kinds.add(kind)
        assert np.abs(sim.fields.qpos[i, :2] - origin[i, :2]).max() <= 0.4
    assert kinds == set(range(len(task.terrain.kinds)))
    yaw = 2 * np.arctan2(sim.fields.qpos[:, 6], sim.fields.qpos[:, 3])
    assert yaw.min() < -3.0 and yaw.max() > 3.0


def test_another_seed_is_another_terrain():
    data = [rough(1, terrain_seed=seed)[1].model.hfield_data for seed in (0, 0, 1)]
    assert np.array_equal(data[0], data[1]) and not np.array_equal(data[0], data[2])


def test_a_foot_is_as_high_as_it_is_over_the_ground_beneath_it():
    task, sim = rough(32)
    x, y = sim.fields.sensordata[:, 7:19:3], sim.fields.sensordata[:, 8:19:3]
    z = sim.fields.sensordata[:, 9:19:3]
    assert sim.fields.foot_height == pytest.approx(z - 0.02 - task.terrain.height(np, x, y), abs=1e-12)
    for _ in range(50):
        sim.step(np.zeros((32, 12)))
    standing = ~task.terminated(sim.fields) & task.foot_contact(sim.fields).all(axis=1)
    assert standing.sum() > 20
    assert np.abs(sim.fields.foot_height[standing]).max() < 5e-3


def test_good_tracking_goes_up_a_level_and_bad_goes_down():
    task, sim = rough(3)
    sim.fields.memory["tracked"][:, 0] = [0.71, 0.5, 0.39]
    assert task.promotion(sim.fields).tolist() == [1.0, 0.0, -1.0]
    sim.reset()
    assert (sim.fields.memory["tracked"] == 0.0).all()
    sim.fields.memory["command"][...] = 0.0
    for _ in range(4):
        sim.step(np.zeros((3, 12)))
    # a whole episode of tracking to perfection earns 1
    assert (sim.fields.memory["tracked"] <= 4 / 1000).all() and (sim.fields.memory["tracked"] > 2 / 1000).all()


def test_tilted_gravity_is_what_the_robot_feels():
    sim = Sim(tasks.load("Go1VelocityFlat", gravity_tilt=0.3, sensor_noise=0.0), 20)
    sim.reset()
    term = next(t for t in sim.describe()["observations"]["policy"] if t["name"] == "projected_gravity")
    felt = sim.observe()["policy"][:, term["start"] : term["stop"]]
    # the base is level: its frame's directions are the world's
    assert felt == pytest.approx(sim.fields.params["gravity"] / 9.81, abs=1e-12)
    assert np.ptp(felt[:, 0]) > 0.1
