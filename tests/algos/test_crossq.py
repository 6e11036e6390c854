from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from roborl.algos.crossq import (
    BETA_1,
    CrossQ,
    CrossQConfig,
    CrossQState,
    actor_loss,
    critic_input,
    critic_loss,
    gaussian,
    td_target,
)
from roborl.errors import ConfigError
from roborl.learner import Spaces, Transitions, split
from roborl.nn.adam import adam
from roborl.nn.batch_renorm import BatchStats, eval_mlp, init_norms, train_mlp
from roborl.nn.gaussian import sample_tanh_gaussian
from roborl.nn.graph import evaluate
from roborl.nn.tree import Tree, flatten, tree_map

ASYMMETRIC = Spaces({"policy": 3, "critic": 5}, 2)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def learner(**fields: Any) -> CrossQ:
    return CrossQ(ASYMMETRIC, CrossQConfig(**{"hidden": (16, 16), "critic_hidden": (12,), "batch_size": 8} | fields))


def batch_for(crossq: CrossQ, seed: int = 1) -> tuple[Transitions, torch.Tensor]:
    g, n = generator(seed), crossq.updates_per_call * crossq.config.batch_size

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64)

    obs, next_obs = ({k: normal(n, d) for k, d in ASYMMETRIC.obs.items()} for _ in range(2))
    action, terminated = torch.tanh(normal(n, 2)), (normal(n) > 1).double()
    batch = Transitions(obs, action, normal(n), next_obs, terminated, torch.ones(n).double())
    return batch, normal(*crossq.update_noise_shape())


def after_updates(crossq: CrossQ, updates: int) -> CrossQState:
    state = crossq.init(generator(), torch.float64)
    for seed in range(updates):
        state, _ = crossq.update(state, *batch_for(crossq, seed))
    return state


def same_bits(a: Tree, b: Tree) -> bool:
    flat_a, flat_b = flatten(a), flatten(b)
    return flat_a.keys() == flat_b.keys() and all(torch.equal(flat_a[k], flat_b[k]) for k in flat_a)


def test_critic_target_hand_computed() -> None:
    # The smaller Q of (3, 5) is 3, of (7, 4) is 4; alpha = 0.5, discount 0.9.
    # Running or cut by a time limit (terminated 0): 1 + 0.9 (3 - 0.5 * -2) = 4.6. Terminated: the reward alone, 2.
    target = td_target(
        reward=torch.tensor([1.0, 2.0]),
        terminated=torch.tensor([0.0, 1.0]),
        next_q=torch.tensor([[3.0, 7.0], [5.0, 4.0]]),
        next_log_prob=torch.tensor([-2.0, 1.0]),
        alpha=torch.tensor(0.5),
        discount=torch.tensor([0.9, 0.9]),
    )
    torch.testing.assert_close(target, torch.tensor([4.6, 2.0]))


def test_critic_loss_hand_computed_in_one_pass_of_present_and_next() -> None:
    # One linear layer on (s, a): Q_1 = s, Q_2 = -s, after the norm. s = 0, next s = 2: the joint batch has mean 1 and
    # variance 1, so s is -k and next s is k with k = 1 / sqrt(1.001) (a normalisation of its own would give 0 and 0).
    # Next values (k, -k), the smaller -k; alpha 0: target = 1 + 0.5 * -k. Q = (-k, k).
    # Loss: 0.5 ((-k - 1 + k/2)^2 + (k - 1 + k/2)^2), mean Q 0.
    critic, stats = init_norms(
        [{"w": torch.tensor([[[1.0], [0.0]], [[-1.0], [0.0]]]).double(), "b": torch.zeros(2, 1, 1).double()}]
    )
    one, zero = torch.ones(1).double(), torch.zeros(1).double()
    batch = Transitions({"policy": zero[:, None]}, zero[:, None], one, {"policy": 2 * one[:, None]}, zero, one)

    def loss_of(critic: Any) -> Any:
        return critic_loss(critic, stats, batch, zero[:, None], zero, zero[0], 0.5, "policy", "float32")

    k = 1 / np.sqrt(1.001)
    grads, (loss, (after, q)) = torch.func.grad_and_value(loss_of, has_aux=True)(critic)
    assert loss.item() == pytest.approx(0.5 * ((-k - 1 + k / 2) ** 2 + (k - 1 + k / 2) ** 2))
    assert q.item() == pytest.approx(0)
    torch.testing.assert_close(after.mean[0], 0.01 * torch.tensor([[[1.0, 0.0]]] * 2).double())
    # The target is held fixed: the gradient in w_1 is (Q_1 - target) dQ_1/dw = (-k - 1 + k/2) (-k).
    assert grads[0]["w"][0, 0, 0].item() == pytest.approx((-k - 1 + k / 2) * -k)


def test_the_actors_loss_normalises_the_actor_by_its_batch_and_the_critics_by_their_running_statistics() -> None:
    crossq = learner()
    state, (batch, noise) = after_updates(crossq, 2), batch_for(crossq)
    obs, seen, noise = batch.obs["policy"], batch.obs["critic"], noise[: len(batch.reward)]
    alpha = torch.tensor(0.3).double()
    loss, (stats, mean_log_prob) = actor_loss(
        state.actor, state.actor_stats, state.critic, state.critic_stats, alpha, obs, seen, noise, "float32"
    )
    outputs, expected_stats = train_mlp(state.actor, state.actor_stats, obs)
    action, log_prob = sample_tanh_gaussian(*gaussian(outputs), noise)
    q = eval_mlp(state.critic, state.critic_stats, critic_input(seen, action))[:, :, 0].amin(0)
    torch.testing.assert_close(loss, (0.3 * log_prob - q).mean())
    assert mean_log_prob == log_prob.mean() and same_bits(stats, expected_stats)


