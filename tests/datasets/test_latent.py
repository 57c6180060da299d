"""The latent suite: truths against other integrals and certified bins, labels that are what they say, one program."""

import itertools
import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate
from scipy.special import log_ndtr, ndtr
from scipy.stats import norm

from pidjax import union_information
from pidjax.datasets import LATENT_LABELS, LATENT_TASKS, LatentTask, latent_gaussians, latent_task
from pidjax.typing import Samples

ATOMS = ("redundancy", "unique1", "unique2", "synergy")
L = math.log(2)
# Which coordinates make the label, of z1, z2 and zc: int(r 5), as published.
COORDINATES = {
    "redundancy": (0, 0, 5),
    "unique1": (5, 0, 0),
    "unique2": (0, 5, 0),
    "synergy": (5, 5, 0),
    "mix1": (2, 2, 2),
    "mix2": (5, 2, 2),
    "mix3": (5, 5, 2),
    "mix4": (2, 2, 5),
    "mix5": (0, 2, 2),
    "mix6": (0, 2, 5),
}


N = 10_000  # one size in most tests: an eager operation is compiled once for each shape


def atoms(pid):
    return np.array([getattr(pid, name) for name in ATOMS])


def shares(task):
    """How much of the variance of the label's sum each modality sees."""
    m1, m2, both = task.coordinates
    return [(m + both) / sum(task.coordinates) for m in (m1, m2)]


def slope(share):
    return math.sqrt(share / (1 - share)) if share < 1 else math.inf


def test_the_ten_tasks_are_those_of_the_specification():
    assert list(LATENT_TASKS) == [f"latent_{label}" for label in COORDINATES]
    for name in LATENT_TASKS:
        task = latent_task(name)
        assert task.name == name
        assert task.coordinates == COORDINATES[name.removeprefix("latent_")]
        assert task.mixing.shape == (3, 5, 50)
        assert (task.variance, task.classes, task.dropout) == (1.5, 2, 0.0)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("redundancy", (L, 0, 0, 0)),
        ("unique1", (0, L, 0, 0)),
        ("unique2", (0, 0, L, 0)),
        # Half of the variance seen: p(y=1 | t) is uniform on (0, 1), whose mean entropy is 1/2.
        ("synergy", (L - 0.5, 0, 0, 0.5)),
        ("mix5", (L - 0.5, 0, 0.5, 0)),
    ],
)
def test_truths_that_are_known_by_hand(label, expected):
    np.testing.assert_allclose(atoms(latent_task(f"latent_{label}").truth), expected, atol=1e-12)


@pytest.mark.parametrize("label", ["mix1", "mix2", "mix3", "mix4", "mix6"])
def test_truths_of_mixtures_by_another_quadrature(label):
    task = latent_task(f"latent_{label}")

    def information(share):
        """I = E log p(t | y) / p(t): given the label t is skew normal, 2 phi(t) Phi(slope t)."""
        if share == 1:
            return L
        terms = lambda t: 2 * norm.pdf(t) * ndtr(slope(share) * t) * (L + log_ndtr(slope(share) * t))
        return integrate.quad(terms, -12, 12, epsabs=1e-12, epsrel=1e-12, limit=200)[0]

    i1, i2 = map(information, shares(task))
    found = task.truth
    np.testing.assert_allclose([found.mi1, found.mi2, found.total], [i1, i2, L], atol=1e-10)
    assert found.redundancy == pytest.approx(min(i1, i2), abs=1e-10)


@pytest.mark.parametrize("classes", [3, 8])
def test_truths_of_many_classes_by_another_quadrature(classes):
    task = latent_gaussians("mix2", classes=classes)
    edges = norm.ppf(np.arange(classes + 1) / classes)
    for share, found in zip(shares(task), (task.truth.mi1, task.truth.mi2), strict=True):

        def terms(t, share=share):
            p = np.diff(ndtr((edges - math.sqrt(share) * t) / math.sqrt(1 - share)))
            p = p[p > 0]
            return norm.pdf(t) * (p * np.log(classes * p)).sum()

        expected = 2 * integrate.quad(terms, 0, 12, epsabs=1e-11, limit=200)[0]  # the blocks are symmetric
        assert found == pytest.approx(expected, abs=1e-9)
    assert task.truth.total == pytest.approx(math.log(classes), abs=1e-12)


