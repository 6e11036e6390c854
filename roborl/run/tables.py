"""Tables for people: a task's observations, actions, reward and rates, from the code that defines them."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

import numpy as np

from roborl import models, tasks
from roborl.sim import Sim
from roborl.task.contract import Task
from roborl.task.randomization import Randomization


def list_tasks() -> list[dict[str, Any]]:
    """Return every task's id and what it is, in a line."""
    rows = []
    for name in tasks.names():
        task = tasks.load(name)
        rows.append(
            {
                "task": name,
                "robot": task.robot,
                "episode_steps": task.episode_steps,
                "control_dt": task.control_dt,
                "summary": _first_line(task),
            }
        )
    return rows


def describe_task(task: Task) -> dict[str, Any]:
    """Return everything there is to know of a task, as JSON."""
    sim = Sim(task, 1, num_threads=1)
    sim.reset()
    result = sim.step(np.zeros((1, len(sim.action_names))))
    return sim.describe() | {
        "summary": inspect.getdoc(task) or "",
        "model": str(models.path_of(task.model_source)),
        "licence": models.licence(task.model_source),
        "options": own_options(task),
        "randomization": {
            name: value for name, value in vars(task.randomization).items() if value != getattr(Randomization(), name)
        },
        "levels": task.levels,
        "reward_terms": sorted(result.terms),
        "reward_weights": dict(getattr(task, "weights", {})),
        "terminates": type(task).terminated is not Task.terminated,
        "has_success": type(task).success is not Task.success,
        "parameters": {
            name: {"kind": type(p).__name__, "unit": p.unit, "nominal": p.nominal(sim.model).tolist()}
            for name, p in task.parameters().items()
        },
    }


def own_options(task: Task) -> dict[str, Any]:
    """Return the options that not every task has, and their values."""
    return {name: value for name, value in task.options().items() if name not in vars(task.randomization)}


def render_task(description: dict[str, Any]) -> str:
    """Return a task's description as text, table by table."""
    d = description
    lines = [f"{d['task']}: {d['summary']}", ""]
    lines += [
        f"robot {d['robot']} ({d['model']}; {d['licence']})",
        f"control every {d['control_dt']:g} s ({1.0 / d['control_dt']:g} Hz), physics every {d['timestep']:g} s, "
        f"episodes of {d['episode_steps']} steps, {'may end before' if d['terminates'] else 'none ends before'}",
        f"reward = {' + '.join(_weighted(name, d['reward_weights']) for name in d['reward_terms'])}",
    ]
    for name, p in d["parameters"].items():
        nominal = _shortened([f"{value:g}" for value in p["nominal"]])
        lines.append(f"drawn for each episode: {name} (nominal {nominal} {p['unit']})")
    if d["levels"]:
        lines.append(f"levels of difficulty: {d['levels']}")
    lines.append("options: " + ", ".join(f"{name}={value}" for name, value in d["options"].items()))
    lines.append(f"options of every task: {', '.join(option.name for option in fields(Randomization))}")
    if d["randomization"]:
        lines.append("of which are set: " + ", ".join(f"{name}={value}" for name, value in d["randomization"].items()))
    for group, terms in d["observations"].items():
        rows = [
            [
                f"{t['start']}:{t['stop']}",
                t["name"],
                _shortened(t["entries"]),
                t["unit"],
                t["frame"],
                f"{t['noise']:.3g}" if t["noise"] else "",
                f"{t['bias']:.3g}" if t["bias"] else "",
                str(t["delay"] or ""),
                str(t["history"]) if t["history"] > 1 else "",
                "yes" if t["on_hardware"] else "no",
            ]
            for t in terms
        ]
        header = ["slice", "term", "entries", "unit", "frame", "noise", "bias", "delay", "history", "on hardware"]
        lines += ["", f"observation group {group!r}", *table(header, rows)]
    rows = [[a["name"], f"{a['low']:g}", f"{a['high']:g}", a["unit"]] for a in d["actions"]]
    lines += ["", "actions", *table(["name", "low", "high", "unit"], rows)]
    return "\n".join(lines)


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Return a table's lines, columns aligned; empty columns are left out."""
    kept = [c for c in range(len(header)) if any(row[c] for row in rows)]
    grid = [[header[c] for c in kept], *([row[c] for c in kept] for row in rows)]
    widths = [max(len(row[i]) for row in grid) for i in range(len(kept))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in grid]


def _weighted(name: str, weights: dict[str, float]) -> str:
    """Return a reward term's name with its weight, where the task has a table of weights."""
    return f"{name} ({weights[name]:g})" if name in weights else name


def _shortened(entries: list[str]) -> str:
    """Return a list in a cell's width: of many entries the first two and the last."""
    if len(entries) <= 10:
        return ", ".join(entries)
    return f"{entries[0]}, {entries[1]}, ..., {entries[-1]} ({len(entries)})"


def _first_line(task: Task) -> str:
    return (inspect.getdoc(task) or "").partition("\n")[0]
