from __future__ import annotations

import mujoco
import numpy as np
import pytest

from roborl import models
from roborl.errors import CorruptFile, UnknownName, UsageError


@pytest.mark.parametrize("name", models.names())
def test_every_joint_and_actuator_of_our_own_robots_is_named_once(name):
    model = models.compile_spec(models.load(name))
    for kind, count in (("joint", model.njnt), ("actuator", model.nu), ("body", model.nbody)):
        found = [getattr(model, kind)(i).name for i in range(count)]
        assert all(found) and len(set(found)) == count


@pytest.mark.parametrize("name", models.names())
def test_our_own_robots_say_where_their_numbers_come_from(name):
    text = models.path_of(name).read_text()
    assert "License" in text and ("Every number" in text or "are those of" in text)


def test_the_cart_pole_has_the_suites_numbers():
    # dm_control/suite/cartpole.xml
    model = models.compile_spec(models.load("cartpole"))
    cart, pole, slider, hinge = (model.body("cart"), model.body("pole"), model.joint("slider"), model.joint("hinge"))
    assert model.opt.timestep == 0.01
    assert model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4
    assert model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_CONTACT
    assert model.opt.gravity.tolist() == [0.0, 0.0, -9.81]
    assert (cart.mass[0], pole.mass[0]) == (1.0, 0.1)
    assert pole.ipos.tolist() == [0.0, 0.0, 0.5]
    assert slider.range.tolist() == [-1.8, 1.8] and slider.limited[0]
    assert model.jnt_solref[slider.id].tolist() == [0.08, 1.0]
    assert (slider.damping[0], hinge.damping[0]) == (5e-4, 2e-6)
    assert model.actuator_gear[0, 0] == 10.0
    assert model.actuator_ctrlrange.tolist() == [[-1.0, 1.0]] and model.actuator_ctrllimited[0]


def test_the_cart_poles_inertia_is_that_of_a_capsule():
    # a cylinder of length h = 1 and radius r = 0.045 with two half spheres at its ends, 0.1 kg in all
    h, r, mass = 1.0, 0.045, 0.1
    cylinder, sphere = np.pi * r**2 * h, 4.0 / 3.0 * np.pi * r**3
    m_c, m_s = mass * np.array([cylinder, sphere]) / (cylinder + sphere)
    across = m_c * (h**2 / 12.0 + r**2 / 4.0) + m_s * (2.0 / 5.0 * r**2 + h**2 / 4.0 + 3.0 / 8.0 * h * r)
    along = m_c * r**2 / 2.0 + m_s * 2.0 / 5.0 * r**2
    model = models.compile_spec(models.load("cartpole"))
    assert sorted(model.body("pole").inertia) == pytest.approx([along, across, across], rel=1e-12)


def test_the_hanging_cart_pole_swings_at_the_analytic_frequency():
    model = models.compile_spec(models.load("cartpole"))
    data = mujoco.MjData(model)
    data.qpos[:] = [0.0, np.pi + 1e-3]
    # M cart and m pole masses, l half a pole; the momentum stays 0, and about hanging
    # (I + m l^2 - m^2 l^2 / (M + m)) th'' = -m g l th
    cart, pole, half, g = 1.0, 0.1, 0.5, 9.81
    inertia = model.body("pole").inertia.max()
    omega = np.sqrt(pole * g * half / (inertia + pole * half**2 - (pole * half) ** 2 / (cart + pole)))
    angles = []
    for _ in range(1000):
        mujoco.mj_step(model, data)
        angles.append(data.qpos[1] - np.pi)
    times = 0.01 * np.arange(1, 1001)
    below = np.flatnonzero((np.array(angles[:-1]) > 0.0) & (np.array(angles[1:]) <= 0.0))
    crossings = [times[k] + 0.01 * angles[k] / (angles[k] - angles[k + 1]) for k in below]
    measured = 2.0 * np.pi * (len(crossings) - 1) / (crossings[-1] - crossings[0])
    assert len(crossings) >= 5
    assert measured == pytest.approx(omega, rel=1e-4)


def test_the_pendulum_has_pendulum_v1s_numbers():
    model = models.compile_spec(models.load("pendulum"))
    assert model.opt.timestep == 0.05
    assert model.opt.integrator == mujoco.mjtIntegrator.mjINT_EULER
    assert model.opt.gravity.tolist() == [0.0, 0.0, -10.0]
    rod = model.body("rod")
    assert rod.mass[0] == 1.0
    # about the hinge, m l^2 / 3
    assert rod.inertia.max() + rod.mass[0] * rod.ipos[2] ** 2 == pytest.approx(1.0 / 3.0, rel=1e-15)
    assert model.dof_damping.tolist() == [0.0] and not model.actuator_ctrllimited[0]


