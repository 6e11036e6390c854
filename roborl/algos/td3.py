"""Twin delayed deep deterministic policy gradient: DDPG without its over-estimated values.

Fujimoto, van Hoof and Meger 2018, "Addressing Function Approximation Error in Actor-Critic Methods",
https://arxiv.org/abs/1802.09477, whose equations are cited below. Three things are new against DDPG: the smaller of
two critics' values is the target, the target policy's action is blurred, and the policy is updated less often than
the critics.

One call of the update takes ``policy_delay`` steps of the critics, each on a batch of its own, then one of the
policy and the targets, which stand still in between: the step that is the same every time, and pure in (state,
batch, noise). Where details differ between implementations this one does as stable-baselines3 does, so that runs
are comparable.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from roborl.errors import check_count, check_in, check_range
from roborl.learner import Metrics, Obs, OffPolicyLearner, Transitions, check_off_policy, split
from roborl.nn.adam import AdamState, adam, init_adam, polyak
from roborl.nn.graph import PolicyGraph
from roborl.nn.mlp import Layers, ensemble_mlp, init_ensemble, init_mlp, mlp
from roborl.nn.normalizer import NormalizerState, init_normalizer, normalize, normalized
from roborl.nn.policy import tanh_mlp_graph
from roborl.nn.tree import tree_map


@dataclass(frozen=True)
class TD3Config:
    """Settings of TD3."""

    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of actor and critics."""
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
    tau: float = 0.005
    """How far the targets move towards actor and critics at each update of the actor."""
    actor_lr: float = 1e-3
    """Adam's step size for the actor."""
    critic_lr: float = 1e-3
    """Adam's step size for the critics."""
    policy_delay: int = 2
    """Updates of the critics for each of the actor and the targets."""
    exploration_noise: float = 0.1
    """Standard deviation of the Gaussian noise on actions in [-1, 1] while data is gathered."""
    target_noise: float = 0.2
    """Standard deviation of the noise on the target policy's actions in [-1, 1]."""
    target_noise_clip: float = 0.5
    """That noise is clipped to +- this."""
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
        check_count("policy_delay", self.policy_delay, 1)
        for name in ("exploration_noise", "target_noise", "target_noise_clip"):
            check_range(name, getattr(self, name), 0.0)


class TD3State(NamedTuple):
    """Everything TD3 has learned."""

    actor: Layers
    """obs -> action before the squashing."""
    critic: Layers
    """(obs, action) -> Q, an ensemble of two."""
    target_actor: Layers
    """The actor's moving average."""
    target_critic: Layers
    """The critics' moving average."""
    actor_opt: AdamState
    critic_opt: AdamState
    normalizer: dict[str, NormalizerState]
    """Observation group to its statistics, for the groups that are read."""


def policy(actor: Layers, obs: Tensor, precision: str = "float32") -> Tensor:
    """Return the action ``tanh(actor(obs))``, (B, A) in [-1, 1]."""
    return torch.tanh(mlp(actor, obs, "relu", precision))


def q_values(critic: Layers, obs: Tensor, action: Tensor, precision: str = "float32") -> Tensor:
    """Return the critics' Q(obs, action), (members, B)."""
    return ensemble_mlp(critic, torch.cat([obs, action], dim=-1), "relu", precision).squeeze(-1)


def smoothed_action(action: Tensor, noise: Tensor, std: float, noise_clip: float) -> Tensor:
    """Return ``clip(a + clip(std noise, -c, c), -1, 1)``: target policy smoothing (eq. 14 and 15).

    Args:
        action: (B, A), the target policy's, in [-1, 1].
        noise: (B, A), standard normal.
        std: standard deviation of the noise.
        noise_clip: c.

    Returns:
        (B, A) in [-1, 1].
    """
    assert action.shape == noise.shape
    return (action + (std * noise).clamp(-noise_clip, noise_clip)).clamp(-1.0, 1.0)


def td_target(reward: Tensor, terminated: Tensor, next_q: Tensor, discount: Tensor) -> Tensor:
    """Return ``r + gamma (1 - terminated) min_i Q_i(s', a')`` (eq. 10).

    Only a termination takes the future away: at a time limit the state that followed still has a value.

    Args:
        reward: (B,).
        terminated: (B,), 0 or 1.
        next_q: (2, B), the target critics at the next observation and the smoothed action there.
        discount: (B,), of the value that follows: gamma, or gamma^k after k steps.

    Returns:
        (B,).
    """
    assert reward.shape == terminated.shape == next_q.shape[1:]
    return reward + discount * (1 - terminated) * next_q.amin(0)


