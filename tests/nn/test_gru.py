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
    return init_gru(torch.Generator().manual_seed(0), 3, 4, dtype)


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


def test_the_first_parameters_are_torchs_range_and_a_seed_fixes_them() -> None:
    params = init_gru(torch.Generator().manual_seed(0), 3, 16)
    again, other = (init_gru(torch.Generator().manual_seed(seed), 3, 16) for seed in (0, 1))
    assert all(0.2 < leaf.abs().max() <= 0.25 for leaf in params)
    assert torch.equal(params.w_h, again.w_h) and not torch.equal(params.w_h, other.w_h)


def test_the_graph_does_what_the_step_does() -> None:
    params, g = unit(torch.float32), GraphBuilder()
    g.output("h_out", gru_graph(g, params, g.input("x", 3), g.input("h_in", 4)))
    x, h = 3 * drawn(20, 3).float(), drawn(20, 4, seed=1).float()
    got = evaluate(g.build(), {"x": x.numpy(), "h_in": h.numpy()})["h_out"]
    np.testing.assert_allclose(got, gru_step(params, x, h).numpy(), rtol=0, atol=1e-6)
