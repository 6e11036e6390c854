from __future__ import annotations

import pytest
import torch
from torch import Tensor

from roborl.nn.gaussian import gaussian_kl
from roborl.nn.mlp import init_mlp, mlp
from roborl.nn.natural_gradient import conjugate_gradients, fisher_product, natural_step
from roborl.nn.tree import from_vector, to_vector


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_fisher_product_is_that_of_the_explicitly_computed_matrix() -> None:
    # A network 2 -> 3 -> 2 and two deviations: 9 + 8 + 2 = 19 parameters. The Fisher matrix is the mean over states of
    # J^T M J, J the Jacobian of (mean, log_std) and M the Fisher matrix of a Gaussian in those: 1 / std^2 for a mean,
    # 2 for a log standard deviation.
    network = init_mlp(torch.Generator().manual_seed(0), (2, 3, 2), torch.float64)
    actor, obs = (network, torch.tensor([0.3, -0.7]).double()), drawn(7, 2)
    theta, vector = to_vector(actor), drawn(19)

    def outputs(theta: Tensor) -> Tensor:
        layers, log_std = from_vector(actor, theta)
        return torch.cat([mlp(layers, obs, "tanh"), log_std.expand(7, 2)], dim=1)  # (7, 4)

    def divergence(changed: Tensor) -> Tensor:
        (mean, log_std), (other, other_log_std) = (outputs(x).split(2, dim=1) for x in (theta, changed))
        return gaussian_kl(mean, log_std, other, other_log_std).mean()

    jacobian = torch.func.jacrev(outputs)(theta)  # (7, 4, 19)
    of_gaussian = torch.cat([torch.exp(-2 * actor[1]), torch.full((2,), 2.0).double()])
    fisher = torch.einsum("noi,o,noj->ij", jacobian, of_gaussian, jacobian) / 7
    torch.testing.assert_close(fisher_product(divergence, theta, vector, 0.0), fisher @ vector, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(
        fisher_product(divergence, theta, vector, 0.1), fisher @ vector + 0.1 * vector, rtol=1e-8, atol=1e-8
    )


def test_conjugate_gradients_hand_computed() -> None:
    # A = [[4, 1], [1, 3]], b = [1, 2]: the determinant is 11, x = [3 - 2, 8 - 1] / 11 = [1, 7] / 11. From 0 the first
    # step goes along b by (b b) / (b A b) = 5 / (1 * 6 + 2 * 7) = 1/4, to [1/4, 1/2].
    a, b = torch.tensor([[4.0, 1.0], [1.0, 3.0]]).double(), torch.tensor([1.0, 2.0]).double()
    torch.testing.assert_close(conjugate_gradients(a.mv, b, 1), torch.tensor([0.25, 0.5]).double())
    torch.testing.assert_close(conjugate_gradients(a.mv, b, 2), torch.tensor([1 / 11, 7 / 11]).double())


def test_conjugate_gradients_end_when_they_have_arrived() -> None:
    root = drawn(6, 6)
    a, b, made = root @ root.T + torch.eye(6), drawn(6), 0

    def product(x: Tensor) -> Tensor:
        nonlocal made
        made += 1
        return a @ x

    x = conjugate_gradients(product, b, 100)
    assert (a @ x - b).norm() < 2e-5 * b.norm() and made <= 8
    assert torch.equal(conjugate_gradients(product, torch.zeros(6), 5), torch.zeros(6))  # where 0 / 0 would be


def test_a_natural_step_has_the_divergence_asked_for_and_the_natural_gradients_direction() -> None:
    # F = diag(1, 4), g = [1, 1]: F^-1 g = [1, 1/4], g^T F^-1 g = 5/4; delta 0.1: sqrt(0.2 / 1.25) = 0.4.
    fisher, gradient = torch.tensor([1.0, 4.0]).double(), torch.ones(2).double()
    step = natural_step(lambda v: fisher * v, gradient, 0.1, 15)
    torch.testing.assert_close(step, torch.tensor([0.4, 0.1]).double())
    assert (step * fisher * step).sum() / 2 == pytest.approx(0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_a_gradient_there_is_no_step(dtype: torch.dtype) -> None:
    nothing = torch.zeros(3, dtype=dtype)
    assert torch.equal(natural_step(lambda v: 2 * v, nothing, 0.01, 15), nothing)
