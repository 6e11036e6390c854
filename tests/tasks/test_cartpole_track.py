from __future__ import annotations

import math

import mujoco
import numpy as np
import pytest

from roborl import models, tasks
from roborl.disturbances import ACTION_DELAY
from roborl.errors import ConfigError
from roborl.sim import Sim


def make(num_sims: int = 32, **options) -> Sim:
    sim = Sim(tasks.load("CartpoleTrack", **options), num_sims, num_threads=1)
    sim.reset()
    return sim


def entries(sim: Sim, name: str, group: str = "policy") -> np.ndarray:
    """Return a term's part of the observation, (N, size)."""
    term = next(b for b in sim.observer.groups[group] if b.term.name == name)
    return sim.observe()[group][:, term.start : term.start + term.size]


def test_the_action_takes_effect_one_or_two_control_steps_later():
    sim = make()
    delay = sim.fields.memory[ACTION_DELAY][:, 0].astype(int)
    assert set(delay) == {1, 2}
    rng = np.random.default_rng(0)
    given = np.zeros((2, 32))  # before the first action, none
    for _ in range(20):
        action = rng.uniform(-1.0, 1.0, (32, 1))
        given = np.vstack((given, action[:, 0]))
        sim.step(action)
        assert np.array_equal(sim.fields.ctrl[:, 0], given[-1 - delay, np.arange(32)])


def test_the_observation_has_the_last_action_and_three_readings_oldest_first():
    sim = make()
    cart = [sim.fields.qpos[:, 0].copy()] * 3
    pole_speed = [sim.fields.qvel[:, 1].copy()] * 3
    angle = [sim.fields.qpos[:, 1].copy()] * 3
    assert (entries(sim, "last_action") == 0.0).all()
    for k in range(6):
        assert np.array_equal(entries(sim, "cart_position"), np.stack(cart[-3:], axis=1))
        assert np.array_equal(entries(sim, "pole_speed"), np.stack(pole_speed[-3:], axis=1))
        expected = np.stack([f(a) for a in angle[-3:] for f in (np.cos, np.sin)], axis=1)
        assert entries(sim, "pole_angle") == pytest.approx(expected, abs=1e-15)
        action = np.full((32, 1), 0.1 * (k + 1))
        sim.step(action)
        assert np.array_equal(entries(sim, "last_action"), action)
        cart.append(sim.fields.qpos[:, 0].copy())
        angle.append(sim.fields.qpos[:, 1].copy())
        pole_speed.append(sim.fields.qvel[:, 1].copy())


def test_a_reset_fills_the_history_of_its_simulations_alone():
    sim = make(4)
    for _ in range(5):
        sim.step(np.ones((4, 1)))
    kept = sim.observe()["policy"]
    sim.reset(np.array([1]))
    assert np.array_equal(entries(sim, "cart_position")[1], np.repeat(sim.fields.qpos[1, 0], 3))
    assert np.array_equal(sim.observe()["policy"][[0, 2, 3]], kept[[0, 2, 3]])


def test_the_command_is_drawn_anew_within_the_episode_when_its_time_is_up():
    sim = make(16)
    memory = sim.fields.memory
    due = memory["command_steps_left"][:, 0].copy()
    assert due.min() >= 200.0 and due.max() <= 400.0
    last, changes = memory["command"][:, 0].copy(), np.zeros(16, int)
    for step in range(1, 901):
        sim.step(np.zeros((16, 1)))
        command = memory["command"][:, 0]
        changed = command != last
        assert np.array_equal(changed, due == step)
        due[changed] += memory["command_steps_left"][changed, 0]
        changes += changed
        last = command.copy()
        assert np.abs(command).max() <= 1.0
        assert np.array_equal(entries(sim, "command")[:, 0], command)
    assert changes.min() >= 2 and changes.max() <= 4


def test_the_reward_is_about_the_command_that_the_policy_saw():
    sim = make(1)
    memory = sim.fields.memory
    memory["command"][...], memory["command_steps_left"][...] = 0.5, 1.0
    sim.fields.qpos[...], sim.fields.qvel[...] = [[0.5, 0.0]], 0.0
    result = sim.step(np.zeros((1, 1)))
    assert memory["command"][0, 0] != 0.5
    # at the old command, upright and at rest: 1/2 and 1/2
    assert result.terms["upright"] == pytest.approx([0.5], abs=1e-3)
    assert result.terms["on_command"] == pytest.approx([0.5], abs=1e-3)


