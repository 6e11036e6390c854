from __future__ import annotations

import math
from pathlib import Path

import mujoco
import numpy as np
import pytest

from roborl import models, tasks
from roborl.errors import ConfigError, UnknownName
from roborl.sim import Sim
from roborl.task import Randomization, Task, Term, joint_pos

# A hinge and a slide with servos, above a ball on a floor: something of all that can be randomised.
MJCF = """
<mujoco>
  <option timestep="0.002" integrator="implicitfast"/>
  <worldbody>
    <geom name="floor" type="plane" size="5 5 0.1" friction="0.8 0.005 0.0001"/>
    <body name="link" pos="0 0 1.5">
      <joint name="turn" axis="0 1 0" damping="0.4" armature="0.02" range="-170 170"/>
      <geom name="link" type="capsule" fromto="0 0 0 0.4 0 0" size="0.03" mass="1.5"/>
      <body name="rod" pos="0.4 0 0">
        <joint name="reach" type="slide" axis="1 0 0" damping="2" armature="0.1" range="0 0.3"/>
        <geom name="rod" type="box" size="0.1 0.02 0.02" mass="0.5"/>
      </body>
    </body>
    <body name="ball" pos="1 1 0.05">
      <freejoint name="ball"/>
      <geom name="ball" type="sphere" size="0.05" mass="0.2" friction="0.8 0.005 0.0001"/>
    </body>
  </worldbody>
  <actuator>
    <position name="turn" joint="turn" kp="40" kv="3" ctrlrange="-2 2" forcerange="-60 60"/>
    <position name="reach" joint="reach" kp="200" kv="10" ctrlrange="0 0.3" forcerange="-90 90"/>
  </actuator>
</mujoco>
"""

EVERYTHING = {
    "mass": (0.8, 1.3),
    "inertia": (0.9, 1.2),
    "com": 0.02,
    "friction": (0.5, 1.25),
    "joint_friction": (0.05, 0.2),
    "damping": (0.5, 2.0),
    "armature": (0.8, 1.2),
    "motor_strength": (0.9, 1.1),
    "gains": (0.8, 1.25),
    "gravity_tilt": 0.1,
}


class Arm(Task):
    """A task on the model above."""

    robot = "pendulum"
    control_dt, episode_length_s = 0.02, 1.0
    observations = {"policy": [Term("position", joint_pos("turn", "reach"))]}

    def reset(self, draw, f):
        return {"qvel": draw.normal("speed", 1.0, size=8)}

    def reward_terms(self, before, action, after):
        return {"turn": after.qpos[:, 0]}


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> Arm:
    path: Path = tmp_path_factory.mktemp("model") / "arm.xml"
    path.write_text(MJCF)
    return Arm(xml_file=str(path))


def test_by_default_nothing_is_drawn_and_a_tasks_options_are_all_there():
    assert Randomization().parameters() == {}
    options = tasks.load("Hopper").options()
    assert options["healthy_reward"] == 1.0 and options["mass"] is None and options["push_interval_s"] == (5.0, 10.0)
    assert tasks.load("Hopper", mass=[0.8, 1.2]).randomization == Randomization(mass=(0.8, 1.2))


@pytest.mark.parametrize("option", [name for name in EVERYTHING if name != "gravity_tilt"])
def test_a_thousand_resets_follow_the_declared_distribution_about_the_nominal_value(arm, option):
    sim = Sim(arm.with_options(**{option: EVERYTHING[option]}), 250)
    drawn = []
    for _ in range(4):
        sim.reset()
        drawn.append(np.concatenate([*sim.fields.params.values()], axis=1))
    values = np.concatenate(drawn)
    given = EVERYTHING[option]
    low, high = given if isinstance(given, tuple) else (-given, given)
    assert values.min() >= low and values.max() < high
    # a uniform number: mean (low + high) / 2, deviation (high - low) / sqrt(12); five standard errors of 1000 draws
    spread = (high - low) / math.sqrt(12.0)
    assert values.mean(axis=0) == pytest.approx((low + high) / 2.0, abs=5.0 * spread / math.sqrt(1000.0))
    assert values.std(axis=0) == pytest.approx(spread, rel=0.1)
    # resets do not drift: the last 250 are like the first
    assert np.abs(drawn[3].mean(axis=0) - drawn[0].mean(axis=0)).max() < 7.0 * spread / math.sqrt(250.0)


