from __future__ import annotations

import numpy as np
import pytest
import safetensors.torch
import torch

from roborl.errors import ConfigError
from roborl.run.tensors import encode, rows_of


def test_the_library_reads_what_is_encoded_whatever_its_type_order_and_layout() -> None:
    arrays = {
        "flag": torch.tensor([True, False, True]),  # 3 bytes: what follows must be aligned all the same
        "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "count": torch.tensor(7, dtype=torch.int64),
        "turned": torch.arange(6, dtype=torch.float32).reshape(2, 3).T,
        "seeds": np.array([2**64 - 1], np.uint64),
        "empty": np.zeros((0, 4)),
    }
    read = safetensors.torch.load(b"".join(encode(arrays)))
    assert set(read) == set(arrays)
    for name, array in arrays.items():
        expected = torch.as_tensor(array)
        assert read[name].dtype == expected.dtype and torch.equal(read[name], expected), name


def test_equal_content_gives_equal_files() -> None:
    a, b = np.ones(3, np.float32), np.zeros(2)
    assert b"".join(encode({"a": a, "b": b})) == b"".join(encode({"b": b, "a": a}))


def test_rows_come_back_as_a_view() -> None:
    rows = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    data = b"".join(encode({"rows": rows}))
    back = rows_of(data)
    assert np.array_equal(back, rows)
    assert np.shares_memory(back, np.frombuffer(data, np.uint8))


def test_a_type_that_the_format_lacks_is_refused() -> None:
    with pytest.raises(ConfigError, match="dtype of z must be one of .* got 'complex64'"):
        encode({"z": np.zeros(2, np.complex64)})
