"""What compiled inner loops share: how they are compiled, and the solution of small positive definite systems.

Numba counts references where an array is taken out of a tuple, at a price of several floating-point operations each
time: the loops take few arrays, of records where there is much to say, and name them before they begin.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

Records = Any
"""An array of records, whose fields are attributes in compiled functions."""

compiled = numba.njit(cache=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})
"""Compiles a function when it is first called and keeps it on disk; NaN and infinity are numbers to it."""


@compiled
def factorise(M: np.ndarray, n: int) -> bool:
    """Replace the lower half of the first n rows of M by its Cholesky factor; false if not positive definite."""
    for i in range(n):
        scale = M[i, i]
        for j in range(i + 1):
            total = M[i, j]
            for k in range(j):
                total -= M[i, k] * M[j, k]
            if j < i:
                M[i, j] = total / M[j, j]
            elif total > 1e-14 * abs(scale):  # false for NaN
                M[i, i] = np.sqrt(total)
            else:
                return False
    return True


@compiled
def solve(L: np.ndarray, n: int, b: np.ndarray) -> None:
    """Replace the first n rows of b (..., columns) by the solution of ``L L' x = b``."""
    columns = b.shape[1]
    for i in range(n):
        for k in range(i):
            factor = L[i, k]
            for c in range(columns):
                b[i, c] -= factor * b[k, c]
        factor = 1.0 / L[i, i]
        for c in range(columns):
            b[i, c] *= factor
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            factor = L[k, i]
            for c in range(columns):
                b[i, c] -= factor * b[k, c]
        factor = 1.0 / L[i, i]
        for c in range(columns):
            b[i, c] *= factor
