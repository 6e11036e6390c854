"""Counter-based randomness: what a simulation draws depends on its own seed, episode and step, and on a name.

It does not depend on how many simulations run beside it, nor on what else was drawn before. The generator is
Threefry-2x64 with 20 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), vectorised
over simulations; numpy's own counter-based generator (Philox) takes one key at a time.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable

import numpy as np

from roborl.task.fields import Array

_ROTATIONS = tuple(np.uint64(r) for r in (16, 42, 12, 31, 16, 32, 24, 21))
_PARITY = np.uint64(0x1BD11BDAA9FC1A22)
_WORD = np.uint64(64)


def threefry2x64(
    k0: np.ndarray, k1: np.ndarray | np.uint64, c0: np.ndarray, c1: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the two output words of Threefry-2x64-20 for keys (k0, k1) and counters (c0, c1), all uint64."""
    keys = (k0, k1, k0 ^ k1 ^ _PARITY)
    x0, x1 = c0 + k0, c1 + k1
    for block in range(5):
        for rotation in _ROTATIONS[:4] if block % 2 == 0 else _ROTATIONS[4:]:
            x0 = x0 + x1
            x1 = ((x1 << rotation) | (x1 >> (_WORD - rotation))) ^ x0
        x0 = x0 + keys[(block + 1) % 3]
        x1 = x1 + keys[(block + 2) % 3] + np.uint64(block + 1)
    return x0, x1


@functools.cache
def _name_key(name: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little"))


class Draw:
    """The random numbers of N simulations at one moment of their episodes.

    The same name drawn twice at the same moment gives the same numbers: give each use a name of its own.

    Args:
        seed: (N,) uint64, each simulation's seed.
        episode: (N,) uint64, the number of the episode.
        step: (N,) uint64, the control step within the episode; at a reset, 0.
        convert: what makes the fields' kind of array of a numpy array (float64), as `torch.from_numpy` does; by
            default numpy arrays are given.
    """

    __slots__ = ("_convert", "_moment", "_seed")

    def __init__(
        self,
        seed: np.ndarray,
        episode: np.ndarray,
        step: np.ndarray,
        convert: Callable[[np.ndarray], Array] = np.asarray,
    ) -> None:
        self._convert = convert
        self._seed = seed[:, None]
        self._moment = ((episode << np.uint64(32)) | step)[:, None]

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0, size: int = 1) -> Array:
        """Return (N, size) numbers uniform in [low, high)."""
        return self._convert(low + (high - low) * self._units(name, size))

    def normal(self, name: str, std: float = 1.0, size: int = 1) -> Array:
        """Return (N, size) normal numbers of mean 0 (Box-Muller, one number a pair of words)."""
        first, second = self._words(name, size)
        radius = np.sqrt(-2.0 * np.log1p(-_unit(first)))
        return self._convert(std * radius * np.cos(2.0 * np.pi * _unit(second)))

    def integers(self, name: str, low: int, high: int, size: int = 1) -> Array:
        """Return (N, size) whole numbers, as floats, uniform in low, ..., high (both included)."""
        return self._convert(low + np.floor((high - low + 1) * self._units(name, size)))  # never rounds up to high + 1

    def _units(self, name: str, size: int) -> np.ndarray:
        first, second = self._words(name, (size + 1) // 2)
        return _unit(np.stack([first, second], -1).reshape(len(first), -1)[:, :size])

    def _words(self, name: str, count: int) -> tuple[np.ndarray, np.ndarray]:
        index = np.arange(count, dtype=np.uint64)[None, :]
        return threefry2x64(self._seed, _name_key(name), self._moment, index)


def _unit(words: np.ndarray) -> np.ndarray:
    """Map uint64 words to doubles in [0, 1) with 53 random bits."""
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
