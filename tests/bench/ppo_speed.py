"""How fast PPO trains, in env steps/s of the steady state: roborl against stable-baselines3, SBX and rlox.

HalfCheetah, networks of two layers of 64, 10 epochs, and the same rollouts and minibatches for all. roborl is a plain
`roborl train` with logging and checkpoints on, which also normalises observations and rewards and takes the signs of
collapse; its speed is the slope of env_steps over wall_s in metrics.jsonl once it has compiled. Each repeat asks every
subject once; a ratio is taken within a repeat, and the table shows the medians.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from peers import python_of
from results import CORES, use_few_cores, write
from train_speed import ROBORL, steady_rate
from worker import Worker

HIDDEN, EPOCHS, ROLLOUT = 64, 10, 2048
WARMUP_STEPS = 4 * ROLLOUT
"""Steps before the steady state: some rollouts to compile and to fill caches."""
STEPS = {"roborl": 40 * ROLLOUT, "stable-baselines3": 8 * ROLLOUT, "sbx": 8 * ROLLOUT, "rlox": 8 * ROLLOUT}
PEERS = {
    "stable-baselines3": ("stable-baselines3 2.9.2", "sbx"),
    "sbx": ("SBX 0.28", "sbx"),
    "rlox": ("rlox 1.2.0", "rlox"),
}


@dataclass(frozen=True)
class Setting:
    """How many environments, and how large the minibatches are."""

    num_envs: int
    batch: int

    @property
    def label(self) -> str:
        """What the table calls it."""
        return f"{self.num_envs} half-cheetahs, minibatches of {self.batch}"


SETTINGS = tuple(Setting(num_envs, batch) for batch in (64, 256) for num_envs in (8, 64))


def roborl_rate(setting: Setting, steps: int) -> float:
    """One training run from the command line, from nothing."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [*ROBORL, "train", "ppo", "HalfCheetah", "--steps", steps, "--out", run]
        command += ["--hidden", f"{HIDDEN},{HIDDEN}", "--batch-size", setting.batch, "--epochs", EPOCHS]
        command += ["--num-envs", setting.num_envs, "--rollout-size", ROLLOUT]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}")
        return steady_rate((run / "metrics.jsonl").read_text().splitlines(), WARMUP_STEPS)


def measure(setting: Setting, peers: Iterable[str], repeats: int) -> list[dict[str, object]]:
    """One row a subject: median env steps/s and the median ratio of roborl's to it."""
    subjects: dict[str, Callable[[], float]] = {"roborl": partial(roborl_rate, setting, STEPS["roborl"])}
    with ExitStack() as stack:
        for peer in peers:
            label, environment = PEERS[peer]
            sizes = (setting.num_envs, ROLLOUT, setting.batch, EPOCHS, HIDDEN)
            worker = Worker(python_of(environment), "ppo_worker.py", peer, "HalfCheetah-v5", *sizes)
            stack.enter_context(worker)
            subjects[label] = partial(_peer_rate, worker, STEPS[peer])
        rates: dict[str, list[float]] = {label: [] for label in subjects}
        for repeat in range(repeats):
            for label, rate in subjects.items():
                rates[label].append(rate())
                print(f"{setting.label}, repeat {repeat + 1}: {label} {rates[label][-1]:,.0f} env steps/s", flush=True)
    return [
        {
            "training": setting.label,
            "trained by": label,
            "env steps/s": round(statistics.median(own), 1),
            "roborl is faster by": round(
                statistics.median(a / b for a, b in zip(rates["roborl"], own, strict=True)), 3
            ),
        }
        for label, own in rates.items()
    ]


def _peer_rate(worker: Worker, steps: int) -> float:
    return steps / worker.seconds(steps)


def main() -> None:
    """Measure all settings and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-envs", type=int, choices=sorted({s.num_envs for s in SETTINGS}))
    parser.add_argument("--batch", type=int, choices=sorted({s.batch for s in SETTINGS}))
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--trial", action="store_true", help="do not write the results")
    options = parser.parse_args()
    use_few_cores()
    rows = [
        row
        for setting in SETTINGS
        if options.num_envs in (None, setting.num_envs) and options.batch in (None, setting.batch)
        for row in measure(setting, options.peers, options.repeats)
    ]
    if options.trial:
        print(*rows, sep="\n")
        return
    title = f"PPO on HalfCheetah, 10 epochs on rollouts of {ROLLOUT}, 2x64, {CORES} cores, median of {options.repeats}"
    write("ppo_speed", f"{title} interleaved repeats", rows)


if __name__ == "__main__":
    main()
