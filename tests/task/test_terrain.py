from __future__ import annotations

import array_api_compat.torch as xp_torch
import mujoco
import numpy as np
import pytest
import torch

from roborl import models
from roborl.errors import ConfigError
from roborl.task import Terrain, tiled
from roborl.task.terrain import KINDS, PLATFORM_M


@pytest.fixture(scope="module")
def small() -> Terrain:
    return tiled(levels=3, border_m=1.0)


def test_heights_between_the_points_by_hand():
    # one cell of side 2: 0 and 1 along x, 2 and 7 above them along y
    terrain = Terrain(np.array([[0.0, 1.0], [2.0, 7.0]]), 2.0, np.zeros((1, 1, 3)), ("cell",))
    x = np.array([-1.0, 1.0, -1.0, 1.0, 0.5, -0.5, 0.0, 9.0])
    y = np.array([-1.0, -1.0, 1.0, 1.0, -0.5, 0.5, 0.0, 9.0])
    # (0.5, -0.5) is at u = 0.75, v = 0.25, below the diagonal: 0 + 0.75 * 1 + 0.25 * 6;
    # (-0.5, 0.5) is at u = 0.25, v = 0.75, above it: 0 + 0.75 * 2 + 0.25 * 5; on it: half of 7; beyond the edge: 7
    assert terrain.height(np, x, y) == pytest.approx([0.0, 1.0, 2.0, 7.0, 2.25, 2.75, 3.5, 7.0])


def test_heights_are_those_at_which_mujocos_rays_end(small):
    spec = models.load("go1")
    small.replace_floor(spec)
    model = models.compile_spec(spec)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    half_x, half_y = small.half_size
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-half_x, half_x, 300), rng.uniform(-half_y, half_y, 300)
    group, hit = np.array([1, 0, 0, 0, 0, 0], np.uint8), np.zeros(1, np.int32)
    down = np.array([0.0, 0.0, -1.0])
    starts = np.stack((x, y, np.full(300, 5.0)), axis=1)
    seen = [5.0 - mujoco.mj_ray(model, data, start, down, group, 1, -1, hit) for start in starts]
    assert small.height(np, x, y) == pytest.approx(np.array(seen), abs=1e-12)
    assert np.std(seen) > 0.05


def test_heights_are_the_same_on_torch(small):
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-15, 15, (7, 4)), rng.uniform(-15, 15, (7, 4))
    on_torch = small.height(xp_torch, torch.from_numpy(x), torch.from_numpy(y))
    assert on_torch.numpy() == pytest.approx(small.height(np, x, y), abs=1e-14)


def test_a_seed_gives_one_terrain_and_another_seed_another(small):
    tiled.cache_clear()
    assert np.array_equal(tiled(levels=3, border_m=1.0).heights, small.heights)
    assert not np.array_equal(tiled(levels=3, border_m=1.0, seed=1).heights, small.heights)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tile_is_flat_in_its_middle_ends_at_0_and_grows_harder(kind):
    axis = 0.1 * (np.arange(81) - 40)
    x, y = np.meshgrid(axis, axis)
    roughness = []
    for difficulty in (0.0, 0.5, 1.0):
        heights = KINDS[kind](x, y, difficulty, np.random.default_rng(0))
        middle = (np.abs(x) <= PLATFORM_M + 1e-9) & (np.abs(y) <= PLATFORM_M + 1e-9)
        assert np.ptp(heights[middle]) == pytest.approx(0.0, abs=1e-12)
        edge = np.maximum(np.abs(x), np.abs(y)) > 3.999
        assert heights[edge] == pytest.approx(0.0, abs=1e-12)
        roughness.append(np.abs(np.diff(heights, axis=1)).max())
    assert 0.0 < roughness[0] < roughness[1] < roughness[2]


def test_stairs_have_steps_of_their_height_and_depth():
    axis = 0.1 * (np.arange(81) - 40)
    x, y = np.meshgrid(axis, axis)
    heights = KINDS["stairs_down"](x, y, 1.0, np.random.default_rng(0))
    # ten steps of 12 cm between 1 m and 4 m from the middle, each three points deep
    profile = heights[40, 40:]
    assert profile[0] == pytest.approx(1.2) and profile[-1] == pytest.approx(0.0)
    assert np.unique(np.round(np.diff(profile), 9)).tolist() == [-0.12, 0.0]
    assert np.flatnonzero(np.diff(profile)).tolist() == list(range(10, 40, 3))


def test_origins_are_the_middles_of_the_tiles(small):
    assert small.origins.shape == (3, 5, 3)
    # tiles of 8 m: columns at -16, -8, 0, 8, 16, rows at -8, 0, 8
    assert small.origins[0, :, 0] == pytest.approx([-16, -8, 0, 8, 16])
    assert small.origins[:, 0, 1] == pytest.approx([-8, 0, 8])
    assert small.half_size == pytest.approx((21.0, 13.0))
    level, kind = np.array([[2.0], [0.0]]), np.array([[3.0], [0.0]])
    assert np.array_equal(small.origin(np, level, kind), small.origins[[2, 0], [3, 0]])
    # slopes of 35 cm a metre over 3 m, stairs of ten steps of 12 cm
    assert small.origins[2, :, 2] == pytest.approx([0.0, 0.0, 0.35 * 3.0, 1.2, -1.2], abs=1e-6)


def test_a_terrain_without_levels_or_room_is_refused():
    with pytest.raises(ConfigError, match="levels"):
        tiled(levels=0)
    with pytest.raises(ConfigError, match="tile_m"):
        tiled(tile_m=2.0)
