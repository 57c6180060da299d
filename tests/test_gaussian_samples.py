"""The Gaussian decomposition from samples: its bias, its intervals, its edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pidjax.gaussian import gaussian_pid
from pidjax.gaussian_samples import gaussian_estimate, gaussian_pid_from_samples

KEY = jax.random.key(0)
ATOMS = ("redundancy", "unique1", "unique2", "synergy")
DIMS = (2, 2, 2)


def atoms(pid):
    return np.stack([np.asarray(getattr(pid, atom)) for atom in ATOMS])


def covariance(h1, h2):
    h = np.vstack([h1, h2])
    return np.block([[h @ h.T + np.eye(len(h)), h], [h.T, np.eye(h.shape[1])]])


def chain():
    """y -> x1 -> x2: nothing is unique to x2, and there is no synergy."""
    rng = np.random.default_rng(0)
    h, through = rng.normal(size=(2, 2)), rng.normal(size=(2, 2))
    c1 = h @ h.T + np.eye(2)
    c12 = c1 @ through.T
    return np.block([[c1, c12, h], [c12.T, through @ c12 + np.eye(2), through @ h], [h.T, h.T @ through.T, np.eye(2)]])


def systems():
    rng = np.random.default_rng(5)
    return {
        "one": covariance(*rng.normal(size=(2, 2, 2))),
        "two": covariance(*rng.normal(size=(2, 2, 2))),
        "chain": chain(),
        "equal": covariance(np.array([[1.0, 0], [0, 0]]), np.array([[0, 0], [1.0, 0]])),  # y1 twice, y2 never
    }


def columns(x):
    return x[:, :2], x[:, 2:4], x[:, 4:]


def draw(cov, n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, len(cov))) @ np.linalg.cholesky(cov).T


@pytest.fixture(scope="module")
def x():
    return draw(systems()["one"], 60)


def test_the_plug_in_is_the_decomposition_of_the_sample_covariance(x):
    found = gaussian_pid_from_samples(*columns(x), corrected=False)
    assert atoms(found) == pytest.approx(atoms(gaussian_pid(np.cov(x.T), DIMS)), abs=1e-10)


@pytest.mark.slow
def test_log_determinants_have_no_bias(x64):
    """I1, I2 and I12 average to the truth; the plug-in's are too large by about d dy / 2n."""
    cov, n, times = systems()["one"], 25, 20_000
    each = lambda k: columns(jax.random.normal(k, (n, 6)) @ np.linalg.cholesky(cov).T)
    both = lambda k: [gaussian_pid_from_samples(*each(k), corrected=c) for c in (True, False)]
    found, raw = jax.jit(lambda keys: jax.lax.map(both, keys, batch_size=1000))(jax.random.split(KEY, times))
    truth = gaussian_pid(cov, DIMS)
    for information, d in (("mi1", 2), ("mi2", 2), ("total", 4)):
        values = np.asarray(getattr(found, information))
        error = values.std() / np.sqrt(times)
        assert abs(values.mean() - getattr(truth, information)) < 4 * error
        assert np.mean(getattr(raw, information)) - getattr(truth, information) > d / n  # d dy / 2n = d / n


def test_a_weight_is_a_repetition_and_its_scale_is_nothing(x):
    """But for the correction, which knows repeated samples from new ones no more than anyone does."""
    weight = np.random.default_rng(1).integers(0, 4, len(x)).astype(float)
    found = gaussian_pid_from_samples(*columns(x), weight=weight, corrected=False)
    repeated = np.repeat(x, weight.astype(int), axis=0)
    assert atoms(found) == pytest.approx(atoms(gaussian_pid(np.cov(repeated.T), DIMS)), abs=1e-10)
    one, other = (gaussian_pid_from_samples(*columns(x), weight=weight * scale) for scale in (1.0, 7.0))
    assert atoms(one) == pytest.approx(atoms(other), abs=1e-10)


def test_a_target_of_one_column_may_be_flat(x):
    flat, column = (gaussian_pid_from_samples(x[:, :2], x[:, 2:4], y) for y in (x[:, 4], x[:, 4:5]))
    assert atoms(flat) == pytest.approx(atoms(column), abs=0)


def test_intervals_surround_the_estimate_and_repeat_with_the_key(x):
    one, again = (gaussian_estimate(KEY, *columns(x), replicates=40) for _ in range(2))
    assert (atoms(one.interval.lower) <= np.maximum(atoms(one.pid), 0)).all()
    assert (atoms(one.pid) <= atoms(one.interval.upper)).all()
    assert (atoms(one.interval.lower) >= 0).all()
    assert atoms(again.interval.lower) == pytest.approx(atoms(one.interval.lower), abs=0)


def test_the_estimate_and_its_replicates_are_one_program(x):
    """Compilers take seconds for each eigenproblem: there are no more of them than in the plain decomposition."""
    count = lambda call: str(jax.make_jaxpr(call)(*map(jnp.asarray, columns(x)))).count(" eigh[")
    once = count(gaussian_pid_from_samples)
    assert 0 < count(lambda *parts: gaussian_estimate(KEY, *parts, replicates=40)) <= once


