"""Binary target: the union information in closed form, for any number of symbols.

Experiments about a binary hypothesis form a lattice; the union is the information of the join of the two channels.
With ``theta = p(Y=1 | x)`` and the call functions ``C_i(t) = E (theta_i - t)^+``, the join has ``C = max(C_1, C_2)``.
In the plane of cumulative masses (p(., Y=0), p(., Y=1)) each channel is a convex curve of its symbols sorted by
likelihood ratio, and the join is the convex hull of the two: the symbols of whichever curve is outside, and a bridge
wherever the curves cross. One sort of all symbols gives everything.

Potentials. Split ``phi(t) = t log t + (1-t) log(1-t)`` by the set A of thresholds at which modality 1 leads:
``a(x, 1) = - int_{A, t > theta} dt / t`` and ``a(x, 0) = - int_{A, t < theta} dt / (1-t)``, and b the same with
the complement of A. They are tangents of two convex functions that add up to phi, hence feasible whatever A is,
and optimal for this A. Where the curves coincide each modality takes half, so that swapping modalities swaps a and b.
"""

import math

import jax
import jax.numpy as jnp

from pidjax.couplings.certificate import (
    EXP_ULP,
    Potentials,
    Result,
    continuity,
    coupling,
    depth,
    pairwise_sum,
    unit,
)
from pidjax.couplings.certificate import ratio as quotient
from pidjax.info import xlogx
from pidjax.typing import Array

__all__ = ["binary", "binary_coupling"]


def _running(x: Array) -> Array:
    """Cumulative sums, last axis; made in blocks by XLA, so their error grows with log n."""
    return jax.lax.cumsum(x, axis=x.ndim - 1)


def _cumulative_units(n: int) -> int:
    """How many units of roundoff a cumulative sum of n terms may lose: one a term, or blocks of 16 on all levels."""
    return min(n, 4 * depth(n) + 16) + 2


def _with_second_label(p: Array) -> Array:
    return jnp.pad(p, ((0, 0), (0, 1)))


def _knots(p1: Array, p2: Array) -> tuple[Array, Array, Array, Array]:
    """All symbols sorted by log likelihood ratio: ratio, original position, signed masses (2, N), +1 or -1.

    Masses of the second modality count negative, so that one cumulative sum is the difference of the two curves.
    Symbols that never occur go to the end, where they change nothing.
    """
    masses = jnp.concatenate([p1, p2]).T
    log0, log1 = (jnp.where(m > 0, jnp.log(jnp.where(m > 0, m, 1.0)), -jnp.inf) for m in masses)
    ratio = jnp.where(masses.sum(0) > 0, log1 - log0, jnp.inf)
    ratio, order = jax.lax.sort((ratio, jnp.arange(ratio.shape[0], dtype=jnp.int32)), num_keys=1)
    sign = jnp.where(order < p1.shape[0], 1.0, -1.0).astype(p1.dtype)
    return ratio, order, masses[:, order] * sign[None, :], sign


