"""Normal scores: blind to monotone maps, right on the published showcase, and warned of when they can't be right."""

import jax
import numpy as np
import pytest

from pidjax.gaussian import gaussian_pid
from pidjax.gaussian_samples import gaussian_pid_from_samples
from pidjax.normal_scores import CopulaEstimate, GaussianCheck, copula_pid, gaussian_check, normal_scores

KEY = jax.random.key(0)
ATOMS = ("redundancy", "unique1", "unique2", "synergy")


def atoms(pid):
    return np.stack([np.asarray(getattr(pid, atom)) for atom in ATOMS])


def showcase():
    """16 + 16 -> 2, distorted: the samples, what they were before, and the decomposition."""
    rng = np.random.RandomState(0)  # as published
    h = np.vstack([rng.randn(16, 2), rng.randn(16, 2)])
    cov = np.block([[h @ h.T + np.eye(32), h], [h.T, np.eye(2)]])
    scale = np.sqrt(np.diag(cov))
    rng = np.random.RandomState(10)
    x = rng.multivariate_normal(np.zeros(34), cov / np.outer(scale, scale), 10_000)
    return (x[:, :16] ** 3, np.cbrt(x[:, 16:32]), np.cbrt(x[:, 32:])), x, gaussian_pid(cov, (16, 16, 2))


def test_scores_are_blind_to_monotone_maps():
    x = np.random.default_rng(0).normal(size=(50, 2))
    assert normal_scores(np.exp(x)) == pytest.approx(normal_scores(x), abs=0)
    assert np.sort(normal_scores(x[:, 0])) == pytest.approx(-np.sort(normal_scores(x[:, 0]))[::-1], abs=1e-12)


def test_ties_share_their_rank():
    assert normal_scores(np.array([3.0, 3.0, 3.0])) == pytest.approx(np.zeros(3), abs=1e-12)
    with pytest.raises(ValueError, match="1 NaN or infinite"):
        normal_scores(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="x has shape"):
        normal_scores(np.ones((2, 2, 2)))


@pytest.mark.slow
def test_p_values_of_gaussian_pairs_are_uniform_and_of_their_scores_larger():
    n, times = 300, 400

    def one(key, scored):
        draw, halves = jax.random.split(key)
        z = jax.random.normal(draw, (n, 3))
        z = z.at[:, 2].add(z[:, 0])
        z = normal_scores(z) if scored else z
        return gaussian_check(halves, z[:, :2], z[:, 2]).p_value

    def rejected(scored):
        each = jax.jit(lambda keys: jax.lax.map(lambda key: one(key, scored), keys, batch_size=100))
        return np.mean(np.asarray(each(jax.random.split(KEY, times))) < 0.1)

    # 0.1 to four standard errors of 400 draws, and some for the skewness of fourth moments of 150 samples.
    assert rejected(False) == pytest.approx(0.1, abs=0.07)
    assert rejected(True) <= 0.16


@pytest.mark.slow
def test_the_published_showcase_is_known_to_a_tenth_of_a_bit():
    samples, _, truth = showcase()
    found = copula_pid(KEY, *samples)
    assert np.abs(atoms(found.pid) - atoms(truth)).sum() / np.log(2) <= 0.1
    assert found.warnings == []
    inside = (atoms(found.interval.lower) <= atoms(truth)) & (atoms(truth) <= atoms(found.interval.upper))
    assert inside.all()


def test_the_showcase_needs_no_bootstrap():
    samples, _, truth = showcase()
    found = gaussian_pid_from_samples(*(normal_scores(x) for x in samples))
    assert np.abs(atoms(found) - atoms(truth)).sum() / np.log(2) <= 0.1


@pytest.mark.slow
def test_distortions_that_mix_coordinates_are_warned_of():
    _, x, truth = showcase()
    turn = lambda d, seed: np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]
    q1, q2, qy = turn(16, 1), turn(16, 2), turn(2, 3)
    mixed = ((x[:, :16] @ q1) ** 3 @ q1.T, np.cbrt(x[:, 16:32] @ q2) @ q2.T, np.cbrt(x[:, 32:] @ qy) @ qy.T)
    found = copula_pid(KEY, *mixed, replicates=10)
    assert np.abs(atoms(found.pid) - atoms(truth)).sum() / np.log(2) > 1  # it is wrong
    assert len(found.warnings) == 3  # and says so
    assert "x1 and y are not jointly Gaussian" in found.warnings[0]


@pytest.mark.parametrize("kind", ["square", "sign", "scale"])
def test_dependence_that_correlation_does_not_see_is_found(kind):
    rng = np.random.default_rng(3)
    y, e = rng.normal(size=(2, 1000))
    x = {"square": y**2 + e, "sign": y * rng.choice([-1, 1], 1000), "scale": y * e}[kind]
    assert gaussian_check(KEY, normal_scores(x), normal_scores(y)).p_value < 1e-3


def test_a_few_wild_samples_are_found():
    """A t test has at most the root of how many there are (8 in both halves): their spread is what is looked for."""
    x, noise, y = np.random.default_rng(5).normal(size=(3, 1000))
    rare = np.arange(1000) % 125 == 0
    collinear = np.stack([x, x + 1e-3 * (0.05 * noise + rare)], 1)
    found = gaussian_check(KEY, collinear, y)
    assert found.statistic > 100  # kurtosis 100 in three standard errors' worth of columns
    assert found.p_value < 1e-6


@pytest.mark.slow
def test_copies_are_no_evidence_when_they_are_said_to_be_copies():
    """Copies of a sample in both halves repeat its departures: groups keep them together."""
    times, groups = 60, np.repeat(np.arange(150), 4)

    def one(key, groups):
        draw, halves = jax.random.split(key)
        z = jax.random.normal(draw, (150, 3)).repeat(4, axis=0)
        return gaussian_check(halves, z[:, :2], z[:, 2], groups=groups).p_value

    keys = jax.random.split(KEY, times)
    rejected = [np.mean(jax.vmap(lambda key, g=g: one(key, g))(keys) < 0.01) for g in (None, groups)]
    assert rejected[0] > 0.1
    assert rejected[1] <= 0.05  # three of 60, where 0.6 are expected


def test_what_cannot_be_checked_is_said():
    rng = np.random.default_rng(4)
    e1, e2 = rng.normal(size=(2, 100))
    check, other = gaussian_check(KEY, e1, e1), gaussian_check(KEY, e1, e2)
    assert np.isnan(check.p_value)
    warnings = CopulaEstimate(None, None, check, other, other).warnings
    assert warnings == [
        "columns of x1 and y are linearly dependent: whether they are Gaussian was not checked; drop what the others "
        "determine"
    ]
    with pytest.raises(ValueError, match="1 NaN or infinite"):
        gaussian_check(KEY, np.where(np.arange(100) == 3, np.nan, e1), e2)


def test_every_warning_ends_with_a_cure():
    bad, good = GaussianCheck(8.0, 1e-9), GaussianCheck(0.0, 0.5)
    found = CopulaEstimate(None, None, bad, good, bad)
    assert len(found.warnings) == 2
    assert all(
        warning.endswith("bin y (pidjax.quantile_codes) for a decomposition of tables or posteriors")
        for warning in found.warnings
    )
    assert all(warning.endswith("; look elsewhere") for warning in found.warned("look elsewhere"))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="x and y have shapes"):
        gaussian_check(KEY, np.ones((5, 2)), np.ones((6, 1)))
