"""The exact route for continuous modalities: BROJA of posteriors, whoever made them.

BROJA depends on a modality only through ``p(y|x)``, so three posteriors a sample are all it takes, of any features,
of any dimension. For a binary label all samples are decomposed as they are, in closed form; for more labels their
posteriors are quantised to cells, whose table is solved exactly, and what the cells lose is corrected by name.
"""

import functools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pidjax import _checks
from pidjax._precision import in_own_precision
from pidjax.couplings.broja import union_information
from pidjax.couplings.certificate import Potentials, dual_bound
from pidjax.couplings.consistency import consistent
from pidjax.info import Informations, mutual_information_of, xlogx
from pidjax.pid import PID, from_union
from pidjax.quantise import cells_of, codebook, soft_table
from pidjax.reconciled import Reconciled, expected, reconciled
from pidjax.typing import Array, ArrayLike, Key

__all__ = ["PosteriorPid", "pid_from_posteriors"]

# Above two labels, samples whose pairs are solved one by one: n x n numbers, a dozen times.
MOST_UNQUANTISED = 10_000
# Samples a cell and half below which the halves' potentials say more of their cells than of the population.
_THICK = 20
# Up to so many labels the raw bias is below what halving the samples adds in noise.
_FEW_LABELS = 3


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class PosteriorPid:
    """A decomposition of posteriors, its corrections by name, and what it rests on. Nats; a pytree.

    Attributes:
        pid: the estimate: of the ``variants`` that there are, ``halves``, else ``ratio``; ``exact`` for two labels.
        variants: by name. ``exact``: all samples, nothing corrected.
            ``table``: the quantised problem itself, an exact PID of less information. ``raw``: its union beside the
            informations of all samples, biased by what cells lose. ``ratio``: the union enlarged by the ratio in
            which cells lose I1 + I2. ``halves``: less the sampling bias that two halves of the samples show.
        lower: of the union information of the problem that was solved (all samples, or the table), certified.
        upper: likewise.
        information: I1, I2, I12 of all samples: mean divergences of the reconciled posteriors from the prior.
        log_posterior: the posteriors used, calibrated and reconciled, ``(n, k)`` each.
        log_prior: ``log p(y)``, ``(k,)``.
        mismatch: the largest difference among the mean predictions as given (and the label shares), a probability.
        residual: what reconciling left of it.
        retained: share of I1 + I2 that the cells keep; 1 where nothing was quantised.
        drift: change of the estimate without ``halves`` from half as many cells to these; 0 where none.
        potentials: of the dual at every sample, ``(n, k)`` each.
        share: the samples' weights over their sum, ``(n,)``.

    Example:
        >>> p = jnp.array([[0.9, 0.1], [0.1, 0.9]])
        >>> done = pid_from_posteriors(p, p, p)  # both modalities say the same
        >>> print(f"{done.pid.redundancy:.4f}", done.pointwise().redundancy.round(4), sorted(done.variants))
        0.3681 [0.3681 0.3681] ['exact']
    """

    pid: PID
    variants: dict[str, PID]
    lower: Array
    upper: Array
    information: Informations
    log_posterior: Informations
    log_prior: Array
    mismatch: Array
    residual: Array
    retained: Array
    drift: PID
    potentials: Potentials
    share: Array

    @property
    @in_own_precision
    def gap(self) -> Array:
        """``upper - lower``, infinite where the input was refused."""
        gap = jnp.asarray(self.upper - self.lower)
        return jnp.where(jnp.isnan(gap), jnp.inf, gap)

    @in_own_precision
    def pointwise(self, y: ArrayLike | None = None) -> PID:
        """The atoms of every sample, from the dual: ``i_union = a(x1,y) + b(x2,y) - log p(y)``; free of any scale.

        Beware: where both modalities are equally informative the dual is not unique; the unique values of an atom
        that is 0 in the mean are noise; with many labels what cells blur exceeds the values.

        Args:
            y: labels ``(n,)``: the values of the observed labels. None: what the posteriors expect of them, whose
                weighted mean is ``variants["exact"]`` or ``["raw"]``: no correction reaches single samples.

        Returns:
            ``PID`` with leaves ``(n,)``. Values of samples of weight 0 mean nothing.

        Raises:
            ValueError: labels out of range; a batch of decompositions, made under vmap.
        """
        _checks.require(
            self.share.ndim == 1,
            f"this is a batch of decompositions, share has shape {self.share.shape}; ask for values inside the vmap",
        )
        f1, f2, f12 = self.log_posterior
        # A label that never occurs is in no value.
        prior = jnp.where(self.log_prior > -jnp.inf, self.log_prior, 0.0)[None]
        if y is None:
            expect = lambda log_p, value: expected(log_p, jnp.where(value > -jnp.inf, value, 0.0))
            union = expect(f1, self.potentials.a) + expect(f2, self.potentials.b)
            union -= 0.5 * (expect(f1, prior) + expect(f2, prior))
            return _closed([expect(f, f - prior) for f in (f1, f2, f12)], union)
        labels, ok = _checks.labels(y, classes=len(self.log_prior), n=len(self.share))
        at = lambda values: jnp.take_along_axis(values, labels[:, None], 1, mode="clip")[:, 0]
        # A label too unlikely to be in the problem at all has no potential: it is told by its posterior.
        a, b = (
            jnp.where(own > -jnp.inf, own, f) for own, f in zip(self.potentials, self.log_posterior[:2], strict=True)
        )
        union = at(a) + at(b) - at(jnp.broadcast_to(prior, f1.shape))
        return _checks.poison(_closed([at(f - prior) for f in (f1, f2, f12)], union), ok)


