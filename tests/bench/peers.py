"""The peers' environments: each in a virtual environment of its own, made when it is first needed.

A ready one is named by an environment variable, say `ROBORL_PEER_ENVPOOL=/path/of/its/venv`; otherwise it is
made in `tests/bench/.peers/`, which git ignores. Making all of them takes minutes and some gigabytes.
"""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / ".peers"

_SIMULATION = ("mujoco==4.0.0", "gymnasium[mujoco]==1.4.0")
REQUIREMENTS: dict[str, tuple[str, ...]] = {
    "envpool": ("envpool==1.2.5", *_SIMULATION),
    # stable-baselines3 and SBX share one: SBX is built on it. Named first, torch stays the CPU build.
    "sbx": ("torch==2.13.0", "stable-baselines3==2.9.2", "sbx-rl==0.28.0", *_SIMULATION),
    "rlox": ("torch==2.13.0", "rlox==1.2.0", *_SIMULATION),
    # with pin 4.1 this Crocoddyl ignores gravity
    "croc": ("crocoddyl==3.2.1", "pin==4.0.0"),
    "rltools": ("rltools==2.2.1", "mkl==2026.2.0", "mkl-include==2026.2.0", *_SIMULATION),
}


def python_of(peer: str) -> Path:
    """The interpreter of a peer's environment; the environment is made where there is none."""
    variable = f"ROBORL_PEER_{peer.upper()}"
    named = os.environ.get(variable)
    folder = Path(named) if named else FOLDER / peer
    python, made = folder / "bin" / "python", folder / ".made"
    if named:
        if not python.exists():
            raise SystemExit(f"{variable}={named} is no virtual environment: {python} does not exist")
    elif not made.exists():
        print(f"making the environment of {peer} in {folder}", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS[peer]], check=True)
        made.touch()
    return python
