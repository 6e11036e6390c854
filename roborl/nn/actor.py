"""The stochastic policy of on-policy learners: a Gaussian whose mean is a network's and whose deviation is its own.

It is not bounded: what it draws beyond [-1, 1] is clipped for the environment, and stored and learned from as it was
drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

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
