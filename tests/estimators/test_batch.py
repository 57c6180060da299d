"""PID-BATCH: above the union information whatever was learned, and close to it once trained."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from posterior_toys import expanded, paired, twice, wild

import pidjax
from pidjax.datasets import GATES, gaussian_task, random_joint
from pidjax.estimators.batch import RECIPE, _independent, batch_alignment, batch_union
from pidjax.estimators.fit import fit
from pidjax.pid import from_union
from pidjax.typing import Samples

KEY = jax.random.key(0)
STEPS = 100  # enough for tables; RECIPE has more
TWO = batch_alignment(classes=2, steps=STEPS)
THREE = batch_alignment(classes=3, embedding=4)
TABLE = np.asarray(random_joint(KEY, (4, 5, 2), kind="noisy_copy"), np.float64)
BIT = np.log(2)


TRACES = []


def counted(key, samples):
    TRACES.append(1)
    return TWO.estimator.init(key, samples)


COUNTED = TWO.estimator._replace(init=counted)


@functools.cache
def trained(name):
    samples = expanded(GATES[name].joint, 1024)
    return samples, fit(COUNTED, KEY, samples, steps=STEPS, batch_size=RECIPE["batch_size"])


@pytest.mark.parametrize("name", ["and", "or", "xor", "unique1", "redundant"])
def test_gates_are_known_to_a_hundredth_of_a_bit(name):
    gate = GATES[name]
    samples, done = trained(name)
    found = from_union(*pidjax.informations(gate.joint), batch_union(TWO, done.state, samples).upper)
    for atom in ("redundancy", "unique1", "unique2", "synergy"):
        assert abs(getattr(found, atom) - getattr(gate.truth, atom)) < 0.01 * BIT, atom


def test_a_fit_is_traced_once():
    trained("and"), trained("xor")
    assert len(TRACES) == 1


@pytest.mark.parametrize(
    ("k", "batch_size"),
    [(2, 7)] + [pytest.param(k, size, marks=pytest.mark.slow) for k, size in ((2, 1), (2, 64), (3, 64), (3, 7))],
)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
def test_it_is_never_below_the_union_information(scale, seed, k, batch_size):
    """Untrained and wild networks; a block that is all, blocks that don't divide n, and that are one sample."""
    alignment = {2: TWO, 3: THREE}[k]
    joint = np.asarray(random_joint(jax.random.key(seed), (4, 5, k), kind="noisy_copy"), np.float64)
    exact = pidjax.broja(joint).lower
    samples = paired(joint)
    state = wild(alignment.estimator.init(KEY, samples), scale)
    found = batch_union(alignment, state, samples, batch_size=batch_size)
    assert found.upper >= exact - 3e-6
    assert -1e-6 < found.leftover < 1 + 1e-6


def test_trained_it_is_close_on_gaussians():
    """Two classes with posteriors of a continuum: n samples have their own exact union information."""
    task = gaussian_task("g45")
    log_p1, log_p2, _ = task.log_posteriors(task.sample(KEY, 512))
    # Made consistent by symmetry: every sample comes with its mirror image.
    samples = Samples(*(jnp.concatenate([x, x[:, ::-1]]) for x in (log_p1, log_p2)))
    exact = pidjax.union_information(*(np.exp(np.asarray(x, np.float64)) / 1024 for x in samples[:2])).lower
    untrained = batch_union(TWO, TWO.estimator.init(KEY, samples), samples)
    done = fit(COUNTED, KEY, samples, steps=STEPS, batch_size=RECIPE["batch_size"])
    learned = batch_union(TWO, done.state, samples)
    assert exact - 1e-5 <= learned.upper < exact + 0.01
    assert learned.upper < untrained.upper - 0.002
    assert learned.leftover < 0.01


def test_what_is_left_over_is_coupled_independently():
    """Its term is that of the tensor ``e_y f_y' / t_y``, written out."""
    rng = np.random.default_rng(0)
    e, f = rng.random((300, 3)), rng.random((300, 3))
    f *= e.sum(0) / f.sum(0)
    q = e[:, None, :] * f[None, :, :] / e.sum(0)
    value, mass = _independent(jnp.asarray(e, jnp.float32), jnp.asarray(f, jnp.float32))
    np.testing.assert_allclose(value, (q * np.log(q / q.sum(2, keepdims=True))).sum(), rtol=1e-4)
    np.testing.assert_allclose(mass, e.sum(), rtol=1e-5)


def test_the_estimates_average_to_the_information_of_the_minibatch():
    samples = paired(TABLE)
    state = TWO.estimator.init(KEY, samples)
    _, loss = jax.jit(TWO.estimator.update)(KEY, state, samples)
    values = TWO.estimator.estimate(state, samples)
    np.testing.assert_allclose((values * samples.weight).sum(), loss, atol=1e-6)
    np.testing.assert_allclose(batch_union(TWO, state, samples).upper, loss, atol=1e-3)  # which has more sweeps


def test_weights_are_copies():
    """Weight 2 is the sample twice, weight 0 no sample: in the loss and, in one block, in the bound."""
    once, copied = twice(paired(TABLE))
    state = TWO.estimator.init(KEY, once)
    update = jax.jit(TWO.estimator.update)
    np.testing.assert_allclose(update(KEY, state, copied)[1], update(KEY, state, once)[1], atol=1e-5)
    for found, expected in zip(batch_union(TWO, state, copied), batch_union(TWO, state, once), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


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


def extremes():
    """Logits of +-40, a label that nobody has, and one that two samples have."""
    y = np.array([0] * 10 + [1] * 2)
    logits = np.where(np.arange(3)[None] == y[:, None], 40.0, -40.0)
    return Samples(*(jnp.asarray(x, jnp.float32) for x in (logits, np.roll(logits, 1, 0)[:, [0, 1, 2]])))


def test_confident_posteriors_stay_finite():
    samples = extremes()
    state, loss = jax.jit(THREE.estimator.update)(KEY, THREE.estimator.init(KEY, samples), samples)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state, loss)))
    found = batch_union(THREE, state, samples, batch_size=5)
    entropy = -(10 / 12 * np.log(10 / 12) + 2 / 12 * np.log(2 / 12))
    np.testing.assert_allclose(found.upper, entropy, atol=1e-5)  # each modality tells the label


@pytest.mark.slow
def test_double_precision_is_kept(x64):
    samples = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), paired(GATES["and"].joint))
    alignment = batch_alignment(classes=2, tx=optax.sgd(0.1))
    state = alignment.estimator.init(KEY, samples)
    found = batch_union(alignment, state, samples)
    assert found.upper.dtype == jnp.float64
    assert found.upper >= pidjax.broja(GATES["and"].joint).lower - 1e-12


def test_posteriors_of_two_populations_are_refused_and_poison_inside_jit():
    samples = paired(GATES["and"].joint)
    other = samples._replace(x2=jnp.zeros_like(samples.x2))
    state = TWO.estimator.init(KEY, samples)
    with pytest.raises(ValueError, match="different label marginals"):
        batch_union(TWO, state, other)
    with pytest.raises(ValueError, match="NaN or infinite"):
        batch_union(TWO, state, samples._replace(x1=samples.x1 * jnp.nan))
    assert jnp.isnan(jax.jit(functools.partial(batch_union, TWO))(state, other).upper)


@pytest.mark.parametrize(
    ("settings", "cause"), [({"classes": 0}, "classes is 0"), ({"classes": 2, "sweeps": 0}, "sweeps 0")]
)
def test_bad_settings_are_named(settings, cause):
    with pytest.raises(ValueError, match=cause):
        batch_alignment(**settings)
