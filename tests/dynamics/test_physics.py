from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from roborl import tasks
from roborl.dynamics import make_dynamics
from roborl.dynamics.mujoco import MujocoDynamics
from roborl.dynamics.physics import PhysicsDynamics
from roborl.errors import ConfigError, UnknownName, UsageError
from roborl.sim import Sim, SimState


class Pendulum(PhysicsDynamics):
    """The equation that MuJoCo integrates for PendulumSwingup: a rod of 1 kg and 1 m, semi-implicit Euler."""

    def physics_after(self, physics: np.ndarray, ctrl: np.ndarray) -> np.ndarray:
        angle, speed = physics[:, :1], physics[:, 1:]
        speed = speed + 0.05 * (5.0 * np.sin(angle) + ctrl) * 3.0
        return np.concatenate((angle + 0.05 * speed, speed), axis=1)


class Free(PhysicsDynamics):
    """Nothing moves."""

    def physics_after(self, physics: np.ndarray, ctrl: np.ndarray) -> np.ndarray:
        return physics


def states(name: str, n: int) -> SimState:
    sim = Sim(tasks.load(name), n, num_threads=1)
    sim.reset()
    return sim.state()


def test_a_model_that_is_the_simulators_predicts_what_the_simulator_does() -> None:
    task, x = tasks.load("PendulumSwingup"), states("PendulumSwingup", 20)
    ours, theirs = Pendulum(task), MujocoDynamics(task, num_threads=1)
    rng = np.random.default_rng(0)
    u = rng.uniform(-2.0, 2.0, (20, 1))
    ours_after, theirs_after = ours.step(x, u, seed=3), theirs.step(x, u, seed=3)
    np.testing.assert_allclose(ours_after.reward, theirs_after.reward, rtol=0, atol=1e-12)
    points = ours.coordinates(x)
    np.testing.assert_allclose(ours.predict(x, points, u), theirs.predict(x, points, u), rtol=0, atol=1e-9)

    one = SimState(*(part[:1] for part in x))
    U = rng.uniform(-2.0, 2.0, (8, 15, 1))
    np.testing.assert_allclose(ours.rollout(one, U, 0).rewards, theirs.rollout(one, U, 0).rewards, rtol=0, atol=1e-7)


def test_its_derivatives_are_those_of_the_equation_with_the_tasks_law() -> None:
    # w' = w + h (15 sin a + 3 u), a' = a + h w' with h = 0.05: by hand, at angles where the speed's limit is far.
    ours = Pendulum(tasks.load("PendulumSwingup"))
    at, angles = states("PendulumSwingup", 1), np.array([0.3, -1.1, 2.0])
    A, B = ours.linearize(at, np.stack((angles, [0.5, -1.0, 0.0]), axis=1), np.array([[0.4], [-1.0], [0.0]]))
    by_angle = 0.05 * 15.0 * np.cos(angles)
    expected = np.array([[[1 + 0.05 * d, 0.05], [d, 1.0]] for d in by_angle])
    np.testing.assert_allclose(A, expected, rtol=0, atol=1e-8)
    np.testing.assert_allclose(B, np.tile([[0.05 * 0.15], [0.15]], (3, 1, 1)), rtol=0, atol=1e-8)


def test_every_predicted_step_counts() -> None:
    ours, at = Pendulum(tasks.load("PendulumSwingup")), states("PendulumSwingup", 1)
    ours.rollout(at, np.zeros((4, 10, 1)), 0)
    assert ours.steps == 40
    ours.linearize(at, np.zeros((5, 2)), np.zeros((5, 1)))
    assert ours.steps == 40 + 5 * (1 + 2 * 3)  # each knot, and both ways in angle, speed and torque


def test_what_is_not_finite_has_diverged_and_the_others_are_not_touched() -> None:
    class Exploding(Pendulum):
        def physics_after(self, physics: np.ndarray, ctrl: np.ndarray) -> np.ndarray:
            after = super().physics_after(physics, ctrl)
            return np.where(physics[:, :1] > 0.0, np.inf, after)

    task, x = tasks.load("PendulumSwingup"), states("PendulumSwingup", 20)
    wild, sound = (cls(task).step(x, np.zeros((20, 1)), 0) for cls in (Exploding, Pendulum))
    right = Pendulum(task).coordinates(x)[:, 0] > 0.0
    assert 0 < right.sum() < 20 and np.array_equal(wild.diverged, right) and not sound.diverged.any()
    assert np.isnan(wild.reward[right]).all() and np.array_equal(wild.reward[~right], sound.reward[~right])
    rollout = Exploding(task).rollout(SimState(*(part[:1] for part in x)), np.zeros((2, 3, 1)), 0)
    assert np.array_equal(np.isinf(rollout.costs), rollout.diverged)


def test_a_reward_of_what_no_model_predicts_is_refused_by_name() -> None:
    ours = Free(tasks.load("Go1VelocityFlat"))
    with pytest.raises(ConfigError, match="what Go1VelocityFlat rewards cannot be had of Free's predictions"):
        ours.step(states("Go1VelocityFlat", 1), np.zeros((1, 12)), 0)


def test_dynamics_in_a_file_are_checked_as_they_are_loaded(tmp_path: Path) -> None:
    file, task = tmp_path / "mine.py", tasks.load("PendulumSwingup")
    file.write_text("class Mine:\n    pass\n")
    with pytest.raises(UnknownName, match="Mine"):
        make_dynamics(f"{file}:Mine", task)
    with pytest.raises(UsageError, match="there is no file"):
        make_dynamics(f"{tmp_path}/none.py:Mine", task)
    with pytest.raises(UnknownName, match="rigid"):
        make_dynamics("rigd", task)
