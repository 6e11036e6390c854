"""Advantage actor-critic: one gradient step on each short rollout, then it is forgotten.

Mnih et al. 2016, "Asynchronous methods for deep reinforcement learning", https://arxiv.org/abs/1602.01783, section 4,
in its synchronous form, with Adam. With one epoch of one batch, without standardised advantages, PPO takes the same
step. With a rollout of one step of each environment and ``gae_lambda`` 0 it is the online actor-critic: each step's
temporal difference teaches both (Sutton and Barto 2018, section 13.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from roborl.data.returns import gae, weighted_mean
from roborl.errors import check_in, check_range
from roborl.learner import Metrics, Obs, OnPolicyLearner, Rollout, check_on_policy
from roborl.nn.actor import GaussianActor, act, init_actor, policy_graph
from roborl.nn.adam import AdamState, adam, clip_by_norm, init_adam
from roborl.nn.compile import Compiler
from roborl.nn.gaussian import gaussian_entropy, gaussian_log_prob
from roborl.nn.graph import PolicyGraph
from roborl.nn.mlp import Layers, init_orthogonal, mlp
from roborl.nn.normalizer import NormalizerState, init_normalizer, normalize, normalized, scale_rewards
from roborl.nn.tree import tree_map

#: Adam's epsilon.
ADAM_EPS = 1e-5


@dataclass(frozen=True)
class A2CConfig:
    """Settings of advantage actor-critic."""

    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers of actor and critic."""
    activation: str = "tanh"
    """Between the layers: "tanh", "relu" or "elu"."""
    rollout_size: int = 64
    """Environment steps in a rollout, all environments together; rounded up to whole steps of each."""
    actor_lr: float = 7e-4
    """Adam's step size for the actor."""
    critic_lr: float = 7e-4
    """Adam's step size for the critic."""
    anneal: bool = False
    """Whether the step sizes fall linearly to 0 over the run's steps."""
    gamma: float = 0.99
    """Discount per control step."""
    gae_lambda: float = 0.95
    """Decay of the advantage estimate: 0 trusts the values, 1 the rewards."""
    entropy_coefficient: float = 0.0
    """Weight of the bonus for the policy's entropy."""
    max_grad_norm: float = 0.5
    """The greatest norm of a gradient, the actor's and the critic's each on its own."""
    normalize_obs: bool = True
    """Whether observations are divided by their running deviation after their running mean is taken off."""
    normalize_reward: bool = True
    """Whether rewards are divided by the running deviation of the episodes' discounted returns."""
    init_log_std: float = 0.0
    """First logarithm of the policy's standard deviation, in units in which actions reach from -1 to 1."""

    def __post_init__(self) -> None:
        """Check every field."""
        check_on_policy(self)
        for name in ("actor_lr", "critic_lr", "gae_lambda"):
            check_range(name, getattr(self, name), 0.0, 1.0)
        check_range("entropy_coefficient", self.entropy_coefficient, 0.0)
        check_range("max_grad_norm", self.max_grad_norm, 0.0, open_low=True)
        check_in("anneal", self.anneal, (False, True))


class A2CState(NamedTuple):
    """Everything A2C has learned."""

    actor: GaussianActor
    critic: Layers
    """obs -> value; it may see more than the actor."""
    actor_opt: AdamState
    critic_opt: AdamState
    normalizer: dict[str, NormalizerState]
    """Observation group to its statistics, for the groups that are read."""
    returns: NormalizerState
    """Statistics of the episodes' discounted returns so far, (1,)."""


def actor_loss(
    actor: GaussianActor, obs: Tensor, action: Tensor, advantage: Tensor, live: Tensor, config: A2CConfig
) -> tuple[Tensor, Metrics]:
    """Return ``-log pi(a|s) A - c H`` (2016, section 4) and its parts, means over live steps.

    Args:
        actor: what is learned.
        obs: (B, policy width), normalised.
        action: (B, A), unclipped.
        advantage: (B,), a constant.
        live: (B,), 0 for dead steps.
        config: settings.
    """
    assert advantage.shape == live.shape == action.shape[:1]
    log_prob = gaussian_log_prob(mlp(actor.mean, obs, config.activation), actor.log_std, action)
    policy_loss = -weighted_mean(log_prob * advantage, live)
    entropy = gaussian_entropy(actor.log_std)
    return policy_loss - config.entropy_coefficient * entropy, {"actor_loss": policy_loss, "entropy": entropy}


