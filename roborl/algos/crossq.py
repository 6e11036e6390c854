"""CrossQ: soft actor-critic with batch-normalised critics in place of target networks.

Bhatt et al. 2024, "CrossQ: Batch Normalization in Deep Reinforcement Learning for Greater Sample Efficiency and
Simplicity", https://arxiv.org/abs/1902.05605. What is new against SAC: critics see (s, a) and (s', a') in one batch,
so that both are normalised by the same statistics, those of the mixture that the critics are asked about; then they
need no targets that lag behind. The step sizes are larger, Adam forgets faster, and the policy is updated less often.

Which statistics when: the critics' update normalises the critics by the batch, the policy by its running
statistics; the policy's update normalises the policy by the batch, the critics by their running ones; acting uses
the running ones alone.

One call of the update takes ``policy_delay`` steps of the critics, each on a batch of its own, then one of policy
and temperature. Where details differ between implementations this one does as SBX does, so that runs are comparable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from roborl.errors import check_count, check_range
from roborl.learner import Metrics, Obs, OffPolicyLearner, Transitions, check_off_policy, check_widths, split
from roborl.nn.adam import AdamState, adam, init_adam
from roborl.nn.batch_renorm import BatchStats, eval_mlp, fold, init_norms, train_mlp
from roborl.nn.gaussian import sample_tanh_gaussian, tanh_gaussian_action
from roborl.nn.graph import PolicyGraph
from roborl.nn.mlp import Layers, init_ensemble, init_mlp
from roborl.nn.policy import tanh_mlp_graph
from roborl.nn.tree import tree_map

#: Bounds of the policy's log standard deviation, as in SAC.
LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0

#: Adam's decay of the first moment, for actor and critics (the temperature keeps 0.9, as in SBX).
BETA_1 = 0.5


@dataclass(frozen=True)
class CrossQConfig:
    """Settings of CrossQ."""

    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of the actor."""
    critic_hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of the critics. The paper's are (2048, 2048), 60 times the work of an update, which
    asks for a GPU; these learn on a processor, and compare with SAC."""
    batch_size: int = 256
    """Transitions in one update."""
    buffer_size: int = 1_000_000
    """Transitions that the replay buffer holds."""
    learning_starts: int = 1_000
    """Environment steps of uniformly random actions before the first update."""
    updates_per_step: float = 1.0
    """Updates of the critics for each environment step, however many environments there are."""
    gamma: float = 0.99
    """Discount per control step."""
    n_step: int = 1
    """Steps whose rewards are summed before the value that follows takes over; fewer where an episode ends."""
    hindsight: int = 0
    """Transitions with a goal put in place that was reached later in their episode, for each with its own goal;
    for tasks with goals."""
    actor_lr: float = 1e-3
    """Adam's step size for the actor."""
    critic_lr: float = 1e-3
    """Adam's step size for the critics."""
    alpha_lr: float = 1e-3
    """Adam's step size for the logarithm of the temperature."""
    policy_delay: int = 3
    """Updates of the critics for each of the actor and the temperature."""
    init_alpha: float = 1.0
    """First temperature: the weight of the entropy beside the reward."""
    target_entropy: float | None = None
    """Entropy [nat] that the temperature is steered to; None for minus the width of the action."""
    precision: str = "float32"
    """ "bfloat16" rounds the operands of the matrix products between hidden layers in the update; acting is always
    in float32."""

    def __post_init__(self) -> None:
        """Check every field."""
        check_off_policy(self)
        check_widths("critic_hidden", self.critic_hidden)
        check_range("alpha_lr", self.alpha_lr, 0.0, 1.0)
        check_count("policy_delay", self.policy_delay, 1)
        check_range("init_alpha", self.init_alpha, 0.0, open_low=True)
        if self.target_entropy is not None:
            check_range("target_entropy", self.target_entropy)


class CrossQState(NamedTuple):
    """Everything CrossQ has learned."""

    actor: Layers
    """obs -> (mean, log_std) before the squashing, side by side; with norms."""
    actor_stats: BatchStats
    """The actor's running statistics."""
    critic: Layers
    """(obs, action) -> Q, an ensemble of two; with norms."""
    critic_stats: BatchStats
    """The critics' running statistics."""
    log_alpha: Tensor
    """(), logarithm of the temperature."""
    actor_opt: AdamState
    critic_opt: AdamState
    alpha_opt: AdamState


