"""REINFORCE: the policy gradient by whole returns, with a baseline that takes from its variance.

Williams 1992, "Simple statistical gradient-following algorithms for connectionist reinforcement learning", Machine
Learning 8; with reward-to-go, as in Sutton and Barto 2018, section 13.3 and 13.4. It estimates no value to go on from:
a return ends with its episode, at a time limit too, and with the rollout, which should hold several episodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from roborl.data.returns import returns_to_go, weighted_mean
from roborl.errors import check_count, check_in, check_range
from roborl.learner import Metrics, Obs, OnPolicyLearner, Rollout, check_on_policy
from roborl.nn.actor import GaussianActor, act, init_actor, policy_graph
from roborl.nn.adam import AdamState, adam, clip_by_norm, init_adam
from roborl.nn.compile import Compiler, fold
from roborl.nn.gaussian import gaussian_entropy, gaussian_log_prob
from roborl.nn.graph import PolicyGraph
from roborl.nn.mlp import Layers, init_orthogonal, mlp
from roborl.nn.normalizer import NormalizerState, init_normalizer, inverse_std, normalize, normalized, update_normalizer
from roborl.nn.tree import tree_map

#: Adam's epsilon.
ADAM_EPS = 1e-5

#: What is taken off the returns: nothing, the moving average of the returns, or a learned value of the state.
BASELINES = ("none", "average", "value")


@dataclass(frozen=True)
class REINFORCEConfig:
    """Settings of REINFORCE."""

    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers of the actor and of the learned baseline."""
    activation: str = "tanh"
    """Between the layers: "tanh", "relu" or "elu"."""
    baseline: str = "value"
    """What is taken off the returns: "none", their moving "average", or a learned "value" of the state."""
    rollout_size: int = 2048
    """Environment steps in a rollout, all environments together; rounded up to whole steps of each."""
    actor_lr: float = 1e-3
    """Adam's step size for the actor, of which each rollout allows one step."""
    critic_lr: float = 1e-3
    """Adam's step size for the learned baseline."""
    critic_steps: int = 20
    """Steps of the learned baseline on each rollout, after the actor's."""
    average_rate: float = 0.1
    """How far the moving average goes towards the mean return of a rollout."""
    gamma: float = 0.99
    """Discount per control step."""
    entropy_coefficient: float = 0.0
    """Weight of the bonus for the policy's entropy."""
    max_grad_norm: float = 0.5
    """The greatest norm of a gradient, the actor's and the baseline's each on its own."""
    normalize_obs: bool = True
    """Whether observations are divided by their running deviation after their running mean is taken off."""
    normalize_reward: bool = True
    """Whether rewards are divided by the running deviation of the episodes' discounted returns."""
    init_log_std: float = 0.0
    """First logarithm of the policy's standard deviation, in units in which actions reach from -1 to 1."""

    def __post_init__(self) -> None:
        """Check every field."""
        check_on_policy(self)
        check_in("baseline", self.baseline, BASELINES)
        check_count("critic_steps", self.critic_steps, 1)
        for name in ("actor_lr", "critic_lr", "average_rate"):
            check_range(name, getattr(self, name), 0.0, 1.0)
        check_range("entropy_coefficient", self.entropy_coefficient, 0.0)
        check_range("max_grad_norm", self.max_grad_norm, 0.0, open_low=True)


class REINFORCEState(NamedTuple):
    """Everything REINFORCE has learned."""

    actor: GaussianActor
    critic: Layers
    """obs -> value, the learned baseline; it may see more than the actor."""
    average: Tensor
    """(), the moving average of the returns, in units of scaled rewards."""
    actor_opt: AdamState
    critic_opt: AdamState
    normalizer: dict[str, NormalizerState]
    """Observation group to its statistics, for the groups that are read."""
    returns: NormalizerState
    """Statistics of the episodes' discounted returns so far, (1,)."""


def actor_loss(
    actor: GaussianActor, obs: Tensor, action: Tensor, advantage: Tensor, live: Tensor, config: REINFORCEConfig
) -> tuple[Tensor, Metrics]:
    """Return ``-log pi(a|s) (G - b) - c H`` (2018, eq. 13.11) and its parts, means over live steps.

    Args:
        actor: what is learned.
        obs: (B, policy width), normalised.
        action: (B, A), unclipped.
        advantage: (B,), the return less the baseline, a constant.
        live: (B,), 0 for dead steps.
        config: settings.
    """
    assert advantage.shape == live.shape == action.shape[:1]
    log_prob = gaussian_log_prob(mlp(actor.mean, obs, config.activation), actor.log_std, action)
    policy_loss = -weighted_mean(log_prob * advantage, live)
    entropy = gaussian_entropy(actor.log_std)
    return policy_loss - config.entropy_coefficient * entropy, {"actor_loss": policy_loss, "entropy": entropy}


