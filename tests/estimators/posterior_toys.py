"""Tables as samples of log posteriors, shared by the tests of the learned bounds on union information."""

import jax
import jax.numpy as jnp
import numpy as np

from pidjax.typing import Samples


def log_posteriors(joint):
    """``log p(y|x1)`` and ``log p(y|x2)`` of every symbol, finite."""
    tables = (joint.sum(1), joint.sum(0))
    with np.errstate(divide="ignore"):
        return [np.maximum(np.log(p / p.sum(1, keepdims=True)), -200.0) for p in tables]


def paired(joint):
    """Every pair of symbols as one sample, weighted by its probability: the table exactly, with few samples."""
    log_p1, log_p2 = log_posteriors(joint)
    first, second = np.indices(joint.shape[:2]).reshape(2, -1)
    parts = (log_p1[first], log_p2[second], joint.sum(2).reshape(-1))
    log_p1, log_p2, weight = (jnp.asarray(x, jnp.float32) for x in parts)
    return Samples(log_p1, log_p2, weight=weight)


def expanded(joint, n):
    """n shuffled samples in which every cell comes exactly as often as it is probable."""
    cells = np.argwhere(joint > 0)
    drawn = np.repeat(cells, np.round(n * joint[tuple(cells.T)]).astype(int), axis=0)
    drawn = np.random.default_rng(0).permutation(drawn)
    log_p1, log_p2 = log_posteriors(joint)
    return Samples(jnp.asarray(log_p1[drawn[:, 0]], jnp.float32), jnp.asarray(log_p2[drawn[:, 1]], jnp.float32))


def wild(state, scale):
    """The state with noise of this size on every parameter: the worst that training could leave."""
    keys = iter(jax.random.split(jax.random.key(9), len(jax.tree.leaves(state.params))))
    return state._replace(
        params=jax.tree.map(lambda x: x + scale * jax.random.normal(next(keys), x.shape, x.dtype), state.params)
    )


def twice(samples):
    """The samples followed by nobody, and the same with every sample as two of half its weight: one shape."""
    n = len(samples.weight)
    weight = np.asarray(samples.weight)
    zeros = np.zeros(n + 2, np.float32)
    order = np.concatenate([np.arange(n), np.arange(n), [3, 4]])
    x1, x2 = (x[order] for x in samples[:2])
    once = Samples(x1, x2, weight=jnp.asarray(np.concatenate([weight, zeros])))
    return once, Samples(x1, x2, weight=jnp.asarray(np.concatenate([weight / 2, weight / 2, zeros[:2]])))
