"""Dual networks: potentials ``a(x1, y), b(x2, y)`` learned from minibatches, and the lower bound that they certify.

    I_min >= E[a(x1, y)] + E[b(x2, y)] + H(Y)   where logsumexp_y(a(x1, y) + b(x2, y)) <= 0 for every pair of samples

As in ``batch``, the samples are consistent log posteriors: ``Samples(x1=log p(y|x1), x2=log p(y|x2), weight)``.
Networks start from ``a = log p(y|x1) / 2, b = log p(y|x2) / 2``, which is feasible (Cauchy-Schwarz) and says
(I1 + I2) / 2.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.scipy.special import logsumexp

from pidjax import _checks
from pidjax.couplings.certificate import EXP_ULP, Potentials, depth, one_source_bound, pairwise_sum, unit
from pidjax.estimators.base import Estimator, by_gradient
from pidjax.estimators.batch import joints_with_label, seen_by_networks, shares
from pidjax.estimators.classifier import Module, Net, WithSkip
from pidjax.info import xlogx
from pidjax.typing import Array, Key, Samples

__all__ = ["RECIPE", "DualNetworks", "DualUnion", "dual_networks", "dual_union", "pointwise_union"]

# What ``fit`` is given beside ``dual_networks()``: the schedule of its optimiser ends where these steps do.
RECIPE: dict[str, Any] = {"steps": 1000, "batch_size": 256}

_LEARNING_RATE = 3e-3
_CHUNK = 256  # rows of the matrices between all samples that are in memory at once


class DualNetworks(NamedTuple):
    """An estimator of potentials and the potentials themselves.

    Attributes:
        estimator: for ``fit``; its estimates ``(n,)`` have as mean ``-(E[a] + E[b])`` after rows are shifted to be
            feasible for these samples, nats: what training lowers, and H(Y) less a lower bound.
        potentials: ``(state, samples) -> Potentials`` of ``(n, k)`` each, feasible for no pair in particular.
    """

    estimator: Estimator
    potentials: Callable[[Any, Samples], Potentials]


class DualUnion(NamedTuple):
    """A certified lower bound of the union information of all samples.

    Attributes:
        lower: at most the union information of the samples, nats, whatever was learned; at least what either modality
            says, up to rounding.
        potentials: those of the bound, ``a (n, k), b (n, k)``, feasible for every pair of samples; 0 where a posterior
            is 0. ``a + b - log p(y)`` is the pointwise union information.
    """

    lower: Array
    potentials: Potentials


def dual_networks(
    net1: Module | Net | None = None,
    net2: Module | Net | None = None,
    *,
    classes: int,
    temperature: float = 0.005,
    steps: int = RECIPE["steps"],
    tx: optax.GradientTransformation | None = None,
) -> DualNetworks:
    """Union information from below: potentials that maximise the dual of BROJA on minibatches.

    ``D = E[a] + E[b] - E_x1[t log mean_x2 exp(logsumexp_y(a + b) / t)]``, a maximum over x2 smoothed at temperature t.
    Rows and columns of a minibatch need not be paired.

    Args:
        net1: network of the log posteriors ``(n, k)`` of the first modality, floored at -12 and divided by 4, to
            ``(n, k)``; it is added to half of them and should start at zero. None for one hidden layer of 128 beside a
            linear map.
        net2: network of the second modality, likewise.
        classes: number of labels.
        temperature: t, nats, above 0.
        steps: updates that the default optimiser's schedule is for.
        tx: the optimiser; None for Adam whose learning rate falls from 3e-3 to 0 along a cosine.

    Returns:
        ``DualNetworks``; ``fit(..., **RECIPE)`` suits the estimator, whose info is ``-D`` of the step, nats.

    Raises:
        ValueError: fewer than one class, or a temperature of 0 or less.

    Example:
        >>> log_p1 = jnp.log(jnp.array([[0.9, 0.1], [0.1, 0.9]]))
        >>> log_p2 = jnp.log(jnp.array([[0.7, 0.3], [0.3, 0.7]]))
        >>> networks, samples = dual_networks(classes=2), Samples(log_p1, log_p2)
        >>> state = networks.estimator.init(jax.random.key(0), samples)
        >>> print(networks.potentials(state, samples).b.round(4)[0])  # half a log posterior
        [-0.1783 -0.602 ]

    References:
        Bertschinger et al. 2014, "Quantifying unique information"; the dual is in ``pidjax.couplings.certificate``.
    """
    _checks.require(classes >= 1, f"classes is {classes}; expected the number of labels")
    _checks.require(temperature > 0, f"temperature is {temperature}; expected nats above 0, such as 0.005")
    nets: list[Any] = [WithSkip(classes, from_zero=True) if net is None else net for net in (net1, net2)]

    def init(key: Key, samples: Samples) -> tuple[Any, Any]:
        first = (seen_by_networks(jnp.asarray(x)[:1]) for x in (samples.x1, samples.x2))
        return tuple(net.init(own, x) for net, own, x in zip(nets, jax.random.split(key), first, strict=True)), None

    def potentials(params: Any, samples: Samples) -> Potentials:
        log_p = (jax.nn.log_softmax(jnp.asarray(x)) for x in (samples.x1, samples.x2))
        return Potentials(
            *(x / 2 + net.apply(own, seen_by_networks(x)) for net, own, x in zip(nets, params, log_p, strict=True))
        )

    def means(found: Potentials, samples: Samples) -> Array:
        """What each sample adds to ``-(E[a] + E[b])``."""
        p1, p2 = (jax.nn.softmax(jnp.asarray(x)) for x in (samples.x1, samples.x2))
        terms = jnp.where(p1 > 0, p1 * found.a, 0.0) + jnp.where(p2 > 0, p2 * found.b, 0.0)
        return -terms.sum(1)

    def smoothed(params: Any, _: Any, samples: Samples) -> Array:
        found = potentials(params, samples)
        log_share = jnp.log(jnp.maximum(shares(samples), jnp.finfo(found.a.dtype).tiny))
        pairs = _log_sums(found.a, found.b)
        greatest = temperature * logsumexp(pairs / temperature + log_share[None], axis=1)
        return means(found, samples) + greatest

    default = optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, steps))
    learner = by_gradient(init, smoothed, default if tx is None else tx)

    def estimate(state: Any, samples: Samples) -> Array:
        found = potentials(state.params, samples)
        return means(found, samples) + _greatest(found.a, found.b, (shares(samples) > 0)[:, None])

    return DualNetworks(learner._replace(estimate=estimate), lambda state, samples: potentials(state.params, samples))


def _log_sums(a: Array, b: Array) -> Array:
    """``logsumexp_y(a_i + b_j)`` of every pair; what underflows counts as the smallest number."""
    top_a, top_b = (jax.lax.stop_gradient(x.max(1)) for x in (a, b))
    sums = jnp.matmul(jnp.exp(a - top_a[:, None]), jnp.exp(b - top_b[:, None]).T, precision="highest")
    return jnp.log(sums + a.shape[1] * jnp.finfo(a.dtype).tiny) + top_a[:, None] + top_b[None, :]


def _greatest(a: Array, b: Array, mask: Array) -> Array:
    """``max_j logsumexp_y(a_i + b_j)``, rounded up; rows in chunks, so memory is O(n).

    Cells of b where the mask (``(n, k)`` or ``(n, 1)``) is False don't count; -inf where nothing counts.
    """
    eps, (n, k) = unit(a.dtype), a.shape
    b = jnp.where(mask, b, -jnp.inf)
    top_a, top_b = a.max(1), b.max(1)
    none_a, none_b = top_a == -jnp.inf, top_b == -jnp.inf
    exp_a, exp_b = (
        jnp.exp(x - jnp.where(none, 0.0, top)[:, None]) for x, top, none in ((a, top_a, none_a), (b, top_b, none_b))
    )
    tiny = float(jnp.finfo(a.dtype).tiny)
    # Of a sum of k products of two exponentials, whose arguments are rounded too and at most -log(tiny), and of log.
    units = k + 3 + 4 * EXP_ULP - 4 * math.log(tiny)

    def chunk(rows: Array) -> Array:
        log_sums = jnp.log(jnp.matmul(rows, exp_b.T, precision="highest") + k * tiny)
        log_sums = log_sums + (units + 2 * EXP_ULP * jnp.abs(log_sums)) * eps
        return jnp.where(none_b[None], -jnp.inf, log_sums + (top_b + 2 * eps * jnp.abs(top_b))[None]).max(1)

    found = jax.lax.map(chunk, jnp.pad(exp_a, ((0, -n % _CHUNK), (0, 0))).reshape(-1, _CHUNK, k)).reshape(-1)[:n]
    return jnp.where(none_a, -jnp.inf, found + top_a + 4 * eps * (jnp.abs(found) + jnp.abs(top_a)))


def _shifted(x: Array, shift: Array, mask: Array) -> Array:
    """``x - shift``, rounded down, a row's shift being finite wherever it matters; 0 where masked."""
    eps = unit(x.dtype)
    size = jnp.max(jnp.where(mask, jnp.abs(x), 0.0), 1)
    shift = jnp.where(jnp.isfinite(shift), shift, 0.0)
    shift = shift + 4 * eps * (jnp.abs(shift) + size)
    return jnp.where(mask, x - shift[:, None], 0.0)


