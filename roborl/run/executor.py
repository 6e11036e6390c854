"""Executors: N environments that run side by side, in learners' units, whatever they are made of.

Actions are in [-1, 1]; the environments' bounds are applied here, once. Episodes restart by themselves in NEXT_STEP
mode: the step after an episode's last one is the reset, its reward is 0, and it is marked as not live.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode

from roborl import tasks
from roborl.data.sampling import Goals
from roborl.envs import TaskVectorEnv
from roborl.errors import NonFinite, UnknownName, UsageError
from roborl.learner import Spaces
from roborl.run.seeding import int_stream
from roborl.task.contract import Task
from roborl.task.observer import Observer


class Step(NamedTuple):
    """What a step of N environments gives.

    Attributes:
        obs: group -> (N, width), what followed.
        reward: (N,).
        terminated: (N,) bool.
        truncated: (N,) bool.
        live: (N,) bool, false where this step was a reset.
        success: (N,) bool, or None where the task has no such notion.
    """

    obs: dict[str, np.ndarray]
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    live: np.ndarray
    success: np.ndarray | None


class Executor(ABC):
    """N environments.

    Attributes:
        num_envs: N.
        spaces: widths of observations and actions.
        control_dt: seconds between actions; None where it is not known.
        restorable: whether `state` holds all that the environments' futures depend on.
        goals: where the goals stand in the observations; None where there are none.
    """

    num_envs: int
    spaces: Spaces
    control_dt: float | None
    restorable: bool
    goals: Goals | None = None

    def __init__(self, low: np.ndarray, high: np.ndarray) -> None:
        self.action_low, self.action_high = low.astype(np.float64), high.astype(np.float64)
        self._middle = (self.action_high + self.action_low) / 2.0
        self._half = (self.action_high - self.action_low) / 2.0

    @abstractmethod
    def reset(self, seeds: np.ndarray) -> dict[str, np.ndarray]:
        """Begin episode 0 of streams of randomness ``seeds (N,)``; return the observation groups."""

    @abstractmethod
    def step(self, action: np.ndarray) -> Step:
        """Take a step with actions (N, A) in [-1, 1]."""

    @abstractmethod
    def state(self) -> dict[str, np.ndarray]:
        """Return what can be saved of the environments."""

    @abstractmethod
    def restore(self, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Continue from a saved state; return the observation groups there.

        Where the executor is not restorable, begin new episodes, with randomness that follows from the state.
        """

    @abstractmethod
    def picture(self, index: int) -> np.ndarray:
        """Return a picture of an environment, uint8 (height, width, 3)."""

    @abstractmethod
    def close(self) -> None:
        """Free what the environments hold."""

    def to_units(self, action: np.ndarray) -> np.ndarray:
        """Return actions (N, A) in the environments' units."""
        return self._middle + self._half * action


