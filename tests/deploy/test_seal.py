from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from roborl.deploy.seal import SEAL_KEY, check_seal
from roborl.errors import CorruptFile


def test_the_seal_is_the_models_last_metadata_entry(bundle: Path) -> None:
    entry = onnx.load(bundle).metadata_props[-1]
    assert (entry.key, entry.value) == (SEAL_KEY, check_seal(bundle.read_bytes(), bundle))


def test_one_changed_bit_anywhere_is_detected(bundle: Path) -> None:
    original = bundle.read_bytes()
    rng = np.random.default_rng(0)
    # Every 13th byte, and every one of the head and of the seal.
    positions = {*range(64), *range(0, len(original), 13), *range(len(original) - 128, len(original))}
    for position in sorted(positions):
        data = bytearray(original)
        data[position] ^= 1 << int(rng.integers(8))
        with pytest.raises(CorruptFile, match=r"policy.onnx is"):
            check_seal(bytes(data), bundle)


def test_an_upper_case_digest_is_an_altered_file(bundle: Path) -> None:
    data = bundle.read_bytes()
    with pytest.raises(CorruptFile, match="altered"):
        check_seal(data[:-64] + data[-64:].upper(), bundle)


def test_truncated_and_extended_files_are_told_from_foreign_ones(bundle: Path) -> None:
    data = bundle.read_bytes()
    for length in (10, 64, 1000, len(data) - 65, len(data) - 64, len(data) - 1):
        with pytest.raises(CorruptFile, match="truncated or altered"):
            check_seal(data[:length], bundle)
    for extended in (data + b"\n", data + data):
        with pytest.raises(CorruptFile, match="altered"):
            check_seal(extended, bundle)
    for foreign in (b"", b"hello\n", b"x" * 1000, b"\x00" * 64):
        with pytest.raises(CorruptFile, match="no roborl bundle"):
            check_seal(foreign, bundle)
