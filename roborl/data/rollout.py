"""The rollout under way: T steps of N environments in time order, each observation stored once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from roborl.errors import CorruptFile, check_count
from roborl.learner import Rollout
from roborl.nn.tree import Tree


class RolloutStore:
    """Takes steps until it holds a rollout.

    Args:
        steps: T, of each environment.
        num_envs: N.
        obs: observation group to width.
        action: width of the action.
        gamma: discount of the returns so far.
    """

    def __init__(self, steps: int, num_envs: int, obs: Mapping[str, int], action: int, gamma: float) -> None:
        check_count("steps of a rollout", steps, 1)
        check_count("num_envs", num_envs, 1)
        self.steps, self.filled = steps, 0
        self._gamma = gamma
        self._obs = {name: np.zeros((steps + 1, num_envs, width), np.float32) for name, width in obs.items()}
        self._action = np.zeros((steps, num_envs, action), np.float32)
        # reward, terminated, truncated, live, return so far
        self._happened = np.zeros((5, steps, num_envs), np.float32)
        self._return = np.zeros(num_envs)

    @property
    def full(self) -> bool:
        """Whether it holds a whole rollout."""
        return self.filled == self.steps

    def begin(self, obs: Mapping[str, np.ndarray]) -> None:
        """Begin a rollout at the observations of all environments, group to (N, width)."""
        self.filled = 0
        self._show(obs)

    def append(
        self,
        action: np.ndarray,
        reward: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        live: np.ndarray,
        next_obs: Mapping[str, np.ndarray],
    ) -> None:
        """Add a step of all environments.

        Args:
            action: (N, A), as the policy chose it.
            reward: (N,).
            terminated: (N,) bool.
            truncated: (N,) bool.
            live: (N,) bool, false where this step was a reset.
            next_obs: group to (N, width), what followed; of an episode that ended its final observation.
        """
        self._return *= self._gamma
        self._return += reward
        here = self.filled
        self._action[here] = action
        row = self._happened[:, here]
        row[0], row[1], row[2], row[3], row[4] = reward, terminated, truncated, live, self._return
        self._return[terminated | truncated] = 0.0
        self.filled += 1
        self._show(next_obs)

    def restart(self, obs: Mapping[str, np.ndarray]) -> None:
        """Start all environments anew: the episodes under way are cut off there, as by a time limit.

        For a resumed run whose environments could not be restored. It takes a dead step, so that the last one keeps
        what followed; where there is none yet, the rollout begins with these observations.

        Args:
            obs: group to (N, width), the observations after the reset.
        """
        self._return[:] = 0.0
        if self.filled == 0:
            return self.begin(obs)
        _, terminated, truncated, live, _ = self._happened[:, self.filled - 1]
        truncated[:] = np.maximum(truncated, live * (1 - terminated))
        nothing = np.zeros(len(self._return))
        self.append(np.zeros_like(self._action[0]), nothing, nothing > 0, nothing > 0, nothing > 0, obs)

    @property
    def live_steps(self) -> int:
        """The steps it holds that count, resets left out."""
        return int(np.count_nonzero(self._happened[3, : self.filled]))

    def rollout(self, memory: Tree, left: float = 1.0, device: torch.device | str = "cpu") -> Rollout:
        """Return what it holds; on the CPU it shares memory with the store.

        Args:
            memory: the policy's, at the first observations.
            left: the share of the run's steps that was left there.
            device: where the rollout shall lie.
        """
        reward, terminated, truncated, live, return_so_far = torch.from_numpy(self._happened).to(device).unbind()
        return Rollout(
            obs={name: torch.from_numpy(value).to(device) for name, value in self._obs.items()},
            action=torch.from_numpy(self._action).to(device),
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            live=live,
            return_so_far=return_so_far,
            memory=memory,
            left=torch.tensor(left, dtype=torch.float64, device=device),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what has been filled, and the returns so far."""
        obs = {f"obs/{name}": value[: self.filled + 1].copy() for name, value in self._obs.items()}
        happened = self._happened[:, : self.filled].copy()
        return obs | {"action": self._action[: self.filled].copy(), "happened": happened, "return": self._return.copy()}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue from what `arrays` gave.

        Raises:
            CorruptFile: if it is of other sizes.
        """
        self.filled = len(arrays["action"])
        into = {f"obs/{name}": value[: self.filled + 1] for name, value in self._obs.items()}
        into |= {"action": self._action[: self.filled], "happened": self._happened[:, : self.filled]}
        into |= {"return": self._return}
        for name, place in into.items():
            if arrays[name].shape != place.shape:
                raise CorruptFile(f"rollout/{name} must have the shape {place.shape}, got {arrays[name].shape}")
            place[:] = arrays[name]

    def _show(self, obs: Mapping[str, np.ndarray]) -> None:
        for name, value in self._obs.items():
            value[self.filled] = obs[name]


def epoch(count: int, size: int, generator: torch.Generator) -> torch.Tensor:
    """Return the numbers below ``count`` in a random order, in minibatches: (ceil(count / size), size).

    Shapes are static: what the last minibatch lacks is taken from the first. With fewer numbers than the size, all are
    in one.
    """
    size = min(size, count)
    order = torch.randperm(count, generator=generator)
    return torch.cat([order, order[: -count % size]]).reshape(-1, size)
