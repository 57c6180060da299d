"""Whitening: an invertible affine map, read off weighted samples, after which they have mean 0 and covariance 1."""

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from pidjax import _checks
from pidjax.typing import Array

__all__ = ["MODES", "Mode", "Whitening", "whitening"]

Mode = Literal["full", "columns", "none"]
MODES = ("full", "columns", "none")


class Whitening(NamedTuple):
    """The map ``z = factor ((x - mean) / scale)``.

    Attributes:
        mean: ``(d,)``.
        scale: ``(d,)``, positive.
        factor: ``(d, d)`` lower triangular with a positive diagonal; None stands for the identity.
    """

    mean: Array
    scale: Array
    factor: Array | None

    def __call__(self, x: Array) -> Array:
        """``(n, d)`` to ``(n, d)``."""
        z = (x - self.mean[None]) / self.scale[None]
        return z if self.factor is None else z @ self.factor.T

    @property
    def log_determinant(self) -> Array:
        """Of ``dz/dx``: ``-log p(x) = -log p(z) - log_determinant``."""
        columns = -jnp.log(self.scale).sum()
        return columns if self.factor is None else columns + jnp.log(jnp.diag(self.factor)).sum()


@functools.partial(jax.jit, static_argnames="mode")
def whitening(x: Array, weight: Any = None, *, mode: Mode = "full") -> Whitening:
    """The whitening map of weighted samples.

    ``"full"`` divides the columns by their standard deviations, then multiplies by the inverse Cholesky factor of
    ``C + eI``, with C their correlations. e is 8 d times the rounding of the dtype (1e-5 for ten columns of float32),
    so the map is invertible whatever the rank of the features, and a density computed through it is exact.
    Constant columns keep their unit.

    Args:
        x: features ``(n, d)``, finite.
        weight: ``(n,)`` non-negative, not all zero; None means all ones. Samples of weight 0 move nothing.
        mode: ``"full"``, ``"columns"`` (standard deviations alone) or ``"none"`` (the identity).

    Returns:
        A ``Whitening``, in the dtype of x. Works under jit and vmap.

    Raises:
        ValueError: another mode.

    Example:
        >>> x = jnp.array([[0.0, 1.0], [2.0, 3.0], [4.0, 8.0]])
        >>> z = whitening(x)(x)
        >>> print(jnp.cov(z.T, bias=True).round(3) + 0.0)
        [[1. 0.]
         [0. 1.]]
    """
    _checks.require(mode in MODES, f"whiten is {mode!r}; expected one of {MODES}")
    if mode == "none":
        return Whitening(jnp.zeros_like(x[0]), jnp.ones_like(x[0]), None)
    mass = share(weight, x)
    # A padded row becomes a copy of a real one, so that it can't be the largest either.
    x = jnp.where((mass > 0)[:, None], x, x[jnp.argmax(mass)][None])
    mean = mass @ x
    deviation = jnp.sqrt(mass @ (x - mean[None]) ** 2)
    # Constancy is judged by equality: the rounding noise of a mean must not be blown up to variance 1.
    scale = jnp.where((x.max(0) > x.min(0)) & (deviation > 0), deviation, 1)
    if mode == "columns":
        return Whitening(mean, scale, None)
    z = (x - mean[None]) / scale[None]
    correlation = (z * mass[:, None]).T @ z
    return Whitening(mean, scale, inverse_cholesky(correlation + ridge(x) * jnp.eye(x.shape[1], dtype=x.dtype)))


def ridge(x: Array) -> float:
    """What a covariance of whitened features ``(n, d)`` needs on its diagonal to be invertible in their dtype."""
    return 8 * x.shape[1] * float(jnp.finfo(x.dtype).eps)


def inverse_cholesky(covariance: Array) -> Array:
    """The lower triangular A with ``A covariance A' = I``, ``(..., d, d)``."""
    lower = jnp.linalg.cholesky(covariance)
    identity = jnp.broadcast_to(jnp.eye(lower.shape[-1], dtype=lower.dtype), lower.shape)
    return jax.lax.linalg.triangular_solve(lower, identity, left_side=True, lower=True)


def share(weight: Any, x: Array) -> Array:
    """Weights that sum to one, in the dtype of x; equal ones for None."""
    return jnp.full(len(x), 1 / len(x), x.dtype) if weight is None else jnp.asarray(weight / weight.sum(), x.dtype)
