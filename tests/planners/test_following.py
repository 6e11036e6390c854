from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from plants import NOWHERE, Valley

from roborl import tasks
from roborl.dynamics.mujoco import MujocoDynamics
from roborl.planners.contract import Plan, Planner
from roborl.planners.following import action_at
from roborl.planners.mpc import MPCPolicy
from roborl.sim import Sim, SimState


def test_between_its_steps_a_plan_is_linear_and_after_the_last_it_holds() -> None:
    plan, dynamics = Plan(np.array([[0.0, 0.0], [1.0, 0.5], [-2.0, 0.5]]), 0.0), Valley()
    for position, expected in ((0.0, [0, 0]), (0.25, [0.25, 0.125]), (1.5, [-0.5, 0.5]), (2.0, [-2, 0.5])):
        assert action_at(plan, dynamics, NOWHERE, position).tolist() == expected
    for position in (2.5, 3.0, 100.0):
        assert action_at(plan, dynamics, NOWHERE, position).tolist() == [-2, 0.5]


def cartpole() -> tuple[MujocoDynamics, Sim, SimState]:
    task = tasks.load("CartpoleBalance")
    sim = Sim(task, 1, num_threads=1)
    sim.reset()
    sim.fields.qpos[...], sim.fields.qvel[...] = [[0.1, 0.2]], [[0.3, 0.4]]
    return MujocoDynamics(task, num_threads=1), sim, sim.state()


def test_feedback_computed_by_hand() -> None:
    dynamics, _, x = cartpole()  # at (0.1, 0.2, 0.3, 0.4)
    X = np.zeros((3, 4))
    X[1] = [0.1, 0.0, 0.0, 0.0]
    gains = np.stack((np.array([[1.0, 0.5, 0.0, 0.0]]), np.array([[0.0, 0.0, 1.0, 0.0]])))
    plan = Plan(np.array([[0.1], [0.3]]), 0.0, X=X, gains=gains)
    # 0.1 + 1 * (0.1 - 0) + 0.5 * (0.2 - 0)
    assert action_at(plan, dynamics, x, 0.0) == pytest.approx([0.3])
    # half-way: action 0.2, gains (0.5, 0.25, 0.5, 0), point (0.05, 0, 0, 0): 0.2 + 0.5 * 0.05 + 0.25 * 0.2 + 0.5 * 0.3
    assert action_at(plan, dynamics, x, 0.5) == pytest.approx([0.425])
    assert action_at(plan, dynamics, x, 1.0) == pytest.approx([0.3 + 0.3])
    assert action_at(plan, dynamics, x, 1.5).tolist() == [0.3]  # beyond: held, without feedback
    wild = Plan(plan.U, 0.0, X=X, gains=100.0 * gains)
    assert action_at(wild, dynamics, x, 0.0).tolist() == [1.0]  # within the action's bounds


class Fixed(Planner):
    """Gives one plan again and again."""

    name, Config = "fixed", dict

    def __init__(self, dynamics: Any, config: Any = None, seed: int = 0) -> None:
        self.dynamics, self.config = dynamics, config

    def plan(self, x0: SimState, warm_start: Plan | None = None) -> Plan:
        return self.config

    def seed(self, seed: int) -> None: ...
    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None: ...


def test_a_policy_applies_feedback_between_plans() -> None:
    dynamics, sim, x = cartpole()
    gains = np.array([[[0.0, 0.0, 0.0, 0.0]], [[0.0, 1.0, 0.0, 0.0]]])
    plan = Plan(np.array([[0.1], [0.2]]), 0.0, X=np.zeros((3, 4)), gains=gains)
    policy = MPCPolicy(Fixed(dynamics, plan), replan_steps=2)
    assert policy.act(x) == pytest.approx([0.1])
    sim.step(np.array([[0.1]]))
    after = sim.state()
    assert policy.act(after) == pytest.approx([0.2 + dynamics.coordinates(after)[0, 1]])
    assert policy.plans == 1
