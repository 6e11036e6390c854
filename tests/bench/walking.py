"""How well a policy walks: judged in numbers that its return does not show.

A hundred robots follow commands for an episode, with the task's own noise, randomisation and pushes. The second after
each change of command is left out of the tracking errors; the feet are judged while the robot is told to move.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from roborl import tasks
from roborl.run.evaluate import EVALUATION_SEED
from roborl.run.policy import load_policy
from roborl.sim import Sim
from roborl.task.locomotion import moving
from roborl.tasks.velocity import Velocity

SETTLE_S = 1.0
"""How long after a change of command its tracking is not judged [s]."""


def judge(run_dir: Path, episodes: int) -> dict[str, object]:
    """Return tracking errors, falls, and what the feet and the motors do."""
    policy = load_policy(run_dir)
    task = tasks.load(policy.config.task, **policy.config.options)
    if not isinstance(task, Velocity):
        raise SystemExit(f"{policy.config.task} is not a task of walking as a velocity command says")
    sim = Sim(task, episodes, seeds=EVALUATION_SEED + np.arange(episodes, dtype=np.uint64))
    sim.reset()
    policy.reset()
    strength = sim.fields.params.get("motor_strength", 1.0)
    limit = np.abs(sim.model.actuator_forcerange).max(axis=1) * strength  # (N, nu)
    settle = round(SETTLE_S / task.control_dt)

    feet = len(task.feet)
    up, since = np.ones(episodes, bool), np.zeros(episodes, int)  # since the command changed [steps]
    linear, turning, torque = list[np.ndarray](), list[np.ndarray](), 0.0
    contact, steps = np.zeros(feet), 0
    air, peak = np.zeros((episodes, feet), int), np.zeros((episodes, feet))  # of the swings under way
    swings = [list[tuple[int, float]]() for _ in range(feet)]  # steps, height
    for _ in range(task.episode_steps):
        f = sim.fields
        command = f.memory["command"].copy()
        result = sim.step(policy.act(sim.observe()["policy"]).astype(float))
        up &= ~result.terminated
        judged = up & (since >= settle)
        linear.append((command[:, :2] - task.base_lin_vel(f)[:, :2])[judged])
        turning.append((command[:, 2] - f.qvel[:, 5])[judged])
        torque = max(torque, float((np.abs(f.actuator_force) / limit)[up].max()))
        walks = judged & moving(np, command)
        down = task.foot_down(f)
        contact += down[walks].sum(axis=0)
        steps += int(walks.sum())
        for robot, foot in np.argwhere(walks[:, None] & down & (air > 0)):
            swings[foot].append((int(air[robot, foot]), float(peak[robot, foot])))
        air = np.where(down, 0, air + 1)
        peak = np.where(down, 0.0, np.maximum(peak, f.foot_height))
        since = np.where((f.memory["command"] != command).any(axis=1), 0, since + 1)
    error, turn = np.concatenate(linear), np.concatenate(turning)
    medians = np.array([np.median(of, axis=0) if of else (0.0, 0.0) for of in swings])  # (feet, 2)
    rate = np.array([len(of) for of in swings])
    return {
        "run": str(run_dir),
        "task": policy.config.task,
        "env_steps": policy.env_steps,
        "tracking_rms_m_s": float(np.sqrt((error**2).sum(axis=1).mean())),
        "turning_rms_rad_s": float(np.sqrt((turn**2).mean())),
        "falls": float(1.0 - up.mean()),
        "contact_share": dict(zip(task.feet, (contact / steps).round(3).tolist(), strict=True)),
        "clearance_m": dict(zip(task.feet, medians[:, 1].round(4).tolist(), strict=True)),
        "swing_s": dict(zip(task.feet, (medians[:, 0] * task.control_dt).tolist(), strict=True)),
        "swings_per_s": dict(zip(task.feet, (rate / (steps * task.control_dt)).round(2).tolist(), strict=True)),
        "most_torque_of_limit": torque,
    }


def main() -> None:
    """Judge a run and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_dir", type=Path, help="for example runs/ppo-Go1VelocityFlat-s0")
    parser.add_argument("--episodes", type=int, default=100)
    options = parser.parse_args()
    print(json.dumps(judge(options.run_dir, options.episodes), indent=2))


if __name__ == "__main__":
    main()
