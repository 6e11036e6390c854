"""In the peers' environment: a rollout and an update of stable-baselines3's PPO, saved: `ppo_update_worker.py FILE`."""

from __future__ import annotations

import sys

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

NUM_ENVS, ROLLOUT, EPOCHS = 8, 2048, 10


def main(file: str) -> None:
    """Learn for two rollouts, collect the third, and save what learning from it needs and makes."""
    torch.set_num_threads(1)
    venv = VecNormalize(DummyVecEnv([lambda: gymnasium.make("Hopper-v5")] * NUM_ENVS))
    model = PPO("MlpPolicy", venv, seed=3, device="cpu", n_steps=ROLLOUT // NUM_ENVS, n_epochs=EPOCHS)
    model.learn(2 * ROLLOUT)
    arrays = {f"before/{name}": value.numpy().copy() for name, value in model.policy.state_dict().items()}
    moments = model.policy.optimizer.state_dict()["state"]
    for i, (name, _) in enumerate(model.policy.named_parameters()):
        arrays |= {f"{kind}/{name}": moments[i][kind].numpy().copy() for kind in ("exp_avg", "exp_avg_sq")}
    arrays["count"] = moments[0]["step"].numpy().copy()

    callback = CallbackList([])
    callback.init_callback(model)
    model.collect_rollouts(venv, callback, model.rollout_buffer, ROLLOUT // NUM_ENVS)
    buffer = model.rollout_buffer
    for name, column in (("obs", buffer.observations), ("action", buffer.actions)):
        arrays[f"rollout/{name}"] = buffer.swap_and_flatten(column).astype(np.float32)
    for name, column in (("advantage", buffer.advantages), ("target", buffer.returns)):
        arrays[f"rollout/{name}"] = buffer.swap_and_flatten(column)[:, 0]

    rng = np.random.default_rng(0)
    arrays["order"] = np.stack([rng.permutation(ROLLOUT) for _ in range(EPOCHS)])
    orders = iter(arrays["order"])
    np.random.permutation = lambda _: next(orders)  # it is asked for each epoch's
    model.train()
    arrays |= {f"after/{name}": value.numpy() for name, value in model.policy.state_dict().items()}
    np.savez(file, **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
