"""How fast 64 simulations of every task step, against their limits and the peers.

Those that step physics alone are a bare loop of mj_step in two threads, with MuJoCo's timers as its package comes and
without them as roborl steps (the limit), and mujoco.rollout: no observations, no rewards, no forward passes of resets.
The loops go through 64 steps of a task's own episodes; a rollout through as many without a reset, whatever has fallen
by then. Each repeat asks every subject once; a ratio is taken within a repeat, and the table shows the medians.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Container
from contextlib import ExitStack
from pathlib import Path

from peers import python_of
from results import CORES, read, use_few_cores, write
from stepping_worker import DM_CONTROL
from worker import Worker

from roborl import tasks

NUM_ENVS = 64
SECONDS = 0.4
"""How long each subject steps in each repeat, by the bare loop's rate."""

VECTORS = ("HalfCheetah", "Hopper", "Walker2d", "Ant", "Humanoid")
"""The tasks on which gymnasium's own vector environments are measured too."""


def subjects_of(task: str, without: Container[str]) -> list[str]:
    """The names of who steps a task."""
    names = ["bare", "bare-untimed", "rollout", "roborl", "roborl-randomised", "roborl-real"]
    if task in DM_CONTROL or tasks.load(task).robot.startswith("gymnasium/"):
        names.append("envpool")
    if task in VECTORS:
        names += ["gymnasium-sync", "gymnasium-async"]
    return [name for name in names if name not in without]


def measure(task: str, repeats: int, without: Container[str] = ()) -> dict[str, object]:
    """One row: roborl's rate, and the medians of its ratios."""
    names = subjects_of(task, without)
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(
                Worker(
                    python_of("envpool") if name == "envpool" else Path(sys.executable),
                    "stepping_worker.py",
                    *(name, task, NUM_ENVS),
                )
            )
            for name in names
        }
        trial = 20
        steps = max(trial, round(SECONDS * trial / workers["bare"].seconds(trial)))
        for worker in workers.values():
            worker.seconds(max(1, steps // 4))
        times = [{name: worker.seconds(steps) / steps for name, worker in workers.items()} for _ in range(repeats)]

    def ratio(name: str, of: str = "roborl") -> float | None:
        return round(statistics.median(t[name] / t[of] for t in times), 3) if {name, of} <= {*names} else None

    row = {
        "task": task,
        "env steps/s": round(NUM_ENVS / statistics.median(t["roborl"] for t in times)),
        "bare step [us]": round(1e6 * statistics.median(t["bare"] for t in times)),
        "us over bare": round(1e6 * statistics.median(t["roborl"] - t["bare"] for t in times)),
        "of bare": ratio("bare"),
        "us over the limit": round(1e6 * statistics.median(t["roborl"] - t["bare-untimed"] for t in times)),
        "of the limit": ratio("bare-untimed"),
        "of rollout": ratio("rollout"),
        "of EnvPool": ratio("envpool"),
        "EnvPool's limit": ratio("envpool", "bare-untimed"),
        "of gymnasium sync": ratio("gymnasium-sync"),
        "of gymnasium async": ratio("gymnasium-async"),
        "with drawn parameters": ratio("roborl", "roborl-randomised"),
        "with noise, delays and pushes too": ratio("roborl", "roborl-real"),
    }
    print(row, flush=True)
    return row


def main() -> None:
    """Measure every task and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    short = [task_id.removeprefix("roborl/").removesuffix("-v1") for task_id in tasks.TASKS]
    parser.add_argument("--task", nargs="+", default=short)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--without", nargs="*", default=[], help="subjects to leave out, as gymnasium-async")
    parser.add_argument("--trial", action="store_true", help="do not write the results")
    options = parser.parse_args()
    use_few_cores()
    rows = {task: measure(task, options.repeats, options.without) for task in options.task}
    if not options.trial:
        rows = {row["task"]: row for row in read("throughput")} | rows  # a table may be made part by part
        title = (
            f"{NUM_ENVS} simulations of every task on {CORES} cores, median of {options.repeats} interleaved repeats"
        )
        write(
            "throughput",
            f"{title}; a ratio above 1 says that roborl is faster",
            [rows[task] for task in short if task in rows],
        )


if __name__ == "__main__":
    main()
