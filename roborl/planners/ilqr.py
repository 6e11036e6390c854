r"""iLQR with limits of the action, from trajectories that need not be possible yet.

The cost is half a sum of squared residuals, of each step and of the last state. Each iteration takes quadratic models
of the costs (Gauss-Newton) and linear ones of the dynamics about a trajectory (X, U), with gaps where the dynamics do
not lead from one of its points to the next,

    dx_{t+1} = A_t dx_t + B_t du_t + gap_{t+1},    gap_{t+1} = f(x_t, u_t) - x_{t+1},    gap_0 = x0 - X_0,

finds the step and the gains of each moment backwards,

    Q_u = B' W_x + l_u,  Q_uu = B' W_xx B + l_uu,  Q_ux = B' W_xx A,    with  W = l(x_{t+1}, u_t) + V(x_{t+1}),
    du_t = k_t + K_t dx_t,    k_t = argmin k' Q_uu k / 2 + k' Q_u  within the bounds,

and follows them forwards with the true dynamics, for steps alpha k of several lengths.

Sources: Li and Todorov, "Iterative Linear Quadratic Regulator Design", ICINCO 2004; Tassa, Erez, Todorov, "Synthesis
and Stabilization of Complex Behaviors through Online Trajectory Optimization", IROS 2012 (regularisation, line search);
Tassa, Mansard, Todorov, "Control-Limited Differential Dynamic Programming", ICRA 2014 (bounds, by projected Newton:
what is at a bound has no gain); Mastalli et al., "Crocoddyl", ICRA 2020 (FDDP: gaps, closed by 1 - alpha in a step of
length alpha). Departures: changes of the action and of the state are regularised alike, by mu; it grows after a step
that had to be shortened, too; where there are gaps, a step is judged by the cost plus a penalty of the gaps' size that
makes it a descent (Nocedal and Wright, "Numerical Optimization", eq. 18.36).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np

from roborl.errors import NonFinite, check_count, check_range
from roborl.planners.backward import backward_pass, model_change
from roborl.planners.contract import Plan
from roborl.planners.gradient import GradientPlanner
from roborl.sim import SimState

_REGULARIZATION_FACTOR = 2.0
"""Of Tassa et al. 2012, eq. 25: changes of mu grow by it as long as they go on."""

_GAP_SHARE = 0.5
"""rho of Nocedal and Wright, eq. 18.36: the part of the gaps' penalty that a step may spend on the cost."""

_HUGE = 1e10
"""A trajectory that goes beyond this diverges, as in MuJoCo."""


@dataclass(frozen=True)
class ILQRConfig:
    """Settings of iLQR."""

    horizon_s: float = 1.0
    """Seconds that a plan looks ahead."""

    iterations: int = 100
    """The most iterations of a plan that begins anew."""

    warm_iterations: int = 1
    """The most iterations of a plan that goes on from another."""

    start_noise: float = 0.0
    """Standard deviation of the actions that a plan begins with, in halves of their range: where doing nothing is a
    stationary point, as below a pole that hangs, something must move it."""

    start_hold_s: float = 0.1
    """Seconds for which each of those actions is held."""

    growth_s: float = 0.0
    """A plan that begins anew is made for so many seconds first, then for as many more, and so on, each time from the
    one before and, where that ends, from standing still; 0: for the whole horizon at once, from what the actions lead
    to. Whatever a pole does when nobody holds it, an optimum is near: one in which it swings to and fro at length."""

    step_lengths: int = 10
    """Lengths alpha = 1, 1/2, 1/4, ... that a line search tries: first 1 alone, then all others at once."""

    acceptance: float = 0.1
    """A step is taken if the cost falls by more than this part of what the quadratic models promise."""

    tolerance: float = 1e-7
    """Converged: the models promise less than this part of the cost, and the gaps are no larger than it."""

    start_regularization: float = 0.0
    """mu of the first iteration, in the cost's unit over those of actions and states, squared."""

    min_regularization: float = 0.01
    """Below this mu is 0."""

    max_regularization: float = 1e10
    """Beyond this an iteration has failed, and the plan so far is returned with ``converged`` 0."""

    def __post_init__(self) -> None:
        check_range("horizon_s", self.horizon_s, 0.0, open_low=True)
        check_count("iterations", self.iterations, 1)
        check_count("warm_iterations", self.warm_iterations, 1)
        check_count("step_lengths", self.step_lengths, 1)
        check_range("acceptance", self.acceptance, 0.0, 1.0, open_low=True, open_high=True)
        check_range("tolerance", self.tolerance, 0.0)
        check_range("start_noise", self.start_noise, 0.0)
        check_range("start_hold_s", self.start_hold_s, 0.0)
        check_range("growth_s", self.growth_s, 0.0)
        check_range("start_regularization", self.start_regularization, 0.0)
        check_range("min_regularization", self.min_regularization, 0.0, open_low=True)
        check_range("max_regularization", self.max_regularization, self.min_regularization)


class _Models(NamedTuple):
    """The models of one trajectory, as the compiled functions take them."""

    A: np.ndarray
    B: np.ndarray
    gaps: np.ndarray
    gradients: np.ndarray
    hessians: np.ndarray


