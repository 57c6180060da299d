"""From information to accuracy: what I(X;Y) promises, and forbids, the best possible classifier.

With ``H(Y|X) = H(Y) - I(X;Y)`` left open, the accuracy of ``argmax_y p(y|x)`` lies between two curves that some
channel attains each: Feder and Merhav's below, Fano's above.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pidjax import _checks
from pidjax._precision import in_own_precision
from pidjax.info import xlogx
from pidjax.pid import Interval
from pidjax.typing import Array, ArrayLike

__all__ = ["AccuracyBounds", "accuracy_bounds"]

_HALVINGS = 80


class AccuracyBounds(NamedTuple):
    """What an amount of information allows the best classifier; probabilities.

    Attributes:
        lower: its accuracy is at least this.
        upper: its accuracy is at most this.
        paper: the ends as the paper states them, corrected for labels that are not equally likely: looser.
    """

    lower: Array
    upper: Array
    paper: Interval

    @property
    def midpoint(self) -> Array:
        """The paper's estimate of the accuracy: the mean of the two ends."""
        return (self.lower + self.upper) / 2


@in_own_precision
def accuracy_bounds(information: ArrayLike | Interval, p_y: ArrayLike, *, at_least: ArrayLike = 0.0) -> AccuracyBounds:
    """Bounds on the accuracy of the best classifier of y from what it is told about y.

    Below: the largest error that leaves ``H(Y|X)`` open at least, the straight lines through the points
    ``(1 - 1/i, log i)``; for two labels ``1 - H(Y|X) / (2 log 2)``. Above: Fano, the smallest error e with
    ``h(e) + e log(k - 1) >= H(Y|X)``. Neither is below the share of the most frequent label.

    Args:
        information: I(X;Y) in nats, scalar; or an ``Interval``, such as ``SynergyBounds.information``, whose lower
            end gives the lower accuracy and whose upper end the upper.
        p_y: the label's distribution, ``(k,)``, sum one; labels of probability 0 don't count.
        at_least: an accuracy that is known to be reached, of a single modality, say.

    Returns:
        ``AccuracyBounds``. Works under jit, vmap and grad.

    Raises:
        ValueError: p_y is no distribution, information below 0 or above H(Y) by more than 1e-6.

    Example:
        >>> import numpy as np
        >>> found = accuracy_bounds(2 * np.log(2), np.full(10, 0.1))  # two bits about ten labels
        >>> print(f"{found.lower:.4f} {found.upper:.4f}  {found.paper.lower:.4f} {found.paper.upper:.4f}")
        0.4083 0.8065  0.4000 0.9031

    References:
        arXiv 2306.04539, theorem 5 (``paper``); Fano 1961; Feder & Merhav 1994, "Relations between entropy and error
        probability".
    """
    p_y = jnp.asarray(_checks.pmf(p_y, name="p_y", ndim=1, axes="[y]"))
    ends = information if isinstance(information, Interval) else Interval(information, information)
    least, most = (jnp.asarray(_checks.as_float(end, "information"), p_y.dtype) for end in ends)
    floor = jnp.asarray(_checks.as_float(at_least, "at_least"), p_y.dtype)
    shapes = [x.shape for x in (least, most, floor)]
    _checks.require(
        all(shape == () for shape in shapes),
        f"information and at_least have shapes {shapes}; expected scalars: for many use jax.vmap",
    )
    entropy = -jnp.sum(xlogx(p_y))
    slack = max(1e-6, 8 * float(jnp.finfo(p_y.dtype).eps))
    seen = jax.lax.stop_gradient((least, most, entropy))
    ok: Any = _checks.ensure(
        (seen[0] >= -slack) & (seen[1] <= seen[2] + slack) & (seen[0] <= seen[1] + slack),
        lambda: (
            f"information runs from {float(least):g} to {float(most):g} nats and H(Y) is {float(entropy):g}; expected "
            "0 <= lower <= upper <= H(Y): an upper bound is cut by hand, jnp.minimum(upper, entropy(p_y))"
        ),
    )
    ok &= _checks.ensure(
        (floor >= 0) & (floor <= 1), lambda: f"at_least is {float(floor):g}; expected an accuracy between 0 and 1"
    )
    # Past the check only rounding is cut.
    open_least, open_most = (jnp.clip(entropy - end, 0.0, entropy) for end in (most, least))
    labels = (p_y > 0).sum()
    floor = jnp.maximum(floor, p_y.max())
    steps = jnp.arange(1, len(p_y) + 1, dtype=p_y.dtype)
    surest = 1 - jnp.interp(open_most, jnp.log(steps), 1 - 1 / steps)
    largest = 1 - _least_error(open_least, labels.astype(p_y.dtype))
    log_k = jnp.where(labels > 1, jnp.log(jnp.maximum(labels, 2).astype(p_y.dtype)), 1.0)
    loose = Interval(
        jnp.maximum(jnp.exp(-open_most), floor), jnp.clip(1 - (open_least - math.log(2)) / log_k, floor, 1.0)
    )
    found = AccuracyBounds(jnp.maximum(surest, floor), jnp.maximum(largest, floor), loose)
    return _checks.poison(found, ok, least, most, floor, p_y)


def _least_error(equivocation: Array, labels: Array) -> Array:
    """The smallest error that Fano's inequality allows, by halving; its derivative is that of the inverse."""
    log_others = jnp.log(jnp.maximum(labels - 1, 1.0))
    # Less what rounding may have added to it: the curve is flat where nothing is told.
    target = jax.lax.stop_gradient(equivocation) * (1 - 8 * jnp.finfo(equivocation.dtype).eps)

    def left(e: Array) -> Array:
        return -xlogx(e) - xlogx(1 - e) + e * log_others

    def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        below = left(middle) < target
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    ends = (jnp.zeros_like(target), jnp.ones_like(target) * (1 - 1 / labels))
    error = jax.lax.fori_loop(0, _HALVINGS, halve, ends)[0]
    inside = (error > 0) & (error < 1 - 1 / labels)
    e = jnp.where(inside, error, 0.25)
    slope = jnp.log1p(-e) - jnp.log(e) + log_others
    moved = equivocation - jax.lax.stop_gradient(equivocation)
    return error + jnp.where(inside & (slope > 0), moved / jnp.where(slope > 0, slope, 1.0), 0.0)
