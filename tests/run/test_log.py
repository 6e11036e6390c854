from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from roborl.errors import CorruptFile, NonFinite, RunError, UsageError
from roborl.run.log import MetricsLog, Progress, read_metrics


def row(step: int, value: Any = 0.1) -> dict[str, Any]:
    return {"env_steps": step, "episode_return": value}


def test_a_line_is_a_json_object_and_floats_come_back_to_the_last_bit(tmp_path: Path) -> None:
    values = [0.1, 1 / 3, 5e-324, -0.0, 2**70, None, "text", True]
    with MetricsLog(tmp_path, tensorboard=False) as log:
        for step, value in enumerate(values):
            log.write(row(step, value))
        log.write(row(8, np.float32(0.5)))
        log.write(row(9, torch.tensor(3)))
        # Each line is there as soon as it was written, for those who look at the run while it goes on.
        assert [str(line["episode_return"]) for line in read_metrics(tmp_path)] == [
            *map(str, values),
            "0.5",
            "3",
        ]


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), np.float32("inf"), torch.tensor(float("nan"))])
def test_a_value_that_is_not_finite_is_refused_with_its_name_and_step(tmp_path: Path, value: Any) -> None:
    with (
        MetricsLog(tmp_path, tensorboard=False) as log,
        pytest.raises(NonFinite, match="_return is .* at step 3"),
    ):
        log.write(row(3, value))
    assert read_metrics(tmp_path) == []


def test_a_resumed_run_drops_the_lines_after_the_checkpoint_and_writes_the_same_file(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, tensorboard=False) as log:
        log.write(row(1))
        offset = log.offset()
        log.write(row(2))
        log.write(row(3))
    straight = (tmp_path / "metrics.jsonl").read_bytes()
    (tmp_path / "metrics.jsonl").write_bytes(straight[:-5])  # killed while it wrote a line
    with MetricsLog(tmp_path, tensorboard=False) as log:
        log.truncate_to(offset, step=1)
        assert [line["env_steps"] for line in read_metrics(tmp_path)] == [1]
        log.write(row(2))
        log.write(row(3))
    assert (tmp_path / "metrics.jsonl").read_bytes() == straight


def test_a_file_that_is_not_the_one_the_checkpoint_remembers_is_refused(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, tensorboard=False) as log:
        log.write(row(1))
        size = log.offset()
        with pytest.raises(CorruptFile, match=rf"metrics\.jsonl is truncated: it has {size} of {size + 1} bytes"):
            log.truncate_to(size + 1)
        with pytest.raises(CorruptFile, match=f"no line ends at byte {size - 1}"):
            log.truncate_to(size - 1)
        log.truncate_to(0)
    assert read_metrics(tmp_path) == []


def test_a_torn_last_line_is_left_out_and_a_broken_one_before_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with pytest.raises(UsageError, match="does not exist"):
        read_metrics(tmp_path)
    path.write_text('{"env_steps": 1}\n{"env_st')
    assert read_metrics(tmp_path) == [{"env_steps": 1}]
    path.write_text('{"env_steps": 1}\n{"env_st\n{"env_steps": 3}\n')
    with pytest.raises(CorruptFile, match="line 2 is no JSON object"):
        read_metrics(tmp_path)


def test_on_a_full_disk_no_half_line_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, left = os.write, [5]

    def full(file: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = write(file, data[: left[0]])
        left[0] -= taken
        return taken

    with MetricsLog(tmp_path, tensorboard=False) as log:
        log.write(row(1))
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(RunError, match=r"cannot write .*metrics\.jsonl: No space left on device"):
                log.write(row(2))
        log.write(row(3))
    assert [line["env_steps"] for line in read_metrics(tmp_path)] == [1, 3]


def test_tensorboard_shows_the_numbers_and_hides_those_after_the_checkpoint(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with MetricsLog(tmp_path) as log:
        for step in (10, 20, 30):
            log.write({**row(step, step / 10), "note": "no number"})
    with MetricsLog(tmp_path) as log:
        log.truncate_to(0, step=10)
        log.write(row(20, 7.0))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["scalars"] == ["episode_return"]
    assert [(event.step, event.value) for event in events.Scalars("episode_return")] == [(10, 1.0), (20, 7.0)]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_bar_on_a_terminal_with_steps_speed_return_and_time_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream, clock = Terminal(), [0.0]
    monkeypatch.setattr("roborl.run.log.time.monotonic", lambda: clock[0])
    with Progress(1000, start=100, stream=stream) as progress:
        clock[0] = 2.0
        progress.update(500, episode_return=12.34)
    shown = stream.getvalue()
    for text in ("500/1000", "200 steps/s", "return 12.3", "0:00:02 left"):
        assert text in shown


def test_progress_is_a_plain_line_now_and_then_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr("roborl.run.log.time.monotonic", lambda: clock[0])
    with Progress(100_000) as progress:
        for step in range(0, 30_000, 100):
            clock[0] = step / 1000
            progress.update(step)
    with Progress(100, quiet=True) as progress:
        progress.update(100)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "10,000 of 100,000 steps, 1,000 steps/s, return -, 0:01:30 left",
        "20,000 of 100,000 steps, 1,000 steps/s, return -, 0:01:20 left",
        "29,900 of 100,000 steps, 1,000 steps/s, return -, 0:01:10 left",
    ]


def test_importing_the_log_does_not_import_tensorboard_or_rich() -> None:
    import subprocess
    import sys

    code = "import sys, roborl.run.log; sys.exit(bool({'tensorboard', 'rich'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
