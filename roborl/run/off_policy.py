"""The off-policy loop: act, step, remember, learn from what is remembered.

Everything that the future of a run depends on lies in an `OffPolicyLoop` and goes into its snapshot, so that a
resumed run continues to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from roborl.data.replay import Replay, unpack
from roborl.errors import NonFinite
from roborl.learner import OffPolicyLearner, Transitions
from roborl.nn.compile import compile_pure
from roborl.nn.tree import Tree, flatten, overwrite, scalars, unflatten
from roborl.run.config import RunConfig
from roborl.run.episodes import Episodes
from roborl.run.executor import Executor
from roborl.run.seeding import load_numpy, load_torch, numpy_stream, save_numpy, save_torch, torch_stream


class OffPolicyLoop:
    """Trains an off-policy learner.

    Args:
        config: the run's resolved configuration.
        learner: the learner.
        executor: the environments.

    Attributes:
        env_steps: environment steps taken, resets not counted.
        updates: updates made.
        state: the learner's state.
        metrics: what the last update reported.
        episodes: the episodes under way and those that ended.
    """

    def __init__(self, config: RunConfig, learner: OffPolicyLearner, executor: Executor) -> None:
        self.learner, self.executor = learner, executor
        self.settings = learner.config
        self.env_steps = self.updates = 0
        self.metrics: dict[str, Tensor] = {}
        self.episodes = Episodes(executor.num_envs)
        self.replay = Replay(self.settings.buffer_size, executor.num_envs, executor.spaces.obs, executor.spaces.action)
        self._device = torch.device(config.device)
        self._compiled_learn = compile_pure(self._learn, config.compile, config.device)
        self._compiled_learn_and_act = compile_pure(self._learn_and_act, config.compile, config.device)
        self._seed = config.seed
        self._hold(learner.init(torch_stream(config.seed, "learner"), device=self._device))
        self._act_noise = torch_stream(config.seed, "act")
        self._update_noise = torch_stream(config.seed, "update")
        self._explore = numpy_stream(config.seed, "explore")
        self._sample = numpy_stream(config.seed, "sample")
        self._obs: dict[str, np.ndarray] = {}
        self._action = np.zeros((executor.num_envs, executor.spaces.action), np.float32)

    def begin(self) -> None:
        """Begin the first episodes."""
        streams = numpy_stream(self._seed, "environments")
        seeds = streams.integers(0, 2**63, self.executor.num_envs, dtype=np.uint64)
        self._obs = self.executor.reset(seeds)
        self._observe(np.ones(len(seeds), bool))
        self._action = self._choose()

    def advance(self) -> None:
        """Take one step in every environment, then the updates that are due, and choose the next actions.

        Raises:
            NonFinite: if a loss, a reward or a simulation is not finite.
        """
        step = self.executor.step(self._action)
        if not math.isfinite(step.reward.sum()):
            raise NonFinite("a reward is not finite")
        self.replay.append(self._obs, self._action, step.reward, step.terminated, step.live, step.obs)
        self._obs = step.obs
        self.env_steps += self.episodes.add(step)
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

    def _noise(self) -> Tensor:
        shape = self.learner.act_noise_shape(self.executor.num_envs)
        return torch.randn(shape, generator=self._act_noise).to(self._device)

    def _batch(self) -> tuple[Tensor, Tensor]:
        batch = self.replay.sample(self._sample, self.learner.updates_per_call * self.settings.batch_size)
        noise = torch.randn(self.learner.update_noise_shape(), generator=self._update_noise)
        return batch.to(self._device), noise.to(self._device)

    def _hold(self, state: Tree) -> None:
        self.state, self._scalars = state, scalars(state)

    def _keep(self, changed: list[Tensor], metrics: dict[str, Tensor]) -> None:
        for into, new in zip(self._scalars, changed, strict=True):
            into.copy_(new)
        for name, value in metrics.items():
            if name.endswith("loss") and not math.isfinite(value):
                raise NonFinite(f"{name} is {value.item()} in update {self.updates}")
        self.metrics = metrics
        self.updates += self.learner.updates_per_call

    def _learn(self, state: Tree, packed: Tensor, noise: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Make one update; its result takes the place of the state in memory, 0-d tensors excepted."""
        batch: Transitions = unpack(packed, self.replay.layout)
        updated, metrics = self.learner.update(state, batch, noise)
        return overwrite(state, updated), metrics

    def _learn_and_act(
        self, state: Tree, packed: Tensor, noise: Tensor, obs: dict[str, Tensor], act_noise: Tensor
    ) -> tuple[list[Tensor], dict[str, Tensor], Tensor]:
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

    def _tensors(self, obs: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
        return {name: torch.from_numpy(value.astype(np.float32)).to(self._device) for name, value in obs.items()}

    def snapshot(self) -> tuple[dict[str, Tensor | np.ndarray], dict[str, Any]]:
        """Return everything but the replay buffer: arrays by name, and JSON."""
        arrays: dict[str, Tensor | np.ndarray] = {
            f"learner/{name}": leaf.detach().cpu() for name, leaf in flatten(self.state).items()
        }
        arrays |= {f"executor/{name}": value for name, value in self.executor.state().items()}
        arrays |= {f"episodes/{name}": value for name, value in self.episodes.arrays().items()}
        arrays["action"] = self._action.copy()
        arrays |= {"rng/act": save_torch(self._act_noise), "rng/update": save_torch(self._update_noise)}
        meta = {
            "env_steps": self.env_steps,
            "updates": self.updates,
            "explore": save_numpy(self._explore),
            "sample": save_numpy(self._sample),
            "metrics": {name: float(value) for name, value in self.metrics.items()},
            "episodes": self.episodes.finished(),
        }
        return arrays, meta

    def restore(self, arrays: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Continue from a snapshot; the replay buffer has been filled before.

        Raises:
            CorruptFile: if the snapshot is of another learner or of other sizes.
        """

        def under(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}

        state = unflatten(self.state, {name: a.to(self._device, copy=True) for name, a in under("learner/").items()})
        self._act_noise = load_torch(arrays["rng/act"])
        self._update_noise = load_torch(arrays["rng/update"])
        self._explore, self._sample = load_numpy(meta["explore"]), load_numpy(meta["sample"])
        self.env_steps, self.updates = meta["env_steps"], meta["updates"]
        self.metrics = {name: torch.tensor(value) for name, value in meta["metrics"].items()}
        self.episodes.load({name: a.numpy() for name, a in under("episodes/").items()}, meta["episodes"])
        self._hold(state)
        self._obs = self.executor.restore({name: a.numpy() for name, a in under("executor/").items()})
        self._action = arrays["action"].numpy()
        if not self.executor.restorable:
            self.replay.restart(self._obs)
            self.episodes.restart()
            self._observe(np.ones(self.executor.num_envs, bool))
            self._action = self._choose()
