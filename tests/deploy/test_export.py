from __future__ import annotations

import dataclasses
import errno
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from roborl.deploy.export import build_bundle, export_bundle, to_environment_units
from roborl.deploy.manifest import Manifest
from roborl.deploy.runtime import Policy
from roborl.errors import ConfigError, RunError
from roborl.nn.graph import GraphBuilder, evaluate


def test_the_bundle_is_an_onnx_model_with_contract_and_ecosystem_metadata(case: Any, tmp_path: Path) -> None:
    path = tmp_path / "policy.onnx"
    export_bundle(path, *case.arguments())
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert Manifest.from_json(metadata["roborl_manifest"]) == case.manifest
    assert metadata["joint_names"] == "hip,knee,ankle"
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["obs", "actions"]
    assert os.listdir(tmp_path) == ["policy.onnx"]


def test_the_same_export_gives_the_same_bytes(case: Any) -> None:
    assert build_bundle(*case.arguments()) == build_bundle(*case.arguments())


def test_actions_are_mapped_and_clipped_to_the_bounds_by_hand() -> None:
    g = GraphBuilder()
    g.output("actions", g.mul(g.input("obs", 2), 1.0))
    graph = to_environment_units(g.build(), np.array([-2, 0], np.float32), np.array([2, 10], np.float32))
    actions = evaluate(graph, {"obs": np.array([[-1.0, -1.0], [0.5, 0.5], [7.0, -7.0]])})["actions"]
    np.testing.assert_array_equal(actions, [[-2, 0], [1, 7.5], [2, 0]])  # 0.5 * 2; 5 + 0.5 * 5; clipped


def test_no_action_leaves_its_bounds_by_rounding() -> None:
    rng = np.random.default_rng(0)
    low = rng.normal(size=2000).astype(np.float32)
    high = low + rng.uniform(1e-4, 3, 2000).astype(np.float32)
    g = GraphBuilder()
    g.output("actions", g.mul(g.input("obs", 2000), 1.0))
    graph = to_environment_units(g.build(), low, high)
    for extreme in (-1.0, 1.0):
        actions = evaluate(graph, {"obs": np.full((1, 2000), extreme)})["actions"]
        assert ((actions >= low) & (actions <= high)).all()
        np.testing.assert_allclose(actions[0], high if extreme > 0 else low, atol=1e-6)


def test_a_policy_that_differs_from_its_golden_data_is_not_written(case: Any, tmp_path: Path) -> None:
    wrong = dataclasses.replace(case.golden, actions=case.golden.actions * np.float32(0.999))
    with pytest.raises(RunError, match="nothing was written: the exported network is not the original"):
        export_bundle(tmp_path / "policy.onnx", *dataclasses.replace(case, golden=wrong).arguments())
    assert not os.listdir(tmp_path)


def test_a_memory_that_the_manifest_does_not_declare_is_refused(recurrent: Any) -> None:
    low, high = recurrent.bounds
    for width in (0, 2):
        manifest = dataclasses.replace(recurrent.manifest, memory_width=width)
        with pytest.raises(ConfigError, match=r"got obs \(7,\), h_in \(3,\) -> actions \(2,\), h_out \(3,\)"):
            build_bundle(recurrent.graph, manifest, low, high, recurrent.golden)


def test_parts_that_do_not_fit_are_refused(case: Any) -> None:
    low, high = case.bounds
    with pytest.raises(ConfigError, match="action_high must be the manifest's"):
        build_bundle(case.graph, case.manifest, low, [1.0, 0.8], case.golden)
    with pytest.raises(ConfigError, match="action_low must be the manifest's"):
        build_bundle(case.graph, case.manifest, low[:1], high, case.golden)
    g = GraphBuilder()
    g.output("actions", g.tanh(g.input("obs", 7)))
    with pytest.raises(ConfigError, match=r"needs a graph obs \(7,\) -> actions \(2,\), got .*\(7,\)"):
        build_bundle(g.build(), case.manifest, low, high, case.golden)
    renamed = dataclasses.replace(case.golden, action_names=("knee", "hip"))
    with pytest.raises(ConfigError, match="another order"):
        build_bundle(case.graph, case.manifest, low, high, renamed)


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_bundle_and_nothing_beside_it(
    case: Any, bundle: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bundle.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class FullFile(io.FileIO):
        write = full  # type: ignore[assignment]

    if call == "write":
        monkeypatch.setattr("roborl.deploy.export.open", FullFile, raising=False)
    else:
        monkeypatch.setattr(os, call, full)
    with pytest.raises(RunError, match="cannot write .*policy.onnx: No space left on device"):
        export_bundle(bundle, *case.arguments())
    assert bundle.read_bytes() == before
    assert os.listdir(bundle.parent) == ["policy.onnx"]


def test_a_folder_that_does_not_exist_is_a_one_line_error(case: Any, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="No such file or directory"):
        export_bundle(tmp_path / "missing" / "policy.onnx", *case.arguments())


def test_an_action_space_of_many_scales_runs_as_the_original(case: Any, tmp_path: Path, make_case: Any) -> None:
    actions = tuple(
        dataclasses.replace(case.manifest.actions[0], name=f"a{i}", low=-(10.0**i), high=3 * 10.0**i)
        for i in range(-3, 4)
    )
    manifest = dataclasses.replace(case.manifest, actions=actions)
    other = make_case(manifest, 5, 256)
    export_bundle(tmp_path / "policy.onnx", *other.arguments())
    policy = Policy.load(tmp_path / "policy.onnx")
    np.testing.assert_allclose(policy.act(other.golden.observations[0]), other.golden.actions[0], rtol=1e-4)
