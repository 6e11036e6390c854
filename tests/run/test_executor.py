from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Graph

from roborl.errors import NonFinite, UnknownName, UsageError
from roborl.run.executor import GymExecutor, TaskExecutor, make_executor

MY_TASK = '''
from math import inf
from roborl.task import Action, Term, joint_pos
from roborl.tasks.pendulum import PendulumSwingup

class Unbounded(PendulumSwingup):
    """The pendulum without bounds."""
    action = Action(low=(-1.0,), high=(inf,))

class Blind(PendulumSwingup):
    """The pendulum, seen as NaN as soon as it moves."""
    def reward_terms(self, before, action, after):
        after.memory["seen"][...] = float("nan")
        return super().reward_terms(before, action, after)
    memory = {"seen": 1}
    from roborl.task import remembered
    observations = {"policy": [Term("seen", remembered("seen"))]}
'''


class Count(gymnasium.Env):
    """Counts its steps: ends at 3 in even episodes, at 5 in odd ones; the reward is the number of the step."""

    observation_space: Any = Dict({"time": Box(0.0, 9.0, (1,), np.float32), "odd": Discrete(2)})
    action_space: Any = Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 10.0], np.float32))
    dt = 0.25

    def __init__(self, ends: bool = True) -> None:
        self.episode, self.time, self.ends = -1, 0, ends
        self.actions: list[np.ndarray] = []

    def _obs(self) -> dict[str, Any]:
        return {"time": np.array([self.time], np.float32), "odd": self.episode % 2}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.time = self.episode + 1, 0
        return self._obs(), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.actions.append(action)
        self.time += 1
        ended = self.time >= (5 if self.episode % 2 else 3)
        return self._obs(), float(self.time), ended and self.ends, ended and not self.ends, {}


class Odd(gymnasium.Env):
    """Has the spaces that it is asked for."""

    def __init__(self, observation_space: Any = None, action_space: Any = None) -> None:
        self.observation_space = observation_space or Box(-1.0, 1.0, (2,), np.float32)
        self.action_space = action_space or Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.full(2, np.inf, np.float32), 0.0, False, False, {}


@pytest.fixture(autouse=True, scope="module")
def registered() -> Any:
    gymnasium.register("roborltest/Count-v0", Count)  # pyright: ignore[reportArgumentType]
    gymnasium.register("roborltest/Odd-v0", Odd)  # pyright: ignore[reportArgumentType]
    yield
    for name in ("roborltest/Count-v0", "roborltest/Odd-v0"):
        del gymnasium.registry[name]


def seeds(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.uint64)


@pytest.mark.parametrize("ends", [True, False])
def test_an_ended_episode_shows_its_final_observation_and_then_a_reset_that_is_not_live(ends: bool) -> None:
    executor = make_executor("roborltest/Count-v0", 1, options={"ends": ends})
    assert executor.spaces.obs == {"policy": 3} and executor.spaces.action == 2 and executor.control_dt == 0.25
    obs = executor.reset(seeds(1))["policy"]
    seen = []
    for _ in range(9):
        step = executor.step(np.zeros((1, 2), np.float32))
        row = [step.reward[0], step.terminated[0], step.truncated[0], step.live[0]]
        seen.append([obs[0, -1], step.obs["policy"][0, -1], *map(int, row)])
        obs = step.obs["policy"]
    end, limit = (1, 0) if ends else (0, 1)
    assert seen == [
        # time, time that followed, reward, terminated, truncated, live
        [0, 1, 1, 0, 0, 1],
        [1, 2, 2, 0, 0, 1],
        [2, 3, 3, end, limit, 1],
        [3, 0, 0, 0, 0, 0],  # the reset
        [0, 1, 1, 0, 0, 1],
        [1, 2, 2, 0, 0, 1],
        [2, 3, 3, 0, 0, 1],
        [3, 4, 4, 0, 0, 1],
        [4, 5, 5, end, limit, 1],
    ]
    executor.close()


