from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from roborl.algos.trpo import TRPO, Batch, TRPOConfig, divergence, line_search, prepare, surrogate
from roborl.errors import ConfigError
from roborl.learner import Rollout, Spaces
from roborl.nn.actor import GaussianActor
from roborl.nn.compile import Compiler
from roborl.nn.tree import Tree, flatten, to_vector, tree_map

ASYMMETRIC = Spaces({"policy": 3, "critic": 5}, 2)
EAGER = Compiler(enabled=False)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def learner(**fields: Any) -> TRPO:
    return TRPO(ASYMMETRIC, TRPOConfig(**{"hidden": (8, 8), "batch_size": 8, "rollout_size": 24, "epochs": 2} | fields))


def rollout_for(seed: int = 1, steps: int = 6, n: int = 4, **changes: Any) -> Rollout:
    g = generator(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64)

    nothing = torch.zeros(steps, n, dtype=torch.float64)
    obs = {name: normal(steps + 1, n, width) for name, width in ASYMMETRIC.obs.items()}
    action, reward, so_far = normal(steps, n, 2), normal(steps, n), normal(steps, n)
    return Rollout(obs, action, reward, nothing, nothing, nothing + 1, so_far, None, torch.ones(()).double())._replace(
        **changes
    )


def same_bits(a: Tree, b: Tree) -> bool:
    flat_a, flat_b = flatten(a), flatten(b)
    return flat_a.keys() == flat_b.keys() and all(torch.equal(flat_a[k], flat_b[k]) for k in flat_a)


def linear(w: float, b: float, log_std: float = 0.0) -> GaussianActor:
    return GaussianActor([{"w": torch.tensor([[w]]), "b": torch.tensor([b])}], torch.tensor([log_std]))


def test_surrogate_and_divergence_hand_computed() -> None:
    # From N(0, 1) to N(x, 1), x = 1 and 2: the ratio is exp(a x - x^2 / 2), the divergence x^2 / 2. Actions 1/2 and 0:
    # ratios exp(0) and exp(-2), advantages 3 and 1; the third step is dead.
    # Surrogate (3 + e^-2) / 2 = 1.567668, divergence (1/2 + 2) / 2 = 1.25.
    obs, action = torch.tensor([[1.0], [2.0], [9.0]]), torch.tensor([[0.5], [0.0], [7.0]])
    three, live = torch.zeros(3), torch.tensor([1.0, 1.0, 0.0])
    batch = Batch(obs, obs, action, torch.zeros(3, 1), torch.zeros(1), torch.tensor([3.0, 1.0, 5.0]), three, live)
    assert surrogate(linear(1.0, 0.0), batch, "tanh").item() == pytest.approx(1.567668, abs=1e-6)
    assert divergence(linear(1.0, 0.0), batch, "tanh").item() == pytest.approx(1.25)
    assert surrogate(linear(0.0, 0.0), batch, "tanh") == 2 and divergence(linear(0.0, 0.0), batch, "tanh") == 0


def test_a_line_search_takes_the_longest_step_that_keeps_the_bound_and_improves() -> None:
    # theta = length k, divergence theta^2 <= 0.5: 1 and 0.8 (0.64) are too far, 0.64 (0.4096) is not.
    config, start = TRPOConfig(max_kl=0.5), torch.zeros(1)
    found = line_search(lambda theta: (theta.sum(), theta.square().sum()), start, torch.ones(1), config)
    assert found.theta.item() == pytest.approx(0.64) and found.length == pytest.approx(0.64)
    assert found.kl.item() == pytest.approx(0.4096) and found.surrogate.item() == pytest.approx(0.64)
    # of theta - 1.5 theta^2 the full step is below 0, that of 0.64 is the first above
    found = line_search(lambda theta: ((theta - 1.5 * theta**2).sum(), 0 * theta.sum()), start, torch.ones(1), config)
    assert found.length == pytest.approx(0.64)


@pytest.mark.parametrize(
    "judge",
    [
        lambda theta: (-theta.sum(), 0 * theta.sum()),  # worse everywhere
        lambda theta: (0 * theta.sum(), 0 * theta.sum()),  # no better
        lambda theta: (theta.sum(), theta.sum() + 1.0),  # too far
        lambda theta: (theta.sum() * math.nan, theta.sum()),
        lambda theta: (theta.sum(), theta.sum() * math.nan),
    ],
)
def test_without_a_step_that_will_do_the_parameters_stay_and_ten_were_tried(judge: Any) -> None:
    tried: list[float] = []

    def counted(theta: Tensor) -> tuple[Tensor, Tensor]:
        tried.append(theta.item())
        return judge(theta)

    start = torch.tensor([0.1])
    found = line_search(counted, start, torch.ones(1), TRPOConfig())
    assert torch.equal(found.theta, torch.tensor([0.1])) and found.length == 0
    assert tried == pytest.approx([0.1, *(0.1 + 0.8**k for k in range(10))])


