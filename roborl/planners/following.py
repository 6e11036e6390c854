"""Following a plan between its steps, with feedback where its planner gives gains."""

from __future__ import annotations

import numpy as np

from roborl.dynamics.contract import Dynamics, SmoothDynamics
from roborl.planners.contract import Plan
from roborl.sim import SimState


def action_at(plan: Plan, dynamics: Dynamics, x: SimState, position: float) -> np.ndarray:
    r"""Return the action (na,) that a plan has for a state, within the bounds.

    With actions, points and gains linear between their steps,  u = U(s) + K(s) (x - X(s)).  After the last step its
    action is held, without feedback: there is no point to compare with.

    Args:
        plan: the plan.
        dynamics: what it was made with.
        x: the state now, one row.
        position: s, how many control steps after the plan's beginning it is, at least 0.
    """
    last = len(plan.U) - 1
    step = min(int(position), last)
    part, following = min(position - step, 1.0), min(step + 1, last)
    u = (1.0 - part) * plan.U[step] + part * plan.U[following]
    if plan.gains is not None and plan.X is not None and position <= last:
        assert isinstance(dynamics, SmoothDynamics)
        space, (here,) = dynamics.space, dynamics.coordinates(x)
        expected = space.integrate(plan.X[step], part * space.difference(plan.X[step], plan.X[step + 1]))
        gains = (1.0 - part) * plan.gains[step] + part * plan.gains[following]
        u = u + gains @ space.difference(expected, here)
    return np.clip(u, dynamics.action_low, dynamics.action_high)
