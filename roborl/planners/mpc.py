"""MPC: a planner as a policy, in lock-step with the simulation, which waits for it; and whole episodes of it."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from roborl.camera import Camera
from roborl.dynamics import make_dynamics
from roborl.errors import ConfigError, UnknownName, check_count
from roborl.planners import planner_class
from roborl.planners.contract import Plan, Planner
from roborl.planners.following import action_at
from roborl.planners.real_time import KeepingUp, RealTimeReport
from roborl.sim import Sim, SimState
from roborl.task.contract import Task


class MPCPolicy:
    """Acts on a planner's plans, each begun from what is left of the one before.

    Where the planner gives gains, an action answers to how far the state is off the plan, within the bounds. The
    policy takes the whole state of a simulation: planners see the state, policies an observation.

    Args:
        planner: the planner.
        replan_steps: control steps acted on each plan.
        begin: what the first plan of an episode goes on from; None: the planner begins anew.

    Attributes:
        plans: how many plans have been made.
        planning_s: seconds spent on them.
        last_plan: the latest plan, None before the first.
    """

    def __init__(self, planner: Planner, replan_steps: int = 1, begin: Plan | None = None) -> None:
        check_count("replan_steps", replan_steps, 1)
        self.planner = planner
        self.replan_steps = replan_steps
        self.begin = begin
        self.plans = 0
        self.planning_s = 0.0
        self.last_plan: Plan | None = None
        self._age = 0

    def reset(self, seed: int) -> None:
        """Forget the last plan and seed the planner: begin an episode that depends on no earlier one."""
        self.planner.seed(seed)
        self.last_plan = None
        self._age = 0

    def act(self, x: SimState) -> np.ndarray:
        """Return the action (na,) for a state of one row; between plans with feedback, where the planner gives gains.

        Raises:
            NonFinite: if every prediction diverged.
        """
        if self.last_plan is None or self._age >= min(self.replan_steps, len(self.last_plan.U)):
            start = time.perf_counter()
            warm_start = self.begin if self.last_plan is None else self.last_plan.shifted(self._age)
            self.last_plan = self.planner.plan(x, warm_start)
            self.planning_s += time.perf_counter() - start
            self.plans += 1
            self._age = 0
        self._age += 1
        return action_at(self.last_plan, self.planner.dynamics, x, self._age - 1)

    @property
    def gain(self) -> np.ndarray | None:
        """The gain (na, ndx) that goes with the latest action; None: the planner gives none."""
        plan = self.last_plan
        return None if plan is None or plan.gains is None or plan.X is None else plan.gains[self._age - 1]

    def state(self) -> dict[str, Any]:
        """Return what its next actions depend on beside the state it is given, as JSON values."""
        plan = None if self.last_plan is None else self.last_plan.to_json()
        return {"planner": self.planner.state(), "plan": plan, "age": self._age}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave."""
        self.planner.restore(state["planner"])
        self.last_plan = None if state["plan"] is None else Plan.from_json(state["plan"])
        self._age = state["age"]


@dataclass(frozen=True)
class Episode:
    """What happened in an episode of T steps."""

    seed: int
    """The simulation's seed; the episode is its first."""

    qpos: np.ndarray
    """(T + 1, nq) positions, the initial ones first."""

    qvel: np.ndarray
    """(T + 1, nv) velocities."""

    actions: np.ndarray
    """(T, na) actions, in their units."""

    rewards: np.ndarray
    """(T,)"""

    success: np.ndarray | None
    """(T,) bool, whether the goal was reached after each step; None: the task has no such notion."""

    terminated: bool
    """Whether it ended before its time."""

    states: SimState
    """(T + 1 rows) the whole states."""

    gains: np.ndarray | None
    """(T, na, ndx): by how much the actions answer to differences from these states; None: not known."""

    @property
    def total(self) -> float:
        """The episode's return."""
        return float(self.rewards.sum())


@dataclass(frozen=True)
class PlanResults:
    """What a planner did on a task."""

    planner: str
    task: str
    settings: dict[str, Any]
    """The planner's settings, all of them."""

    episodes: list[Episode]
    plans: int
    planning_s: float
    planner_steps: int
    """Control steps simulated in planning, beside those of the episodes."""

    real_time: RealTimeReport | None = None
    """How planning kept up, where the task did not wait for it."""

    @property
    def returns(self) -> np.ndarray:
        """(episodes,) returns."""
        return np.array([episode.total for episode in self.episodes])

    def summary(self) -> dict[str, Any]:
        """Return the results without the trajectories, as JSON values.

        ``success_rate`` is the share of episodes whose goal was reached at the end, ``success_share`` that of all
        steps; both None where the task has no such notion.
        """
        returns, success = self.returns, [e.success for e in self.episodes if e.success is not None]
        steps = sum(len(episode.rewards) for episode in self.episodes)
        return {
            "planner": self.planner,
            "task": self.task,
            "settings": self.settings,
            "episodes": len(self.episodes),
            "seeds": [episode.seed for episode in self.episodes],
            "returns": returns.tolist(),
            "return_mean": float(returns.mean()),
            "return_std": float(returns.std()),
            "lengths": [len(episode.rewards) for episode in self.episodes],
            "success_rate": float(np.mean([s[-1] for s in success])) if success else None,
            "success_share": float(np.mean(np.concatenate(success))) if success else None,
            "plans": self.plans,
            "plans_per_s": self.plans / self.planning_s,
            "task_steps": steps,
            "planner_steps": self.planner_steps,
            "real_time": None if self.real_time is None else asdict(self.real_time),
        }


