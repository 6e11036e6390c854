from __future__ import annotations

import dataclasses
from typing import Any

import mujoco
import numpy as np
import pytest

from roborl import models, tasks
from roborl.dynamics.mujoco import MujocoDynamics
from roborl.errors import ConfigError
from roborl.sim import Sim, SimState
from roborl.task import Fields, Residual, Task
from roborl.task.contract import UnsupportedCost, stage_cost, terminal_cost
from roborl.tasks.cartpole import CartpoleSwingup

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


def transition_derivatives(model: mujoco.MjModel, qpos: np.ndarray, qvel: np.ndarray, ctrl: np.ndarray):
    """MuJoCo's own centred differences of one time step."""
    data = mujoco.MjData(model)
    data.qpos, data.qvel, data.ctrl = qpos, qvel, ctrl
    A, B = np.zeros((2 * model.nv, 2 * model.nv)), np.zeros((2 * model.nv, model.nu))
    mujoco.mjd_transitionFD(model, data, 1e-6, True, A, B, None, None)
    return A, B


@pytest.mark.parametrize("integrator", ["mjINT_EULER", "mjINT_IMPLICITFAST"])
@pytest.mark.parametrize("name", ["CartpoleSwingup", "Ant"])
def test_derivatives_are_those_of_mujoco_itself(name: str, integrator: str) -> None:
    task = tasks.load(name)
    model = models.compile_task(task)
    model.opt.integrator = getattr(mujoco.mjtIntegrator, integrator)
    model.opt.timestep = task.control_dt  # so that a control step is one of MuJoCo's
    model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONTACT)
    dynamics = MujocoDynamics(task, num_threads=2, model=model)
    states = [some_state(task, steps=steps) for steps in (1, 5, 9)]
    X = np.concatenate([dynamics.coordinates(x) for x in states])
    U = some_actions(dynamics, 1, 3)[0]
    A, B = dynamics.linearize(states[0], X, U)
    assert A.shape == (3, dynamics.space.ndx, dynamics.space.ndx) and B.shape == (3, dynamics.space.ndx, U.shape[1])
    for t in range(3):
        A_of_mujoco, B_of_mujoco = transition_derivatives(model, X[t, : model.nq], X[t, model.nq :], U[t])
        np.testing.assert_allclose(A[t], A_of_mujoco, atol=1e-7 * np.abs(A_of_mujoco).max())
        np.testing.assert_allclose(B[t], B_of_mujoco, atol=1e-7 * np.abs(B_of_mujoco).max())


