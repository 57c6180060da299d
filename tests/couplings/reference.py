"""What the coupling tests share: random problems, batched solvers, and an independent reference.

The reference is alternating minimisation whose inner projections are OTT's Sinkhorn.:
``I_min = min_r sum_y p(y) min_{q_y} KL(q_y || r)`` over couplings q_y of p(x1|y) and p(x2|y): projecting r on the
couplings is entropic transport with cost ``-log r`` and regularisation one; then r is the mixture of the couplings.
It converges linearly where the optimum is interior, so tests use it there.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from pidjax import broja, datasets

ATOMS = ("redundancy", "unique1", "unique2", "synergy")


def routes(shape):
    """The methods that apply to a shape."""
    n1, n2, k = shape
    return ["interior_point"] + ["binary"] * (k == 2) + ["two_binary"] * ((n1, n2) == (2, 2))


def joint(shape, seed=0):
    """A dense random joint, float64."""
    p = np.random.default_rng(seed).exponential(size=shape)
    return p / p.sum()


@functools.cache
def _drawn(shape, kind, power):
    return jax.jit(jax.vmap(lambda key: datasets.random_joint(key, shape, kind=kind, power=power)))


def joints(shape, count, *, kind="dense", power=1.0, seed=0):
    """A batch of random joints of one kind, float64."""
    with jax.enable_x64(True):
        return np.asarray(_drawn(shape, kind, power)(jax.random.split(jax.random.key(seed), count)))


@functools.cache
def batched(method, tol=1e-9):
    """One compiled program for a batch of problems, shared by the tests: jit keeps one for each shape and dtype."""
    return jax.jit(jax.vmap(lambda p: broja(p, tol=tol, method=method)))


def alternating_sinkhorn(p1, p2, *, rounds=4000, sweeps=50):
    """Union information (nats) of two pairwise marginals with positive cells."""
    from ott.geometry import geometry
    from ott.problems.linear import linear_problem
    from ott.solvers.linear import sinkhorn

    # OTT promotes ranks.
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        p_y = jnp.asarray(p1.sum(0))
        x1, x2 = jnp.asarray(p1.T) / p_y[:, None], jnp.asarray(p2.T) / p_y[:, None]
        solver = sinkhorn.Sinkhorn(threshold=1e-13, max_iterations=sweeps, min_iterations=sweeps)

        def project(r, a, b):
            problem = linear_problem.LinearProblem(geometry.Geometry(-jnp.log(r), epsilon=1.0), a, b)
            return solver(problem).matrix

        @jax.jit
        def solve(r):
            def step(r, _):
                q = jax.vmap(project, (None, 0, 0))(r, x1, x2)
                return jnp.einsum("y,yij->ij", p_y, q), q

            r, q = jax.lax.scan(step, r, length=rounds)
            q = p_y[:, None, None] * q[-1]
            return jnp.sum(q * jnp.log(q / q.sum(0)) - q * jnp.log(p_y)[:, None, None])

        return float(solve(jnp.einsum("y,yi,yj->ij", p_y, x1, x2)))
