"""MuJoCo's internal timers, off: up to a third of a small model's time, for they read the clock 32 times a step.

MuJoCo's Python package gives the C library a clock (`mjcb_time`) when it is imported, so that `MjData.timer` counts.
Nothing that is simulated depends on it. `mujoco.set_mjcb_time(None)` gives the clock back.
"""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path

import mujoco


def switch_off() -> None:
    """Take MuJoCo's clock away in this process, unless the clock is a user's own.

    The package's own setter only exchanges one clock for another, so the C library's global is written: without a
    clock MuJoCo does not time (documentation of `mjcb_time`). Where the library is not found, timers stay on.
    """
    if mujoco.get_mjcb_time() is not None:
        return
    for library in Path(mujoco.__file__).parent.glob("*mujoco*"):
        if library.suffix in (".dll", ".dylib") or ".so." in library.name:
            with contextlib.suppress(OSError, ValueError):  # no library, or one without such a global
                ctypes.c_void_p.in_dll(ctypes.CDLL(str(library)), "mjcb_time").value = None