def test_unions_are_those_of_certified_bins():
    """The tables alone, solved: no use is made of one modality being a garbling of the other."""
    width, each = 0.005, 5
    nodes, weights = np.polynomial.legendre.leggauss(each)
    left = width * np.arange(-1700, 1700)
    points = left[:, None] + width * (nodes + 1) / 2
    mass = norm.pdf(points) * weights * width / 2

    def table(share):
        ones = (mass * ndtr(slope(share) * points)).sum(1)
        return np.stack([mass.sum(1) - ones, ones], axis=1)

    for name in LATENT_TASKS:
        task = latent_task(name)
        solution = union_information(*(table(share) for share in shares(task)))
        assert solution.gap < 1e-9
        # A garbling, so a lower bound, that loses the squared width over 24 times the variation of the posterior.
        stored = task.truth.total - task.truth.synergy
        assert stored - 3e-6 < float(solution.lower) < stored + 1e-9
        assert float(solution.pid.redundancy) == pytest.approx(task.truth.redundancy, abs=3e-6)


@pytest.mark.slow
def test_unions_of_three_classes_are_those_of_certified_bins():
    task = latent_gaussians("mix2", classes=3)
    edges = np.linspace(-4.5, 4.5, 1201)  # cells of one modality, gathered into 40 bins
    middle = (edges[1:] + edges[:-1]) / 2
    mass = norm.pdf(middle) / norm.pdf(middle).sum()

    def table(share):
        cuts = (norm.ppf([1 / 3, 2 / 3])[:, None] - math.sqrt(share) * middle) / math.sqrt(1 - share)
        below = np.concatenate([np.zeros((1, 1200)), ndtr(cuts), np.ones((1, 1200))])
        return (mass * np.diff(below, axis=0)).reshape(3, 40, 30).sum(2).T

    first, second = map(table, shares(task))
    second *= (first.sum(0) / second.sum(0))[None, :]  # the ends that were cut off differ by 1e-6
    solution = union_information(first / first.sum(), second / second.sum())
    stored = task.truth.total - task.truth.synergy
    assert solution.gap < 1e-7
    assert stored - 4e-3 < float(solution.lower) < stored  # 40 bins of width 0.2
    assert float(solution.pid.unique2) < 1e-3


@pytest.mark.parametrize("name", LATENT_TASKS)
def test_mean_informations_of_samples_meet_the_truth(name, x64):
    task = latent_task(name)
    samples = task.sample(jax.random.key(0), N)
    for posterior, expected in zip(
        task.log_posteriors(samples), (task.truth.mi1, task.truth.mi2, task.truth.total), strict=True
    ):
        found = jnp.take_along_axis(posterior, samples.y[:, None], 1)[:, 0] + L
        # Six standard errors: fewer than one run in 10^7 fails for the 30 means; the rest is rounding.
        assert float(found.mean()) == pytest.approx(expected, abs=6 * float(found.std()) / math.sqrt(N) + 1e-9)


def test_modalities_are_the_factors_through_the_matrices(x64):
    task = latent_gaussians("mix3", variance=0.5)
    assert task.name == "latent_mix3_variance_0.5"
    x1, x2, y = map(np.asarray, task.sample(jax.random.key(1), N)[:3])
    np.testing.assert_array_equal(x1[:, 50:], x2[:, 50:])  # one shared factor through one matrix
    z = []
    for x, matrix in zip((x1[:, :50], x2[:, :50], x1[:, 50:]), task.mixing, strict=True):
        factor = np.linalg.lstsq(matrix.T, x.T)[0].T
        np.testing.assert_allclose(factor @ matrix, x, atol=1e-10)
        z.append(factor)
    moments = np.concatenate(z, 1).T @ np.concatenate(z, 1) / N
    # Standard errors of covariances are at most sqrt(2 / N) of the variance; five of them.
    np.testing.assert_allclose(moments, 0.5 * np.eye(15), atol=5 * 0.5 * math.sqrt(2 / N))
    total = z[0].sum(1) + z[1].sum(1) + z[2][:, :2].sum(1)
    np.testing.assert_array_equal(y, total > 0)


