from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from roborl import presets, tasks
from roborl.errors import ConfigError, UnknownName
from roborl.models.arms import ARMS, arm, tool_position
from roborl.planners.contract import Plan
from roborl.planners.mpc import MPCPolicy, make_planner, plan_episodes
from roborl.planners.mppi import MPPI
from roborl.sim import Sim
from roborl.task import Task

QUICK = {"horizon_s": 0.2, "samples": 8}


def short(name: str, steps: int) -> Task:
    task = tasks.load(name)
    task_class = type(task)
    return type(f"Short{task_class.__name__}", (task_class,), {"episode_length_s": steps * task.control_dt})()


def test_an_episode_is_the_one_that_the_simulator_replays() -> None:
    task = short("CartpoleTrack", 12)
    results = plan_episodes(make_planner("mppi", task, QUICK, num_threads=1), episodes=2, seed=7)
    sim = Sim(task, 1, num_threads=1)
    for i, episode in enumerate(results.episodes):
        assert episode.seed == 7 + i
        assert episode.qpos.shape == (13, 2) and episode.qvel.shape == (13, 2) and episode.actions.shape == (12, 1)
        assert episode.success is not None and episode.success.shape == (12,)
        sim.seed(np.array([7 + i], np.uint64))
        sim.reset()
        for t in range(12):
            assert np.array_equal(sim.fields.qpos[0], episode.qpos[t])
            assert sim.step(episode.actions[t][None]).reward[0] == episode.rewards[t]
    assert results.plans == 24
    assert results.planner_steps == 24 * 20 * 8  # plans * horizon * samples


def test_an_episode_does_not_depend_on_those_before_it() -> None:
    task = short("PendulumSwingup", 6)
    both = plan_episodes(make_planner("mppi", task, QUICK, num_threads=1), episodes=2, seed=3)
    second = plan_episodes(make_planner("mppi", task, QUICK, num_threads=1), episodes=1, seed=4)
    assert np.array_equal(both.episodes[1].actions, second.episodes[0].actions)


def test_a_planner_does_not_see_the_environments_future() -> None:
    # two environments in one state whose seeds, hence coming commands, differ: the same plan
    task = tasks.load("CartpoleTrack", command_period_s=(0.05, 0.05))
    sim = Sim(task, 1, num_threads=1)
    sim.reset()
    here = sim.state()
    other = here._replace(counters=here.counters.copy())
    other.counters[:, 0] = 12345
    planner = make_planner("mppi", task, QUICK, num_threads=1)
    start = planner.state()
    first = planner.plan(here)
    planner.restore(start)
    assert np.array_equal(planner.plan(other).U, first.U)


def test_plans_are_kept_for_as_many_steps_as_asked() -> None:
    task = short("PendulumSwingup", 7)
    sim = Sim(task, 1, num_threads=1)
    sim.reset()
    policy = MPCPolicy(make_planner("mppi", task, QUICK, num_threads=1), replan_steps=3)
    for t in range(7):
        action = policy.act(sim.state())
        assert policy.plans == t // 3 + 1
        assert policy.last_plan is not None
        assert np.array_equal(action, policy.last_plan.U[t % 3])
        sim.step(action[None])


def test_a_policy_resumes_to_the_bit_through_json() -> None:
    task = short("CartpoleTrack", 10)
    sim = Sim(task, 1, num_threads=1)
    sim.reset()
    policy = MPCPolicy(make_planner("mppi", task, QUICK, num_threads=1), replan_steps=2)
    for _ in range(3):
        sim.step(policy.act(sim.state())[None])
    x, saved = sim.state(), json.loads(json.dumps(policy.state()))

    def actions(policy: MPCPolicy) -> list[float]:
        sim.restore(x)
        taken = []
        for _ in range(4):
            action = policy.act(sim.state())
            sim.step(action[None])
            taken.append(float(action[0]))
        return taken

    expected = actions(policy)
    other = MPCPolicy(make_planner("mppi", task, QUICK, num_threads=1), replan_steps=2)
    other.restore(saved)
    assert actions(other) == expected


