from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from roborl.disturbances import ACTION_DELAY
from roborl.errors import ConfigError
from roborl.sim import Sim
from roborl.task import Action, Term, joint_pos
from roborl.tasks.cartpole import CartpoleBalance


def cartpole(law: Action, **members) -> CartpoleBalance:
    return type("Plain", (CartpoleBalance,), {"action": law, **members})()


def test_left_alone_an_action_is_the_actuators_control_within_its_range():
    sim = Sim(cartpole(Action()))
    assert sim.action_names == ("slide",)
    assert sim.action_low.tolist() == [-1.0] and sim.action_high.tolist() == [1.0]
    sim.reset()
    sim.step(np.array([[0.25]]))
    assert sim.fields.ctrl.tolist() == [[0.25]]


def test_control_is_default_plus_scale_times_action():
    sim = Sim(cartpole(Action(low=(-2.0,), high=(2.0,), default=(0.5,), scale=0.25)))
    sim.reset()
    sim.step(np.array([[-1.0]]))
    assert sim.fields.ctrl.tolist() == [[0.5 - 0.25]]


def test_an_entry_that_moves_adds_to_the_control_before_within_its_lead_and_limits():
    law = Action(("slide",), (-1.0,), (1.0,), scale=0.1, moves=(True,), lead=(0.25,), lower=(-0.15,), upper=(0.5,))
    sim = Sim(cartpole(law, driven=lambda self, f: f.qpos[:, :1]))
    sim.reset()
    sim.fields.qpos[:, 0] = 0.0
    # 0.1 a step, of an action of 3 no more than of 1; 0.25 before the joint, which is at 0; back, until its own limit
    wanted = [
        (1.0, 0.1),
        (3.0, 0.2),
        (1.0, 0.25),
        (-1.0, 0.15),
        (-1.0, 0.05),
        (-1.0, -0.05),
        (-1.0, -0.15),
        (-1.0, -0.15),
    ]
    for action, control in wanted:
        sim.step(np.array([[action]]))
        assert sim.fields.ctrl[0, 0] == pytest.approx(control, abs=1e-15)
        sim.fields.qpos[:, 0] = 0.0


def test_who_gives_a_lead_says_which_joints_it_is_before():
    law = Action(("slide",), (-1.0,), (1.0,), moves=(True,), lead=(0.25,))
    sim = Sim(cartpole(law))
    sim.reset()
    with pytest.raises(ConfigError, match="Plain.action has a lead: define driven"):
        sim.step(np.zeros((1, 1)))


@pytest.mark.parametrize("delay", [1, 3])
def test_a_delayed_action_takes_effect_exactly_so_many_steps_later(delay):
    sim = Sim(cartpole(Action(delay=(delay, delay))))
    sim.reset()
    applied = []
    for k in range(10):
        sim.step(np.array([[0.1 * (k + 1)]]))
        applied.append(sim.fields.ctrl[0, 0])
    assert applied == [0.0] * delay + [0.1 * (k + 1) for k in range(10 - delay)]


def test_a_drawn_delay_is_constant_within_an_episode_and_varies_between_them():
    sim = Sim(cartpole(Action(delay=(0, 2))), 50)
    sim.reset()
    first = sim.fields.memory[ACTION_DELAY].copy()
    assert set(first.ravel()) == {0.0, 1.0, 2.0}
    sim.step(np.zeros((50, 1)))
    assert np.array_equal(sim.fields.memory[ACTION_DELAY], first)
    sim.reset()
    assert not np.array_equal(sim.fields.memory[ACTION_DELAY], first)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"delay": (-1, 0)}, "delay"),
        ({"delay": (2, 1)}, "delay"),
        ({"low": (0.0,)}, "together"),
        ({"lower": (0.0,)}, "Action.lower and Action.upper must be given together"),
        ({"names": ("a",), "moves": (True,)}, "Action.moves needs the action's bounds"),
        ({"names": ("a",), "lead": (0.1, 0.1)}, "Action.lead needs an entry for each of Action.names"),
    ],
)
def test_a_field_outside_what_is_allowed_is_named(arguments, named):
    with pytest.raises(ConfigError, match=named):
        Action(**arguments)


@pytest.mark.parametrize(
    "law",
    [
        Action(scale=2.0),
        Action(names=("one", "two")),
        Action(low=(0.0, 0.0), high=(1.0, 1.0)),
        Action(low=(1.0,), high=(1.0,)),
    ],
    ids=["scaled, without bounds", "renamed, without bounds", "too many bounds", "an empty range"],
)
def test_bounds_that_do_not_fit_the_action_are_refused(law):
    with pytest.raises(ConfigError, match="low"):
        Sim(cartpole(law))


def test_an_actuator_without_limits_has_an_unbounded_action():
    class Unlimited(CartpoleBalance):
        robot: ClassVar = "pendulum"
        control_dt: ClassVar = 0.05
        observations: ClassVar = {"policy": [Term("angle", joint_pos("hinge"))]}

    sim = Sim(Unlimited())
    assert sim.action_low.tolist() == [-np.inf] and sim.action_high.tolist() == [np.inf]
