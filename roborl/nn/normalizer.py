"""Running mean and variance of observations and of returns, as pure functions of what has been seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class NormalizerState(NamedTuple):
    """Statistics of all the rows seen so far."""

    mean: Tensor
    """(width,), 0 before the first row."""
    var: Tensor
    """(width,), the population's (divided by the count), 1 before the first row."""
    count: Tensor  # pyright: ignore[reportIncompatibleMethodOverride]  (the tuple's count is not used)
    """(), float64: rows seen (float32 would stop counting at 2^24 rows)."""


#: Normalised observations are clipped to +- this many deviations.
OBS_CLIP = 10.0

#: Scaled rewards are clipped to +- this.
REWARD_CLIP = 10.0

#: The smallest variance that is divided by: a constant observation stays 0 and does not explode.
MIN_VARIANCE = 1e-8


def init_normalizer(
    width: int, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> NormalizerState:
    """Return the statistics of no rows at all: with them `normalize` is the identity up to the clip."""
    return NormalizerState(
        mean=torch.zeros(width, dtype=dtype, device=device),
        var=torch.ones(width, dtype=dtype, device=device),
        count=torch.zeros((), dtype=torch.float64, device=device),
    )


def update_normalizer(state: NormalizerState, x: Tensor, weight: Tensor | None = None) -> NormalizerState:
    """Merge the statistics of N new rows into those of all rows before.

    The parallel update of Chan, Golub and LeVeque (1979), eq. 2.1: with the means and the sums of squared
    deviations M of two sets, ``delta = mean_b - mean_a``, ``M = M_a + M_b + delta^2 n_a n_b / n``.

    Args:
        state: statistics of the rows before.
        x: (N, width), new rows, N >= 1.
        weight: (N,), 1 for the rows that count and 0 for the others; None: all count.

    Returns:
        The statistics of all rows.
    """
    assert x.dim() == 2 and x.shape[1:] == state.mean.shape, (x.shape, state.mean.shape)
    if weight is None:
        new, mean, var = x.shape[0], x.mean(0), x.var(0, correction=0)
    else:
        new, share = weight.double().sum(), (weight / weight.sum().clamp_min(1.0))[:, None]
        mean = (share * x).sum(0)
        var = (share * (x - mean).square()).sum(0)
    total = state.count + new
    new_share = (new / total.clamp_min(1.0)).to(x.dtype)
    delta = mean - state.mean
    # In shares n_b / n in place of counts: no large sums of squares to lose digits in.
    merged = (1 - new_share) * state.var + new_share * var + new_share * (1 - new_share) * delta * delta
    return NormalizerState(state.mean + new_share * delta, merged, total)


def normalize(state: NormalizerState, x: Tensor) -> Tensor:
    """Return ``(x - mean) / sqrt(var)``, clipped to +- OBS_CLIP.

    Args:
        state: statistics; they are not changed.
        x: (..., width).

    Returns:
        (..., width), dimensionless.
    """
    return ((x - state.mean) * inverse_std(state)).clamp(-OBS_CLIP, OBS_CLIP)


def normalized(stats: Mapping[str, NormalizerState], obs: Mapping[str, Tensor], enabled: bool) -> dict[str, Tensor]:
    """Return what networks read: the observation groups that have statistics, normalised and clipped where enabled.

    Args:
        stats: observation group to its statistics.
        obs: observation group to (..., width); there may be others.
        enabled: False: as they are.
    """
    return {group: normalize(state, obs[group]) if enabled else obs[group] for group, state in stats.items()}


def inverse_std(state: NormalizerState) -> Tensor:
    """Return ``1 / sqrt(max(var, MIN_VARIANCE))`` (width,): exactly 1 where the variance is 1."""
    return state.var.clamp_min(MIN_VARIANCE).rsqrt()


def scale_rewards(
    returns: NormalizerState, reward: Tensor, return_so_far: Tensor, live: Tensor, enabled: bool = True
) -> tuple[NormalizerState, Tensor]:
    """Count a rollout's discounted returns, and divide its rewards by the deviation of all of them, clipped.

    Args:
        returns: statistics of the discounted returns before, (1,).
        reward: (T, N).
        return_so_far: (T, N), the episodes' discounted returns up to each step.
        live: (T, N), 0 for the steps that do not count.
        enabled: False: both as they are.

    Returns:
        The statistics with these returns, and the scaled rewards (T, N).
    """
    if not enabled:
        return returns, reward
    returns = update_normalizer(returns, return_so_far.reshape(-1, 1), live.reshape(-1))
    return returns, (reward * inverse_std(returns)).clamp(-REWARD_CLIP, REWARD_CLIP)
