from __future__ import annotations

import torch
from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution

from roborl.nn.gaussian import (
    gaussian_entropy,
    gaussian_kl,
    gaussian_log_prob,
    sample_tanh_gaussian,
    tanh_gaussian_action,
)


def draws(*shape: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, dtype=torch.float64, generator=generator) for _ in range(3)]


def test_the_log_probability_equals_that_of_the_transformed_distribution() -> None:
    mean, log_std, noise = draws(20, 3)
    action, log_prob = sample_tanh_gaussian(mean, log_std, noise)
    base = Independent(Normal(mean, log_std.exp()), 1)
    expected = TransformedDistribution(base, [TanhTransform(cache_size=1)])
    action_of_theirs = torch.tanh(mean + log_std.exp() * noise)
    torch.testing.assert_close(action, action_of_theirs)
    near = action.abs().amax(-1) < 0.999  # atanh, which theirs needs, loses digits beyond
    assert near.sum() > 5
    torch.testing.assert_close(log_prob[near], expected.log_prob(action)[near], rtol=0, atol=1e-8)


def test_the_log_probability_is_finite_and_differentiable_where_tanh_saturates() -> None:
    mean = torch.tensor([[40.0, -40.0]])
    gradient = torch.func.grad(lambda m: sample_tanh_gaussian(m, torch.zeros(1, 2), torch.zeros(1, 2))[1].sum())(mean)
    # -log(1 - tanh(u)^2) = 2 |u| - 2 log 2 far from zero: its slope is 2 away from zero.
    torch.testing.assert_close(gradient, torch.tensor([[2.0, -2.0]]))


def test_acting_and_learning_draw_the_same_action() -> None:
    mean, log_std, noise = draws(4, 2)
    action, _ = sample_tanh_gaussian(mean, log_std, noise)
    torch.testing.assert_close(tanh_gaussian_action(mean, log_std, noise), action, rtol=0, atol=1e-15)


def test_the_gaussians_density_and_entropy_are_torchs() -> None:
    g = torch.Generator().manual_seed(0)
    mean, action = (torch.randn(5, 3, generator=g, dtype=torch.float64) for _ in range(2))
    log_std = torch.tensor([-1.0, 0.0, 0.5], dtype=torch.float64)
    reference = torch.distributions.Normal(mean, log_std.exp())
    torch.testing.assert_close(gaussian_log_prob(mean, log_std, action), reference.log_prob(action).sum(-1))
    torch.testing.assert_close(gaussian_entropy(log_std), reference.entropy()[0].sum())


def test_the_divergence_of_two_gaussians_hand_computed() -> None:
    # p = N(0, 1), q = N(1, 2^2): log 2 + (1 + 1) / 8 - 1/2 = 0.443147; the other way: -log 2 + (4 + 1) / 2 - 1/2
    # = 1.306853. Over two dimensions they add up.
    zero, one, log_two = torch.zeros(1, 1).double(), torch.ones(1, 1).double(), torch.tensor([2.0]).double().log()
    forth, back = gaussian_kl(zero, zero[0], one, log_two), gaussian_kl(one, log_two, zero, zero[0])
    torch.testing.assert_close(forth, torch.tensor([0.443147]).double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(back, torch.tensor([1.306853]).double(), rtol=0, atol=1e-6)
    means, log_stds = torch.cat([zero, one], 1), torch.cat([zero[0], log_two])
    torch.testing.assert_close(gaussian_kl(means, log_stds, means.flip(1), log_stds.flip(0)), forth + back)


def test_the_divergence_is_torchs_and_0_between_equals() -> None:
    mean, other, log_std = draws(6, 3)
    p, q = Normal(mean, log_std.exp()), Normal(other, (0.5 * log_std).exp())
    expected = torch.distributions.kl_divergence(p, q).sum(-1)
    torch.testing.assert_close(gaussian_kl(mean, log_std, other, 0.5 * log_std), expected)
    assert torch.equal(gaussian_kl(mean, log_std, mean, log_std), torch.zeros(6).double())
