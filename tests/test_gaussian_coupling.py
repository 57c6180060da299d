"""The optimal Gaussian coupling: it has the pairs, attains the union, and its density ratios average to it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pidjax.gaussian import gaussian_pid
from pidjax.gaussian_coupling import gaussian_coupling, gaussian_pointwise

DIMS = (2, 2, 2)
ATOMS = ("redundancy", "unique1", "unique2", "synergy")
EXACT = 1e-10


def atoms(pid):
    return np.stack([np.asarray(getattr(pid, atom)) for atom in ATOMS])


@pytest.fixture(scope="module")
def covs():
    w = np.random.default_rng(0).normal(size=(20, 6, 12))
    return w @ w.transpose(0, 2, 1) / 12


def columns(x):
    return x[:, :2], x[:, 2:4], x[:, 4:]


def samples_of(cov, n=200):
    """Samples whose mean is zero and whose covariance is exactly this."""
    x = np.random.default_rng(1).normal(size=(n, len(cov)))
    x -= x.mean(0)
    return np.linalg.solve(np.linalg.cholesky(x.T @ x / n), x.T).T @ np.linalg.cholesky(cov).T


def test_the_coupling_has_the_pairs_and_attains_the_union(x64, covs):
    both = jax.jit(jax.vmap(lambda c: (gaussian_coupling(c, DIMS), gaussian_pid(c, DIMS))))
    coupling, pid = both(covs)
    coupling = np.asarray(coupling)
    same = np.ones((6, 6), bool)
    same[:2, 2:4], same[2:4, :2] = False, False
    assert coupling[:, same] == pytest.approx(covs[:, same], abs=EXACT)
    assert np.linalg.eigvalsh(coupling).min() >= -EXACT
    # Information by the textbook.
    det = lambda c: np.linalg.slogdet(c)[1]
    union = (det(coupling[:, :4, :4]) + det(coupling[:, 4:, 4:]) - det(coupling)) / 2
    found = atoms(pid)
    assert union == pytest.approx(found[:3].sum(0), abs=1e-8)  # eigenvalues near zero are divided by


def test_of_the_coupling_there_is_no_synergy(covs):
    pid, coupled = gaussian_pid(covs[0], DIMS), gaussian_pid(gaussian_coupling(covs[0], DIMS), DIMS)
    assert atoms(coupled) == pytest.approx([*atoms(pid)[:3], 0], abs=EXACT)


def test_pointwise_values_average_to_the_decomposition(covs):
    for cov in covs[:3]:
        values = gaussian_pointwise(cov, DIMS, *columns(samples_of(cov)))
        assert atoms(values).mean(1) == pytest.approx(atoms(gaussian_pid(cov, DIMS)), abs=EXACT)


def test_the_union_averages_to_itself_whatever_joins_the_modalities(covs):
    """R, U1 and U2 are functions of the pairs: another joint of the same pairs has the same means."""
    cov = covs[0]
    x = samples_of(gaussian_coupling(cov, DIMS) * 0.5 + cov * 0.5)
    values = gaussian_pointwise(cov, DIMS, *columns(x))
    assert atoms(values)[:3].mean(1) == pytest.approx(atoms(gaussian_pid(cov, DIMS))[:3], abs=EXACT)


def test_values_are_log_density_ratios(covs):
    """i1 of a sample, from R + U1, by the textbook's densities; the mean moves with the samples."""
    cov, mean = covs[1], np.arange(6.0)
    x = samples_of(cov)
    values = gaussian_pointwise(cov, DIMS, *columns(x + mean), mean=mean)

    def log_density(x, cov):
        return -(np.einsum("ni,ij,nj->n", x, np.linalg.inv(cov), x) + np.linalg.slogdet(2 * np.pi * cov)[1]) / 2

    of = lambda *parts: log_density(x[:, np.r_[parts]], cov[np.ix_(np.r_[parts], np.r_[parts])])
    x1, x2, y = slice(0, 2), slice(2, 4), slice(4, 6)
    assert values.mi1 == pytest.approx(of(x1, y) - of(x1) - of(y), abs=EXACT)
    assert values.mi2 == pytest.approx(of(x2, y) - of(x2) - of(y), abs=EXACT)
    assert values.total == pytest.approx(of(x1, x2, y) - of(x1, x2) - of(y), abs=EXACT)


