"""Does a model learn more from training sets whose modalities share less? Accuracies, and their rank correlation."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pidjax import _checks
from pidjax._precision import in_own_precision
from pidjax.estimators.base import weighted_mean
from pidjax.estimators.classifier import Classifier
from pidjax.estimators.fit import fit
from pidjax.pid import Interval
from pidjax.typing import Array, ArrayLike, Key, Samples

__all__ = ["RankCorrelation", "rank_correlation", "trained_accuracies"]


class RankCorrelation(NamedTuple):
    """Spearman's correlation of information and accuracy.

    Attributes:
        value: mean over the seeds.
        interval: 95 % ``Interval`` of that mean: seeds resampled, so with few of them it is narrow rather than wide.
        of_seeds: of each seed on its own, ``(seeds,)``.
    """

    value: Array
    interval: Interval
    of_seeds: Array


def trained_accuracies(
    key: Key,
    sets: Sequence[Samples],
    test: Samples,
    model: Classifier,
    *,
    steps: int,
    batch_size: int,
    seeds: int = 5,
) -> Array:
    """Accuracy on one test set of one model, trained with one budget on each of several training sets.

    All trainings run side by side in one XLA program. Of the training samples a tenth chooses the best step.

    Args:
        key: PRNG key.
        sets: training sets of equal size and shape: samples of the parts of ``sorted_parts``, say.
        test: what all are tested on, the same fields; weights are respected.
        model: a ``Classifier`` whose ``log_posterior`` is an array: ``classifier(of="x1")`` of both modalities side by
            side, for an early fusion, or your own.
        steps: updates of each training.
        batch_size: of a minibatch.
        seeds: trainings of each set; static.

    Returns:
        Accuracies ``(sets, seeds)``. A seed starts all sets from the same parameters and minibatch positions.

    Raises:
        ValueError: sets of different sizes, no sets, no test labels.

    Example:
        >>> from pidjax.estimators import adamw, classifier
        >>> x = jax.random.normal(jax.random.key(0), (1200, 2))
        >>> right, flipped = ((x[:, 0] > 0).astype(int), (x[:, 0] < 0).astype(int))
        >>> sets = [Samples(x1=x[:1000], y=y[:1000]) for y in (right, flipped)]
        >>> model = classifier(classes=2, tx=adamw(200))
        >>> found = trained_accuracies(
        ...     jax.random.key(1), sets, Samples(x1=x[1000:], y=right[1000:]), model, steps=200, batch_size=99, seeds=2)
        >>> found.shape, bool((found[0] > 0.9).all()), bool((found[1] < 0.1).all())
        ((2, 2), True, True)
    """
    _checks.require(len(sets) > 0 and seeds >= 1, f"{len(sets)} sets and {seeds} seeds; expected at least one of each")
    labels: Any = test.y
    _checks.require(labels is not None, "test has no labels y; expected what accuracy is measured on")
    shapes = {jax.tree.map(jnp.shape, one) for one in sets}
    _checks.require(
        len(shapes) == 1, f"the sets have shapes {sorted(map(str, shapes))}; expected equal sizes, as of sorted_parts"
    )
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *sets)

    def one(key: Key, samples: Samples) -> Array:
        done = fit(model.estimator, key, samples, steps=steps, batch_size=batch_size, validation=0.1)
        right = model.log_posterior(done.state, test).argmax(-1) == labels
        return weighted_mean(right.astype(float), test.weight)

    of_seeds = jax.vmap(one, in_axes=(0, None))
    return jax.jit(jax.vmap(of_seeds, in_axes=(None, 0)))(jax.random.split(key, seeds), stacked)


@in_own_precision
def rank_correlation(
    information: ArrayLike, accuracy: ArrayLike, *, key: Key, replicates: int = 2000
) -> RankCorrelation:
    """Spearman's correlation of what the modalities of training sets share and what is learned from them.

    It says that two numbers go together, over the sets at hand, and not why.

    Args:
        information: of each set, ``(sets,)``, or of each set and seed, ``(sets, seeds)``.
        accuracy: of each set and seed, ``(sets, seeds)``.
        key: PRNG key of the bootstrap.
        replicates: of the bootstrap; static.

    Returns:
        A ``RankCorrelation``; NaN where all sets are alike. Works under jit and vmap.

    Raises:
        ValueError: shapes that don't fit, fewer than three sets.

    Example:
        >>> import numpy as np
        >>> found = rank_correlation(
        ...     np.array([0.1, 0.2, 0.3, 0.4]), np.array([[0.9, 0.9], [0.8, 0.7], [0.6, 0.8], [0.5, 0.5]]),
        ...     key=jax.random.key(0))
        >>> print(f"{found.value:.2f}", found.of_seeds)
        -0.90 [-1.  -0.8]

    References:
        arXiv 2405.12456 reports such a correlation (lower information, higher mAP) for four training sets of one
        detector; its numbers are of those alone.
    """
    score = jnp.asarray(_checks.as_float(accuracy, "accuracy"))
    shared = jnp.asarray(_checks.as_float(information, "information"))
    _checks.require(
        score.ndim == 2 and len(score) >= 3 and shared.shape in (score.shape, score.shape[:1]),
        f"information has shape {shared.shape}, accuracy {score.shape}; expected (sets,) and (sets, seeds), three sets "
        "or more",
    )
    shared = jnp.broadcast_to(shared.reshape(len(score), -1), score.shape)
    ranks = [jax.scipy.stats.rankdata(x, axis=0) for x in (shared, score)]
    one, other = (rank - rank.mean(0, keepdims=True) for rank in ranks)
    of_seeds = (one * other).sum(0) / jnp.sqrt((one**2).sum(0) * (other**2).sum(0))
    seeds = score.shape[1]
    drawn = of_seeds[jax.random.randint(key, (replicates, seeds), 0, seeds)].mean(1)
    return RankCorrelation(of_seeds.mean(), Interval(*jnp.quantile(drawn, jnp.array([0.025, 0.975]))), of_seeds)
