"""Entropies and informations of joint probability arrays, in nats.

A joint is an array with one axis for each variable, the target last. Zero cells contribute nothing (0 log 0 = 0)
and receive no gradient. Every function checks its array (see ``pidjax._checks.pmf``) and works under jit, vmap, grad.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pidjax import _checks
from pidjax._precision import in_own_precision
from pidjax.typing import Array, ArrayLike

__all__ = [
    "Informations",
    "conditional_entropy",
    "conditional_mutual_information",
    "entropy",
    "informations",
    "mutual_information",
    "to_bits",
]


class Informations(NamedTuple):
    """What each modality, and both, say about the target: nats; leaves share one shape."""

    x1: Array
    x2: Array
    x1x2: Array


def xlogx(x: Array) -> Array:
    """``x log x`` with ``0 log 0 = 0`` and a zero gradient there; NaN stays NaN."""
    return x * safe_log(x)


def safe_log(x: Array) -> Array:
    """``log x``, but 0 with a zero gradient where x is 0: for terms that are multiplied by x."""
    return jnp.where(x == 0, 0.0, jnp.log(jnp.where(x == 0, 1.0, x)))


def pointwise_information(p_xy: Array) -> Array:
    """``log p(x,y) / (p(x) p(y))`` for each cell of a normalised 2-d joint; 0 in empty cells."""
    p_x, p_y = p_xy.sum(1), p_xy.sum(0)
    return jnp.where(p_xy == 0, 0.0, safe_log(p_xy) - safe_log(p_x)[:, None] - safe_log(p_y)[None, :])


def mutual_information_of(p_xy: Array) -> Array:
    """``mutual_information`` of an array that is already checked and normalised."""
    return jnp.sum(p_xy * pointwise_information(p_xy))


def joint_informations(p: Array) -> Informations:
    """``informations`` of an array that is already checked and normalised."""
    n1, n2, k = p.shape
    pairs = (p.sum(1), p.sum(0), p.reshape(n1 * n2, k))
    return Informations(*(mutual_information_of(q) for q in pairs))


@in_own_precision
def entropy(p: ArrayLike) -> Array:
    """Shannon entropy of a joint array over all its axes.

    ``H = - sum p log p``.

    Args:
        p: probability mass function of any rank, sum one.

    Returns:
        Scalar, nats, >= 0.

    Raises:
        ValueError: not a probability mass function (see the message).

    Example:
        >>> import numpy as np
        >>> round(float(entropy(np.full((2, 2), 0.25))), 6)
        1.386294
    """
    return -jnp.sum(xlogx(jnp.asarray(_checks.pmf(p, name="p"))))


@in_own_precision
def conditional_entropy(p: ArrayLike) -> Array:
    """Entropy of the last axis given all the others.

    ``H(Y|X) = - sum p(x,y) log p(x,y)/p(x)``.

    Args:
        p: joint array, target last, rank two or more.

    Returns:
        Scalar, nats.

    Raises:
        ValueError: not a probability mass function, or of rank below two.

    Example:
        >>> import numpy as np
        >>> round(float(conditional_entropy(np.array([[0.25, 0.25], [0.0, 0.5]]))), 6)
        0.346574
    """
    p = jnp.asarray(_checks.pmf(p, name="p"))
    _checks.require(p.ndim >= 2, f"p has rank {p.ndim}; expected two axes or more, the target last")
    return jnp.sum(xlogx(p.sum(-1))) - jnp.sum(xlogx(p))


@in_own_precision
def mutual_information(p_xy: ArrayLike) -> Array:
    """Mutual information of the two axes of a joint.

    ``I(X;Y) = sum p(x,y) log p(x,y) / (p(x) p(y))``.

    Args:
        p_xy: joint array ``(n, k)``.

    Returns:
        Scalar, nats, >= 0 up to rounding.

    Raises:
        ValueError: not a probability mass function of rank two.

    Example:
        >>> import numpy as np
        >>> round(float(mutual_information(np.array([[0.5, 0.0], [0.0, 0.5]]))), 6)
        0.693147
    """
    p_xy = jnp.asarray(_checks.pmf(p_xy, name="p_xy", ndim=2, axes="[x, y]"))
    return mutual_information_of(p_xy)


@in_own_precision
def conditional_mutual_information(p_xyz: ArrayLike) -> Array:
    """Mutual information of the first two axes given the third.

    ``I(X;Y|Z) = sum p(x,y,z) log p(x,y,z) p(z) / (p(x,z) p(y,z))``.

    Args:
        p_xyz: joint array ``(n, m, l)``, the condition last.

    Returns:
        Scalar, nats, >= 0 up to rounding.

    Raises:
        ValueError: not a probability mass function of rank three.

    Example:
        >>> import numpy as np
        >>> xor = np.zeros((2, 2, 2))
        >>> for a in (0, 1):
        ...     for b in (0, 1):
        ...         xor[a, b, a ^ b] = 0.25
        >>> round(float(conditional_mutual_information(xor)), 6)
        0.693147
    """
    p = jnp.asarray(_checks.pmf(p_xyz, name="p_xyz", ndim=3, axes="[x, y, z]"))
    ratio = (
        safe_log(p)
        + safe_log(p.sum((0, 1)))[None, None, :]
        - safe_log(p.sum(1))[:, None, :]
        - safe_log(p.sum(0))[None, :, :]
    )
    return jnp.sum(p * ratio)


@in_own_precision
def informations(p: ArrayLike) -> Informations:
    """What each modality, and both together, say about the target.

    Args:
        p: joint array ``p[x1, x2, y]``.

    Returns:
        ``Informations(x1=I(X1;Y), x2=I(X2;Y), x1x2=I(X1,X2;Y))``, scalars, nats.

    Raises:
        ValueError: not a probability mass function of rank three.

    Example:
        >>> import numpy as np
        >>> p = np.zeros((2, 2, 2)); p[[0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1]] = 0.25
        >>> print("{:.6f} {:.6f} {:.6f}".format(*map(float, informations(p))))
        0.215762 0.215762 0.562335
    """
    return joint_informations(jnp.asarray(_checks.pmf(p, name="p", ndim=3, axes="[x1, x2, y]")))


@in_own_precision
def to_bits(nats: Any) -> Any:
    """Convert every leaf of a pytree from nats to bits.

    Args:
        nats: a number, array or pytree of them (a ``PID``, say).

    Returns:
        The same pytree, each leaf divided by log 2.

    Example:
        >>> round(float(to_bits(1.0)), 6)
        1.442695
    """
    return jax.tree.map(lambda leaf: leaf / math.log(2), nats)
