from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from roborl.algos.ppo import PPO, PPOConfig
from roborl.algos.recurrent_ppo import RecurrentPPO, RecurrentPPOConfig, RecurrentPPOState, loss, prepare, remember
from roborl.errors import ConfigError
from roborl.learner import OnPolicyLearner, Rollout, Spaces
from roborl.nn.compile import Compiler
from roborl.nn.tree import Tree, flatten, tree_map

ASYMMETRIC = Spaces({"policy": 3, "critic": 5}, 2)
EAGER = Compiler(enabled=False)
STEPS, ENVS = 7, 3


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def learner(spaces: Spaces = ASYMMETRIC, **fields: Any) -> RecurrentPPO:
    small = {"hidden": (8,), "memory_size": 4, "batch_size": 8, "sequence_length": 4, "rollout_size": 21, "epochs": 2}
    return RecurrentPPO(spaces, RecurrentPPOConfig(**small | fields))


def rollout_for(learner: RecurrentPPO, state: RecurrentPPOState, **changes: Any) -> Rollout:
    """What the policy did; environment 1 ended by a time limit after its third step, environment 2 after its fourth."""
    g = generator(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64)

    truncated, live = torch.zeros(STEPS, ENVS).double(), torch.ones(STEPS, ENVS).double()
    truncated[2, 1], live[3, 1] = 1.0, 0.0
    truncated[3, 2], live[4, 2] = 1.0, 0.0
    obs = {name: normal(STEPS + 1, ENVS, width) for name, width in learner.spaces.obs.items()}
    obs = changes.pop("obs", obs)
    first = memory = {"h": normal(ENVS, learner.config.memory_size)}
    actions = []
    for t in range(STEPS):  # as the training loop does it
        action, _, memory = learner.act(state, {"policy": obs["policy"][t]}, memory, normal(ENVS, 2))
        memory = {"h": memory["h"] * live[t, :, None]}
        actions.append(action)
    reward, so_far = normal(STEPS, ENVS), normal(STEPS, ENVS)
    rollout = Rollout(
        obs, torch.stack(actions), reward, 0 * live, truncated, live, so_far, first, torch.ones(()).double()
    )
    return rollout._replace(**changes)


def same_bits(a: Tree, b: Tree) -> bool:
    flat_a, flat_b = flatten(a), flatten(b)
    return flat_a.keys() == flat_b.keys() and all(torch.equal(flat_a[k], flat_b[k]) for k in flat_a)


def test_a_rollout_is_remembered_as_its_policy_did_step_by_step() -> None:
    ppo = learner()
    state = ppo.init(generator(), torch.float64)
    rollout = rollout_for(ppo, state)
    remembered, memory = remember(state, rollout, ppo.config), rollout.memory
    for t in range(STEPS + 1):
        _, _, memory = ppo.act(state, {"policy": rollout.obs["policy"][t]}, memory, None)
        torch.testing.assert_close(remembered[t], memory["h"], rtol=0, atol=1e-12)
        if t < STEPS:
            memory = {"h": memory["h"] * rollout.live[t, :, None]}


def test_sequences_are_what_the_rollouts_policy_did() -> None:
    # The log-probabilities, learned from by sequences, are those of the policy that acted step by step: ratios of 1.
    ppo = learner()
    state = ppo.init(generator(), torch.float64)
    rollout = rollout_for(ppo, state)
    _, sequences = prepare(state, rollout, remember(state, rollout, ppo.config), ppo.config, "critic")
    _, parts = loss(state.params, sequences, ppo.config)
    assert parts["clipped"] == 0 and parts["kl"].item() == pytest.approx(0.0, abs=1e-20)


