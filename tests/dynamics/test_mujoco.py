from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from roborl import tasks
from roborl.dynamics.mujoco import MujocoDynamics
from roborl.sim import Sim, SimState
from roborl.task import Task

ALL = [name.removeprefix("roborl/").removesuffix("-v1") for name in tasks.TASKS]
RECORDED = ["CartpoleBalance", "CartpoleSwingup", "InvertedPendulum", "Hopper", "HalfCheetah"]
STEPPED = ["PendulumSwingup", "CartpoleTrack"]


def some_state(task: Task, steps: int = 3, seed: int = 5) -> SimState:
    sim = Sim(task, 1, num_threads=1, seeds=np.array([seed], np.uint64))
    sim.reset()
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        sim.step(rng.uniform(sim.action_low, sim.action_high)[None])
    return sim.state()


def some_actions(dynamics: MujocoDynamics, samples: int, horizon: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    low, high = dynamics.action_low, dynamics.action_high
    return rng.uniform(low, high, (samples, horizon, len(low)))


@pytest.mark.parametrize("name", ALL)
def test_rollout_gives_the_rewards_of_the_simulator_itself(name: str) -> None:
    task = tasks.load(name)
    x0 = some_state(task)
    dynamics = MujocoDynamics(task, num_threads=2)
    U = some_actions(dynamics, 5, 12)
    rollout = dynamics.rollout(x0, U, seed=0)
    sim = Sim(task, 1, num_threads=1)
    for k in range(5):
        sim.restore(x0)
        for t in range(12):
            result = sim.step(U[k, t][None])
            assert rollout.rewards[k, t] == result.reward[0]
            if result.terminated[0]:
                assert (rollout.rewards[k, t + 1 :] == 0.0).all()
                break


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_rollouts_equal_stepped_ones_to_the_bit(name: str) -> None:
    task = tasks.load(name)
    dynamics = MujocoDynamics(task, num_threads=2)
    assert dynamics._records_suffice
    U = some_actions(dynamics, 33, 40)
    for x0 in (some_state(task, steps=0), some_state(task, steps=9)):
        recorded = dynamics._recorded_rollout(x0, U, seed=1)
        stepped = dynamics._stepped_rollout(x0, U, seed=1)
        assert np.array_equal(recorded.rewards, stepped.rewards)
        assert not recorded.diverged.any() and not stepped.diverged.any()


@pytest.mark.parametrize("name", STEPPED)
def test_tasks_with_memory_or_a_control_law_of_their_own_are_stepped(name: str) -> None:
    assert not MujocoDynamics(tasks.load(name))._records_suffice


@pytest.mark.parametrize("name", ALL)
def test_a_rollout_is_as_many_steps(name: str) -> None:
    task = tasks.load(name)
    dynamics = MujocoDynamics(task, num_threads=1)
    U = some_actions(dynamics, 4, 6)
    x0 = some_state(task)
    rewards = dynamics.rollout(x0, U, seed=3).rewards
    x, alive = x0, np.ones(4, bool)
    for t in range(6):
        prediction = dynamics.step(x, U[:, t], seed=3)
        x = prediction.x
        assert np.array_equal(rewards[:, t], np.where(alive, prediction.reward, 0.0))
        alive &= ~prediction.terminated
    assert (x.counters[:, 0] == x0.counters[0, 0]).all()  # the environment's seed is kept
    assert (x.counters[:, 2] == x0.counters[0, 2] + 6).all()


def test_steps_are_counted() -> None:
    dynamics = MujocoDynamics(tasks.load("CartpoleTrack"), num_threads=1)
    x0 = some_state(dynamics.task)
    dynamics.rollout(x0, some_actions(dynamics, 4, 6), seed=0)
    dynamics.step(x0, some_actions(dynamics, 3, 1)[:, 0], seed=0)
    assert dynamics.steps == 4 * 6 + 3


def track_at_its_command_change() -> tuple[Task, SimState]:
    """CartpoleTrack, one step before the command changes."""
    task = tasks.load("CartpoleTrack", command_period_s=(0.05, 0.05))
    return task, some_state(task, steps=4)


def test_what_the_task_draws_comes_from_the_planners_seed_and_never_from_the_environments() -> None:
    task, x0 = track_at_its_command_change()
    dynamics = MujocoDynamics(task, num_threads=1)
    u = np.zeros((1, 1))
    commands = [dynamics.step(x0, u, seed=seed).x.memory for seed in (0, 1, 0)]
    assert np.array_equal(commands[0], commands[2])
    assert not np.array_equal(commands[0], commands[1])

    other = x0._replace(counters=x0.counters.copy())
    other.counters[:, 0] = 77  # another environment, in the same state: its future must not be seen
    assert np.array_equal(dynamics.step(other, u, seed=0).x.memory, commands[0])
    sim = Sim(task, 1, num_threads=1)
    sim.restore(x0)
    sim.step(u)
    command = sim.fields.memory["command"]
    assert command[0, 0] not in dynamics.step(x0, u, seed=0).x.memory


def test_all_samples_of_a_rollout_meet_the_same_random_future() -> None:
    task, x0 = track_at_its_command_change()
    dynamics = MujocoDynamics(task, num_threads=1)
    rewards = dynamics.rollout(x0, np.zeros((6, 10, 1)), seed=4).rewards
    assert (rewards == rewards[0]).all()


def test_memory_and_parameters_come_from_the_given_state() -> None:
    task = tasks.load("CartpoleTrack")
    dynamics = MujocoDynamics(task, num_threads=1)
    U = some_actions(dynamics, 3, 20)
    light, heavy = some_state(task, seed=1), some_state(task, seed=2)
    assert light.params[0, 0] != heavy.params[0, 0]
    first = dynamics.rollout(light, U, seed=0).rewards
    swapped = dynamics.rollout(light._replace(params=heavy.params), U, seed=0).rewards
    assert not np.array_equal(first, swapped)
    assert np.array_equal(dynamics.rollout(light, U, seed=0).rewards, first)  # nothing sticks


def test_a_simulation_that_diverges_costs_infinity_and_the_others_are_not_touched() -> None:
    task = tasks.load("HalfCheetah")
    dynamics = MujocoDynamics(task, num_threads=1)
    U = some_actions(dynamics, 3, 5)
    x0 = some_state(task)
    expected = dynamics.rollout(x0, U, seed=0)
    U[1, 2] = np.nan  # MuJoCo takes a NaN control as 0; the reward, which reads the action, does not
    rollout = dynamics.rollout(x0, U, seed=0)
    assert rollout.diverged.tolist() == [False, True, False]
    assert rollout.costs[1] == np.inf
    assert np.array_equal(rollout.costs[[0, 2]], expected.costs[[0, 2]])

    broken = x0._replace(physics=x0.physics.copy())
    broken.physics[:, 1:10] = 1e12  # positions beyond what MuJoCo takes for stable
    assert (dynamics.rollout(broken, U, seed=0).costs == np.inf).all()


def test_divergence_after_the_episode_has_ended_does_not_count() -> None:
    task = tasks.load("InvertedPendulum")
    dynamics = MujocoDynamics(task, num_threads=1)
    x0 = some_state(task, steps=0)
    U = np.full((2, 30, 1), 1.0)  # it falls
    fallen = dynamics.rollout(x0, U, seed=0)
    end = int(fallen.rewards[0].sum()) + 1
    assert 1 < end < 25
    U[1, end + 1 :] = np.nan
    later = dynamics.rollout(x0, U, seed=0)
    assert not later.diverged.any()
    assert np.array_equal(later.rewards, fallen.rewards)


def test_a_task_that_never_ends_by_falling_goes_on() -> None:
    task = tasks.load("Hopper")
    endless = dataclasses.replace(task, terminate_when_unhealthy=False)  # pyright: ignore
    x0 = some_state(task, steps=0)
    U = np.ones((1, 200, 3))
    ends = MujocoDynamics(task, num_threads=1).rollout(x0, U, seed=0).rewards[0]
    goes_on = MujocoDynamics(endless, num_threads=1).rollout(x0, U, seed=0).rewards[0]
    last = int(np.flatnonzero(ends)[-1])
    assert last < 199
    assert np.array_equal(ends[: last + 1], goes_on[: last + 1])
    assert (goes_on[last + 1 :] != 0.0).any()
