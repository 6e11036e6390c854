"""The off-policy loop: act, step, remember, learn from what is remembered."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from roborl.data.replay import Replay, unpack
from roborl.data.sampling import Hindsight, NStep
from roborl.errors import UsageError
from roborl.learner import Metrics, OffPolicyLearner, Transitions
from roborl.nn.compile import compile_pure
from roborl.nn.tree import Tree, overwrite
from roborl.run.config import RunConfig
from roborl.run.executor import Executor
from roborl.run.loop import Arrays, Loop
from roborl.run.seeding import load_numpy, numpy_stream, save_numpy


class OffPolicyLoop(Loop[OffPolicyLearner]):
    """Trains an off-policy learner; see `Loop`."""

    def __init__(self, config: RunConfig, learner: OffPolicyLearner, executor: Executor) -> None:
        super().__init__(config, learner, executor)
        spaces = executor.spaces
        self._replay = Replay(self.settings.buffer_size, executor.num_envs, spaces.obs, spaces.action)
        self._compiled_learn = compile_pure(self._learn, config.compile, config.device)
        self._compiled_learn_and_act = compile_pure(self._learn_and_act, config.compile, config.device)
        self._draw = self._sampling()
        self._explore = numpy_stream(config.seed, "explore")
        self._sample = numpy_stream(config.seed, "sample")

    def _sampling(self) -> Callable[[np.random.Generator, int], Tensor]:
        """Return how batches are drawn from the replay buffer: (source of randomness, transitions) -> packed rows."""
        n, gamma = self.settings.n_step, self.settings.gamma
        if self.settings.hindsight:
            if self.executor.goals is None:
                raise UsageError("hindsight needs a task whose observations have an achieved_goal and a desired_goal")
            return Hindsight(self.replay, self.executor.goals, self.settings.hindsight, n, gamma).sample
        return NStep(self.replay, n, gamma).sample if n > 1 else self.replay.sample

    @property
    def replay(self) -> Replay:
        """The replay buffer."""
        return self._replay

    def _begin_episodes(self) -> None:
        """Go on from the first observations of new episodes; see `Loop`."""
        self.replay.restart(self._obs)
        self._observe(np.ones(self.executor.num_envs, bool))
        self._action = self._choose()

    def advance(self) -> None:
        """Take one step in every environment, then the updates that are due; see `Loop`."""
        step = self._step(self._action)
        self.replay.append(self._obs, self._action, step.reward, step.terminated, step.live, step.obs)
        self._obs = step.obs
        self._observe(~(step.terminated | step.truncated))
        due = math.floor((self.env_steps - self.settings.learning_starts) * self.settings.updates_per_step)
        calls = (due - self.updates) // self.learner.updates_per_call
        for _ in range(calls - 1):
            self._keep(*self._compiled_learn(self.state, *self._batch()))
        if calls > 0:
            # the last update and the actions that follow from it are one compiled call: a call costs more than acting
            changed, metrics, action = self._compiled_learn_and_act(
                self.state, *self._batch(), self._tensors(self._obs), self._noise()
            )
            self._keep(changed, metrics)
            self._action = action.cpu().numpy()
        else:
            self._action = self._choose()

    def _choose(self) -> np.ndarray:
        """Return actions (N, A) in [-1, 1]: uniform before learning starts, the policy's afterwards."""
        if self.env_steps < self.settings.learning_starts:
            return self._explore.uniform(-1.0, 1.0, self._action.shape).astype(np.float32)
        with torch.no_grad():
            action, _, _ = self.learner.act(self.state, self._tensors(self._obs), None, self._noise())
        return action.cpu().numpy()

    def _batch(self) -> tuple[Tensor, Tensor]:
        batch = self._draw(self._sample, self.learner.updates_per_call * self.settings.batch_size)
        noise = torch.randn(self.learner.update_noise_shape(), generator=self._update_noise)
        return batch.to(self._device), noise.to(self._device)

    def _keep(self, changed: list[Tensor], metrics: Metrics) -> None:
        for into, new in zip(self._scalars, changed, strict=True):
            into.copy_(new)
        self._check(metrics)
        self.metrics = metrics
        self.updates += self.learner.updates_per_call

    def _learn(self, state: Tree, packed: Tensor, noise: Tensor) -> tuple[list[Tensor], Metrics]:
        """Make one update; its result takes the place of the state in memory, 0-d tensors excepted."""
        batch: Transitions = unpack(packed, self.replay.layout)
        updated, metrics = self.learner.update(state, batch, noise)
        return overwrite(state, updated), metrics

    def _learn_and_act(
        self, state: Tree, packed: Tensor, noise: Tensor, obs: dict[str, Tensor], act_noise: Tensor
    ) -> tuple[list[Tensor], Metrics, Tensor]:
        batch: Transitions = unpack(packed, self.replay.layout)
        updated, metrics = self.learner.update(state, batch, noise)
        action, _, _ = self.learner.act(updated, obs, None, act_noise)
        return overwrite(state, updated), metrics, action

    def _observe(self, fresh: np.ndarray) -> None:
        """Show the normalisers the observations that a policy will act on; a final one is followed by a reset."""
        if self.learner.observes and fresh.any():
            rows = {name: value[fresh] for name, value in self._obs.items()}
            with torch.no_grad():
                self._hold(self.learner.observe(self.state, self._tensors(rows)))

    def _own_snapshot(self) -> tuple[Arrays, dict[str, Any]]:
        return {}, {"explore": save_numpy(self._explore), "sample": save_numpy(self._sample)}

    def _own_restore(self, arrays: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        self._explore, self._sample = load_numpy(meta["explore"]), load_numpy(meta["sample"])
