from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import imageio_ffmpeg
import numpy as np
import pytest


class Film(NamedTuple):
    """What an mp4 holds."""

    codec: str
    fps: float
    frames: np.ndarray
    """(pictures, height, width, 3) uint8."""


@pytest.fixture(scope="session")
def read_film() -> Callable[[Path], Any]:
    """Read an mp4 with ffmpeg."""

    def read(path: Path) -> Film:
        argv = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
        finished = subprocess.run(argv, capture_output=True, check=True, timeout=60)
        found = re.search(rb"Video: (\w+).*?, (\d+)x(\d+).*?, ([\d.]+) fps", finished.stderr)
        assert found is not None, finished.stderr
        width, height = int(found[2]), int(found[3])
        frames = np.frombuffer(finished.stdout, np.uint8).reshape(-1, height, width, 3)
        return Film(found[1].decode(), float(found[4]), frames)

    return read
