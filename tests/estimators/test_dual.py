"""Dual networks: below the union information whatever was learned, feasible, and close to it once trained."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from posterior_toys import paired, twice, wild
from scipy.special import logsumexp

import pidjax
from pidjax.datasets import GATES, gaussian_task, random_joint
from pidjax.estimators.batch import batch_alignment, batch_union
from pidjax.estimators.dual import RECIPE, dual_networks, dual_union, pointwise_union
from pidjax.estimators.fit import fit
from pidjax.info import informations
from pidjax.pid import sandwich
from pidjax.typing import Samples

KEY = jax.random.key(0)
STEPS = 300
NETWORKS = {k: dual_networks(classes=k, steps=STEPS) for k in (2, 3, 4)}
TWO = NETWORKS[2]
# Two labels have an exact solver that compiles at once; three take longest to compile.
LABELS = [2, pytest.param(3, marks=pytest.mark.slow)]


# Of these tables the union is more than 0.01 nats above what either modality says.
SEEDS = (3, 4, 8)


def table(seed=3, k=2):
    return np.asarray(random_joint(jax.random.key(seed), (4, 5, k), kind="noisy_copy"), np.float64)


@pytest.mark.parametrize("k", LABELS)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
def test_it_is_never_above_the_union_information(scale, seed, k):
    """Untrained and wild networks."""
    joint = table(seed, k)
    samples = paired(joint)
    found = dual_union(NETWORKS[k], wild(NETWORKS[k].estimator.init(KEY, samples), scale), samples)
    assert found.lower <= pidjax.broja(joint).upper
    told = informations(joint)
    assert found.lower >= max(told.x1, told.x2) - 1e-4


@pytest.mark.parametrize("scale", [0.0, 3.0])
def test_the_potentials_are_feasible_for_every_pair_and_those_of_the_bound(scale):
    joint = table()
    samples = paired(joint)
    found = dual_union(TWO, wild(TWO.estimator.init(KEY, samples), scale), samples)
    a, b = (np.asarray(x, np.float64) for x in found.potentials)
    assert logsumexp(a[:, None, :] + b[None, :, :], axis=2).max() <= 0
    weight = np.asarray(samples.weight, np.float64)[:, None]
    p1, p2 = (weight * np.exp(np.asarray(x, np.float64)) for x in samples[:2])
    p_y = joint.sum((0, 1))
    np.testing.assert_allclose((p1 * a).sum() + (p2 * b).sum() - (p_y * np.log(p_y)).sum(), found.lower, atol=2e-4)


@functools.cache
def trained(seed=3, k=2):
    """Full batches: 20 samples, the first state, the last."""
    samples = paired(table(seed, k))
    done = fit(NETWORKS[k].estimator, KEY, samples, steps=STEPS, batch_size=20)
    return samples, NETWORKS[k].estimator.init(KEY, samples), done


@pytest.mark.parametrize("k", LABELS)
@pytest.mark.parametrize("seed", SEEDS)
def test_trained_it_is_close_on_tables(seed, k):
    samples, first, done = trained(seed, k)
    exact = pidjax.broja(table(seed, k)).upper
    assert dual_union(NETWORKS[k], first, samples).lower < exact - 0.01
    assert exact - 0.005 < dual_union(NETWORKS[k], done.state, samples).lower <= exact
    assert done.trace.updates[-1] < done.trace.updates[0]


def test_two_private_bits_are_found():
    """Four labels, closed form: the label is both inputs, and either alone says half of it."""
    samples = paired(GATES["copy"].joint)
    done = fit(NETWORKS[4].estimator, KEY, samples, steps=STEPS, batch_size=4)
    lower = dual_union(NETWORKS[4], done.state, samples).lower
    assert 2 * np.log(2) - 0.01 < lower <= 2 * np.log(2)


def test_the_two_bounds_hold_the_decomposition_between_them():
    samples, _, done = trained()
    alignment = batch_alignment(classes=2, embedding=4)
    lower = dual_union(TWO, done.state, samples).lower
    upper = batch_union(alignment, alignment.estimator.init(KEY, samples), samples).upper
    found = sandwich(lower, upper, *informations(table()))
    truth = pidjax.broja(table()).pid
    for atom in ("redundancy", "unique1", "unique2", "synergy"):
        assert getattr(found.lower, atom) - 1e-5 <= getattr(truth, atom) <= getattr(found.upper, atom) + 1e-5
        np.testing.assert_allclose(getattr(found.upper, atom) - getattr(found.lower, atom), upper - lower, atol=1e-6)


def test_pointwise_values_of_the_samples_are_the_potentials():
    samples, _, done = trained()
    labelled = samples._replace(y=jnp.arange(20) % 2)
    found = pointwise_union(TWO, done.state, labelled, samples)
    a, b = dual_union(TWO, done.state, samples).potentials
    expected = (a + b)[jnp.arange(20), labelled.y] - jnp.log(jnp.asarray(table().sum((0, 1)))[labelled.y])
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_pointwise_values_of_unseen_samples_average_to_about_the_union():
    """Symbols drawn anew, with labels: the mean over draws is what the table's potentials expect."""
    samples, _, done = trained()
    joint = table()
    drawn = np.random.default_rng(0).choice(joint.size, 4000, p=joint.ravel() / joint.sum())
    cell, y = drawn // 2, drawn % 2  # samples are the pairs of symbols, in this order
    unseen = Samples(samples.x1[cell], samples.x2[cell], jnp.asarray(y))
    found = pointwise_union(TWO, done.state, unseen, samples)
    lower = dual_union(TWO, done.state, samples).lower
    assert abs(found.mean() - lower) < 4 * found.std() / np.sqrt(4000) + 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["g30", "g45", "c3"])