def _closed(informations: list[Array], union: Array) -> PID:
    i1, i2, i12 = informations
    return from_union(i1, i2, i12, union)


@in_own_precision
def pid_from_posteriors(
    p1: ArrayLike,
    p2: ArrayLike,
    p12: ArrayLike,
    y: ArrayLike | None = None,
    *,
    key: Key | None = None,
    weight: ArrayLike | None = None,
    calibrate: bool = True,
    cells: int | None = 40,
    tol: float = 1e-6,
) -> PosteriorPid:
    """The decomposition of three posteriors a sample: of classifiers, of vision-language models, of exact densities.

    ``p(x1_i, y) = w_i p1_i(y)`` and ``p(x2_i, y) = w_i p2_i(y)`` are the two tables of a discrete problem with n
    symbols a side; R, U1 and U2 depend on nothing else, S on I(X1,X2;Y) of p12 too. The posteriors should be held-out
    ones: what a classifier says of its training samples is no information. What it misses passes almost one to one
    into R, and nothing here can see that.

    1. With labels the posteriors are calibrated (``vector_scaling``, 2k numbers a classifier), so that their own
       entropies and their log-losses tell the same informations. Without, they are taken at their word.
    2. All three are projected (``consistent``) onto one p(y): the shares of the labels, or else the mean of their mean
       predictions. ``mismatch`` says how far apart these were: a silent bias elsewhere.
    3. Two labels: exact for all n samples, O(n log n). More: k-means cells of one codebook for both modalities, whose
       soft table is solved to ``tol``; then ``ratio``; then, above three labels and with 20 samples a cell and half,
       ``halves``, capped so that no unique information goes below 0.

    Args:
        p1: ``p(y|x1)``, ``(n, k)`` probabilities; rows are divided by their sums, which may be off by 1e-3. Zeros
            count as the smallest positive number of the dtype.
        p2: ``p(y|x2)``, likewise.
        p12: ``p(y|x1,x2)``, likewise.
        y: labels ``(n,)``, integers in ``[0, k)``; None where there are none.
        key: PRNG key of the cells and halves; needed above two labels.
        weight: ``(n,)`` non-negative weights; None means all ones.
        calibrate: whether labels, where given, calibrate the posteriors; else they only say p(y).
        cells: of the codebook, an even number; static. Half as many are solved too, for ``drift``. None: the samples
            themselves, (n, n, k), in memory O(n^2): up to 10,000 of them.
        tol: gap to which a table is solved, nats.

    Returns:
        A ``PosteriorPid``. Works under jit and vmap, and under grad with respect to the posteriors (calibration
        and cells held as they are).

    Raises:
        ValueError: shapes that differ, rows that are no distributions, labels out of range, no key for more than two
            labels.

    Example:
        >>> import numpy as np
        >>> theta = np.array([0.9, 0.9, 0.2, 0.2]), np.array([0.7, 0.4, 0.7, 0.4])  # p(y=1|x1), p(y=1|x2)
        >>> p1, p2 = (np.stack([1 - t, t], 1) for t in theta)
        >>> done = pid_from_posteriors(p1, p2, p1)
        >>> print(f"R {done.pid.redundancy:.4f} U1 {done.pid.unique1:.4f} U2 {abs(done.pid.unique2):.4f}")
        R 0.0462 U1 0.2292 U2 0.0000

    References:
        arXiv 2302.12247 (the decomposition; there the tables come from histograms, or a neural coupling).
    """
    prepared, ok = reconciled(p1, p2, p12, y, weight=weight, calibrate=calibrate)
    k = len(prepared.log_prior)
    _checks.require(
        cells is None or (cells >= 2 and cells % 2 == 0), f"cells is {cells}; expected an even number, such as 40"
    )
    _checks.require(
        k <= 2 or cells is None or key is not None,
        f"key is None for {k} labels, whose posteriors are quantised; give one: key=jax.random.key(0)",
    )
    if k <= 2 or cells is None:
        rest = exact_union(prepared, tol)
    else:
        rest = _quantised(key, prepared, cells, tol)
    variants = rest["variants"]
    best = next(variants[name] for name in ("halves", "ratio", "exact") if name in variants)
    return _checks.poison(PosteriorPid(pid=best, **prepared._asdict(), **rest), ok, p1, p2, p12, weight)


