from __future__ import annotations

import math

import numpy as np
import pytest

from roborl import tasks
from roborl.sim import Sim
from roborl.task import Fields
from roborl.tasks.cartpole import smooth_reward

BOTH = ["CartpoleBalance", "CartpoleSwingup"]
HALF_WAY = 0.1**0.25  # tolerance's gaussian at half its margin: 0.1^(1/4)


def state(cart: float, pole: float, cart_speed: float = 0.0, pole_speed: float = 0.0) -> Fields:
    arrays = {"qpos": np.array([[cart, pole]]), "qvel": np.array([[cart_speed, pole_speed]])}
    return Fields(np, arrays, {}, {})


@pytest.mark.parametrize(
    ("fields", "action", "expected"),
    [
        (state(0.0, 0.0), 0.0, 1.0),
        (state(0.0, math.pi), 0.0, 0.0),
        (state(0.0, math.pi / 2.0), 0.0, 0.5),
        (state(1.0, 0.0), 0.0, (1.0 + HALF_WAY) / 2.0),
        (state(0.0, 0.0, 0.0, -2.5), 0.0, (1.0 + HALF_WAY) / 2.0),
        (state(0.0, 0.0, 9.0), 0.5, (4.0 + 0.75) / 5.0),
        (state(0.0, 0.0), 1.0, 0.8),
        (state(0.0, 0.0), -7.0, 0.8),  # the actuator clips
        (state(-1.0, math.pi / 3.0, 0.0, 2.5), 0.5, 0.75 * ((1.0 + HALF_WAY) / 2.0) ** 2 * 0.95),
    ],
)
def test_the_reward_equals_hand_computed_values(fields, action, expected):
    assert smooth_reward(fields, np.array([[action]])) == pytest.approx([expected], abs=1e-14)


def test_the_reward_is_about_the_target():
    assert smooth_reward(state(1.5, 0.0), np.zeros((1, 1)), np.array([0.5])) == pytest.approx([(1.0 + HALF_WAY) / 2.0])


@pytest.mark.parametrize("name", BOTH)
def test_the_reward_stays_between_zero_and_one(name):
    sim = Sim(tasks.load(name), 16, num_threads=1)
    sim.reset()
    rng = np.random.default_rng(0)
    for _ in range(200):
        reward = sim.step(rng.uniform(-1.5, 1.5, (16, 1))).reward
        assert reward.min() >= 0.0 and reward.max() <= 1.0


def test_balancing_starts_upright_and_swinging_up_starts_hanging():
    sims = [Sim(tasks.load(name), 500) for name in BOTH]
    for sim in sims:
        sim.reset()
    balance, swingup = (sim.fields.qpos for sim in sims)
    assert np.abs(balance[:, 0]).max() < 0.1 and np.abs(balance[:, 1]).max() < 0.034
    assert np.abs(balance[:, 1]).max() > 0.03
    assert np.abs(swingup[:, 1] - math.pi).max() < 0.05 and np.abs(swingup[:, 0]).max() < 0.05
    assert swingup.std(axis=0) == pytest.approx([0.01, 0.01], rel=0.15)
    for sim in sims:
        assert sim.fields.qvel.std(axis=0) == pytest.approx([0.01, 0.01], rel=0.15)


def test_an_upright_pole_falls_at_the_analytic_rate():
    sim = Sim(tasks.load("CartpoleBalance"))
    sim.reset()
    # (I + m l^2 - m^2 l^2 / (M + m)) th'' = m g l th about upright: th = th0 cosh(rate t)
    cart, pole, half = 1.0, 0.1, 0.5
    inertia = sim.model.body("pole").inertia.max() + pole * half**2 - (pole * half) ** 2 / (cart + pole)
    rate = math.sqrt(pole * 9.81 * half / inertia)
    sim.fields.qpos[...], sim.fields.qvel[...] = [[0.0, 1e-4]], 0.0
    for _ in range(50):
        sim.step(np.zeros((1, 1)))
    assert sim.fields.qpos[0, 1] == pytest.approx(1e-4 * math.cosh(rate * 0.5), rel=1e-4)


@pytest.mark.parametrize("name", BOTH)
def test_an_episode_is_a_thousand_steps_of_ten_milliseconds(name):
    task = tasks.load(name)
    assert (task.control_dt, task.episode_steps) == (0.01, 1000)
    assert task.terminated(state(0.0, 3.0)) is None


def test_the_observation_is_position_angle_and_speeds():
    sim = Sim(tasks.load("CartpoleSwingup"))
    sim.fields.qpos[...], sim.fields.qvel[...] = [[0.3, 0.7]], [[-1.0, 2.0]]
    expected = [0.3, math.cos(0.7), math.sin(0.7), -1.0, 2.0]
    assert sim.observe()["policy"][0] == pytest.approx(expected, abs=1e-15)


def test_velocities_can_be_hidden_and_nothing_else_changes() -> None:
    shown, hidden = (Sim(tasks.load("CartpoleSwingup", hidden_velocities=on), 2) for on in (False, True))
    for sim in (shown, hidden):
        sim.reset()
    action = np.array([[0.5], [-1.0]])
    steps = [(shown.step(action), hidden.step(action)) for _ in range(5)]
    for a, b in steps:
        assert np.array_equal(a.reward, b.reward)
    np.testing.assert_array_equal(hidden.observe()["policy"], shown.observe()["policy"][:, :3])


def test_the_smooth_cost_keeps_plans_off_the_rails_ends() -> None:
    # beyond 1.5 m: 500 / 2 * 0.2^2 = 10 at 1.7 m, on either side; ten times that in a plan's last state
    stage = tasks.load("CartpoleSwingup").stage_residuals(state(-1.7, 0.0), np.zeros((1, 1)))["rail"]
    last = tasks.load("CartpoleSwingup").terminal_residuals(state(1.7, 0.0))["rail"]
    assert stage.cost(np) == pytest.approx([10.0]) and last.cost(np) == pytest.approx([100.0])
    assert tasks.load("CartpoleSwingup").stage_residuals(state(1.5, 0.0), np.zeros((1, 1)))["rail"].cost(np) == 0.0