def test_a_rollout_is_cut_into_sequences_and_the_last_are_filled_up_with_dead_steps() -> None:
    # 7 steps of 3 environments in sequences of 4: two of each, the first 4 steps and the other 3.
    ppo = learner()
    state = ppo.init(generator(), torch.float64)
    rollout = rollout_for(ppo, state)
    remembered = remember(state, rollout, ppo.config)
    _, cut = prepare(state, rollout, remembered, ppo.config, "critic")
    assert cut.action.shape == (6, 4, 2) and cut.memory.shape == (6, 4)
    for env in range(ENVS):
        torch.testing.assert_close(cut.action[env], rollout.action[:4, env])
        torch.testing.assert_close(cut.action[ENVS + env, :3], rollout.action[4:, env])
        assert torch.equal(cut.memory[env], rollout.memory["h"][env])
    assert torch.equal(cut.live[ENVS:, 3], torch.zeros(3).double()) and cut.live.sum() == 21 - 2
    # environment 1 begins an episode in its fifth step, at the beginning of a sequence; 2 in its sixth
    assert cut.keep[:, :3].tolist() == [[1, 1, 1]] * 3 + [[1, 1, 1], [0, 1, 1], [1, 0, 1]]
    assert torch.equal(cut.memory[3], remembered[3, 0]) and torch.equal(cut.memory[4], torch.zeros(4).double())


def test_dead_steps_are_in_no_loss_and_change_no_weight() -> None:
    ppo = learner()
    state = ppo.init(generator(), torch.float64)
    rollout = rollout_for(ppo, state)
    action, reward = rollout.action.clone(), rollout.reward.clone()
    action[3, 1], reward[3, 1] = 7.0, 100.0
    changed = rollout._replace(action=action, reward=reward)
    after = [ppo.learn(tree_map(torch.clone, state), each, generator(), EAGER)[0] for each in (rollout, changed)]
    assert same_bits(after[0], after[1]) and after[0].returns.count == 19


def test_nothing_is_learned_from_what_an_episode_before_showed() -> None:
    # Only environment 1's steps after its dead one count: what came before changes nothing of their gradient.
    ppo = learner(sequence_length=7, normalize_reward=False)
    state = ppo.init(generator(), torch.float64)
    rollout = rollout_for(ppo, state)
    before = {name: value.clone() for name, value in rollout.obs.items()}
    for value in before.values():
        value[:4, 1] += 1.0  # its first episode, the final observation included
    counted = torch.zeros(ENVS, 7).double()
    counted[1, 4:] = 1.0

    def gradient(rollout: Rollout) -> dict[str, Tensor]:
        _, cut = prepare(state, rollout, remember(state, rollout, ppo.config), ppo.config, "critic")
        of_late = cut._replace(live=counted, advantage=counted)  # which are standardised over all episodes
        return flatten(torch.func.grad(lambda params: loss(params, of_late, ppo.config)[0])(state.params))

    torch.testing.assert_close(gradient(rollout), gradient(rollout._replace(obs=before)), rtol=0, atol=1e-14)


def test_only_a_termination_takes_the_future_away_and_the_final_observation_is_remembered_with_its_episode() -> None:
    ppo = learner(normalize_obs=False, normalize_reward=False)
    state = ppo.init(generator(), torch.float64)
    rollout = rollout_for(ppo, state)
    other = {name: value.clone() for name, value in rollout.obs.items()}
    other["policy"][3, 1] += 1.0  # the final observation of environment 1's first episode, which the memory reads

    def target(rollout: Rollout) -> Tensor:
        _, cut = prepare(state, rollout, remember(state, rollout, ppo.config), ppo.config, "critic")
        return cut.target[1, 2]

    terminated = rollout._replace(terminated=rollout.truncated, truncated=0 * rollout.truncated)
    assert target(rollout) != target(rollout._replace(obs=other))
    assert target(terminated) == target(terminated._replace(obs=other))


def test_each_epoch_takes_every_sequence_once_and_fills_the_last_minibatch_up() -> None:
    # 6 sequences in minibatches of 4: two, of which the last takes two from the first.
    ppo = learner(batch_size=16)
    taken: list[Tensor] = []
    real = ppo.fit

    def spy(state: RecurrentPPOState, sequences: Any, minibatches: Tensor, left: Tensor) -> Any:
        taken.extend(minibatches)
        return real(state, sequences, minibatches, left)

    ppo.fit = spy
    state = ppo.init(generator(), torch.float64)
    ppo.learn(state, rollout_for(ppo, state), generator(), EAGER)
    assert [len(rows) for rows in taken] == [4] * 4
    for epoch in (torch.cat(taken[:2]), torch.cat(taken[2:])):
        assert sorted(epoch[:6].tolist()) == list(range(6)) and torch.equal(epoch[6:], epoch[:2])


