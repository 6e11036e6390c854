"""Array code compiled by tracing: what a function does to rows, recorded once and run for many rows at a time."""

from __future__ import annotations

from roborl.tracing.arrays import NotTraceable
from roborl.tracing.program import Program, trace

__all__ = ["NotTraceable", "Program", "trace"]
