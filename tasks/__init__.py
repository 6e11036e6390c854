"""What is wanted: one task a file; this list, a line each.

The list holds names alone, so that importing it costs nothing; `load` imports a task's file.
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

from roborl.errors import UnknownName, UsageError
from roborl.registry import class_from_file, named_class, short_name

if TYPE_CHECKING:
    from roborl.task import Task

TASKS = {
    "roborl/PendulumSwingup-v1": "roborl.tasks.pendulum:PendulumSwingup",
    "roborl/CartpoleBalance-v1": "roborl.tasks.cartpole:CartpoleBalance",
    "roborl/CartpoleSwingup-v1": "roborl.tasks.cartpole:CartpoleSwingup",
    "roborl/CartpoleTrack-v1": "roborl.tasks.cartpole_track:CartpoleTrack",
    "roborl/DoubleCartpoleSwingup-v1": "roborl.tasks.double_cartpole:DoubleCartpoleSwingup",
    "roborl/AcrobotSwingup-v1": "roborl.tasks.acrobot:AcrobotSwingup",
    "roborl/InvertedPendulum-v1": "roborl.tasks.inverted_pendulum:InvertedPendulum",
    "roborl/Hopper-v1": "roborl.tasks.hopper:Hopper",
    "roborl/HalfCheetah-v1": "roborl.tasks.half_cheetah:HalfCheetah",
    "roborl/InvertedDoublePendulum-v1": "roborl.tasks.inverted_double_pendulum:InvertedDoublePendulum",
    "roborl/Reacher-v1": "roborl.tasks.reacher:Reacher",
    "roborl/Swimmer-v1": "roborl.tasks.swimmer:Swimmer",
    "roborl/Walker2d-v1": "roborl.tasks.walker2d:Walker2d",
    "roborl/Ant-v1": "roborl.tasks.ant:Ant",
    "roborl/Humanoid-v1": "roborl.tasks.humanoid:Humanoid",
    "roborl/HumanoidStandup-v1": "roborl.tasks.humanoid:HumanoidStandup",
    "roborl/Pusher-v1": "roborl.tasks.pusher:Pusher",
    "roborl/Go1VelocityFlat-v1": "roborl.tasks.go1_velocity:Go1VelocityFlat",
    "roborl/Go1VelocityRough-v1": "roborl.tasks.go1_velocity:Go1VelocityRough",
    "roborl/G1VelocityFlat-v1": "roborl.tasks.g1_velocity:G1VelocityFlat",
    "roborl/ArmReach-v1": "roborl.tasks.arm_reach:ArmReach",
    "roborl/ArmPush-v1": "roborl.tasks.arm_push:ArmPush",
    "roborl/ArmPickPlace-v1": "roborl.tasks.arm_pick_place:ArmPickPlace",
}

ENTRY_POINTS = "roborl.tasks"
"""The entry-point group in which other packages list their tasks: id = module:Class."""


def names() -> list[str]:
    """Return the ids of all tasks, ours first, then those of installed packages."""
    return [*TASKS, *sorted(point.name for point in metadata.entry_points(group=ENTRY_POINTS))]


def load(name: str, **options: Any) -> Task:
    """Return a task by its id.

    Args:
        name: an id of `names` (the prefix "roborl/" and the version may be left out), or ``FILE.py:Class`` for a task
            in a file of the user's own.
        options: the task's options.

    Raises:
        UnknownName: if there is no such task, or no such option.
        UsageError: if the file or the class in it cannot be loaded.
    """
    found = _task_class(name)
    try:
        task = found()
    except TypeError as error:  # an abstract method that is missing, or an option without a default
        raise UsageError(f"the task {name} cannot be made: {error}") from error
    return task.with_options(**options)


def _task_class(name: str) -> type[Task]:
    if ".py:" in name:
        from roborl.task import Task

        return class_from_file("task", name, Task)
    if name.endswith(".py"):
        raise UsageError(f"name the class of the task, too: {name}:CLASS")
    for point in metadata.entry_points(group=ENTRY_POINTS):
        if point.name == name:
            return point.load()
    short = {short_name(task_id): task_id for task_id in TASKS}
    task_id = short.get(short_name(name), name)
    if task_id not in TASKS:
        raise UnknownName("task", name, names())
    return named_class("task", task_id, TASKS)