def test_progress_and_the_summary() -> None:
    task = short("CartpoleTrack", 4)
    steps: list[tuple[int, int]] = []
    totals: list[float] = []

    def on_step(episode: int, step: int, total: float) -> None:
        steps.append((episode, step))
        totals.append(total)

    results = plan_episodes(
        make_planner("mppi", task, QUICK, num_threads=1),
        episodes=2,
        replan_steps=2,
        on_step=on_step,
    )
    assert steps == [(i, t) for i in range(2) for t in (1, 2, 3, 4)]
    assert totals[3::4] == pytest.approx([episode.total for episode in results.episodes])
    summary = json.loads(json.dumps(results.summary()))
    assert summary["task_steps"] == 8 and summary["plans"] == 4 and summary["episodes"] == 2
    assert summary["return_mean"] == pytest.approx(np.mean([e.rewards.sum() for e in results.episodes]))
    assert summary["settings"]["samples"] == 8 and summary["settings"]["replan_steps"] == 2
    assert 0.0 <= summary["success_share"] <= 1.0


def test_frames_are_pictures_of_the_first_episode() -> None:
    frames: list[np.ndarray] = []
    task = short("PendulumSwingup", 2)
    plan_episodes(
        make_planner("mppi", task, QUICK, num_threads=1), episodes=2, on_frame=lambda picture: frames.append(picture())
    )
    assert [frame.shape for frame in frames] == [(360, 480, 3)] * 2


def test_settings_are_checked_by_name() -> None:
    task = tasks.load("PendulumSwingup")
    with pytest.raises(UnknownName, match="unknown setting of mppi 'sample'; did you mean 'samples'"):
        make_planner("mppi", task, {"sample": 3})
    with pytest.raises(UnknownName, match="unknown planner 'mpi'"):
        make_planner("mpi", task)
    with pytest.raises(ConfigError, match="replan_steps"):
        MPCPolicy(make_planner("mppi", task), replan_steps=0)
    assert isinstance(make_planner("mppi", task), MPPI)


def test_a_falling_pole_ends_the_episode() -> None:
    task = tasks.load("InvertedPendulum")
    # one sample beside the plan itself, hardly any noise: nothing is controlled, and it falls
    planner = make_planner("mppi", task, {"samples": 2, "noise": 1e-6, "horizon_s": 0.04}, num_threads=1)
    episode = plan_episodes(planner, seed=1).episodes[0]
    assert episode.terminated and len(episode.rewards) < task.episode_steps
    assert episode.rewards[-1] == 0.0


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["icem", "ilqr"])
def test_the_pendulum_is_swung_up_within_5_of_the_optimum(name: str) -> None:
    optimum = np.array(json.loads((Path(__file__).parent / "pendulum_optimum.json").read_text())["returns"])
    planner = make_planner(name, tasks.load("PendulumSwingup"), presets.settings(name, "PendulumSwingup"))
    results = plan_episodes(planner, episodes=100, seed=10000)
    assert results.returns.mean() > optimum.mean() - 5.0
    assert (results.returns < optimum + 2.5).all()  # no more than the optimum, but for the table's grid


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("name", "replan_steps", "least"),
    [("CartpoleSwingup", 2, 800.0), ("AcrobotSwingup", 4, 400.0), ("HalfCheetah", 1, 5000.0)],
)
def test_icem_swings_up_and_runs(name: str, replan_steps: int, least: float) -> None:
    planner = make_planner("icem", tasks.load(name), presets.settings("icem", name))
    results = plan_episodes(planner, episodes=3, seed=10000, replan_steps=replan_steps)
    assert results.returns.mean() >= least


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ARMS)
def test_ilqr_brings_the_tool_of_an_arm_within_5_mm_of_goals(name: str) -> None:
    task = tasks.load("ArmReach", arm=name)
    results = plan_episodes(make_planner("ilqr", task, dynamics="rigid", substeps=4), episodes=10, seed=10000)
    sim, joints = Sim(task, 1, num_threads=1), len(arm(name).joints)
    for episode in results.episodes:
        sim.seed(np.array([episode.seed], np.uint64))
        sim.reset()
        tool = tool_position(np, arm(name), episode.qpos[:, :joints])
        assert np.linalg.norm(tool[-1] - sim.fields.memory["goal"]) < 0.005


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_mppi_swings_the_pendulum_up_within_15_of_the_optimum() -> None:
    optimum = np.array(json.loads((Path(__file__).parent / "pendulum_optimum.json").read_text())["returns"])
    planner = make_planner("mppi", tasks.load("PendulumSwingup"), presets.settings("mppi", "PendulumSwingup"))
    results = plan_episodes(planner, episodes=100, seed=10000)
    assert results.returns.mean() > optimum.mean() - 15.0
    assert (results.returns < optimum + 1.0).all()  # no more than the optimum, but for the table's grid


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("name", "least"), [("CartpoleSwingup", 800.0), ("CartpoleTrack", 600.0)])
def test_mppi_masters_the_cartpoles_with_delays_and_commands_too(name: str, least: float) -> None:
    planner = make_planner("mppi", tasks.load(name), presets.settings("mppi", name))
    results = plan_episodes(planner, episodes=3, seed=10000, replan_steps=2)
    assert results.returns.mean() > least
    assert not any(episode.terminated for episode in results.episodes)


