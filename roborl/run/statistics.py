"""Statistics of returns: the interquartile mean and its bootstrap interval (Agarwal et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def interquartile_mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return the mean of the middle half: the lowest and the highest quarter are left out, in whole values."""
    ordered = np.sort(np.asarray(values, np.float64), axis=axis)
    count = ordered.shape[axis]
    cut = count // 4
    return np.take(ordered, np.arange(cut, count - cut), axis=axis).mean(axis=axis)


def bootstrap_interval(
    values: np.ndarray, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the interquartile mean of values (n,)."""
    values = np.asarray(values, np.float64)
    picks = np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))
    low, high = np.quantile(interquartile_mean(values[picks]), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def difference_interval(
    a: np.ndarray, b: np.ndarray, level: float = 0.9, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Return the bootstrap interval of the difference of interquartile means, a's less b's, of independent runs."""
    rng = np.random.default_rng(seed)
    means = [
        interquartile_mean(np.asarray(x, np.float64)[rng.integers(0, len(x), (resamples, len(x)))]) for x in (a, b)
    ]
    low, high = np.quantile(means[0] - means[1], [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def pooled_difference_interval(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], level: float = 0.9, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Return the stratified bootstrap interval of the difference over several tasks, in shares of the second's returns.

    Returns are measured against the second method's interquartile mean on their task, ``1 + (r - m) / |m|``, which is 1
    where it is reached and less below it, whatever the sign; the interquartile mean is then one over all tasks, and
    runs are drawn anew within each task (Agarwal et al. 2021, section 4).

    Args:
        pairs: the returns of both methods on each task, (n,) and (m,).
        level: of the interval.
        resamples: how often runs are drawn anew.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    pooled: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for pair in pairs:
        middle = interquartile_mean(pair[1])
        for returns, drawn in zip(pair, pooled, strict=True):
            scores = 1.0 + (np.asarray(returns, np.float64) - middle) / abs(middle)
            drawn.append(scores[rng.integers(0, len(scores), (resamples, len(scores)))])
    means = [interquartile_mean(np.concatenate(drawn, axis=1)) for drawn in pooled]
    low, high = np.quantile(means[0] - means[1], [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
