from __future__ import annotations

import math

import pytest
import torch

from roborl.nn.batch_renorm import (
    D_MAX,
    EPSILON,
    R_MAX,
    WARMUP,
    BatchStats,
    eval_mlp,
    fold,
    init_norms,
    renormalize,
    train_mlp,
)
from roborl.nn.mlp import init_ensemble, init_mlp, mlp
from roborl.nn.tree import Tree, tree_map


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def count(batches: int) -> torch.Tensor:
    return torch.tensor(float(batches), dtype=torch.float64)


def test_in_the_warm_up_a_batch_is_normalised_by_itself_and_joins_the_running_statistics() -> None:
    # 1, 2, 6: mean 3, variance (4 + 1 + 9) / 3 = 14/3. Running: 0.99 * 10 + 0.01 * 3, 0.99 * 4 + 0.01 * 14/3.
    y, mean, var = renormalize(column(1, 2, 6), column(10), column(4), count(WARMUP - 1))
    torch.testing.assert_close(y, column(-2, -1, 3) / math.sqrt(14 / 3 + EPSILON))
    torch.testing.assert_close(mean, column(9.93))
    torch.testing.assert_close(var, column(3.96 + 0.14 / 3))


@pytest.mark.parametrize(
    ("running_mean", "running_std", "r", "d"),
    [
        (2.0, 1.0, 2.0, 1.0),  # batch: mean 3, deviation 2; r = 2 / 1, d = (3 - 2) / 1
        (3.0, 0.5, R_MAX, 0.0),  # 2 / 0.5 = 4 is clipped
        (-1.0, 10.0, 1 / R_MAX, 0.4),  # 2 / 10 is clipped; (3 + 1) / 10
        (53.0, 4.0, 0.5, -D_MAX),  # (3 - 53) / 4 = -12.5 is clipped
    ],
)
def test_after_it_the_running_statistics_correct_the_batchs(
    running_mean: float, running_std: float, r: float, d: float
) -> None:
    x = column(1, 5)  # mean 3, variance 4
    std = math.sqrt(4 + EPSILON)
    # the running variance such that with EPSILON the deviations are in the ratio wanted
    running_var = (running_std * std / 2) ** 2 - EPSILON
    y, _, _ = renormalize(x, column(running_mean), column(running_var), count(WARMUP))
    d = d if abs(d) == D_MAX else d * 2 / std
    torch.testing.assert_close(y, column(-2, 2) / std * r + d)


def test_no_gradient_flows_through_the_correction() -> None:
    # With r and d held, y is the plainly normalised batch times r plus d: the gradient is r times the plain one.
    x, weights = torch.randn(8, 1, generator=generator(), dtype=torch.float64), torch.arange(8.0).double()[:, None]

    def weighted(x: torch.Tensor, batches: int) -> torch.Tensor:
        return (weights * renormalize(x, column(0.5), column(4), count(batches))[0]).sum()

    plain, corrected = (torch.func.grad(weighted)(x, batches) for batches in (0, WARMUP))
    r = ((x.var(correction=0) + EPSILON) / (4 + EPSILON)).sqrt()
    torch.testing.assert_close(corrected, r * plain)
    assert plain.sum().abs() < 1e-12  # through the batch's mean a gradient does flow


def test_a_network_is_normalised_before_each_layer_and_reads_relu_between() -> None:
    g, x = generator(), torch.randn(16, 3, generator=generator(1), dtype=torch.float64)
    layers = init_mlp(g, (3, 4, 2), torch.float64)
    params, stats = init_norms(layers)
    params[1]["scale"], params[1]["shift"] = params[1]["scale"] * 2.0, params[1]["shift"] + 0.5
    out, after = train_mlp(params, stats, x)

    def normed(x: torch.Tensor) -> torch.Tensor:
        return (x - x.mean(0)) / (x.var(0, correction=0) + EPSILON).sqrt()

    hidden = torch.relu(normed(x) @ layers[0]["w"] + layers[0]["b"])
    expected = (2.0 * normed(hidden) + 0.5) @ layers[1]["w"] + layers[1]["b"]
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(after.mean[0], 0.01 * x.mean(0, keepdim=True))
    torch.testing.assert_close(after.var[1], 0.99 + 0.01 * hidden.var(0, correction=0, keepdim=True))
    assert (stats.count, after.count) == (0, 1)


def trained(params: Tree, stats: BatchStats, width: int) -> BatchStats:
    """Return statistics that batches with a mean and a deviation of their own have left."""
    for seed in range(400):
        x = 3 + 2 * torch.randn(64, width, generator=generator(seed), dtype=torch.float64)
        members = params[0]["w"].shape[:-2]
        _, stats = train_mlp(params, stats, x.expand(*members, *x.shape))
    return stats


def test_an_ensemble_is_its_members_one_by_one() -> None:
    params, stats = init_norms(init_ensemble(generator(), 2, (3, 5, 1), torch.float64))
    stats = trained(params, stats, 3)
    x = torch.randn(7, 3, generator=generator(), dtype=torch.float64).expand(2, 7, 3)
    for i in range(2):
        one = [{"w": p["w"][i], "b": p["b"][i, 0], "scale": p["scale"][i], "shift": p["shift"][i]} for p in params]
        own = BatchStats([m[i] for m in stats.mean], [v[i] for v in stats.var], stats.count)
        torch.testing.assert_close(eval_mlp(params, stats, x)[i], eval_mlp(one, own, x[i]))
        torch.testing.assert_close(train_mlp(params, stats, x)[0][i], train_mlp(one, own, x[i])[0])


def test_evaluation_is_row_by_row_with_the_running_statistics_and_folds_into_plain_layers() -> None:
    params, stats = init_norms(init_mlp(generator(), (3, 6, 6, 2), torch.float64))
    params = tree_map(lambda p: p + 0.1 * torch.randn(p.shape, generator=generator(9), dtype=p.dtype), params)
    stats = trained(params, stats, 3)
    x = 3 + 2 * torch.randn(50, 3, generator=generator(1), dtype=torch.float64)
    out = eval_mlp(params, stats, x)
    torch.testing.assert_close(out[:1], eval_mlp(params, stats, x[:1]))
    torch.testing.assert_close(mlp(fold(params, stats), x, "relu"), out)
    # after 400 batches the first 0 and 1 weigh 0.99^400 = 2%
    assert (stats.mean[0] - 3).abs().max() < 0.2 and (stats.var[0] - 4).abs().max() < 0.4
    assert stats.count == 400
