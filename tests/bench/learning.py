"""How well learners learn: every case with several seeds, two runs at a time with one thread each.

A finished run is kept as a small JSON file in results/learning/ and is not run again; a run that was killed continues
from its last checkpoint. At the end a table with intervals is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from peers import python_of

from roborl.run.files import atomic_write_json
from roborl.run.statistics import (
    bootstrap_interval,
    difference_interval,
    interquartile_mean,
    pooled_difference_interval,
)

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "learning"
RUNS = Path("runs") / "bench-learning"
ROBORL = (sys.executable, "-m", "roborl")


@dataclass(frozen=True)
class Peer:
    """A learner of somebody else's."""

    library: str
    """ "sbx" or "stable_baselines3"."""
    algorithm: str
    settings: Mapping[str, Any]
    """Keyword arguments of its class."""
    normalized: bool = False
    """Whether observations and rewards are normalised as our on-policy learners do it (VecNormalize)."""
    num_envs: int = 1
    """Environments side by side."""
    annealed: bool = False
    """Whether its step size falls linearly to 0."""
    env_options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of its environment, where the default is not our task."""


@dataclass(frozen=True)
class Case:
    """A learner on a task, with what is wanted of it."""

    name: str
    task: str
    steps: int
    seeds: int
    wanted: str
    learner: str = "sac"
    episodes: int = 20
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Options of `roborl train`."""
    peer: Peer | None = None
    """Who learns instead of us."""
    no_worse_than: str | None = None
    """The case that it is compared with."""


WIDE = {"batch_size": 256, "learning_starts": 1000, "policy_kwargs": {"net_arch": [256, 256]}}
"""Our off-policy defaults, as the peers call them."""

PEERS = {
    "sac": Peer("sbx", "SAC", WIDE | {"learning_rate": 3e-4, "qf_learning_rate": 3e-4}),
    # SBX moves TD3's targets at every step of the critics, twice as fast as published
    "td3": Peer("stable_baselines3", "TD3", WIDE | {"learning_rate": 1e-3}),
    "ddpg": Peer("sbx", "DDPG", WIDE | {"learning_rate": 1e-3, "qf_learning_rate": 1e-3}),
    "crossq": Peer(
        "sbx",
        "CrossQ",
        {
            "batch_size": 256,
            "learning_starts": 1000,
            "policy_kwargs": {"net_arch": {"pi": [256, 256], "qf": [256, 256]}},
        },
    ),
    "ppo": Peer("stable_baselines3", "PPO", {"n_steps": 256}, normalized=True, num_envs=8),
}
"""Each with our defaults."""

ENV_OPTIONS = {"Ant": {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0.0}}
"""What makes an environment of Gymnasium's our task: by default ours leaves contact forces out."""

PLAIN = {"num_envs": 8, "init_log_std": 0.0, "no_anneal": True, "normalize_advantage": True, "clip_together": True}
"""The peer's defaults for PPO, where a task's own settings are others."""

PRESET_PEER = replace(
    PEERS["ppo"],
    settings={
        "n_steps": 32,
        "learning_rate": 3e-4,
        "normalize_advantage": False,
        "policy_kwargs": {"log_std_init": -0.5},
    },
    num_envs=64,
    annealed=True,
)
"""PPO with our settings for Gymnasium's walkers."""

PUBLISHED = {
    "trpo": (4471, 2046, 3827, 2867),
    "npg": (3485, 1915, 2503, 2358),
    "a2c": (1830, 1253, 1092, 3485),
    "reinforce": (1139, 416, 441, 1108),
}
"""Tianshou's benchmark (v2 and v3 of HalfCheetah, Hopper, Walker2d, Ant): the best mean return within 1,000,000 steps,
REINFORCE's within 10,000,000; ours are final policies'."""


