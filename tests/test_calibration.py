"""Calibration: what holds at the optimum, what it recovers, what it can't spoil; quality by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pidjax.calibration import VectorScaling, quality, vector_scaling
from pidjax.datasets import gaussian_task


def softmax(logits):
    return np.exp(log_softmax(logits))


def log_softmax(logits):
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def drawn(p, seed):
    """A label for each row of posteriors."""
    return (np.random.default_rng(seed).random((len(p), 1)) > p.cumsum(1)).sum(1)


def miscalibrated(n=500, k=3, seed=0):
    """Log posteriors, and labels that follow others: those with slopes and offsets of their own.

    Nearly always of one shape: the tests share what they compile.
    """
    rng = np.random.default_rng(seed)
    log_p = log_softmax(2 * rng.normal(size=(n, k)))
    slope, offset = np.linspace(0.5, 1.5, k), np.linspace(-0.6, 0.6, k)
    p = softmax(slope * log_p + offset)
    return log_p, drawn(p, seed + 1), slope, offset, p


def loss(log_p, y):
    return -log_p[np.arange(len(y)), y].mean()


# What is found


@pytest.mark.parametrize("k", [3, 10])
def test_at_the_optimum_the_model_is_honest(k):
    """The score equations: log-loss is the model's own entropy, the mean posterior the share of each label."""
    log_p, y, *_ = miscalibrated(k=k)
    found = vector_scaling(log_p, y)(log_p)
    np.testing.assert_allclose(np.exp(found).mean(0), np.bincount(y, minlength=k) / len(y), atol=1e-6)
    assert abs(loss(found, y) + (np.exp(found) * found).sum(1).mean()) < 1e-6
    # Of each slope: what the model expects of a log posterior is what the labels make of it.
    hot = np.eye(k)[y]
    np.testing.assert_allclose(((np.exp(found) - hot) * log_p).mean(0), 0, atol=1e-6)


def test_slopes_and_offsets_are_recovered_to_sampling_error():
    """Maximum likelihood: the error of an estimate has the covariance (n Fisher)^-1; five of its standard deviations.

    Offsets are known up to a constant.
    """
    n, k = 20_000, 3
    log_p, y, slope, offset, p = miscalibrated(n, k)
    found = vector_scaling(log_p, y)
    design = np.concatenate([log_p[:, :, None] * np.eye(k), np.broadcast_to(np.eye(k), (n, k, k))], 2)  # d logits
    mean = np.einsum("nk,nkj->nj", p, design)
    fisher = np.einsum("nk,nki,nkj->ij", p, design, design) - mean.T @ mean
    error = np.sqrt(np.diag(np.linalg.pinv(fisher)))
    assert error.max() < 0.05  # what is claimed is worth something
    distance = np.concatenate([found.slope - slope, found.offset - offset - (found.offset - offset).mean()])
    assert (np.abs(distance) < 5 * error).all()


def test_exact_posteriors_that_were_sharpened_come_back():
    """A temperature and a wrong prior are undone: 2 k - 1 = 5 parameters cost 5 / 2n nats on average."""
    task = gaussian_task("c3")
    samples = jax.tree.map(np.float64, task.sample(jax.random.key(0), 20_000))
    y, exact = samples.y.astype(int), np.asarray(task.log_posteriors(samples)[2])
    sharp = log_softmax(3 * exact + np.array([0.5, -1.0, 0.2]))
    scaling = vector_scaling(sharp, y)
    found = scaling(sharp)
    # The gain over the truth is half a chi-square of 5 degrees over n: its 99.99 % quantile is 25.
    assert 0 <= loss(exact, y) - loss(found, y) < 25 / 2 / 20_000
    # Standard errors of the parameters are some 1 / sqrt(n p (1 - p)) = 0.02; they move posteriors by a quarter of it.
    assert np.abs(np.exp(found) - np.exp(exact)).mean() < 0.01


def test_an_independent_optimiser_finds_the_same():
    minimize = pytest.importorskip("scipy.optimize").minimize
    (log_p, y, *_), k = miscalibrated(), 3

    def objective(theta):
        scaled = log_softmax(theta[:k] * log_p + theta[k:])
        residual = (np.exp(scaled) - np.eye(k)[y]) / len(y)
        return loss(scaled, y), np.concatenate([(residual * log_p).sum(0), residual.sum(0)])

    best = minimize(objective, np.zeros(2 * k), jac=True, method="BFGS", options={"gtol": 1e-9})
    found = vector_scaling(log_p, y)(log_p)
    # A gradient of 1e-9 leaves the loss within its square, over curvatures of 1e-3 and more, of the least.
    assert abs(loss(found, y) - best.fun) < 1e-12
    np.testing.assert_allclose(found, log_softmax(best.x[:k] * log_p + best.x[k:]), atol=1e-5)


