from __future__ import annotations

import mujoco
import numpy as np
import pytest

from roborl.derived import on_demand
from roborl.sim import Sim
from roborl.task import BodyMass
from roborl.tasks.ant import Ant


def test_contact_forces_are_mujocos_own_row_by_row_and_zero_after_a_reset() -> None:
    sim = Sim(Ant(contact_forces=True), 3, num_threads=2)
    sim.reset()
    assert not sim.fields.cfrc_ext.any()
    rng = np.random.default_rng(0)
    data = mujoco.MjData(sim.model)
    touching = 0
    for _ in range(40):
        before = sim.state().physics
        action = rng.uniform(-0.1, 0.1, (3, 8))
        sim.step(action)
        for i in range(3):
            mujoco.mj_setState(sim.model, data, before[i], int(mujoco.mjtState.mjSTATE_INTEGRATION))
            data.ctrl[:] = action[i]
            mujoco.mj_step(sim.model, data, sim.substeps)
            mujoco.mj_rnePostConstraint(sim.model, data)
            assert np.array_equal(sim.fields.cfrc_ext[i], data.cfrc_ext)
        touching += np.count_nonzero(sim.fields.cfrc_ext.any(axis=(1, 2)))
    assert touching > 40 and sim.fields.cfrc_ext[1].any()
    others = sim.fields.cfrc_ext[::2].copy()
    sim.reset(np.array([1]))
    assert not sim.fields.cfrc_ext[1].any() and np.array_equal(sim.fields.cfrc_ext[::2], others)


def test_contact_forces_follow_each_simulations_own_masses() -> None:
    class Heavy(Ant):
        params = {"mass": BodyMass("torso", 3.0, 3.0)}

    light, sim = Sim(Ant(contact_forces=True)), Sim(Heavy(contact_forces=True))
    for one in (light, sim):
        one.reset()
        for _ in range(40):
            one.step(np.zeros((1, 8)))
    assert np.abs(sim.fields.cfrc_ext).sum() > 1.5 * np.abs(light.fields.cfrc_ext).sum()
    # the model stays the nominal one: the next draw starts from it, not from the last draw
    assert sim.model.body("torso").mass[0] == light.model.body("torso").mass[0]
    drawn = sim.fields.params["mass"].copy()
    sim.reset()
    assert np.array_equal(sim.fields.params["mass"], drawn)
    assert sim.batch.get_model(0).body("torso").mass[0] == drawn[0, 0] == 3.0 * sim.model.body("torso").mass[0]
    assert sim.batch.get_model(0).body("torso").inertia == pytest.approx(3.0 * light.model.body("torso").inertia)


def test_only_fields_that_a_step_leaves_out_ask_for_more() -> None:
    assert on_demand(("xpos", "cfrc_ext")) and not on_demand(("xpos", "cvel"))
