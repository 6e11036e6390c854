from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from plants import Valley, state

from roborl import tasks
from roborl.errors import ConfigError, NonFinite
from roborl.planners.contract import Plan, Planner
from roborl.planners.mpc import make_planner, plan_episodes
from roborl.planners.real_time import Clock, RealTimeMPC
from roborl.sim import SimState


class Slow(Planner):
    """Plans when it is told to: its n-th plan's actions are n, n + 0.01, n + 0.02, ..."""

    name, Config = "slow", dict

    def __init__(self, dynamics: Any, config: Any = None, seed: int = 0) -> None:
        self.dynamics, self.config = dynamics, config
        self.go, self.seen = threading.Semaphore(0), list[tuple[float, Plan | None]]()

    def plan(self, x0: SimState, warm_start: Plan | None = None) -> Plan:
        assert self.go.acquire(timeout=60.0)
        self.seen.append((float(x0.physics[0, 0]), warm_start))
        if x0.physics[0, 0] < 0.0:
            raise NonFinite("all samples diverged")
        return Plan(0.1 * len(self.seen) + 0.01 * np.arange(5.0)[:, None] * np.ones(2), 0.0)

    def seed(self, seed: int) -> None: ...
    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None: ...


class Hands:
    """A policy, its planner and the hands of its clock."""

    def __init__(self, replan_steps: int = 2) -> None:
        self.time_s = 7.0
        self.planner = Slow(Valley())  # a control step is 0.05 s
        self.policy = RealTimeMPC(self.planner, replan_steps, lambda: self.time_s)
        self.planner.go.release()
        self.policy.begin(state(0.0))

    def act(self, step: float, x: float) -> float:
        self.time_s = 7.0 + 0.05 * step
        return float(self.policy.act(state(x))[0])

    def finish_plan(self, step: float) -> None:
        """Let the plan that is being made be ready at a time."""
        self.time_s = 7.0 + 0.05 * step
        made = len(self.policy.latencies_s)
        self.planner.go.release()
        self.wait(lambda: len(self.policy.latencies_s) > made)

    @staticmethod
    def wait(done: Callable[[], bool]) -> None:
        end_s = time.monotonic() + 60.0
        while not done():
            assert time.monotonic() < end_s
            time.sleep(0.001)


@pytest.fixture
def hands():
    hands = Hands()
    yield hands
    for _ in range(5):
        hands.planner.go.release()  # let the thread end
    hands.policy.close()


def test_the_newest_plan_is_followed_between_its_steps_while_the_next_is_made(hands: Hands) -> None:
    assert hands.act(0.0, 10.0) == pytest.approx(0.10)
    assert hands.act(1.0, 11.0) == pytest.approx(0.11)
    assert hands.act(1.5, 11.5) == pytest.approx(0.115)  # due half a step early: a plan for this state is begun
    Hands.wait(lambda: hands.policy._waiting is None)
    assert hands.act(2.5, 12.5) == pytest.approx(0.125)
    hands.finish_plan(3.0)
    # the new plan began at 1.5 steps, for that state, from what was left of the first one, moved on by 2 steps
    started_at, warm = hands.planner.seen[1]
    assert started_at == 11.5 and warm is not None
    assert warm.U[:, 0] == pytest.approx([0.12, 0.13, 0.14, 0.14, 0.14])
    assert hands.act(3.5, 13.5) == pytest.approx(0.22)  # entered two steps after its beginning
    assert hands.policy.latencies_s == pytest.approx([1.5 * 0.05])
    assert hands.policy.missed_deadlines == 0 and hands.policy.exhausted_steps == 0


def test_a_plan_that_takes_longer_than_the_time_between_plans_misses_its_deadline(hands: Hands) -> None:
    hands.act(2.0, 12.0)
    Hands.wait(lambda: hands.policy._waiting is None)
    for step in range(3, 8):
        assert hands.act(step, 10.0 + step) == pytest.approx(0.1 + 0.01 * min(step, 4))  # held after its last step
    hands.finish_plan(7.0)
    assert hands.policy.missed_deadlines == 1
    assert hands.policy.exhausted_steps == 3  # steps 5, 6, 7 of a plan of 5
    assert hands.act(8.0, 18.0) == pytest.approx(0.24)  # of the plan from step 2: long past its end already
    Hands.wait(lambda: hands.policy._waiting is None)
    hands.planner.go.release()
    Hands.wait(lambda: len(hands.planner.seen) == 3)
    assert hands.planner.seen[2][0] >= 17.0  # the newest state that waited, not the oldest


def test_what_breaks_in_the_thread_is_raised_where_one_acts(hands: Hands) -> None:
    hands.act(2.0, -1.0)
    hands.planner.go.release()
    Hands.wait(lambda: hands.policy._error is not None)
    with pytest.raises(NonFinite, match="all samples diverged"):
        hands.act(3.0, 0.0)


def test_the_first_plan_is_waited_for_and_its_error_is_raised_at_once() -> None:
    planner = Slow(Valley())
    planner.go.release()
    with RealTimeMPC(planner, 1, lambda: 0.0) as policy, pytest.raises(NonFinite):
        policy.begin(state(-1.0))


def test_a_clock_passes_at_its_speed_and_waits_for_absolute_times() -> None:
    start, clock = time.perf_counter(), Clock(2.0)
    clock.wait_until(0.1)
    clock.wait_until(0.05)  # has passed: no wait
    assert clock.now() >= 0.1 and time.perf_counter() - start >= 0.05
    with pytest.raises(ConfigError, match="speed"):
        Clock(0.0)


def test_an_episode_in_real_time_takes_its_time_and_says_how_planning_kept_up() -> None:
    task = tasks.load("PendulumSwingup")
    short = type("ShortPendulum", (type(task),), {"episode_length_s": 0.5})()
    planner = make_planner("mppi", short, {"horizon_s": 0.5, "samples": 8}, num_threads=1)
    start = time.perf_counter()
    results = plan_episodes(planner, episodes=2, real_time=2.0)
    assert time.perf_counter() - start >= 2 * 9 * 0.05 / 2.0  # nine waits an episode, at twice the speed
    report = results.real_time
    assert report is not None and report.speed == 2.0
    assert report.plans == results.plans >= 2
    assert results.planner_steps == results.plans * 10 * 8
    assert results.summary()["real_time"]["missed_deadlines"] == report.missed_deadlines <= report.plans
    assert [len(episode.rewards) for episode in results.episodes] == [10, 10]
    assert plan_episodes(planner).summary()["real_time"] is None
