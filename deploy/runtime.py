"""Run an exported policy: numpy and onnxruntime alone, no learner, no simulator.

::

    policy = Policy.load("policy.onnx")
    action = policy.act(obs)  # (n,) -> (m,), in the units that policy.manifest declares
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from roborl.deploy.manifest import Manifest
from roborl.deploy.seal import check_seal
from roborl.errors import CorruptFile, NonFinite, UsageError

MANIFEST_KEY = "roborl_manifest"
GOLDEN_KEY = "roborl_golden"


class Policy:
    """A policy from a bundle; made by ``Policy.load``.

    What it cannot vouch for it refuses: an altered file, an observation of another shape, NaN, infinity. It
    never fills in zeros. A recurrent policy remembers: call ``reset`` where an episode begins.
    """

    manifest: Manifest
    """What the numbers mean."""
    digest: str
    """The bundle's hash, which identifies this policy."""
    metadata: dict[str, str]
    """All of the file's metadata."""
    memory: np.ndarray
    """(manifest.memory_width,) float32, what a recurrent policy remembers; to run several episodes in turn, keep each
    one's and put it back."""

    def __init__(self, session: onnxruntime.InferenceSession, digest: str) -> None:
        """Take a session over a file whose seal has been checked; use ``load``."""
        self.digest = digest
        self.metadata = dict(session.get_modelmeta().custom_metadata_map)
        self.manifest = Manifest.from_json(self.metadata.get(MANIFEST_KEY, ""))
        self._session = session
        self._shape = (self.manifest.observation_width,)
        layout = [(v.name, v.type, v.shape) for v in (*session.get_inputs(), *session.get_outputs())]
        inputs, outputs = self.manifest.network
        named = (*inputs.items(), *outputs.items())
        declared = [(name, "tensor(float)", [1, *shape]) for name, shape in named]
        if layout != declared:
            raise CorruptFile(f"the network must be {declared} as its manifest says, got {layout}")
        self._outputs = list(outputs)
        self.reset()
        self._run(np.zeros(self._shape, np.float32))  # the first run allocates

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Policy:
        """Read a bundle, check its seal and its manifest, and warm it up.

        Raises:
            UsageError: the file cannot be read.
            CorruptFile: it is no bundle, truncated, altered, or of a schema that this version does not read.
        """
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise UsageError(f"cannot read the bundle {path}: {error.strerror or error}") from error
        return cls.from_bytes(data, path)

    @classmethod
    def from_bytes(cls, data: bytes, path: str | os.PathLike[str] = "policy.onnx") -> Policy:
        """Do what ``load`` does with a file's bytes; messages call it ``path``."""
        digest = check_seal(data, path)
        options = onnxruntime.SessionOptions()
        # A policy is small: one thread is fastest, and leaves the robot's other cores alone.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has no common base for what it raises
            reason = " ".join(str(error).split())
            raise CorruptFile(f"onnxruntime {onnxruntime.__version__} refuses {path}: {reason}") from error
        try:
            return cls(session, digest)
        except CorruptFile as error:
            raise CorruptFile(f"{path}: {error}") from error

    def reset(self) -> None:
        """Begin an episode: a recurrent policy forgets."""
        self.memory = np.zeros(self.manifest.memory_width, np.float32)

    def act(self, obs: Any) -> np.ndarray:
        """Return the action for one observation, the next one of the episode.

        What is refused is not remembered.

        Args:
            obs: (n,) numbers in the layout of ``manifest.observations``, unnormalised.

        Returns:
            (m,) float32, in the units and within the bounds of ``manifest.actions``; the caller's own array.

        Raises:
            UsageError: another shape, or not real numbers.
            NonFinite: NaN or infinity (in float32) in the observation, named; or in the action.
        """
        x = np.asarray(obs)
        if x.shape != self._shape or x.dtype.kind not in "fiu":
            raise UsageError(f"an observation must be real numbers of shape {self._shape}, got {x.dtype} {x.shape}")
        if x.dtype != np.float32:
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused below
                x = x.astype(np.float32)
        if not np.isfinite(x).all():
            raise NonFinite(_name_non_finite("observation", x, self.manifest.observation_labels))
        action, *memory = self._run(x)
        if not np.isfinite(action).all():
            raise NonFinite(_name_non_finite("action", action, self.manifest.action_names))
        if memory:
            (self.memory,) = memory
        return action

    def _run(self, obs: np.ndarray) -> list[np.ndarray]:
        """Return the network's outputs for a float32 observation, without the batch axis."""
        inputs = {"obs": obs[None]}
        if self.manifest.memory_width:
            inputs["h_in"] = self.memory[None]
        outputs: Any = self._session.run(self._outputs, inputs)
        return [output[0] for output in outputs]


def _name_non_finite(what: str, x: np.ndarray, labels: tuple[str, ...]) -> str:
    bad = [f"{labels[i]} = {x[i]}" for i in np.flatnonzero(~np.isfinite(x))]
    more = f" and {len(bad) - 4} more" if len(bad) > 4 else ""
    return f"the {what} must be finite, got {', '.join(bad[:4])}{more}"