class TaskExecutor(Executor):
    """N environments of a task of ours."""

    restorable = True

    def __init__(self, task: Task, num_envs: int, num_threads: int) -> None:
        self.env = TaskVectorEnv(task, num_envs, None, AutoresetMode.NEXT_STEP, num_threads)
        sim = self.env.sim
        _check_bounds(type(task).__name__, sim.action_low, sim.action_high)
        super().__init__(sim.action_low, sim.action_high)
        self.num_envs = num_envs
        self.control_dt = task.control_dt
        self.spaces = Spaces(dict(sim.observer.widths), len(sim.action_names))
        self._groups = [group for group in sim.observer.widths if group != "policy"]
        self._live = np.ones(num_envs, bool)
        self.goals = _goals(task, sim.observer)

    def reset(self, seeds: np.ndarray) -> dict[str, np.ndarray]:
        """Begin episode 0 of each stream of randomness; see `Executor.reset`."""
        obs, info = self.env.reset(seed=seeds.tolist())
        self._live = np.ones(self.num_envs, bool)
        return self._gather(obs, info)

    def step(self, action: np.ndarray) -> Step:
        """Take a step; see `Executor.step`."""
        obs, reward, terminated, truncated, info = self.env.step(self.to_units(action))
        live, self._live = self._live, ~(terminated | truncated)
        return Step(self._gather(obs, info), reward, terminated, truncated, live, info.get("success"))

    def _gather(self, obs: np.ndarray, info: dict[str, Any]) -> dict[str, np.ndarray]:
        groups = {"policy": obs} | {group: info[group] for group in self._groups}
        for name, value in groups.items():
            # the sum first: it takes half the time, and can only raise a false alarm
            if not math.isfinite(value.sum()) and not np.isfinite(value).all():
                ids = np.flatnonzero(~np.isfinite(value).all(axis=1))
                raise NonFinite(
                    f"the observation group {name!r} of {type(self.env.task).__name__} is not finite "
                    f"in environment {ids[0]}"
                )
        return groups

    def state(self) -> dict[str, np.ndarray]:
        """Return what can be saved; see `Executor.state`."""
        return self.env.state()

    def restore(self, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Continue from a saved state; see `Executor.restore`."""
        groups = self.env.restore(dict(state))
        self._live = ~state["done"].astype(bool)
        return groups

    def picture(self, index: int) -> np.ndarray:
        """Return a picture; see `Executor.picture`."""
        return self.env.picture(index)

    def close(self) -> None:
        """Free what the environments hold."""
        self.env.close()


class GymExecutor(Executor):
    """N environments of gymnasium that are not ours; their state cannot be saved."""

    restorable = False

    def __init__(self, env_id: str, num_envs: int, options: Mapping[str, Any], render: bool = False) -> None:
        mode = {"render_mode": "rgb_array"} if render else {}
        self.envs = [_make_gymnasium(env_id, dict(options) | mode) for _ in range(num_envs)]
        first = self.envs[0]
        space = first.action_space
        if not isinstance(space, Box) or len(space.shape) != 1:
            raise UsageError(
                f"{env_id} has the action space {space}; learners here need a one-dimensional box of bounded actions"
            )
        _check_bounds(env_id, space.low, space.high)
        super().__init__(space.low, space.high)
        self._name = env_id
        self.num_envs = num_envs
        self.control_dt = getattr(first.unwrapped, "dt", None)
        assert first.observation_space.shape is not None  # _make_gymnasium made it one-dimensional
        self.spaces = Spaces({"policy": first.observation_space.shape[0]}, space.shape[0])
        self._dtype = space.dtype
        self._done = np.zeros(num_envs, bool)
        self._seeds = np.zeros(num_envs, np.uint64)
        self._restores = 0

    def reset(self, seeds: np.ndarray) -> dict[str, np.ndarray]:
        """Begin episode 0 of each stream of randomness; see `Executor.reset`."""
        self._seeds, self._restores = seeds.astype(np.uint64), 0
        return self._restart()

    def _restart(self) -> dict[str, np.ndarray]:
        self._done[:] = False
        seeds = [int_stream(int(seed), "restores", self._restores) % 2**31 for seed in self._seeds]
        obs = [env.reset(seed=seed)[0] for env, seed in zip(self.envs, seeds, strict=True)]
        return {"policy": np.stack(obs)}

    def step(self, action: np.ndarray) -> Step:
        """Take a step; see `Executor.step`."""
        units = self.to_units(action).astype(self._dtype)
        obs = np.empty((self.num_envs, self.spaces.obs["policy"]))
        reward = np.zeros(self.num_envs)
        terminated, truncated = np.zeros(self.num_envs, bool), np.zeros(self.num_envs, bool)
        live = ~self._done
        for i, env in enumerate(self.envs):
            if live[i]:
                obs[i], reward[i], terminated[i], truncated[i], _ = env.step(units[i])
            else:
                obs[i], _ = env.reset()
        if not (np.isfinite(obs).all() and np.isfinite(reward).all()):
            ids = np.flatnonzero(~(np.isfinite(obs).all(axis=1) & np.isfinite(reward)))
            raise NonFinite(f"environment {ids[0]} gave an observation or a reward that is not finite")
        self._done = terminated | truncated
        return Step({"policy": obs}, reward, terminated, truncated, live, None)

    def state(self) -> dict[str, np.ndarray]:
        """Return what can be saved; see `Executor.state`."""
        return {"seeds": self._seeds.copy(), "restores": np.array(self._restores)}

    def restore(self, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Continue from a saved state; see `Executor.restore`."""
        self._seeds, self._restores = state["seeds"].astype(np.uint64), int(state["restores"]) + 1
        return self._restart()

    def picture(self, index: int) -> np.ndarray:
        """Return a picture; see `Executor.picture`."""
        try:
            frame = self.envs[index].render()
        except Exception as error:  # environments are other people's code
            raise UsageError(f"{self._name} cannot be rendered: {type(error).__name__}: {error}") from error
        if not isinstance(frame, np.ndarray):
            raise UsageError(f"{self._name} cannot be rendered: it gave {type(frame).__name__} instead of a picture")
        return frame

    def close(self) -> None:
        """Free what the environments hold."""
        for env in self.envs:
            env.close()


def make_executor(
    task: str, num_envs: int, *, num_threads: int = 1, options: Mapping[str, Any] | None = None, render: bool = False
) -> Executor:
    """Return N environments of a task of ours, of a user's file, or of gymnasium.

    Args:
        task: as for `roborl.tasks.load`, or else the id of a gymnasium environment.
        num_envs: N.
        num_threads: threads that step our simulations; 0: one for each processor.
        options: the task's options, or the environment's keyword arguments.
        render: whether pictures will be asked for.

    Raises:
        UnknownName: if neither roborl nor gymnasium has the name.
        UsageError: if the actions are discrete or unbounded.
    """
    options = options or {}
    try:
        loaded = tasks.load(task, **options)
    except UnknownName as error:
        if error.kind != "task" or not is_gymnasium(task):
            raise
        return GymExecutor(task, num_envs, options, render)
    except TypeError as error:  # an option's value of the wrong kind
        raise UsageError(f"{task} cannot be made with the options {dict(options)}: {error}") from error
    return TaskExecutor(loaded, num_envs, num_threads)


def is_gymnasium(name: str) -> bool:
    """Whether gymnasium knows an environment of this id."""
    try:
        gymnasium.spec(name)
    except (gymnasium.error.Error, ModuleNotFoundError):
        return False
    return True


def _make_gymnasium(env_id: str, options: dict[str, Any]) -> gymnasium.Env:
    try:
        env = gymnasium.make(env_id, disable_env_checker=True, **options)
        if not isinstance(env.observation_space, Box) or len(env.observation_space.shape) != 1:
            env = gymnasium.wrappers.FlattenObservation(env)
    except Exception as error:  # environments are other people's code
        raise UsageError(f"gymnasium cannot make {env_id}: {type(error).__name__}: {error}") from error
    if not isinstance(env.observation_space, Box):
        raise UsageError(f"the observations of {env_id} cannot be flattened: {env.observation_space}")
    return env


def _goals(task: Task, observer: Observer) -> Goals | None:
    """Return where a task's goals stand: in every term with the source of the one in the group "desired_goal"."""
    groups = observer.groups
    if not {"achieved_goal", "desired_goal"} <= groups.keys():
        return None
    (desired,) = groups["desired_goal"]
    source = desired.term.source.describe()
    shown = {
        group: tuple(slice(b.start, b.start + b.size) for b in bound if b.term.source.describe() == source)
        for group, bound in groups.items()
        if group != "achieved_goal"
    }
    return Goals(
        achieved=("achieved_goal", slice(0, observer.widths["achieved_goal"])),
        desired=("desired_goal", slice(0, observer.widths["desired_goal"])),
        shown={group: places for group, places in shown.items() if places},
        reward=lambda achieved, desired: task.goal_reward(achieved, desired, np),
    )


def _check_bounds(name: str, low: np.ndarray, high: np.ndarray) -> None:
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        got = f"low {np.ravel(low).tolist()} and high {np.ravel(high).tolist()}"
        raise UsageError(f"the actions of {name} must be bounded, got {got}")
