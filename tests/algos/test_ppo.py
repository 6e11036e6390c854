from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from roborl.algos.ppo import PPO, Batch, PPOConfig, actor_loss, clipped, critic_loss, prepare, steered, surrogate
from roborl.data.rollout import epoch
from roborl.errors import ConfigError
from roborl.learner import Rollout, Spaces
from roborl.nn.actor import GaussianActor
from roborl.nn.compile import Compiler
from roborl.nn.mlp import Layers
from roborl.nn.normalizer import inverse_std
from roborl.nn.tree import Tree, flatten, tree_map

ASYMMETRIC = Spaces({"policy": 3, "critic": 5}, 2)
EAGER = Compiler(enabled=False)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def learner(spaces: Spaces = ASYMMETRIC, **fields: Any) -> PPO:
    return PPO(spaces, PPOConfig(**{"hidden": (8, 8), "batch_size": 8, "rollout_size": 24} | fields))


def rollout_for(spaces: Spaces, steps: int = 6, n: int = 4, seed: int = 1, **changes: Tensor) -> Rollout:
    g = generator(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64)

    nothing = torch.zeros(steps, n, dtype=torch.float64)
    rollout = Rollout(
        obs={name: normal(steps + 1, n, width) for name, width in spaces.obs.items()},
        action=normal(steps, n, spaces.action),
        reward=normal(steps, n),
        terminated=nothing,
        truncated=nothing,
        live=nothing + 1,
        return_so_far=normal(steps, n),
        memory=None,
        left=torch.ones((), dtype=torch.float64),
    )
    return rollout._replace(**changes)


def same_bits(a: Tree, b: Tree) -> bool:
    flat_a, flat_b = flatten(a), flatten(b)
    return flat_a.keys() == flat_b.keys() and all(torch.equal(flat_a[k], flat_b[k]) for k in flat_a)


def one_unit(weight: float) -> Layers:
    """One hidden unit, which gives 1, and an output of ``weight``."""
    return [{"w": torch.tensor([[1.0]]), "b": torch.zeros(1)}, {"w": torch.tensor([[weight]]), "b": torch.zeros(1)}]


ACTOR = GaussianActor(one_unit(0.5), torch.zeros(1))
"""Mean 0.5, deviation 1."""

TWO_STEPS = Batch(
    obs={"policy": torch.ones(2, 1)},
    action=torch.tensor([[1.5], [0.5]]),
    log_prob=torch.tensor([-0.5 - 0.5 * math.log(2 * math.pi)] * 2),
    features=torch.tensor([[1.0], [4.0]]),
    advantage=torch.tensor([1.0, 2.0]),
    target=torch.tensor([3.0, 5.0]),
    live=torch.ones(2),
)


def test_gradients_are_clipped_each_on_its_own_or_together() -> None:
    actor, critic = {"a": torch.tensor([3.0, 0.0])}, {"c": torch.tensor([8.0])}
    apart = clipped(actor, critic, 1.0, together=False)
    # (3, 0) and (8) have the lengths 3 and 8; together (3, 0, 8 / 2) has 5, of which each part keeps a fifth
    together = clipped(actor, critic, 1.0, together=True)
    for found, expected in ((apart, (1.0, 1.0)), (together, (0.6, 0.8))):
        torch.testing.assert_close(found[0]["a"], torch.tensor([expected[0], 0.0]))
        torch.testing.assert_close(found[1]["c"], torch.tensor([expected[1]]))
        assert found[2] == 3.0
    assert clipped(actor, critic, 6.0, together=True)[1]["c"] == 4.0  # short enough: half of it, no less


def test_the_surrogate_hand_computed_on_both_sides_of_the_clip() -> None:
    # ratios 2, 2, 1/2, 1/2 with advantages 1, -1, 1, -1 and eps 0.2:
    # min(2, 1.2) = 1.2; min(-2, -1.2) = -2; min(0.5, 0.8) = 0.5; min(-0.5, -0.8) = -0.8.
    log_ratio = torch.tensor([2.0, 2.0, 0.5, 0.5]).log()
    torch.testing.assert_close(
        surrogate(log_ratio, torch.tensor([1.0, -1.0, 1.0, -1.0]), 0.2), torch.tensor([1.2, -2.0, 0.5, -0.8])
    )


