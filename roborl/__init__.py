"""roborl: one task definition, every way to control it, one file to the robot.

Importing the package is cheap: neither torch nor mujoco is loaded until something needs them. It registers the
task ids with gymnasium, so that ``gymnasium.make("roborl:roborl/CartpoleSwingup-v1")`` works without more.
"""

from __future__ import annotations

import os as _os
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

__version__ = "0.1.0"

if _TYPE_CHECKING:
    from roborl.run.api import evaluate, export, load, make, make_vec, resume, train

__all__ = ["evaluate", "export", "load", "make", "make_vec", "resume", "train"]


def __getattr__(name: str) -> _Any:
    if name in __all__:
        from roborl.run import api

        return getattr(api, name)
    raise AttributeError(f"module 'roborl' has no attribute {name!r}")


def _choose_offscreen_rendering() -> None:
    """Let MuJoCo render without a screen, where there is none and the user chose nothing.

    MuJoCo reads MUJOCO_GL once, when it is first imported; its default on Linux fails without a display.
    """
    if "MUJOCO_GL" in _os.environ or _os.environ.get("DISPLAY") or _os.environ.get("WAYLAND_DISPLAY"):
        return
    import ctypes

    for backend, library in (("egl", "libEGL.so.1"), ("osmesa", "libOSMesa.so.8")):
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        _os.environ["MUJOCO_GL"] = backend
        return


def _register_tasks() -> None:
    """Register every task of `roborl.tasks` with gymnasium, where gymnasium is installed.

    A robot's computer, which runs exported policies alone, has no gymnasium.
    """
    try:
        import gymnasium
    except ModuleNotFoundError:
        return
    from roborl.tasks import TASKS

    for task_id in TASKS:
        gymnasium.register(
            task_id,
            entry_point="roborl.envs:make_env",
            vector_entry_point="roborl.envs:make_vector_env",
            kwargs={"task": task_id},
        )


_choose_offscreen_rendering()
_register_tasks()
