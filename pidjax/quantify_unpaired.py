"""The roof over bounds: two labelled modalities and unlabelled pairs in, a ``BoundsReport`` out."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pidjax import _checks
from pidjax.applications.collection import Outlook, outlook
from pidjax.bootstrap import REPLICATE_TOL, resampled_weights
from pidjax.bounds import binding_bound, disagreement, disagreement_bounds, synergy_bounds
from pidjax.calibration import vector_scaling
from pidjax.estimators.classifier import adamw, classifier
from pidjax.estimators.cross_fit import cross_fit
from pidjax.estimators.fitted import RECIPE, Recipe, averaged, of_all, shared_settings
from pidjax.info import entropy, mutual_information_of
from pidjax.inputs import Symbols, are_names, check_cells, checked_key, label_symbols, modality_symbols, numbers
from pidjax.joint import checked_bins
from pidjax.pid import Interval
from pidjax.quantise import cells_of, codebook, soft_table
from pidjax.resampling import bootstrap_interval
from pidjax.typing import Array, ArrayLike, Key, Samples
from pidjax.unpaired import BoundsReport, Known

__all__ = ["UNPAIRED_METHODS", "quantify_unpaired"]

UNPAIRED_METHODS = ("auto", "discrete", "posteriors")
BINS = 20
CELLS = 20
# Total variation of a table by reconciliation, and expected share of it that sampling explains, beyond which the
# samples look like different populations.
LARGE_MOVE = 0.1
BIAS_SHARE = 0.05


# What every value of an estimate lies between; gains are differences of accuracies.
_LEAST = Known(
    redundancy=0.0, unique1=0.0, unique2=0.0, synergy=Interval(0.0, 0.0), information=Interval(0.0, 0.0),
    outlook=Outlook(Interval(0.0, 0.0), 0.0, -1.0, -1.0, -1.0, 0.0, 0.0),
)  # fmt: skip
_MOST = Known(
    redundancy=np.inf, unique1=np.inf, unique2=np.inf,
    synergy=Interval(np.inf, np.inf), information=Interval(np.inf, np.inf),
    outlook=Outlook(Interval(1.0, 1.0), 1.0, 1.0, 1.0, 1.0, np.inf, 1.0),
)  # fmt: skip


class _Counted(NamedTuple):
    """What the tables are made of. Rows of the three samples, as cells and as posteriors (None where discrete)."""

    cells: tuple[Any, ...]  # of x1 and x2 labelled, of x1 and x2 in pairs
    labels: tuple[Any, Any]
    posteriors: tuple[Any, ...] | None


class _Told(NamedTuple):
    """What one weighting of the samples tells."""

    known: Known
    lower_bounds: dict[str, Array]
    upper_bounds: dict[str, Array]
    label_entropy: Array
    accuracies: tuple[Array, ...]
    disagreement: Array
    divergence: Array
    moved: Array


def quantify_unpaired(
    labelled1: tuple[ArrayLike, ArrayLike],
    labelled2: tuple[ArrayLike, ArrayLike],
    pairs: tuple[ArrayLike, ArrayLike],
    *,
    key: Key,
    method: str = "auto",
    discretise: str = "kmeans",
    bins: int | None = None,
    bootstrap: int = 200,
    recipe: Recipe | None = None,
    progress: Callable[[str], None] | None = None,
) -> BoundsReport:
    """How two modalities interact about a label that was never seen with both: known atoms, and bounds on the synergy.

    Three samples of one population: ``(x1, y)``, ``(x2, y)`` and ``(x1, x2)``. The first two identify redundancy and
    uniquenesses; the third bounds the synergy (``synergy_bounds``), and with it the accuracy that a model of both
    could have (``outlook``). What the samples say of the variables they share differs, by chance at least; they are
    fitted to one joint, and the report says what that took.

    ``method="discrete"``, the default of symbols: the three tables are counted. Features become symbols by k-means
    (on both samples that have them) if asked for; the bounds are then those of the symbols.

    ``method="posteriors"``, the default of features: a classifier of each modality, cross-fitted on its own labelled
    sample and calibrated, gives ``p(y|x)`` there and on the pairs; cells of these posteriors make the tables. R, U1 and
    U2 depend on the posteriors only; the lower bound holds for the features too, whatever the cells lose. The upper one
    does not see what of the features is no part of the posteriors, so all that is left of H(Y) may be synergy. What
    the classifiers miss of a modality passes into R and raises that end.

    The interval resamples all three samples, symbols and classifiers held.

    Args:
        labelled1: ``(x1, y)``, as many of each; x1 as in ``quantify``, y integers, booleans or strings.
        labelled2: ``(x2, y)``, of other samples, with the same labels.
        pairs: ``(x1, x2)``, without labels.
        key: PRNG key; the same key gives the same report.
        method: ``"discrete"``, ``"posteriors"``, or ``"auto"``: discrete for symbols on both sides, or where ``bins``
            is given; else posteriors.
        discretise: how features become symbols: ``"kmeans"`` or ``"quantile"`` (one column). Discrete only.
        bins: how many symbols features become; None means 20. Discrete only.
        bootstrap: number of replicates; 0 gives no interval.
        recipe: settings of the classifiers of features (``net1`` and ``net2`` their networks); None: the defaults.
        progress: called with a short text before each stage.

    Returns:
        The ``BoundsReport``.

    Raises:
        ValueError: different lengths, labels that only one sample has, one label, features that are constant or not
            finite, an unknown method.
        TypeError: arrays of Python objects that aren't strings, or no PRNG key.

    Example:
        >>> x1, x2 = np.random.default_rng(0).integers(0, 2, (2, 9000))
        >>> y = x1 & x2
        >>> parts = slice(0, 3000), slice(3000, 6000), slice(6000, 9000)
        >>> labelled1, labelled2 = (x1[parts[0]], y[parts[0]]), (x2[parts[1]], y[parts[1]])
        >>> report = quantify_unpaired(
        ...     labelled1, labelled2, (x1[parts[2]], x2[parts[2]]), key=jax.random.key(0), bootstrap=0)
        >>> print("{:.2f} to {:.2f}".format(*report.synergy), report.binding[0])  # truth .3466
        0.32 to 0.35 redundancy

    References:
        arXiv 2306.04539.
    """
    _checks.require(
        method in UNPAIRED_METHODS, f"unknown method {method!r}; expected one of {', '.join(UNPAIRED_METHODS)}"
    )
    _checks.require(
        discretise in ("kmeans", "quantile"), f'discretise is {discretise!r}; expected "kmeans" or "quantile"'
    )
    _checks.require(bootstrap >= 0, f"bootstrap is {bootstrap}; expected 0 or more replicates")
    key = checked_key(key)
    say = progress or (lambda text: None)
    (x1, y1), (x2, y2), (u1, u2) = (
        _two(part, name) for part, name in ((labelled1, "labelled1"), (labelled2, "labelled2"), (pairs, "pairs"))
    )
    codes1, codes2, k = _labels(y1, y2)
    names = all(are_names(x) for x in (x1, x2, u1, u2))
    if method == "auto":
        method = "discrete" if names or bins is not None else "posteriors"
    _checks.require(
        method == "discrete" or bins is None, f'bins is {bins} with method="posteriors", which makes cells of its own'
    )
    keys = jax.random.split(key, 4)
    if method == "discrete":
        say("making symbols")
        made = [
            _symbols(keys[i], x, u, name, discretise, BINS if bins is None else bins)
            for i, (x, u, name) in enumerate(((x1, u1, "x1"), (x2, u2, "x2")))
        ]
        shape = (made[0].size, made[1].size, k)
        check_cells(shape)
        warnings = [*made[0].warnings, *made[1].warnings]
        split1, split2 = np.split(made[0].codes, [len(x1)]), np.split(made[1].codes, [len(x2)])
        counted = _Counted((split1[0], split2[0], split1[1], split2[1]), (codes1, codes2), None)
        words, noun = "tables of counts", "symbols"
    else:
        recipe = recipe or RECIPE
        say(f"training {recipe.folds * recipe.repeats} x 2 classifiers")
        judged = [
            _judged(keys[i], numbers(np.concatenate([x, u]), name), codes, k, net, recipe)
            for i, (x, u, codes, net, name) in enumerate(
                ((x1, u1, codes1, recipe.net1, "x1"), (x2, u2, codes2, recipe.net2, "x2"))
            )
        ]
        counted = _cells(keys[2], judged, (codes1, codes2))
        shape, warnings = (CELLS, CELLS, k), []
        words = f"posteriors of {recipe.repeats} x {recipe.folds}-fold cross-fitted classifiers, in cells"
        noun = "cells"
    sizes = (len(x1), len(x2), len(u1))
    say(f"bounding, and {bootstrap} replicates" if bootstrap else "bounding")
    with jax.enable_x64(True):
        drawn = jax.device_get(_drawn(keys[3], counted, sizes=sizes, shape=shape, replicates=bootstrap))
    told = jax.tree.map(lambda leaf: leaf[0], drawn)
    interval = None
    if bootstrap:
        spread = bootstrap_interval(told.known, jax.tree.map(lambda leaf: leaf[1:], drawn.known), least=-np.inf)
        interval = Interval(*(jax.tree.map(np.clip, end, _LEAST, _MOST) for end in spread))
    return BoundsReport(
        estimate=jax.tree.map(float, told.known),
        interval=interval,
        lower_bounds={name: float(value) for name, value in told.lower_bounds.items()},
        upper_bounds={name: float(value) for name, value in told.upper_bounds.items()},
        binding=(
            binding_bound(told.lower_bounds, told.known.synergy.lower),
            binding_bound(told.upper_bounds, told.known.synergy.upper),
        ),
        label_entropy=float(told.label_entropy),
        accuracies=(float(told.accuracies[0]), float(told.accuracies[1])),
        disagreement=float(told.disagreement),
        divergence=float(told.divergence),
        moved=float(told.moved),
        samples=sizes,
        shape=shape,
        method=f"{noun}, {words}",
        bootstrap=bootstrap,
        warnings=tuple(warnings + _warnings(told, counted, sizes, shape)),
        seed=tuple(int(word) for word in np.asarray(jax.random.key_data(key)).ravel()),
    )


def _two(part: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    _checks.require(
        isinstance(part, tuple | list) and len(part) == 2,
        f"{name} is {type(part).__name__}; expected two arrays: " + ("(x1, x2)" if name == "pairs" else "(x, y)"),
        TypeError,
    )
    first, second = (np.asarray(x) for x in part)
    _checks.require(
        first.ndim >= 1 and second.ndim >= 1 and len(first) == len(second) > 0,
        f"{name} has arrays of shapes {first.shape} and {second.shape}; expected as many rows of each, one at least",
    )
    return first, second


def _labels(y1: np.ndarray, y2: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Both samples' labels in one code; each label occurs in both."""
    for y in (y1, y2):
        label_symbols(y)
    names1, names2 = np.unique(y1), np.unique(y2)
    only = [names.tolist() for names in (np.setdiff1d(names1, names2), np.setdiff1d(names2, names1))]
    _checks.require(
        not only[0] and not only[1],
        f"labels {only[0]} are in labelled1 only and {only[1]} in labelled2 only; expected the same labels in both: "
        "drop those rows, or collect some of the other modality",
    )
    _checks.require(
        len(names1) > 1, f"all samples have the one label {names1[0]}: there is nothing to inform about; look at y"
    )
    return np.searchsorted(names1, y1), np.searchsorted(names1, y2), len(names1)


