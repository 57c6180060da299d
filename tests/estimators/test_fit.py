"""The fit itself: minibatches, validation, weights, shapes, transformations."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import column, normal

from pidjax.estimators.base import Estimator, by_gradient, parallel
from pidjax.estimators.fit import fit
from pidjax.typing import Samples

KEY = jax.random.key(0)


def counter(steps=12, batch=4):
    """Its state is the list of the samples that each update saw."""

    def update(key, state, samples):
        seen, number = state
        return (seen.at[number].set(samples.x1), number + 1), number

    return Estimator(
        lambda key, samples: (jnp.full((steps, batch), -1), jnp.asarray(0)), update, lambda state, samples: samples.x1
    )


def test_the_mean_of_a_normal_is_the_mean_of_the_samples():
    """Full batches and gradient descent at rate 0.1: the distance falls by 0.9 a step, to 3 * 0.9^200 < 1e-8."""
    x = jax.random.normal(KEY, (300,)) + 3
    done = fit(normal(), KEY, column(x), steps=200, batch_size=300)
    assert abs(done.state.params - x.mean()) < 1e-5
    assert done.trace.updates.shape == (200,)
    assert done.trace.updates[-1] < done.trace.updates[0]


@pytest.mark.parametrize(("n", "batch"), [(24, 4), (70_000, 35_000)])  # on either side of what a word can hold
def test_every_sample_comes_once_before_any_comes_twice(n, batch):
    steps = 2 * n // batch
    done = fit(counter(steps, batch), KEY, Samples(x1=jnp.arange(n)), steps=steps, batch_size=batch, every=steps)
    first, second = np.asarray(done.state[0]).reshape(2, n)
    np.testing.assert_array_equal(np.sort(first), np.arange(n))
    np.testing.assert_array_equal(np.sort(second), np.arange(n))
    assert (first != second).any()


def test_every_order_is_as_likely():
    """Of 4 samples: 24 orders, 250 times each, to five standard deviations."""
    one = lambda key: fit(counter(1, 4), key, Samples(x1=jnp.arange(4)), steps=1, batch_size=4, every=1).state[0][0]
    orders = np.asarray(jax.vmap(one)(jax.random.split(KEY, 6000)))
    _, counts = np.unique(orders @ [64, 16, 4, 1], return_counts=True)
    assert len(counts) == 24
    assert np.abs(counts - 250).max() < 5 * np.sqrt(250)


@pytest.mark.parametrize("every", [1, 5, 7, 12])
def test_as_many_steps_are_made_as_asked_for(every):
    done = fit(counter(), KEY, Samples(x1=jnp.arange(24)), steps=12, batch_size=4, every=every)
    assert int(done.state[1]) == 12
    assert done.trace.updates.tolist() == list(range(12))


def test_the_best_state_on_the_validation_samples_is_kept_part_by_part():
    """The rate of one part is so great that it diverges: the first state is its best; the other part learns."""
    both = parallel(wild=normal(optax.sgd(3.0)), tame=normal(optax.sgd(0.1)))
    x = jax.random.normal(KEY, (200,)) + 3
    done = fit(both, KEY, column(x), steps=60, batch_size=50, validation=0.2)
    assert done.state["wild"].params == 0
    assert abs(done.state["tame"].params - 3) < 0.5
    last = fit(both, KEY, column(x), steps=60, batch_size=50)
    assert abs(last.state["wild"].params) > 1e6
    best = done.trace.validation["tame"].min()
    assert best <= done.trace.validation["tame"][-1]


def test_weights_are_copies():
    """Weight 2 is the sample twice, weight 0 no sample: with full batches the same loss, gradient and mean."""
    x, weight = jnp.array([1.0, 5.0, 9.0]), jnp.array([2.0, 1.0, 0.0])
    weighted = fit(normal(), KEY, column(x, weight=weight), steps=300, batch_size=3)
    copied = fit(normal(), KEY, column([1.0, 1.0, 5.0]), steps=300, batch_size=3)
    np.testing.assert_allclose(weighted.state.params, copied.state.params, rtol=1e-5)
    np.testing.assert_allclose(weighted.trace.updates, copied.trace.updates, rtol=1e-5)


def test_the_same_key_gives_the_same_state_and_another_another():
    x = column(jax.random.normal(KEY, (100,)))
    run = lambda seed: fit(normal(), jax.random.key(seed), x, steps=20, batch_size=10).state.params
    assert run(0) == run(0)
    assert run(0) != run(1)


def test_vmap_over_datasets_and_keys_is_the_loop_in_one_trace():
    x = jax.random.normal(KEY, (8, 60)) + jnp.arange(8.0)[:, None]
    keys = jax.random.split(KEY, 8)
    traces = []

    def init(key, samples):
        traces.append(1)
        return jnp.zeros(()), None

    estimator = by_gradient(init, lambda mean, _, s: (s.x1 - mean) ** 2, optax.sgd(0.1))
    run = lambda key, x: fit(estimator, key, Samples(x1=x), steps=40, batch_size=20, validation=0.1).state.params
    together = jax.jit(jax.vmap(run))(keys, x)
    assert len(traces) == 1
    alone = jnp.stack([run(key, row) for key, row in zip(keys, x, strict=True)])
    np.testing.assert_allclose(together, alone, atol=1e-6)  # sums in another order, float32
    assert len(traces) == 1  # nor for the loop


def test_double_precision_is_kept(x64):
    x = jnp.asarray(np.random.default_rng(0).normal(size=100))
    assert fit(normal(), KEY, Samples(x1=x), steps=5, batch_size=10).state.params.dtype == jnp.float64


def test_missing_features_are_refused_and_poison_inside_jit():
    x = column([1.0, jnp.nan, 2.0])
    with pytest.raises(ValueError, match="x1 has 1 NaN or infinite values"):
        fit(normal(), KEY, x, steps=2, batch_size=2)
    inside = jax.jit(lambda x: fit(normal(), KEY, Samples(x1=x), steps=2, batch_size=2).state.params)(x.x1)
    assert jnp.isnan(inside)


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"steps": 0, "batch_size": 2}, "steps is 0"),
        ({"steps": 2, "batch_size": 9}, "batch_size is 9, with 8 samples"),
        ({"steps": 2, "batch_size": 8, "validation": 0.1}, "with 7 samples to train on"),
        ({"steps": 2, "batch_size": 2, "validation": 1.0}, "validation is 1.0"),
        ({"steps": 2, "batch_size": 2, "every": 0}, "every is 0"),
    ],
)
def test_bad_settings_are_named(settings, cause):
    with pytest.raises(ValueError, match=cause):
        fit(normal(), KEY, column(jnp.arange(8.0)), **settings)


def test_unpaired_samples_are_refused():
    with pytest.raises(ValueError, match="leading axes"):
        fit(normal(), KEY, column(jnp.arange(8.0), y=jnp.arange(7)), steps=2, batch_size=2)


def test_parallel_needs_parts():
    with pytest.raises(ValueError, match="no parts"):
        parallel()
