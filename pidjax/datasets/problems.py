"""Random joints of seven kinds, from easy to hard: the problems on which solvers are compared."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from pidjax import _checks
from pidjax.typing import Array, Key

__all__ = ["KINDS", "random_joint"]

_NOISE = 0.05


def _random_function(key: Key, n: int, k: int) -> Array:
    """A random function from n symbols to k, as the ``(n, k)`` rows of a 0-1 matrix."""
    return jax.nn.one_hot(jax.random.randint(key, (n,), 0, k), k)


def _dense(key: Key, n1: int, n2: int, k: int) -> Array:
    return jnp.ones((n1, n2, k))


def _sparse(key: Key, n1: int, n2: int, k: int, density: float = 0.2) -> Array:
    u = jax.random.uniform(key, (n1, n2, k))
    return jnp.asarray(u <= jnp.maximum(density, u.min()), u.dtype)  # the least u always stays: never all empty


def _very_sparse(key: Key, n1: int, n2: int, k: int) -> Array:
    return _sparse(key, n1, n2, k, 0.02)


def _deterministic(key: Key, n1: int, n2: int, k: int, noise: float = 0.0) -> Array:
    key1, key2 = jax.random.split(key)
    g1, g2 = jax.random.randint(key1, (n1, 1), 0, k), jax.random.randint(key2, (1, n2), 0, k)
    return (1 - noise) * jax.nn.one_hot((g1 + g2) % k, k) + noise / k


def _near_deterministic(key: Key, n1: int, n2: int, k: int) -> Array:
    return _deterministic(key, n1, n2, k, _NOISE)


def _noisy_copy(key: Key, n1: int, n2: int, k: int) -> Array:
    key1, key2 = jax.random.split(key)
    a, b = ((1 - _NOISE) * _random_function(u, n, k) + _NOISE / k for u, n in ((key1, n1), (key2, n2)))
    return a[:, None, :] * b[None, :, :]


def _zero_blocks(key: Key, n1: int, n2: int, k: int) -> Array:
    first, second = jnp.eye(k)[jnp.arange(n1) % k], jnp.eye(k)[jnp.arange(n2) % k]
    return first[:, None, :] * jnp.maximum(second, jnp.roll(second, 1, axis=1))[None, :, :]


# How likely each y is in each pair (x1, x2), up to a factor: the kind. Its random weights come on top.
_KINDS: dict[str, Callable[[Key, int, int, int], Array]] = {
    "dense": _dense,
    "sparse": _sparse,
    "very_sparse": _very_sparse,
    "near_deterministic": _near_deterministic,
    "deterministic": _deterministic,
    "noisy_copy": _noisy_copy,
    "zero_blocks": _zero_blocks,
}
_PAIRS_WEIGHTED = (
    "near_deterministic",
    "deterministic",
    "noisy_copy",
)  # one weight for a pair: p(y|x1,x2) is kept

KINDS: tuple[str, ...] = tuple(_KINDS)


def random_joint(key: Key, shape: tuple[int, int, int], *, kind: str = "dense", power: float = 1.0) -> Array:
    """A random joint of one kind: exponential weights on a pattern.

    ``p(x1,x2,y) = w^power f(y|x1,x2) / sum``, f given by the kind, w exponential, one for each cell
    (in the kinds marked *: for each pair x1, x2). Pure in the key: a batch of problems is one ``vmap``.

    ====================  =================================================================================
    dense                 every cell
    sparse, very_sparse   each cell kept with probability 0.2, 0.02; at least one
    deterministic *       y = (g1(x1) + g2(x2)) mod k, random g1, g2
    near_deterministic *  the same, but y is uniform with probability 0.05
    noisy_copy *          f = f1(y|x1) f2(y|x2), each 0.95 on one random y and 0.05 uniform
    zero_blocks           x1 fixes y, x2 leaves two values of y: blocks of zeros in both pairwise marginals
    ====================  =================================================================================

    Args:
        key: random key.
        shape: number of symbols ``(n1, n2, k)``.
        kind: one of ``KINDS``.
        power: above one it spreads the weights: exp^4, exp^8 make tiny cells (which may underflow to zero).

    Returns:
        Probability mass function ``p[x1, x2, y]``, jax's default float; never NaN. Its sum is one to the
        rounding of that float: normalise again after a cast from float32 to float64.

    Raises:
        ValueError: an unknown kind, a shape that is not three positive sizes, a power <= 0.

    Example:
        >>> p = random_joint(jax.random.key(0), (4, 3, 2), kind="deterministic")
        >>> p.shape, round(float(p.sum()), 6), int((p > 0).sum())
        ((4, 3, 2), 1.0, 12)
        >>> jax.vmap(lambda key: random_joint(key, (4, 3, 2)))(jax.random.split(jax.random.key(0), 5)).shape
        (5, 4, 3, 2)
    """
    _checks.require(kind in _KINDS, f"kind is {kind!r}; expected one of {', '.join(KINDS)}")
    _checks.require(
        len(shape) == 3 and all(n >= 1 for n in shape),
        f"shape is {shape}; expected three positive sizes (n1, n2, k)",
    )
    _checks.require(power > 0, f"power is {power}; expected a positive number")
    n1, n2, k = shape
    key_pattern, key_weights = jax.random.split(key)
    pattern = _KINDS[kind](key_pattern, n1, n2, k)
    weights = jax.random.exponential(key_weights, (n1, n2, 1 if kind in _PAIRS_WEIGHTED else k))
    weights = jnp.where(pattern > 0, jnp.maximum(weights, jnp.finfo(weights.dtype).tiny), 0.0)
    # The largest weight is made one before the power, so that no power can overflow or empty the joint.
    p = (weights / weights.max()) ** power * pattern
    return p / p.sum()
