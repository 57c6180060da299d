"""Polar coordinates and hidden signs: truths against other integrals and certified bins, posteriors by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtr

from pidjax import broja
from pidjax.datasets import POLAR_TASKS, PolarTask, gaussian_task, polar_classes, polar_task, two_classes, xor_signs
from pidjax.typing import Samples

N = 105  # one size in most tests: an eager operation is compiled once for each shape
ATOMS = ("redundancy", "unique1", "unique2", "synergy")


def atoms(pid):
    return np.array([getattr(pid, name) for name in ATOMS])


def polar_density(norm, radius, angle, label):
    """p(r, a | y) with the mean of label 1 at angle 0, up to rounding."""
    sign = 2 * label - 1
    exponent = -0.5 * (radius**2 + norm**2) + sign * radius * norm * np.cos(angle)
    return radius * np.exp(exponent) / (2 * math.pi)


def mean_informations(task, samples):
    """Mean and standard error of i1, i2, i12 of samples with a fair label."""
    for posterior in task.log_posteriors(samples):
        i = jnp.take_along_axis(posterior, samples.y[:, None], 1)[:, 0] + math.log(2)
        yield float(i.mean()), float(i.std()) / math.sqrt(len(i))


@pytest.mark.parametrize(("norm", "unique", "synergy"), [(1.0, 0.42721, 0.05873), (2.0, 0.88565, 0.02717)])
def test_polar_truths_are_those_of_the_specification(norm, unique, synergy):
    truth = polar_task(f"polar_norm_{norm:g}").truth
    np.testing.assert_allclose(atoms(truth) / math.log(2), (0, 0, unique, synergy), atol=5e-6)  # bits, five digits


@pytest.mark.parametrize("norm", [0.4, 1.0, 3.0])
def test_polar_truths_by_an_integral_over_the_plane(norm):
    # Equally spaced sums: over the angle, which is periodic, to rounding; over the radius by the rule of trapezoids.
    radius, step = np.linspace(0, norm + 9, 1500, retstep=True)
    angle = 2 * math.pi * np.arange(240) / 240
    density = np.stack([polar_density(norm, radius[:, None], angle[None, :], y) for y in (0, 1)])
    cell = step * 2 * math.pi / 240
    by_angle = density.sum(1) * step
    unlogged = lambda p, area: 0.5 * area * (p * np.log(2 * p / p.sum(0))).sum()
    inside = density[:, 1:]  # at r = 0 the density vanishes
    i12, i2 = unlogged(inside, cell), unlogged(by_angle, 2 * math.pi / 240)
    # The sum over r starts where r e^(-r^2/2) has a slope of e^(-norm^2/2): the rule of trapezoids errs by h^2 / 12.
    np.testing.assert_allclose(atoms(polar_classes(norm).truth), (0, 0, i2, i12 - i2), atol=step**2 / 6)


def test_a_binned_polar_task_approaches_its_truth_from_below():
    truth, found = polar_task("polar_norm_2").truth, []
    for bins in (20, 40):
        # Cells by nine points each: the errors of these sums are far below what the bins lose.
        radius = (np.arange(3 * bins) + 0.5) * 8 / (3 * bins)
        angle = (np.arange(3 * bins) + 0.5) * 2 * math.pi / (3 * bins)
        p = np.stack([polar_density(2.0, radius[:, None], angle[None, :], y) for y in (0, 1)], axis=2)
        p = p.reshape(bins, 3, bins, 3, 2).sum((1, 3))
        table = np.zeros((40, 40, 2))  # empty symbols change nothing, and one shape compiles once
        table[:bins, :bins] = p / p.sum()
        solution = broja(table)
        assert solution.gap < 1e-9
        assert solution.pid.redundancy < 1e-9  # the radius says nothing
        assert solution.pid.unique1 < 1e-9
        found.append(np.array([solution.pid.mi2, solution.pid.total]))
    expected = np.array([truth.mi2, truth.total])
    assert (found[0] < found[1]).all()
    assert (found[1] < expected).all()
    # What a bin loses goes like its squared width.
    np.testing.assert_allclose((4 * found[1] - found[0]) / 3, expected, atol=2e-4)


def test_the_truth_does_not_depend_on_the_angle_and_the_posteriors_turn_with_it():
    here, there = polar_classes(1.5), polar_classes(1.5, angle=137.0)
    assert here.truth == there.truth
    assert there.name == "polar_norm_1.5_angle_137"
    rng = np.random.default_rng(0)
    radius, angle = rng.uniform(0, 4, (N, 1)), rng.uniform(0, 2 * math.pi, N)
    turn = math.radians(137.0 - 30.0)
    ends = [np.stack([np.cos(a), np.sin(a)], 1) for a in (angle, angle + turn)]
    for a, b in zip(
        here.log_posteriors(Samples(radius, ends[0])), there.log_posteriors(Samples(radius, ends[1])), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("name", POLAR_TASKS)
def test_mean_informations_of_polar_samples_meet_the_truth(name):
    task = polar_task(name)
    assert task.name == name
    samples = task.sample(jax.random.key(0), 20_000)
    assert abs(float(samples.y.mean()) - 0.5) < 6 * 0.5 / math.sqrt(20_000)
    for (mean, error), expected in zip(
        mean_informations(task, samples), (task.truth.mi1, task.truth.mi2, task.truth.total), strict=True
    ):
        assert mean == pytest.approx(expected, abs=6 * error + 1e-6)  # six standard errors


def test_polar_samples_are_the_points_of_the_cartesian_task():
    samples = polar_task("polar_norm_2").sample(jax.random.key(1), 20_000)
    points = np.asarray(samples.x1 * samples.x2)
    residual = points - (2 * np.asarray(samples.y) - 1)[:, None] * 2.0 * np.array([math.cos(math.pi / 6), 0.5])
    allowed = 5 * math.sqrt(2 / 20_000)  # five standard errors of a variance of unit normals, the largest
    np.testing.assert_allclose(residual.mean(0), 0, atol=allowed)
    np.testing.assert_allclose(residual.T @ residual / 20_000, np.eye(2), atol=allowed)
    # The two coordinates of polar and of Cartesian form say the same together.
    both = polar_task("polar_norm_2").log_posteriors(samples)[2]
    cartesian = two_classes(30.0).log_posteriors(Samples(points[:, :1], points[:, 1:]))[2]
    np.testing.assert_allclose(both, cartesian, rtol=1e-5, atol=1e-5)  # float32


def test_polar_posteriors_by_integration_over_the_radius():
    angle = np.linspace(0, 2 * math.pi, N)
    radius = np.linspace(0, 14, 2801)
    found = PolarTask("by hand", 3.0, 0.0).log_posteriors(
        Samples(np.ones((N, 1)), np.stack([np.cos(angle), np.sin(angle)], 1))
    )
    density = polar_density(3.0, radius[:, None, None], angle[None, :, None], np.array([0, 1])[None, None, :])
    # Simpson's rule at a step of 0.005 errs by about 1e-12; the smaller density is 1e-4 of the larger.
    weight = np.where(np.arange(2801) % 2, 4.0, 2.0)
    weight[[0, -1]] = 1.0
    by_angle = np.einsum("r,ray->ay", weight, density)
    assert found[1].dtype == np.float64
    np.testing.assert_allclose(found[1], np.log(by_angle / by_angle.sum(1, keepdims=True)), atol=1e-8)
    np.testing.assert_array_equal(found[0], math.log(0.5))


def test_posteriors_of_angles_keep_their_digits_in_float32():
    # log odds from 1e-3 to 450, across the place where two expansions meet.
    along = np.concatenate([np.linspace(-3, 3, 101), [1.9999, 2.0001, 8.0, 30.0]])
    x1, x2 = np.ones((along.size, 1)), np.stack([along, 0 * along], 1)
    task = PolarTask("by hand", 1.0, 0.0)
    exact = task.log_posteriors(Samples(x1, x2))
    single = task.log_posteriors(Samples(jnp.asarray(x1, jnp.float32), jnp.asarray(x2, jnp.float32)))
    for a, b in zip(exact, single, strict=True):
        assert b.dtype == jnp.float32
        np.testing.assert_allclose(b, a, rtol=2e-5, atol=1e-6)
    odds = exact[1][:, 1] - exact[1][:, 0]
    np.testing.assert_allclose(odds[:101], -odds[100::-1], atol=1e-12)
    assert (np.diff(odds[:101]) > 0).all()
    # Far out 1 / g(-c) is c^2 + 3 up to 6 / c^2, and 1 is nothing to g(c).
    far = 450 + 0.5 * math.log(2 * math.pi) + math.log(30.0) + math.log(30.0**2 + 3)
    assert odds[-1] == pytest.approx(far, abs=1e-5)


def test_polar_samples_under_jit_and_vmap():
    task = polar_task("polar_norm_1")
    eager = task.sample(jax.random.key(3), 20_000)
    batch = jax.jit(jax.vmap(lambda key: task.sample(key, 20_000)))(jnp.stack([jax.random.key(3), jax.random.key(4)]))
    for a, b in zip(eager[:3], batch[:3], strict=True):
        np.testing.assert_allclose(a, b[0], atol=1e-5)
        assert not np.allclose(b[0], b[1])
    assert (eager.x2.dtype, eager.y.dtype) == (jnp.float32, jnp.int32)


@pytest.mark.slow
def test_polar_posteriors_under_jit_and_grad():
    task = polar_task("polar_norm_1")
    samples = task.sample(jax.random.key(3), 20_000)
    for a, b in zip(task.log_posteriors(samples), jax.jit(task.log_posteriors)(samples), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    gradient = jax.jit(jax.grad(lambda x: task.log_posteriors(samples._replace(x2=x))[1][:, 0].sum()))(samples.x2)
    assert jnp.isfinite(gradient).all()


def test_hidden_signs_are_all_synergy_by_a_series():
    # log 2 - h((1 + u) / 2) = sum_n u^2n / (2n (2n - 1)), and u is a product of independent means.
    for signal in (0.5, 1.0, 2.0):
        x = np.linspace(-9 - signal, 9 + signal, 2001)
        density = np.exp(-0.5 * (x - signal) ** 2)
        density /= density.sum()
        log_mean = np.log(np.tanh(signal * np.abs(x)) + 1e-300)
        series = sum((np.exp(2 * n * log_mean) @ density) ** 2 / (2 * n * (2 * n - 1)) for n in range(1, 4001))
        truth = xor_signs(signal).truth
        assert atoms(truth)[:3].tolist() == [0, 0, 0]
        # Left out: less than the last squared moment over 4 N, which is 4e-6 at signal 2.
        assert series <= truth.synergy + 1e-12
        assert truth.synergy == pytest.approx(series, abs=5e-6)


def test_hidden_signs_seen_through_bins_approach_their_truth():
    found = []
    for bins in (20, 40):
        edges = np.concatenate([[-np.inf], np.linspace(-5, 5, bins + 1)[1:-1], [np.inf]])
        near = np.zeros((40, 2))  # empty symbols change nothing, and one shape compiles once
        near[:bins] = np.stack([np.diff(ndtr(edges - m)) for m in (-2.0, 2.0)], axis=1)
        same = 0.25 * (np.outer(near[:, 0], near[:, 0]) + np.outer(near[:, 1], near[:, 1]))
        other = 0.25 * (np.outer(near[:, 0], near[:, 1]) + np.outer(near[:, 1], near[:, 0]))
        pid = broja(np.stack([same, other], axis=2)).pid
        np.testing.assert_allclose(atoms(pid)[:3], 0, atol=1e-9)
        found.append(float(pid.synergy))
    truth = gaussian_task("xor_signs").truth.synergy
    assert found[0] < found[1] < truth
    # Bins lose like their squared width; the last of them are open, which costs a tail of 3 standard deviations.
    assert (4 * found[1] - found[0]) / 3 == pytest.approx(truth, abs=2e-4)


def test_posteriors_of_hidden_signs_are_products_of_hyperbolic_tangents():
    x1, x2 = np.random.default_rng(0).normal(scale=2.0, size=(2, N, 1))
    first, second, both = xor_signs(1.5).log_posteriors(Samples(x1, x2))
    np.testing.assert_allclose(first, math.log(0.5), atol=1e-12)
    np.testing.assert_allclose(second, math.log(0.5), atol=1e-12)
    mean = np.tanh(1.5 * x1[:, 0]) * np.tanh(1.5 * x2[:, 0])  # of the product of the signs, which is -1 for y = 1
    np.testing.assert_allclose(np.exp(both), np.stack([1 + mean, 1 - mean], 1) / 2, atol=1e-12)


def test_strong_signals_are_a_perfect_gate_and_weak_ones_say_nothing():
    assert xor_signs(20.0).truth.synergy == pytest.approx(math.log(2), abs=1e-12)
    assert xor_signs(0.0).truth.synergy == pytest.approx(0.0, abs=1e-12)
    assert atoms(polar_classes(12.0).truth) == pytest.approx([0, 0, math.log(2), 0], abs=1e-10)
    assert atoms(polar_classes(0.0).truth) == pytest.approx([0, 0, 0, 0], abs=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: polar_task("polar"), "no task is called 'polar'"),
        (lambda: polar_classes(-1.0), "norm is -1"),
        (lambda: xor_signs(-1.0), "signal is -1"),
        (lambda: polar_task("polar_norm_1").sample(jax.random.key(0), 0), "n is 0"),
        (
            lambda: polar_task("polar_norm_1").log_posteriors(Samples(np.ones((2, 1)), np.ones((2, 1)))),
            r"x2 has shape \(2, 1\); expected \(n, 2\)",
        ),
        (lambda: polar_task("polar_norm_1").log_posteriors(Samples(None, np.ones((2, 2)))), "x1 is missing"),
    ],
)
def test_what_is_wrong_is_refused_with_its_number(call, message):
    with pytest.raises(ValueError, match=message):
        call()
