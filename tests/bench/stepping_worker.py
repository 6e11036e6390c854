"""One way to step N copies of a task, in its environment: `stepping_worker.py SUBJECT TASK NUM_ENVS`."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

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


class Physics(NamedTuple):
    """What those that step physics alone do: the controls of random actions, and a task's episodes as they came."""

    model: Any
    substeps: int
    states: np.ndarray
    """(CYCLE, num_envs, n) full physics states before each control step."""
    begins: list[np.ndarray]
    """CYCLE times who does not go on from the state that it was left in; in the first step all."""
    controls: np.ndarray
    """(CYCLE, num_envs, nu)."""


WARM_UP = 256
"""Control steps until episodes that began together are at any of their stages."""


def _physics(task: str, num_envs: int) -> Physics:
    import mujoco

    from roborl.envs import make_vector_env

    env = make_vector_env(task, num_envs)
    env.reset(seed=0)
    sim = env.sim
    actions = random_actions(sim.action_low, sim.action_high, num_envs, np.float64)
    for step in range(WARM_UP):
        env.step(actions[step % CYCLE])
    full = int(mujoco.mjtState.mjSTATE_FULLPHYSICS)
    states = np.zeros((CYCLE, num_envs, mujoco.mj_stateSize(sim.model, full)))
    controls = np.zeros((CYCLE, num_envs, sim.model.nu))
    begins = []
    data = mujoco.MjData(sim.model)
    for step in range(CYCLE):
        for state, row in zip(sim.batch.state, states[step], strict=True):
            mujoco.mj_setState(sim.model, data, state, int(mujoco.mjtState.mjSTATE_INTEGRATION))
            mujoco.mj_getState(sim.model, data, row, full)
        began = sim.state().counters[:, 2] == 0
        begins.append(np.flatnonzero(began) if step else np.arange(num_envs))
        env.step(actions[step])
        controls[step] = sim.fields.ctrl
    return Physics(sim.model, sim.substeps, states, begins, controls)


def bare(task: str, num_envs: int) -> Work:
    """A loop of mj_step in two threads over a task's episodes; no observation, no reward, no reset's forward pass."""
    import mujoco

    physics = _physics(task, num_envs)
    mujoco.set_mjcb_time(None)  # as the package comes: MuJoCo's timers read the clock
    return _loop(physics)


def bare_untimed(task: str, num_envs: int) -> Work:
    """The limit: the same without MuJoCo's timers, as roborl steps."""
    return _loop(_physics(task, num_envs))


def _loop(physics: Physics) -> Work:
    import mujoco

    model, substeps, states, begins, controls = physics
    num_envs = states.shape[1]
    datas = [mujoco.MjData(model) for _ in range(num_envs)]
    full = int(mujoco.mjtState.mjSTATE_FULLPHYSICS)

    def part(first: int, steps: int) -> None:
        mine = [[int(i) for i in ids if i % THREADS == first] for ids in begins]
        for step in range(steps):
            now = step % CYCLE
            for i in mine[now]:
                mujoco.mj_setState(model, datas[i], states[now, i], full)
            for i in range(first, num_envs, THREADS):
                datas[i].ctrl[:] = controls[now, i]
                mujoco.mj_step(model, datas[i], substeps)

    def work(steps: int) -> None:
        threads = [threading.Thread(target=part, args=(first, steps)) for first in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return work


def rollout(task: str, num_envs: int) -> Work:
    """mujoco.rollout over a whole cycle at once, which no environment can do; who falls stays down."""
    import mujoco
    from mujoco.rollout import Rollout

    model, substeps, states, _, controls = _physics(task, num_envs)
    mujoco.set_mjcb_time(None)  # as the package comes
    datas = [mujoco.MjData(model) for _ in range(THREADS)]
    repeated = np.repeat(controls.swapaxes(0, 1), substeps, axis=1)  # (num_envs, CYCLE * substeps, nu)
    roll = Rollout(nthread=THREADS)

    def work(steps: int) -> None:
        for done in range(0, steps, CYCLE):
            roll.rollout(model, datas, states[0], repeated[:, : min(CYCLE, steps - done) * substeps])

    return work


def stepping(env: Any, action_space: Any, num_envs: int) -> Work:
    """Steps of a vector environment: observations, rewards and resets included."""
    actions = random_actions(action_space.low, action_space.high, num_envs, action_space.dtype)

    def work(steps: int) -> None:
        for step in range(steps):
            env.step(actions[step % CYCLE])

    return work


def roborl(task: str, num_envs: int, **options: Any) -> Work:
    """roborl's vector environment, as gymnasium makes it."""
    import gymnasium

    import roborl  # noqa: F401

    env = gymnasium.make_vec(f"roborl/{task}-v1", num_envs=num_envs, **options)
    env.reset(seed=0)
    return stepping(env, env.single_action_space, num_envs)


PARAMETERS = {
    "mass": (0.8, 1.2),
    "com": 0.005,
    "friction": (0.7, 1.2),
    "motor_strength": (0.9, 1.1),
}
SENSORS = {"sensor_noise": 0.01, "sensor_bias": 0.01, "observation_delay": (0, 2), "action_delay": (0, 2)}
PUSHES = {"push_speed": (0.1, 0.5), "push_interval_s": (5.0, 10.0)}


def roborl_randomised(task: str, num_envs: int) -> Work:
    """The same with drawn parameters."""
    return roborl(task, num_envs, **PARAMETERS)


def roborl_real(task: str, num_envs: int) -> Work:
    """The same with drawn parameters, noise, biases, delays and pushes."""
    return roborl(task, num_envs, **PARAMETERS, **SENSORS, **PUSHES)


DM_CONTROL = {
    "CartpoleBalance": "CartpoleBalance-v1",
    "CartpoleSwingup": "CartpoleSwingup-v1",
    "DoubleCartpoleSwingup": "CartpoleTwoPoles-v1",
    "AcrobotSwingup": "AcrobotSwingup-v1",
}
"""EnvPool's names of DM Control's tasks that are ours too."""


def envpool(task: str, num_envs: int) -> Work:
    """EnvPool's C++ environments on two threads."""
    import envpool as pool

    name = DM_CONTROL.get(task, f"{task}-v5")
    env = pool.make(name, env_type="gymnasium", num_envs=num_envs, num_threads=THREADS)
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
    "bare-untimed": bare_untimed,
    "rollout": rollout,
    "roborl": roborl,
    "roborl-randomised": roborl_randomised,
    "roborl-real": roborl_real,
    "envpool": envpool,
    "gymnasium-sync": gymnasium_sync,
    "gymnasium-async": gymnasium_async,
}

if __name__ == "__main__":
    serve(lambda: SUBJECTS[sys.argv[1]](sys.argv[2], int(sys.argv[3])))
