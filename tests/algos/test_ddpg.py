from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from roborl.algos.ddpg import DDPG, DDPGConfig, actor_loss, critic_loss, policy, q_value, td_target
from roborl.errors import ConfigError
from roborl.learner import Spaces, Transitions
from roborl.nn.adam import adam, polyak
from roborl.nn.graph import evaluate
from roborl.nn.tree import Tree, flatten, tree_map

ASYMMETRIC = Spaces({"policy": 3, "critic": 5}, 2)
NO_NOISE = torch.zeros(0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def learner(spaces: Spaces = ASYMMETRIC, **fields: Any) -> DDPG:
    return DDPG(spaces, DDPGConfig(**{"hidden": (16, 16), "batch_size": 8} | fields))


def batch_for(ddpg: DDPG, seed: int = 1) -> Transitions:
    g, n = generator(seed), ddpg.config.batch_size

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64)

    obs, next_obs = ({k: normal(n, d) for k, d in ddpg.spaces.obs.items()} for _ in range(2))
    action, terminated = torch.tanh(normal(n, ddpg.spaces.action)), (normal(n) > 1).double()
    return Transitions(obs, action, normal(n), next_obs, terminated, torch.ones(n).double())


def same_bits(a: Tree, b: Tree) -> bool:
    flat_a, flat_b = flatten(a), flatten(b)
    return flat_a.keys() == flat_b.keys() and all(torch.equal(flat_a[k], flat_b[k]) for k in flat_a)


def test_critic_target_hand_computed() -> None:
    # discount 0.9. Running or cut by a time limit (terminated 0): 1 + 0.9 * 3 = 3.7. Terminated: the reward alone, 2.
    target = td_target(
        reward=torch.tensor([1.0, 2.0]),
        terminated=torch.tensor([0.0, 1.0]),
        next_q=torch.tensor([3.0, 7.0]),
        discount=torch.tensor([0.9, 0.9]),
    )
    torch.testing.assert_close(target, torch.tensor([3.7, 2.0]))


def test_critic_loss_hand_computed() -> None:
    # One linear layer without hidden ones: Q = w_s s + w_a a + b. With s = 2, a = 0.5: Q = 1 * 2 + 2 * 0.5 + 1 = 4;
    # with s = 0, a = -1: Q = -2 + 1 = -1. Targets 2 and 0: the mean of 2^2 and 1^2 is 2.5, the mean Q 1.5.
    # The gradient in (w_s, w_a) is the mean of 2 (Q - target) (s, a): (4 (2, 0.5) - 2 (0, -1)) / 2 = (4, 2).
    critic = [{"w": torch.tensor([[1.0], [2.0]]), "b": torch.tensor([1.0])}]
    inputs = (torch.tensor([2.0, 0.0]), torch.tensor([[2.0], [0.0]]), torch.tensor([[0.5], [-1.0]]), "float32")
    grads, (loss, q) = torch.func.grad_and_value(critic_loss, has_aux=True)(critic, *inputs)
    assert (loss, q) == (2.5, 1.5)
    torch.testing.assert_close(grads[0]["w"], torch.tensor([[4.0], [2.0]]))


@pytest.mark.parametrize("slope", [1.0, -3.0])
def test_the_actor_climbs_the_critic(slope: float) -> None:
    # Q = slope a; pi = tanh(b) with b = 0.5: the loss is -slope tanh(0.5), and its slope in b
    # -slope (1 - tanh(0.5)^2).
    critic = [{"w": torch.tensor([[0.0], [slope]]), "b": torch.zeros(1)}]
    actor = [{"w": torch.zeros(1, 1), "b": torch.tensor([0.5])}]
    obs = torch.zeros(4, 1)
    grads, loss = torch.func.grad_and_value(actor_loss)(actor, critic, obs, obs, "float32")
    squashed = torch.tanh(torch.tensor(0.5))
    torch.testing.assert_close(loss, -slope * squashed)
    torch.testing.assert_close(grads[0]["b"], (-slope * (1 - squashed**2))[None])