def _symbols(key: Key, x: np.ndarray, u: np.ndarray, name: str, discretise: str, bins: int) -> Symbols:
    """One modality of both samples that have it, coded together."""
    _checks.require(
        x.shape[1:] == u.shape[1:],
        f"{name} has shape {x.shape} where labelled and {u.shape} in pairs; expected the same features in both",
    )
    return modality_symbols(key, np.concatenate([x, u]), name, discretise, checked_bins(bins))


# Built once for each setting: an estimator is static by identity.
@functools.cache
def _single(classes: int, net: Any, recipe: Recipe) -> Any:
    tx = adamw(recipe.steps, learning_rate=recipe.learning_rate, weight_decay=recipe.weight_decay)
    return classifier(net, of="x1", classes=classes, tx=tx)


def _judged(key: Key, x: np.ndarray, codes: np.ndarray, k: int, net: Any, recipe: Recipe) -> tuple[Any, Any]:
    """Calibrated posteriors of the labelled samples (out of fold) and of the pairs that follow them in ``x``."""
    n = len(codes)
    model = _single(k, net, recipe)
    with jax.enable_x64(False):
        own = Samples(x1=x[:n].astype(np.float32), y=codes.astype(np.int32))
        done = cross_fit(
            model.estimator, key, own, steps=recipe.steps, estimate=model.log_posterior,
            **shared_settings(recipe, n, recipe.batch_size, None),
        )  # fmt: skip
        log_p = averaged(done.estimate)
        scaling = vector_scaling(log_p, codes.astype(np.int32))
        unseen = averaged(of_all(model.log_posterior, done.state, Samples(x1=x[n:].astype(np.float32))))
        found = jax.device_get((scaling(log_p), scaling(unseen)))
    inside, outside = (np.exp(np.asarray(p, np.float64)) for p in found)
    return inside / inside.sum(1, keepdims=True), outside / outside.sum(1, keepdims=True)