def beside(
    name: str,
    env: str,
    steps: int,
    seeds: int,
    learner: str,
    peer: Peer,
    settings: Mapping[str, Any] | None = None,
    wanted: str = "no worse than the peer",
) -> tuple[Case, Case]:
    """Return the cases of a peer's learner, and of ours with the same settings, on one of Gymnasium's environments."""
    name, theirs = f"{name}-{env.lower()}", replace(peer, env_options=ENV_OPTIONS.get(env, {}))
    first = Case(f"{name}-peer", f"{env}-v5", steps, seeds, "the peer", learner, peer=theirs)
    task, settings = f"roborl/{env}-v1", settings or {}
    return first, Case(name, task, steps, seeds, wanted, learner, settings=settings, no_worse_than=first.name)


CASES = (
    Case("pendulum", "roborl/PendulumSwingup-v1", 20_000, 5, "mean at least -165", episodes=100),
    Case("cartpole-swingup", "roborl/CartpoleSwingup-v1", 100_000, 5, "at least 800 in each seed"),
    Case("cartpole-track", "roborl/CartpoleTrack-v1", 100_000, 3, "as well as MPPI on the true simulator"),
    Case("half-cheetah-sbx", "HalfCheetah-v5", 100_000, 10, "the peer", peer=PEERS["sac"]),
    Case(
        "half-cheetah",
        "roborl/HalfCheetah-v1",
        100_000,
        10,
        "no worse than SBX",
        no_worse_than="half-cheetah-sbx",
    ),
    *(
        Case(
            f"{name}-bfloat16",
            f"roborl/{task}-v1",
            steps,
            seeds,
            "no worse than float32",
            episodes=episodes,
            settings={"precision": "bfloat16"},
            no_worse_than=name,
        )
        for name, task, steps, seeds, episodes in (
            ("pendulum", "PendulumSwingup", 20_000, 5, 100),
            ("cartpole-swingup", "CartpoleSwingup", 100_000, 5, 20),
            ("cartpole-track", "CartpoleTrack", 100_000, 3, 20),
            ("half-cheetah", "HalfCheetah", 100_000, 10, 20),
        )
    ),
    *(
        Case(f"{learner}-pendulum", "roborl/PendulumSwingup-v1", steps, 5, f"mean at least {wanted}", learner, 100)
        for learner, steps, wanted in (
            *(("ddpg", 20_000, -165), ("td3", 20_000, -165)),
            *(("ppo", 100_000, -190), ("trpo", 100_000, -190)),
        )
    ),
    *(
        Case(f"{learner}-inverted-pendulum", "roborl/InvertedPendulum-v1", steps, 3, "1000", learner)
        for learner, steps in (
            *(("ddpg", 20_000), ("td3", 20_000), ("sac", 20_000)),
            *(("ppo", 100_000), ("trpo", 100_000), ("npg", 100_000), ("a2c", 300_000), ("reinforce", 1_000_000)),
        )
    ),
    Case("ppo-cartpole-swingup", "roborl/CartpoleSwingup-v1", 1_000_000, 3, "at least 750", "ppo"),
    Case(
        "recurrent-ppo-hidden-velocities",
        "roborl/CartpoleSwingup-v1",
        1_000_000,
        3,
        "80% of PPO's that sees them, at least 600",
        "recurrent_ppo",
        settings={"num_envs": 16, "option": "hidden_velocities=true"},
    ),
    *(
        case
        for learner, envs in (
            *(("td3", ("HalfCheetah",)), ("ddpg", ("HalfCheetah",))),
            *(("crossq", ("HalfCheetah", "Hopper", "Walker2d")), ("sac", ("Hopper", "Walker2d"))),
        )
        for env in envs
        for case in beside(learner, env, 100_000, 3, learner, PEERS[learner])
    ),
    Case(
        "crossq-wide-halfcheetah",
        "roborl/HalfCheetah-v1",
        100_000,
        1,
        "the published critics",
        "crossq",
        settings={"critic_hidden": "2048,2048", "precision": "bfloat16"},
    ),
    *(
        case
        for env in ("HalfCheetah", "Hopper", "Walker2d", "Ant")
        for case in beside("ppo", env, 1_000_000, 5, "ppo", PEERS["ppo"], PLAIN)
    ),
    *(
        case
        for env, seeds, wanted in (
            *(("HalfCheetah", 5, "at least 5000, and"), ("Hopper", 5, "at least 2400, and")),
            *(("Walker2d", 5, "at least 3400, and"), ("Ant", 10, "")),
        )
        for case in beside(
            "ppo-preset", env, 1_000_000, seeds, "ppo", PRESET_PEER, wanted=f"{wanted} no worse than the peer".strip()
        )
    ),
    *(
        Case(
            f"{learner}-{env.lower()}",
            f"roborl/{env}-v1",
            1_000_000,
            3,
            f"published: {published}",
            learner,
        )
        for learner, results in PUBLISHED.items()
        for env, published in zip(("HalfCheetah", "Hopper", "Walker2d", "Ant"), results, strict=True)
    ),
)


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
    return answer(python_of("sbx"), HERE / "learning_worker.py", json.dumps(job))


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
    for seed in range(case.seeds):
        if result_file(case, seed).exists():
            yield json.loads(result_file(case, seed).read_text())


