"""In the peers' environment: updates of stable-baselines3's and SBX's, saved: `updates_worker.py LEARNER FILE`.

Saved are the weights and Adam's moments before them, the data and the noise that they take, and the weights after.
"""

from __future__ import annotations

import sys
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import DDPG, PPO, SAC, TD3
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

Arrays = dict[str, np.ndarray]

ENV = "Hopper-v5"
NUM_ENVS, ROLLOUT, EPOCHS = 8, 2048, 10
LEARNING_STARTS, STEPS, UPDATES, BATCH = 500, 1000, 100, 256
ROUNDS = 3
"""Of CrossQ's delay: rounding grows by ten in as many more (its float32 and float64 end as far apart as the two)."""


def weights(module: torch.nn.Module, when: str) -> Arrays:
    """Its parameters, by name."""
    return {f"{when}/{name}": value.numpy().copy() for name, value in module.state_dict().items()}


def moments(names: list[str], optimizer: torch.optim.Optimizer, *counts: str) -> Arrays:
    """Adam's moments, by the parameters' names, and the steps that it has taken, by what it is that takes them."""
    state = optimizer.state_dict()["state"]
    arrays = {f"count/{name}": state[0]["step"].numpy().copy() for name in counts}
    for i, name in enumerate(names):
        arrays |= {f"{kind}/{name}": state[i][kind].numpy().copy() for kind in ("exp_avg", "exp_avg_sq")}
    return arrays