def test_the_reward_equals_hand_computed_values_and_stays_between_zero_and_one():
    sim = make(1)
    sim.fields.memory["command"][...], sim.fields.memory["command_steps_left"][...] = 0.0, 99.0
    before, after = sim.fields[np.array([0])], sim.fields[np.array([0])]
    after.qpos[...], after.qvel[...] = [[0.2, math.pi / 3.0]], 0.0
    terms = sim.task.reward_terms(before, np.array([[1.0]]), after)
    # half of upright 3/4, centred (1 + 0.1^(0.1^2)) / 2, force 4/5; and that times exp(-1)
    upright = 0.5 * 0.75 * (1.0 + 0.1**0.01) / 2.0 * 0.8
    assert terms["upright"] == pytest.approx([upright], abs=1e-14)
    assert terms["on_command"] == pytest.approx([upright * math.exp(-1.0)], abs=1e-14)


def test_the_episode_ends_when_the_pole_has_fallen():
    sim = make(4)
    sim.fields.qvel[...] = 0.0
    sim.fields.qpos[...] = [[0.0, 0.0], [0.0, 1.5], [0.0, 1.65], [0.0, -1.65]]
    assert sim.step(np.zeros((4, 1))).terminated.tolist() == [False, False, True, True]


def test_success_is_standing_at_the_command():
    sim = make(3)
    sim.fields.memory["command"][...] = 0.5
    sim.fields.qvel[...] = 0.0
    sim.fields.qpos[...] = [[0.5, 0.0], [0.3, 0.0], [0.5, 0.4]]
    success = sim.step(np.zeros((3, 1))).success
    assert success is not None and success.tolist() == [True, False, False]


def test_masses_are_drawn_from_the_nominal_one_over_a_thousand_resets():
    sim = make(8)
    masses = []
    for _ in range(1000):
        sim.reset()
        masses.append(sim.fields.params["pole_mass"][:, 0].copy())
    masses = np.array(masses)
    assert masses.min() >= 0.05 and masses.max() < 0.2
    # uniform on [0.05, 0.2]: mean 0.125, deviation 0.0433; of 4000 draws the mean's deviation is 0.0007
    for part in (masses[:500], masses[500:]):
        assert part.mean() == pytest.approx(0.125, abs=0.0025)
        assert part.std() == pytest.approx(0.0433, abs=0.002)
    pole = sim.model.body("pole").id
    for i, mass in enumerate(masses[-1]):
        model = sim.batch.get_model(i)
        assert model.body_mass[pole] == mass
        assert model.body_inertia[pole] == pytest.approx(mass / 0.1 * sim.model.body_inertia[pole], rel=1e-12)


def test_the_drawn_mass_is_the_mass_that_is_simulated_inertia_included():
    sim = make(3)
    rng = np.random.default_rng(0)
    pole = sim.model.body("pole").id
    references = []
    for i in range(3):
        mass = sim.fields.params["pole_mass"][i, 0]
        spec = models.load("cartpole")
        spec.geom("pole").mass = mass
        model = models.compile_spec(spec)
        assert sim.batch.get_model(i).body_inertia[pole] == pytest.approx(model.body_inertia[pole], rel=1e-12)
        data = mujoco.MjData(model)
        data.qpos[:], data.qvel[:] = sim.fields.qpos[i], sim.fields.qvel[i]
        references.append((model, data))
    for _ in range(50):
        sim.step(rng.uniform(-1.0, 1.0, (3, 1)))
        for i, (model, data) in enumerate(references):
            data.ctrl[:] = sim.fields.ctrl[i]
            mujoco.mj_step(model, data)
            assert sim.fields.qpos[i] == pytest.approx(data.qpos, abs=1e-10)


def test_only_the_critics_group_sees_the_mass():
    sim = make()
    names = {group: [b.term.name for b in terms] for group, terms in sim.observer.groups.items()}
    assert names["critic"] == [*names["policy"], "pole_mass"]
    groups = sim.observe()
    assert np.array_equal(groups["critic"][:, :-1], groups["policy"])
    assert np.array_equal(groups["critic"][:, -1:], sim.fields.params["pole_mass"])
    sim.fields.params["pole_mass"][...] = 9.0
    assert np.array_equal(sim.observe()["policy"], groups["policy"])
    assert all(term["on_hardware"] for term in sim.describe()["observations"]["policy"])


@pytest.mark.parametrize(
    "options",
    [
        {"command_range_m": -0.1},
        {"command_range_m": 1.6},
        {"command_period_s": (0.0, 1.0)},
        {"command_period_s": (2.0, 1.0)},
    ],
)
def test_options_outside_what_is_allowed_are_named(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        tasks.load("CartpoleTrack", **options)


def test_commands_keep_to_the_range_and_the_period_asked_for():
    sim = make(200, command_range_m=0.25, command_period_s=(0.05, 0.1))
    assert np.abs(sim.fields.memory["command"]).max() <= 0.25
    assert set(sim.fields.memory["command_steps_left"].ravel()) == {5.0, 6.0, 7.0, 8.0, 9.0, 10.0}
