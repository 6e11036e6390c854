"""What predicts (x, u) -> x': the simulator, the rigid-body model, linear systems, a user's own; one a file.

Those that predict any task are listed by name; a module is imported when its dynamics are asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from roborl.errors import ConfigError
from roborl.registry import class_from_file, named_class

if TYPE_CHECKING:
    from roborl.dynamics.contract import Dynamics
    from roborl.task.contract import Task

DYNAMICS: dict[str, str] = {
    "mujoco": "roborl.dynamics.mujoco:MujocoDynamics",
    "rigid": "roborl.dynamics.rigid_body:RigidBodyDynamics",
}


def make_dynamics(name: str, task: Task, num_threads: int = 0, substeps: int | None = None) -> Dynamics:
    """Return what predicts a task.

    Args:
        name: one of `DYNAMICS`, or FILE.py:Class of the user's own, made from a task and ``num_threads``.
        task: the task.
        num_threads: threads that predict, where they are of use; 0: one for each processor.
        substeps: time steps in a control step of the rigid-body model; None: as many as the simulator takes.

    Raises:
        UnknownName: if there are no such dynamics.
        UsageError: if the file or the class in it cannot be loaded.
        ConfigError: if they cannot predict this task, or their time step is not theirs to choose.
    """
    cls = _dynamics_class(name)
    if substeps is None:
        return cls(task, num_threads=num_threads)
    if name != "rigid":
        raise ConfigError(f"substeps are of the rigid-body model alone: {name} dynamics take the simulator's own")
    return cls(task, num_threads=num_threads, substeps=substeps)


def _dynamics_class(name: str) -> Callable[..., Dynamics]:
    if ".py:" in name:
        from roborl.dynamics.contract import Dynamics

        return class_from_file("dynamics", name, Dynamics)
    return named_class("dynamics", name, DYNAMICS)