@pytest.mark.parametrize(
    ("classes", "dimension", "dropout"), [(2, 5, 0.0), (3, 5, 0.0), (32, 5, 0.0), (2, 5, 0.2), (5, 5, 0.2), (5, 1, 0.5)]
)
def test_labels_are_equally_likely_whatever_drops_out(classes, dimension, dropout):
    task = latent_gaussians("unique1", classes=classes, dimension=dimension, dropout=dropout)
    y = np.asarray(task.sample(jax.random.key(2), N).y)
    deviation = math.sqrt((1 - 1 / classes) / classes / N)
    np.testing.assert_allclose(np.bincount(y, minlength=classes) / N, 1 / classes, atol=5 * deviation)


def test_many_classes_are_blocks_in_order():
    many, two = (latent_gaussians("mix1", classes=k).sample(jax.random.key(3), N).y for k in (6, 2))
    np.testing.assert_array_equal(many >= 3, two == 1)


def test_dropout_turns_labels_over_as_often_as_two_sums_differ_in_sign():
    rate = 0.2
    clean, noisy = (latent_gaussians("redundancy", dropout=p).sample(jax.random.key(4), N) for p in (0.0, rate))
    np.testing.assert_array_equal(clean.x1, noisy.x1)
    # The sum of j of the m coordinates has the correlation sqrt(j / m) with the sum of all.
    chance = [math.comb(5, j) * (1 - rate) ** j * rate ** (5 - j) for j in range(6)]
    expected = sum(p * math.acos(math.sqrt(j / 5)) / math.pi for j, p in enumerate(chance))
    found = float((clean.y != noisy.y).mean())
    assert found == pytest.approx(expected, abs=5 * math.sqrt(expected / N))


def test_swapping_modalities_swaps_the_posteriors():
    task = latent_task("latent_mix2")
    m1, m2, mc = task.coordinates
    swapped = replace(task, coordinates=(m2, m1, mc), mixing=task.mixing[[1, 0, 2]])
    z = np.random.default_rng(0).normal(size=(3, N, 5)) @ task.mixing
    x1, x2 = np.concatenate([z[0], z[2]], 1), np.concatenate([z[1], z[2]], 1)
    first, second, both = task.log_posteriors(Samples(x1, x2))
    found = swapped.log_posteriors(Samples(x2, x1))
    np.testing.assert_allclose(found[0], second, atol=1e-9)
    np.testing.assert_allclose(found[1], first, atol=1e-9)
    np.testing.assert_array_equal(found[2].argmax(1), both.argmax(1))
    truths = [atoms(latent_task(f"latent_unique{k}").truth) for k in (1, 2)]
    np.testing.assert_array_equal(truths[0], truths[1][[0, 2, 1, 3]])


def test_the_scale_of_the_factors_and_the_number_of_columns_change_no_truth():
    plain = latent_task("latent_mix6")
    other = latent_gaussians("mix6", variance=0.1, columns=64, key=jax.random.key(9))
    assert other.truth == plain.truth
    assert not np.allclose(other.mixing[:, :, :32], plain.mixing[:, :, :32])


def test_matrices_come_from_the_key():
    a, b = (latent_gaussians(label, key=jax.random.key(7)).mixing for label in ("mix1", "unique1"))
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(
        latent_gaussians("mix1", key=jax.random.key(0)).mixing, latent_gaussians("mix1").mixing
    )
    assert 0 <= a.min() < a.max() < 1
    assert a.mean() == pytest.approx(0.5, abs=5 / math.sqrt(12 * a.size))


def test_ten_tasks_fit_in_one_program():
    tasks = [latent_task(name) for name in LATENT_TASKS]

    samples = [task.sample(k, N) for task, k in zip(tasks, jax.random.split(jax.random.key(6), 10), strict=True)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *samples)

    @jax.jit
    @jax.vmap
    def program(samples):
        """How far apart the means of the two labels are, in each modality."""
        sign = jnp.where(samples.y == 1, 2.0, -2.0)[:, None]
        return jnp.stack([jnp.abs((sign * x).mean(0)).mean() for x in samples[:2]])

    apart = program(stacked)
    assert stacked.x1.shape == stacked.x2.shape == (10, N, 100)
    assert stacked.y.shape == (10, N)
    assert apart[1, 0] > 2 * apart[1, 1]  # unique1
    assert apart[2, 1] > 2 * apart[2, 0]  # unique2
    assert jnp.allclose(apart[0, 0], apart[0, 1], rtol=0.3)  # redundancy


