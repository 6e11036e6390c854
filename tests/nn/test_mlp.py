from __future__ import annotations

import pytest
import torch

from roborl.errors import UnknownName
from roborl.nn.mlp import ensemble_mlp, init_ensemble, init_mlp, init_orthogonal, linear, mlp, mlp_and_features


def test_an_mlp_equals_torch_modules_with_the_same_weights() -> None:
    params = init_mlp(torch.Generator().manual_seed(0), (3, 8, 8, 2), torch.float64)
    modules = torch.nn.Sequential(
        torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)
    ).double()
    for layer, module in zip(params, list(modules)[::2], strict=True):
        module.load_state_dict({"weight": layer["w"].T, "bias": layer["b"]})
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(mlp(params, x), modules(x).detach(), rtol=0, atol=1e-14)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_ensemble_equals_its_members_one_by_one(precision: str) -> None:
    params = init_ensemble(torch.Generator().manual_seed(0), 2, (3, 16, 1))
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    members = [[{"w": layer["w"][e], "b": layer["b"][e, 0]} for layer in params] for e in range(2)]
    expected = torch.stack([mlp(member, x, precision=precision) for member in members])
    torch.testing.assert_close(ensemble_mlp(params, x, precision=precision), expected)


def test_members_start_apart_and_within_the_bound_of_their_fan_in() -> None:
    params = init_ensemble(torch.Generator().manual_seed(0), 2, (4, 64, 1))
    assert not torch.equal(params[0]["w"][0], params[0]["w"][1])
    assert 0.45 < params[0]["w"].abs().max() <= 0.5  # 1 / sqrt(4)
    assert params[1]["w"].abs().max() <= 0.125  # 1 / sqrt(64)


def test_bfloat16_rounds_the_product_and_keeps_the_bias_exact() -> None:
    x, w, b = torch.tensor([[1.0 + 2**-9]]), torch.ones(1, 2), torch.tensor([2**-12, 0.0])
    # bfloat16 has 8 bits: 1 + 2^-9 is rounded to 1; the bias 2^-12 is added in float32 and survives.
    assert torch.equal(linear(x, w, b, "bfloat16"), torch.tensor([[1 + 2**-12, 1.0]]))
    assert linear(x, w, b, "bfloat16").dtype == torch.float32


@pytest.mark.parametrize(("layer", "rounded"), [(0, False), (1, True), (2, False)])
def test_bfloat16_rounds_between_hidden_layers_not_what_a_network_reads_or_gives(layer: int, rounded: bool) -> None:
    eye, sums = torch.eye(2), torch.tensor([[1.0, 0.0], [2**-9, 1.0]])
    # 1 + 2^-9 does not fit into the 8 bits of bfloat16: of (1, 1) one layer of three makes it, the others pass it on.
    params = [{"w": sums if i == layer else eye, "b": torch.zeros(2)} for i in range(3)]
    given = mlp(params, torch.ones(1, 2), precision="bfloat16")
    if layer == 0:  # what the first layer gives is read, rounded, by the second
        given = mlp(params[:1] + params[2:], torch.ones(1, 2), precision="bfloat16")
    assert torch.equal(given, torch.tensor([[1.0 if rounded else 1 + 2**-9, 1.0]]))


def test_an_unknown_activation_is_named_with_the_valid_ones() -> None:
    with pytest.raises(UnknownName, match="unknown activation 'rely'; did you mean 'relu'"):
        mlp(init_mlp(torch.Generator(), (1, 1)), torch.zeros(1, 1), activation="rely")


def test_orthogonal_weights_keep_lengths_up_to_their_gain() -> None:
    # 8 to 8 with sqrt(2): every vector becomes sqrt(2) times as long; the last layer 0.5 times.
    first, last = init_orthogonal(torch.Generator().manual_seed(0), (8, 8, 8), 0.5, torch.float64)
    x = torch.randn(4, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close((x @ first["w"]).norm(dim=1), 2**0.5 * x.norm(dim=1))
    torch.testing.assert_close((x @ last["w"]).norm(dim=1), 0.5 * x.norm(dim=1))
    assert not first["b"].any() and not last["b"].any()


def test_features_are_what_the_last_layer_reads_before_the_activation() -> None:
    # x = 2: features 2 * -1 + 0.5 = -1.5, relu 0, output 3 * 0 + 1 = 1.
    layers = [
        {"w": torch.tensor([[-1.0]]), "b": torch.tensor([0.5])},
        {"w": torch.tensor([[3.0]]), "b": torch.tensor([1.0])},
    ]
    out, features = mlp_and_features(layers, torch.tensor([[2.0]]), "relu")
    assert (out.item(), features.item()) == (1.0, -1.5)
