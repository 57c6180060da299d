"""From samples to a joint probability mass function: features to symbols, symbols to a weighted table.

Weights are what keeps it one program: a bootstrap replicate, a padded batch and a ragged dataset are the same
samples with other weights, so each is one ``vmap``.
"""

import functools
import operator
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pidjax import _checks
from pidjax._precision import in_own_precision, is_traced
from pidjax.typing import Array, ArrayLike, Key

__all__ = ["joint_pmf", "kmeans_codes", "quantile_codes"]

# Lloyd's algorithm from several starts, the best kept: one start misses a cluster now and then.
_STARTS = 5


def joint_pmf(
    x1: ArrayLike,
    x2: ArrayLike,
    y: ArrayLike,
    *,
    shape: tuple[int, int, int],
    weight: ArrayLike | None = None,
) -> Array:
    """Joint probability mass function of three coded variables: their weighted counts over the total weight.

    ``p[i, j, l] = sum_n w_n [x1_n = i, x2_n = j, y_n = l] / sum_n w_n``.

    Args:
        x1: codes of the first modality, ``(n,)`` integers in ``[0, n1)``.
        x2: codes of the second modality, ``(n,)`` integers in ``[0, n2)``.
        y: codes of the target, ``(n,)`` integers in ``[0, k)``.
        shape: the alphabets ``(n1, n2, k)``; static. A symbol that never occurs changes no information.
        weight: ``(n,)`` non-negative weights, not all zero; None means all ones. A weight of 2 is the sample
            twice, a weight of 0 is a padded sample.

    Returns:
        ``p[x1, x2, y]``, sum one: float64 for NumPy codes without weights, else in the dtype of the weights.
        Inside jit, invalid codes or weights give NaN.

    Raises:
        ValueError: a code outside its alphabet, different lengths, no samples, negative or NaN weights, or a
            total weight of zero.
        TypeError: codes that are not integers.

    Example:
        >>> import numpy as np
        >>> x1, x2 = np.array([[0, 0, 1, 1], [0, 1, 0, 1]])
        >>> p = joint_pmf(x1, x2, x1 & x2, shape=(2, 2, 2))
        >>> [round(float(p[cell]), 6) for cell in [(0, 0, 0), (0, 0, 1), (1, 1, 1)]]
        [0.25, 0.0, 0.25]
    """
    _checks.require(
        len(shape) == 3 and min(map(operator.index, shape)) >= 1,
        f"shape is {shape}; expected the three alphabet sizes (n1, n2, k), each at least 1",
    )
    codes = [_codes(x, name) for x, name in ((x1, "x1"), (x2, "x2"), (y, "y"))]
    lengths = [c.shape[0] for c in codes]
    _checks.require(
        len(set(lengths)) == 1,
        f"x1, x2 and y have {lengths[0]}, {lengths[1]} and {lengths[2]} samples; expected one code of "
        "each for every sample: pair them before the call",
    )
    _checks.require(lengths[0] > 0, "x1, x2 and y have no samples; expected at least one: look at the filter before")
    xp: Any = jnp if any(isinstance(c, jax.Array) for c in codes) else np
    w, ok = _weights(weight, xp.ones(lengths[0]))
    for c, name, size in zip(codes, ("x1", "x2", "y"), shape, strict=True):
        ok &= _in_alphabet(c, name, size)
    return _checks.poison(_counts(*codes, w, shape=tuple(shape)), ok)


@in_own_precision
@functools.partial(jax.jit, static_argnames="shape")
def _counts(x1: Array, x2: Array, y: Array, weight: Array, *, shape: tuple[int, int, int]) -> Array:
    table = jnp.zeros(shape, weight.dtype).at[x1, x2, y].add(weight)
    return table / table.sum()


