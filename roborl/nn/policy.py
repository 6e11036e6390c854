"""The policy graph of a multilayer perceptron, its normaliser inside, with or without a memory in front."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from roborl.nn.graph import GraphBuilder, PolicyGraph
from roborl.nn.gru import GRU, gru_graph
from roborl.nn.mlp import Layers
from roborl.nn.normalizer import OBS_CLIP, NormalizerState, inverse_std


def mlp_graph(
    layers: Layers,
    stats: NormalizerState | None,
    activation: str,
    bounded: Callable[[GraphBuilder, str], str],
    memory: GRU | None = None,
) -> PolicyGraph:
    """Return ``bounded(mlp(normalize(obs)))``: input "obs", output "actions".

    With a memory the network reads what is seen beside what is remembered, ``mlp(x, gru(x, h))``: it was the input
    "h_in", and is the output "h_out".

    Args:
        layers: of the network, as `roborl.nn.mlp.init_mlp` makes them.
        stats: of the raw observations; None where they are not normalised.
        activation: between the layers.
        bounded: writes what takes the network's output (its name) to [-1, 1], and returns the result's name.
        memory: what is read before the network reads it; None for none.
    """
    g = GraphBuilder()
    x = g.input("obs", (layers[0]["w"] if memory is None else memory.w_x).shape[0])
    if stats is not None:
        x = g.clip(g.mul(g.sub(x, _array(stats.mean)), _array(inverse_std(stats))), -OBS_CLIP, OBS_CLIP)
    h = None if memory is None else gru_graph(g, memory, x, g.input("h_in", memory.w_h.shape[0]))
    x = x if h is None else g.concat(x, h)
    *hidden, head = layers
    for layer in hidden:
        x = getattr(g, activation)(g.linear(x, _array(layer["w"]), _array(layer["b"])))
    g.output("actions", bounded(g, g.linear(x, _array(head["w"]), _array(head["b"]))))
    if h is not None:
        g.output("h_out", h)
    return g.build()


def tanh_mlp_graph(layers: Layers, stats: NormalizerState | None = None) -> PolicyGraph:
    """Return ``tanh(mlp(normalize(obs)))`` with ReLU between the layers; see `mlp_graph`."""
    return mlp_graph(layers, stats, "relu", GraphBuilder.tanh)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().float().numpy()