def test_sampling_under_jit_and_vmap():
    task = latent_task("latent_mix2")
    eager = task.sample(jax.random.key(3), N)
    batch = jax.jit(jax.vmap(lambda key: task.sample(key, N)))(jnp.stack([jax.random.key(3), jax.random.key(4)]))
    np.testing.assert_array_equal(eager.y, batch.y[0])
    np.testing.assert_allclose(eager.x1, batch.x1[0], atol=1e-5)
    assert not np.allclose(batch.x1[0], batch.x1[1])
    assert (eager.x1.dtype, eager.y.dtype) == (jnp.float32, jnp.int32)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 3])
def test_posteriors_under_jit_vmap_and_grad(classes):
    task = latent_gaussians("mix2", classes=classes)
    samples = task.sample(jax.random.key(3), N)

    @jax.jit
    @jax.vmap
    def program(x1):
        value = lambda x: sum(p[:, 1].sum() for p in task.log_posteriors(samples._replace(x1=x)))
        return task.log_posteriors(samples._replace(x1=x1)), jax.grad(value)(x1)

    found, gradient = program(samples.x1[None])
    for a, b in zip(task.log_posteriors(samples), found, strict=True):
        assert (a.dtype, a.shape) == (jnp.float32, (N, classes))
        np.testing.assert_array_equal(a.argmax(1), b[0].argmax(1))
    assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize("classes", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_posteriors_are_probabilities_in_both_precisions(classes):
    task = latent_gaussians("mix3", classes=classes)
    samples = task.sample(jax.random.key(8), N)
    doubles = Samples(*(np.asarray(x, np.float64) for x in samples[:2]))
    far = Samples(1e4 * doubles.x1, 1e4 * doubles.x2)
    for at, dtype, accuracy in ((samples, jnp.float32, 1e-5), (doubles, np.float64, 1e-12), (far, np.float64, 1e-12)):
        for posterior in task.log_posteriors(at):
            assert posterior.dtype == dtype
            assert not np.isnan(posterior).any()
            np.testing.assert_allclose(np.exp(posterior).sum(1), 1, atol=accuracy)
    for single, double in zip(task.log_posteriors(samples)[:2], task.log_posteriors(doubles)[:2], strict=True):
        np.testing.assert_allclose(single, double, rtol=1e-3, atol=1e-3)  # matrices of condition 6, edges of 5
    # Both modalities know the sum, and with it the label.
    np.testing.assert_array_equal(task.log_posteriors(samples)[2].argmax(1), samples.y)


def test_a_sum_on_its_threshold_leaves_the_label_open():
    x = np.zeros((N, 100))
    for posterior in latent_task("latent_redundancy").log_posteriors(Samples(x, x)):
        np.testing.assert_allclose(posterior, math.log(0.5), atol=1e-12)


def chance_of_one(seen, hidden):
    """p(y=1 | the coordinates seen) under a dropout of 0.2, for n rows of unit normals, pattern by pattern."""
    kept = np.array(list(itertools.product((0, 1), repeat=seen.shape[1])))
    weight = 0.8 ** kept.sum(1) * 0.2 ** (1 - kept).sum(1)
    total, p = seen @ kept.T, 0.0
    for j in range(hidden + 1):
        chance = math.comb(hidden, j) * 0.8**j * 0.2 ** (hidden - j)
        p += chance * (ndtr(total / math.sqrt(j)) if j else 0.5 + 0.5 * np.sign(total)) @ weight
    return p


def coordinates_seen(task, samples):
    """The coordinates behind the label that modality 1, 2 and both see, as unit normals."""
    n = task.mixing.shape[2]
    columns = (samples.x1[:, :n], samples.x2[:, :n], samples.x1[:, n:])
    parts = [
        (np.asarray(x, np.float64) @ np.linalg.pinv(t))[:, :m] / math.sqrt(1.5)
        for x, t, m in zip(columns, task.mixing, task.coordinates, strict=True)
    ]
    return [np.concatenate(some, 1) for some in ((parts[0], parts[2]), (parts[1], parts[2]), parts)]


@pytest.mark.parametrize("label", LATENT_LABELS)
def test_truths_with_dropout_are_met_by_mean_informations(label):
    task = latent_gaussians(label, dropout=0.2)
    assert task.name == f"latent_{label}_dropout_0.2"
    n = 1000 if sum(task.coordinates) > 9 else 4000  # 2^12 patterns
    samples = task.sample(jax.random.key(10), N)
    for seen, expected in zip(
        coordinates_seen(task, samples), (task.truth.mi1, task.truth.mi2, task.truth.total), strict=True
    ):
        p = chance_of_one(seen[:n], sum(task.coordinates) - seen.shape[1])
        i = np.log(2 * np.where(np.asarray(samples.y)[:n] == 1, p, 1 - p))
        # Six standard errors, and that of the table.
        assert i.mean() == pytest.approx(expected, abs=6 * i.std() / math.sqrt(n) + 1e-4)


@pytest.mark.parametrize("label", ["synergy", "mix2", "mix6"])
def test_with_dropout_too_the_union_is_the_larger_information(label):
    """The tables of posteriors of draws, solved: no use is made of one modality being a garbling of the other."""
    task = latent_gaussians(label, dropout=0.2)
    seen = coordinates_seen(task, task.sample(jax.random.key(11), N))
    tables = []
    for z in seen[:2]:
        p = chance_of_one(z[:1700], sum(task.coordinates) - z.shape[1])
        p = np.concatenate([p, 1 - p])  # z and -z: both labels are equally likely
        tables.append(np.stack([1 - p, p], axis=1) / p.size)
    pid = union_information(*tables).pid
    # Two draws of one distribution differ in their call functions by about 0.02, the union by less.
    assert min(pid.unique1, pid.unique2) < 5e-3
    assert max(pid.mi1, pid.mi2) == pytest.approx(max(task.truth.mi1, task.truth.mi2), abs=0.02)


def test_other_dropouts_leave_the_truth_unknown_and_say_so():
    for settings in ({"dropout": 0.1}, {"dropout": 0.2, "dimension": 4}, {"dropout": 0.2, "classes": 3}):
        task = latent_gaussians("synergy", **settings)
        assert (task.truth, task.source) == (None, "unknown")
        with pytest.raises(ValueError, match=r"dropout is 0\.\d; the posteriors are known without dropout"):
            task.log_posteriors(Samples(np.zeros((1, 100)), np.zeros((1, 100))))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: latent_task("latent_mix7"), "no task is called 'latent_mix7'"),
        (lambda: latent_gaussians("mix7"), "no label is called 'mix7'"),
        (lambda: latent_gaussians("mix1", columns=101), "columns is 101"),
        (lambda: latent_gaussians("mix1", dimension=51), "columns is 100 and dimension 51"),
        (lambda: latent_gaussians("mix1", dimension=1), r"coordinates are \(0, 0, 0\)"),
        (lambda: latent_gaussians("mix1", classes=1), "classes is 1"),
        (lambda: latent_gaussians("mix1", variance=0.0), "variance is 0"),
        (lambda: latent_gaussians("mix1", dropout=1.0), "dropout is 1"),
        (lambda: LatentTask("bad", (1, 1, 1), np.ones((3, 5, 4))), r"mixing has shape \(3, 5, 4\)"),
        (lambda: LatentTask("bad", (1, 1, 6), np.ones((3, 5, 5))), r"coordinates are \(1, 1, 6\)"),
        (lambda: latent_task("latent_mix1").sample(jax.random.key(0), 0), "n is 0"),
        (
            lambda: latent_task("latent_mix1").log_posteriors(Samples(np.ones((2, 9)), np.ones((2, 100)))),
            r"x1 has shape \(2, 9\)",
        ),
        (
            lambda: jax.jit(
                lambda seed: latent_gaussians("mix1", key=jax.random.key(seed)).sample(jax.random.key(0), 1)
            )(0),
            "key is traced",
        ),
    ],
)
def test_what_is_wrong_is_refused_with_its_number(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_every_label_is_a_share_of_the_factors():
    assert all(0 <= share <= 1 for shares in LATENT_LABELS.values() for share in shares)
