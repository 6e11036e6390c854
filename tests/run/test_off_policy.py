from __future__ import annotations

from typing import Any

import pytest
import torch
from learners import OFF_POLICY

from roborl.algos import learner_class
from roborl.data.replay import unpack
from roborl.errors import UsageError
from roborl.nn.tree import flatten, tree_map
from roborl.run.config import RunConfig
from roborl.run.executor import make_executor
from roborl.run.off_policy import OffPolicyLoop


def make_loop(learner: str, task: str, compiled: bool) -> OffPolicyLoop:
    settings = {"hidden": (16, 16), "batch_size": 8, "learning_starts": 8, "buffer_size": 100}
    if learner != "crossq":  # which normalises by itself
        settings["normalize_obs"] = True
    config = RunConfig(learner, task, compile=compiled, settings=settings).resolve()
    executor = make_executor(task, 1)
    built: Any = learner_class(learner)(executor.spaces, config.learner_config())
    return OffPolicyLoop(config, built, executor)


@pytest.mark.parametrize("learner", OFF_POLICY)
def test_the_compiled_update_in_place_is_the_pure_one(learner: str) -> None:
    loop = make_loop(learner, "CartpoleTrack", compiled=True)  # its critics see more than its actor
    loop.begin()
    while loop.env_steps < 8:
        loop.advance()
    loop._hold(tree_map(lambda leaf: leaf.double(), loop.state))
    pure = tree_map(torch.clone, loop.state)
    noise = torch.Generator().manual_seed(0)
    for _ in range(10):
        packed = loop.replay.sample(loop._sample, 8 * loop.learner.updates_per_call).double()
        drawn = torch.randn(loop.learner.update_noise_shape(), generator=noise, dtype=torch.float64)
        obs = {name: packed[:1, where] for name, where in loop.replay.layout.columns().items()}
        act_noise = torch.randn(loop.learner.act_noise_shape(1), generator=noise, dtype=torch.float64)
        changed, metrics, action = loop._compiled_learn_and_act(loop.state, packed, drawn, obs, act_noise)
        loop._keep(changed, metrics)
        with torch.no_grad():
            pure, expected = loop.learner.update(pure, unpack(packed, loop.replay.layout), drawn)
            wanted, _, _ = loop.learner.act(pure, obs, None, act_noise)
        torch.testing.assert_close(metrics, expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(action, wanted, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(flatten(loop.state), flatten(pure), rtol=1e-9, atol=1e-9)


def test_a_delayed_policy_is_updated_once_its_critics_updates_are_all_due() -> None:
    loop = make_loop("td3", "CartpoleTrack", compiled=False)
    loop.begin()
    updates = []
    while loop.env_steps < 15:
        loop.advance()
        updates.append(loop.updates)
    assert updates == [0] * 9 + [2, 2, 4, 4, 6, 6]  # one a step from step 9 on, taken in pairs
    assert (loop.state.critic_opt.count, loop.state.actor_opt.count) == (6, 3)


def test_n_step_targets_and_hindsight_are_what_the_loop_learns_from() -> None:
    options = {"reward": "sparse"}
    for changes, wanted in (({}, "Replay"), ({"n_step": 3}, "NStep"), ({"hindsight": 4, "n_step": 2}, "Hindsight")):
        settings = {"hidden": (16, 16), "batch_size": 64, "learning_starts": 160, **changes}
        config = RunConfig("td3", "ArmReach", compile=False, settings=settings).resolve()
        executor = make_executor("ArmReach", 2, options=options)
        built: Any = learner_class("td3")(executor.spaces, config.learner_config())
        loop = OffPolicyLoop(config, built, executor)
        loop.begin()
        while loop.env_steps < 164:
            loop.advance()
        assert type(loop._draw.__self__).__name__ == wanted  # pyright: ignore[reportFunctionMemberAccess]
        batch = unpack(loop._draw(loop._sample, 500), loop.replay.layout)
        assert torch.equal(batch.obs["policy"][:, -3:], batch.obs["desired_goal"])
        gammas = torch.tensor([0.99**i for i in range(config.settings["n_step"])])
        assert torch.isin(batch.discount, gammas).all()
        # far from the goals that were drawn, near many of those that were reached
        assert (batch.reward.max() == 0) == ("hindsight" in changes)


def test_hindsight_without_goals_is_refused() -> None:
    settings = {"hidden": (16, 16), "hindsight": 4}
    for task in ("PendulumSwingup", "Pendulum-v1"):
        config = RunConfig("sac", task, compile=False, settings=settings).resolve()
        executor = make_executor(task, 1)
        built: Any = learner_class("sac")(executor.spaces, config.learner_config())
        with pytest.raises(UsageError, match="hindsight needs a task whose observations have an achieved_goal"):
            OffPolicyLoop(config, built, executor)
