"""What the arms' tasks share: the arm and its options, how an action moves it, goals, and rewards of goals alone."""

from __future__ import annotations

import functools
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roborl.models.arms import ARMS, Arm, arm
from roborl.task import (
    Action,
    Draw,
    Fields,
    Residual,
    Task,
    Term,
    joint_pos,
    joint_vel,
    remembered,
    sensor,
    tolerance,
)
from roborl.task.fields import Array
from roborl.tasks.arm_scene import CUBE_HALF_M, add_cube, add_goal, reading

if TYPE_CHECKING:
    import mujoco

SUCCESS_DISTANCE_M = 0.05
"""Within this distance of the goal is success."""

SPEED_FRACTION = 0.5
"""The part of the joints' published speed limits with which an action of 1 moves the servos' targets."""

TARGET_LEAD_RAD = 0.15
"""How far a servo's target may be from its joint: a blocked arm does not wind its targets up behind the obstacle."""

START_SPREAD_RAD = 0.02
"""The arm starts within this of its ready pose, joint by joint."""

AREA_LOW_M, AREA_HIGH_M = (0.35, -0.2), (0.65, 0.2)
"""Where cubes start and goals are on the table, x and y; both arms reach all of it with the tool pointing down."""

TRIES = 32
"""Goals drawn, of which the first that is far enough from the cube is taken."""


def distance(a: Array, b: Array, xp: Any) -> Array:
    """Return the distances between points (N, 3), (N,) [m]."""
    offset = a - b
    return xp.sqrt(xp.sum(offset * offset, axis=1))


