"""In the peers' environment: a learner of stable-baselines3's or SBX's; prints its final policy's returns as JSON.

Its one argument is JSON: library, algorithm, settings (of its class), normalized, num_envs, annealed, env, env_options,
steps, seed, episodes.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize


def main(job: dict[str, Any]) -> None:
    """Train, then play episodes with the deterministic policy."""
    torch.set_num_threads(1)

    def make() -> gymnasium.Env[Any, Any]:
        return gymnasium.make(job["env"], **job["env_options"])

    venv: Any = DummyVecEnv([make] * job["num_envs"])
    if job["normalized"]:
        venv = VecNormalize(venv, gamma=job["settings"].get("gamma", 0.99))
    settings = dict(job["settings"])
    if job["algorithm"] in ("TD3", "DDPG"):  # the others' policies are noisy themselves
        width = venv.action_space.shape[0]
        settings["action_noise"] = NormalActionNoise(np.zeros(width), 0.1 * np.ones(width))
    if job["annealed"]:
        learning_rate = settings["learning_rate"]
        settings["learning_rate"] = lambda left: learning_rate * left
    learner = getattr(importlib.import_module(job["library"]), job["algorithm"])(
        "MlpPolicy", venv, seed=job["seed"], device="cpu", **settings
    )
    began_s = time.perf_counter()
    learner.learn(job["steps"])
    wall_s = time.perf_counter() - began_s
    env = make()
    returns = []
    for k in range(job["episodes"]):
        obs, _ = env.reset(seed=10_000 + k)
        total, done = 0.0, False
        while not done:
            seen = venv.normalize_obs(obs) if job["normalized"] else obs
            action, _ = learner.predict(seen, deterministic=True)
            obs, reward, terminated, truncated, _ = env.step(action)
            total += float(reward)
            done = terminated or truncated
        returns.append(total)
    print(json.dumps({"wall_s": wall_s, "returns": returns, "settings": job["settings"]}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
