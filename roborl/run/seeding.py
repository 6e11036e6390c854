"""Randomness: independent streams by name from one seed, and their states for checkpoints."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import torch

from roborl.errors import ConfigError, CorruptFile, check_count


def seed_sequence(seed: int, *names: str | int) -> np.random.SeedSequence:
    """Derive a stream's seed; other names or another seed give an independent one, in whatever order.

    Args:
        seed: the run's seed, at least 0.
        names: what the stream is for, as ``"replay"`` or ``("evaluation", 3)``.

    Raises:
        ConfigError: if the seed is negative or no integer.
    """
    if not isinstance(seed, int):
        raise ConfigError(f"seed must be an integer of at least 0, got {seed!r}")
    check_count("seed", seed, 0)
    digest = hashlib.sha256(json.dumps(names).encode()).digest()
    return np.random.SeedSequence(seed, spawn_key=tuple(np.frombuffer(digest, "<u4").tolist()))


def int_stream(seed: int, *names: str | int) -> int:
    """Return a seed below 2^63 for something that makes its own generator; see ``seed_sequence``."""
    return int(seed_sequence(seed, *names).generate_state(1, np.uint64)[0] >> 1)


def numpy_stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return a numpy generator; see ``seed_sequence``."""
    return np.random.Generator(np.random.PCG64(seed_sequence(seed, *names)))


def torch_stream(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a torch generator; see ``seed_sequence``."""
    return torch.Generator(device).manual_seed(int_stream(seed, *names))


def save_numpy(generator: np.random.Generator) -> dict[str, Any]:
    """Return a generator's state as JSON values (its integers have 128 bits; Python's JSON keeps them)."""
    return dict(generator.bit_generator.state)


def load_numpy(state: dict[str, Any]) -> np.random.Generator:
    """Make the generator whose state ``save_numpy`` gave.

    Raises:
        CorruptFile: if this is no such state.
    """
    generator = np.random.Generator(np.random.PCG64(0))
    try:
        generator.bit_generator.state = state
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CorruptFile(f"not the state of a PCG64 generator: {error}") from error
    return generator


def save_torch(generator: torch.Generator) -> torch.Tensor:
    """Return a generator's state: (n,) uint8 on the CPU, for any device's generator."""
    return generator.get_state()


def load_torch(state: torch.Tensor, device: torch.device | str = "cpu") -> torch.Generator:
    """Make the generator whose state ``save_torch`` gave.

    Raises:
        CorruptFile: if this is no such state.
    """
    generator = torch.Generator(device)
    try:
        generator.set_state(state)
    except (RuntimeError, TypeError) as error:
        raise CorruptFile(f"not the state of a torch generator: {str(error).splitlines()[0]}") from error
    return generator