@pytest.mark.parametrize("name", ["half_cheetah", "hopper", "inverted_pendulum"])
def test_gymnasiums_robots_are_loaded_as_gymnasium_loads_them(name):
    path = models.path_of(f"gymnasium/{name}")
    ours = models.compile_spec(models.load(f"gymnasium/{name}"))
    theirs = mujoco.MjModel.from_xml_path(str(path))
    for field in ("body_mass", "body_inertia", "dof_damping", "jnt_range", "actuator_gear", "geom_friction"):
        assert np.array_equal(getattr(ours, field), getattr(theirs, field))


def test_a_robot_may_be_an_mjcf_of_the_users_own(tmp_path):
    path = tmp_path / "mine.xml"
    path.write_text(models.path_of("pendulum").read_text())
    assert models.compile_spec(models.load(str(path))).joint(0).name == "hinge"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("cartpol", "'cartpole'"), ("gymnasium/half_cheeta", "'gymnasium/half_cheetah'")],
)
def test_an_unknown_robot_is_named_with_the_nearest(name, nearest):
    with pytest.raises(UnknownName, match=f"did you mean {nearest}"):
        models.load(name)


def test_an_mjcf_that_is_not_there_is_named():
    with pytest.raises(UsageError, match="no MJCF at 'nowhere.xml'"):
        models.load("nowhere.xml")


def test_a_file_that_is_no_mjcf_is_named(tmp_path):
    path = tmp_path / "broken.xml"
    path.write_text("<mujoco><worldbody>")
    with pytest.raises(CorruptFile, match=r"broken\.xml is not a valid MJCF"):
        models.load(str(path))


def test_a_model_that_makes_no_sense_is_refused(tmp_path):
    path = tmp_path / "senseless.xml"
    path.write_text('<mujoco model="senseless"><actuator><motor joint="nowhere"/></actuator></mujoco>')
    with pytest.raises(CorruptFile, match="nowhere"):
        models.compile_spec(models.load(str(path)))


def test_the_acrobot_has_the_suites_numbers():
    # dm_control/suite/acrobot.xml
    model = models.compile_spec(models.load("acrobot"))
    assert model.opt.timestep == 0.01 and model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4
    assert model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_CONSTRAINT
    assert [model.body(name).mass[0] for name in ("upper_arm", "lower_arm")] == [1.0, 1.0]
    assert [model.geom(name).size[:2].tolist() for name in ("upper_arm", "lower_arm")] == [[0.05, 0.5], [0.049, 0.5]]
    assert model.body("upper_arm").pos.tolist() == [0.0, 0.0, 2.0]
    assert model.body("lower_arm").pos.tolist() == model.site("tip").pos.tolist() == [0.0, 0.0, 1.0]
    assert model.dof_damping.tolist() == [0.05, 0.05]
    assert model.nu == 1 and model.actuator_trnid[0, 0] == model.joint("elbow").id and model.actuator_gear[0, 0] == 2.0
    assert model.actuator_ctrlrange.tolist() == [[-1.0, 1.0]] and model.actuator_ctrllimited[0]
    assert model.site("target").pos.tolist() == [0.0, 0.0, 4.0] and model.site("target").size[0] == 0.2


def test_the_double_cart_pole_is_the_cart_pole_with_its_pole_twice():
    # dm_control/suite/cartpole.py, _make_model
    one, two = (models.compile_spec(models.load(name)) for name in ("cartpole", "double_cartpole"))
    for field in ("body_mass", "body_inertia", "body_ipos", "jnt_range", "jnt_solref", "dof_damping"):
        shared = getattr(one, field)
        assert np.array_equal(getattr(two, field)[: len(shared)], shared), field
    assert two.opt.timestep == one.opt.timestep and two.opt.integrator == one.opt.integrator
    assert np.array_equal(two.actuator_gear, one.actuator_gear)
    inner, outer = two.body("pole"), two.body("pole_2")
    assert np.array_equal(outer.mass, inner.mass) and np.array_equal(outer.inertia, inner.inertia)
    assert outer.pos.tolist() == [0.0, 0.0, 1.0]
    assert two.joint("hinge_2").damping[0] == two.joint("hinge").damping[0]
