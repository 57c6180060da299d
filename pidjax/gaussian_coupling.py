"""The coupling of two Gaussian pairs at which the union information is attained, and its density ratios.

Along every eigenvector of ``Cov(Y|X_2) v = lambda Cov(Y|X_1) v`` one modality says more of Y. The optimal posterior of
the pair is that modality's, direction by direction; x1 and x2 are independent given its mean.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from pidjax import _checks
from pidjax._precision import in_own_precision
from pidjax.gaussian import (
    White,
    checked_dims,
    floored,
    impossible,
    log_determinant,
    optimum,
    refusal,
    resolution,
    solve,
    white,
)
from pidjax.pid import PID, from_union
from pidjax.typing import Array, ArrayLike

__all__ = ["gaussian_coupling", "gaussian_pointwise"]


@in_own_precision
def gaussian_coupling(cov: ArrayLike, dims: tuple[int, int, int]) -> Array:
    """The covariance of the coupling with the least information among those with the same pairs (x1,y) and (x2,y).

    ``Cov(x1,x2) = Cov(x1,y) (Cov(y) - W)^-1 Cov(y,x2)`` with W the posterior covariance of largest determinant below
    ``Cov(Y|X1)`` and ``Cov(Y|X2)``: given the mean of that posterior x1 and x2 are independent.

    Args:
        cov: as in ``gaussian_pid``; what it says of x1 and x2 together is not looked at.
        dims: ``(d1, d2, dy)``; static.

    Returns:
        ``(d1 + d2 + dy, d1 + d2 + dy)``, positive semidefinite (often singular); its own decomposition has the same
        R, U1 and U2, and no synergy. Works under jit and vmap.

    Raises:
        ValueError: as ``gaussian_pid``, but that x1 and x2 are not looked at together.

    Example:
        >>> import numpy as np
        >>> h = np.array([[2.0], [1.0]])  # x1 = 2 y + noise, x2 = y + noise
        >>> cov = np.block([[h @ h.T + np.eye(2), h], [h.T, np.eye(1)]])
        >>> print(gaussian_coupling(cov, (1, 1, 1)).round(6))  # x2 is x1 / 2 and more noise
        [[5.  2.5 2. ]
         [2.5 2.  1. ]
         [2.  1.  1. ]]

    References:
        arXiv 2510.04417; the form is this project's (closed from the proof in ``pidjax.gaussian``).
    """
    cov = jnp.asarray(_checks.as_float(cov, "cov"))
    coupling, faults = _coupling(cov, dims=checked_dims(cov, dims, sources=2))
    return _checks.poison(coupling, refusal(faults), cov)


@in_own_precision
def gaussian_pointwise(
    cov: ArrayLike, dims: tuple[int, int, int], x1: ArrayLike, x2: ArrayLike, y: ArrayLike, *, mean: Any = 0.0
) -> PID:
    """The decomposition sample by sample: log-density ratios, those of the union under the optimal coupling q.

    ``i1 = log p(y|x1)/p(y), i2, i12 = log p(y|x1,x2)/p(y), i_union = log q(y|x1,x2)/p(y)`` and the one linear map.
    The last is a sum ``a(x1,y) + b(x2,y)`` of quadratic potentials, so its mean is the union information whatever
    joins x1 and x2: over samples whose means and covariance are those given, the mean of this is ``gaussian_pid``.

    Args:
        cov: as in ``gaussian_pid``, all of it.
        dims: ``(d1, d2, dy)``; static.
        x1: ``(n, d1)``.
        x2: ``(n, d2)``.
        y: ``(n, dy)``.
        mean: ``(d1 + d2 + dy,)``, or a number for all.

    Returns:
        ``PID`` with leaves ``(n,)``, nats. Where both modalities say the same along a direction each potential gets
        half of it. NaN where an information is infinite. Works under jit and vmap.

    Raises:
        ValueError: as ``gaussian_pid``, and samples that don't fit.

    Example:
        >>> import numpy as np
        >>> h = np.array([[2.0], [1.0]])
        >>> cov = np.block([[h @ h.T + np.eye(2), h], [h.T, np.eye(1)]])
        >>> one = np.ones((1, 1))
        >>> values = gaussian_pointwise(cov, (1, 1, 1), 2 * one, one, one)
        >>> [float(atom[0].round(6)) for atom in (values.redundancy, values.unique1, values.unique2, values.synergy)]
        [0.596574, 0.608145, 0.0, 0.107827]

    References:
        As ``gaussian_coupling``.
    """
    cov = jnp.asarray(_checks.as_float(cov, "cov"))
    checked_dims(cov, dims, sources=2)
    parts = [jnp.asarray(_checks.as_float(x, name), cov.dtype) for x, name in ((x1, "x1"), (x2, "x2"), (y, "y"))]
    _checks.require(
        all(x.ndim == 2 and len(x) == len(parts[0]) for x in parts) and tuple(x.shape[1] for x in parts) == tuple(dims),
        f"x1, x2 and y have shapes {[x.shape for x in parts]}; expected n rows each and {dims} columns",
    )
    mean = jnp.asarray(_checks.as_float(mean, "mean"), cov.dtype)
    _checks.require(mean.shape in ((), (sum(dims),)), f"mean has shape {mean.shape}; expected () or ({sum(dims)},)")
    values, faults = _values(cov, jnp.concatenate(parts, 1) - jnp.broadcast_to(mean, (1, sum(dims))), dims=tuple(dims))
    return _checks.poison(values, refusal(faults), cov, parts, mean)


@functools.partial(jax.jit, static_argnames="dims")
def _coupling(cov: Array, *, dims: tuple[int, ...]) -> tuple[Array, Any]:
    d1, d2, dy = dims
    with jax.default_matmul_precision("highest"):
        first, last = slice(0, d1), slice(d1, d1 + d2)
        # What x1 and x2 have together is replaced, so it is replaced before it can be found wrong.
        apart = cov.at[first, last].set(0.0).at[last, first].set(0.0)
        posteriors, faults = white(apart, dims)
        faults["joint"] = impossible(jnp.stack(posteriors.given), dims).astype(jnp.int32)
        own = [factor @ b for factor, b in zip(posteriors.factors, posteriors.loadings, strict=True)]
        w = _optimum(posteriors, resolution(dims, cov))[0]
        # Of what neither modality sees nothing is left but rounding, on both sides of the division.
        ridge = 8 * dy * float(jnp.finfo(cov.dtype).eps)
        seen = jnp.linalg.cholesky((1 + ridge) * jnp.eye(dy, dtype=cov.dtype) - w)
        cross = solve(seen, own[0].T).T @ solve(seen, own[1].T)
        symmetric = (cov + cov.T) / 2
        return symmetric.at[first, last].set(cross).at[last, first].set(cross.T), faults


def _optimum(posteriors: White, least: float) -> tuple[Array, tuple[Array, Array]]:
    """W, of a white y, and the two parts of its inverse: the multipliers of ``W <= Cov(Y|X1)`` and ``<= Cov(Y|X2)``."""
    s1, s2 = (floored(given, least)[0] for given in posteriors.given)
    return optimum(s1, s2)


@functools.partial(jax.jit, static_argnames="dims")
def _values(cov: Array, samples: Array, *, dims: tuple[int, ...]) -> tuple[PID, Any]:
    d1, d2, _ = dims
    with jax.default_matmul_precision("highest"):
        posteriors, faults = white(cov, dims)
        least = resolution(dims, cov)
        x1, x2, y = samples[:, :d1].T, samples[:, d1 : d1 + d2].T, samples[:, d1 + d2 :].T
        y = solve(posteriors.lower, y)
        z1, z2 = (solve(factor, x) for factor, x in zip(posteriors.factors, (x1, x2), strict=True))
        off1, off2 = (y - b.T @ z for b, z in zip(posteriors.loadings, (z1, z2), strict=True))
        off12 = y - posteriors.gain_all.T @ samples[:, : d1 + d2].T
        prior = jnp.sum(y**2, 0) / 2

        determined = lambda given: jnp.linalg.eigvalsh(given)[0] <= least

        def ratio(given: Array, off: Array) -> Array:
            factor = jnp.linalg.cholesky(given)
            value = prior - jnp.sum(solve(factor, off) ** 2, 0) / 2 - jnp.sum(jnp.log(jnp.diagonal(factor)))
            return jnp.where(determined(given), jnp.nan, value)

        w, (of1, of2) = _optimum(posteriors, least)
        distance = sum(jnp.sum(off * (of @ off), 0) for of, off in ((of1, off1), (of2, off2)))
        union = jnp.where(
            determined(posteriors.given[0]) | determined(posteriors.given[1]),
            jnp.nan,
            prior - (distance + log_determinant(w)) / 2,
        )
        i1, i2 = (ratio(given, off) for given, off in zip(posteriors.given, (off1, off2), strict=True))
        return from_union(i1, i2, ratio(posteriors.given_all, off12), union), faults
