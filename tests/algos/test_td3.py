from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from roborl.algos.td3 import (
    TD3,
    TD3Config,
    actor_loss,
    critic_loss,
    smoothed_action,
    td_target,
)
from roborl.errors import ConfigError
from roborl.learner import Spaces, Transitions
from roborl.nn.adam import adam, polyak
from roborl.nn.graph import evaluate
from roborl.nn.tree import Tree, flatten, tree_map

ASYMMETRIC = Spaces({"policy": 3, "critic": 5}, 2)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def learner(spaces: Spaces = ASYMMETRIC, **fields: Any) -> TD3:
    return TD3(spaces, TD3Config(**{"hidden": (16, 16), "batch_size": 8} | fields))


def batch_for(td3: TD3, seed: int = 1) -> tuple[Transitions, torch.Tensor]:
    g, n = generator(seed), td3.updates_per_call * td3.config.batch_size

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64)

    obs, next_obs = ({k: normal(n, d) for k, d in td3.spaces.obs.items()} for _ in range(2))
    action, terminated = torch.tanh(normal(n, td3.spaces.action)), (normal(n) > 1).double()
    return Transitions(obs, action, normal(n), next_obs, terminated, torch.ones(n).double()), normal(
        *td3.update_noise_shape()
    )


def same_bits(a: Tree, b: Tree) -> bool:
    flat_a, flat_b = flatten(a), flatten(b)
    return flat_a.keys() == flat_b.keys() and all(torch.equal(flat_a[k], flat_b[k]) for k in flat_a)


def test_critic_target_hand_computed() -> None:
    # The smaller Q of (3, 5) is 3, of (7, 4) is 4; discount 0.9.
    # Running or cut by a time limit (terminated 0): 1 + 0.9 * 3 = 3.7. Terminated: the reward alone, 2.
    target = td_target(
        reward=torch.tensor([1.0, 2.0]),
        terminated=torch.tensor([0.0, 1.0]),
        next_q=torch.tensor([[3.0, 7.0], [5.0, 4.0]]),
        discount=torch.tensor([0.9, 0.9]),
    )
    torch.testing.assert_close(target, torch.tensor([3.7, 2.0]))


def test_the_target_action_is_clipped_after_its_clipped_noise() -> None:
    # Deviation 0.2, noise clipped to +-0.5, the sum to +-1:
    # 0.1 + 0.2 * 1 = 0.3;  0.1 + clip(0.2 * 4 = 0.8) = 0.1 + 0.5 = 0.6;  -0.1 + clip(-0.8) = -0.6;
    # 0.9 + 0.2 * 1 = 1.1 -> 1;  -0.8 + clip(-0.8) = -1.3 -> -1.
    action = torch.tensor([[0.1], [0.1], [-0.1], [0.9], [-0.8]])
    noise = torch.tensor([[1.0], [4.0], [-4.0], [1.0], [-4.0]])
    expected = torch.tensor([[0.3], [0.6], [-0.6], [1.0], [-1.0]])
    torch.testing.assert_close(smoothed_action(action, noise, 0.2, 0.5), expected)


def test_critic_loss_hand_computed() -> None:
    # One linear layer without hidden ones: Q = w_s s + w_a a + b. With s = 2, a = 0.5:
    # Q_1 = 1 * 2 + 2 * 0.5 + 0 = 3, Q_2 = 0 * 2 + 4 * 0.5 - 1 = 1. Target 2: 1^2 + 1^2 = 2, mean Q 2.
    # The gradient in w_1 is 2 (Q_1 - 2) (s, a) = (4, 1), in w_2 2 (Q_2 - 2) (s, a) = (-4, -1).
    critic = [{"w": torch.tensor([[[1.0], [2.0]], [[0.0], [4.0]]]), "b": torch.tensor([[[0.0]], [[-1.0]]])}]
    inputs = (torch.tensor([2.0]), torch.tensor([[2.0]]), torch.tensor([[0.5]]), "float32")
    grads, (loss, q) = torch.func.grad_and_value(critic_loss, has_aux=True)(critic, *inputs)
    assert (loss, q) == (2.0, 2.0)
    torch.testing.assert_close(grads[0]["w"], torch.tensor([[[4.0], [1.0]], [[-4.0], [-1.0]]]))


