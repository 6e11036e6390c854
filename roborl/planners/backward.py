"""The compiled inner loops of iLQR: a small quadratic program with bounds, and the pass backwards in time.

They are compiled when first called, which takes half a minute, and kept on disk after that.
"""

from __future__ import annotations

import numpy as np

from roborl.dynamics.compiled import compiled, factorise, solve


@compiled
def _add_product(M: np.ndarray, v: np.ndarray, out: np.ndarray) -> None:
    """Add ``M v``."""
    for i in range(M.shape[0]):
        for j in range(M.shape[1]):
            out[i] += M[i, j] * v[j]


@compiled
def _add_transposed_product(M: np.ndarray, v: np.ndarray, out: np.ndarray) -> None:
    """Add ``M' v``."""
    for i in range(M.shape[0]):
        for j in range(M.shape[1]):
            out[j] += M[i, j] * v[i]


@compiled
def _factorise_free(H: np.ndarray, free: np.ndarray, L: np.ndarray) -> bool:
    """Factorise the rows and columns of H that are free into L; false if they are not positive definite."""
    for i in range(len(free)):
        for j in range(i + 1):
            L[i, j] = H[free[i], free[j]]
    return factorise(L, len(free))


@compiled
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
    L, step, free = np.zeros((m, m)), np.empty((m, 1)), np.arange(m)
    if _factorise_free(H, free, L):  # where no bound matters, this is all
        for i in range(m):
            step[i] = -g[i]
        solve(L, m, step)
        inside = True
        for i in range(m):
            inside = inside and low[i] < step[i, 0] < high[i]
        if inside:
            return True, step[:, 0].copy(), free, L
    x = np.minimum(np.maximum(x, low), high)
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
        if not _factorise_free(H, free, L):
            return False, x, free, L
        for i in range(count):
            step[i] = -gradient[free[i]]
        solve(L, count, step)
        slope, size = 0.0, 0.0
        for i in range(count):
            slope += gradient[free[i]] * step[i, 0]
            size = max(size, abs(x[free[i]]))
        length, value = 1.0, 0.5 * x @ (H @ x) + g @ x
        if -slope <= 1e-20 * (1.0 + abs(value)):
            return True, x, free, L
        while True:  # Armijo's rule along the projected path
            tried = x.copy()
            for i in range(count):
                tried[free[i]] = min(max(x[free[i]] + length * step[i, 0], low[free[i]]), high[free[i]])
            if 0.5 * tried @ (H @ tried) + g @ tried <= value + 1e-4 * (gradient @ (tried - x)):
                break
            length *= 0.6
            if length < 1e-12:
                return True, x, free, L
        if np.array_equal(tried, x):
            return True, x, free, L
        x = tried
    return True, x, free, L


@compiled
def backward_pass(
    A: np.ndarray,
    B: np.ndarray,
    gaps: np.ndarray,
    gradients: np.ndarray,
    hessians: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    mu: float,
) -> tuple[bool, np.ndarray, np.ndarray]:
    """Return whether every Q_uu is positive definite, the steps k (H, m), and the gains K (H, m, n).

    With z = (dx_t, du_t) and T = (A B; 0 1), so that (dx_{t+1}, du_t) = T z + (gap; 0), all of Q is T' W T.

    Args:
        A: (H, n, n) the linear models, and
        B: (H, n, m).
        gaps: (H + 1, n).
        gradients: (H, n + m) the quadratic models of the steps' costs, by the state after the step and the action.
        hessians: (H, n + m, n + m).
        low: (H, m) the least changes of the actions.
        high: (H, m) the greatest.
        mu: the regularisation.
    """
    horizon, n, m = B.shape
    k, K = np.zeros((horizon, m)), np.zeros((horizon, m, n))
    Vx, Vxx, Wx, Qx = np.zeros(n), np.zeros((n, n)), np.empty(n + m), np.empty(n + m)
    T, W, WT, Q = np.eye(n + m), np.eye(n + m), np.eye(n + m), np.eye(n + m)
    Quu, regular_uu, gains, change, guess = np.eye(m), np.eye(m), np.empty((m, n)), np.empty((m, n)), np.zeros(m)
    for t in range(horizon - 1, -1, -1):
        T[:n, :n], T[:n, n:] = A[t], B[t]
        Wx[:], W[:], Qx[:] = gradients[t], hessians[t], 0.0
        for i in range(n):
            Wx[i] += Vx[i]
            for j in range(n):
                W[i, j] += Vxx[i, j]
        _add_product(W[:, :n], gaps[t + 1], Wx)
        _add_transposed_product(T, Wx, Qx)
        np.dot(W, T, WT)
        np.dot(T.T, WT, Q)
        regular = Q if mu == 0.0 else Q + mu * np.dot(T.T, T)
        Quu[:], regular_uu[:] = Q[n:, n:], regular[n:, n:]
        sound, step, free, L = box_qp(regular_uu, Qx[n:], low[t], high[t], guess)
        if not sound:
            return False, k, K
        guess = step
        for i in range(len(free)):
            for j in range(n):
                gains[i, j] = -regular[n + free[i], j]
        solve(L, len(free), gains)
        k[t] = step
        for i in range(len(free)):
            K[t, free[i]] = gains[i]

        # V = Q where du = k + K dx: its gradient, and its second derivative (K' D + D' K) / 2 + Q_xx of D below
        np.dot(Quu, K[t], change)
        for i in range(m):
            for j in range(n):
                change[i, j] += 2.0 * Q[n + i, j]
        np.dot(K[t].T, change, Vxx)
        for i in range(n):
            for j in range(i + 1):
                Vxx[i, j] = Vxx[j, i] = Q[i, j] + 0.5 * (Vxx[i, j] + Vxx[j, i])
        Vx[:] = Qx[:n]
        _add_product(Quu, step, Qx[n:])
        _add_transposed_product(K[t], Qx[n:], Vx)
        _add_transposed_product(Q[n:, :n], step, Vx)
    return True, k, K


@compiled
def model_change(
    A: np.ndarray,
    B: np.ndarray,
    gaps: np.ndarray,
    gradients: np.ndarray,
    hessians: np.ndarray,
    k: np.ndarray,
    K: np.ndarray,
) -> tuple[float, float]:
    """Return a and b: by the models a step of length alpha changes the cost by ``alpha a + alpha^2 b / 2``.

    The linear models' answer to the steps and the gaps is linear in alpha, so the quadratic models' is quadratic.
    """
    horizon, n, m = B.shape
    z, dx, curved = np.empty(n + m), gaps[0].copy(), np.empty(n + m)
    linear, quadratic = 0.0, 0.0
    for t in range(horizon):
        z[:n], z[n:], curved[:] = gaps[t + 1], k[t], 0.0
        _add_product(K[t], dx, z[n:])
        _add_product(A[t], dx, z[:n])
        _add_product(B[t], z[n:], z[:n])
        dx[:] = z[:n]
        _add_product(hessians[t], z, curved)
        for i in range(n + m):
            linear += gradients[t, i] * z[i]
            quadratic += curved[i] * z[i]
    return linear, quadratic
