"""Synergy without labelled pairs: what p(x1,y), p(x2,y) and p(x1,x2) leave open about it.

Redundancy and uniquenesses need the first two tables only, so they are known. The synergy depends on the joint, of
which just the three pairwise marginals are seen; it lies between the least and the greatest over all joints that have
them. The least is exact, a convex problem; the greatest is NP-hard, and bounded from above.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from pidjax import _checks
from pidjax._precision import in_own_precision, is_traced
from pidjax.couplings.broja import union_information
from pidjax.couplings.certificate import ratio
from pidjax.couplings.maximum_entropy import checked_marginals, greatest_entropy
from pidjax.couplings.minimum_entropy import joint_entropy_bounds
from pidjax.couplings.reconciliation import nearest_tables, table_shares
from pidjax.info import mutual_information_of, xlogx
from pidjax.pid import PID, Interval, from_union
from pidjax.typing import Array, ArrayLike

__all__ = ["SynergyBounds", "disagreement", "disagreement_bounds", "synergy_bounds"]

# Nats by which a lower bound may exceed an upper one before the tables are called impossible: a joint of theirs would
# be off by this much at least.
_IMPOSSIBLE = 1e-6


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class SynergyBounds:
    """Bounds on the synergy of every joint with three given pairwise marginals. Nats; a pytree.

    Attributes:
        lower: the largest of ``lower_bounds``.
        upper: the smallest of ``upper_bounds``.
        lower_bounds: by name. ``redundancy``: the exact minimum over the joints, up to ``gap`` (S_R, the name is the
            paper's: it is R less a difference of informations). ``disagreement`` and ``disagreement_sharp``: of the
            two posteriors, from the unimodal tables and the pairs' average alone (S_U, constant corrected; never
            above the first). ``zero``: synergy is not negative.
        upper_bounds: by name, ``H(X1,X2) + H(Y) - I_min`` less the bound on H(X1,X2,Y) of that name: see
            ``pidjax.couplings.minimum_entropy.joint_entropy_bounds``.
        pid: R, U1 and U2, which are known; its synergy is NaN.
        information: ``Interval``: I(X1,X2;Y) with the synergy at either end.
        disagreement: ``alpha = E |p(y|x1) - p(y|x2)|^2`` over the pairs.
        gap: how far ``lower`` may be below the exact minimum: the certificates of both solvers.
        divergence: what reconciling the tables took, ``KL(given || used)``, nats, averaged; 0 where nothing was done.
        moved: the largest total variation that it moved a table by; 0 where nothing was done.

    Example:
        >>> import numpy as np
        >>> xor = np.zeros((2, 2, 2)); xor[[0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 0]] = 0.25
        >>> found = synergy_bounds(xor.sum(1), xor.sum(0), xor.sum(2))  # the marginals of three fair coins, too
        >>> print(f"{abs(found.lower):.4f} {found.upper:.4f}", found.binding)
        0.0000 0.6931 ('zero', 'meet_x1x2_y')
    """

    lower: Array
    upper: Array
    lower_bounds: dict[str, Array]
    upper_bounds: dict[str, Array]
    pid: PID
    information: Interval
    disagreement: Array
    gap: Array
    divergence: Array
    moved: Array

    @property
    def binding(self) -> tuple[str, str]:
        """The names of the bounds that are ``lower`` and ``upper``: the simplest, where several are to 1e-6.

        Raises:
            ValueError: a batch of bounds, made under vmap, or one that is traced.
        """
        _checks.require(
            not is_traced(self.lower) and jnp.ndim(self.lower) == 0,
            "binding names the bounds of one problem, outside of jit; of a batch, compare lower_bounds with lower",
        )
        return binding_bound(self.lower_bounds, self.lower), binding_bound(self.upper_bounds, self.upper)


def binding_bound(bounds: dict[str, Any], best: Any) -> str:
    """The name of the bound that equals ``best``: the simplest, where several do to 1e-6; else the nearest.

    Args:
        bounds: numbers, by name.
        best: a number.

    Returns:
        The name.
    """
    off = {name: abs(float(value) - float(best)) for name, value in bounds.items()}
    order = ("zero", "redundancy", "meet", "conditional", "disagreement", "greedy")
    rank = lambda name: next((i for i, start in enumerate(order) if name.startswith(start)), len(order))
    return min(off, key=lambda name: (off[name] if not off[name] <= 1e-6 else 0.0, rank(name)))


@in_own_precision
def synergy_bounds(
    p_x1y: ArrayLike,
    p_x2y: ArrayLike,
    p_x1x2: ArrayLike,
    *,
    reconcile: bool = False,
    weight: ArrayLike | tuple[float, float, float] = (1.0, 1.0, 1.0),
    tol: float = 1e-9,
) -> SynergyBounds:
    """What two labelled modalities and unlabelled pairs say about the synergy: a lower and an upper bound.

    ``S = I(X1,X2;Y) - I_min`` over the joints r that have the three tables as pairwise marginals:

    - below, ``H(Y) + H(X1,X2) - max_r H_r(X1,X2,Y) - I_min``, the exact minimum;
    - above, ``H(Y) + H(X1,X2) - h - I_min`` for every ``h <= min_r H_r(X1,X2,Y)``.

    Args:
        p_x1y: joint of the first modality and the label, ``(n1, k)``, sum one.
        p_x2y: joint of the second modality and the label, ``(n2, k)``, sum one.
        p_x1x2: joint of the two modalities, ``(n1, n2)``, sum one.
        reconcile: False refuses tables that no joint has. True takes the nearest that one has (maximum likelihood),
            as tables of separate samples need it; ``divergence`` and ``moved`` say how far they were moved. Static.
        weight: numbers of samples of the three tables, by which they are reconciled.
        tol: gap (nats) to which both convex problems are solved.

    Returns:
        ``SynergyBounds``. Works under jit, vmap and grad (at constant potentials; where the tables are reconciled,
        with respect to the reconciled ones, which is to say not at all). Inside jit, tables that were refused give
        NaN.

    Raises:
        ValueError: no probability mass functions, shapes that don't fit, tables that disagree about a variable, or
            that no joint has.

    Example:
        >>> import numpy as np
        >>> p = np.zeros((2, 2, 2)); p[[0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1]] = 0.25  # y = x1 AND x2
        >>> found = synergy_bounds(p.sum(1), p.sum(0), p.sum(2))
        >>> print(f"{found.lower:.4f} {found.upper:.4f} R {found.pid.redundancy:.4f} alpha {found.disagreement:.4f}")
        0.3466 0.3466 R 0.2158 alpha 0.2500

    References:
        arXiv 2306.04539, theorems 1 to 4. The constant of theorem 2 is 1/4, and its sharp form and the conditional
        upper bounds are ours: see the README's notes.
    """
    tables, ok = checked_marginals(p_x1y, p_x2y, p_x1x2, agree=not reconcile)
    _checks.require(is_traced(tol) or float(tol) > 0, f"tol is {tol}; expected a positive gap in nats, such as 1e-9")
    divergence = moved = jnp.zeros((), tables[0].dtype)
    if reconcile:
        share, counted = table_shares(weight, tables[0].dtype)
        ok &= counted
        nearest = jax.lax.stop_gradient(nearest_tables(*tables, share))
        tables, divergence, moved = nearest[:3], nearest.divergence, nearest.moved
    found = _bounds(*tables, divergence, moved, tol)
    excess = jax.lax.stop_gradient(found.lower - found.upper)
    ok &= _checks.ensure(
        jnp.logical_not(excess > _IMPOSSIBLE),
        lambda: (
            f"no joint has these three tables: the least synergy would exceed the greatest by {float(excess):.3g} "
            "nats; pass reconcile=True to take the nearest tables that one has"
        ),
    )
    return _checks.poison(found, ok, p_x1y, p_x2y, p_x1x2)


@jax.jit
def _bounds(p1: Array, p2: Array, p12: Array, divergence: Array, moved: Array, tol: float) -> SynergyBounds:
    union = union_information(p1, p2, tol=tol)
    greatest = greatest_entropy(p1, p2, p12, tol)
    h12, h_y = -jnp.sum(xlogx(p12)), -jnp.sum(xlogx(p1.sum(0)))
    i1, i2 = mutual_information_of(p1), mutual_information_of(p2)
    gap = jax.lax.stop_gradient(union.upper - union.lower)
    known = from_union(i1, i2, jnp.full_like(i1, jnp.nan), union.lower)
    alpha = jnp.sum(p12 * _distance(_posterior(p1), _posterior(p2)))
    # At the upper end of the union all uniquenesses are at theirs, and the bounds below at their lowest.
    loose, sharp = _disagreement_bounds(alpha, known.unique1 + gap, known.unique2 + gap)
    least = h_y + h12 - greatest.upper
    lower_bounds = {
        "redundancy": least - (union.lower + gap),
        "disagreement": loose,
        "disagreement_sharp": sharp,
        "zero": jnp.zeros_like(loose),
    }
    upper_bounds = {name: h12 + h_y - bound - union.lower for name, bound in joint_entropy_bounds(p1, p2, p12).items()}
    lower, upper = jnp.stack(list(lower_bounds.values())).max(), jnp.stack(list(upper_bounds.values())).min()
    return SynergyBounds(
        lower=lower,
        upper=upper,
        lower_bounds=lower_bounds,
        upper_bounds=upper_bounds,
        pid=known,
        information=Interval(jnp.maximum(least, union.lower + lower), union.lower + upper),
        disagreement=alpha,
        gap=gap + jax.lax.stop_gradient(greatest.gap),
        divergence=divergence,
        moved=moved,
    )


def _posterior(p: Array) -> Array:
    return ratio(p, p.sum(1, keepdims=True))


def _distance(f1: Array, f2: Array) -> Array:
    """Squared distances of all pairs of rows, ``(n1, n2)``, one label at a time."""
    each = lambda total, columns: (total + (columns[0][:, None] - columns[1][None, :]) ** 2, None)
    return jax.lax.scan(each, jnp.zeros((len(f1), len(f2)), f1.dtype), (f1.T, f2.T))[0]


@in_own_precision
def disagreement(f1: ArrayLike, f2: ArrayLike, *, weight: ArrayLike | None = None) -> Array:
    """How far two unimodal predictions are apart on unlabelled pairs: ``alpha = E |f1(x1) - f2(x2)|^2``.

    Args:
        f1: ``p(y|x1)`` of each pair, ``(n, k)`` probabilities.
        f2: ``p(y|x2)``, likewise.
        weight: ``(n,)`` non-negative weights; None means all ones.

    Returns:
        Scalar in [0, 2]: a squared distance of probabilities, no information.

    Raises:
        ValueError: shapes that differ, rows that are no distributions.

    Example:
        >>> import numpy as np
        >>> print(disagreement(np.array([[0.9, 0.1], [0.5, 0.5]]), np.array([[0.9, 0.1], [0.9, 0.1]])).round(4))
        0.16

    References:
        arXiv 2306.04539, definition 3 (there: any distance with a relaxed triangle inequality).
    """
    checked = [_checks.as_float(f, name) for f, name in ((f1, "f1"), (f2, "f2"))]
    first, second = (jnp.asarray(f) for f in checked)
    _checks.require(
        first.ndim == 2 and first.shape == second.shape and first.size > 0,
        f"f1 and f2 have shapes {first.shape} and {second.shape}; expected one shape (n, k), the labels last",
    )
    ok: Any = True
    for f, name in ((first, "f1"), (second, "f2")):
        off = jnp.abs(jax.lax.stop_gradient(f).sum(1) - 1).max()
        ok &= _checks.ensure(
            (f >= 0).all() & (off <= 1e-3),
            lambda off=off, name=name: (  # type: ignore[misc]
                f"{name} has rows that are no distributions, sums off by up to {float(off):g}; expected "
                "probabilities: jax.nn.softmax(logits)"
            ),
        )
    share = jnp.ones(len(first), first.dtype) if weight is None else jnp.asarray(_checks.as_float(weight, "weight"))
    _checks.require(share.shape == (len(first),), f"weight has shape {share.shape}; expected ({len(first)},)")
    ok &= _checks.ensure(
        (share >= 0).all() & (share.sum() > 0),
        lambda: "weight has negative numbers, or is all 0; expected numbers >= 0",
    )
    return _checks.poison(jnp.sum(share * ((first - second) ** 2).sum(1)) / share.sum(), ok, first, second)


@in_own_precision
def disagreement_bounds(
    alpha: ArrayLike, unique1: ArrayLike, unique2: ArrayLike, *, errors: tuple[ArrayLike, ArrayLike] = (0.0, 0.0)
) -> dict[str, Array]:
    """Lower bounds on the synergy from how far two unimodal predictions disagree.

    With ``f = p(y|x1,x2)``, Pinsker's inequality gives ``E |p(y|x1) - f|^2 <= I(X2;Y|X1) = U2 + S``, so that
    ``sqrt(alpha) <= sqrt(U2 + S) + sqrt(U1 + S)``, and ``S >= alpha/4 - (U1 + U2)/2 + (U1 - U2)^2 / (4 alpha)`` where
    ``|U1 - U2| <= alpha``. Without the last term it holds always, and is weaker.

    Args:
        alpha: the ``disagreement``, any shape.
        unique1: U1, the same shape, nats.
        unique2: U2, the same shape, nats.
        errors: ``E |f_i - p(y|x_i)|^2`` of each classifier, where known: imperfect ones disagree too, and alpha is
            reduced to ``(sqrt(alpha) - sqrt(e1) - sqrt(e2))^2``. At 0 the bounds assume perfect classifiers.

    Returns:
        ``{"disagreement", "disagreement_sharp"}``, nats; may be negative, which says nothing.

    Example:
        >>> found = disagreement_bounds(0.25, 0.0, 0.0)  # AND
        >>> print({name: round(float(value), 4) for name, value in found.items()})
        {'disagreement': 0.0625, 'disagreement_sharp': 0.0625}

    References:
        arXiv 2306.04539, theorem 2, whose constant is not given for this distance: with 1, as in its published code,
        it is no bound; 1/4 is what the proof yields.
    """
    named = (("alpha", alpha), ("unique1", unique1), ("unique2", unique2))
    alpha, unique1, unique2 = (jnp.asarray(_checks.as_float(x, name)) for name, x in named)
    first, second = (jnp.asarray(_checks.as_float(e, "errors"), alpha.dtype) for e in errors)
    seen = jax.lax.stop_gradient((alpha, first, second))
    ok = _checks.ensure(
        jnp.stack([jnp.logical_not(x < 0).all() & jnp.isfinite(x).all() for x in seen]).all(),
        lambda: f"alpha is {alpha}, errors {first} and {second}; expected mean squared distances, >= 0",
    )
    excess = _root(first) + _root(second)
    root = jnp.maximum(_root(alpha) - excess, 0.0)
    reduced = jnp.where(excess > 0, root**2, alpha)  # without errors as it is, derivative included
    loose, sharp = _disagreement_bounds(reduced, unique1, unique2)
    return _checks.poison({"disagreement": loose, "disagreement_sharp": sharp}, ok, alpha, first, second)


def _root(x: Array) -> Array:
    """The square root, with derivative 0 at 0."""
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0)


def _disagreement_bounds(alpha: Array, unique1: Array, unique2: Array) -> tuple[Array, Array]:
    loose = alpha / 4 - (unique1 + unique2) / 2
    apart = unique1 - unique2
    applies = (jnp.abs(apart) <= alpha) & (alpha > 0)
    return loose, loose + jnp.where(applies, apart**2 / (4 * jnp.where(applies, alpha, 1.0)), 0.0)
