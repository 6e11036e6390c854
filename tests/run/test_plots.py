from __future__ import annotations

import json
from pathlib import Path

import pytest
from matplotlib.image import imread

from roborl.errors import UsageError
from roborl.run.plots import learning_curve


def write_metrics(run_dir: Path, returns: list[float | None]) -> None:
    rows = [{"env_steps": 10 * i, "episode_return": value} for i, value in enumerate(returns)]
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_learning_curve_is_a_png_in_which_something_is_drawn(tmp_path: Path) -> None:
    write_metrics(tmp_path, [None, 1.0, None, 3.0, 2.0])
    path = tmp_path / "plots" / "curve.png"
    learning_curve(tmp_path, path, "a title")
    assert path.read_bytes().startswith(b"\x89PNG")
    picture = imread(path)
    blue = (picture[:, :, 2] > picture[:, :, 0] + 0.2).sum()
    assert picture.shape[:2] == (600, 1050) and blue > 500


def test_a_run_without_a_finished_episode_has_no_curve(tmp_path: Path) -> None:
    write_metrics(tmp_path, [None, None])
    with pytest.raises(UsageError, match="no finished episode"):
        learning_curve(tmp_path, tmp_path / "curve.png", "a title")
    assert not (tmp_path / "curve.png").exists()
