"""A planner walks the Go1 on the simulator: straight ahead at half a metre a second for 10 s.

    python tests/bench/go1_walk.py [--seed 1] [--video walk.mp4]

prints the mean speed, whether it fell, and how far from real time the planning is.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from roborl import presets
from roborl.planners.mpc import make_planner, plan_episodes
from roborl.run.video import VideoWriter
from roborl.task import Draw, Fields, Randomization, moving
from roborl.task.fields import Array
from roborl.tasks.go1_velocity import WEIGHTS, Go1VelocityFlat

FORWARD_M_S = 0.5
REPLAN_STEPS = 2


@dataclass(frozen=True)
class Go1Walk(Go1VelocityFlat):
    """Straight ahead at 0.5 m/s, with the robot as it is.

    The velocity and the pose count three times, and uprightness twice as much as for learners: who looks 0.4 s ahead
    would give up the first for a calmer gait, and lean on a folded leg without the others.
    """

    randomization: Randomization = field(default=Randomization(), kw_only=True)

    episode_length_s = 10.0
    weights = {**WEIGHTS, "track_lin_vel": 6.0, "upright": 6.0, "pose": 3.0}

    def orders(self, draw: Draw, f: Fields) -> dict[str, Array]:
        """Forward, until the end."""
        xp, orders = f.xp, super().orders(draw, f)
        forward = xp.asarray([FORWARD_M_S, 0.0, 0.0], dtype=f.qpos.dtype)
        command = xp.zeros_like(orders["command"]) + forward
        left = xp.zeros_like(orders["command_steps_left"]) + (self.episode_steps + 1.0)
        clock = self.clock.start(draw, moving(xp, command), xp)
        return {"command": command, "command_steps_left": left, **clock}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--video", type=Path)
    options = parser.parse_args()
    task = Go1Walk()
    planner = make_planner("icem", task, presets.settings("icem", "Go1VelocityFlat"), options.threads)
    writer = None if options.video is None else VideoWriter(options.video, task.control_dt)
    film = None if writer is None else writer.add
    results = plan_episodes(planner, seed=options.seed, replan_steps=REPLAN_STEPS, on_frame=film)
    if writer is not None:
        writer.save()
    (episode,) = results.episodes
    steps = len(episode.rewards)
    passed_s = steps * task.control_dt
    x, y = (episode.qpos[-1] - episode.qpos[0])[:2] / passed_s
    height = episode.qpos[:, 2]
    print(f"seed {options.seed}: {'FELL after' if episode.terminated else 'walked for'} {passed_s:g} s")
    print(f"mean velocity {x:.3f} m/s forward, {y:.3f} to the left; return {episode.total:.1f}")
    print(f"height of the base {np.min(height):.3f} to {np.max(height):.3f} m")
    print(f"{results.planning_s / passed_s:.1f} s of planning for each second of the task; {results.plans} plans")


if __name__ == "__main__":
    main()
