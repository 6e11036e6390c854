"""Checkpoints: everything a run needs to go on to the bit; atomic, verified, the last few kept.

::

    run_dir/checkpoints/0000010000/state.safetensors   tensors: parameters, optimiser, simulator states, ...
                                   state.json          all else, and size and sha256 of each file needed
    run_dir/replay/rows-<a>-<b>.safetensors            rows a to b - 1 of the replay buffer, never changed

A checkpoint writes only the rows that are new since the last one; later checkpoints share them. Files appear
before what names them and go after it, so that a kill between any two steps leaves at most files that nobody
names; these are removed when the run is opened next.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from roborl.data.replay import Replay
from roborl.errors import CorruptFile, RunError, UnknownName, UsageError, check_count
from roborl.run import files
from roborl.run.tensors import Array, encode, rows_of

_FORMAT, _VERSION = "roborl checkpoint", 1
_STATE, _DESCRIPTION = "state.safetensors", "state.json"
_NEWEST = "replay/newest"
_SEGMENTS_A_BUFFER = 32
"""A segment holds at most this part of the buffer: while one of its rows is needed, all stay on disk."""
_SEGMENT_BYTES = 2**16
"""A segment may hold that much in any case: files smaller than this are not worth their number."""
_ROWS_ON_DISK = 1.2
"""Times the buffer's rows: where the checkpoints need more, the oldest go though ``keep`` has room."""


@dataclass(frozen=True)
class Segment:
    """A file with rows of the replay buffer."""

    file: str
    first: int
    end: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Loaded:
    """What a checkpoint holds."""

    step: int
    tensors: dict[str, torch.Tensor]
    meta: dict[str, Any]
    fill_replay: Callable[[Replay], None]
    """Read the rows into an empty buffer, segment by segment. Raises CorruptFile, as ``load`` does, and
    UsageError if the checkpoint has none or the buffer's sizes differ."""


