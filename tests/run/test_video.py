from __future__ import annotations

from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest

from roborl.errors import RunError, UsageError
from roborl.run.video import VideoWriter, check_video_path


def picture(level: int) -> np.ndarray:
    return np.full((48, 64, 3), level, np.uint8)


def record(writer: VideoWriter, count: int) -> list[int]:
    """Offer pictures that grow brighter; return which were asked for."""
    asked: list[int] = []
    for i in range(count):
        writer.add(lambda i=i: (asked.append(i), picture(5 * i))[1])
    return asked


def test_a_film_has_its_pictures_in_order_at_the_speed_of_the_task(read_film: Any, tmp_path: Path) -> None:
    path = tmp_path / "films" / "film.mp4"
    writer = VideoWriter(path, control_dt=0.05)
    assert record(writer, 40) == list(range(40))  # 20 a second: all are taken
    assert not path.exists()  # it takes its place once it is whole
    writer.save()
    assert [entry.name for entry in path.parent.iterdir()] == ["film.mp4"]
    film = read_film(path)
    assert film.frames.shape == (40, 48, 64, 3) and film.fps == 20.0 and film.codec == "h264"
    assert np.allclose(film.frames.mean((1, 2, 3)), 5 * np.arange(40), atol=4.0)


def test_of_faster_tasks_as_many_pictures_are_made_as_thirty_a_second_allow(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    writer = VideoWriter(path, control_dt=0.01)
    assert record(writer, 20) == [0, 3, 6, 9, 12, 15, 18]
    writer.save()
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(path))
    assert frames == 7 and seconds == pytest.approx(0.21, abs=0.02)


def test_what_is_discarded_leaves_nothing_and_an_old_film_stays(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"an old film")
    writer = VideoWriter(path, 0.05)
    record(writer, 3)
    writer.discard()
    writer.discard()
    assert [entry.name for entry in tmp_path.iterdir()] == ["film.mp4"] and path.read_bytes() == b"an old film"
    writer = VideoWriter(path, 0.05)
    writer.save()  # nothing was offered
    assert path.read_bytes() == b"an old film"


def test_a_film_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    writer = VideoWriter(tmp_path / "file" / "film.mp4", 0.05)
    with pytest.raises(RunError, match="cannot write the video .*film.mp4"):
        record(writer, 1)
    writer = VideoWriter(tmp_path / "film.mp4", 0.05)
    record(writer, 5)
    writer._taken += 1  # as if a picture had not reached the disk
    with pytest.raises(RunError, match="has 5 of 6 pictures"):
        writer.save()
    writer.discard()
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_only_a_name_that_ends_in_mp4_is_a_films(tmp_path: Path) -> None:
    assert check_video_path(tmp_path / "film.MP4") == tmp_path / "film.MP4"
    (tmp_path / "folder.mp4").mkdir()
    for name in ("film", "film.gif", "folder.mp4"):
        with pytest.raises(UsageError, match="a video is a file whose name ends in .mp4"):
            check_video_path(tmp_path / name)
