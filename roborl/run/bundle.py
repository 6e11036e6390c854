"""From a run to a bundle: what deploy needs is gathered here, and the bundle is tried in the task's simulation."""

from __future__ import annotations

import inspect
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from roborl import models
from roborl.deploy.export import export_bundle
from roborl.deploy.golden import record_golden
from roborl.deploy.manifest import ACTION_LAW, ActionTerm, Manifest, ObservationTerm
from roborl.deploy.runtime import Policy
from roborl.deploy.verify import Check, Report, verify_bundle
from roborl.errors import check_count
from roborl.run.config import RunConfig
from roborl.run.evaluate import evaluate
from roborl.run.executor import Executor, TaskExecutor
from roborl.run.policy import TrainedPolicy, open_executor
from roborl.sim import Sim
from roborl.task import Task

BUNDLE = "policy.onnx"
GOLDEN_STEPS = 200
"""Steps of the first evaluation episode that are kept as golden data."""
COMPARED = 20
"""Evaluation episodes whose returns are kept, to compare the bundle's with."""


def export(policy: TrainedPolicy, path: Path) -> Manifest:
    """Write a run's policy as a bundle.

    Args:
        policy: the policy.
        path: the file to write.

    Returns:
        The bundle's manifest.

    Raises:
        RunError: if the file cannot be written, or the exported network is not the policy.
    """
    trace: list[np.ndarray] = []
    policy.reset()
    with closing(open_executor(policy.config, COMPARED)) as executor:
        original = evaluate(policy.act_units, executor, trace=trace)
        manifest = describe(policy, executor, {"env_steps": policy.env_steps, "returns": original.returns})
    rows = np.asarray(trace[:GOLDEN_STEPS], np.float32)
    golden = record_golden(manifest, partial(_replay, policy), rows, np.arange(len(rows)) == 0)
    export_bundle(
        path, policy.learner.policy_graph(policy.state), manifest, policy.action_low, policy.action_high, golden
    )
    return manifest


