from __future__ import annotations

import roborl  # noqa: F401  before any test imports mujoco, which chooses how it renders when it is first imported
