from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from roborl.algos.reinforce import REINFORCE, REINFORCEConfig, REINFORCEState, actor_loss, update
from roborl.errors import ConfigError
from roborl.learner import Rollout, Spaces
from roborl.nn.actor import GaussianActor

SPACES = Spaces({"policy": 1}, 1)


def gradients(baseline: float) -> tuple[float, float]:
    """The expectation and the variance of the gradient in the mean, of a return ``3 + a``, exactly.

    Gauss-Hermite quadrature over the action: its nodes are steps, its weights their weights.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    action = torch.tensor(0.5 + 2.0 * nodes)[:, None]  # mean 0.5, deviation 2
    weight = torch.tensor(weights / weights.sum())
    advantage = 3.0 + action[:, 0] - baseline
    actor = GaussianActor(
        [{"w": torch.zeros(1, 1).double(), "b": torch.tensor([0.5]).double()}], torch.tensor([2.0]).double().log()
    )
    obs, config = torch.zeros(20, 1).double(), REINFORCEConfig()

    def gradient(weight: Tensor) -> Tensor:
        arguments = (obs, action, advantage, weight, config)
        return torch.func.grad(actor_loss, has_aux=True)(actor, *arguments)[0].mean[0]["b"][0]

    each = torch.stack([gradient(torch.eye(20).double()[i]) for i in range(20)])
    expected = gradient(weight)
    return expected.item(), (weight * (each - expected).square()).sum().item()


def test_a_baseline_leaves_the_expected_gradient_and_lowers_its_variance() -> None:
    # d E[3 + a] / d mean = 1, so that the loss has the gradient -1. With a = 0.5 + 2 e a step's is
    # -(e / 2) (3.5 - b + 2 e): variance ((3.5 - b)^2 + 4 (3 - 1)) / 4 = (3.5 - b)^2 / 4 + 2: 5.0625 without a baseline,
    # 2 with the mean return.
    for baseline, variance in ((0.0, 5.0625), (3.5, 2.0), (-10.0, 47.5625)):
        assert gradients(baseline) == pytest.approx((-1.0, variance), abs=1e-9)


def rollout_of(reward: list[float], ended: list[float], live: list[float]) -> Rollout:
    g, steps = torch.Generator().manual_seed(0), len(reward)
    columns = {name: torch.tensor(x).double()[:, None] for name, x in (("r", reward), ("e", ended), ("l", live))}
    nothing, action = torch.zeros(steps, 1).double(), torch.randn(steps, 1, 1, generator=g).double()
    obs = {"policy": torch.randn(steps + 1, 1, 1, generator=g).double()}
    return Rollout(
        obs, action, columns["r"], nothing, columns["e"], columns["l"], nothing, None, torch.ones(()).double()
    )


def learner(**fields: Any) -> tuple[REINFORCE, REINFORCEState]:
    built = REINFORCE(SPACES, REINFORCEConfig(hidden=(4,), normalize_reward=False, gamma=0.5, **fields))
    return built, built.init(torch.Generator().manual_seed(0), torch.float64)


def test_the_moving_average_hand_computed() -> None:
    # gamma 1/2, an end after the second step, its dead step, one more: returns 1 + 4/2 = 3, 4, -, 8: mean 5.
    # From 0 a tenth of the way: 0.5, then 0.5 + 0.1 * 4.5 = 0.95.
    built, state = learner(baseline="average")
    rollout = rollout_of([1, 4, 0, 8], [0, 1, 0, 0], [1, 1, 0, 1])
    for expected in (0.5, 0.95):
        state, _ = update(state, rollout, built.config, "policy")
        assert state.average.item() == pytest.approx(expected)


def test_each_baseline_is_what_is_taken_off() -> None:
    # The actor's loss is -mean(log p (G - b)): with the same returns the three differ by mean(log p) times b.
    rollout = rollout_of([1, 4, 2, 8], [0, 0, 0, 0], [1, 1, 1, 1])
    losses = {}
    for baseline in ("none", "average", "value"):
        built, state = learner(baseline=baseline)
        after, metrics = update(state._replace(average=torch.tensor(2.0).double()), rollout, built.config, "policy")
        losses[baseline] = metrics["actor_loss"].item()
        moved = not torch.equal(after.critic[0]["w"], state.critic[0]["w"])
        assert moved == (baseline == "value") and (metrics["critic_loss"] > 0) == (baseline == "value")
    shift = []
    for value in (2.0, 4.0):
        built, state = learner(baseline="average")
        state = state._replace(average=torch.tensor(value).double())
        shift.append(update(state, rollout, built.config, "policy")[1]["actor_loss"].item() - losses["none"])
    assert shift[0] == losses["average"] - losses["none"]
    assert shift[1] == pytest.approx(2 * shift[0]) and shift[0] < 0
    assert losses["value"] not in (losses["none"], losses["average"])


def test_the_learned_baseline_comes_to_know_more_than_the_mean_return() -> None:
    # The returns 1 + 4/2 = 3, 4, 2 + 8/2 = 6 and 8 have the variance 3.69, which is the loss of their mean.
    built, state = learner(critic_lr=0.01, critic_steps=500, max_grad_norm=10.0)
    _, metrics = update(state, rollout_of([1, 4, 2, 8], [0, 1, 0, 1], [1, 1, 1, 1]), built.config, "policy")
    assert metrics["critic_loss"] < 1


def test_a_return_ends_with_its_episode_and_a_dead_step_teaches_nothing() -> None:
    built, state = learner(baseline="none")
    a = update(state, rollout_of([1, 4, 0, 8], [0, 1, 0, 0], [1, 1, 0, 1]), built.config, "policy")[1]
    b = update(state, rollout_of([1, 4, 99, 8], [0, 1, 0, 0], [1, 1, 0, 1]), built.config, "policy")[1]
    assert a["actor_loss"] == b["actor_loss"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden": ()}, "hidden must be a tuple of one or more widths"),
        ({"baseline": "mean"}, "baseline must be one of 'none', 'average', 'value', got 'mean'"),
        ({"rollout_size": 0}, "rollout_size must be a whole number of at least 1, got 0"),
        ({"critic_steps": 0}, "critic_steps must be a whole number of at least 1, got 0"),
        ({"average_rate": 2.0}, r"average_rate must be a number in \[0, 1\], got 2.0"),
        ({"max_grad_norm": 0.0}, r"max_grad_norm must be a number in \(0, inf\], got 0.0"),
    ],
)
def test_a_bad_field_is_answered_with_what_is_allowed(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        REINFORCEConfig(**fields)
