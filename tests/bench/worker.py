"""A subject of a benchmark in a process of its own, asked over a pipe to work and to say how long it took.

Subjects need environments that exclude one another, and repeats are interleaved (each subject once, then all
again), so that a machine that slows down slows all of them. A worker that is not asked sleeps.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

HERE = Path(__file__).resolve().parent


def serve(make: Callable[[], Callable[[int], object]]) -> None:
    """In the worker: make the work, do it for each number of steps that arrives, and answer with the seconds.

    Answers go to the process's own standard output; what libraries print goes to standard error.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    work = make()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        work(int(line))
        print(json.dumps(time.perf_counter() - start), file=answers, flush=True)


class Worker:
    """The other end: starts the script under an interpreter and asks it."""

    def __init__(self, python: Path, script: str, *arguments: object) -> None:
        self.name = " ".join(map(str, (script, *arguments)))
        self._words = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [str(python), str(HERE / script), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
        )
        self._answer()

    def seconds(self, steps: int) -> float:
        """How long the worker took for this many steps."""
        assert self._process.stdin is not None
        print(steps, file=self._process.stdin, flush=True)
        return float(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            self._words.seek(0)
            raise RuntimeError(f"{self.name} ended with status {status}:\n{self._words.read()}")
        return line

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()
        self._words.close()
