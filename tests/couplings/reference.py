"""An independent reference: alternating minimisation whose inner projections are OTT's Sinkhorn.

``I_min = min_r sum_y p(y) min_{q_y} KL(q_y || r)`` over couplings q_y of p(x1|y) and p(x2|y): projecting r on the
couplings is entropic transport with cost ``-log r`` and regularisation one; then r is the mixture of the couplings.
It converges linearly where the optimum is interior, so tests use it there.
"""

import jax
import jax.numpy as jnp
import numpy as np


def alternating_sinkhorn(p1, p2, *, rounds=400, sweeps=200):
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

        return float(solve(jnp.einsum("y,yi,yj->ij", p_y, x1, x2))), np.asarray(p_y)
