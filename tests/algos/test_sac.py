from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from roborl.algos.sac import (
    SAC,
    SACConfig,
    SACState,
    actor_loss,
    alpha_gradient,
    critic_loss,
    policy,
    td_target,
)
from roborl.errors import ConfigError
from roborl.learner import Spaces, Transitions
from roborl.nn.adam import polyak
from roborl.nn.compile import compile_pure, compiler_problem
from roborl.nn.graph import evaluate
from roborl.nn.tree import Tree, flatten, tree_map

ASYMMETRIC = Spaces({"policy": 3, "critic": 5}, 2)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def learner(spaces: Spaces = ASYMMETRIC, **fields: Any) -> SAC:
    return SAC(spaces, SACConfig(**{"hidden": (16, 16), "batch_size": 8} | fields))


def batch_for(sac: SAC, seed: int = 1, dtype: torch.dtype = torch.float64) -> tuple[Transitions, torch.Tensor]:
    g, n = generator(seed), sac.config.batch_size

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=g, dtype=dtype)

    obs, next_obs = ({k: normal(n, d) for k, d in sac.spaces.obs.items()} for _ in range(2))
    action, terminated = torch.tanh(normal(n, sac.spaces.action)), (normal(n) > 1).to(dtype)
    return Transitions(obs, action, normal(n), next_obs, terminated, torch.ones(n, dtype=dtype)), normal(
        *sac.update_noise_shape()
    )


def same_bits(a: Tree, b: Tree) -> bool:
    flat_a, flat_b = flatten(a), flatten(b)
    return flat_a.keys() == flat_b.keys() and all(torch.equal(flat_a[k], flat_b[k]) for k in flat_a)


def test_critic_target_hand_computed() -> None:
    # The smaller Q of (3, 5) is 3, of (7, 4) is 4; alpha = 0.5, discount 0.9.
    # Running or cut by a time limit (terminated 0): 1 + 0.9 (3 - 0.5 * -2) = 1 + 0.9 * 4 = 4.6.
    # Terminated: the reward alone, 2.
    target = td_target(
        reward=torch.tensor([1.0, 2.0]),
        terminated=torch.tensor([0.0, 1.0]),
        next_q=torch.tensor([[3.0, 7.0], [5.0, 4.0]]),
        next_log_prob=torch.tensor([-2.0, 1.0]),
        alpha=torch.tensor(0.5),
        discount=torch.tensor([0.9, 0.9]),
    )
    torch.testing.assert_close(target, torch.tensor([4.6, 2.0]))


def test_critic_loss_hand_computed() -> None:
    # One linear layer without hidden ones: Q = w_s s + w_a a + b. With s = 2, a = 0.5:
    # Q_1 = 1 * 2 + 2 * 0.5 + 0 = 3, Q_2 = 0 * 2 + 4 * 0.5 - 1 = 1. Target 2: 0.5 (1^2 + 1^2) = 1, mean Q 2.
    # The gradient in w_1 is (Q_1 - 2) (s, a) = (2, 0.5), in w_2 (Q_2 - 2) (s, a) = (-2, -0.5).
    critic = [{"w": torch.tensor([[[1.0], [2.0]], [[0.0], [4.0]]]), "b": torch.tensor([[[0.0]], [[-1.0]]])}]
    inputs = (torch.tensor([2.0]), torch.tensor([[2.0]]), torch.tensor([[0.5]]), "float32")
    grads, (loss, q) = torch.func.grad_and_value(critic_loss, has_aux=True)(critic, *inputs)
    assert (loss, q) == (1.0, 2.0)
    torch.testing.assert_close(grads[0]["w"], torch.tensor([[[2.0], [0.5]], [[-2.0], [-0.5]]]))


@pytest.mark.parametrize("slope", [1.0, -1.0])
def test_the_actor_moves_its_mean_to_where_the_smaller_q_is_higher(slope: float) -> None:
    # Q_1 = slope * a, Q_2 = Q_1 + 1: the smaller is Q_1. With alpha 0, log_std far down and mean = b:
    # d loss / d b = -slope (1 - tanh(0)^2) = -slope at b = 0.
    critic = [{"w": torch.tensor([[[0.0], [slope]]] * 2), "b": torch.tensor([[[0.0]], [[1.0]]])}]
    actor = [{"w": torch.zeros(1, 2), "b": torch.tensor([0.0, -10.0])}]
    obs = torch.zeros(4, 1)
    grads, _ = torch.func.grad(actor_loss, has_aux=True)(
        actor, critic, torch.tensor(0.0), obs, obs, torch.zeros(4, 1), "float32"
    )
    torch.testing.assert_close(grads[0]["b"][0], torch.tensor(-slope))


