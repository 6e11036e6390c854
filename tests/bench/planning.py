"""How fast planners that sample plan on the true simulator, and what is left of the rate of their rollouts alone.

Each plan is made in closed loop, begun from the one before; then the very rollouts that it asked for are asked for
again, without the planner, and timed. The share is the time of the rollouts over that of the plans: 1 would be a
planner that takes no time of its own.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from results import CORES, use_few_cores, write

from roborl import tasks
from roborl.planners import PLANNERS, planner_class
from roborl.planners.mpc import MPCPolicy, make_planner
from roborl.planners.sampling import SamplingPlanner
from roborl.sim import Sim

SAMPLES = 32
CASES = (("HalfCheetah", 10), ("HalfCheetah", 50), ("CartpoleSwingup", 50), ("PendulumSwingup", 50))
"""Tasks, and control steps in a plan. Ten control steps of the half-cheetah are fifty of its simulator."""


def sampling_planners() -> list[str]:
    """The names of the planners that sample."""
    return [name for name in PLANNERS if issubclass(planner_class(name), SamplingPlanner)]


def measure(name: str, task_name: str, horizon: int, plans: int) -> dict[str, object]:
    """One row: a planner's rate with one round of samples a plan, and the share of its time that is rollouts."""
    task = tasks.load(task_name)
    settings = {"samples": SAMPLES, "iterations": 1, "horizon_s": horizon * task.control_dt}
    planner = make_planner(name, task, settings)
    dynamics: Any = planner.dynamics
    rollout, asked = dynamics.rollout, list[tuple[Any, ...]]()

    def noted(*question: Any) -> Any:
        asked.append(question)
        return rollout(*question)

    sim = Sim(task, 1, num_threads=1)
    sim.reset()
    policy = MPCPolicy(planner)
    plan_s, rollout_s = [], []
    for i in range(plans + 5):
        x = sim.state()
        asked.clear()
        dynamics.rollout = noted
        start = time.perf_counter()
        action = policy.act(x)
        end = time.perf_counter()
        dynamics.rollout = rollout
        again = time.perf_counter()
        for question in asked:
            rollout(*question).costs  # noqa: B018
        if i >= 5:  # what is made on the first calls has been made
            plan_s.append(end - start)
            rollout_s.append(time.perf_counter() - again)
        sim.step(action[None])
    return {
        "task": task_name,
        "planner": name,
        "samples": SAMPLES,
        "control steps": horizon,
        "simulator steps": horizon * sim.substeps,
        "plans/s": round(1.0 / float(np.median(plan_s)), 1),
        "rollouts' share": round(float(np.sum(rollout_s) / np.sum(plan_s)), 3),
    }


def main() -> None:
    """Measure every sampling planner and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planner", nargs="+", default=sampling_planners())
    parser.add_argument("--plans", type=int, default=60)
    parser.add_argument("--trial", action="store_true", help="do not write the results")
    options = parser.parse_args()
    use_few_cores()
    rows = []
    for task, horizon in CASES:
        for name in options.planner:
            rows.append(measure(name, task, horizon, options.plans))
            print(rows[-1], flush=True)
    if not options.trial:
        write("planning", f"Planners that sample on {CORES} cores, {options.plans} plans of one round each", rows)


if __name__ == "__main__":
    main()
