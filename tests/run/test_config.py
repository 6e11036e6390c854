from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from roborl import presets
from roborl.algos import LEARNERS, learner_class
from roborl.errors import ConfigError, CorruptFile, UnknownName, UsageError
from roborl.run.config import RunConfig, build_config

PENDULUM = "roborl/PendulumSwingup-v1"


def test_a_resolved_configuration_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(presets.PRESETS, ("sac", "PendulumSwingup"), {"gamma": 0.5, "tau": 0.25})
    config = RunConfig("sac", PENDULUM, num_envs=3, settings={"tau": 0.125}).resolve()
    assert config.settings["tau"] == 0.125  # what was asked for,
    assert config.settings["gamma"] == 0.5  # then the preset,
    assert config.settings["init_alpha"] == 1.0  # then the learner's default
    assert config.threads >= 1
    assert config.sim_threads == min(3, len(os.sched_getaffinity(0)))
    assert config.resolve() == config
    learner_config = config.learner_config()
    assert (learner_config.gamma, learner_config.tau, learner_config.hidden) == (0.5, 0.125, (256, 256))


def test_narrow_networks_get_one_thread_and_a_number_asked_for_is_kept() -> None:
    narrow = {"hidden": (64, 64), "batch_size": 100}
    assert RunConfig("sac", PENDULUM, settings=narrow).resolve().threads == 1
    assert RunConfig("sac", PENDULUM, settings=narrow, threads=2).resolve().threads == 2


def test_what_is_not_given_is_the_tasks_own_and_else_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(presets.RUNS, ("sac", "PendulumSwingup"), {"steps": 77, "num_envs": 3})
    for name in ("PendulumSwingup", PENDULUM):
        config = RunConfig.for_task("sac", name, num_envs=5)
        assert (config.steps, config.num_envs, config.seed) == (77, 5, 0)
    assert RunConfig.for_task("ppo", "Unknown-v5").steps == RunConfig("ppo", "Unknown-v5").steps


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_configuration_comes_back_from_its_file(learner: str, tmp_path: Path) -> None:
    config = RunConfig(learner, PENDULUM, steps=77, seed=2**70, options={"a": [1.5, None, "x"]}).resolve()
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.to_json()))
    loaded = RunConfig.load(path)
    assert loaded.to_json() == config.to_json()
    assert loaded.learner_config() == config.learner_config()
    assert isinstance(loaded.learner_config(), learner_class(learner).Config)


@pytest.mark.parametrize("name", ["PendulumSwingup", "PendulumSwingup-v1", "roborl/PendulumSwingup", PENDULUM])
def test_a_task_of_ours_is_called_by_its_full_name(name: str) -> None:
    assert RunConfig("sac", name).resolve().task == PENDULUM


def test_other_tasks_keep_their_names_and_files_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert RunConfig("sac", "HalfCheetah-v5").resolve().task == "HalfCheetah-v5"
    assert RunConfig("sac", "sub/my.py:Mine").resolve().task == f"{tmp_path}/sub/my.py:Mine"
    assert RunConfig("sac", "/elsewhere/my.py:Mine").resolve().task == "/elsewhere/my.py:Mine"
    (tmp_path / "mine.py").write_text("from roborl.algos.a2c import A2C as Mine\n")
    assert RunConfig("mine.py:Mine", "T").resolve().learner == f"{tmp_path}/mine.py:Mine"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, r"steps must be a whole number of at least 1, got 0"),
        ({"steps": 1e5}, "steps must be a whole number of at least 1, got 100000.0"),
        ({"steps": True}, "steps must be a whole number of at least 1, got True"),
        ({"num_envs": 0}, "num_envs must be"),
        ({"keep": 0}, "keep must be"),
        ({"seed": -1}, "seed must be"),
        ({"threads": -1}, "threads must be"),
        ({"compile": "yes"}, "compile must be one of False, True, got 'yes'"),
        ({"device": "tpu"}, "device must be cpu, cuda or cuda:NUMBER, got 'tpu'"),
        ({"device": "cuda:-1"}, "device must be cpu, cuda or cuda:NUMBER, got 'cuda:-1'"),
        ({"device": None}, "device must be a str, got None"),
        ({"task": 3}, "task must be a str, got 3"),
        ({"options": ["a"]}, r"options must be a dict, got \['a'\]"),
        ({"options": {"a": {1, 2}}}, "options must be what JSON can say"),
    ],
)
def test_what_is_out_of_its_range_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RunConfig(**{"learner": "sac", "task": PENDULUM, **changes})


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    RunConfig("sac", PENDULUM, device="cuda")
    RunConfig("sac", PENDULUM, device="cuda:0")
    with pytest.raises(UsageError, match="device 'cuda:1' was asked for, but torch sees 1 CUDA devices here"):
        RunConfig("sac", PENDULUM, device="cuda:1")


def test_an_unknown_setting_names_the_nearest_and_a_wrong_one_its_range() -> None:
    with pytest.raises(UnknownName, match="unknown setting of sac 'batchsize'; did you mean 'batch_size'"):
        RunConfig("sac", PENDULUM, settings={"batchsize": 3}).resolve()
    with pytest.raises(ConfigError, match="tau must be a number"):
        RunConfig("sac", PENDULUM, settings={"tau": "a"}).resolve()
    with pytest.raises(UnknownName, match="unknown learner 'sack'; did you mean 'sac'"):
        RunConfig("sack", PENDULUM).resolve()
    with pytest.raises(ConfigError, match="RunConfig: .* missing 1 required positional argument: 'task'"):
        build_config(RunConfig, {"learner": "sac"})


def test_a_file_that_is_no_configuration_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with pytest.raises(UsageError, match=f"{tmp_path} is no run: it has no config.json"):
        RunConfig.load(path)
    for text in ("", "3", "[]", "{}", "\0"):
        path.write_text(text)
        with pytest.raises(CorruptFile, match=r"config\.json is no configuration of a run"):
            RunConfig.load(path)
    path.write_text('{"format": 1, "learner": "sac", "task": "x", "steps": 0}')
    with pytest.raises(CorruptFile, match=r"config\.json: steps must be"):
        RunConfig.load(path)
