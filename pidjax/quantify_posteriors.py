"""The roof of the exact route: features in, classifiers trained, a ``Report`` of the posteriors' decomposition out."""

import functools
import math
from typing import Any

import jax
import numpy as np

from pidjax import _checks
from pidjax.bootstrap import posterior_replicates
from pidjax.calibration import quality
from pidjax.estimators import batch, dual
from pidjax.estimators.batch import batch_alignment, batch_union
from pidjax.estimators.dual import dual_networks, dual_union, pointwise_union
from pidjax.estimators.fit import fit
from pidjax.estimators.fitted import HEADS, RECIPE, FittedPosteriors, Recipe, fitted_posteriors
from pidjax.info import Informations
from pidjax.inputs import Question, Symbols, numbers, weak_classifiers
from pidjax.pid import PID, from_union
from pidjax.pointwise import ATOMS, Pointwise
from pidjax.posteriors import MOST_UNQUANTISED, PosteriorPid, pid_from_posteriors
from pidjax.report import Report
from pidjax.resampling import bootstrap_interval, permutation_null
from pidjax.typing import Samples

__all__ = ["METHODS", "posteriors_report"]

LEARNED = ("batch", "dual")
METHODS = ("posteriors", "unquantised", *LEARNED)
MOST_SAMPLES = 50_000  # whose pairs the learned bounds look at

# Below this share of I1 + I2 kept by the cells, the ratio correction carries the answer.
LITTLE_KEPT = 0.9
LARGE_DRIFT = 0.02  # nats
ROUNDING = 1e-9  # nats: below 0 by less is 0
ABSENT = 0.01  # nats: an atom that may as well be 0


def posteriors_report(question: Question, recipe: Recipe | None, method: str) -> Report:
    """The report of ``quantify`` with one of ``METHODS``."""
    recipe = recipe or RECIPE
    x1, x2 = (numbers(x, name) for x, name in ((question.x1, "x1"), (question.x2, "x2")))
    labels, clusters = question.labels, question.clusters
    groups = clusters and clusters.codes
    n, most = len(question.y), {"unquantised": MOST_UNQUANTISED}.get(method, MOST_SAMPLES)
    _checks.require(
        n <= most or method == "posteriors" or (method == "unquantised" and labels.size <= 2),
        f'there are {n} samples; {method} looks at all pairs, of {most} at most: draw fewer, or method="posteriors"',
    )
    question.say(f"training {recipe.folds * recipe.repeats} x 3 classifiers")
    fit_key, cell_key, draw_key, null_key = jax.random.split(question.key, 4)
    samples = Samples(x1.astype(np.float32), x2.astype(np.float32), labels.codes.astype(np.int32))
    with jax.enable_x64(False):
        fitted: FittedPosteriors = jax.device_get(
            fitted_posteriors(fit_key, samples, classes=labels.size, recipe=recipe, groups=groups)
        )
    p1, p2, p12 = _probabilities(fitted.log_posterior, question)
    question.say("decomposing")
    done = _decomposed(cell_key, (p1, p2, p12), labels, method == "unquantised")
    variants = dict(done.variants)
    best = next(name for name in ("halves", "ratio", "exact") if name in variants)
    pid, gap = variants[best], float(done.gap)
    values, words = done.pointwise(labels.codes), _WORDS[best]
    if method in LEARNED:
        question.say(f"training the {method} networks")
        pid, values, words = _by_networks(jax.random.fold_in(cell_key, 1), done, labels, method)
        gap = math.nan
    else:
        del variants[best]
    interval, null, rule = None, None, ""
    if question.bootstrap:
        question.say(f"solving {question.bootstrap} replicates")
        with jax.enable_x64(True):
            drawn = posterior_replicates(
                draw_key, p1, p2, p12, labels.codes, replicates=question.bootstrap, groups=groups, cells=_cells(labels)
            )
        rule = "exact" if labels.size <= 2 else "ratio"
        solved = done if rule in done.variants else _decomposed(cell_key, (p1, p2, p12), labels)
        centre, drawn = solved.variants[rule], jax.tree.map(np.asarray, drawn)
        if best == "halves" or method in LEARNED:  # the value is another rule's: only the spread is taken
            centre = pid
            drawn = jax.tree.map(lambda draws, at: draws - draws.mean() + at, drawn, pid)
            rule = f"{rule}, about the learned bound" if method in LEARNED else best
        interval = bootstrap_interval(centre, drawn)
    if question.permutations:
        null = permutation_null(pid, _permuted(null_key, samples, labels, recipe, groups, question))
    if min(jax.tree.leaves(pid)) < -max(ROUNDING, 10 * float(done.gap)):
        variants["within the legal range"] = _legal(done.information, pid.mi1 + pid.unique2)
    found = [*labels.warnings, *weak_classifiers(done.information, labels, len(question.y))]
    found += _warnings(done, pid)
    i1, i2, i12 = (_gain(done, own, labels.codes) for own in done.log_posterior)
    return Report(
        pid=pid,
        gap=gap,
        certified="these posteriors" if best == "exact" else "the table of the posteriors' cells",
        information=done.information,
        label_entropy=float(-(np.exp(done.log_prior) * done.log_prior).sum()),
        interval=interval,
        null=null,
        samples=len(question.y),
        shape=(int(np.prod(x1.shape[1:])), int(np.prod(x2.shape[1:])), labels.size),
        nouns=("feature", "feature"),
        method=f"posteriors of {recipe.repeats} x {recipe.folds}-fold cross-fitted classifiers, {words}",
        bootstrap=question.bootstrap,
        permutations=question.permutations,
        interval_rule=f"bootstrap replicates{question.of_groups} of the samples judged, posteriors held, rule {rule}",
        variants=variants,
        diagnostics=_diagnostics(fitted, done, cell_key, question, recipe),
        warnings=(*found, *(clusters.warnings if clusters else ())),
        pointwise=Pointwise(pid=values, y=question.y, informations=Informations(i1, i2, i12)),
        seed=question.seed,
    )


