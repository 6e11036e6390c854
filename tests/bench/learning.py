"""How well learners learn: every case with several seeds, two runs at a time with one thread each.

    PYTHONPATH=. python tests/bench/learning.py [--only sac-hopper,sac-hopper-peer] [--table]

A finished run is kept as a small JSON file in results/learning/ and is not run again; a run that was killed continues
from its last checkpoint. Where the first seeds leave open whether a learner is no worse than another, both learn from
ten. At the end tables with intervals are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from cases import (
    BESIDE_FLOAT32,
    BESIDE_PEERS,
    BESIDE_PUBLISHED,
    CASES,
    MOST_SEEDS,
    PUBLISHED,
    TARGETS,
    WALKERS,
    Case,
    Peer,
)
from peers import python_of
from results import FOLDER

from roborl.run.files import atomic_write_json
from roborl.run.statistics import (
    bootstrap_interval,
    difference_interval,
    interquartile_mean,
    pooled_difference_interval,
)

RESULTS = FOLDER / "learning"
RUNS = Path("runs") / "bench-learning"
ROBORL = (sys.executable, "-m", "roborl")
MARGIN = -10.0
"""How much worse [%] is no worse."""


def result_file(case: Case, seed: int) -> Path:
    """Where a run's result is kept."""
    return RESULTS / f"{case.name}-s{seed}.json"