def _replay(policy: TrainedPolicy, rows: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Return what a policy does on rows (T, n) in time order, (T, m), if it begins anew where told (T,)."""
    actions = []
    for row, begin in zip(rows, begins, strict=True):
        if begin:
            policy.reset()
        actions.append(policy.act(row))
    return np.stack(actions)


def describe(policy: TrainedPolicy, executor: Executor, training: dict[str, Any]) -> Manifest:
    """Return the contract that a controller of this policy must honour."""
    config, memory = policy.config, policy.learner.init_memory(1)
    common: dict[str, Any] = {
        "task": config.task,
        "learner": config.learner,
        "run_path": policy.run_dir.name,
        "memory_width": 0 if memory is None else memory["h"].shape[1],
        "training": training | {"seed": config.seed, "options": config.to_json()["options"]},
    }
    if isinstance(executor, TaskExecutor):
        return _describe_task(executor.env.sim, common)
    n = executor.spaces.obs["policy"]
    labels = tuple(f"obs[{i}]" for i in range(n))
    return Manifest(
        observations=(
            ObservationTerm("obs", 0, n, labels, "", "", {"kind": "gymnasium"}, 1.0, 1, 0, on_hardware=False),
        ),
        actions=tuple(
            ActionTerm(f"action[{i}]", float(low), float(high), "", 0.0, 1.0)
            for i, (low, high) in enumerate(zip(executor.action_low, executor.action_high, strict=True))
        ),
        control_rate_hz=1.0 / executor.control_dt if executor.control_dt else 0.0,
        model_sha256="",
        **common,
    )


def _describe_task(sim: Sim, common: dict[str, Any]) -> Manifest:
    task, law = sim.task, sim.task.action
    observations = tuple(
        ObservationTerm(
            name=bound.term.name,
            start=bound.start,
            stop=bound.start + bound.size,
            labels=bound.labels,
            unit=bound.term.unit,
            frame=bound.term.frame,
            source=bound.term.source.describe(),
            scale=1.0,
            history=bound.term.history,
            delay=bound.term.delay,
            on_hardware=bound.term.source.on_hardware,
        )
        for bound in sim.observer.groups["policy"]
    )
    scales = law.scale if isinstance(law.scale, tuple) else (law.scale,) * len(sim.action_names)
    actions = tuple(
        ActionTerm(
            name=name,
            low=float(sim.action_low[i]),
            high=float(sim.action_high[i]),
            unit=law.unit,
            default=float(law.default[i]) if law.default else 0.0,
            scale=float(scales[i]),
            moves=bool(law.moves and law.moves[i]),
            lead=float(law.lead[i]) if law.lead else 0.0,
            limits=(float(law.lower[i]), float(law.upper[i])) if law.lower else (),
        )
        for i, name in enumerate(sim.action_names)
    )
    return Manifest(
        observations=observations,
        actions=actions,
        control_rate_hz=1.0 / task.control_dt,
        model_sha256=models.sha256(sim.model),
        action_law=_action_law(task),
        action_delay=task.action_delay,
        joint_names=tuple(sim.model.joint(i).name for i in range(sim.model.njnt)),
        command_names=tuple(name for name in task.memory if name == "command"),
        **common,
    )


def _action_law(task: Task) -> str:
    """Return how an action becomes control: in numbers where it is the usual law, in words where a task has its own."""
    if type(task).control is Task.control:
        return ACTION_LAW
    return f"{type(task).__name__}.control: {inspect.getdoc(type(task).control) or 'a law of its own'}"


def verify(path: Path, episodes: int = 20) -> Report:
    """Check a bundle: its seal, its contract, its golden data, and that it does in simulation what the original did.

    Args:
        path: the bundle.
        episodes: episodes in simulation.

    Raises:
        CorruptFile: if it is no bundle, or was altered.
    """
    check_count("episodes", episodes, 1)

    def in_simulation(policy: Policy) -> list[Check]:
        with closing(open_executor(_config_of(policy), episodes)) as executor:
            low, high = executor.action_low, executor.action_high
            policy.reset()
            memories = [policy.memory] * episodes

            def act(obs: np.ndarray) -> np.ndarray:
                actions = np.empty((episodes, len(low)), np.float32)
                for i, row in enumerate(obs):
                    policy.memory = memories[i]
                    actions[i], memories[i] = policy.act(row.astype(np.float32)), policy.memory
                return (2.0 * actions - (high + low)) / (high - low)

            return [compare_returns(np.array(evaluate(act, executor).returns), policy.manifest.training["returns"])]

    return verify_bundle(path, in_simulation)


def compare_returns(got: np.ndarray, recorded: list[float]) -> Check:
    """Compare returns in simulation with those of the original in the same episodes.

    Where contacts make a motion chaotic, the last bit of an action decides over an episode, and only the mean can be
    compared: it may differ by 1% and three standard errors.

    Args:
        got: (n,), of episodes 0 to n - 1.
        recorded: the original's, of as many episodes as were kept.
    """
    n = min(len(got), len(recorded))
    original = np.array(recorded[:n])
    difference = got[:n] - original
    # A few differences say little of their own spread: then that of unrelated episodes stands in for it.
    spread = difference.std(ddof=1) if n >= 10 else 2.0**0.5 * np.std(recorded)
    mean, expected = float(got[:n].mean()), float(original.mean())
    allowed = 0.01 * max(abs(expected), 1.0) + 3.0 * float(spread) / n**0.5
    detail = f"mean return {mean:.2f} over {n} episodes, {expected:.2f} by the original in the same ones"
    return Check("simulation", abs(mean - expected) <= allowed, f"{detail} (allowed +- {allowed:.2g})")


def _config_of(policy: Policy) -> RunConfig:
    manifest = policy.manifest
    return RunConfig(manifest.learner, manifest.task, options=manifest.training.get("options", {}))
