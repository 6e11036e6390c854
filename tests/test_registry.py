from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from roborl.algos import LEARNERS, learner_class
from roborl.errors import UnknownName, UsageError
from roborl.learner import Learner
from roborl.planners import PLANNERS, planner_class
from roborl.planners.contract import Planner
from roborl.registry import named_class


def test_every_listed_class_is_there_and_knows_its_name() -> None:
    for name in LEARNERS:
        assert issubclass(learner_class(name), Learner) and learner_class(name).name == name
    for name in PLANNERS:
        assert issubclass(planner_class(name), Planner) and planner_class(name).name == name


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"unknown robot 'go2'; did you mean 'go1'\? \(valid: g1, go1\)"):
        named_class("robot", "go2", {"go1": "a:B", "g1": "a:C"})


MY_LEARNER = """
from dataclasses import dataclass
from roborl.algos.a2c import A2C
from roborl.learner import Learner, OnPolicyLearner

class Mine(A2C):
    name = "mine"

class Unfinished(OnPolicyLearner):
    name, Config = "unfinished", A2C.Config
    def init(self, generator, dtype, device): ...
    def act(self, state, obs, memory, noise): ...

class OfNoKind(Learner):
    name, Config = "of_no_kind", A2C.Config

class Unsettled(A2C):
    Config = dict

class Unaware(A2C):
    @dataclass(frozen=True)
    class Config:
        gamma: float = 0.9
"""


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("Mime", UnknownName, r"unknown learner in .*mine.py 'Mime'; did you mean 'Mine'\?"),
        ("Unfinished", UsageError, "mine.py:Unfinished lacks act_noise_shape, learn, policy_graph"),
        ("OfNoKind", UsageError, "mine.py:OfNoKind must derive from OffPolicyLearner or OnPolicyLearner"),
        ("Unsettled", UsageError, "Unsettled must have a dataclass of its settings as Config, got <class 'dict'>"),
        ("Unaware", UsageError, "the settings of the learner .*mine.py:Unaware lack rollout_size"),
    ],
)
def test_a_learner_in_a_file_of_ones_own_is_found_or_told_what_it_lacks(
    name: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(MY_LEARNER)
    assert learner_class(f"{path}:Mine").name == "mine"
    with pytest.raises(error, match=message):
        learner_class(f"{path}:{name}")


def test_a_file_without_a_class_named_is_refused() -> None:
    for kind, find in (("learner", learner_class), ("planner", planner_class)):
        with pytest.raises(UsageError, match=f"name the class of the {kind}, too: mine.py:CLASS"):
            find("mine.py")


def test_every_learner_has_the_settings_that_its_loop_reads() -> None:
    for name in LEARNERS:
        known = {field.name for field in dataclasses.fields(learner_class(name).Config)}
        assert set(learner_class(name).needs) <= known, name


def test_a_planner_in_a_file_of_ones_own_is_found_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("from roborl.planners.mppi import MPPI\n\nclass Mine(MPPI):\n    name = 'mine'\n")
    assert planner_class(f"{path}:Mine").name == "mine"
    with pytest.raises(
        UnknownName, match=r"unknown planner in .*mine.py 'Mime'; did you mean 'Mine'\? \(valid: Mine\)"
    ):
        planner_class(f"{path}:Mime")
    with pytest.raises(UsageError, match="there is no file 'nowhere.py' to load the planner 'Mine' from"):
        planner_class("nowhere.py:Mine")
    path.write_text("1 / 0")
    with pytest.raises(UsageError, match="mine.py cannot be loaded: ZeroDivisionError"):
        planner_class(f"{path}:Mine")
