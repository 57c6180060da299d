"""Continuous tasks: truths against independent integrals, densities by hand, and honest samples."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pidjax import broja, union_information
from pidjax.datasets import (
    GATES,
    GAUSSIAN_TASKS,
    MAPS,
    GaussianTask,
    gaussian_task,
    lsmi_gaussian,
    mapped,
    noisy_gate,
    two_classes,
)
from pidjax.typing import Samples

ATOMS = ("redundancy", "unique1", "unique2", "synergy")
# Truths of the specification, which other codes made: atoms, and to how much.
SPECIFIED = {
    "g0": ((0.0, 0.633, 0.0, 0.0), 5e-4),
    "g15": ((0.1185, 0.5043, 0.0, 0.0100), 1e-4),
    "g30": ((0.3368, 0.2491, 0.0, 0.0468), 1e-4),
    "g45": ((0.5001, 0.0, 0.0, 0.1327), 1e-4),
    "g0_norm_1.5": ((0.0, 0.527, 0.0, 0.0), 6e-4),
    "g15_norm_1.5": ((0.070, 0.441, 0.0, 0.016), 6e-4),
    "g30_norm_1.5": ((0.2212, 0.2389, 0.0, 0.067), 6e-4),
    "g45_norm_1.5": ((0.364, 0.0, 0.0, 0.163), 6e-4),
    "c3": ((0.096, 0.306, 0.306, 0.027), 1e-3),
    "lsmi_2": ((0.50007, 0.0, 0.0, 0.06290), 1e-5),
    "lsmi_10": ((1.341, 0.0, 0.0, 0.259), 2e-3),  # Monte Carlo over 400,000 draws
}
GATE_TASKS = [name for name in GAUSSIAN_TASKS if name.endswith("_noise_0.1")]


def atoms(pid):
    return np.array([getattr(pid, name) for name in ATOMS])


def gauss(x):
    return np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)


def pointwise(task, samples):
    """i1, i2, i12 of every sample."""
    prior = jnp.log(jnp.asarray(task.joint.sum((0, 1))))[samples.y]
    return [
        jnp.take_along_axis(posterior, samples.y[:, None], 1)[:, 0] - prior
        for posterior in task.log_posteriors(samples)
    ]


def binary_channel(snr):
    """I(Y; +-snr + z), by Gauss-Hermite quadrature: another rule, another integrand."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(180)
    return math.log(2) - weights @ np.logaddexp(0, -2 * snr * (snr + nodes)) / weights.sum()


@pytest.mark.parametrize("name", SPECIFIED)
def test_truths_are_those_of_the_specification(name):
    expected, accuracy = SPECIFIED[name]
    np.testing.assert_allclose(atoms(gaussian_task(name).truth), expected, atol=accuracy)


@pytest.mark.parametrize("name", GATE_TASKS)
def test_noisy_gates_have_the_truth_of_the_gate(name):
    task = gaussian_task(name)
    assert task.truth == GATES[name.removesuffix("_noise_0.1")].truth
    assert noisy_gate("and", noise=0.2).truth is None


@pytest.mark.parametrize("name", GAUSSIAN_TASKS)
def test_mean_informations_of_samples_meet_the_truth(name):
    task, n = gaussian_task(name), 4000
    assert task.name == name
    for found, expected in zip(
        pointwise(task, task.sample(jax.random.key(0), n)),
        (task.truth.mi1, task.truth.mi2, task.truth.total),
        strict=True,
    ):
        # Six standard errors: fewer than one run in 10^6 fails for the 69 means; float32 besides.
        allowed = 6 * float(found.std()) / math.sqrt(n) + 1e-5
        assert float(found.mean()) == pytest.approx(expected, abs=allowed)


@pytest.mark.parametrize("angle", [0, 10, 45, 80, 120])
@pytest.mark.parametrize("norm", [0.3, 2.0])
def test_two_classes_by_another_quadrature(angle, norm):
    truth = two_classes(angle, norm=norm).truth
    i1, i2, i12 = (
        binary_channel(a * norm) for a in (abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle))), 1)
    )
    # 180 Gauss-Hermite nodes integrate log(1 + e^(linear)), whose poles lie pi off the axis, to 1e-7 at norm 2.
    np.testing.assert_allclose([truth.mi1, truth.mi2, truth.total], [i1, i2, i12], atol=1e-7)
    assert truth.redundancy == pytest.approx(min(i1, i2), abs=1e-7)


