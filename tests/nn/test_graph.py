from __future__ import annotations

import numpy as np
import pytest
import torch

from roborl.errors import ConfigError, UnknownName
from roborl.nn.graph import GraphBuilder, Node, PolicyGraph, evaluate


def test_every_operation_equals_its_hand_computed_value() -> None:
    g = GraphBuilder()
    x = g.input("x", 2)
    for name, value in {
        "linear": g.linear(x, [[1.0, 2.0, 3.0], [0.0, 1.0, -1.0]], [0.5, 0.0, 0.0]),
        "add": g.add(x, [1.0, 10.0]),
        "sub": g.sub(x, x),
        "mul": g.mul(x, 2.0),
        "div": g.div(x, [4.0, 2.0]),
        "relu": g.relu(x),
        "tanh": g.tanh(x),
        "elu": g.elu(x),
        "sigmoid": g.sigmoid(x),
        "clip": g.clip(x, -0.5, 0.5),
        "slice": g.slice(x, 1, 2),
        "concat": g.concat(x, x),
    }.items():
        g.output(name, value)
    results = evaluate(g.build(), {"x": np.array([[2.0, -1.0]])})
    expected = {
        "linear": [2.5, 3.0, 7.0],  # 2*1 - 1*0 + 0.5, 2*2 - 1*1, 2*3 + 1*1
        "add": [3.0, 9.0],
        "sub": [0.0, 0.0],
        "mul": [4.0, -2.0],
        "div": [0.5, -0.5],
        "relu": [2.0, 0.0],
        "tanh": [0.9640276, -0.7615942],
        "elu": [2.0, -0.6321206],  # exp(-1) - 1
        "sigmoid": [0.8807971, 0.2689414],  # 1 / (1 + exp(-2)), 1 / (1 + e)
        "clip": [0.5, -0.5],
        "slice": [-1.0],
        "concat": [2.0, -1.0, 2.0, -1.0],
    }
    assert list(results) == list(expected)
    for name, row in expected.items():
        assert results[name].dtype == np.float32
        np.testing.assert_allclose(results[name], [row], rtol=1e-6, err_msg=name)


def test_numpy_and_torch_agree_and_torch_keeps_its_gradient() -> None:
    rng = np.random.default_rng(0)
    g = GraphBuilder()
    x = g.div(g.sub(g.input("obs", 5), rng.normal(size=5)), rng.uniform(1, 2, 5))
    x = g.sigmoid(g.elu(g.linear(g.clip(x, -2, 2), torch.randn(5, 8, requires_grad=True), np.zeros(8))))
    g.output("actions", g.tanh(g.concat(g.slice(x, 0, 3), g.relu(g.slice(x, 3, 8)))))
    graph = g.build()
    obs = rng.normal(size=(7, 5))
    tensor = torch.tensor(obs, requires_grad=True)
    by_torch = evaluate(graph, {"obs": tensor})["actions"]
    np.testing.assert_allclose(evaluate(graph, {"obs": obs})["actions"], by_torch.detach().numpy(), atol=1e-6, rtol=0)
    by_torch.sum().backward()
    assert tensor.grad is not None and tensor.grad.abs().sum() > 0


def test_a_graph_goes_on_from_another_and_may_reuse_its_output_names() -> None:
    g = GraphBuilder()
    g.output("actions", g.tanh(g.input("obs", 3)))
    first = g.build()
    g = GraphBuilder(first)
    g.output("actions", g.mul("actions", [1.0, 2.0, 3.0]))
    second = g.build()
    for _ in range(2):
        g = GraphBuilder(second)
        g.output("actions", g.mul("actions", 1.0))
        second = g.build()
    obs = np.ones((1, 3), np.float32)
    expected = evaluate(first, {"obs": obs})["actions"] * np.array([1, 2, 3], np.float32)
    np.testing.assert_array_equal(evaluate(second, {"obs": obs})["actions"], expected)


def test_arrays_are_copied_when_they_are_given() -> None:
    bias = np.zeros(2, np.float32)
    g = GraphBuilder()
    g.output("y", g.add(g.input("x", 2), bias))
    graph = g.build()
    bias += 1
    np.testing.assert_array_equal(evaluate(graph, {"x": np.zeros((1, 2))})["y"], [[0, 0]])


@pytest.mark.parametrize(
    ("node", "error"),
    [
        (Node("softmax", ("x",), "y"), "unknown graph operation 'softmax'"),
        (Node("relu", ("z",), "y"), "operand 1 of relu"),
        (Node("relu", ("w",), "y"), "operand 1 of relu"),  # arrays are later operands only
        (Node("relu", ("x", "x"), "y"), "cannot take"),
        (Node("relu", ("x",), "x"), "defined twice"),
        (Node("relu", ("x",), "w"), "defined twice"),
        (Node("linear", ("x", "w", "x"), "y"), "cannot take"),
        (Node("add", ("x", "w"), "y"), "cannot take"),
        (Node("clip", ("x",), "y"), "takes the attributes"),
        (Node("clip", ("x",), "y", {"lo": 1.0, "hi": -1.0}), "cannot take"),
        (Node("slice", ("x",), "y", {"start": 1, "stop": 4}), "cannot take"),
        (Node("concat", (), "y"), "cannot take"),
    ],
)
def test_a_graph_that_cannot_be_computed_is_refused(node: Node, error: str) -> None:
    with pytest.raises((ConfigError, UnknownName), match=error):
        PolicyGraph({"x": (3,)}, ("x",), (node,), {"w": np.zeros((3, 2), np.float32)})


def test_arrays_that_are_not_finite_float32_are_refused() -> None:
    for array, error in ((np.zeros(3), "float64"), (np.full(3, np.nan, np.float32), "NaN")):
        with pytest.raises(ConfigError, match=error):
            PolicyGraph({"x": (3,)}, ("x",), (), {"w": array})


def test_outputs_need_values_of_their_own() -> None:
    g = GraphBuilder()
    x = g.input("x", 3)
    with pytest.raises(ConfigError, match="at least one output"):
        g.build()
    g.output("y", x)
    with pytest.raises(ConfigError, match="value of its own"):
        g.build()


def test_inputs_of_another_name_or_shape_are_refused() -> None:
    g = GraphBuilder()
    g.output("actions", g.tanh(g.input("obs", 3)))
    graph = g.build()
    with pytest.raises(UnknownName, match="did you mean 'obs'"):
        evaluate(graph, {"ops": np.zeros((1, 3))})
    with pytest.raises(ConfigError, match="needs the input 'obs'"):
        evaluate(graph, {})
    with pytest.raises(ConfigError, match=r"shape \(batch, 3\), got \(3,\)"):
        evaluate(graph, {"obs": np.zeros(3)})
