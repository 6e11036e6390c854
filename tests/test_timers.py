"""MuJoCo's timers are off in whoever simulates with roborl, and can be had back."""

import mujoco
import pytest

from roborl import tasks, timers
from roborl.sim import Sim


@pytest.fixture
def clock():
    yield
    mujoco.set_mjcb_time(None)
    timers.switch_off()


def timed(model):
    data = mujoco.MjData(model)
    mujoco.mj_step(model, data, 10)
    return data.timer[mujoco.mjtTimer.mjTIMER_STEP].duration


def test_timers_are_off_and_can_be_had_back(clock):
    model = Sim(tasks.load("CartpoleBalance")).model
    assert timed(model) == 0.0
    mujoco.set_mjcb_time(None)
    assert timed(model) > 0.0
    timers.switch_off()
    assert timed(model) == 0.0


def test_a_users_own_clock_stays(clock):
    mujoco.set_mjcb_time(lambda: 1.5)
    timers.switch_off()
    assert mujoco.get_mjcb_time()() == 1.5
