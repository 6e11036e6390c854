"""What every task must keep."""

from __future__ import annotations

from typing import Any

import array_api_compat.torch
import mujoco
import numpy as np
import pytest
import torch
from realism import EVERY_VARIANT, task_of, variants

from roborl import tasks
from roborl.dynamics.mujoco import MujocoDynamics
from roborl.envs import TaskVectorEnv
from roborl.errors import NonFinite, UnknownName, UsageError
from roborl.sim import Sim
from roborl.task import Draw, Fields, Task
from roborl.task.contract import stage_cost, terminal_cost

every_task = pytest.mark.parametrize("task_id", tasks.TASKS)
every_variant = pytest.mark.parametrize(("task_id", "real", "options"), EVERY_VARIANT)


def random_actions(sim: Sim, steps: int, seed: int = 0) -> np.ndarray:
    low, high = sim.action_low, sim.action_high
    return np.random.default_rng(seed).uniform(low, high, (steps, sim.num_sims, len(low)))


def bang_bang_actions(sim: Sim, steps: int, seed: int = 0) -> np.ndarray:
    shape = (steps, sim.num_sims, len(sim.action_low))
    return np.where(np.random.default_rng(seed).random(shape) < 0.5, sim.action_low, sim.action_high)


@every_variant
@pytest.mark.parametrize("actions", [random_actions, bang_bang_actions])
def test_ten_thousand_steps_give_finite_values_of_the_declared_shapes(task_id, real, options, actions):
    env = TaskVectorEnv(task_of(task_id, real, **options), 20, num_threads=1)
    obs, info = env.reset(seed=0)
    widths = env.sim.observer.widths
    groups = [group for group in widths if group != "policy"]
    assert obs.shape == (20, widths["policy"]) and set(info) == set(groups)
    succeeds = env.task.success(env.sim.fields) is not None
    for action in actions(env.sim, 500):
        obs, reward, terminated, truncated, info = env.step(action)
        assert obs.shape == (20, widths["policy"]) and obs.dtype == np.float64
        assert reward.shape == (20,) and reward.dtype == np.float64
        assert terminated.shape == truncated.shape == (20,) and terminated.dtype == truncated.dtype == bool
        assert np.isfinite(obs).all() and np.isfinite(reward).all()
        assert set(info) == {"reward_terms", *groups} | ({"success"} if succeeds else set())
        for group in groups:
            assert info[group].shape == (20, widths[group]) and np.isfinite(info[group]).all()
        terms = list(info["reward_terms"].values())
        assert all(term.shape == (20,) and term.dtype == np.float64 for term in terms)
        assert np.array_equal(reward, sum(terms[1:], start=terms[0]))
        if succeeds:
            assert info["success"].shape == (20,) and info["success"].dtype == bool


@every_variant
def test_a_planner_predicts_the_rewards_and_observations_that_the_environment_then_gives(task_id, real, options):
    """To the bit, also of fields as stepped: with the environment's own seed, even what is drawn on the way."""
    task = task_of(task_id, real, **options)
    dynamics = MujocoDynamics(task, num_threads=1)
    sim = Sim(task, num_threads=1, seeds=np.array([7], np.uint64))
    sim.reset()
    before, *actions = random_actions(sim, 13)
    sim.step(before)
    x, future = sim.state(), np.stack([action[0] for action in actions])
    # the same actions twice: in rows beside one another nothing differs
    rollout = dynamics.rollout(x, np.stack((future, future)), seed=7)
    ended = False
    for t, action in enumerate(actions):
        predicted = dynamics.step(x, action, seed=7)
        result = sim.step(action)
        assert predicted.reward == result.reward and predicted.terminated == result.terminated
        assert (rollout.rewards[:, t] == (0.0 if ended else result.reward[0])).all()
        x = predicted.x
        foreseen, seen = dynamics.observe(x), sim.observe()
        assert foreseen.keys() == seen.keys()
        assert all(np.array_equal(foreseen[group], seen[group]) for group in seen)
        ended |= bool(result.terminated[0])


def test_the_variants_have_every_value_of_an_option_that_has_few():
    assert variants("ArmPush") == [
        {},
        {"arm": "ur5e"},
        {"reward": "sparse"},
        {"action_mode": "joint_torque"},
    ]
    assert {"contact_forces": True} in variants("Ant") and {"sparse": True} in variants("AcrobotSwingup")


@every_task
def test_the_same_seed_gives_the_same_numbers_and_another_gives_others(task_id):
    def run(seed: int) -> np.ndarray:
        env = TaskVectorEnv(tasks.load(task_id), 2, num_threads=1)
        seen = [env.reset(seed=seed)[0]]
        seen += [env.step(action)[0] for action in random_actions(env.sim, 50)]
        return np.stack(seen)

    assert np.array_equal(run(3), run(3))
    assert not np.isclose(run(3), run(5)).all(axis=-1).any()