@pytest.mark.parametrize("slope", [1.0, -3.0])
def test_the_actor_climbs_the_first_critic_whatever_the_second_says(slope: float) -> None:
    # Q_1 = slope a, Q_2 = -9 a; pi = tanh(b) with b = 0.5: the loss is -slope tanh(0.5), and its slope in b
    # -slope (1 - tanh(0.5)^2).
    critic = [{"w": torch.tensor([[[0.0], [slope]], [[0.0], [-9.0]]]), "b": torch.zeros(2, 1, 1)}]
    actor = [{"w": torch.zeros(1, 1), "b": torch.tensor([0.5])}]
    obs = torch.zeros(4, 1)
    grads, loss = torch.func.grad_and_value(actor_loss)(actor, critic, obs, obs, "float32")
    squashed = torch.tanh(torch.tensor(0.5))
    torch.testing.assert_close(loss, -slope * squashed)
    torch.testing.assert_close(grads[0]["b"], (-slope * (1 - squashed**2))[None])


@pytest.mark.parametrize("delay", [1, 2, 3])
def test_a_call_is_the_critics_steps_each_on_its_batch_then_one_of_the_actor_and_the_targets(delay: int) -> None:
    td3 = learner(policy_delay=delay, tau=0.25, batch_size=4)
    state = td3.init(generator(), torch.float64)
    # targets apart from what they follow, so that to take one for the other shows
    state = state._replace(
        target_actor=tree_map(lambda p: 0.5 * p, state.actor), target_critic=tree_map(lambda p: -p, state.critic)
    )
    batch, noise = batch_for(td3)
    after, metrics = td3.update(state, batch, noise)

    critic, critic_opt, losses = state.critic, state.critic_opt, []
    for i in range(delay):
        rows = slice(4 * i, 4 * i + 4)
        raw = torch.tanh(_relu_mlp(state.target_actor, batch.next_obs["policy"][rows]))
        action = (raw + (0.2 * noise[rows]).clamp(-0.5, 0.5)).clamp(-1, 1)
        q = _critics(state.target_critic, batch.next_obs["critic"][rows], action).amin(0)
        target = batch.reward[rows] + 0.99 * (1 - batch.terminated[rows]) * q
        seen = batch.obs["critic"][rows], batch.action[rows]
        grads, (loss, _) = torch.func.grad_and_value(critic_loss, has_aux=True)(critic, target, *seen, "float32")
        critic, critic_opt = adam(critic, grads, critic_opt, 1e-3)
        losses.append(loss)
    last = batch.obs["policy"][-4:], batch.obs["critic"][-4:]
    grads = torch.func.grad(actor_loss)(state.actor, critic, *last, "float32")
    actor, actor_opt = adam(state.actor, grads, state.actor_opt, 1e-3)

    result = flatten({"critic": after.critic, "actor": after.actor}) | {"loss": metrics["critic_loss"]}
    expected = flatten({"critic": critic, "actor": actor}) | {"loss": torch.stack(losses).mean()}
    torch.testing.assert_close(result, expected, rtol=1e-10, atol=1e-12)
    assert (after.critic_opt.count, after.actor_opt.count) == (delay, 1)
    assert same_bits(after.target_critic, polyak(state.target_critic, after.critic, 0.25))
    assert same_bits(after.target_actor, polyak(state.target_actor, after.actor, 0.25))


def _relu_mlp(layers: Any, x: torch.Tensor) -> torch.Tensor:
    for layer in layers[:-1]:
        x = torch.relu(x @ layer["w"] + layer["b"])
    return x @ layers[-1]["w"] + layers[-1]["b"]


