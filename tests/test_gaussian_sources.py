"""Any number of Gaussian sources: the certificate, two sources in closed form, three that commute, gradients."""

import jax
import numpy as np
import pytest

from pidjax.gaussian import gaussian_pid
from pidjax.gaussian_sources import gaussian_union


def random_covariance(rng, d):
    w = rng.normal(size=(d, 2 * d))
    return w @ w.T / (2 * d)


def conditional(cov, own, dy):
    b = cov[own, -dy:]
    return cov[-dy:, -dy:] - b.T @ np.linalg.inv(cov[own, own]) @ b


def test_two_sources_are_the_closed_form():
    rng = np.random.default_rng(0)
    for _ in range(5):
        cov = random_covariance(rng, 6)
        found, pid = gaussian_union(cov, (2, 2, 2)), gaussian_pid(cov, (2, 2, 2))
        exact = pid.redundancy + pid.unique1 + pid.unique2
        assert found.lower - 1e-12 <= exact <= found.upper + 1e-12
        assert found.gap <= 1e-9


def test_three_commuting_sources_have_the_best_in_each_direction():
    gains = np.array([[3.0, 1.0], [1.0, 2.0], [2.0, 1.5]])  # of source i in direction j
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(2, 2)))[0]
    h = np.concatenate([np.diag(g) @ turn for g in gains])
    cov = np.block([[h @ h.T + np.eye(6), h], [h.T, np.eye(2)]])
    found = gaussian_union(cov, (2, 2, 2, 2))
    exact = np.log1p(gains.max(0) ** 2).sum() / 2
    assert found.lower - 1e-12 <= exact <= found.upper + 1e-12
    assert found.gap <= 1e-9
    # The third source is never the best: it binds nowhere. At the optimum the multipliers sum to the inverse of W.
    assert np.abs(found.multipliers[2]).max() < 1e-6
    assert found.multipliers.sum(0) @ found.given == pytest.approx(np.eye(2), abs=1e-4)


def test_the_certificate_holds_for_anyone_who_checks():
    rng = np.random.default_rng(2)
    dims, cov = (2, 2, 2, 2), random_covariance(rng, 8)
    found = gaussian_union(cov, dims)
    given = [conditional(cov, slice(2 * i, 2 * i + 2), 2) for i in range(3)]
    for s, multiplier in zip(given, found.multipliers, strict=True):
        assert np.linalg.eigvalsh(s - found.given).min() >= -1e-12
        assert np.linalg.eigvalsh(multiplier).min() >= -1e-12
    prior = np.linalg.slogdet(cov[-2:, -2:])[1]
    total = found.multipliers.sum(0)
    bound = sum(np.trace(m @ s) for m, s in zip(found.multipliers, given, strict=True))
    dual = bound - np.linalg.slogdet(total)[1] - 2  # at least logdet W
    assert (prior - dual) / 2 == pytest.approx(found.lower, abs=1e-10)
    assert (prior - np.linalg.slogdet(found.given)[1]) / 2 == pytest.approx(found.upper, abs=1e-10)
    assert 0 <= found.gap <= 1e-9
    each = [(prior - np.linalg.slogdet(s)[1]) / 2 for s in given]
    assert found.upper >= max(each)


@pytest.mark.slow
def test_the_gradient_is_the_envelope_s():
    """What the lower bound gains when the covariance moves."""
    rng = np.random.default_rng(3)
    dims, cov = (2, 2, 2, 2), random_covariance(rng, 8)
    with jax.enable_x64(True):
        lower = lambda c: gaussian_union((c + c.T) / 2, dims).lower
        slope = jax.grad(lower)(cov)
        move = random_covariance(rng, 8)
        step = 1e-4
        up, down = (gaussian_union(cov + t * move, dims).lower for t in (step, -step))
    # Either end is known to 1e-9, the step is 1e-4.
    assert np.sum(np.asarray(slope) * move) == pytest.approx((up - down) / (2 * step), abs=5e-5)


def test_a_source_that_knows_a_direction_makes_the_union_infinite():
    cov = np.eye(8)
    cov[0, 6] = cov[6, 0] = 1.0  # a column of x1 is one of y
    found = gaussian_union(cov, (2, 2, 2, 2))
    assert np.isposinf(found.lower)
    assert np.isposinf(found.upper)
    assert found.gap == 0


def test_what_is_no_covariance_is_refused():
    bad = np.eye(8)
    bad[0, 1] = 3.0
    with pytest.raises(ValueError, match="transpose"):
        gaussian_union(bad, (2, 2, 2, 2))
    with pytest.raises(ValueError, match="dims is"):
        gaussian_union(np.eye(3), (3,))
    for tol in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="expected a positive gap"):
            gaussian_union(np.eye(3), (1, 1, 1), tol=tol)


@pytest.mark.slow
def test_float32_stops_where_rounding_leaves_no_more():
    """For the gap asked for it would take all of its 200 steps; a few ulps for each source and direction are left."""
    found = gaussian_union(jax.numpy.asarray(random_covariance(np.random.default_rng(0), 8), "float32"), (2, 2, 2, 2))
    assert found.steps < 60
    assert 0 <= found.gap <= 64 * 6 * np.finfo(np.float32).eps


@pytest.mark.slow
def test_inside_jit_refused_values_are_nan_in_float32():
    bad = jax.numpy.eye(8).at[0, 1].set(3.0)
    found = jax.jit(lambda c: gaussian_union(c, (2, 2, 2, 2)))(bad)
    assert found.lower.dtype == np.float32
    assert np.isnan([found.lower, found.upper, found.gap]).all()