_WORDS = {
    "exact": "decomposed exactly",
    "ratio": "quantised, corrected for what cells lose",
    "halves": "quantised, corrected for what cells lose and for sampling",
}


# Built once for each number of labels: an estimator is static by identity, and each new one compiles anew.
_alignment = functools.cache(lambda classes: batch_alignment(classes=classes))
_networks = functools.cache(lambda classes: dual_networks(classes=classes))


def _by_networks(key: Any, done: PosteriorPid, labels: Symbols, method: str) -> tuple[PID, PID, str]:
    """The decomposition at a learned bound of the union, the values of samples, and what it is in words."""
    n = len(labels.codes)
    own = done.log_posterior
    samples = Samples(np.asarray(own.x1, np.float32), np.asarray(own.x2, np.float32), labels.codes.astype(np.int32))
    i1, i2, i12 = done.information
    with jax.enable_x64(False):
        if method == "batch":
            alignment = _alignment(labels.size)
            state = fit(alignment.estimator, key, samples, **_fitting(batch.RECIPE, n)).state
            union = float(batch_union(alignment, state, samples, batch_size=min(n, batch.RECIPE["batch_size"])).upper)
            words = "union by BATCH, an upper bound: R and S are at least this, U1 and U2 at most"
            return from_union(i1, i2, i12, union), done.pointwise(labels.codes), words
        networks = _networks(labels.size)
        state = fit(networks.estimator, key, samples, **_fitting(dual.RECIPE, n)).state
        union = float(dual_union(networks, state, samples).lower)
        each = np.asarray(pointwise_union(networks, state, samples, samples), np.float64)
    gains = [_gain(done, own, labels.codes) for own in done.log_posterior]
    words = "union by dual networks, a lower bound: R and S are at most this, U1 and U2 at least"
    return from_union(i1, i2, i12, union), from_union(gains[0], gains[1], gains[2], each), words


def _fitting(recipe: dict[str, Any], n: int) -> dict[str, Any]:
    return recipe | {"batch_size": min(recipe["batch_size"], n)}


Three = tuple[np.ndarray, np.ndarray, np.ndarray]


def _probabilities(log_p: dict[str, Any], question: Question) -> Three:
    p1, p2, p12 = (np.exp(np.asarray(log_p[name], np.float64)) for name in HEADS)
    if question.predictions is not None:
        # A model says what it makes of both: nothing is to be learned of that. Labels never drawn have no column.
        p12 = question.predictions[:, np.unique(question.y)]
    return p1 / p1.sum(1, keepdims=True), p2 / p2.sum(1, keepdims=True), p12 / p12.sum(1, keepdims=True)


def _decomposed(key: Any, p: Three, labels: Symbols, unquantised: bool = False) -> PosteriorPid:
    p1, p2, p12 = p
    settings: dict[str, Any] = {"cells": None, "tol": 1e-4} if unquantised else {"cells": _cells(labels)}
    return pid_from_posteriors(p1, p2, p12, labels.codes, key=key, **settings)


