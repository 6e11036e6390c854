"""The seal of a bundle: a hash of the whole file in its own last 64 bytes.

A bundle is an ONNX file whose last metadata entry is ``roborl_sha256``. In the file that entry comes last,
and its value at the very end: the SHA-256, in lowercase hexadecimal, of every byte before it. So the seal
covers network, manifest, golden data and all other metadata, and checking it needs no parser: any byte that
is changed, missing or added breaks it. It finds accidents; it is no signature against forgery.
"""

from __future__ import annotations

import hashlib
import os

from roborl.errors import CorruptFile

SEAL_KEY = "roborl_sha256"
EMPTY_SEAL = "0" * 64
PRODUCER = "roborl"

# Protobuf: ModelProto.metadata_props is field 14, key and value of an entry are fields 1 and 2; the 2 in the
# low bits says that a length and bytes follow.
_KEY = SEAL_KEY.encode()
_BEFORE_DIGEST = bytes([14 << 3 | 2, len(_KEY) + 68, 1 << 3 | 2, len(_KEY)]) + _KEY + bytes([2 << 3 | 2, 64])
# ModelProto begins with ir_version (field 1, one byte) and producer_name (field 2).
_PRODUCER_FIELD = bytes([2 << 3 | 2, len(PRODUCER)]) + PRODUCER.encode()


def seal(data: bytes) -> bytes:
    """Return a serialised model with its empty seal filled in.

    Args:
        data: a serialised model whose last metadata entry is (SEAL_KEY, EMPTY_SEAL).
    """
    assert data.endswith(_BEFORE_DIGEST + EMPTY_SEAL.encode()), "the seal must be the file's last metadata entry"
    body = data[: -len(EMPTY_SEAL)]
    return body + hashlib.sha256(body).hexdigest().encode()


def check_seal(data: bytes, path: str | os.PathLike[str]) -> str:
    """Return the hash that a bundle carries, having checked it against the file's bytes.

    Args:
        data: the whole file.
        path: what the message calls it.

    Raises:
        CorruptFile: no bundle at all, truncated or extended, or altered.
    """
    body, digest = data[: -len(EMPTY_SEAL)], data[-len(EMPTY_SEAL) :]
    if not body.endswith(_BEFORE_DIGEST):
        if data[2:].startswith(_PRODUCER_FIELD):
            raise CorruptFile(f"{path} is a bundle without its seal at the end: it is truncated or altered")
        raise CorruptFile(f"{path} is no roborl bundle ({len(data)} bytes, no seal at the end)")
    actual = hashlib.sha256(body).hexdigest()
    if digest != actual.encode():
        raise CorruptFile(f"{path} is altered: its {len(data)} bytes do not hash to the seal at its end")
    return actual