@every_task
def test_the_observations_entries_are_documented_one_by_one(task_id):
    sim = Sim(tasks.load(task_id))
    for group, terms in sim.describe()["observations"].items():
        assert [term["start"] for term in terms] == [0, *(term["stop"] for term in terms[:-1])]
        assert terms[-1]["stop"] == sim.observer.widths[group]
        assert all(len(t["entries"]) * t["history"] == t["stop"] - t["start"] for t in terms)
    if not sim.task.robot.startswith("gymnasium/"):  # Gymnasium shows what only a simulator knows
        assert all(term["on_hardware"] for term in sim.describe()["observations"]["policy"])


def moving_states(task: Task) -> tuple[Sim, np.ndarray]:
    """Return simulations in the middle of their episodes, and actions."""
    sim = Sim(task, 16, num_threads=1)
    sim.reset()
    for action in bang_bang_actions(sim, 15):
        sim.step(action)
    return sim, random_actions(sim, 1, seed=1)[0]


def copy_of(f: Fields, xp: Any, convert: Any) -> Fields:
    arrays = {name: convert(np.array(array)) for name, array in f._arrays.items()}
    params = {name: convert(value.copy()) for name, value in f.params.items()}
    return Fields(xp, arrays, params, {name: convert(value.copy()) for name, value in f.memory.items()})


def draw_at(step: int, convert: Any) -> Draw:
    n = 16
    return Draw(np.arange(n, dtype=np.uint64), np.zeros(n, np.uint64), np.full(n, step, np.uint64), convert)


def single(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).float() if array.dtype == np.float64 else torch.from_numpy(array)


@every_task
@pytest.mark.parametrize(("precision", "tolerance"), [(torch.from_numpy, 1e-10), (single, 1e-4)], ids=["64", "32"])
def test_its_functions_are_the_same_on_numpy_and_on_torch(task_id, precision, tolerance):
    task = tasks.load(task_id)
    sim, action = moving_states(task)
    for name in sim.fields.memory.keys() & {"command_steps_left"}:
        sim.fields.memory[name][::2] = 1.0  # half of the commands are due
    results = []
    for xp, convert in ((np, np.asarray), (array_api_compat.torch, precision)):
        before = copy_of(sim.fields, xp, convert)
        after = copy_of(sim.fields, xp, convert)
        after.qpos[...] += 0.1
        after.qvel[...] -= 0.2
        given = convert(action.copy())
        result = {f"reward {k}": v for k, v in task.reward_terms(before, given, after).items()}
        result |= {f"stage {k}": v.value for k, v in task.stage_residuals(after, given).items()}
        result |= {f"terminal {k}": v.value for k, v in task.terminal_residuals(after).items()}
        result |= {f"group {k}": sim.observer.observe(after, k) for k in sim.observer.groups}
        result |= {
            "control": task.control(before, given),
            **{f"derived {k}": v for k, v in task.derive(after).items()},
            **{f"start {k}": v for k, v in task.reset(draw_at(0, convert), before).items()},
            **{f"advance {k}": v for k, v in task.advance(after, given, draw_at(9, convert)).items()},
            "stage cost": stage_cost(task, after, given),
            "terminal cost": terminal_cost(task, after),
        }
        for name in ("terminated", "success"):
            value = getattr(task, name)(after)
            if value is not None:
                result[name] = value
        assert all(isinstance(value, type(given)) for value in result.values())
        results.append(result)
    numpy_results, torch_results = results
    assert numpy_results.keys() == torch_results.keys()
    for name, value in numpy_results.items():
        other = torch_results[name].numpy()
        assert value.shape == other.shape and (value.dtype == other.dtype or precision is single), name
        np.testing.assert_allclose(other, value, rtol=tolerance, atol=tolerance, err_msg=name)


@every_variant
def test_its_functions_are_compiled_and_give_what_numpy_gives(task_id, real, options):
    task = task_of(task_id, real, **options)
    sim = Sim(task, 70, num_threads=1)  # more than are computed at a time
    sim.reset()
    for action in random_actions(sim, 12):
        before = sim.fields[np.arange(70)]
        result, seen = sim.step(action), sim.observe()
        terms = task.reward_terms(before, action, sim.fields)
        values = {name: (result.terms[name], value) for name, value in terms.items()}
        values |= {name: (getattr(sim.fields, name), value) for name, value in task.derive(sim.fields).items()}
        values |= {group: (obs, sim.observer.observe(sim.fields, group)) for group, obs in seen.items()}
        for name, (found, expected) in values.items():
            scale = 1.0 + np.abs(expected).max()
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13 * scale, err_msg=name)
        for name in ("terminated", "success"):
            value = getattr(task, name)(sim.fields)
            assert value is None or np.array_equal(getattr(result, name), value)
    assert sim.not_compiled == {}


