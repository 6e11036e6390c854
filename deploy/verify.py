"""Verify a bundle: it is whole, its contract is consistent, and it does what the original did at export."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from roborl.deploy.golden import Golden
from roborl.deploy.runtime import GOLDEN_KEY, Policy

TOLERANCE = 1e-5
"""The largest difference from a golden action, as a part of that action's range."""


class Check(NamedTuple):
    """One thing that was looked at."""

    name: str
    passed: bool
    detail: str


Rollout = Callable[[Policy], Iterable[Check]]
"""Run a policy in closed loop, in simulation, and say how it compares with the original."""


@dataclass(frozen=True)
class Report:
    """What ``verify_bundle`` found."""

    bundle: str
    """The file."""
    checks: tuple[Check, ...]
    """What was looked at, in order."""
    max_error: float
    """The largest difference from a golden action, as a part of the action's range."""

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def to_json(self) -> str:
        """Return the report as one JSON object."""
        checks = [check._asdict() for check in self.checks]
        max_error = self.max_error if np.isfinite(self.max_error) else None
        return json.dumps({"bundle": self.bundle, "passed": self.passed, "max_error": max_error, "checks": checks})

    def table(self) -> str:
        """Return the report as lines for a person."""
        width = max(len(check.name) for check in self.checks)
        lines = [f"{'ok' if c.passed else 'FAILED':<7} {c.name:<{width}}  {c.detail}" for c in self.checks]
        failed = sum(not check.passed for check in self.checks)
        verdict = f"{failed} of {len(self.checks)} checks failed" if failed else "verified"
        return "\n".join([*lines, f"{self.bundle}: {verdict}"])


def verify_bundle(path: str | os.PathLike[str], rollout: Rollout | None = None) -> Report:
    """Check a bundle against itself, and in closed loop where a rollout is given.

    Args:
        path: the bundle.
        rollout: run after the other checks, if they passed; its checks are added to the report.

    Raises:
        UsageError: the file cannot be read.
        CorruptFile: it is no bundle, truncated, altered, or of a schema that this version does not read.
    """
    policy = Policy.load(path)
    manifest = policy.manifest
    golden = Golden.from_json(policy.metadata.get(GOLDEN_KEY, ""))
    golden_check, max_error = check_golden(policy, golden)
    rate = f"{manifest.control_rate_hz:g} Hz" if manifest.control_rate_hz else "an unknown rate"
    checks = [
        Check("hash", True, f"sha256 {policy.digest}"),
        Check(
            "schema",
            True,
            f"version {manifest.schema_version}: {manifest.task}, {manifest.learner}, "
            f"{manifest.observation_width} -> {len(manifest.actions)} at {rate}",
        ),
        check_layout(policy, golden),
        check_coverage(policy, golden),
        golden_check,
    ]
    if rollout is not None and all(check.passed for check in checks):
        checks += rollout(policy)
    return Report(os.fspath(path), tuple(checks), max_error)


def check_layout(policy: Policy, golden: Golden) -> Check:
    """Check that manifest and golden data name the same entries in the same order."""
    manifest = policy.manifest
    pairs = (
        ("observation", golden.observation_labels, manifest.observation_labels),
        ("action", golden.action_names, manifest.action_names),
    )
    for what, recorded, declared in pairs:
        if len(recorded) != len(declared):
            detail = f"{len(recorded)} {what} entries were recorded, {len(declared)} are declared"
            return Check("layout", False, detail)
        for i, (was, now) in enumerate(zip(recorded, declared, strict=True)):
            if was != now:
                return Check("layout", False, f"{what} {i} was recorded as {was!r}, is declared as {now!r}")
    return Check("layout", True, "observations and actions are named in the order in which they were recorded")


def check_coverage(policy: Policy, golden: Golden) -> Check:
    """Check that the golden data hold an episode's beginning and observations far outside the usual."""
    counts = {kind: golden.kinds.count(kind) for kind in ("reset", "step", "extreme")}
    low, high = _bounds(policy)
    saturated = 0
    if golden.actions.shape[1] == len(low):
        reach = np.abs(golden.actions - (low + high) / 2) / ((high - low) / 2)
        saturated = int((reach > 0.999).any(axis=1).sum())
    detail = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    passed = counts["reset"] > 0 and counts["extreme"] > 0
    return Check("coverage", passed, f"golden rows: {detail}; {saturated} with an action at its bound")


def check_golden(policy: Policy, golden: Golden) -> tuple[Check, float]:
    """Run every golden observation and compare.

    Returns:
        The check, and the largest difference as a part of the action's range; infinite if it cannot be run.
    """
    low, high = _bounds(policy)
    if golden.observations.shape[1] != policy.manifest.observation_width or golden.actions.shape[1] != len(low):
        return Check("golden", False, "the golden data have another width than the network"), float("inf")
    actions = np.empty(golden.actions.shape)  # (T, m)
    for t, begins in enumerate(golden.begins):
        if begins:
            policy.reset()
        actions[t] = policy.act(golden.observations[t])
    error = np.abs(actions - golden.actions) / (high - low)
    row, entry = np.unravel_index(np.argmax(error), error.shape)
    largest = float(error[row, entry])
    inside = bool(((actions >= low) & (actions <= high)).all())
    detail = (
        f"{len(actions)} actions, largest difference {largest:.1e} of the range (allowed {TOLERANCE:.0e}), "
        f"in {policy.manifest.action_names[entry]!r} of row {row}"
    )
    detail += "" if inside else "; an action is outside its bounds"
    return Check("golden", inside and largest <= TOLERANCE, detail), largest


def _bounds(policy: Policy) -> tuple[np.ndarray, np.ndarray]:
    # As float32, which is what the network can say.
    actions = policy.manifest.actions
    low, high = (
        np.array([a.low for a in actions], np.float32),
        np.array([a.high for a in actions], np.float32),
    )
    return low.astype(np.float64), high.astype(np.float64)
