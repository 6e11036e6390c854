"""The on-policy loop: collect a rollout with one policy, learn from it, forget it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from roborl.data.rollout import RolloutStore
from roborl.learner import OnPolicyLearner
from roborl.nn.compile import Compiler
from roborl.nn.tree import flatten, tree_map, unflatten
from roborl.run.config import RunConfig
from roborl.run.executor import Executor
from roborl.run.loop import Arrays, Loop, under


class OnPolicyLoop(Loop[OnPolicyLearner]):
    """Trains an on-policy learner; an update is a call of its ``learn``. See `Loop`."""

    def __init__(self, config: RunConfig, learner: OnPolicyLearner, executor: Executor) -> None:
        super().__init__(config, learner, executor)
        self._steps = config.steps
        spaces, n = executor.spaces, executor.num_envs
        steps = -(-self.settings.rollout_size // n)
        self._store = RolloutStore(steps, n, spaces.obs, spaces.action, self.settings.gamma)
        self._compiler = Compiler(config.compile, config.device)
        self._act = self._compiler.pure(learner.act)
        # of a recurrent policy: now, and where the rollout began
        self._memory = self._first_memory = self._no_memory()

    def _begin_episodes(self) -> None:
        """Go on from the first observations of new episodes; see `Loop`."""
        self._memory = self._no_memory()
        self._store.restart(self._obs)
        self._go_on()

    def advance(self) -> None:
        """Take one step in every environment, and learn where that was a rollout's last; see `Loop`."""
        step = self._step(np.clip(self._action, -1.0, 1.0))
        self._store.append(self._action, step.reward, step.terminated, step.truncated, step.live, step.obs)
        self._obs = step.obs
        if not step.live.all():
            live = self._tensors({"live": step.live[:, None]})["live"]
            self._memory = tree_map(lambda m: m * live, self._memory)
        self._go_on()

    def _go_on(self) -> None:
        """Learn if the rollout is full, and choose the next actions."""
        if self._store.full:
            self._learn()
        if self._store.filled == 0:
            self._first_memory = self._memory
        action, _, self._memory = self._act(self.state, self._tensors(self._obs), self._memory, self._noise())
        self._action = action.cpu().numpy()

    def _learn(self) -> None:
        began = self.env_steps - self._store.live_steps
        rollout = self._store.rollout(self._first_memory, 1.0 - began / self._steps, self._device)
        state, metrics = self.learner.learn(self.state, rollout, self._update_noise, self._compiler)
        self._check(metrics)
        if self.learner.observes:
            live = rollout.live > 0
            state = self.learner.observe(state, {name: obs[:-1][live] for name, obs in rollout.obs.items()})
        self._hold(state)
        self.metrics = metrics
        self.updates += 1
        self._store.begin(self._obs)

    def _no_memory(self) -> Any:
        return tree_map(lambda m: m.to(self._device), self.learner.init_memory(self.executor.num_envs))

    def _own_snapshot(self) -> tuple[Arrays, dict[str, Any]]:
        arrays: Arrays = {f"rollout/{name}": value for name, value in self._store.arrays().items()}
        for prefix, memory in (("memory/", self._memory), ("first_memory/", self._first_memory)):
            arrays |= {prefix + name: leaf.cpu() for name, leaf in flatten(memory).items()}
        return arrays, {}

    def _own_restore(self, arrays: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        self._store.load({name: a.numpy() for name, a in under("rollout/", arrays).items()})
        self._memory, self._first_memory = (
            unflatten(self._memory, {name: a.to(self._device) for name, a in under(prefix, arrays).items()})
            for prefix in ("memory/", "first_memory/")
        )
