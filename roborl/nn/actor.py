"""The stochastic policy of on-policy learners: a Gaussian whose mean is a network's and whose deviation is its own.

It is not bounded: what it draws beyond [-1, 1] is clipped for the environment, and stored and learned from as it was
drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from roborl.nn.graph import PolicyGraph
from roborl.nn.gru import GRU
from roborl.nn.mlp import Layers, init_orthogonal, mlp
from roborl.nn.normalizer import NormalizerState
from roborl.nn.policy import mlp_graph


class GaussianActor(NamedTuple):
    """A policy's parameters."""

    mean: Layers
    """obs -> mean action."""
    log_std: Tensor
    """(A,), of the deviation, the same in all states."""


def init_actor(
    generator: torch.Generator, sizes: Sequence[int], log_std: float, dtype: torch.dtype = torch.float32
) -> GaussianActor:
    """Draw a policy whose first mean actions are near 0, the middle of what is allowed.

    Args:
        generator: the source of randomness.
        sizes: widths (obs, hidden..., action).
        log_std: first log standard deviation.
        dtype: of the parameters.
    """
    layers = init_orthogonal(generator, sizes, 0.01, dtype)
    return GaussianActor(layers, torch.full((sizes[-1],), log_std, dtype=dtype, device=generator.device))


def act(actor: GaussianActor, obs: Tensor, noise: Tensor | None, activation: str) -> Tensor:
    """Return actions (N, A) for observations (N, width): as drawn with noise (N, A), or else the mean, clipped."""
    mean = mlp(actor.mean, obs, activation)
    return mean.clamp(-1.0, 1.0) if noise is None else mean + actor.log_std.exp() * noise


def policy_graph(
    actor: GaussianActor, stats: NormalizerState | None, activation: str, memory: GRU | None = None
) -> PolicyGraph:
    """Return the mean action, clipped to [-1, 1], of the raw observation.

    Args:
        actor: the policy.
        stats: of the observations; None: they are not normalised.
        activation: between the layers.
        memory: of a policy that reads what is seen beside what is remembered; None for all others.
    """
    return mlp_graph(actor.mean, stats, activation, lambda g, x: g.clip(x, -1.0, 1.0), memory)