def make_planner(
    name: str,
    task: Task,
    settings: Mapping[str, Any] | None = None,
    num_threads: int = 0,
    dynamics: str = "mujoco",
    substeps: int | None = None,
) -> Planner:
    """Return a planner by name.

    Args:
        name: one of `PLANNERS`.
        task: the task.
        settings: fields of the planner's configuration that differ from its defaults.
        num_threads: threads that simulate; 0: one for each processor.
        dynamics: what predicts, one of `roborl.dynamics.DYNAMICS`: by default the task's simulator.
        substeps: time steps in a control step of the rigid-body model; None: as many as the simulator takes.

    Raises:
        UnknownName: if there is no such planner, no such setting, or no such dynamics.
        ConfigError: if a setting is outside what is allowed, or the dynamics cannot predict the task.
    """
    cls = planner_class(name)
    valid = [f.name for f in fields(cls.Config)]
    for field in settings or {}:
        if field not in valid:
            raise UnknownName(f"setting of {name}", field, valid)
    config = cls.Config(**(settings or {}))
    return cls(make_dynamics(dynamics, task, num_threads, substeps), config)


def plan_episodes(
    planner: Planner,
    *,
    episodes: int = 1,
    seed: int = 0,
    replan_steps: int = 1,
    real_time: float | None = None,
    begin: Plan | None = None,
    on_step: Callable[[int, int, float], None] | None = None,
    on_frame: Callable[[Callable[[], np.ndarray]], None] | None = None,
) -> PlanResults:
    """Run episodes of a planner's task.

    Episode i is the first one of a simulation seeded ``seed + i``; nothing in it depends on the episodes before.

    Args:
        planner: the planner, as of `make_planner`.
        episodes: how many.
        seed: the first simulation's seed; the planner's own random numbers come from the same seed by another road.
        replan_steps: control steps acted on each plan.
        real_time: None: the simulation waits for each plan. A number: it does not, and passes so many seconds in a
            second, while a thread plans; what comes of it is then not the same each time.
        begin: what the first plan of each episode goes on from, where the simulation waits for it.
        on_step: called after each step with the episode's number, the step's, and the return so far.
        on_frame: called in each state of the first episode with a function that makes its picture, uint8
            (height, width, 3).

    Raises:
        NonFinite: if a simulation, or every prediction of it, diverged.
        ConfigError: if the planner's dynamics predict no task, or a number is outside what is allowed.
    """
    check_count("episodes", episodes, 1)
    check_count("seed", seed, 0)
    task, steps_before = planner.dynamics.task, planner.dynamics.steps
    sim = Sim(task, 1, num_threads=1)
    policy = MPCPolicy(planner, replan_steps, begin)
    if real_time is not None and begin is not None:
        raise ConfigError("a plan to begin from is for simulations that wait for their plans: leave out real_time")
    kept_up = None if real_time is None else KeepingUp(real_time)
    camera = None if on_frame is None else Camera(sim)
    done: list[Episode] = []
    try:
        for i in range(episodes):
            sim.seed(np.array([seed + i], np.uint64))
            sim.reset()
            policy.reset(int(np.random.SeedSequence(seed + i, spawn_key=(1,)).generate_state(1, np.uint64)[0]))
            report = None if on_step is None else functools.partial(on_step, i)
            film = None if on_frame is None or camera is None or i > 0 else lambda: on_frame(lambda: camera.picture(0))
            if kept_up is None:
                done.append(_run_episode(sim, policy.act, report, film, lambda: policy.gain))
            else:
                with kept_up.episode(planner, replan_steps, sim.state()) as act:
                    done.append(_run_episode(sim, act, report, film))
    finally:
        if camera is not None:
            camera.close()
    timing = None if kept_up is None else kept_up.report()
    return PlanResults(
        planner.name,
        type(task).__name__,
        asdict(planner.config) | {"replan_steps": replan_steps},
        done,
        policy.plans if timing is None else timing.plans,
        policy.planning_s if kept_up is None else kept_up.planning_s,
        planner.dynamics.steps - steps_before,
        timing,
    )


def _run_episode(
    sim: Sim,
    act: Callable[[SimState], np.ndarray],
    report: Callable[[int, float], None] | None,
    film: Callable[[], None] | None,
    gain: Callable[[], np.ndarray | None] = lambda: None,
) -> Episode:
    """Run one episode from the state that ``sim`` is in."""
    f = sim.fields
    states, gains = [sim.state()], []
    qpos, qvel, actions, rewards, success = [f.qpos[0].copy()], [f.qvel[0].copy()], [], [], []
    terminated, total = False, 0.0
    for step in range(sim.task.episode_steps):
        if film is not None:
            film()
        action = act(states[-1])
        gains.append(gain())
        result = sim.step(action[None])
        sim.check_finite(step)
        states.append(sim.state())
        actions.append(action)
        rewards.append(result.reward[0])
        qpos.append(f.qpos[0].copy())
        qvel.append(f.qvel[0].copy())
        if result.success is not None:
            success.append(result.success[0])
        total += float(rewards[-1])
        if report is not None:
            report(step + 1, total)
        terminated = bool(result.terminated[0])
        if terminated:
            break
    whole = SimState(*(np.concatenate(parts) for parts in zip(*states, strict=True)))
    return Episode(
        int(whole.counters[0, 0]),
        np.array(qpos),
        np.array(qvel),
        np.array(actions),
        np.array(rewards),
        np.array(success) if success else None,
        terminated,
        whole,
        None if any(K is None for K in gains) else np.array(gains),
    )
