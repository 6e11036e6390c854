"""roborl from Python: make a task, train, load, act, evaluate, export."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from roborl.envs import TaskEnv, TaskVectorEnv, make_env, make_vector_env
from roborl.errors import UsageError, check_count
from roborl.run import bundle, planning, training, trajectory
from roborl.run import evaluate as evaluation
from roborl.run.config import RunConfig
from roborl.run.policy import TrainedPolicy, load_policy, open_executor
from roborl.run.training import TrainingResult
from roborl.run.video import check_video_path


def make(task: str, render_mode: str | None = None, **options: Any) -> TaskEnv:
    """Return a task as a `gymnasium.Env`, as ``make("CartpoleSwingup")``."""
    return make_env(task, render_mode, **options)


def make_vec(task: str, num_envs: int, **options: Any) -> TaskVectorEnv:
    """Return N environments of a task as a `gymnasium.vector.VectorEnv`; see `roborl.envs.make_vector_env`."""
    return make_vector_env(task, num_envs, **options)


def train(
    learner: str,
    task: str,
    *,
    out: str | Path | None = None,
    quiet: bool = False,
    settings: dict[str, Any] | None = None,
    **run: Any,
) -> TrainingResult:
    """Train a learner on a task in a new run folder.

    Args:
        learner: its name, as "sac", or FILE.py:Class.
        task: a task's name, FILE.py:Class, or the id of a gymnasium environment.
        out: the run's folder; None: runs/LEARNER-TASK-sSEED.
        quiet: show no progress.
        settings: the learner's settings that differ from presets and defaults.
        run: fields of `roborl.run.config.RunConfig`, as ``steps=50_000, seed=1, num_envs=8``; where they are not given,
            the task's own if it has any, else the defaults.

    Returns:
        Where the run lies, and how it went.
    """
    config = RunConfig.for_task(learner, task, settings=settings or {}, **run)
    return training.train(config, None if out is None else Path(out), quiet=quiet)


def resume(run_dir: str | Path, *, steps: int | None = None, quiet: bool = False) -> TrainingResult:
    """Continue a run from its last checkpoint; see `roborl.run.training.resume`."""
    return training.resume(Path(run_dir), steps=steps, quiet=quiet)


def load(run_dir: str | Path, checkpoint: int | None = None) -> TrainedPolicy:
    """Return a run's policy, whose ``act(obs)`` gives actions in the environment's units."""
    return load_policy(Path(run_dir), checkpoint)


def evaluate(
    run_dir: str | Path,
    *,
    episodes: int = 20,
    seed: int = evaluation.EVALUATION_SEED,
    checkpoint: int | None = None,
    video: str | Path | None = None,
) -> evaluation.Evaluation:
    """Evaluate a run's deterministic policy, or an MPC policy, on episodes with fixed seeds.

    Args:
        run_dir: the run's folder, or the file of an MPC policy (.json), as `roborl plan --policy` writes it.
        episodes: how many.
        seed: episode i is seeded with ``seed + i``.
        checkpoint: the step of the checkpoint; None: the last.
        video: where to write an mp4 of the first episode.

    Raises:
        UsageError: if there is neither, or a checkpoint is asked of an MPC policy, which has none.
    """
    check_count("episodes", episodes, 1)
    check_count("seed", seed, 0)
    film = None if video is None else check_video_path(Path(video))
    if Path(run_dir).suffix == ".json":
        if checkpoint is not None:
            raise UsageError(f"an MPC policy has no checkpoints, got {run_dir} and checkpoint {checkpoint}")
        config = planning.MPCConfig.load(Path(run_dir))
        return planning.plan(config, episodes=episodes, seed=seed, video=film, quiet=True).evaluation
    policy = load(run_dir, checkpoint)
    with closing(open_executor(policy.config, episodes, render=film is not None)) as executor:
        return evaluation.evaluate(policy.act_units, executor, seed, film)


def replay(path: str | Path, *, seed: int | None = None, video: str | Path | None = None) -> trajectory.Replay:
    """Follow a trajectory that `roborl plan --save` wrote; see `roborl.run.trajectory.replay`."""
    film = None if video is None else check_video_path(Path(video))
    return trajectory.replay(Path(path), seed=seed, video=film)


def export(run_dir: str | Path, path: str | Path | None = None, checkpoint: int | None = None) -> Path:
    """Write a run's policy as a bundle; return where it lies (by default the run's policy.onnx)."""
    path = Path(run_dir) / bundle.BUNDLE if path is None else Path(path)
    bundle.export(load(run_dir, checkpoint), path)
    return path
