from __future__ import annotations

import numpy as np
import pytest

from roborl.run.statistics import (
    bootstrap_interval,
    difference_interval,
    interquartile_mean,
    pooled_difference_interval,
)


def test_the_interquartile_mean_leaves_out_the_lowest_and_the_highest_quarter() -> None:
    assert interquartile_mean(np.array([8, 1, 7, 2, 6, 3, 5, 100])) == (3 + 5 + 6 + 7) / 4  # 1, 2 and 8, 100 go
    assert interquartile_mean(np.array([4, 0, 5, 9, 3])) == (3 + 4 + 5) / 3  # a quarter of five is one whole value
    assert interquartile_mean(np.array([1.0, 2.0, 6.0])) == 3.0  # of three none is left out
    assert interquartile_mean(np.array([[1, 2, 3, 10], [4, 5, 5, 0]])).tolist() == [2.5, 4.5]
    assert interquartile_mean(np.array([[1, 4], [2, 5], [3, 5], [10, 0]]), axis=0).tolist() == [2.5, 4.5]


def test_the_interval_of_equal_returns_is_a_point_and_of_others_holds_their_mean() -> None:
    assert bootstrap_interval(np.full(20, 3.5)) == (3.5, 3.5)
    values = np.random.default_rng(0).normal(10.0, 2.0, 40)
    low, high = bootstrap_interval(values)
    assert low < interquartile_mean(values) < high
    assert bootstrap_interval(values) == (low, high)  # the same every time
    wider = bootstrap_interval(values, level=0.99)
    assert wider[0] < low and high < wider[1]


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng, covered = np.random.default_rng(1), 0
    for _ in range(200):  # 95% of 200 is 190, with a standard deviation of 3
        low, high = bootstrap_interval(rng.normal(0.0, 1.0, 40), resamples=300)
        covered += low <= 0.0 <= high
    assert 175 <= covered <= 199


def test_the_interval_of_a_difference_has_its_sign_and_grows_with_the_spread() -> None:
    a, b = np.arange(8.0) + 3.0, np.arange(8.0)
    assert difference_interval(np.full(5, 3.0), np.full(4, 1.0)) == (2.0, 2.0)
    low, high = difference_interval(a, b)
    assert low < 3.0 < high
    assert difference_interval(b, a, seed=1)[1] == pytest.approx(-low, abs=0.3)
    wide_low, wide_high = difference_interval(3 * a, 3 * b)
    assert wide_high - wide_low == pytest.approx(3 * (high - low))


def test_the_difference_over_tasks_is_in_shares_of_the_seconds_returns_on_each() -> None:
    # 110 beside 100, and -90 beside -100: both a tenth better, whatever the sign and however many the runs.
    better = [(np.full(5, 110.0), np.full(4, 100.0)), (np.full(3, -90.0), np.full(10, -100.0))]
    assert pooled_difference_interval(better) == pytest.approx((0.1, 0.1))
    a = np.array([4000.0, 4100.0, 3900.0, 4000.0, 1200.0])
    b = np.array([4000.0, 3900.0, 4100.0, 4000.0, 4000.0])
    low, high = pooled_difference_interval([(a, b)])
    assert (low, high) == pytest.approx(np.array(difference_interval(a, b)) / 4000.0, abs=0.02)
    steady = np.full(20, 850.0)
    assert pooled_difference_interval([(a, b), (steady, steady)])[0] > low / 2  # what two groups hide, others decide
