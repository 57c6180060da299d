"""Accuracy from information: the specification's table, channels that attain either end, and random ones inside."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pidjax import Interval
from pidjax.accuracy import accuracy_bounds
from pidjax.info import entropy

BIT = math.log(2)
# bounds.md, C.5: labels (equally likely) and bits; the paper's ends, and the sharp ones.
TABLE = [
    (2, 0.5, 0.7071, 1.0, 0.75, 0.8900),
    (10, 1, 0.2, 0.6021, 0.2, 0.5775),
    (10, 2, 0.4, 0.9031, 0.4083, 0.8065),
    (10, 3, 0.8, 1.0, 0.8390, 0.9660),
    (20, 2, 0.2, 0.6941, 0.2, 0.6690),
]


def uniform(k):
    return np.full(k, 1 / k)


def channels(k, n, skewed, seed=0):
    """Random ``p[x, y]`` of six symbols, from no information to nearly all: their information, prior and accuracy."""
    generator = np.random.default_rng(seed)
    sure = 10.0 ** generator.uniform(-2, 1.5, size=(n, 1, 1))
    logits = generator.normal(size=(n, 6, k)) * sure
    if skewed:
        logits += 2 * generator.normal(size=(n, 1, k))
    p = np.exp(logits - logits.max(2, keepdims=True))
    p /= p.sum(2, keepdims=True)
    p *= generator.dirichlet(np.ones(6), n)[:, :, None]
    if not skewed:  # the labels equally likely, by scaling them
        p = p / p.sum(1, keepdims=True) / k
    x, y = p.sum(2), p.sum(1)
    log = lambda p: np.log(np.where(p > 0, p, 1))
    information = (p * log(p)).sum((1, 2)) - (x * log(x)).sum(1) - (y * log(y)).sum(1)
    return np.maximum(information, 0), y, p.max(2).sum(1)


@pytest.mark.parametrize(("k", "bits", "loose_lower", "loose_upper", "lower", "upper"), TABLE)
def test_the_table_of_the_specification(k, bits, loose_lower, loose_upper, lower, upper):
    found = accuracy_bounds(bits * BIT, uniform(k))
    np.testing.assert_allclose(
        [found.paper.lower, found.paper.upper, found.lower, found.upper],
        [loose_lower, loose_upper, lower, upper],
        atol=5.1e-5,
    )
    assert found.midpoint == pytest.approx((lower + upper) / 2, abs=1e-4)


@pytest.mark.parametrize("k", [2, 3, 5, 10])
@pytest.mark.parametrize("skewed", [False, True])
def test_every_channel_is_inside(k, skewed):
    information, prior, accuracy = channels(k, 5000, skewed)
    with jax.enable_x64(True):
        found = jax.tree.map(np.asarray, jax.jit(jax.vmap(accuracy_bounds))(information, prior))
    assert information.min() < 0.01 * math.log(k)
    assert information.max() > 0.5 * math.log(k)
    # Where information is nearly 0 or all, accuracies depend on its root or so: 1e-16 are 1e-8.
    assert np.all(found.lower <= accuracy + 1e-7)
    assert np.all(accuracy <= found.upper + 1e-7)
    assert np.all(found.paper.lower <= found.lower + 1e-12)
    assert np.all(found.upper <= found.paper.upper + 1e-12)


@pytest.mark.parametrize("k", [2, 3, 7])
def test_the_symmetric_channel_attains_fano(k):
    for error in (1e-4, 0.1, 0.3, 0.9 * (1 - 1 / k)):
        open_ = -error * math.log(error / max(k - 1, 1)) - (1 - error) * math.log(1 - error)
        found = accuracy_bounds(math.log(k) - open_, uniform(k))
        assert found.upper == pytest.approx(1 - error, abs=1e-9)  # 1e-16 over the slope


def test_uniform_posteriors_attain_feder_and_merhav():
    """Twelve labels told up to groups of i: accuracy 1/i, log i is left; and mixtures of two such are on the line."""
    for i in (1, 2, 3, 4, 6, 12):
        found = accuracy_bounds(math.log(12) - math.log(i), uniform(12))
        assert found.lower == pytest.approx(1 / i, abs=1e-12)
    left = (0.3 * math.log(2) + 0.7 * math.log(3), 0.3 / 2 + 0.7 / 3)
    assert accuracy_bounds(math.log(12) - left[0], uniform(12)).lower == pytest.approx(left[1], abs=1e-12)


def test_no_information_is_the_prior_and_all_of_it_certainty():
    prior = np.array([0.6, 0.3, 0.1])
    assert accuracy_bounds(0.0, uniform(4)).upper == pytest.approx(0.25, abs=1e-7)  # the root of 1e-16
    assert accuracy_bounds(0.0, uniform(4)).lower == pytest.approx(0.25, abs=1e-12)
    assert accuracy_bounds(0.0, prior).lower == pytest.approx(0.6, abs=1e-12)
    for p in (prior, uniform(4), np.array([0.5, 0.5, 0.0])):
        found = accuracy_bounds(float(entropy(p)), p)
        np.testing.assert_allclose([found.lower, found.upper, found.paper.lower, found.paper.upper], 1, atol=1e-12)


def test_more_information_never_promises_less(x64):
    for prior in (uniform(2), uniform(7), np.array([0.7, 0.2, 0.05, 0.05])):
        information = jnp.linspace(0, float(entropy(prior)), 200)
        found = jax.jit(jax.vmap(lambda i, p=prior: accuracy_bounds(i, p)))(information)
        for leaf in jax.tree.leaves(found):
            assert np.all(np.diff(leaf) >= -1e-12)
        assert np.all(found.lower >= prior.max() - 1e-15)
        assert np.all(found.upper <= 1)


def test_two_labels_have_a_straight_line_below(x64):
    for information in np.linspace(0, BIT, 7):
        found = accuracy_bounds(information, uniform(2))
        assert found.lower == pytest.approx(0.5 + information / (2 * BIT), abs=1e-12)


def test_labels_of_probability_zero_do_not_count():
    prior = np.array([0.5, 0.3, 0.2])
    for information in (0.0, 0.2, 0.9):
        few, many = (accuracy_bounds(information, p) for p in (prior, np.insert(prior, [0, 1, 3], 0)))
        for a, b in zip(jax.tree.leaves(few), jax.tree.leaves(many), strict=True):
            assert a == pytest.approx(float(b), abs=1e-12)


@pytest.mark.parametrize("prior", [np.ones(1), np.array([0.0, 1.0])])
def test_one_label_is_always_right(prior):
    assert all(leaf == 1 for leaf in jax.tree.leaves(accuracy_bounds(0.0, prior)))


def test_an_interval_gives_each_end_its_own():
    both = accuracy_bounds(Interval(0.3, 0.8), uniform(4))
    low, high = accuracy_bounds(0.3, uniform(4)), accuracy_bounds(0.8, uniform(4))
    assert (both.lower, both.upper) == (low.lower, high.upper)
    assert (both.paper.lower, both.paper.upper) == (low.paper.lower, high.paper.upper)


def test_a_known_accuracy_is_a_floor():
    found = accuracy_bounds(0.3, uniform(4), at_least=0.5)
    assert found.lower == 0.5
    assert found.paper.lower == 0.5
    assert found.upper == accuracy_bounds(0.3, uniform(4)).upper > 0.5


def test_gradients_are_those_of_differences(x64):
    """By the information and by the prior, away from the corners."""
    prior = jnp.array([0.4, 0.3, 0.2, 0.1])
    direction = jnp.array([0.1, -0.2, 0.3, -0.2])
    bounds = jax.jit(lambda i, t: jnp.stack(accuracy_bounds(i, prior + t * direction)[:2]))
    for information in (0.4, 0.7, 1.0):
        for at, vary in (
            (information, lambda i: bounds(i, 0.0)),
            (0.0, lambda t, information=information: bounds(information, t)),
        ):
            slope = (vary(at + 1e-5) - vary(at - 1e-5)) / 2e-5
            np.testing.assert_allclose(jax.jacobian(vary)(at), slope, atol=1e-8)
    for information in (0.0, float(entropy(prior))):
        assert jnp.isfinite(jax.jacobian(bounds)(information, 0.0)).all()


def test_jit_is_eager_and_vmap_the_loop(x64):
    information, prior = jnp.array([0.1, 0.5, 0.9]), jnp.asarray(np.random.default_rng(0).dirichlet(np.full(4, 5.0), 3))
    together = jax.jit(jax.vmap(accuracy_bounds))(information, prior)
    for i in range(3):
        one = accuracy_bounds(information[i], prior[i])
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, atol=1e-13), together, one)


def test_float32_is_kept():
    prior = np.array([0.4, 0.3, 0.2, 0.1])
    single = accuracy_bounds(np.float32(0.3), prior.astype(np.float32))
    double = accuracy_bounds(0.3, prior)
    assert {leaf.dtype for leaf in jax.tree.leaves(single)} == {np.dtype(np.float32)}
    assert {leaf.dtype for leaf in jax.tree.leaves(double)} == {np.dtype(np.float64)}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), single, double)


def test_bad_input_is_refused_eagerly_and_nan_inside_jit():
    refused = r"expected 0 <= lower <= upper <= H\(Y\)"
    for information in (-0.1, 1.5, np.nan, Interval(0.5, 0.2), Interval(0.5, 2.0)):
        with pytest.raises(ValueError, match=refused):
            accuracy_bounds(information, uniform(4))
        found = jax.jit(lambda information: accuracy_bounds(information, jnp.full(4, 0.25)))(information)
        assert all(np.isnan(leaf) for leaf in jax.tree.leaves(found))
    with pytest.raises(ValueError, match="p_y sums to 2"):
        accuracy_bounds(0.1, 2 * uniform(4))
    with pytest.raises(ValueError, match="p_y has rank 2"):
        accuracy_bounds(0.1, np.full((2, 2), 0.25))
    with pytest.raises(ValueError, match=r"expected scalars: for many use jax\.vmap"):
        accuracy_bounds(np.array([0.1, 0.2]), uniform(4))
    # Rounding past either end is none.
    assert accuracy_bounds(-1e-9, uniform(4)).lower == pytest.approx(0.25)
    assert accuracy_bounds(math.log(4) + 1e-9, uniform(4)).upper == pytest.approx(1)
