from __future__ import annotations

import math

import numpy as np
import pytest

from roborl.task.draw import Draw, _cos_of_turns, threefry2x64

ZEROS, ONES = (0, 0), (2**64 - 1, 2**64 - 1)
PI = (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89)

# Random123's kat_vectors, "threefry2x64 20": counter, key, output
KNOWN_ANSWERS = [
    (ZEROS, ZEROS, (0xC2B6E3A8C2C69865, 0x6F81ED42F350084D)),
    (ONES, ONES, (0xE02CB7C4D95D277A, 0xD06633D0893B8B68)),
    (PI[:2], PI[2:], (0x263C7D30BB0F0AF1, 0x56BE8361D3311526)),
]


def draw_of(n: int, seed: int = 0, episode: int = 0, step: int = 0) -> Draw:
    return Draw(np.arange(seed, seed + n, dtype=np.uint64), np.full(n, episode, np.uint64), np.full(n, step, np.uint64))


def distance_to_uniform(values: np.ndarray) -> float:
    """Return the Kolmogorov-Smirnov statistic times sqrt(n); 1.95 is passed once in a thousand times."""
    ordered = np.sort(values)
    steps = np.arange(len(values) + 1) / len(values)
    gap = max(np.abs(ordered - steps[1:]).max(), np.abs(ordered - steps[:-1]).max())
    return gap * math.sqrt(len(values))


@pytest.mark.parametrize(("counter", "key", "output"), KNOWN_ANSWERS)
def test_threefry_gives_the_published_answers(counter, key, output):
    got = threefry2x64(*(np.uint64(word) for word in (*key, *counter)))
    assert tuple(int(word) for word in got) == output


def test_what_a_simulation_draws_does_not_depend_on_how_many_there_are():
    many, alone = draw_of(64), [draw_of(1, seed=i) for i in range(64)]
    for method in ("uniform", "normal"):
        together = getattr(many, method)("name", size=5)
        assert np.array_equal(together, np.concatenate([getattr(one, method)("name", size=5) for one in alone]))


def test_a_longer_draw_begins_with_the_shorter_one():
    draw = draw_of(3)
    assert np.array_equal(draw.uniform("name", size=7)[:, :4], draw.uniform("name", size=4))
    assert np.array_equal(draw.normal("name", size=7)[:, :4], draw.normal("name", size=4))


@pytest.mark.parametrize(
    "other",
    [
        draw_of(1, seed=1).uniform("name", size=1000),
        draw_of(1, episode=1).uniform("name", size=1000),
        draw_of(1, step=1).uniform("name", size=1000),
        draw_of(1).uniform("eman", size=1000),
    ],
    ids=["seed", "episode", "step", "name"],
)
def test_another_seed_episode_step_or_name_gives_independent_numbers(other):
    one = draw_of(1).uniform("name", size=1000)
    assert not np.isclose(one, other).any()
    # the correlation of 1000 independent pairs has a standard deviation of 1/sqrt(1000) = 0.032
    assert abs(np.corrcoef(one[0], other[0])[0, 1]) < 0.13


def test_the_episode_and_the_step_do_not_run_into_one_another():
    late = draw_of(1, episode=0, step=2**32 - 1).uniform("name")
    assert late != draw_of(1, episode=1, step=0).uniform("name")


def test_uniform_numbers_are_uniform_over_names_sizes_and_simulations():
    draw = draw_of(2000)
    for numbers in (draw.uniform("a", size=2), draw_of(1).uniform("b", size=4000)):
        assert distance_to_uniform(numbers.ravel()) < 1.95
    shifted = draw.uniform("c", -2.0, 3.0)
    assert shifted.min() >= -2.0 and shifted.max() < 3.0
    assert distance_to_uniform((shifted[:, 0] + 2.0) / 5.0) < 1.95


def test_the_cosine_of_turns_is_that_of_the_angle_to_the_last_bits():
    turns = np.concatenate((np.linspace(0.0, 1.0, 100_001)[:-1], np.arange(8) / 8.0))
    # in extended precision: 2 pi t rounded to a double would be off by more than the cosine may be
    exact = np.cos(2.0 * np.longdouble("3.14159265358979323846") * turns.astype(np.longdouble))
    assert float(np.abs(_cos_of_turns(turns) - exact).max()) < 2.5e-16
    quarters = _cos_of_turns(np.array([0.0, 0.25, 0.5, 0.75]))
    assert quarters.tolist() == [1.0, 0.0, -1.0, 0.0]


def test_normal_numbers_are_normal():
    numbers = draw_of(20_000).normal("a", std=3.0).ravel() / 3.0
    cumulative = np.array([0.5 * (1.0 + math.erf(x / math.sqrt(2.0))) for x in numbers])
    assert distance_to_uniform(cumulative) < 1.95
    # standard deviations of the estimates: 1/sqrt(n) = 0.007, sqrt(2/n) = 0.01, sqrt(15/n) = 0.027, sqrt(96/n) = 0.07
    assert abs(numbers.mean()) < 0.03
    assert abs(numbers.var() - 1.0) < 0.04
    assert abs((numbers**3).mean()) < 0.11
    assert abs((numbers**4).mean() - 3.0) < 0.28


def test_integers_take_every_value_between_the_ends_equally_often():
    numbers = draw_of(30_000).integers("a", 3, 5)
    values, counts = np.unique(numbers, return_counts=True)
    assert values.tolist() == [3.0, 4.0, 5.0]
    # binomial with p = 1/3: standard deviation sqrt(30000 * 2/9) = 82
    assert np.abs(counts - 10_000).max() < 330


def test_the_greatest_uniform_number_is_never_rounded_up_to_one_integer_too_many(monkeypatch):
    largest = 1.0 - 2.0**-53
    monkeypatch.setattr(Draw, "_pairs", lambda self, name, count: np.full((1, 2), largest))
    for low, high in ((1, 2), (200, 400), (0, 2**20), (-7, 1000)):
        assert draw_of(1).integers("a", low, high)[0, 0] == high
