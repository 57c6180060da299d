"""Calibration: posteriors made honest on held-out samples, and the numbers that say how good they are."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pidjax import _checks
from pidjax._precision import in_own_precision
from pidjax.typing import Array, ArrayLike

__all__ = ["Quality", "VectorScaling", "cross_entropy", "quality", "vector_scaling"]

_BINS = 15  # of equal count, in the calibration error
_MOST_STEPS = 50  # of Newton's method; separated labels would use any number


def cross_entropy(log_p: Array, y: Array) -> Array:
    """``-log p(y)`` of each sample.

    Args:
        log_p: log posteriors ``(n, k)``.
        y: labels ``(n,)`` in ``[0, k)``; not checked.

    Returns:
        ``(n,)`` nats.
    """
    return -jnp.take_along_axis(log_p, y[:, None], 1)[:, 0]


class VectorScaling(NamedTuple):
    """Calibrated log posteriors are ``log_softmax(slope * log_p + offset)``; both ``(k,)``."""

    slope: Array
    offset: Array

    @in_own_precision
    def __call__(self, log_p: ArrayLike) -> Array:
        """The calibrated log posteriors ``(..., k)`` of log posteriors or logits."""
        return _scaled(jnp.asarray(log_p), *self)


@jax.jit
def _scaled(log_p: Array, *scaling: Array) -> Array:
    log_p = jax.nn.log_softmax(log_p)
    slope, offset = (jnp.broadcast_to(x, log_p.shape) for x in scaling)
    return jax.nn.log_softmax(slope * log_p + offset)


@in_own_precision
def vector_scaling(log_p: ArrayLike, y: ArrayLike, *, weight: ArrayLike | None = None) -> VectorScaling:
    """The k slopes and k offsets that calibrate posteriors best, by maximum likelihood.

    Hand it out-of-fold posteriors. The problem is convex. At its solution the log-loss and the model's own entropy
    agree, and the mean posterior is the share of each label. Where the labels are separated perfectly the slopes
    have no maximum, and stop where the loss no longer matters. Under differentiation the result is a constant.

    Args:
        log_p: log posteriors or logits ``(n, k)``.
        y: labels ``(n,)`` in ``[0, k)``.
        weight: ``(n,)`` non-negative weights; None means all ones.

    Returns:
        A ``VectorScaling``, to be called on posteriors.

    Raises:
        ValueError: shapes that don't fit, labels out of range.

    Example:
        >>> import numpy as np
        >>> y = np.array([0, 0, 0, 1, 1, 1, 1, 0])
        >>> bold = np.where(y[:, None] == np.arange(2), 9.0, -9.0) * np.where(np.arange(8) < 6, 1, -1)[:, None]
        >>> print(np.exp(vector_scaling(bold, y)(bold[0])).round(3))  # right in six of eight
        [0.75 0.25]
    """
    logits, labels, ok = _checked(log_p, y)
    theta = _newton(*jax.lax.stop_gradient((logits, labels, weight)))
    return _checks.poison(VectorScaling(*theta), ok, log_p, weight)


def _shares(weight: ArrayLike | None, n: int, dtype: Any) -> Array:
    return jnp.full(n, 1 / n, dtype) if weight is None else (jnp.asarray(weight) / jnp.sum(weight)).astype(dtype)


@jax.jit
def _newton(logits: Array, labels: Array, weight: ArrayLike | None) -> tuple[Array, Array]:
    """Levenberg's damped Newton method: it needs no line search, and takes only steps that lower the loss.

    The Hessian is singular (adding a constant to all offsets changes nothing), and nearly so for useless posteriors.
    """
    n, k = logits.shape
    weighed = _shares(weight, n, logits.dtype)[:, None]
    logits = jax.nn.log_softmax(logits)
    target = jax.nn.one_hot(labels, k, dtype=logits.dtype)
    identity = np.eye(2 * k, dtype=logits.dtype)

    def loss(theta: Array) -> Array:
        return -(weighed * target * jax.nn.log_softmax(theta[None, :k] * logits + theta[None, k:])).sum()

    def derivatives(theta: Array) -> tuple[Array, Array]:
        p = jax.nn.softmax(theta[None, :k] * logits + theta[None, k:])
        wp = weighed * p
        residual = wp - weighed * target
        gradient = jnp.concatenate([(residual * logits).sum(0), residual.sum(0)])
        outer = jnp.concatenate([p * logits, p], 1)
        moments = [(wp * logits**power).sum(0)[None] * identity[:k, :k] for power in (2, 1, 0)]
        diagonal = jnp.block([[moments[0], moments[1]], [moments[1], moments[2]]])
        return gradient, diagonal - outer.T @ (weighed * outer)

    def more(carry: Any) -> Array:
        number, _, _, damping, size = carry
        return (number < _MOST_STEPS) & (size > jnp.finfo(logits.dtype).eps ** 0.75) & (damping < 1e6)

    def step(carry: Any) -> Any:
        number, theta, old, damping, _ = carry
        gradient, hessian = derivatives(theta)
        moved = theta - jnp.linalg.solve(hessian + damping * identity, gradient)
        new = loss(moved)
        better = new < old
        size = jnp.abs(gradient).max()
        return (
            number + 1,
            jnp.where(better, moved, theta),
            jnp.where(better, new, old),
            damping * jnp.where(better, 0.1, 10.0),
            size,
        )

    start = jnp.concatenate([jnp.ones(k, logits.dtype), jnp.zeros(k, logits.dtype)])
    first = (jnp.asarray(0), start, loss(start), jnp.asarray(1e-3, logits.dtype), jnp.asarray(jnp.inf, logits.dtype))
    theta = jax.lax.while_loop(more, step, first)[1]
    return theta[:k], theta[k:]


class Quality(NamedTuple):
    """How good posteriors are on samples they were not fitted to.

    Attributes:
        log_loss: mean ``-log p(y | x)``, nats.
        accuracy: share of the samples whose likeliest label is theirs.
        calibration_error: mean distance between the greatest posterior and how often it is right, over 15 bins of
            equal count; samples of one posterior count alike, in whichever bins they fall.
    """

    log_loss: Array
    accuracy: Array
    calibration_error: Array


@in_own_precision
def quality(log_p: ArrayLike, y: ArrayLike, *, weight: ArrayLike | None = None) -> Quality:
    """Log-loss, accuracy and calibration error of posteriors; hand it held-out samples.

    Args:
        log_p: log posteriors ``(n, k)``.
        y: labels ``(n,)`` in ``[0, k)``.
        weight: ``(n,)`` non-negative weights; None means all ones.

    Returns:
        A ``Quality`` of scalars.

    Example:
        >>> import numpy as np
        >>> q = quality(np.log([[0.8, 0.2], [0.4, 0.6]]), np.array([0, 0]))
        >>> print(f"{q.log_loss:.4f} {q.accuracy:.1f} {q.calibration_error:.1f}")
        0.5697 0.5 0.4
    """
    logits, labels, ok = _checked(log_p, y)
    return _checks.poison(_measured(logits, labels, weight), ok, log_p, weight)


@jax.jit
def _measured(logits: Array, labels: Array, weight: ArrayLike | None) -> Quality:
    n = len(labels)
    share = _shares(weight, n, logits.dtype)
    right = (jnp.argmax(logits, 1) == labels).astype(logits.dtype)
    confidence = jnp.exp(jnp.max(logits, 1))
    order = jnp.argsort(confidence)
    confidence, excess = confidence[order], (share * (confidence - right))[order]
    # Samples that tie have their mean each: which of them falls into which bin must not depend on how they came.
    tie = jnp.cumsum(jnp.diff(confidence, prepend=confidence[:1]) > 0)
    of_ties = lambda values: jax.ops.segment_sum(values, tie, n, indices_are_sorted=True)
    excess = (of_ties(excess) / jnp.maximum(of_ties(jnp.ones_like(excess)), 1))[tie]
    bins = jnp.arange(n) * min(_BINS, n) // n
    gaps = jax.ops.segment_sum(excess, bins, min(_BINS, n), indices_are_sorted=True)
    return Quality((share * cross_entropy(logits, labels)).sum(), (share * right).sum(), jnp.abs(gaps).sum())


def _checked(log_p: ArrayLike, y: ArrayLike) -> tuple[Array, Array, Any]:
    logits = jnp.asarray(_checks.as_float(log_p, "log_p"))
    _checks.require(logits.ndim == 2, f"log_p has shape {logits.shape}; expected (n, k)")
    return logits, *_checks.labels(y, classes=logits.shape[1], n=len(logits))
