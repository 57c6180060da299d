"""Replicates of a decomposition of posteriors: samples drawn anew, posteriors held.

What a replicate does again is all that follows the classifiers: it calibrates, reconciles, and decomposes. What it
does not is to train them, so the spread is that of the samples judged, not of the samples trained on.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pidjax import _checks
from pidjax.pid import PID
from pidjax.posteriors import exact_union, shared_cells, table_union
from pidjax.reconciled import reconciled
from pidjax.typing import Array, ArrayLike, Key

__all__ = ["REPLICATE_TOL", "group_numbers", "posterior_replicates", "resampled_weights"]

# Replicates measure spread, not the fourth digit: solved to this gap (nats), they take half the steps.
REPLICATE_TOL = 1e-6


def resampled_weights(key: Key, n: int, groups: Array | None = None, *, units: int | None = None) -> Array:
    """How often a bootstrap draws each sample: n draws with replacement, or as many groups as there are, whole.

    Args:
        key: PRNG key.
        n: number of samples; static.
        groups: group numbers ``(n,)`` in ``[0, units)``; None draws single samples.
        units: number of groups; static.

    Returns:
        ``(n,)`` counts, as floats.

    Example:
        >>> times = resampled_weights(jax.random.key(0), 1000)
        >>> float(times.sum()), bool((times == 0).any())
        (1000.0, True)
    """
    _checks.require(groups is None or units is not None, "units is None with groups; expected the number of groups")
    count = units or n
    drawn = jax.random.randint(key, (count,), 0, count)
    times = jnp.zeros(count, jnp.result_type(float)).at[drawn].add(1.0)
    return times if groups is None else times[groups]


def group_numbers(groups: ArrayLike | None, n: int) -> tuple[Any, int | None]:
    """Groups as numbers 0, 1, ..., and how many there are; None for both when there are none.

    Args:
        groups: ``(n,)`` integers, concrete, or None.
        n: number of samples.

    Returns:
        Integers ``(n,)`` and the number of groups.

    Raises:
        ValueError: not one for each sample.

    Example:
        >>> group_numbers([7, 3, 7], 3)
        (array([1, 0, 1]), 2)
    """
    if groups is None:
        return None, None
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    _checks.require(numbers.shape == (n,), f"groups has shape {numbers.shape}; expected ({n},)")
    return numbers, int(numbers.max()) + 1


def posterior_replicates(
    key: Key,
    p1: ArrayLike,
    p2: ArrayLike,
    p12: ArrayLike,
    y: ArrayLike | None = None,
    *,
    replicates: int = 200,
    groups: ArrayLike | None = None,
    cells: int = 40,
) -> PID:
    """Bootstrap replicates of ``pid_from_posteriors``: weights drawn anew, everything after the posteriors redone.

    Above two labels they are of the variant ``ratio``, on the cells of all samples: set them beside that variant.

    Args:
        key: PRNG key.
        p1: as in ``pid_from_posteriors``.
        p2: likewise.
        p12: likewise.
        y: likewise.
        replicates: how many; static.
        groups: ``(n,)`` integers, concrete: what is drawn whole; None draws single samples.
        cells: likewise.

    Returns:
        ``PID`` with leaves ``(replicates,)``, nats. Works under jit (without ``groups``) and vmap.

    Raises:
        ValueError: fewer than one replicate, and what ``pid_from_posteriors`` refuses.

    Example:
        >>> theta = np.random.default_rng(0).uniform(size=(2, 500))
        >>> p1, p2 = (np.stack([1 - t, t], 1) for t in theta)
        >>> drawn = posterior_replicates(jax.random.key(0), p1, p2, p1, replicates=20)
        >>> drawn.redundancy.shape, bool(drawn.redundancy.std() < 0.03)
        ((20,), True)
    """
    _checks.require(replicates >= 1, f"replicates is {replicates}; expected at least 1 (200 is a common choice)")
    groups, units = group_numbers(groups, len(jnp.asarray(p1)))
    posteriors = tuple(jnp.asarray(_checks.as_float(p, name)) for p, name in ((p1, "p1"), (p2, "p2"), (p12, "p12")))
    return _replicates(key, posteriors, y, groups, replicates=replicates, units=units, cells=cells)


@functools.partial(jax.jit, static_argnames=("replicates", "units", "cells"))
def _replicates(
    key: Key, posteriors: tuple[Any, Any, Any], y: Any, groups: Any, *, replicates: int, units: int | None, cells: int
) -> PID:
    def one(key: Key) -> PID:
        weight = resampled_weights(key, len(posteriors[0]), groups, units=units)
        prepared, ok = reconciled(*posteriors, y, weight=weight, calibrate=True)
        if codes is None:
            return _checks.poison(exact_union(prepared)["variants"]["exact"], ok)
        return _checks.poison(table_union(prepared, codes, cells=cells, tol=REPLICATE_TOL)[0]["ratio"], ok)

    codes = None
    if posteriors[0].shape[1] > 2:
        whole, _ = reconciled(*posteriors, y, weight=None, calibrate=True)
        codes = shared_cells(jax.random.fold_in(key, 1), whole, cells=cells)
    return jax.lax.map(one, jax.random.split(jax.random.fold_in(key, 0), replicates))