def test_the_actors_loss_hand_computed() -> None:
    # mean 0.5, std 1: log p(1.5) = -0.5 - c, log p(0.5) = -c with c = log(2 pi) / 2. The old ones are -0.5 - c both:
    # ratios 1 and e^0.5 = 1.649, clipped to 1.2: -(1 * 1 + 1.2 * 2) / 2 = -1.7. Entropy: 0.5 log(2 pi e) = 1.4189.
    # Features 1 against 1 and 4: (0 + 9) / 2 = 4.5. Total: -1.7 - 0.1 * 1.4189 + 0.2 * 4.5 = -0.9419.
    config = PPOConfig(
        activation="relu", normalize_advantage=False, entropy_coefficient=0.1, pfo_coefficient=0.2, clip=0.2
    )
    total, parts = actor_loss(ACTOR, TWO_STEPS, config)
    assert total.item() == pytest.approx(-0.9419, abs=1e-4)
    assert parts["actor_loss"].item() == pytest.approx(-1.7)
    assert parts["entropy"].item() == pytest.approx(1.4189, abs=1e-4)
    assert parts["clipped"].item() == 0.5
    # mean of (r - 1 - log r): (0 + 1.6487 - 1 - 0.5) / 2 = 0.0744
    assert parts["kl"].item() == pytest.approx(0.0744, abs=1e-4)


def test_the_critics_loss_hand_computed() -> None:
    # V = 2: ((2 - 3)^2 + (2 - 5)^2) / 2 = 5; with the second step dead 1.
    config = PPOConfig(activation="relu")
    assert critic_loss(one_unit(2.0), torch.ones(2, 1), TWO_STEPS, config) == 5
    dead = TWO_STEPS._replace(live=torch.tensor([1.0, 0.0]))
    assert critic_loss(one_unit(2.0), torch.ones(2, 1), dead, config) == 1


def test_advantages_are_standardised_in_the_minibatch_where_asked_for() -> None:
    # 1 and 2 become -0.7071 and 0.7071: -(1 * -0.7071 + 1.2 * 0.7071) / 2 = -0.0707.
    _, parts = actor_loss(ACTOR, TWO_STEPS, PPOConfig(activation="relu"))
    assert parts["actor_loss"].item() == pytest.approx(-0.1 / 2**0.5, abs=1e-6)


def test_dead_steps_are_in_no_loss_and_change_no_weight() -> None:
    ppo = learner()
    state = ppo.init(generator(), torch.float64)
    ended, live = torch.zeros(6, 4, dtype=torch.float64), torch.ones(6, 4, dtype=torch.float64)
    ended[2, 1], live[3, 1] = 1.0, 0.0
    rollout = rollout_for(ASYMMETRIC, truncated=ended, live=live)
    action, reward = rollout.action.clone(), rollout.reward.clone()
    action[3, 1], reward[3, 1] = 7.0, 100.0
    changed = rollout._replace(action=action, reward=reward)
    after = [ppo.learn(tree_map(torch.clone, state), each, generator(), EAGER)[0] for each in (rollout, changed)]
    assert same_bits(after[0], after[1])
    assert after[0].returns.count == 23


def test_only_a_termination_takes_the_future_away() -> None:
    ppo = learner(normalize_obs=False, normalize_reward=False)
    state = ppo.init(generator(), torch.float64)
    mark = torch.zeros(6, 4, dtype=torch.float64)
    mark[2, 1] = 1.0
    other = rollout_for(ASYMMETRIC).obs | {}
    other["critic"] = other["critic"].clone()
    other["critic"][3, 1] += 1.0  # the final observation of that episode

    def advantage(**changes: Any) -> Tensor:
        _, batch = prepare(state, rollout_for(ASYMMETRIC, **changes), ppo.config, "critic")
        return batch.advantage.reshape(6, 4)[2, 1]

    assert advantage(terminated=mark) == advantage(terminated=mark, obs=other)
    assert advantage(truncated=mark) != advantage(truncated=mark, obs=other)


