"""Models that are made ahead are those that would be made at each reset."""

from dataclasses import dataclass

import numpy as np
import pytest
from mujoco.batch import MODEL_FIELDS, Batch

from roborl import tasks
from roborl.sim import Sim
from roborl.task.parameters import Parameter
from roborl.tasks.cartpole import CartpoleBalance

DRAWN = {"mass": (0.7, 1.3), "com": 0.01, "friction": (0.5, 1.5), "motor_strength": (0.8, 1.2)}


def made_anew(sim: Sim) -> Batch:
    """Return the models that follow from a simulation's values, without those made ahead."""
    anew = Sim(sim.task, sim.num_sims, model=sim.model, num_threads=1)
    anew.restore(sim.state())
    return anew.batch


def own(batch: Batch, name: str) -> np.ndarray:
    """Return each simulation's own values of a field, (N, ...)."""
    rows = batch.expanded(name)
    assert rows is not None, f"{name} is shared"
    return rows


def assert_same_models(sim: Sim) -> None:
    anew = made_anew(sim)
    names = {name for name in MODEL_FIELDS if anew.expanded(name) is not None}
    assert {"body_mass", "body_ipos", "dof_invweight0", "body_subtreemass", "geom_sameframe"} <= names
    for name in names:
        assert np.array_equal(own(anew, name), own(sim.batch, name)), name


def fresh(num_sims: int, **drawn) -> Sim:
    return Sim(tasks.load("Hopper", **(drawn or DRAWN)), num_sims, num_threads=1)


@pytest.mark.parametrize("num_sims", [1, 3, 300])
def test_models_follow_from_the_drawn_values_in_any_order_of_resets(num_sims):
    sim, rng = fresh(num_sims), np.random.default_rng(0)
    sim.reset()
    assert_same_models(sim)
    for _ in range(30):  # more than are made ahead
        sim.reset(np.flatnonzero(rng.random(num_sims) < 0.4))
    assert_same_models(sim)


def test_an_episodes_parameters_depend_on_its_seed_and_number_alone():
    together, alone = fresh(5), fresh(1)
    together.reset()
    for _ in range(11):
        together.reset(np.array([0, 3]))
    alone.seed(np.array([3]))
    for _ in range(12):
        alone.reset()
    assert np.array_equal(together.state().params[3], alone.state().params[0])
    # a new seed begins with episode 0 again, whatever has been made ahead
    together.seed(np.array([3]), np.array([1]))
    alone.seed(np.array([3]))
    together.reset(np.array([1]))
    alone.reset()
    assert np.array_equal(together.state().params[1], alone.state().params[0])
    assert_same_models(together)


@pytest.mark.parametrize("before", [True, False], ids=["after a reset", "before any"])
def test_a_reset_after_a_restore_leaves_nothing_of_the_restored_model(before):
    # where nothing is drawn but 1, no field that follows from masses differs between the models made ahead
    sim, other = fresh(2, mass=(1.0, 1.0)), fresh(2, mass=(0.7, 1.3))
    if before:
        sim.reset()
    other.reset()
    sim.restore(other.state())
    names = ("body_mass", "dof_invweight0", "body_subtreemass")
    nominal = {name: getattr(sim.model, name) for name in names}
    assert all(not np.array_equal(own(sim.batch, name)[1], nominal[name]) for name in names)
    sim.reset(np.array([1]))
    for name in names:
        assert np.array_equal(own(sim.batch, name)[1], nominal[name]), name
        assert not np.array_equal(own(sim.batch, name)[0], nominal[name]), name


@dataclass(frozen=True)
class Told(Parameter):
    """A number that only a task knows of: no field of the model follows from it."""

    unit = ""
    fields = ()

    def nominal(self, model):
        return np.zeros(1)

    def sample(self, units, nominal):
        return units

    def bind(self, model):
        return lambda fields, values: None


def test_a_parameter_may_leave_the_model_as_it_is():
    task = type("Knowing", (CartpoleBalance,), {"params": {"told": Told()}})()
    sim = Sim(task, 4, num_threads=1)
    drawn = []
    for _ in range(12):
        sim.reset()
        drawn.append(sim.fields.params["told"][:, 0].copy())
    assert len(np.unique(drawn)) == 48
