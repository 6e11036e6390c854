"""Writing files so that a kill, a power cut or a full disk at any instant leaves the old ones whole.

What is written goes to a hidden sibling first, is synced to the disk, and takes its name in one rename. Each
error of the operating system becomes a ``RunError`` that names the path and the reason.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from roborl.errors import CorruptFile, NonFinite, RunError

_LEFTOVER = ".tmp-"


@contextlib.contextmanager
def os_errors(doing: str, path: Path) -> Iterator[None]:
    """Turn an OSError into ``RunError("cannot <doing> <path>: <reason>")``."""
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot {doing} {path}: {error.strerror or error}") from error


def write_file(path: Path, chunks: Iterable[bytes | memoryview]) -> str:
    """Write a file, not atomically: for what lies in an ``atomic_dir``.

    Args:
        path: where to.
        chunks: its content, piece by piece, each bytes or a view of bytes, which is written without a copy.

    Returns:
        The content's sha256, in hexadecimal.
    """
    digest = hashlib.sha256()
    with os_errors("write", path):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            for chunk in chunks:
                digest.update(chunk)
                rest = memoryview(chunk)
                while rest:
                    rest = rest[os.write(file, rest) :]  # a write may take less than it was given
        finally:
            os.close(file)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk."""
    with os_errors("sync", path):
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def atomic_write(path: Path, chunks: Iterable[bytes | memoryview], *, sync_folder: bool = True) -> str:
    """Write a file that is there whole or not at all; one that it replaces stays until then.

    Args:
        path: where to; its folder exists.
        chunks: its content, piece by piece.
        sync_folder: false where the caller writes several files and then syncs their folder once.

    Returns:
        The content's sha256, in hexadecimal.

    Raises:
        RunError: if the operating system refuses; the old file is intact, and nothing else is left. (Where
            only the folder cannot be synced, the new file is there; a power cut may bring back the old one.)
    """
    temporary = _beside(path)
    try:
        digest = write_file(temporary, chunks)
        sync(temporary)
        with os_errors("write", path):
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if sync_folder:
        sync(path.parent)
    return digest


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write bytes; see ``atomic_write``."""
    atomic_write(path, [data])


def atomic_write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON; see ``atomic_write`` and ``check_json``."""
    check_json(value, path.name)
    atomic_write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


@contextlib.contextmanager
def atomic_dir(path: Path) -> Iterator[Path]:
    """Make a folder that is there with all its files or not at all.

    ``with atomic_dir(path) as folder:`` gives a temporary folder to write to. When the block ends, each file
    and folder in it is synced and it takes its name; when the block raises, it is removed.

    Args:
        path: the folder's name, which must not exist; its parent does.

    Raises:
        RunError: if the operating system refuses, in the block or at its end; nothing is left of the folder.
    """
    temporary = _beside(path)
    try:
        with os_errors("write", path):
            temporary.mkdir()
            yield temporary
            for folder, _, names in os.walk(temporary, topdown=False):
                for name in (*names, "."):
                    sync(Path(folder, name))
            os.rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    try:
        sync(path.parent)
    except RunError:
        # Whether the name would outlast a power cut is unknown; what is reported as failed must not be there.
        with contextlib.suppress(RunError):
            remove_tree(path)
        raise


def remove_tree(path: Path) -> None:
    """Remove a folder, so that it is never seen with a part of its files."""
    with os_errors("remove", path):
        temporary = _beside(path)
        os.rename(path, temporary)
        shutil.rmtree(temporary)


def remove_leftovers(folder: Path, of: str = "") -> list[str]:
    """Remove what a killed process had begun to write in a folder or to remove from it; return the names.

    Args:
        folder: where to look; one that is not there has none.
        of: the name of what was being written, where others may be writing to the folder now.
    """
    removed = []
    with os_errors("clean", folder):
        for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
            if entry.name.startswith(f".{of}") and _LEFTOVER in entry.name:
                if entry.is_dir():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
                removed.append(entry.name)
    return removed


def read_verified(path: Path, size: int | None = None, digest: str | None = None) -> bytes:
    """Read a file that should be as it was written.

    Args:
        path: the file.
        size: its bytes, if known.
        digest: its sha256 in hexadecimal, if known.

    Raises:
        CorruptFile: if it is missing, truncated or altered.
    """
    with os_errors("read", path):
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise CorruptFile(f"{path} is missing") from error
    if size is not None and len(data) < size:
        raise CorruptFile(f"{path} is truncated: it has {len(data)} of {size} bytes")
    if digest is not None and hashlib.sha256(data).hexdigest() != digest:
        raise CorruptFile(f"{path} was altered: its sha256 is not the one it was written with")
    return data


def check_json(value: Any, where: str) -> None:
    """Raise unless a value comes back from JSON exactly as it went in.

    Args:
        value: what is to be written.
        where: its name, for the message.

    Raises:
        NonFinite: if it holds NaN or infinity, which JSON does not know.
        TypeError: if it holds what JSON would change or cannot write.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{where} has the key {key!r}: JSON's keys are strings")
            check_json(item, f"{where}[{key!r}]")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_json(item, f"{where}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise NonFinite(f"{where} is {value}: it cannot be saved")
    elif not (value is None or isinstance(value, (bool, int, float, str))):
        got = type(value).__name__
        raise TypeError(f"{where} is a {got}: JSON has None, bool, int, float, str, list and dict")


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file's content, in hexadecimal."""
    with os_errors("read", path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _beside(path: Path) -> Path:
    """Return a hidden name in the same folder, and see to it that nothing has it."""
    temporary = path.with_name(f".{path.name}{_LEFTOVER}{os.getpid()}")
    with os_errors("write", path):
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)
    return temporary
