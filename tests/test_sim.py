from __future__ import annotations

import gc
import weakref
from typing import Any, ClassVar

import mujoco
import numpy as np
import pytest
from realism import PLAIN_AND_REAL, PLAIN_AND_REAL_IDS, task_of

from roborl import models, tasks
from roborl.errors import ConfigError, NonFinite, UnknownName
from roborl.sim import Sim, SimState
from roborl.task import Term, computed, joint_pos
from roborl.tasks.cartpole import CartpoleBalance
from roborl.tasks.half_cheetah import HalfCheetah

ARM = """
<mujoco>
  <option timestep="0.005"/>
  <worldbody>
    <body><joint name="shoulder"/><geom size="0.1" fromto="0 0 0 0.5 0 0" type="capsule"/>
      <body pos="0.5 0 0"><joint name="elbow" axis="0 1 0"/><geom size="0.1" fromto="0 0 0 0.5 0 0" type="capsule"/>
        <site name="tip" pos="0.5 0 0"/></body></body>
  </worldbody>
  <actuator><motor joint="elbow" gear="5" ctrlrange="-1 1" ctrllimited="true"/></actuator>
  <sensor><framelinvel objtype="site" objname="tip"/></sensor>
</mujoco>
"""


class Arm(CartpoleBalance):
    """A task that reads derived fields, before and after."""

    control_dt: ClassVar = 0.02
    reads: ClassVar = ("site_xpos", "sensordata")
    observations: ClassVar = {
        "policy": [
            Term("tip", computed("tip", lambda f: f.site_xpos[:, 0], ("x", "y", "z")), history=2),
            Term("speed", computed("speed", lambda f: f.sensordata, ("vx", "vy", "vz"))),
        ]
    }

    def reset(self, draw, f):
        return {"qpos": draw.uniform("qpos", -1.0, 1.0, size=2)}

    def reward_terms(self, before, action, after):
        return {"forward": (after.site_xpos[:, 0, 0] - before.site_xpos[:, 0, 0]) / self.control_dt}


@pytest.fixture(params=["as_stepped", "current"])
def arm(request, tmp_path) -> Arm:
    path = tmp_path / "arm.xml"
    path.write_text(ARM)
    return type("Arm", (Arm,), {"robot": str(path), "derived": request.param})()


def actions(sim: Sim, steps: int, seed: int = 0) -> np.ndarray:
    low, high = sim.action_low, sim.action_high
    return np.random.default_rng(seed).uniform(low, high, (steps, sim.num_sims, len(low)))


def run(sim: Sim, sequence: np.ndarray) -> list[dict[str, np.ndarray]]:
    """Step through the actions; return all that is seen and all that is saved, after each."""
    seen = []
    for action in sequence:
        result = sim.step(action)
        seen.append(
            {"reward": result.reward.copy(), "terminated": result.terminated.copy()}
            | result.terms
            | sim.observe()
            | sim.state()._asdict()
        )
    return seen


def assert_equal(one: list[dict[str, np.ndarray]], other: list[dict[str, np.ndarray]], rows: Any = ...) -> None:
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert np.array_equal(a[name], b[name][rows]), name


plain_and_real = pytest.mark.parametrize(("task_id", "real"), PLAIN_AND_REAL, ids=PLAIN_AND_REAL_IDS)


def row(state: SimState, i: int) -> SimState:
    return SimState(*(array[i : i + 1] for array in state))


@plain_and_real
def test_restored_simulations_continue_to_the_bit_in_another_sim(task_id, real):
    task = task_of(task_id, real)
    one, other = Sim(task, 4, num_threads=1), Sim(task, 4, num_threads=2, seeds=np.arange(50, 54))
    one.reset()
    other.reset()
    run(other, actions(other, 7, seed=1))
    sequence = actions(one, 60)
    run(one, sequence[:20])
    saved = one.state()
    straight = run(one, sequence[20:])
    other.restore(saved)
    assert np.array_equal(one.action_low, other.action_low)
    assert_equal(straight, run(other, sequence[20:]))
    for sim in (one, other):
        sim.reset(np.array([1, 2]))
    assert_equal(run(one, sequence[:5]), run(other, sequence[:5]))


