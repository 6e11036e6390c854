"""Deep deterministic policy gradient: an actor that climbs the slope of a learned Q, off policy.

Lillicrap et al. 2016, "Continuous control with deep reinforcement learning", https://arxiv.org/abs/1509.02971, whose
equations are cited below. As in stable-baselines3, so that runs are comparable, exploration is Gaussian (the paper's
is an Ornstein-Uhlenbeck process, which Fujimoto et al. 2018 found no better), both step sizes are equal, and there is
neither batch normalisation nor weight decay.

The whole update is one pure function of (state, batch, noise).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from roborl.errors import check_in, check_range
from roborl.learner import Metrics, Obs, OffPolicyLearner, Transitions, check_off_policy
from roborl.nn.adam import AdamState, adam, init_adam, polyak
from roborl.nn.graph import PolicyGraph
from roborl.nn.mlp import Layers, init_mlp, mlp
from roborl.nn.normalizer import NormalizerState, init_normalizer, normalize, normalized
from roborl.nn.policy import tanh_mlp_graph
from roborl.nn.tree import tree_map


@dataclass(frozen=True)
class DDPGConfig:
    """Settings of DDPG."""

    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of actor and critic."""
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
    """How far the targets move towards actor and critic in one update."""
    actor_lr: float = 1e-3
    """Adam's step size for the actor."""
    critic_lr: float = 1e-3
    """Adam's step size for the critic."""
    exploration_noise: float = 0.1
    """Standard deviation of the Gaussian noise on actions in [-1, 1] while data is gathered."""
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
        check_range("exploration_noise", self.exploration_noise, 0.0)


class DDPGState(NamedTuple):
    """Everything DDPG has learned."""

    actor: Layers
    """obs -> action before the squashing."""
    critic: Layers
    """(obs, action) -> Q."""
    target_actor: Layers
    """The actor's moving average."""
    target_critic: Layers
    """The critic's moving average."""
    actor_opt: AdamState
    critic_opt: AdamState
    normalizer: dict[str, NormalizerState]
    """Observation group to its statistics, for the groups that are read."""


def policy(actor: Layers, obs: Tensor, precision: str = "float32") -> Tensor:
    """Return the action ``tanh(actor(obs))``, (B, A) in [-1, 1]."""
    return torch.tanh(mlp(actor, obs, "relu", precision))


def q_value(critic: Layers, obs: Tensor, action: Tensor, precision: str = "float32") -> Tensor:
    """Return Q(obs, action), (B,)."""
    return mlp(critic, torch.cat([obs, action], dim=-1), "relu", precision).squeeze(-1)


def td_target(reward: Tensor, terminated: Tensor, next_q: Tensor, discount: Tensor) -> Tensor:
    """Return ``r + gamma (1 - terminated) Q'(s', pi'(s'))`` (eq. 5, with the target networks of algorithm 1).

    Only a termination takes the future away: at a time limit the state that followed still has a value.

    Args:
        reward: (B,).
        terminated: (B,), 0 or 1.
        next_q: (B,), the target critic at the next observation and the target policy's action there.
        discount: (B,), of the value that follows: gamma, or gamma^k after k steps.

    Returns:
        (B,).
    """
    assert reward.shape == terminated.shape == next_q.shape
    return reward + discount * (1 - terminated) * next_q


