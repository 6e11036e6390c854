"""The optimum of PendulumSwingup on 100 fixed initial states, by dynamic programming on the true discrete dynamics.

    PYTHONPATH=. python tests/planners/pendulum_optimum.py

computes it (two minutes) and writes pendulum_optimum.json beside this file. The table of values is interpolated
between the points of a grid; what is reported is the return that the greedy policy of that table *earns* on the exact
dynamics, with the 200 steps of an episode left to go: a return that is reached, so no more than the optimum, and the
table's own estimate, which rests on the grid, beside it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from roborl import tasks
from roborl.sim import Sim

RESULTS = Path(__file__).with_suffix(".json")
SEEDS = range(10000, 10100)
STEPS, DT, MAX_TORQUE, MAX_SPEED = 200, 0.05, 2.0, 8.0


def initial_states() -> np.ndarray:
    """Return the (100, 2) angles and speeds with which seeds 10000 to 10099 begin their first episodes."""
    sim = Sim(tasks.load("PendulumSwingup"), len(SEEDS), num_threads=1)
    sim.seed(np.array(SEEDS, np.uint64))
    sim.reset()
    return np.concatenate((sim.fields.qpos, sim.fields.qvel), axis=1)


def step(angle: np.ndarray, speed: np.ndarray, torque: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the next angle and speed, and the reward: Gymnasium's Pendulum-v1."""
    wrapped = (angle + np.pi) % (2 * np.pi) - np.pi
    reward = -(wrapped**2) - 0.1 * speed**2 - 0.001 * torque**2
    speed = np.clip(speed + (15.0 * np.sin(angle) + 3.0 * torque) * DT, -MAX_SPEED, MAX_SPEED)
    return angle + speed * DT, speed, reward


class Table:
    """Values on a grid, linear between its points; periodic in the angle."""

    def __init__(self, angles: int, speeds: int) -> None:
        self.shape = (angles, speeds)
        self.angle = -np.pi + 2 * np.pi * np.arange(angles) / angles
        self.speed = np.linspace(-MAX_SPEED, MAX_SPEED, speeds)

    def corners(self, angle: np.ndarray, speed: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return flat indices and weights of the four points around each state."""
        angles, speeds = self.shape
        a = (angle + np.pi) % (2 * np.pi) * (angles / (2 * np.pi))
        s = (speed + MAX_SPEED) * ((speeds - 1) / (2 * MAX_SPEED))
        i, j = np.floor(a).astype(np.int32), np.minimum(np.floor(s).astype(np.int32), speeds - 2)
        a, s = (a - i).astype(np.float32), (s - j).astype(np.float32)
        rows = (i % angles * speeds, (i + 1) % angles * speeds)
        return [
            (row + j + dj, wa * ws) for row, wa in zip(rows, (1 - a, a), strict=True) for dj, ws in ((0, 1 - s), (1, s))
        ]


def values(table: Table, torques: int) -> list[np.ndarray]:
    """Return the flat values with 0, 1, ..., 200 steps to go."""
    angle, speed = (x.ravel() for x in np.meshgrid(table.angle, table.speed, indexing="ij"))
    choices = []
    for torque in np.linspace(-MAX_TORQUE, MAX_TORQUE, torques):
        next_angle, next_speed, reward = step(angle, speed, np.full_like(angle, torque))
        choices.append((table.corners(next_angle, next_speed), reward.astype(np.float32)))
    result = [np.zeros(angle.size, np.float32)]
    for _ in range(STEPS):
        best = np.full(angle.size, -np.inf, np.float32)
        for corners, reward in choices:
            value = reward.copy()
            for index, weight in corners:
                value += weight * result[-1][index]
            np.maximum(best, value, out=best)
        result.append(best)
    return result


def optimum(angles: int = 900, speeds: int = 481, torques: int = 21) -> tuple[np.ndarray, np.ndarray]:
    """Return what the table's greedy policy earns from each initial state, (100,), and the table's estimate of it."""
    table = Table(angles, speeds)
    value = values(table, torques)

    def look_up(flat: np.ndarray, angle: np.ndarray, speed: np.ndarray) -> np.ndarray:
        return sum((w * flat[i] for i, w in table.corners(angle, speed)), start=np.zeros(angle.shape))

    angle, speed = initial_states().T
    estimate, earned = look_up(value[-1], angle, speed), np.zeros(len(angle))
    candidates = np.linspace(-MAX_TORQUE, MAX_TORQUE, 201)
    for to_go in range(STEPS, 0, -1):
        next_angle, next_speed, reward = step(angle[:, None], speed[:, None], candidates[None, :])
        worth = reward + look_up(value[to_go - 1], next_angle, next_speed)
        angle, speed, reward = step(angle, speed, candidates[worth.argmax(axis=1)])
        earned += reward
    return earned, estimate


def main() -> None:
    """Compute the optimum and write it."""
    earned, estimate = optimum()
    summary = {
        "mean": earned.mean(),
        "std": earned.std(),
        "estimate": estimate.mean(),
        "returns": [round(float(value), 3) for value in earned],
    }
    RESULTS.write_text(json.dumps(summary) + "\n")
    print(f"mean {summary['mean']:.2f}, deviation {summary['std']:.2f}, the table's estimate {summary['estimate']:.2f}")


if __name__ == "__main__":
    main()
