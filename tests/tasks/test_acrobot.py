from __future__ import annotations

import math

import numpy as np
import pytest

from roborl import tasks
from roborl.sim import Sim
from roborl.task import Fields
from roborl.tasks.acrobot import AcrobotSwingup, tip_from_target


def state(shoulder: float, elbow: float) -> Fields:
    return Fields(np, {"qpos": np.array([[shoulder, elbow]]), "qvel": np.zeros((1, 2))}, {}, {})


def test_the_tip_is_where_mujoco_has_it():
    sim = Sim(type("Seen", (AcrobotSwingup,), {"reads": ("site_xpos",), "derived": "current"})(), 5)
    sim.reset()
    target, tip = sim.model.site("target").id, sim.model.site("tip").id
    offset = (sim.fields.site_xpos[:, tip] - sim.fields.site_xpos[:, target])[:, [0, 2]]
    np.testing.assert_allclose(tip_from_target(sim.fields), offset, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("fields", "smooth", "sparse"),
    [
        (state(0.0, 0.0), 1.0, 1.0),
        (state(0.19, -0.19), 1.0, 1.0),  # sin and 1 - cos of 0.19: 0.1897 m from the target
        (state(0.21, -0.21), 0.1 ** ((2.0 * math.sin(0.105) - 0.2) ** 2), 0.0),  # the chord of 0.21 rad
        (state(math.pi, 0.0), 0.1 ** (3.8**2), 0.0),  # hanging: 4 m away, 3.8 beyond the target's edge
    ],
)
def test_the_reward_equals_hand_computed_values(fields, smooth, sparse):
    for task, expected in ((AcrobotSwingup(), smooth), (AcrobotSwingup(sparse=True), sparse)):
        terms = task.reward_terms(fields, np.zeros((1, 1)), fields)
        assert terms["near"] == pytest.approx([expected], abs=1e-12)
    assert AcrobotSwingup().success(fields)[0] == (sparse == 1.0)


def test_episodes_start_anywhere_at_rest():
    sim = Sim(tasks.load("AcrobotSwingup"), 500)
    sim.reset()
    angles = sim.fields.qpos
    assert np.abs(angles).max() <= math.pi and np.abs(angles).max() > 3.1 and not sim.fields.qvel.any()
    assert np.abs(angles.mean(axis=0)).max() < 0.35  # 4 standard errors of 1.81 / sqrt(500)


def test_what_is_seen_are_the_arms_directions_in_the_world():
    sim = Sim(tasks.load("AcrobotSwingup"), 1)
    sim.reset()
    sim.fields.qpos[...] = [[0.3, 0.5]]
    sim.fields.qvel[...] = [[1.0, 2.0]]
    expected = [math.sin(0.3), math.sin(0.8), math.cos(0.3), math.cos(0.8), 1.0, 2.0]
    assert sim.observe()["policy"][0] == pytest.approx(np.array(expected), abs=1e-15)


def test_hanging_episodes_start_hanging():
    sim = Sim(tasks.load("AcrobotSwingup", hanging=True), 500)
    sim.reset()
    off = sim.fields.qpos - np.array([math.pi, 0.0])
    assert not sim.fields.qvel.any() and np.abs(off).max() < 0.05
    np.testing.assert_allclose(off.std(axis=0), 0.01, rtol=0.2)


def test_a_plans_end_costs_what_the_arms_are_off_upright():
    # hanging straight: each arm has sin 0 and 1 - cos 2; a half of 100 (2^2 + 2^2) is 400
    hanging = AcrobotSwingup().terminal_residuals(state(math.pi, 0.0))
    np.testing.assert_allclose(hanging["upright"].value, [[0.0, 2.0, 0.0, 2.0]], atol=1e-15)
    assert hanging["upright"].weight == 100.0 and hanging["speeds"].weight == 1.0
    # the lower arm is horizontal where the shoulder leans 0.5 and the elbow 1.5708 - 0.5
    folded = AcrobotSwingup().terminal_residuals(state(0.5, 0.5 * math.pi - 0.5))["upright"].value
    np.testing.assert_allclose(folded, [[math.sin(0.5), 1.0 - math.cos(0.5), 1.0, 1.0]], atol=1e-12)