def critic_loss(critic: Layers, obs: Tensor, target: Tensor, live: Tensor, config: A2CConfig) -> Tensor:
    """Return the mean of ``(V - target)^2`` over live steps.

    Args:
        critic: what is learned.
        obs: (B, critic width), normalised.
        target: (B,), a constant.
        live: (B,), 0 for dead steps.
        config: settings.
    """
    assert target.shape == live.shape == obs.shape[:1]
    value = mlp(critic, obs, config.activation).squeeze(-1)
    return weighted_mean((value - target).square(), live)


def update(state: A2CState, rollout: Rollout, config: A2CConfig, critic_group: str) -> tuple[A2CState, Metrics]:
    """Take one step of actor and critic on a whole rollout; pure."""
    steps, n = rollout.reward.shape
    live = rollout.live.reshape(-1)
    returns, reward = scale_rewards(
        state.returns, rollout.reward, rollout.return_so_far, rollout.live, config.normalize_reward
    )
    flat = {group: obs.reshape((steps + 1) * n, -1) for group, obs in rollout.obs.items()}
    obs = normalized(state.normalizer, flat, config.normalize_obs)

    value = mlp(state.critic, obs[critic_group], config.activation).reshape(steps + 1, n)
    advantage, target = gae(reward, value, rollout.terminated, rollout.truncated, config.gamma, config.gae_lambda)
    left = rollout.left if config.anneal else torch.ones_like(rollout.left)

    seen, action = obs["policy"][: steps * n], rollout.action.reshape(steps * n, -1)
    gradient = torch.func.grad_and_value(actor_loss, has_aux=True)
    grads, (_, metrics) = gradient(state.actor, seen, action, advantage.reshape(-1), live, config)
    grads, norm = clip_by_norm(grads, config.max_grad_norm)
    actor, actor_opt = adam(state.actor, grads, state.actor_opt, config.actor_lr * left, eps=ADAM_EPS)

    seen = obs[critic_group][: steps * n]
    grads, value_loss = torch.func.grad_and_value(critic_loss)(state.critic, seen, target.reshape(-1), live, config)
    grads, _ = clip_by_norm(grads, config.max_grad_norm)
    critic, critic_opt = adam(state.critic, grads, state.critic_opt, config.critic_lr * left, eps=ADAM_EPS)

    metrics |= {"critic_loss": value_loss, "actor_grad_norm": norm}
    return A2CState(actor, critic, actor_opt, critic_opt, state.normalizer, returns), metrics


class A2C(OnPolicyLearner):
    """Advantage actor-critic: ties the functions above to the training loop."""

    name: ClassVar[str] = "a2c"
    Config: ClassVar[type] = A2CConfig
    config: A2CConfig

    def init(
        self,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> A2CState:
        """Draw actor and critic."""
        spaces, config = self.spaces, self.config
        sizes = (spaces.obs["policy"], *config.hidden, spaces.action)
        actor = init_actor(generator, sizes, config.init_log_std, dtype)
        critic = init_orthogonal(generator, (spaces.obs[spaces.critic_group], *config.hidden, 1), 1.0, dtype)
        groups = dict.fromkeys(("policy", spaces.critic_group))
        state = A2CState(
            actor=actor,
            critic=critic,
            actor_opt=init_adam(actor),
            critic_opt=init_adam(critic),
            normalizer={group: init_normalizer(spaces.obs[group], dtype) for group in groups},
            returns=init_normalizer(1, dtype),
        )
        return tree_map(lambda leaf: leaf.to(device), state)

    def act(
        self, state: A2CState, obs: Obs, memory: None, noise: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor], None]:
        """Return ``mean + std noise``, and the mean, clipped to [-1, 1], without noise."""
        seen = obs["policy"]
        if self.config.normalize_obs:
            seen = normalize(state.normalizer["policy"], seen)
        return act(state.actor, seen, noise, self.config.activation), {}, memory

    def act_noise_shape(self, n: int) -> tuple[int, ...]:
        """Return (n, A)."""
        return (n, self.spaces.action)

    def learn(
        self, state: A2CState, rollout: Rollout, generator: torch.Generator, compiler: Compiler
    ) -> tuple[A2CState, Metrics]:
        """Take the one step; see `OnPolicyLearner`."""
        return compiler.pure(self.update)(state, rollout)

    def update(self, state: A2CState, rollout: Rollout) -> tuple[A2CState, Metrics]:
        """Take one step; see the function `update` of this module."""
        return update(state, rollout, self.config, self.spaces.critic_group)

    def policy_graph(self, state: A2CState) -> PolicyGraph:
        """Return the clipped mean of the raw policy observation, the normaliser included."""
        stats = state.normalizer["policy"] if self.config.normalize_obs else None
        return policy_graph(state.actor, stats, self.config.activation)