def table() -> str:
    """All finished runs as Markdown."""
    lines = [
        "| case | steps | wanted | seeds | mean return of each seed's final policy | IQM [95%] | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    by_name = {case.name: case for case in CASES}
    for case in CASES:
        values = means(case)
        if not len(values):
            continue
        low, high = bootstrap_interval(values)
        verdict = ""
        if case.no_worse_than is not None:
            peer_case = by_name[case.no_worse_than]
            complete = len(peer := means(peer_case)) == peer_case.seeds and len(values) == case.seeds
            verdict = compared(values, peer) if complete else "undecided: seeds are missing"
        shown = ", ".join(f"{v:.0f}" for v in values)
        lines.append(
            f"| {case.name} | {case.steps:,} | {case.wanted} | {len(values)} | {shown} "
            f"| {interquartile_mean(values):.0f} [{low:.0f}, {high:.0f}] | {verdict} |"
        )
    bfloat16 = [case for case in CASES if case.wanted == "no worse than float32" and len(means(case))]
    if bfloat16:
        pairs = [(means(case), means(by_name[str(case.no_worse_than)])) for case in bfloat16]
        worst, best = pooled_difference_interval(pairs)
        lines.append(
            f"\nbfloat16 less float32 over these {len(pairs)} tasks: {100 * worst:+.1f}% to {100 * best:+.1f}% (90%)"
        )
    return "\n".join(lines)


def compared(values: np.ndarray, peer: np.ndarray) -> str:
    """Say whether runs are no worse than a peer's, (seeds,) each."""
    scale = 100.0 / abs(float(interquartile_mean(peer)))
    worst, best = (scale * end for end in difference_interval(values, peer))
    bound = scale * difference_interval(values, peer, level=0.8)[0]  # a tenth lies below it
    says = "no worse" if bound > -10.0 else "not shown to be no worse"
    return f"{worst:+.0f}% to {best:+.0f}% (90%), at least {bound:+.1f}% (90%): {says}"


def main() -> None:
    """Run what is not finished, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="the cases to run, by name, separated by commas (default: all)")
    parser.add_argument("--table", action="store_true", help="run nothing, print the table")
    options = parser.parse_args()
    names = [case.name for case in CASES]
    only = options.only.split(",") if options.only else names
    for name in only:
        if name not in names:
            parser.error(f"there is no case {name!r}; valid: {', '.join(names)}")
    if not options.table:
        work = [(case, seed) for case in CASES if case.name in only for seed in range(case.seeds)]
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(run, case, seed) for case, seed in work]:
                done.result()
    print(table())


if __name__ == "__main__":
    main()