def test_actions_are_mapped_from_plus_minus_one_onto_the_bounds_once() -> None:
    executor = make_executor("roborltest/Count-v0", 1)
    assert isinstance(executor, GymExecutor)
    executor.reset(seeds(1))
    for action in ([-1.0, -1.0], [1.0, 1.0], [0.0, 0.5]):
        executor.step(np.array([action], np.float32))
    env: Any = executor.envs[0].unwrapped
    assert np.array_equal(env.actions, [[-2.0, 0.0], [2.0, 10.0], [0.0, 7.5]])
    assert env.actions[0].dtype == np.float32


@pytest.mark.parametrize("task", ["PendulumSwingup", "Pendulum-v1"])
def test_the_same_seeds_give_the_same_episodes_whatever_their_number(task: str) -> None:
    one, three = make_executor(task, 1), make_executor(task, 3)
    rng = np.random.default_rng(0)
    first, all_three = one.reset(seeds(3)[1:2]), three.reset(seeds(3))
    assert np.array_equal(first["policy"][0], all_three["policy"][1])
    assert not np.array_equal(all_three["policy"][0], all_three["policy"][1])
    for _ in range(210):  # past the episode's end: the next one follows from the seed, too
        action = rng.uniform(-1, 1, (3, 1)).astype(np.float32)
        a, b = one.step(action[1:2]), three.step(action)
        assert np.array_equal(a.obs["policy"][0], b.obs["policy"][1]) and a.reward[0] == b.reward[1]
        assert a.live[0] == b.live[1] and a.truncated[0] == b.truncated[1]


@pytest.mark.parametrize("task", ["CartpoleTrack", "PendulumSwingup"])
def test_a_task_of_ours_goes_on_from_a_saved_state_to_the_bit(task: str) -> None:
    executors = make_executor(task, 3, num_threads=1), make_executor(task, 3, num_threads=2)
    rng = np.random.default_rng(0)
    executors[0].reset(seeds(3))

    def draw() -> np.ndarray:
        return rng.uniform(-1, 1, (3, 1)).astype(np.float32)

    for _ in range(150):
        executors[0].step(draw())
    for _ in range(80):  # across falls, time limits and resets
        obs = executors[1].restore(executors[0].state())
        action = draw()
        a, b = (executor.step(action) for executor in executors)
        for name in a.obs:
            assert np.array_equal(a.obs[name], b.obs[name]) and obs[name].shape == a.obs[name].shape
        for one, two in zip(a[1:], b[1:], strict=True):
            assert one is two is None or np.array_equal(one, two)  # pyright: ignore[reportArgumentType]


def test_the_observations_at_a_restored_state_are_those_that_were_seen_there() -> None:
    executor, other = make_executor("CartpoleTrack", 2), make_executor("CartpoleTrack", 2)
    executor.reset(seeds(2))
    for _ in range(120):
        step = executor.step(np.full((2, 1), 0.3, np.float32))
        restored = other.restore(executor.state())
        assert all(np.array_equal(step.obs[name], restored[name]) for name in ("policy", "critic"))


def test_an_environment_of_gymnasium_begins_other_episodes_each_time_it_is_restored() -> None:
    executor = make_executor("Pendulum-v1", 2)
    assert not executor.restorable
    first = executor.reset(seeds(2))
    executor.step(np.zeros((2, 1), np.float32))
    state = executor.state()
    second = executor.restore(state)
    again = make_executor("Pendulum-v1", 2).restore(state)
    assert np.array_equal(second["policy"], again["policy"])  # what they are follows from the state
    third = executor.restore(executor.state())
    shown = [obs["policy"].tobytes() for obs in (first, second, third)]
    assert len(set(shown)) == 3


