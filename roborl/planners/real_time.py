"""MPC in real time: planning in its own thread, while the newest plan is followed; missed deadlines are counted."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from roborl.errors import check_count, check_range
from roborl.planners.contract import Plan, Planner
from roborl.planners.following import action_at
from roborl.sim import SimState


class Clock:
    """The task's time, which passes at a multiple of the wall's.

    Args:
        speed: task seconds in a second: 1 is real time, 0.5 gives planning twice the time.
    """

    def __init__(self, speed: float = 1.0) -> None:
        check_range("speed", speed, 0.0, open_low=True)
        self.speed = speed
        self._began_s = time.perf_counter()

    def now(self) -> float:
        """Return the task's time [s]; 0 when the clock was made."""
        return self.speed * (time.perf_counter() - self._began_s)

    def wait_until(self, task_s: float) -> None:
        """Sleep until a time of the task, an absolute one, so that delays do not add up."""
        remaining = task_s - self.now()
        if remaining > 0.0:
            time.sleep(remaining / self.speed)


@dataclass(frozen=True)
class RealTimeReport:
    """How planning kept up with the task."""

    speed: float
    """Task seconds in a second."""

    plans: int
    """Plans made, the first of each episode included, which is waited for."""

    missed_deadlines: int
    """Plans that took longer than the time between plans."""

    exhausted_steps: int
    """Control steps at which the newest plan had come to its end, and its last action was held."""

    late_steps: int
    """Control steps that began a whole step late or more, as the machine was busy."""

    latency_mean_s: float | None
    """Task seconds from the state that a plan was made for to the plan, on average; None: no more than first plans."""

    latency_max_s: float | None
    """The longest such time."""


class _Timed(NamedTuple):
    plan: Plan
    at_s: float


class RealTimeMPC:
    """Acts at once on the newest plan, while a thread of its own makes the next, begun from what is left of it.

    A plan is made for the state at its beginning; when it is ready the task has moved on, and the plan is entered as
    far on as time has passed: between its steps, too. Close it, or use it as a context, to end the thread.

    Args:
        planner: the planner; the thread alone uses it from the first plan on.
        replan_steps: control steps between the states that plans are made for, if planning keeps up; a plan that takes
            longer misses its deadline.
        now: the task's time [s].
    """

    def __init__(self, planner: Planner, replan_steps: int, now: Callable[[], float]) -> None:
        check_count("replan_steps", replan_steps, 1)
        self.planner = planner
        self._dt = planner.dynamics.control_dt
        self._period_s, self._now = replan_steps * self._dt, now
        self._changed = threading.Condition()
        self._newest: _Timed | None = None
        self._waiting: tuple[SimState, float] | None = None
        self._begun_s = 0.0
        self._error: Exception | None = None
        self._closed = False
        self.latencies_s: list[float] = []
        self.exhausted_steps = 0
        self._thread = threading.Thread(target=self._work, name="planning", daemon=True)

    def begin(self, x: SimState) -> None:
        """Make the first plan while the task waits, and start to plan beside it.

        Raises:
            NonFinite: if every prediction diverged.
        """
        plan = self.planner.plan(x)
        self._begun_s = self._now()
        self._newest = _Timed(plan, self._begun_s)
        self._thread.start()

    def act(self, x: SimState) -> np.ndarray:
        """Return the action (na,) for the state now, and hand the state to the planner if the next plan is due.

        Raises:
            NonFinite: if every prediction of a plan diverged.
        """
        at_s = self._now()
        with self._changed:
            if self._error is not None:
                raise self._error
            assert self._newest is not None, "begin comes first"
            plan, planned_s = self._newest
            # half a step early is due: else the rounding of times would make one step in two wait for the next
            if at_s - self._begun_s >= self._period_s - 0.5 * self._dt:
                self._waiting = (x, at_s)
                self._changed.notify_all()
        position = max(at_s - planned_s, 0.0) / self._dt
        self.exhausted_steps += position >= len(plan.U)
        return action_at(plan, self.planner.dynamics, x, position)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting is not None)
                if self._closed or self._waiting is None or self._newest is None:
                    return
                (x, at_s), self._waiting, self._begun_s = self._waiting, None, self._waiting[1]
                before, before_s = self._newest
            try:
                plan = self.planner.plan(x, before.shifted(round((at_s - before_s) / self._dt)))
            except Exception as error:  # whatever it is, the one who acts must hear of it
                with self._changed:
                    self._error = error
                return
            with self._changed:
                self._newest = _Timed(plan, at_s)
                self.latencies_s.append(self._now() - at_s)

    @property
    def missed_deadlines(self) -> int:
        """How many plans took longer than the time between plans."""
        return sum(latency > self._period_s for latency in self.latencies_s)

    def close(self) -> None:
        """End the thread, after the plan that it is making."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class KeepingUp:
    """Paces episodes in real time, and sums up how planning kept up with them.

    Args:
        speed: task seconds in a second.
    """

    def __init__(self, speed: float) -> None:
        self._speed = Clock(speed).speed
        self._latencies_s: list[float] = []
        self._plans = self._missed = self._exhausted = self._late = 0
        self.planning_s = 0.0

    @contextmanager
    def episode(self, planner: Planner, replan_steps: int, x: SimState) -> Iterator[Callable[[SimState], np.ndarray]]:
        """Give the function that acts in an episode beginning at a state, and waits for each step's time.

        Raises:
            NonFinite: if every prediction of a plan diverged.
        """
        clock, dt = Clock(self._speed), planner.dynamics.control_dt
        with RealTimeMPC(planner, replan_steps, clock.now) as policy:
            policy.begin(x)
            begun_s = clock.now()
            self.planning_s += begun_s / self._speed
            due = (begun_s + dt * step for step in itertools.count())

            def act(x: SimState) -> np.ndarray:
                due_s = next(due)
                clock.wait_until(due_s)
                self._late += clock.now() - due_s >= dt
                return policy.act(x)

            yield act
        self.planning_s += sum(policy.latencies_s) / self._speed
        self._latencies_s += policy.latencies_s
        self._plans += 1 + len(policy.latencies_s)
        self._missed += policy.missed_deadlines
        self._exhausted += policy.exhausted_steps

    def report(self) -> RealTimeReport:
        """Return how planning kept up in all episodes."""
        latencies = self._latencies_s
        return RealTimeReport(
            self._speed,
            self._plans,
            self._missed,
            self._exhausted,
            self._late,
            sum(latencies) / len(latencies) if latencies else None,
            max(latencies, default=None),
        )