def exact_union(prepared: Reconciled, tol: float = 1e-6) -> dict[str, Any]:
    """All samples as symbols: two labels by the closed form, more by the method for large problems."""
    tables = [prepared.share[:, None] * jnp.exp(own) for own in prepared.log_posterior[:2]]
    n, k = prepared.log_posterior.x1.shape
    _checks.require(
        k <= 2 or n <= MOST_UNQUANTISED,
        f"there are {n} samples of {k} labels; unquantised, at most {MOST_UNQUANTISED} fit in memory: give cells=40",
    )
    method = "auto" if k <= 2 else "scaling"
    solution = union_information(*tables, tol=tol, method=method)
    pid = _closed(list(prepared.information), solution.lower)
    return {
        "variants": {"exact": pid}, "lower": solution.lower, "upper": solution.upper,
        "retained": jnp.ones_like(solution.upper), "drift": jax.tree.map(jnp.zeros_like, pid),
        "potentials": solution.potentials,
    }  # fmt: skip


def _quantised(key: Any, prepared: Reconciled, cells: int, tol: float) -> dict[str, Any]:
    """Cells of one codebook, their table solved, and the corrections of what cells and samples distort."""
    keys = jax.random.split(key, 3)
    coarse, _ = table_union(prepared, shared_cells(keys[0], prepared, cells=cells // 2), cells=cells, tol=tol)
    codes = shared_cells(keys[1], prepared, cells=cells)
    rest, solved = table_union(prepared, codes, cells=cells, tol=tol)
    k, bias = len(prepared.log_prior), None
    if k > _FEW_LABELS and len(prepared.share) >= 2 * _THICK * cells:
        bias = _sampling_bias(keys[2], prepared, codes, solved.tables, tol)
    return _corrected(prepared.information, coarse["ratio"], rest, solved, codes, bias)


@jax.jit
def _corrected(
    information: Informations,
    coarse: PID,
    rest: dict[str, PID],
    solved: "_Table",
    codes: tuple[Array, Array],
    bias: Array | None,
) -> dict[str, Any]:
    i1, i2, i12 = information
    if bias is not None:
        union = rest["ratio"].mi1 + rest["ratio"].unique2
        room = jnp.maximum(union - jnp.maximum(i1, i2), 0.0)
        rest = rest | {"halves": from_union(i1, i2, i12, union - jnp.clip(bias, 0.0, room))}
    kept = rest["table"].mi1 + rest["table"].mi2
    return {
        "variants": rest, "lower": solved.lower, "upper": solved.upper,
        "drift": jax.tree.map(jnp.subtract, rest["ratio"], coarse),
        "potentials": Potentials(solved.potentials.a[codes[0]], solved.potentials.b[codes[1]]),
        "retained": jnp.where(i1 + i2 > 0, kept / jnp.where(i1 + i2 > 0, i1 + i2, 1.0), 1.0),
    }  # fmt: skip


@functools.partial(jax.jit, static_argnames="cells")
def shared_cells(key: Key, prepared: Reconciled, *, cells: int) -> tuple[Array, Array]:
    """The cells ``(n,)`` of both modalities in one codebook. No gradient passes through the choice."""
    p1, p2 = (jax.lax.stop_gradient(jnp.exp(own)) for own in prepared.log_posterior[:2])
    weight = jax.lax.stop_gradient(prepared.share)
    centres = codebook(key, jnp.concatenate([p1, p2]), jnp.concatenate([weight, weight]), cells=cells)
    return cells_of(p1, centres), cells_of(p2, centres)


def table_union(
    prepared: Reconciled, codes: tuple[Array, Array], *, cells: int, tol: float
) -> tuple[dict[str, PID], "_Table"]:
    """The variants ``table``, ``raw`` and ``ratio``, and the solved table; codes in ``[0, cells)``."""
    solved = _solved(*_tables(prepared, codes, cells=cells), tol)
    return _variants(prepared.information, solved), solved


@functools.partial(jax.jit, static_argnames="cells")
def _tables(prepared: Reconciled, codes: tuple[Array, Array], *, cells: int) -> tuple[Array, Array]:
    first, second = (
        soft_table(code, jnp.exp(own), prepared.share, cells=cells)
        for code, own in zip(codes, prepared.log_posterior[:2], strict=True)
    )
    return first, second


@jax.jit
def _variants(information: Informations, solved: "_Table") -> dict[str, PID]:
    i1, i2, i12 = information
    mi1, mi2 = (mutual_information_of(table) for table in solved.tables)
    kept = mi1 + mi2
    ratio = jnp.where(kept > 0, (i1 + i2) / jnp.where(kept > 0, kept, 1.0), 1.0)
    return {
        "table": from_union(mi1, mi2, i12, solved.lower),
        "raw": from_union(i1, i2, i12, solved.lower),
        "ratio": from_union(i1, i2, i12, solved.lower * ratio),
    }


class _Table(NamedTuple):
    """A solved problem of cells: bracket of its union, potentials of its cells, the two tables."""

    lower: Array
    upper: Array
    potentials: Potentials
    tables: tuple[Array, Array]


@jax.jit
def _solved(table1: Array, table2: Array, tol: Any) -> _Table:
    """Jitted by the shape of the table, so that another number of samples compiles nothing."""
    own = union_information(table1, table2, tol=tol, method="interior_point")
    return _Table(own.lower, own.upper, own.potentials, (table1, table2))


def _sampling_bias(
    key: Any, prepared: Reconciled, codes: tuple[Array, Array], tables: tuple[Array, Array], tol: float
) -> Array:
    """By how much sampling raises the union: halves of the samples, each under the potentials of the other.

    A half's own optimum exceeds what the other's potentials, made feasible, certify for it; the bias at n falls like
    1 / sqrt(n), so it is that of a half over sqrt(2), and half of the difference is the potentials' own loss.
    """
    both = _halves(key, prepared, codes, cells=len(tables[0]))
    solved = [_solved(*own, tol) for own in both]
    differences = [_excess(*pair, tables, prepared.log_prior) for pair in (solved, solved[::-1])]
    return sum(differences) / 2 / (2 * math.sqrt(2))


@functools.partial(jax.jit, static_argnames="cells")
def _halves(key: Any, prepared: Reconciled, codes: tuple[Array, Array], *, cells: int) -> list[tuple[Array, Array]]:
    """The tables of both halves of the samples, in the cells of the whole."""
    n = len(prepared.share)
    first = jnp.argsort(jax.random.uniform(key, (n,))) < n // 2
    target = jnp.exp(prepared.log_prior)

    def half(inside: Array) -> tuple[Array, Array]:
        weight = jnp.where(inside, prepared.share, 0.0)
        weight = weight / weight.sum()
        own = [
            consistent(jnp.where(inside[:, None], f, 0.0), target, weight=weight) for f in prepared.log_posterior[:2]
        ]
        return tuple(  # type: ignore[return-value]
            soft_table(c, jnp.exp(done.log_posterior), weight, cells=cells) for c, done in zip(codes, own, strict=True)
        )

    return [half(first), half(~first)]


@jax.jit
def _excess(own: "_Table", other: "_Table", tables: tuple[Array, Array], log_prior: Array) -> Array:
    """By how much a half's optimum exceeds what the other's potentials certify for it."""
    pooled = [jnp.log(jnp.maximum(t, 1e-30)) - jnp.log(jnp.maximum(t.sum(1, keepdims=True), 1e-30)) for t in tables]
    # A cell that the other half lacks says there what its posterior says.
    a, b = (jnp.where(jnp.isfinite(x), x, p) for x, p in zip(other.potentials, pooled, strict=True))
    b = jnp.where(jnp.isfinite(other.potentials.b), b, 0.0)
    bound, _ = dual_bound(*own.tables, Potentials(a, b))
    return own.lower - (bound.value - xlogx(jnp.exp(log_prior)).sum())
