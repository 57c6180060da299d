"""The roof of LSMI: arrays in, a ``Report`` of sample-wise values out."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pidjax import _checks
from pidjax.estimators.fitted import HEADS, Recipe
from pidjax.estimators.lsmi import Switches, constant_shift, lsmi_from_joint, switches
from pidjax.estimators.samplewise import RECIPE, fitted_lsmi, spectrum
from pidjax.info import Informations, entropy
from pidjax.inputs import Question, are_names, check_cells, features, modality_symbols, weak_classifiers
from pidjax.joint import joint_pmf
from pidjax.pid import PID, Interval
from pidjax.pointwise import Pointwise
from pidjax.report import Report
from pidjax.resampling import plug_in_warnings
from pidjax.typing import Samples

__all__ = ["lsmi_report"]

# Surprisals are measured in at most so many whitened components of each modality, and as many of both: densities of
# more can't be learned from thousands of samples, and surprisals of different dimension can't be compared.
MOST_COMPONENTS = 16
ROUNDING = 1e-9  # a mean this far below zero is zero


def lsmi_report(question: Question, recipe: Recipe | None) -> Report:
    """The report of ``quantify(..., method="lsmi")``."""
    symbols = are_names(question.x1), are_names(question.x2)
    _checks.require(
        symbols[0] == symbols[1],
        "one modality is symbols and the other features: the probability of a symbol and the density of features "
        "can't be compared, which LSMI does; pass both as symbols "
        '(pidjax.kmeans_codes), or use method="discrete"',
    )
    if not symbols[0]:
        return _of_features(question, recipe or RECIPE)
    _checks.require(
        recipe is None, "recipe is for features, and both modalities are symbols, which are counted; leave it out"
    )
    return _of_symbols(question)


def _of_symbols(question: Question) -> Report:
    """The plug-in table: each sample has the values of its cell."""
    with jax.enable_x64(True):
        x1 = modality_symbols(question.key, question.x1, "x1", "none", 1)
        x2 = modality_symbols(question.key, question.x2, "x2", "none", 1)
        labels = question.labels
        shape = (x1.size, x2.size, labels.size)
        check_cells(shape)
        codes = (x1.codes, x2.codes, labels.codes)
        p: Any = joint_pmf(*codes, shape=shape)
        pid = jax.tree.map(lambda cells: np.asarray(cells)[codes], lsmi_from_joint(p))
        h1, h2 = -np.log(p.sum((1, 2)))[x1.codes], -np.log(p.sum((0, 2)))[x2.codes]
        information = Informations(pid.mi1, pid.mi2, pid.total)
        found = [warning for variable in (x1, x2, labels) for warning in variable.warnings]
        found += plug_in_warnings(p, len(labels.codes), float(entropy(p.sum((0, 1)))))
        return _report(
            question, Pointwise(pid=pid, y=question.y, informations=information, surprisal=(h1, h2)),
            switches(h1, h2, information.x1, information.x2),
            method="LSMI of symbols, plug-in", shape=shape, nouns=("symbol", "symbol"), quality={}, found=found,
        )  # fmt: skip


def _of_features(question: Question, recipe: Recipe) -> Report:
    labels, clusters = question.labels, question.clusters
    x1, x2 = features(question.x1, "x1"), features(question.x2, "x2")
    sizes = [int(np.prod(x.shape[1:])) for x in (x1, x2)]
    with jax.enable_x64(True):
        question.say("finding coordinates")
        flat = [x.reshape(len(x), -1) for x in (x1, x2)]
        spectra = [spectrum(jnp.asarray(x)) for x in flat]
        columns = min(spectra[0].rank, spectra[1].rank, MOST_COMPONENTS)
        coordinates = [np.asarray(own.components(columns), np.float32) for own in spectra]
        tied = [f"x{i + 1}" for i, own in enumerate(spectra) if own.is_tied(columns)]
    question.say(f"training {recipe.folds * recipe.repeats} x 5 models")
    samples = Samples(x1.astype(np.float32), x2.astype(np.float32), labels.codes.astype(np.int32))
    groups = clusters and clusters.codes
    with jax.enable_x64(False):
        fitted = fitted_lsmi(
            question.key, samples, classes=labels.size, densities=(coordinates[0], coordinates[1]), recipe=recipe,
            groups=groups,
        )  # fmt: skip
    fitted = jax.device_get(fitted)
    values = fitted.values
    means = Informations(*(own.mean() for own in values.information))
    found = [*labels.warnings, *weak_classifiers(means, labels, len(question.y))]
    for name, x in (("x1", flat[0]), ("x2", flat[1])):
        distinct = len(np.unique(x, axis=0))
        if distinct <= len(x) // 2:
            found.append(
                f"{name} has {distinct} distinct rows in {len(x)} samples: such features have no density, their "
                "surprisals say nothing, and the raw redundancy follows them; pass symbols on both sides "
                "(pidjax.kmeans_codes)"
            )
    dropped = [f"x{i + 1} has {size}" for i, size in enumerate(sizes) if size != columns]
    found.append(
        "the values of single samples depend on the coordinates that surprisal is measured in: here "
        f"{columns} whitened principal component{'s' if columns > 1 else ''} of each modality"
        + (f" ({' and '.join(dropped)} columns)" if dropped else "")
        + "; means, after the shift, don't"
    )
    if tied:
        found.append(
            f"the components of {' and '.join(tied)} are equally strong (after a PCA, perhaps), and {columns} of them "
            "were taken, earlier columns first: pass the features as they were, or both modalities as few components"
        )
    return _report(
        question,
        Pointwise(pid=values.pid, y=question.y, informations=values.information, surprisal=values.surprisal),
        fitted.switches,
        method=f"LSMI, {recipe.folds}-fold cross-fitted", shape=(sizes[0], sizes[1], labels.size),
        nouns=("feature", "feature"), quality={name: fitted.quality[name] for name in HEADS}, found=found,
    )  # fmt: skip


def _report(
    question: Question, pointwise: Pointwise, minima: Switches, *, method: str, shape: tuple[int, int, int],
    nouns: tuple[str, str], quality: dict[str, Any], found: list[str],
) -> Report:  # fmt: skip
    pid, clusters = pointwise.mean, question.clusters
    shifted = jax.tree.map(float, constant_shift(jax.tree.map(np.float64, pid)))
    if min(pid.redundancy, pid.synergy) < -ROUNDING:
        found = [
            *found,
            "raw redundancy or synergy is negative; the published shift raises it, and lowers both uniques",
        ]
    elif min(pid.unique1, pid.unique2) < -ROUNDING:
        found = [
            *found,
            f"a raw unique atom is negative; the published shift makes it 0 and so sets R to min(I1, I2) = "
            f"{shifted.redundancy:.4f}, whatever the surprisals said",
        ]
    diagnostics = {
        f"{name} {measure.replace('_', ' ')}": float(value)
        for name, measures in quality.items()
        for measure, value in measures._asdict().items()
    }
    diagnostics |= {
        "min(h1, h2) is h1": float(minima.plus),
        "min(h1|y, h2|y) is h1|y": float(minima.minus),
        "minima of different modalities": float(minima.crossed),
    }
    shares = np.bincount(question.labels.codes) / len(question.y)
    return Report(
        pid=pid,
        gap=None,
        information=Informations(pid.mi1, pid.mi2, pid.total),
        label_entropy=float(-(shares * np.log(shares)).sum()),
        interval=_interval(question, pointwise.pid) if question.bootstrap else None,
        samples=len(question.y),
        shape=shape,
        nouns=nouns,
        method=method,
        bootstrap=question.bootstrap,
        interval_rule=f"bootstrap means{question.of_groups} of the values as they are",
        warnings=(*found, *(clusters.warnings if clusters else ())),
        variants={"constant shift": shifted},
        diagnostics=diagnostics,
        pointwise=pointwise,
        seed=question.seed,
    )


def _interval(question: Question, pid: PID) -> Interval:
    """The central 95 % of the means of resampled samples, or groups."""
    generator = np.random.default_rng(question.seed)
    codes = np.arange(len(question.y)) if question.clusters is None else question.clusters.codes
    size = int(codes.max()) + 1
    atoms = np.stack(jax.tree.leaves(pid))
    # Of each group the sums of its values and its size: all that a resampled mean needs.
    sums = np.stack([np.bincount(codes, atom, size) for atom in atoms] + [np.bincount(codes, minlength=size)])
    times = np.stack(
        [np.bincount(generator.integers(0, size, size), minlength=size) for _ in range(question.bootstrap)]
    )
    drawn = times @ sums.T
    ends = np.quantile(drawn[:, :-1] / drawn[:, -1:], (0.025, 0.975), axis=0)
    structure = jax.tree.structure(pid)
    return Interval(*(jax.tree.unflatten(structure, list(end)) for end in ends))
