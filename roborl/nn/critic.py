"""A critic that is fitted to a whole rollout's targets by itself, apart from the policy."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from roborl.data.returns import weighted_mean
from roborl.nn.adam import AdamState, adam
from roborl.nn.compile import fold
from roborl.nn.mlp import Layers, mlp

#: Adam's epsilon.
ADAM_EPS = 1e-5


class Critic(NamedTuple):
    """What is learned by Adam."""

    layers: Layers
    """obs -> value; it may see more than the actor."""
    opt: AdamState


def fit_critic(
    critic: Critic, obs: Tensor, target: Tensor, live: Tensor, minibatches: Tensor, activation: str, lr: float
) -> tuple[Critic, Tensor]:
    """Take one step of Adam on ``(V - target)^2`` for each minibatch in turn; pure.

    Args:
        critic: before; it is not changed.
        obs: (B, critic width), normalised.
        target: (B,), of the value.
        live: (B,), 0 for dead steps.
        minibatches: (K, batch_size), the steps of each.
        activation: between the critic's layers.
        lr: Adam's step size.

    Returns:
        The critic after the last one, and the mean loss ().
    """

    def step(carried: tuple[Critic, Tensor], rows: Tensor) -> tuple[Critic, Tensor]:
        (layers, opt), total = carried

        def loss(layers: Layers) -> Tensor:
            value = mlp(layers, obs[rows], activation).squeeze(-1)
            return weighted_mean((value - target[rows]).square(), live[rows])

        grads, value = torch.func.grad_and_value(loss)(layers)
        return Critic(*adam(layers, grads, opt, lr, eps=ADAM_EPS)), total + value

    fitted, total = fold(step, (critic, live.new_zeros(())), minibatches)
    return fitted, total / len(minibatches)
