"""What tests of the pairwise marginals share: random joints, gates, their tables, and loops over thousands of them."""

import jax
import numpy as np

# x1 = y and x2 = y, but x1 = not x2.
IMPOSSIBLE = (np.eye(2) / 2, np.eye(2) / 2, np.eye(2)[::-1] / 2)
# All joints of binary tables are p + t SIGNS.
SIGNS = np.array([1, -1, -1, 1, -1, 1, 1, -1]).reshape(2, 2, 2)


def tables(p):
    """``p(x1,y), p(x2,y), p(x1,x2)``."""
    return p.sum(1), p.sum(0), p.sum(2)


def entropy(p):
    p = np.asarray(p)
    return -(p * np.log(np.where(p > 0, p, 1))).sum()


def gate(function):
    p = np.zeros((2, 2, 2))
    for x1, x2 in np.ndindex(2, 2):
        p[x1, x2, function(x1, x2)] = 0.25
    return p


def draws(kind, shape, n, seed=0):
    """Random joints: all cells alike (dense), half of them empty (sparse), of all sizes, or labels nearly certain."""
    generator = np.random.default_rng(seed)
    x = generator.exponential(size=(n, *shape))
    if kind == "sparse":
        x *= generator.random(x.shape) < 0.5
        x.reshape(n, -1)[:, 0] += 1e-3
    if kind == "small":
        x = x**6
    if kind == "certain":
        labels = np.eye(shape[2])[generator.integers(shape[2], size=(n, *shape[:2]))]
        x *= labels + 10.0 ** -generator.integers(2, 12, size=(n, 1, 1, 1))
    return x / x.reshape(n, -1).sum(1).reshape(n, 1, 1, 1)


def mapped(function):
    """One program for many joints: 500 side by side, since of a loop under vmap all wait for the slowest."""
    return jax.jit(lambda p: jax.lax.map(function, p, batch_size=500 if len(p) > 5000 else len(p)))
