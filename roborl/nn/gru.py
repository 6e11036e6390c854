"""A gated recurrent unit, one step or a sequence, as pure functions of its parameters, and as part of a policy graph.

Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder", https://arxiv.org/abs/1406.1078, eq. 5 to
8, with the reset gate after the product, as torch.nn.GRUCell has it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from roborl.nn.graph import GraphBuilder
from roborl.nn.mlp import linear


class GRU(NamedTuple):
    """The parameters; along the last axis of each stand those of the reset gate, the update gate and the candidate."""

    w_x: Tensor
    """(in, 3 H)."""
    b_x: Tensor
    """(3 H,)."""
    w_h: Tensor
    """(H, 3 H)."""
    b_h: Tensor
    """(3 H,)."""


#: What the candidates of slow units read, of unit variance, is multiplied by: tanh then hardly bends it.
SLOW_SCALE = 0.5

#: How many times a quick unit shows what is seen less its slow unit.
QUICK_GAIN = 4.0


def init_gru(
    generator: torch.Generator, width: int, size: int, longest: int, dtype: torch.dtype = torch.float32
) -> GRU:
    """Draw a memory that begins as a bank of filters: half of its units are slow, and each has a quick one beside it.

    A slow unit follows a mixture of what is read, of unit variance for normalised observations, with its own lag. Its
    update gate's bias is ``log u`` with u uniform from 1 to ``longest - 1``, so that it forgets within 2 to ``longest``
    steps (Tallec and Ollivier 2018, "Can recurrent neural networks warp time?", https://arxiv.org/abs/1804.11188,
    section 2). A quick unit shows how far the same mixture has moved from what its slow unit remembers: its rate of
    change, enlarged. Without quick units networks have to find rates as small differences, and learn more slowly.

    The gates' weights are uniform in +-1/sqrt(H), as torch.nn.GRUCell has them; their biases keep the reset open, and
    the quick units' memory short.

    Args:
        generator: the source of randomness.
        width: of what is read.
        size: H, of the memory.
        longest: the longest lag [steps].
        dtype: of the parameters.
    """

    def uniform(bound: float, *shape: int) -> Tensor:
        draw = torch.rand(shape, generator=generator, dtype=dtype, device=generator.device)
        return bound * (2 * draw - 1)

    quick = size // 2
    slow = size - quick
    reset = torch.full((size,), 2.0, dtype=dtype, device=generator.device)
    open_reset = torch.sigmoid(reset[0])
    mixture = SLOW_SCALE * uniform((3 / width) ** 0.5, width, slow)
    lag = torch.rand(slow, generator=generator, dtype=dtype, device=generator.device) * max(longest - 2, 0)
    w_x = torch.cat([uniform(size**-0.5, width, 2 * size), mixture, QUICK_GAIN * mixture[:, :quick]], 1)
    b_x = torch.cat([reset, torch.log(1 + lag), -reset[:quick], torch.zeros_like(reset)])
    compared = torch.zeros(size, size, dtype=dtype, device=generator.device)
    compared[:quick, slow:] = -QUICK_GAIN / open_reset * torch.eye(quick, dtype=dtype, device=generator.device)
    w_h = torch.cat([uniform(size**-0.5, size, 2 * size), compared], 1)
    return GRU(w_x, b_x, w_h, torch.zeros_like(b_x))


def gru_step(params: GRU, x: Tensor, h: Tensor) -> Tensor:
    """Return what is remembered after one more observation.

    ``r = sigmoid(W_r x + U_r h)``, ``z = sigmoid(W_z x + U_z h)``, ``c = tanh(W_c x + r U_c h)``,
    ``h' = (1 - z) c + z h``, each product with its bias.

    Args:
        params: the unit.
        x: (N, in).
        h: (N, H), remembered before.

    Returns:
        (N, H).
    """
    return _gates(linear(x, params.w_x, params.b_x), h, params)


def gru_sequence(params: GRU, x: Tensor, h: Tensor, keep: Tensor) -> Tensor:
    """Return what is remembered after each observation of N sequences.

    Args:
        params: the unit.
        x: (T, N, in).
        h: (N, H), remembered before the first.
        keep: (T, N), 0 where what was remembered before is forgotten first, because an episode begins; else 1.

    Returns:
        (T, N, H).
    """
    steps, n, width = x.shape
    assert h.shape[0] == n and keep.shape == (steps, n), (x.shape, h.shape, keep.shape)
    # of all steps at once: only the product with the memory has to wait
    seen = linear(x.reshape(steps * n, width), params.w_x, params.b_x).reshape(steps, n, -1)
    remembered = []
    for t in range(steps):
        h = _gates(seen[t], h * keep[t, :, None], params)
        remembered.append(h)
    return torch.stack(remembered)


def _gates(seen: Tensor, h: Tensor, params: GRU) -> Tensor:
    """Return the next memory (N, H) from what the observation (N, 3 H) and the memory (N, H) give to the gates."""
    x_r, x_z, x_c = seen.chunk(3, dim=-1)
    h_r, h_z, h_c = linear(h, params.w_h, params.b_h).chunk(3, dim=-1)
    update = torch.sigmoid(x_z + h_z)
    candidate = torch.tanh(x_c + torch.sigmoid(x_r + h_r) * h_c)
    return candidate + update * (h - candidate)


def gru_graph(g: GraphBuilder, params: GRU, x: str, h: str) -> str:
    """Write `gru_step` into a policy graph; return the name of the next memory.

    Args:
        g: the graph.
        params: the unit.
        x: name of what is read, (in,).
        h: name of the memory before, (H,).
    """
    size = params.w_h.shape[0]
    w_x, b_x, w_h, b_h = (array.detach().cpu().float().numpy() for array in params)

    def gate(k: int) -> tuple[str, str]:
        part = slice(k * size, (k + 1) * size)
        return g.linear(x, w_x[:, part], b_x[part]), g.linear(h, w_h[:, part], b_h[part])

    reset, update = (g.sigmoid(g.add(*gate(k))) for k in (0, 1))
    of_x, of_h = gate(2)
    candidate = g.tanh(g.add(of_x, g.mul(of_h, reset)))
    return g.add(candidate, g.mul(update, g.sub(h, candidate)))
