"""A policy as plain operations and float32 arrays: the form from which numpy, torch, ONNX and C are made.

Every value has a leading batch axis, which the shapes below leave out. An operation reads values (inputs of
the graph or results of earlier nodes) and, as its later operands, arrays:

| op | inputs | attributes | result |
|---|---|---|---|
| linear | x, W (in, out), b (out,) | | x W + b over the last axis |
| add, sub, mul, div | x, y (array or value) | | elementwise, y broadcast to x |
| relu, tanh, elu, sigmoid | x | | elementwise; elu with alpha 1 |
| clip | x | lo, hi | min(max(x, lo), hi) |
| slice | x | start, stop | x[..., start:stop] |
| concat | x, y, ... | | joined along the last axis |
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from roborl.errors import ConfigError, UnknownName

BINARY = ("add", "sub", "mul", "div")
UNARY = ("relu", "tanh", "elu", "sigmoid")
OPS = ("linear", *BINARY, *UNARY, "clip", "slice", "concat")
_ATTRIBUTES: dict[str, tuple[str, ...]] = {"clip": ("lo", "hi"), "slice": ("start", "stop")}


@dataclass(frozen=True)
class Node:
    """One operation of a policy graph: ``output = op(*inputs, **attributes)``."""

    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class PolicyGraph:
    """A policy as a list of nodes in the order in which they are computed.

    Args:
        inputs: name -> shape without the batch axis.
        outputs: names of the values that are the result.
        nodes: operations; each reads only what stands before it.
        arrays: name -> float32 array: weights, biases, statistics.

    Raises:
        UnknownName: an operation that does not exist, a name that is not defined before it is read.
        ConfigError: a name defined twice, shapes that do not fit, an array that is not finite float32.
    """

    inputs: dict[str, tuple[int, ...]]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    arrays: dict[str, np.ndarray]

    def __post_init__(self) -> None:
        """Check the whole graph, so that everything that reads one may trust it."""
        for name, array in self.arrays.items():
            if array.dtype != np.float32 or not np.isfinite(array).all():
                raise ConfigError(f"array {name!r} must be finite float32, got {_describe(array)}")
        self.shapes()

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape, without the batch axis, of every input and every node's result."""
        shapes: dict[str, tuple[int, ...]] = {}
        for name, shape in self.inputs.items():
            if not shape or any(size < 1 for size in shape):
                raise ConfigError(f"input {name!r} needs a shape of positive sizes, got {shape}")
            self._define(name, shape, shapes)
        for node in self.nodes:
            self._define(node.output, _result_shape(node, shapes, self.arrays), shapes)
        for name in self.outputs:
            if name not in shapes:
                raise UnknownName("graph output", name, shapes)
        if not self.outputs:
            raise ConfigError("a policy graph needs at least one output, got none")
        return shapes

    def _define(self, name: str, shape: tuple[int, ...], shapes: dict[str, tuple[int, ...]]) -> None:
        if name in shapes or name in self.arrays:
            raise ConfigError(f"the name {name!r} is defined twice in the policy graph")
        shapes[name] = shape


