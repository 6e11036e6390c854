"""Large float32 matrix products of compiled functions by oneDNN, where torch's own choice for them is slow.

torch takes float32 products to MKL, which on AMD's processors runs AVX2 kernels even where there is AVX-512: on an
EPYC (Turin) a product of two 256 x 256 matrices reaches 106 GFLOP/s on one core and 194 on two. oneDNN, which torch
brings along and uses for bfloat16, reaches 225 and 390. torch has no setting for it, and its compiler gives oneDNN
only products with constant weights. So the products are exchanged in the compiled graph, and what a function says
stays as it is. Where AVX2 is all there is (EPYC Milan), MKL is not slow: there an update of SAC takes 12.2 ms with its
products and 14.5 with oneDNN's, one of CrossQ 17.2 and 20.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.fx import Graph, Node
from torch.fx.node import map_arg

LARGE = 2**23
"""Multiplications from which a product goes to oneDNN: a call of it costs some 10 us more than one of MKL, which 256
rows through 128 x 128 weights do not earn back on two threads."""

CPUINFO = Path("/proc/cpuinfo")

_LIBRARY = torch.library.Library("roborl", "DEF")
_LIBRARY.define("product(Tensor a, Tensor b) -> Tensor")


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Return ``a @ b`` for matrices of float32 on the CPU: oneDNN's linear layer without a bias."""
    return torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], "")


def _product_shape(a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty(a.shape[0], b.shape[1])


_LIBRARY.impl("product", _product, "CPU")
torch.library.register_fake("roborl::product", _product_shape, lib=_LIBRARY)


@cache
def mkl_is_slow() -> bool:
    """Whether this is a processor on which MKL takes slow kernels, and oneDNN is there to replace them."""
    replaceable = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    if not (torch.backends.mkl.is_available() and replaceable and wide):
        return False
    try:
        return "AuthenticAMD" in CPUINFO.read_text()
    except OSError:  # not Linux
        return False


class OneDnnProducts(CustomGraphPass):
    """A compiler pass that takes the large float32 products of a graph on the CPU to oneDNN."""

    def __call__(self, graph: Graph) -> None:
        """Exchange the batched products (`torch.bmm`, which `roborl.nn.mlp` uses throughout) in place."""
        for node in graph.find_nodes(op="call_function", target=torch.ops.aten.bmm.default):
            if _is_large(node):
                with graph.inserting_before(node):
                    node.replace_all_uses_with(_one_by_one(graph, node))
                graph.erase_node(node)

    def uuid(self) -> bytes:
        """Return what tells the compiler's cache that this pass has changed."""
        return get_hash_for_files((__file__,))


def _is_large(bmm: Node) -> bool:
    left, out = bmm.all_input_nodes[0].meta["val"], bmm.meta["val"]
    _, rows, columns = out.shape
    return out.dtype == torch.float32 and out.device.type == "cpu" and rows * columns * left.shape[-1] >= LARGE


def _one_by_one(graph: Graph, bmm: Node) -> Node:
    """Add the products of a batch's members to a graph; return the node that stacks them."""
    aten, rows = torch.ops.aten, []
    for i in range(bmm.meta["val"].shape[0]):
        a, b = (_add(graph, aten.select.int, operand, 0, i) for operand in bmm.args)
        rows.append(_add(graph, aten.unsqueeze.default, _add(graph, torch.ops.roborl.product.default, a, b), 0))
    return rows[0] if len(rows) == 1 else _add(graph, aten.cat.default, rows, 0)


def _add(graph: Graph, operator: Callable[..., Tensor], *args: Any) -> Node:
    """Add a call to a graph, with the shape of its result, which the compiler reads from ``meta``."""
    node = graph.call_function(operator, args)
    node.meta["val"] = operator(*map_arg(args, lambda n: n.meta["val"]))
    return node
