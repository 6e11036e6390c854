from __future__ import annotations

import array_api_compat.torch
import numpy as np
import pytest
import torch

from roborl.errors import ConfigError
from roborl.task import tolerance

SIGMOIDS = ["gaussian", "quadratic", "linear", "hyperbolic"]


@pytest.mark.parametrize("sigmoid", SIGMOIDS)
def test_tolerance_is_one_inside_and_the_given_value_at_the_margin(sigmoid):
    x = np.array([-3.0, -1.0, 0.0, 2.0, 4.0])
    value = tolerance(np, x, -1.0, 2.0, margin=2.0, value_at_margin=0.3, sigmoid=sigmoid)
    assert value == pytest.approx([0.3, 1.0, 1.0, 1.0, 0.3], abs=1e-14)


@pytest.mark.parametrize(
    ("sigmoid", "expected"),
    [
        ("gaussian", 0.1**0.25),  # d = 1/2: value^(d^2)
        ("quadratic", 1.0 - 0.9 * 0.25),
        ("linear", 1.0 - 0.9 * 0.5),
        ("hyperbolic", 1.0 / np.cosh(0.5 * np.arccosh(10.0))),
    ],
)
def test_tolerance_equals_hand_computed_values_half_way(sigmoid, expected):
    assert tolerance(np, np.array([1.5]), 0.0, 1.0, margin=1.0, sigmoid=sigmoid) == pytest.approx([expected])


@pytest.mark.parametrize("sigmoid", SIGMOIDS)
def test_tolerance_stays_between_zero_and_one(sigmoid):
    value = tolerance(np, np.linspace(-50.0, 50.0, 1001), margin=2.0, sigmoid=sigmoid)
    assert value.min() >= 0.0 and value.max() == 1.0


def test_without_a_margin_tolerance_is_a_step():
    assert tolerance(np, np.array([-0.1, 0.0, 1.0, 1.1]), 0.0, 1.0).tolist() == [0.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("sigmoid", SIGMOIDS)
@pytest.mark.parametrize("margin", [0.0, 1.5])
def test_tolerance_is_the_same_on_torch(sigmoid, margin):
    x = np.linspace(-3.0, 3.0, 41)
    on_torch = tolerance(array_api_compat.torch, torch.from_numpy(x), -1.0, 1.0, margin, sigmoid=sigmoid)
    assert on_torch.numpy() == pytest.approx(tolerance(np, x, -1.0, 1.0, margin, sigmoid=sigmoid), abs=1e-14)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"sigmoid": "gauss"}, "sigmoid"),
        ({"margin": -1.0}, "margin"),
        ({"low": 1.0, "high": 0.0}, "high"),
        ({"margin": 1.0, "value_at_margin": 0.0}, "value_at_margin"),
        ({"margin": 1.0, "value_at_margin": 1.0}, "value_at_margin"),
    ],
)
def test_a_parameter_outside_what_is_allowed_is_named(arguments, named):
    with pytest.raises(ConfigError, match=named):
        tolerance(np, np.zeros(1), **arguments)
