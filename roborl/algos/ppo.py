"""Proximal policy optimisation: several epochs of minibatches on each rollout, with ratios clipped.

Schulman et al. 2017, "Proximal policy optimization algorithms", https://arxiv.org/abs/1707.06347, whose equations are
cited below, with the details that Huang et al. 2022, "The 37 implementation details of proximal policy optimization",
show to matter. PFO, the term that keeps the features from collapsing, is that of Moalla et al. 2024, "No
representation, no trust", https://arxiv.org/abs/2405.00662.

A rollout is prepared by one pure function and learned from by another, whose loop over minibatches is compiled with it.
Actor and critic share no layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from roborl.data.returns import gae, standardized, weighted_mean
from roborl.data.rollout import epoch
from roborl.errors import check_count, check_in, check_range
from roborl.learner import Metrics, Obs, OnPolicyLearner, Rollout, check_on_policy
from roborl.nn.actor import GaussianActor, act, init_actor, policy_graph
from roborl.nn.adam import AdamState, adam, clip_by_norm, init_adam
from roborl.nn.collapse import collapse_metrics
from roborl.nn.compile import Compiler, fold
from roborl.nn.gaussian import gaussian_entropy, gaussian_log_prob
from roborl.nn.graph import PolicyGraph
from roborl.nn.mlp import Layers, init_orthogonal, mlp, mlp_and_features
from roborl.nn.normalizer import NormalizerState, init_normalizer, normalize, normalized, scale_rewards
from roborl.nn.tree import Tree, tree_map

#: Adam's epsilon.
ADAM_EPS = 1e-5

#: What an update reports.
METRICS = ("actor_loss", "critic_loss", "entropy", "kl", "clipped", "actor_grad_norm")

#: The factor of the step sizes changes by this ratio, and stays within these bounds.
SCALE_RATIO, SCALE_MIN, SCALE_MAX = 1.5, 0.01, 10.0

#: States, at random, of which the signs of collapse are taken after each rollout.
COLLAPSE_STATES = 1024


@dataclass(frozen=True)
class PPOConfig:
    """Settings of proximal policy optimisation."""

    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers of actor and critic."""
    activation: str = "tanh"
    """Between the layers: "tanh", "relu" or "elu"."""
    rollout_size: int = 2048
    """Environment steps in a rollout, all environments together; rounded up to whole steps of each."""
    batch_size: int = 64
    """Steps in a minibatch."""
    epochs: int = 10
    """How often each rollout is learned from."""
    actor_lr: float = 3e-4
    """Adam's step size for the actor."""
    critic_lr: float = 3e-4
    """Adam's step size for the critic."""
    anneal: bool = False
    """Whether the step sizes fall linearly to 0 over the run's steps."""
    gamma: float = 0.99
    """Discount per control step."""
    gae_lambda: float = 0.95
    """Decay of the advantage estimate: 0 trusts the values, 1 the rewards."""
    clip: float = 0.2
    """How far the ratio of new to old probability may leave 1 before there is nothing more to gain."""
    entropy_coefficient: float = 0.0
    """Weight of the bonus for the policy's entropy."""
    pfo_coefficient: float = 0.0
    """Weight of the mean squared change of the policy's last hidden pre-activations since the rollout."""
    max_grad_norm: float = 0.5
    """The greatest norm of a gradient."""
    clip_together: bool = False
    """Whether that is the norm of the actor's gradient and half the critic's as one vector, so that the policy goes
    slowly where values are wrong; else each is clipped on its own."""
    normalize_advantage: bool = True
    """Whether the advantages of each minibatch are standardised."""
    normalize_obs: bool = True
    """Whether observations are divided by their running deviation after their running mean is taken off."""
    normalize_reward: bool = True
    """Whether rewards are divided by the running deviation of the episodes' discounted returns."""
    target_kl: float | None = None
    """No epoch follows one whose mean divergence [nat] from the rollout's policy is above this; None: all do."""
    desired_kl: float | None = None
    """The divergence [nat] from the rollout's policy to which the step sizes are steered, by one factor for both; None:
    they are as given."""
    init_log_std: float = 0.0
    """First logarithm of the policy's standard deviation, in units in which actions reach from -1 to 1."""

    def __post_init__(self) -> None:
        """Check every field."""
        check_on_policy(self)
        check_count("batch_size", self.batch_size, 1)
        check_count("rollout_size", self.rollout_size, self.batch_size)
        check_count("epochs", self.epochs, 1)
        for name in ("actor_lr", "critic_lr", "gae_lambda"):
            check_range(name, getattr(self, name), 0.0, 1.0)
        for name in ("entropy_coefficient", "pfo_coefficient"):
            check_range(name, getattr(self, name), 0.0)
        for name in ("clip", "max_grad_norm"):
            check_range(name, getattr(self, name), 0.0, open_low=True)
        for name in ("anneal", "normalize_advantage", "clip_together"):
            check_in(name, getattr(self, name), (False, True))
        for name in ("target_kl", "desired_kl"):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name), 0.0, open_low=True)


