"""The roof over InfoMeter: two modalities in, an ``InformationReport`` out."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pidjax import _checks
from pidjax.estimators.coders import CROSSING, MAPS, routes_of
from pidjax.estimators.infometer import InfometerRecipe, rate_curve
from pidjax.estimators.samplewise import spectrum
from pidjax.inputs import are_names, check_lengths, checked_key, features, label_symbols
from pidjax.metered import InformationReport, Rate
from pidjax.typing import ArrayLike, Key, Samples

__all__ = ["INFOMETER_MODELS", "infometer"]

INFOMETER_MODELS = CROSSING
# Beyond about so many columns of each, models of thousands of samples cost more than they find.
COMPONENTS = 16


def infometer(
    x1: ArrayLike,
    x2: ArrayLike,
    *,
    key: Key,
    given: ArrayLike | None = None,
    step: float | Sequence[float] = 0.25,
    components: int = COMPONENTS,
    recipe: InfometerRecipe | None = None,
    groups: ArrayLike | None = None,
    progress: Callable[[str], None] | None = None,
) -> InformationReport:
    """The mutual information of two modalities, from what it takes to code them one by one and together.

    Features are quantised (``step``) and coded by learned entropy models, each sample by models that never saw it;
    informations are differences of code lengths. They are those of the quantised features: below the features' own,
    nearer to it at smaller steps. No label is needed; with one (``given``) it is ``I(X1;X2|Y)``.

    Args:
        x1: features of the first modality, ``(n,)`` or ``(n, ...)`` floats.
        x2: of the second.
        key: PRNG key; the same key gives the same report.
        given: what is known beside: labels ``(n,)`` (integers, booleans, strings) or features ``(n, ...)``.
        step: width of a cell, in standard deviations of each column; or several, for the curve: the report is about
            the finest.
        components: a modality of more columns is represented by so many of its strongest principal components, of
            unit variance; what the others share is not seen. Feature maps are coded whole.
        recipe: the settings of the models; None: the defaults.
        groups: names ``(n,)`` of what must not be in two folds, speakers say; None: samples.
        progress: called with a short text before each stage.

    Returns:
        The ``InformationReport``.

    Raises:
        ValueError: different lengths, features that are constant or not finite, steps that aren't positive.
        TypeError: symbols, whose information is counted and not coded; no PRNG key.

    Example:
        >>> generator = np.random.default_rng(0)
        >>> x = generator.normal(size=2000)
        >>> report = infometer(
        ...     x, x + generator.normal(size=2000), key=jax.random.key(0), step=0.5,
        ...     recipe=InfometerRecipe(folds=2, steps=200, routes=("conditional",)))
        >>> print(f"{report.mutual_information:.1f}", "truth .343")
        0.3 truth .343

    References:
        arXiv 2405.12456; see ``pidjax.estimators.infometer.fitted_infometer`` for what is ours.
    """
    key, say = checked_key(key), progress or (lambda text: None)
    recipe = recipe or InfometerRecipe()
    pair = [np.asarray(x) for x in (x1, x2)]
    known = None if given is None else np.asarray(given)
    check_lengths(pair[0], pair[1], pair[0] if known is None else known)
    for x, name in zip(pair, ("x1", "x2"), strict=True):
        _checks.require(
            not are_names(x),
            f"{name} is symbols ({x.dtype}); their information is counted, not coded: pidjax.mutual_information of "
            f"pidjax.joint_pmf; if these are measurements, pass them as features, {name}[:, None].astype(float)",
            TypeError,
        )
    steps = sorted(np.atleast_1d(np.asarray(step, float)).tolist(), reverse=True)
    _checks.require(
        len(steps) > 0 and bool(np.isfinite(steps).all()) and steps[-1] > 0,
        f"step is {step}; expected a positive number of standard deviations, or several",
    )
    _checks.require(components >= 1, f"components is {components}; expected at least 1")
    say("finding coordinates")
    coded, warnings = [], []
    with jax.enable_x64(True):
        for x, name in zip(pair, ("x1", "x2"), strict=True):
            columns, warning = _maps(x, name) if recipe.model == MAPS else _columns(features(x, name), name, components)
            coded.append(columns)
            warnings += warning
        condition, classes, words = _condition(known, components)
    models = 2 + sum({"sum": 1, "conditional": 2}[route] for route in routes_of(recipe))
    curve = []
    for each in steps:
        say(f"step {each:g}: training {recipe.folds * recipe.repeats} x {models} models")
        with jax.enable_x64(False):
            (fitted,) = rate_curve(
                key, Samples(*coded), steps=(each,), given=condition, classes=classes, recipe=recipe, groups=groups
            )
            fitted = jax.device_get(fitted)
        route = "conditional" if "conditional" in fitted.information else "sum"
        means = lambda found: {name: (float(mean.value), float(mean.standard_error)) for name, mean in found.items()}
        entropy = {name: fitted.entropy[name] for name in ("x1", "x2", "joint")}
        pointwise = np.asarray(fitted.values.information[route], np.float64)
        curve.append(Rate(each, means(fitted.information), means(entropy), pointwise))
    heard = [bool(own) for each in fitted.models.heard.values() for own in np.ravel(each)]
    if not all(heard):
        warnings.append(
            f"{len(heard) - sum(heard)} of {len(heard)} models of both modalities coded validation samples no better "
            "than those of one, and were left out: there nothing counts as shared. If something ought to be, take more "
            "samples or fewer components"
        )
    value, error = curve[-1].information[route]
    if value < -2 * error:
        warnings.append(
            "the information is negative by more than two standard errors: the models of the pair learned worse than "
            "those of the modalities; take more steps, more samples or fewer components"
        )
    return InformationReport(
        curve=tuple(curve),
        route=route,
        given=words,
        samples=len(pair[0]),
        columns=(coded[0][0].size, coded[1][0].size),
        method=f"InfoMeter, {recipe.model if isinstance(recipe.model, str) else 'own'} models, "
        f"{recipe.folds}-fold cross-fitted",
        warnings=tuple(warnings),
        seed=tuple(int(word) for word in np.asarray(jax.random.key_data(key)).ravel()),
    )


def _maps(x: np.ndarray, name: str) -> tuple[np.ndarray, list[str]]:
    """Feature maps as they are, single precision."""
    _checks.require(
        x.ndim == 4,
        f"{name} has shape {x.shape}; the model 'masked_convolution' is of feature maps (n, h, w, c): pictures without "
        f"channels are {name}[..., None]",
    )
    features(x, name)  # refuses what no features are
    return x.astype(np.float32), []


def _columns(x: np.ndarray, name: str, components: int) -> tuple[np.ndarray, list[str]]:
    """As many columns as are coded, single precision, and what was left out."""
    flat = x.reshape(len(x), -1)
    flat = flat[:, (flat != 0).any(0)]  # constant columns, which say nothing
    if flat.shape[1] <= components:
        return flat.astype(np.float32), []
    own = spectrum(jnp.asarray(flat))
    kept = min(components, own.rank)
    share = float(own.values[:kept].sum() / own.values.sum())
    text = (
        f"of {name}, {flat.shape[1]} columns, {kept} principal components were coded, {share:.0%} of the variance: "
        "what the others share is not seen"
    )
    return np.asarray(own.components(kept), np.float32), [text]


def _condition(known: np.ndarray | None, components: int) -> tuple[Any, int | None, str | None]:
    """Labels as codes and their number, or columns; and its name."""
    if known is None:
        return None, None, None
    if are_names(known):
        labels = label_symbols(known)
        return labels.codes.astype(np.int32), labels.size, "Y"
    return _columns(features(known, "given"), "given", components)[0], None, "Z"