def _cells(labels: Symbols) -> int:
    """Cells of a modality: 40, and fewer where a table of so many labels would take minutes to solve, 200 times."""
    return 40 if labels.size <= 25 else max(1000 // labels.size // 2 * 2, 4)


def _permuted(key: Any, samples: Samples, labels: Symbols, recipe: Recipe, groups: Any, question: Question) -> PID:
    """The decompositions of permuted labels, all trained anew (each with one repeat)."""
    once = recipe._replace(repeats=1)
    found = []
    for number in range(question.permutations):
        question.say(f"training for permutation {number + 1} of {question.permutations}")
        order_key, fit_key, cell_key = jax.random.split(jax.random.fold_in(key, number), 3)
        order = np.asarray(jax.random.permutation(order_key, len(labels.codes)))
        codes = labels.codes[order]
        shuffled = samples._replace(y=codes.astype(np.int32))
        with jax.enable_x64(False):
            fitted = fitted_posteriors(fit_key, shuffled, classes=labels.size, recipe=once, groups=groups)
        shuffled_question = question._replace(
            y=question.y[order], predictions=None if question.predictions is None else question.predictions[order]
        )
        p = _probabilities(fitted.log_posterior, shuffled_question)
        found.append(_decomposed(cell_key, p, Symbols(codes, labels.size)).pid)
    return jax.tree.map(lambda *leaves: np.array(leaves), *found)


def _legal(information: Informations, union: Any) -> PID:
    """The union cut to where all atoms are non-negative; where nothing is, as near as it gets."""
    i1, i2, i12 = information
    return from_union(i1, i2, i12, np.clip(union, max(i1, i2), max(min(i1 + i2, i12), max(i1, i2))))


def _gain(done: PosteriorPid, log_p: Any, codes: np.ndarray) -> Any:
    return np.asarray(log_p)[np.arange(len(codes)), codes] - np.asarray(done.log_prior)[codes]


def _diagnostics(
    fitted: FittedPosteriors, done: PosteriorPid, key: Any, question: Question, recipe: Recipe
) -> dict[str, float]:
    labels, judged = question.labels, dict(fitted.quality)
    if question.predictions is not None:
        judged["x1x2"] = quality(np.asarray(done.log_posterior.x1x2), labels.codes)
    found = {
        f"{name} {measure.replace('_', ' ')}": float(value)
        for name in HEADS
        for measure, value in judged[name]._asdict().items()
    }
    found["mismatch of the mean predictions"] = float(done.mismatch)
    if labels.size > 2:
        found["kept by the cells"] = float(done.retained)
        found["drift of R from half the cells"] = float(done.drift.redundancy)
    if recipe.repeats > 1:
        alone = []
        for number in range(recipe.repeats):
            p = _probabilities({name: fitted.of_repeats[name][number] for name in HEADS}, question)
            alone.append(_decomposed(key, p, labels).pid)
        spread = jax.tree.map(lambda *leaves: float(np.std(leaves, ddof=1)), *alone)
        found |= {f"{letter} sd over refits": getattr(spread, atom) for atom, _, letter, _ in ATOMS}
    return found


def _warnings(done: PosteriorPid, pid: PID) -> list[str]:
    found = []
    if done.retained < LITTLE_KEPT:
        found.append(
            f"the cells keep {float(done.retained):.2f} of I(x1;y) + I(x2;y): the union is enlarged in that ratio, "
            "which is exact where both lose alike and a guess elsewhere; compare the other rules"
        )
    if abs(done.drift.redundancy) > LARGE_DRIFT:
        found.append(
            f"R moved by {float(done.drift.redundancy):.3f} nats from half the cells to all: trust no digit below that"
        )
    if pid.synergy < -ABSENT:
        found.append(
            f"synergy is {float(pid.synergy):.3f} nats: the pair's classifier says less than the union, so it is the "
            "weakest of the three; give net12 more steps or another network (recipe=)"
        )
    values = "values of single samples: "
    if len(done.log_prior) > 3:
        found.append(
            f"{values}with {len(done.log_prior)} labels what cells blur (about half a nat) exceeds differences of r, "
            "u1, u2 and s; read means of classes, not samples, and those as the rule raw, which no correction reaches"
        )
    absent = [letter for atom, _, letter, _ in ATOMS if abs(getattr(pid, atom)) < ABSENT]
    if absent:
        found.append(f"{values}those of {', '.join(absent)} are noise: in the mean there is none")
    if max(pid.unique1, pid.unique2) < ABSENT < pid.redundancy:
        found.append(
            f"{values}the modalities are equally informative, so how a sample's union splits is not unique, and the "
            "same answer from another fit is no evidence"
        )
    return found
