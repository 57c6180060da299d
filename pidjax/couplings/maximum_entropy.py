"""The joint of greatest entropy with three given pairwise marginals, certified by its dual.

Given p(x1,x2), the greatest ``H_r(X1,X2,Y)`` is ``H(X1,X2)`` and the greatest ``H_r(Y|X1,X2)``, whose dual has one
potential for each cell of p(x1,y) and p(x2,y): a logistic regression of y on the two symbols,

    min F(a, b) = sum p(x1,x2) logsumexp_y(a(x1,y) + b(x2,y)) - sum p(x1,y) a(x1,y) - sum p(x2,y) b(x2,y).

Any potentials bound the entropy from above. Newton's method minimises F, and where iterative proportional fitting
crawls, since the marginals force cells to be empty, it still gains a factor a step; to first order its step also
says how to move ``r = p(x1,x2) softmax_y(a + b)`` onto the marginals, which is where the lower end comes from.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve

from pidjax import _checks
from pidjax._precision import in_own_precision, is_traced
from pidjax.couplings.certificate import EXP_ULP, Potentials, continuity, depth, pairwise_sum, ratio, unit
from pidjax.info import safe_log, xlogx
from pidjax.typing import Array, ArrayLike

__all__ = ["MaximumEntropy", "checked_marginals", "maximum_entropy"]

_MOST_STEPS = 80
# Multiples of the Newton step that are tried. Where cells are forced to be empty their potentials run away, and the
# step, a constant then, is too short.
_LENGTHS = (1.0, 0.0, 0.25, 2.0, 4.0, 8.0)
_LARGEST_MOVE = 4.0
_LONGEST = 64.0
# Of the Hessian with unit diagonal, at least and at most: raised where a step fell short, lowered where it didn't
# (Levenberg and Marquardt). With the least alone, potentials that run away among others that don't take too many steps.
_RIDGES = (1e-9, 1.0)


class MaximumEntropy(NamedTuple):
    """The joint of greatest entropy, and bounds on that entropy. Nats.

    Attributes:
        joint: ``r[x1, x2, y]``, non-negative, whose marginals are those given up to ``residual``.
        lower: the entropy of ``joint``, less what the marginals it misses are worth at ``potentials`` and what a total
            variation of ``residual`` may add: never above ``upper``, and for a residual of 0 the entropy of a joint
            that has the marginals. Where those force cells to be empty, a residual may be worth more than that.
        upper: at least the entropy of any joint with these marginals, whatever the optimiser did; with the envelope
            gradient.
        residual: how far the marginals of ``joint`` are from those given, summed over all three. Where no joint near
            them was found ``lower`` is -inf; if ``upper`` then falls without end, none has these marginals.
        potentials: ``a (n1, k)`` and ``b (n2, k)``, those of ``upper``; 0 in empty cells.
        steps: Newton steps taken.
    """

    joint: Array
    lower: Array
    upper: Array
    residual: Array
    potentials: Potentials
    steps: Array

    @property
    @in_own_precision
    def gap(self) -> Array:
        """``upper - lower``, infinite where the input was refused."""
        found = jnp.isfinite(self.lower) & jnp.isfinite(self.upper)
        return jnp.where(found, jnp.where(found, self.upper, 0.0) - jnp.where(found, self.lower, 0.0), jnp.inf)


@in_own_precision
def maximum_entropy(p_x1y: ArrayLike, p_x2y: ArrayLike, p_x1x2: ArrayLike, *, tol: float = 1e-9) -> MaximumEntropy:
    """Greatest entropy of a joint with these three pairwise marginals.

    ``max { H_r(X1,X2,Y) : r(x1,y) = p(x1,y), r(x2,y) = p(x2,y), r(x1,x2) = p(x1,x2) }``.

    Args:
        p_x1y: ``(n1, k)``, sum one.
        p_x2y: ``(n2, k)``, sum one.
        p_x1x2: ``(n1, n2)``, sum one. Where two tables share a variable its marginals agree to 1e-6.
        tol: the gap (nats) at which Newton's method stops.

    Returns:
        A ``MaximumEntropy``. Works under jit, vmap and grad (``upper``, at constant potentials). Memory and time of a
        step are those of a linear system of order ``(n1 + n2) k``.

    Raises:
        ValueError: not probability mass functions, or tables that disagree about x1, x2 or y. That no joint has these
            marginals is not an error here, but seen in ``residual``.

    Example:
        >>> import numpy as np
        >>> p = np.zeros((2, 2, 2)); p[[0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1]] = 0.25  # y = x1 AND x2
        >>> found = maximum_entropy(p.sum(1), p.sum(0), p.sum(2))  # no other joint has these marginals
        >>> print(f"{found.upper:.6f} {found.joint[1, 1, 1]:.6f}", bool(found.gap < 1e-9))
        1.386294 0.250000 True

    References:
        arXiv 2306.04539, theorem 1 (the minimum of I(X1;X2|Y) there is this maximum); Jaynes 1957.
    """
    (p1, p2, p12), ok = checked_marginals(p_x1y, p_x2y, p_x1x2)
    _checks.require(is_traced(tol) or float(tol) > 0, f"tol is {tol}; expected a positive gap in nats, such as 1e-9")
    return _checks.poison(greatest_entropy(p1, p2, p12, tol), ok, p_x1y, p_x2y, p_x1x2)


def checked_marginals(p_x1y: ArrayLike, p_x2y: ArrayLike, p_x1x2: ArrayLike, *, agree: bool = True) -> tuple[Any, Any]:
    """The three tables normalised, in one dtype, and whether they agree about the variables they share.

    Args:
        p_x1y: as in ``maximum_entropy``.
        p_x2y: likewise.
        p_x1x2: likewise.
        agree: whether tables that disagree are refused.

    Returns:
        ``(p_x1y, p_x2y, p_x1x2)``, and the condition for ``poison``.

    Raises:
        ValueError: shapes that don't fit, no probability mass functions, and tables that disagree.
    """
    given = ((p_x1y, "p_x1y", "[x1, y]"), (p_x2y, "p_x2y", "[x2, y]"), (p_x1x2, "p_x1x2", "[x1, x2]"))
    tables = [jnp.asarray(_checks.pmf(p, name=name, ndim=2, axes=axes)) for p, name, axes in given]
    (n1, k), (n2, k2), pairs = (p.shape for p in tables)
    _checks.require(
        (k, (n1, n2)) == (k2, pairs),
        f"p_x1y, p_x2y and p_x1x2 have shapes {(n1, k)}, {(n2, k2)} and {pairs}; expected (n1, k), (n2, k), (n1, n2)",
    )
    dtype = jnp.result_type(*tables)
    p1, p2, p12 = (p.astype(dtype) for p in tables)
    ok: Any = jnp.isfinite(jax.lax.stop_gradient(sum(p.sum() for p in tables)))
    if agree:
        shared = (
            ("x1", p1.sum(1), p12.sum(1), "p_x1y", "p_x1x2"),
            ("x2", p2.sum(1), p12.sum(0), "p_x2y", "p_x1x2"),
            ("y", p1.sum(0), p2.sum(0), "p_x1y", "p_x2y"),
        )
        for variable, first, second, name1, name2 in shared:
            off = jnp.abs(jax.lax.stop_gradient(first - second)).max()
            ok &= _checks.ensure(
                jnp.logical_not(off > _checks.sum_tolerance((n1, n2, k), dtype)),
                lambda off=off, names=(variable, name1, name2): (  # type: ignore[misc]
                    f"{names[1]} and {names[2]} disagree about {names[0]}: their marginals differ by {float(off):.3g}, "
                    "expected at most 1e-6; tables of separate samples are reconciled by "
                    "pidjax.synergy_bounds(..., reconcile=True)"
                ),
            )
        p1, p2, p12 = agreed(p1, p2, p12, sweeps=3)  # what is left of it is rounding, which the dual would follow
    return (p1, p2, p12), ok


def agreed(p1: Array, p2: Array, p12: Array, *, sweeps: int) -> tuple[Array, Array, Array]:
    """Tables scaled to the means of the marginals they share, by proportional fitting; empty cells stay so.

    A symbol that one of two tables lacks is dropped from the other.

    Args:
        p1: ``p(x1,y)``.
        p2: ``p(x2,y)``.
        p12: ``p(x1,x2)``.
        sweeps: how often rows and columns are scaled; static.

    Returns:
        The three tables.
    """

    def mean(first: Array, second: Array) -> Array:
        both = jnp.where((first > 0) & (second > 0), (first + second) / 2, 0.0)
        return both / both.sum()

    def scaled(p: Array, rows: Array, columns: Array) -> Array:
        def sweep(_: Any, p: Array) -> Array:
            p = p * ratio(rows, p.sum(1))[:, None]
            return p * ratio(columns, p.sum(0))[None, :]

        return jax.lax.fori_loop(0, sweeps, sweep, p)

    x1, x2, y = mean(p1.sum(1), p12.sum(1)), mean(p2.sum(1), p12.sum(0)), mean(p1.sum(0), p2.sum(0))
    return scaled(p1, x1, y), scaled(p2, x2, y), scaled(p12, x1, x2)


@jax.jit
def greatest_entropy(p1: Array, p2: Array, p12: Array, tol: ArrayLike) -> MaximumEntropy:
    """``maximum_entropy`` of tables that are already checked.

    Args:
        p1: ``p(x1,y)``, as ``checked_marginals`` returns it; NaN where it was refused.
        p2: ``p(x2,y)``, likewise.
        p12: ``p(x1,x2)``, likewise.
        tol: as in ``maximum_entropy``.

    Returns:
        The ``MaximumEntropy``.
    """
    tables = jax.lax.stop_gradient((p1, p2, p12))
    refused = jnp.isnan(sum(jnp.sum(p) for p in tables))
    safe = tuple(jnp.where(refused, 1 / p.size, p) for p in tables)
    with jax.default_matmul_precision("highest"):
        safe1, safe2, safe12 = safe
        found = _newton(safe1, safe2, safe12, jax.lax.stop_gradient(jnp.asarray(tol, p1.dtype)))
    upper = _dual(found.potentials, p1, p2, p12)
    found = found._replace(upper=upper + jax.lax.stop_gradient(_margin(found.potentials, p1, p2, p12)))
    return jax.tree.map(lambda x: jnp.where(refused, jnp.nan, x) if jnp.issubdtype(x.dtype, jnp.floating) else x, found)


def _logits(potentials: Potentials, p1: Array, p2: Array) -> Array:
    possible = (p1 > 0)[:, None, :] & (p2 > 0)[None, :, :]
    return jnp.where(possible, potentials.a[:, None, :] + potentials.b[None, :, :], -jnp.inf)


def _dual(potentials: Potentials, p1: Array, p2: Array, p12: Array) -> Array:
    """``H(X1,X2) + F``, for any potentials at least the entropy of any joint with these marginals."""
    top = jax.nn.logsumexp(_logits(potentials, p1, p2), axis=2)
    own = jnp.where(p12 > 0, p12 * jnp.where(p12 > 0, top, 0.0), 0.0) - xlogx(p12)
    return pairwise_sum(own) - pairwise_sum(p1 * potentials.a) - pairwise_sum(p2 * potentials.b)


def _margin(potentials: Potentials, p1: Array, p2: Array, p12: Array) -> Array:
    """What rounding may have taken off ``_dual``: of each term, of exp and log, and of the three sums."""
    terms = (
        1
        + jnp.sum(jnp.abs(xlogx(p12)))
        + sum(jnp.sum(p * jnp.abs(x)) for p, x in ((p1, potentials.a), (p2, potentials.b)))
    )
    # The logsumexp lies between the largest potential sums, which the same two terms bound on average only up to
    # the tables' support: their plain maximum is safe.
    largest = jnp.max(jnp.abs(potentials.a)) + jnp.max(jnp.abs(potentials.b))
    k = p1.shape[1]
    return (2 * depth(p1.size + p2.size + p12.size) + k + 4 * EXP_ULP) * unit(p1.dtype) * terms + (
        2 * EXP_ULP * unit(p1.dtype) * largest
    )


class _State(NamedTuple):
    potentials: Potentials
    value: Array  # of the dual at the potentials
    joint: Array  # the best of the joints on the marginals
    lower: Array
    residual: Array
    steps: Array
    ridge: Array  # of the next step
    stuck: Array


def _newton(p1: Array, p2: Array, p12: Array, tol: Array) -> MaximumEntropy:
    dtype = p1.dtype

    def dual(potentials: Potentials) -> Array:
        """With its rounding, so that potentials too large to add up are no progress."""
        return _dual(potentials, p1, p2, p12) + _margin(potentials, p1, p2, p12)

    close = max(1e-9, 32 * float(jnp.finfo(dtype).eps))

    def joint(potentials: Potentials) -> tuple[Array, Array]:
        logits = _logits(potentials, p1, p2)
        logits = jnp.where(jnp.isfinite(logits.max(2, keepdims=True)), logits, 0.0)  # a pair that no label allows
        share = jax.nn.softmax(logits, axis=2)
        return p12[:, :, None] * share, share

    def below(r: Array, potentials: Potentials) -> tuple[Array, Array, Array]:
        """A joint, its lower end, and what it misses."""
        residual = sum((jnp.sum(jnp.abs(off)) for off in _missed(r, p1, p2, p12)), jnp.zeros((), dtype))
        lower = _entropy_from_below(r, potentials, p1, p2, p12) - continuity(residual, r.size)
        return r, jnp.where(residual <= close, lower, -jnp.inf), residual

    def swept(potentials: Potentials) -> Potentials:
        """One round of iterative proportional fitting: nothing that is far off stays so, however flat F is there."""
        for axis in (1, 0):
            p, own = (p1, potentials.a) if axis else (p2, potentials.b)
            current = joint(potentials)[0].sum(axis)
            own = own + jnp.where((p > 0) & (current > 0), safe_log(p) - safe_log(current), 0.0)
            potentials = potentials._replace(a=own) if axis else potentials._replace(b=own)
        return potentials

    def step(state: _State) -> _State:
        r, share = joint(state.potentials)
        # Where supports fall apart the Hessian is singular in ways that aren't pinned, and rounding is all it divides.
        move = jax.tree.map(lambda x: jnp.clip(x, -_LONGEST, _LONGEST), _direction(r, share, p1, p2, state.ridge))
        along = move.a[:, None, :] + move.b[None, :, :]
        centred = along - jnp.sum(share * along, 2, keepdims=True)
        # To first order the Newton step carries r onto the marginals: where no cell turns negative, it is on them.
        candidate = jnp.maximum(r * (1 + centred), 0.0)
        # No further at once than logits may move: beyond, the curvature says nothing, and shares vanish.
        spread = jnp.max(jnp.where(r > 0, jnp.abs(centred), 0.0))
        lengths = jnp.asarray(_LENGTHS, dtype) * jnp.minimum(1.0, _LARGEST_MOVE / jnp.maximum(spread, _LARGEST_MOVE))
        trials = jax.vmap(lambda t: swept(jax.tree.map(lambda x, d: x + t * d, state.potentials, move)))(lengths)
        values = jax.vmap(dual)(trials)
        best = jnp.argmin(jnp.where(jnp.isnan(values), jnp.inf, values))
        better = values[best] < state.value
        potentials, value = jax.tree.map(
            lambda new, old: jnp.where(better, new[best], old), (trials, values), (state.potentials, state.value)
        )
        # Both at the potentials of the upper end, so that no bracket is upside down.
        new, old = below(candidate, potentials), below(state.joint, potentials)
        r, lower, residual = jax.tree.map(lambda a, b: jnp.where(new[1] > old[1], a, b), new, old)
        short = (spread > 4 * _LARGEST_MOVE) | (best == 1) | ~better
        ridge = jnp.clip(jnp.where(short, 100 * state.ridge, state.ridge / 10), *_RIDGES)
        # No way down, to rounding, not even by the shortest of steps: this was the last.
        stuck = ~better & (state.ridge >= _RIDGES[1])
        return _State(potentials, value, r, lower, residual, state.steps + 1, ridge, stuck)

    def unfinished(state: _State) -> Array:
        return (state.steps < _MOST_STEPS) & ~state.stuck & (state.value - state.lower > tol)

    log_y = safe_log((p1.sum(0) + p2.sum(0)) / 2)
    given = (jnp.where(p > 0, safe_log(p) - safe_log(p.sum(1))[:, None], 0.0) for p in (p1, p2))
    a, b = given
    start = Potentials(a, jnp.where(p2 > 0, b - log_y[None], 0.0))
    ridge = jnp.asarray(_RIDGES[0], dtype)
    r, lower, residual = below(joint(start)[0], start)
    state = _State(start, dual(start), r, lower, residual, jnp.asarray(0), ridge, jnp.asarray(False))
    state = jax.lax.while_loop(unfinished, step, state)
    return MaximumEntropy(state.joint, state.lower, state.value, state.residual, state.potentials, state.steps)


def _entropy_from_below(r: Array, potentials: Potentials, p1: Array, p2: Array, p12: Array) -> Array:
    """``H(r)`` less ``sum |marginal of r - p| |potential|``: at most the dual there, whatever marginals r has.

    The dual of r's own marginals is above H(r), and at most linear in them.
    """
    top = jax.nn.logsumexp(_logits(potentials, p1, p2), axis=2)
    of_pairs = jnp.where((p12 > 0) & jnp.isfinite(top), top - safe_log(p12), 0.0)
    worth = zip(_missed(r, p1, p2, p12), (potentials.a, potentials.b, of_pairs), strict=True)
    return -pairwise_sum(xlogx(r)) - sum(jnp.sum(jnp.abs(off * each)) for off, each in worth)


def _missed(r: Array, p1: Array, p2: Array, p12: Array) -> tuple[Array, Array, Array]:
    return r.sum(1) - p1, r.sum(0) - p2, r.sum(2) - p12


def _direction(r: Array, share: Array, p1: Array, p2: Array, ridge: Array) -> Potentials:
    """The Newton step of F, scaled to a unit diagonal and with a ridge there; its gauges are pinned."""
    n1, n2, k = r.shape
    m1, m2, order = n1 * k, n2 * k, (n1 + n2) * k
    each = r[..., None] * (
        jnp.eye(k, dtype=r.dtype)[None, None] - share[:, :, None, :]
    )  # p12 (diag(s) - s s') for each pair
    own = jnp.eye(n1, dtype=r.dtype)[:, None, :, None] * each.sum(1)[:, :, None, :]
    other = jnp.eye(n2, dtype=r.dtype)[:, None, :, None] * each.sum(0)[:, :, None, :]
    cross = each.transpose(0, 2, 1, 3).reshape(m1, m2)
    hessian = jnp.block([[own.reshape(m1, m1), cross], [cross.T, other.reshape(m2, m2)]])
    gradient = jnp.concatenate([(r.sum(1) - p1).reshape(-1), (r.sum(0) - p2).reshape(-1)])
    diagonal = jnp.diagonal(hessian)
    # Saturated to rounding, a potential can't be told from its neighbours: it stays where it is.
    free = diagonal > 4 * unit(r.dtype) * jnp.concatenate([p1.reshape(-1), p2.reshape(-1)])
    scale = ratio(jnp.ones_like(diagonal), jnp.sqrt(jnp.where(free, diagonal, 0.0)))
    scaled = hessian * scale[:, None] * scale[None, :]
    # What moves no share: a constant for each symbol, and one for each label passed from a to b.
    length = jnp.sqrt(jnp.where(free, diagonal, 0.0)).reshape(n1 + n2, k)
    rows = (jnp.eye(n1 + n2, dtype=r.dtype)[:, :, None] * length[:, None, :]).reshape(n1 + n2, order)
    sign = jnp.concatenate([jnp.ones(n1, r.dtype), -jnp.ones(n2, r.dtype)])
    labels = (jnp.eye(k, dtype=r.dtype)[:, None, :] * (sign[:, None] * length)[None]).reshape(k, order)
    gauge = jnp.concatenate([rows, labels])
    gauge = gauge * ratio(jnp.ones(len(gauge), r.dtype), jnp.sqrt(jnp.sum(gauge**2, 1)))[:, None]
    lift = jnp.maximum(order**2 * unit(r.dtype), ridge) * jnp.eye(order, dtype=r.dtype) + jnp.diag(1.0 - free)
    factor = jnp.linalg.cholesky(scaled + gauge.T @ gauge + lift)
    found = cho_solve((factor, True), -gradient * scale)
    found = jnp.where(jnp.isfinite(found), found, 0.0) * scale
    return Potentials(found[:m1].reshape(n1, k), found[m1:].reshape(n2, k))
