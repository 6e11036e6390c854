"""Environments: a Sim as gymnasium's `VectorEnv`, and, with one simulation, as its `Env`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from roborl.camera import Camera
from roborl.errors import RunError, UsageError, check_in
from roborl.sim import Sim, SimState
from roborl.task.contract import Task


def make_env(task: str | Task, render_mode: str | None = None, **options: Any) -> TaskEnv:
    """Return a task as a `gymnasium.Env`.

    Args:
        task: a task, or the name of one.
        render_mode: None or "rgb_array".
        options: the task's options.
    """
    return TaskEnv(_load(task, options), render_mode)


def make_vector_env(
    task: str | Task,
    num_envs: int = 1,
    render_mode: str | None = None,
    autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
    num_threads: int = 0,
    **options: Any,
) -> TaskVectorEnv:
    """Return N environments of a task as a `gymnasium.vector.VectorEnv`.

    Args:
        task: a task, or the name of one.
        num_envs: N.
        render_mode: None or "rgb_array".
        autoreset_mode: one of gymnasium's three.
        num_threads: threads that step the physics; 0: one for each processor.
        options: the task's options.
    """
    return TaskVectorEnv(_load(task, options), num_envs, render_mode, autoreset_mode, num_threads)


def _load(task: str | Task, options: dict[str, Any]) -> Task:
    if isinstance(task, Task):
        return task.with_options(**options)
    from roborl import tasks

    return tasks.load(task, **options)


class TaskVectorEnv(gymnasium.vector.VectorEnv):
    """N environments of one task, at the speed of the physics.

    Observations are those of the task's "policy" group, float64 ``(N, n)``; every other group is in ``info`` under its
    name. ``info["reward_terms"]`` holds the reward's terms, ``info["success"]`` the success where the task has it. In
    SAME_STEP mode ``info["final_obs"]`` is the (N, n) observation before the reset, and ``info["final_info"]`` the info
    that went with it, valid where ``info["_final_obs"]``.

    Args:
        task: the task.
        num_envs: N.
        render_mode: None or "rgb_array".
        autoreset_mode: NEXT_STEP (the default), SAME_STEP or DISABLED, as gymnasium defines them.
        num_threads: threads that step the physics; 0: one for each processor.
    """

    def __init__(
        self,
        task: Task,
        num_envs: int = 1,
        render_mode: str | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        num_threads: int = 0,
    ) -> None:
        check_in("render_mode", render_mode, (None, "rgb_array"))
        self.task = task
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = _metadata(task) | {"autoreset_mode": self.autoreset_mode}
        self.sim = Sim(task, num_envs, num_threads=num_threads)
        self.single_observation_space = Box(-np.inf, np.inf, (self.sim.observer.widths["policy"],), np.float64)
        self.single_action_space = Box(
            self.sim.action_low.astype(np.float32), self.sim.action_high.astype(np.float32), dtype=np.float32
        )
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._action_shape = self.action_space.shape
        self._done = np.zeros(num_envs, bool)
        self._any_done = False
        self._seeded = False
        self._elapsed = np.zeros(num_envs, np.int64)
        self._episode_steps = task.episode_steps
        self._camera = None

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin new episodes.

        Args:
            seed: a number s (environment i is seeded s + i), one for each environment, or None: continue the
                streams, or at the first reset seed from the operating system.
            options: ``reset_mask (N,)`` bool: the environments to reset; by default all.

        Returns:
            Observations (N, n) of all environments, and info.
        """
        mask = self._reset_mask(options)
        ids = np.flatnonzero(mask)
        if not self._seeded:
            self.sim.seed(np.random.SeedSequence().generate_state(self.num_envs, np.uint64))
            self._seeded = True
        if seed is not None:
            seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int | np.integer) else list(seed)
            if len(seeds) != self.num_envs:
                raise UsageError(f"seed needs one entry for each of {self.num_envs} environments, got {len(seeds)}")
            given = np.array([i for i in ids if seeds[i] is not None], dtype=np.intp)
            values = [cast("int", seeds[i]) % 2**64 for i in given]
            self.sim.seed(np.array(values, dtype=np.uint64), given)
        self.sim.reset(ids)
        self._elapsed[ids] = 0
        self._done[ids] = False
        self._any_done = bool(self._done.any())
        groups = self.sim.observe()
        return groups.pop("policy"), groups

    def _reset_mask(self, options: dict[str, Any] | None) -> np.ndarray:
        if not options:
            return np.ones(self.num_envs, bool)
        unknown = set(options) - {"reset_mask"}
        if unknown:
            raise UsageError(f"reset options may be reset_mask, got {', '.join(sorted(unknown))}")
        mask = np.asarray(options["reset_mask"])
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
            raise UsageError(
                f"reset_mask must be a boolean array of shape ({self.num_envs},) with at least one True, "
                f"got {mask.dtype} of shape {mask.shape}"
            )
        return mask

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advance every environment by one control period.

        Args:
            actions: (N, na), in the action's units.

        Returns:
            Observations (N, n), rewards (N,), terminated (N,), truncated (N,), info.

        Raises:
            NonFinite: if a simulation became unstable.
        """
        actions = np.asarray(actions, np.float64)
        if actions.shape != self._action_shape:
            raise UsageError(f"actions must have the shape {self._action_shape}, got {actions.shape}")
        sim, mode = self.sim, self.autoreset_mode
        finished = resting = None
        if self._any_done:
            if mode is AutoresetMode.DISABLED:
                raise RunError(
                    f"episodes of environments {np.flatnonzero(self._done).tolist()} have ended; "
                    "reset them with options={'reset_mask': ...} before the next step"
                )
            finished, resting = np.flatnonzero(self._done), self._done  # in NEXT_STEP mode alone
        result = sim.step(actions, resting)
        self._elapsed += 1
        reward, terms, terminated, success = result
        truncated = self._elapsed >= self._episode_steps
        if finished is not None:
            sim.reset(finished)
            self._elapsed[finished] = 0
            for value in (reward, terminated, truncated, success, *terms.values()):
                if value is not None:
                    value[finished] = 0
        if np.count_nonzero(sim.diverged):  # a tenth of any()'s time
            sim.check_finite()
        info = _info(terms, success)
        groups = sim.observe()
        done = terminated | truncated
        self._any_done = bool(np.count_nonzero(done))
        if self._any_done:
            sim.end_episodes(np.flatnonzero(done))
        if self._any_done and mode is AutoresetMode.SAME_STEP:
            info = {
                "final_obs": groups["policy"],
                "_final_obs": done,
                "final_info": info | {name: value for name, value in groups.items() if name != "policy"},
                "_final_info": done,
            } | info
            ids = np.flatnonzero(done)
            sim.reset(ids)
            self._elapsed[ids] = 0
            groups = sim.observe()
            self._any_done = False
            done = np.zeros_like(done)
        self._done = done
        obs = groups.pop("policy")
        return obs, reward, terminated, truncated, info | groups

    def state(self) -> dict[str, np.ndarray]:
        """Return everything that the environments' futures depend on."""
        return self.sim.state()._asdict() | {"elapsed": self._elapsed.copy(), "done": self._done.copy()}

    def restore(self, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Continue from a saved state; return the observation groups there."""
        self.sim.restore(SimState(*(state[name] for name in SimState._fields)))
        self._elapsed[...] = state["elapsed"]
        self._done = state["done"].astype(bool)
        self._any_done = bool(self._done.any())
        self._seeded = True
        return self.sim.observe()

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Return a picture of each environment, uint8 (height, width, 3); None without a render mode."""
        if self.render_mode is None:
            return None
        return tuple(self.picture(i) for i in range(self.num_envs))

    def picture(self, index: int) -> np.ndarray:
        """Return a picture of one environment, uint8 (height, width, 3)."""
        if self._camera is None:
            self._camera = Camera(self.sim)
        return self._camera.picture(index)

    def close_extras(self, **kwargs: Any) -> None:
        """Free the renderer."""
        if self._camera is not None:
            self._camera.close()
            self._camera = None


class TaskEnv(gymnasium.Env):
    """One environment of a task: a `TaskVectorEnv` with N = 1, without its first axis."""

    def __init__(self, task: Task, render_mode: str | None = None) -> None:
        self._vector = TaskVectorEnv(task, 1, render_mode, AutoresetMode.DISABLED, num_threads=1)
        self.task = task
        self.sim = self._vector.sim
        self.render_mode = render_mode
        self.metadata = _metadata(task)
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin a new episode; see `TaskVectorEnv.reset`."""
        super().reset(seed=seed)
        obs, info = self._vector.reset(seed=seed)
        return obs[0], _single(info)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Advance by one control period; see `TaskVectorEnv.step`."""
        self._vector._any_done = False  # gymnasium lets a single environment be stepped past its end
        obs, reward, terminated, truncated, info = self._vector.step(np.asarray(action)[None])
        return obs[0], float(reward[0]), bool(terminated[0]), bool(truncated[0]), _single(info)

    def render(self) -> np.ndarray | None:
        """Return a picture, uint8 (height, width, 3); None without a render mode."""
        return None if self.render_mode is None else self._vector.picture(0)

    def close(self) -> None:
        """Free the renderer."""
        self._vector.close()


def _metadata(task: Task) -> dict[str, Any]:
    return {"render_modes": ["rgb_array"], "render_fps": math.ceil(1.0 / task.control_dt)}


def _info(terms: dict[str, np.ndarray], success: np.ndarray | None) -> dict[str, Any]:
    info: dict[str, Any] = {"reward_terms": terms}
    if success is not None:
        info["success"] = success
    return info


def _single(info: dict[str, Any]) -> dict[str, Any]:
    """Return the info of the only environment."""
    return {
        name: _single(value) if isinstance(value, dict) else value[0] if value.ndim > 1 else value[0].item()
        for name, value in info.items()
    }