def critic_loss(critic: Layers, obs: Tensor, target: Tensor, live: Tensor, activation: str) -> Tensor:
    """Return the mean of ``(V - G)^2`` over live steps: obs (B, critic width), target (B,), live (B,)."""
    assert target.shape == live.shape == obs.shape[:1]
    return weighted_mean((mlp(critic, obs, activation).squeeze(-1) - target).square(), live)


def update(
    state: REINFORCEState, rollout: Rollout, config: REINFORCEConfig, critic_group: str
) -> tuple[REINFORCEState, Metrics]:
    """Take one step of the actor, then some of its baseline, on a whole rollout; pure."""
    steps, n = rollout.reward.shape
    live, action = rollout.live.reshape(-1), rollout.action.reshape(steps * n, -1)
    returns, reward = state.returns, rollout.reward
    if config.normalize_reward:
        returns = update_normalizer(returns, rollout.return_so_far.reshape(-1, 1), live)
        reward = reward * inverse_std(returns)
    flat = {group: obs[:-1].reshape(steps * n, -1) for group, obs in rollout.obs.items()}
    obs = normalized(state.normalizer, flat, config.normalize_obs)

    ended = torch.maximum(rollout.terminated, rollout.truncated)
    target = returns_to_go(reward, ended, config.gamma).reshape(-1)
    value = mlp(state.critic, obs[critic_group], config.activation).squeeze(-1)
    baseline = {"none": torch.zeros_like(value), "average": state.average.expand_as(value), "value": value}
    advantage = target - baseline[config.baseline]

    gradient = torch.func.grad_and_value(actor_loss, has_aux=True)
    grads, (_, metrics) = gradient(state.actor, obs["policy"], action, advantage, live, config)
    grads, norm = clip_by_norm(grads, config.max_grad_norm)
    actor, actor_opt = adam(state.actor, grads, state.actor_opt, config.actor_lr, eps=ADAM_EPS)

    average = state.average + config.average_rate * (weighted_mean(target, live) - state.average)
    learned = (state.critic, state.critic_opt, torch.zeros_like(average))
    if config.baseline == "value":

        def step(learned: tuple[Layers, AdamState, Tensor], _: Tensor) -> tuple[Layers, AdamState, Tensor]:
            critic, opt, _ = learned
            grads, value_loss = torch.func.grad_and_value(critic_loss)(
                critic, obs[critic_group], target, live, config.activation
            )
            grads, _ = clip_by_norm(grads, config.max_grad_norm)
            return *adam(critic, grads, opt, config.critic_lr, eps=ADAM_EPS), value_loss

        learned = fold(step, learned, torch.arange(config.critic_steps, device=live.device))
    critic, critic_opt, value_loss = learned

    metrics |= {"critic_loss": value_loss, "actor_grad_norm": norm}
    return REINFORCEState(actor, critic, average, actor_opt, critic_opt, state.normalizer, returns), metrics


class REINFORCE(OnPolicyLearner):
    """REINFORCE: ties the functions above to the training loop."""

    name: ClassVar[str] = "reinforce"
    Config: ClassVar[type] = REINFORCEConfig
    config: REINFORCEConfig

    def init(
        self,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> REINFORCEState:
        """Draw actor and baseline."""
        spaces, config = self.spaces, self.config
        sizes = (spaces.obs["policy"], *config.hidden, spaces.action)
        actor = init_actor(generator, sizes, config.init_log_std, dtype)
        critic = init_orthogonal(generator, (spaces.obs[spaces.critic_group], *config.hidden, 1), 1.0, dtype)
        groups = dict.fromkeys(("policy", spaces.critic_group))
        state = REINFORCEState(
            actor=actor,
            critic=critic,
            average=torch.zeros((), dtype=dtype),
            actor_opt=init_adam(actor),
            critic_opt=init_adam(critic),
            normalizer={group: init_normalizer(spaces.obs[group], dtype) for group in groups},
            returns=init_normalizer(1, dtype),
        )
        return tree_map(lambda leaf: leaf.to(device), state)

    def act(
        self, state: REINFORCEState, obs: Obs, memory: None, noise: Tensor | None
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
        self, state: REINFORCEState, rollout: Rollout, generator: torch.Generator, compiler: Compiler
    ) -> tuple[REINFORCEState, Metrics]:
        """Take the steps; see `OnPolicyLearner`."""
        return compiler.pure(self.update)(state, rollout)

    def update(self, state: REINFORCEState, rollout: Rollout) -> tuple[REINFORCEState, Metrics]:
        """Take the steps; see the function `update` of this module."""
        return update(state, rollout, self.config, self.spaces.critic_group)

    def policy_graph(self, state: REINFORCEState) -> PolicyGraph:
        """Return the clipped mean of the raw policy observation, the normaliser included."""
        stats = state.normalizer["policy"] if self.config.normalize_obs else None
        return policy_graph(state.actor, stats, self.config.activation)
