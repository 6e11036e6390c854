from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest

from roborl import models, tasks
from roborl.dynamics import make_dynamics
from roborl.dynamics.contract import SmoothDynamics
from roborl.dynamics.manifold import StateSpace, integrate_jacobians, rotation_rate_jacobians, rotation_rates
from roborl.dynamics.mujoco import MujocoDynamics
from roborl.dynamics.rigid_body import RigidBody, RigidBodyDynamics
from roborl.dynamics.rigid_forces import unsupported
from roborl.errors import ConfigError, UnknownName, UsageError
from roborl.sim import Sim
from roborl.task import Action, Draw, Fields, Task, Term, joint_vel
from roborl.tasks.pendulum import PendulumSwingup

STATES = 100
ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
GYMNASIUM = [f"gymnasium/{path.stem}" for path in sorted(ASSETS.glob("*.xml"))]
FLUID = {"Swimmer", "gymnasium/swimmer"}
TASKS = [name.removeprefix("roborl/").removesuffix("-v1") for name in tasks.TASKS]
MODELS = [name for name in TASKS + GYMNASIUM if name not in FLUID]
INTEGRATORS = [
    mujoco.mjtIntegrator.mjINT_EULER,
    mujoco.mjtIntegrator.mjINT_RK4,
    mujoco.mjtIntegrator.mjINT_IMPLICITFAST,
]
STEP = 1e-6

EVERYTHING = """
<mujoco>
  <option timestep="0.005" gravity="1 -2 -9"/>
  <worldbody>
    <body pos="0 0 1" gravcomp="0.4"><freejoint/><geom size="0.1 0.2 0.3" type="box" pos="0.1 0 0.05"/>
      <body pos="0.3 0 0" quat="0.9 0.1 0.3 0.2"><joint type="ball" pos="0.02 0.01 0" damping="0.3" armature="0.02"/>
        <geom size="0.05 0.1 0.02" type="box" pos="0.1 0 0"/>
        <body pos="0.2 0.1 0" gravcomp="1">
          <joint name="slide" type="slide" axis="1 2 0" ref="0.1" stiffness="7" springref="0.3" damping="0.5"
                 armature="0.1" actuatorfrcrange="-1 1" actuatorgravcomp="true"/>
          <joint name="hinge" axis="0 1 1" pos="0.05 0 0.02" ref="-0.2" stiffness="2" damping="0.1"/>
          <geom size="0.05" pos="0.1 0 0" mass="1"/>
          <body pos="0.1 0 0"><joint name="last" axis="1 0 0" pos="0 0.1 0"/><geom size="0.04" pos="0 0 0.1"/></body>
        </body></body></body>
  </worldbody>
  <tendon><fixed name="tendon" stiffness="3" damping="0.2" springlength="0.1 0.4" armature="0.05">
    <joint joint="hinge" coef="2"/><joint joint="slide" coef="-1"/></fixed></tendon>
  <actuator>
    <motor joint="hinge" gear="3" ctrlrange="-0.5 0.5" ctrllimited="true"/>
    <position joint="slide" kp="20" kv="2" forcerange="-3 3"/>
    <velocity tendon="tendon" kv="0.7" gear="1.5"/>
    <general joint="last" gainprm="2" biastype="affine" biasprm="0.3 -1 -0.2"/>
  </actuator>
</mujoco>
"""
"""Every kind of joint and of force that is modelled, joints away from their bodies' middles, other zeros than 0."""

HINGES = EVERYTHING.replace("<freejoint/>", '<joint type="slide" axis="1 0 1" damping="0.2"/>')
HINGES = HINGES.replace('type="ball"', 'type="hinge" axis="1 1 0"')
"""The same without free and ball joints, which is compiled."""


def compiled(name: str) -> mujoco.MjModel:
    if name in ("everything", "hinges"):
        return mujoco.MjModel.from_xml_string(EVERYTHING if name == "everything" else HINGES)
    return (
        models.compile_spec(models.load(name))
        if name.startswith("gymnasium/")
        else models.compile_task(tasks.load(name))
    )


