"""Schemes: equal sizes, the same labels, and the information they are meant to change."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pidjax.applications.schemes import diversified, repaired, sorted_parts


def test_parts_are_disjoint_of_one_histogram_and_sorted():
    generator = np.random.default_rng(0)
    information, y = generator.normal(size=203), generator.integers(3, size=203)
    weights = np.asarray(sorted_parts(information, y, parts=4))
    assert set(np.unique(weights)) == {0, 1}
    assert weights.sum(0).max() == 1
    for label in range(3):
        own = y == label
        np.testing.assert_array_equal(weights[:, own].sum(1), own.sum() // 4)
        parts = [information[own & (part == 1)] for part in weights]
        for low, high in itertools.pairwise(parts):
            assert low.max() < high.min()
        assert parts[0].min() == information[own].min()
        assert parts[-1].max() == information[own].max()


def test_parts_work_under_jit_and_vmap():
    information = jax.random.normal(jax.random.key(0), (3, 20))
    y = jnp.arange(20) % 2
    together = jax.jit(jax.vmap(lambda values: sorted_parts(values, y, parts=3)))(information)
    for own, values in zip(together, information, strict=True):
        np.testing.assert_array_equal(own, sorted_parts(values, y, parts=3))
    assert np.isnan(jax.jit(sorted_parts)(information[0].at[3].set(jnp.nan))).all()


def test_partners_are_exchanged_within_classes_and_as_many_as_asked():
    y = np.random.default_rng(1).integers(4, size=101)
    for share in (0.0, 0.3, 1.0):
        partner = np.asarray(repaired(jax.random.key(2), y, share=share))
        np.testing.assert_array_equal(np.sort(partner), np.arange(101))
        np.testing.assert_array_equal(y[partner], y)
        for label in range(4):
            own = np.flatnonzero(y == label)
            assert (partner[own] != own).sum() == int(share * len(own))
    assert len(repaired(jax.random.key(0), share=0.5, n=7)) == 7


def test_full_exchange_makes_the_modalities_independent_given_the_label():
    """x1 = x2 = a number that is no part of y: of a permutation within classes their correlation is 1/sqrt(n)."""
    generator = np.random.default_rng(3)
    x, y = generator.normal(size=4000), generator.integers(2, size=4000)
    correlations = [np.corrcoef(x, x[np.asarray(repaired(jax.random.key(4), y, share=s))])[0, 1] for s in (0, 0.5, 1)]
    assert correlations[0] == pytest.approx(1)
    assert correlations[1] == pytest.approx(0.5, abs=4 / 4000**0.5)
    assert correlations[2] == pytest.approx(0, abs=4 / 4000**0.5)


def test_only_the_share_is_augmented_each_sample_by_its_own_key():
    x = jnp.zeros((4000, 2, 3))
    noisy = diversified(jax.random.key(0), x, lambda key, one: one + jax.random.normal(key, one.shape), share=0.25)
    changed = np.asarray((noisy != 0).any((1, 2)))
    assert changed.mean() == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 4000) ** 0.5)
    assert len(np.unique(np.asarray(noisy)[changed, 0, 0])) == changed.sum()


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="parts is 1"):
        sorted_parts(np.arange(4.0), parts=1)
    with pytest.raises(ValueError, match=r"y has shape \(3,\)"):
        sorted_parts(np.arange(4.0), np.arange(3))
    with pytest.raises(ValueError, match="information has 1 NaN"):
        sorted_parts(np.array([0.0, np.nan]))
    with pytest.raises(ValueError, match=r"share is 1\.5"):
        repaired(jax.random.key(0), np.arange(4), share=1.5)
    with pytest.raises(ValueError, match="expected the labels y, or the number n"):
        repaired(jax.random.key(0), share=0.5)
    with pytest.raises(ValueError, match="expected the same shape"):
        diversified(jax.random.key(0), np.ones((3, 2)), lambda key, one: one[:1])