def run(case: Case, seed: int) -> None:
    """Train and evaluate one run, or go on with it."""
    out = result_file(case, seed)
    if out.exists():
        return
    row = run_ours(case, seed) if case.peer is None else run_peer(case, case.peer, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_json(out, {"case": case.name, "task": case.task, "seed": seed, "steps": case.steps} | row)
    print(f"{case.name} seed {seed}: mean {np.mean(row['returns']):.1f} in {row['wall_s']:.0f} s", flush=True)


def run_ours(case: Case, seed: int) -> dict[str, Any]:
    """`roborl train` (or `resume`), then `roborl eval`."""
    folder = RUNS / f"{case.name}-s{seed}"
    if folder.exists():
        command = ["resume", str(folder)]
    else:
        options = [
            f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
            for name, value in case.settings.items()
        ]
        command = ["train", case.learner, case.task, f"--steps={case.steps}", f"--seed={seed}", "--threads=1", *options]
        command += ["--out", str(folder)]
    trained = answer(*ROBORL, *command, "--quiet", "--json")
    judged = answer(*ROBORL, "eval", str(folder), f"--episodes={case.episodes}", "--json")
    config = json.loads((folder / "config.json").read_text())
    return {"wall_s": trained["wall_s"], "returns": judged["returns"], "settings": config["settings"]}


def run_peer(case: Case, peer: Peer, seed: int) -> dict[str, Any]:
    """A peer's learner, in its own environment."""
    job = asdict(peer) | {"env": case.task, "steps": case.steps, "seed": seed, "episodes": case.episodes}
    worker = Path(__file__).with_name("learning_worker.py")
    return answer(python_of("sbx"), worker, json.dumps(job))


def answer(*command: object) -> dict[str, Any]:
    """Run a command on one thread; return the JSON that it prints last."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    }
    done = subprocess.run([str(c) for c in command], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def means(case: Case) -> np.ndarray:
    """The mean returns of a case's finished runs, (seeds,)."""
    return np.array([float(np.mean(row["returns"])) for row in finished(case)])


def finished(case: Case) -> Iterator[dict[str, Any]]:
    """The results of a case's finished runs."""
    for seed in range(MOST_SEEDS):
        if result_file(case, seed).exists():
            yield json.loads(result_file(case, seed).read_text())


def tables() -> str:
    """All finished runs, as Markdown."""
    return "\n\n".join(
        (
            targets(),
            comparisons(BESIDE_PEERS, "the peer"),
            "Tasks together: " + ", ".join(f"{name} {pooled(cases)}" for name, cases in complete_groups().items()),
            beside_published(),
            comparisons(BESIDE_FLOAT32, "float32"),
            f"Tasks together: {pooled(BESIDE_FLOAT32)}",
        )
    )


def targets() -> str:
    """What was to be reached, and what was."""
    rows = [
        f"| {case.name} | {case.steps:,} | {case.wanted} | {listed(values)} | {middle(values)} |"
        for case in TARGETS
        if len(values := means(case))
    ]
    head = "| case | steps | wanted | mean return of each seed's final policy | IQM [95%] |\n|---|---:|---|---|---|"
    return "\n".join((head, *rows))


def comparisons(cases: Iterable[Case], other: str) -> str:
    """Pairs of cases, with what is said of the difference."""
    rows = []
    for case in cases:
        theirs, ours = (means(side) for side in case.sides)
        if len(ours) and len(theirs):
            name = f"{case.name} ({case.wanted})" if case.wanted else case.name
            values = f"{listed(ours)} | {listed(theirs)} | {middle(ours)} | {middle(theirs)}"
            rows.append(f"| {name} | {case.steps:,} | {values} | {verdict(case)} |")
    head = f"| case | steps | each seed | {other} | IQM [95%] | {other} | difference |\n|---|---:|---|---|---|---|---|"
    return "\n".join((head, *rows))


def verdict(case: Case) -> str:
    """Say whether a case is no worse than the other, as far as its seeds tell."""
    if not complete(case):
        return "seeds are missing"
    bound = lower_bound(case)
    says = "no worse" if bound > MARGIN else "undecided" if unfinished(case) else "not shown to be no worse"
    return f"at least {bound:+.1f}%: {says}"


def lower_bound(case: Case) -> float:
    """What a case is better by than the other at the least, with a probability of 90% [% of the other's IQM]."""
    theirs, ours = (means(side) for side in case.sides)
    difference, _ = difference_interval(ours, theirs, level=0.8)  # a tenth lies below it
    return 100.0 * difference / abs(float(interquartile_mean(theirs)))


def complete(case: Case) -> bool:
    """Whether the first seeds of both sides are there."""
    return all(len(means(side)) >= side.seeds for side in case.sides)


def unfinished(case: Case) -> list[tuple[Case, int]]:
    """The runs of both sides that are not there yet, of all that a comparison may take."""
    return [(side, seed) for seed in range(MOST_SEEDS) for side in case.sides if not result_file(side, seed).exists()]


def beside_published() -> str:
    """Learners by walkers, with what is published in brackets."""
    by_name = {case.name: case for case in BESIDE_PUBLISHED}
    rows = []
    for learner in PUBLISHED:
        cells = []
        for env in WALKERS:
            case = by_name[f"{learner}-{env.lower()}"]
            values = means(case)
            cells.append(f"{middle(values)} of {len(values)} ({case.published})" if len(values) else "–")
        rows.append(f"| {learner} | {' | '.join(cells)} |")
    head = f"| IQM [95%] of seeds (published) | {' | '.join(WALKERS)} |\n|---|---|---|---|---|"
    return "\n".join((head, *rows))


def complete_groups() -> dict[str, list[Case]]:
    """The complete cases beside peers that differ in the task alone, where there are several."""
    groups: dict[str, list[Case]] = {}
    for case in filter(complete, BESIDE_PEERS):
        groups.setdefault(case.name.rpartition("-")[0], []).append(case)
    return {name: cases for name, cases in groups.items() if len(cases) > 1}


def pooled(cases: Iterable[Case]) -> str:
    """What is between two sides over tasks together: the stratified bootstrap's 90% interval."""
    pairs = [(means(case), means(other)) for other, case in (case.sides for case in cases if complete(case))]
    if not pairs:
        return "seeds are missing"
    worst, best = (100 * end for end in pooled_difference_interval(pairs))
    return f"{worst:+.1f}% to {best:+.1f}% ({len(pairs)} tasks)"


def listed(values: np.ndarray) -> str:
    """Each seed's."""
    return ", ".join(f"{value:.0f}" for value in values)


def middle(values: np.ndarray) -> str:
    """The interquartile mean and its interval."""
    low, high = bootstrap_interval(values)
    return f"{interquartile_mean(values):.0f} [{low:.0f}, {high:.0f}]"


def main() -> None:
    """Run what is not finished, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="the cases to run, by name, separated by commas (default: all)")
    parser.add_argument("--table", action="store_true", help="run nothing, print the tables")
    options = parser.parse_args()
    names = [case.name for case in CASES]
    only = options.only.split(",") if options.only else names
    for name in only:
        if name not in names:
            parser.error(f"there is no case {name!r}; valid: {', '.join(names)}")
    if not options.table:
        chosen = [case for case in CASES if case.name in only]
        in_twos((case, seed) for case in chosen for seed in range(case.seeds))
        left_open = [c for c in chosen if c.no_worse_than and complete(c) and lower_bound(c) <= MARGIN]
        more = {result_file(*run): run for case in left_open for run in unfinished(case)}  # two may share a side
        in_twos(more.values())
    print(tables())


def in_twos(work: Iterable[tuple[Case, int]]) -> None:
    """Do runs, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(run, case, seed) for case, seed in work]:
            done.result()


if __name__ == "__main__":
    main()