class PPOState(NamedTuple):
    """Everything PPO has learned."""

    actor: GaussianActor
    critic: Layers
    """obs -> value; it may see more than the actor."""
    actor_opt: AdamState
    critic_opt: AdamState
    step_scale: Tensor
    """(), the factor of the step sizes by which the divergence is steered."""
    normalizer: dict[str, NormalizerState]
    """Observation group to its statistics, for the groups that are read."""
    returns: NormalizerState
    """Statistics of the episodes' discounted returns so far, (1,)."""


#: The fields of the state, its first ones, that a step on a minibatch changes.
LEARNED = ("actor", "critic", "actor_opt", "critic_opt", "step_scale")


class Batch(NamedTuple):
    """B steps in any order, with what does not change while they are learned from."""

    obs: Obs
    """Group to (B, width), normalised."""
    action: Tensor
    """(B, A), unclipped."""
    log_prob: Tensor
    """(B,), of the action under the rollout's policy."""
    features: Tensor
    """(B, H), the last hidden pre-activations of the rollout's policy."""
    advantage: Tensor
    """(B,)."""
    target: Tensor
    """(B,), of the value."""
    live: Tensor
    """(B,), the weight in all losses: 0 for dead steps."""


def prepare(state: PPOState, rollout: Rollout, config: PPOConfig, critic_group: str) -> tuple[PPOState, Batch]:
    """Count a rollout's rewards and turn it into a batch of T N steps; pure.

    Advantages and targets are computed once a rollout, with the critic as it was (2017, algorithm 1).
    """
    steps, n = rollout.reward.shape
    live = rollout.live.reshape(-1)
    returns, reward = scale_rewards(
        state.returns, rollout.reward, rollout.return_so_far, rollout.live, config.normalize_reward
    )
    flat = {name: obs.reshape((steps + 1) * n, -1) for name, obs in rollout.obs.items()}
    obs = normalized(state.normalizer, flat, config.normalize_obs)

    value = mlp(state.critic, obs[critic_group], config.activation).reshape(steps + 1, n)
    advantage, target = gae(reward, value, rollout.terminated, rollout.truncated, config.gamma, config.gae_lambda)
    seen, action = obs["policy"][: steps * n], rollout.action.reshape(steps * n, -1)
    mean, features = mlp_and_features(state.actor.mean, seen, config.activation)
    batch = Batch(
        obs={group: x[: steps * n] for group, x in obs.items()},
        action=action,
        log_prob=gaussian_log_prob(mean, state.actor.log_std, action),
        features=features,
        advantage=advantage.reshape(-1),
        target=target.reshape(-1),
        live=live,
    )
    return state._replace(returns=returns), batch