def test_what_is_infinite_stays_so_and_does_not_spoil_the_rest(x):
    found = gaussian_estimate(KEY, x[:, :2], x[:, 2:4], np.c_[x[:, 0], x[:, 4]], replicates=40)
    assert np.isposinf([found.pid.unique1, found.interval.lower.unique1, found.interval.upper.unique1]).all()
    rest = np.array([0, 2, 3])
    assert np.isfinite(atoms(found.pid)[rest]).all()
    assert np.isfinite(atoms(found.interval.upper)[rest]).all()


def test_a_column_that_is_constant_in_some_replicates_costs_these(x):
    rare = np.where(np.arange(6) == 1, (np.arange(60) == 3)[:, None], x)  # in a third of them
    found = gaussian_estimate(KEY, *columns(rare), replicates=40)
    assert np.isfinite(atoms(found.pid)).all()
    assert (atoms(found.interval.lower) <= atoms(found.interval.upper)).all()


@pytest.mark.slow
def test_samples_that_belong_together_are_drawn_together(x):
    """Copies of every sample, as groups: as sure as without the copies, but for the degrees of freedom."""
    copies = np.repeat(x, 3, axis=0)
    groups = np.repeat(np.arange(len(x)), 3)
    width = lambda found: atoms(found.interval.upper)[:3] - atoms(found.interval.lower)[:3]
    once = width(gaussian_estimate(KEY, *columns(x), replicates=400))
    whole = width(gaussian_estimate(KEY, *columns(copies), replicates=400, groups=groups))
    single = width(gaussian_estimate(KEY, *columns(copies), replicates=400))
    assert (single < 0.8 * once).all()
    assert whole == pytest.approx(once, rel=0.25)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one", "two", "chain", "equal"])
def test_intervals_cover_the_truth(name):
    """n = 500, 300 repetitions: 90 to 98 % of them for atoms inside, 90 % or more for atoms that are zero."""
    cov = systems()[name]

    def one(key):
        x = jax.random.normal(key, (500, 6)) @ jnp.asarray(np.linalg.cholesky(cov).T)
        found = gaussian_estimate(jax.random.fold_in(key, 1), *columns(x)).interval
        return [jnp.stack([getattr(end, atom) for atom in ATOMS]) for end in found]

    with jax.enable_x64(True):
        lower, upper = jax.jit(lambda keys: jax.lax.map(one, keys))(jax.random.split(KEY, 300))
    truth = atoms(gaussian_pid(cov, DIMS))
    covered = ((np.asarray(lower) <= truth + 1e-9) & (truth <= np.asarray(upper) + 1e-9)).mean(0)
    for share, value in zip(covered, truth, strict=True):
        if value < 1e-9:
            assert share >= 0.9
        elif name != "equal":  # two directions known equally well: the docstring says what is to be expected
            assert 0.9 <= share <= 0.98


def test_what_cannot_be_used_is_refused(x):
    with pytest.raises(ValueError, match="x1, x2 and y have shapes"):
        gaussian_pid_from_samples(x[:, :2], x[:5, 2:4], x[:, 4:])
    with pytest.raises(ValueError, match="there are 6 samples of 6 columns"):
        gaussian_pid_from_samples(*columns(x[:6]))
    with pytest.raises(ValueError, match="expected four for each column"):
        gaussian_estimate(KEY, *columns(x[:20]))
    with pytest.raises(ValueError, match="all samples are of one group"):
        gaussian_estimate(KEY, *columns(x), groups=np.zeros(60))
    with pytest.raises(ValueError, match=r"groups has shape \(59,\)"):
        gaussian_estimate(KEY, *columns(x), groups=np.zeros(59))
    for column, name in ((0, "x1"), (3, "x2"), (5, "y")):  # whose mean is not exactly 0.1
        with pytest.raises(ValueError, match=f"coordinates of {name} are linearly dependent, or without variance"):
            gaussian_pid_from_samples(*columns(np.where(np.arange(6) == column, 0.1, x)))
    with pytest.raises(ValueError, match="replicates is 1"):
        gaussian_estimate(KEY, *columns(x), replicates=1)
    with pytest.raises(ValueError, match="weights are negative"):
        gaussian_pid_from_samples(*columns(x), weight=np.linspace(-1, 1, len(x)))
    with pytest.raises(ValueError, match="NaN or infinite"):
        gaussian_pid_from_samples(*columns(np.where(np.arange(60)[:, None] == 3, np.nan, x)))


@pytest.mark.slow
def test_float32_stays(x):
    found = jax.jit(gaussian_pid_from_samples)(*(jnp.asarray(part, jnp.float32) for part in columns(x)))
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(jnp.float32)}
    assert atoms(found) == pytest.approx(atoms(gaussian_pid_from_samples(*columns(x))), abs=1e-4)
