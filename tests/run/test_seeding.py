from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from roborl.errors import ConfigError, CorruptFile
from roborl.run import seeding


def test_a_stream_is_the_same_for_the_same_seed_and_names_and_another_for_others() -> None:
    streams = [
        seeding.numpy_stream(seed, *names).random(4).tolist()
        for seed in (0, 1)
        for names in ((), ("replay",), ("noise",), ("a", "b"), ("ab",), ("a,b",), ("env", 1), ("env", 2))
    ]
    assert len({tuple(numbers) for numbers in streams}) == len(streams)
    assert seeding.numpy_stream(1, "env", 2).random(4).tolist() == streams[-1]


def test_streams_do_not_depend_on_the_machine_or_the_release() -> None:
    assert seeding.int_stream(0, "replay") == 2415338494200074074
    assert seeding.int_stream(0, "replay") < 2**63
    assert seeding.torch_stream(0, "replay").initial_seed() == 2415338494200074074


def test_a_negative_or_broken_seed_is_refused() -> None:
    for seed in (-1, 1.5):
        with pytest.raises(ConfigError, match="seed must be"):
            seeding.int_stream(seed)  # pyright: ignore[reportArgumentType]


def test_a_numpy_generator_goes_on_after_json_as_if_nothing_had_been() -> None:
    rng = seeding.numpy_stream(3, "replay")
    rng.integers(0, 100, 7)  # an odd number of 32-bit draws: half a word is pending
    state = json.loads(json.dumps(seeding.save_numpy(rng)))
    again = seeding.load_numpy(state)
    assert np.array_equal(rng.integers(0, 100, 9), again.integers(0, 100, 9))
    assert np.array_equal(rng.normal(size=9), again.normal(size=9))


def test_a_torch_generator_goes_on_from_its_state() -> None:
    generator = seeding.torch_stream(3, "noise")
    torch.randn(5, generator=generator)
    state = seeding.save_torch(generator)
    assert state.dtype == torch.uint8
    again = seeding.load_torch(state.clone())
    assert torch.equal(torch.randn(70, generator=generator), torch.randn(70, generator=again))


def test_a_foreign_state_is_a_corrupt_file() -> None:
    for state in (
        {},
        {"bit_generator": "MT19937"},
        {"bit_generator": "PCG64", "state": {"state": -1, "inc": 0}},
    ):
        with pytest.raises(CorruptFile, match="not the state of a PCG64"):
            seeding.load_numpy(state)
    with pytest.raises(CorruptFile, match="not the state of a torch generator"):
        seeding.load_torch(torch.zeros(3, dtype=torch.uint8))