@plain_and_real
def test_one_saved_row_restores_into_all_of_many_simulations(task_id, real):
    task = task_of(task_id, real)
    source, many = Sim(task, 3, num_threads=1), Sim(task, 5, num_threads=1)
    source.reset()
    many.reset()
    run(source, actions(source, 10))
    many.restore(row(source.state(), 1))
    alone = Sim(task, 1)
    alone.restore(row(source.state(), 1))
    sequence = actions(alone, 20, seed=2)
    expected = run(alone, sequence)
    got = run(many, np.repeat(sequence, 5, axis=1))
    for i in range(5):
        assert_equal(expected, got, [i])


def test_a_saved_state_does_not_change_with_the_simulation():
    sim = Sim(tasks.load("CartpoleTrack"), 2)
    sim.reset()
    saved = sim.state()
    copies = [array.copy() for array in saved]
    run(sim, actions(sim, 5))
    sim.reset()
    assert all(np.array_equal(a, b) for a, b in zip(saved, copies, strict=True))


def test_derived_fields_are_part_of_the_state(arm):
    one, other = Sim(arm, 3, num_threads=1), Sim(arm, 3, num_threads=1, seeds=np.arange(7, 10))
    one.reset()
    other.reset()
    sequence = actions(one, 30)
    run(one, sequence[:10])
    run(other, sequence[:3])
    saved, seen = one.state(), one.observe()["policy"]
    straight = run(one, sequence[10:])
    other.restore(saved)
    assert np.array_equal(other.observe()["policy"], seen)
    assert_equal(straight, run(other, sequence[10:]))


def test_derived_fields_are_as_stepped_or_current_as_the_task_says(arm):
    sim = Sim(arm)
    sim.reset()
    model, data = sim.model, mujoco.MjData(sim.model)
    data.qpos[:] = sim.fields.qpos[0]
    mujoco.mj_forward(model, data)
    assert np.array_equal(sim.fields.site_xpos[0], data.site_xpos)
    for action in actions(sim, 10):
        before = data.site_xpos[0, 0]
        result = sim.step(action)
        data.ctrl[:] = action[0]
        for _ in range(sim.substeps):
            mujoco.mj_step(model, data)
        if arm.derived == "current":
            mujoco.mj_forward(model, data)
        assert np.array_equal(sim.fields.site_xpos[0], data.site_xpos)
        assert np.array_equal(sim.fields.sensordata[0], data.sensordata)
        assert result.reward[0] == (data.site_xpos[0, 0] - before) / arm.control_dt


def test_a_reset_leaks_nothing_into_other_simulations():
    sim, untouched = (Sim(tasks.load("CartpoleTrack"), 4, num_threads=1) for _ in range(2))
    for each in (sim, untouched):
        each.reset()
        run(each, actions(each, 10))
    sim.reset(np.array([2]))
    others = [0, 1, 3]
    for a, b in zip(sim.state(), untouched.state(), strict=True):
        assert np.array_equal(a[others], b[others])
        assert a.shape[1] == 0 or not np.array_equal(a[2], b[2])
    for name in ("body_mass", "body_inertia", "body_subtreemass", "dof_invweight0", "body_invweight0"):
        a, b = sim.batch.expanded(name), untouched.batch.expanded(name)
        assert a is not None and b is not None
        assert np.array_equal(a[others], b[others]) and not np.array_equal(a[2], b[2])
    after, expected = run(sim, actions(sim, 20, seed=3)), run(untouched, actions(sim, 20, seed=3))
    for a, b in zip(after, expected, strict=True):
        for name in a:
            assert np.array_equal(a[name][others], b[name][others]), name