class GraphBuilder:
    """Write a policy graph as a sequence of calls; every call returns the name of its result.

    An operand is the name of a value or an array, which is copied as float32::

        g = GraphBuilder()
        x = g.input("obs", 17)
        x = g.relu(g.linear(g.sub(x, mean), w, b))
        g.output("actions", g.tanh(x))
        graph = g.build()

    Args:
        graph: a graph to go on from; its outputs are values like any other until ``output`` names them again.
    """

    def __init__(self, graph: PolicyGraph | None = None) -> None:
        """Start empty, or with all that ``graph`` computes."""
        self._inputs = dict(graph.inputs) if graph else {}
        self._nodes = list(graph.nodes) if graph else []
        self._arrays = dict(graph.arrays) if graph else {}
        self._outputs: dict[str, str] = {}  # name outside -> value inside

    def input(self, name: str, *shape: int) -> str:
        """Declare an input of the given shape (without the batch axis)."""
        self._inputs[name] = shape
        return name

    def linear(self, x: str, w: Any, b: Any) -> str:
        """Return ``x w + b`` with w (in, out) and b (out,)."""
        return self._node("linear", x, w, b)

    def add(self, x: str, y: Any) -> str:
        """Return ``x + y``."""
        return self._node("add", x, y)

    def sub(self, x: str, y: Any) -> str:
        """Return ``x - y``."""
        return self._node("sub", x, y)

    def mul(self, x: str, y: Any) -> str:
        """Return ``x * y``, elementwise."""
        return self._node("mul", x, y)

    def div(self, x: str, y: Any) -> str:
        """Return ``x / y``, elementwise."""
        return self._node("div", x, y)

    def relu(self, x: str) -> str:
        """Return ``max(x, 0)``."""
        return self._node("relu", x)

    def tanh(self, x: str) -> str:
        """Return ``tanh(x)``."""
        return self._node("tanh", x)

    def elu(self, x: str) -> str:
        """Return ``x`` where it is positive, else ``exp(x) - 1``."""
        return self._node("elu", x)

    def sigmoid(self, x: str) -> str:
        """Return ``1 / (1 + exp(-x))``."""
        return self._node("sigmoid", x)

    def clip(self, x: str, lo: float, hi: float) -> str:
        """Return ``min(max(x, lo), hi)``."""
        return self._node("clip", x, lo=float(lo), hi=float(hi))

    def slice(self, x: str, start: int, stop: int) -> str:
        """Return ``x[..., start:stop]``."""
        return self._node("slice", x, start=int(start), stop=int(stop))

    def concat(self, *xs: str) -> str:
        """Return the values joined along their last axis."""
        return self._node("concat", *xs)

    def output(self, name: str, x: str) -> None:
        """Make the value ``x`` an output called ``name``."""
        self._outputs[name] = x

    def build(self) -> PolicyGraph:
        """Return the checked graph.

        Raises:
            ConfigError, UnknownName: see PolicyGraph.
        """
        renamed = {value: name for name, value in self._outputs.items() if value not in self._inputs}
        if len(renamed) < len(self._outputs):
            raise ConfigError(f"each output needs a value of its own, computed from the inputs, got {self._outputs}")
        # A value inside that happens to be called like an output (of the graph gone on from) gives way.
        for node in self._nodes:
            if node.output in self._outputs and node.output not in renamed:
                renamed[node.output] = f"{node.output}_{len(self._nodes)}"

        def rename(name: str) -> str:
            return renamed.get(name, name)

        nodes = tuple(Node(n.op, tuple(map(rename, n.inputs)), rename(n.output), n.attributes) for n in self._nodes)
        return PolicyGraph(dict(self._inputs), tuple(self._outputs), nodes, dict(self._arrays))

    def _node(self, op: str, x: str, *operands: Any, **attributes: Any) -> str:
        number = len(self._nodes)
        names = [x, *(self._operand(number, op, k, operand) for k, operand in enumerate(operands))]
        output = f"{op}_{number}"
        self._nodes.append(Node(op, tuple(names), output, attributes))
        return output

    def _operand(self, number: int, op: str, k: int, operand: Any) -> str:
        if isinstance(operand, str):
            return operand
        role = ("weight", "bias")[k] if op == "linear" else f"operand_{k + 1}"
        name = f"{op}_{number}.{role}"
        self._arrays[name] = _to_numpy(operand)
        return name