def test_of_two_labels_it_is_logistic_regression():
    linear_model = pytest.importorskip("sklearn.linear_model")
    log_p, y, *_ = miscalibrated(k=2)
    regression = linear_model.LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    expected = regression.fit(log_p, y).predict_log_proba(log_p)
    np.testing.assert_allclose(vector_scaling(log_p, y)(log_p), expected, atol=1e-5)  # its gradient is below 1e-10


# What it can't spoil


@pytest.mark.parametrize("seed", range(5))
def test_it_never_raises_the_loss(seed):
    """Whatever the posteriors: wild, of labels in another order, of few samples."""
    rng = np.random.default_rng(seed)
    n, k = 12, 3
    log_p = log_softmax(10 ** rng.uniform(-2, 1.5) * rng.standard_t(2, size=(n, k)))
    y = rng.integers(0, k, n)
    found = vector_scaling(log_p, y)(log_p)
    shares = np.bincount(y) / n
    assert loss(found, y) <= loss(log_p, y) + 1e-12  # rounding
    # Slopes of zero leave the prior, which is therefore no better than the best.
    prior = -(shares * np.log(np.where(shares > 0, shares, 1))).sum()
    assert loss(found, y) <= prior + 1e-6


def test_separated_labels_stay_finite():
    """The likelihood has no maximum; the loss goes to zero and stays a number."""
    y = np.arange(30) % 3
    log_p = log_softmax(4.0 * np.eye(3)[y])
    scaling = vector_scaling(log_p, y)
    assert all(np.isfinite(leaf).all() for leaf in scaling)
    assert 0 <= loss(scaling(log_p), y) < 1e-6
    wrong = vector_scaling(log_p, (y + 1) % 3)  # and wrongly: slopes of either sign
    assert np.isfinite(wrong(log_p)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_impossible_labels_stay_finite(dtype):
    """A posterior of e^-200 where the label is: one such sample is all it takes to ruin a loss."""
    log_p, y, *_ = miscalibrated()
    log_p[0], y[0] = log_softmax(np.array([[0.0, -200.0, -200.0]])), 2
    log_p = log_p.astype(dtype)
    found = vector_scaling(log_p, y)(log_p)
    assert np.isfinite(found).all()
    assert loss(found, y) < loss(log_p, y)


@pytest.mark.parametrize("logits", [np.zeros(3), np.array([5.0, 0.0, -3.0])])
def test_posteriors_that_say_nothing_give_the_prior(logits):
    y = np.repeat(np.arange(3), [250, 150, 100])
    found = vector_scaling(np.tile(logits, (500, 1)), y)(logits[None])
    np.testing.assert_allclose(np.exp(found), [[0.5, 0.3, 0.2]], atol=1e-6)


def test_posteriors_of_other_samples_give_the_prior_to_sampling_error():
    """What three slopes find in noise is half a chi-square of 3 degrees over n: its 99.99 % quantile is 21."""
    n = 500
    log_p = log_softmax(np.random.default_rng(0).normal(size=(n, 3)))
    y = drawn(np.tile([0.5, 0.3, 0.2], (n, 1)), 1)
    shares = np.bincount(y) / n
    gain = -(shares * np.log(shares)).sum() - loss(vector_scaling(log_p, y)(log_p), y)
    assert 0 <= gain < 21 / 2 / n


# In any form


def test_logits_are_posteriors():
    log_p, y, *_ = miscalibrated()
    logits = log_p + np.random.default_rng(0).normal(size=(500, 1))
    np.testing.assert_allclose(vector_scaling(logits, y)(logits), vector_scaling(log_p, y)(log_p), atol=1e-9)


def test_weights_are_copies():
    log_p, y, *_ = miscalibrated()
    count = np.random.default_rng(2).permutation(np.repeat([0, 1, 2], [100, 300, 100]))  # 500 copies in all
    weighted = vector_scaling(log_p, y, weight=count)
    copied = vector_scaling(np.repeat(log_p, count, axis=0), np.repeat(y, count))
    np.testing.assert_allclose(weighted(log_p), copied(log_p), atol=1e-8)
    scaled = vector_scaling(log_p, y, weight=count / 7)  # only their ratios count
    np.testing.assert_allclose(scaled(log_p), weighted(log_p), atol=1e-8)


def test_single_precision_is_close_to_double():
    """Sums of 500 terms in float32: gradients to 1e-6, over curvatures of 0.02, are parameters to 1e-4 or so."""
    log_p, y, *_ = miscalibrated()
    found = vector_scaling(jnp.asarray(log_p, jnp.float32), jnp.asarray(y))
    assert isinstance(found.slope, jax.Array)
    assert found.slope.dtype == jnp.float32
    single, double = found(jnp.asarray(log_p, jnp.float32)), vector_scaling(log_p, y)(log_p)
    np.testing.assert_allclose(jnp.exp(single), np.exp(double), atol=1e-3)
    assert abs(loss(single, y) - loss(double, y)) < 1e-6  # flat there: float32's own


def test_answers_in_kind():
    log_p, y, *_ = miscalibrated()
    scaling = vector_scaling(log_p, y)
    assert isinstance(scaling.slope, np.ndarray)
    assert isinstance(scaling(log_p), np.ndarray)
    assert scaling(log_p).dtype == np.float64
    np.testing.assert_allclose(scaling(log_p[0]), scaling(log_p)[0], atol=1e-15)  # one sample, or many
    np.testing.assert_allclose(scaling(log_p.reshape(4, 125, 3)).reshape(500, 3), scaling(log_p), atol=1e-15)


def test_jit_and_vmap_agree_with_the_eager_call(x64):
    log_p, y = (jnp.stack(leaf) for leaf in zip(*(miscalibrated(seed=s)[:2] for s in range(3)), strict=True))
    together = jax.jit(jax.vmap(vector_scaling))(log_p, y)
    # Iterations beyond the last of a problem change nothing: the tolerance is that of the optimum, 1e-12 of gradient.
    for i in range(3):
        alone = vector_scaling(log_p[i], y[i])
        np.testing.assert_allclose(VectorScaling(*(leaf[i] for leaf in together))(log_p[i]), alone(log_p[i]), atol=1e-8)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"y has shape \(3,\); expected one label for each sample, \(4,\)"):
        vector_scaling(np.zeros((4, 2)), np.zeros(3, int))
    with pytest.raises(ValueError, match=r"log_p has shape \(4,\)"):
        vector_scaling(np.zeros(4), np.zeros(4, int))


