"""What a run says: metrics.jsonl, TensorBoard events, and progress on the terminal."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from roborl.errors import CorruptFile, NonFinite, UsageError
from roborl.run import files
from roborl.run.events import EventFile

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

_METRICS = "metrics.jsonl"
_STEP = "env_steps"


class MetricsLog:
    """metrics.jsonl, one JSON object a line, and TensorBoard events beside it.

    Args:
        run_dir: the run's folder; lines are added to those it has.
        tensorboard: whether events are written too.
    """

    def __init__(self, run_dir: Path | str, *, tensorboard: bool = True) -> None:
        self._folder = Path(run_dir)
        self._path = self._folder / _METRICS
        self._tensorboard = tensorboard
        self._events: EventFile | None = None
        self._purge_step: int | None = None
        with files.os_errors("open", self._path):
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a line; it has reached the operating system when this returns.

        Args:
            row: name to number, string, bool or None; numpy's and torch's scalars are taken as Python's. It
                always has "env_steps", the abscissa of the events.

        Raises:
            NonFinite: if a value is NaN or infinite.
            RunError: if the operating system refuses; the lines before are intact.
        """
        values = {name: value.item() if hasattr(value, "item") else value for name, value in row.items()}
        for name, value in values.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise NonFinite(f"{name} is {value} at step {values[_STEP]}")
        line = (json.dumps(values, allow_nan=False) + "\n").encode()
        with files.os_errors("write", self._path):
            start = os.fstat(self._file).st_size
            try:
                written = 0
                while written < len(line):
                    written += os.write(self._file, line[written:])
            except OSError:
                os.ftruncate(self._file, start)  # a torn line would run into the next one
                raise
        if self._tensorboard:
            self._write_events(values)

    def offset(self) -> int:
        """Return the file's size in bytes, once it is on the disk: what a checkpoint remembers."""
        with files.os_errors("sync", self._path):
            os.fsync(self._file)
            return os.fstat(self._file).st_size

    def check(self, offset: int) -> None:
        """Raise CorruptFile if the file cannot be the one that had ``offset`` bytes at a checkpoint."""
        with files.os_errors("read", self._path):
            size = os.fstat(self._file).st_size
            if size < offset:
                raise CorruptFile(f"{self._path} is truncated: it has {size} of {offset} bytes")
            if offset and os.pread(self._file, 1, offset - 1) != b"\n":
                raise CorruptFile(f"{self._path} was altered: no line ends at byte {offset}")

    def truncate_to(self, offset: int, step: int | None = None) -> None:
        """Drop the lines after a checkpoint: a resumed run writes them again.

        Args:
            offset: what ``offset`` returned at the checkpoint.
            step: the checkpoint's step; TensorBoard then hides its events of later ones.

        Raises:
            CorruptFile: if the file is not the one that the checkpoint remembers.
        """
        self.check(offset)
        with files.os_errors("truncate", self._path):
            os.ftruncate(self._file, offset)
            os.fsync(self._file)
        self._purge_step = None if step is None else step + 1

    def close(self) -> None:
        """Close the files."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if self._events is not None:
            self._events.close()
            self._events = None

    def __enter__(self) -> MetricsLog:
        """Return itself; closed at the block's end."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the files."""
        self.close()

    def _write_events(self, values: Mapping[str, Any]) -> None:
        with files.os_errors("write", self._folder / "tensorboard"):
            if self._events is None:
                self._events = EventFile(self._folder / "tensorboard", self._purge_step)
            numbers = {name: v for name, v in values.items() if name != _STEP and isinstance(v, (int, float))}
            self._events.add(values[_STEP], numbers)


def read_metrics(run_dir: Path | str) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl; one at the end that was not finished is left out.

    Raises:
        UsageError: if the run has none.
        CorruptFile: if a line before the last is no JSON object.
    """
    path = Path(run_dir) / _METRICS
    if not path.is_file():
        raise UsageError(f"{path} does not exist")
    with files.os_errors("read", path):
        lines = path.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last newline is empty or torn
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise CorruptFile(f"{path} was altered: line {number} is no JSON object")
        rows.append(row)
    return rows


class Progress:
    """Steps, speed, return and time left on stderr: a bar on a terminal, a plain line now and then elsewhere.

    Args:
        total: the step at which the run ends.
        start: the step at which it begins (a resumed run's speed counts from there).
        every_s: seconds between plain lines.
        stream: where to; stderr unless told otherwise.
        quiet: say nothing at all.
    """

    def __init__(
        self,
        total: int,
        start: int = 0,
        *,
        every_s: float = 10.0,
        stream: TextIO | None = None,
        quiet: bool = False,
    ) -> None:
        self._total, self._start, self._step = total, start, start
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._return: float | None = None
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        self._began_s = self._shown_s = time.monotonic()
        self._every_s = every_s
        if not quiet and self._stream.isatty():
            self._every_s = 0.1
            self._bar = self._make_bar()

    def __enter__(self) -> Progress:
        """Start the clock and the bar."""
        self._began_s = self._shown_s = time.monotonic()
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Show where it ended, and give the terminal back."""
        self._show(time.monotonic())
        if self._bar is not None:
            self._bar.stop()

    def update(self, step: int, episode_return: float | None = None) -> None:
        """Say how far the run is; cheap enough for every step.

        Args:
            step: steps done.
            episode_return: the mean return lately; the last one given stays.
        """
        self._step = step
        if episode_return is not None:
            self._return = episode_return
        now_s = time.monotonic()
        if now_s - self._shown_s >= self._every_s:
            self._show(now_s)

    def _show(self, now_s: float) -> None:
        self._shown_s = now_s
        if self._quiet:
            return
        speed = (self._step - self._start) / max(now_s - self._began_s, 1e-9)
        left = _duration((self._total - self._step) / speed) if speed > 0 else "-"
        shown_return = "-" if self._return is None else f"{self._return:.1f}"
        if self._bar is None or self._task is None:
            done = f"{self._step:,} of {self._total:,} steps, {speed:,.0f} steps/s"
            print(f"{done}, return {shown_return}, {left} left", file=self._stream, flush=True)
        else:
            self._bar.update(
                self._task, completed=self._step, speed=f"{speed:,.0f}", shown_return=shown_return, left=left
            )

    def _make_bar(self) -> RichProgress:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as RichProgress

        bar = RichProgress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]} steps/s"),
            TextColumn("return {task.fields[shown_return]}"),
            TextColumn("{task.fields[left]} left"),
            console=Console(file=self._stream),
        )
        self._task = bar.add_task("", total=self._total, completed=self._step, speed="-", shown_return="-", left="-")
        return bar


def _duration(seconds: float) -> str:
    """Format as h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
