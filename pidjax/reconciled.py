"""Three posteriors a sample made those of one population: looked at, calibrated, projected onto one ``p(y)``."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pidjax import _checks
from pidjax.calibration import vector_scaling
from pidjax.couplings.certificate import pairwise_sum
from pidjax.couplings.consistency import consistent, mean_of
from pidjax.info import Informations
from pidjax.typing import Array, ArrayLike

__all__ = ["Reconciled", "expected", "reconciled"]


class Reconciled(NamedTuple):
    """Posteriors of one population: what ``PosteriorPid`` says of them, under the same names.

    Attributes:
        information: I1, I2, I12, nats.
        log_posterior: three of ``(n, k)``.
        log_prior: ``(k,)``, what each of them averages to.
        mismatch: among the mean predictions as given, a probability.
        residual: what projecting left of it.
        share: weights over their sum, ``(n,)``.
    """

    information: Informations
    log_posterior: Informations
    log_prior: Array
    mismatch: Array
    residual: Array
    share: Array


def reconciled(
    p1: ArrayLike, p2: ArrayLike, p12: ArrayLike, y: ArrayLike | None, *, weight: ArrayLike | None, calibrate: bool
) -> tuple[Reconciled, Any]:
    """The first two steps of ``pid_from_posteriors``: checks and calibration, and one p(y) for all three.

    Args:
        p1: ``p(y|x1)``, ``(n, k)`` probabilities.
        p2: ``p(y|x2)``, likewise.
        p12: ``p(y|x1,x2)``, likewise.
        y: labels ``(n,)`` in ``[0, k)``; None where there are none.
        weight: ``(n,)`` non-negative weights; None means all ones.
        calibrate: whether labels, where given, calibrate the posteriors.

    Returns:
        The posteriors, and whether the input was sound: concrete (True) in an eager call, for ``poison`` inside jit.

    Raises:
        ValueError: as ``pid_from_posteriors``.
    """
    given = [_distributions(p, name) for p, name in ((p1, "p1"), (p2, "p2"), (p12, "p12"))]
    _checks.require(
        len({p.shape for p, _ in given}) == 1,
        f"p1, p2 and p12 have shapes {[p.shape for p, _ in given]}; expected one shape (n, k)",
    )
    n, k = given[0][0].shape
    dtype = jnp.result_type(*(p for p, _ in given))
    share, ok = _shares(weight, n, dtype)
    labels = None
    if y is not None:
        labels, sound = _checks.labels(y, classes=k, n=n)
        ok &= sound
    for _, sound in given:
        ok &= sound
    prepared = _reconciled([p for p, _ in given], labels, share, ok, weighted=weight is not None, calibrate=calibrate)
    reached = _checks.ensure(
        jnp.logical_not(jax.lax.stop_gradient(prepared.residual) > _checks.sum_tolerance((n, k), dtype)),
        lambda: (
            f"the posteriors can't be reconciled with one p(y): {float(prepared.residual):.1g} is left, for some label "
            "is one that hardly any sample believes in; give labels y to calibrate by, or floor the probabilities"
        ),
    )
    return prepared, ok & reached


@functools.partial(jax.jit, static_argnames=("weighted", "calibrate"))  # eagerly a hundred programs are compiled
def _reconciled(
    given: list[Array], labels: Array | None, share: Array, ok: Any, *, weighted: bool, calibrate: bool
) -> Reconciled:
    """Of input that was looked at; where it isn't sound, of something else."""
    n, k = given[0].shape
    p = jnp.stack([own / own.sum(1, keepdims=True) for own in given])
    log_p = jnp.log(jnp.maximum(p, jnp.finfo(p.dtype).tiny))
    means = jax.vmap(mean_of, (0, None))(jnp.exp(log_p), share)
    target = means.sum(0) / 3
    if labels is not None:
        # Counted in whole numbers where that is possible: adding up 1/n a million times in 32 bits is off by 1e-3.
        whole = jnp.zeros(k, p.dtype).at[labels].add(1.0) / n
        target = mean_of(jax.nn.one_hot(labels, k, dtype=p.dtype), share) if weighted else whole
        means = jnp.concatenate([means, target[None]])
        if calibrate:
            log_p = jax.vmap(lambda own: vector_scaling(own, labels, weight=share)(own))(log_p)
    target = jnp.where(ok, target / target.sum(), 1 / k)
    done = jax.vmap(lambda own: consistent(own, target, weight=share))(jnp.where(ok, log_p, 0.0))
    prior = jnp.log(target)
    return Reconciled(
        information=Informations(*(_information(own, prior, share) for own in done.log_posterior)),
        log_posterior=Informations(*done.log_posterior),
        log_prior=prior,
        mismatch=(means.max(0) - means.min(0)).max(),
        residual=done.residual.max(),
        share=share,
    )


def _distributions(p: ArrayLike, name: str) -> tuple[Array, Any]:
    """Probabilities ``(n, k)``, and whether all rows are distributions."""
    p = jnp.asarray(_checks.as_float(p, name))
    _checks.require(
        p.ndim == 2 and p.size > 0,
        f"{name} has shape {p.shape}; expected (n, k): for every sample a probability of every label",
    )
    least, most, off = _extremes(jax.lax.stop_gradient(p))
    sound = _checks.ensure(
        (least >= 0) & (off <= 1e-3),  # NaN and infinity aren't
        lambda: (
            f"{name} has rows that are no distributions: values from {float(least):g} to {float(most):g}, "
            f"sums off by up to {float(off):g}; expected probabilities: jax.nn.softmax(logits)"
        ),
    )
    return p, sound


@jax.jit
def _extremes(p: Array) -> tuple[Array, Array, Array]:
    """The least entry, the greatest, and how far the sum of a row is from 1."""
    return p.min(), p.max(), jnp.abs(p.sum(1) - 1).max()


def _shares(weight: ArrayLike | None, n: int, dtype: Any) -> tuple[Array, Any]:
    if weight is None:
        return jnp.full(n, 1 / n, dtype), True
    w = jnp.asarray(_checks.as_float(weight, "weight"), dtype)
    _checks.require(w.shape == (n,), f"weight has shape {w.shape}; expected one for each sample, ({n},)")
    ok = _checks.ensure(
        (jnp.isfinite(w) & (w >= 0)).all() & (w.sum() > 0),
        lambda: f"weight runs from {float(w.min()):g} to {float(w.max()):g}; expected numbers >= 0, not all 0",
    )
    return w / w.sum(), ok


def _information(log_p: Array, prior: Array, share: Array) -> Array:
    """``E KL(posterior || prior)``."""
    return pairwise_sum(share * expected(log_p, log_p - jnp.where(prior > -jnp.inf, prior, 0.0)[None]))


def expected(log_p: Array, value: Array) -> Array:
    """``sum_y p(y) value(y)`` over the labels that are possible; NaN stays NaN, derivatives are finite.

    Args:
        log_p: ``(n, k)``; -inf for what is impossible.
        value: ``(n, k)``.

    Returns:
        ``(n,)``.
    """
    possible = log_p != -jnp.inf
    return jnp.where(possible, jnp.exp(log_p) * jnp.where(possible, value, 0.0), 0.0).sum(1)