def test_with_no_reward_in_sight_the_actor_widens() -> None:
    # Q = 0, alpha = 1, noise 0: log p = -log_std + const, so that d loss / d log_std = -1 (descent widens).
    critic = [{"w": torch.zeros(2, 2, 1), "b": torch.zeros(2, 1, 1)}]
    actor = [{"w": torch.zeros(1, 2), "b": torch.tensor([0.0, -1.0])}]
    obs = torch.zeros(4, 1)
    grads, _ = torch.func.grad(actor_loss, has_aux=True)(
        actor, critic, torch.tensor(1.0), obs, obs, torch.zeros(4, 1), "float32"
    )
    torch.testing.assert_close(grads[0]["b"][1], torch.tensor(-1.0))


def test_alpha_rises_while_the_entropy_is_below_its_target_and_falls_above() -> None:
    # Entropy = -log p. Entropy -3 below the target -1: gradient -(3 - 1) = -2, descent raises log alpha.
    # Entropy 1 above: -(-1 - 1) = 2.
    assert alpha_gradient(torch.tensor(3.0), -1.0) == -2
    assert alpha_gradient(torch.tensor(-1.0), -1.0) == 2


def test_log_std_is_clamped() -> None:
    actor = [{"w": torch.zeros(1, 4), "b": torch.tensor([0.0, 0.0, -50.0, 50.0])}]
    _, log_std = policy(actor, torch.zeros(1, 1))
    assert log_std.tolist() == [[-20.0, 2.0]]


def test_twin_critics_start_apart_and_targets_as_their_copies() -> None:
    state = learner().init(generator())
    assert not torch.equal(state.critic[0]["w"][0], state.critic[0]["w"][1])
    assert same_bits(state.critic, state.target)
    assert state.target[0]["w"].data_ptr() != state.critic[0]["w"].data_ptr()


def test_the_target_critics_move_by_tau_towards_the_new_critics() -> None:
    sac = learner(tau=0.25)
    state = sac.init(generator(), torch.float64)
    after, _ = sac.update(state, *batch_for(sac))
    assert not same_bits(after.critic, state.critic)
    assert same_bits(after.target, polyak(state.target, after.critic, 0.25))


def test_an_update_is_pure_and_repeatable_to_the_bit_and_counts_its_steps() -> None:
    sac = learner()
    state = sac.init(generator())
    batch, noise = batch_for(sac, dtype=torch.float32)
    before = tree_map(torch.clone, (state, batch, noise))
    first, second = sac.update(state, batch, noise), sac.update(state, batch, noise)
    assert same_bits((state, batch, noise), before)
    assert same_bits(first, second)
    after, metrics = first
    assert after.actor_opt.count == after.critic_opt.count == after.alpha_opt.count == 1
    assert set(metrics) == {"critic_loss", "actor_loss", "alpha", "entropy", "q"}
    assert all(value.shape == () for value in metrics.values())
    assert {k: v.dtype for k, v in flatten(after).items()} == {k: v.dtype for k, v in flatten(state).items()}


def test_the_same_seed_gives_the_same_state_and_another_another() -> None:
    assert same_bits(learner().init(generator(3)), learner().init(generator(3)))
    assert not same_bits(learner().init(generator(3)).actor, learner().init(generator(4)).actor)


def test_only_terminated_takes_the_bootstrap_away_in_the_update() -> None:
    sac = learner()
    state = sac.init(generator(), torch.float64)
    batch, noise = batch_for(sac)
    other = batch._replace(next_obs={k: x + 1 for k, x in batch.next_obs.items()})

    def critics_after(transitions: Transitions, value: float) -> Tree:
        marked = transitions._replace(terminated=torch.full_like(transitions.terminated, value))
        return sac.update(state, marked, noise)[0].critic

    assert same_bits(critics_after(batch, 1.0), critics_after(other, 1.0))
    assert not same_bits(critics_after(batch, 0.0), critics_after(other, 0.0))


@pytest.mark.skipif(compiler_problem() is not None, reason="needs a C++ compiler")
def test_the_compiled_update_is_the_eager_one() -> None:
    sac = learner(normalize_obs=True)
    eager = compiled = sac.init(generator(), torch.float64)
    run = compile_pure(sac.update)
    for seed in range(10):
        batch, noise = batch_for(sac, seed)
        eager, metrics = sac.update(sac.observe(eager, batch.obs), batch, noise)
        compiled, others = run(sac.observe(compiled, batch.obs), batch, noise)
        torch.testing.assert_close(others, metrics, rtol=0, atol=1e-9)
    torch.testing.assert_close(flatten(compiled), flatten(eager), rtol=0, atol=1e-9)


