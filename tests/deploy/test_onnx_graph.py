from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from roborl.deploy.onnx_graph import to_onnx
from roborl.nn.graph import OPS, GraphBuilder, PolicyGraph, evaluate


def random_graph(seed: int, length: int = 25) -> PolicyGraph:
    """A random chain over every operation, with values kept near 1 so that 1e-6 means the same throughout."""
    rng = np.random.default_rng(seed)
    g = GraphBuilder()
    values = [(g.input("obs", 9), 9)]
    ops = [*OPS, *rng.choice(OPS, length - len(OPS))]
    rng.shuffle(ops)
    for op in ops:
        x, n = values[-1] if rng.random() < 0.8 else values[rng.integers(len(values))]
        vector = rng.uniform(0.5, 1.5, n)
        mates = [value for value, width in values if width == n]
        operand = vector if rng.random() < 0.7 or op == "div" else mates[rng.integers(len(mates))]
        if op == "linear":
            width = int(rng.integers(3, 12))
            y, n = g.linear(x, rng.normal(size=(n, width)) / n**0.5, rng.normal(size=width) * 0.1), width
        elif op in ("add", "sub", "mul", "div"):
            y = getattr(g, op)(x, operand)
        elif op == "clip":
            y = g.clip(x, -0.9, 1.1)
        elif op == "slice":
            y, n = g.slice(x, 0, max(2, n - 1)), max(2, n - 1)
        elif op == "concat":
            other, width = values[rng.integers(len(values))]
            y, n = g.concat(x, other), n + width
        else:
            y = getattr(g, op)(x)
        values.append((g.clip(y, -3, 3), n))
    g.output("actions", g.tanh(g.concat(*(value for value, _ in values[1:]))))
    return g.build()


@pytest.mark.parametrize("seed", range(20))
def test_numpy_torch_and_onnx_agree_on_random_graphs_of_every_operation(seed: int) -> None:
    graph = random_graph(seed)
    assert {node.op for node in graph.nodes} == set(OPS)
    session = onnxruntime.InferenceSession(to_onnx(graph).SerializeToString(), providers=["CPUExecutionProvider"])
    obs = np.random.default_rng(seed).normal(size=(8, 9)).astype(np.float32)
    by_numpy = evaluate(graph, {"obs": obs})["actions"]
    by_torch = evaluate(graph, {"obs": torch.tensor(obs)})["actions"].numpy()
    by_onnx = np.concatenate([np.asarray(session.run(None, {"obs": row[None]})[0]) for row in obs])
    np.testing.assert_allclose(by_torch, by_numpy, atol=1e-6, rtol=0)
    np.testing.assert_allclose(by_onnx, by_numpy, atol=1e-6, rtol=0)


def test_operations_work_along_the_last_axis_of_matrices_too() -> None:
    g = GraphBuilder()
    x = g.input("obs", 4, 3)
    x = g.concat(g.linear(x, np.ones((3, 2)), np.ones(2)), g.slice(g.mul(x, np.ones((4, 1))), 1, 3))
    g.output("actions", x)
    graph = g.build()
    session = onnxruntime.InferenceSession(to_onnx(graph).SerializeToString(), providers=["CPUExecutionProvider"])
    obs = np.arange(12, dtype=np.float32).reshape(1, 4, 3)
    by_numpy = evaluate(graph, {"obs": obs})["actions"]
    assert by_numpy.shape == (1, 4, 4)
    np.testing.assert_array_equal(by_numpy[0, 0], [4, 4, 1, 2])  # 0+1+2 + 1, twice; then entries 1 and 2
    np.testing.assert_array_equal(session.run(None, {"obs": obs})[0], by_numpy)
