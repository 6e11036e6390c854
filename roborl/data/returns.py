"""Returns and advantages of rollouts: pure functions of T steps of N environments in time order.

Two rules hold in all of them. Only a termination takes the future away: at a time limit what follows is worth the value
of the episode's final observation. And no sum runs on from one episode into the next, whichever way it ended.

A rollout's next observation is the one in the row that follows, an episode's final one too: in NEXT_STEP mode each
episode is followed by a dead step, whose observation that is. What is computed for dead steps has no meaning; they have
weight 0 wherever something is learned.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad


def accumulate(x: Tensor, factor: Tensor) -> Tensor:
    """Return the solution of ``y_t = x_t + factor_t y_{t+1}``, ``y_T = 0``.

    In ceil(log2 T) rounds on whole arrays in place of T steps: after each, ``y_t`` is the sum over a window twice as
    long, and ``factor_t`` the product over it (Blelloch 1990, "Prefix sums and their applications", section 1.4).

    Args:
        x: (T, N).
        factor: (T, N).

    Returns:
        (T, N).
    """
    assert x.ndim == 2 and x.shape == factor.shape, (x.shape, factor.shape)
    steps, y, window = x.shape[0], x, 1
    while window < steps:
        y = y + factor * _later(y, window)
        factor = factor * _later(factor, window)
        window *= 2
    return y


def _later(x: Tensor, steps: int) -> Tensor:
    """Return what stands some steps later, 0 beyond the end."""
    return pad(x[steps:], (0, 0, 0, steps))


def returns_to_go(reward: Tensor, ended: Tensor, gamma: float) -> Tensor:
    """Return ``G_t = r_t + gamma r_{t+1} + ...`` up to the episode's end or the rollout's, without any bootstrap.

    Args:
        reward: (T, N).
        ended: (T, N), 1 where an episode ended, in whichever way.
        gamma: discount.

    Returns:
        (T, N).
    """
    return accumulate(reward, gamma * (1 - ended))


def gae(
    reward: Tensor, value: Tensor, terminated: Tensor, truncated: Tensor, gamma: float, trace: float
) -> tuple[Tensor, Tensor]:
    """Return generalised advantage estimates and the values' targets, the lambda-returns.

    ``delta_t = r_t + gamma (1 - terminated_t) V(s_{t+1}) - V(s_t)``, ``A_t = delta_t + gamma lambda (1 - ended_t)
    A_{t+1}``, and the target is ``A_t + V(s_t)`` (Schulman et al. 2016, "High-dimensional continuous control using
    generalized advantage estimation", https://arxiv.org/abs/1506.02438, eq. 11, 12 and 16). With lambda = 1 the targets
    are the discounted returns, with the value of what follows where the rollout or a time limit cuts them off; with 0
    they look one step ahead.

    Args:
        reward: (T, N).
        value: (T + 1, N), of all observations; after an episode's last step comes its final observation's.
        terminated: (T, N), 1 where the task ended.
        truncated: (T, N), 1 where an episode was cut off, as by a time limit.
        gamma: discount.
        trace: lambda.

    Returns:
        Advantages (T, N) and targets (T, N).
    """
    assert reward.shape == terminated.shape == truncated.shape and len(value) == len(reward) + 1
    going_on = (1 - terminated) * (1 - truncated)
    delta = reward + gamma * (1 - terminated) * value[1:] - value[:-1]
    advantage = accumulate(delta, gamma * trace * going_on)
    return advantage, advantage + value[:-1]


def weighted_mean(x: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of a batch (B,) with weights (B,), 0 where there is no weight at all; ()."""
    assert x.shape == weight.shape, (x.shape, weight.shape)
    return (weight * x).sum() / weight.sum().clamp_min(torch.finfo(x.dtype).tiny)


def standardized(x: Tensor, weight: Tensor) -> Tensor:
    """Return a batch (B,) without its mean, divided by its sample deviation; weights (B,) say what counts, 1 or 0."""
    centred = x - weighted_mean(x, weight)
    var = (weight * centred.square()).sum() / (weight.sum() - 1).clamp_min(1)
    return centred / (var.sqrt() + 1e-8)
