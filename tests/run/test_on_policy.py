from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch import Tensor

from roborl.learner import Learner, Metrics, Obs, OnPolicyLearner, Rollout, Spaces
from roborl.nn.compile import Compiler
from roborl.nn.graph import PolicyGraph
from roborl.nn.normalizer import NormalizerState, init_normalizer, update_normalizer
from roborl.nn.tree import tree_map
from roborl.run.config import RunConfig
from roborl.run.executor import GymExecutor
from roborl.run.on_policy import OnPolicyLoop


class Short(gymnasium.Env):
    """Shows its episode, its time and the action it took; ends after three steps, each second time by truncation."""

    observation_space: Any = Box(-99.0, 99.0, (3,))
    action_space: Any = Box(-2.0, 2.0, (1,))

    def __init__(self) -> None:
        self.episode, self.time = -1, 0

    def _obs(self, action: float) -> np.ndarray:
        return np.array([self.episode, self.time, action], np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.time = self.episode + 1, 0
        return self._obs(0.0), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        ended, odd = self.time == 3, bool(self.episode % 2)
        return self._obs(float(action[0])), float(self.time), ended and not odd, ended and odd, {}


@dataclass(frozen=True)
class Settings:
    rollout_size: int = 10
    gamma: float = 0.5


class Recorder(OnPolicyLearner):
    """Keeps the rollouts; its policy is recurrent: it remembers how many steps it has seen and what it was in last."""

    name, Config = "recorder", Settings

    def __init__(self, spaces: Spaces, config: Any) -> None:
        super().__init__(spaces, config)
        self.rollouts: list[Rollout] = []

    def init(self, generator: torch.Generator, dtype: Any = torch.float32, device: Any = "cpu") -> dict[str, Any]:
        return {"learned": torch.zeros(()), "seen": init_normalizer(self.spaces.obs["policy"])}

    def init_memory(self, n: int) -> dict[str, Tensor]:
        return {"steps": torch.zeros(n, 1)}

    def act(self, state: Any, obs: Obs, memory: Any, noise: Tensor | None) -> tuple[Tensor, dict[str, Tensor], Any]:
        steps = memory["steps"] + 1
        return 1.5 * steps, {}, {"steps": steps}

    def act_noise_shape(self, n: int) -> tuple[int, ...]:
        return (n, 1)

    def observe(self, state: Any, obs: Obs) -> Any:
        return state | {"seen": update_normalizer(state["seen"], obs["policy"])}

    @property
    def observes(self) -> bool:
        return True

    def learn(
        self, state: Any, rollout: Rollout, generator: torch.Generator, compiler: Compiler
    ) -> tuple[Any, Metrics]:
        self.rollouts.append(tree_map(torch.clone, rollout))
        return state | {"learned": state["learned"] + 1}, {"a_loss": torch.tensor(1.0)}

    def policy_graph(self, state: Any) -> PolicyGraph:
        raise NotImplementedError


@pytest.fixture(autouse=True, scope="module")
def registered() -> Iterator[None]:
    gymnasium.register("roborltest/Shown-v0", Short)  # pyright: ignore[reportArgumentType]
    yield
    del gymnasium.registry["roborltest/Shown-v0"]


def make_loop(num_envs: int = 2, steps: int = 32, **settings: Any) -> tuple[OnPolicyLoop, Recorder]:
    executor = GymExecutor("roborltest/Shown-v0", num_envs, {})
    learner = Recorder(executor.spaces, Settings(**settings))
    config = RunConfig("ppo", "roborltest/Shown-v0", num_envs=num_envs, steps=steps, compile=False)
    return OnPolicyLoop(config, learner, executor), learner


def run(loop: OnPolicyLoop, advances: int) -> None:
    loop.begin()
    for _ in range(advances):
        loop.advance()


def test_a_rollout_holds_what_happened_with_the_final_observation_and_a_dead_step_after_each_episode() -> None:
    loop, learner = make_loop()
    run(loop, 5)
    (rollout,) = learner.rollouts
    # columns: episode, time, action in the environment's units
    assert rollout.obs["policy"][:, 0, :2].tolist() == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 0], [1, 1]]
    assert rollout.live[:, 0].tolist() == [1, 1, 1, 0, 1]
    assert rollout.terminated[:, 0].tolist() == [0, 0, 1, 0, 0] and not rollout.truncated.any()
    assert rollout.reward[:, 0].tolist() == [1, 2, 3, 0, 1]
    # gamma 1/2: 1, 2 + 1/2, 3 + 2.5/2, the reset, 1
    assert rollout.return_so_far[:, 0].tolist() == [1, 2.5, 4.25, 0, 1]
    run_on(loop, 5)
    second = learner.rollouts[1]
    assert torch.equal(second.obs["policy"][0], rollout.obs["policy"][5])  # it begins where the first one ended
    assert second.truncated[:, 0].tolist() == [0, 1, 0, 0, 0] and not second.terminated.any()
    assert second.live[:, 0].tolist() == [1, 1, 0, 1, 1]


