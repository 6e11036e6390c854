from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import mujoco.viewer
import numpy as np
import pytest

from roborl.errors import UsageError
from roborl.run.viewer import view


class Window:
    """Stands in for MuJoCo's; is closed after twenty pictures."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self.data = data
        self.seen: list[float] = []

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *exc: object) -> None: ...

    def is_running(self) -> bool:
        return len(self.seen) < 20

    def sync(self) -> None:
        self.seen.append(float(self.data.qpos[0]))


def test_the_viewer_shows_the_policy_moving_the_robot(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows: list[Window] = []

    def launch(model: Any, data: Any) -> Window:
        windows.append(Window(model, data))
        return windows[-1]

    monkeypatch.setenv("DISPLAY", ":99")
    monkeypatch.setattr(mujoco.viewer, "launch_passive", launch)
    slept: list[float] = []
    monkeypatch.setattr("roborl.run.viewer.time.sleep", slept.append)
    view(trained)
    (window,) = windows
    assert len(set(window.seen)) == 20 and np.isfinite(window.seen).all()
    assert max(slept) <= 20 * 0.05 + 1e-9  # in the time of the task


def test_without_a_screen_it_says_what_makes_a_film(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="there is no screen here; `roborl eval --video` makes a film"):
        view(trained)


def test_an_environment_that_is_not_ours_has_no_viewer(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained, tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps(config | {"task": "Pendulum-v1"}))
    monkeypatch.setenv("DISPLAY", ":99")
    with pytest.raises(UsageError, match="Pendulum-v1 is not a task of ours"):
        view(tmp_path / "run")