def _cells(key: Key, judged: list[tuple[Any, Any]], codes: tuple[Any, Any]) -> _Counted:
    """The posteriors in cells of one codebook."""
    (p1, q1), (p2, q2) = judged
    with jax.enable_x64(True):
        both = jnp.concatenate([jnp.asarray(p1), jnp.asarray(p2)])
        centres = codebook(key, both, jnp.ones(len(both)), cells=CELLS)
        found = tuple(np.asarray(cells_of(jnp.asarray(p), centres)) for p in (p1, p2, q1, q2))
    return _Counted(found, codes, (p1, p2, q1, q2))


def _told(counted: _Counted, weights: tuple[Any, ...], *, shape: tuple[int, int, int], tol: Any) -> _Told:
    n1, n2, k = shape
    c1, c2, d1, d2 = counted.cells
    w1, w2, w12 = (w / w.sum() for w in weights)
    totals = jnp.stack([w.sum() for w in weights])
    p12 = jnp.zeros((n1, n2)).at[d1, d2].add(w12)
    if counted.posteriors is None:
        p1, p2 = (
            jnp.zeros((n, k)).at[c, y].add(w)
            for n, c, y, w in zip((n1, n2), (c1, c2), counted.labels, (w1, w2), strict=True)
        )
    else:
        p1, p2 = (
            soft_table(c, p, w, cells=n)
            for n, c, p, w in zip((n1, n2), (c1, c2), counted.posteriors, (w1, w2), strict=False)
        )
    found = synergy_bounds(p1, p2, p12, reconcile=True, weight=totals, tol=tol)
    p_y = (totals[0] * p1.sum(0) + totals[1] * p2.sum(0)) / (totals[0] + totals[1])
    label_entropy = entropy(p_y / p_y.sum())
    pid, information = found.pid, found.information
    alpha, lower_bounds, upper_bounds = found.disagreement, found.lower_bounds, found.upper_bounds
    if counted.posteriors is None:
        accuracies = tuple(p.max(1).sum() for p in (p1, p2))
    else:
        # What cells lose of R, U1 and U2 is given back in the ratio in which they lose I1 + I2.
        f1, f2, g1, g2 = counted.posteriors
        i1, i2 = (mutual_information_of(w[:, None] * f) for f, w in ((f1, w1), (f2, w2)))
        kept = mutual_information_of(p1) + mutual_information_of(p2)
        ratio = jnp.where(kept > 0, (i1 + i2) / jnp.where(kept > 0, kept, 1.0), 1.0)
        union = ratio * (pid.mi1 + pid.unique2)
        scale = lambda x: ratio * x
        pid = jax.tree.map(scale, pid)
        alpha = disagreement(g1, g2, weight=w12)
        lower_bounds = {
            "redundancy": information.lower - union,
            **disagreement_bounds(alpha, pid.unique1, pid.unique2),
            "zero": jnp.zeros_like(union),
        }
        upper_bounds = {"entropy": label_entropy - union}
        accuracies = tuple(
            (w * (jnp.argmax(f, 1) == y)).sum() for w, f, y in zip((w1, w2), (f1, f2), counted.labels, strict=True)
        )
    lower = jnp.stack(list(lower_bounds.values())).max()
    upper = jnp.maximum(jnp.stack(list(upper_bounds.values())).min(), lower)
    union = pid.mi1 + pid.unique2
    synergy, information = Interval(lower, upper), Interval(union + lower, union + upper)
    told = outlook(synergy, information, p_y / p_y.sum(), accuracy1=accuracies[0], accuracy2=accuracies[1])
    known = Known(
        redundancy=pid.redundancy, unique1=pid.unique1, unique2=pid.unique2, synergy=synergy, information=information,
        outlook=told,
    )  # fmt: skip
    return _Told(known, lower_bounds, upper_bounds, label_entropy, accuracies, alpha, found.divergence, found.moved)


