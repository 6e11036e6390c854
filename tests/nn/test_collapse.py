from __future__ import annotations

import math

import torch

from roborl.nn.collapse import collapse_metrics, feature_rank


def test_the_rank_is_how_few_directions_hold_99_percent_of_the_energy() -> None:
    # Singular values 10, 1, 0.1: squares 100, 1, 0.01; 100 / 101.01 = 0.99000, just above 0.99, is enough.
    assert feature_rank(torch.diag(torch.tensor([10.0, 1.0, 0.1]))) == 1
    # 10, 2: 100 / 104 = 0.96 is not.
    assert feature_rank(torch.diag(torch.tensor([10.0, 2.0]))) == 2
    assert feature_rank(torch.zeros(5, 3)) == 0  # as of a layer of dead units
    assert feature_rank(torch.randn(500, 16, generator=torch.Generator().manual_seed(0))) == 16


def test_features_that_are_not_finite_have_no_rank_and_large_ones_have() -> None:
    for value in (math.nan, math.inf):
        assert feature_rank(torch.tensor([[1.0, value], [0.0, 1.0]])).isnan()
    assert feature_rank(torch.full((4, 3), 1e18)) == 1  # the sum of squares, 4e36, is still a float32


def test_a_unit_that_does_the_same_in_all_states_is_dead_and_so_is_a_policy() -> None:
    # One input, two hidden units with weights 1 and 0, states -1 and 1: relu gives (0, 0) and (1, 0). One of two is
    # dead; the output 3 h_1 is 0 and 3: variance 2.25.
    layers = [
        {"w": torch.tensor([[1.0, 0.0]]), "b": torch.zeros(2)},
        {"w": torch.tensor([[3.0], [1.0]]), "b": torch.zeros(1)},
    ]
    metrics, before = collapse_metrics(layers, torch.tensor([[-1.0], [1.0]]), "relu")
    assert metrics["dead_units"] == 0.5
    assert metrics["policy_variance"] == 2.25
    assert metrics["feature_rank"] == 1
    assert before.tolist() == [[-1, 0], [1, 0]]
