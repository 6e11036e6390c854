from __future__ import annotations

import json
from typing import ClassVar

import numpy as np
import pytest

from roborl import models
from roborl.errors import ConfigError, UnknownName
from roborl.sim import Sim
from roborl.task import (
    BodyMass,
    Term,
    actuator_force,
    bodies,
    body_offset,
    body_pos,
    clipped,
    computed,
    constraint_force,
    cos_sin,
    cumulative,
    joint_pos,
    joint_vel,
    last_action,
    parameter,
    remembered,
    sensor,
    sin_cos,
)
from roborl.tasks.cartpole import CartpoleBalance

ARM = """
<mujoco model="arm">
  <option timestep="0.01"/>
  <worldbody>
    <body name="base">
      <freejoint name="free"/>
      <geom size="0.1"/>
      <body name="link">
        <joint name="elbow"/>
        <geom size="0.1" pos="0 0 0.3"/>
        <site name="tip" pos="0 0 0.5"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor name="motor" joint="elbow" ctrlrange="-1 1" ctrllimited="true"/></actuator>
  <sensor>
    <jointpos name="encoder" joint="elbow"/>
    <gyro name="gyro" site="tip"/>
  </sensor>
</mujoco>
"""


@pytest.fixture(scope="module")
def arm(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("robot") / "arm.xml"
    path.write_text(ARM)
    return str(path)


def sim_of(terms, num_sims: int = 2, robot: str = "cartpole", **members) -> Sim:
    members = {"observations": {"policy": list(terms)}, "robot": robot, **members}
    task = type("Observed", (CartpoleBalance,), members)()
    sim = Sim(task, num_sims)
    sim.reset()
    return sim


def labels(sim: Sim) -> list[str]:
    return [label for bound in sim.observer.groups["policy"] for label in bound.labels]


def test_joint_positions_and_velocities_are_read_by_name_in_the_order_given():
    sim = sim_of([Term("q", joint_pos("hinge", "slider")), Term("v", joint_vel())])
    sim.fields.qpos[...] = [[1.0, 2.0], [3.0, 4.0]]
    sim.fields.qvel[...] = [[5.0, 6.0], [7.0, 8.0]]
    assert sim.observe()["policy"].tolist() == [[2.0, 1.0, 5.0, 6.0], [4.0, 3.0, 7.0, 8.0]]
    assert labels(sim) == ["hinge", "slider", "slider", "hinge"]


def test_a_free_joint_has_seven_positions_and_six_velocities(arm):
    model = models.compile_spec(models.load(arm))
    assert joint_pos().bind(model)[1] == (*(f"free[{i}]" for i in range(7)), "elbow")
    assert joint_vel("free").bind(model)[1] == tuple(f"free[{i}]" for i in range(6))


def test_cosines_come_before_sines():
    sim = sim_of([Term("angles", cos_sin(joint_pos("slider", "hinge")))])
    sim.fields.qpos[...] = [[0.5, 2.0], [0.0, np.pi]]
    expected = [[np.cos(0.5), np.cos(2.0), np.sin(0.5), np.sin(2.0)], [1.0, -1.0, 0.0, np.sin(np.pi)]]
    assert sim.observe()["policy"] == pytest.approx(np.array(expected), abs=1e-15)
    assert labels(sim) == ["cos(slider)", "cos(hinge)", "sin(slider)", "sin(hinge)"]


def test_a_clipped_source_stays_within_its_bounds():
    sim = sim_of([Term("speed", clipped(joint_vel("hinge"), -1.0, 2.0))])
    sim.fields.qvel[...] = [[0.0, -3.0], [0.0, 5.0]]
    assert sim.observe()["policy"].tolist() == [[-1.0], [2.0]]


def test_sensors_are_read_by_name(arm):
    def reset(self, draw, f):
        return {"qpos": np.tile([0.0, 0, 0, 1, 0, 0, 0, 0.7], (2, 1)), "qvel": np.tile([0.0] * 6 + [2.0], (2, 1))}

    terms = [Term("gyro", sensor("gyro")), Term("encoder", sensor("encoder"))]
    sim = sim_of(terms, robot=arm, reads=("sensordata",), derived="current", reset=reset)
    assert labels(sim) == ["gyro[0]", "gyro[1]", "gyro[2]", "encoder"]
    # the elbow turns about z, through the tip
    assert sim.observe()["policy"] == pytest.approx(np.tile([0.0, 0.0, 2.0, 0.7], (2, 1)), abs=1e-12)


def test_entries_of_a_source_are_taken_as_from_a_list():
    sim = sim_of([Term("some", joint_pos("hinge", "slider")[1:]), Term("last", joint_vel()[-1:])])
    sim.fields.qpos[...] = [[1.0, 2.0], [3.0, 4.0]]
    sim.fields.qvel[...] = [[5.0, 6.0], [7.0, 8.0]]
    assert sim.observe()["policy"].tolist() == [[1.0, 6.0], [3.0, 8.0]]
    assert labels(sim) == ["slider", "hinge"]
    source = sim.describe()["observations"]["policy"][0]["source"]
    assert (source["kind"], source["start"], source["stop"]) == ("entries", 1, None)


def test_sums_of_angles_are_those_of_a_chain():
    sim = sim_of([Term("angles", cumulative(joint_pos("slider", "hinge")))])
    sim.fields.qpos[...] = [[1.0, 2.0], [3.0, -4.0]]
    assert sim.observe()["policy"].tolist() == [[1.0, 3.0], [3.0, -1.0]]
    assert labels(sim) == ["slider", "slider+hinge"]


def test_sines_come_before_cosines_where_gymnasium_has_them_so():
    sim = sim_of([Term("angle", sin_cos(joint_pos("hinge")))])
    sim.fields.qpos[...] = [[0.0, 0.5], [0.0, 2.0]]
    assert sim.observe()["policy"] == pytest.approx(np.array([[np.sin(a), np.cos(a)] for a in (0.5, 2.0)]), abs=1e-15)


def test_bodies_are_where_kinematics_has_them(arm):
    def reset(self, draw, f):
        return {"qpos": np.tile([1.0, 2, 3, 0, 0, 0, 1, 0.7], (2, 1))}  # half a turn about z

    terms = [Term("link", body_pos("link")), Term("offset", body_offset("base", "world", axes="zx"))]
    sim = sim_of(terms, robot=arm, reads=("xpos",), derived="current", reset=reset)
    assert labels(sim) == ["link.x", "link.y", "link.z", "base-world.z", "base-world.x"]
    assert sim.observe()["policy"] == pytest.approx(np.tile([1.0, 2, 3, 3, 1], (2, 1)), abs=1e-12)
    assert not any(term["on_hardware"] for term in sim.describe()["observations"]["policy"])
    with pytest.raises(UnknownName, match="unknown body 'lnk'; did you mean 'link'"):
        sim_of([Term("link", body_pos("lnk"))], robot=arm, reads=("xpos",))


def test_forces_on_joints_are_actuators_and_constraints_apart():
    terms = [Term("actuators", actuator_force("slider")), Term("limits", constraint_force("slider"))]
    sim = sim_of(terms, reads=("qfrc_actuator", "qfrc_constraint"))
    sim.step(np.array([[0.5], [-1.0]]))
    assert sim.observe()["policy"] == pytest.approx(
        np.array([[5.0, 0.0], [-10.0, 0.0]])
    )  # 10 N for 1; no limit is near


def test_a_field_of_all_bodies_leaves_the_world_out_and_names_every_entry(arm):
    def reset(self, draw, f):
        return {"qvel": np.tile([0.0, 0, 0, 1, 2, 3, 4], (2, 1))}

    terms = [Term("speeds", bodies("cvel"))]
    sim = sim_of(terms, robot=arm, reads=("cvel",), derived="current", reset=reset)
    assert labels(sim) == [f"{body}.cvel[{i}]" for body in ("base", "link") for i in range(6)]
    seen = sim.observe()["policy"]
    assert np.array_equal(seen, sim.fields.cvel[:, 1:].reshape(2, -1))
    assert seen[0, :3] == pytest.approx([1.0, 2.0, 3.0])  # the base turns as its free joint says


def test_a_derived_field_that_mujoco_lacks_is_named():
    with pytest.raises(UnknownName, match="unknown derived field 'xposs'; did you mean 'xpos'"):
        sim_of([Term("cart", joint_pos("slider"))], reads=("xposs",))


def test_a_task_that_forgets_to_declare_what_it_reads_is_told_so(arm):
    with pytest.raises(ConfigError, match=r"'encoder' cannot be read: .*'sensordata'.*`reads`"):
        sim_of([Term("encoder", sensor("encoder"))], robot=arm)


def test_memory_and_parameters_can_be_observed():
    sim = sim_of(
        [Term("goal", remembered("goal", 2)), Term("mass", parameter("mass"))],
        memory={"goal": 2},
        params={"mass": BodyMass("pole", 0.5, 2.0)},
    )
    sim.fields.memory["goal"][...] = [[1.0, 2.0], [3.0, 4.0]]
    seen = sim.observe()["policy"]
    assert seen[:, :2].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert np.array_equal(seen[:, 2:], sim.fields.params["mass"])
    assert labels(sim) == ["goal[0]", "goal[1]", "mass"]


def test_the_last_action_is_as_the_policy_gave_it_and_zero_after_a_reset():
    sim = sim_of([Term("last_action", last_action(1))])
    assert sim.observe()["policy"].tolist() == [[0.0], [0.0]]
    sim.step(np.array([[0.3], [-7.0]]))
    assert sim.observe()["policy"].tolist() == [[0.3], [-7.0]]
    sim.reset(np.array([0]))
    assert sim.observe()["policy"].tolist() == [[0.0], [-7.0]]


def test_a_free_function_of_the_state_is_allowed_and_marked_as_not_on_hardware():
    sim = sim_of([Term("energy", computed("energy", lambda f: f.qvel[:, 1:] ** 2, ("energy",)))])
    sim.fields.qvel[...] = 3.0
    assert sim.observe()["policy"].tolist() == [[9.0], [9.0]]
    assert sim.describe()["observations"]["policy"][0]["on_hardware"] is False


def test_history_is_oldest_first_and_filled_with_the_first_reading_at_a_reset():
    sim = sim_of([Term("cart", joint_pos("slider"), history=3)])
    first = sim.fields.qpos[:, 0].copy()
    assert np.array_equal(sim.observe()["policy"], np.stack([first] * 3, axis=1))
    readings = [first] * 3
    for _ in range(5):
        sim.step(np.array([[1.0], [-1.0]]))
        readings.append(sim.fields.qpos[:, 0].copy())
        assert np.array_equal(sim.observe()["policy"], np.stack(readings[-3:], axis=1))


def test_a_reading_is_late_by_exactly_its_delay():
    sim = sim_of([Term("cart", joint_pos("slider"), history=2, delay=3)])
    readings = [sim.fields.qpos[:, 0].copy()] * 5
    for _ in range(8):
        sim.step(np.array([[1.0], [-1.0]]))
        readings.append(sim.fields.qpos[:, 0].copy())
        assert np.array_equal(sim.observe()["policy"], np.stack(readings[-5:-3], axis=1))


def test_noise_is_white_has_its_deviation_and_observing_twice_gives_the_same():
    sim = sim_of([Term("cart", joint_pos("slider"), noise=0.5)], 500)
    errors = []
    for _ in range(20):
        sim.step(np.zeros((500, 1)))
        seen = sim.observe()["policy"]
        assert np.array_equal(seen, sim.observe()["policy"])
        errors.append(seen[:, 0] - sim.fields.qpos[:, 0])
    # 10,000 numbers: the deviation's own is 0.5 / sqrt(20,000) = 0.0035, a correlation's 0.01
    assert np.std(errors) == pytest.approx(0.5, abs=0.015)
    assert abs(np.mean(errors)) < 0.02
    assert abs(np.corrcoef(np.ravel(errors[:-1]), np.ravel(errors[1:]))[0, 1]) < 0.04


def test_a_term_in_two_groups_is_one_sensor_with_the_same_noise():
    noisy = Term("cart", joint_pos("slider"), noise=0.5, history=2)
    sim = sim_of([noisy], observations={"policy": [noisy], "critic": [noisy]})
    sim.step(np.zeros((2, 1)))
    groups = sim.observe()
    assert np.array_equal(groups["policy"], groups["critic"])
    assert list(sim.observer.memory) == ["obs/policy/cart"]


def test_observations_are_arrays_of_their_own():
    sim = sim_of([Term("q", joint_pos())])
    seen = sim.observe()["policy"]
    kept = seen.copy()
    sim.step(np.ones((2, 1)))
    assert np.array_equal(seen, kept)
    sim.observe()["policy"][...] = 9.0
    assert sim.fields.qpos.max() < 1.0


def test_the_description_is_json_and_tells_where_every_entry_stands():
    sim = sim_of([Term("a", cos_sin(joint_pos("hinge")), unit="1", history=2), Term("b", joint_vel())])
    table = json.loads(json.dumps(sim.describe()))["observations"]["policy"]
    assert [(line["name"], line["start"], line["stop"]) for line in table] == [("a", 0, 4), ("b", 4, 6)]
    assert table[0]["source"] == {"kind": "cos_sin", "of": {"kind": "joint_pos", "joints": ["hinge"]}}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (joint_pos("hing"), "unknown joint 'hing'; did you mean 'hinge'"),
        (joint_vel("sliders"), "unknown joint 'sliders'; did you mean 'slider'"),
        (cos_sin(joint_pos("elbow")), r"unknown joint 'elbow'.*hinge, slider"),
        (sensor("gyro"), "unknown sensor 'gyro'"),
        (remembered("comand"), "unknown memory of Observed 'comand'; did you mean 'command'"),
        (clipped(parameter("masss"), 0.0, 1.0), "unknown parameter of Observed 'masss'; did you mean 'mass'"),
    ],
)
def test_a_name_that_is_not_there_is_named_with_those_that_are(source, message):
    with pytest.raises(UnknownName, match=message):
        sim_of([Term("wrong", source)], memory={"command": 1}, params={"mass": BodyMass("pole")})


@pytest.mark.parametrize(
    "source",
    [computed("two", lambda f: f.qpos, ("one",)), computed("flat", lambda f: f.qpos[:, 0], ("one",)), last_action(2)],
)
def test_a_reading_of_another_width_than_declared_is_refused(source):
    with pytest.raises(ConfigError, match="'wrong' must have the shape"):
        sim_of([Term("wrong", source)])


def test_two_terms_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="two terms 'q'"):
        sim_of([Term("q", joint_pos()), Term("q", joint_vel())])


def test_a_task_without_a_policy_group_is_refused():
    class Blind(CartpoleBalance):
        observations: ClassVar = {"critic": [Term("q", joint_pos())]}

    with pytest.raises(ConfigError, match="needs a group 'policy'"):
        Sim(Blind())


@pytest.mark.parametrize("wrong", [{"noise": -1.0}, {"delay": -1}, {"history": 0}])
def test_a_term_outside_what_is_allowed_is_named(wrong):
    with pytest.raises(ConfigError, match="of term 'q'"):
        Term("q", joint_pos(), **wrong)
