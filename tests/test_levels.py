from __future__ import annotations

import numpy as np

from roborl.envs import TaskVectorEnv
from roborl.sim import Sim
from roborl.task import Term, remembered
from roborl.task.contract import LEVEL
from roborl.tasks.pendulum import PendulumSwingup


class Climb(PendulumSwingup):
    """Goes up a level where an episode lasted, down where it did not."""

    levels, first_levels = 5, 2

    def promotion(self, last):
        return np.where(last.time > 0.1, 1.0, -1.0)


def test_levels_outlast_episodes_and_go_up_and_down_with_what_was_achieved():
    sim = Sim(Climb(), 60)
    sim.reset()
    level = sim.fields.memory[LEVEL][:, 0].copy()
    assert set(level) == {0.0, 1.0}
    for _ in range(3):
        for _ in range(10):
            sim.step(np.zeros((60, 1)))
        sim.reset(np.arange(30))  # these have lasted
        level[:30] += 1.0
        assert np.array_equal(sim.fields.memory[LEVEL][:, 0], level)
    for _ in range(10):
        sim.step(np.zeros((60, 1)))
    sim.reset()
    again = sim.fields.memory[LEVEL][:, 0]
    top = np.flatnonzero(level == 4.0)
    assert len(top) > 5 and len(set(again[top])) > 2, "beyond the highest level any is drawn"
    assert np.array_equal(np.delete(again, top), np.delete(level, top) + 1.0)
    sim.step(np.zeros((60, 1)))
    lowered = np.maximum(again - 1.0, 0.0)
    sim.reset()
    assert np.array_equal(sim.fields.memory[LEVEL][:, 0], lowered)


def test_a_new_seed_begins_at_a_first_level_again():
    sim = Sim(Climb(), 20)
    sim.reset()
    first = sim.fields.memory[LEVEL].copy()
    for _ in range(10):
        sim.step(np.zeros((20, 1)))
    sim.reset()
    sim.seed(np.arange(20))
    sim.reset()
    assert np.array_equal(sim.fields.memory[LEVEL], first)


def test_the_step_between_an_episodes_end_and_its_reset_counts_for_nothing():
    """With the usual autoreset one more step is taken in vain before the reset: the level is decided before it."""

    class Short(Climb):
        episode_length_s = 0.1  # two steps, which is too short to go up; a third would not be

        def promotion(self, last):
            return np.where(last.time > 0.11, 1.0, 0.0)

    env = TaskVectorEnv(Short(), 5, num_threads=1)
    env.reset(seed=0)
    before = env.sim.fields.memory[LEVEL].copy()
    for _ in range(9):  # three episodes, with their resets
        env.step(np.zeros((5, 1)))
    assert np.array_equal(env.sim.fields.memory[LEVEL], before)


def test_a_level_can_be_observed():
    class Seen(Climb):
        observations = {**Climb.observations, "critic": [Term("level", remembered("level"))]}

    sim = Sim(Seen(), 20)
    sim.reset()
    assert set(sim.fields.memory[LEVEL][:, 0]) == {0.0, 1.0}
    assert np.array_equal(sim.observe()["critic"], sim.fields.memory[LEVEL])
