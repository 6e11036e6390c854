from __future__ import annotations

from typing import Any

import pytest
import torch
from learners import OFF_POLICY

from roborl.algos import learner_class
from roborl.data.replay import unpack
from roborl.nn.tree import flatten, tree_map
from roborl.run.config import RunConfig
from roborl.run.executor import make_executor
from roborl.run.off_policy import OffPolicyLoop


def make_loop(learner: str, task: str, compiled: bool) -> OffPolicyLoop:
    settings = {"hidden": (16, 16), "batch_size": 8, "learning_starts": 8, "buffer_size": 100, "normalize_obs": True}
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
        packed = loop.replay.sample(loop._sample, 8).double()
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
