"""Cells of posteriors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pidjax.info import mutual_information
from pidjax.quantise import cells_of, codebook, soft_table

KEY = jax.random.key(0)


def drawn(n=3000, k=4, seed=0):
    return jnp.asarray(np.random.default_rng(seed).dirichlet(np.full(k, 0.5), size=n), jnp.float32)


def test_as_many_cells_as_distinct_posteriors_lose_nothing():
    p = drawn(7)
    many = jnp.tile(p, (50, 1))
    centres = codebook(KEY, many, jnp.ones(350), cells=7)
    np.testing.assert_allclose(centres[cells_of(many, centres)], many, atol=1e-6)


def test_information_grows_with_the_cells_up_to_that_of_the_samples():
    p = drawn()
    share = jnp.full(len(p), 1 / len(p))
    found = []
    for cells in (1, 8, 64):
        codes = cells_of(p, codebook(KEY, p, share, cells=cells))
        found.append(float(mutual_information(soft_table(codes, p, share, cells=cells))))
    all_of_it = float(mutual_information(p * share[:, None]))
    assert abs(found[0]) < 1e-5
    assert found == sorted(found)
    assert 0.9 * all_of_it < found[-1] <= all_of_it + 1e-5  # 64 cells of a 3-simplex are four a side; float32


def test_a_soft_table_keeps_the_mean_posterior():
    p = drawn(100)
    share = jnp.linspace(0, 1, 100) / jnp.linspace(0, 1, 100).sum()
    table = soft_table(cells_of(p, codebook(KEY, p, share, cells=8)), p, share, cells=8)
    np.testing.assert_allclose(table.sum(0), share @ p, atol=1e-6)


def test_samples_of_weight_zero_move_no_centre():
    p = drawn(50)
    weight = jnp.where(jnp.arange(50) < 40, 1.0, 0.0)
    moved = p.at[40:].set(jnp.array([0.97, 0.01, 0.01, 0.01]))
    np.testing.assert_array_equal(codebook(KEY, p, weight, cells=5), codebook(KEY, moved, weight, cells=5))


def test_certain_posteriors_have_cells_without_nan():
    p = jnp.eye(3)[jnp.arange(60) % 3]
    centres = codebook(KEY, p, jnp.ones(60), cells=5)
    assert np.isfinite(centres).all()
    np.testing.assert_allclose(centres[cells_of(p, centres)], p)


def test_no_cells_are_refused():
    with pytest.raises(ValueError, match="cells is 0"):
        codebook(KEY, drawn(5), jnp.ones(5), cells=0)