@pytest.mark.parametrize("delay", [1, 3])
def test_a_call_is_the_critics_steps_each_on_its_batch_then_one_of_actor_and_temperature(delay: int) -> None:
    crossq = learner(policy_delay=delay, batch_size=4, target_entropy=-1.5)
    state, (batch, noise) = after_updates(crossq, 1), batch_for(crossq)
    after, metrics = crossq.update(state, batch, noise)
    alpha = state.log_alpha.exp()

    critic, stats, critic_opt, losses = state.critic, state.critic_stats, state.critic_opt, []
    for i, part in enumerate(split(batch, delay)):
        # the policy with its running statistics: row by row
        outputs = eval_mlp(state.actor, state.actor_stats, part.next_obs["policy"])
        action, log_prob = sample_tanh_gaussian(*gaussian(outputs), noise[4 * i : 4 * i + 4])
        inputs = (stats, part, action, log_prob, alpha, 0.99, "critic", "float32")
        grads, (loss, (stats, _)) = torch.func.grad_and_value(critic_loss, has_aux=True)(critic, *inputs)
        critic, critic_opt = adam(critic, grads, critic_opt, 1e-3, b1=BETA_1)
        losses.append(loss)
    last = batch.obs["policy"][-4:], batch.obs["critic"][-4:], noise[-4:], "float32"
    grads, (_, (actor_stats, log_prob)) = torch.func.grad_and_value(actor_loss, has_aux=True)(
        state.actor, state.actor_stats, critic, stats, alpha, *last
    )
    actor, actor_opt = adam(state.actor, grads, state.actor_opt, 1e-3, b1=BETA_1)
    log_alpha, _ = adam(state.log_alpha, -(log_prob - 1.5), state.alpha_opt, 1e-3)

    names = {"critic": critic, "stats": stats, "actor": actor, "actor_stats": actor_stats, "log_alpha": log_alpha}
    got = {
        "critic": after.critic,
        "stats": after.critic_stats,
        "actor": after.actor,
        "actor_stats": after.actor_stats,
        "log_alpha": after.log_alpha,
    }
    torch.testing.assert_close(flatten(got), flatten(names), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(metrics["critic_loss"], torch.stack(losses).mean())
    counts = (after.critic_opt.count, after.actor_opt.count, after.critic_stats.count, after.actor_stats.count)
    assert counts == (2 * delay, 2, 2 * delay, 2)
    assert not same_bits(actor_opt.m, state.actor_opt.m)


def test_only_terminated_takes_the_bootstrap_away_in_the_update() -> None:
    # What follows stands in the critics' batch, so its observations matter even then; its value must not.
    crossq = learner(policy_delay=1)
    state, (batch, noise) = after_updates(crossq, 1), batch_for(crossq)
    other = state._replace(log_alpha=state.log_alpha + 1.0)  # enters the target of the critics through the future alone

    def critics_after(before: CrossQState, value: float) -> Tree:
        marked = batch._replace(terminated=torch.full_like(batch.terminated, value))
        return crossq.update(before, marked, noise)[0].critic

    assert same_bits(critics_after(state, 1.0), critics_after(other, 1.0))
    assert not same_bits(critics_after(state, 0.0), critics_after(other, 0.0))


def test_acting_uses_the_running_statistics_whatever_stands_beside_an_observation() -> None:
    crossq = learner()
    state = after_updates(crossq, 3)
    obs = torch.randn(5, 3, generator=generator(), dtype=torch.float64)
    together, _, _ = crossq.act(state, {"policy": obs}, None, None)
    for i in range(5):
        alone, _, _ = crossq.act(state, {"policy": obs[i : i + 1]}, None, None)
        torch.testing.assert_close(alone, together[i : i + 1])


def test_the_policy_graph_has_the_norms_folded_in() -> None:
    crossq = learner()
    state: Any = tree_map(lambda x: x.float() if x.ndim else x, after_updates(crossq, 20))
    obs = 2 * torch.randn(50, 3, generator=generator())
    action, *_ = crossq.act(state, {"policy": obs}, None, None)
    graph = crossq.policy_graph(state)
    np.testing.assert_allclose(evaluate(graph, {"obs": obs.numpy()})["actions"], action.numpy(), rtol=0, atol=1e-6)
    assert {node.op for node in graph.nodes} == {"linear", "relu", "tanh"}


def test_the_critics_statistics_are_each_ones_own() -> None:
    state = after_updates(learner(), 2)
    stats: BatchStats = state.critic_stats
    assert torch.equal(stats.mean[0][0], stats.mean[0][1])  # they read the same
    assert not torch.equal(stats.mean[1][0], stats.mean[1][1])  # and make other things of it


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"critic_hidden": ()}, "critic_hidden must be a tuple of one or more widths"),
        ({"critic_hidden": (64, -1)}, "each width in critic_hidden must be a whole number of at least 1, got -1"),
        ({"policy_delay": 0}, "policy_delay must be a whole number of at least 1, got 0"),
        ({"alpha_lr": 2.0}, r"alpha_lr must be a number in \[0, 1\], got 2.0"),
        ({"init_alpha": 0.0}, r"init_alpha must be a number in \(0, inf\], got 0.0"),
        ({"target_entropy": "auto"}, "target_entropy must be a number in .* got 'auto'"),
    ],
)
def test_a_bad_field_is_answered_with_what_is_allowed(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CrossQConfig(**fields)
