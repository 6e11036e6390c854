"""The natural policy gradient: steepest ascent where distance is how far the policy's actions change.

Kakade 2001, "A natural policy gradient", NeurIPS 14, with the step scaled to a distance as by Rajeswaran et al. 2017,
"Towards generalization and simplicity in continuous control", https://arxiv.org/abs/1703.02660, and generalised
advantage estimates (Schulman et al. 2016, https://arxiv.org/abs/1506.02438). TRPO takes the same step, and goes back
along it until it holds what the step promises.

A rollout is prepared by one pure function. Of it the policy makes a single step, its direction by conjugate gradients,
plain Python around a pure function. The critic is fitted afterwards, a minibatch a call.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from roborl.data.returns import gae, standardized, weighted_mean
from roborl.data.rollout import epoch
from roborl.errors import check_count, check_range
from roborl.learner import Metrics, Obs, OnPolicyLearner, Rollout, check_on_policy
from roborl.nn.actor import GaussianActor, act, init_actor, policy_graph
from roborl.nn.adam import init_adam
from roborl.nn.compile import Compiler
from roborl.nn.critic import Critic, fit_critic
from roborl.nn.gaussian import gaussian_entropy, gaussian_kl, gaussian_log_prob
from roborl.nn.graph import PolicyGraph
from roborl.nn.mlp import init_orthogonal, mlp
from roborl.nn.natural_gradient import fisher_product, natural_step
from roborl.nn.normalizer import NormalizerState, init_normalizer, normalize, normalized, scale_rewards
from roborl.nn.tree import from_vector, to_vector, tree_map


@dataclass(frozen=True)
class NPGConfig:
    """Settings of the natural policy gradient."""

    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers of actor and critic."""
    activation: str = "tanh"
    """Between the layers: "tanh", "relu" or "elu"."""
    rollout_size: int = 2048
    """Environment steps in a rollout, all environments together; rounded up to whole steps of each."""
    step_kl: float = 0.01
    """The mean divergence [nat] from the rollout's policy, to second order, that a step is scaled to."""
    damping: float = 0.1
    """Added to the diagonal of the Fisher matrix."""
    conjugate_steps: int = 15
    """Steps of conjugate gradients, a product with the Fisher matrix each."""
    critic_lr: float = 1e-3
    """Adam's step size for the critic."""
    batch_size: int = 128
    """Steps in a minibatch for the critic."""
    epochs: int = 10
    """How often the critic goes through each rollout."""
    gamma: float = 0.99
    """Discount per control step."""
    gae_lambda: float = 0.95
    """Decay of the advantage estimate: 0 trusts the values, 1 the rewards."""
    normalize_obs: bool = True
    """Whether observations are divided by their running deviation after their running mean is taken off."""
    normalize_reward: bool = True
    """Whether rewards are divided by the running deviation of the episodes' discounted returns."""
    init_log_std: float = 0.0
    """First logarithm of the policy's standard deviation, in units in which actions reach from -1 to 1."""

    def __post_init__(self) -> None:
        """Check every field."""
        check_on_policy(self)
        check_count("batch_size", self.batch_size, 1)
        check_count("rollout_size", self.rollout_size, self.batch_size)
        for name in ("conjugate_steps", "epochs"):
            check_count(name, getattr(self, name), 1)
        check_range("step_kl", self.step_kl, 0.0, open_low=True)
        check_range("damping", self.damping, 0.0)
        for name in ("critic_lr", "gae_lambda"):
            check_range(name, getattr(self, name), 0.0, 1.0)


class NPGState(NamedTuple):
    """Everything NPG has learned."""

    actor: GaussianActor
    critic: Critic
    normalizer: dict[str, NormalizerState]
    """Observation group to its statistics, for the groups that are read."""
    returns: NormalizerState
    """Statistics of the episodes' discounted returns so far, (1,)."""


class Batch(NamedTuple):
    """B steps; what they teach is fixed before any gradient is taken."""

    obs: Tensor
    """(B, policy width), normalised."""
    critic_obs: Tensor
    """(B, critic width), normalised."""
    action: Tensor
    """(B, A), unclipped."""
    advantage: Tensor
    """(B,), standardised."""
    target: Tensor
    """(B,), of the value."""
    live: Tensor
    """(B,), the weight in all losses: 0 for dead steps."""


def prepare(state: NPGState, rollout: Rollout, config: NPGConfig, critic_group: str) -> tuple[NormalizerState, Batch]:
    """Count a rollout's rewards and turn it into a batch of T N steps; pure.

    Advantages are standardised over the whole of it: their mean adds to the gradient nothing but variance, and their
    scale means nothing, because the step is scaled.
    """
    steps, n = rollout.reward.shape
    live = rollout.live.reshape(-1)
    returns, reward = scale_rewards(
        state.returns, rollout.reward, rollout.return_so_far, rollout.live, config.normalize_reward
    )
    flat = {group: obs.reshape((steps + 1) * n, -1) for group, obs in rollout.obs.items()}
    obs = normalized(state.normalizer, flat, config.normalize_obs)

    value = mlp(state.critic.layers, obs[critic_group], config.activation).reshape(steps + 1, n)
    advantage, target = gae(reward, value, rollout.terminated, rollout.truncated, config.gamma, config.gae_lambda)
    batch = Batch(
        obs=obs["policy"][: steps * n],
        critic_obs=obs[critic_group][: steps * n],
        action=rollout.action.reshape(steps * n, -1),
        advantage=standardized(advantage.reshape(-1), live),
        target=target.reshape(-1),
        live=live,
    )
    return returns, batch


