"""Two binary sources, any number of labels: one scalar root.

The optimal couplings ``q(x1, x2 | y)`` of given marginals share one log odds ratio lambda, that of their mixture:
``log m00 m11 / (m01 m10) = lambda``. The left side less the right decreases in lambda, so a safeguarded Newton
iteration finds the root; a root at infinity (a cell of q that vanishes) is met by the end of the bracket.
"""

import jax
import jax.numpy as jnp

from pidjax.couplings.certificate import Potentials, Primal, Result, dual_bound, primal_bound, ratio
from pidjax.info import safe_log
from pidjax.typing import Array

__all__ = ["two_binary"]

MAX_STEPS = 80

_Root = tuple[Array, Array, Array, Array, Array]  # lambda, the bracket's ends, steps, the last change


def _couplings(m1: Array, m2: Array, log_odds: Array) -> Array:
    """Couplings ``(2, 2, k)`` of the columns of m1 and m2 ``(2, k)`` with a common log odds ratio.

    Both a mass and its complement are carried, so that neither is lost below the roundoff of the other, and no cell
    comes from a difference that cancels: of the off-diagonal cells (for a negative log odds ratio: of the table with
    x2 flipped) the smaller solves a quadratic equation; of the diagonal ones the larger is a difference and the
    smaller follows from the odds ratio.
    """
    flip = log_odds < 0
    odds = jnp.exp(-jnp.abs(log_odds))
    m2 = jnp.where(flip, m2[::-1], m2)
    (zero1, one1), (zero2, one2) = m1, m2
    first_high = jnp.where(one1 + one2 > 1, zero1 <= zero2, one1 >= one2)
    low, high = jnp.where(first_high, one2, one1), jnp.where(first_high, one1, one2)
    low_c, high_c = jnp.where(first_high, zero2, zero1), jnp.where(first_high, zero1, zero2)
    spread = jnp.maximum(jnp.where(low + high > 1, low_c - high_c, high - low), 0.0)
    linear = spread + odds * (1 - spread)
    constant = odds * low * high_c
    small = 2 * constant / (linear + jnp.sqrt(linear**2 + 4 * (1 - odds) * constant))
    small = jnp.where(constant > 0, small, 0.0)
    big = jnp.maximum(low, high_c) - small
    rest = jnp.where(constant > 0, small * (spread + small) / (odds * big), jnp.minimum(low, high_c))
    both, neither = jnp.where(low >= high_c, big, rest), jnp.where(low >= high_c, rest, big)
    first = jnp.where(first_high, spread + small, small)
    second = jnp.where(first_high, small, spread + small)
    table = jnp.stack([jnp.stack([neither, second]), jnp.stack([first, both])])
    return jnp.where(flip, table[:, ::-1], table)


def two_binary(p1: Array, p2: Array) -> Result:
    """Solve one problem of two binary modalities.

    Args:
        p1: joint of the first modality and the label, ``(2, k)``.
        p2: of the second, ``(2, k)``, with the same label marginal.

    Returns:
        A ``Result``: what the certificate evaluates.
    """
    dtype = p1.dtype
    # Beyond this a vanishing cell is below the unit roundoff, also where it goes like the root of the odds.
    reach = 100.0 if dtype == jnp.float64 else 40.0
    p_y = p1.sum(0)
    c1, c2 = ratio(p1, p_y[None]), ratio(p2, p2.sum(0)[None])

    def residual(log_odds: Array) -> tuple[Array, Array]:
        q = _couplings(c1, c2, log_odds)
        m = jnp.sum(q * p_y[None, None, :], -1)
        value = jnp.log(m[0, 0]) + jnp.log(m[1, 1]) - jnp.log(m[0, 1]) - jnp.log(m[1, 0]) - log_odds
        # A cell of q moves by the harmonic sum of its table; empty cells don't move.
        inverse = jnp.sum(jnp.where(q > 0, 1 / jnp.where(q > 0, q, 1.0), jnp.inf), (0, 1))
        slope = jnp.sum(p_y / inverse) * jnp.sum(1 / m) - 1
        return value, slope

    def unfinished(state: _Root) -> Array:
        x, low, high, steps, last = state
        width = 4 * jnp.finfo(dtype).eps * jnp.maximum(1.0, jnp.abs(x))
        return (steps < MAX_STEPS) & (high - low > width) & (last > width)

    def step(state: _Root) -> _Root:
        x, low, high, steps, _ = state
        value, slope = residual(x)
        # A table without some row or column has no odds ratio: every lambda is optimal, stay.
        value = jnp.where(jnp.isnan(value), 0.0, value)
        low, high = jnp.where(value >= 0, x, low), jnp.where(value <= 0, x, high)
        newton = x - value / slope
        inside = (newton > low) & (newton < high)
        new = jnp.where(inside, newton, (low + high) / 2)
        return new, low, high, steps + 1, jnp.abs(new - x)

    start = (
        jnp.zeros((), dtype),
        jnp.asarray(-reach, dtype),
        jnp.asarray(reach, dtype),
        jnp.asarray(0, jnp.int32),
        jnp.asarray(jnp.inf, dtype),
    )
    log_odds, _, _, steps, _ = jax.lax.while_loop(unfinished, step, start)
    q = _couplings(c1, c2, log_odds)
    m = jnp.sum(q * p_y[None, None, :], -1)
    # log q(x1,x2|y) p(y) / m has no interaction of x1 and x2 left, so it splits into potentials; what interaction
    # there is (a root at infinity) goes to the cells that vanish: the additive fit weighted by q.
    present = q > 0
    level = jnp.where(present, safe_log(q) + safe_log(p_y)[None, None, :] - safe_log(m)[:, :, None], 0.0)
    inverse = jnp.where(present, 1 / jnp.where(present, q, 1.0), 0.0)
    sign = jnp.array([[1.0, -1.0], [-1.0, 1.0]], dtype)[:, :, None]
    interaction = jnp.where(jnp.all(present, (0, 1)), jnp.sum(sign * level, (0, 1)), 0.0)
    level = level - sign * interaction[None, None, :] * ratio(inverse, jnp.sum(inverse, (0, 1), keepdims=True))
    # The support of q given y is a product set: means over what is present split an additive table exactly.
    mean = ratio(jnp.sum(level, (0, 1)), jnp.sum(present, (0, 1)).astype(dtype))
    a = ratio(jnp.sum(level, 1), jnp.sum(present, 1).astype(dtype)) - mean[None, :] / 2
    b = ratio(jnp.sum(level, 0), jnp.sum(present, 0).astype(dtype)) - mean[None, :] / 2
    a, b = jnp.where(p1 > 0, a, 0.0), jnp.where(p2 > 0, b, 0.0)
    u, v = jnp.where(p1 > 0, jnp.exp(a), 0.0), jnp.where(p2 > 0, jnp.exp(b), 0.0)
    primal = Primal(u, v, ratio(m, u @ v.T))
    lower, potentials = dual_bound(p1, p2, Potentials(a, b))
    return Result(lower.value, primal_bound(p1, p2, primal).value, potentials, primal, steps)
