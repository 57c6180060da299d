"""The projection of posteriors onto a given mean: that it gets there, that nothing is nearer, and its derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pidjax.couplings.consistency import consistent


def posteriors(n=200, k=3, scale=2.0, seed=0):
    logits = scale * np.random.default_rng(seed).normal(size=(n, k))
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


TARGET = np.array([0.2, 0.3, 0.5])


@pytest.mark.parametrize("scale", [1.0, 40.0])
@pytest.mark.parametrize(("dtype", "tol"), [(np.float64, 1e-13), (np.float32, 2e-6)])  # n roundings of a mean
def test_the_mean_becomes_the_target(scale, dtype, tol):
    done = consistent(posteriors(scale=scale).astype(dtype), TARGET)
    assert done.log_posterior.dtype == dtype
    np.testing.assert_allclose(np.exp(done.log_posterior).mean(0), TARGET, atol=tol)
    np.testing.assert_allclose(np.exp(done.log_posterior).sum(1), 1, atol=10 * tol)
    assert done.residual <= tol


def test_consistent_posteriors_stay_as_they_are():
    log_p = posteriors()
    done = consistent(log_p, np.exp(log_p).mean(0))
    np.testing.assert_allclose(done.log_posterior, log_p, atol=1e-12)


def test_no_posteriors_with_that_mean_are_nearer():
    """Convex: it is enough that every small step within the constraints leads away."""
    log_p = posteriors()
    q = np.exp(consistent(log_p, TARGET).log_posterior)
    distance = lambda q: (q * (np.log(q) - log_p)).sum()
    generator = np.random.default_rng(1)
    for _ in range(20):
        step = generator.normal(size=q.shape)
        step -= step.mean(0)  # keeps the mean of every label
        step -= step.mean(1, keepdims=True)  # and the sum of every row
        assert distance(q + 1e-4 * q.min() * step) >= distance(q)


def test_a_weight_of_two_is_the_sample_twice_and_a_weight_of_zero_none():
    log_p = posteriors(20)
    weight = np.r_[np.full(10, 2.0), np.zeros(5), np.ones(5)]
    twice = consistent(np.r_[log_p[:10], log_p[:10], log_p[15:]], TARGET)
    np.testing.assert_allclose(consistent(log_p, TARGET, weight=weight).offset, twice.offset, atol=1e-12)


@pytest.mark.parametrize("n", [4, 64, 1024])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_certain_posteriors_of_that_mean_stay_as_they_are(n, dtype):
    """Their Hessian is singular: nothing may be divided by it."""
    certain = np.where(np.arange(n)[:, None] % 2 == np.arange(2), 0.0, -87.0).astype(dtype)
    done = consistent(certain, np.array([0.5, 0.5]))
    np.testing.assert_allclose(np.exp(done.log_posterior), np.exp(certain), atol=1e-6)
    assert done.residual < 1e-6


def test_labels_of_probability_zero_are_taken_out():
    done = consistent(posteriors(), np.array([0.4, 0.6, 0.0]))
    assert np.all(done.log_posterior[:, 2] == -np.inf)
    np.testing.assert_allclose(np.exp(done.log_posterior).mean(0), [0.4, 0.6, 0], atol=1e-13)


def test_what_no_posterior_believes_in_is_left_as_residual():
    certain = np.log(np.array([[1.0, 1e-300]] * 4))
    certain[:, 1] = -np.inf
    done = consistent(certain, np.array([0.5, 0.5]))
    assert done.residual == pytest.approx(0.5)
    assert not np.isnan(done.log_posterior).any()


def test_the_derivative_is_that_of_the_solution(x64):
    def value(log_p, target):
        return (jnp.exp(consistent(log_p, target / target.sum()).log_posterior) ** 2).sum()

    log_p, target = jnp.asarray(posteriors(20)), jnp.asarray(TARGET)
    gradients = jax.grad(value, (0, 1))(log_p, target)
    generator = np.random.default_rng(0)
    for at, own in enumerate(gradients):
        direction = generator.normal(size=own.shape)
        step = [1e-5 * direction if at == i else 0 for i in (0, 1)]
        slope = (value(log_p + step[0], target + step[1]) - value(log_p - step[0], target - step[1])) / 2e-5
        assert float((own * direction).sum()) == pytest.approx(float(slope), rel=1e-6)


def test_vmap_over_targets_equals_the_loop(x64):
    log_p, targets = jnp.asarray(posteriors(30)), jnp.asarray([[0.2, 0.3, 0.5], [0.1, 0.8, 0.1]])
    together = jax.jit(jax.vmap(lambda target: consistent(log_p, target).offset))(targets)
    for own, target in zip(together, targets, strict=True):
        np.testing.assert_allclose(own, consistent(log_p, target).offset, atol=1e-9)


def test_bad_input_is_refused_eagerly_and_nan_inside_jit():
    with pytest.raises(ValueError, match=r"log_p has shape \(200, 3\), target \(2,\)"):
        consistent(posteriors(), np.array([0.5, 0.5]))
    spoilt = posteriors()
    spoilt[3] = np.nan
    with pytest.raises(ValueError, match="1 rows of log_p are NaN"):
        consistent(spoilt, TARGET)
    assert np.isnan(jax.jit(consistent)(jnp.asarray(spoilt), jnp.asarray(TARGET)).log_posterior).all()
