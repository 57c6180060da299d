"""The roof: two modalities and a label in, a ``Report`` out."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from pidjax import _checks
from pidjax.couplings.broja import Solution, broja
from pidjax.estimators.fitted import Recipe
from pidjax.info import Informations, entropy
from pidjax.inputs import (
    Question,
    are_names,
    check_cells,
    check_lengths,
    checked_key,
    drawn_labels,
    group_symbols,
    label_symbols,
    modality_symbols,
)
from pidjax.joint import checked_bins, joint_pmf
from pidjax.pointwise import Pointwise
from pidjax.quantify_gaussian import TARGETS, gaussian_report, is_continuous
from pidjax.quantify_lsmi import lsmi_report
from pidjax.quantify_posteriors import METHODS as LEARNED
from pidjax.quantify_posteriors import posteriors_report
from pidjax.report import Report
from pidjax.resampling import bootstrap_interval, permutation_null, plug_in_warnings, replicates
from pidjax.typing import ArrayLike, Key

__all__ = ["quantify"]

METHODS = ("auto", "discrete", *LEARNED, "lsmi", *TARGETS)
DISCRETISERS = ("kmeans", "quantile", "none")
REPLICATES = 200
BINS = 20


def quantify(
    x1: ArrayLike,
    x2: ArrayLike,
    y: ArrayLike,
    *,
    key: Key,
    method: str = "auto",
    discretise: str | None = None,
    bins: int | None = None,
    bootstrap: int = REPLICATES,
    permutations: int | None = None,
    groups: ArrayLike | None = None,
    tol: float = 1e-9,
    recipe: Recipe | None = None,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """How two modalities inform a label: redundancy, uniquenesses, synergy, with certificate and error bars.

    ``method="posteriors"``, the default of features: cross-fitted, calibrated classifiers (each sample judged by models
    that never saw it; 32-bit training) give ``p(y|x1), p(y|x2), p(y|x1,x2)``, on which alone BROJA depends, and
    ``pid_from_posteriors`` decomposes these in float64: exactly for two labels, from shared cells with named
    corrections for more (``variants`` holds the raw values). What a classifier misses passes almost one to one into
    R; its held-out log loss is among the diagnostics. ``"unquantised"`` solves all n x n pairs of up to 10,000 samples
    instead of cells, without the corrections: with 10 labels 20 s for 600 samples, 5 minutes for 1200, on a CPU core.
    ``"batch"`` (a neural coupling, as in arXiv 2302.12247) and ``"dual"`` (neural potentials) put a learned upper and
    lower bound on the union in place of the solved one.

    ``method="discrete"``, the default of symbols: modalities become symbols, symbols a table of counts, and the table
    is decomposed exactly (``broja``), in float64, whatever the user's ``jax_enable_x64``.

    ``method="lsmi"``: values for each sample first, then their means: ``pidjax.estimators.samplewise`` of features, the
    plug-in table of symbols. The report holds the raw means, which may be negative, the published constant shift of
    them beside, how often each minimum switched between the modalities, and how good the classifiers are. It has no
    certificate and no null.

    A *continuous* y (one-dimensional floats, or floats of any width where it is asked for) takes the Gaussian closed
    form: ``method="copula"``, its default, of normal scores, whose pairs are checked for being Gaussian on held-out
    samples, with a warning where they aren't; ``"flow"`` learns maps that make them so, on half of the samples.

    The *interval* is 95 %. Discrete: the spread of the bootstrap over samples (symbols held fixed) about the estimate
    less the bias that the bootstrap finds, cut at 0: a resample has the plug-in bias once more. Where the bias is large
    the estimate may lie above its own interval. Posteriors: the same, with posteriors held, calibration and
    decomposition redone, about the rule that ``interval_rule`` names; the spread over refitted classifiers is apart,
    among the diagnostics. LSMI: of the means of values held fixed.

    The *null* is the decomposition with y permuted, independent of both modalities: its mean shows the bias of each
    atom there, and the p-value is ``(1 + #{null >= estimate}) / (1 + permutations)``. It tests that independence by
    this atom, not the absence of the atom while others are present. For posteriors every permutation trains anew.
    Replicates of tables are solved to a gap of 1e-6 nats.

    A *model* is quantified like data: pass its predictions as y, hard labels or probabilities ``(n, k)``. From
    probabilities one label a sample is drawn, which has the model's own joint with the modalities, and p(y|x1,x2) is
    not learned but theirs. ``pidjax.agreement`` compares a model's decomposition with the data's.

    With ``groups`` the bootstrap draws whole groups, such as the clips of a speaker: samples that resemble each other
    say less than as many independent ones, and the interval is as wide as that makes it. The null still permutes
    single samples: where groups share a label, its p-values are too small.

    Args:
        x1: first modality, one row for each sample. One-dimensional integers, booleans or strings are
            symbols; anything else, ``(n,)`` floats or ``(n, ...)``, is features, flattened to ``(n, d)``.
        x2: second modality, likewise.
        y: labels ``(n,)``, integers, booleans or strings; or a model's probabilities ``(n, k)``; or a continuous
            target, floats ``(n,)``, with ``method="copula"`` or ``"flow"`` also ``(n, d)``.
        key: PRNG key, ``jax.random.key(0)``; the same key gives the same report.
        method: ``"discrete"``, ``"posteriors"``, ``"unquantised"``, ``"batch"``, ``"dual"`` or ``"lsmi"``; of a
            continuous y ``"copula"`` or ``"flow"``. ``"auto"`` is copula for a continuous y, discrete for symbols on
            both sides or where ``discretise`` or ``bins`` is given, else posteriors.
        discretise: how features become symbols: ``"kmeans"`` (the default), ``"quantile"`` (one column only) or
            ``"none"`` (both modalities must be symbols). Discrete only.
        bins: how many symbols features become; None means 20. Discrete only.
        bootstrap: number of bootstrap replicates; 0 gives no interval.
        permutations: number of permutations of y; 0 gives no null. None means 200 for tables, and 0 where each would
            train anew; posteriors alone do, if asked.
        groups: ``(n,)`` names, integers, booleans or strings, of what the bootstrap draws; None means the samples.
            They are never divided between training and judging either.
        tol: certified gap (nats) to which the estimate is solved. Discrete only.
        recipe: settings of the models of features; None means the defaults, three repeats for posteriors.
        progress: called with a short text before each stage.

    Returns:
        The ``Report``: ``.pid``, ``.gap``, ``.interval``, ``.null``, ``.information``, ``.warnings``, and
        ``.pointwise``, the atoms of every sample: those of its cell of the table it is itself part of (in-sample);
        of features, out of fold; None of a continuous y (``copula_pid`` shows how to have them).

    Raises:
        ValueError: NaN features, different lengths, no samples, class numbers as floats, floating groups, an
            unknown ``method`` or ``discretise``, ``bins`` below 1, negative numbers of replicates,
            symbols beside features for LSMI or a continuous y.
        TypeError: no PRNG key; arrays that are neither real numbers nor strings.

    Example:
        >>> import jax, numpy as np
        >>> x1, x2 = np.tile([[0, 0, 1, 1], [0, 1, 0, 1]], 500)
        >>> report = quantify(x1, x2, x1 & x2, key=jax.random.key(0), bootstrap=50, permutations=0)
        >>> print(f"R {report.pid.redundancy:.6f}, S {report.pid.synergy:.6f}")
        R 0.215762, S 0.346574

    References:
        Bertschinger et al. 2014, "Quantifying unique information"; arXiv 2302.12247, section 3. Plug-in bias:
        Miller 1955, "Note on the bias of information estimates".
    """
    _checks.require(method in METHODS, f"unknown method {method!r}; expected one of {', '.join(METHODS)}")
    _checks.require(
        discretise in (None, *DISCRETISERS),
        f"unknown discretise {discretise!r}; expected one of {', '.join(DISCRETISERS)}",
    )
    of_tables = discretise is not None or bins is not None
    bins = checked_bins(BINS if bins is None else bins)
    key = checked_key(key)
    x1, x2, y = (np.asarray(x) for x in (x1, x2, y))
    check_lengths(x1, x2, y)
    if is_continuous(y, method):
        _checks.require(
            not of_tables and not permutations and recipe is None,
            "discretise, bins, permutations and recipe are for labels, and y is continuous; leave them out, or bin y "
            "(pidjax.quantile_codes)",
        )
        _checks.require(
            bootstrap >= 0, f"bootstrap is {bootstrap}; expected a number of replicates, 0 to switch it off"
        )
        return gaussian_report(
            x1, x2, y, key=key, method=method, bootstrap=bootstrap, say=progress or (lambda stage: None),
            clusters=None if groups is None else group_symbols(np.asarray(groups), len(y)),
        )  # fmt: skip
    if method == "auto":
        method = "discrete" if of_tables or (are_names(x1) and are_names(x2)) else "posteriors"
    _checks.require(
        method == "discrete" or not of_tables,
        f'discretise and bins are for method="discrete", and method is {method!r}; leave them out, or change it',
    )
    _checks.require(
        method != "discrete" or recipe is None,
        "recipe is for what is learned, and tables are counted; leave it out, or choose another method",
    )
    permutations = (REPLICATES if method == "discrete" else 0) if permutations is None else permutations
    for name, count in (("bootstrap", bootstrap), ("permutations", permutations)):
        _checks.require(count >= 0, f"{name} is {count}; expected a number of replicates, 0 to switch it off")
    _checks.require(
        method in ("discrete", "posteriors") or not permutations,
        f"permutations is {permutations}: {method} would have to be trained as many times; leave it out, or 0",
    )
    predictions = None
    if y.ndim > 1:
        y, predictions = drawn_labels(jax.random.fold_in(key, 1), y)
    question = Question(
        x1, x2, y, label_symbols(y), None if groups is None else group_symbols(np.asarray(groups), len(y)),
        key, bootstrap, permutations, progress or (lambda stage: None), predictions,
    )  # fmt: skip
    if method == "lsmi":
        return lsmi_report(question, recipe)
    if method in LEARNED:
        return posteriors_report(question, recipe, method)
    return _discrete_report(question, discretise or "kmeans", bins, tol)


def _discrete_report(question: Question, discretise: str, bins: int, tol: float) -> Report:
    x1, x2, y, labels, clusters, key, bootstrap, permutations, say, _ = question
    symbol_key, replicate_key = jax.random.split(key)
    with jax.enable_x64(True):
        say("finding symbols")
        variables = (
            # One key for both: equal modalities get equal symbols, and swapping them swaps the answer.
            modality_symbols(symbol_key, x1, "x1", discretise, bins),
            modality_symbols(symbol_key, x2, "x2", discretise, bins),
            labels,
        )
        shape = (variables[0].size, variables[1].size, variables[2].size)
        check_cells(shape)
        codes = tuple(v.codes for v in variables)
        p: Any = joint_pmf(*codes, shape=shape)
        say("solving")
        solution = broja(p, tol=tol)
        label_entropy = float(entropy(p.sum((0, 1))))
        interval, null = None, None
        if bootstrap + permutations:
            say(f"solving {bootstrap + permutations} replicates")
            counts = {"bootstrap": bootstrap, "permutations": permutations}
            drawn, permuted = replicates(replicate_key, codes, shape, **counts, groups=clusters and clusters.codes)
            interval = bootstrap_interval(solution.pid, drawn) if bootstrap else None
            null = permutation_null(solution.pid, permuted) if permutations else None
        found = [warning for variable in variables for warning in variable.warnings]
        found += plug_in_warnings(p, len(y), label_entropy)
        if not solution.gap <= tol:
            found.append(
                f"the certified gap is {solution.gap:.1e} nats, {tol:.1e} was asked for: trust no digit below it"
            )
        if len(y) == 1:
            found = ["there is one sample: every information is zero whatever the truth; collect more"]
        return Report(
            pid=solution.pid,
            gap=float(solution.gap),
            # The atoms sum to the informations, by the linear map that made them.
            information=Informations(solution.pid.mi1, solution.pid.mi2, solution.pid.total),
            label_entropy=label_entropy,
            interval=interval,
            null=null,
            samples=len(y),
            shape=shape,
            method="discrete" if are_names(x1) and are_names(x2) else f"discrete, features by {discretise}",
            bootstrap=bootstrap,
            permutations=permutations,
            interval_rule=f"bootstrap replicates{question.of_groups} about the bias-corrected estimate",
            warnings=(*found, *(clusters.warnings if clusters else ())),
            pointwise=_pointwise(solution, codes, y),
            seed=question.seed,
        )


def _pointwise(solution: Solution, codes: tuple, y: np.ndarray) -> Pointwise:
    """What the solution says of each sample's cell, and the plug-in surprisals of its symbols."""
    pid = jax.tree.map(lambda cells: cells[codes], solution.pointwise)
    surprisal = [-np.log(np.asarray(solution.marginals[i]).sum(1)[codes[i]]) for i in (0, 1)]
    return Pointwise(
        pid=pid,
        y=y,
        informations=Informations(pid.mi1, pid.mi2, pid.total),
        surprisal=(surprisal[0], surprisal[1]),
    )