def test_a_batch_is_what_the_rollouts_policy_did() -> None:
    ppo = learner()
    state = ppo.init(generator(), torch.float64)
    rollout = rollout_for(ASYMMETRIC)
    after, batch = prepare(state, rollout, ppo.config, "critic")
    _, parts = actor_loss(state.actor, batch, ppo.config)
    assert parts["kl"] == 0 and parts["clipped"] == 0
    assert same_bits(after[:4], state[:4])
    assert torch.equal(batch.action.reshape(6, 4, 2), rollout.action)  # unclipped: some are beyond 1
    assert rollout.action.abs().max() > 1


def test_rewards_are_divided_by_the_deviation_of_the_discounted_returns() -> None:
    # gamma 0 and lambda 0: the advantage is the scaled reward minus the value. Returns so far 1 and 5: deviation 2.
    ppo = learner(Spaces({"policy": 1}, 1), gamma=0.0, gae_lambda=0.0, normalize_obs=False)
    state = ppo.init(generator(), torch.float64)
    reward, so_far = torch.tensor([[3.0, 100.0]]).double(), torch.tensor([[1.0, 5.0]]).double()
    rollout = rollout_for(ppo.spaces, 1, 2, reward=reward, return_so_far=so_far)
    after, batch = prepare(state, rollout, ppo.config, "policy")
    assert inverse_std(after.returns) == 0.5
    value = batch.target - batch.advantage
    torch.testing.assert_close(batch.advantage + value, torch.tensor([1.5, 10.0]).double())  # 50 is clipped to 10


@pytest.mark.parametrize(("anneal", "left", "factor"), [(True, 1.0, 1.0), (True, 0.75, 0.75), (False, 0.75, 1.0)])
def test_an_annealed_step_is_as_long_as_what_is_left_of_the_run(anneal: bool, left: float, factor: float) -> None:
    # Adam's first step is the step size times the gradient's sign: lr * factor in each parameter with a gradient.
    ppo = learner(anneal=anneal, critic_lr=0.01, epochs=1, batch_size=24)
    state = ppo.init(generator(), torch.float64)
    before = state.critic[-1]["b"].clone()
    rollout = rollout_for(ASYMMETRIC, left=torch.tensor(left, dtype=torch.float64))
    after, _ = ppo.learn(state, rollout, generator(), EAGER)
    moved = (after.critic[-1]["b"] - before).abs()
    torch.testing.assert_close(moved, torch.tensor([0.01 * factor]).double(), rtol=1e-3, atol=1e-12)


def test_step_sizes_are_steered_by_the_divergence() -> None:
    # desired 0.01: above 0.02 two thirds, below 0.005 half as long again, between them as before; from 0.01 to 10.
    kl = torch.tensor([0.021, 0.019, 0.006, 0.004])
    torch.testing.assert_close(steered(torch.tensor(0.9), kl, 0.01), torch.tensor([0.6, 0.9, 0.9, 1.35]))
    ends = steered(torch.tensor([0.011, 9.0]), torch.tensor([1.0, 0.0]), 0.01)
    torch.testing.assert_close(ends, torch.tensor([0.01, 10.0]))


def test_a_steered_step_follows_the_factor_which_is_kept() -> None:
    # The first minibatch has no divergence: the factor is 1.5, and so is Adam's first step, of both networks.
    ppo = learner(desired_kl=0.01, critic_lr=0.01, epochs=1, batch_size=24)
    state = ppo.init(generator(), torch.float64)
    before = state.critic[-1]["b"].clone()
    after, _ = ppo.learn(state, rollout_for(ASYMMETRIC), generator(), EAGER)
    moved = (after.critic[-1]["b"] - before).abs()
    torch.testing.assert_close(moved, torch.tensor([0.015]).double(), rtol=1e-3, atol=1e-12)
    assert after.step_scale.item() == 1.5


def test_each_epoch_takes_every_step_once_and_fills_the_last_minibatch_up() -> None:
    # 24 steps in minibatches of 10: three, of which the last takes six from the first.
    g = generator()
    first, second = epoch(24, 10, g), epoch(24, 10, g)
    for each in (first, second):
        assert each.shape == (3, 10)
        assert sorted(each.flatten()[:24].tolist()) == list(range(24))
        assert torch.equal(each.flatten()[24:], each.flatten()[:6])
    assert not torch.equal(first, second)  # another order


