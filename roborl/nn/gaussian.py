"""The Gaussians of stochastic policies, from noise drawn outside: as it is, and squashed by tanh to be bounded."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus


def tanh_gaussian_action(mean: Tensor, log_std: Tensor, noise: Tensor) -> Tensor:
    """Return the sample ``tanh(mean + exp(log_std) noise)``, in [-1, 1], for acting (no log-probability).

    Args:
        mean: (N, A), before the squashing.
        log_std: (N, A).
        noise: (N, A), standard normal.

    Returns:
        (N, A).
    """
    return torch.tanh(torch.addcmul(mean, log_std.exp(), noise))


def sample_tanh_gaussian(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Sample a bounded action and the logarithm of its density.

    With ``u = mean + std noise`` and ``a = tanh(u)``, ``log p(a) = sum log N(u; mean, std) - log(1 -
    tanh(u)^2)`` (Haarnoja et al. 2018a, appendix C, eq. 21). The last term is computed as ``2 (log 2 - u -
    softplus(-2u))``, which is the same and does not overflow or lose its digits where tanh saturates.

    Args:
        mean: (N, A), before the squashing.
        log_std: (N, A).
        noise: (N, A), standard normal.

    Returns:
        Actions (N, A) in [-1, 1] and log-probabilities (N,) [nat], both differentiable in mean and log_std.
    """
    assert mean.shape == log_std.shape == noise.shape, (mean.shape, log_std.shape, noise.shape)
    u = mean + log_std.exp() * noise
    gaussian = -0.5 * noise * noise - log_std - 0.5 * math.log(2 * math.pi)  # (u - mean) / std is the noise
    log_det = 2 * (math.log(2) - u - softplus(-2 * u))
    return torch.tanh(u), (gaussian - log_det).sum(-1)


def gaussian_log_prob(mean: Tensor, log_std: Tensor, action: Tensor) -> Tensor:
    """Return ``sum_i log N(a_i; mean_i, std_i)``.

    Args:
        mean: (N, A).
        log_std: (N, A), or (A,) for all rows.
        action: (N, A).

    Returns:
        (N,) [nat].
    """
    assert mean.shape == action.shape and mean.shape[-1] == log_std.shape[-1]
    z = (action - mean) * torch.exp(-log_std)
    return (-0.5 * z * z - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)


def gaussian_entropy(log_std: Tensor) -> Tensor:
    """Return ``sum_i (log std_i + log(2 pi e) / 2)``: (..., A) to (...) [nat]."""
    return (log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)


def gaussian_kl(mean: Tensor, log_std: Tensor, other_mean: Tensor, other_log_std: Tensor) -> Tensor:
    """Return the divergence KL(p || q) of two Gaussians with diagonal covariances, p first.

    ``sum_i log(std_q / std_p) + (std_p^2 + (mean_p - mean_q)^2) / (2 std_q^2) - 1/2``.

    Args:
        mean: (N, A), of p.
        log_std: (N, A), or (A,) for all rows.
        other_mean: (N, A), of q.
        other_log_std: (N, A), or (A,) for all rows.

    Returns:
        (N,) [nat].
    """
    assert mean.shape == other_mean.shape and log_std.shape[-1] == other_log_std.shape[-1] == mean.shape[-1]
    shift = (mean - other_mean) * torch.exp(-other_log_std)
    log_ratio = log_std - other_log_std
    return (0.5 * (torch.exp(2 * log_ratio) + shift * shift - 1) - log_ratio).sum(-1)
