"""How fast learners train, in env steps/s of the steady state: roborl against stable-baselines3, SBX and RLtools.

roborl is a plain `roborl train` with logging and checkpoints on; its speed is the slope of env_steps over
wall_s in metrics.jsonl once learning goes on. One update a step everywhere. Each repeat asks every subject
once; a ratio is taken within a repeat, and the table shows the medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from peers import python_of
from results import CORES, cpu_facts, use_few_cores, write
from worker import Worker

WARMUP_STEPS = 2000
"""Steps before the steady state: 1000 at random, then some to compile and to fill caches."""

NAMES = {"sac": "SAC", "td3": "TD3", "ddpg": "DDPG", "crossq": "CrossQ"}
"""What the learners are called: in the tables, and as classes of the peers."""

ROBORL = (sys.executable, "-c", "import sys; from roborl.cli import main; sys.exit(main())")


@dataclass(frozen=True)
class Setting:
    """A learner and a task with the sizes to train at."""

    algo: str
    """As `roborl train` calls it; each one's results are in a file of their own."""
    env_id: str
    hidden: int
    batch: int
    threads: int
    """Threads of the peers that let one choose: small networks are faster with one."""
    steps: Mapping[str, int]
    """Env steps of each subject in each repeat: some ten to sixty seconds; a peer that is not named lacks it."""
    precisions: tuple[str, ...]

    @property
    def label(self) -> str:
        """What the table calls it."""
        return f"{NAMES[self.algo]}, {self.env_id}, 2x{self.hidden}, batch {self.batch}"


SETTINGS = (
    Setting(
        algo="sac",
        env_id="HalfCheetah-v5",
        hidden=256,
        batch=256,
        threads=2,
        steps={"roborl": 12_000, "stable-baselines3": 1500, "sbx": 3000, "rltools": 1500},
        precisions=("float32", "bfloat16"),
    ),
    Setting(
        algo="sac",
        env_id="Pendulum-v1",
        hidden=64,
        batch=100,
        threads=1,
        steps={"roborl": 30_000, "stable-baselines3": 3000, "sbx": 8000, "rltools": 20_000},
        precisions=("float32",),
    ),
    *(
        Setting(
            algo=algo,
            env_id="HalfCheetah-v5",
            hidden=256,
            batch=256,
            threads=2,
            steps={"roborl": 16_000, "stable-baselines3": 1500, "sbx": 3000},
            precisions=("float32", "bfloat16"),
        )
        for algo in ("td3", "ddpg")
    ),
    Setting(
        algo="crossq",
        env_id="HalfCheetah-v5",
        hidden=256,
        batch=256,
        threads=2,
        steps={"roborl": 8_000, "sbx": 2000},
        precisions=("float32", "bfloat16"),
    ),
)
PEERS = {
    "stable-baselines3": ("stable-baselines3 2.9.2", "sbx"),
    "sbx": ("SBX 0.28", "sbx"),
    "rltools": ("RLtools 2.2.1", "rltools"),
}


def steady_rate(lines: Iterable[str], after: int) -> float:
    """Env steps/s between the first and the last line of metrics at or beyond `after` env steps."""
    points = [
        (record["env_steps"], record["wall_s"])
        for record in map(json.loads, lines)
        if "wall_s" in record and record.get("env_steps", 0) >= after
    ]
    (first_steps, first_s), (last_steps, last_s) = points[0], points[-1]
    if last_steps <= first_steps:
        raise SystemExit(f"metrics.jsonl has {len(points)} lines beyond {after} env steps: train for longer")
    return (last_steps - first_steps) / (last_s - first_s)


def roborl_rate(setting: Setting, precision: str, steps: int) -> float:
    """One training run from the command line, from nothing."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [*ROBORL, "train", setting.algo, setting.env_id, "--steps", steps, "--out", run]
        command += ["--hidden", f"{setting.hidden},{setting.hidden}", "--batch-size", setting.batch]
        command += ["--learning-starts", 1000, "--precision", precision]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}")
        return steady_rate((run / "metrics.jsonl").read_text().splitlines(), WARMUP_STEPS)


def measure(setting: Setting, peers: Iterable[str], repeats: int, share: float) -> list[dict[str, object]]:
    """One row a subject: median env steps/s and the median ratio of roborl's float32 to it."""
    steps = {name: max(1, round(count * share)) for name, count in setting.steps.items()}
    subjects: dict[str, Callable[[], float]] = {}
    with ExitStack() as stack:
        for precision in setting.precisions:
            subjects[f"roborl, {precision}"] = partial(roborl_rate, setting, precision, steps["roborl"])
        for peer in (name for name in peers if name in steps):
            label, environment = PEERS[peer]
            arguments = (
                peer,
                NAMES[setting.algo],
                setting.env_id,
                setting.hidden,
                setting.batch,
                setting.threads,
                WARMUP_STEPS,
            )
            worker = stack.enter_context(Worker(python_of(environment), "train_worker.py", *arguments))
            subjects[label] = partial(_peer_rate, worker, steps[peer])
        rates: dict[str, list[float]] = {label: [] for label in subjects}
        for repeat in range(repeats):
            for label, rate in subjects.items():
                rates[label].append(rate())
                print(
                    f"{setting.label}, repeat {repeat + 1}: {label} {rates[label][-1]:,.1f} env steps/s",
                    flush=True,
                )
    return [
        {
            "training": setting.label,
            "trained by": label,
            "env steps/s": round(statistics.median(own), 1),
            **{
                f"roborl {precision} is faster by": _ratio(rates.get(f"roborl, {precision}"), own)
                for precision in ("float32", "bfloat16")
            },
        }
        for label, own in rates.items()
    ]


def _peer_rate(worker: Worker, steps: int) -> float:
    return steps / worker.seconds(steps)


def _ratio(ours: list[float] | None, theirs: list[float]) -> float | None:
    if ours is None:
        return None
    return round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 3)


def main() -> None:
    """Measure the settings and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    algos = list(dict.fromkeys(setting.algo for setting in SETTINGS))
    parser.add_argument("--algo", nargs="*", choices=algos, default=algos, help="these learners alone")
    parser.add_argument("--env", choices={setting.env_id for setting in SETTINGS}, help="this task alone; a trial")
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--share", type=float, default=1.0, help="of the steps of each repeat, for a trial")
    parser.add_argument("--trial", action="store_true", help="do not write the results")
    options = parser.parse_args()
    use_few_cores()
    if not cpu_facts()[1] & {"amx_bf16", "avx512_bf16"}:
        print("this processor has no bfloat16 instructions: bfloat16 is not expected to be faster")
    for algo in options.algo:
        rows = [
            row
            for setting in SETTINGS
            if setting.algo == algo and options.env in (None, setting.env_id)
            for row in measure(setting, options.peers, options.repeats, options.share)
        ]
        if options.trial or options.env:
            print(*rows, sep="\n")
            continue
        conditions = f"{CORES} cores, one update a step, median of {options.repeats} interleaved repeats"
        name = "train_speed" if algo == "sac" else f"train_speed_{algo}"
        write(name, f"{NAMES[algo]}, steady state on {conditions}", rows)


if __name__ == "__main__":
    main()
