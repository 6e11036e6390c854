"""The package as others get it: the wheel and the sdist, installed where nothing of this checkout is seen."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LINKED = ("tasks", "models", "deploy")
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "roborl", *LINKED)

IMPORT_EVERY_ROOM = """
import importlib, pkgutil, sys
import roborl
assert roborl.__file__.startswith(sys.prefix), roborl.__file__
def raise_it(name): raise ImportError(name)
names = [module.name for module in pkgutil.walk_packages(roborl.__path__, "roborl.", onerror=raise_it)]
for name in names:
    if not name.endswith("__main__"):
        assert importlib.import_module(name).__file__.startswith(sys.prefix), name
print(*names)
"""

RUN_A_TASK = """
import sys
import gymnasium
env = gymnasium.make("roborl:roborl/CartpoleSwingup-v1")
import roborl
assert roborl.__file__.startswith(sys.prefix), roborl.__file__
obs, info = env.reset(seed=0)
obs, reward, terminated, truncated, info = env.step(env.action_space.sample())
assert env.observation_space.contains(obs), obs
assert 0.0 <= reward <= 1.0, reward
env.close()
"""

IMPORT_THE_RUNTIME_ALONE = """
import importlib.util, sys
import roborl.deploy.runtime as runtime
assert runtime.__file__.startswith(sys.prefix), runtime.__file__
for name in ("torch", "mujoco", "gymnasium", "tasks", "models", "deploy"):
    assert importlib.util.find_spec(name) is None, name
"""


class Distributions(NamedTuple):
    """What is built, and the copy of the checkout that it is built of."""

    source: Path
    sdist: Path
    wheel: Path


def run(*command: str | Path, cwd: Path) -> str:
    """What the command prints; its whole output is in the failure when it fails."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """The sdist, and the wheel built from it, of a copy in which no earlier build lies."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    ignore = shutil.ignore_patterns("__pycache__")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignore)
        else:
            shutil.copy(ROOT / name, source / name)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source, cwd=out)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return Distributions(source, sdist, wheel)


def empty_environment(folder: Path, wheel: Path) -> tuple[Path, Path]:
    """The interpreter and the site-packages of an environment that holds the wheel and nothing else."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    run(
        *(sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"),
        *("install", "--quiet", "--no-deps", "--no-index", wheel),
        cwd=folder,
    )
    (site,) = folder.glob("lib/python*/site-packages")
    return python, site


def with_their_requirements(names: Iterable[str]) -> dict[str, metadata.Distribution]:
    """The named distributions of this environment and what they need, by canonical name."""
    found: dict[str, metadata.Distribution] = {}
    queue = list(names)
    while queue:
        name = canonicalize_name(queue.pop())
        if name in found:
            continue
        found[name] = metadata.distribution(name)
        for line in found[name].requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                queue.append(requirement.name)
    return found


def files_of_the_package(source: Path, suffix: str) -> set[str]:
    """Files with this suffix below roborl/ and behind its links (rglob follows none), by package path."""
    folders = [(source / "roborl", "roborl")] + [(source / name, f"roborl/{name}") for name in LINKED]
    return {f"{prefix}/{path.relative_to(folder)}" for folder, prefix in folders for path in folder.rglob(f"*{suffix}")}


@pytest.mark.parametrize("suffix", [".py", ".xml"])
def test_the_wheel_and_the_sdist_hold_every_file_and_what_the_links_point_to(
    distributions: Distributions, suffix: str
) -> None:
    source, sdist, wheel = distributions
    wanted = files_of_the_package(source, suffix)
    assert any(name.startswith("roborl/models/" if suffix == ".xml" else "roborl/tasks/") for name in wanted)
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    assert wanted <= in_wheel, sorted(wanted - in_wheel)
    with tarfile.open(sdist) as archive:
        files = (member.name for member in archive.getmembers() if member.isfile())
        in_sdist = {name.split("/", 1)[1] for name in files}
    assert wanted <= in_sdist, sorted(wanted - in_sdist)


def test_the_wheel_makes_no_other_top_level_module(distributions: Distributions) -> None:
    with zipfile.ZipFile(distributions.wheel) as archive:
        tops = {name.split("/", 1)[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"roborl"}


def test_every_room_imports_and_a_task_runs_in_an_empty_environment(
    distributions: Distributions, tmp_path: Path
) -> None:
    python, site = empty_environment(tmp_path / "env", distributions.wheel)
    # A folder named in a .pth file comes after the environment's own packages, and the .pth files within
    # it (where an editable installation of this checkout would hide) are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    imported = run(python, "-I", "-c", IMPORT_EVERY_ROOM, cwd=tmp_path).split()
    for room in (*LINKED, "algos", "nn", "data", "run", "planners", "dynamics"):
        assert f"roborl.{room}" in imported, imported
    run(python, "-I", "-c", RUN_A_TASK, cwd=tmp_path)


def test_the_runtime_imports_beside_numpy_and_onnxruntime_alone(distributions: Distributions, tmp_path: Path) -> None:
    python, site = empty_environment(tmp_path / "env", distributions.wheel)
    for distribution in with_their_requirements(["numpy", "onnxruntime"]).values():
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(distribution.locate_file(top))).resolve())
    run(python, "-I", "-c", IMPORT_THE_RUNTIME_ALONE, cwd=tmp_path)


def test_importing_roborl_is_cheap() -> None:
    heavy = ("torch", "mujoco", "onnx", "onnxruntime", "matplotlib")
    code = f"import roborl, sys; print(*(name for name in {heavy} if name in sys.modules))"
    assert run(sys.executable, "-c", code, cwd=ROOT).split() == []


def test_the_version_is_the_package_s() -> None:
    import roborl

    declared = next(line for line in (ROOT / "pyproject.toml").read_text().splitlines() if "version =" in line)
    assert declared == f'version = "{roborl.__version__}"'