def test_without_a_memory_given_an_episode_begins() -> None:
    ppo = learner()
    state, obs = ppo.init(generator()), {"policy": torch.randn(5, 3, generator=generator())}
    fresh, given = ppo.act(state, obs, None, None), ppo.act(state, obs, ppo.init_memory(5), None)
    assert torch.equal(fresh[0], given[0]) and torch.equal(fresh[2]["h"], given[2]["h"])
    again = ppo.act(state, obs, fresh[2], None)
    assert not torch.equal(again[0], fresh[0])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"memory_size": 0}, "memory_size must be a whole number of at least 1, got 0"),
        ({"sequence_length": 0}, "sequence_length must be a whole number of at least 1, got 0"),
        ({"batch_size": 7}, "batch_size must be a whole number of at least 8, got 7"),
        ({"rollout_size": 255}, "rollout_size must be a whole number of at least 256, got 255"),
        ({"activation": "gelu"}, "activation must be one of 'relu', 'tanh', 'elu', got 'gelu'"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        ({"clip": 0.0}, r"clip must be a number in \(0, inf\], got 0.0"),
        ({"learning_rate": -1.0}, r"learning_rate must be a number in \[0, 1\], got -1.0"),
        ({"anneal": 0.5}, "anneal must be one of False, True, got 0.5"),
        ({"normalize_obs": "yes"}, "normalize_obs must be one of False, True, got 'yes'"),
    ],
)
def test_a_bad_field_is_answered_with_what_is_allowed(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RecurrentPPOConfig(**fields)


def recall(learner: OnPolicyLearner, updates: int) -> float:
    """Learn to do in an episode's third step what its first observation said, 1 or -1; return the squared error."""
    n, state, g = 64, learner.init(generator()), generator(1)
    first, act = torch.tensor([1.0, 0.0, 0.0]), learner.act

    def episode(noisy: bool) -> tuple[Tensor, Tensor, Tensor]:
        """The observations of 4 steps, the last of which is the final one; the actions; the third's squared error."""
        cue = torch.where(torch.rand(n, generator=g) < 0.5, -1.0, 1.0)
        obs, actions, memory = torch.zeros(4, n, 2), [], learner.init_memory(n)
        obs[:3, :, 0], obs[:3, :, 1] = first[:, None] * cue, torch.arange(3.0)[:, None]
        obs[3, :, 1] = 3.0
        for t in range(3):
            noise = torch.randn(n, 1, generator=g) if noisy else None
            action, _, memory = act(state, {"policy": obs[t]}, memory, noise)
            actions.append(action)
        return obs, torch.stack([*actions, torch.zeros(n, 1)]), (actions[2][:, 0].clamp(-1, 1) - cue).square()

    with torch.no_grad():
        for number in range(updates):
            played = [episode(noisy=True) for _ in range(4)]
            obs = torch.cat([*(obs for obs, _, _ in played), played[0][0][:1]])
            reward, ended = torch.zeros(16, n), torch.zeros(16, n)
            reward[2::4] = -torch.stack([error for _, _, error in played])
            ended[2::4], live = 1.0, torch.ones(16, n)
            live[3::4] = 0.0  # each episode is followed by a dead step
            action = torch.cat([action for _, action, _ in played])
            nothing = torch.zeros(16, n)
            memory, left = learner.init_memory(n), torch.ones(()).double()
            rollout = Rollout({"policy": obs}, action, reward, ended, nothing, live, nothing, memory, left)
            state, _ = learner.learn(state, rollout, generator(number), EAGER)
        return episode(noisy=False)[2].mean().item()


def test_what_an_episode_began_with_is_remembered_and_without_a_memory_it_is_not() -> None:
    # The best that can be done without knowing is 0, with a squared error of 1.
    common: dict[str, Any] = {"hidden": (16,), "rollout_size": 1024, "epochs": 4, "batch_size": 256}
    common |= {"normalize_obs": False, "normalize_reward": False, "init_log_std": -0.5, "gamma": 0.9}
    spaces = Spaces({"policy": 2}, 1)
    settings = RecurrentPPOConfig(memory_size=16, sequence_length=8, learning_rate=5e-3, **common)
    assert recall(RecurrentPPO(spaces, settings), 12) < 0.1
    assert recall(PPO(spaces, PPOConfig(**common)), 12) > 0.8
