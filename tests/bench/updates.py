"""Whether updates are the peers': both learn from the peer's weights, moments, data and noise on Hopper.

The peer is stable-baselines3, and SBX for CrossQ. PPO takes the 320 steps of ten epochs on a rollout, the others learn
from 100 batches, CrossQ from 9. Printed is the largest difference of a weight after that, beside how far weights moved.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from peers import python_of
from torch import Tensor

from roborl.algos import crossq, ddpg, ppo, sac, td3
from roborl.learner import Transitions
from roborl.nn.actor import GaussianActor
from roborl.nn.adam import AdamState
from roborl.nn.batch_renorm import BatchStats
from roborl.nn.gaussian import gaussian_log_prob
from roborl.nn.mlp import Layers, mlp_and_features
from roborl.nn.normalizer import init_normalizer
from roborl.nn.tree import Tree, flatten, tree_map

HERE = Path(__file__).resolve().parent
GROUP = "policy"
NORMALIZER = {GROUP: init_normalizer(11)}
"""Of Hopper's observations, which are not normalised here."""

Arrays = Mapping[str, Tensor]
Fields = dict[str, Any]
"""Some fields of a learner's state."""


def part(arrays: Arrays, prefix: str) -> dict[str, Tensor]:
    """The arrays whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def layers(arrays: Arrays, *names: str) -> Layers:
    """A network from its linear layers."""
    return [{"w": arrays[f"{name}.weight"].T.contiguous(), "b": arrays[f"{name}.bias"]} for name in names]


def perceptron(arrays: Arrays, name: str) -> Layers:
    """A network with two hidden layers."""
    return layers(arrays, *(f"{name}.{i}" for i in (0, 2, 4)))


def twins(arrays: Arrays, name: str) -> Layers:
    """Two critics as an ensemble."""
    one, other = (perceptron(arrays, f"{name}.qf{i}") for i in range(2))
    return [
        {"w": torch.stack([a["w"], b["w"]]), "b": torch.stack([a["b"], b["b"]])[:, None]}
        for a, b in zip(one, other, strict=True)
    ]


def ppo_networks(arrays: Arrays) -> Fields:
    """PPO's actor and critic."""
    policy, value = (tuple(f"mlp_extractor.{net}_net.{i}" for i in (0, 2)) for net in ("policy", "value"))
    actor = GaussianActor(layers(arrays, *policy, "action_net"), arrays["log_std"])
    return {"actor": actor, "critic": layers(arrays, *value, "value_net")}


def sac_networks(arrays: Arrays) -> Fields:
    """SAC's actor, whose two heads are one layer of ours, and critics."""
    mean, log_std = layers(arrays, "actor.mu", "actor.log_std")
    heads = {key: torch.cat([mean[key], log_std[key]], dim=-1) for key in ("w", "b")}
    actor = [*layers(arrays, "actor.latent_pi.0", "actor.latent_pi.2"), heads]
    return {"actor": actor, "critic": twins(arrays, "critic")}


def sac_others(arrays: Arrays) -> Fields:
    """SAC's target critics and temperature."""
    return {"target": twins(arrays, "critic_target"), "log_alpha": arrays["log_alpha"][0]}


def td3_networks(arrays: Arrays) -> Fields:
    """TD3's actor and critics."""
    return {"actor": perceptron(arrays, "actor.mu"), "critic": twins(arrays, "critic")}


def td3_others(arrays: Arrays) -> Fields:
    """TD3's targets."""
    return {"target_actor": perceptron(arrays, "actor_target.mu"), "target_critic": twins(arrays, "critic_target")}


def ddpg_networks(arrays: Arrays) -> Fields:
    """DDPG's actor and critic."""
    return {"actor": perceptron(arrays, "actor.mu"), "critic": perceptron(arrays, "critic.qf0")}


def ddpg_others(arrays: Arrays) -> Fields:
    """DDPG's targets."""
    target = perceptron(arrays, "critic_target.qf0")
    return {"target_actor": perceptron(arrays, "actor_target.mu"), "target_critic": target}


