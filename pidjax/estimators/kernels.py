"""Mixtures of Gaussian kernels on whitened features: their density, and first ones read off clusters.

A kernel k is a lower triangular ``A_k`` and a ``b_k``: ``log p(z) = logsumexp_k (log w_k + log |A_k| - |A_k z - b_k|^2
/ 2) - d/2 log 2 pi``. The kernels of mixtures of several sizes lie along one axis, so all are one matrix product.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pidjax.estimators.whitening import inverse_cholesky, ridge
from pidjax.typing import Array, Key

__all__ = ["First", "Mixture", "first_kernels", "in_pieces", "joined", "log_density", "split", "subset"]

# First kernels are read off at most so many samples: clusters are found as well, and memory stays bounded.
_FIRST = 8192
# Lloyd's algorithm, after k-means++. The clusters need not be its last ones: training goes on from there.
_LLOYD = 10
# Where many samples are evaluated, it is in pieces whose largest array has about so many numbers (32 MB in float32).
_NUMBERS = 2**23


class First(NamedTuple):
    """The kernels that training starts from, K of all sizes together, for each of C classes (1 without labels).

    Attributes:
        a: ``(K, C, d, d)`` lower triangular, or its diagonal ``(K, C, d)``: inverse Cholesky factors of covariances.
        centre: ``(K, C, d)``.
        log_weight: ``(K, C)``.
    """

    a: Array
    centre: Array
    log_weight: Array


class Mixture(NamedTuple):
    """Kernels ready to be evaluated: ``a`` as in ``First``; ``b (K, C, d)``; ``log_det``, ``log_weight`` ``(K, C)``."""

    a: Array
    b: Array
    log_det: Array
    log_weight: Array


def log_density(mixture: Mixture, sizes: tuple[int, ...], z: Array, label: Array, change: Array | None) -> Array:
    """``log p(z | label)`` under the mixtures of each size, ``(n, sizes)``; NaN for a label that is none.

    A continuous condition's ``change (n, K, 2 d + 1)`` are shifts and log scales in the kernels' coordinates, and log
    weights.
    """
    count, classes, d = mixture.b.shape
    if mixture.a.ndim == mixture.b.ndim:
        v = mixture.a[None] * z[:, None, None]
    else:
        v = (z @ mixture.a.reshape(-1, d).T).reshape(len(z), count, classes, d)
    v, log_det, log_weight = v - mixture.b[None], mixture.log_det[None], mixture.log_weight[None]
    if change is not None:
        move = change[:, :, None]
        v = v * jnp.exp(move[..., d:-1]) - move[..., :d]
        log_det, log_weight = log_det + move[..., d:-1].sum(-1), log_weight + move[..., -1]
    values = []
    for own, weight in zip(split(log_det - 0.5 * (v**2).sum(-1), sizes, 1), split(log_weight, sizes, 1), strict=True):
        values.append(jax.nn.logsumexp(own + weight, axis=1) - jax.nn.logsumexp(weight, axis=1))
    density = jnp.stack(values, 1) - 0.5 * d * jnp.log(2 * jnp.pi).astype(z.dtype)
    if classes == 1:
        density = density[..., 0]
    else:
        density = jnp.take_along_axis(density, label[:, None, None], 2, mode="clip")[..., 0]
    return jnp.where(((label >= 0) & (label < classes))[:, None], density, jnp.nan)


def split(tree: Any, sizes: tuple[int, ...], axis: int = 0) -> list[Any]:
    """The kernels of each size."""
    cut = lambda end, size: jax.tree.map(lambda leaf: jax.lax.slice_in_dim(leaf, end - size, end, axis=axis), tree)
    return [cut(end, size) for end, size in zip(np.cumsum(sizes).tolist(), sizes, strict=True)]


def joined(trees: list[Any]) -> Any:
    """What ``split`` undoes."""
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *trees)


def in_pieces(density: Callable[..., Array], numbers: int, inputs: list[Array]) -> Array:
    """``density(*inputs)``, ``(n, ...)``; piece by piece where all samples at once take too many numbers."""
    n, piece = len(inputs[0]), max(_NUMBERS // numbers, 1)
    if n <= piece:
        return density(*inputs)
    whole = n // piece * piece
    pieces = [leaf[:whole].reshape(-1, piece, *leaf.shape[1:]) for leaf in inputs]
    values = jax.lax.map(lambda piece: density(*piece), pieces)
    values = values.reshape(whole, *values.shape[2:])
    return values if whole == n else jnp.concatenate([values, density(*(leaf[whole:] for leaf in inputs))])


def first_kernels(key: Key, z: Array, group: Array, sizes: tuple[int, ...], full: bool) -> First:
    """Clusters, the covariance within each, and their shares; ``group (C, n)`` is the weight of a sample in a class."""
    d = z.shape[1]
    draws = jax.random.uniform(key, (len(group), max(sizes)), z.dtype)
    centre, near = jax.vmap(lambda draws, mass: _clusters(z, draws, mass, sizes))(draws, group)
    mass = near.sum(1)

    def scatter(inputs: tuple[Array, Array]) -> Array:
        centre, share = inputs
        gap = z - centre[None]
        return (gap * share[:, None]).T @ gap if full else share @ gap**2

    within = jax.lax.map(scatter, (centre.reshape(-1, d), near.swapaxes(1, 2).reshape(-1, len(z))))
    within = within.reshape(*mass.shape, *within.shape[1:])
    # A cluster of few samples leans on all clusters of its class, a class of few on all classes: by a sample for each
    # column, and one. Clusters without any are theirs.
    unit, prior = (jnp.eye(d, dtype=z.dtype) if full else jnp.ones(d, z.dtype)), d + 1.0
    wide = lambda mass: mass.reshape(*mass.shape, *(1,) * unit.ndim)
    covariances, weights = [], []
    for own, count in zip(split(within, sizes, 1), split(mass, sizes, 1), strict=True):
        overall = own.sum((0, 1), keepdims=True) / count.sum() + ridge(z) * unit[None, None]
        by_class = (own.sum(1, keepdims=True) + prior * overall) / (wide(count.sum(1, keepdims=True)) + prior)
        covariances.append((own + prior * by_class) / (wide(count) + prior))
        weights.append(jnp.log((count + 0.5) / (count.sum(1, keepdims=True) + 0.5 * count.shape[1])))
    covariance = jnp.concatenate(covariances, 1)
    a = inverse_cholesky(covariance) if full else 1 / jnp.sqrt(covariance)
    return First(*(leaf.swapaxes(0, 1) for leaf in (a, centre, jnp.concatenate(weights, 1))))


def _clusters(z: Array, draws: Array, mass: Array, sizes: tuple[int, ...]) -> tuple[Array, Array]:
    """Centres ``(K, d)`` of the clusters of each size, and the mass of each sample in its own, ``(n, K)``.

    k-means++ and Lloyd's algorithm, as ott has them; but ott's compile takes 3 seconds, 7 under vmap. Drawn by
    inverting cumulative masses, so that a weight of 2 is a sample that comes twice, draw by draw.
    """

    def seed(distance: Array, draw: Array) -> tuple[Array, Array]:
        below = jnp.cumsum(mass * distance)
        centre = z[jnp.minimum(jnp.searchsorted(below, draw * below[-1], side="right"), len(z) - 1)]
        # Not quite zero: with fewer distinct samples than clusters, one is drawn again.
        again = ((z - centre[None]) ** 2).sum(1) + jnp.finfo(z.dtype).eps
        return jnp.minimum(distance, again), centre

    # So far from everything that all are equally likely first.
    far = jnp.full(len(z), float(jnp.finfo(z.dtype).max) ** 0.5, z.dtype)
    seeds = jax.lax.scan(seed, far, draws)[1]

    def near(centre: Array) -> Array:
        distance = (centre**2).sum(1)[None] - 2 * z @ centre.T
        own = [jax.nn.one_hot(part.argmin(1), part.shape[1], dtype=z.dtype) for part in split(distance, sizes, 1)]
        return jnp.concatenate(own, 1) * mass[:, None]

    def lloyd(centre: Array, _: None) -> tuple[Array, None]:
        share = near(centre)
        count = share.sum(0)[:, None]
        return jnp.where(count > 0, share.T @ z / jnp.where(count > 0, count, 1), centre), None

    centre = jax.lax.scan(lloyd, jnp.concatenate([seeds[:size] for size in sizes]), None, length=_LLOYD)[0]
    return centre, near(centre)


def subset(key: Key, mass: Array) -> Any:
    """Indices of samples to read first kernels off: all, or a fixed number of those that have weight."""
    if len(mass) <= _FIRST:
        return slice(None)
    return jnp.argsort(jnp.where(mass > 0, jax.random.uniform(key, mass.shape), 2.0))[:_FIRST]