def test_the_derivatives_of_an_rk4_step_of_a_linear_system_are_analytic() -> None:
    # a mass m on a spring k with damping d: x' = F x + G u; RK4 of it is the exponential's first five terms, and
    # with u held, B = (h I + h^2 F / 2 + h^3 F^2 / 6 + h^4 F^3 / 24) G
    task = tasks.load("CartpoleSwingup")
    model = models.compile_task(task)
    assert model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4
    model.opt.gravity[:] = 0.0
    model.jnt_stiffness[0], model.dof_damping[:] = 30.0, (2.0, 0.0)
    dynamics = MujocoDynamics(task, num_threads=1, model=model)
    x0 = some_state(task)
    X = np.zeros((1, 4))  # upright, at rest: with no gravity the pole goes with the cart
    A, B = dynamics.linearize(x0, X, np.zeros((1, 1)))
    # At rest, M qdd = (10 u - 30 s - 2 s', 0): both rows of the acceleration are columns of M^-1
    M = np.zeros((2, 2))
    data = mujoco.MjData(model)
    data.qpos[:] = X[0, :2]
    mujoco.mj_forward(model, data)
    mujoco.mj_fullM(model, data, M)
    inverse = np.linalg.inv(M)[:, 0]
    F, G = np.zeros((4, 4)), np.zeros((4, 1))
    F[:2, 2:], F[2:, 0], F[2:, 2], G[2:, 0] = np.eye(2), -30.0 * inverse, -2.0 * inverse, 10.0 * inverse
    h, powers = task.control_dt, [np.linalg.matrix_power(F, i) for i in range(5)]
    expected_A = sum(h**i * powers[i] / f for i, f in enumerate((1, 1, 2, 6, 24)))
    expected_B = sum(h ** (i + 1) * powers[i] / f for i, f in enumerate((1, 2, 6, 24))) @ G
    np.testing.assert_allclose(A[0], expected_A, atol=1e-9)
    np.testing.assert_allclose(B[0], expected_B, atol=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_points_go_where_the_simulator_goes(name: str) -> None:
    task = tasks.load(name)
    x0 = some_state(task)
    dynamics = MujocoDynamics(task, num_threads=2)
    point = dynamics.coordinates(x0)
    assert point.shape == (1, dynamics.space.nx)
    U = some_actions(dynamics, 1, 4)[0]
    sim = Sim(task, 1, num_threads=1)
    sim.restore(x0._replace(counters=x0.counters * np.array([0, 1, 1], np.uint64)))
    first = dynamics.predict(x0, np.repeat(point, 3, axis=0), np.repeat(U[:1], 3, axis=0))
    sim.step(U[:1])
    assert np.array_equal(first, np.repeat(dynamics.coordinates(sim.state()), 3, axis=0))


def test_actions_on_their_way_and_moved_targets_are_part_of_the_state() -> None:
    track = MujocoDynamics(tasks.load("CartpoleTrack", action_delay=(2, 2)))
    x0 = some_state(track.task)
    assert track.space.ndx == 4 + 2
    A, B = track.linearize(x0, track.coordinates(x0), np.zeros((1, 1)))
    assert not B[0, :4].any() and not A[0, :4, 4].any()  # now nothing, nor one step later, ...
    assert A[0, 3, 5] != 0.0  # ... but in two steps
    np.testing.assert_allclose((B[0, 4:, 0], A[0, 5, 4:]), [[1.0, 0.0], [1.0, 0.0]], atol=1e-9)

    arm = MujocoDynamics(tasks.load("ArmReach"))
    x0 = some_state(arm.task)
    assert arm.space.ndx == 2 * 9 + 8  # the servos' targets, and the gripper's
    A, B = arm.linearize(x0, arm.coordinates(x0), np.zeros((1, 7)))
    np.testing.assert_allclose(A[0, 18:, 18:], np.eye(8), atol=1e-8)  # a target stays where it is
    step = 0.5 * 0.04 * 2.175  # half the joints' speed for a control step
    assert B[0, 18, 0] == pytest.approx(step) and B[0, 26 - 2, 6] == pytest.approx(0.5 * 0.04 * 2.61)


def test_diverged_points_are_nan() -> None:
    dynamics = MujocoDynamics(tasks.load("HalfCheetah"), num_threads=1)
    x0 = some_state(dynamics.task)
    points = np.repeat(dynamics.coordinates(x0), 2, axis=0)
    points[1, :9] = 1e12
    after = dynamics.predict(x0, points, np.zeros((2, 6)))
    assert np.isfinite(after[0]).all() and np.isnan(after[1]).all()


def test_smooth_costs_of_points_are_those_of_states() -> None:
    task = tasks.load("ArmReach")
    dynamics = MujocoDynamics(task)
    sim = Sim(task, 1, num_threads=1)
    sim.reset()
    action = np.full((1, 7), 0.3)
    sim.step(action)
    x = sim.state()
    stage = dynamics.stage_residuals(x, dynamics.coordinates(x), action)
    assert 0.5 * np.sum(stage**2) == pytest.approx(stage_cost(task, sim.fields, action)[0], rel=1e-12)
    terminal = dynamics.terminal_residuals(x, dynamics.coordinates(x))
    assert 0.5 * np.sum(terminal**2) == pytest.approx(terminal_cost(task, sim.fields)[0], rel=1e-12)


@dataclasses.dataclass(frozen=True)
class Curious(CartpoleSwingup):
    """Its smooth cost reads what no predicted state has."""

    def stage_residuals(self, after: Fields, action: Any) -> dict[str, Residual]:
        return {"late": Residual(after.time[:, None])}


class Wordless(CartpoleSwingup):
    """It has no smooth cost."""

    stage_residuals = Task.stage_residuals


class Bad(CartpoleSwingup):
    """One of its weights is negative."""

    def terminal_residuals(self, after: Fields) -> dict[str, Residual]:
        return {"no": Residual(after.qpos, -1.0)}


def test_a_cost_that_cannot_be_had_is_said_to_be_so() -> None:
    for task, message in ((Curious(), "not one of a predicted state: field 'time'"), (Wordless(), "no smooth cost")):
        dynamics = MujocoDynamics(task)
        x0 = some_state(task)
        assert dynamics.linearize(x0, dynamics.coordinates(x0), np.zeros((1, 1)))[0].shape == (1, 4, 4)
        with pytest.raises(UnsupportedCost, match=message):
            dynamics.stage_residuals(x0, dynamics.coordinates(x0), np.zeros((1, 1)))
        with pytest.raises(UnsupportedCost, match=message):
            dynamics.terminal_residuals(x0, dynamics.coordinates(x0))
    dynamics = MujocoDynamics(Bad())
    x0 = some_state(dynamics.task)
    with pytest.raises(ConfigError, match="residual 'no' of Bad must have a weight of at least 0, got -1.0"):
        dynamics.terminal_residuals(x0, dynamics.coordinates(x0))
