from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import array_api_compat.torch
import numpy as np
import pytest
import torch

from roborl.errors import UnknownName
from roborl.task import Fields, Randomization, Residual, Task
from roborl.task.contract import UnsupportedCost, UnsupportedGoals, stage_cost, terminal_cost


@dataclass(frozen=True)
class Reach(Task):
    """A task with nothing but what a task must have."""

    goal: float = 1.0
    """Where to go."""

    robot: ClassVar = "pendulum"
    control_dt: ClassVar = 0.05
    episode_length_s: ClassVar = 2.0
    observations: ClassVar = {"policy": []}

    def reset(self, draw, f):
        return {}

    def reward_terms(self, before, action, after):
        return {"near": -abs(after.qpos[:, 0] - self.goal)}


class Smooth(Reach):
    """The same with two residuals."""

    def stage_residuals(self, after, action):
        return {"near": Residual(after.qpos - self.goal, 2.0), "small": Residual(action)}


FIELDS = Fields(np, {"qpos": np.array([[3.0], [1.0]])}, {}, {})


def test_an_episode_has_its_length_in_control_steps():
    assert Reach().episode_steps == 40


def test_a_plain_task_never_ends_and_knows_no_success_memory_or_cost():
    task = Reach()
    assert task.terminated(FIELDS) is None and task.success(FIELDS) is None
    assert task.advance(FIELDS, np.zeros((2, 1)), None) == {}  # pyright: ignore[reportArgumentType]
    assert task.terminal_residuals(FIELDS) == {}
    with pytest.raises(UnsupportedCost, match="Reach has no smooth cost"):
        stage_cost(task, FIELDS, np.zeros((2, 1)))


def own(options):
    """Return what is not an option of every task."""
    return {name: value for name, value in options.items() if name not in {"xml_file"} | vars(Randomization()).keys()}


def test_options_are_the_fields_of_a_dataclass():
    assert own(Reach().options()) == {"goal": 1.0}
    assert Reach().with_options(goal=3.0).goal == 3.0
    assert type(Smooth().with_options(goal=3.0)) is Smooth


def test_a_task_that_is_no_dataclass_has_the_options_that_every_task_has():
    class Plain(Task):
        robot, control_dt, episode_length_s, observations = "pendulum", 0.05, 2.0, {}
        reset, reward_terms = Reach.reset, Reach.reward_terms

    assert own(Plain().options()) == {}
    assert isinstance(Plain().with_options(), Plain)
    assert Plain().with_options(com=0.01).randomization.com == 0.01
    with pytest.raises(UnknownName, match="unknown option of Plain 'goal'"):
        Plain().with_options(goal=1.0)


def test_an_unknown_option_is_named_with_the_nearest():
    with pytest.raises(UnknownName, match="unknown option of Reach 'gaol'; did you mean 'goal'"):
        Reach().with_options(gaol=1.0)


def test_a_residual_costs_half_its_weight_times_its_square():
    # 0.5 * 3 * (1 + 4) = 7.5
    assert Residual(np.array([[1.0, 2.0], [0.0, 0.0]]), 3.0).cost(np).tolist() == [7.5, 0.0]


def test_the_stage_cost_is_the_sum_of_the_residuals_costs():
    # 2/2 (3 - 1)^2 + 1/2 1^2 = 4.5 and 2/2 0^2 + 1/2 2^2 = 2
    assert stage_cost(Smooth(), FIELDS, np.array([[1.0], [2.0]])).tolist() == [4.5, 2.0]


def test_without_residuals_the_terminal_cost_is_zero_on_numpy_and_on_torch():
    assert terminal_cost(Reach(), FIELDS).tolist() == [0.0, 0.0]
    on_torch = Fields(array_api_compat.torch, {"qpos": torch.ones(3, 1)}, {}, {})
    assert terminal_cost(Reach(), on_torch).tolist() == [0.0, 0.0, 0.0]


def test_a_task_without_goals_says_so() -> None:
    with pytest.raises(UnsupportedGoals, match="Reach has no goals; define goal_reward"):
        Reach().goal_reward(np.zeros((1, 3)), np.zeros((1, 3)), np)