def kmeans_codes(key: Key, x: ArrayLike, *, bins: int, weight: ArrayLike | None = None) -> Array:
    """Symbols of a modality by k-means: the number of the cluster that each sample falls into.

    Columns are standardised first (weighted mean 0, variance 1; constant columns become zero), so that units
    do not matter. Several k-means++ starts are run and the one of least distortion is kept. The same key and
    samples always give the same codes.

    Args:
        key: PRNG key of the starts.
        x: features ``(n,)`` or ``(n, ...)``, flattened to ``(n, d)``; finite.
        bins: number of clusters, at least 1; static. With fewer distinct samples than ``bins`` some codes are
            never used, which changes no information.
        weight: ``(n,)`` non-negative weights; None means all ones. Samples of weight 0 (padding) move
            nothing; other weights enter the centroids, not the choice of starts.

    Returns:
        ``(n,)`` integer codes in ``[0, bins)``. Inside jit, NaN features give -1, which ``joint_pmf``
        refuses.

    Raises:
        ValueError: NaN or infinite features, no samples, no columns, ``bins`` below 1, or invalid weights.
        TypeError: features that are not real numbers.

    Example:
        >>> import jax, numpy as np
        >>> codes = kmeans_codes(jax.random.key(0), np.array([0.0, 0.1, 5.0, 5.1]), bins=2)
        >>> bool(codes[0] == codes[1]), bool(codes[2] == codes[3]), bool(codes[0] == codes[2])
        (True, True, False)

    References:
        Lloyd 1982, "Least squares quantization in PCM"; Arthur & Vassilvitskii 2007 (k-means++). The
        implementation is ott-jax's ``ott.tools.k_means``.
    """
    bins = checked_bins(bins)
    columns = feature_columns(x, "x")
    w, ok = _weights(weight, np.ones(len(columns), columns.dtype))
    ok &= finite(columns, "x")
    return _refused(_clusters(key, columns, w, bins=min(bins, len(columns))), ok)


@in_own_precision
@functools.partial(jax.jit, static_argnames="bins")
def _clusters(key: Key, x: Array, weight: Array, *, bins: int) -> Array:
    with warnings.catch_warnings():
        # ott imports jaxopt, which is no longer maintained and warns when imported.
        warnings.filterwarnings("ignore", message=".*JAXopt.*", category=DeprecationWarning)
        from ott.tools.k_means import k_means

    # ott mixes its arguments with the default float: anything else would change dtype in its loop.
    x, weight = x.astype(float), weight.astype(float)
    # A padded row becomes a copy of a real one, or it would attract a start or a cluster that has run empty.
    x = jnp.where((weight > 0)[:, None], x, x[jnp.argmax(weight)][None, :])
    # ott broadcasts ranks, which a user may have forbidden to their own code.
    with jax.numpy_rank_promotion("allow"):
        found = k_means(_standardised(x, weight), bins, weights=weight, n_init=_STARTS, rng=key)
    return found.assignment.astype(jnp.int32)


def _standardised(x: Array, weight: Array) -> Array:
    low, high = x.min(0, keepdims=True), x.max(0, keepdims=True)
    # Constancy is judged by equality: the rounding noise of a mean must not be blown up to variance 1.
    x = (x - low) / jnp.where(high > low, high - low, 1)
    share = (weight / weight.sum())[:, None]
    x = x - (share * x).sum(0, keepdims=True)
    deviation = jnp.sqrt((share * x**2).sum(0, keepdims=True))
    return jnp.where(high > low, x / jnp.where(deviation > 0, deviation, 1), 0)


def quantile_codes(x: ArrayLike, *, bins: int, weight: ArrayLike | None = None) -> Array:
    """Symbols of a single column by its quantiles: bins of equal weight, up to ties.

    ``code_n = floor(bins * F(x_n -))`` with ``F(x -)`` the share of the weight strictly below x. It reads the
    order alone, so an increasing map of x changes nothing, and equal values always share a bin.

    Args:
        x: one column, ``(n,)`` or ``(n, 1)``.
        bins: number of bins, at least 1; static. Ties may leave some empty, which changes no information.
        weight: ``(n,)`` non-negative weights; None means all ones. Samples of weight 0 move nothing.

    Returns:
        ``(n,)`` integer codes in ``[0, bins)``, increasing in x. Inside jit, NaN features give -1, which
        ``joint_pmf`` refuses.

    Raises:
        ValueError: more than one column, NaN features, no samples, ``bins`` below 1, or invalid weights.
        TypeError: features that are not real numbers.

    Example:
        >>> import numpy as np
        >>> quantile_codes(np.array([3.0, 1.0, 2.0, 9.0, 2.0, 7.0]), bins=3).tolist()
        [1, 0, 0, 2, 0, 2]
    """
    bins = checked_bins(bins)
    columns = feature_columns(x, "x")
    one_column(columns, "x")
    w, ok = _weights(weight, np.ones(len(columns), columns.dtype))
    xp: Any = jnp if isinstance(columns, jax.Array) else np
    missing = xp.isnan(columns)
    ok &= _checks.ensure(
        xp.logical_not(missing.any()),
        lambda: (
            f"x has {int(missing.sum())} NaN values among {missing.size}; drop or impute those samples before the call"
        ),
    )
    return _refused(_quantile_bins(columns[:, 0], w, bins=bins), ok)


