"""A million transitions of HalfCheetah's sizes: what the process, and the disk, need for them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MILLION = 1_000_000
ROW_BYTES = 4 * (17 + 6 + 3)  # observation, action, reward, terminated, live
GROWTH = 1.15 * ROW_BYTES * (MILLION - 10_000)
"""What the process may grow by from ten thousand transitions to a million."""

COMMON = """
import json, sys
from pathlib import Path
import numpy as np, torch
from roborl.algos.sac import SAC, SACConfig
from roborl.data.replay import Replay
from roborl.learner import Spaces
from roborl.nn.tree import flatten
from roborl.run.checkpoint import Checkpoints

num_envs, count, run_dir = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
torch.set_num_threads(1)
Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports, under which a growth could hide
state = flatten(SAC(Spaces({"policy": 17}, 6), SACConfig()).init(torch.Generator().manual_seed(0)))

def peak():
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return 1024 * int(line.split()[1])
"""

FILL = (
    COMMON
    + """
replay = Replay(1_000_000, num_envs, {"policy": 17}, 6)
checkpoints, rng = Checkpoints(run_dir), np.random.default_rng(0)
obs, following = {"policy": rng.normal(size=(num_envs, 17))}, {"policy": rng.normal(size=(num_envs, 17))}
action, reward = rng.uniform(-1, 1, (num_envs, 6)), rng.normal(size=num_envs)
live, terminated = np.ones(num_envs, bool), np.zeros(num_envs)
disk, step = 0.0, 0
while step < count:
    replay.append(obs, action, reward, terminated, live, following)
    obs, following = following, obs
    step += num_envs
    if step // 10_000 > (step - num_envs) // 10_000:
        replay.sample(rng, 256)
        checkpoints.save(step, state, {"step": step}, replay)
        size = sum(path.stat().st_size for path in run_dir.rglob("*") if path.is_file())
        if step >= 1_000_000:  # the buffer is full; from then on it turns over
            disk = max(disk, size / replay._storage.nbytes)
print(json.dumps({"peak": peak(), "disk": disk, "held": len(replay)}))
"""
)

LOAD = (
    COMMON
    + """
replay = Replay(1_000_000, num_envs, {"policy": 17}, 6)
loaded = Checkpoints(run_dir).load()
loaded.fill_replay(replay)
print(json.dumps({"peak": peak(), "held": len(replay)}))
"""
)


def run(code: str, *arguments: Any) -> dict[str, Any]:
    finished = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("num_envs", [1, 8])
def test_a_million_transitions_need_little_more_than_their_arrays(num_envs: int, tmp_path: Path) -> None:
    few = run(FILL, num_envs, 10_000, tmp_path / "few")
    many = run(FILL, num_envs, MILLION + 150_000, tmp_path / "many")  # peaks in 115 checkpoints included
    assert (few["held"], many["held"]) == (10_000, MILLION)
    assert many["peak"] - few["peak"] <= GROWTH
    assert 1.0 <= many["disk"] <= 1.3
    few, many = run(LOAD, num_envs, 0, tmp_path / "few"), run(LOAD, num_envs, 0, tmp_path / "many")
    assert (few["held"], many["held"]) == (10_000, MILLION)
    assert many["peak"] - few["peak"] <= GROWTH