def policy_loss(actor: GaussianActor, batch: Batch, activation: str) -> Tensor:
    """Return the mean of ``-log pi(a|s) A``, whose gradient is the policy gradient's opposite; ()."""
    log_prob = gaussian_log_prob(mlp(actor.mean, batch.obs, activation), actor.log_std, batch.action)
    return -weighted_mean(log_prob * batch.advantage, batch.live)


def divergence(old: GaussianActor, new: GaussianActor, batch: Batch, activation: str) -> Tensor:
    """Return the mean of ``KL(pi_old || pi_new)`` [nat]; ()."""
    mean, new_mean = (mlp(actor.mean, batch.obs, activation) for actor in (old, new))
    return weighted_mean(gaussian_kl(mean, old.log_std, new_mean, new.log_std), batch.live)


class NPG(OnPolicyLearner):
    """The natural policy gradient: ties the functions above to the training loop."""

    name: ClassVar[str] = "npg"
    Config: ClassVar[type] = NPGConfig
    config: NPGConfig

    def init(
        self,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> NPGState:
        """Draw actor and critic."""
        spaces, config = self.spaces, self.config
        actor = init_actor(generator, (spaces.obs["policy"], *config.hidden, spaces.action), config.init_log_std, dtype)
        critic = init_orthogonal(generator, (spaces.obs[spaces.critic_group], *config.hidden, 1), 1.0, dtype)
        groups = dict.fromkeys(("policy", spaces.critic_group))
        state = NPGState(
            actor=actor,
            critic=Critic(critic, init_adam(critic)),
            normalizer={group: init_normalizer(spaces.obs[group], dtype) for group in groups},
            returns=init_normalizer(1, dtype),
        )
        return tree_map(lambda leaf: leaf.to(device), state)

    def act(
        self, state: NPGState, obs: Obs, memory: None, noise: Tensor | None
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
        self, state: NPGState, rollout: Rollout, generator: torch.Generator, compiler: Compiler
    ) -> tuple[NPGState, Metrics]:
        """Take one step of the policy, then fit the critic; see `OnPolicyLearner`."""
        config = self.config
        returns, batch = compiler.pure(self.prepare)(state, rollout)

        gradient, actor_loss = compiler.pure(self.gradient)(state.actor, batch)
        product = partial(compiler.pure(self.fisher_product), state.actor, batch)
        step = natural_step(product, gradient, config.step_kl, config.conjugate_steps)
        actor = tree_map(torch.clone, from_vector(state.actor, to_vector(state.actor) + step))

        epochs = [epoch(len(batch.live), config.batch_size, generator) for _ in range(config.epochs)]
        minibatches = torch.cat(epochs).to(batch.live.device)
        critic, critic_loss = compiler.pure(self.fit)(state.critic, batch, minibatches)
        metrics = {
            "actor_loss": actor_loss,
            "critic_loss": critic_loss,
            "entropy": gaussian_entropy(actor.log_std),
            "kl": compiler.pure(self.divergence)(state.actor, actor, batch),
            "grad_norm": gradient.norm(),
        }
        return state._replace(actor=actor, critic=critic, returns=returns), metrics

    def prepare(self, state: NPGState, rollout: Rollout) -> tuple[NormalizerState, Batch]:
        """Turn a rollout into a batch; see the function `prepare` of this module."""
        return prepare(state, rollout, self.config, self.spaces.critic_group)

    def gradient(self, actor: GaussianActor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the policy gradient (n,), uphill, and the loss that it makes smaller; pure."""
        grads, value = torch.func.grad_and_value(policy_loss)(actor, batch, self.config.activation)
        return -to_vector(grads), value

    def fisher_product(self, actor: GaussianActor, batch: Batch, vector: Tensor) -> Tensor:
        """Return the damped Fisher matrix of a policy times a vector, both (n,); pure."""

        def moved(theta: Tensor) -> Tensor:
            return divergence(actor, from_vector(actor, theta), batch, self.config.activation)

        return fisher_product(moved, to_vector(actor), vector, self.config.damping)

    def divergence(self, old: GaussianActor, new: GaussianActor, batch: Batch) -> Tensor:
        """Return how far a policy went; see the function `divergence` of this module."""
        return divergence(old, new, batch, self.config.activation)

    def fit(self, critic: Critic, batch: Batch, minibatches: Tensor) -> tuple[Critic, Tensor]:
        """Take the critic's steps; see `fit_critic`."""
        steps = (batch.critic_obs, batch.target, batch.live)
        return fit_critic(critic, *steps, minibatches, self.config.activation, self.config.critic_lr)

    def policy_graph(self, state: NPGState) -> PolicyGraph:
        """Return the clipped mean of the raw policy observation, the normaliser included."""
        stats = state.normalizer["policy"] if self.config.normalize_obs else None
        return policy_graph(state.actor, stats, self.config.activation)
