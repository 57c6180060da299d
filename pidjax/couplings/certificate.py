"""Two-sided bounds on the value of a BROJA problem, from whatever an optimiser left behind.

The problem, for marginals ``p1 = p(x1, y)`` and ``p2 = p(x2, y)``, is ``V = min_q -H_q(Y | X1, X2)`` over the
couplings q of the two; union information is ``V + H(Y)``. Its dual maximises ``sum p1 a + sum p2 b`` subject to
``logsumexp_y(a(x1,y) + b(x2,y)) <= 0``.

Both bounds include the rounding error of their own arithmetic, so they hold in the dtype they are computed in.
``EXP_ULP`` is what exp and log may lose; products and sums of n terms may lose n units; long sums are made in
pairs, so that they lose log2(n). A Bound carries that allowance apart, so that a solver knows when to stop.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pidjax.info import safe_log, xlogx
from pidjax.typing import Array

__all__ = [
    "EXP_ULP",
    "Bound",
    "Potentials",
    "Primal",
    "Result",
    "continuity",
    "coupling",
    "depth",
    "dual_bound",
    "one_source_bound",
    "pairwise_sum",
    "primal_bound",
    "ratio",
    "unit",
]

EXP_ULP = 4
# Above this many cells the upper bound walks over the labels one at a time: memory O(n1 n2), not O(n1 n2 k).
MATERIALISED_CELLS = 20_000


class Potentials(NamedTuple):
    """Dual variables: ``a[x1, y]``, ``b[x2, y]``."""

    a: Array
    b: Array


class Primal(NamedTuple):
    """A positive tensor ``q[x1,x2,y] = rho[x1,x2] u[x1,y] v[x2,y]`` that is never formed."""

    u: Array
    v: Array
    rho: Array


class Bound(NamedTuple):
    """A bound, and how much of it is allowance for rounding."""

    value: Array
    margin: Array


class Result(NamedTuple):
    """What a route leaves: a bracket of V, and what attains each end (``primal`` None where q is built apart)."""

    lower: Array
    upper: Array
    potentials: Potentials
    primal: Primal | None
    steps: Array


def unit(dtype: jnp.dtype) -> float:
    """Unit roundoff of a dtype.

    Args:
        dtype: floating.

    Returns:
        Half the distance from one to the next number.
    """
    return float(jnp.finfo(dtype).eps) / 2


def depth(size: int) -> int:
    """How many halvings a pairwise sum takes.

    Args:
        size: number of terms.

    Returns:
        ``log2(size)``, rounded up, at least 1.
    """
    return max(1, math.ceil(math.log2(max(size, 2))))


def ratio(x: Array, y: Array) -> Array:
    """``x / y``, 0 where y is not positive.

    Args:
        x: any shape.
        y: the same shape.

    Returns:
        The quotients; derivatives are finite where y is 0.
    """
    return jnp.where(y > 0, x / jnp.where(y > 0, y, 1.0), 0.0)


def continuity(t: Array, k: int) -> Array:
    """How far H(Y | X1, X2) can move over a total variation t: ``t log k + (1 + t) h(t / (1 + t))``.

    Alicki-Fannes-Winter.

    Args:
        t: total variations, any shape, in [0, 1].
        k: number of labels.

    Returns:
        Nats, of that shape.
    """
    z = t / (1 + t)
    return t * math.log(max(k, 2)) + (1 + t) * (-xlogx(z) - (1 - z) * jnp.log1p(-z))


@jax.jit
def pairwise_sum(x: Array) -> Array:
    """Sum of all entries in pairs: the error is at most ``log2(size)`` units of the sum of absolute values.

    ``jnp.sum`` promises nothing of the kind, and XLA is free to merge nested sums; it does not reorder these.

    Args:
        x: any shape.

    Returns:
        A scalar.
    """
    x = x.reshape(-1)
    half = 2 ** (depth(x.shape[0]) - 1) if x.shape[0] > 1 else 1
    x = x[:half] + jnp.pad(x[half:], (0, 2 * half - x.shape[0]))
    while half > 1:
        half //= 2
        x = x[:half] + x[half:]
    return x[0]


def dual_bound(p1: Array, p2: Array, potentials: Potentials) -> tuple[Bound, Potentials]:
    """Lower bound on V: make any potentials feasible by shifts of rows and columns, and evaluate them.

    The shifts are signed (slack is used, not only violation repaired), rows first and columns first; the better
    of the two is kept. The potentials returned are feasible and are those of the bound.

    Args:
        p1: ``p(x1, y)``, ``(n1, k)``.
        p2: ``p(x2, y)``, ``(n2, k)``.
        potentials: ``a (n1, k)`` and ``b (n2, k)``, any.

    Returns:
        The bound (nats) and its potentials.
    """
    eps = unit(p1.dtype)
    k = p1.shape[1]
    a, b = potentials
    m1, m2 = p1 > 0, p2 > 0
    s = jnp.where(m1, jnp.exp(a), 0.0) @ jnp.where(m2, jnp.exp(b), 0.0).T
    g = jnp.where(s > 0, jnp.log(jnp.where(s > 0, s, 1.0)), -jnp.inf)
    # s carries two exponentials, a product and a sum of k terms; log adds its own.
    g = jnp.where(s > 0, g + ((k + 3 + 4 * EXP_ULP) + 2 * EXP_ULP * jnp.abs(g)) * eps, g)
    size_a = jnp.max(jnp.where(m1, jnp.abs(a), 0.0), 1)
    size_b = jnp.max(jnp.where(m2, jnp.abs(b), 0.0), 1)
    entropy_y = -jnp.sum(xlogx(p1.sum(0)))

    def shifted(alpha: Array, beta: Array) -> tuple[Bound, Potentials]:
        # a - alpha and b - beta are themselves rounded: two units each, doubled.
        alpha = alpha + 4 * eps * (jnp.abs(alpha) + size_a)
        beta = beta + 4 * eps * (jnp.abs(beta) + size_b)
        new_a = jnp.where(m1, a - alpha[:, None], 0.0)
        new_b = jnp.where(m2, b - beta[:, None], 0.0)
        terms = pairwise_sum(jnp.concatenate([(p1 * new_a).reshape(-1), (p2 * new_b).reshape(-1)]))
        size = jnp.sum(p1 * jnp.abs(new_a)) + jnp.sum(p2 * jnp.abs(new_b)) + entropy_y + 1
        # The sum's depth, that of the sums that made p1 and p2 from a joint, H(Y)'s, and a few roundings.
        margin = (2 * depth(p1.size + p2.size) + k + 4 * EXP_ULP) * eps * size
        return Bound(terms - margin, margin), Potentials(new_a - margin, new_b)

    def finite(x: Array) -> Array:
        return jnp.where(x > -jnp.inf, x, 0.0)

    by_row = finite(jnp.max(g, 1))
    rows_first = shifted(by_row, finite(jnp.max(g - by_row[:, None], 0)))
    by_column = finite(jnp.max(g, 0))
    columns_first = shifted(finite(jnp.max(g - by_column[None, :], 1)), by_column)
    better = rows_first[0].value >= columns_first[0].value
    return jax.tree.map(lambda x, y: jnp.where(better, x, y), rows_first, columns_first)


def one_source_bound(p1: Array, p2: Array) -> tuple[Bound, Potentials]:
    """Lower bound on V from the first modality alone: ``a = log p(y|x1), b = 0``, which says union >= I(X1;Y).

    Args:
        p1: joint of the first modality and the label, ``(n1, k)``.
        p2: of the second, ``(n2, k)``, with the same label marginal.

    Returns:
        The bound, nats, below by its own rounding margin, and the potentials that it belongs to.
    """
    eps = unit(p1.dtype)
    k = p1.shape[1]
    a = safe_log(ratio(p1, p1.sum(1, keepdims=True)))
    # exp of the computed a may sum to more than one by its rounding: of the quotient, of its sum, and of log.
    a = a - ((2 * k + 4 * EXP_ULP) * eps + 2 * EXP_ULP * eps * jnp.max(jnp.abs(a), 1, keepdims=True))
    a = jnp.where(p1 > 0, a, 0.0)
    terms = pairwise_sum(p1 * a)
    margin = (2 * depth(p1.size + p2.size) + k + 4 * EXP_ULP) * eps * (jnp.sum(p1 * jnp.abs(a)) + 2 + math.log(k))
    return Bound(terms - margin, margin), Potentials(a - margin, jnp.zeros_like(p2))


class _Rounded(NamedTuple):
    """``q_y = rho u_y v_y' + e_y f_y'``: a coupling up to rounding error."""

    u: Array
    v: Array
    rho: Array
    e: Array
    f: Array


def _round(p1: Array, p2: Array, primal: Primal) -> _Rounded:
    """Scale rows and columns down to their marginals and add the rank-one remainder (Altschuler et al. 2017)."""
    u, v, rho = primal

    u = u * jnp.minimum(1.0, ratio(p1, u * (rho @ v)))
    v = v * jnp.minimum(1.0, ratio(p2, v * (rho.T @ u)))
    e = jnp.maximum(p1 - u * (rho @ v), 0.0)
    f = jnp.maximum(p2 - v * (rho.T @ u), 0.0)
    total = f.sum(0)
    return _Rounded(u, v, rho, e, f / jnp.where(total > 0, total, 1.0)[None, :])


def coupling(p1: Array, p2: Array, q: Array) -> Array:
    """A non-negative array ``q[x1, x2, y]`` rounded onto the marginals p1 and p2, likewise.

    Args:
        p1: joint of the first modality and the label, ``(n1, k)``.
        p2: of the second, ``(n2, k)``, with the same label marginal.
        q: ``(n1, n2, k)``, non-negative, near a coupling.

    Returns:
        ``(n1, n2, k)``: rows and columns scaled down, the rest added with rank one (Altschuler et al. 2017).
    """
    q = q * jnp.minimum(1.0, ratio(p1, q.sum(1)))[:, None, :]
    q = q * jnp.minimum(1.0, ratio(p2, q.sum(0)))[None, :, :]
    e, f = jnp.maximum(p1 - q.sum(1), 0.0), jnp.maximum(p2 - q.sum(0), 0.0)
    return q + e[:, None, :] * ratio(f, f.sum(0, keepdims=True))[None, :, :]


def primal_bound(p1: Array, p2: Array, primal: Primal) -> Bound:
    """Upper bound on V: round any positive tensor of the solver's form onto its marginals, and evaluate it.

    Args:
        p1: joint of the first modality and the label, ``(n1, k)``.
        p2: of the second, ``(n2, k)``, with the same label marginal.
        primal: factors ``u``, ``v`` and ``rho`` of the tensor.

    Returns:
        The bound, nats, above by its own rounding margin.
    """
    eps = unit(p1.dtype)
    (n1, k), n2 = p1.shape, p2.shape[0]
    u, v, rho, e, f = _round(p1, p2, primal)
    m = rho * (u @ v.T) + e @ f.T
    log_m = safe_log(m)

    def label(column: tuple[Array, Array, Array, Array]) -> Array:
        u_y, v_y, e_y, f_y = column
        q = rho * (u_y[:, None] * v_y[None, :]) + e_y[:, None] * f_y[None, :]
        return pairwise_sum(q * (safe_log(q) - log_m))

    columns = (u.T, v.T, e.T, f.T)
    if n1 * n2 * k <= MATERIALISED_CELLS:
        value = jnp.sum(jax.vmap(label)(columns))
    else:
        value = jnp.sum(jax.lax.map(label, columns))
    # Rounding of the value: every term has one sign (up to rounding), so the sum's error is relative; log(q/m)
    # is wrong by the k terms of m and by the size of log q and log m, which is weighted by q.
    spread = jnp.sum(m * jnp.abs(log_m)) + jnp.abs(value)
    margin = (depth(n1 * n2) + 2 * k + 4 * EXP_ULP) * eps * (1 + jnp.abs(value)) + 2 * EXP_ULP * eps * spread
    # What q still misses of its marginals. Some exact coupling lies within that total variation (Altschuler et al.,
    # lemma 7), and conditional entropy is continuous.
    missed = jnp.sum(jnp.abs(p1 - u * (rho @ v) - e)) + jnp.sum(jnp.abs(p2 - v * (rho.T @ u) - e.sum(0)[None, :] * f))
    t = missed + (n1 + n2 + k + 2 * depth(n1 * n2) + 8) * eps
    margin = margin + continuity(t, k)
    return Bound(value + margin, margin)
