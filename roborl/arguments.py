"""Arguments of the command line that follow from configurations: an option for each field, and NAME=VALUE."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import json
import types
import typing
from typing import Any


def _assignment(text: str) -> tuple[str, Any]:
    """Parse NAME=VALUE; the value is JSON, or else a string."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


ASSIGNMENT: dict[str, Any] = {"type": _assignment, "action": "append", "default": [], "metavar": "NAME=VALUE"}
"""Keywords of an argument that is given once for each NAME=VALUE."""


def add_fields(group: Any, config_class: type, without: tuple[str, ...], shown: bool) -> None:
    """Add an option for every field of a configuration; unset ones leave no trace.

    Where the help is shown, each field's docstring is its option's help: to read them takes a tenth of a second.
    """
    hints, docs = typing.get_type_hints(config_class), field_docs(config_class) if shown else {}
    for field in dataclasses.fields(config_class):
        if field.name in without:
            continue
        flag = "--" + field.name.replace("_", "-")
        default = "" if field.default in (None, dataclasses.MISSING) else f" (default: {_show(field.default)})"
        common = {"default": argparse.SUPPRESS, "help": (docs.get(field.name, "") + default).replace("%", "%%")}
        if hints[field.name] is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, **common)
        else:
            kind, metavar = _value_type(hints[field.name])
            group.add_argument(flag, type=kind, metavar=metavar, **common)


def _value_type(hint: Any) -> tuple[Any, str]:
    """Return the function that reads a value of a field's type from the command line, and the type's name."""
    if isinstance(hint, types.UnionType):
        hint = next(arm for arm in typing.get_args(hint) if arm is not type(None))
    if typing.get_origin(hint) is tuple:
        element = typing.get_args(hint)[0]

        def values(text: str) -> tuple[Any, ...]:
            return tuple(element(part) for part in text.split(","))

        values.__name__ = f"list of {element.__name__}"
        return values, f"{element.__name__.upper()},..."
    return hint, hint.__name__.upper()


def _show(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def field_docs(config_class: type) -> dict[str, str]:
    """Return the docstring under each field of a configuration, on one line."""
    body = ast.parse(inspect.getsource(config_class)).body[0]
    assert isinstance(body, ast.ClassDef)
    docs = {}
    for statement, following in zip(body.body, body.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            doc = following.value if isinstance(following, ast.Expr) else None
            docs[statement.target.id] = " ".join(str(doc.value).split()) if isinstance(doc, ast.Constant) else ""
    return docs
