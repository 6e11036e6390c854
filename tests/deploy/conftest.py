from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from roborl.deploy.export import build_bundle, to_environment_units
from roborl.deploy.golden import Golden, record_golden
from roborl.deploy.manifest import ActionTerm, Manifest, ObservationTerm
from roborl.nn.graph import GraphBuilder, PolicyGraph, evaluate


def make_manifest() -> Manifest:
    """Three joints' positions with a history of two, a command, two actions with uneven bounds."""
    joints = ("hip", "knee", "ankle")
    position = {
        "name": "joint_pos",
        "start": 0,
        "stop": 6,
        "labels": joints,
        "unit": "rad",
        "frame": "",
        "source": {"kind": "joint_pos", "joints": list(joints)},
        "scale": 1.0,
        "history": 2,
        "delay": 1,
        "on_hardware": True,
    }
    command = position | {
        "name": "command",
        "start": 6,
        "stop": 7,
        "labels": ("command",),
        "unit": "m/s",
        "source": {"kind": "remembered", "memory": "command"},
        "history": 1,
        "delay": 0,
    }
    return Manifest(
        task="roborl/Test-v1",
        learner="sac",
        observations=(ObservationTerm(**position), ObservationTerm(**command)),
        actions=(
            ActionTerm("hip", -1.0, 1.0, "N m", 0.0, 40.0),
            ActionTerm("knee", -0.1, 0.7, "rad", 0.123456789012345, 1 / 3),
        ),
        control_rate_hz=100.0,
        model_sha256="ab" * 32,
        joint_names=joints,
        default_joint_pos=(0.1, 1 / 3, -0.7),
        command_names=("command",),
        training={"env_steps": 1000, "seed": 0, "return": 812.5},
    )


def make_graph(manifest: Manifest, seed: int = 0, hidden: int = 32) -> PolicyGraph:
    """A random policy with a normaliser, clipped as a learner's."""
    rng = np.random.default_rng(seed)
    n, m = manifest.observation_width, len(manifest.actions)
    g = GraphBuilder()
    x = g.clip(g.div(g.sub(g.input("obs", n), rng.normal(size=n)), rng.uniform(0.5, 2, n)), -10, 10)
    for fan_in, fan_out in ((n, hidden), (hidden, hidden)):
        x = g.relu(g.linear(x, rng.normal(size=(fan_in, fan_out)) * (2 / fan_in) ** 0.5, np.zeros(fan_out)))
    g.output("actions", g.tanh(g.linear(x, rng.normal(size=(hidden, m)) / hidden**0.5, np.zeros(m))))
    return g.build()


@dataclass(frozen=True)
class Case:
    """What an export is made of."""

    graph: PolicyGraph
    manifest: Manifest
    golden: Golden

    @property
    def bounds(self) -> tuple[list[float], list[float]]:
        """The declared bounds."""
        return [a.low for a in self.manifest.actions], [a.high for a in self.manifest.actions]

    def arguments(self) -> tuple[PolicyGraph, Manifest, list[float], list[float], Golden]:
        """What ``export_bundle`` takes after the path."""
        return (self.graph, self.manifest, *self.bounds, self.golden)


def make_golden(graph: PolicyGraph, manifest: Manifest) -> Golden:
    """What the policy does on a trace of two episodes."""
    low = np.array([a.low for a in manifest.actions], np.float32)
    high = np.array([a.high for a in manifest.actions], np.float32)
    original = to_environment_units(graph, low, high)
    trace = np.random.default_rng(1).normal(size=(40, manifest.observation_width))
    return record_golden(
        manifest, lambda obs, begins: evaluate(original, {"obs": obs})["actions"], trace, np.arange(40) % 20 == 0
    )


@pytest.fixture(scope="session")
def case() -> Case:
    manifest = make_manifest()
    graph = make_graph(manifest)
    return Case(graph, manifest, make_golden(graph, manifest))


@pytest.fixture(scope="session")
def recurrent() -> Case:
    """A policy with a memory of three, recorded over two episodes of 20 steps."""
    manifest, rng, g = dataclasses.replace(make_manifest(), memory_width=3), np.random.default_rng(0), GraphBuilder()
    x = g.concat(g.input("obs", 7), g.input("h_in", 3))
    h = g.tanh(g.linear(x, rng.normal(size=(10, 3)) / 3, np.zeros(3)))
    g.output("actions", g.tanh(g.linear(h, rng.normal(size=(3, 2)), np.zeros(2))))
    g.output("h_out", h)
    graph = g.build()
    bounds = (np.array([getattr(a, side) for a in manifest.actions], np.float32) for side in ("low", "high"))
    original = to_environment_units(graph, *bounds)

    def replay(rows: np.ndarray, begins: np.ndarray) -> np.ndarray:
        actions, h = [], np.zeros((1, 3))
        for row, begin in zip(rows, begins, strict=True):
            result = evaluate(original, {"obs": row[None], "h_in": 0 * h if begin else h})
            actions.append(result["actions"][0])
            h = result["h_out"]
        return np.stack(actions)

    golden = record_golden(manifest, replay, rng.normal(size=(40, 7)), np.arange(40) % 20 == 0)
    return Case(graph, manifest, golden)


@pytest.fixture(scope="session")
def make_case() -> Callable[[Manifest, int, int], Case]:
    """(manifest, seed, hidden) -> a case with another random policy."""

    def make(manifest: Manifest, seed: int, hidden: int) -> Case:
        graph = make_graph(manifest, seed, hidden)
        return Case(graph, manifest, make_golden(graph, manifest))

    return make


@pytest.fixture
def bundle(case: Case, tmp_path: Path) -> Path:
    path = tmp_path / "policy.onnx"
    path.write_bytes(build_bundle(*case.arguments()))
    return path


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Case], Path]:
    """Write a bundle that has not been tried, as a faulty exporter would."""

    def write_case(case: Case) -> Path:
        path = tmp_path / "faulty.onnx"
        path.write_bytes(build_bundle(*case.arguments()))
        return path

    return write_case