def binary(p1: Array, p2: Array) -> Result:
    """Solve one problem with ``p1 (n1, 2)`` and ``p2 (n2, 2)``: O(n log n) time, O(n) memory.

    A target with one label is a binary one whose other label never occurs.

    Args:
        p1: ``p(x1, y)``, ``(n1, 2)`` or ``(n1, 1)``.
        p2: ``p(x2, y)``, with the same sums over the first axis.

    Returns:
        The ``Result``: bounds, potentials; nats.
    """
    if p1.shape[1] == 1:
        result = binary(_with_second_label(p1), _with_second_label(p2))
        return result._replace(potentials=Potentials(*(x[:, :1] for x in result.potentials)))
    dtype, eps = p1.dtype, unit(p1.dtype)
    n1, size = p1.shape[0], p1.shape[0] + p2.shape[0]
    units = _cumulative_units(size) * eps
    p_y = p1.sum(0)
    ratio, order, signed, sign = _knots(p1, p2)
    log_t, log_s = jax.nn.log_sigmoid(ratio), jax.nn.log_sigmoid(-ratio)  # log t, log (1 - t)
    t, s = jnp.exp(log_t), jnp.exp(log_s)
    ahead0, ahead1 = _running(signed)
    lead = t * ahead0 - s * ahead1  # C_1 - C_2 at each knot
    noise = units * (t * p_y[0] + s * p_y[1])

    # Intervals between knots, with virtual knots at t = 0 and t = 1, where the curves meet.
    zero, inf = jnp.zeros((1,), dtype), jnp.full((1,), jnp.inf, dtype)
    leads = jnp.concatenate([zero, jnp.where(jnp.abs(lead) <= noise, 0.0, lead), zero])
    logs_t = jnp.concatenate([-inf, log_t, zero])
    logs_s = jnp.concatenate([zero, log_s, -inf])
    left, right = leads[:-1], leads[1:]
    crossing = left * right < 0
    fraction = jnp.where(crossing, left / jnp.where(crossing, left - right, 1.0), 0.0)
    ts, ss = jnp.exp(logs_t), jnp.exp(logs_s)
    log_c = jnp.log(jnp.where(crossing, ts[:-1] + fraction * (ts[1:] - ts[:-1]), 1.0))
    log_d = jnp.log(jnp.where(crossing, ss[:-1] + fraction * (ss[1:] - ss[:-1]), 1.0))

    def first_share(below: Array, at: Array, above: Array) -> Array:
        """How much of an interval's (finite, positive) measure is modality 1's."""
        whole = jnp.where(jnp.isfinite(above - below), above - below, 0.0)
        start = jnp.where(crossing, jnp.clip(at - below, 0.0, whole), 0.0)  # up to the crossing
        split = jnp.where(left > 0, start, whole - start)
        plain = whole * (1 + jnp.sign(left + right)) / 2
        return jnp.where(crossing, split, plain)

    share_t = first_share(logs_t[:-1], log_c, logs_t[1:])
    share_s = first_share(-logs_s[:-1], -log_d, -logs_s[1:])
    above = _running(share_t[::-1])[::-1][1:]  # int over A from t to 1, at each knot
    below = _running(share_s)[:-1]

    # Each potential is a sum of positive terms no larger than the logarithm it is a part of.
    size_t, size_s = jnp.where(jnp.isfinite(log_t), -log_t, 0.0), jnp.where(jnp.isfinite(log_s), -log_s, 0.0)
    allowance = (2 * units + 4 * EXP_ULP * eps) * (1 + size_t + size_s)
    mass0, mass1 = jnp.abs(signed)
    own0 = jnp.where(mass0 > 0, jnp.where(sign > 0, -below, log_s + below) - allowance, 0.0)
    own1 = jnp.where(mass1 > 0, jnp.where(sign > 0, -above, log_t + above) - allowance, 0.0)
    bulk = jnp.sum(mass0 * jnp.abs(own0) + mass1 * jnp.abs(own1)) + 2
    rounding = (2 * depth(2 * size) + 2 + 4 * EXP_ULP) * eps * bulk
    lower = pairwise_sum(mass0 * own0 + mass1 * own1) - rounding
    own = jnp.stack([own0, own1], 1) - jnp.where(sign > 0, rounding, 0.0)[:, None]
    potentials = jnp.zeros_like(own).at[order].set(own)

    # The join: symbols of the leading curve, and bridges between the curves where the lead changes.
    first = leads[1:-1] >= 0
    change = first[1:] != first[:-1]
    leading = first == (sign > 0)

    def value(zeros: Array, ones: Array) -> Array:
        return pairwise_sum(xlogx(zeros) + xlogx(ones) - xlogx(zeros + ones))

    upper = value(jnp.where(leading, mass0, 0.0), jnp.where(leading, mass1, 0.0))
    # A bridge goes from the old leader's curve to the new one's. Where the curves tie up to rounding it may lead
    # backwards: then what was counted twice is taken off again.
    step = jnp.where(change, jnp.where(first[1:], 1.0, -1.0), 0.0)
    bridge0, bridge1 = step * ahead0[:-1], step * ahead1[:-1]
    back = jnp.where(bridge0 + bridge1 < 0, -1.0, 1.0)
    bridge0, bridge1 = jnp.maximum(bridge0 * back, 0.0), jnp.maximum(bridge1 * back, 0.0)
    upper = upper + pairwise_sum(back * (xlogx(bridge0) + xlogx(bridge1) - xlogx(bridge0 + bridge1)))
    # A lead that is misjudged by `noise` costs at most noise * phi'' integrated between the extreme knots; a
    # bridge is a difference of cumulative masses; and the two modalities agree on p(y) up to rounding.
    misjudged = units * (p_y[0] * jnp.max(size_s) + p_y[1] * jnp.max(size_t))
    per_bridge = units * (1 - math.log(units))
    rounding = (
        rounding
        + misjudged
        + per_bridge * (1 + jnp.sum(change))
        + continuity(jnp.asarray((2 * depth(size) + 8) * eps, dtype), 2)
    )
    return Result(
        lower, upper + rounding, Potentials(potentials[:n1], potentials[n1:]), None, jnp.asarray(0, jnp.int32)
    )


