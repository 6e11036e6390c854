"""Episodes: the returns of those under way in N environments, and what came of those that ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from roborl.run.executor import Step

RECENT = 10
"""Episodes over which the return shown to people is averaged."""


class Episodes:
    """Counts returns and lengths of N environments' episodes.

    Attributes:
        count: episodes that have ended.
    """

    def __init__(self, num_envs: int) -> None:
        self._return = np.zeros(num_envs)
        self._length = np.zeros(num_envs, np.int64)
        self.count = 0
        self._fresh: list[dict[str, float]] = []
        self._recent: list[float] = []

    def add(self, step: Step) -> int:
        """Count a step of every environment; return how many were live."""
        self._return += step.reward  # a reset's reward is 0
        self._length += step.live
        done = step.terminated | step.truncated
        if done.any():
            for i in np.flatnonzero(done):
                row = {"return": float(self._return[i]), "length": int(self._length[i])}
                if step.success is not None:
                    row["success"] = float(step.success[i])
                self._fresh.append(row)
                self._recent = [*self._recent, row["return"]][-RECENT:]
                self.count += 1
            self._return[done] = 0.0
            self._length[done] = 0
        return int(np.count_nonzero(step.live))

    @property
    def recent_return(self) -> float | None:
        """Mean return of the last few episodes; None before the first has ended."""
        return float(np.mean(self._recent)) if self._recent else None

    def take(self) -> dict[str, float | None]:
        """Return the means over the episodes that ended since the last call, None where none did."""
        rows, self._fresh = self._fresh, []

        def mean(key: str) -> float | None:
            values = [row[key] for row in rows if key in row]
            return float(np.mean(values)) if values else None

        means = {"episode_return": mean("return"), "episode_length": mean("length"), "episodes": self.count}
        success = mean("success")
        return means if success is None else means | {"success_rate": success}

    def restart(self) -> None:
        """Forget the episodes under way: the environments were reset."""
        self._return[:], self._length[:] = 0.0, 0

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the returns and lengths so far of the episodes under way."""
        return {"return": self._return.copy(), "length": self._length.copy()}

    def finished(self) -> dict[str, Any]:
        """Return what is kept of those that ended, as JSON."""
        return {"count": self.count, "fresh": self._fresh, "recent": self._recent}

    def load(self, arrays: Mapping[str, np.ndarray], finished: Mapping[str, Any]) -> None:
        """Continue from what `arrays` and `finished` gave."""
        self._return[:], self._length[:] = arrays["return"], arrays["length"]
        self.count = finished["count"]
        self._fresh, self._recent = list(finished["fresh"]), list(finished["recent"])
