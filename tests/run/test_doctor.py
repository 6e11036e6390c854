from __future__ import annotations

import sys
from importlib import metadata
from typing import Any

import pytest

from roborl.errors import RunError
from roborl.run import doctor


def finding(what: str) -> dict[str, Any]:
    (found,) = [f for f in doctor.examine() if f["what"] == what]
    return found


def test_everything_is_looked_at_and_what_is_here_is_said() -> None:
    findings = {f["what"]: f for f in doctor.examine()}
    assert set(findings) >= {"python", *doctor.PACKAGES, "threads", "compiled updates", "rendering", "bfloat16", "GPU"}
    assert findings["mujoco"]["found"] == metadata.version("mujoco")
    assert findings["python"]["found"] == ".".join(map(str, sys.version_info[:3]))
    assert all(f["remedy"] == "" for f in findings.values() if f["works"])


def test_what_is_missing_comes_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_package(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", no_package)
    monkeypatch.setattr("roborl.nn.compile.compiler_problem", lambda: "no C++ compiler (g++ or clang++) on the path")

    def cannot_render(*_: Any) -> Any:
        raise RunError("MuJoCo cannot render here (no EGL); on a machine without a screen set MUJOCO_GL=egl")

    monkeypatch.setattr("roborl.camera.Camera", cannot_render)
    findings = {f["what"]: f for f in doctor.examine()}
    assert findings["onnx"] == {
        "what": "onnx",
        "works": False,
        "found": "not installed",
        "remedy": "pip install onnx",
    }
    assert findings["compiled updates"]["found"].startswith("no C++ compiler")
    assert "apt-get install g++" in findings["compiled updates"]["remedy"]
    assert findings["rendering"]["found"] == "MuJoCo cannot render here (no EGL)"
    assert "libegl1" in findings["rendering"]["remedy"]


def test_a_gpu_is_named_with_how_to_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    assert finding("GPU")["works"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A GPU")
    assert finding("GPU")["found"] == "A GPU; use it with --device cuda"