def random_states(model: mujoco.MjModel, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """States (n, nq + nv) and controls (n, nu), of which some are beyond their limits."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, model.nq + model.nv))
    for row in x:
        qpos = row[: model.nq].copy()
        mujoco.mj_normalizeQuat(model, qpos)
        row[: model.nq] = qpos
    return x, rng.normal(size=(n, model.nu))


def put(model: mujoco.MjModel, data: mujoco.MjData, x: np.ndarray, ctrl: np.ndarray) -> None:
    mujoco.mj_resetData(model, data)
    data.qpos, data.qvel, data.ctrl = x[: model.nq], x[model.nq :], ctrl


@pytest.mark.parametrize("name", ["everything", "hinges", *MODELS])
def test_accelerations_are_those_of_mujoco(name: str) -> None:
    model = compiled(name)
    body, data = RigidBody(model), mujoco.MjData(model)
    x, ctrl = random_states(model, STATES)
    acc = body.acceleration(x[:, : model.nq], x[:, model.nq :], ctrl)
    for i in range(STATES):
        put(model, data, x[i], ctrl[i])
        mujoco.mj_forward(model, data)
        np.testing.assert_allclose(acc[i], data.qacc_smooth, atol=1e-9 * np.abs(data.qacc_smooth).max())


@pytest.mark.parametrize("integrator", INTEGRATORS)
@pytest.mark.parametrize("name", ["everything", "hinges", *TASKS])
def test_a_step_is_mujocos_where_no_constraint_acts_and_its_derivatives_are_right(
    name: str, integrator: mujoco.mjtIntegrator
) -> None:
    if name in FLUID:
        name = "everything"
    model = compiled(name)
    model.opt.integrator = integrator
    model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONSTRAINT)
    body, data, n = RigidBody(model), mujoco.MjData(model), 20
    assert (body.plant is None) == bool(body.space.quats)  # what has no orientations is compiled
    x, ctrl = random_states(model, n, seed=1)
    after, A, B = body.derivatives(x, ctrl)
    np.testing.assert_array_equal(after, body.step(x, ctrl))
    for i in range(n):
        put(model, data, x[i], ctrl[i])
        mujoco.mj_step(model, data)
        error = body.space.difference(after[i], np.concatenate((data.qpos, data.qvel)))
        np.testing.assert_allclose(error, 0.0, atol=1e-11 * np.abs(data.qvel).max())

    def difference(offset: np.ndarray) -> np.ndarray:
        dx, du = offset[: body.space.ndx], offset[body.space.ndx :]
        low, high = (body.step(body.space.integrate(x, s * dx), ctrl + s * du) for s in (-STEP, STEP))
        return body.space.difference(low, high) / (2 * STEP)

    differences = np.stack([difference(e) for e in np.eye(body.space.ndx + model.nu)], axis=2)
    analytic = np.concatenate((A, B), axis=2)
    np.testing.assert_allclose(analytic, differences, atol=1e-6 * np.abs(differences).max())


def test_every_acceleration_comes_back_from_inverse_dynamics() -> None:
    model = compiled("everything")
    body = RigidBody(model)
    x, ctrl = random_states(model, 10)
    qpos, qvel = x[:, : model.nq], x[:, model.nq :]
    tau = body.inverse_dynamics(qpos, qvel, body.acceleration(qpos, qvel, ctrl))
    np.testing.assert_allclose(tau, body.forces.forces(qpos, qvel, ctrl), rtol=1e-9, atol=1e-9)


def test_gravity_compensation_holds_a_horizontal_rod_by_hand() -> None:
    # the pendulum: 1 kg at 0.5 m, 10 m/s^2; at a quarter turn gravity pulls with 5 N m
    body = RigidBody(compiled("PendulumSwingup"))
    np.testing.assert_allclose(body.gravity_compensation(np.array([[0.0], [np.pi / 2]])), [[0.0], [-5.0]], atol=1e-12)


def test_derivatives_on_the_manifold_agree_with_differences() -> None:
    space = StateSpace(4, 3, quats=((0, 0),))
    rng = np.random.default_rng(0)
    r = rng.normal(size=(40, 3)) * np.geomspace(1e-6, 1.0, 40)[:, None]  # from where the series hold to where not
    v = rng.normal(size=(40, 3))
    q = np.tile([0.5, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0], (40, 1))

    def moved(dq: np.ndarray, dr: np.ndarray) -> np.ndarray:
        def wide(a: np.ndarray) -> np.ndarray:
            return np.concatenate((a, np.zeros_like(a)), axis=1)

        return space.integrate(space.integrate(q, wide(dq)), wide(r + dr))

    zero = np.zeros_like(r)
    by_q, by_dq = integrate_jacobians(space, r)
    rate_by_dq, rate_by_v = rotation_rate_jacobians(space, r, v)
    for i in range(3):
        e = np.tile(STEP * np.eye(3)[i], (40, 1))
        for jacobian, plus, minus in (
            (by_q, moved(e, zero), moved(-e, zero)),
            (by_dq, moved(zero, e), moved(zero, -e)),
        ):
            np.testing.assert_allclose(jacobian[:, :, i], space.difference(minus, plus)[:, :3] / (2 * STEP), atol=1e-8)
        by_differences = (rotation_rates(space, r + e, v) - rotation_rates(space, r - e, v)) / (2 * STEP)
        np.testing.assert_allclose(rate_by_dq[:, :, i], by_differences, atol=1e-8)
        np.testing.assert_allclose(rate_by_v[:, :, i], rotation_rates(space, r, e) / STEP, atol=1e-8)


def test_a_rotation_goes_on_at_its_rate() -> None:
    # a body that turns with w(t) = w for a short time, after having turned by r: exp(r + dr) = exp(r) exp(w dt)
    space = StateSpace(4, 3, quats=((0, 0),))
    r, w, dt = np.array([[0.7, -1.1, 0.4]]), np.array([[0.3, 0.8, -0.5]]), 1e-6
    start = np.array([[1.0, 0, 0, 0, 0, 0, 0]])
    zero = np.zeros((1, 3))
    turned = space.integrate(start, np.concatenate((r, zero), axis=1))
    further = space.integrate(turned, np.concatenate((w * dt, zero), axis=1))
    rate = (space.difference(start, further)[:, :3] - r) / dt
    np.testing.assert_allclose(rotation_rates(space, r, w), rate, atol=1e-6)


FREE_OF_CONTACTS = ["PendulumSwingup", "CartpoleSwingup", "CartpoleTrack", "DoubleCartpoleSwingup", "AcrobotSwingup"]


@pytest.mark.parametrize("name", [*FREE_OF_CONTACTS, "Reacher", "Pusher", "ArmReach"])
def test_control_steps_and_their_derivatives_are_those_of_the_simulator(name: str) -> None:
    task = tasks.load(name)
    model = models.compile_task(task)
    model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONSTRAINT)
    rigid, simulated = RigidBodyDynamics(task, model=model), MujocoDynamics(task, model=model)
    sim = Sim(task, 1, num_threads=1, model=model)
    nominal = sim.state().params  # before a reset draws others, which the rigid-body model does not know
    sim.reset()
    rng = np.random.default_rng(0)
    points, actions = [], rng.uniform(sim.action_low, sim.action_high, (6, len(sim.action_low)))
    for u in actions:
        points.append(rigid.coordinates(sim.state())[0])
        sim.step(u[None])
    X, U, at = np.array(points), actions.copy(), sim.state()._replace(params=nominal)
    if name == "ArmReach":
        X[:, -1] = 0.01  # the gripper's target, which is at its limit of 0: a centred difference would see half of it
    U[0], U[1] = rigid.action_high, rigid.action_low  # a derivative at a bound is that of going inwards
    assert rigid.space == simulated.space
    np.testing.assert_allclose(rigid.predict(at, X, U), simulated.predict(at, X, U), rtol=1e-9, atol=1e-9)
    for ours, theirs in zip(rigid.linearize(at, X, U), simulated.linearize(at, X, U), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("name", FREE_OF_CONTACTS)
def test_rollouts_are_worth_what_they_are_in_the_simulator(name: str) -> None:
    task = tasks.load(name)
    model = models.compile_task(task)
    model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONSTRAINT)
    rigid, simulated = RigidBodyDynamics(task, model=model), MujocoDynamics(task, model=model)
    sim = Sim(task, 1, num_threads=1, model=model)
    nominal = sim.state().params
    sim.reset()
    x0 = sim.state()._replace(params=nominal)
    U = np.random.default_rng(0).uniform(rigid.action_low, rigid.action_high, (3, 15, len(rigid.action_low)))
    U[1, 4] = np.nan
    ours, theirs = rigid.rollout(x0, U, seed=3), simulated.rollout(x0, U, seed=3)
    assert ours.diverged.tolist() == [False, True, False]
    np.testing.assert_allclose(ours.rewards[[0, 2]], theirs.rewards[[0, 2]], rtol=1e-8, atol=1e-8)
    assert rigid.steps == 45
    step, other = rigid.step(x0, U[:, 0], seed=3), simulated.step(x0, U[:, 0], seed=3)
    # the simulator records what would be observed, too
    recorded = [np.full(width, name in sim.observer.memory) for name, width in sim.memory_widths.items()]
    own = ~np.concatenate([np.zeros(0, bool), *recorded])
    np.testing.assert_allclose(step.x.memory[:, own], other.x.memory[:, own], atol=1e-12)
    assert np.array_equal(step.x.counters, other.x.counters)


def test_what_is_not_modelled_is_said_or_refused() -> None:
    assert RigidBodyDynamics(tasks.load("CartpoleSwingup")).leaves_out == ("limits of joints",)
    assert RigidBodyDynamics(tasks.load("AcrobotSwingup")).leaves_out == ()
    arm = RigidBodyDynamics(tasks.load("ArmReach"))
    assert arm.leaves_out == ("contacts", "limits of joints", "equality constraints")
    with pytest.raises(ConfigError, match="rigid-body model has no fluid forces"):
        RigidBodyDynamics(tasks.load("Swimmer"))
    with pytest.raises(ConfigError, match="substeps must be a whole number of at least 1, got 0"):
        RigidBodyDynamics(tasks.load("ArmReach"), substeps=0)
    reacher = RigidBodyDynamics(tasks.load("Reacher"))
    sim = Sim(tasks.load("Reacher"), 1, num_threads=1)
    sim.reset()
    with pytest.raises(ConfigError, match="what Reacher rewards cannot be had .*: field 'xpos'"):
        reacher.step(sim.state(), np.zeros((1, 2)), seed=0)


UNSUPPORTED = {
    "option density": ('<option density="1"/>', "", "fluid forces"),
    "implicit": ('<option integrator="implicit"/>', "", "the integrator 'implicit'"),
    "integrator": ("", '<intvelocity joint="hinge" actrange="-1 1"/>', "activations"),
    "site": ("", '<motor site="site"/>', "drive neither a joint nor a tendon"),
    "damper": ("", '<damper joint="hinge" kv="1" ctrlrange="0 1"/>', "gain is not fixed"),
    "ball motor": ("", '<motor joint="ball" gear="1 0 0"/>', "actuators of free or ball joints"),
}


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_forces_that_are_not_modelled_are_refused_by_name(case: str) -> None:
    option, actuator, message = UNSUPPORTED[case]
    model = mujoco.MjModel.from_xml_string(
        f"""<mujoco>{option}<worldbody><body><joint name="hinge"/><joint name="ball" type="ball" pos="1 0 0"/>
        <geom size="0.1"/><site name="site"/></body></worldbody><actuator>{actuator}</actuator></mujoco>"""
    )
    assert any(message in words for words in unsupported(model))
    with pytest.raises(ConfigError, match=message):
        RigidBody(model)


def test_a_longer_time_step_may_be_asked_for() -> None:
    task = tasks.load("ArmReach")
    fine, coarse = RigidBodyDynamics(task), RigidBodyDynamics(task, substeps=2)
    assert fine.body.timestep == pytest.approx(0.004) and coarse.body.timestep == pytest.approx(0.02)
    sim = Sim(task, 1, num_threads=1)
    sim.reset()
    x0, u = sim.state(), np.full((1, 7), 0.5)
    X = fine.coordinates(x0)
    still = np.zeros((1, 7))
    np.testing.assert_allclose(fine.predict(x0, X, still), coarse.predict(x0, X, still), atol=1e-2)
    assert np.abs(fine.predict(x0, X, u) - coarse.predict(x0, X, u)).max() > 1e-3


def test_without_pinocchio_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pinocchio", None)  # what makes its import fail
    with pytest.raises(UsageError, match=r"needs Pinocchio: pip install 'roborl\[rigid\]'"):
        RigidBody(compiled("PendulumSwingup"))


def test_dynamics_are_found_by_name() -> None:
    task = tasks.load("AcrobotSwingup")
    assert isinstance(make_dynamics("rigid", task), RigidBodyDynamics)
    assert isinstance(make_dynamics("mujoco", task, num_threads=1), MujocoDynamics)
    with pytest.raises(UnknownName, match="unknown dynamics 'rigd'; did you mean 'rigid'"):
        make_dynamics("rigd", task)


class Lever(Task):
    """An arm of two hinges whose actions are parts of torques about a default."""

    robot, control_dt, episode_length_s = "acrobot", 0.02, 1.0
    observations = {"policy": [Term("speeds", joint_vel("shoulder", "elbow"))]}
    action = Action(("elbow",), (-1.0,), (1.0,), default=(0.3,), scale=(2.0,), lower=(-0.5,), upper=(1.2,))

    def reset(self, draw: Draw, f: Fields) -> dict[str, Any]:
        return {}

    def reward_terms(self, before: Fields, action: Any, after: Fields) -> dict[str, Any]:
        return {"none": after.qpos[:, 0]}


@pytest.mark.parametrize("task", [tasks.load("CartpoleSwingup"), tasks.load("PendulumSwingup"), Lever()])
def test_following_a_trajectory_is_the_same_compiled_and_step_by_step(task: Task) -> None:
    dynamics = RigidBodyDynamics(task)
    sim = Sim(task, 1, num_threads=1)
    sim.reset()
    at, rng, horizon, (n, na) = sim.state(), np.random.default_rng(0), 15, (dynamics.space.ndx, 1)
    X, U = rng.normal(size=(horizon + 1, n)), rng.normal(size=(horizon, na))
    k, K = 0.1 * rng.normal(size=(horizon, na)), 0.1 * rng.normal(size=(horizon, na, n))
    arguments = (at, X, U, k, K, np.array([1.0, 0.5, 0.125]), 0.1 * rng.normal(size=(horizon + 1, n)))
    before = dynamics.steps
    points, actions = dynamics.follow(*arguments)
    assert dynamics.steps - before == 3 * horizon
    expected = SmoothDynamics.follow(dynamics, *arguments)
    np.testing.assert_allclose(actions, expected[1], atol=1e-12)
    np.testing.assert_allclose(points, expected[0], atol=1e-9)
    assert (np.abs(actions) == 1.0).any() or isinstance(task, PendulumSwingup)


def test_an_action_beyond_its_laws_limits_changes_nothing() -> None:
    dynamics, sim = RigidBodyDynamics(Lever()), Sim(Lever(), 1, num_threads=1)
    sim.reset()
    at, X = sim.state(), np.random.default_rng(0).normal(size=(5, 4))
    U = np.array([[0.0], [0.3], [0.5], [-0.6], [-1.0]])  # 0.3 + 2 u = 0.3, 0.9, 1.3, -0.9, -1.7 in [-0.5, 1.2] or not
    _, B = dynamics.linearize(at, X, U)
    differences = (dynamics.predict(at, X, U + STEP) - dynamics.predict(at, X, U - STEP)) / (2.0 * STEP)
    np.testing.assert_allclose(B[:, :, 0], differences, atol=1e-6 * np.abs(differences).max())
    assert B[:2].all() and not B[2:].any()
