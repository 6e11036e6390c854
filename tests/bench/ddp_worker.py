"""Crocoddyl's side of ddp.py, in its environment: the problem comes as JSON, the results go as JSON."""

from __future__ import annotations

import json
import sys
import time

import crocoddyl
import numpy as np
import pinocchio as pin

REGULARIZATION = 1e-9


def arm(problem: dict) -> pin.Model:
    """Return the arm, joint by joint."""
    model = pin.Model()
    model.gravity.linear = np.array(problem["gravity"])
    for j, parent in enumerate(problem["parent"]):
        placement = pin.SE3(np.array(problem["turn"][j]), np.array(problem["offset"][j]))
        joint = model.addJoint(parent + 1, pin.JointModelRZ(), placement, str(j))
        inertia = pin.Inertia(problem["mass"][j], np.array(problem["centre"][j]), np.array(problem["inertia"][j]))
        model.appendBodyToJoint(joint, inertia, pin.SE3.Identity())
    tool = pin.SE3(np.eye(3), np.array([0.0, 0.0, problem["tool"]]))
    model.addFrame(pin.Frame("tool", joint, 0, tool, pin.FrameType.OP_FRAME))
    return model


def actions(problem: dict, model: pin.Model) -> tuple[crocoddyl.StateMultibody, list]:
    """Return the state's space, and the models of a step and of the last state."""
    state, n = crocoddyl.StateMultibody(model), model.nv
    actuation = crocoddyl.ActuationModelFull(state)
    w, dt = problem["weights"], problem["dt"]

    def total(goal: float, speeds: float, control: float, scale: float) -> crocoddyl.CostModelSum:
        costs = crocoddyl.CostModelSum(state, n)
        reach = crocoddyl.ResidualModelFrameTranslation(state, model.getFrameId("tool"), np.array(problem["goal"]), n)
        costs.addCost("goal", crocoddyl.CostModelResidual(state, reach), goal / scale)
        weighed = crocoddyl.ActivationModelWeightedQuad(np.r_[np.zeros(n), np.ones(n)])
        still = crocoddyl.ResidualModelState(state, np.zeros(2 * n), n)
        costs.addCost("speeds", crocoddyl.CostModelResidual(state, weighed, still), speeds / scale)
        if control:
            torque = crocoddyl.ResidualModelControl(state, n)
            costs.addCost("control", crocoddyl.CostModelResidual(state, torque), control / scale)
        return costs

    models = []
    for costs, step in (
        (total(w["goal"], w["speeds"], w["control"], dt), dt),
        (total(w["goal"] + w["last goal"], w["speeds"] + w["last speeds"], 0.0, 1.0), 0.0),
    ):
        free = crocoddyl.DifferentialActionModelFreeFwdDynamics(state, actuation, costs)
        models.append(crocoddyl.IntegratedActionModelEuler(free, step))
    return state, models


def main() -> None:
    """Solve with DDP and FDDP, and print the costs and times."""
    problem = json.load(sys.stdin)
    _, (running, last) = actions(problem, arm(problem))
    x0 = np.r_[problem["q0"], np.zeros(len(problem["q0"]))]
    shooting = crocoddyl.ShootingProblem(x0, [running] * problem["knots"], last)
    us = [np.array(problem["hold"])] * problem["knots"]
    xs = shooting.rollout(us)
    rows = []
    for name in ("SolverDDP", "SolverFDDP"):
        times, solver = [], None
        for _ in range(problem["repeats"] + 1):
            solver = getattr(crocoddyl, name)(shooting)
            solver.th_stop = problem["threshold"]
            begin = time.perf_counter()
            solver.solve(xs, us, 100, True, REGULARIZATION)
            times.append((time.perf_counter() - begin) / (solver.iter + 1))
        ms = 1e3 * float(np.median(times[1:]))
        rows.append(
            {
                "solver": f"Crocoddyl {crocoddyl.__version__} {name}",
                "cost": solver.cost,
                "iterations": solver.iter + 1,
                "ms": ms,
            }
        )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
