"""A policy graph as an ONNX model, node by node: what is exported is what the graph says, untraced."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from roborl.deploy.seal import PRODUCER
from roborl.nn.graph import Node, PolicyGraph

OPSET = 17
IR_VERSION = 8  # of opset 17's time: read by every onnxruntime since 1.12

_SAME = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "relu": "Relu", "tanh": "Tanh", "elu": "Elu"} | {
    "sigmoid": "Sigmoid"
}


def to_onnx(graph: PolicyGraph, name: str = "policy") -> onnx.ModelProto:
    """Return the graph as a checked ONNX model with batch size 1.

    Args:
        graph: the policy; input ``x`` of shape (n,) becomes an ONNX input ``x`` of shape (1, n).
        name: the ONNX graph's name.
    """
    shapes = graph.shapes()
    nodes: list[onnx.NodeProto] = []
    constants = [numpy_helper.from_array(array, key) for key, array in graph.arrays.items()]

    def constant(node: Node, role: str, values: float | list[int]) -> str:
        array = np.array(values, dtype=np.float32 if isinstance(values, float) else np.int64)
        constants.append(numpy_helper.from_array(array, f"{node.output}.{role}"))
        return f"{node.output}.{role}"

    for node in graph.nodes:
        a, out = node.attributes, [node.output]
        if node.op in _SAME:
            nodes.append(helper.make_node(_SAME[node.op], node.inputs, out))
        elif node.op == "linear":
            x, w, b = node.inputs
            product = f"{node.output}.product"
            nodes.append(helper.make_node("MatMul", [x, w], [product]))
            nodes.append(helper.make_node("Add", [product, b], out))
        elif node.op == "clip":
            bounds = [constant(node, "lo", a["lo"]), constant(node, "hi", a["hi"])]
            nodes.append(helper.make_node("Clip", [node.inputs[0], *bounds], out))
        elif node.op == "slice":
            last = len(shapes[node.output])  # the batch axis is 0
            limits = [constant(node, k, [v]) for k, v in (("start", a["start"]), ("stop", a["stop"]), ("axis", last))]
            nodes.append(helper.make_node("Slice", [node.inputs[0], *limits], out))
        elif node.op == "concat":
            nodes.append(helper.make_node("Concat", node.inputs, out, axis=len(shapes[node.output])))
        else:
            raise AssertionError(f"no ONNX form for {node.op!r}")

    def value(key: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(key, TensorProto.FLOAT, [1, *shapes[key]])

    model = helper.make_model(
        helper.make_graph(nodes, name, [*map(value, graph.inputs)], [*map(value, graph.outputs)], constants),
        producer_name=PRODUCER,
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    onnx.checker.check_model(model, full_check=True)
    return model
