"""Replicates of posteriors: what they draw, and that their spread is the spread of the estimate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pidjax.bootstrap import posterior_replicates, resampled_weights

KEY = jax.random.key(0)


def noisy_coins(seed, n=400):
    """x1 is y read right three times of four, x2 nothing; exact posteriors."""
    generator = np.random.default_rng(seed)
    y = generator.integers(0, 2, n)
    x1 = np.where(generator.uniform(size=n) < 0.75, y, 1 - y)
    p1 = np.where(x1[:, None] == np.arange(2), 0.75, 0.25)
    return p1, np.full((n, 2), 0.5), p1, y


def test_as_many_are_drawn_as_there_are():
    times = resampled_weights(KEY, 5000)
    assert times.sum() == 5000
    assert float((times == 0).mean()) == pytest.approx(np.exp(-1), abs=0.02)  # 3 sd of a share of 5000


def test_groups_are_drawn_whole():
    groups = jnp.asarray([0, 0, 1, 2, 2, 2])
    for seed in range(5):
        times = resampled_weights(jax.random.key(seed), 6, groups, units=3)
        assert times[0] == times[1]
        assert times[3] == times[4] == times[5]
        assert times[0] + times[2] + times[3] == 3
    with pytest.raises(ValueError, match="units is None"):
        resampled_weights(KEY, 6, groups)


def test_the_spread_of_replicates_is_that_of_fresh_samples():
    from pidjax.posteriors import pid_from_posteriors

    fresh = [float(pid_from_posteriors(*noisy_coins(seed)).pid.unique1) for seed in range(60)]
    drawn = posterior_replicates(KEY, *noisy_coins(100), replicates=100)
    # Two standard deviations of 60 and 100 draws, and that of the one sample the replicates are drawn from: 0.35
    assert float(drawn.unique1.std()) == pytest.approx(np.std(fresh), rel=0.4)
    assert np.abs(drawn.unique2).max() < 0.02


def test_copies_in_groups_say_no_more_than_one_of_each():
    single = noisy_coins(0)
    copies = [np.repeat(own, 4, axis=0) for own in single]
    groups = np.repeat(np.arange(400), 4)
    alone = posterior_replicates(KEY, *single, replicates=100).unique1.std()
    grouped = posterior_replicates(KEY, *copies, replicates=100, groups=groups).unique1.std()
    assert float(grouped) == pytest.approx(float(alone), rel=0.4)  # two spreads of 100 draws


def test_no_replicates_are_refused():
    with pytest.raises(ValueError, match="replicates is 0"):
        posterior_replicates(KEY, *noisy_coins(0), replicates=0)
