"""What planners earn on the true simulator: returns of whole episodes, in lock-step, and the simulated steps they cost.

    PYTHONPATH=. python tests/bench/mpc.py [--only icem-HalfCheetah]

Episodes begin as 10 seeds say on which no setting was chosen; those of the pendulum at the 100 initial states of all
its evaluations, of which the optimum is known (tests/planners/pendulum_optimum.py). A case that is finished is kept in
results/mpc.json; --only measures it again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass

from results import CORES, read, use_few_cores, write

from roborl.run.statistics import bootstrap_interval, interquartile_mean


@dataclass(frozen=True)
class Case:
    """A planner on a task."""

    planner: str
    task: str
    wanted: str
    episodes: int = 10
    seed: int = 20_000
    replan_steps: int = 1

    @property
    def name(self) -> str:
        """What --only takes."""
        return f"{self.planner}-{self.task}"

    @property
    def command(self) -> list[str]:
        """The command that measures it."""
        options = [f"--episodes={self.episodes}", f"--seed={self.seed}", f"--replan-steps={self.replan_steps}"]
        return ["roborl", "plan", self.planner, self.task, *options]


CASES = (
    Case("ilqr", "PendulumSwingup", "at least -136.9: within 5 of the optimum", episodes=100, seed=10_000),
    Case("ilqr", "CartpoleSwingup", "at least 850"),
    Case("icem", "AcrobotSwingup", "at least 400", replan_steps=2),
    Case("icem", "HalfCheetah", "at least 5000"),
)


def measure(case: Case) -> dict[str, object]:
    """One row."""
    start = time.perf_counter()
    command = [sys.executable, "-m", *case.command, "--json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(case.command)} ended with {done.returncode}:\n{done.stderr}")
    result = json.loads(done.stdout.splitlines()[-1])
    returns = result["returns"]
    low, high = bootstrap_interval(returns)
    return {
        "case": case.name,
        "command": " ".join(case.command),
        "wanted": case.wanted,
        "mean": round(sum(returns) / len(returns), 1),
        "IQM": round(float(interquartile_mean(returns)), 1),
        "95%": f"{low:.1f} to {high:.1f}",
        "least": round(min(returns), 1),
        "task's steps": result["task_steps"],
        "planner's steps": result["planner_steps"],
        "minutes": round((time.perf_counter() - start) / 60, 1),
    }


def main() -> None:
    """Measure what is not finished, or what is asked for, and write the results."""
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names, help="measure these, finished or not")
    only = parser.parse_args().only
    use_few_cores()
    rows = {str(row["case"]): row for row in read("mpc")}
    for case in CASES:
        if case.name in (only or [name for name in names if name not in rows]):
            rows[case.name] = measure(case)
            print(rows[case.name], flush=True)
            done = [rows[name] for name in names if name in rows]
            write("mpc", f"Planners on the true simulator, in lock-step, on {CORES} cores", done)


if __name__ == "__main__":
    main()