def _feasible(found: Potentials, m1: Array, m2: Array) -> Potentials:
    """Shift rows down to what every column allows, then columns up to what every row leaves; 0 where masked."""
    a = _shifted(found.a, _greatest(found.a, found.b, m2), m1)
    b = _shifted(found.b, _greatest(found.b, a, m1), m2)
    return Potentials(a, b)


def dual_union(networks: DualNetworks, state: Any, samples: Samples) -> DualUnion:
    """A lower bound on the union information of all samples, certified over every pair of them.

    Every row's potentials are shifted by their maximum over all columns of ``logsumexp_y(a + b)``, then the columns
    likewise, and an allowance for rounding is taken off. Where that says less than the better modality alone,
    ``a = log p(y|x1), b = 0`` or its mirror image is returned. Time O(n^2 k), memory O(n k).

    Args:
        networks: ``dual_networks``.
        state: trained, by ``fit``, say; any state gives a bound.
        samples: consistent log posteriors, those trained on or others.

    Returns:
        ``DualUnion``. Works under jit and vmap.

    Raises:
        ValueError: shapes that don't fit, values that are not finite, posteriors of different populations.

    Example:
        >>> log_p = jnp.log(jnp.array([[0.9, 0.1], [0.1, 0.9]]))
        >>> networks, samples = dual_networks(classes=2), Samples(log_p, log_p)
        >>> state = networks.estimator.init(jax.random.key(0), samples)  # untrained
        >>> print(f"{dual_union(networks, state, samples).lower:.4f}")  # I1 = I2 = 0.3681
        0.3681

    References:
        Bertschinger et al. 2014, "Quantifying unique information", eq. 3, whose dual this is.
    """
    p1, p2, ok = joints_with_label(samples)
    return _checks.poison(_dual_union(networks, state, samples, p1, p2), ok, samples)


