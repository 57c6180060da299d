"""Entropies and informations: closed forms, laws, gradients, errors."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pidjax import (
    conditional_entropy,
    conditional_mutual_information,
    entropy,
    informations,
    mutual_information,
    to_bits,
)
from pidjax.datasets import task


def joint(*shape, seed=0):
    p = np.random.default_rng(seed).exponential(size=shape)
    return p / p.sum()


@pytest.mark.parametrize("n", [1, 2, 7])
def test_the_uniform_entropy_is_the_logarithm(n):
    assert abs(entropy(np.full(n, 1 / n)) - math.log(n)) <= 1e-15


def test_chain_rules_hold():
    p = joint(3, 4, 2)
    pair = p.reshape(12, 2)
    assert abs(entropy(p) - entropy(p.sum(2)) - conditional_entropy(p)) <= 1e-14
    assert abs(mutual_information(pair) - entropy(p.sum((0, 1))) + conditional_entropy(p)) <= 1e-14
    # I(X1,X2;Y) = I(X1;Y) + I(X2;Y|X1)
    i1, _, i12 = informations(p)
    assert abs(i12 - i1 - conditional_mutual_information(p.transpose(1, 2, 0))) <= 1e-14


def test_independent_variables_share_nothing():
    p = np.outer(joint(3), joint(4, seed=1))
    assert abs(mutual_information(p)) <= 1e-15


def test_empty_cells_contribute_nothing():
    p = task("and").joint
    assert abs(entropy(p) - math.log(4)) <= 1e-15
    gradient = jax.grad(lambda p: mutual_information(p.reshape(4, 2)))(jnp.asarray(p))
    assert jnp.isfinite(gradient).all()


def test_gradient_of_information_is_pointwise_information(x64):
    p = jnp.asarray(joint(3, 4))
    expected = jnp.log(p) - jnp.log(p.sum(1))[:, None] - jnp.log(p.sum(0))[None, :] - mutual_information(p)
    np.testing.assert_allclose(jax.grad(mutual_information)(p), expected, atol=1e-13)


def test_bits_are_nats_over_log_two():
    assert to_bits(math.log(2)) == 1.0
    assert to_bits({"a": np.float64(math.log(4))}) == {"a": 2.0}


@pytest.mark.parametrize("function", [entropy, mutual_information, conditional_entropy])
def test_bad_input_is_refused_and_inside_jit_nan(function):
    bad = np.array([[0.6, 0.6], [-0.2, 0.0]])
    with pytest.raises(ValueError, match="negative cells"):
        function(bad)
    assert jnp.isnan(jax.jit(function)(jnp.asarray(bad)))
    assert jnp.isnan(jax.jit(function)(jnp.full((2, 2), 0.3)))


def test_numpy_answers_in_numpy_and_jax_in_jax():
    assert isinstance(entropy(joint(3)), np.float64)
    assert isinstance(entropy(joint(3).astype(np.float32)), np.float32)
    assert isinstance(entropy(jnp.asarray(joint(3))), jax.Array)


def test_jit_and_vmap_agree_with_the_loop():
    p = np.stack([joint(3, 4, seed=s) for s in range(3)]).astype(np.float32)
    batch = jax.jit(jax.vmap(mutual_information))(p)
    for i in range(3):
        assert abs(batch[i] - mutual_information(p[i])) <= 1e-6  # float32
