"""Trajectories: what a planner did in an episode, as one file; and doing it again, with feedback where it gave gains.

The file is an .npz of plain arrays, which numpy alone reads, on a robot too:

    time_s (T + 1,), qpos (T + 1, nq), qvel (T + 1, nv), actions (T, na), action_low, action_high (na,), rewards (T,);
    points (T + 1, nx), if what predicts has such; gains (T, na, ndx), if the planner gives them: near points[t]
        u = actions[t] + gains[t] (x - points[t]),  within action_low and action_high;
    start_physics, start_memory, start_params, start_counters: the whole state that it began in;
    about: JSON: the planner, the task and their settings, the names of joints and actions, the model's sha256.

A point is (qpos, qvel), then activations, then what the task carries from step to step. Where all joints are hinges and
slides, ``x - points[t]`` is the plain difference; else positions differ as MuJoCo's mj_differentiatePos says.
"""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from roborl import __version__, models, tasks
from roborl.camera import Camera
from roborl.dynamics.contract import SmoothDynamics
from roborl.dynamics.manifold import StateSpace
from roborl.dynamics.mujoco import MujocoDynamics
from roborl.errors import CorruptFile, UsageError, check_count
from roborl.planners.contract import Plan, Planner, horizon_steps
from roborl.planners.mpc import Episode
from roborl.run.files import atomic_write_bytes, os_errors
from roborl.run.tables import table
from roborl.run.video import VideoWriter
from roborl.sim import Sim, SimState

FORMAT = 1
"""Version of the file; it changes when an older roborl could no longer read one."""

_START = "start_"
_DIMENSIONS = {"time_s": 1, "qpos": 2, "qvel": 2, "actions": 2, "action_low": 1, "action_high": 1, "rewards": 1}
_FEEDBACK = {"points": 2, "gains": 3}


