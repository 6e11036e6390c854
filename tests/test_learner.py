from __future__ import annotations

import subprocess
import sys

import pytest

from roborl.algos import LEARNERS, learner_class
from roborl.errors import ConfigError, UnknownName
from roborl.learner import Learner, Spaces


def test_critics_read_their_own_group_where_there_is_one() -> None:
    assert Spaces({"policy": 3}, 1).critic_group == "policy"
    assert Spaces({"policy": 3, "critic": 5}, 1).critic_group == "critic"


@pytest.mark.parametrize(
    ("obs", "action", "message"),
    [
        ({"critic": 3}, 1, "needs the observation group 'policy', got \\['critic'\\]"),
        ({"policy": 0}, 1, "'policy' must have a width of at least 1, got 0"),
        ({"policy": 3}, 0, "the action must have a width of at least 1, got 0"),
    ],
)
def test_spaces_without_something_to_see_and_to_do_are_refused(obs: dict[str, int], action: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Spaces(obs, action)


@pytest.mark.parametrize("name", LEARNERS)
def test_every_listed_learner_loads_and_bears_its_name(name: str) -> None:
    learner = learner_class(name)
    assert issubclass(learner, Learner)
    assert learner.name == name


def test_an_unknown_learner_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(UnknownName, match="unknown learner 'sacc'; did you mean 'sac'"):
        learner_class("sacc")


def test_the_list_of_learners_is_cheap_to_import() -> None:
    code = "import sys, roborl.algos; assert not {'torch', 'mujoco'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
