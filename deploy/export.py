"""Write a policy as a bundle: one ONNX file with network, units, contract and golden data, sealed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from roborl.deploy.golden import Golden
from roborl.deploy.manifest import Manifest, ecosystem_metadata
from roborl.deploy.onnx_graph import to_onnx
from roborl.deploy.runtime import GOLDEN_KEY, MANIFEST_KEY, Policy
from roborl.deploy.seal import EMPTY_SEAL, SEAL_KEY, seal
from roborl.deploy.verify import check_golden
from roborl.errors import ConfigError, RunError
from roborl.nn.graph import GraphBuilder, PolicyGraph


def export_bundle(
    path: str | os.PathLike[str],
    graph: PolicyGraph,
    manifest: Manifest,
    action_low: Any,
    action_high: Any,
    golden: Golden,
) -> None:
    """Write a bundle, having run it: what does not do what the original did is not written.

    The file appears whole or not at all: it is written beside its place, synced and renamed.

    Args:
        path: where to write, as ``policy.onnx``; a file there is replaced.
        graph: input ``obs`` (n,), output ``actions`` (m,) in [-1, 1]; of a recurrent policy also input ``h_in`` (k,)
            and output ``h_out`` (k,).
        manifest: the contract.
        action_low: (m,) finite lower bounds in the environment's units; the manifest's.
        action_high: (m,) upper bounds.
        golden: the original's observations and actions, in the environment's units.

    Raises:
        ConfigError: graph, manifest, bounds and golden data do not fit one another.
        RunError: the file cannot be written, or the exported network does not reproduce the golden actions.
    """
    data = build_bundle(graph, manifest, action_low, action_high, golden)
    check, _ = check_golden(Policy.from_bytes(data, path), golden)
    if not check.passed:
        raise RunError(f"nothing was written: the exported network is not the original policy: {check.detail}")
    write_atomically(Path(path), data)


def build_bundle(graph: PolicyGraph, manifest: Manifest, action_low: Any, action_high: Any, golden: Golden) -> bytes:
    """Return the bytes of a bundle; the arguments and ConfigError are those of ``export_bundle``."""
    low, high = np.asarray(action_low, dtype=np.float32), np.asarray(action_high, dtype=np.float32)
    _check_fit(graph, manifest, low, high, golden)
    model = to_onnx(to_environment_units(graph, low, high))
    metadata = {
        MANIFEST_KEY: manifest.to_json(),
        GOLDEN_KEY: golden.to_json(),
        **ecosystem_metadata(manifest),
    }
    for key, value in (*metadata.items(), (SEAL_KEY, EMPTY_SEAL)):  # the seal comes last
        model.metadata_props.add(key=key, value=value)
    return seal(model.SerializeToString(deterministic=True))


def to_environment_units(graph: PolicyGraph, low: np.ndarray, high: np.ndarray) -> PolicyGraph:
    """Return the graph with its ``actions`` clipped to [-1, 1] and mapped onto [low, high].

    Args:
        graph: output ``actions`` (m,); others stay as they are.
        low: (m,) float32.
        high: (m,) float32.

    Returns:
        A graph whose actions never leave the bounds, not even by rounding.
    """
    middle = (low.astype(np.float64) + high) / 2
    middle = middle.astype(np.float32)
    half = np.minimum(high - middle, middle - low)
    # In float32, middle + half may round to just outside: then take the next smaller half.
    while (outside := (middle + half > high) | (middle - half < low)).any():
        half = np.where(outside, np.nextafter(half, np.float32(0)), half)
    g = GraphBuilder(graph)
    x = g.clip("actions", -1.0, 1.0)
    g.output("actions", g.add(g.mul(x, half), middle))
    for name in graph.outputs:
        if name != "actions":
            g.output(name, name)
    return g.build()


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        RunError: the system refused; what stood at ``path`` still does.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(beside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name, too, shall outlive a power failure
        finally:
            os.close(folder)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def _check_fit(graph: PolicyGraph, manifest: Manifest, low: np.ndarray, high: np.ndarray, golden: Golden) -> None:
    inputs, outputs = manifest.network
    shapes = graph.shapes()
    got = {name: shapes[name] for name in graph.outputs}
    if graph.inputs != inputs or got != outputs:
        raise ConfigError(
            f"the manifest needs a graph {_describe(inputs)} -> {_describe(outputs)}, "
            f"got {_describe(graph.inputs)} -> {_describe(got)}"
        )
    for what, got, declared in (
        ("action_low", low, [a.low for a in manifest.actions]),
        ("action_high", high, [a.high for a in manifest.actions]),
    ):
        if not np.array_equal(got, np.asarray(declared, dtype=np.float32)):
            raise ConfigError(f"{what} must be the manifest's {declared}, got {got.tolist()}")
    if golden.observation_labels != manifest.observation_labels or golden.action_names != manifest.action_names:
        raise ConfigError("the golden data name other observations or actions, or in another order, than the manifest")


def _describe(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())
