"""Doctor: what works on this machine, and what to install where something does not."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from typing import Any

from roborl.errors import RunError

PACKAGES = ("roborl", "numpy", "mujoco", "gymnasium", "torch", "onnx", "onnxruntime", "safetensors")


def examine() -> list[dict[str, Any]]:
    """Return one finding after another: what, whether it works, what was found, and what would help."""
    return [
        _finding("python", sys.version_info >= (3, 11), platform.python_version(), "install Python 3.11 or newer"),
        *(_package(name) for name in PACKAGES),
        _threads(),
        _compiler(),
        _rendering(),
        _bfloat16(),
        _gpu(),
    ]


def _finding(what: str, works: bool, found: str, remedy: str = "") -> dict[str, Any]:
    return {"what": what, "works": works, "found": found, "remedy": "" if works else remedy}


def _package(name: str) -> dict[str, Any]:
    try:
        return _finding(name, True, metadata.version(name))
    except metadata.PackageNotFoundError:
        return _finding(name, False, "not installed", f"pip install {name}")


def _threads() -> dict[str, Any]:
    import torch

    processors = len(os.sched_getaffinity(0))
    return _finding("threads", True, f"{processors} processors, torch takes {torch.get_num_threads()} unless told")


def _compiler() -> dict[str, Any]:
    from roborl.nn.compile import compiler_problem

    problem = compiler_problem()
    return _finding(
        "compiled updates",
        problem is None,
        problem or "C++ compiler and Python headers found",
        "training works without, at about half the speed; Debian: apt-get install g++ python3-dev",
    )


def _rendering() -> dict[str, Any]:
    from roborl import tasks
    from roborl.camera import Camera
    from roborl.sim import Sim

    backend = os.environ.get("MUJOCO_GL", "glfw")
    try:
        sim = Sim(tasks.load("PendulumSwingup"), 1, num_threads=1)
        sim.reset()
        camera = Camera(sim)
        camera.picture(0)
        camera.close()
    except RunError as error:
        remedy = "Debian: apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri"
        return _finding("rendering", False, str(error).partition(";")[0], remedy)
    return _finding("rendering", True, f"MuJoCo renders without a screen through {backend}")


def _bfloat16() -> dict[str, Any]:
    import torch

    fast = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return _finding("bfloat16", True, "the processor has it" if fast else "the processor lacks it: no gain there")


def _gpu() -> dict[str, Any]:
    import torch

    if not torch.cuda.is_available():
        return _finding("GPU", True, "none that torch can use; none is needed")
    return _finding("GPU", True, f"{torch.cuda.get_device_name()}; use it with --device cuda")
