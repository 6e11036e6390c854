from __future__ import annotations

import numpy as np
import pytest

from roborl import tasks
from roborl.run import gallery


def test_the_gallery_has_every_tasks_picture(tmp_path, monkeypatch):
    asked = []

    def picture(name):
        asked.append(name)
        return np.full((48, 64, 3), 200, np.uint8)

    monkeypatch.setattr(gallery, "picture", picture)
    assert gallery.draw(tmp_path / "new" / "tasks.png") == asked == list(tasks.TASKS)
    assert (tmp_path / "new" / "tasks.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("name", ["roborl/Go1VelocityRough-v1", "roborl/ArmPickPlace-v1"])
def test_a_picture_shows_something(name):
    picture = gallery.picture(name)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3 and picture.std() > 20.0