class Checkpoints:
    """The checkpoints of one run.

    Args:
        run_dir: the run's folder.
        keep: how many are kept; fewer where they would need many more rows on disk than the buffer holds.
        read_only: leave what a killed save left behind; for those who look at a run that may be under way.
    """

    def __init__(self, run_dir: Path | str, keep: int = 3, *, read_only: bool = False) -> None:
        check_count("checkpoints to keep", keep, 1)
        self.keep = keep
        self.read_only = read_only
        self._run_dir = Path(run_dir)
        self._checkpoints, self._replay = self._run_dir / "checkpoints", self._run_dir / "replay"
        self._needs: dict[int, tuple[Segment, ...]] = {}  # by checkpoint, as far as they were read
        # What the next one continues: the checkpoint last saved or loaded, and the segments of its rows.
        self._base: int | None = None
        self._segments: tuple[Segment, ...] = ()
        if not read_only:
            files.remove_leftovers(self._checkpoints)
            files.remove_leftovers(self._replay)
            self._collect()

    def list(self) -> list[int]:
        """Return the steps of the checkpoints, the oldest first."""
        with files.os_errors("read", self._checkpoints):
            found = self._checkpoints.iterdir() if self._checkpoints.is_dir() else ()
            return sorted(int(entry.name) for entry in found if re.fullmatch(r"\d{10,}", entry.name))

    def latest(self) -> int | None:
        """Return the step of the last checkpoint, None where there is none."""
        return max(self.list(), default=None)

    def save(self, step: int, tensors: Mapping[str, Array], meta: dict[str, Any], replay: Replay | None = None) -> None:
        """Write a checkpoint, then remove those that are no longer kept.

        It continues the one last saved or loaded; checkpoints after that one, of a future that was given up,
        are removed first. Nothing happens where the last one is of this very step.

        Args:
            step: the run's step, above that of the last one.
            tensors: by name, on any device.
            meta: JSON values; they come back exactly (integers of any size, floats to the last bit).
            replay: the buffer; it is written as it lies in memory.

        Raises:
            RunError: if the operating system refuses; the last one is intact, the next save may succeed.
            NonFinite: if ``meta`` holds NaN or infinity.
        """
        if self.read_only:
            raise RunError(f"the checkpoints in {self._run_dir} were opened for reading only")
        if step == self._base:
            return
        if self._base is None and (existing := self.list()):
            raise RunError(f"{self._run_dir} has checkpoints up to {existing[-1]}: load one to go on from it")
        if self._base is not None and step < self._base:
            raise RunError(f"checkpoint {step} cannot follow checkpoint {self._base}")
        files.check_json(meta, "meta")
        try:
            if self._base is not None:
                self.discard_after(self._base)
            for folder in (self._checkpoints, self._replay):
                with files.os_errors("make", folder):
                    folder.mkdir(parents=True, exist_ok=True)
            files.sync(self._run_dir)
            segments = () if replay is None else self._write_segments(replay)
            self._write(step, tensors, meta, replay, segments)
        except RunError as error:
            with contextlib.suppress(RunError):
                self._collect()
            before = "there is no earlier one" if self._base is None else f"checkpoint {self._base} is intact"
            raise RunError(f"checkpoint {step} was not saved: {error}; {before}") from error
        self._base, self._segments, self._needs[step] = step, segments, segments
        self._prune(math.inf if replay is None else _ROWS_ON_DISK * replay.rows)

    def load(self, step: int | None = None) -> Loaded:
        """Read a checkpoint, the last one unless told otherwise; a later ``save`` continues it.

        Args:
            step: which one.

        Raises:
            CorruptFile: if one of its files is missing, truncated, altered or foreign; says which other
                checkpoints are intact.
            UsageError: if there is no such checkpoint.
        """
        steps = self.list()
        if not steps:
            raise UsageError(f"{self._run_dir} has no checkpoint")
        step = steps[-1] if step is None else step
        if step not in steps:
            raise UnknownName("checkpoint", str(step), map(str, steps))
        with self._naming_the_intact(step):
            described = self._describe(step)
            tensors = self._read_state(step, described)
        newest = tensors.pop(_NEWEST, None)
        self._base, self._segments = step, self._needs[step]

        def fill_replay(replay: Replay) -> None:
            with self._naming_the_intact(step):
                self._fill(replay, step, described, newest)

        return Loaded(step, tensors, described["meta"], fill_replay)

    def discard_after(self, step: int) -> None:
        """Remove the checkpoints after a step, and the rows that only they need."""
        for later in reversed(self.list()):  # the last first: what a kill leaves is still one run's past
            if later > step:
                files.remove_tree(self._folder(later))
                self._needs.pop(later, None)
        self._collect()

    def intact(self) -> Sequence[int]:
        """Read every file of every checkpoint; return the steps of those that can be loaded."""
        return [step for step in self.list() if self._is_intact(step)]

    def _folder(self, step: int) -> Path:
        return self._checkpoints / f"{step:010d}"

    def _write_segments(self, replay: Replay) -> tuple[Segment, ...]:
        """Write the rows that are not on disk yet; return the segments that hold all rows of the buffer."""
        segments = [segment for segment in self._segments if segment.end > replay.first]
        first = segments[-1].end if segments else replay.first
        row_bytes = 4 * replay.num_envs * replay.layout.width
        longest = max(1, replay.rows // _SEGMENTS_A_BUFFER, _SEGMENT_BYTES // row_bytes)
        for part in replay.rows_between(first, replay.head):
            for start in range(0, len(part), longest):
                rows = part[start : start + longest]
                end = first + len(rows)
                path = self._replay / f"rows-{first}-{end}.safetensors"
                chunks = encode({"rows": rows})
                digest = files.atomic_write(path, chunks, sync_folder=False)
                segments.append(Segment(path.name, first, end, sum(map(len, chunks)), digest))
                first = end
        files.sync(self._replay)
        return tuple(segments)

    def _write(
        self,
        step: int,
        tensors: Mapping[str, Array],
        meta: Mapping[str, Any],
        replay: Replay | None,
        segments: Sequence[Segment],
    ) -> None:
        described = None
        if replay is not None:
            tensors = {**tensors, _NEWEST: replay.newest}
            described = {**_sizes(replay), "head": replay.head, "segments": [asdict(one) for one in segments]}
        with files.atomic_dir(self._folder(step)) as folder:
            chunks = encode(tensors)
            digest = files.write_file(folder / _STATE, chunks)
            state = {"bytes": sum(map(len, chunks)), "sha256": digest}
            body = {"format": _FORMAT, "version": _VERSION, "step": step, "state": state}
            files.write_file(folder / _DESCRIPTION, [_sign({**body, "replay": described, "meta": meta})])

    def _describe(self, step: int) -> dict[str, Any]:
        """Read and verify a checkpoint's description."""
        path = self._folder(step) / _DESCRIPTION
        data = files.read_verified(path)
        try:
            described = json.loads(data, parse_constant=_refuse)
        except ValueError as error:
            raise CorruptFile(f"{path} is truncated or altered: it is no JSON") from error
        if not isinstance(described, dict) or described.get("format") != _FORMAT:
            raise CorruptFile(f"{path} is no description of a roborl checkpoint")
        if described.get("version") != _VERSION:
            got = described.get("version")
            raise CorruptFile(f"{path} has version {got!r}, this roborl reads version {_VERSION}")
        described.pop("sha256", None)
        if _sign(described) != data or described["step"] != step:
            raise CorruptFile(f"{path} was altered: its content is not what its sha256 says")
        replay = described["replay"]
        self._needs[step] = tuple(Segment(**one) for one in replay["segments"]) if replay else ()
        return described

    def _read_state(self, step: int, described: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        path = self._folder(step) / _STATE
        data = files.read_verified(path, described["state"]["bytes"], described["state"]["sha256"])
        with _foreign(path):
            return safetensors.torch.load(data)

    def _read_segment(self, segment: Segment) -> np.ndarray:
        path = self._replay / segment.file
        data = files.read_verified(path, segment.bytes, segment.sha256)
        with _foreign(path):
            return rows_of(data)

    def _fill(self, replay: Replay, step: int, described: Mapping[str, Any], newest: torch.Tensor | None) -> None:
        saved = described["replay"]
        if saved is None or newest is None:
            raise UsageError(f"checkpoint {step} holds no replay buffer")
        wanted = _sizes(replay)
        got = {key: saved[key] for key in wanted}
        if got != wanted:
            raise UsageError(f"checkpoint {step} holds a replay buffer of {got}, the run has one of {wanted}")
        for segment in self._needs[step]:
            replay.load_rows(segment.first, self._read_segment(segment))
        replay.load_newest(newest.numpy())

    def _is_intact(self, step: int) -> bool:
        try:
            self._read_state(step, self._describe(step))
            for segment in self._needs[step]:
                files.read_verified(self._replay / segment.file, segment.bytes, segment.sha256)
        except (CorruptFile, RunError):
            return False
        return True

    @contextlib.contextmanager
    def _naming_the_intact(self, step: int) -> Iterator[None]:
        """Add to a CorruptFile which checkpoints can be used instead."""
        try:
            yield
        except CorruptFile as error:
            others = [str(other) for other in self.intact() if other != step]
            hint = f"intact: checkpoint {', '.join(others)}" if others else "no other checkpoint is intact"
            raise CorruptFile(f"{error}; {hint}") from error

    def _prune(self, most_rows: float) -> None:
        """Remove the oldest checkpoints, as many as are not kept."""
        kept = self.list()
        while len(kept) > 1:
            needed = {segment for step in kept for segment in self._segments_of(step) or ()}
            if len(kept) <= self.keep and sum(one.end - one.first for one in needed) <= most_rows:
                break
            oldest = kept.pop(0)
            files.remove_tree(self._folder(oldest))
            self._needs.pop(oldest, None)
        self._collect()

    def _collect(self) -> None:
        """Remove the segments that no checkpoint needs."""
        needed = set()
        for step in self.list():
            segments = self._segments_of(step)
            if segments is None:
                return  # what an unreadable one needs is unknown; nothing is removed until it has gone
            needed.update(segment.file for segment in segments)
        with files.os_errors("clean", self._replay):
            for entry in self._replay.iterdir() if self._replay.is_dir() else ():
                if entry.name.startswith("rows-") and entry.name not in needed:
                    entry.unlink(missing_ok=True)

    def _segments_of(self, step: int) -> tuple[Segment, ...] | None:
        """Return the segments that a checkpoint needs, None if its description cannot be read."""
        if step not in self._needs:
            try:
                self._describe(step)
            except CorruptFile:
                return None
        return self._needs[step]


def _sign(body: Mapping[str, Any]) -> bytes:
    """Return a description as JSON, with the sha256 of the rest as its last entry."""
    digest = hashlib.sha256(json.dumps(body, allow_nan=False).encode()).hexdigest()
    return (json.dumps({**body, "sha256": digest}, allow_nan=False) + "\n").encode()


@contextlib.contextmanager
def _foreign(path: Path) -> Iterator[None]:
    try:
        yield
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise CorruptFile(f"{path} is not what a checkpoint's file looks like inside") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _sizes(replay: Replay) -> dict[str, Any]:
    layout = replay.layout
    obs = dict(layout.obs)
    return {"rows": replay.rows, "num_envs": replay.num_envs, "obs": obs, "action": layout.action}