def run_on(loop: OnPolicyLoop, advances: int) -> None:
    for _ in range(advances):
        loop.advance()


def test_actions_are_stored_as_they_were_chosen_and_clipped_for_the_environment() -> None:
    # The policy says 1.5, 3, ...: beyond the bounds, of which the environment's are +-2.
    loop, learner = make_loop()
    run(loop, 5)
    (rollout,) = learner.rollouts
    assert rollout.action[:3, 0, 0].tolist() == [1.5, 3.0, 4.5]
    assert rollout.obs["policy"][1:4, 0, 2].tolist() == [2, 2, 2]


def test_a_memory_begins_anew_with_each_episode_and_a_rollout_has_that_of_its_beginning() -> None:
    # Steps are remembered from 0: after the dead step (the fourth) it begins again.
    loop, learner = make_loop()
    run(loop, 10)
    first, second = learner.rollouts
    assert first.action[:, 0, 0].tolist() == [1.5, 3, 4.5, 6, 1.5]
    assert first.memory["steps"].tolist() == [[0], [0]]
    assert second.memory["steps"].tolist() == [[1], [1]]
    assert second.action[:, 0, 0].tolist() == [3, 4.5, 6, 1.5, 3]


def test_the_normaliser_sees_after_each_rollout_what_the_policy_acted_on_and_nothing_else() -> None:
    loop, learner = make_loop()
    run(loop, 9)
    (rollout,) = learner.rollouts
    rows = rollout.obs["policy"][:5][rollout.live > 0]  # no final observation, and not yet the second rollout's
    seen: NormalizerState = loop.state["seen"]
    assert seen.count == len(rows) == 8
    torch.testing.assert_close(seen.mean, rows.mean(0))
    assert loop.metrics["a_loss"] == 1 and loop.updates == 1 and loop.env_steps == 14


@pytest.mark.parametrize(("num_envs", "steps"), [(1, 10), (3, 4), (10, 1), (16, 1)])
def test_a_rollout_is_as_large_as_asked_for_with_any_number_of_environments(num_envs: int, steps: int) -> None:
    loop, learner = make_loop(num_envs)
    run(loop, 2 * steps)
    assert [tuple(rollout.reward.shape) for rollout in learner.rollouts] == [(steps, num_envs)] * 2


def test_a_rollout_knows_what_was_left_of_the_run_when_it_began() -> None:
    # Each holds 8 live steps and 2 resets: of 32 steps 1, then 24/32 and 16/32 are left.
    loop, learner = make_loop(steps=32)
    run(loop, 15)
    assert [rollout.left.item() for rollout in learner.rollouts] == [1.0, 0.75, 0.5]


def test_a_run_that_is_resumed_to_more_steps_has_left_what_a_run_of_so_many_would_have() -> None:
    # Stopped within the second rollout, which began at step 8: 56/64.
    loop, _ = make_loop(steps=12)
    run(loop, 7)
    arrays, meta = loop.snapshot()
    longer, learner = make_loop(steps=64)
    longer.restore({name: torch.as_tensor(a).clone() for name, a in arrays.items()}, meta)
    run_on(longer, 2)
    assert [rollout.left.item() for rollout in learner.rollouts] == [0.875]


def test_the_rollout_under_way_and_the_memories_are_in_the_snapshot() -> None:
    loop, learner = make_loop()
    run(loop, 7)
    arrays, meta = loop.snapshot()
    tensors: Mapping[str, Tensor] = {name: torch.as_tensor(a).clone() for name, a in arrays.items()}
    other, learner_too = make_loop()
    other.restore(tensors, meta)
    # The environments begin anew: what was under way is cut off there, a dead step follows.
    run_on(other, 2)
    (rollout,) = learner_too.rollouts
    before = learner.rollouts[0]
    assert torch.equal(rollout.obs["policy"][0], before.obs["policy"][5])
    assert rollout.live[:, 0].tolist() == [1, 1, 0, 1, 1]
    assert rollout.truncated[:, 0].tolist() == [0, 1, 0, 0, 0]
    assert rollout.memory["steps"].tolist() == [[1], [1]]
    assert rollout.action[:, 0, 0].tolist() == [3, 4.5, 0, 1.5, 3]  # the new episodes begin without a memory
    assert rollout.obs["policy"][3, 0].tolist() == [0, 0, 0]


def test_a_learner_without_a_memory_has_none() -> None:
    assert Learner.init_memory(make_loop()[1], 3) is None
