"""Videos: mp4 files at the speed of the task."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np

from roborl.errors import RunError, UsageError

MOST_FPS = 30.0


def check_video_path(path: Path) -> Path:
    """Return the path of a video that is to be written; raise UsageError if it cannot be one."""
    if path.suffix.lower() != ".mp4" or path.is_dir():
        raise UsageError(f"a video is a file whose name ends in .mp4, got {path}")
    return path


class VideoWriter:
    """Writes pictures to an mp4 beside its place, which it takes once it is whole.

    Args:
        path: the file.
        control_dt: seconds between the pictures offered, of which as many are taken as 30 a second allow; None: 1/30.
    """

    def __init__(self, path: Path, control_dt: float | None) -> None:
        dt = control_dt or 1.0 / MOST_FPS
        self._stride = max(1, round(1.0 / (MOST_FPS * dt)))
        self._fps = 1.0 / (dt * self._stride)
        self._path = path
        self._partial = path.with_name(f".{path.stem}.partial.mp4")
        self._offered = self._taken = 0
        self._writer = None

    def add(self, picture: Callable[[], np.ndarray]) -> None:
        """Offer a picture, uint8 (height, width, 3); it is made only if it is taken."""
        taken, self._offered = self._offered % self._stride == 0, self._offered + 1
        if not taken:
            return
        frame = picture()
        try:
            if self._writer is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                size = (frame.shape[1], frame.shape[0])
                settings: dict[str, Any] = {"fps": self._fps, "macro_block_size": 2, "quality": 7}
                self._writer = imageio_ffmpeg.write_frames(str(self._partial), size, **settings)
                self._writer.send(None)
            self._writer.send(np.ascontiguousarray(frame))
            self._taken += 1
        except (OSError, RuntimeError) as error:  # what ffmpeg said follows in further lines
            raise RunError(f"cannot write the video {self._path}: {str(error).splitlines()[0]}") from error

    def save(self) -> None:
        """Finish the file and put it in its place.

        Raises:
            RunError: if the file is not whole, as where the disk is full: ffmpeg itself does not say so.
        """
        if self._writer is None:
            return
        self._writer.close()
        self._writer = None
        try:
            written, _ = imageio_ffmpeg.count_frames_and_secs(str(self._partial))
            if written != self._taken:
                raise RunError(f"cannot write the video {self._path}: it has {written} of {self._taken} pictures")
            os.replace(self._partial, self._path)
        except (OSError, RuntimeError) as error:
            raise RunError(f"cannot write the video {self._path}: {str(error).splitlines()[0]}") from error

    def discard(self) -> None:
        """Throw away what was not saved."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._partial.unlink(missing_ok=True)
