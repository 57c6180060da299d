"""Bad input: a clear error when eager; NaN and an infinite gap inside jit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

from pidjax import broja, union_information

GOOD = np.full((2, 3, 2), 1 / 12)


def changed(value, shape=GOOD.shape):
    p = np.full(shape, 1 / np.prod(shape))
    p[(0,) * len(shape)] = value
    return p


@pytest.mark.parametrize(
    ("p", "found"),
    [
        (changed(-0.1), "negative cells, the smallest -0.1"),
        (changed(np.nan), "1 cells that are NaN"),
        (changed(np.inf), "1 cells that are NaN or infinite"),
        (GOOD * 1.5, r"sums to 1.5, expected 1.*p / p.sum\(\)"),
        (GOOD * (1 + 1e-5), "sums to 1.00001"),
        (GOOD[0], r"rank 2 \(shape \(3, 2\)\); expected rank 3.*pidjax.joint_pmf"),
        (GOOD[None], "jax.vmap"),
        (np.zeros((2, 0, 2)), r"empty axis \(shape \(2, 0, 2\)\)"),
    ],
)
def test_a_bad_joint_is_refused_with_its_number_and_cure(p, found):
    with pytest.raises(ValueError, match=found):
        broja(p)


def test_complex_numbers_are_refused():
    with pytest.raises(TypeError, match="complex128"):
        broja(GOOD.astype(complex))


@pytest.mark.parametrize(
    ("p1", "p2", "found"),
    [
        (np.full((2, 2), 0.25), np.full((2, 3), 1 / 6), "2 labels and p_x2y has 3"),
        (np.full((2, 2), 0.25), np.array([[0.3, 0.2], [0.3, 0.2]]), "label marginals differ by 0.1"),
        (np.full((2, 2), 0.5), np.full((2, 2), 0.25), "p_x1y sums to 2"),
        (np.full((2, 2), 0.25), np.full(4, 0.25), "p_x2y has rank 1"),
    ],
)
def test_bad_marginals_are_refused(p1, p2, found):
    with pytest.raises(ValueError, match=found):
        union_information(p1, p2)


@pytest.mark.parametrize(
    ("method", "shape", "found"),
    [
        ("simplex", (2, 2, 2), "expected one of auto, binary, two_binary, interior_point"),
        ("binary", (2, 2, 3), "two labels at most, found 3"),
        ("two_binary", (2, 3, 2), "found 2 and 3"),
    ],
)
def test_a_method_must_apply(method, shape, found):
    with pytest.raises(ValueError, match=found):
        broja(np.full(shape, 1 / np.prod(shape)), method=method)


def test_a_tolerance_is_positive():
    with pytest.raises(ValueError, match="tol is 0"):
        broja(GOOD, tol=0)


@pytest.mark.parametrize("shape", [(2, 3, 2), (2, 2, 3), (3, 3, 3)])
@pytest.mark.parametrize("value", [-0.1, np.nan, 0.9])
def test_inside_jit_bad_input_is_nan_with_an_infinite_gap(value, shape):
    p = jnp.asarray(np.stack([changed(value, shape), np.full(shape, 1 / np.prod(shape))]))
    solution = jax.jit(jax.vmap(broja))(p)
    bad, good = (jax.tree.map(lambda leaf, i=i: leaf[i], solution) for i in (0, 1))
    for leaf in jax.tree.leaves((bad.pid, bad.lower, bad.upper, bad.potentials, bad.pointwise)):
        assert np.isnan(leaf).all()
    assert np.isinf(bad.gap)
    assert np.isfinite(good.gap)  # its neighbour in the batch is untouched
    assert np.isfinite(good.pid.synergy)


def test_inside_jit_marginals_that_disagree_are_nan():
    p1, p2 = jnp.full((2, 2), 0.25), jnp.array([[0.3, 0.2], [0.3, 0.2]])
    solution = jax.jit(union_information)(p1, p2)
    assert np.isnan(solution.lower)
    assert np.isinf(solution.gap)


def test_checkify_names_the_error_inside_jit():
    check = jax.jit(checkify.checkify(lambda p: broja(p).lower))
    error, _ = check(jnp.asarray(changed(-0.1)))
    with pytest.raises(checkify.JaxRuntimeError, match="pidjax: invalid input"):
        error.throw()
    error, _ = check(jnp.asarray(GOOD))
    error.throw()


def test_under_an_eager_gradient_bad_input_is_refused_with_its_number():
    with pytest.raises(ValueError, match=r"sums to (2|1\.9999)"):
        jax.grad(lambda p: broja(p).lower)(jnp.asarray(GOOD * 2))


def test_a_numpy_problem_inside_jit_is_a_constant():
    value = jax.jit(lambda t: t * broja(GOOD).lower)(2.0)
    assert abs(value - 2 * broja(GOOD).lower) <= 1e-6  # float32


def test_a_list_is_as_exact_as_an_array():
    assert broja(GOOD.tolist()).gap == broja(GOOD).gap


def test_a_cell_below_reach_counts_as_empty():
    p = np.array(GOOD, np.float32)
    p[0, :, 1] = 1e-16
    solution = broja(p / p.sum())
    assert solution.potentials.a[0, 1] == -np.inf
    assert np.isfinite(solution.pointwise.synergy).all()


def test_a_long_first_axis_is_summed_exactly():
    """A million copies of one row in float32: naive sums of the labels would differ by 1e-2."""
    p1 = np.repeat(np.array([[0.3, 0.1], [0.17, 0.43]], np.float32) / 10**6, 10**6, 0)
    p2 = np.repeat(np.array([[0.47, 0.53]], np.float32) / 10**6, 10**6, 0)
    solution = union_information(p1, p2)
    exact = np.array([[0.3, 0.1], [0.17, 0.43]])
    truth = np.sum(exact * np.log(exact / exact.sum(1, keepdims=True) / exact.sum(0)))  # x2 says nothing
    assert solution.lower <= truth <= solution.upper
