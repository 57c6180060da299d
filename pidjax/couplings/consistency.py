"""Posteriors of one population: the least change after which their mean is a given distribution of the label.

``p(x, y) = w(x) p(y|x)`` has the label marginal that the posteriors average to. Two modalities whose posteriors
average to different label marginals have no coupling at all, and no decomposition: they are projected first.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pidjax import _checks
from pidjax._precision import in_own_precision
from pidjax.couplings.certificate import pairwise_sum
from pidjax.typing import Array, ArrayLike

__all__ = ["Consistent", "consistent"]

_MOST_STEPS = 100  # of Newton's method; a dozen do where posteriors overlap


class Consistent(NamedTuple):
    """Posteriors that average to what was asked for.

    Attributes:
        log_posterior: ``(n, k)``; -inf for labels of probability 0.
        offset: what was added to the logits of each label, ``(k,)``, mean 0 over the labels that occur.
        residual: the largest difference that is left between the mean posterior and the target; not near 0 where no
            offset reaches it, such as a label that no posterior believes in.
    """

    log_posterior: Array
    offset: Array
    residual: Array


@in_own_precision
def consistent(log_p: ArrayLike, target: ArrayLike, *, weight: ArrayLike | None = None) -> Consistent:
    """The I-projection of posteriors onto a given mean: ``q(y|x) ~ p(y|x) exp(offset_y)``, k numbers.

    Of all posteriors whose mean is the target, these are nearest to the given ones in Kullback-Leibler divergence
    (a Sinkhorn problem between the samples and the labels; here by Newton's method on its smooth convex dual). For a
    classifier it is the correction of its prior.

    Args:
        log_p: log posteriors or logits ``(n, k)``; -inf is a posterior of 0.
        target: distribution of the label ``(k,)``, sum one. Labels of probability 0 are taken out.
        weight: ``(n,)`` non-negative weights; None means all ones.

    Returns:
        A ``Consistent``. Works under jit, vmap and grad (by implicit differentiation).

    Raises:
        ValueError: shapes that don't fit, a target that is no distribution, posteriors that are NaN.

    Example:
        >>> import numpy as np
        >>> p = np.array([[0.9, 0.1], [0.5, 0.5], [0.4, 0.6]])
        >>> done = consistent(np.log(p), np.array([0.5, 0.5]))
        >>> print(np.exp(done.log_posterior).mean(0).round(6), bool(done.residual < 1e-12))
        [0.5 0.5] True

    References:
        Csiszar 1975, "I-divergence geometry of probability distributions and minimization problems".
    """
    log_p = jnp.asarray(_checks.as_float(log_p, "log_p"))
    target = jnp.asarray(_checks.pmf(target, name="target", ndim=1, axes="[y]"), log_p.dtype)
    _checks.require(
        log_p.ndim == 2 and log_p.shape[1:] == target.shape,
        f"log_p has shape {log_p.shape}, target {target.shape}; expected (n, k) and (k,)",
    )
    n = len(log_p)
    share = jnp.full(n, 1 / n, log_p.dtype) if weight is None else jnp.asarray(weight, log_p.dtype)
    _checks.require(share.shape == (n,), f"weight has shape {share.shape}; expected ({n},)")
    lost, least = _flaws(*jax.lax.stop_gradient((log_p, target, share)))
    ok = _checks.ensure(
        (lost == 0) & (least >= 0),
        lambda: (
            f"{int(lost)} rows of log_p are NaN, or believe only in labels of target 0 (or "
            "weights are negative); floor the posteriors, or give such samples weight 0 and any posterior"
        ),
    )
    return _checks.poison(_consistent(log_p, target, share), ok, log_p, target)


@jax.jit
def _flaws(log_p: Array, target: Array, share: Array) -> tuple[Array, Array]:
    """How many rows can't be projected, and the least share of a sample."""
    likeliest = jnp.where((target > 0)[None], log_p, -jnp.inf).max(1)
    return jnp.logical_not(jnp.isfinite(likeliest)).sum(), (share / share.sum()).min()


@jax.jit
def _consistent(log_p: Array, target: Array, share: Array) -> Consistent:
    """Of input that was looked at."""
    share = share / share.sum()
    logits = jax.nn.log_softmax(jnp.where((target > 0)[None], log_p, -jnp.inf))
    # A label that no sample believes in can't be reached: the others keep their proportions.
    reached = jnp.isfinite(logits).any(0)
    reachable = jnp.where(reached, target, 0.0)
    offset = _projected(logits, share, reachable / reachable.sum())
    moved = jax.nn.log_softmax(logits + offset[None])
    residual = jnp.abs(mean_of(jnp.exp(moved), share) - target).max()
    return Consistent(moved, offset, residual)


def mean_of(values: Array, share: Array) -> Array:
    """Weighted mean over the samples ``(n, k)``, summed in pairs: a million samples keep their digits in float32.

    Args:
        values: ``(n, k)``.
        share: weights ``(n,)`` that sum to one.

    Returns:
        ``(k,)``.
    """
    return jax.vmap(pairwise_sum, 1)(values * share[:, None])


def _projected(logits: Array, share: Array, target: Array) -> Array:
    """The offsets; damped as in ``calibration``: only steps that lower the convex dual are taken."""
    constants = jax.lax.stop_gradient((logits, share, target))
    occurs = target > 0
    ones = occurs.astype(target.dtype)
    k = ones.sum()
    identity = np.eye(len(target), dtype=target.dtype)

    def dual(offset: Array, logits: Array, share: Array, target: Array) -> Array:
        return share @ jax.nn.logsumexp(logits + offset[None], axis=1) - target @ offset

    def slope(offset: Array, logits: Array, share: Array, target: Array) -> tuple[Array, Array]:
        q = jax.nn.softmax(logits + offset[None])
        mean = mean_of(q, share)
        gradient = mean - target
        # Constant offsets change nothing, and labels that don't occur have none: both directions are filled up.
        hessian = mean[None] * identity - (q * share[:, None]).T @ q
        return gradient, hessian + jnp.outer(ones, ones) / k**2 + (1 - ones)[None] * identity

    def more(carry: Any) -> Array:
        number, _, _, damping, size = carry
        return (number < _MOST_STEPS) & (size > 4 * jnp.finfo(logits.dtype).eps) & (damping < 1e8)

    def step(carry: Any) -> Any:
        number, offset, old, damping, _ = carry
        gradient, hessian = slope(offset, *constants)
        # Levenberg-Marquardt: rare labels are as free to move as frequent ones.
        moved = offset - jnp.linalg.solve(hessian + damping * identity * hessian, gradient)
        new = dual(moved, *constants)
        size = jnp.abs(gradient).max()
        # Near the solution the dual is flat to rounding; a smaller slope then decides.
        better = (new < old) | (jnp.abs(slope(moved, *constants)[0]).max() < 0.5 * size)
        return (
            number + 1, jnp.where(better, moved, offset), jnp.where(better, new, old),
            damping * jnp.where(better, 0.1, 10.0), size,
        )  # fmt: skip

    zero = jnp.zeros_like(target)
    first = (
        jnp.asarray(0),
        zero,
        dual(zero, *constants),
        jnp.ones_like(k, target.dtype) * 1e-2,
        jnp.inf * target.sum(),
    )
    offset = jax.lax.stop_gradient(jax.lax.while_loop(more, step, first)[1])
    # Of a last Newton step only the derivative is taken: it is that of the solution. Certain posteriors leave the
    # Hessian singular, so it is lifted a little.
    gradient, hessian = slope(offset, logits, share, target)
    hessian = jax.lax.stop_gradient(hessian)
    lift = jnp.sqrt(jnp.finfo(logits.dtype).eps) * identity * hessian
    last = jnp.linalg.solve(hessian + lift, gradient)
    offset = offset - (last - jax.lax.stop_gradient(last))
    return jnp.where(occurs, offset - (jnp.where(occurs, offset, 0.0).sum() / k), 0.0)
