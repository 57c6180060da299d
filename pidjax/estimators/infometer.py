"""InfoMeter: the information between two modalities, from what it takes to code them one by one and together.

Features become whole numbers once, on one grid for all models; entropy models, cross-fitted, say how many nats each
sample takes; informations are differences of these. One function of arrays: it runs under jit, and under vmap over
datasets and keys.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pidjax import _checks
from pidjax.estimators.base import Estimator
from pidjax.estimators.cells import Grid, Units, columns, field, floating, grid
from pidjax.estimators.coders import MAPS, PAIR, RECIPE, InfometerRecipe, check_model, coder, meter, routes_of
from pidjax.estimators.cross_fit import CrossFit, cross_fit
from pidjax.estimators.fit import size
from pidjax.estimators.fitted import averaged, of_all, shared_settings
from pidjax.typing import Array, ArrayLike, Key, Samples

__all__ = [
    "FittedInfometer",
    "InfometerModels",
    "InfometerRecipe",
    "InfometerValues",
    "Mean",
    "coded_entropy",
    "fitted_infometer",
    "rate_curve",
    "unseen_infometer",
]


class Mean(NamedTuple):
    """A mean over the samples, nats, and its standard error: what other samples would have changed."""

    value: Array
    standard_error: Array


class InfometerValues(NamedTuple):
    """What is known of each sample; nats.

    Attributes:
        surprisal: of the symbols, ``(n,)`` each: ``x1``, ``x2`` and, by route, ``joint`` or ``x2|x1`` and ``x1|x2``;
            all given the condition, if there is one.
        information: pointwise, ``(n,)`` each. ``sum``: x1 + x2 - joint. ``conditional``: the mean of x2 - x2|x1 and
            x1 - x1|x2.
    """

    surprisal: dict[str, Array]
    information: dict[str, Array]


class InfometerModels(NamedTuple):
    """What was trained, for ``unseen_infometer``.

    Attributes:
        grids: of x1 and x2.
        states: ``(repeats, folds, ...)``.
        heard: of each model of both modalities by name, ``(repeats, folds)`` booleans: whether it codes validation
            samples in fewer nats than the models of one. If not, these answer in its place. Empty without validation.
    """

    grids: tuple[Grid, Grid]
    states: Any
    heard: dict[str, Array]


class FittedInfometer(NamedTuple):
    """The answer of ``fitted_infometer``.

    Attributes:
        information: by route; raw: below zero where the joint model is the one that learned worse.
        entropy: of the symbols, by the names of ``InfometerValues.surprisal``; ``joint`` also without that route, by
            the chain rule.
        values: of each sample, out of fold.
        models: for samples that no model saw.
    """

    information: dict[str, Mean]
    entropy: dict[str, Mean]
    values: InfometerValues
    models: InfometerModels


def _prepared(samples: Samples, given: ArrayLike | None, classes: int | None) -> tuple[Samples, Any]:
    """The condition in the place of the labels."""
    if given is None:
        _checks.require(classes is None, f"classes is {classes} without given; expected the labels too")
        return samples._replace(y=None), True
    if classes is None:
        return samples._replace(y=jnp.asarray(given)), True
    y, ok = _checks.labels(given, classes=classes)
    return samples._replace(y=y), ok


def _features(samples: Samples, name: str, units: Units, recipe: InfometerRecipe) -> Array:
    """Columns; or maps, whose channels have a grid each."""
    return floating(field(samples, name), name, units) if recipe.model == MAPS else columns(samples, (name,), units)


def _symbols(samples: Samples, grids: tuple[Grid, Grid], units: Units, recipe: InfometerRecipe) -> Samples:
    k1, k2 = (own(_features(samples, name, units, recipe)) for own, name in zip(grids, PAIR, strict=True))
    return samples._replace(x1=k1, x2=k2)


def fitted_infometer(
    key: Key,
    samples: Samples,
    *,
    given: ArrayLike | None = None,
    classes: int | None = None,
    step: float | tuple[float, float] = 0.25,
    units: Units = "standard",
    recipe: InfometerRecipe = RECIPE,
    groups: ArrayLike | None = None,
) -> FittedInfometer:
    """The information between two modalities, quantised, and of each sample, by entropy models that never saw it.

    ``sum``: ``I = H(X) + H(Y) - H(X,Y)``. ``conditional``: ``I = H(Y) - H(Y|X)``, the mean with the other way round.
    With a condition Z, all entropies are given Z, and the information is ``I(X;Y|Z)``. Entropies are held-out
    cross-entropies, so ``sum`` errs by KL(x1) + KL(x2) - KL(joint) of the models, ``conditional`` by KL(y) - KL(y|x):
    neither is a bound, and values may be negative. Models of ``conditional`` contain the marginal ones, and
    their errors nearly cancel. Where a model of both modalities does no better on validation samples than those of one,
    these answer for it, and in that fold nothing is shared (``models.heard``): what it learned was noise.

    Quantised features share less than the features themselves, and symbols depend on ``step``: see ``rate_curve``.
    The grid is read off all samples; that tells models nothing but a unit.

    Args:
        key: PRNG key.
        samples: x1 and x2 ``(n, ...)``, flattened but for the model of maps; weights are respected; y isn't looked at.
        given: Z: labels ``(n,)``, or features ``(n, ...)``; None for none.
        classes: number of labels of Z; None for features. Static.
        step: width of a cell, for both modalities or each.
        units: of ``step``, see ``grid``; whole numbers as they are: ``step=1.0, units="raw"``.
        recipe: the settings; static.
        groups: see ``cross_fit``.

    Returns:
        A ``FittedInfometer``. Works under jit and vmap (without ``groups``).

    Raises:
        ValueError: a missing part of the samples, a joint model that factorises over the modalities, unknown
            settings, and what ``cross_fit`` refuses.

    Example:
        >>> x = jax.random.normal(jax.random.key(0), (4000, 1))
        >>> y = x + jax.random.normal(jax.random.key(1), x.shape)
        >>> recipe = InfometerRecipe(folds=2, steps=200, routes=("conditional",))
        >>> done = fitted_infometer(jax.random.key(2), Samples(x, y), recipe=recipe)
        >>> print(f"{done.information['conditional'].value:.1f}", "truth .343")
        0.3 truth .343

    References:
        InfoMeter, arXiv 2405.12456, for the idea and the route of sums. Its transforms, steps and models could not be
        established: models, both routes and cross-fitting are ours.
    """
    check_model(recipe, samples)
    samples, ok = _prepared(samples, given, classes)
    grids = _grids(samples, step, units, recipe)
    symbols = _symbols(samples, grids, units, recipe)
    done = _cross_fitted(meter(recipe, given is not None, classes), key, symbols, recipe, groups)
    heard = _heard(done.trace.validation, done.estimate)
    at = {name: jnp.take_along_axis(own, done.fold, 1) for name, own in heard.items()}
    answers = _answers(done.estimate, at)
    values = _values(jax.tree.map(lambda leaf: -averaged(-leaf), answers), routes_of(recipe))
    surprisal = dict(values.surprisal)
    if "joint" not in surprisal:
        surprisal["joint"] = surprisal["x1"] + surprisal["x2|x1"]
    mean = lambda leaf: _mean(leaf, samples.weight)
    fitted = FittedInfometer(
        {name: mean(leaf) for name, leaf in values.information.items()},
        {name: mean(leaf) for name, leaf in surprisal.items()},
        values,
        InfometerModels(grids, done.state, heard),
    )
    return _checks.poison(fitted, ok)


def unseen_infometer(
    models: InfometerModels,
    samples: Samples,
    *,
    given: ArrayLike | None = None,
    classes: int | None = None,
    units: Units = "standard",
    recipe: InfometerRecipe = RECIPE,
) -> InfometerValues:
    """The values of samples that no model saw (a test set): probabilities of all models, averaged.

    Args:
        models: of ``fitted_infometer``.
        samples: as there; without folds, so of any number.
        given: as there.
        classes: as there.
        units: as there.
        recipe: the one that the models were trained with.

    Returns:
        ``InfometerValues``; their means are held-out entropies and informations.

    Example:
        >>> x = jax.random.normal(jax.random.key(0), (500, 1))
        >>> recipe = InfometerRecipe(folds=2, steps=20, routes=("conditional",))
        >>> models = fitted_infometer(jax.random.key(1), Samples(x, x), recipe=recipe).models
        >>> unseen_infometer(models, Samples(x[:5], x[:5]), recipe=recipe).information["conditional"].shape
        (5,)
    """
    samples, ok = _prepared(samples, given, classes)
    surprisal = of_all(
        meter(recipe, given is not None, classes).estimate,
        models.states,
        _symbols(samples, models.grids, units, recipe),
    )
    answers = _answers(surprisal, {name: own.reshape(-1, 1) for name, own in models.heard.items()})
    values = _values(jax.tree.map(lambda leaf: -averaged(-leaf), answers), routes_of(recipe))
    return _checks.poison(values, ok)


# By what each model of both modalities would be replaced.
_ALONE = {"joint": ("x1", "x2"), "x2|x1": ("x2",), "x1|x2": ("x1",)}


def _heard(losses: dict[str, Array] | None, estimate: dict[str, Array]) -> dict[str, Array]:
    """Whose validation losses ``(repeats, folds, looks)`` are below those of the models of one modality, at best."""
    pairs = [name for name in _ALONE if name in estimate]
    if losses is None:  # nothing was validated: all answer
        return {}
    best = {name: jnp.where(jnp.isnan(own), jnp.inf, own).min(-1) for name, own in losses.items()}
    return {name: best[name] < sum((best[one] for one in _ALONE[name][1:]), best[_ALONE[name][0]]) for name in pairs}


def _answers(surprisal: dict[str, Array], heard: dict[str, Array]) -> dict[str, Array]:
    """The surprisals, those of models that aren't heard replaced."""
    alone = {name: sum((surprisal[one] for one in _ALONE[name][1:]), surprisal[_ALONE[name][0]]) for name in heard}
    return surprisal | {name: jnp.where(own, surprisal[name], alone[name]) for name, own in heard.items()}


