"""Three pairwise tables of separate samples, brought to what some joint has.

Tables that were counted from different samples disagree about the variables they share, and even where they agree
there may be no joint with all three. The nearest that has one is the maximum likelihood fit,

    min_r  w1 KL(p(x1,y) || r(x1,y)) + w2 KL(p(x2,y) || r(x2,y)) + w12 KL(p(x1,x2) || r(x1,x2)),

which is convex in the joint r, and whose marginals are unique where r is not. A table's weight is its share of the
samples. Every iterate is a joint, so its tables are always possible; only how near they are depends on the steps.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pidjax import _checks
from pidjax._precision import in_own_precision
from pidjax.couplings.maximum_entropy import agreed, checked_marginals, greatest_entropy
from pidjax.info import safe_log
from pidjax.typing import Array, ArrayLike

__all__ = ["Reconciliation", "reconciled_tables"]

_MOST_STEPS = 2000
_SWEEPS = 50
# Over-relaxed expectation-maximisation: the multiplier's power, below 2 so that it converges.
_POWER = 1.8
# Shares of the start's cells that no table asks to be there, so that every cell can be reached.
_EVERYWHERE = 0.05


class Reconciliation(NamedTuple):
    """Three tables that one joint has, and how far they are from those given.

    Attributes:
        p_x1y: ``(n1, k)``.
        p_x2y: ``(n2, k)``.
        p_x1x2: ``(n1, n2)``.
        joint: one joint that has them, ``(n1, n2, k)``.
        divergence: ``KL(given || reconciled)`` averaged over the tables by weight, nats: 0 where nothing was moved.
            Of n samples each, ``6 n`` times it is chi-square, of as many degrees of freedom as the tables
            share: ``n1 + n2 + k - 3``.
        moved: the largest total variation between a given table and its reconciled one, a probability.
        slack: at most so much lower could the divergence be, nats: what more steps would gain.
    """

    p_x1y: Array
    p_x2y: Array
    p_x1x2: Array
    joint: Array
    divergence: Array
    moved: Array
    slack: Array


@in_own_precision
def reconciled_tables(
    p_x1y: ArrayLike,
    p_x2y: ArrayLike,
    p_x1x2: ArrayLike,
    *,
    weight: ArrayLike | tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Reconciliation:
    """The three tables nearest to those given that some joint has.

    Args:
        p_x1y: ``(n1, k)``, sum one.
        p_x2y: ``(n2, k)``, sum one.
        p_x1x2: ``(n1, n2)``, sum one.
        weight: of the three tables, positive: their numbers of samples.

    Returns:
        A ``Reconciliation``. Tables that one joint has come back unchanged, up to rounding. Works under jit and vmap.

    Raises:
        ValueError: shapes that don't fit, no probability mass functions, weights that aren't positive.

    Example:
        >>> import numpy as np
        >>> same, other = np.eye(2) / 2, np.array([[0.0, 0.5], [0.5, 0.0]])  # x1 = y, x2 = y, but x1 = not x2
        >>> found = reconciled_tables(same, same, other)
        >>> print(found.p_x1y.round(3).tolist(), f"{found.divergence:.3f}")
        [[0.333, 0.167], [0.167, 0.333]] 0.405

    References:
        Csiszar & Shields 2004, "Information theory and statistics: a tutorial", section 5 (the iteration).
    """
    tables, ok = checked_marginals(p_x1y, p_x2y, p_x1x2, agree=False)
    share, counted = table_shares(weight, tables[0].dtype)
    return _checks.poison(nearest_tables(*tables, share), ok & counted)


def table_shares(weight: ArrayLike | tuple[float, float, float], dtype: Any) -> tuple[Array, Any]:
    """The three tables' weights over their sum, and whether they are what they must be: a condition for ``poison``.

    Args:
        weight: three positive numbers: how many samples each table counts.
        dtype: of the shares.

    Returns:
        The shares ``(3,)`` and the condition.

    Raises:
        ValueError: another shape, and outside jit other numbers.
    """
    share = jnp.asarray(_checks.as_float(weight, "weight"), dtype)
    _checks.require(share.shape == (3,), f"weight has shape {share.shape}; expected one for each table, (3,)")
    ok = _checks.ensure(
        (jnp.isfinite(share) & (share > 0)).all(),
        lambda: f"weight is {share.tolist()}; expected three positive numbers: how many samples each table counts",
    )
    return share / share.sum(), ok


@jax.jit
def nearest_tables(p1: Array, p2: Array, p12: Array, share: Array) -> Reconciliation:
    """``reconciled_tables`` of tables that are already checked.

    Args:
        p1: ``p(x1,y)``, as ``checked_marginals`` returns it.
        p2: ``p(x2,y)``, likewise.
        p12: ``p(x1,x2)``, likewise.
        share: ``(3,)``, as ``table_shares`` returns it.

    Returns:
        The ``Reconciliation``.
    """
    tables = (p1, p2, p12)
    (n1, k), n2 = p1.shape, p2.shape[0]
    size = n1 * n2 * k
    eps = float(jnp.finfo(p1.dtype).eps)

    def marginals(r: Array) -> tuple[Array, Array, Array]:
        return r.sum(1), r.sum(0), r.sum(2)

    def spread(values: tuple[Array, ...]) -> Array:
        on1, on2, on12 = (s * v for s, v in zip(share, values, strict=True))
        return on1[:, None, :] + on2[None, :, :] + on12[:, :, None]

    def multiplier(r: Array) -> Array:
        """Minus the gradient of the objective: at the optimum 1 where r is positive, at most 1 elsewhere."""
        quotients = (
            jnp.where(p > 0, p / jnp.where(p > 0, own, 1.0), 0.0) for p, own in zip(tables, marginals(r), strict=True)
        )
        return spread(tuple(quotients))

    def divergence(r: Array) -> Array:
        return sum(
            s * jnp.sum(p * (safe_log(p) - jnp.log(jnp.where(p > 0, own, 1.0))))
            for s, p, own in zip(share, tables, marginals(r), strict=True)
        )

    def step(state: Any) -> Any:
        r, m, old, steps = state
        new = r * m**_POWER
        new = new / new.sum()
        value = divergence(new)
        worse = value > old + eps  # too bold: the plain step, which never goes up
        plain = r * m
        new = jnp.where(worse, plain / plain.sum(), new)
        value = jnp.where(worse, divergence(new), value)
        return new, multiplier(new), value, steps + 1

    def unfinished(state: Any) -> Array:
        _, m, _, steps = state
        return (steps < _MOST_STEPS) & (m.max() - 1 > tolerance)

    # Where the tables fit together the greatest-entropy joint has them; else it is where to start.
    fitted = agreed(*tables, sweeps=_SWEEPS)
    found = greatest_entropy(*fitted, 1e-9)
    tolerance = max(1e-7, 16 * eps * size**0.5)
    fits = (multiplier(found.joint).max() - 1 <= tolerance) & (found.residual <= tolerance)
    x1, x2, y = (p1.sum(1) + p12.sum(1)) / 2, (p2.sum(1) + p12.sum(0)) / 2, (p1.sum(0) + p2.sum(0)) / 2
    independent = x1[:, None, None] * x2[None, :, None] * y[None, None, :]
    first = jnp.where(
        fits, found.joint, (1 - _EVERYWHERE) * found.joint / found.joint.sum() + _EVERYWHERE * independent
    )
    start = (first, multiplier(first), divergence(first), jnp.asarray(0))
    joint, m, value, _ = jax.lax.while_loop(unfinished, step, start)
    done = tuple(jnp.where(fits, p, own) for p, own in zip(fitted, marginals(joint), strict=True))
    moved = jnp.stack([jnp.sum(jnp.abs(p - own)) / 2 for p, own in zip(tables, done, strict=True)]).max()
    used1, used2, used12 = done
    return Reconciliation(used1, used2, used12, joint, jnp.maximum(value, 0.0), moved, jnp.maximum(m.max() - 1, 0.0))
