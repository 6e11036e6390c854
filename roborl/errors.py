"""The errors that roborl raises on purpose: each says what was got, what is allowed, and the valid names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, ClassVar


class RoborlError(Exception):
    """Base of all errors a person can act on; the command line prints it in one line, without a trace."""

    exit_code: ClassVar[int] = 1


class UsageError(RoborlError):
    """What was asked for is wrong: nothing was started, nothing was written."""

    exit_code: ClassVar[int] = 2


class ConfigError(UsageError):
    """A field of a configuration is outside what is allowed."""


class CorruptFile(UsageError):
    """A file is truncated, altered, or not what it is said to be."""


class UnknownName(UsageError):
    """A name that is not in a list of valid ones; names the nearest.

    Args:
        kind: what is being named, as "task" or "learner".
        got: the name given.
        valid: the names that exist.
    """

    def __init__(self, kind: str, got: str, valid: Iterable[str]) -> None:
        self.kind, self.got, self.valid = kind, got, sorted(valid)
        near = difflib.get_close_matches(str(got).lower(), [v.lower() for v in self.valid], n=1, cutoff=0.4)
        nearest = next((v for v in self.valid if near and v.lower() == near[0]), None)
        hint = f"; did you mean {nearest!r}?" if nearest else ""
        super().__init__(f"unknown {kind} {got!r}{hint} (valid: {', '.join(self.valid)})")


class RunError(RoborlError):
    """Something broke while running; what had been saved before is intact."""


class NonFinite(RunError):
    """NaN or infinity in a loss, an observation or a simulation."""


def check_in(field: str, got: Any, valid: Iterable[Any]) -> None:
    """Raise ConfigError unless ``got`` is one of ``valid``."""
    valid = tuple(valid)
    if got not in valid:
        raise ConfigError(f"{field} must be one of {', '.join(map(repr, valid))}, got {got!r}")


def check_count(field: str, got: Any, low: int) -> None:
    """Raise ConfigError unless ``got`` is a whole number of at least ``low``."""
    if not isinstance(got, int) or isinstance(got, bool) or got < low:
        raise ConfigError(f"{field} must be a whole number of at least {low}, got {got!r}")


def check_range(
    field: str,
    got: float,
    low: float = float("-inf"),
    high: float = float("inf"),
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Raise ConfigError unless ``low <= got <= high`` (strict on the sides that are open).

    NaN is outside every range.
    """
    is_number = isinstance(got, (int, float)) and not isinstance(got, bool)
    above = is_number and (got > low if open_low else got >= low)
    below = is_number and (got < high if open_high else got <= high)
    if not (above and below):
        interval = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
        raise ConfigError(f"{field} must be a number in {interval}, got {got!r}")