def test_gravity_keeps_its_length_and_tilts_to_all_sides_by_no_more_than_the_angle(arm):
    sim = Sim(arm.with_options(gravity_tilt=0.2), 1000)
    sim.reset()
    gravity = sim.fields.params["gravity"]
    assert np.linalg.norm(gravity, axis=1) == pytest.approx(np.full(1000, 9.81))
    angle = np.arccos(-gravity[:, 2] / 9.81)
    assert angle.max() < 0.2 and angle.mean() == pytest.approx(0.1, abs=0.01)
    assert np.abs(gravity[:, :2].mean(axis=0)).max() < 0.15
    assert (np.sign(gravity[:, 0]) != np.sign(gravity[:, 1])).mean() == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("option", [*EVERYTHING, "all of them"])
def test_what_is_drawn_is_what_is_simulated(arm, option):
    """The simulation equals one of a model that was compiled anew with the drawn values."""
    chosen = EVERYTHING if option == "all of them" else {option: EVERYTHING[option]}
    sim = Sim(arm.with_options(**chosen), 3)
    sim.reset()
    sim.reset()
    row = 1
    params = {name: value[row] for name, value in sim.fields.params.items()}
    model = _compiled_with(arm, params)
    data = mujoco.MjData(model)
    spec = int(mujoco.mjtState.mjSTATE_INTEGRATION)
    mujoco.mj_setState(model, data, sim.batch.state[row], spec)
    nominal_model = models.compile_task(arm)
    nominal = mujoco.MjData(nominal_model)
    mujoco.mj_setState(nominal_model, nominal, sim.batch.state[row], spec)
    action = np.array([0.7, 0.2])
    for _ in range(25):
        sim.step(np.tile(action, (3, 1)))
        data.ctrl[:] = nominal.ctrl[:] = action
        mujoco.mj_step(model, data, sim.substeps)
        mujoco.mj_step(nominal_model, nominal, sim.substeps)
    assert sim.fields.qpos[row] == pytest.approx(data.qpos, abs=1e-10)
    assert np.abs(nominal.qpos - data.qpos).max() > 1e-5, "the change is too small for this test to see"


def _compiled_with(arm: Arm, params: dict[str, np.ndarray]) -> mujoco.MjModel:
    """Return the arm's model, compiled from a description with the drawn values written into it."""
    assert arm.xml_file is not None
    nominal = models.compile_task(arm)
    spec = mujoco.MjSpec.from_file(arm.xml_file)
    links = {name: i for i, name in enumerate(("link", "rod", "ball"))}
    one, no = np.ones(3), np.zeros((3, 3))
    mass, inertia = params.get("mass", one), params.get("inertia", np.ones(9)).reshape(-1)
    for name, i in links.items():
        body, number = spec.body(name), nominal.body(name).id
        body.explicitinertial = True
        body.mass = nominal.body_mass[number] * mass[i]
        body.inertia = nominal.body_inertia[number] * mass[i] * inertia[i if len(inertia) == 3 else 0]
        body.ipos = nominal.body_ipos[number] + params.get("com", no).reshape(3, 3)[i]
        body.iquat = nominal.body_iquat[number]
    for geom in spec.geoms:
        geom.friction[0] *= params.get("friction", one)[0]
        geom.mass = 0.0
    added = params.get("joint_friction", np.zeros(8))
    for i, name in enumerate(("turn", "reach", "ball")):
        joint = spec.joint(name)
        # a free joint has one value for its six degrees of freedom: what is drawn for each is set below
        joint.frictionloss = added[i] if name != "ball" else 0.0
        if name != "ball":
            joint.damping[0] *= params.get("damping", one)[i]
            joint.armature *= params.get("armature", one)[i]
    for i, actuator in enumerate(spec.actuators):
        strength = params.get("motor_strength", one)[i]
        kp, kd = (strength * params.get(name, one)[i] for name in ("stiffness", "servo_damping"))
        actuator.gainprm[0] *= kp
        actuator.biasprm[1] *= kp
        actuator.biasprm[2] *= kd
        actuator.forcerange = actuator.forcerange * strength
    if "gravity" in params:
        spec.option.gravity = params["gravity"]
    model = spec.compile()
    if "joint_friction" in params:
        model.dof_frictionloss[:] = added
    return model