def test_no_epoch_follows_one_that_went_too_far() -> None:
    for target_kl, count in ((None, 2 * 3), (1e-9, 3)):
        ppo = learner(target_kl=target_kl, epochs=2, actor_lr=0.01)
        state, _ = ppo.learn(ppo.init(generator(), torch.float64), rollout_for(ASYMMETRIC), generator(), EAGER)
        assert state.actor_opt.count == state.critic_opt.count == count


def test_the_feature_term_holds_the_features_back() -> None:
    changes = []
    for coefficient in (0.0, 100.0):
        ppo = learner(pfo_coefficient=coefficient, epochs=20, actor_lr=0.01)
        state = ppo.init(generator(), torch.float64)
        changes.append(ppo.learn(state, rollout_for(ASYMMETRIC), generator(), EAGER)[1]["feature_change"])
    assert changes[1] < 0.3 * changes[0]


def test_learning_reports_losses_and_the_signs_of_collapse() -> None:
    ppo = learner()
    _, metrics = ppo.learn(ppo.init(generator(), torch.float64), rollout_for(ASYMMETRIC), generator(), EAGER)
    losses = {"actor_loss", "critic_loss", "entropy", "kl", "clipped", "actor_grad_norm"}
    assert set(metrics) == losses | {"feature_rank", "dead_units", "policy_variance", "feature_change"}
    assert all(value.shape == () for value in metrics.values())


def test_the_policy_is_drawn_unclipped_and_judged_by_its_clipped_mean() -> None:
    ppo = learner(normalize_obs=False)
    state = ppo.init(generator())
    state = state._replace(actor=tree_map(lambda x: x + 5.0, state.actor))
    obs = {"policy": torch.ones(4, 3), "critic": torch.ones(4, 5)}
    drawn, _, _ = ppo.act(state, obs, None, torch.ones(ppo.act_noise_shape(4)))
    assert drawn.min() > 1
    assert torch.equal(ppo.act(state, obs, None, None)[0], torch.ones(4, 2))


def test_the_first_policy_does_nearly_nothing_with_a_deviation_of_one() -> None:
    ppo = learner(Spaces({"policy": 3}, 2))
    state = ppo.init(generator())
    mean, _, _ = ppo.act(state, {"policy": torch.randn(100, 3, generator=generator())}, None, None)
    assert 0 < mean.abs().max() < 0.05
    assert torch.equal(state.actor.log_std, torch.zeros(2))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden": ()}, "hidden must be a tuple of one or more widths"),
        ({"activation": "gelu"}, "activation must be one of 'relu', 'tanh', 'elu', got 'gelu'"),
        ({"rollout_size": 63}, "rollout_size must be a whole number of at least 64, got 63"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        ({"anneal": None}, "anneal must be one of False, True, got None"),
        ({"actor_lr": -1.0}, r"actor_lr must be a number in \[0, 1\], got -1.0"),
        ({"gamma": 1.5}, r"gamma must be a number in \[0, 1\], got 1.5"),
        ({"gae_lambda": float("nan")}, r"gae_lambda must be a number in \[0, 1\], got nan"),
        ({"clip": 0.0}, r"clip must be a number in \(0, inf\], got 0.0"),
        ({"pfo_coefficient": -1.0}, r"pfo_coefficient must be a number in \[0, inf\], got -1.0"),
        ({"max_grad_norm": 0.0}, r"max_grad_norm must be a number in \(0, inf\], got 0.0"),
        ({"normalize_reward": "yes"}, "normalize_reward must be one of False, True, got 'yes'"),
        ({"target_kl": 0.0}, r"target_kl must be a number in \(0, inf\], got 0.0"),
        ({"desired_kl": -0.01}, r"desired_kl must be a number in \(0, inf\], got -0.01"),
    ],
)
def test_a_bad_field_is_answered_with_what_is_allowed(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PPOConfig(**fields)
