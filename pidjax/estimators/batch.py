"""PID-BATCH: a learned coupling of minibatches, and the upper bound on union information that a whole sample gives.

Union information depends on a modality through its posterior alone, so the samples are log posteriors:
``Samples(x1=log p(y|x1), x2=log p(y|x2), weight)``, ``(n, k)`` each, finite, and of one population
(``pidjax.couplings.consistency``): both average to the same distribution of the label.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from pidjax import _checks
from pidjax.couplings.certificate import pairwise_sum, ratio
from pidjax.couplings.sinkhorn import class_couplings
from pidjax.estimators.base import Estimator, by_gradient
from pidjax.estimators.classifier import Module, Net, WithSkip
from pidjax.info import safe_log, xlogx
from pidjax.typing import Array, Key, Samples

__all__ = ["RECIPE", "Alignment", "BatchUnion", "batch_alignment", "batch_union", "joints_with_label"]

# What ``fit`` is given beside a ``batch_alignment()``: the schedule of its optimiser ends where these steps do.
RECIPE: dict[str, Any] = {"steps": 300, "batch_size": 256}

_LEARNING_RATE = 5e-3
# Affinity of equal posteriors over that of disjoint ones, at the start: what is redundant is paired from the first.
_START = 20.0
# Networks see log posteriors in [-3, 0]: a label less likely than e^-12 is as good as impossible.
_FLOOR, _UNIT = -12.0, 4.0
_CHUNK = 256  # rows of the matrices between all leftovers that are in memory at once


class Alignment(NamedTuple):
    """An estimator of union information from minibatches and the coupling behind it.

    Attributes:
        estimator: for ``fit``; its estimates ``(n,)`` are what each row contributes, nats, the samples taken in
            consecutive minibatches.
        coupling: ``(state, samples, p1, p2, sweeps) -> q (k, n, n)``: of the samples as one minibatch, onto masses
            ``(n, k)`` of rows and columns; see ``class_couplings``.
    """

    estimator: Estimator
    coupling: Callable[[Any, Samples, Array, Array, int], Array]


class BatchUnion(NamedTuple):
    """What a learned coupling says of all samples.

    Attributes:
        upper: at least the union information of the samples, nats, whatever was learned.
        leftover: share of the mass that no minibatch could couple, in [0, 1]; it was coupled as if the modalities
            were independent given the label.
    """

    upper: Array
    leftover: Array


def joints_with_label(samples: Samples) -> tuple[Array, Array, Any]:
    """``p(x1, y)`` and ``p(x2, y)`` of log posteriors, ``(n, k)`` each, and whether they are of one population.

    Label marginals that differ by rounding are replaced by their mean.

    Args:
        samples: log posteriors or logits, and weights.

    Returns:
        The two joints, and what ``_checks.ensure`` says of them.

    Raises:
        ValueError: shapes that don't fit, values that are not finite, label marginals that differ.

    Example:
        >>> same = jnp.log(jnp.array([[0.9, 0.1], [0.3, 0.7]]))
        >>> p1, p2, _ = joints_with_label(Samples(same, same))
        >>> print(f"{p1[0, 0]:.2f} {p1[0, 1]:.2f} {p1[1, 0]:.2f} {p1[1, 1]:.2f}")
        0.45 0.05 0.15 0.35
    """
    log_p1, log_p2 = (jnp.asarray(x) for x in (samples.x1, samples.x2))
    _checks.require(
        log_p1.ndim == 2 and log_p1.shape == log_p2.shape,
        f"x1 has shape {log_p1.shape}, x2 {log_p2.shape}; expected log posteriors of the same labels, (n, k) each",
    )
    share = shares(samples)
    p1, p2 = (jax.nn.softmax(log_p) * share[:, None] for log_p in (log_p1, log_p2))
    y1, y2 = p1.sum(0), p2.sum(0)
    seen1, seen2 = jax.lax.stop_gradient((y1, y2))
    ok = _checks.ensure(
        jnp.logical_not(jnp.isnan(seen1 + seen2).any()),
        lambda: "x1 or x2 holds NaN or infinite values; floor log posteriors, at -1000 say, before the call",
    )
    ok &= _checks.ensure(
        jnp.logical_not(jnp.abs(seen1 - seen2).max() > 2 * _checks.sum_tolerance(p1.shape, p1.dtype)),
        lambda: (
            f"the posteriors in x1 and x2 average to different label marginals, {seen1.round(6)} and {seen2.round(6)}, "
            "so nothing couples them; project both on one with pidjax.couplings.consistency.consistent"
        ),
    )
    both = jnp.where((y1 > 0) & (y2 > 0), (y1 + y2) / 2, 0.0)
    return p1 * ratio(both, y1)[None], p2 * ratio(both, y2)[None], ok


def shares(samples: Samples) -> Array:
    """The weights over their sum.

    Args:
        samples: x1 ``(n, ...)``; weights ``(n,)`` or None.

    Returns:
        ``(n,)``, sum one; all 0 where they are.
    """
    x1 = jnp.asarray(samples.x1)
    weight = jnp.ones(len(x1), x1.dtype) if samples.weight is None else jnp.asarray(samples.weight, x1.dtype)
    return ratio(weight, weight.sum())


def seen_by_networks(log_p: Array) -> Array:
    """Log posteriors, of logits too, within bounds.

    Args:
        log_p: ``(n, k)``.

    Returns:
        ``(n, k)``, floored and scaled.
    """
    return jnp.maximum(jax.nn.log_softmax(log_p), _FLOOR) / _UNIT


def batch_alignment(
    net1: Module | Net | None = None,
    net2: Module | Net | None = None,
    *,
    classes: int,
    embedding: int = 10,
    sweeps: int = 20,
    steps: int = RECIPE["steps"],
    tx: optax.GradientTransformation | None = None,
) -> Alignment:
    """Union information of minibatches, lowered by a learned coupling.

    Two networks give every sample a vector for every label, and
    ``affinity[y, i, j] = <g1(x1_i)_y, g2(x2_j)_y> / sqrt(e) + 20 sum_y' sqrt(p(y'|x1_i) p(y'|x2_j))``, without bounds:
    like posteriors are paired at the start. Sinkhorn scales its exponential onto the posteriors of the minibatch, and
    ``I_q(X1,X2;Y)`` of the coupling is the loss. What rows and columns don't share of a class's mass is left out.

    Args:
        net1: network of the log posteriors ``(n, k)`` of the first modality, floored at -12 and divided by 4, to
            ``(n, classes * embedding)``; None for one hidden layer of 64 beside a linear map.
        net2: network of the second modality, likewise.
        classes: number of labels.
        embedding: numbers of a vector.
        sweeps: of Sinkhorn, in each step.
        steps: updates that the default optimiser's schedule is for.
        tx: the optimiser; None for Adam whose learning rate falls from 5e-3 to 0 along a cosine.

    Returns:
        An ``Alignment``; ``fit(..., **RECIPE)`` suits its estimator, whose info is the loss of the step, nats.

    Raises:
        ValueError: fewer than one class, embedding number or sweep.

    Example:
        >>> from pidjax.estimators.fit import fit
        >>> x = jnp.linspace(-3, 3, 128)[:, None]
        >>> log_p = jax.nn.log_softmax(jnp.concatenate([x, -x], 1))
        >>> alignment, samples = batch_alignment(classes=2, steps=50), Samples(log_p, log_p)  # both say the same
        >>> done = fit(alignment.estimator, jax.random.key(1), samples, steps=50, batch_size=64)
        >>> found = batch_union(alignment, done.state, samples).upper
        >>> i1 = (jnp.exp(log_p) * (log_p + jnp.log(2))).sum(1).mean()
        >>> bool(-1e-5 < found - i1 < 0.02)
        True

    References:
        arXiv 2302.12247, section 3 (BATCH), algorithm 1, whose ``f1(y), f2(y)`` are the vectors. There networks see
        features, affinities are nothing but inner products of normalised vectors, and rows and columns keep masses that
        no coupling has.
    """
    _checks.require(
        min(classes, embedding, sweeps) >= 1,
        f"classes is {classes}, embedding {embedding}, sweeps {sweeps}; expected at least 1 of each",
    )
    width = classes * embedding
    nets: list[Any] = [WithSkip(width, hidden=64) if net is None else net for net in (net1, net2)]

    def init(key: Key, samples: Samples) -> tuple[Any, Any]:
        first = (seen_by_networks(jnp.asarray(x)[:1]) for x in (samples.x1, samples.x2))
        return tuple(net.init(own, x) for net, own, x in zip(nets, jax.random.split(key), first, strict=True)), None

    def affinity(params: Any, log_p1: Array, log_p2: Array) -> Array:
        g1, g2 = (
            net.apply(own, seen_by_networks(x)).reshape(-1, classes, embedding)
            for net, own, x in zip(nets, params, (log_p1, log_p2), strict=True)
        )
        root1, root2 = (jnp.exp(jax.nn.log_softmax(x) / 2) for x in (log_p1, log_p2))
        learned = jnp.einsum("iye,jye->yij", g1, g2) / math.sqrt(embedding)
        return learned + _START * (root1 @ root2.T)[None]

    def coupling(params: Any, samples: Samples, p1: Array, p2: Array, sweeps: int) -> Array:
        x1, x2 = jnp.asarray(samples.x1), jnp.asarray(samples.x2)
        return class_couplings(affinity(params, x1, x2), p1, p2, sweeps=sweeps, form="scaling").q

    def rows(params: Any, _: Any, samples: Samples) -> Array:
        share = shares(samples)
        p1, p2 = (jax.nn.softmax(jnp.asarray(x)) * share[:, None] for x in (samples.x1, samples.x2))
        return _row_values(coupling(params, samples, p1, p2, sweeps), share)

    default = optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, steps))
    learner = by_gradient(init, rows, default if tx is None else tx)

    def estimate(state: Any, samples: Samples) -> Array:
        n = len(jnp.asarray(samples.x1))
        size = min(n, RECIPE["batch_size"])
        weight = jnp.ones(n) if samples.weight is None else samples.weight
        order = jnp.pad(jnp.arange(n), (0, -n % size), constant_values=n).reshape(-1, size)
        blocks = _gathered(samples._replace(y=None, weight=weight), order)
        return jax.lax.map(functools.partial(rows, state.params, None), blocks).reshape(-1)[:n]

    return Alignment(
        learner._replace(estimate=estimate),
        lambda state, samples, p1, p2, sweeps: coupling(state.params, samples, p1, p2, sweeps),
    )


def _row_values(q: Array, share: Array) -> Array:
    """What each row adds to ``I_q(X1,X2;Y)`` of the normalised q: the mean weighted by ``share`` is that."""
    m = q.sum(0)
    total = m.sum()
    label = ratio(q.sum((1, 2)), total)
    rows = xlogx(q).sum((0, 2)) - xlogx(m).sum(1)
    return ratio(rows, share * total) - xlogx(label).sum()


def _gathered(tree: Any, index: Array) -> Any:
    """Leaves at some indices; zeros beyond the last."""
    return jax.tree.map(lambda leaf: leaf.at[index].get(mode="fill", fill_value=0), tree)


def _dealt(p: Array, size: int) -> Array:
    """Indices ``(blocks, size)`` of blocks that are alike; n stands for nobody.

    Rows in the order of their likeliest label, and of its share among those, are dealt out one by one, like cards. So
    all blocks have nearly the same label marginal, and rows can be coupled with columns that were dealt apart.
    """
    n = len(p)
    posterior = ratio(p, p.sum(1, keepdims=True))
    label = jnp.where(p.sum(1) > 0, posterior.argmax(1), p.shape[1])  # samples of weight 0 last
    order = jnp.lexsort((posterior.max(1), label))
    return jnp.pad(order, (0, -n % size), constant_values=n).reshape(size, -1).T


def batch_union(
    alignment: Alignment, state: Any, samples: Samples, *, batch_size: int = RECIPE["batch_size"], sweeps: int = 100
) -> BatchUnion:
    """An upper bound on the union information of all samples, from couplings of a partition of them into minibatches.

    In every minibatch the learned coupling is scaled down to what the posteriors allow (Altschuler et al.); what is
    left of rows and columns is coupled independently, class by class, across minibatches. So the whole is a coupling of
    the samples, exactly. Its information is at most ``I(X1,X2,Z;Y)`` where Z tells the minibatch or the rest (data
    processing), which is a sum over minibatches and one term of thin matrix products. Memory O(batch_size^2 k + n).

    Args:
        alignment: a ``batch_alignment``.
        state: trained, by ``fit``, say; any state gives a bound.
        samples: consistent log posteriors, those trained on or others.
        batch_size: samples of a minibatch; smaller ones give looser bounds.
        sweeps: of Sinkhorn.

    Returns:
        ``BatchUnion``, scalars. Works under jit and vmap.

    Raises:
        ValueError: shapes that don't fit, values that are not finite, posteriors of different populations.

    Example:
        >>> log_p = jnp.log(jnp.array([[0.9, 0.1], [0.1, 0.9]]))
        >>> alignment, samples = batch_alignment(classes=2), Samples(log_p, log_p)
        >>> state = alignment.estimator.init(jax.random.key(0), samples)  # untrained
        >>> bool(batch_union(alignment, state, samples).upper >= 0.3681)  # what either says
        True

    References:
        arXiv 2302.12247, section 3 (BATCH); Altschuler, Weed, Rigollet 2017, for the rounding.
    """
    p1, p2, ok = joints_with_label(samples)
    size = min(int(batch_size), len(p1))
    _checks.require(size >= 1 and sweeps >= 1, f"batch_size is {batch_size}, sweeps {sweeps}; expected at least 1")
    return _checks.poison(_batch_union(alignment, size, sweeps, state, samples, p1, p2), ok, samples)


@functools.partial(jax.jit, static_argnames=("alignment", "size", "sweeps"))
def _batch_union(
    alignment: Alignment, size: int, sweeps: int, state: Any, samples: Samples, p1: Array, p2: Array
) -> BatchUnion:
    order1, order2 = _dealt(p1, size), _dealt(p2, size)
    parts = (
        Samples(_gathered(jnp.asarray(samples.x1), order1), _gathered(jnp.asarray(samples.x2), order2)),
        _gathered(p1, order1),
        _gathered(p2, order2),
    )

    def block(part: tuple[Samples, Array, Array]) -> tuple[Array, Array, Array]:
        """``-H(Y | X1, X2)`` of what a block couples, and the joints it leaves over."""
        own, p1, p2 = part
        q = alignment.coupling(state, own, p1, p2, sweeps)
        q = q * jnp.minimum(1.0, ratio(p1.T, q.sum(2)))[:, :, None]
        q = q * jnp.minimum(1.0, ratio(p2.T, q.sum(1)))[:, None, :]
        value = pairwise_sum(q * (safe_log(q) - safe_log(q.sum(0))[None]))
        return value, jnp.maximum(p1 - q.sum(2).T, 0.0), jnp.maximum(p2 - q.sum(1).T, 0.0)

    values, e, f = jax.lax.map(block, parts)
    rest, mass = _independent(e.reshape(-1, e.shape[2]), f.reshape(-1, f.shape[2]))
    return BatchUnion(values.sum() + rest - xlogx(p1.sum(0)).sum(), mass)


def _independent(e: Array, f: Array) -> tuple[Array, Array]:
    """``-H(Y | X1, X2)`` of ``q_y = e_y f_y' / t_y``, e and f ``(n, k)`` of equal label marginals t, and its mass."""
    t = e.sum(0)
    f = f * ratio(t, f.sum(0))[None]  # they differ by rounding
    share = f * ratio(jnp.ones_like(t), t)[None]

    def chunk(rows: Array) -> Array:
        return xlogx(jnp.matmul(rows, share.T, precision="highest")).sum()

    chunks = jnp.pad(e, ((0, -len(e) % _CHUNK), (0, 0))).reshape(-1, _CHUNK, e.shape[1])
    mixed = jax.lax.map(chunk, chunks).sum()
    return xlogx(e).sum() + xlogx(f).sum() - xlogx(t).sum() - mixed, t.sum()
