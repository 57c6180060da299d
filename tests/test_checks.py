"""What was refused inside jit is NaN, and so are its derivatives: a training loop must not go on with zeros."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pidjax import broja, gaussian_pid
from pidjax._checks import labels, poison
from pidjax.estimators import fit
from pidjax.estimators.base import by_gradient
from pidjax.typing import Samples


def impossible(correlation):
    return jnp.eye(3).at[0, 2].set(correlation).at[2, 0].set(correlation)


def trained_mean(x):
    normal = by_gradient(lambda key, s: (jnp.zeros(()), None), lambda mean, _, s: (s.x1 - mean) ** 2, optax.sgd(0.1))
    return fit(normal, jax.random.key(0), Samples(x1=x), steps=4, batch_size=4).state.params


@pytest.mark.parametrize(
    ("value", "good", "bad"),
    [
        (lambda cov: gaussian_pid(cov, (1, 1, 1)).redundancy, impossible(0.5), impossible(1.5)),
        (lambda p: broja(p).pid.synergy, jnp.full((2, 2, 2), 1 / 8), jnp.full((2, 2, 2), 1 / 7)),
        (trained_mean, jnp.arange(4.0), jnp.arange(4.0).at[1].set(jnp.nan)),
    ],
    ids=["gaussian_pid", "broja", "fit"],
)
def test_the_gradient_of_what_is_refused_is_nan_too(value, good, bad):
    both = jax.jit(jax.value_and_grad(value))
    assert np.isfinite(jnp.concatenate([leaf.ravel() for leaf in both(good)])).all()
    assert np.isnan(jnp.concatenate([leaf.ravel() for leaf in both(bad)])).all()


def test_what_is_not_refused_stays_as_it_is():
    tree = {"infinite": jnp.array([jnp.inf, -0.0]), "count": jnp.arange(2), "none": None, "number": 2.0}

    def values(ok, x):
        return poison(tree | {"x": jnp.where(x > 0, 1.0, 0.0)}, ok, x, tree)

    found = jax.jit(values)(True, jnp.array([1.0, jnp.inf]))
    assert np.array_equal(found["infinite"], tree["infinite"])
    assert found["number"] == 2
    assert found["none"] is None
    refused = jax.jit(values)(False, jnp.ones(2))
    assert np.isnan(np.append(refused["infinite"], refused["number"])).all()
    assert np.array_equal(refused["count"], tree["count"])  # integers have no NaN


def test_one_refusal_among_many_is_no_other_s():
    """A vmap's good rows keep their gradients, also of what was chosen among branches."""
    one = lambda x: poison(jnp.where(x > 0, 2.0, x), x < 5, x)
    found = jax.vmap(jax.grad(one))(jnp.array([-1.0, 1.0, 9.0]))
    assert np.array_equal(found, [1.0, 0.0, np.nan], equal_nan=True)


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16])
def test_labels_of_few_bits_may_be_fewer_than_the_classes(kind, dtype):
    y, ok = labels(kind(np.array([0, 100], dtype)), classes=70_000)
    assert bool(ok)
    assert y.dtype == np.int32


def test_labels_beyond_32_bits_are_refused_and_not_wrapped():
    with pytest.raises(ValueError, match="y runs from 0 to 4294967296"):
        labels(np.array([0, 2**32]), classes=3)