def rate_curve(
    key: Key,
    samples: Samples,
    *,
    steps: Sequence[float] = (2.0, 1.0, 0.5, 0.25),
    given: ArrayLike | None = None,
    classes: int | None = None,
    units: Units = "standard",
    recipe: InfometerRecipe = RECIPE,
    groups: ArrayLike | None = None,
) -> tuple[FittedInfometer, ...]:
    """``fitted_infometer`` at several steps: rates against the step, and informations.

    Information grows as cells get finer, up to that of the features; so do the entropies, by ``d log 2`` for half the
    step, and with them what models miss. Where the curve levels out is the place to read it. All steps share one
    compiled program.

    Args:
        key: PRNG key, the same for all steps.
        samples: as in ``fitted_infometer``.
        steps: widths of cells.
        given: as there.
        classes: as there.
        units: as there.
        recipe: as there.
        groups: as there.

    Returns:
        One ``FittedInfometer`` for each step.

    Example:
        >>> x = jax.random.normal(jax.random.key(0), (1000, 1))
        >>> recipe = InfometerRecipe(folds=2, steps=50, routes=("conditional",))
        >>> curve = rate_curve(jax.random.key(1), Samples(x, x), steps=(2.0, 1.0), recipe=recipe)
        >>> bool(curve[0].entropy["x1"].value < curve[1].entropy["x1"].value)
        True
    """
    _checks.require(len(steps) > 0, "steps is empty; expected widths of cells: (2.0, 1.0, 0.5, 0.25)")
    settings: dict[str, Any] = {
        "given": given, "classes": classes, "units": units, "recipe": recipe, "groups": groups,
    }  # fmt: skip
    return tuple(fitted_infometer(key, samples, step=step, **settings) for step in steps)


