from __future__ import annotations

import pytest
import torch
from torch import Tensor

from roborl.data.returns import accumulate, gae, returns_to_go, standardized, weighted_mean


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 64, 100])
def test_the_recurrence_in_rounds_is_the_one_step_by_step(steps: int) -> None:
    g = torch.Generator().manual_seed(steps)
    x, factor = (torch.randn(steps, 3, generator=g, dtype=torch.float64) for _ in range(2))
    expected, y = [], torch.zeros(3, dtype=torch.float64)
    for t in reversed(range(steps)):
        y = x[t] + factor[t] * y
        expected.append(y)
    torch.testing.assert_close(accumulate(x, factor), torch.stack(expected[::-1]), rtol=1e-12, atol=1e-12)


def test_returns_to_go_hand_computed_over_an_episodes_end() -> None:
    # gamma 1/2, the episode ends with the second reward:
    # 4 + 4/2 = 6, 4, then 2 + 8/2 = 6, 8 (cut off by the rollout's end).
    reward, ended = column(4, 4, 2, 8), column(0, 1, 0, 0)
    torch.testing.assert_close(returns_to_go(reward, ended, 0.5), column(6, 4, 6, 8))


def test_gae_hand_computed_without_an_end() -> None:
    # gamma 1/2, lambda 1/2; V = 2, 4, and 8 after the rollout.
    # delta_1 = 3 + 8/2 - 4 = 3; A_1 = 3. delta_0 = 1 + 4/2 - 2 = 1; A_0 = 1 + 3/4 = 1.75. Targets A + V: 3.75, 7.
    nothing = column(0, 0)
    advantage, target = gae(column(1, 3), column(2, 4, 8), nothing, nothing, 0.5, 0.5)
    torch.testing.assert_close(advantage, column(1.75, 3))
    torch.testing.assert_close(target, column(3.75, 7))


def test_gae_hand_computed_over_a_termination_and_its_dead_step() -> None:
    # gamma 1/2, lambda 1/2. Step 0 terminates; its final observation has the value 100, which counts for nothing, and
    # nothing of the new episode flows back. Step 1 is dead. Step 2: delta = 1 + 4/2 - 2 = 1.
    # A_0 = 1 - 2 = -1 (with the bootstrap it would be 49), A_2 = 1.
    advantage, target = gae(column(1, 0, 1), column(2, 100, 2, 4), column(1, 0, 0), column(0, 0, 0), 0.5, 0.5)
    torch.testing.assert_close(advantage[[0, 2]], column(-1, 1))
    torch.testing.assert_close(target[[0, 2]], column(1, 3))


def test_gae_hand_computed_at_a_time_limit_takes_the_value_of_the_final_observation() -> None:
    # The same with a truncation: A_0 = 1 + 100/2 - 2 = 49. With the value of the new episode's first observation (2) it
    # would be 0; if the sum ran on, A_1 = 0 + 2/2 - 100 and A_2 would be in it.
    advantage, _ = gae(column(1, 0, 1), column(2, 100, 2, 4), column(0, 0, 0), column(1, 0, 0), 0.5, 0.5)
    torch.testing.assert_close(advantage[[0, 2]], column(49, 1))


def test_with_lambda_one_the_targets_are_the_discounted_returns() -> None:
    # Until the rollout's end: 2 + (1 + 8/2)/2 = 4.5, 1 + 8/2 = 5, whatever the values between say.
    nothing = column(0, 0)
    for value in (0.0, 7.0):
        _, target = gae(column(2, 1), column(value, value, 8), nothing, nothing, 0.5, 1.0)
        torch.testing.assert_close(target, column(4.5, 5))


def test_weighted_means_and_deviations_hand_computed() -> None:
    # Of 1, 3 and a dead 100: mean 2, sample deviation sqrt(2).
    x, weight = torch.tensor([1.0, 100.0, 3.0]), torch.tensor([1.0, 0.0, 1.0])
    assert weighted_mean(x, weight) == 2
    torch.testing.assert_close(standardized(x, weight)[[0, 2]], torch.tensor([-1.0, 1.0]) / 2**0.5)
    assert weighted_mean(x, torch.zeros(3)) == 0
    assert standardized(torch.ones(3), torch.ones(3)).tolist() == [0, 0, 0]
