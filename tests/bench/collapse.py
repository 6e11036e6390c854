"""Where PPO's features collapse, and whether PFO holds them: the same runs with and without its term, and the plot.

Each run is kept as a small JSON file of curves in results/collapse/, and is not run again; the plot is drawn from them.
After Moalla et al. 2024, "No representation, no trust", https://arxiv.org/abs/2405.00662, figures 1 and 6: many epochs
on each rollout, for long.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from learning import ROBORL, answer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from results import FOLDER

from roborl.run.files import atomic_write_json
from roborl.run.log import read_metrics

RESULTS = FOLDER / "collapse"
RUNS = Path("runs") / "bench-collapse"

TASK, STEPS, SEEDS = "Hopper", 400_000, 3
SETTINGS = {
    "num_envs": 8,
    "epochs": 40,
    "activation": "relu",
    "actor_lr": 1e-2,
    "critic_lr": 1e-3,
    "entropy_coefficient": 0.003,  # else the deviation goes to 0, and the divergence grows with whatever moves
}
COEFFICIENTS = {"PPO": 0.0, "PPO with PFO": 300.0}
CURVES = {
    "episode_return": "return",
    "feature_rank": "rank of the features",
    "dead_units": "share of dead units",
    "policy_variance": "policy's variance over states",
}
POINTS = 200
"""Points of a curve that are kept."""


def result_file(name: str, seed: int) -> Path:
    """Where a run's curves are kept."""
    return RESULTS / f"{name.lower().replace(' ', '-')}-s{seed}.json"


def run(name: str, seed: int) -> None:
    """Train one run, or go on with it, and keep its curves."""
    out = result_file(name, seed)
    if out.exists():
        return
    folder = RUNS / out.stem
    if folder.exists():
        command = ["resume", str(folder)]
    else:
        settings = SETTINGS | {"steps": STEPS, "seed": seed, "threads": 1, "pfo_coefficient": COEFFICIENTS[name]}
        options = [f"--{key.replace('_', '-')}={value}" for key, value in settings.items()]
        command = ["train", "ppo", TASK, *options, "--out", str(folder)]
    answer(*ROBORL, *command, "--quiet", "--json")
    rows = [row for row in read_metrics(folder) if all(row.get(key) is not None for key in CURVES)]
    picked = np.array_split(np.arange(len(rows)), min(POINTS, len(rows)))
    curves = {key: [round(float(np.mean([rows[i][key] for i in part])), 4) for part in picked] for key in CURVES}
    steps = [rows[part[-1]]["env_steps"] for part in picked]
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_json(out, {"case": name, "seed": seed, "env_steps": steps} | curves)


def plot(path: Path) -> None:
    """Draw the curves of all runs that are kept, a panel for each."""
    figure = Figure(figsize=(10, 6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2, sharex=True).ravel()
    for name, colour in zip(COEFFICIENTS, ("#a33b2a", "#2a5587"), strict=True):
        kept = [json.loads(file.read_text()) for s in range(SEEDS) if (file := result_file(name, s)).exists()]
        for i, row in enumerate(kept):
            for axes, (key, title) in zip(panels, CURVES.items(), strict=True):
                label = name if i == 0 else None
                axes.plot(
                    np.array(row["env_steps"]) / 1000, row[key], color=colour, linewidth=1.2, alpha=0.8, label=label
                )
                axes.set(title=title)
                axes.grid(alpha=0.3)
    panels[0].legend()
    panels[-1].set_yscale("symlog", linthresh=0.1)
    for axes in panels[2:]:
        axes.set(xlabel="thousands of environment steps")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run what is not finished, two runs at a time with one thread each, then draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", action="store_true", help="run nothing, draw the plot")
    options = parser.parse_args()
    if not options.plot:
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(run, name, seed) for name in COEFFICIENTS for seed in range(SEEDS)]:
                done.result()
    plot(RESULTS / "collapse.png")
    print(RESULTS / "collapse.png")


if __name__ == "__main__":
    main()
