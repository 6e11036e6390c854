"""The robots: one MJCF each, every number with its source; and a loader of these, Gymnasium's, and a user's own."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from roborl.errors import ConfigError, CorruptFile, UnknownName, UsageError

if TYPE_CHECKING:
    import mujoco

    from roborl.task.contract import Task

_FOLDER = Path(__file__).parent
_GYMNASIUM = "gymnasium/"


def names() -> list[str]:
    """Return the names of our own robots."""
    return sorted(path.stem for path in _FOLDER.glob("*.xml"))


def path_of(robot: str) -> Path:
    """Return the MJCF's path of a robot.

    Args:
        robot: one of `names`, "gymnasium/NAME" for a model that Gymnasium installs, or the path of an MJCF (.xml).

    Raises:
        UnknownName: if there is no such robot.
        UsageError: if a path leads to no file.
    """
    if robot.startswith(_GYMNASIUM):
        assets = _gymnasium_assets()
        name = robot.removeprefix(_GYMNASIUM)
        if not (assets / f"{name}.xml").is_file():
            raise UnknownName("robot", robot, [_GYMNASIUM + p.stem for p in assets.glob("*.xml")])
        return assets / f"{name}.xml"
    if robot.endswith(".xml"):
        if not Path(robot).is_file():
            raise UsageError(f"there is no MJCF at {robot!r}")
        return Path(robot)
    if robot not in names():
        raise UnknownName("robot", robot, names())
    return _FOLDER / f"{robot}.xml"


def licence(robot: str) -> str:
    """Return under which licence a robot's model comes; of a user's own file nothing is known."""
    if robot.startswith(_GYMNASIUM):
        return "MIT, from Gymnasium"
    return "MIT" if robot in names() else "licence not known"


def load(robot: str) -> mujoco.MjSpec:
    """Return a robot's model, ready to be edited and compiled.

    Args:
        robot: as for `path_of`.

    Raises:
        UnknownName: if there is no such robot.
        CorruptFile: if its file cannot be read as MJCF.
    """
    import mujoco

    path = path_of(robot)
    try:
        return mujoco.MjSpec.from_file(str(path))
    except ValueError as error:
        raise CorruptFile(f"{path} is not a valid MJCF: {' '.join(str(error).split())}") from error


def compile_spec(spec: mujoco.MjSpec) -> mujoco.MjModel:
    """Compile a model; what MuJoCo says of deprecated attributes of files that are not ours is left out.

    Raises:
        CorruptFile: if the model makes no sense.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="compiler attribute .* is deprecated", category=UserWarning)
        try:
            return spec.compile()
        except ValueError as error:
            raise CorruptFile(f"the model {spec.modelname!r} cannot be compiled: {error}") from error


def compile_task(task: Task) -> mujoco.MjModel:
    """Return a task's compiled model.

    Raises:
        ConfigError: if the control period is no whole multiple of the model's time step, or there are no actuators.
    """
    import mujoco

    spec = load(task.model_source)
    task.edit(spec)
    for parameter in task.parameters().values():
        parameter.prepare(spec)
    model = compile_spec(spec)
    if model.ntree == 1:
        # One kinematic tree is one island of the constraint solver: not to look for it gives the same bits, sooner.
        model.opt.disableflags = int(model.opt.disableflags) | int(mujoco.mjtDisableBit.mjDSBL_ISLAND)
    substeps = task.control_dt / model.opt.timestep
    if abs(substeps - round(substeps)) > 1e-6 or round(substeps) < 1:
        raise ConfigError(
            f"control_dt of {type(task).__name__} must be a whole multiple of the model's time step "
            f"{model.opt.timestep:g} s, got {task.control_dt:g} s"
        )
    if model.nu == 0:
        raise ConfigError(f"the model of {type(task).__name__} ({task.robot}) has no actuators")
    return model


def sha256(model: mujoco.MjModel) -> str:
    """Return the sha256 of a compiled model, in hexadecimal: it differs where any number of the model does."""
    import mujoco

    binary = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, binary)
    return hashlib.sha256(binary.tobytes()).hexdigest()


@functools.cache
def _gymnasium_assets() -> Path:
    found = importlib.util.find_spec("gymnasium")
    if found is None or found.origin is None:
        raise UsageError("robots named gymnasium/... need the package gymnasium[mujoco]")
    return Path(found.origin).parent / "envs" / "mujoco" / "assets"