@pytest.mark.parametrize(
    ("noise", "correlation", "redundancy", "synergy"),
    [
        (0.5, 0.5, 0.50007, 0.06290),
        (0.5, 0.0, 0.50007, 0.13265),
        (0.5, 0.9, 0.50007, 0.01176),
        (1, 0.5, 0.20135, 0.05084),
    ],
)
def test_lsmi_data_of_two_classes_have_the_values_of_the_specification(noise, correlation, redundancy, synergy):
    truth = lsmi_gaussian(2, noise=noise, correlation=correlation).truth
    np.testing.assert_allclose(atoms(truth), (redundancy, 0, 0, synergy), atol=6e-6)  # five digits, rounded


@pytest.mark.parametrize("classes", [3, 10])
def test_lsmi_data_of_many_classes_by_monte_carlo_in_numpy(classes):
    rng, n, noise = np.random.default_rng(5), 400_000, 0.5
    z = noise * rng.normal(size=(n, classes))
    z[:, 0] += 1
    # log p(y | x) of the first label, of which every x is a draw.
    i = math.log(classes) + z[:, 0] / noise**2 - np.log(np.exp(z / noise**2).sum(1))
    assert lsmi_gaussian(classes).truth.redundancy == pytest.approx(i.mean(), abs=5 * i.std() / math.sqrt(n))


def test_perfect_and_useless_channels_are_the_limits():
    perfect, useless = lsmi_gaussian(10, noise=0.01).truth, lsmi_gaussian(10, noise=1e4).truth
    np.testing.assert_allclose(atoms(perfect), (math.log(10), 0, 0, 0), atol=1e-12)
    np.testing.assert_allclose(atoms(useless), 0, atol=1e-7)  # the information is about (classes - 1) / 2 noise^2 K


def test_three_classes_by_quadrature_and_certified_binning():
    truth = gaussian_task("c3").truth
    # Densities on equally spaced points: the error of the sum is far below the digits that are stored.
    x, step = np.linspace(-10, 13, 461, retstep=True)
    unit = 0.5 * math.log(2 * math.pi * math.e)
    one = (gauss(x) + 2 * gauss(x - 2.5)) / 3
    two = sum(np.outer(gauss(x - a), gauss(x - b)) for a, b in ((0, 0), (2.5, 0), (2.5, 2.5))) / 3
    i1, i12 = (-(p * np.log(p)).sum() * step**d - d * unit for p, d in ((one, 1), (two, 2)))
    np.testing.assert_allclose([truth.mi1, truth.mi2, truth.total], [i1, i1, i12], atol=2e-9)
    # Binned modalities: garblings, so certified lower bounds that meet the truth like the squared width of a bin.
    union, first = [], []
    for bins in (40, 80):
        edges = np.concatenate([[-np.inf], np.linspace(-6, 8.5, bins + 1)[1:-1], [np.inf]])
        below = np.array([[math.erf((e - m) / math.sqrt(2)) for e in edges] for m in (0, 2.5)])
        near, far = 0.5 * np.diff(below) / 3
        tables = [np.zeros((80, 3)), np.zeros((80, 3))]  # empty symbols change nothing, and one shape compiles once
        tables[0][:bins], tables[1][:bins] = np.stack([near, far, far], 1), np.stack([near, near, far], 1)
        solution = union_information(*tables)
        assert solution.gap < 1e-8
        union.append(float(solution.upper))
        first.append(float(solution.pid.mi1))
    stored = truth.total - truth.synergy
    assert union[0] < union[1] < stored
    extrapolated, control = ((4 * fine - coarse) / 3 for coarse, fine in (union, first))
    # What is left after extrapolation is seen on I1 + I2, whose truth is known: 6.7e-6.
    assert abs(extrapolated - stored) <= 2 * abs(control - i1) <= 1e-5


