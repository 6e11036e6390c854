from __future__ import annotations

import math

import numpy as np
import pytest

from roborl.errors import ConfigError
from roborl.task import (
    Draw,
    Fields,
    VelocityCommand,
    beyond,
    clearance,
    foot_times,
    gait,
    moving,
    short_swings,
    slip,
    stepping,
    tracking,
)

TROT = {"together": ((0, 3), (1, 2)), "apart": ((0, 1), (2, 3), (0, 2), (1, 3)), "width_s": 0.1}


def draw(n: int, step: int = 0) -> Draw:
    return Draw(np.arange(n, dtype=np.uint64), np.zeros(n, np.uint64), np.full(n, step, np.uint64))


def fields(n: int, **memory: np.ndarray) -> Fields:
    return Fields(np, {"qpos": np.zeros((n, 1))}, {}, memory)


def test_commands_fill_their_box_and_a_tenth_stands_still():
    n = 4000
    start = VelocityCommand((1.0, 0.5, 2.0)).start(fields(n), draw(n))
    command, left = start["command"], start["command_steps_left"]
    stands = (command == 0.0).all(axis=1)
    assert abs(stands.mean() - 0.1) < 4 * math.sqrt(0.1 * 0.9 / n)
    for column, most in zip(command[~stands].T, (1.0, 0.5, 2.0), strict=True):
        assert np.abs(column).max() <= most
        # uniform: mean 0, deviation most / sqrt(3)
        assert abs(column.mean()) < 4 * most / math.sqrt(3 * n) * 1.1
        assert column.std() == pytest.approx(most / math.sqrt(3), rel=0.05)
    assert abs(np.corrcoef(command[~stands].T) - np.eye(3)).max() < 0.07
    assert left.min() == 250 and left.max() == 500  # 5 to 10 s of 0.02 s


def test_a_command_changes_when_it_is_due_and_not_before():
    law = VelocityCommand(period_s=(0.1, 0.1), standing=0.0)
    f = fields(3, command=np.ones((3, 3)), command_steps_left=np.array([[3.0], [1.0], [2.0]]))
    new = law.advance(f, draw(3, 7))
    assert new["command_steps_left"].ravel().tolist() == [2.0, 5.0, 1.0]
    assert (new["command"][[0, 2]] == 1.0).all() and (new["command"][1] != 1.0).all()


