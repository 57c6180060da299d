"""Continuous targets of real pictures: atoms that fit regressions, rotations, and what a voice can know of ink."""

import os

import jax
import numpy as np
import pytest
from scipy.stats import norm, rankdata

from pidjax import gaussian_pid_from_samples, normal_scores, quantify
from pidjax.datasets import avmnist, mfeat

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("PIDJAX_DATA" not in os.environ, reason="set PIDJAX_DATA to the folder of the data files"),
]
KEY = jax.random.key(0)
ATOMS = ("redundancy", "unique1", "unique2", "synergy")


def stroke_mass(pictures):
    return pictures.sum((1, 2))


def slant(pictures):
    """Columns to the right for each row upwards, ``-mu_11 / mu_02``."""
    rows, columns = np.indices(pictures.shape[1:])
    centred = lambda at: at - ((pictures * at).sum((1, 2)) / stroke_mass(pictures))[:, None, None]
    dr, dc = centred(rows), centred(columns)
    return -(pictures * dr * dc).sum((1, 2)) / (pictures * dr**2).sum((1, 2))


def test_the_slant_of_a_sheared_stroke_is_its_shear():
    picture = np.zeros((1, 21, 21))
    picture[0, np.arange(21), 20 - np.arange(21)] = 1  # from the lower left to the upper right
    assert slant(picture) == pytest.approx([1.0], abs=1e-12)
    assert slant(picture[:, :, ::-1]) == pytest.approx([-1.0], abs=1e-12)


@pytest.fixture(scope="module")
def views():
    """The view kar (of pixels) and zer (blind to rotations), stroke mass and slant: of 2000 digits."""
    x1, x2 = (np.asarray(x, float) for x in mfeat(views=("kar", "zer"))[:2])
    pictures = np.asarray(mfeat(views=("pix", "kar")).x1, float).reshape(-1, 16, 15)
    return x1, x2, np.stack([stroke_mass(pictures), slant(pictures)], 1)


def scored(x):
    """Normal scores by scipy."""
    return norm.ppf((rankdata(x, axis=0) - 0.5) / len(x))


def by_regression(x, y, train=slice(None), test=slice(None)):
    """``1/2 log (det Cov(y) / det Cov(residuals))`` of a linear regression, by numpy."""
    design = lambda rows: np.column_stack([np.ones(len(x[rows])), x[rows]])
    residual = y[test] - design(test) @ np.linalg.lstsq(design(train), y[train], rcond=None)[0]
    spread = lambda z: np.linalg.slogdet(z.T @ z / len(z))[1]
    return (spread(y[test] - y[test].mean(0)) - spread(residual)) / 2


def test_informations_are_those_of_regressions(views):
    x1, x2, y = map(scored, views)
    plain = gaussian_pid_from_samples(*(normal_scores(x) for x in views), corrected=False)
    assert plain.mi1 == pytest.approx(by_regression(x1, y), abs=1e-9)
    assert plain.mi2 == pytest.approx(by_regression(x2, y), abs=1e-9)
    both = by_regression(np.hstack([x1, x2]), y)
    assert plain.total == pytest.approx(both, abs=1e-9)
    # The roof takes off the bias, to first order (columns of x) (columns of y) / 2n, here .055, and no more than a
    # tenth of that at second order; its bootstrap's mean errs by sqrt(2 columns / n) / sqrt(200 replicates), .002.
    n, columns = len(y), x1.shape[1] + x2.shape[1]
    found = quantify(*views, key=KEY, method="copula").pid.total
    assert found == pytest.approx(both - columns * 2 / (2 * n), abs=0.0055 + 4 * 0.0022)


def test_what_is_blind_to_rotations_knows_the_mass_and_not_the_slant(views):
    """Each view has a surplus in one of the two directions, and a regression judged on unseen digits says the same."""
    x1, x2, y = views
    report = quantify(*views, key=KEY, method="copula")
    assert report.interval.lower.unique1 > 0
    assert report.interval.lower.unique2 > 0
    assert any("not jointly Gaussian" in warning for warning in report.warnings)  # ten digits are ten clouds
    order = np.random.default_rng(0).permutation(len(y))
    seen, unseen = order[:1500], order[1500:]
    z1, z2, z = map(scored, views)
    for column, better in ((0, 1), (1, 0)):
        one = quantify(x1, x2, y[:, column], key=KEY)
        told = one.information[:2]
        heldout = [by_regression(x, z[:, column : column + 1], seen, unseen) for x in (z1, z2)]
        assert told[better] > told[1 - better]
        assert heldout[better] > heldout[1 - better]
        # On 500 unseen digits a log-variance ratio errs by at most sqrt(2 * 2 / 500) / 2, .045, more with heavy tails,
        # and the regression itself misses d / 2n = .02; the roof's own error is half as large. Three errors, and that.
        assert told == pytest.approx(heldout, abs=0.19)
        # One number has one direction: the lesser information is the redundancy, in every replicate too.
        assert one.pid.redundancy == pytest.approx(min(told), abs=1e-9)