# Quality


def test_quality_by_hand():
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.3, 0.4], [0.9, 0.05, 0.05]])
    found = quality(np.log(p), np.array([0, 2, 2, 0]))
    np.testing.assert_allclose(found.log_loss, -np.log([0.7, 0.3, 0.4, 0.9]).mean(), atol=1e-15)
    assert found.accuracy == 0.75
    # Four samples have a bin each: 1 - 0.7, 0.6 - 0, 1 - 0.4, 1 - 0.9.
    np.testing.assert_allclose(found.calibration_error, (0.3 + 0.6 + 0.6 + 0.1) / 4, atol=1e-15)
    single = quality(jnp.log(jnp.asarray(p, jnp.float32)), jnp.array([0, 2, 2, 0]))
    np.testing.assert_allclose(single, found, atol=1e-6)


def test_bins_of_the_calibration_error_hold_as_many_samples_each():
    """15 levels of confidence, twice each, right once of two: the distances to 1/2, averaged."""
    confidence = np.repeat(np.linspace(0.55, 0.97, 15), 2)
    y = np.tile([0, 1], 15)
    found = quality(np.log(np.column_stack([confidence, 1 - confidence])), y)
    np.testing.assert_allclose(found.calibration_error, (confidence - 0.5).mean(), atol=1e-12)


def test_calibration_error_of_exact_posteriors_is_sampling_error():
    """Each bin's is normal, of variance p (1 - p) bins / n: its mean distance to zero is sqrt(2 / pi) of the root."""
    n, bins = 20_000, 15
    task = gaussian_task("c3")
    samples = jax.tree.map(np.float64, task.sample(jax.random.key(0), n))
    log_p = np.asarray(task.log_posteriors(samples)[2])
    found = quality(log_p, samples.y.astype(int)).calibration_error
    p = np.array_split(np.sort(np.exp(log_p.max(1))), bins)
    each = np.sqrt(2 / np.pi * bins / n * np.array([(q * (1 - q)).mean() for q in p]))
    # The distance of a normal to zero has a standard deviation of 0.756 of its mean; four of them, over all bins.
    assert abs(found - each.mean()) < 4 * 0.756 * np.sqrt((each**2).sum()) / bins


def test_boasting_shows():
    """Sure to 0.99, right in three of four, in any order."""
    y = np.random.default_rng(0).permutation(np.repeat([0, 1], [3000, 1000]))
    p = np.tile([0.99, 0.01], (4000, 1))
    assert abs(quality(np.log(p), y).calibration_error - 0.24) < 1e-12


def test_quality_does_not_depend_on_the_order_of_the_samples():
    """Nor where samples tie, as those of few symbols do: labels are often sorted."""
    y = np.repeat([0, 1], [3000, 1000])
    log_p = np.log(np.tile([0.75, 0.25], (4000, 1)))
    shuffled = np.random.default_rng(0).permutation(y)
    assert quality(log_p, y).calibration_error == pytest.approx(quality(log_p, shuffled).calibration_error, abs=1e-12)
    assert quality(log_p, y).calibration_error == pytest.approx(0, abs=1e-12)  # 0.75, and right in three of four


def test_quality_runs_under_jit():
    log_p, y, *_ = miscalibrated()
    log_p, y = jnp.asarray(log_p, jnp.float32), jnp.asarray(y)
    np.testing.assert_allclose(jax.jit(quality)(log_p, y), quality(log_p, y), atol=1e-6)
