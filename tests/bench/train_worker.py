"""A peer's learner, warmed up, in its environment: `train_worker.py PEER ALGO ENV HIDDEN BATCH THREADS WARMUP`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from worker import serve

LEARNING_STARTS = 1000


def exploration(algo: str, env_id: str) -> object:
    """The noise that the peers' deterministic policies are given to explore with: Gaussian, as roborl's have."""
    import gymnasium
    import numpy as np
    from stable_baselines3.common.noise import NormalActionNoise

    if algo not in ("TD3", "DDPG"):  # the others' policies are noisy themselves
        return None
    width = gymnasium.make(env_id).action_space.shape[0]
    return NormalActionNoise(np.zeros(width), 0.1 * np.ones(width))


def stable_baselines3(
    algo: str, env_id: str, hidden: int, batch: int, threads: int, warmup: int
) -> Callable[[int], object]:
    """stable-baselines3's learner (torch, eager)."""
    import stable_baselines3
    import torch

    torch.set_num_threads(threads)
    model = getattr(stable_baselines3, algo)(
        "MlpPolicy",
        env_id,
        batch_size=batch,
        learning_starts=LEARNING_STARTS,
        action_noise=exploration(algo, env_id),
        policy_kwargs={"net_arch": [hidden, hidden]},
        device="cpu",
    )
    model.learn(warmup)
    return lambda steps: model.learn(steps, reset_num_timesteps=False)


def sbx(algo: str, env_id: str, hidden: int, batch: int, threads: int, warmup: int) -> Callable[[int], object]:
    """SBX's learner (JAX, which chooses its threads itself)."""
    import sbx as jax_baselines

    model = getattr(jax_baselines, algo)(
        "MlpPolicy",
        env_id,
        batch_size=batch,
        learning_starts=LEARNING_STARTS,
        action_noise=exploration(algo, env_id),
        policy_kwargs={"net_arch": [hidden, hidden]},
    )
    model.learn(warmup)
    return lambda steps: model.learn(steps, reset_num_timesteps=False)


def rltools(algo: str, env_id: str, hidden: int, batch: int, threads: int, warmup: int) -> Callable[[int], object]:
    """RLtools' SAC (C++ with MKL, compiled here for these sizes) on the environment in Python."""
    import gymnasium
    from gymnasium.wrappers import RescaleAction
    from rltools import SAC

    def make() -> gymnasium.Env:
        env = RescaleAction(gymnasium.make(env_id), -1.0, 1.0)
        env.reset(seed=0)
        return env

    learner = SAC(
        make,
        enable_evaluation=False,
        interface_name=f"bench_{hidden}_{batch}",
        STEP_LIMIT=1_000_000,
        ACTOR_HIDDEN_DIM=hidden,
        CRITIC_HIDDEN_DIM=hidden,
        ACTOR_BATCH_SIZE=batch,
        CRITIC_BATCH_SIZE=batch,
        N_WARMUP_STEPS=LEARNING_STARTS,
        N_WARMUP_STEPS_ACTOR=LEARNING_STARTS,
        N_WARMUP_STEPS_CRITIC=LEARNING_STARTS,
    )
    state = learner.State(0)

    def work(steps: int) -> None:
        for _ in range(steps):
            state.step()

    work(warmup)
    return work


PEERS = {"stable-baselines3": stable_baselines3, "sbx": sbx, "rltools": rltools}

if __name__ == "__main__":
    name, algo, env_id, *numbers = sys.argv[1:]
    hidden, batch, threads, warmup = map(int, numbers)
    os.environ.setdefault("MKL_NUM_THREADS", str(threads))
    serve(lambda: PEERS[name](algo, env_id, hidden, batch, threads, warmup))