@functools.partial(jax.jit, static_argnames="networks")
def _dual_union(networks: DualNetworks, state: Any, samples: Samples, p1: Array, p2: Array) -> DualUnion:
    learned = _valued(p1, p2, _feasible(networks.potentials(state, samples), p1 > 0, p2 > 0))
    first, alone1 = one_source_bound(p1, p2)
    second, alone2 = one_source_bound(p2, p1)
    candidates = [learned, (first.value, alone1), (second.value, Potentials(alone2.b, alone2.a))]
    values = jnp.stack([value for value, _ in candidates])
    best = jnp.argmax(jnp.where(jnp.isnan(values), -jnp.inf, values))
    potentials = jax.tree.map(lambda *leaves: jnp.stack(leaves)[best], *(found for _, found in candidates))
    return DualUnion(values[best] - xlogx(jax.vmap(pairwise_sum, 1)(p1)).sum(), potentials)


def _valued(p1: Array, p2: Array, found: Potentials) -> tuple[Array, Potentials]:
    """``sum p1 a + sum p2 b`` of feasible potentials less its rounding, and potentials of that: see ``dual_bound``."""
    a, b = found
    terms = pairwise_sum(jnp.concatenate([(p1 * a).reshape(-1), (p2 * b).reshape(-1)]))
    size = jnp.sum(p1 * jnp.abs(a)) + jnp.sum(p2 * jnp.abs(b)) - xlogx(p1.sum(0)).sum() + 1
    margin = (2 * depth(p1.size + p2.size) + p1.shape[1] + 4 * EXP_ULP) * unit(p1.dtype) * size
    return terms - margin, Potentials(a - margin, b)


def pointwise_union(networks: DualNetworks, state: Any, samples: Samples, reference: Samples) -> Array:
    """``i_union = a + b - log p(y)`` of samples that need not have been seen: what both modalities say at least, each.

    Their potentials are shifted to be feasible with those of the reference samples. Between two new samples
    feasibility isn't certified: the mean is an estimate, not a bound.

    Args:
        networks: ``dual_networks``.
        state: trained.
        samples: log posteriors and labels ``y (n,)``.
        reference: consistent log posteriors, those trained on, say.

    Returns:
        ``(n,)`` nats. Works under jit and vmap.

    Raises:
        ValueError: as in ``dual_union``; samples without labels.

    Example:
        >>> log_p = jnp.log(jnp.array([[0.9, 0.1], [0.1, 0.9]]))
        >>> networks, samples = dual_networks(classes=2), Samples(log_p, log_p, jnp.array([0, 1]))
        >>> state = networks.estimator.init(jax.random.key(0), samples)
        >>> found = pointwise_union(networks, state, samples, samples)
        >>> print(f"{found[0]:.4f} {found[1]:.4f}")  # log 0.9 + log 2
        0.5878 0.5878
    """
    _checks.require(samples.y is not None, "samples have no labels; expected y (n,)")
    p1, p2, ok = joints_with_label(reference)
    m1, m2 = p1 > 0, p2 > 0
    found = networks.potentials(state, reference)
    fixed = _feasible(found, m1, m2)
    a, b = networks.potentials(state, samples)
    a = a - _greatest(a, found.b, m2)[:, None]
    b = b - _greatest(b, fixed.a, m1)[:, None]
    y = jnp.asarray(samples.y)[:, None]
    value = jnp.take_along_axis(a + b, y, 1)[:, 0] - jnp.log(p1.sum(0))[y[:, 0]]
    return _checks.poison(value, ok, samples, reference)
