"""Proximal policy optimisation with a memory, for tasks that do not show their whole state at once.

PPO (Schulman et al. 2017, https://arxiv.org/abs/1707.06347, whose equations are cited below) with a gated recurrent
unit before both heads: policy and value read what is seen beside what is remembered. Gradients reach back through short
sequences, each begun with what the rollout's policy remembered there (as Kapturowski et al. 2019, "Recurrent experience
replay in distributed reinforcement learning", section 3, store it), while the memory itself lasts for whole episodes.

What the policy remembered in a rollout is computed once; then the rollout is prepared by one pure function and learned
from by another, a minibatch of sequences a call.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from roborl.data.returns import gae, standardized, weighted_mean
from roborl.data.rollout import epoch
from roborl.errors import check_count, check_in, check_range
from roborl.learner import Metrics, Obs, OnPolicyLearner, Rollout, Spaces, check_on_policy
from roborl.nn.actor import GaussianActor, act, init_actor, policy_graph
from roborl.nn.adam import AdamState, adam, clip_by_norm, init_adam
from roborl.nn.compile import Compiler, fold
from roborl.nn.gaussian import gaussian_entropy, gaussian_log_prob
from roborl.nn.graph import PolicyGraph
from roborl.nn.gru import GRU, gru_sequence, gru_step, init_gru
from roborl.nn.mlp import Layers, init_orthogonal, mlp
from roborl.nn.normalizer import NormalizerState, init_normalizer, normalize, normalized, scale_rewards
from roborl.nn.tree import tree_map

#: Adam's epsilon.
ADAM_EPS = 1e-5

#: What a step on a minibatch reports.
METRICS = ("actor_loss", "critic_loss", "entropy", "kl", "clipped", "grad_norm")

Memory = dict[str, Tensor]
"""{"h": (N, H)}."""


@dataclass(frozen=True)
class RecurrentPPOConfig:
    """Settings of proximal policy optimisation with a memory."""

    memory_size: int = 64
    """Width of the memory, H."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers of both heads."""
    activation: str = "tanh"
    """Between the layers: "tanh", "relu" or "elu"."""
    rollout_size: int = 2048
    """Environment steps in a rollout, all environments together; rounded up to whole steps of each. Where episodes all
    last as long it should hold whole ones: environments that begin together are in the same part of them."""
    sequence_length: int = 8
    """Steps through which gradients reach back."""
    batch_size: int = 256
    """Steps in a minibatch, rounded down to whole sequences."""
    epochs: int = 10
    """How often each rollout is learned from."""
    learning_rate: float = 3e-4
    """Adam's step size."""
    anneal: bool = False
    """Whether the step size falls linearly to 0 over the run's steps."""
    gamma: float = 0.99
    """Discount per control step."""
    gae_lambda: float = 0.95
    """Decay of the advantage estimate: 0 trusts the values, 1 the rewards."""
    clip: float = 0.2
    """How far the ratio of new to old probability may leave 1 before there is nothing more to gain."""
    value_coefficient: float = 0.5
    """Weight of the critic's loss."""
    entropy_coefficient: float = 0.0
    """Weight of the bonus for the policy's entropy."""
    max_grad_norm: float = 0.5
    """The gradient's greatest norm, of all parameters together."""
    normalize_obs: bool = True
    """Whether observations are divided by their running deviation after their running mean is taken off."""
    normalize_reward: bool = True
    """Whether rewards are divided by the running deviation of the episodes' discounted returns."""
    init_log_std: float = 0.0
    """First logarithm of the policy's standard deviation, in units in which actions reach from -1 to 1."""

    def __post_init__(self) -> None:
        """Check every field."""
        check_on_policy(self)
        for name in ("memory_size", "sequence_length", "epochs"):
            check_count(name, getattr(self, name), 1)
        check_count("batch_size", self.batch_size, self.sequence_length)
        check_count("rollout_size", self.rollout_size, self.batch_size)
        for name in ("learning_rate", "gae_lambda"):
            check_range(name, getattr(self, name), 0.0, 1.0)
        for name in ("value_coefficient", "entropy_coefficient"):
            check_range(name, getattr(self, name), 0.0)
        for name in ("clip", "max_grad_norm"):
            check_range(name, getattr(self, name), 0.0, open_low=True)
        check_in("anneal", self.anneal, (False, True))


