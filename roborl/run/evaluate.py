"""Evaluation: a deterministic policy on episodes with fixed seeds, all of them side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from roborl.run.executor import Executor
from roborl.run.statistics import bootstrap_interval, interquartile_mean
from roborl.run.video import VideoWriter

EVALUATION_SEED = 10_000
"""Episode i of an evaluation is seeded with this plus i, unless another first seed is asked for."""


@dataclass(frozen=True)
class Evaluation:
    """Returns of episodes, and what follows from them."""

    returns: list[float]
    """Undiscounted return of each episode."""
    lengths: list[int]
    """Control steps of each episode."""
    mean: float
    """Mean return."""
    std: float
    """Standard deviation of the returns."""
    iqm: float
    """Interquartile mean of the returns."""
    iqm_interval: tuple[float, float]
    """95% bootstrap interval of the interquartile mean."""
    success_rate: float | None
    """Share of the episodes that ended in success; None where the task has no such notion."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self) | {"iqm_interval": list(self.iqm_interval)}

    def summary(self) -> str:
        """Return it in a line."""
        low, high = self.iqm_interval
        success = "" if self.success_rate is None else f", success {self.success_rate:.0%}"
        return (
            f"{len(self.returns)} episodes: return {self.mean:.1f} +- {self.std:.1f}, "
            f"interquartile mean {self.iqm:.1f} [{low:.1f}, {high:.1f}]{success}"
        )


def summarise(returns: np.ndarray, lengths: np.ndarray, success: np.ndarray | None) -> Evaluation:
    """Return the statistics of episodes: returns (n,), lengths (n,), success (n,) or None."""
    return Evaluation(
        [float(r) for r in returns],
        [int(n) for n in lengths],
        float(returns.mean()),
        float(returns.std()),
        float(interquartile_mean(returns)),
        bootstrap_interval(returns),
        None if success is None else float(success.mean()),
    )


def evaluate(
    act: Callable[[np.ndarray], np.ndarray],
    executor: Executor,
    seed: int = EVALUATION_SEED,
    video: Path | None = None,
    trace: list[np.ndarray] | None = None,
) -> Evaluation:
    """Run one episode in each environment of an executor.

    Args:
        act: observations (N, n) of the group "policy" -> actions (N, A) in [-1, 1]; a recurrent policy that has just
            been reset, row i of which goes through episode i.
        executor: the environments; episode i runs in environment i.
        seed: episode i is seeded with ``seed + i``.
        video: where to write an mp4 of the first episode.
        trace: receives the first episode's observations, (n,) each.
    """
    n = executor.num_envs
    obs = executor.reset(np.arange(seed, seed + n, dtype=np.uint64))
    running = np.ones(n, bool)
    returns, lengths = np.zeros(n), np.zeros(n, np.int64)
    success: np.ndarray | None = None
    writer = None if video is None else VideoWriter(video, executor.control_dt)
    try:
        while running.any():
            if writer is not None and running[0]:
                writer.add(lambda: executor.picture(0))
            if trace is not None and running[0]:
                trace.append(obs["policy"][0].copy())
            step = executor.step(act(obs["policy"]))
            returns += np.where(running, step.reward, 0.0)
            lengths += running
            ended = running & (step.terminated | step.truncated)
            if step.success is not None:
                success = np.zeros(n, bool) if success is None else success
                success |= ended & step.success
            running &= ~ended
            obs = step.obs
        if writer is not None:
            writer.save()
    finally:
        if writer is not None:
            writer.discard()
    return summarise(returns, lengths, success)