def test_nothing_is_drawn_while_no_command_is_due():
    class NoDraw(Draw):
        def _words(self, name, count):
            raise AssertionError("something is drawn")

    zeros = np.zeros(2, np.uint64)
    nothing = NoDraw(zeros, zeros, zeros)
    f = fields(2, command=np.ones((2, 3)), command_steps_left=np.full((2, 1), 2.0))
    assert set(VelocityCommand().advance(f, nothing)) == {"command_steps_left"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"most": (1.0, 1.0)}, "most needs 3"),
        ({"most": (1.0, -1.0, 0.0)}, "most must be"),
        ({"period_s": (0.0, 1.0)}, "shorter end"),
        ({"period_s": (2.0, 1.0)}, "longer end"),
        ({"standing": 1.5}, "standing"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        VelocityCommand(**options)


def test_a_command_moves_beyond_a_tenth_of_a_metre_a_second():
    # |c|^2: 0, 0.0081, 0.0121, 1
    commands = np.array([[0, 0, 0], [0.09, 0, 0], [0, 0.11, 0], [0, 0, -1.0]])
    assert moving(np, commands).tolist() == [False, False, True, True]


def test_tracking_is_one_over_e_at_its_width():
    # exp(-0), exp(-0.25 / 0.25), exp(-(0.09 + 0.16) / 0.25)
    error = np.array([[0.0, 0.0], [0.5, 0.0], [0.3, 0.4]])
    assert tracking(np, error, 0.5) == pytest.approx([1.0, math.exp(-1), math.exp(-1)])


def test_the_feets_timers_count_from_lift_off_and_touch_down():
    air, ground = np.array([[0.0, 0.1]]), np.array([[0.3, 0.0]])
    air, ground = foot_times(np, np.array([[True, False]]), air, ground, 0.02)
    assert air[0] == pytest.approx([0.0, 0.12]) and ground[0] == pytest.approx([0.32, 0.0])
    air, ground = foot_times(np, np.array([[False, True]]), air, ground, 0.02)
    assert air[0] == pytest.approx([0.02, 0.0]) and ground[0] == pytest.approx([0.0, 0.02])


def test_stepping_pays_short_phases_and_standing_pays_the_ground():
    air = np.array([[0.1, 0.0, 0.0, 0.4]])
    ground = np.array([[0.0, 0.2, 0.5, 0.0]])
    # moving: 0.1 + 0.2, and nothing for the phases of 0.5 and 0.4 s
    assert stepping(np, air, ground, np.array([True]), 0.3) == pytest.approx([0.3])
    # standing: -0.1 + 0.2 + 0.3 - 0.3
    assert stepping(np, air, ground, np.array([False]), 0.3) == pytest.approx([0.1])


def test_a_swing_costs_what_it_was_too_short():
    before, now = np.array([[0.1, 0.15, 0.5, 0.0, 0.1]]), np.array([[0.0, 0.0, 0.0, 0.0, 0.12]])
    # landed after 0.1, 0.15 and 0.5 s of the wanted 0.2 s; one never left, one is still in the air
    assert short_swings(np, before, now, 0.2) == pytest.approx([0.1 + 0.05])


def test_a_trot_keeps_time_and_a_pace_does_not():
    swing, stand = 0.1, 0.1
    trot = np.array([[swing, 0.0, 0.0, swing]]), np.array([[0.0, stand, stand, 0.0]])
    assert gait(np, *trot, **TROT) == pytest.approx([1.0])
    # the legs of a side together: the pairs (0, 3), (1, 2) of diagonal feet are out of time, each by 0.1 in the air and
    # 0.1 on the ground, and so are the pairs (0, 2), (1, 3) of one side: 0.02 for four of six pairs
    pace = np.array([[swing, 0.0, swing, 0.0]]), np.array([[0.0, stand, 0.0, stand]])
    assert gait(np, *pace, **TROT) == pytest.approx([math.exp(-(4 * 0.02 / 6) / 0.01)])
    # standing for long: pairs that step apart are out of time, by at most 0.2 s twice: 0.08 for four of six pairs
    still = np.zeros((1, 4)), np.full((1, 4), 9.0)
    assert gait(np, *still, **TROT) == pytest.approx([math.exp(-(4 * 0.08 / 6) / 0.01)])


def test_a_walk_on_two_feet_has_no_pairs_together():
    air, ground = np.array([[0.3, 0.0]]), np.array([[0.0, 0.4]])
    # 0.3 in the air against 0.4 on the ground; 0 against 0
    assert gait(np, air, ground, (), ((0, 1),), 0.2) == pytest.approx([math.exp(-0.01 / 0.04)])


def test_clearance_slip_and_limits_by_hand():
    height, speed = np.array([[0.0, 0.06, 0.1, 0.0]]), np.array([[0.0, 1.0, 0.5, 2.0]])
    # |0 - 0.06| 0 + 0 + 0.04 * 0.5 + 0.06 * 2
    assert clearance(np, height, speed, 0.06) == pytest.approx([0.14])
    # on the ground: the first and the last, 0 + 4
    assert slip(np, np.array([[True, False, False, True]]), speed) == pytest.approx([4.0])
    # 0.5 below, within, 0.25 above
    x = np.array([[-1.5, 0.0, 2.25]])
    assert beyond(np, x, np.array([-1.0, -1.0, 0.0]), np.array([1.0, 1.0, 2.0])) == pytest.approx([0.75])