def test_two_parameters_of_one_body_work_together():
    sim = Sim(tasks.load("CartpoleTrack", mass=(2.0, 2.0)), 4)
    sim.reset()
    pole = sim.model.body("pole").id
    masses = sim.batch.expand("body_mass")[:, pole]
    assert masses == pytest.approx(2.0 * sim.fields.params["pole_mass"][:, 0])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mass": (1.2, 0.8)}, ConfigError, "mass's upper end must be a number in"),
        ({"mass": (0.0, 1.0)}, ConfigError, "mass's lower end"),
        ({"friction": 0.5}, ConfigError, "friction must be two numbers, the lower one first, got 0.5"),
        ({"friction": (0.5, math.nan)}, ConfigError, "friction's upper end"),
        ({"friction": (0.5, 1.0, 1.5)}, ConfigError, "friction must be two numbers"),
        ({"com": -0.1}, ConfigError, "com must be a number in"),
        ({"gravity_tilt": 3.0}, ConfigError, "gravity_tilt must be a number in"),
        ({"sensor_noise": -1.0}, ConfigError, "sensor_noise of all terms"),
        ({"sensor_bias": {"position": -1.0}}, ConfigError, "sensor_bias position"),
        ({"action_delay": (2, 1)}, ConfigError, "action_delay's longer end"),
        ({"action_delay": (0.5, 1)}, ConfigError, "action_delay's shorter end must be a whole number"),
        ({"observation_delay": (-1, 1)}, ConfigError, "observation_delay's shorter end"),
        ({"push_interval_s": (0.0, 1.0)}, ConfigError, "push_interval_s's lower end"),
        ({"masses": (0.8, 1.2)}, UnknownName, "unknown option of Arm 'masses'; did you mean 'mass'"),
    ],
)
def test_options_outside_what_is_allowed_are_named(arm, options, error, message):
    with pytest.raises(error, match=message):
        arm.with_options(**options)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("Pusher", {"gains": (0.8, 1.2)}, ConfigError, "the model has no actuator_biasprm"),
        ("CartpoleSwingup", {"armature": (0.8, 1.2)}, ConfigError, "the model has no dof_armature"),
        ("Reacher", {"gravity_tilt": 0.1, "xml_file": "gravityless"}, ConfigError, "no gravity to tilt"),
        ("Hopper", {"sensor_noise": {"angle": 0.1}}, UnknownName, "unknown measured observation term 'angle'"),
        ("Hopper", {"push_speed": (0.5, 1.0), "push_body": "trunk"}, UnknownName, "unknown body 'trunk'"),
    ],
)
def test_what_a_model_lacks_is_named(name, options, error, message, tmp_path):
    if options.get("xml_file"):
        path = tmp_path / "model.xml"
        original = tasks.load(name)
        path.write_text(_text_without_gravity(original))
        options = options | {"xml_file": str(path)}
    with pytest.raises(error, match=message):
        Sim(tasks.load(name, **options), 1)


def _text_without_gravity(task: Task) -> str:
    spec = models.load(task.robot)
    spec.option.gravity = [0.0, 0.0, 0.0]
    spec.compile()
    return spec.to_xml()


def test_a_task_takes_another_file_for_its_robot(arm, tmp_path):
    path = tmp_path / "heavier.xml"
    path.write_text(MJCF.replace('mass="1.5"', 'mass="3"'))
    sim = Sim(arm.with_options(xml_file=str(path)), 1)
    assert sim.model.body("link").mass[0] == 3.0


def test_a_task_may_have_defaults_of_its_own(arm):
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Slippery(Arm):
        """An arm whose ball slides."""

        randomization: Randomization = Randomization(friction=(0.1, 0.2))

    task = Slippery(xml_file=arm.xml_file)
    assert [*task.parameters()] == ["friction"]
    assert [*task.with_options(friction=None, com=0.1).parameters()] == ["com"]
