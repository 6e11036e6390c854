"""The policy of on-policy learners, a Gaussian with a network's mean and a deviation of its own, and its critic.

It is not bounded: what it draws beyond [-1, 1] is clipped for the environment, and stored and learned from as it was
drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from roborl.learner import Spaces
from roborl.nn.graph import GraphBuilder, PolicyGraph
from roborl.nn.mlp import Layers, init_orthogonal, mlp
from roborl.nn.normalizer import NormalizerState, inverse_std

#: Normalised observations are clipped to +- this many deviations.
OBS_CLIP = 10.0


class GaussianActor(NamedTuple):
    """A policy's parameters."""

    mean: Layers
    """obs -> mean action."""
    log_std: Tensor
    """(A,), of the deviation, the same in all states."""


class ActorCritic(NamedTuple):
    """A policy and what judges it, two networks that share nothing."""

    actor: GaussianActor
    critic: Layers
    """obs -> value; it may see more than the actor."""


def init_actor_critic(
    generator: torch.Generator, spaces: Spaces, hidden: Sequence[int], log_std: float, dtype: torch.dtype
) -> ActorCritic:
    """Draw a policy whose first mean actions are near 0, the middle of what is allowed, and a critic.

    Args:
        generator: the source of randomness.
        spaces: the widths of observations and actions.
        hidden: widths of the hidden layers of both.
        log_std: first log standard deviation.
        dtype: of the parameters.
    """
    mean = init_orthogonal(generator, (spaces.obs["policy"], *hidden, spaces.action), 0.01, dtype)
    critic = init_orthogonal(generator, (spaces.obs[spaces.critic_group], *hidden, 1), 1.0, dtype)
    return ActorCritic(GaussianActor(mean, torch.full((spaces.action,), log_std, dtype=dtype)), critic)


def act(actor: GaussianActor, obs: Tensor, noise: Tensor | None, activation: str) -> Tensor:
    """Return actions (N, A) for observations (N, width): as drawn with noise (N, A), or else the mean, clipped."""
    mean = mlp(actor.mean, obs, activation)
    return mean.clamp(-1.0, 1.0) if noise is None else mean + actor.log_std.exp() * noise


def policy_graph(actor: GaussianActor, stats: NormalizerState | None, activation: str) -> PolicyGraph:
    """Return the mean action, clipped to [-1, 1], of the raw observation.

    Args:
        actor: the policy.
        stats: of the observations; None: they are not normalised.
        activation: between the layers.
    """
    g = GraphBuilder()
    x = g.input("obs", actor.mean[0]["w"].shape[0])
    if stats is not None:
        x = g.clip(g.mul(g.sub(x, _array(stats.mean)), _array(inverse_std(stats))), -OBS_CLIP, OBS_CLIP)
    *hidden, head = actor.mean
    for layer in hidden:
        x = getattr(g, activation)(g.linear(x, _array(layer["w"]), _array(layer["b"])))
    g.output("actions", g.clip(g.linear(x, _array(head["w"]), _array(head["b"])), -1.0, 1.0))
    return g.build()


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().float().numpy()
