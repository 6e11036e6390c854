from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from roborl.nn.graph import GraphBuilder, evaluate
from roborl.nn.gru import GRU, gru_graph, gru_sequence, gru_step, init_gru


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(dtype: torch.dtype = torch.float64) -> GRU:
    return init_gru(torch.Generator().manual_seed(0), 3, 4, 8, dtype)


def test_a_step_hand_computed() -> None:
    # One input, 2, and one memory, 1. Reset: sigmoid(0) = 1/2; update: sigmoid(log 3) = 3/4; candidate:
    # tanh(1 * 2 + 1/2 * (3 * 1 + 1)) = tanh(4) = 0.9993293; so 1/4 * 0.9993293 + 3/4 * 1 = 0.9998323.
    log_3 = torch.tensor(3.0).double().log()
    w_x, b_x = torch.tensor([[0.0, 0.0, 1.0]]).double(), torch.stack([0 * log_3, log_3, 0 * log_3])
    w_h, b_h = torch.tensor([[0.0, 0.0, 3.0]]).double(), torch.tensor([0.0, 0.0, 1.0]).double()
    h = gru_step(GRU(w_x, b_x, w_h, b_h), torch.tensor([[2.0]]).double(), torch.ones(1, 1).double())
    assert h.item() == pytest.approx(0.9998323, abs=1e-7)


def test_a_step_is_torchs() -> None:
    params, x, h = unit(), drawn(5, 3), drawn(5, 4, seed=1)
    cell = torch.nn.GRUCell(3, 4, dtype=torch.float64)
    names = {"weight_ih": params.w_x.mT, "weight_hh": params.w_h.mT, "bias_ih": params.b_x, "bias_hh": params.b_h}
    cell.load_state_dict(names)
    torch.testing.assert_close(gru_step(params, x, h), cell(x, h).detach(), rtol=0, atol=1e-14)


def test_a_sequence_is_step_by_step_and_forgets_where_an_episode_begins() -> None:
    params, x, h, keep = unit(), drawn(6, 2, 3), drawn(2, 4, seed=1), torch.ones(6, 2).double()
    keep[0, 1] = keep[3, 0] = 0.0
    by_sequence, expected = gru_sequence(params, x, h, keep), []
    for t in range(6):
        if t == 0:
            h = torch.stack([h[0], torch.zeros(4).double()])
        if t == 3:
            h = torch.stack([torch.zeros(4).double(), h[1]])
        h = gru_step(params, x[t], h)
        expected.append(h)
    torch.testing.assert_close(by_sequence, torch.stack(expected), rtol=0, atol=1e-14)


def test_no_gradient_crosses_the_beginning_of_an_episode() -> None:
    params, keep = unit(), torch.ones(4, 1).double()
    keep[2] = 0.0

    def last(x: Tensor) -> Tensor:
        return gru_sequence(params, x, torch.zeros(1, 4).double(), keep)[-1].sum()

    slope = torch.func.grad(last)(drawn(4, 1, 3)).abs().sum((1, 2))
    assert (slope[:2] == 0).all() and (slope[2:] > 0).all()


def test_a_first_memory_is_as_slow_as_told_and_as_quick_as_can_be() -> None:
    # A gate's bias log u keeps u / (1 + u) of what was remembered: a lag of 1 + u steps, u from 1 to 15.
    params = init_gru(torch.Generator().manual_seed(0), 3, 400, 16)
    reset, update, candidate = params.b_x.chunk(3)
    lags = 1 + update[:200].exp()
    assert 2 <= lags.min() < 2.5 and 15.5 < lags.max() <= 16 and 8 < lags.mean() < 10
    assert (reset == 2).all() and (update[200:] == -2).all() and not candidate.any() and not params.b_h.any()
    slow, quick = params.w_x[:, 800:1000], params.w_x[:, 1000:]
    assert slow.square().sum(0).mean().item() == pytest.approx(0.5**2, rel=0.1)  # 3 of variance 1/3, halved
    assert torch.equal(quick, 4 * slow)
    for weights in (params.w_x[:, :800], params.w_h[:, :800]):
        assert 0.045 < weights.abs().max() <= 0.05  # 1 / sqrt(400)
    again, other = (init_gru(torch.Generator().manual_seed(seed), 3, 400, 16) for seed in (0, 1))
    assert torch.equal(params.w_h, again.w_h) and not torch.equal(params.w_h, other.w_h)


@pytest.mark.parametrize("size", [7, 8])
def test_of_a_first_memory_one_half_follows_what_moves_and_the_other_shows_how_fast(size: int) -> None:
    # Gates without weights leave the filters alone. What stands still is followed, and nothing moves; what moves
    # steadily by a step v is followed some lag behind, and the quick units show 4 lag v (and tanh bends it a little).
    params = init_gru(torch.Generator().manual_seed(0), 1, size, 8, torch.float64)
    gates = torch.ones(3 * size).double()
    gates[: 2 * size] = 0.0
    params = params._replace(w_x=params.w_x * gates, w_h=params.w_h * gates)
    slow = size - size // 2
    mixture, lags = params.w_x[0, 2 * size : 2 * size + slow], params.b_x[size : size + slow].exp()

    def after(x: Tensor) -> Tensor:
        nothing, keep = torch.zeros(1, size).double(), torch.ones(len(x), 1).double()
        return gru_sequence(params, x.reshape(-1, 1, 1), nothing, keep)[-1, 0]

    still = after(torch.full((200,), 0.02).double())
    torch.testing.assert_close(still[:slow], 0.02 * mixture, rtol=1e-3, atol=0)
    assert still[slow:].abs().max() < 1e-4
    v = 1e-4
    moving = after(v * torch.arange(200).double())
    # a filter that keeps u / (1 + u) is u steps behind; the quick unit sees it as it was a step before: 1 + u
    behind = (1 + lags[: size // 2]) * v * mixture[: size // 2]
    torch.testing.assert_close(moving[slow:], 4 * behind, rtol=0.05, atol=1e-6)


def test_the_graph_does_what_the_step_does() -> None:
    params, g = unit(torch.float32), GraphBuilder()
    g.output("h_out", gru_graph(g, params, g.input("x", 3), g.input("h_in", 4)))
    x, h = 3 * drawn(20, 3).float(), drawn(20, 4, seed=1).float()
    got = evaluate(g.build(), {"x": x.numpy(), "h_in": h.numpy()})["h_out"]
    np.testing.assert_allclose(got, gru_step(params, x, h).numpy(), rtol=0, atol=1e-6)
