"""Soft actor-critic: maximum-entropy reinforcement learning off policy, with twin critics.

Haarnoja et al. 2018a, "Soft Actor-Critic", https://arxiv.org/abs/1801.01290, and 2018b, "Soft Actor-Critic
Algorithms and Applications", https://arxiv.org/abs/1812.05905, whose equations are cited below. There is no
value network, as in 2018b.

The whole update is one pure function of (state, batch, noise). Where details differ between implementations
this one does as stable-baselines3 does, so that runs are comparable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from roborl.errors import check_in, check_range
from roborl.learner import Metrics, Obs, OffPolicyLearner, Transitions, check_off_policy
from roborl.nn.adam import AdamState, adam, init_adam, polyak
from roborl.nn.gaussian import sample_tanh_gaussian, tanh_gaussian_action
from roborl.nn.graph import PolicyGraph
from roborl.nn.mlp import Layers, ensemble_mlp, init_ensemble, init_mlp, mlp
from roborl.nn.normalizer import NormalizerState, init_normalizer, normalize, normalized
from roborl.nn.policy import tanh_mlp_graph
from roborl.nn.tree import tree_map

#: Bounds of the policy's log standard deviation, a plain clamp, as in Haarnoja's code and stable-baselines3.
#: (A smooth map onto [-5, 2] keeps a gradient at the bounds; the clamp is kept because with it runs are
#: comparable.)
LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0


@dataclass(frozen=True)
class SACConfig:
    """Settings of soft actor-critic."""

    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of actor and critics."""
    batch_size: int = 256
    """Transitions in one update."""
    buffer_size: int = 1_000_000
    """Transitions that the replay buffer holds."""
    learning_starts: int = 1_000
    """Environment steps of uniformly random actions before the first update."""
    updates_per_step: float = 1.0
    """Updates for each environment step, however many environments there are."""
    gamma: float = 0.99
    """Discount per control step."""
    n_step: int = 1
    """Steps whose rewards are summed before the value that follows takes over; fewer where an episode ends."""
    hindsight: int = 0
    """Transitions with a goal put in place that was reached later in their episode, for each with its own goal;
    for tasks with goals."""
    tau: float = 0.005
    """How far the target critics move towards the critics in one update."""
    actor_lr: float = 3e-4
    """Adam's step size for the actor."""
    critic_lr: float = 3e-4
    """Adam's step size for the critics."""
    alpha_lr: float = 3e-4
    """Adam's step size for the logarithm of the temperature."""
    init_alpha: float = 1.0
    """First temperature: the weight of the entropy beside the reward."""
    target_entropy: float | None = None
    """Entropy [nat] that the temperature is steered to; None for minus the width of the action."""
    normalize_obs: bool = False
    """Whether observations are divided by their running deviation after their running mean is taken off."""
    precision: str = "float32"
    """ "bfloat16" rounds the operands of the matrix products between hidden layers in the update; acting is always
    in float32."""

    def __post_init__(self) -> None:
        """Check every field."""
        check_off_policy(self)
        check_in("normalize_obs", self.normalize_obs, (False, True))
        check_range("tau", self.tau, 0.0, 1.0, open_low=True)
        check_range("alpha_lr", self.alpha_lr, 0.0, 1.0)
        check_range("init_alpha", self.init_alpha, 0.0, open_low=True)
        if self.target_entropy is not None:
            check_range("target_entropy", self.target_entropy)


class SACState(NamedTuple):
    """Everything SAC has learned."""

    actor: Layers
    """obs -> (mean, log_std) before the squashing, side by side."""
    critic: Layers
    """(obs, action) -> Q, an ensemble of two."""
    target: Layers
    """The critics' moving average."""
    log_alpha: Tensor
    """(), logarithm of the temperature."""
    actor_opt: AdamState
    critic_opt: AdamState
    alpha_opt: AdamState
    normalizer: dict[str, NormalizerState]
    """Observation group to its statistics, for the groups that are read."""


def policy(actor: Layers, obs: Tensor, precision: str = "float32") -> tuple[Tensor, Tensor]:
    """Return the mean and the log standard deviation of the action before the squashing, (B, A) each."""
    mean, log_std = mlp(actor, obs, "relu", precision).chunk(2, dim=-1)
    return mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)