def normed(arrays: Arrays, heads: int = 1) -> Layers:
    """A network of SBX's with norms, or two: two hidden layers, and heads that are one layer of ours."""
    rows = arrays["Dense_0/bias"].dim() - 1  # of an ensemble, whose vectors lie in rows

    def dense(i: int) -> tuple[Tensor, Tensor]:
        bias = arrays[f"Dense_{i}/bias"]
        return arrays[f"Dense_{i}/kernel"], bias[:, None] if rows else bias

    last = [dense(2 + head) for head in range(heads)]
    weights = [dense(0), dense(1), tuple(torch.cat(same, dim=-1) for same in zip(*last, strict=True))]
    return [
        {
            "scale": arrays[f"BatchRenorm_{i}/scale"].unsqueeze(-2),
            "shift": arrays[f"BatchRenorm_{i}/bias"].unsqueeze(-2),
            "w": w,
            "b": b,
        }
        for i, (w, b) in enumerate(weights)
    ]


def statistics(arrays: Arrays) -> BatchStats:
    """The running statistics of such a network."""
    mean, var = ([arrays[f"BatchRenorm_{i}/{name}"].unsqueeze(-2) for i in range(3)] for name in ("mean", "var"))
    return BatchStats(mean, var, arrays["BatchRenorm_0/steps"].flatten()[0].double())


def crossq_networks(arrays: Arrays) -> Fields:
    """CrossQ's actor and critics."""
    return {"actor": normed(part(arrays, "actor/"), heads=2), "critic": normed(part(arrays, "critic/"))}


def crossq_others(arrays: Arrays) -> Fields:
    """CrossQ's running statistics and temperature."""
    stats = {name: statistics(part(arrays, f"{name}/")) for name in ("actor_stats", "critic_stats")}
    return stats | {"log_alpha": arrays["log_ent_coef"]}


def no_others(_: Arrays) -> Fields:
    """PPO has nothing else."""
    return {}


def learn_ppo(fields: Fields, arrays: Arrays) -> ppo.PPOState:
    """Take ten epochs on the rollout."""
    data = part(arrays, "data/")
    mean, features = mlp_and_features(fields["actor"].mean, data["obs"], "tanh")
    batch = ppo.Batch(
        obs={GROUP: data["obs"]},
        action=data["action"],
        log_prob=gaussian_log_prob(mean, fields["actor"].log_std, data["action"]),
        features=features,
        advantage=data["advantage"],
        target=data["target"],
        live=torch.ones(len(features)),
    )
    state = ppo.PPOState(**fields, normalizer=NORMALIZER, step_scale=torch.ones(()), returns=init_normalizer(1))
    config = ppo.PPOConfig(clip_together=True)
    minibatches = data["order"].reshape(-1, config.batch_size)
    return ppo.fit(state, batch, minibatches, torch.ones((), dtype=torch.float64), config, GROUP)[0]


def transitions(arrays: Arrays, size: int) -> list[Transitions]:
    """The data in batches of this size."""
    data = part(arrays, "data/")
    reward = data["rewards"][:, 0]
    whole = Transitions(
        obs={GROUP: data["observations"]},
        action=data["actions"],
        reward=reward,
        next_obs={GROUP: data["next_observations"]},
        terminated=data["dones"][:, 0],
        discount=torch.ones_like(reward),
    )
    return [tree_map(lambda x, i=i: x[i : i + size], whole) for i in range(0, len(reward), size)]


