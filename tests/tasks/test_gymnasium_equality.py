"""With one simulation our tasks are Gymnasium's own environments, in double precision."""

from __future__ import annotations

from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest

from roborl import tasks
from roborl.envs import TaskEnv

EXACT = 1e-12
OPTIONS = {
    "HalfCheetah": ({}, {"forward_reward_weight": 2.0, "ctrl_cost_weight": 0.3}),
    "Hopper": ({}, {"terminate_when_unhealthy": False, "healthy_reward": 0.5}),
    "InvertedPendulum": ({},),
    "InvertedDoublePendulum": ({}, {"healthy_reward": 5.0}),
    "Reacher": ({}, {"reward_dist_weight": 2.0, "reward_control_weight": 0.5}),
    "Swimmer": ({}, {"ctrl_cost_weight": 0.1}),
    "Walker2d": ({}, {"terminate_when_unhealthy": False, "healthy_reward": 0.5}),
    "Ant": ({}, {"contact_forces": True}, {"contact_forces": True, "contact_cost_weight": 0.1}),
    "Humanoid": ({}, {"contact_forces": True}, {"contact_forces": True, "contact_cost_weight": 1e-3}),
    "HumanoidStandup": ({}, {"contact_forces": True}, {"contact_forces": True, "impact_cost_weight": 1e-3}),
    "Pusher": ({}, {"reward_near_weight": 1.0, "reward_control_weight": 0.2}),
}
REWARD_TERMS = {
    "HalfCheetah": {"forward": "reward_forward", "control": "reward_ctrl"},
    "Hopper": {"forward": "reward_forward", "control": "reward_ctrl", "healthy": "reward_survive"},
    "InvertedPendulum": {"survive": "reward_survive"},
    "InvertedDoublePendulum": {
        "survive": "reward_survive",
        "distance": "distance_penalty",
        "speeds": "velocity_penalty",
    },
    "Reacher": {"distance": "reward_dist", "control": "reward_ctrl"},
    "Swimmer": {"forward": "reward_forward", "control": "reward_ctrl"},
    "Walker2d": {"forward": "reward_forward", "control": "reward_ctrl", "healthy": "reward_survive"},
    "Ant": {
        "forward": "reward_forward",
        "control": "reward_ctrl",
        "healthy": "reward_survive",
        "contact": "reward_contact",
    },
    "Humanoid": {
        "forward": "reward_forward",
        "control": "reward_ctrl",
        "healthy": "reward_survive",
        "contact": "reward_contact",
    },
    "HumanoidStandup": {"height": "reward_linup", "control": "reward_quadctrl", "contact": "reward_impact"},
    "Pusher": {"goal": "reward_dist", "control": "reward_ctrl", "near": "reward_near"},
}
FALLING = ("Hopper", "InvertedPendulum", "InvertedDoublePendulum", "Walker2d", "Humanoid")
"""Those whose episodes end within some tens of random actions."""
CASES = [(name, options) for name, all_options in OPTIONS.items() for options in all_options]


def make_both(name: str, options: dict[str, Any]) -> tuple[TaskEnv, gymnasium.Env]:
    theirs = dict(options)
    if name in ("Ant", "Humanoid", "HumanoidStandup") and not theirs.pop("contact_forces", False):
        weight = "impact_cost_weight" if name == "HumanoidStandup" else "contact_cost_weight"
        theirs |= {"include_cfrc_ext_in_observation": False, weight: 0.0}
    return TaskEnv(tasks.load(name, **options)), gymnasium.make(f"{name}-v5", disable_env_checker=True, **theirs)


def begin_both(ours: TaskEnv, theirs: gymnasium.Env) -> None:
    """Begin an episode in both, theirs from the state of ours."""
    obs, _ = ours.reset()
    theirs.reset()
    env: Any = theirs.unwrapped
    mujoco.mj_resetData(env.model, env.data)
    env.set_state(ours.sim.fields.qpos[0], ours.sim.fields.qvel[0])
    np.testing.assert_allclose(obs, env._get_obs(), rtol=0.0, atol=EXACT)


def step_both(ours: TaskEnv, theirs: gymnasium.Env, action: np.ndarray, name: str) -> bool:
    """Step both, compare everything, and return whether the episode is over."""
    obs, reward, terminated, truncated, info = ours.step(action)
    their_obs, their_reward, their_terminated, their_truncated, their_info = theirs.step(action)
    np.testing.assert_allclose(obs, their_obs, rtol=0.0, atol=EXACT)
    assert reward == pytest.approx(their_reward, rel=0.0, abs=EXACT)
    assert (terminated, truncated) == (their_terminated, their_truncated)
    for term, their_term in REWARD_TERMS[name].items():
        if term == "contact" and term not in info["reward_terms"]:
            continue
        assert info["reward_terms"][term] == pytest.approx(their_info[their_term], rel=0.0, abs=EXACT)
    return terminated or truncated


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_thousand_steps_equal_gymnasiums_ends_of_episodes_included(name, options):
    ours, theirs = make_both(name, options)
    ours.reset(seed=0)
    begin_both(ours, theirs)
    space, rng = ours.action_space, np.random.default_rng(1)
    assert isinstance(space, gymnasium.spaces.Box)
    ends = 0
    for _ in range(1000):
        # beyond the bounds at times: both simulators clip, both rewards do not
        if step_both(ours, theirs, 1.2 * rng.uniform(space.low, space.high), name):
            ends += 1
            begin_both(ours, theirs)
    falls = name in FALLING and options.get("terminate_when_unhealthy", True)
    assert ends > 10 if falls else ends >= 1
    theirs.close()


