from __future__ import annotations

import json
from pathlib import Path

import pytest

from roborl import models
from roborl.cli import main
from roborl.errors import CorruptFile, UsageError
from roborl.run.model_check import check_model

ROUGH = """
<mujoco>
  <option timestep="0.02" integrator="RK4"/>
  <worldbody>
    <body name="base">
      <joint name="turn"/>
      <geom size="0.1" contype="0" conaffinity="0"/>
      <body>
        <joint/>
        <geom size="0.1" pos="0 0 0.3" contype="0" conaffinity="0"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="turn"/></actuator>
  <sensor><jointpos joint="turn"/></sensor>
</mujoco>
"""


@pytest.fixture
def rough(tmp_path: Path) -> Path:
    (tmp_path / "rough.xml").write_text(ROUGH)
    return tmp_path / "rough.xml"


def test_what_a_model_lacks_is_named_element_by_element(rough: Path) -> None:
    assert [(f.level, f.element, f.message.split(":")[0].split(" is ")[0][:12]) for f in check_model(rough)] == [
        ("warning", "joint 1 of body ''", "has no name"),
        ("warning", "actuator 0 on joint 'turn'", "has no name"),
        ("warning", "body 2 in body 'base'", "has no name"),
        ("warning", "sensor 0", "has no name"),
        ("note", "actuator 0 on joint 'turn'", "has no ctrlr"),
        ("note", "joint 'turn'", "is moved by "),
        ("note", "option integrator", "RK4 costs fo"),
        ("note", "option timestep", "is 0.02 s"[:12]),
        ("note", "model", "nothing in i"),
    ]


@pytest.mark.parametrize("name", models.names())
def test_our_own_robots_have_neither_errors_nor_warnings(name: str) -> None:
    assert {finding.level for finding in check_model(models.path_of(name))} <= {"note"}


def test_a_model_without_actuators_is_an_error(rough: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rough.write_text(ROUGH.replace('<motor joint="turn"/>', ""))
    assert main(["tasks", "--check", str(rough)]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"{rough}: no task can use it"
    assert out[2].split()[:2] == ["error", "model"] and "no actuators" in out[2]


def test_the_answer_for_machines(rough: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "--check", str(rough), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["usable"] is True
    assert answer["findings"][0].keys() == {"level", "element", "message"}


def test_an_mjcf_that_does_not_parse_is_told_with_its_line(rough: Path) -> None:
    rough.write_text(ROUGH.replace("<joint/>", '<joint tpe="hinge"/>'))
    with pytest.raises(CorruptFile, match=r"rough.xml is not a valid MJCF: .*tpe.* line 9"):
        check_model(rough)
    with pytest.raises(UsageError, match="there is no MJCF"):
        check_model(rough.with_name("nowhere.xml"))
    with pytest.raises(UsageError, match=r"--check needs an MJCF, a file that ends in .xml, got 'cartpole'"):
        check_model("cartpole")
    assert main(["tasks", "Hopper", "--check", str(rough)]) == 2
