"""Golden data: observations and the original policy's actions, recorded at export and kept in the bundle.

Whoever runs the bundle can replay them and know that the network, the order of its numbers and the runtime
are those of the export. Entries are named, so that a permutation of the joints is found even where the
numbers hide it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from roborl.deploy.manifest import Manifest
from roborl.errors import ConfigError, CorruptFile

KINDS = ("reset", "step", "extreme")
"""An episode's first observation; a later one; one far outside what was seen, to reach saturation, of an episode of its
own."""

EXTREME = 10.0
"""How far extreme observations lie out; more would measure the rounding of float32 rather than the policy."""


@dataclass(frozen=True, eq=False)
class Golden:
    """T observations in time order and what the original policy did."""

    observations: np.ndarray
    """(T, n) float32, as the policy sees them, in the task's units."""
    actions: np.ndarray
    """(T, m) float32, in the environment's units."""
    kinds: tuple[str, ...]
    """T of KINDS."""
    observation_labels: tuple[str, ...]
    """The n entries' names, as ``Manifest.observation_labels``."""
    action_names: tuple[str, ...]
    """The m entries' names."""

    @property
    def begins(self) -> np.ndarray:
        """(T,) bool, where an episode begins: before it a recurrent policy is reset."""
        return episode_begins(self.kinds)

    def __post_init__(self) -> None:
        """Check shapes and values."""
        rows = len(self.kinds)
        for what, array, names in (
            ("observations", self.observations, self.observation_labels),
            ("actions", self.actions, self.action_names),
        ):
            if array.dtype != np.float32 or array.shape != (rows, len(names)) or not rows:
                raise ConfigError(
                    f"golden {what} must be float32 of shape ({rows or '1 or more'}, {len(names)}), "
                    f"got {array.dtype} of shape {array.shape}"
                )
            if not np.isfinite(array).all():
                raise ConfigError(f"golden {what} must be finite, got NaN or infinity")
        if unknown := set(self.kinds) - set(KINDS):
            raise ConfigError(f"golden kinds must be of {', '.join(KINDS)}, got {', '.join(sorted(unknown))}")

    def to_json(self) -> str:
        """Return the data as JSON, the arrays as base64 of little-endian float32 rows."""
        return json.dumps(
            {
                "observations": _encode(self.observations),
                "actions": _encode(self.actions),
                "kinds": self.kinds,
                "observation_labels": self.observation_labels,
                "action_names": self.action_names,
            },
            sort_keys=True,
            separators=(",", ":"),
        )

    @staticmethod
    def from_json(text: str) -> Golden:
        """Read golden data.

        Raises:
            CorruptFile: it is not what ``to_json`` writes.
        """
        try:
            data = json.loads(text)
            kinds, labels, names = (
                tuple(map(str, data[key])) for key in ("kinds", "observation_labels", "action_names")
            )
            observations = _decode(data["observations"], len(kinds), len(labels))
            actions = _decode(data["actions"], len(kinds), len(names))
            return Golden(observations, actions, kinds, labels, names)
        except (ValueError, KeyError, TypeError, binascii.Error, ConfigError) as error:
            raise CorruptFile(f"the golden data cannot be read: {error!r}") from error


def record_golden(
    manifest: Manifest,
    act: Callable[[np.ndarray, np.ndarray], np.ndarray],
    observations: np.ndarray,
    resets: np.ndarray,
    extremes: int = 8,
) -> Golden:
    """Ask the original policy what it does on a trace, and on observations far outside it.

    Args:
        manifest: names the entries.
        act: the original, deterministic policy in float32: observations (T, n) in time order and (T,) bool where an
            episode begins -> (T, m) in the environment's units.
        observations: (T, n), a trace of the simulation in time order.
        resets: (T,) bool, True at an episode's first observation.
        extremes: how many rows of the trace to repeat, scaled by plus and minus EXTREME.

    Raises:
        ConfigError: the shapes do not fit one another or the manifest.
    """
    trace = np.ascontiguousarray(observations, dtype=np.float32)
    if trace.ndim != 2 or np.shape(resets) != trace.shape[:1] or not len(trace):
        raise ConfigError(f"a trace needs (T, n) observations and (T,) resets, got {trace.shape}, {np.shape(resets)}")
    chosen = np.linspace(0, len(trace) - 1, extremes).astype(int)
    signs = np.where(np.arange(extremes) % 2 == 0, EXTREME, -EXTREME).astype(np.float32)
    rows = np.concatenate([trace, trace[chosen] * signs[:, None]])
    kinds = (*("reset" if reset else "step" for reset in resets), *("extreme",) * extremes)
    actions = np.ascontiguousarray(act(rows, episode_begins(kinds)), dtype=np.float32)
    return Golden(rows, actions, kinds, manifest.observation_labels, manifest.action_names)


def episode_begins(kinds: Sequence[str]) -> np.ndarray:
    """Return (T,) bool for T of KINDS: all begin an episode but those that go on with one."""
    return np.array([kind != "step" for kind in kinds])


def _encode(array: np.ndarray) -> str:
    return base64.b64encode(array.astype("<f4").tobytes()).decode("ascii")


def _decode(text: str, rows: int, width: int) -> np.ndarray:
    flat = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4")
    return flat.reshape(rows, width).astype(np.float32)