def test_a_step_keeps_the_bound_and_improves_the_surrogate() -> None:
    trpo = learner()
    state = trpo.init(generator(), torch.float64)
    for seed in range(5):
        rollout = rollout_for(seed)
        _, batch = prepare(state, rollout, trpo.config, "critic")
        new, metrics = trpo.learn(tree_map(torch.clone, state), rollout, generator(seed), EAGER)
        before, after = (surrogate(actor, batch, "tanh") for actor in (state.actor, new.actor))
        moved = divergence(new.actor, batch, "tanh")
        assert 0.003 < moved <= 0.01 and after > before and metrics["step_length"] > 0
        torch.testing.assert_close((metrics["kl"], metrics["actor_loss"]), (moved, -after))
        state = new


def test_a_step_that_cannot_improve_restores_the_policy_to_the_bit_and_the_critic_still_learns() -> None:
    trpo = learner()
    real, first = trpo.judge, trpo.init(generator(), torch.float64)
    start = to_vector(first.actor)

    def worse_elsewhere(like: Any, batch: Batch, theta: Tensor) -> tuple[Tensor, Tensor]:
        value, kl = real(like, batch, theta)
        return value - (theta - start).norm() * 1e3, kl

    trpo.judge = worse_elsewhere
    after, metrics = trpo.learn(tree_map(torch.clone, first), rollout_for(), generator(), EAGER)
    assert same_bits(after.actor, first.actor) and metrics["step_length"] == 0 and metrics["kl"] == 0
    assert not same_bits(after.critic, first.critic)


def test_where_nothing_is_better_than_anything_else_the_policy_stays() -> None:
    trpo = learner(gamma=0.0, normalize_reward=False)
    state = trpo.init(generator(), torch.float64)
    state = state._replace(critic=tree_map(torch.zeros_like, state.critic))  # every advantage is 0
    rollout = rollout_for(reward=torch.zeros(6, 4, dtype=torch.float64))
    after, metrics = trpo.learn(tree_map(torch.clone, state), rollout, generator(), EAGER)
    assert same_bits(after.actor, state.actor) and metrics["actor_loss"] == 0


def test_dead_steps_are_in_no_mean_and_change_no_weight() -> None:
    trpo = learner()
    state = trpo.init(generator(), torch.float64)
    ended, live = torch.zeros(6, 4, dtype=torch.float64), torch.ones(6, 4, dtype=torch.float64)
    ended[2, 1], live[3, 1] = 1.0, 0.0
    rollout = rollout_for(truncated=ended, live=live)
    action, reward = rollout.action.clone(), rollout.reward.clone()
    action[3, 1], reward[3, 1] = 7.0, 100.0
    changed = rollout._replace(action=action, reward=reward)
    after = [trpo.learn(tree_map(torch.clone, state), each, generator(), EAGER)[0] for each in (rollout, changed)]
    assert same_bits(after[0], after[1]) and after[0].returns.count == 23


def test_only_a_termination_takes_the_future_away() -> None:
    trpo = learner(normalize_obs=False)
    state = trpo.init(generator(), torch.float64)
    mark = torch.zeros(6, 4, dtype=torch.float64)
    mark[2, 1] = 1.0
    other = {name: obs.clone() for name, obs in rollout_for().obs.items()}
    other["critic"][3, 1] += 1.0  # the final observation of that episode

    def target(**changes: Any) -> Tensor:
        _, batch = prepare(state, rollout_for(**changes), trpo.config, "critic")
        return batch.target.reshape(6, 4)[2, 1]

    assert target(terminated=mark) == target(terminated=mark, obs=other)
    assert target(truncated=mark) != target(truncated=mark, obs=other)


def test_advantages_are_standardised_over_the_live_steps_of_the_rollout() -> None:
    trpo, live = learner(), torch.ones(6, 4, dtype=torch.float64)
    live[0, 0] = 0.0
    _, batch = prepare(trpo.init(generator(), torch.float64), rollout_for(live=live), trpo.config, "critic")
    kept = batch.advantage[batch.live > 0]
    assert kept.mean().item() == pytest.approx(0.0, abs=1e-12) and kept.std().item() == pytest.approx(1.0)


def test_the_critic_goes_through_each_rollout_so_many_times() -> None:
    # 24 steps in minibatches of 10 are three, twice.
    trpo = learner(batch_size=10)
    state, _ = trpo.learn(trpo.init(generator(), torch.float64), rollout_for(), generator(), EAGER)
    assert state.critic.opt.count == 6


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"activation": "gelu"}, "activation must be one of 'relu', 'tanh', 'elu', got 'gelu'"),
        ({"rollout_size": 127}, "rollout_size must be a whole number of at least 128, got 127"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        ({"max_kl": 0.0}, r"max_kl must be a number in \(0, inf\], got 0.0"),
        ({"damping": -0.1}, r"damping must be a number in \[0, inf\], got -0.1"),
        ({"conjugate_steps": 0}, "conjugate_steps must be a whole number of at least 1, got 0"),
        ({"backtracks": 0}, "backtracks must be a whole number of at least 1, got 0"),
        ({"backtrack_factor": 1.0}, r"backtrack_factor must be a number in \(0, 1\), got 1.0"),
        ({"critic_lr": -1.0}, r"critic_lr must be a number in \[0, 1\], got -1.0"),
        ({"gae_lambda": float("nan")}, r"gae_lambda must be a number in \[0, 1\], got nan"),
        ({"normalize_reward": "yes"}, "normalize_reward must be one of False, True, got 'yes'"),
    ],
)
def test_a_bad_field_is_answered_with_what_is_allowed(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TRPOConfig(**fields)
