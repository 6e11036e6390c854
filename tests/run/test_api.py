from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import roborl
from roborl.errors import ConfigError, UnknownName, UsageError
from roborl.run import bundle


def test_a_few_lines_of_python_do_what_the_command_line_does(tmp_path: Path) -> None:
    result = roborl.train(
        "sac",
        "PendulumSwingup",
        out=tmp_path / "run",
        quiet=True,
        steps=60,
        seed=1,
        num_envs=2,
        compile=False,
        threads=1,
        tensorboard=False,
        settings={"hidden": (8,), "batch_size": 8, "learning_starts": 50},
    )
    assert result.env_steps == 60
    assert roborl.resume(result.run_dir, steps=70, quiet=True).env_steps == 70
    env = roborl.make("PendulumSwingup")
    obs, _ = env.reset(seed=0)
    action = roborl.load(result.run_dir).act(obs)
    assert env.action_space.contains(action)
    evaluation = roborl.evaluate(result.run_dir, episodes=3)
    assert len(evaluation.returns) == 3 and evaluation.lengths == [200, 200, 200]
    path = roborl.export(result.run_dir, tmp_path / "policy.onnx")
    assert bundle.verify(path, episodes=2).passed


def test_make_gives_environments_of_gymnasium(tmp_path: Path) -> None:
    env = roborl.make("CartpoleTrack", command_range_m=0.5)
    assert isinstance(env, gymnasium.Env) and env.task.options()["command_range_m"] == 0.5
    envs = roborl.make_vec("CartpoleTrack", 3, command_range_m=0.5)
    assert isinstance(envs, gymnasium.vector.VectorEnv) and envs.num_envs == 3
    (tmp_path / "my.py").write_text("from roborl.tasks.pendulum import PendulumSwingup as Base\nclass T(Base): ...\n")
    assert type(roborl.make(f"{tmp_path}/my.py:T").task).__name__ == "T"


def test_evaluations_with_the_same_seed_are_equal_and_with_another_not(trained: Path) -> None:
    first = roborl.evaluate(trained, episodes=4)
    assert roborl.evaluate(trained, episodes=4) == first
    # episode i is seeded with the first seed plus i, whatever is beside it (the policy's rounding apart)
    shifted = roborl.evaluate(trained, episodes=3, seed=10_001)
    assert np.allclose(shifted.returns, first.returns[1:], rtol=1e-3)
    assert not np.allclose(roborl.evaluate(trained, episodes=4, seed=0).returns, first.returns)
    assert roborl.evaluate(trained, episodes=4, checkpoint=300).returns != first.returns


@pytest.mark.usefixtures("can_render")
@pytest.mark.parametrize(("task", "fps"), [("FILE:Brief", 20.0), ("InvertedPendulum-v5", 25.0)])
def test_a_video_shows_the_first_episode_of_our_tasks_and_of_gymnasiums(
    task: str, fps: float, read_film: Any, tmp_path: Path
) -> None:
    brief = "class Brief(Base):\n    episode_length_s = 0.5\n"
    (tmp_path / "my.py").write_text("from roborl.tasks.pendulum import PendulumSwingup as Base\n" + brief)
    settings = {"hidden": (8,), "batch_size": 8, "learning_starts": 50}
    run: dict[str, Any] = {"steps": 55, "compile": False, "threads": 1, "tensorboard": False, "quiet": True}
    task = task.replace("FILE", f"{tmp_path}/my.py")
    run_dir = roborl.train("sac", task, out=tmp_path / "run", settings=settings, **run).run_dir
    path = tmp_path / "film.mp4"
    evaluation = roborl.evaluate(run_dir, episodes=2, video=path)
    film = read_film(path)
    assert len(film.frames) == evaluation.lengths[0]  # so few control steps a second that each is a picture
    assert film.codec == "h264" and film.fps == fps
    assert all(frame.std() > 5.0 for frame in film.frames)  # there is something to see
    assert (film.frames[0] != film.frames).any()  # and it moves


def test_bad_arguments_are_refused_before_anything_is_done(trained: Path, tmp_path: Path) -> None:
    refused: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"episodes": 0}, ConfigError),
        ({"episodes": True}, ConfigError),
        ({"seed": -1}, ConfigError),
        ({"video": tmp_path / "film.gif"}, UsageError),
        ({"checkpoint": 7}, UnknownName),
    ]
    for arguments, error in refused:
        with pytest.raises(error):
            roborl.evaluate(trained, **arguments)
    with pytest.raises(TypeError, match="unexpected keyword argument 'stpes'"):
        roborl.train("sac", "PendulumSwingup", out=tmp_path / "run", stpes=3)
    assert list(tmp_path.iterdir()) == []
