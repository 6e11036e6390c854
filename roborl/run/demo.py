"""The demo: a cart-pole learns to swing up, is measured, exported, verified, filmed and plotted."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from roborl.errors import UsageError
from roborl.run import api, bundle
from roborl.run.plots import learning_curve

TASK = "roborl/CartpoleSwingup-v1"
STEPS = 100_000


def demo(out: Path, steps: int = STEPS) -> dict[str, Any]:
    """Train SAC on the cart-pole's swing-up and show everything that comes of it.

    Args:
        out: the folder; a demo that lies there is replaced, anything else is left alone.
        steps: environment steps to train for.

    Returns:
        What came of it and where it lies, by name.

    Raises:
        UsageError: if the folder holds something that is no demo.
        KeyboardInterrupt: if the training was stopped; it can be resumed.
    """
    run_dir = out / "run"
    video, curve, policy = out / "episode.mp4", out / "learning_curve.png", out / bundle.BUNDLE
    if out.exists():
        if not out.is_dir() or set(out.iterdir()) - {run_dir, video, curve, policy}:
            raise UsageError(f"{out} holds something that is no demo; choose another --out")
        shutil.rmtree(out)
    _say(f"training SAC on {TASK} for {steps} steps")
    training = api.train("sac", TASK, out=run_dir, steps=steps)
    if training.interrupted:
        raise KeyboardInterrupt
    _say("evaluating 20 episodes")
    result = api.evaluate(run_dir, episodes=20, video=video)
    _say("exporting and verifying the policy")
    api.export(run_dir, policy)
    report = bundle.verify(policy)
    learning_curve(run_dir, curve, f"SAC on {TASK}")
    return {
        "training": f"{training.env_steps} steps in {training.wall_s:.0f} s",
        "evaluation": result.summary(),
        "policy": str(policy),
        "verified": "passed" if report.passed else "FAILED",
        "video": str(video),
        "learning curve": str(curve),
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