def test_trained_it_is_close_on_gaussians(name):
    """2000 samples, exact posteriors; the exact solver for two classes, the other bound for three."""
    task = gaussian_task(name)
    logits = task.log_posteriors(task.sample(KEY, 2000))[:2]
    k = logits[0].shape[1]
    samples = Samples(*(jnp.asarray(consistent(np.asarray(x, np.float64)), jnp.float32) for x in logits))
    networks = dual_networks(classes=k)
    done = fit(networks.estimator, KEY, samples, **RECIPE)
    lower = dual_union(networks, done.state, samples).lower
    if k == 2:
        upper = pidjax.union_information(*(np.exp(np.asarray(x, np.float64)) / 2000 for x in samples[:2])).upper
    else:
        alignment = batch_alignment(classes=k)
        fitted = fit(alignment.estimator, KEY, samples, steps=300, batch_size=256)
        upper = batch_union(alignment, fitted.state, samples).upper
    assert upper - 0.01 < lower <= upper + 1e-5


def consistent(logits):
    """Posteriors that average to the uniform distribution: an offset for each label, by fixed point."""
    k = logits.shape[1]
    offset = np.zeros(k)
    for _ in range(200):
        p = np.exp(logits + offset)
        offset -= np.log(k * (p / p.sum(1, keepdims=True)).mean(0))
    p = np.exp(logits + offset)
    return np.log(p / p.sum(1, keepdims=True))


def test_weights_are_copies():
    once, copied = twice(paired(table()))
    state = trained()[2].state
    update = jax.jit(TWO.estimator.update)
    np.testing.assert_allclose(update(KEY, state, copied)[1], update(KEY, state, once)[1], atol=1e-5)
    found, expected = (dual_union(TWO, state, samples) for samples in (copied, once))
    np.testing.assert_allclose(found.lower, expected.lower, atol=2e-5)
    assert np.isfinite(found.potentials.a).all()


@pytest.mark.slow
def test_vmap_over_keys_is_the_loop_in_one_trace():
    samples = paired(GATES["and"].joint)
    traces = []

    def init(key, samples):
        traces.append(1)
        return TWO.estimator.init(key, samples)

    estimator = TWO.estimator._replace(init=init)
    run = lambda key: fit(estimator, key, samples, steps=10, batch_size=4).trace.updates
    keys = jax.random.split(KEY, 2)
    together = jax.vmap(run)(keys)
    assert len(traces) == 1
    np.testing.assert_allclose(together, jnp.stack([run(key) for key in keys]), atol=1e-5)
    assert len(traces) <= 2  # once mapped, once not


def test_confident_posteriors_stay_finite():
    """Logits of +-40, a label that nobody has, and one that two samples have."""
    y = np.array([0] * 10 + [1] * 2)
    logits = jnp.asarray(np.where(np.arange(3)[None] == y[:, None], 40.0, -40.0), jnp.float32)
    samples, three = Samples(logits, jnp.roll(logits, 1, 0)), NETWORKS[3]
    state, loss = jax.jit(three.estimator.update)(KEY, three.estimator.init(KEY, samples), samples)
    found = dual_union(three, state, samples)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state, loss, found)))
    entropy = -(10 / 12 * np.log(10 / 12) + 2 / 12 * np.log(2 / 12))
    assert entropy - 1e-4 < found.lower <= entropy


def test_double_precision_is_kept_and_certifies_more(x64):
    samples = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), paired(GATES["and"].joint))
    networks = dual_networks(classes=2, tx=optax.sgd(0.1))
    found = dual_union(networks, networks.estimator.init(KEY, samples), samples)
    exact = pidjax.broja(GATES["and"].joint).upper  # what either input says
    assert found.lower.dtype == jnp.float64
    assert exact - 1e-7 < found.lower <= exact  # float32 posteriors


def test_estimates_are_the_dual_with_a_hard_maximum():
    samples = paired(table())
    state = trained()[2].state
    a, b = TWO.potentials(state, samples)
    weight = np.asarray(samples.weight)
    p1, p2 = np.exp(samples.x1), np.exp(samples.x2)
    expected = logsumexp(a[:, None] + b[None], axis=2).max(1) - (p1 * a).sum(1) - (p2 * b).sum(1)
    values = TWO.estimator.estimate(state, samples)
    np.testing.assert_allclose((values * weight).sum(), (expected * weight).sum(), atol=1e-4)


def test_posteriors_of_two_populations_are_refused_and_poison_inside_jit():
    samples = paired(GATES["and"].joint)
    other = samples._replace(x2=jnp.zeros_like(samples.x2))
    state = TWO.estimator.init(KEY, samples)
    with pytest.raises(ValueError, match="different label marginals"):
        dual_union(TWO, state, other)
    with pytest.raises(ValueError, match="no labels"):
        pointwise_union(TWO, state, samples, samples)
    assert jnp.isnan(jax.jit(functools.partial(dual_union, TWO))(state, other).lower)


@pytest.mark.parametrize(
    ("settings", "cause"), [({"classes": 0}, "classes is 0"), ({"classes": 2, "temperature": 0}, "temperature is 0")]
)
def test_bad_settings_are_named(settings, cause):
    with pytest.raises(ValueError, match=cause):
        dual_networks(**settings)
