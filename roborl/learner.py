"""The contract of a learner: what a training loop, a checkpoint and an export may ask of any algorithm.

A learner is a configuration and a handful of pure functions; everything it learns lies in one tree of
tensors, its state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from roborl.errors import ConfigError, check_count, check_in, check_range
from roborl.nn.compile import Compiler
from roborl.nn.graph import PolicyGraph
from roborl.nn.mlp import ACTIVATIONS, PRECISIONS
from roborl.nn.normalizer import update_normalizer
from roborl.nn.tree import Tree, tree_map

Obs = dict[str, Tensor]
"""Observation groups: name to (N, width). Always "policy"; "critic" (privileged) where the task declares
it."""

Metrics = dict[str, Tensor]
"""Name to 0-d tensor."""


@dataclass(frozen=True)
class Spaces:
    """What a task shows and takes, in numbers."""

    obs: Mapping[str, int]
    """Observation group to width; "policy" is always there."""
    action: int
    """Width of the action; learners act in [-1, 1] in each."""

    def __post_init__(self) -> None:
        """Check that there is something to see and something to do."""
        if "policy" not in self.obs:
            raise ConfigError(f"a learner needs the observation group 'policy', got {sorted(self.obs)}")
        for name, width in self.obs.items():
            if width < 1:
                raise ConfigError(f"observation group {name!r} must have a width of at least 1, got {width}")
        if self.action < 1:
            raise ConfigError(f"the action must have a width of at least 1, got {self.action}")

    @property
    def critic_group(self) -> str:
        """The observation group that critics read: "critic" where the task declares it, else "policy"."""
        return "critic" if "critic" in self.obs else "policy"


class Transitions(NamedTuple):
    """A batch of B steps of experience."""

    obs: Obs
    """Group to (B, width): what was seen."""
    action: Tensor
    """(B, A), in [-1, 1]."""
    reward: Tensor
    """(B,)."""
    next_obs: Obs
    """Group to (B, width): what followed, at an episode's end its final observation."""
    terminated: Tensor
    """(B,), 1 where the task ended there and nothing follows; 0 elsewhere, at a time limit too."""
    discount: Tensor
    """(B,), gamma^(k - 1) where ``next_obs`` followed k steps later and ``reward`` is the sum of k discounted ones: 1
    for a single step. It multiplies gamma."""


class Rollout(NamedTuple):
    """T steps of N environments in time order, all with one policy, and what was seen after the last."""

    obs: Obs
    """Group to (T + 1, N, width): row t + 1 followed step t; after an episode's last step it is the final observation,
    and the step that follows is dead."""
    action: Tensor
    """(T, N, A), as the policy chose it; the environments took it clipped to [-1, 1]."""
    reward: Tensor
    """(T, N)."""
    terminated: Tensor
    """(T, N), 1 where the task ended there and nothing follows."""
    truncated: Tensor
    """(T, N), 1 where an episode was cut off, as by a time limit."""
    live: Tensor
    """(T, N), 0 where the step was a reset: a dead step is in no loss, and what follows it begins an episode."""
    return_so_far: Tensor
    """(T, N), the sum of the episode's rewards up to this one, each discounted by its age."""
    memory: Tree
    """A recurrent policy's, before the first step; None for all others."""
    left: Tensor
    """(), float64, above 0 and at most 1: the share of the run's steps that was left when the rollout began, by which
    step sizes are annealed."""


