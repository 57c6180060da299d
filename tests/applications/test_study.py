"""The study: a known correlation of ranks, and accuracies of what can and can't be learned."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pidjax import Samples
from pidjax.applications.study import rank_correlation, trained_accuracies
from pidjax.estimators import adamw, classifier

KEY = jax.random.key(0)


def test_ranks_correlate_as_scipy_says():
    scipy_stats = pytest.importorskip("scipy.stats")
    generator = np.random.default_rng(0)
    information, accuracy = generator.normal(size=(6, 4)), generator.integers(0, 4, (6, 4)).astype(float)
    found = rank_correlation(information, accuracy, key=KEY)
    each = [scipy_stats.spearmanr(information[:, i], accuracy[:, i]).statistic for i in range(4)]
    np.testing.assert_allclose(found.of_seeds, each, atol=1e-12)  # ties among the accuracies
    assert found.value == pytest.approx(np.mean(each), abs=1e-12)
    # All 256 resamplings of four seeds: 2.5 % lie beyond either end, as 2000 draws can tell (to .4 %) and ties allow.
    means = np.mean(list(itertools.product(each, repeat=4)), 1)
    assert (means < found.interval.lower - 1e-9).mean() < 0.04
    assert (means <= found.interval.lower + 1e-9).mean() > 0.01
    assert (means > found.interval.upper + 1e-9).mean() < 0.04
    assert (means >= found.interval.upper - 1e-9).mean() > 0.01


def test_one_information_for_all_seeds_is_shared():
    accuracy = np.random.default_rng(1).normal(size=(5, 3))
    information = np.arange(5.0)
    shared = rank_correlation(information, accuracy, key=KEY)
    each = rank_correlation(np.repeat(information[:, None], 3, 1), accuracy, key=KEY)
    np.testing.assert_array_equal(shared.of_seeds, each.of_seeds)
    assert np.isnan(rank_correlation(np.ones(5), accuracy, key=KEY).value)


@pytest.mark.slow
def test_sets_are_trained_side_by_side_and_tested_alike():
    """Labels that are right, at random, and flipped, of an easy task."""
    x = jax.random.normal(KEY, (1500, 2))
    y = (x[:, 0] > 0).astype(int)
    drawn = jax.random.bernoulli(jax.random.key(1), 0.5, (1000,)).astype(int)
    sets = [Samples(x1=x[:1000], y=labels) for labels in (y[:1000], drawn, 1 - y[:1000])]
    model = classifier(classes=2, tx=adamw(200))
    test = Samples(x1=x[1000:], y=y[1000:])
    found = trained_accuracies(KEY, sets, test, model, steps=200, batch_size=100, seeds=3)
    assert found.shape == (3, 3)
    assert found[0].min() > 0.95
    assert jnp.abs(found[1] - 0.5).max() < 0.35  # of labels at random, whatever the network made of them
    assert found[2].max() < 0.05
    weighted = trained_accuracies(
        KEY, sets[:1], test._replace(weight=y[1000:].astype(float)), model, steps=200, batch_size=100, seeds=3
    )
    assert weighted.min() > 0.9


def test_bad_input_is_refused():
    x, y = np.zeros((8, 2), np.float32), np.zeros(8, int)
    model = classifier(classes=2, tx=adamw(1))
    sets = [Samples(x1=x, y=y), Samples(x1=x[:6], y=y[:6])]
    with pytest.raises(ValueError, match="expected equal sizes"):
        trained_accuracies(KEY, sets, sets[0], model, steps=1, batch_size=2)
    with pytest.raises(ValueError, match="test has no labels"):
        trained_accuracies(KEY, sets[:1], Samples(x1=x), model, steps=1, batch_size=2)
    with pytest.raises(ValueError, match="0 sets"):
        trained_accuracies(KEY, [], sets[0], model, steps=1, batch_size=2)
    with pytest.raises(ValueError, match="three sets or more"):
        rank_correlation(np.ones(2), np.ones((2, 3)), key=KEY)
