"""The natural gradient of a policy without its Fisher matrix: products with it, and conjugate gradients.

The Fisher matrix measures how far a change of the parameters moves what the policy does: to second order the divergence
from the old policy is ``d^T F d / 2``. It has as many rows as there are parameters, and is never formed: what solves
``F x = g`` needs its products with vectors alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: Conjugate gradients end where the squared residual is this small, relative to the right-hand side's.
RESIDUAL = 1e-10

Product = Callable[[Tensor], Tensor]
"""(n,) -> (n,): a symmetric, positive definite matrix times a vector."""


def fisher_product(divergence: Callable[[Tensor], Tensor], theta: Tensor, vector: Tensor, damping: float) -> Tensor:
    """Return ``(F + damping I) v``, F the second derivatives of a divergence at its minimum.

    The mean divergence from a policy to one with other parameters is least, and its Hessian the Fisher matrix, where
    they are the same (Schulman et al. 2015, "Trust region policy optimization", https://arxiv.org/abs/1502.05477,
    appendix C). A symmetric matrix's product is the gradient of the gradient's product with the vector.

    Args:
        divergence: parameters (n,) -> the mean divergence from the policy with the parameters ``theta`` [nat], ().
        theta: (n,).
        vector: (n,).
        damping: added to the diagonal: what the policy hardly depends on moves little.

    Returns:
        (n,).
    """
    assert theta.shape == vector.shape and theta.dim() == 1, (theta.shape, vector.shape)
    slope = torch.func.grad(divergence)
    return torch.func.grad(lambda x: slope(x).dot(vector))(theta) + damping * vector


def conjugate_gradients(product: Product, b: Tensor, steps: int) -> Tensor:
    """Return an approximate solution of ``A x = b`` (Hestenes and Stiefel 1952; Shewchuk 1994, section B2).

    In exact arithmetic it is exact after as many steps as A has different eigenvalues.

    Args:
        product: x -> A x, with A symmetric and positive definite.
        b: (n,).
        steps: the most products to make.

    Returns:
        (n,).
    """
    x, residual, direction = torch.zeros_like(b), b, b
    square = limit = residual.dot(residual)
    for _ in range(steps):
        if square <= RESIDUAL * limit:
            break
        image = product(direction)
        length = square / direction.dot(image)
        x, residual = x + length * direction, residual - length * image
        square, before = residual.dot(residual), square
        direction = residual + (square / before) * direction
    return x


def natural_step(product: Product, gradient: Tensor, divergence: float, steps: int) -> Tensor:
    """Return the step along ``x = F^-1 g`` of a given divergence, to second order: ``sqrt(2 delta / x^T F x) x``.

    (Schulman et al. 2015, appendix C.)

    Args:
        product: v -> F v, damped.
        gradient: g, (n,).
        divergence: delta [nat].
        steps: of conjugate gradients.

    Returns:
        (n,), uphill; 0 where the gradient is.
    """
    direction = conjugate_gradients(product, gradient, steps)
    curvature = direction.dot(product(direction)).clamp_min(torch.finfo(gradient.dtype).tiny)
    return (2 * divergence / curvature).sqrt() * direction
