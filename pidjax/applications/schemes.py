"""Training sets with more or less mutual information between the modalities, the labels as they were.

InfoMeter relates that information to what a model learns. How its four training sets were made isn't published: these
schemes are ours. Each is a function from samples to weights, to indices, or to samples, and keeps every label's count.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from pidjax import _checks
from pidjax._precision import in_own_precision
from pidjax.typing import Array, ArrayLike, Key

__all__ = ["diversified", "repaired", "sorted_parts"]


def _ranked(y: Array, by: Array) -> tuple[Array, Array, Array, Array]:
    """Samples sorted by label and then by ``by``: their order; each one's rank in, start and size of its label."""
    order = jnp.lexsort((by, y))
    labels = y[order]
    first = jnp.searchsorted(labels, labels, side="left")
    size = jnp.searchsorted(labels, labels, side="right") - first
    return order, jnp.arange(len(y)) - first, first, size


def _labels(y: ArrayLike | None, n: int) -> Array:
    labels = jnp.zeros(n, int) if y is None else jnp.asarray(y)
    _checks.require(labels.shape == (n,), f"y has shape {labels.shape}; expected one label for each sample, ({n},)")
    return labels


@in_own_precision
def sorted_parts(information: ArrayLike, y: ArrayLike | None = None, *, parts: int = 4) -> Array:
    """Disjoint subsets of equal size and equal class histogram, from least to most pointwise information.

    Within each class the samples are sorted by their information and cut at quantiles. Classes that don't divide
    evenly leave samples out, in between the parts.

    Args:
        information: of each sample, ``(n,)``, any unit: ``pointwise`` of an ``infometer``.
        y: labels ``(n,)``; None means one class.
        parts: number of subsets; static.

    Returns:
        Weights ``(parts, n)``, 0 or 1: ``np.flatnonzero(weights[i])`` are the samples of part i. Works under jit and
        vmap.

    Raises:
        ValueError: fewer than two parts, shapes that don't fit, values that are NaN.

    Example:
        >>> import numpy as np
        >>> print(sorted_parts(np.array([0.3, 0.1, 0.2, 0.9, 0.8]), np.array([0, 0, 0, 1, 1]), parts=2).astype(int))
        [[0 1 0 0 1]
         [1 0 0 1 0]]

    References:
        Ours; arXiv 2405.12456 compares four training sets of one task without saying how they were chosen.
    """
    _checks.require(parts >= 2, f"parts is {parts}; expected at least 2: the least and the most informative")
    value = jnp.asarray(_checks.as_float(information, "information"))
    _checks.require(value.ndim == 1, f"information has shape {value.shape}; expected one number for each sample, (n,)")
    ok = _checks.ensure(
        jnp.logical_not(jnp.isnan(value).any()),
        lambda: f"information has {int(jnp.isnan(value).sum())} NaN; expected the pointwise information of each sample",
    )
    order, *places = _ranked(_labels(y, len(value)), value)
    rank, _, size = (place[None] for place in places)
    each = size // parts
    number = jnp.arange(parts)[:, None]
    # The first part begins at the least, the last ends at the most; what is left over lies between them.
    start = (number * (size - each)) // (parts - 1)
    inside = (rank >= start) & (rank < start + each)
    weights = jnp.zeros((parts, len(value)), value.dtype).at[:, order].set(inside.astype(value.dtype))
    return _checks.poison(weights, ok)


def repaired(key: Key, y: ArrayLike | None = None, *, share: ArrayLike, n: int | None = None) -> Array:
    """Partners for the second modality, some of them exchanged within each class: ``x2[repaired(...)]``.

    Each exchanged sample has another partner of its own class, so that labels stay as right as each modality makes
    them, and what the modalities share beyond the label falls with the share. For ``share=1`` they are independent
    given the label. Where a label is a matter of the pair (XOR), exchanged pairs are mislabelled.

    Args:
        key: PRNG key.
        y: labels ``(n,)``; None means one class, of ``n`` samples.
        share: of each class's samples to exchange, in [0, 1]; rounded down.
        n: number of samples, where there are no labels.

    Returns:
        Indices ``(n,)``, a permutation. Works under jit and vmap.

    Raises:
        ValueError: neither labels nor their number, or a share outside [0, 1].

    Example:
        >>> print(repaired(jax.random.key(0), jnp.array([0, 0, 1, 1]), share=1.0))
        [1 0 3 2]

    References:
        Ours.
    """
    _checks.require((y is None) != (n is None), "expected the labels y, or the number n of samples without labels")
    labels = _labels(y, jnp.asarray(y).shape[0] if n is None else n)
    share = jnp.asarray(share)
    ok = _checks.ensure(
        (share >= 0) & (share <= 1), lambda: f"share is {float(share):g}; expected a share of the samples, 0 to 1"
    )
    order, rank, first, size = _ranked(labels, jax.random.uniform(key, (len(labels),)))
    count = jnp.where(ok, jnp.floor(share * size + 1e-6), 0).astype(rank.dtype)
    partner = jnp.where(rank < count, (rank + 1) % jnp.maximum(count, 1), rank)
    return jnp.zeros_like(order).at[order].set(order[first + partner])


def diversified(key: Key, x: ArrayLike, augment: Callable[[Key, Array], Array], *, share: ArrayLike = 1.0) -> Array:
    """One modality, each sample augmented on its own: whatever the augmentation adds, the other does not know.

    Args:
        key: PRNG key.
        x: features ``(n, ...)``.
        augment: ``(key, x of one sample) -> x of one sample``, the same shape: a shift, a rotation, noise.
        share: of the samples to augment, in [0, 1]; each is drawn with this probability.

    Returns:
        Features of the same shape. Works under jit and vmap.

    Raises:
        ValueError: an augmentation that changes the shape.

    Example:
        >>> shift = lambda key, image: jnp.roll(image, jax.random.randint(key, (), 1, 3))
        >>> print(diversified(jax.random.key(0), jnp.eye(3)[:2], shift))
        [[0. 1. 0.]
         [1. 0. 0.]]

    References:
        Ours; arXiv 2405.12456 recommends diversifying the modalities in training.
    """
    x = jnp.asarray(x)
    keys = jax.random.split(key, len(x) + 1)
    changed: Any = jax.vmap(augment)(keys[1:], x)
    _checks.require(
        changed.shape == x.shape, f"augment made {changed.shape[1:]} of {x.shape[1:]}; expected the same shape"
    )
    chosen = jax.random.uniform(keys[0], (len(x),)) < share
    return jnp.where(chosen.reshape(-1, *(1,) * (x.ndim - 1)), changed, x)
