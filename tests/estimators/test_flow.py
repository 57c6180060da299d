"""Flows: densities whatever their parameters, and pairs made Gaussian that no map of single coordinates could."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pidjax.datasets import linear_task
from pidjax.estimators.flow import RECIPE, Gaussianisation, flow_pid, flows, halves
from pidjax.typing import Samples

ATOMS = ("redundancy", "unique1", "unique2", "synergy")
KEY = jax.random.key(0)


def atoms(pid):
    return np.stack([np.asarray(getattr(pid, atom)) for atom in ATOMS])


@functools.cache
def moved(layers):
    """A flow of two coordinates with random parameters, and points."""
    net = Gaussianisation(layers)
    x = jax.random.normal(KEY, (20, 2))
    params = net.init(KEY, x)
    keys = iter(jax.random.split(jax.random.key(1), 100))
    return net, jax.tree.map(lambda p: p + 0.3 * jax.random.normal(next(keys), p.shape), params), x


@pytest.mark.slow
def test_log_determinants_are_those_of_the_jacobian():
    net, params, x = moved(2)
    _, found = jax.jit(net.apply)(params, x)
    jacobian = jax.jit(jax.vmap(jax.jacfwd(lambda point: net.apply(params, point[None])[0][0])))(x)
    # float32: tails of 1e-4 or so have relative errors of 1e-4.
    assert found == pytest.approx(np.linalg.slogdet(jacobian)[1], abs=5e-3)


def test_a_flow_is_a_density():
    """exp(-|z|^2 / 2 + log-determinant) / 2 pi integrates to one over a grid."""
    net, params, _ = moved(1)
    line = jnp.linspace(-25, 25, 501)
    grid = jnp.stack(jnp.meshgrid(line, line), -1).reshape(-1, 2)
    z, log_slope = jax.jit(net.apply)(params, grid)
    density = np.exp(np.asarray(-(z**2).sum(1) / 2 + log_slope, np.float64)) / (2 * np.pi)
    assert density.sum() * (line[1] - line[0]) ** 2 == pytest.approx(1, abs=0.01)


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="layers is 0"):
        flows(layers=0)
    with pytest.raises(ValueError, match="differ in length"):
        flow_pid(KEY, np.ones((10, 1)), np.ones((9, 1)), np.ones(10))
    with pytest.raises(ValueError, match="10 samples of 3 columns; expected eight"):
        flow_pid(KEY, np.ones((10, 1)), np.ones((10, 1)), np.ones(10))
    with pytest.raises(ValueError, match="x2 has 30 NaN or infinite"):
        flow_pid(KEY, np.ones((30, 1)), np.full((30, 1), np.nan), np.ones(30))


def test_halves_divide_no_group():
    groups = np.random.default_rng(0).integers(0, 7, 100)
    first, second = halves(KEY, 100, groups)
    assert np.array_equal(np.sort(np.append(first, second)), np.arange(100))
    assert not set(groups[first]) & set(groups[second])
    assert len(set(groups[second])) == 4
    uneven = np.minimum(np.arange(100), 3)  # 1, 1, 1 and 97
    with pytest.raises(ValueError, match=r"halves of \d+ and \d+ samples of 3 columns"):
        flow_pid(KEY, *np.ones((2, 100, 1)), np.ones(100), groups=uneven)


@pytest.mark.slow
def test_the_surprisal_of_gaussian_pairs_is_their_entropy_from_above():
    """An untrained flow is no better than the truth: the cross entropy is at least the entropy of the pairs."""
    y, e1, e2 = jax.random.normal(KEY, (3, 5000, 1))
    samples = Samples(y + e1, y + e2, y)
    model = flows(steps=1)
    state = model.estimator.init(KEY, samples)
    entropy = 2 * (math.log(2 * math.pi * math.e))  # each pair has a determinant of one
    assert float(jax.jit(model.estimator.estimate)(state, samples).mean()) >= entropy - 0.05  # of the sample


@pytest.mark.slow
def test_distortions_that_mix_coordinates_are_undone():
    """The showcase distorted in turned bases: normal scores are off by two bits, the flow by 0.3 at most."""
    task = linear_task("showcase_turned")
    x1, x2, y, _ = task.sample(jax.random.key(1), 10_000)
    found = flow_pid(KEY, x1, x2, y, recipe=RECIPE, replicates=20)
    assert np.abs(atoms(found.pid) - atoms(task.truth)).sum() / math.log(2) <= 0.3