def test_gains_act_between_plans_within_the_bounds() -> None:
    task = tasks.load("CartpoleBalance")
    sim = Sim(task, 1, num_threads=1)
    sim.reset()
    policy = MPCPolicy(make_planner("ilqr", task, {"horizon_s": 0.3, "iterations": 2}, num_threads=1), replan_steps=3)
    sim.step(policy.act(sim.state())[None])
    plan = policy.last_plan
    assert plan is not None and plan.X is not None and plan.gains is not None
    sim.fields.qvel[0, 1] += 0.01  # a push, off the plan
    x = np.concatenate((sim.fields.qpos[0], sim.fields.qvel[0]))
    answer = plan.U[1] + plan.gains[1] @ (x - plan.X[1])
    assert policy.act(sim.state()) == pytest.approx(np.clip(answer, -1.0, 1.0), rel=1e-12)
    assert policy.plans == 1 and abs(answer[0] - plan.U[1, 0]) > 1e-4
    sim.fields.qvel[0, 1] += 50.0
    assert np.abs(policy.act(sim.state())) == pytest.approx([1.0])


def test_a_shifted_plan_goes_on_where_it_was() -> None:
    plan = Plan(np.arange(3.0)[:, None], 0.0, X=np.arange(4.0)[:, None], gains=np.arange(3.0)[:, None, None])
    later = plan.shifted(2)
    assert later.X is not None and later.gains is not None
    assert later.U[:, 0].tolist() == [2.0, 2.0, 2.0]
    assert later.X[:, 0].tolist() == [2.0, 3.0, 3.0, 3.0]
    assert later.gains[:, 0, 0].tolist() == [2.0, 2.0, 2.0]


def test_a_policy_with_gains_resumes_to_the_bit_through_json() -> None:
    task = short("CartpoleBalance", 10)
    sim = Sim(task, 1, num_threads=1)
    sim.reset()
    settings = {"horizon_s": 0.2, "iterations": 2}
    policies = [MPCPolicy(make_planner("ilqr", task, settings, num_threads=1), replan_steps=2) for _ in range(2)]
    for _ in range(3):
        sim.step(policies[0].act(sim.state())[None])
    policies[1].restore(json.loads(json.dumps(policies[0].state())))
    x = sim.state()
    x.physics[0, 1] += 0.01
    assert np.array_equal(policies[0].act(x), policies[1].act(x))
    assert np.array_equal(policies[0].act(x), policies[1].act(x))


def test_a_planner_may_predict_with_a_rigid_body_model() -> None:
    task = short("ArmReach", 4)
    planner = make_planner("ilqr", task, {"horizon_s": 0.4, "iterations": 2}, dynamics="rigid", substeps=2)
    results = plan_episodes(planner, seed=0)
    assert len(results.episodes[0].rewards) == 4 and results.planner_steps > 0
    with pytest.raises(ConfigError, match="substeps are of the rigid-body model alone"):
        make_planner("ilqr", task, substeps=2)
    with pytest.raises(UnknownName, match="unknown dynamics 'rigit'; did you mean 'rigid'"):
        make_planner("ilqr", task, dynamics="rigit")
