from __future__ import annotations

import mujoco
import numpy as np
import pytest

from roborl.dynamics.manifold import StateSpace, quat_exp, quat_log, quat_multiply

MIXED = """
<mujoco><worldbody>
  <body><freejoint/><geom size="0.1"/>
    <body pos="1 0 0"><joint type="slide"/><joint type="ball"/><geom size="0.1"/>
      <body pos="1 0 0"><joint type="hinge"/><geom size="0.1"/></body></body></body>
</worldbody></mujoco>
"""


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(MIXED)


def some_points(model: mujoco.MjModel, space: StateSpace, n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, space.nx))
    for row in x:
        qpos = row[: space.nq].copy()
        mujoco.mj_normalizeQuat(model, qpos)
        row[: space.nq] = qpos
    return x


def test_a_free_and_a_ball_joint_have_two_numbers_more_than_degrees_of_freedom(model: mujoco.MjModel) -> None:
    space = StateSpace.of_model(model, nrest=2)
    assert (space.nq, space.nv) == (7 + 1 + 4 + 1, 6 + 1 + 3 + 1)
    assert (space.nx, space.ndx) == (13 + 11 + 2, 2 * 11 + 2)


def test_integrate_and_difference_are_those_of_mujoco(model: mujoco.MjModel) -> None:
    space = StateSpace.of_model(model)
    x = some_points(model, space, 20)
    dx = np.random.default_rng(1).normal(size=(20, space.ndx))
    moved = space.integrate(x, dx)
    back = space.difference(x, moved)
    for i in range(20):
        qpos = x[i, : space.nq].copy()
        mujoco.mj_integratePos(model, qpos, dx[i, : space.nv], 1.0)
        np.testing.assert_allclose(moved[i, : space.nq], qpos, atol=1e-14)
        dq = np.zeros(space.nv)
        mujoco.mj_differentiatePos(model, dq, 1.0, x[i, : space.nq], qpos)
        np.testing.assert_allclose(back[i, : space.nv], dq, atol=1e-13)
    np.testing.assert_allclose(moved[:, space.nq :], x[:, space.nq :] + dx[:, space.nv :], atol=1e-15)


def test_a_difference_undoes_an_integration_and_no_change_is_none(model: mujoco.MjModel) -> None:
    space = StateSpace.of_model(model, nrest=1)
    x0, x1 = some_points(model, space, 30, 2), some_points(model, space, 30, 3)
    np.testing.assert_allclose(space.difference(x0, x0), 0.0, atol=1e-15)
    reached = space.integrate(x0, space.difference(x0, x1))
    np.testing.assert_allclose(space.difference(reached, x1), 0.0, atol=1e-13)
    flipped = x1.copy()
    flipped[:, 3:7] *= -1.0  # the same orientation
    np.testing.assert_allclose(space.difference(x0, flipped), space.difference(x0, x1), atol=1e-13)


def test_one_point_and_many_differences_broadcast(model: mujoco.MjModel) -> None:
    space = StateSpace.of_model(model)
    x = some_points(model, space, 4)
    dx = np.random.default_rng(1).normal(size=(5, 1, space.ndx))
    moved = space.integrate(x, dx)
    assert moved.shape == (5, 4, space.nx)
    np.testing.assert_array_equal(moved[2, 3], space.integrate(x[3], dx[2, 0]))
    assert space.difference(x[0], moved).shape == (5, 4, space.ndx)


@pytest.mark.parametrize("angle", [0.0, 1e-14, 1e-9, 1e-3, 1.0, 3.0, np.pi])
def test_exponential_and_logarithm_of_a_rotation(angle: float) -> None:
    axis = np.array([2.0, -1.0, 2.0]) / 3.0
    quat = quat_exp(angle * axis)
    np.testing.assert_allclose(quat, [np.cos(angle / 2), *(np.sin(angle / 2) * axis)], atol=1e-15)
    np.testing.assert_allclose(quat_log(quat), angle * axis, rtol=1e-12, atol=1e-30)


def test_quarter_turns_multiply() -> None:
    # i j = k
    i, j, k = np.eye(4)[1:]
    np.testing.assert_array_equal(quat_multiply(i, j), k)
    np.testing.assert_array_equal(quat_multiply(j, i), -k)
