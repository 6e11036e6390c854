"""Trust region policy optimisation: the natural gradient, as long a step as a bound on the policy's change allows.

Schulman et al. 2015, "Trust region policy optimization", https://arxiv.org/abs/1502.05477, whose equations are cited
below, with generalised advantage estimates (Schulman et al. 2016, https://arxiv.org/abs/1506.02438).

A rollout is prepared by one pure function. Of it the policy makes a single step: the direction by conjugate gradients,
the length by a line search, both plain Python around pure functions. The critic is fitted afterwards, a minibatch a
call.
"""

from __future__ import annotations

from collections.abc import Callable
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
class TRPOConfig:
    """Settings of trust region policy optimisation."""

    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers of actor and critic."""
    activation: str = "tanh"
    """Between the layers: "tanh", "relu" or "elu"."""
    rollout_size: int = 2048
    """Environment steps in a rollout, all environments together; rounded up to whole steps of each."""
    max_kl: float = 0.01
    """The greatest mean divergence [nat] of the new policy from the rollout's."""
    damping: float = 0.1
    """Added to the diagonal of the Fisher matrix."""
    conjugate_steps: int = 15
    """Steps of conjugate gradients, a product with the Fisher matrix each."""
    backtracks: int = 10
    """Lengths that are tried, the full one first; if none will do, the policy stays as it is."""
    backtrack_factor: float = 0.8
    """What each length is of the one before."""
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
        for name in ("conjugate_steps", "backtracks", "epochs"):
            check_count(name, getattr(self, name), 1)
        check_range("max_kl", self.max_kl, 0.0, open_low=True)
        check_range("damping", self.damping, 0.0)
        check_range("backtrack_factor", self.backtrack_factor, 0.0, 1.0, open_low=True, open_high=True)
        for name in ("critic_lr", "gae_lambda"):
            check_range(name, getattr(self, name), 0.0, 1.0)


class TRPOState(NamedTuple):
    """Everything TRPO has learned."""

    actor: GaussianActor
    critic: Critic
    normalizer: dict[str, NormalizerState]
    """Observation group to its statistics, for the groups that are read."""
    returns: NormalizerState
    """Statistics of the episodes' discounted returns so far, (1,)."""


class Batch(NamedTuple):
    """B steps with what their policy did and what they teach."""

    obs: Tensor
    """(B, policy width), normalised."""
    critic_obs: Tensor
    """(B, critic width), normalised."""
    action: Tensor
    """(B, A), unclipped."""
    mean: Tensor
    """(B, A), of the rollout's policy."""
    log_std: Tensor
    """(A,), of the rollout's policy."""
    advantage: Tensor
    """(B,), standardised."""
    target: Tensor
    """(B,), of the value."""
    live: Tensor
    """(B,), the weight in all means: 0 for dead steps."""


