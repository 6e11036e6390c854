"""What all training loops share: environments, a learner's state, the episodes under way, and the snapshot of it all.

Everything that the future of a run depends on lies in a `Loop` and goes into its snapshot, so that a resumed run
continues to the bit.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from roborl.data.replay import Replay
from roborl.errors import NonFinite
from roborl.learner import Learner, Metrics
from roborl.nn.tree import Tree, flatten, scalars, unflatten
from roborl.run.config import RunConfig
from roborl.run.episodes import Episodes
from roborl.run.executor import Executor, Step
from roborl.run.seeding import load_torch, numpy_stream, save_torch, torch_stream

Arrays = dict[str, Tensor | np.ndarray]
L = TypeVar("L", bound=Learner)


class Loop(ABC, Generic[L]):
    """Trains a learner; subclasses are final.

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

    def __init__(self, config: RunConfig, learner: L, executor: Executor) -> None:
        self.learner, self.executor = learner, executor
        self.settings = learner.config
        self.env_steps = self.updates = 0
        self.metrics: Metrics = {}
        self.episodes = Episodes(executor.num_envs)
        self._device = torch.device(config.device)
        self._seed = config.seed
        self._hold(learner.init(torch_stream(config.seed, "learner"), device=self._device))
        self._act_noise = torch_stream(config.seed, "act")
        self._update_noise = torch_stream(config.seed, "update")
        self._obs: dict[str, np.ndarray] = {}
        self._action = np.zeros((executor.num_envs, executor.spaces.action), np.float32)

    @property
    def replay(self) -> Replay | None:
        """The replay buffer, which a checkpoint holds beside the snapshot; None for a loop without one."""
        return None

    def begin(self) -> None:
        """Begin the first episodes."""
        streams = numpy_stream(self._seed, "environments")
        self._obs = self.executor.reset(streams.integers(0, 2**63, self.executor.num_envs, dtype=np.uint64))
        self._begin_episodes()

    @abstractmethod
    def advance(self) -> None:
        """Take one step in every environment, learn what is due, and choose the next actions.

        Raises:
            NonFinite: if a loss, a reward or a simulation is not finite.
        """

    @abstractmethod
    def _begin_episodes(self) -> None:
        """Go on from ``_obs``, the first observations of new episodes in all environments; choose actions.

        They follow the newest observations at the run's beginning (there are none) and where a resumed run's
        environments could not be restored.
        """

    def _step(self, action: np.ndarray) -> Step:
        """Take one step in every environment and count it."""
        step = self.executor.step(action)
        if not math.isfinite(step.reward.sum()):
            raise NonFinite("a reward is not finite")
        self.env_steps += self.episodes.add(step)
        return step

    def _noise(self) -> Tensor:
        """Draw what a choice of actions needs."""
        shape = self.learner.act_noise_shape(self.executor.num_envs)
        return torch.randn(shape, generator=self._act_noise).to(self._device)

    def _tensors(self, obs: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
        return {name: torch.from_numpy(value.astype(np.float32)).to(self._device) for name, value in obs.items()}

    def _hold(self, state: Tree) -> None:
        self.state, self._scalars = state, scalars(state)

    def _check(self, metrics: Metrics) -> None:
        """Raise NonFinite if a loss is not finite."""
        for name, value in metrics.items():
            if name.endswith("loss") and not math.isfinite(value):
                raise NonFinite(f"{name} is {value.item()} in update {self.updates}")

    def snapshot(self) -> tuple[Arrays, dict[str, Any]]:
        """Return everything but the replay buffer: arrays by name, and JSON."""
        arrays: Arrays = {f"learner/{name}": leaf.detach().cpu() for name, leaf in flatten(self.state).items()}
        arrays |= {f"executor/{name}": value for name, value in self.executor.state().items()}
        arrays |= {f"episodes/{name}": value for name, value in self.episodes.arrays().items()}
        arrays["action"] = self._action.copy()
        arrays |= {"rng/act": save_torch(self._act_noise), "rng/update": save_torch(self._update_noise)}
        meta = {
            "env_steps": self.env_steps,
            "updates": self.updates,
            "metrics": {name: float(value) for name, value in self.metrics.items()},
            "episodes": self.episodes.finished(),
        }
        more_arrays, more_meta = self._own_snapshot()
        return arrays | more_arrays, meta | more_meta

    def restore(self, arrays: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Continue from a snapshot; a replay buffer has been filled before.

        Raises:
            CorruptFile: if the snapshot is of another learner or of other sizes.
        """
        learned = {name: a.to(self._device, copy=True) for name, a in under("learner/", arrays).items()}
        state = unflatten(self.state, learned)
        self._act_noise = load_torch(arrays["rng/act"])
        self._update_noise = load_torch(arrays["rng/update"])
        self._own_restore(arrays, meta)
        self.env_steps, self.updates = meta["env_steps"], meta["updates"]
        self.metrics = {name: torch.tensor(value) for name, value in meta["metrics"].items()}
        self.episodes.load({name: a.numpy() for name, a in under("episodes/", arrays).items()}, meta["episodes"])
        self._hold(state)
        self._obs = self.executor.restore({name: a.numpy() for name, a in under("executor/", arrays).items()})
        self._action = arrays["action"].numpy()
        if not self.executor.restorable:
            self.episodes.restart()
            self._begin_episodes()

    @abstractmethod
    def _own_snapshot(self) -> tuple[Arrays, dict[str, Any]]:
        """Return what this kind of loop has beyond `snapshot`'s: arrays by name, and JSON."""

    @abstractmethod
    def _own_restore(self, arrays: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Take back what `_own_snapshot` gave, before anything else is restored."""


def under(prefix: str, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the arrays whose names begin with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