def sample_as_peer(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Draw an action with its log-probability, to whose 1 - a^2 the peer adds 1e-6; ours is exact."""
    action = torch.tanh(mean + log_std.exp() * noise)
    before_squashing = gaussian_log_prob(torch.zeros_like(mean), log_std, log_std.exp() * noise)
    return action, before_squashing - torch.log(1 - action.square() + 1e-6).sum(-1)


def learn_sac(fields: Fields, arrays: Arrays) -> sac.SACState:
    """Learn from all batches, with the peer's log-probabilities."""
    first, second = (arrays[f"{kind}/log_alpha"][0] for kind in ("exp_avg", "exp_avg_sq"))
    alpha_opt = AdamState(first, second, arrays["count/log_alpha"].double())
    state = sac.SACState(**fields, alpha_opt=alpha_opt, normalizer=NORMALIZER)
    config = sac.SACConfig(actor_lr=1e-3, critic_lr=1e-3, alpha_lr=1e-3)
    # the peer draws for the present observations first
    with patch.object(sac, "sample_tanh_gaussian", sample_as_peer):
        for batch, noise in zip(transitions(arrays, config.batch_size), arrays["data/noise"].flip(1), strict=True):
            state, _ = sac.update(state, batch, noise, config, GROUP)
    return state


def learn_td3(fields: Fields, arrays: Arrays) -> td3.TD3State:
    """Learn from all batches, without noise on the targets' actions."""
    state, config = td3.TD3State(**fields, normalizer=NORMALIZER), td3.TD3Config(target_noise=0.0)
    for batch in transitions(arrays, config.policy_delay * config.batch_size):
        state, _ = td3.update(state, batch, torch.zeros_like(batch.action), config, GROUP)
    return state


def learn_ddpg(fields: Fields, arrays: Arrays) -> ddpg.DDPGState:
    """Learn from all batches."""
    state, config = ddpg.DDPGState(**fields, normalizer=NORMALIZER), ddpg.DDPGConfig()
    for batch in transitions(arrays, config.batch_size):
        state, _ = ddpg.update(state, batch, config, GROUP)
    return state


def learn_crossq(fields: Fields, arrays: Arrays) -> crossq.CrossQState:
    """Learn from all batches."""
    first, second = (arrays[f"{kind}/log_ent_coef"] for kind in ("exp_avg", "exp_avg_sq"))
    alpha_opt = AdamState(first, second, arrays["count/log_ent_coef"].double())
    state, config = crossq.CrossQState(**fields, alpha_opt=alpha_opt), crossq.CrossQConfig()
    batches = transitions(arrays, config.policy_delay * config.batch_size)
    for batch, noise in zip(batches, arrays["data/noise"].flatten(1, 2), strict=True):
        state, _ = crossq.update(state, batch, noise, config, GROUP)
    return state


LEARNERS: dict[str, tuple[Callable[[Arrays], Fields], Callable[[Arrays], Fields], Callable[[Fields, Arrays], Any]]] = {
    "ppo": (ppo_networks, no_others, learn_ppo),
    "sac": (sac_networks, sac_others, learn_sac),
    "td3": (td3_networks, td3_others, learn_td3),
    "ddpg": (ddpg_networks, ddpg_others, learn_ddpg),
    "crossq": (crossq_networks, crossq_others, learn_crossq),
}
"""What has moments, what has none, and how it learns."""


def largest(a: Tree, b: Tree) -> float:
    """The largest difference of a weight."""
    theirs = flatten(b)
    return max(float((leaf - theirs[name]).detach().abs().max()) for name, leaf in flatten(a).items())


def compare(learner: str) -> str:
    """Let both learn, and say how far apart they end."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "update.npz"
        subprocess.run([python_of("sbx"), HERE / "updates_worker.py", learner, file], check=True)
        arrays = {name: torch.from_numpy(value) for name, value in np.load(file, allow_pickle=False).items()}
    networks, others, learn = LEARNERS[learner]
    before, after = (networks(of) | others(of) for of in (part(arrays, "before/"), part(arrays, "after/")))
    first, second = (networks(part(arrays, f"{kind}/")) for kind in ("exp_avg", "exp_avg_sq"))
    optimizers = {
        f"{name}_opt": AdamState(first[name], second[name], arrays[f"count/{name}"].double()) for name in first
    }
    state = learn(before | optimizers, arrays)
    apart = largest({name: getattr(state, name) for name in after}, after)
    moved = largest(*({name: of[name] for name in first} for of in (before, after)))
    return f"{learner}: {apart:.1e} from the peer's, where weights moved by up to {moved:.1e}"


def main() -> None:
    """Compare all."""
    for learner in LEARNERS:
        print(compare(learner), flush=True)


if __name__ == "__main__":
    main()