class Params(NamedTuple):
    """What gradients are taken of."""

    memory: GRU
    """Of the policy's observation."""
    actor: GaussianActor
    """Observation and memory -> mean action."""
    critic: Layers
    """What critics see, and memory -> value."""


class RecurrentPPOState(NamedTuple):
    """Everything recurrent PPO has learned."""

    params: Params
    opt: AdamState
    normalizer: dict[str, NormalizerState]
    """Observation group to its statistics, for the groups that are read."""
    returns: NormalizerState
    """Statistics of the episodes' discounted returns so far, (1,)."""


class Sequences(NamedTuple):
    """S sequences of L steps each, with what does not change while they are learned from."""

    memory: Tensor
    """(S, H), what the rollout's policy remembered before the first step."""
    keep: Tensor
    """(S, L), 0 where what was remembered is forgotten before the step, because an episode begins."""
    obs: Tensor
    """(S, L, policy width), normalised."""
    critic_obs: Tensor
    """(S, L, critic width), normalised."""
    action: Tensor
    """(S, L, A), unclipped."""
    log_prob: Tensor
    """(S, L), of the action under the rollout's policy."""
    advantage: Tensor
    """(S, L), standardised over the rollout."""
    target: Tensor
    """(S, L), of the value."""
    live: Tensor
    """(S, L), the weight in all losses: 0 for dead steps, and for those that fill the last sequences up."""


def kept(rollout: Rollout) -> Tensor:
    """Return (T + 1, N), 0 at the observations that begin an episode: those after a dead step."""
    return pad(rollout.live, (0, 0, 1, 0), value=1.0)  # of the first the given memory knows


def remember(state: RecurrentPPOState, rollout: Rollout, config: RecurrentPPOConfig) -> Tensor:
    """Return what the rollout's policy remembered after each observation, the last included, (T + 1, N, H); pure."""
    seen = normalized(state.normalizer, rollout.obs, config.normalize_obs)["policy"]
    return gru_sequence(state.params.memory, seen, rollout.memory["h"], kept(rollout))


def prepare(
    state: RecurrentPPOState, rollout: Rollout, memory: Tensor, config: RecurrentPPOConfig, critic_group: str
) -> tuple[RecurrentPPOState, Sequences]:
    """Count a rollout's rewards and cut it into sequences; pure.

    Advantages and targets are computed once a rollout, with the critic as it was (2017, algorithm 1). Advantages are
    standardised over all of it: the steps of a sequence are alike, and a minibatch has too few sequences for a mean.

    Args:
        state: the learner's state.
        rollout: T steps of N environments.
        memory: (T + 1, N, H), see `remember`.
        config: the settings.
        critic_group: the group of observations that the critic reads.

    Returns:
        The state, and N ceil(T / L) sequences.
    """
    steps, n = rollout.reward.shape
    returns, reward = scale_rewards(
        state.returns, rollout.reward, rollout.return_so_far, rollout.live, config.normalize_reward
    )
    obs = normalized(state.normalizer, rollout.obs, config.normalize_obs)
    flat, action = memory.reshape((steps + 1) * n, -1), rollout.action.reshape(steps * n, -1)
    seen, judged = (obs[group].reshape((steps + 1) * n, -1) for group in ("policy", critic_group))

    value = mlp(state.params.critic, torch.cat([judged, flat], 1), config.activation).reshape(steps + 1, n)
    advantage, target = gae(reward, value, rollout.terminated, rollout.truncated, config.gamma, config.gae_lambda)
    actor = state.params.actor
    mean = mlp(actor.mean, torch.cat([seen, flat], 1)[: steps * n], config.activation)

    length = config.sequence_length
    missing = -steps % length  # what the last sequences lack is dead

    def cut(x: Tensor) -> Tensor:
        """(T, N, ...) to (S, L, ...)."""
        x = pad(x, (0, 0) * (x.dim() - 1) + (0, missing))
        return x.unflatten(0, (-1, length)).transpose(1, 2).flatten(0, 1)

    keep = kept(rollout)
    before = torch.cat([rollout.memory["h"][None], memory[: steps - 1]]) * keep[:steps, :, None]
    sequences = Sequences(
        memory=cut(before)[:, 0],
        keep=cut(keep[:steps]),
        obs=cut(obs["policy"][:steps]),
        critic_obs=cut(obs[critic_group][:steps]),
        action=cut(rollout.action),
        log_prob=cut(gaussian_log_prob(mean, actor.log_std, action).reshape(steps, n)),
        advantage=cut(standardized(advantage.reshape(-1), rollout.live.reshape(-1)).reshape(steps, n)),
        target=cut(target),
        live=cut(rollout.live),
    )
    return state._replace(returns=returns), sequences


