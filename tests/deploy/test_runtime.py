from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roborl.deploy.export import build_bundle
from roborl.deploy.manifest import Manifest
from roborl.deploy.runtime import Policy
from roborl.errors import CorruptFile, NonFinite, UsageError


@pytest.fixture
def policy(bundle: Path) -> Policy:
    return Policy.load(bundle)


def test_a_loaded_policy_does_what_the_original_did(policy: Policy, case: Any) -> None:
    assert policy.manifest == case.manifest
    for obs, action in zip(case.golden.observations, case.golden.actions, strict=True):
        got = policy.act(obs)
        assert got.dtype == np.float32 and got.shape == (2,)
        np.testing.assert_allclose(got, action, atol=1e-5)


def test_lists_and_other_numbers_are_taken_and_the_result_is_the_callers(policy: Policy, case: Any) -> None:
    obs = case.golden.observations[3]
    first = policy.act(obs)
    np.testing.assert_array_equal(policy.act(obs.tolist()), first)
    np.testing.assert_array_equal(policy.act(np.repeat(obs, 2)[::2]), first)
    kept = first.copy()
    policy.act(-obs)
    np.testing.assert_array_equal(first, kept)


def test_a_recurrent_policy_does_what_the_original_did_episode_after_episode(recurrent: Any) -> None:
    policy = Policy.from_bytes(build_bundle(*recurrent.arguments()))
    for obs, action, begins in zip(
        recurrent.golden.observations, recurrent.golden.actions, recurrent.golden.begins, strict=True
    ):
        if begins:
            policy.reset()
        np.testing.assert_allclose(policy.act(obs), action, atol=1e-5)


def test_a_recurrent_policy_remembers_until_it_is_reset_and_what_is_refused_is_not_remembered(recurrent: Any) -> None:
    policy, obs = Policy.from_bytes(build_bundle(*recurrent.arguments())), np.ones(7)
    np.testing.assert_array_equal(policy.memory, np.zeros(3, np.float32))
    first, second = policy.act(obs), policy.act(obs)
    assert np.abs(second - first).max() > 1e-3
    kept = policy.memory
    with pytest.raises(NonFinite):
        policy.act(obs * np.nan)
    np.testing.assert_array_equal(policy.memory, kept)
    third = policy.act(obs)
    policy.reset()
    np.testing.assert_array_equal(policy.act(obs), first)
    policy.memory = kept  # back to the other episode
    np.testing.assert_array_equal(policy.act(obs), third)


@pytest.mark.parametrize(
    "obs", [np.zeros(6), np.zeros(8), np.zeros((1, 7)), 0.0, [], None, "zero", np.zeros(7, complex)]
)
def test_an_observation_of_another_shape_or_kind_is_refused(policy: Policy, obs: Any) -> None:
    with pytest.raises(UsageError, match=r"real numbers of shape \(7,\)"):
        policy.act(obs)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_an_observation_that_is_not_finite_is_refused_and_named(policy: Policy, value: float) -> None:
    obs = np.zeros(7)
    obs[4] = value
    with pytest.raises(NonFinite, match=r"joint_pos.knee@t-0 = (nan|-?inf)"):
        policy.act(obs)
    with pytest.raises(NonFinite, match="and 3 more"):
        policy.act(np.full(7, value))


@pytest.mark.parametrize("damage", ["text", "empty", "truncated", "altered", "onnx"])
def test_a_file_that_is_no_whole_bundle_is_a_one_line_error(bundle: Path, damage: str) -> None:
    data = bundle.read_bytes()
    if damage == "onnx":
        import onnx

        model = onnx.load(bundle)
        del model.metadata_props[:]
        data = model.SerializeToString()
    damaged = {
        "text": b"this is not a policy\n",
        "empty": b"",
        "truncated": data[: len(data) // 2],
        "altered": data[:3000] + bytes([data[3000] ^ 1]) + data[3001:],
        "onnx": data,
    }[damage]
    bundle.write_bytes(damaged)
    with pytest.raises(CorruptFile, match="policy.onnx is") as error:
        Policy.load(bundle)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


def test_a_missing_file_and_a_folder_are_one_line_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the bundle .*: No such file"):
        Policy.load(tmp_path / "policy.onnx")
    with pytest.raises(UsageError, match="cannot read the bundle .*: Is a directory"):
        Policy.load(tmp_path)


def test_a_manifest_that_contradicts_its_network_is_refused(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    text = dataclasses.replace(case.manifest, observations=case.manifest.observations[:1]).to_json()
    monkeypatch.setattr(Manifest, "to_json", lambda self: text)
    data = build_bundle(*case.arguments())
    with pytest.raises(CorruptFile, match=r"as its manifest says, got .*\[1, 7\]"):
        Policy.from_bytes(data)


def test_a_schema_from_the_future_is_refused_by_name(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    text = case.manifest.to_json().replace('"schema_version":1', '"schema_version":9')
    monkeypatch.setattr(Manifest, "to_json", lambda self: text)
    data = build_bundle(*case.arguments())
    with pytest.raises(CorruptFile, match="policy.onnx: the manifest has schema_version 9; this roborl reads 1"):
        Policy.from_bytes(data)


ROBOT = """
import importlib.abc, sys

ALLOWED = {"roborl", "numpy", "onnxruntime", "flatbuffers", "google", "packaging"}

class RobotsComputer(importlib.abc.MetaPathFinder):
    # Everything that numpy and onnxruntime do not bring is absent.
    def find_spec(self, name, path, target=None):
        room = name.partition(".")[0]
        if room not in ALLOWED and room not in sys.stdlib_module_names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, RobotsComputer())
from roborl.deploy.runtime import Policy
policy = Policy.load(sys.argv[1])
print(policy.act([0.0] * 7).tolist())
print(*(m for m in ("torch", "mujoco", "onnx", "gymnasium") if m in sys.modules))
"""


def test_the_runtime_needs_numpy_and_onnxruntime_alone(bundle: Path, policy: Policy) -> None:
    done = subprocess.run([sys.executable, "-c", ROBOT, bundle], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    action, loaded = done.stdout.splitlines()
    assert action == str(policy.act(np.zeros(7)).tolist())
    assert loaded == ""
