"""Arrays as safetensors files, written from the memory they lie in and read without a copy."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping

import numpy as np
import torch

from roborl.errors import check_in

Array = torch.Tensor | np.ndarray

_DTYPES = {
    **{"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "bool": "BOOL"},
    **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
}


def encode(arrays: Mapping[str, Array]) -> list[bytes | memoryview]:
    """Return the pieces of a safetensors file: a header, then the memory of the arrays, as it lies."""
    header, data, offset = {}, [], 0
    # Larger items first keeps each array aligned; then by name, so that equal content gives equal files.
    for name, array in sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])):
        kind = str(array.dtype).removeprefix("torch.")
        check_in(f"dtype of {name}", kind, _DTYPES)
        if isinstance(array, torch.Tensor):
            raw = array.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        else:
            raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        end = offset + len(raw)
        header[name] = {"dtype": _DTYPES[kind], "shape": list(array.shape), "data_offsets": [offset, end]}
        data.append(raw.data)
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return [struct.pack("<Q", len(text)), text, *data]


def rows_of(data: bytes) -> np.ndarray:
    """Return the rows of a segment as a view of its bytes; the library would copy them, twice."""
    start = 8 + struct.unpack_from("<Q", data)[0]
    shape = json.loads(data[8:start])["rows"]["shape"]
    return np.frombuffer(data, np.float32, offset=start).reshape(shape)  # (n, N, width)
