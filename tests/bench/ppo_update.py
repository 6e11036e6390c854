"""Whether PPO's update is stable-baselines3's: both learn from one rollout of the peer's, in the same order.

The peer trains on Hopper for two rollouts and collects a third; from its weights and Adam's moments both take the 320
steps of ten epochs. Printed is the largest difference of a weight, beside how far the weights moved.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from peers import python_of
from torch import Tensor

from roborl.algos.ppo import Batch, PPOConfig, PPOState, fit
from roborl.nn.actor import GaussianActor
from roborl.nn.adam import AdamState
from roborl.nn.gaussian import gaussian_log_prob
from roborl.nn.mlp import Layers, mlp_and_features
from roborl.nn.normalizer import init_normalizer
from roborl.nn.tree import flatten

HERE = Path(__file__).resolve().parent


def layers(arrays: Mapping[str, np.ndarray], *names: str) -> Layers:
    """A network from the peer's arrays."""
    return [
        {"w": torch.from_numpy(arrays[f"{name}.weight"]).T.contiguous(), "b": torch.from_numpy(arrays[f"{name}.bias"])}
        for name in names
    ]


def networks(arrays: Mapping[str, np.ndarray], prefix: str) -> tuple[GaussianActor, Layers]:
    """Actor and critic, or what is like them, from the peer's arrays of this prefix."""
    own = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
    policy, value = (tuple(f"mlp_extractor.{net}_net.{i}" for i in (0, 2)) for net in ("policy", "value"))
    actor = GaussianActor(layers(own, *policy, "action_net"), torch.from_numpy(own["log_std"]))
    return actor, layers(own, *value, "value_net")


def learned(arrays: Mapping[str, np.ndarray]) -> PPOState:
    """What our update makes of the peer's rollout."""
    (actor, critic), first, second = (networks(arrays, f"{kind}/") for kind in ("before", "exp_avg", "exp_avg_sq"))
    count = torch.tensor(float(arrays["count"]), dtype=torch.float64)
    state = PPOState(
        actor=actor,
        critic=critic,
        actor_opt=AdamState(first[0], second[0], count),
        critic_opt=AdamState(first[1], second[1], count),
        step_scale=torch.ones(()),
        normalizer={},
        returns=init_normalizer(1),
    )
    obs, action, advantage, target = (
        torch.from_numpy(arrays[f"rollout/{name}"]) for name in ("obs", "action", "advantage", "target")
    )
    mean, features = mlp_and_features(actor.mean, obs, "tanh")
    log_prob = gaussian_log_prob(mean, actor.log_std, action)
    batch = Batch({"policy": obs}, action, log_prob, features, advantage, target, torch.ones(len(obs)))
    config = PPOConfig(clip_together=True)
    minibatches = torch.from_numpy(arrays["order"]).reshape(-1, config.batch_size)
    return fit(state, batch, minibatches, torch.ones((), dtype=torch.float64), config, "policy")[0]


def largest(a: tuple[GaussianActor, Layers], b: tuple[GaussianActor, Layers]) -> float:
    """The largest difference of a weight."""
    theirs = flatten(b)

    def difference(x: Tensor, y: Tensor) -> float:
        return float((x - y).abs().max())

    return max(difference(leaf, theirs[name]) for name, leaf in flatten(a).items())


def main() -> None:
    """Let both learn, and print how far apart they end."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "update.npz"
        subprocess.run([python_of("sbx"), HERE / "ppo_update_worker.py", file], check=True)
        arrays = dict(np.load(file, allow_pickle=False))
    state, theirs = learned(arrays), networks(arrays, "after/")
    moved = largest(theirs, networks(arrays, "before/"))
    apart = largest((state.actor, state.critic), theirs)
    print(f"PPO's update on Hopper: {apart:.1e} from stable-baselines3's, where weights moved by up to {moved:.1e}")


if __name__ == "__main__":
    main()
