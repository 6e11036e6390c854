from __future__ import annotations

import math

import numpy as np
import pytest

from roborl.errors import ConfigError
from roborl.task import (
    Draw,
    Fields,
    GaitClock,
    VelocityCommand,
    beyond,
    moving,
    slip,
    tracking,
)

TROT = GaitClock((0.0, 0.5, 0.5, 0.0), frequency_hz=2.5, swing_m=0.08, stance=0.6)


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


def test_what_a_clock_wants_of_the_feet_over_a_cycle_by_hand():
    # stance until 0.6 of the cycle, the swing's middle is at 0.8, its quarters at 0.7 and 0.9
    cycle = np.array([[0.0], [0.3], [0.61], [0.7], [0.8], [0.9]])
    heights, stands = TROT.targets(2 * math.pi * cycle, np)
    assert heights[:, 0] == pytest.approx([0.0, 0.0, 0.04 * (1 - math.cos(math.pi / 20)), 0.04, 0.08, 0.04])
    # the other pair is half a cycle ahead: at 0.3 it is at 0.8, at 0.61 at 0.11
    assert heights[:, 1] == pytest.approx([0.0, 0.08, 0.0, 0.0, 0.0, 0.0])
    assert stands[:, 0].tolist() == [True, True, False, False, False, False]
    assert stands[:, 1].tolist() == [True, False, True, True, True, True]
    assert np.array_equal(heights[:, 1], heights[:, 2]) and np.array_equal(heights[:, 0], heights[:, 3])


def test_a_clock_runs_while_the_robot_shall_move_and_rests_where_all_feet_stand():
    phase, moves = np.array([[1.0], [6.0], [1.0]]), np.array([True, True, False])
    later = TROT.advance(phase, moves, np)["phase"]
    # 2.5 Hz, 20 ms: a twentieth of a cycle
    assert later.ravel() == pytest.approx([1.0 + 0.1 * math.pi, 6.0 + 0.1 * math.pi - 2 * math.pi, 0.0])
    assert (TROT.targets(later[2:], np)[0] == 0.0).all()
    start = TROT.start(draw(2000), np.arange(2000) < 1000, np)["phase"]
    assert (start[1000:] == 0.0).all()
    assert 0.0 <= start.min() and start.max() < 2 * math.pi
    assert abs(start[:1000].mean() - math.pi) < 4 * math.pi / math.sqrt(3 * 1000)  # uniform


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"offsets": ()}, "GaitClock.offsets needs a number for each foot, got none"),
        ({"frequency_hz": 0.0}, r"GaitClock.frequency_hz must be a number in \(0, inf\], got 0.0"),
        ({"swing_m": -0.1}, r"GaitClock.swing_m must be a number in \(0, inf\], got -0.1"),
        ({"stance": 1.0}, r"GaitClock.stance must be a number in \[0.01, 0.99\], got 1.0"),
    ],
)
def test_a_clock_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        GaitClock(**{"offsets": (0.0, 0.5), "frequency_hz": 1.0, "swing_m": 0.1} | options)


def test_slip_and_limits_by_hand():
    speed = np.array([[0.0, 1.0, 0.5, 2.0]])
    # on the ground: the first and the last, 0 + 4
    assert slip(np, np.array([[True, False, False, True]]), speed) == pytest.approx([4.0])
    # 0.5 below, within, 0.25 above
    x = np.array([[-1.5, 0.0, 2.25]])
    assert beyond(np, x, np.array([-1.0, -1.0, 0.0]), np.array([1.0, 1.0, 2.0])) == pytest.approx([0.75])
