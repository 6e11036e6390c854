"""The viewer: a run's policy in MuJoCo's interactive window, in real time."""

from __future__ import annotations

import os
import time
from pathlib import Path

import mujoco
import mujoco.viewer
import numpy as np

from roborl.errors import UsageError
from roborl.run.evaluate import EVALUATION_SEED
from roborl.run.executor import TaskExecutor
from roborl.run.policy import load_policy, open_executor


def view(run_dir: Path) -> None:
    """Show a run's policy, episode after episode, until the window is closed.

    Raises:
        UsageError: if there is no screen, or the environment is not one of our tasks.
    """
    policy = load_policy(run_dir)
    executor = open_executor(policy.config, 1)
    if not isinstance(executor, TaskExecutor):
        raise UsageError(f"{policy.config.task} is not a task of ours; `roborl eval --video` makes a film of it")
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise UsageError("there is no screen here; `roborl eval --video` makes a film")
    sim = executor.env.sim
    obs = executor.reset(np.array([EVALUATION_SEED], np.uint64))
    model, data = sim.batch.get_model(0), mujoco.MjData(sim.model)
    with mujoco.viewer.launch_passive(model, data) as window:
        due_s = time.monotonic()
        while window.is_running():
            step = executor.step(policy.act_units(obs["policy"]))
            policy.reset(~step.live)  # after the dead step an episode begins
            obs = step.obs
            sim.batch.get_data(0, data)
            mujoco.mj_forward(model, data)
            window.sync()
            due_s += sim.task.control_dt
            time.sleep(max(0.0, due_s - time.monotonic()))