def critic_loss(critic: Layers, target: Tensor, obs: Tensor, action: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    """Return ``sum_i mean_B (Q_i - target)^2`` (algorithm 1, for both critics) and the mean Q."""
    q = q_values(critic, obs, action, precision)
    assert q.shape == (2, *target.shape)
    return (q - target).square().mean(1).sum(), q.mean()


def actor_loss(actor: Layers, critic: Layers, obs: Tensor, critic_obs: Tensor, precision: str) -> Tensor:
    """Return ``-mean_B Q_1(s, pi(s))``, whose gradient is the deterministic policy gradient (eq. 1).

    Args:
        actor: what is learned.
        critic: both critics, of which the first judges; it may see more than the actor.
        obs: (B, policy width).
        critic_obs: (B, critic width), of the same states.
        precision: of the products.

    Returns:
        ().
    """
    first = tree_map(lambda leaf: leaf[:1], critic)
    q = q_values(first, critic_obs, policy(actor, obs, precision), precision)
    assert q.shape == (1, len(obs))
    return -q.mean()


#: (loss, aux) of a function -> its gradient in the first argument, and (loss, aux).
gradient = partial(torch.func.grad_and_value, has_aux=True)


def update(
    state: TD3State, batch: Transitions, noise: Tensor, config: TD3Config, critic_group: str
) -> tuple[TD3State, Metrics]:
    """Take D = policy_delay steps of the critics, then one of the actor and the targets (algorithm 1); pure.

    Args:
        state: before; it is not changed.
        batch: D B transitions: B for each step of the critics, the last B for the actor too.
        noise: (D B, A), on the target policy's actions.
        config: settings.
        critic_group: the observations that the critics read.

    Returns:
        The next state, and critic_loss and q (means over the D steps) and actor_loss, each 0-d.
    """
    precision = config.precision
    batch = batch._replace(
        obs=normalized(state.normalizer, batch.obs, config.normalize_obs),
        next_obs=normalized(state.normalizer, batch.next_obs, config.normalize_obs),
    )

    # All D targets at once: the target networks only move after the actor.
    next_action = policy(state.target_actor, batch.next_obs["policy"], precision)
    next_action = smoothed_action(next_action, noise, config.target_noise, config.target_noise_clip)
    next_q = q_values(state.target_critic, batch.next_obs[critic_group], next_action, precision)
    targets = td_target(batch.reward, batch.terminated, next_q, config.gamma * batch.discount).chunk(
        config.policy_delay
    )

    critic, critic_opt = state.critic, state.critic_opt
    parts, losses, values = split(batch, config.policy_delay), [], []
    for part, target in zip(parts, targets, strict=True):
        grads, (loss, q) = gradient(critic_loss)(critic, target, part.obs[critic_group], part.action, precision)
        critic, critic_opt = adam(critic, grads, critic_opt, config.critic_lr)
        losses.append(loss)
        values.append(q)

    obs = parts[-1].obs
    grads, pi_loss = torch.func.grad_and_value(actor_loss)(
        state.actor, critic, obs["policy"], obs[critic_group], precision
    )
    actor, actor_opt = adam(state.actor, grads, state.actor_opt, config.actor_lr)

    target_actor = polyak(state.target_actor, actor, config.tau)
    target_critic = polyak(state.target_critic, critic, config.tau)
    metrics = {
        "critic_loss": torch.stack(losses).mean(),
        "actor_loss": pi_loss,
        "q": torch.stack(values).mean(),
    }
    return TD3State(actor, critic, target_actor, target_critic, actor_opt, critic_opt, state.normalizer), metrics


class TD3(OffPolicyLearner):
    """TD3: ties the functions above to the training loop."""

    name: ClassVar[str] = "td3"
    Config: ClassVar[type] = TD3Config
    config: TD3Config

    def init(
        self,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> TD3State:
        """Draw actor and critics, each on its own; the targets begin as copies."""
        spaces, hidden = self.spaces, self.config.hidden
        critic_width = spaces.obs[spaces.critic_group] + spaces.action
        actor = init_mlp(generator, (spaces.obs["policy"], *hidden, spaces.action), dtype)
        critic = init_ensemble(generator, 2, (critic_width, *hidden, 1), dtype)
        state = TD3State(
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
        self, state: TD3State, obs: Obs, memory: None, noise: Tensor | None
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

    @property
    def updates_per_call(self) -> int:
        """The policy's delay: see `OffPolicyLearner.updates_per_call`."""
        return self.config.policy_delay

    def update(self, state: TD3State, batch: Transitions, noise: Tensor) -> tuple[TD3State, Metrics]:
        """Take policy_delay steps of the critics and one of the actor; see the function `update` of this module."""
        return update(state, batch, noise, self.config, self.spaces.critic_group)

    def update_noise_shape(self) -> tuple[int, ...]:
        """Return (policy_delay batch_size, A)."""
        return (self.config.policy_delay * self.config.batch_size, self.spaces.action)

    def policy_graph(self, state: TD3State) -> PolicyGraph:
        """Return ``pi`` of the raw policy observation, the normaliser included."""
        return tanh_mlp_graph(state.actor, state.normalizer["policy"] if self.config.normalize_obs else None)

    @property
    def _groups(self) -> tuple[str, ...]:
        """The observation groups that are read, each once."""
        return tuple(dict.fromkeys(("policy", self.spaces.critic_group)))