def test_the_seed_and_the_number_of_the_episode_decide_how_it_begins():
    task = tasks.load("CartpoleTrack")
    sim = Sim(task, 3, seeds=np.array([5, 6, 5]))
    sim.reset()
    first = sim.state()
    assert np.array_equal(first.physics[0], first.physics[2])
    assert not np.array_equal(first.physics[0], first.physics[1])
    sim.reset()
    assert not np.array_equal(sim.state().physics[0], first.physics[0])
    sim.seed(np.array([5]), np.array([1]))
    sim.reset(np.array([1]))
    assert np.array_equal(sim.state().physics[1], first.physics[0])
    assert sim.state().counters.tolist() == [[5, 1, 0], [5, 0, 0], [5, 1, 0]]


def test_the_number_of_threads_changes_nothing():
    one, two = (Sim(tasks.load("HalfCheetah"), 16, num_threads=n) for n in (1, 2))
    one.reset()
    two.reset()
    assert_equal(run(one, actions(one, 20)), run(two, actions(two, 20)))


@pytest.mark.parametrize("field", ["qpos", "qvel"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e12])
def test_a_divergence_raises_an_error_that_names_the_step_and_the_simulation(field, value):
    sim = Sim(tasks.load("HalfCheetah"), 3)
    sim.reset()
    sim.step(np.zeros((3, 6)))
    sim.check_finite(1)
    getattr(sim.fields, field)[2, 0] = value
    sim.step(np.zeros((3, 6)))
    assert sim.diverged.tolist() == [False, False, True]
    with pytest.raises(NonFinite, match=r"HalfCheetah became unstable at step 2 in simulation 2$"):
        sim.check_finite(2)
    sim.step(np.zeros((3, 6)))
    assert not sim.diverged.any()


def test_each_of_two_divergences_of_one_simulation_shows():
    sim = Sim(tasks.load("Hopper"), 2)
    sim.reset()
    for _ in range(2):
        sim.fields.qpos[1, 0] = np.nan
        sim.step(np.zeros((2, 3)))
        assert sim.diverged.tolist() == [False, True]


def test_an_action_that_is_not_finite_is_a_divergence():
    sim = Sim(tasks.load("InvertedPendulum"), 2)
    sim.reset()
    sim.step(np.array([[0.0], [np.nan]]))
    assert sim.diverged.tolist() == [False, True]


def test_a_reset_clears_a_divergence_of_its_simulations_alone():
    sim = Sim(tasks.load("Hopper"), 3)
    sim.reset()
    sim.fields.qpos[1:, 0] = np.nan
    sim.step(np.zeros((3, 3)))
    sim.reset(np.array([1]))
    assert sim.diverged.tolist() == [False, False, True]
    assert np.isfinite(sim.observe()["policy"]).all()


def test_reward_terms_that_are_views_of_the_state_do_not_change_with_it():
    class Watched(CartpoleBalance):
        def reward_terms(self, before, action, after):
            return {"position": after.qpos[:, 0]}

    sim = Sim(Watched(), 2)
    sim.reset()
    result = sim.step(np.ones((2, 1)))
    kept = result.reward.copy()
    sim.step(np.ones((2, 1)))
    assert np.array_equal(result.reward, kept) and np.array_equal(result.terms["position"], kept)


@pytest.mark.parametrize(
    ("function", "value"),
    [
        ("reward_terms", {"wide": np.zeros((2, 1))}),
        ("terminated", np.zeros((2, 1), bool)),
        ("success", np.zeros(3, bool)),
    ],
)
def test_a_result_of_the_wrong_shape_is_named(function, value):
    task = type("Wrong", (CartpoleBalance,), {function: lambda self, *fields: value})()
    sim = Sim(task, 2)
    sim.reset()
    with pytest.raises(ConfigError, match=rf"of Wrong must have the shape \(2,\).*got \({value_shape(value)}"):
        sim.step(np.zeros((2, 1)))


def value_shape(value: Any) -> str:
    return str(next(iter(value.values())).shape if isinstance(value, dict) else value.shape)[1:-1]


def test_a_reset_that_names_an_unknown_field_says_which_there_are():
    task = type("Wrong", (CartpoleBalance,), {"reset": lambda self, draw, f: {"qpso": f.qpos}})()
    with pytest.raises(AttributeError, match="'qpso' is not available.*qpos"):
        Sim(task).reset()


