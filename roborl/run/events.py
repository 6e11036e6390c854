"""TensorBoard event files, written at once and by the run's own thread.

TensorBoard's writer has a thread of its own, which fails behind the run's back where the disk is full.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

_COUNT = itertools.count()


class EventFile:
    """A new event file.

    Args:
        folder: where; it is made.
        purge_step: TensorBoard shall hide the events of earlier files from this step on; None: hide none.
    """

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        # Imported when the first file is made: it takes a tenth of a second. The modules are generated: no types.
        self._proto: Any = import_module("tensorboard.compat.proto.event_pb2")
        self._summary: Any = import_module("tensorboard.compat.proto.summary_pb2").Summary
        self._crc: Any = import_module("tensorboard.compat.tensorflow_stub.pywrap_tensorflow").masked_crc32c
        folder.mkdir(exist_ok=True)
        # TensorBoard reads files in the order of their names, which begin with the time.
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_COUNT)}"
        self._file = (folder / name).open("xb", buffering=0)
        self._write(file_version="brain.Event:2")
        if purge_step is not None:
            session = self._proto.SessionLog
            self._write(step=purge_step, session_log=session(status=session.START))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Write the numbers of a step, by name."""
        scalars = [self._summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(step=step, summary=self._summary(value=scalars))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, **event: Any) -> None:
        """Write a record: length, its checksum, data, its checksum."""
        data = self._proto.Event(wall_time=time.time(), **event).SerializeToString()
        length = struct.pack("<Q", len(data))
        record = b"".join((length, struct.pack("<I", self._crc(length)), data, struct.pack("<I", self._crc(data))))
        while record:
            record = record[self._file.write(record) :]
