from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import roborl  # noqa: F401  registers the tasks
from roborl import tasks
from roborl.envs import TaskEnv, TaskVectorEnv
from roborl.errors import ConfigError, NonFinite, RunError, UnknownName, UsageError
from roborl.task import Task

every_task = pytest.mark.parametrize("task_id", tasks.TASKS)
every_mode = pytest.mark.parametrize("mode", list(AutoresetMode))


def shortened(task_id: str, steps: int = 25) -> Task:
    """Return a task whose episodes are short, so that a test sees their ends."""
    kind = type(tasks.load(task_id))
    return type(kind.__name__, (kind,), {"episode_length_s": steps * kind.control_dt})()


def random_actions(env: TaskVectorEnv | TaskEnv, steps: int, num_envs: int, seed: int = 0) -> np.ndarray:
    low, high = env.sim.action_low, env.sim.action_high
    return np.random.default_rng(seed).uniform(low, high, (steps, num_envs, len(low)))


@every_task
def test_sixty_four_environments_equal_sixty_four_single_ones_to_the_bit(task_id):
    n, task = 64, shortened(task_id)
    many = TaskVectorEnv(task, n, num_threads=2)
    obs, info = many.reset(seed=11)
    actions = random_actions(many, 60, n)
    together = [many.step(action) for action in actions]
    ends = 0
    for i in range(n):
        one = TaskEnv(task)
        single_obs, single_info = one.reset(seed=11 + i)
        assert np.array_equal(single_obs, obs[i])
        assert all(np.array_equal(single_info[name], info[name][i]) for name in info)
        done = False
        for (obs_n, reward_n, terminated_n, truncated_n, info_n), action in zip(together, actions, strict=True):
            if done:
                single_obs, single_info = one.reset()
                reward, terminated, truncated = 0.0, False, False
            else:
                single_obs, reward, terminated, truncated, single_info = one.step(action[i])
                for name, value in single_info["reward_terms"].items():
                    assert value == info_n["reward_terms"][name][i]
            assert np.array_equal(single_obs, obs_n[i])
            assert (reward, terminated, truncated) == (reward_n[i], terminated_n[i], truncated_n[i])
            assert "critic" not in info_n or np.array_equal(single_info["critic"], info_n["critic"][i])
            done = terminated or truncated
            ends += done
        for name, row in one.sim.state()._asdict().items():
            assert np.array_equal(row[0], many.state()[name][i])
    assert ends >= 2 * n


@every_task
@every_mode
def test_each_autoreset_mode_does_what_gymnasiums_sync_vector_env_does(task_id, mode):
    n, task = 5, shortened(task_id)
    ours = TaskVectorEnv(task, n, autoreset_mode=mode, num_threads=1)
    theirs = SyncVectorEnv([lambda: TaskEnv(task)] * n, autoreset_mode=mode)
    assert ours.metadata["autoreset_mode"] == theirs.metadata["autoreset_mode"] == mode
    assert ours.observation_space == theirs.observation_space and ours.action_space == theirs.action_space
    assert np.array_equal(ours.reset(seed=5)[0], theirs.reset(seed=5)[0])
    ends = 0
    for action in random_actions(ours, 80, n):
        obs, reward, terminated, truncated, info = ours.step(action)
        expected: Any = theirs.step(action)
        for got, want in zip((obs, reward, terminated, truncated), expected, strict=False):
            assert np.array_equal(got, want) and got.dtype == want.dtype
        done = terminated | truncated
        ends += done.sum()
        assert ("final_obs" in info) == ("final_obs" in expected[4]) == (mode is AutoresetMode.SAME_STEP and done.any())
        if "final_obs" in info:
            assert np.array_equal(info["_final_obs"], expected[4]["_final_obs"])
            assert np.array_equal(info["_final_info"], expected[4]["_final_info"])
            for i in np.flatnonzero(done):
                assert np.array_equal(info["final_obs"][i], expected[4]["final_obs"][i])
                final, wanted = info["final_info"], expected[4]["final_info"]
                for name, value in final["reward_terms"].items():
                    assert value[i] == wanted["reward_terms"][name][i]
                if "critic" in final:
                    assert np.array_equal(final["critic"][i], wanted["critic"][i])
        assert "critic" not in info or np.array_equal(info["critic"], expected[4]["critic"])
        if mode is AutoresetMode.DISABLED and done.any():
            mask = {"reset_mask": done}
            assert np.array_equal(ours.reset(options=dict(mask))[0], theirs.reset(options=dict(mask))[0])
    assert ends >= 2 * n


