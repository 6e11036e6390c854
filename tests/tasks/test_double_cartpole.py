from __future__ import annotations

import math

import numpy as np
import pytest

from roborl import tasks
from roborl.sim import Sim
from roborl.task import Fields
from roborl.tasks.cartpole import pole_angles, smooth_reward

HALF_WAY = 0.1**0.25  # tolerance's gaussian at half its margin


def state(cart: float, inner: float, outer: float, speeds: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Fields:
    return Fields(np, {"qpos": np.array([[cart, inner, outer]]), "qvel": np.array([speeds])}, {}, {})


def test_the_outer_poles_angle_is_the_sum_of_both_hinges():
    assert pole_angles(state(0.0, 0.3, -0.5))[0] == pytest.approx([0.3, -0.2])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (state(0.0, 0.0, 0.0), 1.0),
        (state(0.0, math.pi, 0.0), 0.0),
        (state(0.0, math.pi, math.pi), 0.5),  # folded: one hangs, one stands
        (state(0.0, math.pi / 2.0, -math.pi / 2.0), 0.75),
        (state(1.0, 0.0, 0.0), (1.0 + HALF_WAY) / 2.0),
        (state(0.0, 0.0, 0.0, (0.0, 1.0, -2.5)), (1.0 + HALF_WAY) / 2.0),  # the faster hinge counts
    ],
)
def test_the_reward_equals_hand_computed_values(fields, expected):
    assert smooth_reward(fields, np.zeros((1, 1))) == pytest.approx([expected], abs=1e-14)


def test_episodes_start_hanging():
    sim = Sim(tasks.load("DoubleCartpoleSwingup"), 500)
    sim.reset()
    qpos, qvel = sim.fields.qpos, sim.fields.qvel
    assert qpos.mean(axis=0) == pytest.approx([0.0, math.pi, 0.0], abs=0.02)
    assert qpos.std(axis=0) == pytest.approx([0.01, 0.01, 0.1], rel=0.15)
    assert qvel.std(axis=0) == pytest.approx([0.01] * 3, rel=0.15)