def coded_entropy(
    key: Key,
    x: ArrayLike,
    *,
    step: float = 0.25,
    units: Units = "standard",
    weight: ArrayLike | None = None,
    recipe: InfometerRecipe = RECIPE,
) -> Mean:
    """The entropy of quantised features, by an autoregressive model, cross-fitted; above the truth by its divergence.

    A differential entropy is about ``coded_entropy + sum_j log(cell_j)``, cells in the features' units, as these get
    small.

    Args:
        key: PRNG key.
        x: features ``(n, ...)``.
        step: width of a cell.
        units: of ``step``, see ``grid``; whole numbers as they are: ``step=1.0, units="raw"``.
        weight: ``(n,)`` non-negative; None means all ones.
        recipe: the settings; static. Models and routes aren't looked at.

    Returns:
        A ``Mean``, nats. Works under jit and vmap.

    Raises:
        ValueError: what ``cross_fit`` refuses.

    Example:
        >>> x = jax.random.randint(jax.random.key(0), (4000, 1), 0, 4)
        >>> recipe = InfometerRecipe(folds=2, steps=300)
        >>> found = coded_entropy(jax.random.key(1), x, step=1.0, units="raw", recipe=recipe)
        >>> print(f"{found.value:.1f}", "truth", f"{jnp.log(4):.1f}")
        1.4 truth 1.4
    """
    samples = Samples(x1=x, weight=weight)
    features = columns(samples, ("x1",), units)
    symbols = samples._replace(x1=grid(features, samples.weight, step=step, units=units)(features))
    done = _cross_fitted(coder(recipe), key, symbols, recipe, None)
    return _mean(-averaged(-done.estimate), weight)


def _cross_fitted(estimator: Estimator, key: Key, symbols: Samples, recipe: Any, groups: ArrayLike | None) -> CrossFit:
    shared = shared_settings(recipe, size(symbols), recipe.batch_size, groups)
    return cross_fit(estimator, key, symbols, steps=recipe.steps, **shared)


def _grids(
    samples: Samples, step: float | tuple[float, float], units: Units, recipe: InfometerRecipe
) -> tuple[Grid, Grid]:
    widths = step if isinstance(step, tuple) else (step, step)
    _checks.require(len(widths) == 2, f"step is {step}; expected one number, or one for each modality")
    one, two = (
        grid(_features(samples, name, units, recipe), samples.weight, step=width, units=units)
        for name, width in zip(PAIR, widths, strict=True)
    )
    return one, two


def _values(surprisal: dict[str, Array], routes: tuple[str, ...]) -> InfometerValues:
    h, information = surprisal, {}
    if "sum" in routes:
        information["sum"] = h["x1"] + h["x2"] - h["joint"]
    if "conditional" in routes:
        information["conditional"] = (h["x2"] - h["x2|x1"] + h["x1"] - h["x1|x2"]) / 2
    return InfometerValues(h, information)


def _mean(values: Array, weight: Any) -> Mean:
    """Weighted, with the standard error of a weighted mean."""
    share = jnp.full(len(values), 1 / len(values), values.dtype) if weight is None else weight / jnp.sum(weight)
    share = jnp.asarray(share, values.dtype)
    mean = share @ values
    return Mean(mean, jnp.sqrt(share**2 @ (values - mean) ** 2))