@every_mode
@every_task
def test_a_saved_state_continues_to_the_bit_in_every_mode(task_id, mode):
    task = shortened(task_id, 15)
    one, other = (TaskVectorEnv(task, 4, autoreset_mode=mode, num_threads=1) for _ in range(2))
    one.reset(seed=1)
    other.reset(seed=2)

    def run(env: TaskVectorEnv, actions: np.ndarray) -> list[Any]:
        seen = []
        for action in actions:
            obs, reward, terminated, truncated, info = env.step(action)
            seen += [obs, reward, terminated, truncated, *info["reward_terms"].values(), info.get("critic", 0.0)]
            if mode is AutoresetMode.DISABLED and (terminated | truncated).any():
                seen.append(env.reset(options={"reset_mask": terminated | truncated})[0])
        return seen

    actions = random_actions(one, 60, 4)
    for stop in (15, 20):  # at the end of an episode, and within one
        run(one, actions[:stop])
        saved = one.state()
        groups = other.restore(saved)
        assert np.array_equal(groups["policy"], one.sim.observe()["policy"])
        for a, b in zip(run(one, actions[stop:]), run(other, actions[stop:]), strict=True):
            assert np.array_equal(a, b)


def test_with_autoreset_disabled_a_step_past_an_end_is_refused():
    env = TaskVectorEnv(shortened("Hopper", 3), 2, autoreset_mode="Disabled")
    env.reset(seed=0)
    for _ in range(3):
        env.step(np.zeros((2, 3)))
    with pytest.raises(RunError, match=r"episodes of environments \[0, 1\] have ended"):
        env.step(np.zeros((2, 3)))
    env.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(RunError, match=r"environments \[1\] have ended"):
        env.step(np.zeros((2, 3)))
    env.reset(options={"reset_mask": np.array([False, True])})
    assert not env.step(np.zeros((2, 3)))[3].any()


def test_a_reset_mask_resets_its_environments_alone():
    env = TaskVectorEnv(tasks.load("CartpoleTrack"), 3)
    env.reset(seed=0)
    before = env.step(np.ones((3, 1)))[0]
    obs, info = env.reset(options={"reset_mask": np.array([False, True, False])}, seed=[None, 0, None])
    assert np.array_equal(obs[[0, 2]], before[[0, 2]])
    fresh, fresh_info = TaskEnv(tasks.load("CartpoleTrack")).reset(seed=0)
    assert np.array_equal(obs[1], fresh) and np.array_equal(info["critic"][1], fresh_info["critic"])
    assert env.state()["elapsed"].tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    "options",
    [
        {"reset_mask": np.array([True])},
        {"reset_mask": np.array([0, 1])},
        {"reset_mask": np.zeros(2, bool)},
        {"mask": np.ones(2, bool)},
    ],
)
def test_a_wrong_reset_option_is_refused(options):
    env = TaskVectorEnv(tasks.load("PendulumSwingup"), 2)
    with pytest.raises(UsageError, match="reset_mask"):
        env.reset(options=options)


def test_every_environment_may_have_a_seed_of_its_own():
    env = TaskVectorEnv(tasks.load("PendulumSwingup"), 3)
    obs, _ = env.reset(seed=[7, 9, 7])
    assert np.array_equal(obs[0], obs[2]) and not np.array_equal(obs[0], obs[1])
    assert np.array_equal(env.reset(seed=7)[0][0], obs[0])
    with pytest.raises(UsageError, match="one entry for each of 3"):
        env.reset(seed=[1, 2])


def test_an_environment_without_a_new_seed_continues_its_stream():
    env, other = (TaskVectorEnv(tasks.load("PendulumSwingup"), 2) for _ in range(2))
    env.reset(seed=3)
    other.reset(seed=3)
    obs, expected = env.reset(seed=[None, 50])[0], other.reset()[0]
    assert np.array_equal(obs[0], expected[0]) and not np.array_equal(obs[1], expected[1])


@pytest.mark.parametrize("seed", [None, [None, None]])
def test_without_any_seed_two_environments_begin_differently(seed):
    env, other = (TaskVectorEnv(tasks.load("PendulumSwingup"), 2) for _ in range(2))
    begun = np.concatenate((env.reset(seed=seed)[0], other.reset(seed=seed)[0]))
    assert len(np.unique(begun[:, 0])) == 4


def test_what_a_step_returns_does_not_change_later():
    env = TaskVectorEnv(shortened("InvertedPendulum", 5), 3)
    env.reset(seed=0)
    returned, copies = [], []
    for action in random_actions(env, 12, 3):
        obs, reward, terminated, truncated, info = env.step(action)
        returned.append([obs, reward, terminated, truncated, *info["reward_terms"].values()])
        copies.append([array.copy() for array in returned[-1]])
        assert all(array.flags.writeable for array in returned[-1])
    for arrays, kept in zip(returned, copies, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(arrays, kept, strict=True))