def surrogate(log_ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """Return ``min(r A, clip(r, 1 - eps, 1 + eps) A)``, of which more is better (2017, eq. 7); (B,) all."""
    assert log_ratio.shape == advantage.shape
    ratio = log_ratio.exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def actor_loss(actor: GaussianActor, batch: Batch, config: PPOConfig) -> tuple[Tensor, Metrics]:
    """Return ``-L^CLIP - c_2 S`` (2017, eq. 9) plus PFO's term, and what there is to report, means over live steps.

    PFO's term is the mean squared change of the features since the rollout (2024, section 4).
    """
    mean, features = mlp_and_features(actor.mean, batch.obs["policy"], config.activation)
    average = partial(weighted_mean, weight=batch.live)
    log_ratio = gaussian_log_prob(mean, actor.log_std, batch.action) - batch.log_prob
    advantage = standardized(batch.advantage, batch.live) if config.normalize_advantage else batch.advantage
    policy_loss = -average(surrogate(log_ratio, advantage, config.clip))
    entropy = gaussian_entropy(actor.log_std)
    ratio = log_ratio.exp()
    metrics = {
        "actor_loss": policy_loss,
        "entropy": entropy,
        # E[r - 1 - log r] has the divergence as its mean and is never negative (Schulman 2020, joschu.net/blog)
        "kl": average(ratio - 1 - log_ratio),
        "clipped": average(((ratio - 1).abs() > config.clip).to(ratio.dtype)),
    }
    total = policy_loss - config.entropy_coefficient * entropy
    if config.pfo_coefficient:  # to gather the features of each minibatch is a tenth of an update
        total = total + config.pfo_coefficient * average(feature_change(features, batch.features))
    return total, metrics


def feature_change(features: Tensor, before: Tensor) -> Tensor:
    """Return the mean squared change of pre-activations, (B, H) both; (B,)."""
    return (features - before).square().mean(1)


def critic_loss(critic: Layers, obs: Tensor, batch: Batch, config: PPOConfig) -> Tensor:
    """Return the mean of ``(V - target)^2`` over live steps (2017, ``L^VF`` of eq. 9)."""
    value = mlp(critic, obs, config.activation).squeeze(-1)
    return weighted_mean((value - batch.target).square(), batch.live)


def clipped(actor: Tree, critic: Tree, limit: float, together: bool) -> tuple[Tree, Tree, Tensor]:
    """Return gradients of actor and critic that are no longer than a limit, and the norm that the actor's had, ().

    Each on its own; or ``together`` as one vector, in which the critic's has half its length.
    """
    clipped_actor, norm = clip_by_norm(actor, limit)
    if not together:
        return clipped_actor, clip_by_norm(critic, limit)[0], norm
    (actor, critic), _ = clip_by_norm((actor, tree_map(lambda g: 0.5 * g, critic)), limit)
    return actor, critic, norm


def steered(scale: Tensor, kl: Tensor, desired: float) -> Tensor:
    """Return the next factor of the step sizes, (): less above twice the desired divergence, more below half of it.

    The adaptive step size of Rudin et al. 2021, "Learning to walk in minutes", https://arxiv.org/abs/2109.11978,
    section 3.2 and table 3.
    """
    factor = torch.where(kl > 2 * desired, 1 / SCALE_RATIO, torch.where(kl < desired / 2, SCALE_RATIO, 1.0))
    return (scale * factor).clamp(SCALE_MIN, SCALE_MAX)


def update(
    state: PPOState, batch: Batch, left: Tensor, config: PPOConfig, critic_group: str
) -> tuple[PPOState, Metrics]:
    """Take one step of actor and critic on a minibatch, times what is ``left``; pure. It reports METRICS."""
    seen = batch.obs[critic_group]
    actor_grads, (_, metrics) = torch.func.grad_and_value(actor_loss, has_aux=True)(state.actor, batch, config)
    critic_grads, value_loss = torch.func.grad_and_value(critic_loss)(state.critic, seen, batch, config)
    actor_grads, critic_grads, norm = clipped(actor_grads, critic_grads, config.max_grad_norm, config.clip_together)
    scale = state.step_scale
    if config.desired_kl is not None:
        scale = steered(scale, metrics["kl"], config.desired_kl)
    actor, actor_opt = adam(state.actor, actor_grads, state.actor_opt, config.actor_lr * scale * left, eps=ADAM_EPS)
    critic_lr = config.critic_lr * scale * left
    critic, critic_opt = adam(state.critic, critic_grads, state.critic_opt, critic_lr, eps=ADAM_EPS)

    changed = state._replace(actor=actor, critic=critic, actor_opt=actor_opt, critic_opt=critic_opt, step_scale=scale)
    return changed, metrics | {"critic_loss": value_loss, "actor_grad_norm": norm}


def fit(
    state: PPOState, batch: Batch, minibatches: Tensor, left: Tensor, config: PPOConfig, critic_group: str
) -> tuple[PPOState, Metrics]:
    """Take a step on each minibatch in turn; pure.

    Args:
        state: before; it is not changed.
        batch: a rollout's steps.
        minibatches: (K, batch_size), the steps of each.
        left: (), the share of the step sizes that is left.
        config: settings.
        critic_group: the observations that the critic reads.

    Returns:
        The state after the last one, and means over the minibatches.
    """
    kept = state[len(LEARNED) :]

    def step(carried: tuple[tuple[Tree, ...], Metrics], rows: Tensor) -> tuple[tuple[Tree, ...], Metrics]:
        learned, sums = carried
        minibatch = tree_map(lambda x: x[rows], batch)
        changed, metrics = update(PPOState(*learned, *kept), minibatch, left, config, critic_group)
        return changed[: len(LEARNED)], {name: sums[name] + metrics[name] for name in METRICS}

    zeros = {name: batch.live.new_zeros(()) for name in METRICS}
    learned, sums = fold(step, (state[: len(LEARNED)], zeros), minibatches)
    return PPOState(*learned, *kept), {name: total / len(minibatches) for name, total in sums.items()}


class PPO(OnPolicyLearner):
    """Proximal policy optimisation: ties the functions above to the training loop."""

    name: ClassVar[str] = "ppo"
    Config: ClassVar[type] = PPOConfig
    config: PPOConfig

    def init(
        self,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> PPOState:
        """Draw actor and critic."""
        spaces, config = self.spaces, self.config
        sizes = (spaces.obs["policy"], *config.hidden, spaces.action)
        actor = init_actor(generator, sizes, config.init_log_std, dtype)
        critic = init_orthogonal(generator, (spaces.obs[spaces.critic_group], *config.hidden, 1), 1.0, dtype)
        groups = dict.fromkeys(("policy", spaces.critic_group))
        state = PPOState(
            actor=actor,
            critic=critic,
            actor_opt=init_adam(actor),
            critic_opt=init_adam(critic),
            step_scale=torch.ones((), dtype=dtype),
            normalizer={group: init_normalizer(spaces.obs[group], dtype) for group in groups},
            returns=init_normalizer(1, dtype),
        )
        return tree_map(lambda leaf: leaf.to(device), state)

    def act(
        self, state: PPOState, obs: Obs, memory: None, noise: Tensor | None
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
        self, state: PPOState, rollout: Rollout, generator: torch.Generator, compiler: Compiler
    ) -> tuple[PPOState, Metrics]:
        """Learn from a rollout for some epochs, each of minibatches in another order; see `OnPolicyLearner`."""
        size, target_kl = self.config.batch_size, self.config.target_kl
        left = rollout.left if self.config.anneal else torch.ones_like(rollout.left)
        state, batch = compiler.pure(self.prepare)(state, rollout)
        epochs = [epoch(len(batch.live), size, generator).to(batch.live.device) for _ in range(self.config.epochs)]
        reports: list[Metrics] = []
        for minibatches in [torch.cat(epochs)] if target_kl is None else epochs:
            state, report = compiler.pure(self.fit)(state, batch, minibatches, left)
            reports.append(report)
            if target_kl is not None and report["kl"] > target_kl:
                break
        metrics = {name: torch.stack([report[name] for report in reports]).mean() for name in METRICS}
        with torch.no_grad():
            seen = epochs[0].flatten()[:COLLAPSE_STATES]
            return state, metrics | self._collapse(state, batch.obs["policy"][seen], batch.features[seen])

    def _collapse(self, state: PPOState, obs: Tensor, before: Tensor) -> Metrics:
        """Return the signs of collapse over some states, whose features were ``before`` when they were seen."""
        metrics, features = collapse_metrics(state.actor.mean, obs, self.config.activation)
        return metrics | {"feature_change": feature_change(features, before).mean()}

    def prepare(self, state: PPOState, rollout: Rollout) -> tuple[PPOState, Batch]:
        """Turn a rollout into a batch; see the function `prepare` of this module."""
        return prepare(state, rollout, self.config, self.spaces.critic_group)

    def fit(self, state: PPOState, batch: Batch, minibatches: Tensor, left: Tensor) -> tuple[PPOState, Metrics]:
        """Take a step on each minibatch; see the function `fit` of this module."""
        return fit(state, batch, minibatches, left, self.config, self.spaces.critic_group)

    def policy_graph(self, state: PPOState) -> PolicyGraph:
        """Return the clipped mean of the raw policy observation, the normaliser included."""
        stats = state.normalizer["policy"] if self.config.normalize_obs else None
        return policy_graph(state.actor, stats, self.config.activation)