def surrogate(log_ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """Return ``min(r A, clip(r, 1 - eps, 1 + eps) A)``, of which more is better (2017, eq. 7); (B,) all."""
    assert log_ratio.shape == advantage.shape
    ratio = log_ratio.exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def loss(params: Params, batch: Sequences, config: RecurrentPPOConfig) -> tuple[Tensor, Metrics]:
    """Return ``-L^CLIP + c_1 L^VF - c_2 S`` (2017, eq. 9) and the parts, each a mean over live steps.

    ``L^VF = (V - target)^2``. The memory's gradients are those of both heads.
    """
    h = gru_sequence(params.memory, batch.obs.transpose(0, 1), batch.memory, batch.keep.mT).transpose(0, 1)  # (S, L, H)
    mean = mlp(params.actor.mean, torch.cat([batch.obs, h], -1).flatten(0, 1), config.activation)
    value = mlp(params.critic, torch.cat([batch.critic_obs, h], -1).flatten(0, 1), config.activation).squeeze(-1)
    live = batch.live.reshape(-1)
    average = partial(weighted_mean, weight=live)

    log_prob = gaussian_log_prob(mean, params.actor.log_std, batch.action.flatten(0, 1))
    log_ratio = log_prob - batch.log_prob.reshape(-1)
    actor_loss = -average(surrogate(log_ratio, batch.advantage.reshape(-1), config.clip))
    critic_loss = average((value - batch.target.reshape(-1)).square())
    entropy = gaussian_entropy(params.actor.log_std)
    total = actor_loss + config.value_coefficient * critic_loss - config.entropy_coefficient * entropy
    return total, {
        "actor_loss": actor_loss,
        "critic_loss": critic_loss,
        "entropy": entropy,
        # E[r - 1 - log r] has the divergence as its mean and is never negative (Schulman 2020, joschu.net/blog)
        "kl": average(log_ratio.exp() - 1 - log_ratio),
        "clipped": average(((log_ratio.exp() - 1).abs() > config.clip).to(value.dtype)),
    }


def update(
    state: RecurrentPPOState, batch: Sequences, left: Tensor, config: RecurrentPPOConfig
) -> tuple[RecurrentPPOState, Metrics]:
    """Take one step on a minibatch of sequences, times what is ``left``; pure."""
    grads, (_, metrics) = torch.func.grad_and_value(loss, has_aux=True)(state.params, batch, config)
    grads, norm = clip_by_norm(grads, config.max_grad_norm)
    params, opt = adam(state.params, grads, state.opt, config.learning_rate * left, eps=ADAM_EPS)
    return state._replace(params=params, opt=opt), metrics | {"grad_norm": norm}


def fit(
    state: RecurrentPPOState, sequences: Sequences, minibatches: Tensor, left: Tensor, config: RecurrentPPOConfig
) -> tuple[RecurrentPPOState, Metrics]:
    """Take a step on each minibatch in turn; pure.

    Args:
        state: before; it is not changed.
        sequences: a rollout's.
        minibatches: (K, sequences in a minibatch), those of each.
        left: (), the share of the step size that is left.
        config: settings.

    Returns:
        The state after the last one, and means over the minibatches of what METRICS names.
    """

    def step(
        carried: tuple[tuple[Params, AdamState], Metrics], rows: Tensor
    ) -> tuple[tuple[Params, AdamState], Metrics]:
        (params, opt), sums = carried
        minibatch = tree_map(lambda x: x[rows], sequences)
        changed, metrics = update(state._replace(params=params, opt=opt), minibatch, left, config)
        return (changed.params, changed.opt), {name: sums[name] + metrics[name] for name in METRICS}

    zeros = {name: sequences.live.new_zeros(()) for name in METRICS}
    (params, opt), sums = fold(step, ((state.params, state.opt), zeros), minibatches)
    return state._replace(params=params, opt=opt), {name: x / len(minibatches) for name, x in sums.items()}


class RecurrentPPO(OnPolicyLearner):
    """Proximal policy optimisation with a memory: ties the functions above to the training loop."""

    name: ClassVar[str] = "recurrent_ppo"
    Config: ClassVar[type] = RecurrentPPOConfig
    config: RecurrentPPOConfig

    def init(
        self,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> RecurrentPPOState:
        """Draw memory, actor and critic."""
        spaces, config = self.spaces, self.config
        memory = init_gru(generator, spaces.obs["policy"], config.memory_size, config.sequence_length, dtype)
        heads = Spaces({group: width + config.memory_size for group, width in spaces.obs.items()}, spaces.action)
        actor = init_actor(generator, (heads.obs["policy"], *config.hidden, heads.action), config.init_log_std, dtype)
        critic = init_orthogonal(generator, (heads.obs[heads.critic_group], *config.hidden, 1), 1.0, dtype)
        params = Params(memory, actor, critic)
        groups = dict.fromkeys(("policy", spaces.critic_group))
        state = RecurrentPPOState(
            params=params,
            opt=init_adam(params),
            normalizer={group: init_normalizer(spaces.obs[group], dtype) for group in groups},
            returns=init_normalizer(1, dtype),
        )
        return tree_map(lambda leaf: leaf.to(device), state)

    def init_memory(self, n: int) -> Memory:
        """Return {"h": (n, H)}, zeros."""
        return {"h": torch.zeros(n, self.config.memory_size)}

    def act(
        self, state: RecurrentPPOState, obs: Obs, memory: Memory | None, noise: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor], Memory]:
        """Return ``mean + std noise``, and the mean, clipped to [-1, 1], without noise; and what is remembered."""
        seen = obs["policy"]
        if self.config.normalize_obs:
            seen = normalize(state.normalizer["policy"], seen)
        h = seen.new_zeros(len(seen), self.config.memory_size) if memory is None else memory["h"]
        h = gru_step(state.params.memory, seen, h)
        action = act(state.params.actor, torch.cat([seen, h], 1), noise, self.config.activation)
        return action, {}, {"h": h}

    def act_noise_shape(self, n: int) -> tuple[int, ...]:
        """Return (n, A)."""
        return (n, self.spaces.action)

    def learn(
        self, state: RecurrentPPOState, rollout: Rollout, generator: torch.Generator, compiler: Compiler
    ) -> tuple[RecurrentPPOState, Metrics]:
        """Learn from a rollout for some epochs, each of its sequences in another order; see `OnPolicyLearner`."""
        with torch.no_grad():  # not compiled, as it is as many steps as a rollout has, one after another
            memory = remember(state, rollout, self.config)
        state, sequences = compiler.pure(self.prepare)(state, rollout, memory)
        size, count = self.config.batch_size // self.config.sequence_length, len(sequences.live)
        epochs = torch.cat([epoch(count, size, generator) for _ in range(self.config.epochs)])
        left = rollout.left if self.config.anneal else torch.ones_like(rollout.left)
        return compiler.pure(self.fit)(state, sequences, epochs.to(sequences.live.device), left)

    def prepare(
        self, state: RecurrentPPOState, rollout: Rollout, memory: Tensor
    ) -> tuple[RecurrentPPOState, Sequences]:
        """Cut a rollout into sequences; see the function `prepare` of this module."""
        return prepare(state, rollout, memory, self.config, self.spaces.critic_group)

    def fit(
        self, state: RecurrentPPOState, sequences: Sequences, minibatches: Tensor, left: Tensor
    ) -> tuple[RecurrentPPOState, Metrics]:
        """Take a step on each minibatch; see the function `fit` of this module."""
        return fit(state, sequences, minibatches, left, self.config)

    def policy_graph(self, state: RecurrentPPOState) -> PolicyGraph:
        """Return the clipped mean of the raw policy observation and "h_in", and "h_out", the normaliser included."""
        stats = state.normalizer["policy"] if self.config.normalize_obs else None
        return policy_graph(state.params.actor, stats, self.config.activation, state.params.memory)