@dataclass(frozen=True)
class Trajectory:
    """An episode of a planner, as it is saved."""

    about: dict[str, Any]
    """The planner and the task in words, names, versions, and the model's sha256."""

    start: SimState
    """The state that it began in, one row."""

    arrays: dict[str, np.ndarray]
    """What the file holds beside these two, by name; see the module."""

    @classmethod
    def of(cls, made_by: dict[str, Any], planner: Planner, episode: Episode) -> Trajectory:
        """Return the trajectory of an episode.

        Args:
            made_by: the policy in words, among them the task and its options.
            planner: the planner.
            episode: what it did.
        """
        dynamics, sim = planner.dynamics, Sim(planner.dynamics.task, 1, num_threads=1)
        arrays = {
            "time_s": dynamics.control_dt * np.arange(len(episode.qpos)),
            "qpos": episode.qpos,
            "qvel": episode.qvel,
            "actions": episode.actions,
            "action_low": dynamics.action_low,
            "action_high": dynamics.action_high,
            "rewards": episode.rewards,
        }
        if isinstance(dynamics, SmoothDynamics):
            arrays["points"] = dynamics.coordinates(episode.states)
        if episode.gains is not None:
            arrays["gains"] = episode.gains
        about = {
            "format": FORMAT,
            "policy": made_by,
            "seed": episode.seed,
            "joints": [sim.model.joint(i).name for i in range(sim.model.njnt)],
            "actions": list(sim.action_names),
            "model_sha256": models.sha256(sim.model),
            "roborl": __version__,
            "mujoco": mujoco.__version__,
        }
        return cls(about, SimState(*(part[:1] for part in episode.states)), arrays)

    def save(self, path: Path) -> None:
        """Write it to a file.

        Raises:
            RunError: if the system refuses.
        """
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {f"{_START}{name}": part for name, part in self.start._asdict().items()}
        arrays |= {"about": np.array(json.dumps(self.about))} | self.arrays
        np.savez(buffer, **arrays)
        with os_errors("make the folder of", path):
            path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_bytes(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> Trajectory:
        """Read a trajectory's file.

        Raises:
            CorruptFile: if it is none, damaged, or of a format that this version does not read.
        """
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                about = json.loads(str(file["about"]))
                start = SimState(*(file[f"{_START}{name}"] for name in SimState._fields))
                names = [*_DIMENSIONS, *(name for name in _FEEDBACK if name in file)]
                arrays = {name: file[name] for name in names}
            if about["format"] != FORMAT:
                raise CorruptFile(f"{path} has format {about['format']!r}; this version reads {FORMAT}")
            for name in ("planner", "task", "options"):
                about["policy"][name]
            for name in ("model_sha256", "roborl", "mujoco"):
                about[name]
        except (OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            raise CorruptFile(f"{path} is no file of a trajectory: {error!r}") from error
        trajectory = cls(about, start, arrays)
        trajectory._check(path)
        return trajectory

    def _check(self, path: Path) -> None:
        """Raise CorruptFile unless the arrays fit one another and are finite."""
        arrays, steps = self.arrays, len(self.arrays["rewards"])
        bounds, states = ("action_low", "action_high"), ("time_s", "qpos", "qvel", "points")
        width = arrays["action_low"].size
        for name, array in arrays.items():
            rows, dimensions = width if name in bounds else steps + (name in states), (_DIMENSIONS | _FEEDBACK)[name]
            if array.ndim != dimensions or len(array) != rows:
                raise CorruptFile(f"{path}: {name} must have {dimensions} axes and {rows} rows, got {array.shape}")
            if array.dtype != np.float64 or not (name in bounds or np.isfinite(array).all()):
                raise CorruptFile(f"{path}: {name} must be finite numbers of double precision, got {array.dtype}")
        if "gains" in arrays and "points" not in arrays:
            raise CorruptFile(f"{path} must have points where it has gains")


def begun_plan(path: Path, planner: Planner) -> Plan:
    """Return what a trajectory's file has for a planner to go on from: as many steps as it plans ahead.

    Raises:
        CorruptFile: if the file is none of a trajectory.
        UsageError: if it is none of the planner's task, or has fewer steps; or the planner does not say its horizon.
    """
    trajectory, task = Trajectory.load(path), planner.dynamics.task
    _check_model(path, trajectory, Sim(task, 1, num_threads=1), MujocoDynamics(task, num_threads=1))
    horizon_s = getattr(planner.config, "horizon_s", None)
    if horizon_s is None:
        raise UsageError(f"{planner.name} has no horizon_s: what it would go on from {path} with is not known")
    horizon, arrays = horizon_steps(horizon_s, planner.dynamics.control_dt), trajectory.arrays
    if len(arrays["actions"]) < horizon:
        raise UsageError(f"{path} has {len(arrays['actions'])} control steps, fewer than horizon_s asks for, {horizon}")
    points = arrays.get("points")
    return Plan(arrays["actions"][:horizon], 0.0, X=None if points is None else points[: horizon + 1])


@dataclass(frozen=True)
class Followed:
    """What came of following a trajectory."""

    how: str
    """In open loop, or with gains."""
    total: float
    """The return."""
    steps: int
    """Control steps until it ended."""
    largest: float
    """The largest difference of a position or speed from the trajectory's, at any time [rad, m, rad/s, m/s]."""
    last: float
    """The same at the end."""
    success: bool | None
    """Whether the goal was reached at the end; None: the task has no such notion."""


@dataclass(frozen=True)
class Replay:
    """A trajectory, followed anew."""

    about: dict[str, Any]
    """What the trajectory's file says of it."""
    planned: float
    """The trajectory's own return."""
    followed: list[Followed]
    """In open loop; then with gains, if there are any."""
    video: Path | None
    """Where the last of them was filmed."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        video = None if self.video is None else str(self.video)
        followed = [asdict(one) for one in self.followed]
        return {"about": self.about, "planned": self.planned, "followed": followed, "video": video}

    def summary(self) -> str:
        """Return it as a table."""
        rows = [
            [
                f.how,
                f"{f.total:.1f}",
                str(f.steps),
                f"{f.largest:.3g}",
                f"{f.last:.3g}",
                "-" if f.success is None else str(f.success),
            ]
            for f in self.followed
        ]
        lines = table(["followed", "return", "steps", "off at most", "off at the end", "success"], rows)
        lines.append(f"planned by {self.about['policy']['planner']}: return {self.planned:.1f}")
        return "\n".join(lines + ([] if self.video is None else [f"video: {self.video}"]))


def replay(path: Path, *, seed: int | None = None, video: Path | None = None) -> Replay:
    """Follow a trajectory on its task's simulator, in open loop, and with its gains if it has any.

    Args:
        path: the trajectory's file.
        seed: None: begin in the state that the trajectory began in. A number: where an episode with this seed begins,
            with what it draws: what open loop does not bear, gains should.
        video: where to write an mp4 of the last of these.

    Raises:
        CorruptFile: if the file is none of a trajectory.
        UsageError: if the task's model is not the one that the trajectory was made with.
        NonFinite: if the simulation diverged.
    """
    trajectory = Trajectory.load(path)
    policy = trajectory.about["policy"]
    dynamics = MujocoDynamics(tasks.load(policy["task"], **policy["options"]), num_threads=1)
    sim = Sim(dynamics.task, 1, num_threads=1)
    _check_model(path, trajectory, sim, dynamics)
    start = trajectory.start
    if seed is not None:
        check_count("seed", seed, 0)
        sim.seed(np.array([seed], np.uint64))
        sim.reset()
        start = sim.state()
    ways = ("open loop", "with gains") if "gains" in trajectory.arrays else ("open loop",)
    followed = []
    for how in ways:
        sim.restore(start)
        film = video if how == ways[-1] else None
        followed.append(_follow(how, trajectory.arrays, dynamics, sim, film))
    return Replay(trajectory.about, float(trajectory.arrays["rewards"].sum()), followed, video)


def _check_model(path: Path, trajectory: Trajectory, sim: Sim, dynamics: MujocoDynamics) -> None:
    """Raise unless a trajectory is one of this task, with this model."""
    about, arrays = trajectory.about, trajectory.arrays
    if models.sha256(sim.model) != about["model_sha256"]:
        raise UsageError(
            f"the model of {type(sim.task).__name__} is not the one that {path} was made with: that of "
            f"{about['policy']['task']} by roborl {about['roborl']} and MuJoCo {about['mujoco']}; "
            f"here are {__version__} and {mujoco.__version__}"
        )
    na, here = len(sim.action_low), sim.state()._asdict()
    widths: dict[str, tuple[int, ...]] = {"qpos": (sim.model.nq,), "qvel": (sim.model.nv,), "actions": (na,)}
    widths |= {"points": (dynamics.space.nx,), "gains": (na, dynamics.space.ndx)}
    widths = {name: width for name, width in widths.items() if name in arrays}
    got = {name: arrays[name].shape[1:] for name in widths}
    got |= {name: part.shape for name, part in trajectory.start._asdict().items()}
    expected = widths | {name: part.shape for name, part in here.items()}
    if got != expected:
        raise CorruptFile(f"{path} does not fit its task: its shapes are {got}, not {expected}")


def _follow(
    how: str, arrays: dict[str, np.ndarray], dynamics: MujocoDynamics, sim: Sim, video: Path | None
) -> Followed:
    """Follow a trajectory from the state that ``sim`` is in, and film it."""
    off, rewards, success = [_largest_difference(arrays, sim, 0)], [], None
    with contextlib.ExitStack() as stack:
        writer = None if video is None else VideoWriter(video, dynamics.control_dt)
        camera = None if video is None else stack.enter_context(contextlib.closing(Camera(sim)))
        if writer is not None:
            stack.callback(writer.discard)
        for t, u in enumerate(arrays["actions"]):
            if writer is not None and camera is not None:
                writer.add(lambda: camera.picture(0))
            if how == "with gains":
                (here,) = dynamics.coordinates(sim.state())
                u = u + arrays["gains"][t] @ dynamics.space.difference(arrays["points"][t], here)
            result = sim.step(np.clip(u, sim.action_low, sim.action_high)[None])
            sim.check_finite(t)
            rewards.append(float(result.reward[0]))
            off.append(_largest_difference(arrays, sim, t + 1))
            success = None if result.success is None else bool(result.success[0])
            if result.terminated[0]:
                break
        if writer is not None:
            writer.save()
    return Followed(how, float(np.sum(rewards)), len(rewards), max(off), off[-1], success)


def _largest_difference(arrays: dict[str, np.ndarray], sim: Sim, t: int) -> float:
    """Return by how much a position or speed of a simulation is off a trajectory's at most."""
    planned = np.concatenate((arrays["qpos"][t], arrays["qvel"][t]))
    here = np.concatenate((sim.fields.qpos[0], sim.fields.qvel[0]))
    return float(np.abs(StateSpace.of_model(sim.model).difference(planned, here)).max())