def test_a_pole_that_is_balanced_is_truncated_where_gymnasium_truncates_it():
    ours, theirs = make_both("InvertedPendulum", {})
    obs, _ = ours.reset(seed=0)
    begin_both(ours, theirs)
    for step in range(1, 1001):
        obs = ours.sim.observe()["policy"][0]
        # a stabilising feedback of cart position, pole angle and their speeds
        action = np.clip([0.3 * obs[0] + 6.0 * obs[1] + 0.5 * obs[2] + 1.0 * obs[3]], -3.0, 3.0)
        assert step_both(ours, theirs, action, "InvertedPendulum") == (step == 1000)
    theirs.close()


@pytest.mark.parametrize("name", OPTIONS)
def test_the_spaces_and_the_rate_are_gymnasiums(name):
    ours, theirs = make_both(name, {})
    env: Any = theirs.unwrapped
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    assert ours.metadata["render_fps"] == theirs.metadata["render_fps"]
    assert ours.task.control_dt == pytest.approx(env.dt)
    theirs.close()


@pytest.mark.parametrize("name", OPTIONS)
def test_initial_states_are_spread_as_gymnasiums(name):
    ours, theirs = make_both(name, {})
    env: Any = theirs.unwrapped
    mine, others = [], []
    for seed in range(300):
        ours.reset(seed=seed)
        mine.append(np.concatenate((ours.sim.fields.qpos[0], ours.sim.fields.qvel[0])))
        theirs.reset(seed=seed)
        others.append(np.concatenate((env.data.qpos, env.data.qvel)))
    spread = np.std(others, axis=0)
    # 300 draws each: the difference of means has 0.08 deviations, a deviation's ratio 0.06
    assert np.mean(mine, axis=0) == pytest.approx(np.mean(others, axis=0), abs=0.33 * spread.max())
    moves = spread > 1e-12
    assert (np.std(mine, axis=0)[~moves] < 1e-12).all()
    assert np.std(mine, axis=0)[moves] / spread[moves] == pytest.approx(np.ones(moves.sum()), abs=0.3)
    theirs.close()


@pytest.mark.parametrize("behaviour", ["random", "pumping", "bang-bang", "beyond the limits"])
@pytest.mark.parametrize("seed", range(5))
def test_the_pendulum_equals_pendulum_v1_over_whole_episodes_and_at_its_speed_limit(seed, behaviour):
    ours = TaskEnv(tasks.load("PendulumSwingup"))
    theirs = gymnasium.make("Pendulum-v1", disable_env_checker=True)
    env: Any = theirs.unwrapped
    ours.reset(seed=seed)
    theirs.reset(seed=seed)
    env.state = np.array([ours.sim.fields.qpos[0, 0], ours.sim.fields.qvel[0, 0]])
    rng = np.random.default_rng(seed)
    at_limit = 0
    for step in range(1, 201):
        speed = env.state[1]
        action = {
            "random": rng.uniform(-2.0, 2.0),
            "pumping": 2.0 if speed >= 0.0 else -2.0,
            "bang-bang": rng.choice([-2.0, 2.0]),
            "beyond the limits": rng.uniform(-5.0, 5.0),
        }[behaviour]
        obs, reward, terminated, truncated, _ = ours.step(np.array([action]))
        _, their_reward, their_terminated, their_truncated, _ = theirs.step(np.array([action]))
        angle, speed = env.state
        np.testing.assert_allclose(obs, [np.cos(angle), np.sin(angle), speed], rtol=0.0, atol=1e-6)
        assert reward == pytest.approx(their_reward, rel=0.0, abs=1e-6)
        assert (terminated, truncated) == (their_terminated, their_truncated) == (False, step == 200)
        at_limit += abs(speed) == 8.0
    assert at_limit > 10 if behaviour == "pumping" else True
    theirs.close()


def test_the_pendulums_spaces_are_pendulum_v1s_but_for_their_precision():
    ours, theirs = TaskEnv(tasks.load("PendulumSwingup")), gymnasium.make("Pendulum-v1")
    assert ours.action_space == theirs.action_space
    assert ours.observation_space.shape == theirs.observation_space.shape
    theirs.close()
