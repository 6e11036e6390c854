from __future__ import annotations

import pytest

from roborl.algos import LEARNERS, learner_class
from roborl.errors import UnknownName
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
