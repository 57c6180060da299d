"""Posteriors to cells: k-means on the simplex in Kullback-Leibler geometry, and soft tables of the cells.

A modality may be replaced by its posterior ``p(y|x)``, and the posterior by the cell it falls into; a cell keeps its
mean posterior. Cells lose the information ``E KL(p || cell)``, which is what this k-means makes small.
"""

import jax
import jax.numpy as jnp

from pidjax import _checks
from pidjax.typing import Array, Key

__all__ = ["cells_of", "codebook", "soft_table"]

_LLOYD = 30
_FIRST = 20_000  # samples that centres are read off


def codebook(key: Key, p: Array, weight: Array, *, cells: int) -> Array:
    """Centres of the posteriors: k-means++ and Lloyd's algorithm under ``KL(p || centre)``.

    Hand it the posteriors of both modalities together: they live in one simplex, and cells of their own for each
    would leave a bias that no number of samples removes.

    Args:
        key: PRNG key of the seeds, and of the 20,000 samples that are looked at where there are more.
        p: posteriors ``(n, k)``.
        weight: ``(n,)`` non-negative, not all zero.
        cells: how many; static.

    Returns:
        ``(cells, k)``; a centre may come twice where there are fewer distinct posteriors.

    Raises:
        ValueError: fewer than one cell.

    Example:
        >>> p = jnp.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])
        >>> print(jnp.sort(codebook(jax.random.key(0), p, jnp.ones(3), cells=2)[:, 0]))
        [0.1  0.85]
    """
    _checks.require(cells >= 1, f"cells is {cells}; expected at least 1 (40 is a common choice)")
    key, choice = jax.random.split(key)
    if len(p) > _FIRST:
        # Those of weight 0 come last.
        order = jnp.argsort(jnp.where(weight > 0, jax.random.uniform(choice, weight.shape), 2.0))[:_FIRST]
        p, weight = p[order], weight[order]
    negentropy = jnp.where(p > 0, p * jnp.log(jnp.where(p > 0, p, 1.0)), 0.0).sum(1)

    def seed(distance: Array, draw: Array) -> tuple[Array, Array]:
        below = jnp.cumsum(weight * distance)
        centre = p[jnp.minimum(jnp.searchsorted(below, draw * below[-1], side="right"), len(p) - 1)]
        # Not quite zero: with fewer distinct posteriors than cells, one is drawn again.
        new = jnp.maximum(negentropy - _cross(p, centre[None])[:, 0], 0) + jnp.finfo(p.dtype).eps
        return jnp.minimum(distance, new), centre

    draws = jax.random.uniform(key, (cells,), p.dtype)
    centres = jax.lax.scan(seed, jnp.full(len(p), 1e3, p.dtype), draws)[1]

    def lloyd(centres: Array, _: None) -> tuple[Array, None]:
        table = soft_table(_nearest(p, centres), p, weight, cells=cells)
        mass = table.sum(1, keepdims=True)
        return jnp.where(mass > 0, table / jnp.where(mass > 0, mass, 1), centres), None

    return jax.lax.scan(lloyd, centres, None, length=_LLOYD)[0]


def cells_of(p: Array, centres: Array) -> Array:
    """The cell that each posterior falls into: that of the nearest centre.

    Args:
        p: posteriors ``(n, k)``.
        centres: of ``codebook``, ``(cells, k)``.

    Returns:
        ``(n,)`` integers in ``[0, cells)``.

    Example:
        >>> print(cells_of(jnp.array([[0.9, 0.1], [0.2, 0.8]]), jnp.array([[0.1, 0.9], [0.8, 0.2]])))
        [1 0]
    """
    return _nearest(p, centres)


def soft_table(codes: Array, p: Array, weight: Array, *, cells: int) -> Array:
    """``p(cell, y)``: the weighted posteriors of each cell, added up.

    Soft tables are the mean posteriors of cells, and less noisy than counts of labels.

    Args:
        codes: ``(n,)`` in ``[0, cells)``.
        p: posteriors ``(n, k)``.
        weight: ``(n,)``; where it sums to one, so does the table.
        cells: number of cells; static.

    Returns:
        ``(cells, k)``.

    Example:
        >>> p = jnp.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]])
        >>> print((3 * soft_table(jnp.array([0, 0, 1]), p, jnp.full(3, 1 / 3), cells=2)).round(1))
        [[1.6 0.4]
         [0.2 0.8]]
    """
    return jax.ops.segment_sum(p * weight[:, None], codes, num_segments=cells)


def _cross(p: Array, centres: Array) -> Array:
    """``sum_y p log centre``, ``(n, cells)``; what a centre calls impossible is so to the smallest positive number."""
    return p @ jnp.log(jnp.maximum(centres, jnp.finfo(p.dtype).tiny)).T


def _nearest(p: Array, centres: Array) -> Array:
    return jnp.argmax(_cross(p, centres), 1)