def test_densities_and_posteriors_by_hand():
    prior = np.array([0.3, 0.7])
    joint = np.zeros((2, 2, 2))
    joint[0, 0, 0], joint[1, 1, 1] = prior
    means1, means2 = np.array([[0.0, 1.0], [2.0, -1.0]]), np.array([[1.0, 0.0], [0.5, 0.5]])
    noise, rho = 0.7, -0.4
    task = GaussianTask("by hand", joint, means1, means2, noise, rho)
    x = np.random.default_rng(0).normal(size=(2, 5, 2))
    covariance = noise**2 * np.kron(np.array([[1, rho], [rho, 1]]), np.eye(2))

    def normal(x, mean, cov):
        e = x - mean
        exponent = -0.5 * np.einsum("ni,ij,nj->n", e, np.linalg.inv(cov), e)
        return np.exp(exponent) / math.sqrt(np.linalg.det(2 * math.pi * cov))

    inputs = (x[0], x[1], np.concatenate(list(x), 1))
    points = (means1, means2, np.concatenate([means1, means2], 1))
    covs = (covariance[:2, :2], covariance[2:, 2:], covariance)
    samples = Samples(x[0], x[1])
    densities = task.log_densities(samples)
    for m, (found, at, means, cov) in enumerate(zip(task.log_posteriors(samples), inputs, points, covs, strict=True)):
        each = np.stack([prior[y] * normal(at, means[y], cov) for y in (0, 1)], 1)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, np.log(each / each.sum(1, keepdims=True)), atol=1e-12)
        if m < 2:
            np.testing.assert_allclose(densities[m], np.log(each.sum(1)), atol=1e-12)


def test_posteriors_of_a_gate_are_the_gate():
    task = gaussian_task("and_noise_0.1")
    p = task.joint
    at = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    eye = np.eye(2)
    first, second, both = task.log_posteriors(Samples(eye[at[:, 0]], eye[at[:, 1]]))
    np.testing.assert_allclose(np.exp(first), (p.sum(1) / p.sum((1, 2))[:, None])[at[:, 0]], atol=1e-12)
    np.testing.assert_allclose(np.exp(second), (p.sum(0) / p.sum((0, 2))[:, None])[at[:, 1]], atol=1e-12)
    np.testing.assert_allclose(np.exp(both), (p / p.sum(2, keepdims=True))[at[:, 0], at[:, 1]], atol=1e-12)


def test_posteriors_far_from_every_point_are_still_probabilities():
    task = gaussian_task("lsmi_10")
    x = np.full((1, 10), 1e3)
    x[0, 3] += 1
    for posterior in task.log_posteriors(Samples(x, x)):
        assert np.exp(posterior).sum() == pytest.approx(1.0, abs=1e-9)  # exponents of 1e7 in float64
        assert posterior.argmax() == 3


def test_samples_have_the_moments_of_the_task():
    task, n = lsmi_gaussian(3, correlation=0.8, noise=0.25), 40_000
    samples = task.sample(jax.random.key(1), n)
    e1, e2 = ((np.asarray(x) - np.eye(3)[samples.y]) / 0.25 for x in samples[:2])
    cross = e1.T @ e2 / n
    # Standard errors of covariances of unit normals are at most sqrt(2 / n); five of them.
    allowed = 5 * math.sqrt(2 / n)
    np.testing.assert_allclose(cross, 0.8 * np.eye(3), atol=allowed)
    for e in (e1, e2):
        np.testing.assert_allclose(e.T @ e / n, np.eye(3), atol=allowed)
        np.testing.assert_allclose(e.mean(0), 0, atol=allowed)
    np.testing.assert_allclose(np.bincount(samples.y) / n, 1 / 3, atol=5 * math.sqrt(2 / 9 / n))


def test_gate_samples_read_back_are_the_gate():
    task = gaussian_task("rdn_xor_noise_0.1")
    samples = task.sample(jax.random.key(2), 5000)
    s1, s2 = (np.asarray(x).argmax(1) for x in samples[:2])
    assert task.joint[s1, s2, samples.y].min() > 0  # a symbol is misread once in 10^11
    counts = np.zeros_like(task.joint)
    np.add.at(counts, (s1, s2, np.asarray(samples.y)), 1 / 5000)
    assert abs(broja(counts).pid.synergy - task.truth.synergy) < 0.05


