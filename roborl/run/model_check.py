"""What an MJCF lacks for a task, for planners, or for a robot: looked for before anyone builds on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import mujoco

from roborl import models
from roborl.errors import UsageError


class Finding(NamedTuple):
    """Something about a model.

    Attributes:
        level: "error", without which there is no task; "warning", what will be missed; "note", good to know.
        element: what it is about, by kind and name or number.
        message: what is wrong, and what to do.
    """

    level: str
    element: str
    message: str


def check_model(path: Path | str) -> list[Finding]:
    """Look a model over.

    Args:
        path: an MJCF (.xml).

    Returns:
        What was found, errors first; empty where there is nothing to say.

    Raises:
        UsageError: if there is no such file.
        CorruptFile: if it is no valid MJCF; names the line where MuJoCo does.
    """
    if Path(path).suffix != ".xml":
        raise UsageError(f"--check needs an MJCF, a file that ends in .xml, got {str(path)!r}")
    model = models.compile_spec(models.load(str(path)))
    found = [*_actuators(model), *_joints(model), *_names(model), *_physics(model)]
    return sorted(found, key=lambda finding: ("error", "warning", "note").index(finding.level))


def to_json(findings: list[Finding]) -> dict[str, Any]:
    """Return findings as JSON."""
    return {
        "usable": not any(finding.level == "error" for finding in findings),
        "findings": [finding._asdict() for finding in findings],
    }


def _actuators(model: mujoco.MjModel) -> list[Finding]:
    if model.nu == 0:
        return [Finding("error", "model", "it has no actuators: a task needs something to act with")]
    unlimited = [i for i in range(model.nu) if not model.actuator_ctrllimited[i]]
    advice = "has no ctrlrange: give one, or the task's Action its low and high"
    return [Finding("note", _element(model, "actuator", i), advice) for i in unlimited]


def _joints(model: mujoco.MjModel) -> list[Finding]:
    moved = {int(model.actuator_trnid[i, 0]) for i in range(model.nu)}
    one_degree = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
    advice = "is moved by an actuator and has no limits: a real joint has them"
    return [
        Finding("note", _element(model, "joint", i), advice)
        for i in range(model.njnt)
        if i in moved and model.jnt_type[i] in one_degree and not model.jnt_limited[i]
    ]


def _names(model: mujoco.MjModel) -> list[Finding]:
    why = {
        "joint": "has no name: observations name joints",
        "actuator": "has no name: the action's entries, and the exported contract, get numbers for names",
        "body": "has no name: cameras, parameters and observations name bodies",
        "sensor": "has no name: observations name sensors",
    }
    counts = {"joint": model.njnt, "actuator": model.nu, "body": model.nbody, "sensor": model.nsensor}
    return [
        Finding("warning", _element(model, kind, i), message)
        for kind, message in why.items()
        for i in range(counts[kind])
        if not getattr(model, kind)(i).name
    ]


def _physics(model: mujoco.MjModel) -> list[Finding]:
    found = []
    if model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4:
        advice = "RK4 costs four Euler steps, and MuJoCo's derivatives refuse it; implicitfast is for robots"
        found.append(Finding("note", "option integrator", advice))
    if model.opt.timestep > 0.01:
        advice = f"is {model.opt.timestep:g} s: contacts become soft or unstable above 0.01 s"
        found.append(Finding("note", "option timestep", advice))
    if not model.jnt_limited.any() and not (model.geom_contype.any() or model.geom_conaffinity.any()):
        found.append(Finding("note", "model", "nothing in it limits or touches: is that meant?"))
    return found


def _element(model: mujoco.MjModel, kind: str, number: int) -> str:
    name = getattr(model, kind)(number).name
    if name:
        return f"{kind} {name!r}"
    if kind == "joint":
        return f"joint {number} of body {model.body(int(model.jnt_bodyid[number])).name!r}"
    if kind == "body":
        return f"body {number} in body {model.body(int(model.body_parentid[number])).name!r}"
    if kind == "actuator" and model.actuator_trntype[number] == mujoco.mjtTrn.mjTRN_JOINT:
        return f"actuator {number} on joint {model.joint(int(model.actuator_trnid[number, 0])).name!r}"
    return f"{kind} {number}"
