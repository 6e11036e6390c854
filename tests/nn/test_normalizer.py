from __future__ import annotations

import numpy as np
import torch

from roborl.nn.normalizer import init_normalizer, normalize, normalized, scale_rewards, update_normalizer


def test_statistics_over_batches_equal_numpy_over_all_rows() -> None:
    rows = np.random.default_rng(0).normal([1.0, -300.0], [0.1, 20.0], (57, 2))
    state = init_normalizer(2, torch.float64)
    for batch in np.split(rows, [1, 8, 30]):
        state = update_normalizer(state, torch.from_numpy(batch))
    assert state.count == 57
    np.testing.assert_allclose(state.mean, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(state.var, rows.var(0), rtol=1e-10)


def test_an_unused_normalizer_is_exactly_the_identity() -> None:
    x = torch.tensor([[1.2345678, -9.9]])
    assert torch.equal(normalize(init_normalizer(2), x), x)


def test_normalized_observations_are_clipped_and_a_constant_one_stays_zero() -> None:
    state = update_normalizer(init_normalizer(2), torch.tensor([[-1.0, 5.0], [1.0, 5.0]]))  # mean (0, 5), var (1, 0)
    assert torch.equal(normalize(state, torch.tensor([[50.0, 5.0]])), torch.tensor([[10.0, 0.0]]))


def test_of_the_observations_networks_read_the_groups_with_statistics_normalised_where_asked_for() -> None:
    stats = {"policy": update_normalizer(init_normalizer(1), torch.tensor([[1.0], [5.0]]))}  # mean 3, deviation 2
    obs = {"policy": torch.tensor([[100.0], [4.0]]), "critic": torch.zeros(2, 3)}
    assert normalized(stats, obs, True)["policy"].tolist() == [[10.0], [0.5]]
    assert torch.equal(normalized(stats, obs, False)["policy"], obs["policy"])
    assert list(normalized(stats, obs, True)) == list(normalized(stats, obs, False)) == ["policy"]


def test_rows_without_weight_do_not_count() -> None:
    g = torch.Generator().manual_seed(0)
    state = update_normalizer(init_normalizer(2, torch.float64), torch.randn(7, 2, generator=g, dtype=torch.float64))
    rows = torch.randn(9, 2, generator=g, dtype=torch.float64)
    weight = (torch.arange(9) % 3 > 0).double()
    expected = update_normalizer(state, rows[weight > 0])
    torch.testing.assert_close(update_normalizer(state, rows, weight), expected)
    torch.testing.assert_close(update_normalizer(state, rows, torch.zeros(9).double()), state)


def test_scaled_rewards_hand_computed() -> None:
    # Live returns 2, 6, 4, 4: mean 4, variance (4 + 4) / 4 = 2. The dead step's 100 does not count.
    so_far = torch.tensor([[2.0, 6.0], [4.0, 4.0], [100.0, 4.0]])
    live = torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    reward = torch.tensor([[1.0, -2.0], [0.0, 1000.0], [0.0, 4.0]])
    returns, scaled = scale_rewards(init_normalizer(1), reward, so_far, live)
    torch.testing.assert_close((returns.mean, returns.var), (torch.tensor([4.0]), torch.tensor([2.0])))
    half = 0.5**0.5
    torch.testing.assert_close(scaled, torch.tensor([[half, -2 * half], [0.0, 10.0], [0.0, 4 * half]]))