@pytest.mark.slow
def test_the_union_ratio_is_a_posterior_density(covs):
    """``q(y|x1,x2) = p(y) exp(i_union)`` integrates to one over y, at any (x1, x2): the potentials are feasible."""
    dims = (3, 2, 1)
    cov = covs[2]
    y = np.linspace(-12, 12, 4001)[:, None] * np.sqrt(cov[5, 5])
    x = np.random.default_rng(2).normal(size=5)
    tiled = np.broadcast_to(x, (len(y), 5))
    values = gaussian_pointwise(cov, dims, tiled[:, :3], tiled[:, 3:], y)
    union = values.redundancy + values.unique1 + values.unique2
    prior = np.exp(-(y[:, 0] ** 2) / cov[5, 5] / 2) / np.sqrt(2 * np.pi * cov[5, 5])
    assert np.sum(prior * np.exp(union)) * (y[1, 0] - y[0, 0]) == pytest.approx(1, abs=1e-8)


def test_swapping_the_modalities_swaps_the_values(covs):
    cov = covs[3]
    order = [2, 3, 0, 1, 4, 5]
    x = samples_of(cov)
    one = gaussian_pointwise(cov, DIMS, *columns(x))
    swapped = gaussian_pointwise(cov[np.ix_(order, order)], DIMS, x[:, 2:4], x[:, :2], x[:, 4:])
    assert atoms(swapped) == pytest.approx(atoms(one)[[0, 2, 1, 3]], abs=1e-9)


def test_samples_that_do_not_fit_are_refused(covs):
    x = np.ones((4, 2))
    with pytest.raises(ValueError, match="x1, x2 and y have shapes"):
        gaussian_pointwise(covs[0], DIMS, x, x, x[:, :1])
    with pytest.raises(ValueError, match="mean has shape"):
        gaussian_pointwise(covs[0], DIMS, x, x, x, mean=np.ones(3))


def test_pairs_that_no_variables_have_are_refused():
    cov = np.eye(6)
    cov[0, 4] = cov[4, 0] = 1.5
    with pytest.raises(ValueError, match="not positive semidefinite"):
        gaussian_coupling(cov, DIMS)
    cov[0, 4] = cov[4, 0] = 0.0
    cov[0, 2] = cov[2, 0] = 1.5  # of x1 and x2, and replaced
    assert gaussian_coupling(cov, DIMS) == pytest.approx(np.eye(6), abs=EXACT)


def test_the_values_of_copies_are_all_redundant(covs):
    copy = np.r_[0:2, 0:2, 4:6]
    x = samples_of(covs[0])[:, copy]
    values = gaussian_pointwise(covs[0][np.ix_(copy, copy)], DIMS, *columns(x))
    assert atoms(values)[1:] == pytest.approx(np.zeros((3, len(x))), abs=EXACT)


def test_an_infinite_information_has_no_pointwise_value():
    cov = np.eye(6)
    cov[0, 4] = cov[4, 0] = 1.0  # a column of x1 is one of y
    assert np.isposinf(gaussian_pid(cov, DIMS).unique1)
    x = np.ones((200, 2))
    assert np.isnan(gaussian_pointwise(cov, DIMS, x, x, x).unique1).all()


@pytest.mark.slow
def test_jit_keeps_float32(covs):
    coupling = jax.jit(lambda c: gaussian_coupling(c, DIMS))(jnp.asarray(covs[0], jnp.float32))
    assert coupling.dtype == jnp.float32
    assert coupling == pytest.approx(gaussian_coupling(covs[0], DIMS), abs=1e-4)
