from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roborl.errors import CorruptFile, NonFinite, RunError
from roborl.run import files


def failing(code: int) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(code, os.strerror(code))

    return fail


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


FAILURES = [
    ("write", errno.ENOSPC, "No space left on device"),
    ("write", errno.EIO, "Input/output error"),
    ("fsync", errno.EIO, "Input/output error"),
    ("replace", errno.EIO, "Input/output error"),
]


@pytest.mark.parametrize(("call", "code", "reason"), FAILURES)
def test_where_a_file_cannot_be_written_the_old_one_is_intact_and_nothing_else_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, reason: str
) -> None:
    path = tmp_path / "config.json"
    files.atomic_write_json(path, {"seed": 1})
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(code))
        with pytest.raises(RunError, match=rf"cannot (write|sync) .*config\.json.*: {reason}"):
            files.atomic_write_json(path, {"seed": 2})
    assert json.loads(path.read_text()) == {"seed": 1}
    assert names(tmp_path) == ["config.json"]
    files.atomic_write_json(path, {"seed": 2})
    assert json.loads(path.read_text()) == {"seed": 2}


@pytest.mark.parametrize(
    ("call", "after"), [(call, after) for call in ("write", "fsync") for after in range(3)] + [("rename", 0)]
)
def test_where_a_folder_cannot_be_written_nothing_is_left_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, after: int
) -> None:
    real, calls = getattr(os, call), 0

    def sometimes(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        return real(*args) if calls <= after else failing(errno.ENOSPC)()

    def write() -> None:
        with files.atomic_dir(tmp_path / "checkpoint") as folder:
            for name in "abc":
                files.write_file(folder / name, [name.encode()])

    with monkeypatch.context() as patch:
        patch.setattr(os, call, sometimes)
        with pytest.raises(RunError, match="checkpoint.*: No space left on device"):
            write()
    assert names(tmp_path) == []
    write()
    assert names(tmp_path / "checkpoint") == ["a", "b", "c"]


def test_a_folder_whose_name_cannot_be_synced_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sync(path: Path) -> None:
        if path == tmp_path:
            raise RunError("cannot sync")

    monkeypatch.setattr(files, "sync", sync)
    with pytest.raises(RunError, match="cannot sync"), files.atomic_dir(tmp_path / "checkpoint") as folder:
        (folder / "a").touch()
    assert names(tmp_path) == []


def test_a_folder_is_not_seen_before_its_block_ends_nor_after_the_block_raises(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), files.atomic_dir(tmp_path / "checkpoint") as folder:
        (folder / "a").touch()
        assert not (tmp_path / "checkpoint").exists()
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_an_existing_folder_is_not_written_over(tmp_path: Path) -> None:
    with files.atomic_dir(tmp_path / "checkpoint") as folder:
        (folder / "old").touch()
    with (
        pytest.raises(RunError, match="Directory not empty"),
        files.atomic_dir(tmp_path / "checkpoint") as folder,
    ):
        (folder / "new").touch()
    assert names(tmp_path / "checkpoint") == ["old"]


def test_a_file_is_written_whole_where_the_system_takes_a_part_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:7]))
    data = bytes(range(256))
    digest = files.atomic_write(tmp_path / "a", [data[:100], memoryview(data)[100:]])
    assert (tmp_path / "a").read_bytes() == data
    assert digest == files.sha256_file(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint.tmp-123").mkdir()
    (tmp_path / ".checkpoint.tmp-123" / "a").touch()
    (tmp_path / ".rows.tmp-9").touch()
    (tmp_path / "kept.tmp-9").touch()
    assert files.remove_leftovers(tmp_path) == [".checkpoint.tmp-123", ".rows.tmp-9"]
    assert names(tmp_path) == ["kept.tmp-9"]
    assert files.remove_leftovers(tmp_path / "nowhere") == []


def test_a_file_that_is_not_as_it_was_written_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "a"
    digest = files.atomic_write(path, [b"content"])
    assert files.read_verified(path, 7, digest) == b"content"
    for data, what in ((b"cont", "is truncated: it has 4 of 7 bytes"), (b"cOntent", "was altered")):
        path.write_bytes(data)
        with pytest.raises(CorruptFile, match=what):
            files.read_verified(path, 7, digest)
    path.unlink()
    with pytest.raises(CorruptFile, match="a is missing"):
        files.read_verified(path)


def test_what_json_would_change_is_refused_and_named() -> None:
    files.check_json({"a": [None, True, 2**200, 0.1, "x", {"b": []}]}, "meta")
    with pytest.raises(NonFinite, match=r"meta\['a'\]\[1\] is nan"):
        files.check_json({"a": [1.0, float("nan")]}, "meta")
    with pytest.raises(TypeError, match=r"meta\['a'\] is a tuple"):
        files.check_json({"a": (1, 2)}, "meta")
    with pytest.raises(TypeError, match="meta has the key 1"):
        files.check_json({1: 2}, "meta")
