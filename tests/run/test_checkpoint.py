from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from roborl.data.replay import Replay
from roborl.errors import CorruptFile, NonFinite, RunError, UnknownName, UsageError
from roborl.run.checkpoint import Checkpoints


def make_replay(capacity: int = 100, num_envs: int = 2) -> Replay:
    return Replay(capacity, num_envs, {"policy": 3}, 1)


def feed(replay: Replay, rows: int) -> None:
    """Append rows whose every number follows from the row's."""
    n = replay.num_envs
    for row in range(replay.head, replay.head + rows):
        rng = np.random.default_rng(row)
        obs, following = ({"policy": np.full((n, 3), r) + np.arange(n)[:, None] / 8} for r in (row, row + 1))
        action, live = rng.uniform(-1, 1, (n, 1)), rng.random(n) < 0.9
        replay.append(obs, action, np.full(n, row), rng.random(n) < 0.1, live, following)


def tensors(step: int) -> dict[str, torch.Tensor | np.ndarray]:
    return {"actor/w": torch.full((20, 30), float(step)), "sim/state": np.arange(6.0).reshape(2, 3) * step}


def assert_is(checkpoints: Checkpoints, step: int, replay: Replay | None = None) -> None:
    """Assert that a checkpoint holds what ``tensors`` and ``feed`` make of its step."""
    loaded = checkpoints.load(step)
    assert loaded.step == step
    for name, value in tensors(step).items():
        assert torch.equal(loaded.tensors[name], torch.as_tensor(value))
    assert loaded.meta == {"step": step}
    if replay is not None:
        expected, got = (make_replay(replay.rows * replay.num_envs, replay.num_envs) for _ in range(2))
        feed(expected, step)
        loaded.fill_replay(got)
        ours, theirs = np.random.default_rng(0), np.random.default_rng(0)
        assert torch.equal(expected.sample(ours, 64), got.sample(theirs, 64))
        assert np.array_equal(expected.newest, got.newest) and expected.head == got.head


