"""Terrain: one height field of tiles, made by code from a seed, that all simulations share.

A row of tiles is a level: the tiles of the first row are nearly flat, those of the last one hard. A column is a kind.
MuJoCo has no height field of its own for each simulation: a simulation's place on the field is what differs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from roborl.errors import check_count, check_range
from roborl.task.fields import Array

if TYPE_CHECKING:
    import mujoco

Tile = Callable[[np.ndarray, np.ndarray, float, np.random.Generator], np.ndarray]
"""(x, y, difficulty, generator) -> heights: x, y (n, n) [m] from the tile's middle, difficulty in [0, 1], heights [m].

It is flat within `PLATFORM_M` of the middle and ends at height 0."""

PLATFORM_M = 1.0
"""Half the side of the flat square in the middle of a tile, where a robot starts [m]."""


@dataclass(frozen=True, eq=False)
class Terrain:
    """A height field in the plane x, y, its middle at (0, 0).

    Attributes:
        heights: (rows, columns) [m], along y and x, ``resolution`` apart.
        resolution: the distance of neighbouring points [m].
        origins: (levels, kinds, 3) the middle of each tile [m].
        kinds: the names of the kinds.
    """

    heights: np.ndarray
    resolution: float
    origins: np.ndarray
    kinds: tuple[str, ...]

    @property
    def half_size(self) -> tuple[float, float]:
        """How far the field reaches along x and y [m]."""
        rows, columns = self.heights.shape
        return 0.5 * self.resolution * (columns - 1), 0.5 * self.resolution * (rows - 1)

    def height(self, xp: Any, x: Array, y: Array) -> Array:
        """Return the height of the ground, of x's shape [m]; beyond the field's edge it is that of the edge.

        As MuJoCo has it: two flat triangles between four points, parted along the diagonal of growing x and y.

        Args:
            xp: the array namespace.
            x: any shape [m].
            y: of the same shape [m].
        """
        rows, columns = self.heights.shape
        half_x, half_y = self.half_size
        u = xp.clip((x + half_x) / self.resolution, 0.0, columns - 1.0)
        v = xp.clip((y + half_y) / self.resolution, 0.0, rows - 1.0)
        column = xp.clip(xp.floor(u), None, columns - 2.0)
        row = xp.clip(xp.floor(v), None, rows - 2.0)
        u, v = u - column, v - row
        corner = xp.astype(row, xp.int64) * columns + xp.astype(column, xp.int64)
        flat = xp.asarray(self.heights.reshape(-1), dtype=x.dtype)
        near, far = flat[corner], flat[corner + columns + 1]
        side = flat[xp.where(u > v, corner + 1, corner + columns)]
        more, less = xp.maximum(u, v), xp.minimum(u, v)
        return near + more * (side - near) + less * (far - side)

    def origin(self, xp: Any, level: Array, kind: Array) -> Array:
        """Return the middles of tiles, (N, 3) [m], for levels and kinds, (N, 1) each, as whole numbers."""
        index = xp.astype(level[:, 0], xp.int64) * len(self.kinds) + xp.astype(kind[:, 0], xp.int64)
        return xp.asarray(self.origins.reshape(-1, 3), dtype=level.dtype)[index]

    def replace_floor(self, spec: mujoco.MjSpec, floor: str = "floor") -> None:
        """Make the named geom of a model this height field."""
        import mujoco

        low, high = float(self.heights.min()), float(self.heights.max())
        rows, columns = self.heights.shape
        unit = (self.heights - low) / (high - low)
        size = [*self.half_size, high - low, 1.0]
        spec.add_hfield(name="terrain", nrow=rows, ncol=columns, size=size, userdata=unit.reshape(-1))
        geom = spec.geom(floor)
        geom.type = mujoco.mjtGeom.mjGEOM_HFIELD
        geom.hfieldname = "terrain"
        geom.pos = [0.0, 0.0, low]


def waves(x: np.ndarray, y: np.ndarray, difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise: cosines of wavelengths from 0.8 to 2 m, up to 2 to 10 cm high."""
    heights = np.zeros_like(x)
    for _ in range(16):
        angle, phase = rng.uniform(0.0, 2.0 * np.pi, 2)
        number = 2.0 * np.pi / rng.uniform(0.8, 2.0)
        heights += np.cos(number * (x * np.cos(angle) + y * np.sin(angle)) + phase)
    heights *= (0.02 + 0.08 * difficulty) / np.abs(heights).max()
    distance = np.maximum(np.abs(x), np.abs(y))
    return heights * np.clip(2.0 * (distance - PLATFORM_M), 0.0, 1.0) * np.clip(2.0 * (x.max() - distance), 0.0, 1.0)


