"""In the peer's environment: SBX's SAC with our default settings; prints its final policy's returns as JSON."""

import json
import sys
import time

import gymnasium
import torch
from sbx import SAC


def main() -> None:
    env_id, steps, seed, episodes = sys.argv[1], *map(int, sys.argv[2:5])
    torch.set_num_threads(1)
    learner = SAC(
        "MlpPolicy",
        gymnasium.make(env_id),
        learning_rate=3e-4,
        qf_learning_rate=3e-4,
        batch_size=256,
        learning_starts=1000,
        policy_kwargs={"net_arch": [256, 256]},
        seed=seed,
    )
    began_s = time.perf_counter()
    learner.learn(steps)
    wall_s = time.perf_counter() - began_s
    env = gymnasium.make(env_id)
    returns = []
    for k in range(episodes):
        obs, _ = env.reset(seed=10_000 + k)
        total, done = 0.0, False
        while not done:
            action, _ = learner.predict(obs, deterministic=True)
            obs, reward, terminated, truncated, _ = env.step(action)
            total += float(reward)
            done = terminated or truncated
        returns.append(total)
    print(json.dumps({"wall_s": wall_s, "returns": returns, "settings": {}}))


if __name__ == "__main__":
    main()