def q_values(critic: Layers, obs: Tensor, action: Tensor, precision: str = "float32") -> Tensor:
    """Return both critics' Q(obs, action), (2, B)."""
    return ensemble_mlp(critic, torch.cat([obs, action], dim=-1), "relu", precision).squeeze(-1)


def td_target(
    reward: Tensor, terminated: Tensor, next_q: Tensor, next_log_prob: Tensor, alpha: Tensor, discount: Tensor
) -> Tensor:
    """Return ``r + gamma (1 - terminated) (min_i Q_i(s', a') - alpha log pi(a'|s'))``.

    This is 2018b, eq. 2, 3 and 5, with the smaller of the two target critics. Only a termination takes the
    future away: at a time limit the state that followed still has a value.

    Args:
        reward: (B,).
        terminated: (B,), 0 or 1.
        next_q: (2, B), the target critics at the next observation and an action drawn there.
        next_log_prob: (B,), of that action.
        alpha: ().
        discount: (B,), of the value that follows: gamma, or gamma^k after k steps.

    Returns:
        (B,).
    """
    assert reward.shape == terminated.shape == next_log_prob.shape == next_q.shape[1:]
    return reward + discount * (1 - terminated) * (next_q.amin(0) - alpha * next_log_prob)


def critic_loss(critic: Layers, target: Tensor, obs: Tensor, action: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    """Return ``sum_i mean_B (Q_i - target)^2 / 2`` (2018b, eq. 5, for both critics) and the mean Q."""
    q = q_values(critic, obs, action, precision)
    assert q.shape == (2, *target.shape)
    return 0.5 * (q - target).square().mean(1).sum(), q.mean()


def actor_loss(
    actor: Layers,
    critic: Layers,
    alpha: Tensor,
    obs: Tensor,
    critic_obs: Tensor,
    noise: Tensor,
    precision: str,
) -> tuple[Tensor, Tensor]:
    """Return ``mean_B (alpha log pi(a|s) - min_i Q_i(s, a))`` for a reparametrised sample (2018b, eq. 9).

    Args:
        actor: what is learned.
        critic: what judges; it may see more than the actor.
        alpha: ().
        obs: (B, policy width).
        critic_obs: (B, critic width), of the same states.
        noise: (B, A).
        precision: of the products.

    Returns:
        The loss () and the mean log-probability ().
    """
    action, log_prob = sample_tanh_gaussian(*policy(actor, obs, precision), noise)
    q = q_values(critic, critic_obs, action, precision).amin(0)
    assert q.shape == log_prob.shape
    return (alpha * log_prob - q).mean(), log_prob.mean()


def alpha_gradient(mean_log_prob: Tensor, target_entropy: float) -> Tensor:
    """Return the gradient of ``-log alpha (log pi + target entropy)`` in log alpha, log pi held fixed.

    2018b, eq. 18, has alpha in place of log alpha in the product; its authors' code has the logarithm, whose
    gradient does not vanish with alpha. It is linear, so its gradient needs no autograd: the temperature
    rises while the entropy ``-log pi`` is below its target.
    """
    return -(mean_log_prob + target_entropy)


#: (loss, aux) of a function -> its gradient in the first argument, and (loss, aux).
gradient = partial(torch.func.grad_and_value, has_aux=True)


def update(
    state: SACState, batch: Transitions, noise: Tensor, config: SACConfig, critic_group: str
) -> tuple[SACState, Metrics]:
    """Take one step of critics, actor, temperature and target critics (2018b, algorithm 1); pure.

    Args:
        state: before; it is not changed.
        batch: B transitions.
        noise: (2, B, A): for the actions at the next and at the present observations.
        config: settings.
        critic_group: the observations that the critics read.

    Returns:
        The next state, and critic_loss, actor_loss, alpha, entropy [nat] and q, each 0-d.
    """
    precision, alpha = config.precision, state.log_alpha.exp()
    obs = normalized(state.normalizer, batch.obs, config.normalize_obs)
    next_obs = normalized(state.normalizer, batch.next_obs, config.normalize_obs)

    next_mean, next_log_std = policy(state.actor, next_obs["policy"], precision)
    next_action, next_log_prob = sample_tanh_gaussian(next_mean, next_log_std, noise[0])
    next_q = q_values(state.target, next_obs[critic_group], next_action, precision)
    target = td_target(batch.reward, batch.terminated, next_q, next_log_prob, alpha, config.gamma * batch.discount)

    seen = obs[critic_group]
    grads, (q_loss, q) = gradient(critic_loss)(state.critic, target, seen, batch.action, precision)
    critic, critic_opt = adam(state.critic, grads, state.critic_opt, config.critic_lr)

    grads, (pi_loss, log_prob) = gradient(actor_loss)(
        state.actor, critic, alpha, obs["policy"], seen, noise[1], precision
    )
    actor, actor_opt = adam(state.actor, grads, state.actor_opt, config.actor_lr)

    wanted = -batch.action.shape[-1] if config.target_entropy is None else config.target_entropy
    grad = alpha_gradient(log_prob, wanted)
    log_alpha, alpha_opt = adam(state.log_alpha, grad, state.alpha_opt, config.alpha_lr)

    target_critic = polyak(state.target, critic, config.tau)
    metrics = {"critic_loss": q_loss, "actor_loss": pi_loss, "alpha": alpha, "entropy": -log_prob, "q": q}
    return (
        SACState(actor, critic, target_critic, log_alpha, actor_opt, critic_opt, alpha_opt, state.normalizer),
        metrics,
    )


class SAC(OffPolicyLearner):
    """Soft actor-critic: ties the functions above to the training loop."""

    name: ClassVar[str] = "sac"
    Config: ClassVar[type] = SACConfig
    config: SACConfig

    def init(
        self,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> SACState:
        """Draw actor and critics, each on its own; the target critics begin as copies of the critics."""
        spaces, hidden = self.spaces, self.config.hidden
        critic_width = spaces.obs[spaces.critic_group] + spaces.action
        actor = init_mlp(generator, (spaces.obs["policy"], *hidden, 2 * spaces.action), dtype)
        critic = init_ensemble(generator, 2, (critic_width, *hidden, 1), dtype)
        log_alpha = torch.tensor(math.log(self.config.init_alpha), dtype=dtype)
        normalizer = {group: init_normalizer(spaces.obs[group], dtype) for group in self._groups}
        state = SACState(
            actor=actor,
            critic=critic,
            target=tree_map(torch.clone, critic),
            log_alpha=log_alpha,
            actor_opt=init_adam(actor),
            critic_opt=init_adam(critic),
            alpha_opt=init_adam(log_alpha),
            normalizer=normalizer,
        )
        return tree_map(lambda leaf: leaf.to(device), state)

    def act(
        self, state: SACState, obs: Obs, memory: None, noise: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor], None]:
        """Return ``tanh(mean + std noise)``, and ``tanh(mean)`` without noise."""
        seen = obs["policy"]
        if self.config.normalize_obs:
            seen = normalize(state.normalizer["policy"], seen)
        mean, log_std = policy(state.actor, seen)
        action = torch.tanh(mean) if noise is None else tanh_gaussian_action(mean, log_std, noise)
        return action, {}, memory

    def act_noise_shape(self, n: int) -> tuple[int, ...]:
        """Return (n, A)."""
        return (n, self.spaces.action)

    def update(self, state: SACState, batch: Transitions, noise: Tensor) -> tuple[SACState, Metrics]:
        """Take one step; see the function `update` of this module."""
        return update(state, batch, noise, self.config, self.spaces.critic_group)

    def update_noise_shape(self) -> tuple[int, ...]:
        """Return (2, batch_size, A)."""
        return (2, self.config.batch_size, self.spaces.action)

    def policy_graph(self, state: SACState) -> PolicyGraph:
        """Return ``tanh(mean)`` of the raw policy observation, the normaliser included."""
        *hidden, head = state.actor
        mean = {"w": head["w"][:, : self.spaces.action], "b": head["b"][: self.spaces.action]}
        stats = state.normalizer["policy"] if self.config.normalize_obs else None
        return tanh_mlp_graph([*hidden, mean], stats)

    @property
    def _groups(self) -> tuple[str, ...]:
        """The observation groups that are read, each once."""
        return tuple(dict.fromkeys(("policy", self.spaces.critic_group)))
