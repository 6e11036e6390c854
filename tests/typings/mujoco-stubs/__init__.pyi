"""mujoco's names come from compiled modules without type information: pyright takes each for Any."""

from typing import Any

def __getattr__(name: str) -> Any: ...
