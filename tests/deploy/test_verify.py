from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roborl.deploy.golden import Golden
from roborl.deploy.manifest import Manifest
from roborl.deploy.runtime import Policy
from roborl.deploy.verify import Check, Report, verify_bundle
from roborl.errors import CorruptFile
from roborl.nn.graph import PolicyGraph

Write = Callable[[Any], Path]


def failed(report: Report) -> list[str]:
    return [check.name for check in report.checks if not check.passed]


def permuted(graph: PolicyGraph, width: int, axis: int) -> PolicyGraph:
    """The same policy with its observations (axis 0) or actions (axis -1) in reverse order."""
    arrays = {
        name: np.flip(array, axis).copy() if array.shape[axis] == width else array
        for name, array in graph.arrays.items()
    }
    return dataclasses.replace(graph, arrays=arrays)


def test_a_good_bundle_passes(bundle: Path) -> None:
    report = verify_bundle(bundle)
    assert report.passed and failed(report) == []
    assert report.max_error <= 1e-6
    assert [check.name for check in report.checks] == ["hash", "schema", "layout", "coverage", "golden"]
    table = report.table()
    assert table.endswith("policy.onnx: verified")
    assert "golden rows: 2 reset, 38 step, 8 extreme" in table
    data = json.loads(report.to_json())
    assert data["passed"] is True and data["max_error"] == report.max_error and len(data["checks"]) == 5


def test_a_recurrent_bundle_passes_and_one_that_would_remember_across_episodes_fails(
    recurrent: Any, write: Write
) -> None:
    assert verify_bundle(write(recurrent)).passed
    kinds = list(recurrent.golden.kinds)
    assert kinds[20] == "reset"
    kinds[20] = "step"
    golden = dataclasses.replace(recurrent.golden, kinds=tuple(kinds))
    report = verify_bundle(write(dataclasses.replace(recurrent, golden=golden)))
    assert failed(report) == ["golden"] and report.max_error > 1e-3


@pytest.mark.parametrize(("width", "axis"), [(7, 0), (2, -1)])
def test_a_network_with_permuted_joints_fails(case: Any, write: Write, width: int, axis: int) -> None:
    report = verify_bundle(write(dataclasses.replace(case, graph=permuted(case.graph, width, axis))))
    assert failed(report) == ["golden"]
    assert report.max_error > 0.01
    assert "FAILED  golden" in report.table() and "1 of 5 checks failed" in report.table()


def test_two_swapped_joints_fail(case: Any, write: Write) -> None:
    observations = case.golden.observations.copy()
    observations[:, [3, 4]] = observations[:, [4, 3]]
    golden = dataclasses.replace(case.golden, observations=observations)
    assert failed(verify_bundle(write(dataclasses.replace(case, golden=golden)))) == ["golden"]


@pytest.mark.parametrize("part", ["observation", "action"])
def test_a_contract_with_permuted_joints_fails_even_where_no_number_shows_it(
    case: Any, write: Write, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    position, command = case.manifest.observations
    if part == "observation":
        swapped = dataclasses.replace(position, labels=("knee", "hip", "ankle"))
        manifest = dataclasses.replace(case.manifest, observations=(swapped, command))
    else:
        first, second = case.manifest.actions
        actions = (dataclasses.replace(first, name="knee"), dataclasses.replace(second, name="hip"))
        manifest = dataclasses.replace(case.manifest, actions=actions)
    text = manifest.to_json()
    monkeypatch.setattr(Manifest, "to_json", lambda self: text)
    report = verify_bundle(write(case))
    assert failed(report) == ["layout"]
    assert f"{part} 0 was recorded as" in report.table()


def test_a_difference_beyond_the_tolerance_fails_and_one_within_passes(case: Any, write: Write) -> None:
    for error, verdict in ((3e-6, []), (3e-5, ["golden"])):
        actions = case.golden.actions + np.array([0, error * 0.8], np.float32)  # the second action's range is 0.8
        report = verify_bundle(
            write(dataclasses.replace(case, golden=dataclasses.replace(case.golden, actions=actions)))
        )
        assert failed(report) == verdict
        assert report.max_error == pytest.approx(error, rel=0.2)


def test_golden_data_without_a_reset_or_without_extremes_fail(case: Any, write: Write) -> None:
    for kind in ("reset", "extreme"):
        kinds = tuple("step" if k == kind else k for k in case.golden.kinds)
        golden = dataclasses.replace(case.golden, kinds=kinds)
        assert failed(verify_bundle(write(dataclasses.replace(case, golden=golden)))) == ["coverage"]


def test_golden_data_of_another_width_fail_and_do_not_crash(
    case: Any, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = case.golden
    narrow = dataclasses.replace(golden, actions=golden.actions[:, :1].copy(), action_names=("hip",))
    text = narrow.to_json()
    monkeypatch.setattr(Golden, "to_json", lambda self: text)
    report = verify_bundle(write(case))
    assert failed(report) == ["layout", "golden"]
    assert json.loads(report.to_json())["max_error"] is None


def test_altered_and_foreign_files_are_refused(bundle: Path) -> None:
    data = bytearray(bundle.read_bytes())
    data[len(data) // 3] ^= 0x10
    bundle.write_bytes(data)
    with pytest.raises(CorruptFile, match="altered"):
        verify_bundle(bundle)
    bundle.write_text("hello")
    with pytest.raises(CorruptFile, match="no roborl bundle"):
        verify_bundle(bundle)


def test_a_bundle_without_golden_data_is_refused(case: Any, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Golden, "to_json", lambda self: "")
    with pytest.raises(CorruptFile, match="golden data cannot be read"):
        verify_bundle(write(case))


def test_a_rollouts_checks_join_the_report_if_the_rest_passed(case: Any, bundle: Path, write: Write) -> None:
    tasks: list[str] = []

    def rollout(policy: Policy) -> list[Check]:
        tasks.append(policy.manifest.task)
        return [Check("closed loop", False, "return 10 instead of 800")]

    report = verify_bundle(bundle, rollout)
    assert failed(report) == ["closed loop"] and not report.passed
    kinds = ("step",) * len(case.golden.kinds)
    faulty = write(dataclasses.replace(case, golden=dataclasses.replace(case.golden, kinds=kinds)))
    assert failed(verify_bundle(faulty, rollout)) == ["coverage"]
    assert tasks == ["roborl/Test-v1"]