@pytest.mark.parametrize("control_dt", [0.015, 0.005, 0.0101])
def test_a_control_period_that_is_no_multiple_of_the_time_step_is_refused(control_dt):
    task = type("Odd", (CartpoleBalance,), {"control_dt": control_dt})()
    with pytest.raises(ConfigError, match="control_dt of Odd must be a whole multiple"):
        Sim(task)


def test_a_model_without_actuators_is_refused(tmp_path):
    path = tmp_path / "passive.xml"
    path.write_text(
        "<mujoco><option timestep='0.01'/><worldbody><body><joint/><geom size='1'/></body></worldbody></mujoco>"
    )
    task = type("Passive", (CartpoleBalance,), {"robot": str(path)})()
    with pytest.raises(ConfigError, match="has no actuators"):
        Sim(task)


@pytest.mark.parametrize("wrong", [{"num_sims": 0}, {"num_threads": -1}])
def test_counts_outside_what_is_allowed_are_named(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Sim(CartpoleBalance(), **wrong)


def test_derived_fields_are_current_or_as_stepped_and_nothing_else():
    task = type("Wrong", (CartpoleBalance,), {"derived": "later"})()
    with pytest.raises(ConfigError, match="derived must be one of 'current', 'as_stepped'"):
        Sim(task)


def test_a_task_edits_its_model_before_it_is_compiled():
    class Light(HalfCheetah):
        def edit(self, spec):
            spec.option.gravity = [0.0, 0.0, -1.0]

    assert Sim(Light()).model.opt.gravity.tolist() == [0.0, 0.0, -1.0]
    assert Sim(HalfCheetah()).model.opt.gravity.tolist() == [0.0, 0.0, -9.81]


def test_the_task_is_described_with_its_bounds_and_rates():
    table = Sim(tasks.load("PendulumSwingup")).describe()
    assert table["actions"] == [{"name": "torque", "low": -2.0, "high": 2.0, "unit": "N m"}]
    assert (table["control_dt"], table["timestep"], table["episode_steps"]) == (0.05, 0.05, 200)
    assert [term["name"] for term in table["observations"]["policy"]] == ["angle", "speed"]


def test_a_term_naming_a_missing_joint_is_found_when_the_simulation_is_made():
    task = type("Wrong", (CartpoleBalance,), {"observations": {"policy": [Term("q", joint_pos("hip"))]}})()
    with pytest.raises(UnknownName, match="unknown joint 'hip'"):
        Sim(task)


@pytest.mark.parametrize("task_id", ["HalfCheetah", "Ant", "Go1VelocityFlat", "ArmPush"])
def test_islands_are_looked_for_where_there_may_be_several_and_elsewhere_not_looking_changes_no_bit(task_id):
    model, looking = (models.compile_task(tasks.load(task_id)) for _ in range(2))
    looking.opt.disableflags &= ~int(mujoco.mjtDisableBit.mjDSBL_ISLAND)
    assert (model.opt.disableflags == looking.opt.disableflags) == (model.ntree > 1)
    with_islands, without = mujoco.MjData(looking), mujoco.MjData(model)
    rng, touched = np.random.default_rng(0), 0
    for _ in range(500):
        with_islands.ctrl[:] = without.ctrl[:] = rng.uniform(-1.0, 1.0, model.nu)
        mujoco.mj_step(looking, with_islands)
        mujoco.mj_step(model, without)
        touched += without.ncon > 0
    assert touched > 50  # there were constraints to solve
    assert np.array_equal(with_islands.qpos, without.qpos) and np.array_equal(with_islands.qvel, without.qvel)


@pytest.mark.parametrize("name", ["HalfCheetah", "Go1VelocityFlat", "ArmPush"])
def test_simulations_are_freed_when_nobody_holds_them(name):
    """Without waiting for Python's collector: those that are persistent take megabytes each."""
    gc.disable()
    try:
        sim = Sim(tasks.load(name), 4, num_threads=1)
        sim.reset()
        sim.step(np.zeros((4, len(sim.action_low))))
        sim.observe()
        alive = weakref.ref(sim)
        del sim
        assert alive() is None
    finally:
        gc.enable()
