"""Networks with batch renormalisation before every layer, as pure functions of parameters and running statistics.

Ioffe 2017, "Batch Renormalization: Towards Reducing Minibatch Dependence in Batch-Normalized Models",
https://arxiv.org/abs/1702.03275, whose equations are cited below. For its first `WARMUP` batches it is batch
normalisation (Ioffe and Szegedy 2015): the running statistics are not yet worth steering by.

A network is a list of layers ``{"scale": (1, in), "shift": (1, in), "w": (in, out), "b": (out,)}``: the norm of a
layer's input, then the layer; an ensemble carries a leading axis, as in `roborl.nn.mlp`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from roborl.nn.mlp import Layers, linear, precision_of

#: Decay of the running statistics, and what is added to a variance: Bhatt et al. 2024's.
MOMENTUM, EPSILON = 0.99, 1e-3

#: Batches until the running statistics steer, and how far a batch's may be off them: at most a factor in the deviation
#: and so many deviations in the mean.
WARMUP, R_MAX, D_MAX = 100_000, 3.0, 5.0


class BatchStats(NamedTuple):
    """Running statistics of a network's norms."""

    mean: list[Tensor]
    """For each layer (1, in), or (E, 1, in), of its input."""
    var: list[Tensor]
    """Of the same shapes: the population's variance."""
    count: Tensor  # pyright: ignore[reportIncompatibleMethodOverride]  (the tuple's count is not used)
    """(), float64: batches seen."""


def init_norms(layers: Layers) -> tuple[Layers, BatchStats]:
    """Put a norm that is the identity before each layer.

    Args:
        layers: of one network or of an ensemble, as `roborl.nn.mlp` makes them.

    Returns:
        The layers with their norms' parameters, and statistics of no batches: mean 0 and variance 1.
    """
    inputs = [layer["w"].narrow(-1, 0, 1).transpose(-1, -2) for layer in layers]  # (..., 1, in)
    normed = [
        {"scale": torch.ones_like(x), "shift": torch.zeros_like(x), **layer}
        for x, layer in zip(inputs, layers, strict=True)
    ]
    count = layers[0]["w"].new_zeros((), dtype=torch.float64)
    return normed, BatchStats([torch.zeros_like(x) for x in inputs], [torch.ones_like(x) for x in inputs], count)


def renormalize(x: Tensor, mean: Tensor, var: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise a batch by its own statistics, corrected towards the running ones (algorithm 1).

    ``y = (x - mu_B) / sigma_B r + d`` with ``r = clip(sigma_B / sigma, 1/R_MAX, R_MAX)`` and
    ``d = clip((mu_B - mu) / sigma, -D_MAX, D_MAX)``, through which no gradient flows; r = 1 and d = 0 in the warm-up.

    Args:
        x: (..., N, width).
        mean: (..., 1, width), running.
        var: (..., 1, width), running.
        count: (), batches seen.

    Returns:
        y as x, and the running mean and variance with this batch's in them.
    """
    batch_mean = x.mean(-2, keepdim=True)
    batch_var = (x - batch_mean).square().mean(-2, keepdim=True)
    std, running_std = (batch_var + EPSILON).sqrt(), (var + EPSILON).sqrt()
    warm = (count >= WARMUP).to(x.dtype)
    r = 1 + warm * ((std / running_std).clamp(1 / R_MAX, R_MAX) - 1)
    d = warm * ((batch_mean - mean) / running_std).clamp(-D_MAX, D_MAX)
    y = (x - batch_mean) / std * r.detach() + d.detach()
    new_mean = MOMENTUM * mean + (1 - MOMENTUM) * batch_mean.detach()
    new_var = MOMENTUM * var + (1 - MOMENTUM) * batch_var.detach()
    return y, new_mean, new_var


def train_mlp(params: Layers, stats: BatchStats, x: Tensor, precision: str = "float32") -> tuple[Tensor, BatchStats]:
    """Evaluate a network, or each of an ensemble, on a batch whose statistics normalise it and join the running ones.

    Args:
        params: layers with their norms.
        stats: running statistics; they are not changed.
        x: (N, in), or (E, N, in).
        precision: of the products from one hidden layer to the next; see `roborl.nn.mlp.mlp`.

    Returns:
        (N, out), or (E, N, out), ReLU between layers; and the statistics with this batch's in them.
    """
    means, variances = [], []
    for i, (layer, mean, var) in enumerate(zip(params, stats.mean, stats.var, strict=True)):
        y, mean, var = renormalize(torch.relu(x) if i else x, mean, var, stats.count)
        y = layer["scale"] * y + layer["shift"]
        x = linear(y, layer["w"], layer["b"], precision_of(i, len(params), precision))
        means.append(mean)
        variances.append(var)
    return x, BatchStats(means, variances, stats.count + 1)


def eval_mlp(params: Layers, stats: BatchStats, x: Tensor, precision: str = "float32") -> Tensor:
    """Evaluate a network, or each of an ensemble, with the running statistics: each row by itself.

    Args:
        params: layers with their norms.
        stats: running statistics.
        x: (N, in), or (E, N, in).
        precision: see `train_mlp`.

    Returns:
        (N, out), or (E, N, out).
    """
    for i, (layer, mean, var) in enumerate(zip(params, stats.mean, stats.var, strict=True)):
        slope = layer["scale"] * (var + EPSILON).rsqrt()
        y = ((torch.relu(x) if i else x) - mean) * slope + layer["shift"]
        x = linear(y, layer["w"], layer["b"], precision_of(i, len(params), precision))
    return x


def fold(params: Layers, stats: BatchStats) -> Layers:
    """Return the plain layers that compute what `eval_mlp` does, of one network.

    With ``s = scale / sqrt(var + eps)``: ``((x - mean) s + shift) w + b = x (s w) + (shift - mean s) w + b``.
    """
    folded = []
    for layer, mean, var in zip(params, stats.mean, stats.var, strict=True):
        slope = layer["scale"] * (var + EPSILON).rsqrt()  # (1, in)
        offset = ((layer["shift"] - mean * slope) @ layer["w"])[0]
        folded.append({"w": slope.transpose(0, 1) * layer["w"], "b": layer["b"] + offset})
    return folded
