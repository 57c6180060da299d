"""Small estimators whose answers are known, shared by the tests of this folder."""

import jax.numpy as jnp
import optax

from pidjax.estimators.base import by_gradient
from pidjax.typing import Samples

LOG_2PI = 1.8378770664093453


def normal(tx=None, of="x1"):
    """A normal density of unit variance; its mean is learned: the least loss is at the mean of the samples."""

    def surprisal(mean, _, samples):
        return 0.5 * (getattr(samples, of) - mean) ** 2 + 0.5 * LOG_2PI

    return by_gradient(lambda key, samples: (jnp.zeros(()), None), surprisal, optax.sgd(0.1) if tx is None else tx)


def column(values, **others):
    return Samples(x1=jnp.asarray(values, jnp.float32), **others)