class Learner(ABC):
    """A way to learn a policy; subclasses are final.

    Args:
        spaces: the widths of observations and actions.
        config: an instance of the subclass's ``Config``.
    """

    name: ClassVar[str]
    """The learner's name on the command line."""
    Config: ClassVar[type]
    """The frozen dataclass of its settings."""
    needs: ClassVar[tuple[str, ...]]
    """Settings that the training loop reads, which each ``Config`` has."""

    def __init__(self, spaces: Spaces, config: Any) -> None:
        self.spaces, self.config = spaces, config

    @abstractmethod
    def init(
        self,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tree:
        """Draw the first state.

        Args:
            generator: the source of randomness, on the CPU, so that a seed means the same on every device.
            dtype: of the parameters.
            device: where the state shall lie.

        Returns:
            A NamedTuple tree of tensors: parameters, optimiser moments, normalisers, counts.
        """

    @abstractmethod
    def act(self, state: Tree, obs: Obs, memory: Tree, noise: Tensor | None) -> tuple[Tensor, dict[str, Tensor], Tree]:
        """Choose actions; pure.

        Args:
            state: the learner's state.
            obs: group to (N, width); only "policy" is read.
            memory: of a recurrent policy, as the last call returned it; None at first and for all others.
            noise: of shape ``act_noise_shape(N)``, standard normal; None for the deterministic action.

        Returns:
            Actions (N, A) in [-1, 1], with noise those of an on-policy learner may lie outside; extras that the
            learner's own data needs, name to (N, ...); the next memory.
        """

    def init_memory(self, n: int) -> Tree:
        """Return a recurrent policy's memory at the beginning of n episodes, {"h": (n, k)} zeros; None for others."""
        return None

    @abstractmethod
    def act_noise_shape(self, n: int) -> tuple[int, ...]:
        """Return the shape of the noise that `act` wants for n observations."""

    def observe(self, state: Any, obs: Obs) -> Any:
        """Return the state with its observation normalisers updated by N new observations; pure.

        Args:
            state: the learner's state; its ``normalizer`` has the statistics of the groups that are read.
            obs: group to (N, width), rows of live steps alone.
        """
        if not self.observes:
            return state
        return state._replace(
            normalizer={group: update_normalizer(old, obs[group]) for group, old in state.normalizer.items()}
        )

    @property
    def observes(self) -> bool:
        """Whether observations are normalised: where not, `observe` does nothing, and a loop need not call it.

        As the setting ``normalize_obs`` says; a learner without that setting says it here.
        """
        return self.config.normalize_obs

    @abstractmethod
    def policy_graph(self, state: Tree) -> PolicyGraph:
        """Return the deterministic policy: input "obs" (policy group, raw), output "actions".

        A recurrent policy's memory is the input "h_in" too, and the next one the output "h_out".
        """


class OffPolicyLearner(Learner):
    """A learner from replayed experience: its batch is `Transitions` in any order.

    Its configuration has ``batch_size``, ``buffer_size``, ``learning_starts`` (steps of random actions before
    the first update), ``updates_per_step`` (updates for each environment step, however many environments there are),
    ``gamma``, ``n_step`` and ``hindsight`` (see `roborl.data.sampling`); `check_off_policy` validates what all have.
    """

    needs = ("batch_size", "buffer_size", "learning_starts", "updates_per_step", "gamma", "n_step", "hindsight")

    @abstractmethod
    def update(self, state: Tree, batch: Transitions, noise: Tensor) -> tuple[Tree, Metrics]:
        """Take one whole step of learning; pure, so that it compiles as one graph.

        Args:
            state: the learner's state.
            batch: what to learn from, ``updates_per_call * batch_size`` transitions.
            noise: of shape ``update_noise_shape()``, standard normal.

        Returns:
            The next state and what there is to report.
        """

    @abstractmethod
    def update_noise_shape(self) -> tuple[int, ...]:
        """Return the shape of the noise that `update` wants."""

    @property
    def updates_per_call(self) -> int:
        """How many updates one call of `update` makes, D: its batch is D times ``batch_size`` transitions.

        One; or, where the policy is updated less often than the critics, as many critic updates as come to one of
        the policy, which is the last: so each call is the same computation, and none of it is thrown away.
        """
        return 1


class OnPolicyLearner(Learner):
    """A learner from rollouts of its present policy.

    Its configuration has ``rollout_size`` (steps between two calls of `learn`, all environments together, rounded up to
    whole steps of each) and ``gamma``; `check_on_policy` validates what roborl's own have.

    The policy, its normalisers included, stays as it is during a rollout; `observe` is called once after each.
    """

    needs = ("rollout_size", "gamma")

    @abstractmethod
    def learn(
        self, state: Tree, rollout: Rollout, generator: torch.Generator, compiler: Compiler
    ) -> tuple[Tree, Metrics]:
        """Learn from a rollout: plain Python (epochs, stops, line searches) around pure functions.

        Args:
            state: the learner's state, which is consumed: its tensors may be overwritten.
            rollout: what the policy of this very state did.
            generator: the source of randomness, on the CPU.
            compiler: compiles the pure functions.

        Returns:
            The next state and what there is to report; what is called a loss must be finite.
        """


def check_off_policy(config: Any) -> None:
    """Raise ConfigError unless the settings that all off-policy learners have are in their ranges."""
    check_widths("hidden", config.hidden)
    check_count("batch_size", config.batch_size, 1)
    check_count("buffer_size", config.buffer_size, config.batch_size)
    check_count("learning_starts", config.learning_starts, 0)
    check_range("updates_per_step", config.updates_per_step, 0.0, open_low=True)
    check_range("gamma", config.gamma, 0.0, 1.0)
    check_count("n_step", config.n_step, 1)
    check_count("hindsight", config.hindsight, 0)
    for name in ("actor_lr", "critic_lr"):
        check_range(name, getattr(config, name), 0.0, 1.0)
    check_in("precision", config.precision, PRECISIONS)


def check_on_policy(config: Any) -> None:
    """Raise ConfigError unless the settings that all of roborl's on-policy learners have are in their ranges."""
    check_widths("hidden", config.hidden)
    check_in("activation", config.activation, ACTIVATIONS)
    check_count("rollout_size", config.rollout_size, 1)
    check_range("gamma", config.gamma, 0.0, 1.0)
    for name in ("normalize_obs", "normalize_reward"):
        check_in(name, getattr(config, name), (False, True))
    check_range("init_log_std", config.init_log_std)


def check_widths(field: str, got: Any) -> None:
    """Raise ConfigError unless ``got`` is a tuple of one or more widths of layers."""
    if not isinstance(got, tuple) or not got:
        raise ConfigError(f"{field} must be a tuple of one or more widths, as (256, 256), got {got!r}")
    for width in got:
        check_count(f"each width in {field}", width, 1)


def split(batch: Transitions, parts: int) -> list[Transitions]:
    """Return a batch in so many equal parts, the first rows first."""
    size = len(batch.reward) // parts
    assert size * parts == len(batch.reward), (len(batch.reward), parts)
    return [tree_map(lambda leaf, i=i: leaf[i * size : (i + 1) * size], batch) for i in range(parts)]