def test_a_task_of_ours_and_one_of_a_users_file_are_found_before_gymnasiums(tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text("from roborl.tasks.pendulum import PendulumSwingup as Base\nclass T(Base): ...\n")
    assert isinstance(make_executor("HalfCheetah", 1), TaskExecutor)
    assert isinstance(make_executor(f"{tmp_path}/my.py:T", 1), TaskExecutor)
    assert isinstance(make_executor("HalfCheetah-v5", 1), GymExecutor)
    assert set(make_executor("CartpoleTrack", 1).spaces.obs) == {"policy", "critic"}
    with pytest.raises(UnknownName, match="unknown task 'HalfCheeta-v5'; did you mean 'roborl/HalfCheetah-v1'"):
        make_executor("HalfCheeta-v5", 1)
    with pytest.raises(UnknownName, match="unknown option of CartpoleTrack 'length'"):
        make_executor("CartpoleTrack", 1, options={"length": 1})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("CartPole-v1", {}, r"CartPole-v1 has the action space Discrete\(2\)"),
        ("roborltest/Odd-v0", {"action_space": Box(-1.0, 1.0, (2, 2))}, "one-dimensional box of bounded actions"),
        ("roborltest/Odd-v0", {"action_space": Box(0.0, np.inf, (1,))}, r"must be bounded, got low \[0.0\] and high"),
        ("roborltest/Odd-v0", {"observation_space": Graph(Box(0, 1, (1,)), None)}, "cannot be flattened"),
        ("roborltest/Odd-v0", {"colour": "red"}, "gymnasium cannot make roborltest/Odd-v0: TypeError"),
        ("TASK:Unbounded", {}, r"the actions of Unbounded must be bounded, got low \[-1.0\] and high \[inf\]"),
    ],
)
def test_what_no_learner_here_can_act_in_is_refused(
    name: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    (tmp_path / "my.py").write_text(MY_TASK)
    with pytest.raises(UsageError, match=message):
        make_executor(name.replace("TASK", f"{tmp_path}/my.py"), 2, options=options)


def test_an_observation_that_is_not_finite_is_an_error_that_names_the_environment(tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text(MY_TASK)
    for name, message in (
        ("roborltest/Odd-v0", "environment 0 gave"),
        (f"{tmp_path}/my.py:Blind", "'policy' of Blind"),
    ):
        executor = make_executor(name, 2)
        executor.reset(seeds(2))
        with pytest.raises(NonFinite, match=message):
            executor.step(np.zeros((2, 1), np.float32))


def test_an_environment_that_cannot_be_rendered_says_so() -> None:
    executor = make_executor("roborltest/Count-v0", 1)
    executor.reset(seeds(1))
    with pytest.raises(UsageError, match="roborltest/Count-v0 cannot be rendered: "):
        executor.picture(0)


@pytest.mark.parametrize("task", ["ArmReach", "ArmPush", "ArmPickPlace"])
@pytest.mark.parametrize("reward", ["dense", "sparse"])
def test_goals_are_found_in_the_observations_and_paid_by_the_tasks_own_function(task: str, reward: str) -> None:
    executor = make_executor(task, 3, options={"reward": reward})
    goals = executor.goals
    assert goals is not None
    obs = executor.reset(np.arange(3, dtype=np.uint64))
    width = executor.spaces.obs["policy"]
    assert goals.shown == {"policy": (slice(width - 3, width),), "desired_goal": (slice(0, 3),)}
    for group, places in goals.shown.items():
        for where in places:
            assert np.array_equal(obs[group][:, where], obs["desired_goal"])
    step = executor.step(np.zeros((3, executor.spaces.action)))
    paid = goals.reward(step.obs["achieved_goal"], step.obs["desired_goal"])
    if reward == "sparse":
        assert np.array_equal(paid, step.reward)
    else:
        assert (paid > 0).all() and (paid <= step.reward).all()
    assert make_executor("PendulumSwingup", 1).goals is None
    assert make_executor("Pendulum-v1", 1).goals is None