def evaluate(graph: PolicyGraph, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Compute a policy graph in float32 on numpy arrays or on torch tensors.

    Args:
        graph: the policy.
        inputs: name -> (B, *shape) array or tensor, all of one kind; cast to float32, as the exported
            policy sees it.

    Returns:
        name -> (B, *shape) for each output, of the same kind and on the same device as the inputs.

    Raises:
        UnknownName: an input that the graph does not have.
        ConfigError: an input is missing or has the wrong shape.
    """
    for name in inputs:
        if name not in graph.inputs:
            raise UnknownName("graph input", name, graph.inputs)
    values: dict[str, Any] = {}
    for name, shape in graph.inputs.items():
        if name not in inputs:
            raise ConfigError(f"the policy graph needs the input {name!r}, got {', '.join(inputs) or 'none'}")
        if tuple(inputs[name].shape[1:]) != shape:
            raise ConfigError(
                f"input {name!r} must have the shape (batch, {', '.join(map(str, shape))}), "
                f"got {tuple(inputs[name].shape)}"
            )
        values[name] = inputs[name]
    if all(isinstance(v, np.ndarray) for v in values.values()):
        xp: ModuleType = np
        values = {name: v.astype(np.float32) for name, v in values.items()} | graph.arrays
    else:
        import torch as xp  # here and not above: what exports and verifies a bundle needs no torch

        device = next(iter(values.values())).device
        values = {name: v.to(xp.float32) for name, v in values.items()}
        values |= {name: xp.tensor(array, device=device) for name, array in graph.arrays.items()}
    for node in graph.nodes:
        values[node.output] = _apply(xp, node, [values[name] for name in node.inputs])
    return {name: values[name] for name in graph.outputs}


def _apply(xp: ModuleType, node: Node, operands: list[Any]) -> Any:
    """Compute one node with numpy or torch; PolicyGraph has checked that the operation exists."""
    x, a = operands[0], node.attributes
    if node.op == "linear":
        return x @ operands[1] + operands[2]
    if node.op in BINARY:
        operation = {"add": xp.add, "sub": xp.subtract, "mul": xp.multiply, "div": xp.divide}[node.op]
        return operation(x, operands[1])
    if node.op == "relu":
        return x.clip(min=0)
    if node.op == "tanh":
        return xp.tanh(x)
    if node.op == "elu":
        return x.clip(min=0) + xp.expm1(x.clip(max=0))
    if node.op == "sigmoid":
        return 0.5 + 0.5 * xp.tanh(0.5 * x)  # the same, and exp(-x) does not overflow
    if node.op == "clip":
        return x.clip(min=a["lo"], max=a["hi"])
    if node.op == "slice":
        return x[..., a["start"] : a["stop"]]
    return xp.concatenate(operands, axis=-1)


def _result_shape(
    node: Node, shapes: Mapping[str, tuple[int, ...]], arrays: Mapping[str, np.ndarray]
) -> tuple[int, ...]:
    """Return the shape of a node's result, or raise what is wrong with the node."""
    if node.op not in OPS:
        raise UnknownName("graph operation", node.op, OPS)
    needed = _ATTRIBUTES.get(node.op, ())
    if set(node.attributes) != set(needed):
        raise ConfigError(f"{node.op} takes the attributes {needed}, got {tuple(node.attributes)}")
    reads_arrays = node.op in BINARY or node.op == "linear"
    for k, name in enumerate(node.inputs):
        if name not in shapes and not (k > 0 and reads_arrays and name in arrays):
            raise UnknownName(f"operand {k + 1} of {node.op}", name, [*shapes, *(arrays if k else ())])
    operands = [shapes[name] if name in shapes else arrays[name].shape for name in node.inputs]
    shape = _shape_rule(node, operands)
    if shape is None:
        raise ConfigError(f"{node.op} -> {node.output!r} cannot take shapes {operands} with {node.attributes}")
    return shape


def _shape_rule(node: Node, operands: list[tuple[int, ...]]) -> tuple[int, ...] | None:
    """Return the result's shape, None where the operands do not fit the operation."""
    count = {"linear": 3, **dict.fromkeys(BINARY, 2)}.get(node.op, 1)
    if not operands or (len(operands) != count and node.op != "concat"):
        return None
    a, x = node.attributes, operands[0]
    if node.op == "linear":
        w, b = operands[1:]
        return (*x[:-1], w[1]) if len(w) == 2 and w[0] == x[-1] and b == (w[1],) else None
    if node.op in BINARY:
        y = operands[1]
        # y is broadcast to x, never x to y; and not over the batch axis, which shapes leave out.
        fits = len(y) <= len(x) and all(n in (1, m) for n, m in zip(reversed(y), reversed(x), strict=False))
        return x if fits else None
    if node.op == "clip":
        return x if -math.inf < a["lo"] <= a["hi"] < math.inf else None
    if node.op == "slice":
        return (*x[:-1], a["stop"] - a["start"]) if 0 <= a["start"] < a["stop"] <= x[-1] else None
    if node.op == "concat":
        same = all(shape[:-1] == x[:-1] for shape in operands)
        return (*x[:-1], sum(shape[-1] for shape in operands)) if same else None
    return x


def _to_numpy(operand: Any) -> np.ndarray:
    if hasattr(operand, "detach"):  # a torch tensor, perhaps on another device or with a gradient
        operand = operand.detach().cpu().numpy()
    return np.array(operand, dtype=np.float32)


def _describe(array: np.ndarray) -> str:
    return str(array.dtype) if array.dtype != np.float32 else "NaN or infinity"
