"""Adam, clipped gradients and the moving average of target networks, as pure functions on trees of tensors."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from roborl.nn.tree import Tree, flatten, tree_map


class AdamState(NamedTuple):
    """What Adam remembers between steps."""

    m: Tree
    """Moving average of the gradients; a tree like the parameters."""
    v: Tree
    """Moving average of their squares; a tree like the parameters."""
    count: Tensor  # pyright: ignore[reportIncompatibleMethodOverride]  (the tuple's count is not used)
    """(), float64: steps taken."""


def init_adam(params: Tree) -> AdamState:
    """Return Adam's state before the first step, on the device and in the dtype of the parameters."""
    leaf = next(iter(flatten(params).values()))
    zeros = tree_map(torch.zeros_like, params)
    return AdamState(zeros, tree_map(torch.zeros_like, params), leaf.new_zeros((), dtype=torch.float64))


def adam(
    params: Tree,
    grads: Tree,
    state: AdamState,
    lr: Tensor | float,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> tuple[Tree, AdamState]:
    """Take one step of Adam (Kingma and Ba 2015, algorithm 1; the same numbers as torch.optim.Adam).

    ``m = b1 m + (1 - b1) g``, ``v = b2 v + (1 - b2) g^2``,
    ``p = p - lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)``.

    Args:
        params: tree of parameters.
        grads: tree of gradients, like ``params``.
        state: what the last step left.
        lr: step size.
        b1: decay of the first moment.
        b2: decay of the second moment.
        eps: keeps the quotient finite.

    Returns:
        The new parameters and the new state; nothing given is changed.
    """
    count = state.count + 1
    # The corrections are computed in float64, in which 1 - b^t keeps its digits at the first steps; and with
    # exp, not pow: exp counts as costly, so that the compiler evaluates it once and not inside the loop over
    # the parameters.
    dtype = next(iter(flatten(params).values())).dtype
    step_size = (lr / (1 - torch.exp(count * math.log(b1)))).to(dtype)
    v_scale = (1 - torch.exp(count * math.log(b2))).rsqrt().to(dtype)
    m = tree_map(lambda m, g: m + (1 - b1) * (g - m), state.m, grads)
    v = tree_map(lambda v, g: b2 * v + (1 - b2) * (g * g), state.v, grads)
    stepped = tree_map(lambda p, m, v: p - step_size * m / (torch.sqrt(v) * v_scale + eps), params, m, v)
    return stepped, AdamState(m, v, count)


def clip_by_norm(grads: Tree, limit: float) -> tuple[Tree, Tensor]:
    """Shorten a gradient that is longer than a limit (Pascanu et al. 2013, algorithm 1).

    Args:
        grads: tree of gradients, one vector together.
        limit: the greatest Euclidean norm.

    Returns:
        The gradient, at most that long, and the norm that it had, ().
    """
    leaves = flatten(grads).values()
    norm = torch.stack([leaf.square().sum() for leaf in leaves]).sum().sqrt()
    factor = (limit / (norm + 1e-6)).clamp_max(1.0)
    return tree_map(lambda g: factor * g, grads), norm


def polyak(target: Tree, online: Tree, tau: float) -> Tree:
    """Move a tree towards another: ``target + tau (online - target)``, leaf by leaf."""
    return tree_map(lambda t, o: t + tau * (o - t), target, online)