def critic_loss(critic: Layers, target: Tensor, obs: Tensor, action: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    """Return ``mean_B (Q - target)^2`` (eq. 4) and the mean Q."""
    q = q_value(critic, obs, action, precision)
    assert q.shape == target.shape
    return (q - target).square().mean(), q.mean()


def actor_loss(actor: Layers, critic: Layers, obs: Tensor, critic_obs: Tensor, precision: str) -> Tensor:
    """Return ``-mean_B Q(s, pi(s))``, whose gradient is the deterministic policy gradient (eq. 6).

    Args:
        actor: what is learned.
        critic: what judges; it may see more than the actor.
        obs: (B, policy width).
        critic_obs: (B, critic width), of the same states.
        precision: of the products.

    Returns:
        ().
    """
    q = q_value(critic, critic_obs, policy(actor, obs, precision), precision)
    assert q.shape == (len(obs),)
    return -q.mean()


def update(state: DDPGState, batch: Transitions, config: DDPGConfig, critic_group: str) -> tuple[DDPGState, Metrics]:
    """Take one step of critic, actor and targets (algorithm 1); pure.

    Args:
        state: before; it is not changed.
        batch: B transitions.
        config: settings.
        critic_group: the observations that the critic reads.

    Returns:
        The next state, and critic_loss, actor_loss and q, each 0-d.
    """
    precision = config.precision
    obs = normalized(state.normalizer, batch.obs, config.normalize_obs)
    next_obs = normalized(state.normalizer, batch.next_obs, config.normalize_obs)

    next_action = policy(state.target_actor, next_obs["policy"], precision)
    next_q = q_value(state.target_critic, next_obs[critic_group], next_action, precision)
    target = td_target(batch.reward, batch.terminated, next_q, config.gamma * batch.discount)

    seen = obs[critic_group]
    grads, (q_loss, q) = torch.func.grad_and_value(critic_loss, has_aux=True)(
        state.critic, target, seen, batch.action, precision
    )
    critic, critic_opt = adam(state.critic, grads, state.critic_opt, config.critic_lr)

    grads, pi_loss = torch.func.grad_and_value(actor_loss)(state.actor, critic, obs["policy"], seen, precision)
    actor, actor_opt = adam(state.actor, grads, state.actor_opt, config.actor_lr)

    target_actor = polyak(state.target_actor, actor, config.tau)
    target_critic = polyak(state.target_critic, critic, config.tau)
    metrics = {"critic_loss": q_loss, "actor_loss": pi_loss, "q": q}
    return DDPGState(actor, critic, target_actor, target_critic, actor_opt, critic_opt, state.normalizer), metrics


class DDPG(OffPolicyLearner):
    """DDPG: ties the functions above to the training loop."""

    name: ClassVar[str] = "ddpg"
    Config: ClassVar[type] = DDPGConfig
    config: DDPGConfig

    def init(
        self,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> DDPGState:
        """Draw actor and critic, each on its own; the targets begin as copies."""
        spaces, hidden = self.spaces, self.config.hidden
        critic_width = spaces.obs[spaces.critic_group] + spaces.action
        actor = init_mlp(generator, (spaces.obs["policy"], *hidden, spaces.action), dtype)
        critic = init_mlp(generator, (critic_width, *hidden, 1), dtype)
        state = DDPGState(
            actor=actor,
            critic=critic,
            target_actor=tree_map(torch.clone, actor),
            target_critic=tree_map(torch.clone, critic),
            actor_opt=init_adam(actor),
            critic_opt=init_adam(critic),
            normalizer={group: init_normalizer(spaces.obs[group], dtype) for group in self._groups},
        )
        return tree_map(lambda leaf: leaf.to(device), state)

    def act(
        self, state: DDPGState, obs: Obs, memory: None, noise: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor], None]:
        """Return ``clip(pi(obs) + exploration_noise noise, -1, 1)``, and ``pi(obs)`` without noise."""
        seen = obs["policy"]
        if self.config.normalize_obs:
            seen = normalize(state.normalizer["policy"], seen)
        action = policy(state.actor, seen)
        if noise is not None:
            action = (action + self.config.exploration_noise * noise).clamp(-1.0, 1.0)
        return action, {}, memory

    def act_noise_shape(self, n: int) -> tuple[int, ...]:
        """Return (n, A)."""
        return (n, self.spaces.action)

    def update(self, state: DDPGState, batch: Transitions, noise: Tensor) -> tuple[DDPGState, Metrics]:
        """Take one step, without noise; see the function `update` of this module."""
        return update(state, batch, self.config, self.spaces.critic_group)

    def update_noise_shape(self) -> tuple[int, ...]:
        """Return (0,): an update is without noise."""
        return (0,)

    def policy_graph(self, state: DDPGState) -> PolicyGraph:
        """Return ``pi`` of the raw policy observation, the normaliser included."""
        return tanh_mlp_graph(state.actor, state.normalizer["policy"] if self.config.normalize_obs else None)

    @property
    def _groups(self) -> tuple[str, ...]:
        """The observation groups that are read, each once."""
        return tuple(dict.fromkeys(("policy", self.spaces.critic_group)))
