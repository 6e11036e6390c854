"""What planners that follow gradients share: dynamics with derivatives, the costs' models, and a horizon."""

from __future__ import annotations

from typing import Any

from roborl.dynamics.contract import SmoothDynamics
from roborl.errors import ConfigError
from roborl.planners.contract import Planner, horizon_steps
from roborl.planners.costs import Costs


class GradientPlanner(Planner):
    """What they have in common; each has its own `plan`.

    Args:
        dynamics: what predicts, with derivatives and a smooth cost.
        config: the settings; None: the defaults.
        seed: of the planner's own random numbers.

    Attributes:
        horizon: H, control steps in a plan.

    Raises:
        ConfigError: if the horizon is shorter than a control step, or the dynamics have no derivatives.
    """

    def __init__(self, dynamics: SmoothDynamics, config: Any = None, seed: int = 0) -> None:
        if not isinstance(dynamics, SmoothDynamics):
            raise ConfigError(
                f"{self.name} needs dynamics with derivatives (SmoothDynamics), got {type(dynamics).__name__}"
            )
        self.config = self.Config() if config is None else config
        self.dynamics: SmoothDynamics = dynamics  # pyright: ignore[reportIncompatibleVariableOverride]  never set anew
        self.horizon = horizon_steps(self.config.horizon_s, dynamics.control_dt)
        self._costs = Costs(dynamics)
        self.seed(seed)
