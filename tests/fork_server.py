"""Runs roborl commands in forked children: a process of its own for each, without the seconds that imports take.

Reads requests from stdin, a JSON object a line, and answers each with a line: {"argv", "cwd", "out", "err", "faults"}
starts a child and gives its pid; {"wait": pid} gives its exit code once it has ended, minus the signal's number where
one killed it, and null while it runs.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

SYSTEM_CALLS = ("write", "fsync", "rename", "replace", "unlink", "rmdir")


def preload() -> None:
    """Import all that commands import; none of it starts a thread."""
    import matplotlib.figure  # noqa: F401
    import tensorboard.compat.proto.event_pb2
    import tensorboard.compat.tensorflow_stub.pywrap_tensorflow  # noqa: F401
    import torch

    import roborl.algos.sac  # noqa: F401
    import roborl.cli  # noqa: F401
    import roborl.run.api  # noqa: F401
    import roborl.run.tables  # noqa: F401

    torch.set_num_threads(1)
    torch.func.grad(torch.sum)(torch.zeros(1))  # the first call imports a thousand modules more


def kill_at_call(number: int) -> None:
    """Die of SIGKILL at the number-th system call that writes."""
    calls = itertools.count()

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    for name in SYSTEM_CALLS:
        setattr(os, name, counted(getattr(os, name)))


def kill_after(cpu_s: float) -> None:
    """Die without a word, wherever the process then is, after some time of its own, which is no matter of its load."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, cpu_s)


def fail_from_call(name: str, number: int) -> None:
    """Let a system call fail as on a full disk from its number-th call on."""
    calls, real = itertools.count(), getattr(os, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        if next(calls) >= number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args, **kwargs)

    setattr(os, name, call)


def nan_in_loss(update: int) -> None:
    """Let the critic's loss be NaN in one update."""
    from roborl.algos.sac import SAC

    calls, real = itertools.count(), SAC.update

    def broken(self: Any, state: Any, batch: Any, noise: Any) -> Any:
        state, metrics = real(self, state, batch, noise)
        if next(calls) == update:
            metrics = metrics | {"critic_loss": metrics["critic_loss"] * float("nan")}
        return state, metrics

    SAC.update = broken  # pyright: ignore[reportAttributeAccessIssue]


def nan_in_weights(update: int) -> None:
    """Let the actor's first weight be NaN after one update, whose losses are finite."""
    from roborl.algos.sac import SAC

    calls, real = itertools.count(), SAC.update

    def broken(self: Any, state: Any, batch: Any, noise: Any) -> Any:
        state, metrics = real(self, state, batch, noise)
        if next(calls) == update:
            state.actor[0]["w"][0, 0] = float("nan")
        return state, metrics

    SAC.update = broken  # pyright: ignore[reportAttributeAccessIssue]


def nan_in_physics(step: int) -> None:
    """Let a simulation's speed be NaN before one step."""
    from roborl.sim import Sim

    calls, real = itertools.count(), Sim.step

    def broken(self: Any, *arguments: Any) -> Any:
        if next(calls) == step:
            self.fields.qvel[0] = np.nan
        return real(self, *arguments)

    Sim.step = broken  # pyright: ignore[reportAttributeAccessIssue]


def nan_in_reward(step: int) -> None:
    """Let a reward be NaN in one step."""
    from roborl.envs import TaskVectorEnv

    calls, real = itertools.count(), TaskVectorEnv.step

    def broken(self: Any, actions: Any) -> Any:
        obs, reward, *rest = real(self, actions)
        return obs, reward * (np.nan if next(calls) == step else 1.0), *rest

    TaskVectorEnv.step = broken  # pyright: ignore[reportAttributeAccessIssue]


def run_child(request: dict[str, Any]) -> int:
    """Run a command in this, a forked process; return its exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.chdir(request["cwd"])
    for file, path in ((0, os.devnull), (1, request["out"]), (2, request["err"])):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666), file)
    from roborl.cli import main

    try:
        for name, arguments in request["faults"].items():
            globals()[name](*arguments)
        code = main(request["argv"])
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def serve() -> None:
    """Answer requests until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C on the tests is for pytest
    preload()
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            pid, status = os.waitpid(request["wait"], os.WNOHANG)
            answer = None if pid == 0 else os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                os._exit(run_child(request))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
