from __future__ import annotations

import math

import numpy as np
import pytest

from roborl import tasks
from roborl.sim import Sim
from roborl.tasks.pendulum import MAX_SPEED, wrap


@pytest.fixture
def sim() -> Sim:
    sim = Sim(tasks.load("PendulumSwingup"), 3)
    sim.reset()
    return sim


def test_it_starts_anywhere_on_the_circle_at_up_to_one_radian_a_second():
    sim = Sim(tasks.load("PendulumSwingup"), 3000)
    sim.reset()
    angle, speed = sim.fields.qpos[:, 0], sim.fields.qvel[:, 0]
    assert angle.min() >= -math.pi and angle.max() < math.pi and speed.min() >= -1.0 and speed.max() < 1.0
    # quarters of the range are equally full: 750 +- 24
    assert np.abs(np.histogram(angle, 4, (-math.pi, math.pi))[0] - 750).max() < 100
    assert np.abs(np.histogram(speed, 4, (-1.0, 1.0))[0] - 750).max() < 100


def test_one_step_equals_the_equation_of_pendulum_v1(sim):
    sim.fields.qpos[:, 0] = [0.5, -1.0, 3.0]
    sim.fields.qvel[:, 0] = [0.2, -0.4, 1.0]
    torque = np.array([1.5, -0.5, 0.0])
    # speed' = speed + (3 g / (2 l) sin(angle) + 3 / (m l^2) torque) dt with g = 10, l = m = 1, dt = 0.05
    speed = sim.fields.qvel[:, 0] + (15.0 * np.sin(sim.fields.qpos[:, 0]) + 3.0 * torque) * 0.05
    angle = sim.fields.qpos[:, 0] + speed * 0.05
    sim.step(torque[:, None])
    assert sim.fields.qvel[:, 0] == pytest.approx(speed, abs=1e-14)
    assert sim.fields.qpos[:, 0] == pytest.approx(angle, abs=1e-14)


def test_the_reward_is_of_the_state_before_the_step(sim):
    sim.fields.qpos[:, 0] = [0.0, math.pi / 2.0, 2.0 * math.pi + 0.5]
    sim.fields.qvel[:, 0] = [0.0, 2.0, -1.0]
    result = sim.step(np.array([[1.0], [0.0], [5.0]]))
    # -(angle^2 + 0.1 speed^2 + 0.001 torque^2), the angle wrapped and the torque clipped to 2
    expected = [-0.001, -((math.pi / 2.0) ** 2) - 0.4, -0.25 - 0.1 - 0.004]
    assert result.reward == pytest.approx(expected, abs=1e-14)


def test_the_speed_stays_within_its_limit(sim):
    sim.fields.qpos[:, 0] = [math.pi / 2.0, -math.pi / 2.0, 0.0]
    sim.fields.qvel[:, 0] = [7.9, -7.9, 8.0]
    for _ in range(3):
        sim.step(np.array([[2.0], [-2.0], [2.0]]))
        assert np.abs(sim.fields.qvel).max() <= MAX_SPEED + 1e-12
    assert np.abs(sim.fields.qvel[:2]).min() == pytest.approx(MAX_SPEED)


def test_angles_are_wrapped_to_half_a_turn_on_either_side():
    angles = np.array([0.0, 3.0, math.pi, -math.pi, 3.5 * math.pi, -7.0])
    expected = [0.0, 3.0, -math.pi, -math.pi, -0.5 * math.pi, -7.0 + 2.0 * math.pi]
    assert wrap(angles) == pytest.approx(expected, abs=1e-14)