@pytest.fixture(scope="module")
def pairs():
    """AV-MNIST: pictures with a quarter of their energy (3 components), 30 components of the voice."""
    samples, clip = avmnist(key=KEY)
    pictures = np.asarray(samples.x1, float)

    def components(x, d):
        x = x.reshape(len(x), -1)
        energy, axes = np.linalg.eigh(np.cov(x.T))
        return (x - x.mean(0)) @ axes[:, -d:], energy[-d:].sum() / energy.sum()

    picture, kept = components(pictures, 3)
    assert kept <= 0.25
    return picture, components(np.asarray(samples.x2, float), 30)[0], samples.y, clip, pictures


def explained(y, digit):
    """Share of the variance of the scores of y that lies between digits."""
    z = scored(y)
    means = np.array([z[digit == k].mean() for k in range(10)])
    return means[digit].var() / z.var()


@pytest.mark.parametrize("target", [stroke_mass, slant])
def test_the_voice_knows_of_the_picture_what_goes_through_the_digit(pairs, target):
    picture, voice, digit, clip, pictures = pairs
    y = target(pictures)
    # E[y|voice] = sum_k p(k|voice) E[y|k]: its variance is at most that between digits, whatever the shapes.
    ceiling = -np.log1p(-explained(y, digit)) / 2
    report = quantify(picture, voice, y, key=KEY, groups=clip)
    # An information of rho^2 errs by about sqrt(rho^2 / n), with the 2700 clips as n, and rho^2 .36 or less: .012.
    assert report.information.x2 <= ceiling + 4 * 0.012
    assert report.interval.lower.redundancy > 0
    # The picture knows its own ink and slant better than what was said.
    assert report.interval.lower.unique1 > 0
    assert report.interval.upper.unique2 == 0
    assert "groups" in report.interval_rule


def test_the_digit_itself_attains_that_ceiling(pairs):
    """Indicators of the digit predict class means, so their information is the share between digits, exactly."""
    picture, _, digit, _, pictures = pairs
    y = stroke_mass(pictures)
    indicators = np.eye(10)[digit][:, 1:]
    found = gaussian_pid_from_samples(normal_scores(picture), indicators, normal_scores(y), corrected=False)
    assert found.mi2 == pytest.approx(-np.log1p(-explained(y, digit)) / 2, abs=1e-9)


def test_of_ink_ranked_within_digits_the_voice_knows_nothing(pairs):
    picture, voice, digit, clip, pictures = pairs
    mass, among = stroke_mass(pictures), np.zeros(len(digit))
    for k in range(10):
        among[digit == k] = scored(mass[digit == k])
    found = quantify(picture, voice, among, key=KEY, groups=clip)
    assert found.interval.lower.redundancy == 0 == found.interval.lower.unique2
    # Of nothing, 30 columns say a chi-square of 30 over 2n, its mean taken off: sqrt(60) / 2n with n the 2700 clips.
    assert abs(found.information.x2) <= 4 * np.sqrt(60) / (2 * 2700)


def test_a_shuffled_target_is_told_by_nobody(views):
    x1, x2, y = views
    few = np.random.default_rng(0).permutation(len(y))[:1000]
    x1, x2 = x1[few, :8], x2[few, :8]
    times, held, total = 20, np.zeros(4, int), 0.0
    for seed in range(times):
        shuffled = y[np.random.default_rng(seed + 1).permutation(few)]
        found = quantify(x1, x2, shuffled, key=jax.random.key(seed), method="copula", bootstrap=100)
        held += [getattr(found.interval.lower, atom) == 0 for atom in ATOMS]
        total += found.pid.total / times
    # Intervals of 95 % (84 % at worst, as gaussian_estimate says of zeros in two directions at once): at 84 %, fewer
    # than 12 of 20 have a probability below 1e-2, at 95 % below 1e-6.
    assert held.min() >= 12
    # 16 columns say a chi-square of 32 over 2n of two of noise; its mean, .016, is taken off, its spread is sqrt(64).
    assert abs(total) <= 4 * np.sqrt(64) / (2 * len(few)) / np.sqrt(times)
