from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from roborl.algos.a2c import A2C, A2CConfig, actor_loss, critic_loss
from roborl.algos.ppo import PPO, PPOConfig
from roborl.errors import ConfigError
from roborl.learner import Rollout, Spaces
from roborl.nn.actor import GaussianActor
from roborl.nn.compile import Compiler
from roborl.nn.tree import flatten

SPACES = Spaces({"policy": 3, "critic": 5}, 2)


def rollout_for(seed: int, steps: int = 6, n: int = 4) -> Rollout:
    """With terminations, truncations and the dead steps after them."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64)

    terminated, truncated, live = (torch.full((steps, n), x, dtype=torch.float64) for x in (0.0, 0.0, 1.0))
    terminated[1, 0], live[2, 0] = 1.0, 0.0
    truncated[3, 2], live[4, 2] = 1.0, 0.0
    obs = {name: normal(steps + 1, n, width) for name, width in SPACES.obs.items()}
    action, reward, so_far = normal(steps, n, SPACES.action), normal(steps, n), normal(steps, n)
    return Rollout(obs, action, reward, terminated, truncated, live, so_far, None, torch.tensor(0.75).double())


def test_the_losses_hand_computed() -> None:
    # mean 0.5, std 1: log p(1.5) = -0.5 - c, c = log(2 pi) / 2 = 0.9189; the other step is dead.
    # Actor: -(-1.4189 * 2) = 2.8379, and 0.1 of the entropy 1.4189 less: 2.6960. V = 2: critic (2 - 3)^2 = 1.
    actor = GaussianActor([{"w": torch.tensor([[0.5]]), "b": torch.zeros(1)}], torch.zeros(1))
    critic = [{"w": torch.tensor([[2.0]]), "b": torch.zeros(1)}]
    config, obs, live = A2CConfig(entropy_coefficient=0.1), torch.ones(2, 1), torch.tensor([1.0, 0.0])
    total, parts = actor_loss(actor, obs, torch.tensor([[1.5], [9.0]]), torch.full((2,), 2.0), live, config)
    assert parts["actor_loss"].item() == pytest.approx(2.8379, abs=1e-4)
    assert total.item() == pytest.approx(2.6960, abs=1e-4)
    assert critic_loss(critic, obs, torch.full((2,), 3.0), live, config) == 1


@pytest.mark.parametrize("normalized", [False, True])
def test_a2c_and_ppo_with_one_epoch_of_one_batch_give_equal_weights(normalized: bool) -> None:
    common: dict[str, Any] = {
        **{"hidden": (8, 8), "rollout_size": 24, "actor_lr": 1e-3, "critic_lr": 2e-3, "entropy_coefficient": 0.01},
        **{"anneal": True, "normalize_obs": normalized, "normalize_reward": normalized},
    }
    a2c = A2C(SPACES, A2CConfig(**common))
    ppo = PPO(SPACES, PPOConfig(**common, epochs=1, batch_size=24, normalize_advantage=False))
    eager = Compiler(enabled=False)
    a = a2c.init(torch.Generator().manual_seed(0), torch.float64)
    b = ppo.init(torch.Generator().manual_seed(0), torch.float64)
    first = a.critic[0]["w"].clone()
    for seed in range(5):
        rollout = rollout_for(seed)
        a, _ = a2c.learn(a, rollout, torch.Generator().manual_seed(seed), eager)
        b, _ = ppo.learn(b, rollout, torch.Generator().manual_seed(seed), eager)
        rows = {name: obs[:-1][rollout.live > 0] for name, obs in rollout.obs.items()}
        a, b = a2c.observe(a, rows), ppo.observe(b, rows)
    of_ppo = flatten(b)
    assert of_ppo.pop("step_scale") == 1.0  # its own
    torch.testing.assert_close(flatten(a), of_ppo, rtol=1e-10, atol=1e-12)
    assert (a.critic[0]["w"] - first).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden": (0,)}, "each width in hidden must be a whole number of at least 1, got 0"),
        ({"activation": "gelu"}, "activation must be one of 'relu', 'tanh', 'elu', got 'gelu'"),
        ({"rollout_size": 0}, "rollout_size must be a whole number of at least 1, got 0"),
        ({"anneal": 1000}, "anneal must be one of False, True, got 1000"),
        ({"gamma": 1.5}, r"gamma must be a number in \[0, 1\], got 1.5"),
        ({"entropy_coefficient": -1.0}, r"entropy_coefficient must be a number in \[0, inf\], got -1.0"),
        ({"max_grad_norm": 0.0}, r"max_grad_norm must be a number in \(0, inf\], got 0.0"),
        ({"normalize_obs": 1.5}, "normalize_obs must be one of False, True, got 1.5"),
    ],
)
def test_a_bad_field_is_answered_with_what_is_allowed(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        A2CConfig(**fields)