def _join(p1: Array, p2: Array) -> Array:
    """The atoms ``p(w, y)`` of the join, (2, 2N - 1), by likelihood ratio: a knot's atom, a bridge, and so on."""
    size = p1.shape[0] + p2.shape[0]
    ratio, _, signed, sign = _knots(p1, p2)
    t, s = jax.nn.sigmoid(ratio), jax.nn.sigmoid(-ratio)
    ahead = _running(signed)
    lead = t * ahead[0] - s * ahead[1]
    p_y = p1.sum(0)
    first = lead >= -_cumulative_units(size) * unit(p1.dtype) * (t * p_y[0] + s * p_y[1])
    atoms = jnp.where((first == (sign > 0))[None, :], jnp.abs(signed), 0.0)
    ahead = ahead[:, :-1]
    bridges = jnp.where((first[1:] != first[:-1])[None, :], jnp.where(first[1:][None, :], ahead, -ahead), 0.0)
    bridges = jnp.pad(jnp.maximum(bridges, 0.0), ((0, 0), (0, 1)))
    return jnp.stack([atoms, bridges], -1).reshape(2, 2 * size)[:, :-1]


def _kernel(p: Array, join: Array) -> Array:
    """``p(x | w)``, (n, W): the left-curtain martingale from one channel to the join that dominates it.

    Each symbol in turn takes the interval of what is left of the join (in likelihood order) that has its masses.
    """

    def take(left: Array, symbol: Array) -> tuple[Array, Array]:
        mass, ones = symbol.sum(), symbol[1]
        ends = jnp.concatenate([jnp.zeros((1,), p.dtype), _running(left.sum(0))])
        cumulative = jnp.concatenate([jnp.zeros((1,), p.dtype), _running(left[1])])
        last = jnp.maximum(ends[-1] - mass, 0.0)
        starts = jnp.sort(jnp.clip(jnp.concatenate([ends, ends - mass]), 0.0, last))
        inside = jnp.interp(starts + mass, ends, cumulative) - jnp.interp(starts, ends, cumulative)
        # Convexity makes `inside` increase; rounding may not.
        start = jnp.interp(ones, jax.lax.cummax(inside, axis=0), starts)
        overlap = jnp.minimum(ends[1:], start + mass) - jnp.maximum(ends[:-1], start)
        share = jnp.clip(quotient(overlap, left.sum(0)), 0.0, 1.0)
        return left * (1 - share)[None, :], share * left.sum(0)

    order = jnp.argsort(p[:, 1] * quotient(jnp.ones_like(p[:, 1]), p.sum(1)))
    _, taken = jax.lax.scan(take, join, p[order])
    return quotient(jnp.zeros_like(taken).at[order].set(taken), jnp.broadcast_to(join.sum(0), taken.shape))


def binary_coupling(p1: Array, p2: Array) -> Array:
    """An optimal coupling ``q[x1, x2, y]``: the modalities independent given the join, ``q = sum_w p(w,y) k1 k2``.

    Args:
        p1: as in ``binary``.
        p2: as there.

    Returns:
        ``(n1, n2, k)``, whose pair marginals are p1 and p2.
    """
    if p1.shape[1] == 1:
        return binary_coupling(_with_second_label(p1), _with_second_label(p2))[:, :, :1]
    join = _join(p1, p2)
    q = jnp.einsum("iw,jw,yw->ijy", _kernel(p1, join), _kernel(p2, join), join, precision="highest")
    return coupling(p1, p2, q)