def test_bfloat16_rounds_the_products_and_keeps_the_state_in_float32() -> None:
    exact, rounded = learner(), learner(precision="bfloat16")
    state = exact.init(generator())
    batch, noise = batch_for(exact, dtype=torch.float32)
    (_, a), (after, b) = exact.update(state, batch, noise), rounded.update(state, batch, noise)
    assert 0 < (a["q"] - b["q"]).abs() < 0.02
    assert after.critic[0]["w"].dtype == torch.float32
    assert torch.equal(exact.act(state, batch.obs, None, None)[0], rounded.act(state, batch.obs, None, None)[0])


def test_the_actor_does_not_see_the_critics_group() -> None:
    sac = learner()
    state = sac.init(generator())
    obs = {"policy": torch.ones(2, 3), "critic": torch.ones(2, 5)}
    noise = torch.randn(sac.act_noise_shape(2), generator=generator(2))
    for drawn in (None, noise):
        action, extras, memory = sac.act(state, obs, None, drawn)
        other, *_ = sac.act(state, obs | {"critic": torch.full((2, 5), 9.0)}, None, drawn)
        assert torch.equal(action, other)
        assert (extras, memory) == ({}, None)
    assert action.shape == (2, 2)
    assert action.abs().max() < 1


def test_critics_learn_from_their_own_group() -> None:
    sac = learner()
    state = sac.init(generator(), torch.float64)
    batch, noise = batch_for(sac)
    other = batch._replace(obs=batch.obs | {"critic": batch.obs["critic"] + 1})
    assert not same_bits(sac.update(state, batch, noise)[0].critic, sac.update(state, other, noise)[0].critic)


@pytest.mark.parametrize("normalize_obs", [False, True])
def test_observing_updates_one_normalizer_a_group_where_it_is_switched_on(normalize_obs: bool) -> None:
    sac = learner(normalize_obs=normalize_obs)
    state = sac.init(generator())
    obs = {"policy": torch.randn(9, 3, generator=generator()) + 4, "critic": torch.zeros(9, 5)}
    after = sac.observe(state, obs)
    assert sac.observes == normalize_obs
    assert set(after.normalizer) == {"policy", "critic"}
    assert after.normalizer["policy"].count == (9 if normalize_obs else 0)
    torch.testing.assert_close(after.normalizer["policy"].mean, obs["policy"].mean(0) * normalize_obs)
    updated, _ = sac.update(after, *batch_for(sac, dtype=torch.float32))
    assert same_bits(updated.normalizer, after.normalizer)  # an update does not count its batch once more


@pytest.mark.parametrize("normalize_obs", [False, True])
def test_the_policy_graph_equals_the_deterministic_action(normalize_obs: bool) -> None:
    sac = learner(normalize_obs=normalize_obs)
    obs = {"policy": 5 + 3 * torch.randn(50, 3, generator=generator()), "critic": torch.zeros(50, 5)}
    state: SACState = sac.observe(sac.init(generator()), obs)
    action, *_ = sac.act(state, obs, None, None)
    result = evaluate(sac.policy_graph(state), {"obs": obs["policy"].numpy()})
    np.testing.assert_allclose(result["actions"], action.numpy(), rtol=0, atol=1e-6)


def test_evaluation_is_the_squashed_mean() -> None:
    sac = learner()
    state = sac.init(generator())
    obs = {"policy": torch.ones(1, 3)}
    assert torch.equal(sac.act(state, obs, None, None)[0], torch.tanh(policy(state.actor, obs["policy"])[0]))


def test_the_first_temperature_is_the_one_configured() -> None:
    assert learner(init_alpha=0.2).init(generator()).log_alpha.item() == pytest.approx(math.log(0.2))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden": ()}, "hidden must be a tuple of one or more widths"),
        ({"hidden": (64, 0)}, "each width in hidden must be a whole number of at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
        ({"batch_size": 2.5}, "batch_size must be a whole number of at least 1, got 2.5"),
        ({"buffer_size": 10}, "buffer_size must be a whole number of at least 256, got 10"),
        ({"learning_starts": -1}, "learning_starts must be a whole number of at least 0, got -1"),
        ({"updates_per_step": 0.0}, r"updates_per_step must be a number in \(0, inf\], got 0.0"),
        ({"gamma": 1.5}, r"gamma must be a number in \[0, 1\], got 1.5"),
        ({"tau": float("nan")}, r"tau must be a number in \(0, 1\], got nan"),
        ({"actor_lr": -1.0}, r"actor_lr must be a number in \[0, 1\], got -1.0"),
        ({"init_alpha": 0.0}, r"init_alpha must be a number in \(0, inf\], got 0.0"),
        ({"target_entropy": "auto"}, "target_entropy must be a number in .* got 'auto'"),
        ({"normalize_obs": "yes"}, "normalize_obs must be one of False, True, got 'yes'"),
        ({"precision": "float16"}, "precision must be one of 'float32', 'bfloat16', got 'float16'"),
    ],
)
def test_a_bad_field_is_answered_with_what_is_allowed(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SACConfig(**fields)
