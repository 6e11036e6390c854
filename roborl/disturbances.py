"""What disturbs a simulation from outside: another start, actions that take effect late, and pushes."""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np
from mujoco.batch import Batch

from roborl.task.draw import Draw
from roborl.task.fields import Fields
from roborl.task.randomization import Randomization
from roborl.task.sources import body_number

ACTION_QUEUE = "action/queue"
ACTION_DELAY = "action/delay"
PUSH_STEPS_LEFT = "push/steps_left"


class InitialSpread:
    """Random shifts of the joints and changes of the speeds with which an episode begins.

    Free and ball joints keep their place, and take part with their speeds.

    Args:
        randomization: the greatest shift and change.
        model: the model.
    """

    def __init__(self, randomization: Randomization, model: mujoco.MjModel) -> None:
        self._pos, self._vel = randomization.initial_pos, randomization.initial_vel
        kinds = (mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_HINGE)
        joints = np.flatnonzero(np.isin(model.jnt_type, kinds))
        self._columns, self._nv = model.jnt_qposadr[joints], model.nv
        limited = model.jnt_limited[joints].astype(bool)
        self._low = np.where(limited, model.jnt_range[joints, 0], -np.inf)
        self._high = np.where(limited, model.jnt_range[joints, 1], np.inf)

    def reset(self, f: Fields, draw: Draw) -> None:
        """Disturb the starts of new episodes; limits are kept, but for starts that are beyond them on purpose."""
        if self._pos > 0.0:
            start = f.qpos[:, self._columns]
            shifted = start + draw.uniform("initial/pos", -self._pos, self._pos, size=len(self._columns))
            f.qpos[:, self._columns] = np.clip(shifted, np.minimum(self._low, start), np.maximum(self._high, start))
        if self._vel > 0.0:
            f.qvel[...] += draw.uniform("initial/vel", -self._vel, self._vel, size=self._nv)


class ActionDelay:
    """A queue of actions for each simulation, as long as the longest delay.

    Args:
        delay: the shortest and the longest delay, in control steps, both included.
        width: entries of an action.

    Attributes:
        memory: the memory that it needs, name -> width.
    """

    def __init__(self, delay: tuple[int, int], width: int) -> None:
        self._delay = delay
        self.memory = {ACTION_QUEUE: width * delay[1], ACTION_DELAY: 1} if delay[1] > 0 else {}

    def reset(self, memory: Mapping[str, np.ndarray], draw: Draw) -> None:
        """Draw the delays of new episodes; the queue is empty, of zeros."""
        if self.memory:
            memory[ACTION_DELAY][...] = draw.integers(ACTION_DELAY, *self._delay)

    def step(self, memory: Mapping[str, np.ndarray], action: np.ndarray) -> np.ndarray:
        """Push an action (N, na) into the queue, newest first, and return the one that takes effect now."""
        if not self.memory:
            return action
        queue = memory[ACTION_QUEUE]
        pushed = np.concatenate((action, queue), axis=1)
        queue[...] = pushed[:, : queue.shape[1]]
        pushed = pushed.reshape(-1, action.shape[1])  # (N (longest delay + 1), na)
        rows = np.arange(0, len(pushed), self._delay[1] + 1) + memory[ACTION_DELAY][:, 0].astype(np.intp)
        return pushed.take(rows, axis=0)


class Pushes:
    """Sudden pushes: a horizontal force on a body that lasts one control step and gives the whole robot a speed.

    The force is the nominal mass that hangs on the body, times the speed, over the control period; unlike a speed
    written into the state, it obeys the joints and contacts.

    Args:
        randomization: its speed, interval and body.
        batch: the simulations.
        model: their model.
        control_dt: the control period [s].

    Attributes:
        memory: the memory that they need, name -> width.

    Raises:
        UnknownName: if the model lacks the body.
    """

    def __init__(self, randomization: Randomization, batch: Batch, model: mujoco.MjModel, control_dt: float) -> None:
        self._speed = randomization.push_speed
        self.memory = {PUSH_STEPS_LEFT: 1} if self._speed is not None else {}
        if not self.memory:
            return
        name = randomization.push_body
        body = int(np.flatnonzero(model.body_dofnum)[0]) if name is None else body_number(model, name)
        low, high = randomization.push_interval_s
        # at least two steps: a push has to end before the next
        self._interval = (max(2, round(low / control_dt)), max(2, round(high / control_dt)))
        self._force = batch.bind("xfrc_applied")[:, body, :2]
        self._mass_per_s = model.body_subtreemass[body] / control_dt

    def reset(self, memory: Mapping[str, np.ndarray], draw: Draw) -> None:
        """Draw when new episodes' first pushes come."""
        if self.memory:
            memory[PUSH_STEPS_LEFT][...] = draw.integers(PUSH_STEPS_LEFT, *self._interval)

    def step(self, memory: Mapping[str, np.ndarray], draw: Draw) -> None:
        """Count down; set the forces of the coming control step. Only where there are pushes."""
        left = memory[PUSH_STEPS_LEFT]
        left -= 1.0
        due = left[:, 0] <= 0.0
        if not due.any():  # most steps: nothing is drawn; a push that has just ended is taken back
            self._force[...] = 0.0
            return
        assert self._speed is not None
        angle = draw.uniform("push/angle", 0.0, 2.0 * np.pi)
        impulse = self._mass_per_s * draw.uniform("push/speed", *self._speed)
        force = impulse * np.concatenate((np.cos(angle), np.sin(angle)), axis=1)
        self._force[...] = np.where(due[:, None], force, 0.0)
        left[due] = draw.integers("push/next", *self._interval)[due]
