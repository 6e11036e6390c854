from __future__ import annotations

import numpy as np
import torch

from roborl.nn.graph import evaluate
from roborl.nn.gru import GRU
from roborl.nn.normalizer import NormalizerState
from roborl.nn.policy import mlp_graph, tanh_mlp_graph


def test_the_graph_hand_computed() -> None:
    # obs 3, mean 1, variance 4: (3 - 1) / 2 = 1. Hidden: relu(2 * 1 - 1, -1) = (1, 0). Head: 0.5 * 1 + 9 * 0 + 0.25.
    layers = [
        {"w": torch.tensor([[2.0, -1.0]]), "b": torch.tensor([-1.0, 0.0])},
        {"w": torch.tensor([[0.5], [9.0]]), "b": torch.tensor([0.25])},
    ]
    stats = NormalizerState(torch.tensor([1.0]), torch.tensor([4.0]), torch.tensor(9.0, dtype=torch.float64))
    obs = {"obs": np.array([[3.0]], np.float32)}
    np.testing.assert_allclose(evaluate(tanh_mlp_graph(layers, stats), obs)["actions"], [[np.tanh(0.75)]], rtol=1e-6)
    # Raw: relu(2 * 3 - 1, -3) = (5, 0); 0.5 * 5 + 0.25 = 2.75.
    np.testing.assert_allclose(evaluate(tanh_mlp_graph(layers), obs)["actions"], [[np.tanh(2.75)]], rtol=1e-6)


def test_a_network_behind_a_memory_reads_what_is_seen_and_what_is_remembered() -> None:
    # Seen: (3 - 1) / 2 = 1. Gates sigmoid(0) = 1/2 but for the candidate, tanh(1 + 1/2 * 2 * h): with h 0.5
    # tanh(1.5) = 0.9051483, so h' = 1/2 * 0.9051483 + 1/2 * 0.5 = 0.7025741; the head: 3 * 1 + 2 h' - 4.
    memory = GRU(torch.tensor([[0.0, 0.0, 1.0]]), torch.zeros(3), torch.tensor([[0.0, 0.0, 2.0]]), torch.zeros(3))
    layers = [{"w": torch.tensor([[3.0], [2.0]]), "b": torch.tensor([-4.0])}]
    stats = NormalizerState(torch.tensor([1.0]), torch.tensor([4.0]), torch.tensor(9.0, dtype=torch.float64))
    graph = mlp_graph(layers, stats, "tanh", lambda g, x: g.clip(x, -1.0, 1.0), memory)
    assert graph.inputs == {"obs": (1,), "h_in": (1,)} and graph.outputs == ("actions", "h_out")
    inputs = {"obs": np.array([[3.0]], np.float32), "h_in": np.array([[0.5]], np.float32)}
    result = evaluate(graph, inputs)
    np.testing.assert_allclose(result["h_out"], [[0.7025741]], rtol=1e-6)
    np.testing.assert_allclose(result["actions"], [[0.4051483]], rtol=1e-5)


def test_normalised_observations_are_clipped_to_ten_deviations() -> None:
    layers = [{"w": torch.tensor([[0.01]]), "b": torch.zeros(1)}]
    stats = NormalizerState(torch.zeros(1), torch.ones(1), torch.tensor(9.0, dtype=torch.float64))
    result = evaluate(tanh_mlp_graph(layers, stats), {"obs": np.array([[500.0], [-500.0]], np.float32)})
    np.testing.assert_allclose(result["actions"], np.tanh([[0.1], [-0.1]]), rtol=1e-5)
