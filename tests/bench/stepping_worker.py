"""One way to step N copies of a task, in its environment: `stepping_worker.py SUBJECT TASK NUM_ENVS`."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from worker import serve

THREADS = 2
CYCLE = 64
"""So many different rows of actions are repeated."""

Work = Callable[[int], None]


def random_actions(low: Any, high: Any, num_envs: int, dtype: Any) -> np.ndarray:
    """Uniform actions (CYCLE, num_envs, nu), the same for every subject."""
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    uniform = np.random.default_rng(0).uniform(size=(CYCLE, num_envs, low.size))
    return (low + uniform * (high - low)).astype(dtype)


def bare(task: str, num_envs: int) -> Work:
    """The limit: a loop of mj_step in two threads; no observation, no reward, no reset."""
    import gymnasium
    import mujoco

    env: Any = gymnasium.make(f"{task}-v5").unwrapped
    model, frame_skip = env.model, env.frame_skip
    datas = [mujoco.MjData(model) for _ in range(num_envs)]
    actions = random_actions(*model.actuator_ctrlrange.T, num_envs, np.float64)

    def part(first: int, steps: int) -> None:
        for step in range(steps):
            for i in range(first, num_envs, THREADS):
                datas[i].ctrl[:] = actions[step % CYCLE, i]
                mujoco.mj_step(model, datas[i], frame_skip)

    def work(steps: int) -> None:
        threads = [threading.Thread(target=part, args=(first, steps)) for first in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return work


def stepping(env: Any, action_space: Any, num_envs: int) -> Work:
    """Steps of a vector environment: observations, rewards and resets included."""
    actions = random_actions(action_space.low, action_space.high, num_envs, action_space.dtype)

    def work(steps: int) -> None:
        for step in range(steps):
            env.step(actions[step % CYCLE])

    return work


def roborl(task: str, num_envs: int) -> Work:
    """roborl's vector environment, as gymnasium makes it."""
    import gymnasium

    import roborl  # noqa: F401

    env = gymnasium.make_vec(f"roborl/{task}-v1", num_envs=num_envs)
    env.reset(seed=0)
    return stepping(env, env.single_action_space, num_envs)


def envpool(task: str, num_envs: int) -> Work:
    """EnvPool's C++ environments on two threads."""
    import envpool as pool

    env = pool.make(f"{task}-v5", env_type="gymnasium", num_envs=num_envs, num_threads=THREADS)
    env.reset()
    return stepping(env, env.action_space, num_envs)


def gymnasium_sync(task: str, num_envs: int) -> Work:
    """Gymnasium's environments, one after the other."""
    return _gymnasium(task, num_envs, "sync")


def gymnasium_async(task: str, num_envs: int) -> Work:
    """Gymnasium's environments, each in a process of its own."""
    return _gymnasium(task, num_envs, "async")


def _gymnasium(task: str, num_envs: int, mode: str) -> Work:
    import gymnasium

    env = gymnasium.make_vec(f"{task}-v5", num_envs=num_envs, vectorization_mode=mode)
    env.reset(seed=0)
    return stepping(env, env.single_action_space, num_envs)


SUBJECTS = {
    "bare": bare,
    "roborl": roborl,
    "envpool": envpool,
    "gymnasium-sync": gymnasium_sync,
    "gymnasium-async": gymnasium_async,
}

if __name__ == "__main__":
    serve(lambda: SUBJECTS[sys.argv[1]](sys.argv[2], int(sys.argv[3])))
