"""Large products of compiled functions by oneDNN: the same numbers, and only where it was asked for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._functorch import config as functorch_config
from torch._inductor import config as inductor_config
from torch.fx import Graph, GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from roborl.nn import onednn
from roborl.nn.compile import compile_pure
from roborl.nn.onednn import OneDnnProducts


def traced(function, *args: Tensor) -> GraphModule:
    """Return the graph that the compiler would hand to the pass."""
    return make_fx(function, tracing_mode="fake")(*args)


def calls(module: GraphModule) -> Counter[str]:
    return Counter(str(node.target) for node in module.graph.nodes if node.op == "call_function")


def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype)


def exchanged(module: GraphModule) -> GraphModule:
    OneDnnProducts()(module.graph)
    module.graph.lint()
    module.recompile()
    return module


@pytest.mark.parametrize("members", [1, 3])
def test_large_products_of_float32_are_exchanged_and_stay_the_same(members: int) -> None:
    a, b = drawn(members, 256, 200), drawn(members, 200, 256)  # 13 million multiplications each
    module = exchanged(traced(torch.bmm, a, b))
    assert calls(module)["aten.bmm.default"] == 0
    assert calls(module)["roborl.product.default"] == members
    torch.testing.assert_close(module(a, b).double(), a.double() @ b.double(), rtol=1e-5, atol=1e-4)


def test_products_of_transposed_matrices_are_exchanged_too() -> None:
    def gradients(x: Tensor, w: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        return torch.bmm(g, w.mT), torch.bmm(x.mT, g)

    x, w, g = drawn(2, 256, 256), drawn(2, 256, 256), drawn(2, 256, 256)
    module = exchanged(traced(gradients, x, w, g))
    assert calls(module)["aten.bmm.default"] == 0
    for got, want in zip(module(x, w, g), gradients(x.double(), w.double(), g.double()), strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((256, 128, 128), torch.float32), ((256, 256, 256), torch.float64)], ids=["small", "double"]
)
def test_other_products_stay_with_torch(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    rows, inner, columns = shape
    module = exchanged(traced(torch.bmm, drawn(1, rows, inner, dtype=dtype), drawn(1, inner, columns, dtype=dtype)))
    assert calls(module) == {"aten.bmm.default": 1}


@pytest.mark.parametrize(
    ("vendor", "capability", "slow"),
    [("AuthenticAMD", "AVX512", True), ("AuthenticAMD", "AVX2", False), ("GenuineIntel", "AVX512", False)],
)
def test_mkl_is_slow_where_it_leaves_amds_avx512_unused(
    vendor: str, capability: str, slow: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"vendor_id\t: {vendor}\n")
    monkeypatch.setattr(onednn, "CPUINFO", cpuinfo)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    assert onednn.mkl_is_slow.__wrapped__() is slow


def test_without_a_list_of_processors_mkl_is_taken_to_be_fast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onednn, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert onednn.mkl_is_slow.__wrapped__() is False


def test_compiled_functions_go_through_the_pass_where_mkl_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    exchange = OneDnnProducts.__call__

    def spy(self: OneDnnProducts, graph: Graph) -> None:
        exchange(self, graph)
        seen.append(len(graph.find_nodes(op="call_function", target=torch.ops.roborl.product.default)))

    monkeypatch.setattr(OneDnnProducts, "__call__", spy)
    monkeypatch.setattr(onednn, "mkl_is_slow", lambda: True)
    a, b = drawn(2, 256, 256), drawn(2, 256, 256)
    # a function that is in the compiler's caches needs no pass
    with functorch_config.patch(enable_autograd_cache=False), inductor_config.patch(fx_graph_cache=False):
        got = compile_pure(lambda a, b: torch.bmm(a, b) + 1.0)(a, b)
    assert seen == [2]
    torch.testing.assert_close(got.double(), a.double() @ b.double() + 1.0, rtol=1e-5, atol=1e-4)