def test_an_update_steps_the_critic_then_the_actor_on_the_new_critic_then_the_targets() -> None:
    ddpg = learner(tau=0.25)
    state = ddpg.init(generator(), torch.float64)
    # targets apart from what they follow, so that to take one for the other shows
    state = state._replace(
        target_actor=tree_map(lambda p: 0.5 * p, state.actor), target_critic=tree_map(lambda p: -p, state.critic)
    )
    batch = batch_for(ddpg)
    after, metrics = ddpg.update(state, batch, NO_NOISE)

    next_q = q_value(
        state.target_critic, batch.next_obs["critic"], policy(state.target_actor, batch.next_obs["policy"])
    )
    target = batch.reward + 0.99 * (1 - batch.terminated) * next_q
    loss_inputs = target, batch.obs["critic"], batch.action, "float32"
    grads, (loss, q) = torch.func.grad_and_value(critic_loss, has_aux=True)(state.critic, *loss_inputs)
    critic, _ = adam(state.critic, grads, state.critic_opt, 1e-3)
    grads = torch.func.grad(actor_loss)(state.actor, critic, batch.obs["policy"], batch.obs["critic"], "float32")
    actor, _ = adam(state.actor, grads, state.actor_opt, 1e-3)

    assert same_bits((after.critic, after.actor), (critic, actor))
    assert same_bits(after.target_critic, polyak(state.target_critic, critic, 0.25))
    assert same_bits(after.target_actor, polyak(state.target_actor, actor, 0.25))
    assert (metrics["critic_loss"], metrics["q"]) == (loss, q)
    assert after.critic_opt.count == after.actor_opt.count == 1


def test_targets_start_as_copies() -> None:
    state = learner().init(generator())
    assert same_bits((state.critic, state.actor), (state.target_critic, state.target_actor))
    assert state.target_critic[0]["w"].data_ptr() != state.critic[0]["w"].data_ptr()
    assert state.target_actor[0]["w"].data_ptr() != state.actor[0]["w"].data_ptr()


def test_only_terminated_takes_the_bootstrap_away_in_the_update() -> None:
    ddpg = learner()
    state = ddpg.init(generator(), torch.float64)
    batch = batch_for(ddpg)
    other = batch._replace(next_obs={k: x + 1 for k, x in batch.next_obs.items()})

    def critic_after(transitions: Transitions, value: float) -> Tree:
        marked = transitions._replace(terminated=torch.full_like(transitions.terminated, value))
        return ddpg.update(state, marked, NO_NOISE)[0].critic

    assert same_bits(critic_after(batch, 1.0), critic_after(other, 1.0))
    assert not same_bits(critic_after(batch, 0.0), critic_after(other, 0.0))


def test_acting_explores_with_clipped_gaussian_noise_and_evaluates_without() -> None:
    ddpg = learner(Spaces({"policy": 1}, 1), exploration_noise=0.5)
    state = ddpg.init(generator())
    state = state._replace(actor=[{"w": torch.zeros(1, 1), "b": torch.tensor([0.25])}])
    obs, base = {"policy": torch.zeros(3, 1)}, float(np.tanh(0.25))
    noise = torch.tensor([[0.5], [9.0], [-9.0]])  # 0.5 * 0.5 = 0.25 is added; far out the bounds hold
    torch.testing.assert_close(ddpg.act(state, obs, None, noise)[0], torch.tensor([[base + 0.25], [1.0], [-1.0]]))
    torch.testing.assert_close(ddpg.act(state, obs, None, None)[0], torch.full((3, 1), base))


@pytest.mark.parametrize("normalize_obs", [False, True])
def test_the_policy_graph_equals_the_deterministic_action(normalize_obs: bool) -> None:
    ddpg = learner(normalize_obs=normalize_obs)
    obs = {"policy": 5 + 3 * torch.randn(50, 3, generator=generator()), "critic": torch.zeros(50, 5)}
    state = ddpg.observe(ddpg.init(generator()), obs)
    action, *_ = ddpg.act(state, obs, None, None)
    result = evaluate(ddpg.policy_graph(state), {"obs": obs["policy"].numpy()})
    np.testing.assert_allclose(result["actions"], action.numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden": ()}, "hidden must be a tuple of one or more widths"),
        ({"actor_lr": -1.0}, r"actor_lr must be a number in \[0, 1\], got -1.0"),
        ({"tau": 2.0}, r"tau must be a number in \(0, 1\], got 2.0"),
        ({"exploration_noise": -0.1}, r"exploration_noise must be a number in \[0, inf\], got -0.1"),
    ],
)
def test_a_bad_field_is_answered_with_what_is_allowed(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DDPGConfig(**fields)
