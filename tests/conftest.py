from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import roborl  # noqa: F401  before any test imports mujoco, which chooses how it renders when it is first imported


@dataclass(frozen=True)
class Finished:
    """What came of a command."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Return stdout, which must be one JSON document and nothing else."""
        return json.loads(self.out)


class Child:
    """A command that runs in a process of its own."""

    def __init__(self, server: Commands, pid: int, out: Path, err: Path) -> None:
        self._server, self.pid, self._out, self._err = server, pid, out, err

    def wait(self, timeout_s: float = 120.0) -> Finished:
        """Return what came of it once it has ended."""
        end_s = time.monotonic() + timeout_s
        while (code := self._server.ask({"wait": self.pid})) is None:
            if time.monotonic() > end_s:
                os.kill(self.pid, signal.SIGKILL)
                raise TimeoutError(f"the command has not ended after {timeout_s} s: {self._err.read_text()}")
            time.sleep(0.01)
        return Finished(code, self._out.read_text(), self._err.read_text())

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal; one that has ended is not waited for yet, so that its pid is still its own."""
        os.kill(self.pid, number)


class Commands:
    """Runs roborl commands; see fork_server.py."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, itertools.count()
        server = Path(__file__).with_name("fork_server.py")
        self._process = subprocess.Popen(
            [sys.executable, str(server)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def ask(self, request: dict[str, Any]) -> Any:
        """Send a request to the server; return its answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        return json.loads(self._process.stdout.readline())

    def start(self, *argv: object, cwd: Path | None = None, faults: dict[str, Any] | None = None) -> Child:
        """Start a command: its arguments, the folder to run in, and fork_server's functions to call before it."""
        number = next(self._count)
        out, err = (self._folder / f"{number}.{name}" for name in ("out", "err"))
        request = {"argv": [str(word) for word in argv], "cwd": str(cwd or self._folder), "faults": faults or {}}
        pid = self.ask(request | {"out": str(out), "err": str(err)})
        return Child(self, pid, out, err)

    def __call__(self, *argv: object, cwd: Path | None = None, faults: dict[str, Any] | None = None) -> Finished:
        """Run a command to its end."""
        return self.start(*argv, cwd=cwd, faults=faults).wait()

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Run `roborl ...` in a process of its own: ``command("eval", run_dir).code``."""
    commands = Commands(tmp_path_factory.mktemp("commands"))
    yield commands
    commands.close()


@pytest.fixture(scope="session")
def trained(command: Commands, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small finished run of PendulumSwingup with checkpoints at 100, 200, ..., 500; it must not be changed."""
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    arguments = "--steps 500 --no-compile --hidden 16 --batch-size 16 --learning-starts 60 --updates-per-step 0.05"
    arguments += " --log-every 100 --checkpoint-every 100 --normalize-obs --threads 1 --quiet --no-tensorboard"
    finished = command("train", "sac", "PendulumSwingup", *arguments.split(), "--out", run_dir)
    assert finished.code == 0, finished.err
    return run_dir


@pytest.fixture(scope="session")
def can_render() -> None:
    """Skip where roborl found nothing to render with; where it did, pictures must come."""
    if not any(os.environ.get(name) for name in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY")):
        pytest.skip("there is neither a screen nor a library that renders without one (libegl1 or libosmesa6)")
