from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import Any

import pytest

from roborl.deploy.manifest import ActionTerm, Manifest, ObservationTerm, ecosystem_metadata
from roborl.errors import ConfigError, CorruptFile


@pytest.fixture
def manifest(case: Any) -> Manifest:
    return case.manifest


def test_a_manifest_survives_json_in_full_precision(manifest: Manifest) -> None:
    again = Manifest.from_json(manifest.to_json())
    assert again == manifest
    assert again.actions[1].scale == 1 / 3
    assert again.to_json() == manifest.to_json()


def test_labels_name_every_entry_oldest_reading_first(manifest: Manifest) -> None:
    assert manifest.observation_labels == (
        "joint_pos.hip@t-1",
        "joint_pos.knee@t-1",
        "joint_pos.ankle@t-1",
        "joint_pos.hip@t-0",
        "joint_pos.knee@t-0",
        "joint_pos.ankle@t-0",
        "command.command",
    )
    assert manifest.observation_width == 7
    assert manifest.action_names == ("hip", "knee")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema_version=2), r"schema_version 2; this roborl reads 1"),
        (lambda d: d.pop("schema_version"), r"schema_version None; this roborl reads 1"),
        (lambda d: d.pop("task"), r"missing: task; unknown: none"),
        (lambda d: d.update(colour="red"), r"missing: none; unknown: colour"),
        (lambda d: d["actions"][1].pop("unit"), r"manifest.actions\[1\] .*missing: unit"),
        (lambda d: d["observations"][0].update(noise=0.1), r"manifest.observations\[0\] .*unknown: noise"),
        (lambda d: d.update(task=3), r"manifest.task must be str, got 3"),
        (lambda d: d.update(control_rate_hz="fast"), r"control_rate_hz must be float"),
        (lambda d: d.update(control_rate_hz=True), r"control_rate_hz must be float"),
        (lambda d: d.update(action_delay=[1]), r"action_delay must be tuple\[int, int\]"),
        (lambda d: d.update(actions={}), r"manifest.actions must be tuple"),
        (lambda d: d["actions"].__setitem__(0, 1), r"manifest.actions\[0\] must have exactly the keys"),
        (lambda d: d["observations"][0].update(history=2.0), r"history must be int"),
        (lambda d: d["observations"][0].update(source="joints"), r"source must be dict"),
        (lambda d: d["observations"][1].update(start=5), r"span history x labels = 1 > 0 entries"),
        (lambda d: d["observations"].reverse(), r"'command' must start at 0, got 6"),
        (lambda d: d["actions"][0].update(low=2), r"needs low < high, got \[2, 1\]"),
        (lambda d: d["actions"][0].update(name="a,b"), r"must not be empty or hold a comma"),
        (lambda d: d["actions"][0].update(name="knee"), r"names of actions must be unique"),
        (lambda d: d.update(quaternion_order="zyxw"), r"quaternion_order must be one of"),
        (lambda d: d.update(control_rate_hz=-1), r"control_rate_hz must be a number in \[0, inf\]"),
        (lambda d: d.update(default_joint_pos=[0.0]), r"default_joint_pos needs 3 values, got 1"),
        (lambda d: d.update(model_sha256="xyz"), r"model_sha256 must be 64"),
        (lambda d: d.update(action_delay=[2, 1]), r"action_delay's longer end"),
    ],
)
def test_what_is_not_exactly_a_manifest_is_refused(manifest: Manifest, change: Any, message: str) -> None:
    data = json.loads(manifest.to_json())
    change(data)
    with pytest.raises(CorruptFile, match=message):
        Manifest.from_json(json.dumps(data))


@pytest.mark.parametrize("text", ["", "policy", "[]", "3", '{"task": NaN}', '{"task": 1, "task": 2}', "[" * 9999])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(CorruptFile, match="the manifest"):
        Manifest.from_json(text)


def test_infinite_bounds_and_values_that_json_cannot_say_are_refused(manifest: Manifest) -> None:
    with pytest.raises(ConfigError, match="high of action 'hip' must be finite, got inf"):
        ActionTerm("hip", 0.0, float("inf"), "", 0.0, 1.0)
    for value in (float("nan"), object()):
        with pytest.raises(ConfigError, match="cannot be written as JSON"):
            dataclasses.replace(manifest, training={"return": value}).to_json()


def test_the_ecosystems_keys_are_filled_in_full_precision(manifest: Manifest) -> None:
    assert ecosystem_metadata(manifest) == {
        "joint_names": "hip,knee,ankle",
        "default_joint_pos": "0.1,0.3333333333333333,-0.7",
        "command_names": "command",
        "observation_names": "joint_pos,command",
        "observation_terms_scale": "1.0,1.0",
        "observation_terms_history_length": "2,1",
        "observation_terms_flatten_history_dim": "True,True",
        "action_scale": "40.0,0.3333333333333333",
    }


def test_manifest_module_itself_needs_the_standard_library_alone() -> None:
    code = (
        "import sys, types; package = types.ModuleType('roborl'); package.__path__ = [sys.argv[1]]\n"
        "sys.modules['roborl'] = package\n"
        "import roborl.deploy.manifest\n"
        "loaded = {m.partition('.')[0] for m in sys.modules}\n"
        "print(sorted(loaded - set(sys.stdlib_module_names) - set(sys.argv[2:])))"
    )
    import roborl

    before = subprocess.run(
        [sys.executable, "-c", "import sys; print(*{m.partition('.')[0] for m in sys.modules})"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    done = subprocess.run(
        [sys.executable, "-c", code, roborl.__path__[0], *before], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['roborl']"


def test_a_term_needs_labels() -> None:
    with pytest.raises(ConfigError, match="span history x labels = 0 > 0"):
        ObservationTerm("x", 0, 0, (), "", "", {}, 1.0, 1, 0, True)
