from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from roborl.errors import RunError
from roborl.run.events import EventFile
from roborl.run.log import MetricsLog


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_tensorboard_reads_what_was_written_at_once(tmp_path: Path) -> None:
    file = EventFile(tmp_path / "events")
    for step in (1, 2, 10**9):
        file.add(step, {"loss": step / 4, "q": -1.0})
    assert scalars(tmp_path / "events", "loss") == [(1, 0.25), (2, 0.5), (10**9, 2.5e8)]  # though it is still open
    assert scalars(tmp_path / "events", "q") == [(1, -1.0), (2, -1.0), (10**9, -1.0)]
    file.close()


def test_records_are_framed_as_tensorflow_frames_them(tmp_path: Path) -> None:
    EventFile(tmp_path).close()
    data = next(tmp_path.iterdir()).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    assert len(data) == 8 + 4 + length + 4 and b"brain.Event:2" in data[12 : 12 + length]


def test_later_files_come_later_and_hide_the_steps_they_repeat(tmp_path: Path) -> None:
    for purge, steps in ((None, (1, 2, 3, 4)), (3, (3, 4, 5)), (5, (5,))):
        file = EventFile(tmp_path, purge)
        for step in steps:
            file.add(step, {"loss": 10.0 * (purge or 0) + step})
        file.close()
    assert scalars(tmp_path, "loss") == [(1, 1.0), (2, 2.0), (3, 33.0), (4, 34.0), (5, 55.0)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_error_of_the_write_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with MetricsLog(tmp_path) as log:
        log.write({"env_steps": 1, "loss": 0.5})
        file = log._events
        assert file is not None
        with monkeypatch.context() as patch:
            patch.setattr(file, "_file", Path("/dev/full").open("wb", buffering=0))
            with pytest.raises(RunError, match=f"cannot write .*tensorboard: {os.strerror(errno.ENOSPC)}"):
                log.write({"env_steps": 2, "loss": 0.5})
            file.close()