@dataclass(frozen=True)
class ArmTask(Task):
    """An arm on a table that brings something to a goal: what is at the goal, `achieved` says.

    The reward is `goal_reward` of what was achieved and what was desired, and, with a dense reward, terms that do not
    depend on the goal. So hindsight relabelling may put another goal into a transition: it replaces the term "goal",
    the last three entries of the policy's observation (and "desired_goal"), and in the reward the old `goal_reward` by
    the new one. A sparse reward is `goal_reward` alone: 0 within 5 cm of the goal, else -1.

    Nothing ends an episode before its time but, with a dense reward, a cube that falls off the table: where every
    reward is at least 0, no policy wants that; with a sparse reward it would end what is to be paid.
    """

    arm: str = "panda"
    """The arm: "panda" or "ur5e"."""

    reward: str = "dense"
    """"dense", shaped; or "sparse", 0 at the goal and -1 elsewhere."""

    action_mode: str = "joint_position_delta"
    """"joint_position_delta": an action moves the targets of position servos, at 1 with half the joints' published
    speeds; "joint_torque": an action is a part of the joints' published torques, on top of what holds the arm up, less
    what a motor loses with speed: with the whole torque a joint comes to its published speed, and no further."""

    control_dt = 0.04
    derived = "current"
    reads = ("sensordata",)
    choices = {
        "arm": tuple(ARMS),
        "reward": ("dense", "sparse"),
        "action_mode": ("joint_position_delta", "joint_torque"),
    }
    camera = "fixed"
    uses_gripper = False
    uses_cube = False

    @property
    def spec(self) -> Arm:
        """The arm's numbers."""
        return arm(self.arm)

    @property
    def robot(self) -> str:
        """The arm's model."""
        return self.arm

    @functools.cached_property
    def action(self) -> Action:
        """Parts of the greatest speeds or torques of the joints, and of the gripper's speed where it is used.

        Targets are moved on, within reach of the joints and within their limits.
        """
        spec, n = self.spec, len(self.spec.joints)
        names, moves, lead = spec.joints, (self._moves_targets,) * n, (TARGET_LEAD_RAD * self._moves_targets,) * n
        if self._moves_targets:
            scale = tuple(SPEED_FRACTION * self.control_dt * speed for speed in spec.velocity)
            lower, upper = spec.low, spec.high
        else:
            scale, lower, upper = spec.torque, tuple(-torque for torque in spec.torque), spec.torque
        if self.uses_gripper:
            names, moves, lead = (*names, "gripper"), (*moves, True), (*lead, 0.0)
            scale = (*scale, spec.gripper_speed * self.control_dt)
            lower, upper = (*lower, 0.0), (*upper, spec.gripper_width)
        low, high = (-1.0,) * len(names), (1.0,) * len(names)
        return Action(names, low, high, scale=scale, moves=moves, lead=lead, lower=lower, upper=upper)

    @property
    def memory(self) -> dict[str, int]:
        """The goal, and where the servos' targets are: the joints follow them some hundredths of a second later."""
        targets = {"joint_targets": len(self.spec.joints)} if self._moves_targets else {}
        return {"goal": 3} | targets

    @property
    def _moves_targets(self) -> bool:
        return self.action_mode == "joint_position_delta"

    @property
    def observations(self) -> dict[str, list[Term]]:
        """The arm, what it handles, and last the goal; "achieved_goal" and "desired_goal" for relabelling."""
        joints = self.spec.joints
        terms = [
            Term("joint_positions", joint_pos(*joints), unit="rad"),
            Term("joint_speeds", joint_vel(*joints), unit="rad/s"),
        ]
        if self._moves_targets:
            terms.append(Term("joint_targets", remembered("joint_targets", len(joints)), unit="rad"))
        terms += [
            Term("tool_position", sensor("tool_position"), unit="m", frame="base"),
            Term("tool_velocity", sensor("tool_velocity"), unit="m/s", frame="base"),
        ]
        if self.uses_gripper:
            terms.append(Term("gripper_width", sensor("gripper_width"), unit="m"))
        if self.uses_cube:
            terms += [
                Term("cube_position", sensor("cube_position"), unit="m", frame="base"),
                Term("cube_from_tool", sensor("cube_from_tool"), unit="m", frame="tool"),
                Term("cube_axes", sensor("cube_x_axis", "cube_z_axis"), frame="base"),
                Term("cube_velocity", sensor("cube_velocity"), unit="m/s", frame="base"),
                Term("cube_spin", sensor("cube_spin"), unit="rad/s", frame="base"),
            ]
        achieved = sensor("cube_position" if self.uses_cube else "tool_position")
        return {
            "policy": [*terms, Term("goal", remembered("goal", 3), unit="m", frame="base")],
            "achieved_goal": [Term("achieved_goal", achieved, unit="m", frame="base")],
            "desired_goal": [Term("desired_goal", remembered("goal", 3), unit="m", frame="base")],
        }

    def edit(self, spec: mujoco.MjSpec) -> None:
        """Add the goal's mark and, where there is one, the cube; give the joints motors where torques are asked for."""
        for key in spec.keys:  # they know nothing of a cube
            spec.delete(key)
        add_goal(spec)
        if self.uses_cube:
            add_cube(spec)
        if not self._moves_targets:
            for name, torque, speed in zip(self.spec.joints, self.spec.torque, self.spec.velocity, strict=True):
                motor = spec.actuator(name)
                motor.gainprm[0], motor.biasprm[1], motor.biasprm[2] = 1.0, 0.0, -torque / speed
                motor.inheritrange, motor.ctrlrange = 0.0, [-torque, torque]

    def start(self, draw: Draw, f: Fields, width: float) -> dict[str, Array]:
        """Return the arm near its ready pose with the gripper ``width`` m open: qpos (N, n), ctrl, targets."""
        xp, ready = f.xp, f.xp.asarray(self.spec.ready, dtype=f.qpos.dtype)
        arm_pos = ready + draw.uniform("arm", -START_SPREAD_RAD, START_SPREAD_RAD, size=len(self.spec.ready))
        fingers = xp.full((len(arm_pos), 2), 0.5 * width, dtype=arm_pos.dtype)
        opening = xp.full((len(arm_pos), 1), width, dtype=arm_pos.dtype)
        held = arm_pos if self._moves_targets else xp.zeros_like(arm_pos)
        return {
            "qpos": xp.concat((arm_pos, fingers), axis=1),
            "ctrl": xp.concat((held, opening), axis=1),
        } | ({"joint_targets": arm_pos} if self._moves_targets else {})

    def start_with_cube(self, draw: Draw, f: Fields, width: float, height: Array | None = None) -> dict[str, Array]:
        """Return the arm's start, a cube at rest on the table, and a goal at least 10 cm beside it.

        Args:
            draw: the source of randomness.
            f: the simulations.
            width: how far the gripper is open [m].
            height: (N, 1) how far above the table's the goal's height is [m]; None: 0.
        """
        xp, start = f.xp, self.start(draw, f, width)
        (x_low, y_low), (x_high, y_high) = AREA_LOW_M, AREA_HIGH_M
        x, y = draw.uniform("cube_x", x_low, x_high), draw.uniform("cube_y", y_low, y_high)
        goals_x = draw.uniform("goal_x", x_low, x_high, size=TRIES)
        goals_y = draw.uniform("goal_y", y_low, y_high, size=TRIES)
        far = (goals_x - x) ** 2 + (goals_y - y) ** 2 > (2.0 * SUCCESS_DISTANCE_M) ** 2
        chosen, rows = xp.argmax(xp.astype(far, x.dtype), axis=1), xp.arange(len(x))
        lowest = xp.full_like(x, CUBE_HALF_M)
        half_yaw = 0.5 * draw.uniform("cube_yaw", -0.25 * xp.pi, 0.25 * xp.pi)
        zero = xp.zeros_like(x)
        cube = (x, y, lowest, xp.cos(half_yaw), zero, zero, xp.sin(half_yaw))
        goal_height = lowest if height is None else lowest + height
        goal = xp.concat((goals_x[rows, chosen][:, None], goals_y[rows, chosen][:, None], goal_height), axis=1)
        return start | {"qpos": xp.concat((start["qpos"], *cube), axis=1)} | self.goal(goal)

    def goal(self, goal: Array) -> dict[str, Array]:
        """Return the memory and the mark of a goal (N, 3)."""
        return {"goal": goal, "mocap_pos": goal[:, None, :]}

    def driven(self, f: Fields) -> Array:
        """The arm's joints, and a finger."""
        return f.qpos[:, : len(self.spec.joints) + self.uses_gripper]

    def advance(self, f: Fields, action: Array, draw: Draw) -> dict[str, Array]:
        """Remember where the servos' targets are."""
        return {"joint_targets": f.ctrl[:, : len(self.spec.joints)]} if self._moves_targets else {}

    def achieved(self, f: Fields) -> Array:
        """Return what is to be at the goal, (N, 3) [m]: the cube where there is one, else the tool."""
        return reading(f, "cube_position" if self.uses_cube else "tool_position")

    def goal_reward(self, achieved: Array, desired: Array, xp: Any) -> Array:
        """Return the part of the reward that depends on the goal, (N,), from goals alone.

        Args:
            achieved: (N, 3) where the cube or the tool is after the step [m].
            desired: (N, 3) the goal, any [m].
            xp: the array namespace.
        """
        d = distance(achieved, desired, xp)
        if self.reward == "sparse":
            return xp.where(d < SUCCESS_DISTANCE_M, xp.zeros_like(d), -xp.ones_like(d))
        return self.goal_weight * near(d, xp)

    goal_weight = 1.0
    """The weight of `goal_reward` among the terms of a dense reward, which add up to 1 at most."""

    def goal_success(self, achieved: Array, desired: Array, xp: Any) -> Array:
        """Return (N,) bool, true within 5 cm of the goal, from goals (N, 3) alone."""
        return distance(achieved, desired, xp) < SUCCESS_DISTANCE_M

    def shaping_terms(self, after: Fields) -> dict[str, Array]:
        """Return the terms of a dense reward that do not depend on the goal, (N,) each, at least 0."""
        return {}

    def reward_terms(self, before: Fields, action: Array, after: Fields) -> dict[str, Array]:
        """The goal's term, and with a dense reward what leads to it."""
        terms = {"goal": self.goal_reward(self.achieved(after), after.memory["goal"], after.xp)}
        return terms if self.reward == "sparse" else terms | self.shaping_terms(after)

    def terminated(self, after: Fields) -> Array | None:
        """With a dense reward: the cube has fallen off the table."""
        if not self.uses_cube or self.reward == "sparse":
            return None
        return reading(after, "cube_position")[:, 2] < 0.0

    def success(self, after: Fields) -> Array:
        """Whether the cube, or without one the tool, is within 5 cm of the goal."""
        return self.goal_success(self.achieved(after), after.memory["goal"], after.xp)

    @abstractmethod
    def stage_residuals(self, after: Fields, action: Array) -> dict[str, Residual]:
        """Return the smooth cost of a step; see `Task.stage_residuals`."""

    def terminal_residuals(self, after: Fields) -> dict[str, Residual]:
        """The same as in a step but for the action's, ten times as dear."""
        stage = self.stage_residuals(after, after.qpos[:, :0])
        return {name: Residual(r.value, 10.0 * r.weight) for name, r in stage.items() if name != "control"}


def near(d: Array, xp: Any) -> Array:
    """Return how near a distance is to 0, 1 to 0, (N,): half of it tells far from near, half near from there."""
    return 0.5 * tolerance(xp, d, margin=0.4, sigmoid="hyperbolic") + 0.5 * tolerance(xp, d, margin=0.1)
