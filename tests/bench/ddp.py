"""How long an iteration of iLQR takes beside Crocoddyl's: a 6-axis arm that reaches, 100 knots, one thread.

Both have the same arm (a UR5e's links without its gripper, driven by torques), the same cost, the same start and no
regularisation to begin with, and go on until they converge. An iteration is the models, the pass backwards and the
line search: the time of a whole plan over its iterations. Crocoddyl is in an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from peers import python_of
from results import write

from roborl import models, tasks
from roborl.dynamics.rigid_body import RigidBodyDynamics
from roborl.dynamics.rigid_tree import LINK
from roborl.models.arms import UR5E, tool_position
from roborl.planners.contract import Plan
from roborl.planners.ilqr import ILQR, ILQRConfig
from roborl.sim import Sim
from roborl.task import Draw, Fields, Residual, Task, Term, joint_pos

KNOTS, DT, JOINTS = 100, 0.01, 6
GOAL = (0.35, 0.35, 0.45)
WEIGHTS = {"goal": 10.0, "speeds": 0.1, "control": 1e-4, "last goal": 1e4, "last speeds": 10.0}


def arm(path: Path) -> None:
    """Write the arm's model: the links of roborl's UR5e, hinged, with a motor at each joint."""
    full = models.compile_task(tasks.load("ArmReach", arm="ur5e"))
    spec = mujoco.MjSpec()
    spec.option.timestep = DT
    spec.compiler.degree = False
    parent = spec.worldbody
    for name, joint in zip(("base", *_links()), (None, *UR5E.joints), strict=True):
        b = full.body(name)
        parent = parent.add_body(name=name, pos=b.pos, quat=b.quat, mass=b.mass[0], ipos=b.ipos, iquat=b.iquat)
        parent.inertia, parent.explicitinertial = b.inertia, True
        if joint is not None:
            parent.add_joint(name=joint, type=mujoco.mjtJoint.mjJNT_HINGE, axis=[0, 0, 1])
            motor = spec.add_actuator(name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
            motor.ctrllimited, motor.ctrlrange = True, [-1e4, 1e4]
    spec.compile()
    path.write_text(spec.to_xml())


def _links() -> tuple[str, ...]:
    return ("shoulder", "upper_arm", "forearm", "wrist_1", "wrist_2", "wrist_3")


@dataclass(frozen=True)
class Reach(Task):
    """Bring the flange's tool to a goal, by torques."""

    control_dt, episode_length_s = DT, 1.0
    observations = {"policy": [Term("joints", joint_pos(*UR5E.joints))]}

    @property
    def robot(self) -> str:
        """The model's file."""
        return str(self.xml_file)

    def reset(self, draw: Draw, f: Fields) -> dict[str, Any]:
        """The ready pose."""
        return {"qpos": np.array([UR5E.ready])}

    def reward_terms(self, before: Fields, action: Any, after: Fields) -> dict[str, Any]:
        """None: this is for planners that follow gradients."""
        return {"none": after.xp.zeros_like(after.qpos[:, 0])}

    def stage_residuals(self, after: Fields, action: Any) -> dict[str, Residual]:
        """At the goal, slow, with little torque."""
        offset = tool_position(after.xp, UR5E, after.qpos) - np.array(GOAL)
        return {
            "goal": Residual(offset, WEIGHTS["goal"]),
            "speeds": Residual(after.qvel, WEIGHTS["speeds"]),
            "control": Residual(action, WEIGHTS["control"]),
        }

    def terminal_residuals(self, after: Fields) -> dict[str, Residual]:
        """At the goal, at rest."""
        offset = tool_position(after.xp, UR5E, after.qpos) - np.array(GOAL)
        last = {"goal": Residual(offset, WEIGHTS["last goal"]), "speeds": Residual(after.qvel, WEIGHTS["last speeds"])}
        return last


def ours(path: Path, repeats: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return our result and times, and the problem in numbers."""
    dynamics = RigidBodyDynamics(Reach(xml_file=str(path)))
    plant = dynamics.body.plant
    assert plant is not None
    sim = Sim(dynamics.task, 1, num_threads=1)
    sim.reset()
    x0 = sim.state()
    hold = dynamics.body.gravity_compensation(np.array([UR5E.ready]))
    start = Plan(np.repeat(hold, KNOTS, axis=0), 0.0)
    planner = ILQR(dynamics, ILQRConfig(horizon_s=KNOTS * DT, warm_iterations=100, tolerance=1e-9))
    plan, times = planner.plan(x0, start), []
    for _ in range(repeats):
        begin = time.perf_counter()
        plan = planner.plan(x0, start)
        times.append((time.perf_counter() - begin) / plan.stats["passes"])
    problem = {name: plant.tree.links[name].tolist() for name in LINK.names or ()}
    problem |= {"gravity": plant.tree.gravity}
    problem |= {"q0": list(UR5E.ready), "hold": hold[0].tolist(), "goal": list(GOAL), "weights": WEIGHTS}
    problem |= {"knots": KNOTS, "dt": DT, "tool": UR5E.tool, "repeats": repeats, "threshold": 1e-9}
    first = sum(r.cost(np)[0] for name, r in dynamics.task.stage_residuals(sim.fields, hold).items() if name == "goal")
    stats = {
        "cost": plan.cost + float(first),
        "iterations": int(plan.stats["passes"]),
        "ms": 1e3 * float(np.median(times)),
    }
    return stats | parts(dynamics, planner, x0, start, repeats), problem


def parts(dynamics: Any, planner: ILQR, x0: Any, start: Plan, repeats: int) -> dict[str, float]:
    """Return where an iteration's time goes [ms]: the medians of its parts alone."""
    from roborl.planners.backward import backward_pass
    from roborl.planners.costs import Costs

    trial = planner._begin(x0, start)
    costs, models = Costs(dynamics), planner._model(x0, trial)
    wide = np.full_like(trial.U, np.inf)
    _, k, K = backward_pass(*models, -wide, wide, 0.0)
    calls = {
        "dynamics' derivatives": lambda: dynamics.linearize(x0, trial.X[:-1], trial.U),
        "costs' derivatives": lambda: costs.stage(x0, trial.X[1:], trial.U),
        "pass backwards": lambda: backward_pass(*models, -wide, wide, 0.0),
        "following": lambda: dynamics.follow(x0, trial.X, trial.U, k, K, np.ones(1), trial.gaps),
        "costs": lambda: costs.of(x0, trial.X[None], trial.U[None]),
    }
    result = {}
    for name, call in calls.items():
        times = []
        for _ in range(10 * repeats):
            begin = time.perf_counter()
            call()
            times.append(time.perf_counter() - begin)
        result[name] = 1e3 * float(np.median(times))
    return result


def main() -> None:
    """Measure both and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--trial", action="store_true", help="do not write the results")
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "arm.xml"
        arm(path)
        mine, problem = ours(path, options.repeats)
    worker = Path(__file__).with_name("ddp_worker.py")
    answer = subprocess.run(
        [python_of("croc"), worker], input=json.dumps(problem), capture_output=True, text=True, check=True
    )
    rows = [{"solver": "roborl iLQR", **mine}, *json.loads(answer.stdout)]
    for row in rows:
        row["times Crocoddyl's"] = round(row["ms"] / min(r["ms"] for r in rows[1:]), 2)
        print(row, flush=True)
    if not options.trial:
        columns = list(rows[0])
        write(
            "ddp", "An iteration on a 6-axis arm, 100 knots, one thread", [{c: r.get(c) for c in columns} for r in rows]
        )


if __name__ == "__main__":
    main()
