from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from roborl.errors import UsageError
from roborl.run import api, demo
from roborl.run.training import TrainingResult


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the demo train little: what it does afterwards is what is looked at here."""
    train = api.train

    def little(*arguments: Any, **keywords: Any) -> TrainingResult:
        settings = {"hidden": (8,), "batch_size": 8, "learning_starts": 1050, "updates_per_step": 0.1}
        return train(*arguments, **keywords, compile=False, threads=1, quiet=True, settings=settings)

    monkeypatch.setattr(api, "train", little)


@pytest.mark.slow
def test_the_demo_trains_evaluates_exports_verifies_films_and_plots_and_may_be_repeated(tmp_path: Path) -> None:
    for _ in range(2):
        result = demo.demo(tmp_path / "demo", steps=1100)
        assert result["verified"] == "passed" and result["training"].startswith("1100 steps in ")
        assert result["evaluation"].startswith("20 episodes: return ")
        assert all(Path(result[name]).stat().st_size > 1000 for name in ("policy", "video", "learning curve"))
        names = sorted(path.name for path in (tmp_path / "demo").iterdir())
        assert names == ["episode.mp4", "learning_curve.png", "policy.onnx", "run"]


def test_the_demo_never_removes_what_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").touch()
    (tmp_path / "thesis.tex").touch()
    for out in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(UsageError, match="holds something that is no demo"):
            demo.demo(out)
    assert (tmp_path / "run" / "config.json").exists() and (tmp_path / "thesis.tex").exists()


def test_a_demo_that_is_stopped_ends_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = TrainingResult(tmp_path / "demo" / "run", 10, None, 1.0, interrupted=True)
    monkeypatch.setattr(api, "train", lambda *_, **__: stopped)
    with pytest.raises(KeyboardInterrupt):
        demo.demo(tmp_path / "demo")