def rubble(x: np.ndarray, y: np.ndarray, difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """Independent random heights of the points, up to 1 to 5 cm high or low."""
    heights = (0.01 + 0.04 * difficulty) * rng.uniform(-1.0, 1.0, x.shape)
    distance = np.maximum(np.abs(x), np.abs(y))
    return np.where((distance > PLATFORM_M + 0.05) & (distance < x.max() - 0.05), heights, 0.0)


def slopes(x: np.ndarray, y: np.ndarray, difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """A pyramid with a flat top, rising 4 to 35 cm a metre."""
    distance = np.maximum(np.maximum(np.abs(x), np.abs(y)), PLATFORM_M)
    return (0.04 + 0.31 * difficulty) * (x.max() - distance)


def stairs_down(x: np.ndarray, y: np.ndarray, difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """A pyramid of stairs, 0.3 m deep and 2 to 12 cm high, that go down from the middle."""
    distance = np.maximum(np.abs(x), np.abs(y)) - PLATFORM_M
    steps = int((x.max() - PLATFORM_M) / 0.3)
    # a hair's breadth beyond each edge, so that rounding does not make it ragged
    return (0.02 + 0.10 * difficulty) * np.clip(steps - np.ceil(distance / 0.3 - 1e-6), 0, steps)


def stairs_up(x: np.ndarray, y: np.ndarray, difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """The same stairs, going up from the middle."""
    return -stairs_down(x, y, difficulty, rng)


KINDS: Mapping[str, Tile] = {
    "waves": waves,
    "rubble": rubble,
    "slopes": slopes,
    "stairs_down": stairs_down,
    "stairs_up": stairs_up,
}
"""The kinds of tiles, by name."""


@functools.lru_cache(maxsize=8)  # many simulations are made of one task
def tiled(
    levels: int = 6,
    kinds: tuple[str, ...] = tuple(KINDS),
    seed: int = 0,
    tile_m: float = 8.0,
    border_m: float = 6.0,
    resolution: float = 0.1,
) -> Terrain:
    """Return a field of tiles: a row for each level, a column for each kind, and flat ground about them.

    Args:
        levels: the number of levels; difficulty grows from 0 to 1.
        kinds: names of `KINDS`.
        seed: what the tiles are drawn from.
        tile_m: the side of a tile [m].
        border_m: the width of the flat ground about the tiles [m].
        resolution: the distance of neighbouring points [m].
    """
    check_count("levels", levels, 1)
    check_range("tile_m", tile_m, 2.0 * PLATFORM_M + 1.0)
    n, border = round(tile_m / resolution), round(border_m / resolution)
    heights = np.zeros((levels * n + 2 * border + 1, len(kinds) * n + 2 * border + 1))
    origins = np.zeros((levels, len(kinds), 3))
    axis = resolution * (np.arange(n + 1) - 0.5 * n)
    x, y = np.meshgrid(axis, axis)
    for level in range(levels):
        for k, kind in enumerate(kinds):
            rng = np.random.default_rng((seed, level, k))
            tile = KINDS[kind](x, y, level / max(levels - 1, 1), rng)
            row, column = border + level * n, border + k * n
            heights[row : row + n + 1, column : column + n + 1] += tile  # two that meet are 0 there
            origins[level, k, 0] = resolution * (column + 0.5 * n - 0.5 * (heights.shape[1] - 1))
            origins[level, k, 1] = resolution * (row + 0.5 * n - 0.5 * (heights.shape[0] - 1))
    # as MuJoCo stores them: 32 bits between the lowest and the highest
    low, high = heights.min(), heights.max()
    unit = ((heights - low) / (high - low)).astype(np.float32)
    heights = low + (high - low) * unit.astype(np.float64)
    terrain = Terrain(heights, resolution, origins, kinds)
    origins[:, :, 2] = terrain.height(np, origins[:, :, 0], origins[:, :, 1])
    return terrain
