"""The route for samples: a matrix-free scaling method for thousands of symbols a side, memory O(n1 n2).

With ``q = p(y) q_y`` the problem is ``min_r f(r)``, ``f(r) = min_q KL(q || r)`` over couplings q of the marginals:
each q_y is the Sinkhorn projection of one matrix r, so ``q[i, j, y] = r_ij u_iy v_jy`` and a state is r ``(n1, n2)``
and two thin matrices. A sweep, ``u <- p1 / (r v)``, ``v <- p2 / (r' u)``, is two thin products; with
``s = u v'``, the step ``r <- r s`` (the pair marginal of q) is alternating minimisation. The gradient of f is -s,
and f is convex and smooth relative to the entropy, so this is mirror descent of step one: its gap falls like 1 / t.

Three things make it fast, all measured:

- momentum on log r (Nesterov's), dropped when a step no longer descends: the gap falls like 1 / t^2;
- a few Sinkhorn sweeps a step, warm: with momentum, what one sweep leaves of the marginals would add up;
- the mean of the potentials, weighted by Nesterov's t, as a second candidate for the lower bound. Weighted so, the
  ``log s`` of all steps sum to what log r has grown, give or take t last steps, and logsumexp is convex: the mean is
  feasible up to that over the sum of the weights, however far momentum swings the last iterate beyond the optimum.

r is kept as its logarithm, so that no cell is ever lost. Nothing of this needs to be trusted: the bracket is certified.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pidjax.couplings.certificate import (
    Bound,
    Potentials,
    Primal,
    Result,
    dual_bound,
    one_source_bound,
    primal_bound,
    ratio,
)
from pidjax.info import safe_log
from pidjax.typing import Array, ArrayLike

__all__ = ["scaling"]

MAX_STEPS = 10_000  # a thousand samples and more took up to 90 to a gap of 1e-3, and 800 to 2,500 to 1e-6
SWEEPS = 4  # of Sinkhorn in each step: two double the steps where labels are nearly separated, eight gain nothing
FIRST_CHECK, CHECK_GROWTH = 20, 1.2  # a certificate costs several steps, so their number grows like log(steps)
SWING = 10.0  # how much further off than the mean the last potentials may be before momentum is dropped
LEAST = {jnp.dtype(jnp.float64): 1e-80, jnp.dtype(jnp.float32): 1e-17}  # of r: products of such numbers stay in range


class _State(NamedTuple):
    u: Array
    v: Array
    z: Array  # r, extrapolated: what is projected
    log_z: Array
    r: Array
    log_r: Array
    t: Array  # Nesterov's sequence
    mean: Potentials  # sums of the potentials weighted by t, since the last restart
    weight: Array
    steps: Array


class _Best(NamedTuple):
    lower: Bound
    upper: Bound
    potentials: Potentials
    primal: Primal


def _better(better: Array, new: tuple, old: tuple) -> tuple:
    """The new where it is better; a bound that is NaN never is."""
    return jax.tree.map(lambda x, y: jnp.where(better, x, y), new, old)


def scaling(p1: Array, p2: Array, *, tol: ArrayLike, steps: ArrayLike = MAX_STEPS) -> Result:
    """Solve one problem; ``p1 (n1, k)`` and ``p2 (n2, k)`` share their label marginal and sum to one.

    Stops when the certified gap is below ``tol``, or below what rounding allows, or after ``steps``.
    """
    dtype = p1.dtype
    tiny = LEAST[jnp.dtype(dtype)]
    floor = jnp.log(jnp.asarray(tiny, dtype))
    p_y = p1.sum(0)
    root_y = jnp.sqrt(jnp.where(p_y > 0, p_y, 1.0))[None, :]
    # The start q0 = p(y) p(x1|y) p(x2|y) is exactly feasible, and made of independent pairs.
    u0, v0 = (ratio(p / root_y, p.sum(1, keepdims=True)) for p in (p1, p2))
    z0 = jnp.maximum(p1.sum(1)[:, None] * p2.sum(1)[None, :], tiny)

    def potentials(u: Array, v: Array) -> Potentials:
        return Potentials(safe_log(u), safe_log(v))

    def step(state: _State) -> _State:
        u, v = state.u, state.v
        s = u @ v.T
        r = state.z * s
        log_r = jnp.maximum(state.log_z + jnp.log(jnp.maximum(s, tiny)), floor)
        ascends = jnp.sum((s - 1) * (r - state.r)) < 0
        t = jnp.where(ascends, 1.0, (1 + jnp.sqrt(1 + 4 * state.t**2)) / 2)
        momentum = jnp.where(ascends, 0.0, (state.t - 1) / t)
        log_z = jnp.maximum(log_r + momentum * (log_r - state.log_r), floor)
        z = jnp.exp(log_z)
        for _ in range(SWEEPS):
            u = ratio(p1, z @ v)
            v = ratio(p2, z.T @ u)
        kept = jnp.where(ascends, 0.0, 1.0)
        mean = jax.tree.map(lambda x, y: kept * x + t * y, state.mean, potentials(u, v))
        return _State(u, v, z, log_z, r, log_r, t, mean, kept * state.weight + t, state.steps + 1)

    def certify(best: _Best, state: _State) -> tuple[_Best, Array]:
        u, v, z = state.u, state.v, state.z
        last, low = dual_bound(p1, p2, potentials(u, v))
        mean, low_mean = dual_bound(p1, p2, jax.tree.map(lambda x: x / state.weight, state.mean))
        upper = primal_bound(p1, p2, Primal(u, v, z))
        lower, found = _better(last.value > best.lower.value, (last, low), (best.lower, best.potentials))
        lower, found = _better(mean.value > lower.value, (mean, low_mean), (lower, found))
        swings = upper.value - last.value > SWING * (upper.value - mean.value)
        upper, primal = _better(upper.value < best.upper.value, (upper, Primal(u, v, z)), (best.upper, best.primal))
        return _Best(lower, upper, found, primal), swings

    def certify_and_advance(loop: tuple[_State, _Best, Array]) -> tuple[_State, _Best, Array]:
        # In this order, so that the certificate is compiled once and both the start and the end are certified.
        state, best, _ = loop
        best, swings = certify(best, state)
        # Below twice the allowance for rounding no step can narrow the bracket.
        enough = jnp.maximum(tol, 2 * (best.lower.margin + best.upper.margin))
        done = (best.upper.value - best.lower.value < enough) | (state.steps >= steps)
        state = state._replace(
            t=jnp.where(swings, 1.0, state.t),
            mean=jax.tree.map(lambda x: jnp.where(swings, 0.0, x), state.mean),
            weight=jnp.where(swings, 0.0, state.weight),
        )
        check = jnp.maximum(FIRST_CHECK, jnp.ceil(CHECK_GROWTH * state.steps)).astype(state.steps.dtype)
        until = jnp.where(done, 0, jnp.minimum(check, steps))
        return jax.lax.while_loop(lambda x: x.steps < until, step, state), best, done

    one = jnp.ones((), dtype)
    start = _State(u0, v0, z0, jnp.log(z0), z0, jnp.log(z0), one, potentials(u0, v0), one, jnp.asarray(0, jnp.int32))
    # No optimiser is needed to know that the union says at least what either modality does. Where both say as much,
    # half of each: feasible, since the constraint is convex, and symmetric.
    (lower1, (a1, b1)), (lower2, (b2, a2)) = one_source_bound(p1, p2), one_source_bound(p2, p1)
    lead = lower1.value - lower2.value
    share = jnp.where(jnp.abs(lead) <= lower1.margin + lower2.margin, 0.5, jnp.where(lead > 0, 1.0, 0.0)).astype(dtype)
    lower, known = jax.tree.map(
        lambda x, y: share * x + (1 - share) * y, (lower1, Potentials(a1, b1)), (lower2, Potentials(a2, b2))
    )
    upper = Bound(jnp.asarray(jnp.inf, dtype), jnp.zeros((), dtype))
    best = _Best(lower, upper, known, Primal(u0, v0, z0))
    end, best, _ = jax.lax.while_loop(lambda x: ~x[2], certify_and_advance, (start, best, jnp.asarray(False)))
    return Result(best.lower.value, best.upper.value, best.potentials, best.primal, end.steps)