@functools.partial(jax.jit, static_argnames=("sizes", "shape", "replicates"))
def _drawn(
    key: Key, counted: _Counted, *, sizes: tuple[int, int, int], shape: tuple[int, int, int], replicates: int
) -> _Told:
    """The estimate, and after it the replicates: one program, compiled once."""

    def one(number: Array) -> _Told:
        keys = jax.random.split(jax.random.fold_in(key, number), 3)
        weights = tuple(
            jnp.where(number == 0, 1.0, resampled_weights(each, n)) for each, n in zip(keys, sizes, strict=True)
        )
        return _told(counted, weights, shape=shape, tol=jnp.where(number == 0, 1e-9, REPLICATE_TOL))

    return jax.lax.map(one, jnp.arange(replicates + 1))


def _warnings(told: _Told, counted: _Counted, sizes: tuple[int, int, int], shape: tuple[int, int, int]) -> list[str]:
    found = []
    if told.moved > LARGE_MOVE:
        found.append(
            f"fitting the three samples to one joint moved a table by {float(told.moved):.2f} in total variation: they "
            "are small for so many symbols, or not of one population; take fewer bins, or compare how they were drawn"
        )
    pairs = int(np.unique(counted.cells[2] * shape[1] + counted.cells[3]).size)
    excess = (pairs - 1) / (2 * sizes[2])
    if excess > BIAS_SHARE * float(told.known.information.upper):
        found.append(
            f"{pairs} occupied pairs of symbols for {sizes[2]} samples: their entropy is off by about {excess:.2g} "
            "nats, and the bounds with it; take fewer bins, or more pairs, which need no label"
        )
    if max(told.lower_bounds.values()) > min(told.upper_bounds.values()):
        found.append("the lower bound exceeded the upper one by sampling error, and was taken for both")
    if counted.posteriors is not None:
        found.append(
            "of features only posteriors are seen, so the upper bound leaves room for any dependence between what is "
            "no part of them; bins=20 bounds the interactions of symbols instead"
        )
    return found