def test_samples_and_posteriors_under_jit_and_vmap():
    task = gaussian_task("lsmi_2")
    eager = task.sample(jax.random.key(3), 20)
    jitted = jax.jit(task.sample, static_argnums=1)(jax.random.key(3), 20)
    batch = jax.vmap(lambda key: task.sample(key, 20))(jax.random.key(3)[None])
    for a, b, c in zip(eager[:3], jitted[:3], batch[:3], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
        np.testing.assert_allclose(a, c[0], atol=1e-6)
    assert jnp.issubdtype(eager.y.dtype, jnp.integer)
    for a, b in zip(task.log_posteriors(eager), jax.jit(task.log_posteriors)(eager), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
        assert a.dtype == jnp.float32
    gradient = jax.grad(lambda x: task.log_posteriors(eager._replace(x1=x))[2][:, 0].sum())(eager.x1)
    assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize("kind", MAPS)
def test_maps_are_fixed_nets_that_keep_labels(kind):
    samples = gaussian_task("g30").sample(jax.random.key(4), 30)
    found = mapped(samples, jax.random.key(5), kind)
    assert found.x1.shape == found.x2.shape == (30, 64)
    np.testing.assert_array_equal(found.y, samples.y)
    np.testing.assert_array_equal(found.x1, mapped(samples, jax.random.key(5), kind).x1)
    assert not np.allclose(found.x1, mapped(samples, jax.random.key(6), kind).x1)
    x = np.random.default_rng(0).normal(size=(6, 3))
    assert mapped(Samples(x, x), jax.random.key(5), kind).x2.dtype == np.float64


def test_the_padded_map_keeps_apart_what_differs_and_scales_with_it():
    x = np.random.default_rng(0).normal(size=(40, 2))
    one, two = (mapped(Samples(c * x, x), jax.random.key(5), "pad").x1 for c in (1.0, 2.0))
    np.testing.assert_allclose(two, 2 * one, rtol=1e-12)  # leaky relu without offsets
    assert np.linalg.norm(one[:, None] - one[None], axis=2)[~np.eye(40, dtype=bool)].min() > 0


def test_the_mild_map_is_bounded_both_ways():
    x = np.random.default_rng(0).normal(size=(50, 64))  # no room for noise: the map alone
    y = mapped(Samples(x, x), jax.random.key(5), "mild").x1
    ratio = np.linalg.norm(y[:, None] - y[None], axis=2) / (np.linalg.norm(x[:, None] - x[None], axis=2) + np.eye(50))
    off = ratio[~np.eye(50, dtype=bool)]
    assert 0.5 - 1e-12 <= off.min() <= off.max() <= 1 + 1e-12  # the slopes of the leaky relu


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gaussian_task("g31"), "no task is called 'g31'"),
        (lambda: noisy_gate("nand"), "no gate is called 'nand'"),
        (lambda: noisy_gate("and", noise=0.0), "noise is 0"),
        (lambda: lsmi_gaussian(1), "classes is 1"),
        (lambda: lsmi_gaussian(2, correlation=1.0), "correlation is 1"),
        (lambda: gaussian_task("c3").sample(jax.random.key(0), 0), "n is 0"),
        (
            lambda: gaussian_task("c3").log_densities(Samples(np.zeros((2, 2)), np.zeros((2, 1)))),
            r"x1 has shape \(2, 2\)",
        ),
        (lambda: gaussian_task("c3").log_posteriors(Samples(np.zeros((2, 1)))), "x2 is missing"),
        (lambda: gaussian_task("c3").log_densities(Samples(*np.full((2, 2, 1), np.nan))), "x1 has 2 NaN or infinite"),
        (lambda: GaussianTask("bad", GATES["and"].joint, np.eye(3), np.eye(2)), r"means1 has shape \(3, 3\)"),
        (lambda: GaussianTask("bad", GATES["and"].joint, np.eye(2), np.ones((2, 1)), 1, 0.5), "correlated noise"),
        (lambda: GaussianTask("bad", np.ones((2, 2, 2)), np.eye(2), np.eye(2)), "sums to 8"),
        (lambda: mapped(Samples(np.zeros((3, 1)), np.zeros((3, 1))), jax.random.key(0), "wild"), "kind is 'wild'"),
        (lambda: mapped(Samples(np.zeros((3, 65)), np.zeros((3, 1))), jax.random.key(0), "pad"), "d at most 64"),
    ],
)
def test_what_is_wrong_is_refused_with_its_number(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_features_that_are_not_numbers_are_nan_inside_jit():
    task, x = gaussian_task("c3"), jnp.zeros((2, 1))
    first, _, both = jax.jit(task.log_posteriors)(Samples(x.at[0].set(jnp.inf), x))
    assert jnp.isnan(first[0]).all()
    assert jnp.isnan(both[0]).all()
    assert jnp.isfinite(both[1]).all()