@in_own_precision
@functools.partial(jax.jit, static_argnames="bins")
def _quantile_bins(x: Array, weight: Array, *, bins: int) -> Array:
    order = jnp.argsort(x)
    cumulated = jnp.concatenate([jnp.zeros(1, weight.dtype), jnp.cumsum(weight[order])])
    below = cumulated[jnp.searchsorted(x[order], x, side="left")]
    # Multiplied before it is divided: with whole weights both are exact, so no value slips over an edge.
    return jnp.clip(jnp.floor(bins * below / cumulated[-1]), 0, bins - 1).astype(jnp.int32)


def _refused(codes: Array, ok: ArrayLike) -> Array:
    """Codes that no alphabet has, where the input was refused inside jit: integers can't be NaN."""
    return jnp.where(ok, codes, -1) if is_traced(ok) else codes


def checked_bins(bins: int) -> int:
    """``bins`` as an int, at least 1."""
    bins = operator.index(bins)
    _checks.require(bins >= 1, f"bins is {bins}; expected at least 1 (20 is a common choice)")
    return bins


def feature_columns(x: ArrayLike, name: str) -> Any:
    """``x`` as a real matrix ``(n, d)``, one sample and one column at least; values are not looked at."""
    array: Any = _checks.as_float(x, name)
    _checks.require(
        array.ndim >= 1 and array.size > 0,
        f"{name} has shape {array.shape}; expected at least one sample (first axis) and one column",
    )
    return array.reshape(len(array), -1)


def one_column(x: Any, name: str) -> None:
    """Check that a feature matrix has a single column, which is all that quantiles can order."""
    _checks.require(
        x.shape[1] == 1,
        f"{name} has {x.shape[1]} columns; quantile bins need exactly one: use k-means (pidjax.kmeans_codes, "
        'or discretise="kmeans") for several',
    )


def finite(x: Any, name: str) -> Any:
    """Check that a feature matrix has neither NaN nor infinity: ValueError when eager, else the condition."""
    xp: Any = jnp if isinstance(x, jax.Array) else np
    bad = xp.logical_not(xp.isfinite(x))
    return _checks.ensure(
        xp.logical_not(bad.any()),
        lambda: (
            f"{name} has {int(bad.sum())} NaN or infinite values, in {int(bad.any(1).sum())} of its {len(x)} "
            "samples; drop or impute those samples before the call"
        ),
    )


def _codes(x: ArrayLike, name: str) -> Any:
    codes: Any = x if isinstance(x, jax.Array) else np.asarray(x)
    _checks.require(codes.ndim == 1, f"{name} has shape {codes.shape}; expected one code for each sample, (n,)")
    if codes.dtype == bool:
        codes = codes.astype(np.int32)
    _checks.require(
        codes.size == 0 or np.issubdtype(codes.dtype, np.integer),
        f"{name} has dtype {codes.dtype}; expected integer codes: make them with pidjax.kmeans_codes or "
        "pidjax.quantile_codes (features), or np.unique(..., return_inverse=True) (names)",
        TypeError,
    )
    return codes


def _in_alphabet(codes: Any, name: str, size: int) -> ArrayLike:
    outside = (codes < 0) | (codes >= size)
    return _checks.ensure(
        ~outside.any(),
        lambda: (
            f"{name} has {int(outside.sum())} codes outside 0..{size - 1} (found {int(codes.min())} to "
            f"{int(codes.max())}); enlarge shape, or recode with np.unique(..., return_inverse=True)"
        ),
    )


def _weights(weight: ArrayLike | None, ones: Any) -> tuple[Any, Any]:
    """The weights as floats (``ones`` for None), and whether they can be divided by their sum."""
    w: Any = ones if weight is None else _checks.as_float(weight, "weight")
    _checks.require(
        w.shape == ones.shape,
        f"weight has shape {w.shape}; expected one weight for each sample, {ones.shape}",
    )
    xp: Any = jnp if isinstance(w, jax.Array) else np
    bad = xp.logical_not(xp.isfinite(w) & (w >= 0))
    valid = _checks.ensure(
        xp.logical_not(bad.any()),
        lambda: (
            f"weight has {int(bad.sum())} negative, NaN or infinite values; expected numbers >= 0: give "
            "samples that should not count the weight 0"
        ),
    )
    positive = _checks.ensure(
        w.sum() > 0, lambda: "the weights sum to 0; expected at least one sample of positive weight"
    )
    return w, xp.logical_and(valid, positive)