def _critics(layers: Any, obs: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    members = [[{"w": layer["w"][i], "b": layer["b"][i, 0]} for layer in layers] for i in range(2)]
    return torch.stack([_relu_mlp(member, torch.cat([obs, action], 1))[:, 0] for member in members])


def test_twin_critics_start_apart_and_targets_as_copies() -> None:
    state = learner().init(generator())
    assert not torch.equal(state.critic[0]["w"][0], state.critic[0]["w"][1])
    assert same_bits((state.critic, state.actor), (state.target_critic, state.target_actor))
    assert state.target_critic[0]["w"].data_ptr() != state.critic[0]["w"].data_ptr()
    assert state.target_actor[0]["w"].data_ptr() != state.actor[0]["w"].data_ptr()


def test_only_terminated_takes_the_bootstrap_away_in_the_update() -> None:
    td3 = learner()
    state = td3.init(generator(), torch.float64)
    batch, noise = batch_for(td3)
    other = batch._replace(next_obs={k: x + 1 for k, x in batch.next_obs.items()})

    def critics_after(transitions: Transitions, value: float) -> Tree:
        marked = transitions._replace(terminated=torch.full_like(transitions.terminated, value))
        return td3.update(state, marked, noise)[0].critic

    assert same_bits(critics_after(batch, 1.0), critics_after(other, 1.0))
    assert not same_bits(critics_after(batch, 0.0), critics_after(other, 0.0))


def test_acting_explores_with_clipped_gaussian_noise_and_evaluates_without() -> None:
    td3 = learner(Spaces({"policy": 1}, 1), exploration_noise=0.5)
    state = td3.init(generator())
    state = state._replace(actor=[{"w": torch.zeros(1, 1), "b": torch.tensor([0.25])}])
    obs, base = {"policy": torch.zeros(3, 1)}, float(np.tanh(0.25))
    noise = torch.tensor([[0.5], [9.0], [-9.0]])  # 0.5 * 0.5 = 0.25 is added; far out the bounds hold
    torch.testing.assert_close(td3.act(state, obs, None, noise)[0], torch.tensor([[base + 0.25], [1.0], [-1.0]]))
    torch.testing.assert_close(td3.act(state, obs, None, None)[0], torch.full((3, 1), base))


@pytest.mark.parametrize("normalize_obs", [False, True])
def test_the_policy_graph_equals_the_deterministic_action(normalize_obs: bool) -> None:
    td3 = learner(normalize_obs=normalize_obs)
    obs = {"policy": 5 + 3 * torch.randn(50, 3, generator=generator()), "critic": torch.zeros(50, 5)}
    state = td3.observe(td3.init(generator()), obs)
    action, *_ = td3.act(state, obs, None, None)
    result = evaluate(td3.policy_graph(state), {"obs": obs["policy"].numpy()})
    np.testing.assert_allclose(result["actions"], action.numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden": (64, 0)}, "each width in hidden must be a whole number of at least 1, got 0"),
        ({"buffer_size": 10}, "buffer_size must be a whole number of at least 256, got 10"),
        ({"tau": 0.0}, r"tau must be a number in \(0, 1\], got 0.0"),
        ({"critic_lr": 2.0}, r"critic_lr must be a number in \[0, 1\], got 2.0"),
        ({"policy_delay": 0}, "policy_delay must be a whole number of at least 1, got 0"),
        ({"target_noise": -0.1}, r"target_noise must be a number in \[0, inf\], got -0.1"),
        ({"target_noise_clip": float("nan")}, r"target_noise_clip must be a number in \[0, inf\], got nan"),
        ({"exploration_noise": "much"}, r"exploration_noise must be a number in \[0, inf\], got 'much'"),
    ],
)
def test_a_bad_field_is_answered_with_what_is_allowed(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TD3Config(**fields)
