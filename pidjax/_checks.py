"""Errors: the only place where they are raised.

Three kinds, three ways. What is wrong with a shape or a setting is known before anything runs: ``require``.
What is wrong with a value is known only when the value is: ``ensure`` raises in an eager call and, inside jit,
vmap or grad, tells checkify and lets the caller poison its answer with NaN. What went badly (an optimiser that
did not converge) is never an error, but a leaf of the result.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify

from pidjax._precision import is_traced
from pidjax.typing import ArrayLike

__all__ = ["SUM_TOLERANCE", "as_float", "ensure", "labels", "pmf", "poison", "require", "sum_tolerance"]

SUM_TOLERANCE = 1e-6


def require(condition: bool, message: str, error: type[Exception] = ValueError) -> None:
    """Raise ``error(message)`` unless a statically known condition holds.

    Args:
        condition: of shapes, dtypes and settings, never of traced values.
        message: names what was found, what was expected and the cure.
        error: what is raised.
    """
    if not condition:
        raise error(message)


def ensure(condition: ArrayLike, message: Callable[[], str]) -> Any:
    """Check a condition on values: ValueError when eager, ``checkify.debug_check`` when traced.

    Args:
        condition: a boolean scalar.
        message: builds the text of the error, with the numbers found; called only for an eager failure.

    Returns:
        The condition, for ``poison``.
    """
    if is_traced(condition):
        checkify.debug_check(jnp.asarray(condition), "pidjax: invalid input; call eagerly for the full message")
    elif not bool(condition):
        raise ValueError(message())
    return condition


def poison(tree: Any, ok: ArrayLike, *inputs: Any) -> Any:
    """The tree with every floating leaf NaN where ``ok`` is false, and its derivatives: no plausible number is left.

    Args:
        tree: what was computed.
        ok: the condition of ``ensure``.
        inputs: what was refused. A product with NaN has the derivative NaN wherever the tree has one; where it was
            chosen among branches it has none, and these are then tied to it, for training not to go on with zeros.

    Returns:
        The tree; untouched where ``ok`` is concrete, since then nothing was refused.
    """
    if not is_traced(ok):
        return tree
    floating = lambda leaf: jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
    total = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(inputs) if floating(leaf))

    def poisoned(leaf: Any) -> Any:
        if not floating(leaf):
            return leaf
        factor = jnp.where(ok, 1.0, jnp.nan).astype(jnp.result_type(leaf))
        return leaf * factor + (jnp.where(ok, 0.0, total * factor).astype(factor.dtype) if inputs else 0)

    return jax.tree.map(poisoned, tree)


def as_float(x: Any, name: str) -> Any:
    """``x`` as a floating array: numpy when it is concrete and not a jax array, so that float64 stays float64.

    Args:
        x: real numbers, anything that ``np.asarray`` takes.
        name: what the caller calls it, for the message.

    Returns:
        float32 and float64 as they are, other real dtypes as float64 (NumPy) or float32 (jax).

    Raises:
        TypeError: a dtype that is not real.
    """
    if not isinstance(x, jax.Array):
        x = np.asarray(x)
    require(
        np.issubdtype(x.dtype, np.floating)
        or np.issubdtype(x.dtype, np.integer)
        or x.dtype == bool
        or jnp.issubdtype(x.dtype, jnp.floating),
        f"{name} has dtype {x.dtype}; expected real numbers (float32 or float64)",
        TypeError,
    )
    if jnp.issubdtype(x.dtype, jnp.floating) and x.dtype.itemsize in (4, 8):
        return x
    return x.astype(np.float64 if isinstance(x, np.ndarray) else jnp.float32)


def labels(y: Any, *, classes: int, n: int | None = None) -> tuple[Any, Any]:
    """Labels ``(n,)`` as int32, and whether all are in ``[0, classes)``.

    Args:
        y: integers or booleans.
        classes: number of labels.
        n: how many there should be; None for any number.

    Returns:
        The labels, and the condition for ``poison``.

    Raises:
        ValueError: labels out of range, or not one for each sample.
        TypeError: no integers.
    """
    y = y if isinstance(y, jax.Array) else np.asarray(y)
    require(
        y.ndim == 1 and n in (None, len(y)),
        f"y has shape {y.shape}; expected one label for each sample, ({'n' if n is None else n},)",
    )
    require(
        y.dtype == bool or bool(np.issubdtype(y.dtype, np.integer)),
        f"y has dtype {y.dtype}; expected integer labels in [0, {classes}): np.unique(y, return_inverse=True)[1]",
        TypeError,
    )
    # Looked at in a type that holds both: jax reads the number of classes in the dtype of y, int64 may exceed int32.
    y = y.astype(np.int32) if y.dtype.itemsize < 4 else y
    ok = ensure(
        ((y >= 0) & (y < classes)).all(),
        lambda: (
            f"y runs from {int(y.min())} to {int(y.max())}; expected 0 to {classes - 1}: "
            "np.unique(y, return_inverse=True)[1]"
        ),
    )
    return jnp.asarray(y.astype(np.int32)), ok


def sum_tolerance(shape: tuple[int, ...], dtype: Any) -> float:
    """How far from one a sum may be and still count as rounding: 1e-6, or what summing in ``dtype`` costs.

    Args:
        shape: of the array that is summed.
        dtype: of its entries, floating.

    Returns:
        The tolerance.
    """
    return max(SUM_TOLERANCE, 4.0 * float(jnp.finfo(dtype).eps) * float(np.sqrt(np.prod(shape))))


def pmf(p: Any, *, name: str, ndim: int | None = None, axes: str = "") -> Any:
    """Check a probability mass function and return it divided by its sum.

    Args:
        p: the array; its sum over all axes must be one.
        name: what the caller calls it, for the message.
        ndim: the expected rank, or None for any.
        axes: what the axes mean, for the message.

    Returns:
        The normalised array; all NaN where the values were refused inside jit.

    Raises:
        ValueError: wrong rank, empty axis, NaN or infinity, a negative cell, or a sum off by more than 1e-6.
        TypeError: not real numbers.
    """
    p = as_float(p, name)
    require(
        ndim is None or p.ndim == ndim,
        f"{name} has rank {p.ndim} (shape {p.shape}); expected rank {ndim}{', axes ' + axes if axes else ''}. "
        "From samples, make one with pidjax.joint_pmf; for a batch of problems use jax.vmap",
    )
    require(p.size > 0, f"{name} has an empty axis (shape {p.shape}); every alphabet needs at least one symbol")
    xp: Any = jnp if isinstance(p, jax.Array) else np
    # Under an eager grad the value is known, the tangent's carrier is not.
    seen = jax.lax.stop_gradient(p) if xp is jnp else p
    total = xp.sum(seen) if xp is jnp else np.sum(seen, dtype=np.float64)
    ok = ensure(
        xp.all(xp.isfinite(seen)),
        lambda: (
            f"{name} has {int(np.sum(~np.isfinite(seen)))} cells that are NaN or "
            "infinite; a probability mass function is finite: look where it was divided by zero"
        ),
    )
    ok &= ensure(
        xp.all(xp.logical_not(seen < 0)),
        lambda: (
            f"{name} has negative cells, the smallest {float(np.min(seen)):g}; "
            "probabilities are >= 0: clip or refit before the call"
        ),
    )
    ok &= ensure(
        abs(total - 1) <= sum_tolerance(p.shape, p.dtype),
        lambda: (
            f"{name} sums to {float(total):.9g}, "
            f"expected 1 (to {SUM_TOLERANCE:g}); divide by the sum: {name} / {name}.sum()"
        ),
    )
    if isinstance(p, jax.Array):
        # An empty cell has no derivative (entropies are infinitely steep there): gradients stay in the support.
        p = jnp.where(p == 0, 0.0, p)
    return poison(p / (xp.sum(p) if xp is jnp else total.astype(p.dtype)), ok)