@every_task
def test_a_rewards_terms_do_not_depend_on_the_number_of_simulations(task_id):
    task = tasks.load(task_id)
    sim, action = moving_states(task)
    whole = task.reward_terms(sim.fields, action, sim.fields)
    for i in range(16):
        row = sim.fields[np.array([i])]
        for name, value in task.reward_terms(row, action[i : i + 1], row).items():
            assert value[0] == whole[name][i]


@every_task
def test_a_divergence_raises_an_error_that_names_the_step(task_id):
    env = TaskVectorEnv(tasks.load(task_id), 3, num_threads=1)
    env.reset(seed=0)
    middle = np.zeros((3, len(env.sim.action_low)))
    env.step(middle)
    env.sim.fields.qpos[1, 0] = np.nan
    with pytest.raises(NonFinite, match=f"{type(env.task).__name__} became unstable in simulation 1"):
        env.step(middle)


@every_task
def test_every_joint_and_actuator_has_a_name_and_every_option_a_sentence(task_id):
    task = tasks.load(task_id)
    model = Sim(task).model
    assert all(model.joint(i).name for i in range(model.njnt))
    if not task.robot.startswith("gymnasium/"):  # Gymnasium leaves its actuators without names
        assert all(mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_ACTUATOR, i) for i in range(model.nu))
    assert type(task).__doc__ and all(isinstance(name, str) for name in task.options())


def test_tasks_are_found_by_their_id_and_by_their_short_name():
    for name in ("roborl/HalfCheetah-v1", "HalfCheetah-v1", "roborl/HalfCheetah", "HalfCheetah"):
        assert type(tasks.load(name)).__name__ == "HalfCheetah"
    assert list(tasks.TASKS) == tasks.names()[: len(tasks.TASKS)]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("CartpolSwingup", "roborl/CartpoleSwingup-v1"),
        ("roborl/halfcheetah-v1", "roborl/HalfCheetah-v1"),
        ("hoper", "roborl/Hopper-v1"),
        ("roborl/PendulumSwingup-v2", "roborl/PendulumSwingup-v1"),
    ],
)
def test_an_unknown_task_is_named_with_the_nearest(name, nearest):
    with pytest.raises(UnknownName, match=f"unknown task '{name}'; did you mean '{nearest}'"):
        tasks.load(name)


def test_an_unknown_option_is_named_with_the_nearest():
    with pytest.raises(UnknownName, match="'ctrl_cost'; did you mean 'ctrl_cost_weight'"):
        tasks.load("HalfCheetah", ctrl_cost=0.2)
    with pytest.raises(UnknownName, match="unknown option of PendulumSwingup 'length'"):
        tasks.load("PendulumSwingup", length=2.0)


MINE = """
from __future__ import annotations
from dataclasses import dataclass
from roborl.task import Task, Term, joint_pos
from roborl.tasks.pendulum import PendulumSwingup

@dataclass(frozen=True)
class Mine(PendulumSwingup):
    height: float = 1.0

class Unfinished(Task):
    robot, control_dt, episode_length_s, observations = "pendulum", 0.05, 1.0, {}
"""


@pytest.fixture
def my_file(tmp_path):
    path = tmp_path / "my_task.py"
    path.write_text(MINE)
    return path


def test_a_task_in_a_users_own_file_is_loaded_with_its_options(my_file):
    task = tasks.load(f"{my_file}:Mine", height=2.0)
    assert task.options().items() >= {"height": 2.0, "friction": None}.items()
    sim = Sim(task)
    sim.reset()
    assert np.isfinite(sim.step(np.zeros((1, 1))).reward).all()


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("{folder}/nowhere.py:Mine", UsageError, "no file '.*nowhere.py' to load the task 'Mine' from"),
        ("{file}:Mien", UnknownName, "'Mien'; did you mean 'Mine'.*valid: Mine, Unfinished"),
        ("{file}:dataclass", UnknownName, "unknown task in .*'dataclass'"),
        ("{file}:Unfinished", UsageError, "cannot be made: .*abstract.*reset"),
        ("{file}:Task", UsageError, "cannot be made: .*abstract"),
        ("{file}", UsageError, "name the class of the task, too: .*my_task.py:CLASS"),
    ],
)
def test_a_users_file_that_is_wrong_is_told_what_is_wrong(my_file, name, error, message):
    with pytest.raises(error, match=message):
        tasks.load(name.format(file=my_file, folder=my_file.parent))


def test_an_option_that_every_task_has_is_not_a_tasks_own_too(my_file):
    my_file.write_text(MINE.replace("height", "mass"))
    with pytest.raises(UsageError, match="Mine has an option of its own named 'mass', which every task has"):
        tasks.load(f"{my_file}:Mine")


def test_a_users_file_that_does_not_run_is_told_why(my_file):
    my_file.write_text("import nothing_of_this_name")
    with pytest.raises(UsageError, match="my_task.py cannot be loaded: ModuleNotFoundError: .*nothing_of_this_name"):
        tasks.load(f"{my_file}:Mine")
