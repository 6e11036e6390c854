from __future__ import annotations

import math

import numpy as np
import pytest

from roborl.errors import ConfigError
from roborl.models.arms import ARMS, PANDA, UR5E, Arm, tool_position
from roborl.models.inverse_kinematics import reach, tool_jacobian

every_arm = pytest.mark.parametrize("arm", ARMS.values(), ids=ARMS)


@every_arm
def test_goals_within_reach_are_reached_within_the_limits(arm: Arm) -> None:
    rng = np.random.default_rng(0)
    low, high = np.array(arm.low), np.array(arm.high)
    for _ in range(50):
        pose = np.clip(np.array(arm.ready) + rng.uniform(-0.6, 0.6, len(low)), low, high)
        goal = tool_position(np, arm, pose[None])[0]
        found = reach(arm, goal, np.array(arm.ready))
        assert found.reached and found.error_m <= 1e-6
        np.testing.assert_allclose(tool_position(np, arm, found.q[None])[0], goal, atol=1e-6)
        assert (found.q >= low).all() and (found.q <= high).all()


def test_a_start_at_the_goal_is_the_answer() -> None:
    ready = np.array(PANDA.ready)
    found = reach(PANDA, tool_position(np, PANDA, ready[None])[0], ready)
    assert found.reached and np.array_equal(found.q, ready)


@every_arm
def test_a_goal_out_of_reach_is_said_to_be_and_the_arm_stretches_towards_it(arm: Arm) -> None:
    goal = np.array([3.0, 0.5, 0.6])
    found = reach(arm, goal, np.array(arm.ready))
    assert not found.reached and np.isfinite(found.q).all()
    # no tool is further from the base than the links' lengths together
    longest = arm.tool + sum(math.dist((0.0, 0.0, 0.0), offset) for offset, _ in arm.links)
    assert np.linalg.norm(goal) - longest <= found.error_m < np.linalg.norm(goal) - 0.6 * longest
    assert (found.q >= np.array(arm.low)).all() and (found.q <= np.array(arm.high)).all()


def test_from_a_stretched_out_arm_where_a_direction_is_missing_the_goal_is_reached_all_the_same() -> None:
    straight = np.zeros(6)  # the UR5e lies along x, and no joint moves its tool along it
    assert np.linalg.matrix_rank(tool_jacobian(UR5E, straight)[:, 1:4], tol=1e-6) < 3
    assert reach(UR5E, np.array([-0.4, -0.2, 0.4]), straight).reached


def test_the_jacobian_of_a_turn_about_the_base_is_known() -> None:
    # the first joint turns the tool about the base's z axis: dp/dq = z x p = (-y, x, 0)
    q = np.array(PANDA.ready)
    x, y, _ = tool_position(np, PANDA, q[None])[0]
    np.testing.assert_allclose(tool_jacobian(PANDA, q)[:, 0], [-y, x, 0.0], atol=1e-9)


@pytest.mark.parametrize("goal", [[0.3, 0.0], [0.3, math.nan, 0.2]])
def test_a_goal_that_is_none_is_refused(goal: list[float]) -> None:
    with pytest.raises(ConfigError, match="goal must be 3 finite numbers"):
        reach(PANDA, np.array(goal), np.array(PANDA.ready))


def test_settings_out_of_range_are_refused_by_name() -> None:
    ready = np.array(PANDA.ready)
    with pytest.raises(ConfigError, match="start must be 7 finite numbers"):
        reach(PANDA, np.zeros(3), ready[:6])
    with pytest.raises(ConfigError, match="tolerance_m"):
        reach(PANDA, np.zeros(3), ready, tolerance_m=0.0)
    with pytest.raises(ConfigError, match="iterations"):
        reach(PANDA, np.zeros(3), ready, iterations=0)
