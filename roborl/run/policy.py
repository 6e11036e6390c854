"""A trained policy, as a run's checkpoint holds it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from roborl.errors import NonFinite, UsageError
from roborl.learner import Learner
from roborl.nn.tree import Tree, flatten, tree_map, unflatten
from roborl.run.checkpoint import Checkpoints
from roborl.run.config import RunConfig
from roborl.run.executor import Executor, make_executor
from roborl.run.seeding import torch_stream


@dataclass
class TrainedPolicy:
    """The deterministic policy of a run.

    A recurrent policy remembers: `act` goes on from what it saw before, and `reset` says where episodes begin.

    Attributes:
        run_dir: the run's folder.
        config: its configuration.
        learner: its learner.
        state: what it learned.
        env_steps: the steps it had been trained for.
        action_low, action_high: (A,) the environment's bounds.
        memory: what a recurrent policy remembers of the episodes side by side; None at first and for all others.
    """

    run_dir: Path
    config: RunConfig
    learner: Learner
    state: Tree
    env_steps: int
    action_low: np.ndarray
    action_high: np.ndarray
    memory: Tree = None

    def reset(self, begin: np.ndarray | None = None) -> None:
        """Begin episodes: a recurrent policy forgets.

        Args:
            begin: (N,) bool, which of N episodes side by side begin anew; None: all, of any number from now on.
        """
        if begin is None:
            self.memory = None
        else:
            keep = torch.from_numpy(~np.asarray(begin, bool))[:, None]
            self.memory = tree_map(lambda m: m * keep, self.memory)

    def act(self, obs: Any) -> np.ndarray:
        """Return actions in the environment's units.

        Args:
            obs: (n,) or (N, n) observations of the group "policy"; to a recurrent policy row i is the next one of
                episode i.

        Returns:
            (A,) or (N, A), float32.

        Raises:
            UsageError: if the observation has another width, or is none; or there are other rows than are remembered.
            NonFinite: if it is not finite.
        """
        try:
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused below
                rows = np.asarray(obs, np.float32)
        except (ValueError, TypeError) as error:
            raise UsageError(f"the policy wants numbers: {error}") from error
        width = self.learner.spaces.obs["policy"]
        if rows.ndim not in (1, 2) or rows.shape[-1] != width:
            raise UsageError(f"the policy wants observations ({width},) or (N, {width}), got {rows.shape}")
        if not np.isfinite(rows).all():
            raise NonFinite("the observation is not finite")
        units = self.act_units(np.atleast_2d(rows))
        middle, half = (self.action_high + self.action_low) / 2.0, (self.action_high - self.action_low) / 2.0
        actions = (middle + half * units).astype(np.float32)
        return actions[0] if rows.ndim == 1 else actions

    def act_units(self, obs: np.ndarray) -> np.ndarray:
        """Return actions (N, A) in [-1, 1] for observations (N, n); see `act`."""
        for remembered in flatten(self.memory).values():
            if len(remembered) != len(obs):
                raise UsageError(
                    f"the policy remembers {len(remembered)} episodes, got {len(obs)} observations; "
                    "reset() begins others"
                )
        with torch.inference_mode():
            seen = {"policy": torch.from_numpy(obs.astype(np.float32))}
            action, _, self.memory = self.learner.act(self.state, seen, self.memory, None)
        return action.numpy()


def load_policy(run_dir: Path, checkpoint: int | None = None) -> TrainedPolicy:
    """Load a run's policy, from its last checkpoint unless another is named.

    Raises:
        UsageError: if there is no run, or it has no checkpoint yet.
        CorruptFile: if a file of it is damaged.
    """
    config = RunConfig.load(run_dir / "config.json")
    checkpoints = Checkpoints(run_dir, read_only=True)
    if checkpoints.latest() is None:
        raise UsageError(f"{run_dir} has no checkpoint yet")
    loaded = checkpoints.load(checkpoint)
    executor = open_executor(config, 1)
    executor.close()
    learner = config.make_learner(executor.spaces)
    prefix = "learner/"
    tensors = {name.removeprefix(prefix): t for name, t in loaded.tensors.items() if name.startswith(prefix)}
    state = unflatten(learner.init(torch_stream(config.seed, "learner")), tensors)
    return TrainedPolicy(
        run_dir, config, learner, state, loaded.meta["env_steps"], executor.action_low, executor.action_high
    )


def open_executor(config: RunConfig, num_envs: int, *, render: bool = False) -> Executor:
    """Return environments like those that a run trains in."""
    return make_executor(config.task, num_envs, num_threads=0, options=config.options, render=render)
