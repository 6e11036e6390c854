from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import pytest

from roborl import tasks
from roborl.camera import RENDER_SIZE, Camera
from roborl.sim import Sim
from roborl.task import Task
from roborl.tasks.half_cheetah import HalfCheetah

pytestmark = pytest.mark.usefixtures("can_render")


@contextmanager
def filmed(task: Task, n: int = 1) -> Iterator[tuple[Sim, Camera]]:
    """Give simulations at their start, and a camera on them."""
    sim = Sim(task, n, num_threads=1)
    sim.reset()
    with closing(Camera(sim)) as camera:
        yield sim, camera


@pytest.mark.parametrize("task_id", tasks.TASKS)
def test_pictures_show_something_that_moves(task_id: str) -> None:
    width, height = RENDER_SIZE
    with filmed(tasks.load(task_id), 2) as (sim, camera):
        first = [camera.picture(i) for i in range(2)]
        for picture in first:
            assert picture.shape == (height, width, 3) and picture.dtype == np.uint8
            assert picture.std() > 5.0
        for _ in range(10):
            sim.step(np.tile(sim.action_high, (2, 1)))
        assert not np.array_equal(first[0], camera.picture(0))


def test_a_picture_does_not_disturb_the_simulation() -> None:
    task = tasks.load("HalfCheetah")
    plain = Sim(task, 1, num_threads=1)
    plain.reset()
    with filmed(task) as (sim, camera):
        for _ in range(3):
            camera.picture(0)
            for s in (sim, plain):
                s.step(0.5 * s.action_high[None])
            assert np.array_equal(sim.state().physics, plain.state().physics)


def test_the_floor_does_not_end_where_gymnasiums_does() -> None:
    class Far(HalfCheetah):
        def reset(self, draw: Any, f: Any) -> Any:
            start = super().reset(draw, f)
            return start | {"qpos": start["qpos"] + f.xp.asarray([100.0] + 8 * [0.0])}

    lowest = []
    for task in (HalfCheetah(), Far()):
        with filmed(task) as (_, camera):
            lowest.append(camera.picture(0)[-40:].astype(float))
    assert lowest[0].std() > 80.0  # black and white squares, 1.3 m wide, of which 100 m is a multiple
    assert np.abs(lowest[1] - lowest[0]).mean() < 20.0