@pytest.mark.parametrize("shape", [(3,), (3, 2), (2, 1), (1, 1)])
def test_actions_of_the_wrong_shape_are_refused(shape):
    env = TaskVectorEnv(tasks.load("PendulumSwingup"), 3)
    env.reset(seed=0)
    with pytest.raises(UsageError, match=r"actions must have the shape \(3, 1\), got"):
        env.step(np.zeros(shape))


def test_an_environment_that_diverged_says_so():
    env = TaskEnv(tasks.load("Hopper"))
    env.reset(seed=0)
    with pytest.raises(NonFinite, match="the physics of Hopper became unstable in simulation 0"):
        env.step(np.full(3, np.nan))


def test_a_divergence_in_the_step_that_an_ended_environment_takes_in_vain_is_none():
    env = TaskVectorEnv(shortened("Hopper", 2), 2)
    env.reset(seed=0)
    env.step(np.zeros((2, 3)))
    assert env.step(np.zeros((2, 3)))[3].all()
    env.sim.fields.qpos[0, 0] = np.nan
    obs, reward, *_ = env.step(np.zeros((2, 3)))
    assert np.isfinite(obs).all() and reward.tolist() == [0.0, 0.0]


def test_gymnasium_lets_a_single_environment_be_stepped_past_its_end():
    env = TaskEnv(shortened("PendulumSwingup", 2))
    env.reset(seed=0)
    assert [env.step(np.zeros(1))[3] for _ in range(3)] == [False, True, True]


@pytest.mark.usefixtures("can_render")
@every_task
def test_gymnasiums_checker_only_gives_its_advice_on_bounds(task_id):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        env = gymnasium.make(task_id, render_mode="rgb_array")
        check_env(env.unwrapped)
        env.close()
    for warning in caught:
        text = str(warning.message)
        assert "observation space m" in text and "infinity" in text or "symmetric and normalized" in text, text


@pytest.mark.usefixtures("can_render")
def test_environments_give_a_picture_of_each_simulation_and_none_without_a_mode():
    env = gymnasium.make_vec("roborl/PendulumSwingup-v1", num_envs=2, render_mode="rgb_array")
    env.reset(seed=0)
    pictures: Any = env.render()
    assert len(pictures) == 2 and not np.array_equal(*pictures)
    env.close()
    plain = TaskEnv(tasks.load("PendulumSwingup"))
    plain.reset(seed=0)
    assert plain.render() is None


@every_task
def test_gymnasium_makes_every_task_by_its_id(task_id):
    env = gymnasium.make(f"roborl:{task_id}")
    assert isinstance(env.unwrapped, TaskEnv)
    vector = gymnasium.make_vec(task_id, num_envs=3, autoreset_mode="SameStep", num_threads=1)
    assert isinstance(vector.unwrapped, TaskVectorEnv)
    assert vector.unwrapped.autoreset_mode is AutoresetMode.SAME_STEP
    assert env.observation_space == vector.single_observation_space


def test_options_of_a_task_are_keyword_arguments_of_make():
    env: Any = gymnasium.make("roborl/HalfCheetah-v1", ctrl_cost_weight=0.5).unwrapped
    assert env.task.options()["ctrl_cost_weight"] == 0.5
    vector: Any = gymnasium.make_vec("roborl/HalfCheetah-v1", num_envs=2, reset_noise_scale=0.0)
    assert vector.unwrapped.task.options()["reset_noise_scale"] == 0.0
    with pytest.raises(UnknownName, match="unknown option of HalfCheetah 'ctrl_cost'"):
        gymnasium.make("roborl/HalfCheetah-v1", ctrl_cost=0.5)


def test_gymnasiums_vector_wrappers_count_episodes_right():
    env = gymnasium.wrappers.vector.RecordEpisodeStatistics(TaskVectorEnv(shortened("PendulumSwingup", 10), 2))
    env.reset(seed=0)
    lengths = []
    for _ in range(33):
        info = env.step(np.zeros((2, 1), np.float32))[4]
        if "episode" in info:
            lengths += info["episode"]["l"][info["_episode"]].tolist()
    assert lengths == [10] * 6


def test_an_unknown_way_of_rendering_is_refused():
    with pytest.raises(ConfigError, match="render_mode must be one of None, 'rgb_array', got 'human'"):
        TaskEnv(tasks.load("Hopper"), render_mode="human")
