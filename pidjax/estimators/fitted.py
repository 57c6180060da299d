"""Fitted posteriors: three classifiers, cross-fitted and calibrated, as every learned decomposition needs them.

One function of arrays: it runs under jit, and under vmap over datasets and keys.
"""

import functools
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pidjax import _checks
from pidjax.calibration import Quality, VectorScaling, quality, vector_scaling
from pidjax.estimators.classifier import Classifier, adamw, classifiers, log_prior
from pidjax.estimators.cross_fit import cross_fit, training_size
from pidjax.estimators.fit import size
from pidjax.estimators.knife import RECIPE as KNIFE_RECIPE
from pidjax.typing import Array, ArrayLike, Key, Samples

__all__ = [
    "HEADS",
    "FittedPosteriors",
    "PosteriorModels",
    "Recipe",
    "averaged",
    "fitted_posteriors",
    "of_all",
    "shared_settings",
    "unseen_posteriors",
]

HEADS = ("x1", "x2", "x1x2")


class Recipe(NamedTuple):
    """The settings of what is learned; static to jit.

    Attributes:
        folds: parts of the data; each sample is judged by models of the others.
        repeats: how often the data are divided anew; posteriors and densities are averaged.
        validation: share of each training part that chooses the best states.
        steps: updates of the classifiers.
        batch_size: their minibatch.
        learning_rate: of their AdamW, with a cosine.
        weight_decay: of their matrices, as in ``adamw``, not of the linear part beside the hidden layer.
        net1: network of x1 (see ``classifiers``); None for one hidden layer of 128 beside a linear map.
        net2: network of x2.
        net12: network of the pair.
        kernels: numbers of kernels, for each label, among which held-out likelihood chooses (LSMI). More are for
            densities of many modes within a label; 32 take as long as all else.
        knife_steps: updates of the densities (LSMI).
        knife_batch_size: their minibatch.
    """

    folds: int = 5
    repeats: int = 3
    validation: float = 0.1
    steps: int = 1000
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 2.0
    net1: Any = None
    net2: Any = None
    net12: Any = None
    kernels: tuple[int, ...] = (8, 1)
    knife_steps: int = KNIFE_RECIPE["steps"]
    knife_batch_size: int = KNIFE_RECIPE["batch_size"]


RECIPE = Recipe()


class PosteriorModels(NamedTuple):
    """What was trained: every leaf of ``classifiers`` ``(repeats, folds, ...)``, scalings and the prior once."""

    classifiers: Any
    scaling: dict[str, VectorScaling]
    log_prior: Array


class FittedPosteriors(NamedTuple):
    """The answer of ``fitted_posteriors``; dictionaries over ``x1``, ``x2``, ``x1x2``.

    Attributes:
        log_posterior: of each sample out of fold, averaged over the repeats and calibrated, ``(n, k)``.
        of_repeats: likewise of each repeat on its own, calibrated on its own, ``(repeats, n, k)``.
        quality: of ``log_posterior``.
        models: for samples that no model saw.
    """

    log_posterior: dict[str, Array]
    of_repeats: dict[str, Array]
    quality: dict[str, Quality]
    models: PosteriorModels


@functools.cache  # built once for each setting: an estimator is static by identity
def _classifiers(classes: int, recipe: Recipe) -> Classifier:
    tx = adamw(recipe.steps, learning_rate=recipe.learning_rate, weight_decay=recipe.weight_decay)
    return classifiers(classes=classes, tx=tx, net1=recipe.net1, net2=recipe.net2, net12=recipe.net12)


