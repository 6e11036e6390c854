"""What the benchmarks write and the table reads: one small JSON file a benchmark."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "results"
CORES = 2
"""The benchmarks run on this many cores: as many as the published figures had."""


def use_few_cores() -> None:
    """Bind this process, and the workers that it starts, to `CORES` cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])


def cpu_facts() -> tuple[str, set[str]]:
    """The processor's name and the flags of what it can do."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return facts.get("model name", platform.processor()), set(facts.get("flags", "").split())


def read(name: str) -> list[dict[str, object]]:
    """Read the rows of a benchmark; none where it has not been made."""
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []


def write(name: str, title: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Write a benchmark's rows (all with the same keys) with the machine that made them."""
    machine = {
        "cpu": cpu_facts()[0],
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in ("mujoco", "gymnasium", "torch", "numpy")},
    }
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps({"title": title, "machine": machine, "rows": rows}, indent=1)
    (FOLDER / f"{name}.json").write_text(text + "\n")
