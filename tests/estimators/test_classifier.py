"""Classifiers: any network, honest starts, units, labels that a fold lacks, weights, what decays."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pidjax.datasets import GaussianTask
from pidjax.estimators.classifier import Net, adamw, brought_logits, classifier, classifiers, log_prior
from pidjax.typing import Samples

KEY = jax.random.key(0)
HEADS = ("x1", "x2", "x1x2")
PRIOR = np.array([0.6, 0.3, 0.1])
# Three classes, conditionally independent given the label: naive Bayes is the exact joint posterior.
TASK = GaussianTask("independent", np.einsum("a,ab,ac->abc", PRIOR, np.eye(3), np.eye(3)), 2 * np.eye(3), 2 * np.eye(3))


class Linear(nn.Module):
    """Logits linear in all features, zero at first."""

    @nn.compact
    def __call__(self, x):
        x = jnp.concatenate(jax.tree.leaves(x), 1)
        return nn.Dense(2, kernel_init=nn.initializers.zeros_init())(x)


def by_hand():
    """The same as two functions."""

    def apply(params, x):
        return jnp.concatenate(jax.tree.leaves(x), 1) @ params["w"] + params["b"][None]

    def init(key, x):
        return {"w": jnp.zeros((sum(leaf.shape[1] for leaf in jax.tree.leaves(x)), 2)), "b": jnp.zeros(2)}

    return Net(init, apply)


def by_equinox():
    """The same around an equinox model: arrays are trained, the rest is put back."""
    eqx = pytest.importorskip("equinox")

    def init(key, x):
        return eqx.filter(eqx.nn.Linear(x.shape[1], 2, key=key), eqx.is_array)

    def apply(params, x):
        static = eqx.filter(eqx.nn.Linear(x.shape[1], 2, key=KEY), eqx.is_array, inverse=True)
        return jax.vmap(eqx.combine(params, static))(x)

    return Net(init, apply)


def points(n=400, seed=0, columns=2):
    """Two balanced classes at -1 and +1 in every column, unit noise."""
    y = np.arange(n) % 2
    rng = np.random.default_rng(seed)
    x1, x2 = (2.0 * y[:, None] - 1 + rng.normal(size=(n, columns)) for _ in range(2))
    return Samples(jnp.asarray(x1, jnp.float32), jnp.asarray(x2, jnp.float32), jnp.asarray(y))


start = jax.jit(lambda estimator, samples: estimator.init(KEY, samples), static_argnums=0)
step = jax.jit(lambda estimator, state, samples: estimator.update(KEY, state, samples), static_argnums=0)


def trained(model, samples, steps):
    """Steps on all samples: no minibatches, so nothing is left to chance but the first state."""
    state = start(model.estimator, samples)
    for _ in range(steps):
        state, _ = step(model.estimator, state, samples)
    return state


@functools.cache
def linear():
    """Three linear classifiers: they compile in no time."""
    return classifiers(classes=2, tx=optax.sgd(0.3), net1=Linear(), net2=Linear(), net12=Linear())


@functools.cache
def ours():
    """With the networks and the optimiser that are the default; a third label never comes."""
    return classifiers(classes=3, tx=adamw(50, learning_rate=1e-2))


# Networks


@pytest.mark.parametrize("net", [lambda: None, Linear, by_hand, by_equinox], ids=["ours", "flax", "Net", "equinox"])
def test_any_network_does_as_well_as_the_truth(net):
    """The posterior of two unit Gaussians is linear in x, so every one of them holds it.

    The likeliest parameters in a family that holds the truth have no greater loss on their samples than the truth
    has; 1e-3 is what 300 steps leave of that, a twentieth of the standard error of the loss.
    """
    samples = points()
    model = classifier(net(), classes=2, tx=optax.adam(3e-2))
    state = trained(model, samples, 300)
    loss = model.estimator.estimate(state, samples).mean()
    truth = np.logaddexp(0, -2 * np.asarray(samples.x1).sum(1) * (2 * np.asarray(samples.y) - 1)).mean()
    assert loss < truth + 1e-3
    log_p = model.log_posterior(state, samples)
    np.testing.assert_allclose(jnp.exp(log_p).sum(1), 1, atol=1e-6)  # float32
    np.testing.assert_array_equal(-log_p[jnp.arange(400), samples.y], model.estimator.estimate(state, samples))


def test_logits_that_are_brought_are_taken_as_they_are():
    """Nothing is trained; three classes, so that logits of any sum serve."""
    logits = jnp.asarray(np.random.default_rng(1).normal(size=(50, 3)), jnp.float32)
    samples = Samples(x1=logits, y=jnp.arange(50) % 3)
    model = classifier(brought_logits, classes=3, tx=adamw(5), standardise=False)
    state = trained(model, samples, 5)
    np.testing.assert_allclose(model.log_posterior(state, samples), jax.nn.log_softmax(logits), atol=1e-6)


def test_pictures_and_columns_are_features_alike():
    samples = points(columns=4)
    model = classifier(classes=2, tx=optax.sgd(0.1))
    pictures = samples._replace(x1=samples.x1.reshape(-1, 2, 2))
    found, flat = (model.log_posterior(start(model.estimator, s), s) for s in (pictures, samples))
    np.testing.assert_allclose(found, flat, atol=1e-6)  # float32


def test_the_field_is_chosen():
    samples = points()
    swapped = samples._replace(x1=samples.x2, x2=samples.x1)
    one, two = (classifier(Linear(), of=of, classes=2, tx=optax.sgd(0.3)) for of in ("x1", "x2"))
    np.testing.assert_array_equal(
        one.log_posterior(trained(one, samples, 5), samples), two.log_posterior(trained(two, swapped, 5), swapped)
    )


@pytest.mark.parametrize("make", [classifier, classifiers])
def test_no_classes_are_refused(make):
    with pytest.raises(ValueError, match="classes is 0; expected the number of labels"):
        make(classes=0, tx=optax.sgd(0.1))


# The joint classifier


def test_the_joint_one_starts_as_naive_bayes_which_is_exact_where_modalities_are_independent_given_the_label():
    n = 10_000
    y = np.repeat(np.arange(3), (n * PRIOR).astype(int))
    drawn = TASK.sample(KEY, n)._replace(y=jnp.asarray(y))  # shares as the prior, whatever was drawn
    log_p = [np.asarray(p) for p in TASK.log_posteriors(jax.tree.map(np.float64, drawn))]
    samples = drawn._replace(x1=jnp.asarray(log_p[0], jnp.float32), x2=jnp.asarray(log_p[1], jnp.float32))
    model = classifiers(classes=3, tx=adamw(1), net1=brought_logits, net2=brought_logits, standardise=False)
    state = model.estimator.init(KEY, samples)
    found = model.log_posterior(state, samples)
    # The half sample that is added to each label moves the log prior by (0.5 - 1.5 p) / (n p) at most: 3.5e-4.
    np.testing.assert_allclose(found["x1x2"], log_p[2], atol=5e-4)
    np.testing.assert_allclose(found["x1"], log_p[0], atol=1e-5)
    loss = model.estimator.estimate(state, samples)["x1x2"]
    np.testing.assert_allclose(loss, -log_p[2][np.arange(n), y], atol=5e-4)


def test_at_first_the_joint_loss_is_that_of_the_sum():
    samples, model = points(), ours()
    state = start(model.estimator, samples)
    _, losses = step(model.estimator, state, samples)
    log_p = model.log_posterior(state, samples)
    log_prior = np.log(np.array([[200.5, 200.5, 0.5]]) / 401.5)  # half a sample more for each label
    additive = jax.nn.log_softmax(log_p["x1"] + log_p["x2"] - log_prior)
    expected = {"x1": log_p["x1"], "x2": log_p["x2"], "x1x2": additive}
    for name in HEADS:
        loss = -expected[name][jnp.arange(400), samples.y].mean()
        np.testing.assert_allclose(losses[name], loss, atol=1e-6)  # float32 means


def test_the_joint_one_learns_what_the_sum_cannot_say():
    """Signs whose product is the label: either modality alone says nothing, and starting from both is no trap."""
    samples, model = points(), ours()
    samples = samples._replace(y=(samples.x1[:, 0] * samples.x2[:, 0] > 0).astype(samples.y.dtype))
    losses = model.estimator.estimate(trained(model, samples, 50), samples)
    for name in ("x1", "x2"):
        gain = losses[name] - losses["x1x2"]
        assert gain.mean() > 5 * gain.std() / 400**0.5  # standard errors


def test_no_modality_is_trained_for_the_sake_of_the_sum():
    samples = points()
    model = linear()
    state = trained(model, samples, 20)
    other = trained(model, samples._replace(x2=-samples.x2), 20)
    jax.tree.map(np.testing.assert_array_equal, state["x1"].params, other["x1"].params)


def test_the_joint_one_keeps_the_networks_it_stands_on():
    """``fit`` keeps each at its own best step: what becomes of x1's is no matter of the joint one's."""
    samples = points()
    model = linear()
    first, state = start(model.estimator, samples), trained(model, samples, 20)
    mixed = model.log_posterior(state | {"x1": first["x1"], "x2": first["x2"]}, samples)
    np.testing.assert_array_equal(mixed["x1x2"], model.log_posterior(state, samples)["x1x2"])
    np.testing.assert_array_equal(mixed["x1"], model.log_posterior(first, samples)["x1"])


# Features


def posteriors(samples, model):
    return model.log_posterior(trained(model, samples, 50), samples)


def test_units_of_powers_of_two_change_no_bit():
    """They are exact in floating point, and so are the moments: the network sees the same numbers."""
    samples = points()
    scaled = samples._replace(x1=samples.x1 * jnp.array([[2.0**-7, 2.0**9]]), x2=samples.x2 * 2.0**20)
    expected, found = posteriors(samples, linear()), posteriors(scaled, linear())
    for name in HEADS:
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize(("model", "allowed"), [(linear, 1e-5), (ours, 1e-3)])
def test_units_do_not_matter(model, allowed):
    """They round every feature anew, by 1e-7 of it.

    Gradient descent takes that as it is, to 1e-5 in fifty steps. Adam divides by gradients however small: the values
    of samples are to stand to 1e-3.
    """
    samples = points()
    scaled = samples._replace(x1=samples.x1 * jnp.array([[0.01, 100.0]]), x2=100 * samples.x2 + 50)
    expected, found = posteriors(samples, model()), posteriors(scaled, model())
    for name in HEADS:
        np.testing.assert_allclose(found[name], expected[name], atol=allowed)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_constant_columns_are_harmless(value):
    """What is constant where a model is trained is not looked at elsewhere, whatever it is there."""
    samples = points()
    constant = lambda value: jnp.full((400, 1), value)
    wider = samples._replace(x1=jnp.concatenate([samples.x1, constant(value)], 1))
    model = linear()
    state = trained(model, wider, 50)
    found = model.log_posterior(state, wider)
    expected = posteriors(samples, model)
    for name in HEADS:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6)  # sums of one more zero
    elsewhere = wider._replace(x1=wider.x1.at[:, 2].set(-7.0))
    for name, log_p in model.log_posterior(state, elsewhere).items():
        np.testing.assert_array_equal(log_p, found[name])


def test_features_that_are_all_constant_leave_the_prior():
    samples = points()._replace(x1=jnp.full((400, 2), 0.1), y=(jnp.arange(400) < 100).astype(int))
    model = classifier(Linear(), classes=2, tx=optax.sgd(1.0))
    log_p = model.log_posterior(trained(model, samples, 200), samples)
    # Logistic regression on a constant: the error falls by 1 - 2 p (1 - p) = 0.6 a step at least.
    np.testing.assert_allclose(log_p, np.log([[0.75, 0.25]] * 400), atol=1e-4)


# Labels


def test_a_label_that_is_not_trained_on_is_unlikely_not_impossible():
    """The joint one would else start from 0 / 0."""
    samples, model = points(), ours()
    state = trained(model, samples, 50)
    held_out = samples._replace(y=jnp.full(400, 2))
    for loss in model.estimator.estimate(state, held_out).values():
        assert jnp.isfinite(loss).all()
        assert loss.mean() > np.log(3)  # it never came, so it is less likely than a third


def test_prior_is_the_share_of_each_label():
    y = jnp.array([0, 1, 1, 3])
    np.testing.assert_allclose(jnp.exp(log_prior(y, 4)), [0.25, 0.5, 0, 0.25], atol=1e-7)
    assert log_prior(y, 4)[2] == -jnp.inf
    weighted = log_prior(y, 4, jnp.array([2.0, 0.0, 1.0, 5.0]))
    np.testing.assert_allclose(jnp.exp(weighted), np.array([2, 1, 0, 5]) / 8, atol=1e-7)


def test_weights_are_copies():
    """All steps are on all samples, and plain gradient descent magnifies no rounding: float32's 1e-5."""
    samples = points(60)
    count = np.tile([2, 0, 1, 1, 3, 0], 10)  # labels of unequal weight, so that priors differ too
    copied = jax.tree.map(lambda leaf: jnp.asarray(np.repeat(np.asarray(leaf), count, axis=0)), samples)
    model = linear()
    weighted = trained(model, samples._replace(weight=jnp.asarray(count, jnp.float32)), 50)
    expected = model.log_posterior(trained(model, copied, 50), samples)
    for name, found in model.log_posterior(weighted, samples).items():
        np.testing.assert_allclose(found, expected[name], atol=1e-5)