def prepare(state: TRPOState, rollout: Rollout, config: TRPOConfig, critic_group: str) -> tuple[NormalizerState, Batch]:
    """Count a rollout's rewards and turn it into a batch of T N steps; pure.

    Advantages are standardised over the whole of it: their mean adds to the gradient nothing but variance, and their
    scale means nothing, because the bound sets the step's length.
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
    seen = obs["policy"][: steps * n]
    batch = Batch(
        obs=seen,
        critic_obs=obs[critic_group][: steps * n],
        action=rollout.action.reshape(steps * n, -1),
        mean=mlp(state.actor.mean, seen, config.activation),
        log_std=state.actor.log_std,
        advantage=standardized(advantage.reshape(-1), live),
        target=target.reshape(-1),
        live=live,
    )
    return returns, batch


def surrogate(actor: GaussianActor, batch: Batch, activation: str) -> Tensor:
    """Return the mean of ``pi(a|s) / pi_old(a|s) A``, of which more is better (2015, eq. 14); ()."""
    mean = mlp(actor.mean, batch.obs, activation)
    old = gaussian_log_prob(batch.mean, batch.log_std, batch.action)
    ratio = (gaussian_log_prob(mean, actor.log_std, batch.action) - old).exp()
    return weighted_mean(ratio * batch.advantage, batch.live)


def divergence(actor: GaussianActor, batch: Batch, activation: str) -> Tensor:
    """Return the mean of ``KL(pi_old || pi)`` [nat] (2015, eq. 14); ()."""
    mean = mlp(actor.mean, batch.obs, activation)
    return weighted_mean(gaussian_kl(batch.mean, batch.log_std, mean, actor.log_std), batch.live)


class Found(NamedTuple):
    """What a line search ended with."""

    theta: Tensor
    """(n,) parameters."""
    surrogate: Tensor
    """(), theirs."""
    kl: Tensor
    """(), theirs."""
    length: float
    """Share of the full step, 0 where it was not taken."""


def line_search(
    judge: Callable[[Tensor], tuple[Tensor, Tensor]], theta: Tensor, step: Tensor, config: TRPOConfig
) -> Found:
    """Return the longest step tried that keeps the bound and improves the surrogate (2015, appendix C).

    Args:
        judge: parameters (n,) -> surrogate and divergence.
        theta: (n,), where to begin; returned as it is where no step will do.
        step: (n,).
        config: how far to go back.
    """
    start, kl = judge(theta)
    for k in range(config.backtracks):
        length = config.backtrack_factor**k
        tried = theta + length * step
        value, moved = judge(tried)
        if moved <= config.max_kl and value > start:  # not so for NaN
            return Found(tried, value, moved, length)
    return Found(theta, start, kl, 0.0)


class TRPO(OnPolicyLearner):
    """Trust region policy optimisation: ties the functions above to the training loop."""

    name: ClassVar[str] = "trpo"
    Config: ClassVar[type] = TRPOConfig
    config: TRPOConfig

    def init(
        self,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> TRPOState:
        """Draw actor and critic."""
        spaces, config = self.spaces, self.config
        actor = init_actor(generator, (spaces.obs["policy"], *config.hidden, spaces.action), config.init_log_std, dtype)
        critic = init_orthogonal(generator, (spaces.obs[spaces.critic_group], *config.hidden, 1), 1.0, dtype)
        groups = dict.fromkeys(("policy", spaces.critic_group))
        state = TRPOState(
            actor=actor,
            critic=Critic(critic, init_adam(critic)),
            normalizer={group: init_normalizer(spaces.obs[group], dtype) for group in groups},
            returns=init_normalizer(1, dtype),
        )
        return tree_map(lambda leaf: leaf.to(device), state)

    def act(
        self, state: TRPOState, obs: Obs, memory: None, noise: Tensor | None
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
        self, state: TRPOState, rollout: Rollout, generator: torch.Generator, compiler: Compiler
    ) -> tuple[TRPOState, Metrics]:
        """Take one step of the policy, then fit the critic; see `OnPolicyLearner`."""
        config = self.config
        returns, batch = compiler.pure(self.prepare)(state, rollout)

        theta = to_vector(state.actor)
        gradient = compiler.pure(self.gradient)(state.actor, batch)
        product = partial(compiler.pure(self.fisher_product), state.actor, batch)
        step = natural_step(product, gradient, config.max_kl, config.conjugate_steps)
        found = line_search(partial(compiler.pure(self.judge), state.actor, batch), theta, step, config)
        actor = tree_map(torch.clone, from_vector(state.actor, found.theta))  # parts of a vector no more

        epochs = [epoch(len(batch.live), config.batch_size, generator) for _ in range(config.epochs)]
        minibatches = torch.cat(epochs).to(batch.live.device)
        critic, critic_loss = compiler.pure(self.fit)(state.critic, batch, minibatches)
        metrics = {
            "actor_loss": -found.surrogate,
            "critic_loss": critic_loss,
            "entropy": gaussian_entropy(actor.log_std),
            "kl": found.kl,
            "step_length": torch.tensor(found.length),
            "grad_norm": gradient.norm(),
        }
        return state._replace(actor=actor, critic=critic, returns=returns), metrics

    def prepare(self, state: TRPOState, rollout: Rollout) -> tuple[NormalizerState, Batch]:
        """Turn a rollout into a batch; see the function `prepare` of this module."""
        return prepare(state, rollout, self.config, self.spaces.critic_group)

    def gradient(self, actor: GaussianActor, batch: Batch) -> Tensor:
        """Return the gradient (n,) of `surrogate` at the rollout's policy; pure."""
        return to_vector(torch.func.grad(surrogate)(actor, batch, self.config.activation))

    def fisher_product(self, actor: GaussianActor, batch: Batch, vector: Tensor) -> Tensor:
        """Return the damped Fisher matrix of the rollout's policy times a vector, both (n,); pure."""

        def moved(theta: Tensor) -> Tensor:
            return divergence(from_vector(actor, theta), batch, self.config.activation)

        return fisher_product(moved, to_vector(actor), vector, self.config.damping)

    def judge(self, like: GaussianActor, batch: Batch, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return `surrogate` and `divergence` of an actor from the vector of its parameters; pure."""
        actor, activation = from_vector(like, theta), self.config.activation
        return surrogate(actor, batch, activation), divergence(actor, batch, activation)

    def fit(self, critic: Critic, batch: Batch, minibatches: Tensor) -> tuple[Critic, Tensor]:
        """Take the critic's steps; see `fit_critic`."""
        steps = (batch.critic_obs, batch.target, batch.live)
        return fit_critic(critic, *steps, minibatches, self.config.activation, self.config.critic_lr)

    def policy_graph(self, state: TRPOState) -> PolicyGraph:
        """Return the clipped mean of the raw policy observation, the normaliser included."""
        stats = state.normalizer["policy"] if self.config.normalize_obs else None
        return policy_graph(state.actor, stats, self.config.activation)
