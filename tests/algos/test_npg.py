from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from roborl.algos.npg import NPG, Batch, NPGConfig, divergence, policy_loss, prepare
from roborl.algos.trpo import TRPO, TRPOConfig
from roborl.errors import ConfigError
from roborl.learner import Rollout, Spaces
from roborl.nn.actor import GaussianActor
from roborl.nn.compile import Compiler
from roborl.nn.tree import Tree, flatten, to_vector, tree_map

ASYMMETRIC = Spaces({"policy": 3, "critic": 5}, 2)
EAGER = Compiler(enabled=False)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def learner(**fields: Any) -> NPG:
    return NPG(ASYMMETRIC, NPGConfig(**{"hidden": (8, 8), "batch_size": 8, "rollout_size": 24, "epochs": 2} | fields))


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


def test_the_step_of_a_linear_policy_hand_computed() -> None:
    # mean = w x + b with w = b = 0 and std 1, in the states x = 1 and -1; actions 1 and 3, advantages 1 and -1 (rewards
    # of mean 0 and deviation 1, no discount, V = 0). d log p / d mean = a, d log p / d log_std = a^2 - 1:
    #   g = [(1*1*1 + 3*-1*-1) / 2, (1*1 + 3*-1) / 2, (0*1 + 8*-1) / 2] = [2, -1, -4]
    #   F = diag(E[x^2], 1, 2) = diag(1, 1, 2), w and b independent because E[x] = 0
    #   F^-1 g = [2, -1, -2], g^T F^-1 g = 4 + 1 + 8 = 13, and the step is sqrt(2 * 0.01 / 13) F^-1 g.
    npg = NPG(Spaces({"policy": 1}, 1), NPGConfig(gamma=0.0, damping=0.0, normalize_obs=False, normalize_reward=False))
    column = torch.tensor([[1.0], [-1.0]]).double()
    zero = {"w": torch.zeros(1, 1).double(), "b": torch.zeros(1).double()}
    state = npg.init(generator(), torch.float64)
    state = state._replace(
        actor=GaussianActor([zero], torch.zeros(1).double()), critic=tree_map(torch.zeros_like, state.critic)
    )
    nothing = torch.zeros(1, 2).double()
    obs, action, reward = torch.stack([column, column]), torch.tensor([[[1.0], [3.0]]]).double(), column.mT
    rollout = Rollout(
        {"policy": obs}, action, reward, nothing, nothing, nothing + 1, reward, None, torch.ones(()).double()
    )
    after, _ = npg.learn(state, rollout, generator(), EAGER)
    expected = (0.02 / 13) ** 0.5 * torch.tensor([2.0, -1.0, -2.0]).double()
    torch.testing.assert_close(to_vector(after.actor), expected, rtol=1e-6, atol=0)


def test_the_loss_hand_computed() -> None:
    # log N(a; 1/2, 1): -1/2 - 0.9189 for a = 1.5; the other step is dead: -(-1.4189 * 2) = 2.8379.
    actor = GaussianActor([{"w": torch.tensor([[0.5]]), "b": torch.zeros(1)}], torch.zeros(1))
    ones, live = torch.ones(2, 1), torch.tensor([1.0, 0.0])
    batch = Batch(ones, ones, torch.tensor([[1.5], [9.0]]), torch.full((2,), 2.0), torch.zeros(2), live)
    assert policy_loss(actor, batch, "tanh").item() == pytest.approx(2.8379, abs=1e-4)


def test_a_step_is_trpos_full_step() -> None:
    npg, trpo = learner(), TRPO(ASYMMETRIC, TRPOConfig(hidden=(8, 8), batch_size=8, rollout_size=24, max_kl=0.01))
    for seed in range(3):
        a, b = npg.init(generator(seed), torch.float64), trpo.init(generator(seed), torch.float64)
        a, _ = npg.learn(a, rollout_for(seed), generator(), EAGER)
        b, metrics = trpo.learn(b, rollout_for(seed), generator(), EAGER)
        assert metrics["step_length"] == 1
        torch.testing.assert_close(to_vector(a.actor), to_vector(b.actor), rtol=1e-10, atol=1e-12)


def test_a_step_moves_the_policy_as_far_as_asked_for_less_what_the_damping_counts() -> None:
    # d^T (F + damping I) d / 2 = delta, and the divergence is d^T F d / 2, to second order in a small step.
    npg = learner(step_kl=1e-5)
    state = npg.init(generator(), torch.float64)
    _, batch = prepare(state, rollout_for(), npg.config, "critic")
    after, metrics = npg.learn(tree_map(torch.clone, state), rollout_for(), generator(), EAGER)
    moved = to_vector(after.actor) - to_vector(state.actor)
    assert metrics["kl"].item() == pytest.approx(1e-5 - 0.1 * moved.square().sum().item() / 2, rel=0.02)
    assert metrics["kl"] == divergence(state.actor, after.actor, batch, "tanh")


def test_dead_steps_are_in_no_mean_and_change_no_weight() -> None:
    npg = learner()
    state = npg.init(generator(), torch.float64)
    ended, live = torch.zeros(6, 4, dtype=torch.float64), torch.ones(6, 4, dtype=torch.float64)
    ended[2, 1], live[3, 1] = 1.0, 0.0
    rollout = rollout_for(truncated=ended, live=live)
    action, reward = rollout.action.clone(), rollout.reward.clone()
    action[3, 1], reward[3, 1] = 7.0, 100.0
    changed = rollout._replace(action=action, reward=reward)
    after = [npg.learn(tree_map(torch.clone, state), each, generator(), EAGER)[0] for each in (rollout, changed)]
    assert same_bits(after[0], after[1]) and after[0].returns.count == 23


def test_only_a_termination_takes_the_future_away() -> None:
    npg = learner(normalize_obs=False)
    state = npg.init(generator(), torch.float64)
    mark = torch.zeros(6, 4, dtype=torch.float64)
    mark[2, 1] = 1.0
    other = {name: obs.clone() for name, obs in rollout_for().obs.items()}
    other["critic"][3, 1] += 1.0  # the final observation of that episode

    def target(**changes: Any) -> Tensor:
        _, batch = prepare(state, rollout_for(**changes), npg.config, "critic")
        return batch.target.reshape(6, 4)[2, 1]

    assert target(terminated=mark) == target(terminated=mark, obs=other)
    assert target(truncated=mark) != target(truncated=mark, obs=other)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"activation": "gelu"}, "activation must be one of 'relu', 'tanh', 'elu', got 'gelu'"),
        ({"rollout_size": 127}, "rollout_size must be a whole number of at least 128, got 127"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        ({"step_kl": 0.0}, r"step_kl must be a number in \(0, inf\], got 0.0"),
        ({"damping": -0.1}, r"damping must be a number in \[0, inf\], got -0.1"),
        ({"conjugate_steps": 0}, "conjugate_steps must be a whole number of at least 1, got 0"),
        ({"critic_lr": -1.0}, r"critic_lr must be a number in \[0, 1\], got -1.0"),
        ({"normalize_obs": "yes"}, "normalize_obs must be one of False, True, got 'yes'"),
    ],
)
def test_a_bad_field_is_answered_with_what_is_allowed(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NPGConfig(**fields)
