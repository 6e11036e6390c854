"""Signs that a policy's representation collapses, as it may when it learns for long from its own data.

Moalla et al. 2024, "No representation, no trust: connecting representation, collapse, and trust issues in PPO",
https://arxiv.org/abs/2405.00662: before the return falls, features lose rank, units die, and the policy comes to do
the same in every state.
"""

from __future__ import annotations

import torch
from torch import Tensor

from roborl.nn.mlp import ACTIVATIONS, Layers, mlp_and_features

#: The share of the features' energy that the rank's directions hold.
ENERGY = 0.99

#: A unit is dead if its output's deviation over the states is less than this.
DEAD_DEVIATION = 1e-3


def collapse_metrics(network: Layers, obs: Tensor, activation: str) -> tuple[dict[str, Tensor], Tensor]:
    """Return feature_rank, dead_units (a share) and policy_variance of a policy's network, and its pre-activations.

    Args:
        network: obs -> mean action, with hidden layers.
        obs: (N, width), of many states.
        activation: between the layers.

    Returns:
        The metrics, each 0-d, and the last hidden layer before its activation, (N, H).
    """
    mean, before = mlp_and_features(network, obs, activation)
    features = ACTIVATIONS[activation](before)
    metrics = {
        "feature_rank": feature_rank(features),
        "dead_units": (features.std(0, correction=0) < DEAD_DEVIATION).to(obs.dtype).mean(),
        "policy_variance": mean.var(0, correction=0).mean(),
    }
    return metrics, before


def feature_rank(features: Tensor) -> Tensor:
    """Return how few directions hold more than 99% of the features' sum of squares, ().

    The approximate rank of Yang et al. 2020, "Harnessing structures for value-based planning and reinforcement
    learning", section 3.2: the least k with ``sum_{i <= k} sigma_i^2 > 0.99 sum_i sigma_i^2``. 0 where all are 0, NaN
    where they are not finite.

    Args:
        features: (N, H).
    """
    gram = (features.mT @ features).double()
    if not gram.isfinite().all():  # of which there are no eigenvalues
        return features.new_tensor(torch.nan)
    energy = torch.linalg.eigvalsh(gram).flip(0).clamp_min(0.0)  # sigma^2, the largest first
    total = energy.sum()
    rank = ((energy.cumsum(0) <= ENERGY * total).sum() + 1).clamp_max(len(energy))
    return torch.where(total > 0.0, rank, 0).to(features.dtype)