class _Trial(NamedTuple):
    """A trajectory, what it costs, its gaps (H + 1, ndx), and the length of the step that led to it."""

    X: np.ndarray
    U: np.ndarray
    cost: float
    gaps: np.ndarray
    length: float = 1.0

    @property
    def gap(self) -> float:
        """The gaps' size: the sum of their absolute values."""
        return float(np.abs(self.gaps).sum())


def _left_regularization(plan: Plan, config: ILQRConfig) -> float:
    """Return the regularisation to go on from a plan with: more, if that took no step, as else none would be again."""
    mu = plan.stats.get("regularization", 0.0)
    stuck = plan.stats.get("iterations") == 0.0 and plan.stats.get("converged") == 0.0
    return mu if stuck and mu <= config.max_regularization else config.start_regularization


class ILQR(GradientPlanner):
    """Plans by iLQR with any dynamics that have derivatives.

    A warm start with points is gone on from as it is, gaps and all; without, its actions are followed first.

    The seed is that of the actions that a plan begins with.
    """

    name: ClassVar = "ilqr"
    Config: ClassVar = ILQRConfig

    def plan(self, x0: SimState, warm_start: Plan | None = None) -> Plan:
        """Return a plan from a state; see `Planner.plan`.

        Its stats are the iterations whose step was taken; all iterations ("passes"); whether it converged (1 or 0);
        the size of the gaps that are left (sum of absolute values); what the models promise of another step; and the
        regularisation.

        Raises:
            NonFinite: if the trajectory to begin with, or a derivative, is not finite.
        """
        steps_before = self.dynamics.steps
        if warm_start is None:
            plan = self._begun_anew(x0)
        else:
            mu = _left_regularization(warm_start, self.config)
            plan = self._improved(x0, self._begin(x0, warm_start), self.config.warm_iterations, mu)
        plan.stats["steps"] = float(self.dynamics.steps - steps_before)
        return plan

    def _begun_anew(self, x0: SimState) -> Plan:
        """Return a plan that begins with drawn actions; where its horizon grows, iterations are shared out evenly."""
        U, X, left, taken = self._drawn_actions(), self.dynamics.coordinates(x0), self.config.iterations, 0.0
        mu = self.config.start_regularization
        if self.config.growth_s == 0.0:
            return self._improved(x0, self._begin(x0, Plan(U, 0.0)), left, mu)
        growth = max(round(self.config.growth_s / self.dynamics.control_dt), 1)
        lengths = range(growth, self.horizon, growth)

        def improved(length: int, iterations: int) -> Plan:
            standing = np.repeat(X[-1:], length + 1 - len(X), axis=0)
            trial = self._begin(x0, Plan(U[:length], 0.0, X=np.concatenate((X, standing))))
            return self._improved(x0, trial, max(iterations, 1), mu)

        for i, length in enumerate(lengths):
            plan = improved(length, left // (len(lengths) + 1 - i))
            assert plan.X is not None
            U, X = np.concatenate((plan.U, U[length:])), plan.X
            left, taken = left - int(plan.stats["passes"]), taken + plan.stats["iterations"]
        plan = improved(self.horizon, left)
        passes = self.config.iterations - left + plan.stats["passes"]
        return replace(plan, stats=plan.stats | {"iterations": taken + plan.stats["iterations"], "passes": passes})

    def _improved(self, x0: SimState, trial: _Trial, iterations: int, mu: float) -> Plan:
        """Return the plan that so many iterations at most lead to, the first one regularised by mu."""
        config, change = self.config, 1.0
        k, K = np.zeros_like(trial.U), np.zeros((*trial.U.shape, self.dynamics.space.ndx))
        penalty, taken, converged, promised = 0.0, 0, False, np.inf
        models: _Models | None = None
        passes = 0
        while passes < iterations:
            passes += 1
            if models is None:
                models = self._model(x0, trial)
            bounds = (self.dynamics.action_low - trial.U, self.dynamics.action_high - trial.U)
            sound, steps, gains = backward_pass(*models, *bounds, mu)
            following = None
            if sound:
                k, K = steps, gains
                a, b = model_change(*models, k, K)
                if trial.gap > 0.0:
                    penalty = max(penalty, (a + 0.5 * max(b, 0.0)) / ((1.0 - _GAP_SHARE) * trial.gap))
                a -= penalty * trial.gap
                promised = -(a + 0.5 * b)
                small = config.tolerance * (abs(trial.cost) + config.tolerance)
                if promised <= small and trial.gap <= config.tolerance and mu <= config.min_regularization:
                    converged = True
                    break
                following = self._search(x0, trial, k, K, (a, b, penalty))
            if following is None:  # more regularisation, from the same models
                mu, change = self._raised(mu, change)
                if mu > config.max_regularization:
                    break
            else:
                trial, taken, models = following, taken + 1, None
                if following.length == 1.0:
                    change = min(1.0 / _REGULARIZATION_FACTOR, change / _REGULARIZATION_FACTOR)
                    mu = mu * change if mu * change > config.min_regularization else 0.0
                else:  # the models did not hold so far: trust them less
                    mu, change = self._raised(mu, change)
        if taken == 0 and trial.gap > 0.0:
            trial = self._closed(x0, trial, K)
        stats = {
            "iterations": float(taken),
            "converged": float(converged),
            "gap": trial.gap,
            "promised": float(promised),
            "regularization": mu,
            "passes": float(passes),
        }
        return Plan(trial.U, trial.cost, stats, trial.X, K)

    def _closed(self, x0: SimState, trial: _Trial, K: np.ndarray) -> _Trial:
        """Return what following a trajectory with gains leads to: no gaps, if no step closes them; itself, if none."""
        k, whole = np.zeros_like(trial.U), np.ones(1)
        X, U = self.dynamics.follow(x0, trial.X, trial.U, k, K, whole, trial.gaps)
        cost = float(self._costs.of(x0, X, U)[0])
        return _Trial(X[0], U[0], cost, np.zeros_like(trial.gaps)) if np.isfinite(cost) else trial

    def _raised(self, mu: float, change: float) -> tuple[float, float]:
        """Return more regularisation, and by how much it grew."""
        change = max(_REGULARIZATION_FACTOR, change * _REGULARIZATION_FACTOR)
        return max(mu * change, self.config.min_regularization), change

    def _begin(self, x0: SimState, plan: Plan) -> _Trial:
        """Return the trajectory to begin with: a plan's points, or without any what its actions lead to."""
        dynamics = self.dynamics
        space, start = dynamics.space, dynamics.coordinates(x0)[0]
        U = np.clip(plan.U, dynamics.action_low, dynamics.action_high)
        if plan.X is not None:
            X = plan.X
            reached = np.concatenate((start[None], dynamics.predict(x0, X[:-1], U)))
            gaps = space.difference(X, reached)
        else:
            X, gaps = np.tile(start, (len(U) + 1, 1)), np.zeros((len(U) + 1, space.ndx))
            still, no_gains = np.zeros_like(U), np.zeros((*U.shape, space.ndx))
            X = dynamics.follow(x0, X, U, still, no_gains, np.ones(1), gaps)[0][0]
        cost = float(self._costs.of(x0, X[None], U[None])[0])
        if not (np.abs(X).max() < _HUGE and np.isfinite(gaps).all()):
            raise NonFinite("the trajectory that ilqr begins with diverges")
        if not np.isfinite(cost):
            raise NonFinite("the cost of the trajectory that ilqr begins with is not finite")
        return _Trial(X, U, cost, gaps)

    def _drawn_actions(self) -> np.ndarray:
        """Return actions (H, na) to begin with, drawn and held."""
        low, high = self.dynamics.action_low, self.dynamics.action_high
        spread = self.config.start_noise * 0.5 * np.where(np.isfinite(high - low), high - low, 2.0)
        held = max(round(self.config.start_hold_s / self.dynamics.control_dt), 1)
        drawn = self._rng.standard_normal((-(-self.horizon // held), len(low)))
        return spread * np.repeat(drawn, held, axis=0)[: self.horizon]

    def _model(self, x0: SimState, trial: _Trial) -> _Models:
        """Return the models about a trajectory."""
        dynamics, (X, U) = self.dynamics, trial[:2]
        A, B = dynamics.linearize(x0, X[:-1], U)
        gradients, hessians = self._costs.stage(x0, X[1:], U)
        gradient, hessian = self._costs.terminal(x0, X[-1])
        n = len(gradient)
        gradients[-1, :n] += gradient
        hessians[-1, :n, :n] += hessian
        models = _Models(*(np.ascontiguousarray(part) for part in (A, B, trial.gaps, gradients, hessians)))
        for name, part in zip(_Models._fields, models, strict=True):
            if not np.isfinite(part).all():
                raise NonFinite(f"a derivative ({name}) along ilqr's trajectory is not finite")
        return models

    def _search(
        self, x0: SimState, trial: _Trial, k: np.ndarray, K: np.ndarray, model: tuple[float, float, float]
    ) -> _Trial | None:
        """Return the best trajectory whose cost has fallen as it should; None: there is none.

        Args:
            x0: the state.
            trial: the trajectory to improve on.
            k: the steps.
            K: the gains.
            model: a and b of `model_change`, with the gaps' penalty in a, and the penalty.
        """
        a, b, penalty = model
        lengths = 0.5 ** np.arange(self.config.step_lengths)
        for some in (lengths[:1], lengths[1:]):  # most iterations take the whole step, and need no other
            if not len(some):
                break
            X, U = self.dynamics.follow(x0, trial.X, trial.U, k, K, some, trial.gaps)
            costs = self._costs.of(x0, X, U)
            improved = trial.cost - costs + penalty * some * trial.gap
            promised = -(some * a + 0.5 * some**2 * b)
            good = (promised > 0.0) & (improved >= self.config.acceptance * promised)
            if good.any():
                best = int(np.argmax(np.where(good, improved, -np.inf)))
                return _Trial(X[best], U[best], float(costs[best]), (1.0 - some[best]) * trial.gaps, float(some[best]))
        return None
