from __future__ import annotations

import torch

from roborl.nn.adam import adam, clip_by_norm, init_adam, polyak


def test_adam_equals_torch_optim_adam() -> None:
    generator = torch.Generator().manual_seed(0)
    params = {"w": torch.randn(4, 3, dtype=torch.float64, generator=generator)}
    module = torch.nn.Parameter(params["w"].clone())
    reference, state = torch.optim.Adam([module], lr=3e-3), init_adam(params)
    for _ in range(50):
        grad = torch.randn(4, 3, dtype=torch.float64, generator=generator)
        module.grad = grad.clone()
        reference.step()
        params, state = adam(params, {"w": grad}, state, lr=3e-3)
    assert state.count == 50
    torch.testing.assert_close(params["w"], module.detach(), rtol=0, atol=1e-12)


def test_the_first_step_of_adam_in_float32_is_the_step_size_to_the_last_digits() -> None:
    # m / (1 - b1) = g and v / (1 - b2) = g^2: the step is lr g / |g| = 0.001.
    params = torch.zeros(2)
    stepped, _ = adam(params, torch.tensor([4.0, -0.5]), init_adam(params), lr=1e-3)
    torch.testing.assert_close(stepped, torch.tensor([-1e-3, 1e-3]), rtol=3e-7, atol=0)


def test_polyak_moves_by_tau() -> None:
    # 1 + 0.25 (3 - 1) = 1.5
    assert polyak([torch.tensor(1.0)], [torch.tensor(3.0)], 0.25) == [torch.tensor(1.5)]


def test_a_long_gradient_is_shortened_to_the_limit_and_a_short_one_left() -> None:
    # (3, 4) over two leaves has the norm 5: with the limit 1 it becomes (0.6, 0.8), with 10 it stays.
    grads = {"a": torch.tensor([3.0]), "b": [torch.tensor([[4.0]])]}
    short, norm = clip_by_norm(grads, 1.0)
    assert norm == 5
    torch.testing.assert_close(short, {"a": torch.tensor([0.6]), "b": [torch.tensor([[0.8]])]}, rtol=1e-5, atol=0)
    assert clip_by_norm(grads, 10.0)[0] == grads
