"""Random joints: always a pmf, of the kind that was asked for, and the same under jit and vmap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pidjax._checks import sum_tolerance
from pidjax.datasets import KINDS, random_joint

SHAPE = (6, 5, 4)


def assert_sums_to_one(p):
    np.testing.assert_allclose(p.sum((1, 2, 3)), 1.0, atol=sum_tolerance(p.shape[1:], p.dtype))


def batch(kind, shape=SHAPE, size=4, power=1.0):
    keys = jax.random.split(jax.random.key(0), size)
    return jax.vmap(lambda key: random_joint(key, shape, kind=kind, power=power))(keys)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("power", [1.0, 8.0])
def test_every_problem_is_a_pmf(kind, power):
    p = batch(kind, power=power)
    assert p.dtype == jnp.float32
    assert p.shape == (4, *SHAPE)
    assert bool(jnp.isfinite(p).all())
    assert float(p.min()) >= 0
    assert_sums_to_one(p)


@pytest.mark.parametrize("kind", KINDS)
def test_vmap_over_keys_is_a_loop_and_jit_is_eager(kind):
    keys = jax.random.split(jax.random.key(0), 4)
    jitted = jax.jit(lambda key: random_joint(key, SHAPE, kind=kind))
    # float32: a few roundings of logarithm, power and sum
    np.testing.assert_allclose(batch(kind), jnp.stack([jitted(key) for key in keys]), rtol=1e-5)
    np.testing.assert_allclose(random_joint(keys[0], SHAPE, kind=kind), jitted(keys[0]), rtol=1e-5)


def test_keys_give_different_problems_and_kinds_follow_the_users_precision():
    p = batch("dense")
    assert float(jnp.abs(p[0] - p[1]).max()) > 0
    with jax.enable_x64(True):
        assert all(random_joint(jax.random.key(0), SHAPE, kind=kind).dtype == jnp.float64 for kind in KINDS)


def test_a_draw_that_would_be_empty_keeps_one_cell():
    # Of 2000 draws of 8 cells at 2 %, 85 % are empty before the cure.
    p = batch("very_sparse", (2, 2, 2), 2000, power=8.0)
    assert_sums_to_one(p)
    cells = (p > 0).sum((1, 2, 3))
    assert int(cells.min()) == 1
    assert int(cells.max()) > 1


def test_no_power_overflows_or_empties_a_joint():
    p = batch("dense", power=1000.0)
    assert_sums_to_one(p)


@pytest.mark.parametrize(("kind", "density"), [("sparse", 0.2), ("very_sparse", 0.02)])
def test_sparse_kinds_keep_their_share_of_cells(kind, density):
    p = batch(kind, (20, 20, 20), 2)
    found, n = float((p > 0).mean()), p.size
    assert abs(found - density) <= 5 * np.sqrt(density * (1 - density) / n)


def test_deterministic_targets_are_functions_of_the_pair():
    p = batch("deterministic")
    assert bool(((p > 0).sum(3) == 1).all())


def test_near_deterministic_targets_stray_with_probability_five_per_cent():
    p = batch("near_deterministic")
    largest = p.max(3) / p.sum(3)
    np.testing.assert_allclose(largest, 0.95 + 0.05 / SHAPE[2], rtol=1e-5)


def test_noisy_copies_agree_within_a_factor_of_the_noise():
    p = batch("noisy_copy")
    ratio = p.max(3) / p.min(3)
    good, bad = 0.95 + 0.05 / SHAPE[2], 0.05 / SHAPE[2]
    agree, differ = (good / bad) ** 2, good / bad
    is_either = (jnp.abs(ratio / agree - 1) < 1e-4) | (jnp.abs(ratio / differ - 1) < 1e-4)
    assert bool(is_either.all())


def test_zero_blocks_have_zeros_in_both_pairwise_marginals():
    p = batch("zero_blocks")
    assert bool(((p.sum(2) > 0).sum(2) == 1).all()), "x1 fixes y"
    assert bool(((p.sum(1) > 0).sum(2) == 2).all()), "x2 leaves two values of y"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 1), (3, 1, 5)])
def test_thin_shapes_are_problems_too(kind, shape):
    assert_sums_to_one(batch(kind, shape, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "sparse20"}, "kind is 'sparse20'"),
        ({"shape": (2, 2)}, r"shape is \(2, 2\)"),
        ({"shape": (2, 0, 2)}, r"shape is \(2, 0, 2\)"),
        ({"power": 0.0}, "power is 0.0"),
    ],
)
def test_what_is_wrong_is_refused_with_its_number(change, message):
    with pytest.raises(ValueError, match=message):
        random_joint(jax.random.key(0), **({"shape": SHAPE} | change))
