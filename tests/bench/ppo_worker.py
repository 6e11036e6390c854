"""A peer's PPO, warmed up, in its environment: `ppo_worker.py PEER ENV NUM_ENVS ROLLOUT BATCH EPOCHS HIDDEN`.

The rollout's size is that of all environments together. Two rollouts are learned from before the first answer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from worker import serve


def stable_baselines3(env_id: str, num_envs: int, hidden: int, **sizes: int) -> Callable[[int], object]:
    """stable-baselines3's PPO (torch, eager); its networks are faster with one thread."""
    import stable_baselines3
    import torch

    torch.set_num_threads(1)
    return _trained(stable_baselines3.PPO, env_id, num_envs, hidden, device="cpu", **sizes)


def sbx(env_id: str, num_envs: int, hidden: int, **sizes: int) -> Callable[[int], object]:
    """SBX's PPO (JAX, which chooses its threads itself)."""
    import sbx as jax_baselines

    return _trained(jax_baselines.PPO, env_id, num_envs, hidden, **sizes)


def _trained(kind: Any, env_id: str, num_envs: int, hidden: int, **settings: Any) -> Callable[[int], object]:
    from stable_baselines3.common.env_util import make_vec_env

    envs = make_vec_env(env_id, n_envs=num_envs)
    model = kind("MlpPolicy", envs, policy_kwargs={"net_arch": [hidden, hidden]}, **settings)
    model.learn(2 * num_envs * settings["n_steps"])
    return lambda steps: model.learn(steps, reset_num_timesteps=False)


def rlox(env_id: str, num_envs: int, hidden: int, **sizes: int) -> Callable[[int], object]:
    """Rlox's PPO (Rust around torch); its networks have two layers of 64."""
    import torch
    from rlox.algorithms.ppo import PPO

    assert hidden == 64
    torch.set_num_threads(1)
    model = PPO(env_id, n_envs=num_envs, **sizes)
    model.train(2 * num_envs * sizes["n_steps"])
    return model.train


PEERS = {"stable-baselines3": stable_baselines3, "sbx": sbx, "rlox": rlox}

if __name__ == "__main__":
    name, env_id, *numbers = sys.argv[1:]
    num_envs, rollout, batch, epochs, hidden = map(int, numbers)
    sizes = {"n_steps": rollout // num_envs, "batch_size": batch, "n_epochs": epochs}
    serve(lambda: PEERS[name](env_id, num_envs, hidden, **sizes))
