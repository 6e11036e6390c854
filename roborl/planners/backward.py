"""The compiled inner loops of iLQR: a small quadratic program with bounds, and the pass backwards in time.

They are compiled when first called, which takes half a minute, and kept on disk after that.
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True)
def _cholesky(H: np.ndarray, free: np.ndarray, L: np.ndarray) -> bool:
    """Factorise the rows and columns of H that are free into L; false if they are not positive definite."""
    n = len(free)
    for i in range(n):
        for j in range(i + 1):
            total = H[free[i], free[j]]
            for k in range(j):
                total -= L[i, k] * L[j, k]
            if i == j:
                if not total > 1e-14 * abs(H[free[i], free[i]]):
                    return False
                L[i, i] = np.sqrt(total)
            else:
                L[i, j] = total / L[j, j]
    return True


@numba.njit(cache=True)
def _solve(L: np.ndarray, n: int, b: np.ndarray) -> None:
    """Replace the first n entries of b by the solution of ``L L' x = b``."""
    for i in range(n):
        for k in range(i):
            b[i] -= L[i, k] * b[k]
        b[i] /= L[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            b[i] -= L[k, i] * b[k]
        b[i] /= L[i, i]


@numba.njit(cache=True)
def box_qp(
    H: np.ndarray, g: np.ndarray, low: np.ndarray, high: np.ndarray, x: np.ndarray
) -> tuple[bool, np.ndarray, np.ndarray, np.ndarray]:
    """Minimise ``x' H x / 2 + g' x`` within bounds by projected Newton (Tassa et al. 2014, algorithm 1).

    Args:
        H: (m, m).
        g: (m,).
        low: (m,) bounds, perhaps infinite.
        high: (m,).
        x: (m,) where to begin.

    Returns:
        Whether H is positive definite where x is free, x (m,), which entries are free, and their Cholesky factor.
    """
    m = len(g)
    x = np.minimum(np.maximum(x, low), high)
    L, step = np.zeros((m, m)), np.zeros(m)
    free = np.arange(m)
    for _ in range(100):
        gradient = H @ x + g
        count = 0
        free = np.empty(m, np.int64)
        for i in range(m):
            if not ((x[i] <= low[i] and gradient[i] > 0.0) or (x[i] >= high[i] and gradient[i] < 0.0)):
                free[count] = i
                count += 1
        free = free[:count]
        if count == 0:
            return True, x, free, L
        if not _cholesky(H, free, L):
            return False, x, free, L
        for i in range(count):
            step[i] = -gradient[free[i]]
        _solve(L, count, step)
        slope, size = 0.0, 0.0
        for i in range(count):
            slope += gradient[free[i]] * step[i]
            size = max(size, abs(x[free[i]]))
        length, value = 1.0, 0.5 * x @ (H @ x) + g @ x
        if -slope <= 1e-20 * (1.0 + abs(value)):
            return True, x, free, L
        while True:  # Armijo's rule along the projected path
            tried = x.copy()
            for i in range(count):
                tried[free[i]] = min(max(x[free[i]] + length * step[i], low[free[i]]), high[free[i]])
            if 0.5 * tried @ (H @ tried) + g @ tried <= value + 1e-4 * (gradient @ (tried - x)):
                break
            length *= 0.6
            if length < 1e-12:
                return True, x, free, L
        if np.array_equal(tried, x):
            return True, x, free, L
        x = tried
    return True, x, free, L


@numba.njit(cache=True)
def backward_pass(
    A: np.ndarray,
    B: np.ndarray,
    gaps: np.ndarray,
    lx: np.ndarray,
    lu: np.ndarray,
    lxx: np.ndarray,
    lux: np.ndarray,
    luu: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    mu: float,
) -> tuple[bool, np.ndarray, np.ndarray]:
    """Return whether every Q_uu is positive definite, the steps k (H, m), and the gains K (H, m, n).

    Args:
        A: (H, n, n), B: (H, n, m) the linear models.
        B: see A.
        gaps: (H + 1, n).
        lx: (H, n), lu: (H, m), lxx: (H, n, n), lux: (H, m, n), luu: (H, m, m) the quadratic models of the steps' costs.
        lu: see lx.
        lxx: see lx.
        lux: see lx.
        luu: see lx.
        low: (H, m) the least changes of the actions.
        high: (H, m) the greatest.
        mu: the regularisation.
    """
    horizon, n, m = B.shape
    k, K = np.zeros((horizon, m)), np.zeros((horizon, m, n))
    Vx, Vxx = np.zeros(n), np.zeros((n, n))
    guess, column = np.zeros(m), np.zeros(m)
    for t in range(horizon - 1, -1, -1):
        Wxx = lxx[t] + Vxx
        Wx = lx[t] + Vx + Wxx @ gaps[t + 1]
        At, Bt = A[t].T.copy(), B[t].T.copy()
        WA, WB = Wxx @ A[t], Wxx @ B[t]
        Qx, Qu = At @ Wx, Bt @ Wx + lu[t] + lux[t] @ gaps[t + 1]
        Qxx = At @ WA
        Qux = Bt @ WA + lux[t] @ A[t]
        cross = lux[t] @ B[t]
        Quu = Bt @ WB + luu[t] + cross + cross.T
        regular = Quu + mu * (np.eye(m) + Bt @ B[t])
        regular_ux = Qux + mu * (Bt @ A[t])
        sound, k[t], free, L = box_qp(regular, Qu, low[t], high[t], guess)
        if not sound:
            return False, k, K
        for j in range(n):
            for i in range(len(free)):
                column[i] = -regular_ux[free[i], j]
            _solve(L, len(free), column)
            for i in range(len(free)):
                K[t, free[i], j] = column[i]
        Kt = K[t].T.copy()
        Vx = Qx + Kt @ (Quu @ k[t] + Qu) + Qux.T @ k[t]
        Vxx = Qxx + Kt @ (Quu @ K[t] + Qux) + Qux.T @ K[t]
        Vxx = 0.5 * (Vxx + Vxx.T)
        guess = k[t].copy()
    return True, k, K


@numba.njit(cache=True)
def model_change(
    A: np.ndarray,
    B: np.ndarray,
    gaps: np.ndarray,
    lx: np.ndarray,
    lu: np.ndarray,
    lxx: np.ndarray,
    lux: np.ndarray,
    luu: np.ndarray,
    k: np.ndarray,
    K: np.ndarray,
) -> tuple[float, float]:
    """Return a and b: by the models a step of length alpha changes the cost by ``alpha a + alpha^2 b / 2``.

    The linear models' answer to the steps and the gaps is linear in alpha, so the quadratic models' is quadratic.
    """
    dx = gaps[0].copy()
    linear, quadratic = 0.0, 0.0
    for t in range(len(k)):
        du = k[t] + K[t] @ dx
        dx = A[t] @ dx + B[t] @ du + gaps[t + 1]
        linear += lx[t] @ dx + lu[t] @ du
        quadratic += dx @ (lxx[t] @ dx) + du @ (luu[t] @ du) + 2.0 * (du @ (lux[t] @ dx))
    return linear, quadratic
