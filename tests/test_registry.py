from __future__ import annotations

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