def fitted_posteriors(
    key: Key, samples: Samples, *, classes: int, recipe: Recipe = RECIPE, groups: ArrayLike | None = None
) -> FittedPosteriors:
    """``p(y|x1), p(y|x2), p(y|x1,x2)`` of every sample, by classifiers that never saw it, calibrated.

    The networks never saw the sample; the 2k numbers that calibrate their posteriors are fitted to the same labels,
    which feigns about k/(2n) nats.

    Args:
        key: PRNG key.
        samples: x1 and x2 ``(n, ...)`` features, y ``(n,)`` integers in ``[0, classes)``; weights are respected.
        classes: number of labels; static.
        recipe: the settings; static.
        groups: see ``cross_fit``.

    Returns:
        A ``FittedPosteriors``. Works under jit and vmap (without ``groups``).

    Raises:
        ValueError: a missing part of the samples, and what ``cross_fit`` refuses.

    Example:
        >>> x = jax.random.normal(jax.random.key(0), (600, 2))
        >>> samples = Samples(x[:, :1], x[:, 1:], (x[:, 0] > 0).astype(int))
        >>> recipe = Recipe(folds=2, repeats=1, steps=200, batch_size=64)
        >>> done = fitted_posteriors(jax.random.key(1), samples, classes=2, recipe=recipe)
        >>> print(done.log_posterior["x1x2"].shape, bool(done.quality["x1"].accuracy > 0.97))
        (600, 2) True
    """
    _checks.require(
        samples.x1 is not None and samples.x2 is not None and samples.y is not None,
        "samples lacks x1, x2 or y; a decomposition takes all three",
    )
    y, ok = _checks.labels(samples.y, classes=classes)
    weight = None if samples.weight is None else jnp.asarray(samples.weight)
    model = _classifiers(classes, recipe)
    done = cross_fit(
        model.estimator, key, samples._replace(y=y), steps=recipe.steps, estimate=model.log_posterior,
        **shared_settings(recipe, size(samples), recipe.batch_size, groups),
    )  # fmt: skip
    calibrated, of_repeats, scaling, measured = _calibrated(done.estimate, y, weight)
    models = PosteriorModels(done.state, scaling, log_prior(y, classes, weight))
    return _checks.poison(FittedPosteriors(calibrated, of_repeats, measured, models), ok)


@jax.jit  # one small program: eagerly a hundred are compiled, one by one
def _calibrated(estimate: dict[str, Array], y: Array, weight: Array | None) -> Any:
    """Of the posteriors of all repeats ``(repeats, n, k)`` the mean and each, calibrated; the scaling; its quality."""
    each = jnp.stack([estimate[name] for name in HEADS])
    mean = averaged(jnp.moveaxis(each, 1, 0))[:, None]

    def alone(log_p: Array) -> Any:
        scaling = vector_scaling(log_p, y, weight=weight)
        calibrated = scaling(log_p)
        return calibrated, scaling, quality(calibrated, y, weight=weight)

    found = jax.vmap(jax.vmap(alone))(mean if each.shape[1] == 1 else jnp.concatenate([mean, each], axis=1))
    first = jax.tree.map(lambda leaf: leaf[:, 0], found)
    calibrated, scaling, measured = (_by_head(part) for part in first)
    of_repeats = _by_head(found[0][:, -each.shape[1] :])
    return calibrated, of_repeats, scaling, measured


def _by_head(stacked: Any) -> dict[str, Any]:
    return {name: jax.tree.map(operator.itemgetter(row), stacked) for row, name in enumerate(HEADS)}


def unseen_posteriors(
    models: PosteriorModels, samples: Samples, *, classes: int, recipe: Recipe = RECIPE
) -> dict[str, Array]:
    """The calibrated posteriors of samples that no model saw (a test set): all models, averaged.

    Args:
        models: of ``fitted_posteriors``.
        samples: features as there; labels aren't looked at.
        classes: as there.
        recipe: the one that the models were trained with.

    Returns:
        ``{"x1": (n, k), "x2": (n, k), "x1x2": (n, k)}`` log posteriors.

    Example:
        >>> x = jax.random.normal(jax.random.key(0), (600, 2))
        >>> samples = Samples(x[:, :1], x[:, 1:], (x[:, 0] > 0).astype(int))
        >>> recipe = Recipe(folds=2, repeats=1, steps=200, batch_size=64)
        >>> models = fitted_posteriors(jax.random.key(1), samples, classes=2, recipe=recipe).models
        >>> few = jax.tree.map(lambda leaf: leaf[:5], samples)
        >>> unseen_posteriors(models, few, classes=2, recipe=recipe)["x1"].shape
        (5, 2)
    """
    inside = of_all(_classifiers(classes, recipe).log_posterior, models.classifiers, samples)
    return {name: models.scaling[name](averaged(inside[name])) for name in HEADS}


def of_all(function: Any, states: Any, samples: Samples) -> Any:
    """``function(state, samples)`` of all states ``(repeats, folds, ...)``: leaves ``(repeats x folds, n, ...)``."""
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), states)
    return jax.vmap(lambda state: function(state, samples))(flat)


@jax.jit
def averaged(logs: Array) -> Array:
    """The logarithm of the mean over the first axis, of what these are logarithms of."""
    return jax.nn.logsumexp(logs, axis=0) - jnp.log(logs.shape[0])


def shared_settings(recipe: Recipe, n: int, batch_size: int, groups: ArrayLike | None) -> dict[str, Any]:
    """What ``cross_fit`` is told whatever is trained; minibatches are at most the training part."""
    return {
        "folds": recipe.folds, "repeats": recipe.repeats, "validation": recipe.validation, "groups": groups,
        "batch_size": min(batch_size, training_size(n, recipe.folds, recipe.validation, groups)),
    }  # fmt: skip
