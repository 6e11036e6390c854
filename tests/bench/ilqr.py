"""How fast iLQR plans in closed loop, each plan one iteration begun from the one before.

    python tests/bench/ilqr.py

An arm's control step has ten time steps of the simulator; the rigid-body model may take fewer and longer ones.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from results import CORES, use_few_cores, write

from roborl import presets, tasks
from roborl.planners.mpc import MPCPolicy, make_planner
from roborl.sim import Sim

CASES = (
    ("CartpoleSwingup", 100, "mujoco", None),
    ("CartpoleSwingup", 100, "rigid", None),
    ("ArmReach", 50, "mujoco", None),
    ("ArmReach", 50, "rigid", None),
    ("ArmReach", 50, "rigid", 4),
)
"""Tasks, control steps in a plan, dynamics, and the rigid-body model's time steps in a control step."""


def measure(name: str, horizon: int, dynamics: str, substeps: int | None, plans: int) -> dict[str, object]:
    """One row: the median rate of plans after the first."""
    task = tasks.load(name)
    settings = presets.settings("ilqr", name) | {"horizon_s": horizon * task.control_dt}
    policy = MPCPolicy(make_planner("ilqr", task, settings, dynamics=dynamics, substeps=substeps))
    sim, times = Sim(task, 1, num_threads=1), []
    sim.reset()
    for _ in range(plans + 5):
        x = sim.state()
        start = time.perf_counter()
        action = policy.act(x)
        times.append(time.perf_counter() - start)
        sim.step(action[None])
    rate = 1.0 / float(np.median(times[5:]))
    return {
        "task": name,
        "knots": horizon,
        "dynamics": dynamics,
        "time steps": sim.substeps if substeps is None else substeps,
        "plans/s": round(rate, 1),
        "slowest [ms]": round(1e3 * max(times[5:]), 1),
    }


def main() -> None:
    """Measure every case and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plans", type=int, default=60)
    parser.add_argument("--trial", action="store_true", help="do not write the results")
    options = parser.parse_args()
    use_few_cores()
    rows = []
    for case in CASES:
        rows.append(measure(*case, options.plans))
        print(rows[-1], flush=True)
    if not options.trial:
        write("ilqr", f"iLQR in closed loop on {CORES} cores", rows)


if __name__ == "__main__":
    main()
