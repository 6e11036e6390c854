"""How fast N simulations step: roborl against a bare loop of mj_step, EnvPool and gymnasium.

Observations, rewards and resets are included, except in the bare loop, which is the limit. Each repeat asks
every subject once; a ratio is taken within a repeat, and the table shows the medians.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path

from peers import python_of
from results import CORES, use_few_cores, write
from worker import Worker

LABELS = {
    "bare": "bare mj_step loop, two threads",
    "bare-untimed": "the same without MuJoCo's timers (the limit)",
    "roborl": "roborl",
    "envpool": "EnvPool 1.2.5",
    "gymnasium-sync": "gymnasium SyncVectorEnv",
    "gymnasium-async": "gymnasium AsyncVectorEnv",
}


def measure(task: str, num_envs: int, env_steps: int, repeats: int) -> list[dict[str, object]]:
    """One row a subject: median env steps/s and median ratio to roborl's."""
    rates: dict[str, list[float]] = {name: [] for name in LABELS}
    steps = max(1, env_steps // num_envs)
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(
                Worker(
                    python_of(name) if name == "envpool" else Path(sys.executable),
                    "stepping_worker.py",
                    *(name, task, num_envs),
                )
            )
            for name in LABELS
        }
        for worker in workers.values():
            worker.seconds(max(1, steps // 10))
        for repeat in range(repeats):
            for name, worker in workers.items():
                rates[name].append(steps * num_envs / worker.seconds(steps))
            speeds = ", ".join(f"{name} {rates[name][-1]:,.0f}" for name in LABELS)
            print(f"{num_envs} x {task}, repeat {repeat + 1}: {speeds} env steps/s", flush=True)
    return [
        {
            "task": f"{num_envs} x {task}",
            "stepped by": label,
            "env steps/s": round(statistics.median(rates[name])),
            "roborl is faster by": round(
                statistics.median(a / b for a, b in zip(rates["roborl"], rates[name], strict=True)), 3
            ),
        }
        for name, label in LABELS.items()
    ]


def main() -> None:
    """Measure 64 and 8 half-cheetahs and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="HalfCheetah")
    parser.add_argument("--num-envs", type=int, nargs="+", default=[64, 8])
    parser.add_argument("--env-steps", type=int, default=64_000, help="of each subject in each repeat")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trial", action="store_true", help="do not write the results")
    options = parser.parse_args()
    use_few_cores()
    rows = [
        row
        for num_envs in options.num_envs
        for row in measure(options.task, num_envs, options.env_steps, options.repeats)
    ]
    if options.trial:
        print(*rows, sep="\n")
        return
    write("stepping", f"Control steps on {CORES} cores, median of {options.repeats} interleaved repeats", rows)


if __name__ == "__main__":
    main()