def tree(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_tensors_of_every_kind_come_back_and_the_file_is_safetensors(tmp_path: Path) -> None:
    saved: dict[str, Any] = {
        f"torch {dtype}": torch.tensor([[0, 1, 2], [3, 4, 5]]).to(dtype)
        for dtype in (
            torch.float64,
            torch.float32,
            torch.float16,
            torch.bfloat16,
            torch.int64,
            torch.uint8,
            torch.bool,
        )
    }
    saved |= {
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
        "transposed": torch.arange(6.0).reshape(2, 3).T,
        "a parameter": torch.nn.Parameter(torch.ones(2)),
        "a numpy scalar": np.array(7, np.int32),
        "numpy, every second": np.arange(10.0)[::2],
        "none": np.zeros((0, 3)),
        "not finite": torch.tensor([float("nan"), float("inf")]),
    }
    Checkpoints(tmp_path).save(10, saved, {})
    state = tmp_path / "checkpoints" / "0000000010" / "state.safetensors"
    for got in (Checkpoints(tmp_path).load().tensors, safetensors.torch.load_file(state)):
        assert set(got) == set(saved)
        for name, value in saved.items():
            want = torch.as_tensor(value).detach()
            assert got[name].dtype == want.dtype and got[name].shape == want.shape
            assert torch.allclose(got[name].double(), want.double(), rtol=0, atol=0, equal_nan=True), name


def test_meta_comes_back_exactly(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    meta = {
        "rng": rng.bit_generator.state,
        "float": [0.1, 1 / 3, -0.0, 5e-324, 1e308, 3.0, 3],
        "big": -(2**127),
        "text": "ü\n\u2028",
        "none": None,
        "order": {"b": 1, "a": [True, []]},
    }
    Checkpoints(tmp_path).save(1, {}, meta)
    assert repr(Checkpoints(tmp_path).load().meta) == repr(meta)


def test_meta_that_json_would_change_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(NonFinite, match=r"meta\['x'\] is nan"):
        checkpoints.save(1, {}, {"x": float("nan")})
    with pytest.raises(TypeError, match=r"meta\['x'\] is a tuple"):
        checkpoints.save(1, {}, {"x": (1, 2)})
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("num_envs", [1, 2])
def test_the_last_ones_are_kept_with_the_rows_they_need_and_share_the_segments(tmp_path: Path, num_envs: int) -> None:
    replay = make_replay(200 * num_envs, num_envs)
    checkpoints = Checkpoints(tmp_path)
    written: dict[str, int] = {}
    for step in range(10, 460, 10):
        feed(replay, 10)
        checkpoints.save(step, tensors(step), {"step": step}, replay)
        assert checkpoints.list() == list(range(max(10, step - 20), step + 1, 10))
        for path in (tmp_path / "replay").iterdir():  # a segment is written once
            assert written.setdefault(path.name, path.stat().st_mtime_ns) == path.stat().st_mtime_ns
    for step in checkpoints.list():
        assert_is(Checkpoints(tmp_path, read_only=True), step, replay)


def test_the_kept_ones_need_little_more_disk_than_the_buffer(tmp_path: Path) -> None:
    replay = Replay(20_000, 1, {"policy": 20}, 4)  # 2.2 MB
    obs, zeros = {"policy": np.zeros((1, 20))}, np.zeros(1)
    checkpoints = Checkpoints(tmp_path)
    for save in range(32):  # the ring is full after 20
        for _ in range(1000):
            replay.append(obs, np.zeros((1, 4)), zeros, zeros, np.ones(1, bool), obs)
        checkpoints.save(save + 1, {"w": torch.zeros(1000)}, {}, replay)
        assert sum(map(len, tree(tmp_path).values())) < 1.3 * 20_000 * replay.layout.width * 4
    assert len(checkpoints.list()) == 3


def test_far_apart_ones_are_dropped_earlier_rather_than_filling_the_disk(tmp_path: Path) -> None:
    replay, checkpoints = make_replay(100, 1), Checkpoints(tmp_path)
    for step in range(60, 601, 60):
        feed(replay, 60)
        checkpoints.save(step, tensors(step), {"step": step}, replay)
    rows = sum(int(p.stem.split("-")[2]) - int(p.stem.split("-")[1]) for p in (tmp_path / "replay").iterdir())
    assert rows <= 120 and checkpoints.list() == [600]
    assert_is(checkpoints, 600, replay)


def test_a_resumed_run_writes_the_same_files_as_a_straight_one(tmp_path: Path) -> None:
    def run(folder: Path, stop_at: int) -> None:
        checkpoints, replay = Checkpoints(folder), make_replay()
        if checkpoints.latest() is not None:
            checkpoints.load().fill_replay(replay)
        while replay.head < stop_at:
            feed(replay, 5)
            checkpoints.save(replay.head, tensors(replay.head), {"step": replay.head}, replay)

    run(tmp_path / "straight", 200)
    for stop_at in (5, 55, 60, 145, 200):
        run(tmp_path / "resumed", stop_at)
    assert tree(tmp_path / "straight") == tree(tmp_path / "resumed")


def test_going_on_from_an_earlier_one_gives_up_those_after_it(tmp_path: Path) -> None:
    replay, checkpoints = make_replay(), Checkpoints(tmp_path)
    for step in (10, 20, 30):
        feed(replay, 10)
        checkpoints.save(step, tensors(step), {"step": step}, replay)
    again, checkpoints = make_replay(), Checkpoints(tmp_path)
    checkpoints.load(10).fill_replay(again)
    feed(again, 5)
    assert checkpoints.list() == [10, 20, 30]  # looking at one loses nothing
    checkpoints.save(15, tensors(15), {"step": 15}, again)
    assert checkpoints.list() == [10, 15]
    for step in (10, 15):
        assert_is(Checkpoints(tmp_path), step, again)


def test_a_run_with_checkpoints_is_not_written_into_by_one_that_did_not_load_them(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(10, tensors(10), {"step": 10})
    with pytest.raises(RunError, match="has checkpoints up to 10: load one"):
        Checkpoints(tmp_path).save(20, {}, {})
    checkpoints = Checkpoints(tmp_path)
    checkpoints.load()
    with pytest.raises(RunError, match="checkpoint 5 cannot follow checkpoint 10"):
        checkpoints.save(5, {}, {})
    before = tree(tmp_path)
    checkpoints.save(10, {}, {})  # the step that was saved: as when a run is stopped right after a checkpoint
    assert tree(tmp_path) == before
    with pytest.raises(RunError, match="for reading only"):
        Checkpoints(tmp_path, read_only=True).save(20, {}, {})


def test_a_checkpoint_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no checkpoint"):
        Checkpoints(tmp_path).load()
    Checkpoints(tmp_path).save(10, {}, {})
    with pytest.raises(UnknownName, match=r"unknown checkpoint '11'.*valid: 10"):
        Checkpoints(tmp_path).load(11)


def test_a_buffer_of_another_size_is_refused(tmp_path: Path) -> None:
    replay, checkpoints = make_replay(100), Checkpoints(tmp_path)
    feed(replay, 3)
    checkpoints.save(1, {}, {}, replay)
    with pytest.raises(UsageError, match="holds a replay buffer of .*'rows': 50.* has one of .*'rows': 60"):
        checkpoints.load().fill_replay(make_replay(120))
    other = Checkpoints(tmp_path / "other")
    other.save(1, {}, {})
    with pytest.raises(UsageError, match="holds no replay buffer"):
        other.load().fill_replay(make_replay())


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def alter(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def make_foreign(path: Path) -> None:
    path.write_bytes(b"[1, 2, 3]" * 1000)


@pytest.mark.parametrize("name", ["state.json", "state.safetensors", "rows-"])
@pytest.mark.parametrize("damage", [truncate, alter, make_foreign, Path.unlink])
def test_a_damaged_file_is_named_with_the_checkpoints_that_are_intact(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    replay, checkpoints = make_replay(), Checkpoints(tmp_path)
    for step in (10, 20):
        feed(replay, 10)
        checkpoints.save(step, tensors(step), {"step": step}, replay)
    of_the_last = {"rows-": "rows-10-20.safetensors"}.get(name, f"0000000020/{name}")
    (path,) = tmp_path.rglob(of_the_last)
    damage(path)
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(CorruptFile) as error:
        checkpoints.load().fill_replay(make_replay())
    message = str(error.value)
    assert path.name in message and "intact: checkpoint 10" in message and "\n" not in message
    assert error.value.exit_code == 2
    assert checkpoints.intact() == [10]
    assert_is(checkpoints, 10, replay)
    # A run that goes on from the intact one ends with files of which each is sound.
    again = make_replay()
    checkpoints.load(10).fill_replay(again)
    feed(again, 15)
    checkpoints.save(25, tensors(25), {"step": 25}, again)
    assert Checkpoints(tmp_path).intact() == [10, 25]


def test_every_byte_of_a_checkpoint_is_watched(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(10, {"w": torch.ones(3)}, {"a": 1.5, "b": "x"})
    for path in (tmp_path / "checkpoints" / "0000000010").iterdir():
        data = path.read_bytes()
        for index in range(len(data)):
            path.write_bytes(data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :])
            with pytest.raises(CorruptFile, match=f"{path.name} .*; no other checkpoint is intact"):
                Checkpoints(tmp_path).load()
        path.write_bytes(data)
    Checkpoints(tmp_path).load()


def test_a_version_of_the_future_is_refused(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(10, {}, {})
    path = tmp_path / "checkpoints" / "0000000010" / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 2}))
    with pytest.raises(CorruptFile, match="has version 2, this roborl reads version 1"):
        Checkpoints(tmp_path).load()


@pytest.mark.parametrize("call", ["write", "fsync", "rename", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_where_the_disk_fails_at_any_call_the_last_one_is_intact_and_a_later_save_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    replay, checkpoints = make_replay(), Checkpoints(tmp_path)
    feed(replay, 60)
    checkpoints.save(60, tensors(60), {"step": 60}, replay)
    feed(replay, 5)
    real, failed = getattr(os, call), 0
    for fail_at in range(1, 100):
        calls = 0

        def flaky(*args: Any, fail_at: int = fail_at) -> Any:
            nonlocal calls
            calls += 1
            if calls == fail_at:
                raise OSError(code, os.strerror(code))
            return real(*args)

        before, base = tree(tmp_path), checkpoints.latest()
        assert base is not None
        with monkeypatch.context() as patch:
            patch.setattr(os, call, flaky)
            try:
                checkpoints.save(replay.head, tensors(replay.head), {"step": replay.head}, replay)
            except RunError as error:
                failed += 1
                assert os.strerror(code) in str(error) and error.exit_code == 1
        if calls < fail_at:
            break  # the save went through: every call has failed once
        if checkpoints.latest() == base:
            assert tree(tmp_path) == before
        else:  # what failed was the removal of an old one
            feed(replay, 5)
        assert_is(Checkpoints(tmp_path, read_only=True), base, replay)
    assert failed >= 1 and checkpoints.latest() == replay.head
    assert_is(Checkpoints(tmp_path), replay.head, replay)


def test_an_interrupt_in_a_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(10, tensors(10), {"step": 10})
    before = tree(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save(20, tensors(20), {"step": 20})
    assert tree(tmp_path) == before
    checkpoints.save(20, tensors(20), {"step": 20})
    assert_is(checkpoints, 20)


KILLS = """
import os, random, signal, sys, time
import importlib.util
from pathlib import Path
import torch

spec = importlib.util.spec_from_file_location("helpers", sys.argv[1])
helpers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(helpers)
run_dir = Path(sys.argv[2])
torch.set_num_threads(1)
random.seed(0)

def work():
    checkpoints, replay = helpers.Checkpoints(run_dir), helpers.make_replay()
    if checkpoints.latest() is not None:
        checkpoints.load().fill_replay(replay)
    while True:
        helpers.feed(replay, random.randrange(1, 12))
        step = replay.head
        checkpoints.save(step, helpers.tensors(step), {"step": step}, replay)

kills = inside = last = 0
while kills < 12 or inside < 4:
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    time.sleep(random.uniform(0.01, 0.12))
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status), "the run failed before it was killed"
    kills += 1
    inside += any(".tmp-" in path.name for path in run_dir.rglob("*"))
    for checkpoints in (helpers.Checkpoints(run_dir, read_only=True), helpers.Checkpoints(run_dir)):
        for step in checkpoints.list():
            helpers.assert_is(checkpoints, step, helpers.make_replay())
    assert (checkpoints.latest() or 0) >= last
    assert not any(".tmp-" in path.name for path in run_dir.rglob("*"))
    last = checkpoints.latest() or 0
print(kills, inside, last)
"""


def test_after_a_kill_at_any_moment_every_checkpoint_loads_and_the_run_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLS, __file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    kills, inside, last = map(int, done.stdout.split())
    assert kills >= 12 and inside >= 4 and last > 0


PEAK = """
import sys
import numpy as np, torch
from roborl.data.replay import Replay
from roborl.run.checkpoint import Checkpoints

def peak():
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))

N, rows = 8, 50_000
def fresh():
    return Replay(rows * N, N, {"policy": 17}, 6)
warm = Replay(8, N, {"policy": 17}, 6)
warm.load_rows(0, np.ones((1, N, 26), np.float32))
Checkpoints(sys.argv[1] + "/warm").save(1, {"w": torch.ones(9)}, {}, warm)
Checkpoints(sys.argv[1] + "/warm").load().fill_replay(Replay(8, N, {"policy": 17}, 6))
replay = fresh()
before = peak()
for row in range(0, rows, 1000):
    replay.load_rows(row, np.ones((1000, N, 26), np.float32))
filled = peak()
Checkpoints(sys.argv[1]).save(1, {"w": torch.ones(9)}, {}, replay)
saved = peak()
Checkpoints(sys.argv[1]).load().fill_replay(fresh())
size = rows * N * 26 * 4
print((filled - before) / size, (saved - filled) / size, (peak() - saved) / size)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_neither_save_nor_load_copies_the_whole_buffer(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PEAK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    filled, save, load = map(float, done.stdout.split())
    # Pages have 2 MB here, 5% of the buffer; a segment is 3%, the ids of live transitions are 4%.
    assert 0.9 < filled < 1.15
    assert save < 0.06
    assert load < 1.15  # the second buffer and a segment
