"""The fitted LSMI: from features and labels to the values of each sample, by models that never saw it.

Three cross-fitted and calibrated classifiers give the informations, two cross-fitted KNIFEs the surprisals, and
``lsmi`` the atoms. One function of arrays: it runs under jit, and under vmap over datasets and keys.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pidjax import _checks
from pidjax.calibration import Quality
from pidjax.estimators.base import Estimator, parallel
from pidjax.estimators.cross_fit import cross_fit
from pidjax.estimators.fit import size
from pidjax.estimators.fitted import (
    HEADS,
    PosteriorModels,
    Recipe,
    averaged,
    fitted_posteriors,
    of_all,
    shared_settings,
    unseen_posteriors,
)
from pidjax.estimators.knife import knife
from pidjax.estimators.lsmi import Switches, lsmi, switches
from pidjax.estimators.whitening import whitening
from pidjax.info import Informations
from pidjax.pid import PID
from pidjax.typing import Array, ArrayLike, Key, Samples

__all__ = ["FittedLsmi", "LsmiModels", "LsmiValues", "components", "fitted_lsmi", "unseen_lsmi"]

RECIPE = Recipe(repeats=1)  # densities cost more than a repeat of classifiers gains


class LsmiValues(NamedTuple):
    """What is known of each sample; nats.

    Attributes:
        pid: raw atoms ``(n,)``.
        information: ``i1, i2, i12``, each ``(n,)``.
        surprisal: ``(h1, h2)``, each ``(n,)``, in the coordinates that the densities were given.
        log_posterior: calibrated, ``{"x1": (n, k), "x2": (n, k), "x1x2": (n, k)}``.
    """

    pid: PID
    information: Informations
    surprisal: tuple[Array, Array]
    log_posterior: dict[str, Array]


class LsmiModels(NamedTuple):
    """What was trained, for ``unseen_lsmi``: of ``fitted_posteriors``, and densities ``(repeats, folds, ...)``."""

    posteriors: PosteriorModels
    densities: Any


class FittedLsmi(NamedTuple):
    """The answer of ``fitted_lsmi``.

    Attributes:
        values: of each sample, out of fold.
        switches: which modality the two minima are.
        quality: of the calibrated classifiers, out of fold.
        models: for samples that no model saw.
    """

    values: LsmiValues
    switches: Switches
    quality: dict[str, Quality]
    models: LsmiModels


# Built once for each setting: an estimator is static by identity.
@functools.cache
def _densities(kernels: tuple[int, ...], steps: int) -> Estimator:
    return parallel(**{name: knife(name, kernels=kernels, steps=steps) for name in ("x1", "x2")})


def _weak(x: Array) -> float:
    """More than rounding does to the eigenvalues of correlations, and too little to matter."""
    return 64 * x.shape[1] * float(jnp.finfo(x.dtype).eps)


class Spectrum(NamedTuple):
    """Standardised features ``(n, d)``, and the spectrum of their correlations, the greatest first.

    Attributes:
        features: ``(n, d)``.
        values: eigenvalues ``(d,)``.
        vectors: eigenvectors ``(d, d)``, columns.
    """

    features: Array
    values: Array
    vectors: Array

    @property
    def rank(self) -> int:
        """How many components there are, rounding apart; concrete arrays only."""
        return int((self.values > 2 * _weak(self.features)).sum())

    def is_tied(self, columns: int) -> bool:
        """Whether the last of so many components is no stronger than the next, so that which are taken is a choice."""
        return columns < len(self.values) and bool(self.values[columns - 1] < 1.001 * self.values[columns])

    def components(self, columns: int) -> Array:
        """The first components, of unit variance: ``(n, columns)``."""
        z = self.features @ self.vectors[:, :columns]
        return z / jnp.sqrt((z**2).mean(0))[None]


def spectrum(x: Array) -> Spectrum:
    """The spectrum of features ``(n, d)``."""
    z = whitening(x, mode="columns")(x)
    # Components of equal strength (features that were whitened before) would be mixed by rounding: the earlier columns
    # come first, by a preference too small to matter elsewhere.
    preference = jnp.linspace(_weak(x), 0, x.shape[1], dtype=x.dtype)
    values, vectors = jnp.linalg.eigh(z.T @ z / len(x) + jnp.diag(preference))
    return Spectrum(z, values[::-1], vectors[:, ::-1])


def components(x: Array, columns: int) -> Array:
    """The first principal components of standardised features, whitened: where surprisals don't depend on units.

    The coordinates are those of the samples given: call it once on training and test samples together.

    Args:
        x: features ``(n, d)``, finite.
        columns: how many; at most the rank of the features.

    Returns:
        ``(n, columns)`` of mean 0 and covariance 1, up to the sign of each.

    Example:
        >>> x = jax.random.normal(jax.random.key(0), (500, 3)) @ jnp.array([[1, 2, 0], [0, 1.0, 0], [0, 0, 9]])
        >>> print(jnp.abs(jnp.cov(components(x, 2).T, bias=True)).round(2))
        [[1. 0.]
         [0. 1.]]
    """
    return spectrum(x).components(columns)


def fitted_lsmi(
    key: Key,
    samples: Samples,
    *,
    classes: int,
    densities: tuple[ArrayLike, ArrayLike] | None = None,
    recipe: Recipe = RECIPE,
    groups: ArrayLike | None = None,
) -> FittedLsmi:
    """The sample-wise decomposition of features: ``lsmi`` of cross-fitted classifiers and densities.

    The informations are those of calibrated classifiers, ``i = log p(y|x) - log p(y)``, with p(y) as counted. The
    networks never saw the sample; the 2k numbers that calibrate their posteriors are fitted to the same labels, which
    feigns about k/(2n) nats.
    Surprisals depend on coordinates, and the redundancy of a sample on which modality is the less surprising:
    hand ``densities`` in comparable coordinates, whitened and of one dimension (``components``).

    Args:
        key: PRNG key.
        samples: x1 and x2 ``(n, ...)`` features, y ``(n,)`` integers in ``[0, classes)``; weights are respected.
        classes: number of labels; static.
        densities: the coordinates ``(n, d1)``, ``(n, d2)`` of x1 and x2 that surprisal is measured in; None takes
            the features as they are, flattened.
        recipe: the settings; static.
        groups: see ``cross_fit``.

    Returns:
        A ``FittedLsmi``. Works under jit and vmap (without ``groups``).

    Raises:
        ValueError: a missing part of the samples, and what ``cross_fit`` refuses.

    Example:
        >>> x = jax.random.normal(jax.random.key(0), (600, 2))
        >>> y = (x[:, 0] > 0).astype(int)  # x1 says all of it, x2 nothing
        >>> recipe = Recipe(repeats=1, steps=200, batch_size=64, kernels=(1,), knife_steps=100)
        >>> done = fitted_lsmi(jax.random.key(1), Samples(x[:, :1], x[:, 1:], y), classes=2, recipe=recipe)
        >>> print(done.values.pid.synergy.shape, bool(done.quality["x1"].accuracy > 0.97))
        (600,) True

    References:
        arXiv 2506.17248 (LSMI; there without cross-fitting, calibration or whitening).
    """
    two = _densities(recipe.kernels, recipe.knife_steps)
    posteriors = fitted_posteriors(jax.random.fold_in(key, 0), samples, classes=classes, recipe=recipe, groups=groups)
    y, ok = _checks.labels(samples.y, classes=classes)
    weight = None if samples.weight is None else jnp.asarray(samples.weight)
    z1, z2 = _columns(samples) if densities is None else densities
    surprisals = cross_fit(
        two, jax.random.fold_in(key, 1), Samples(z1, z2, None, weight), steps=recipe.knife_steps,
        **shared_settings(recipe, size(samples), recipe.knife_batch_size, groups),
    )  # fmt: skip
    h = {name: -averaged(-value) for name, value in surprisals.estimate.items()}
    values = _values(posteriors.log_posterior, posteriors.models.log_prior, h, y)
    i1, i2, _ = values.information
    fitted = FittedLsmi(
        values,
        switches(*values.surprisal, i1, i2, weight=weight),
        posteriors.quality,
        LsmiModels(posteriors.models, surprisals.state),
    )
    return _checks.poison(fitted, ok)


def unseen_lsmi(
    models: LsmiModels,
    samples: Samples,
    *,
    classes: int,
    densities: tuple[ArrayLike, ArrayLike] | None = None,
    recipe: Recipe = RECIPE,
) -> LsmiValues:
    """The values of samples that no model saw (a test set): all models of a ``fitted_lsmi``, averaged.

    Args:
        models: of ``fitted_lsmi``.
        samples: as there; without folds, so of any number.
        classes: as there.
        densities: as there, in the same coordinates.
        recipe: the one that the models were trained with.

    Returns:
        ``LsmiValues``.

    Example:
        >>> x = jax.random.normal(jax.random.key(0), (600, 2))
        >>> samples = Samples(x[:, :1], x[:, 1:], (x[:, 0] > 0).astype(int))
        >>> recipe = Recipe(repeats=1, steps=200, batch_size=64, kernels=(1,), knife_steps=100)
        >>> models = fitted_lsmi(jax.random.key(1), samples, classes=2, recipe=recipe).models
        >>> few = jax.tree.map(lambda leaf: leaf[:5], samples)
        >>> unseen_lsmi(models, few, classes=2, recipe=recipe).pid.redundancy.shape
        (5,)
    """
    z1, z2 = _columns(samples) if densities is None else densities
    two = _densities(recipe.kernels, recipe.knife_steps)
    inside = of_all(two.estimate, models.densities, Samples(z1, z2))
    h = {name: -averaged(-value) for name, value in inside.items()}
    log_p = unseen_posteriors(models.posteriors, samples, classes=classes, recipe=recipe)
    y, ok = _checks.labels(samples.y, classes=classes)
    return _checks.poison(_values(log_p, models.posteriors.log_prior, h, y), ok)


def _columns(samples: Samples) -> tuple[Array, Array]:
    x1, x2 = jnp.asarray(samples.x1), jnp.asarray(samples.x2)
    return x1.reshape(len(x1), -1), x2.reshape(len(x2), -1)


def _values(log_p: dict[str, Array], log_prior: Array, h: dict[str, Array], y: Array) -> LsmiValues:
    rows = jnp.arange(len(y))
    i1, i2, i12 = (log_p[name][rows, y] - log_prior[y] for name in HEADS)
    return LsmiValues(lsmi(h["x1"], h["x2"], i1, i2, i12), Informations(i1, i2, i12), (h["x1"], h["x2"]), log_p)