def ppo() -> Arrays:
    """Learn for two rollouts, collect the third, and learn from it in a known order."""
    venv = VecNormalize(DummyVecEnv([lambda: gymnasium.make(ENV)] * NUM_ENVS))
    model = PPO("MlpPolicy", venv, seed=3, device="cpu", n_steps=ROLLOUT // NUM_ENVS, n_epochs=EPOCHS)
    model.learn(2 * ROLLOUT)
    names = [name for name, _ in model.policy.named_parameters()]
    arrays = weights(model.policy, "before") | moments(names, model.policy.optimizer, "actor", "critic")

    callback = CallbackList([])
    callback.init_callback(model)
    model.collect_rollouts(venv, callback, model.rollout_buffer, ROLLOUT // NUM_ENVS)
    buffer = model.rollout_buffer
    for name, column in (("obs", buffer.observations), ("action", buffer.actions)):
        arrays[f"data/{name}"] = buffer.swap_and_flatten(column).astype(np.float32)
    for name, column in (("advantage", buffer.advantages), ("target", buffer.returns)):
        arrays[f"data/{name}"] = buffer.swap_and_flatten(column)[:, 0]

    rng = np.random.default_rng(0)
    arrays["data/order"] = np.stack([rng.permutation(ROLLOUT) for _ in range(EPOCHS)])
    orders = iter(arrays["data/order"])
    np.random.permutation = lambda _: next(orders)  # it is asked for each epoch's
    model.train()
    return arrays | weights(model.policy, "after")


def off_policy(kind: type[SAC] | type[TD3]) -> Arrays:
    """Learn for some steps, then from known batches, and of SAC with known noise."""
    model = kind(
        "MlpPolicy",
        gymnasium.make(ENV),
        seed=3,
        device="cpu",
        learning_rate=1e-3,
        learning_starts=LEARNING_STARTS,
        policy_kwargs={"net_arch": [64, 64]},
    )
    if kind is TD3:
        model.target_policy_noise = 0.0
    model.learn(STEPS)
    arrays = weights(model.policy, "before")
    for name in ("actor", "critic"):
        module = getattr(model, name)
        names = [f"{name}.{parameter}" for parameter, _ in module.named_parameters()]
        arrays |= moments(names, module.optimizer, name)

    batches = [model.replay_buffer.sample(BATCH) for _ in range(UPDATES)]
    for name in ("observations", "actions", "next_observations", "dones", "rewards"):
        arrays[f"data/{name}"] = torch.cat([getattr(batch, name) for batch in batches]).float().numpy()
    drawn = iter(batches)
    model.replay_buffer.sample = lambda *_, **__: next(drawn)

    noise = torch.randn(UPDATES, 2, BATCH, batches[0].actions.shape[1], generator=torch.Generator().manual_seed(0))
    arrays["data/noise"] = noise.numpy()
    noises = iter(noise.flatten(0, 1))
    torch.distributions.Normal.rsample = lambda self, *_: self.loc + self.scale * next(noises)
    if kind is SAC:
        arrays["before/log_alpha"] = model.log_ent_coef.detach().numpy().copy()
        arrays |= moments(["log_alpha"], model.ent_coef_optimizer, "log_alpha")
    model.train(UPDATES, BATCH)
    arrays |= weights(model.policy, "after")
    if kind is SAC:
        arrays["after/log_alpha"] = model.log_ent_coef.detach().numpy().copy()
    return arrays


def named(prefix: str, tree: Any) -> Arrays:
    """The leaves of a tree of JAX's arrays, by their paths."""
    import jax

    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {"/".join((prefix, *(key.key for key in path))): np.asarray(leaf) for path, leaf in leaves}


def crossq() -> Arrays:
    """Let SBX's CrossQ learn for some steps, then from known batches with known noise."""
    import jax
    import jax.numpy as jnp
    from sbx import CrossQ
    from sbx.common.distributions import TanhTransformedDistribution

    widths = {"net_arch": {"pi": [64, 64], "qf": [64, 64]}}
    model = CrossQ("MlpPolicy", gymnasium.make(ENV), seed=3, learning_starts=LEARNING_STARTS, policy_kwargs=widths)
    model.learn(STEPS)
    model.train(-model._n_updates % model.policy_delay or model.policy_delay, BATCH)  # so that the actor's come next

    def everything(when: str) -> Arrays:
        actor, critic = model.policy.actor_state, model.policy.qf_state
        return (
            named(f"{when}/actor", actor.params)
            | named(f"{when}/actor_stats", actor.batch_stats)
            | named(f"{when}/critic", critic.params["VmapCritic_0"])
            | named(f"{when}/critic_stats", critic.batch_stats["VmapCritic_0"])
            | named(when, model.ent_coef_state.params)
        )

    arrays = everything("before")
    states = {"actor": model.policy.actor_state, "critic": model.policy.qf_state, "log_ent_coef": model.ent_coef_state}
    for name, state in states.items():
        adam = state.opt_state[0]
        arrays[f"count/{name}"] = np.asarray(adam.count, np.float32)
        for kind, tree in (("exp_avg", adam.mu), ("exp_avg_sq", adam.nu)):
            prefix = kind if name == "log_ent_coef" else f"{kind}/{name}"
            arrays |= named(prefix, tree.get("VmapCritic_0", tree))

    updates = ROUNDS * model.policy_delay
    data = model.replay_buffer.sample(updates * BATCH)
    for name in ("observations", "actions", "next_observations", "dones", "rewards"):
        arrays[f"data/{name}"] = getattr(data, name).float().numpy()
    shape = (ROUNDS, model.policy_delay + 1, BATCH, data.actions.shape[1])
    arrays["data/noise"] = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    noises = iter(arrays["data/noise"].reshape(-1, *shape[2:]))
    model.replay_buffer.sample = lambda *_, **__: data
    TanhTransformedDistribution.sample = lambda self, **_: self.bijector.forward(
        self.distribution.loc + self.distribution.stddev() * jnp.asarray(next(noises))
    )
    with jax.disable_jit():  # each draw takes the next noise
        model.train(updates, BATCH)
    return arrays | everything("after")


if __name__ == "__main__":
    torch.set_num_threads(1)
    learner, file = sys.argv[1:]
    alone = {"ppo": ppo, "crossq": crossq}
    off = {"sac": SAC, "td3": TD3, "ddpg": DDPG}
    np.savez(file, **(alone[learner]() if learner in alone else off_policy(off[learner])))