def gaussian(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the log standard deviation of the action before the squashing, (B, A) each."""
    mean, log_std = outputs.chunk(2, dim=-1)
    return mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)


def critic_input(obs: Tensor, action: Tensor) -> Tensor:
    """Return what both critics read, (2, B, width)."""
    x = torch.cat([obs, action], dim=-1)
    return x.expand(2, *x.shape)


def td_target(
    reward: Tensor, terminated: Tensor, next_q: Tensor, next_log_prob: Tensor, alpha: Tensor, discount: Tensor
) -> Tensor:
    """Return ``r + gamma (1 - terminated) (min_i Q_i(s', a') - alpha log pi(a'|s'))``, as SAC's.

    Only a termination takes the future away: at a time limit the state that followed still has a value.

    Args:
        reward: (B,).
        terminated: (B,), 0 or 1.
        next_q: (2, B), the critics themselves at the next observation and an action drawn there.
        next_log_prob: (B,), of that action.
        alpha: ().
        discount: (B,), of the value that follows: gamma, or gamma^k after k steps.

    Returns:
        (B,).
    """
    assert reward.shape == terminated.shape == next_log_prob.shape == next_q.shape[1:]
    return reward + discount * (1 - terminated) * (next_q.amin(0) - alpha * next_log_prob)


def critic_loss(
    critic: Layers,
    stats: BatchStats,
    batch: Transitions,
    next_action: Tensor,
    next_log_prob: Tensor,
    alpha: Tensor,
    gamma: float,
    critic_group: str,
    precision: str,
) -> tuple[Tensor, tuple[BatchStats, Tensor]]:
    """Return ``sum_i mean_B (Q_i - target)^2 / 2`` with values and targets from one pass (figure 2).

    Args:
        critic: what is learned.
        stats: its running statistics.
        batch: B transitions.
        next_action: (B, A), drawn from the policy at the next observations.
        next_log_prob: (B,), of these.
        alpha: ().
        gamma: discount.
        critic_group: the observations that the critics read.
        precision: of the products.

    Returns:
        The loss (); the running statistics with this batch's in them, and the mean Q ().
    """
    joint = torch.cat(
        [critic_input(batch.obs[critic_group], batch.action), critic_input(batch.next_obs[critic_group], next_action)],
        dim=1,
    )
    q, stats = train_mlp(critic, stats, joint, precision)
    q, next_q = q.squeeze(-1).chunk(2, dim=1)  # (2, B) each
    target = td_target(batch.reward, batch.terminated, next_q.detach(), next_log_prob, alpha, gamma * batch.discount)
    assert q.shape == (2, *target.shape)
    return 0.5 * (q - target).square().mean(1).sum(), (stats, q.mean())


def actor_loss(
    actor: Layers,
    stats: BatchStats,
    critic: Layers,
    critic_stats: BatchStats,
    alpha: Tensor,
    obs: Tensor,
    critic_obs: Tensor,
    noise: Tensor,
    precision: str,
) -> tuple[Tensor, tuple[BatchStats, Tensor]]:
    """Return ``mean_B (alpha log pi(a|s) - min_i Q_i(s, a))`` for a reparametrised sample, as SAC's.

    Args:
        actor: what is learned.
        stats: its running statistics.
        critic: what judges; it may see more than the actor.
        critic_stats: its running statistics, which normalise it here.
        alpha: ().
        obs: (B, policy width).
        critic_obs: (B, critic width), of the same states.
        noise: (B, A).
        precision: of the products.

    Returns:
        The loss (); the actor's running statistics with this batch's in them, and the mean log-probability ().
    """
    outputs, stats = train_mlp(actor, stats, obs, precision)
    action, log_prob = sample_tanh_gaussian(*gaussian(outputs), noise)
    q = eval_mlp(critic, critic_stats, critic_input(critic_obs, action), precision).squeeze(-1).amin(0)
    assert q.shape == log_prob.shape
    return (alpha * log_prob - q).mean(), (stats, log_prob.mean())


#: (loss, aux) of a function -> its gradient in the first argument, and (loss, aux).
gradient = partial(torch.func.grad_and_value, has_aux=True)


def update(
    state: CrossQState, batch: Transitions, noise: Tensor, config: CrossQConfig, critic_group: str
) -> tuple[CrossQState, Metrics]:
    """Take D = policy_delay steps of the critics, then one of actor and temperature; pure.

    Args:
        state: before; it is not changed.
        batch: D B transitions: B for each step of the critics, the last B for the actor too.
        noise: ((D + 1) B, A): for the actions at the D B next observations, then at the last B present ones.
        config: settings.
        critic_group: the observations that the critics read.

    Returns:
        The next state, and critic_loss and q (means over the D steps), actor_loss, alpha and entropy [nat], each 0-d.
    """
    precision, alpha, delay = config.precision, state.log_alpha.exp(), config.policy_delay
    *next_noise, actor_noise = noise.chunk(delay + 1)

    # All D at once: the actor and the temperature only move after the critics.
    outputs = eval_mlp(state.actor, state.actor_stats, batch.next_obs["policy"], precision)
    next_action, next_log_prob = sample_tanh_gaussian(*gaussian(outputs), torch.cat(next_noise))

    critic, stats, critic_opt = state.critic, state.critic_stats, state.critic_opt
    parts, losses, values = split(batch, delay), [], []
    drawn = zip(next_action.chunk(delay), next_log_prob.chunk(delay), strict=True)
    for part, (action, log_prob) in zip(parts, drawn, strict=True):
        grads, (loss, (stats, q)) = gradient(critic_loss)(
            critic, stats, part, action, log_prob, alpha, config.gamma, critic_group, precision
        )
        critic, critic_opt = adam(critic, grads, critic_opt, config.critic_lr, b1=BETA_1)
        losses.append(loss)
        values.append(q)

    obs = parts[-1].obs
    grads, (pi_loss, (actor_stats, log_prob)) = gradient(actor_loss)(
        state.actor, state.actor_stats, critic, stats, alpha, obs["policy"], obs[critic_group], actor_noise, precision
    )
    actor, actor_opt = adam(state.actor, grads, state.actor_opt, config.actor_lr, b1=BETA_1)

    wanted = -batch.action.shape[-1] if config.target_entropy is None else config.target_entropy
    grad = -(log_prob + wanted)  # of -log alpha (log pi + wanted) in log alpha, as SAC's
    log_alpha, alpha_opt = adam(state.log_alpha, grad, state.alpha_opt, config.alpha_lr)

    metrics = {
        "critic_loss": torch.stack(losses).mean(),
        "actor_loss": pi_loss,
        "alpha": alpha,
        "entropy": -log_prob,
        "q": torch.stack(values).mean(),
    }
    return CrossQState(actor, actor_stats, critic, stats, log_alpha, actor_opt, critic_opt, alpha_opt), metrics


class CrossQ(OffPolicyLearner):
    """CrossQ: ties the functions above to the training loop."""

    name: ClassVar[str] = "crossq"
    Config: ClassVar[type] = CrossQConfig
    config: CrossQConfig

    def init(
        self,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> CrossQState:
        """Draw actor and critics, each on its own."""
        spaces, config = self.spaces, self.config
        critic_width = spaces.obs[spaces.critic_group] + spaces.action
        layers = init_mlp(generator, (spaces.obs["policy"], *config.hidden, 2 * spaces.action), dtype)
        actor, actor_stats = init_norms(layers)
        critic, critic_stats = init_norms(init_ensemble(generator, 2, (critic_width, *config.critic_hidden, 1), dtype))
        log_alpha = torch.tensor(math.log(config.init_alpha), dtype=dtype)
        state = CrossQState(
            actor=actor,
            actor_stats=actor_stats,
            critic=critic,
            critic_stats=critic_stats,
            log_alpha=log_alpha,
            actor_opt=init_adam(actor),
            critic_opt=init_adam(critic),
            alpha_opt=init_adam(log_alpha),
        )
        return tree_map(lambda leaf: leaf.to(device), state)

    def act(
        self, state: CrossQState, obs: Obs, memory: None, noise: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor], None]:
        """Return ``tanh(mean + std noise)``, and ``tanh(mean)`` without noise."""
        mean, log_std = gaussian(eval_mlp(state.actor, state.actor_stats, obs["policy"]))
        action = torch.tanh(mean) if noise is None else tanh_gaussian_action(mean, log_std, noise)
        return action, {}, memory

    def act_noise_shape(self, n: int) -> tuple[int, ...]:
        """Return (n, A)."""
        return (n, self.spaces.action)

    def observe(self, state: CrossQState, obs: Obs) -> CrossQState:
        """Return the state as it is: the networks' norms learn from batches."""
        return state

    @property
    def observes(self) -> bool:
        """False."""
        return False

    @property
    def updates_per_call(self) -> int:
        """The policy's delay: see `OffPolicyLearner.updates_per_call`."""
        return self.config.policy_delay

    def update(self, state: CrossQState, batch: Transitions, noise: Tensor) -> tuple[CrossQState, Metrics]:
        """Take policy_delay steps of the critics and one of the actor; see the function `update` of this module."""
        return update(state, batch, noise, self.config, self.spaces.critic_group)

    def update_noise_shape(self) -> tuple[int, ...]:
        """Return ((policy_delay + 1) batch_size, A)."""
        return ((self.config.policy_delay + 1) * self.config.batch_size, self.spaces.action)

    def policy_graph(self, state: CrossQState) -> PolicyGraph:
        """Return ``tanh(mean)`` of the raw policy observation, the norms folded into the layers."""
        *hidden, head = fold(state.actor, state.actor_stats)
        mean = {"w": head["w"][:, : self.spaces.action], "b": head["b"][: self.spaces.action]}
        return tanh_mlp_graph([*hidden, mean])