# The optimiser


def test_matrices_decay_but_for_the_linear_part_beside_the_hidden_one():
    """Without gradients, AdamW's first step is ``-rate * decay * parameter`` or nothing."""
    shapes = jax.eval_shape(ours().estimator.init, KEY, points())["x1"].params
    params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), shapes)
    tx = adamw(100, learning_rate=1e-2, weight_decay=0.5)
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    seen = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(updates)}
    assert len(seen) == 6
    for name, leaf in seen.items():
        decays = "kernel" in name and "skip" not in name
        np.testing.assert_allclose(leaf, -5e-3 * min(leaf.shape[0] / 8, 1) if decays else 0, atol=1e-9)


def test_a_kernel_of_a_convolution_decays_by_its_inputs_as_a_matrix_does():
    """3 x 1 pixels of 2 channels are 6 inputs, of 8: neither the 3 nor the 2 alone."""
    params = {"conv": jnp.ones((3, 1, 2, 5))}
    tx = adamw(100, learning_rate=1e-2, weight_decay=0.5)
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    np.testing.assert_allclose(updates["conv"], -5e-3 * 6 / 8, atol=1e-9)


def test_the_learning_rate_ends_at_zero():
    """On a gradient that is always one, Adam's step is the rate: 1e-2 at first, half at half time, nothing at last."""
    tx = adamw(100, learning_rate=1e-2)
    params = {"b": jnp.zeros(1)}

    def step(state, _):
        updates, state = tx.update({"b": jnp.ones(1)}, state, params)
        return state, updates["b"][0]

    steps = -jax.lax.scan(step, tx.init(params), length=101)[1]
    np.testing.assert_allclose(steps[jnp.array([0, 50, 100])], [1e-2, 5e-3, 0], atol=1e-7)


# Transformations


def test_vmap_over_datasets_and_keys_is_the_loop_in_one_trace():
    many = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(points(100, seed) for seed in range(3)))
    keys = jax.random.split(KEY, 3)
    model, traces = classifier(classes=2, tx=adamw(20)), []

    def run(key, samples):
        traces.append(1)
        state = model.estimator.init(key, samples)
        for _ in range(2):
            state, _ = model.estimator.update(key, state, samples)
        return model.log_posterior(state, samples)

    together, one = jax.jit(jax.vmap(run)), jax.jit(run)
    found = together(keys, many)
    together(keys[::-1], many)
    assert len(traces) == 1
    alone = jnp.stack([one(key, jax.tree.map(lambda leaf: leaf[i], many)) for i, key in enumerate(keys)])  # noqa: B023
    np.testing.assert_allclose(found, alone, atol=1e-5)  # sums in another order, float32
