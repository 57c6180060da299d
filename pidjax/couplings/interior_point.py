"""The general route: a structured primal-dual interior point method for any two alphabets and any labels.

The state is the potentials a, b, the (x1, x2) marginal r of the coupling and an independent slack w; the coupling
``q = r softmax_y(a + b)`` is never formed. The conditions of optimality are ``q1 = p1``, ``q2 = p2``,
``log s + w = 0`` with ``s = sum_y exp(a + b)``, and ``r w = 0``. Every iterate is certified (``certificate``), and the
method stops on the certified gap alone: the upper bound is often done when the lower is late, so a stall means
nothing. The constants below were chosen on hundreds of thousands of problems; each one's reason stands beside it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pidjax.couplings import newton
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
from pidjax.typing import Array

__all__ = ["interior_point"]

MAX_STEPS = 60  # 34 was the most that any of 615,000 small problems took
TO_BOUNDARY = 0.99
LARGEST_STEP = 3.0  # of a potential: 10 leaves sparse problems of tiny cells unsolved
LEAST_SLACK = 0.3  # at the start
WEIGHT_RATIO = 4.0  # the central path's weights: r0, moved towards p(x1) p(x2) by at most this factor
LARGE_ORDER = 64  # of the Schur complement: from here on Gondzio correctors, and certificates only near the end
CORRECTORS = 3
SOLVE_ACCURACY = 1e-2  # of a Newton step, relative to complementarity
CERTIFY_BELOW = 1e-3  # complementarity, for large problems


class _Best(NamedTuple):
    lower: Bound
    upper: Bound
    potentials: Potentials
    primal: Primal


class _State(NamedTuple):
    a: Array
    b: Array
    r: Array
    w: Array
    regularisation: Array
    steps: Array
    best: _Best
    done: Array


class _Direction(NamedTuple):
    a: Array
    b: Array
    r: Array
    w: Array


class _Search(NamedTuple):
    """Predictor, corrector and further correctors share one compiled solve; this is what they pass on."""

    target: Array
    accepted: Array  # target of the direction that was kept
    direction: _Direction
    step_r: Array
    step_w: Array
    sigma: Array
    round: Array  # 0 the predictor, 1 the corrector, 2 and more Gondzio's
    more: Array


def _longest(x: Array, dx: Array) -> Array:
    """The longest step that keeps x >= 0."""
    return jnp.min(jnp.where(dx < 0, -x / jnp.where(dx < 0, dx, 1.0), jnp.inf))


def _sigma_floor(x: Array) -> Array:
    """Least centring, so that complementarity does not run away from the residuals; above 1 it does harm."""
    return jnp.where(x > 1000, 1.0, jnp.where(x > 30, 0.3, jnp.where(x > 1, 0.03, 0.0)))


def interior_point(p1: Array, p2: Array, tol: Array, support: newton.Support | None = None) -> Result:
    """Solve one problem; ``p1 (n1, k)`` and ``p2 (n2, k)`` share their label marginal and sum to one.

    Args:
        p1: joint of the first modality and the label.
        p2: of the second modality and the label.
        tol: gap to reach, nats.
        support: which cells are unknowns, see ``newton.Support``; None for all.

    Returns:
        A ``Result``: potentials, and the primal that the certificate evaluates.
    """
    if p1.shape[0] >= p2.shape[0]:
        return _solve(p1, p2, tol, support)
    flipped = None if support is None else newton.Support(support.columns, support.rows)
    result = _solve(p2, p1, tol, flipped)
    a, b = result.potentials
    primal = result.primal and Primal(result.primal.v, result.primal.u, result.primal.rho.T)
    return result._replace(potentials=Potentials(b, a), primal=primal)


def _solve(p1: Array, p2: Array, tol: Array, support: newton.Support | None) -> Result:
    dtype = p1.dtype
    wide = dtype == jnp.float64
    # 1e-13 already swamps near-null directions when the two channels nearly agree.
    least_regularisation = 1e-16 if wide else 1e-6
    k, n2 = p1.shape[1], p2.shape[0]
    large = n2 * k > LARGE_ORDER

    m1, m2 = p1 > 0, p2 > 0
    pairs = (m1.astype(dtype) @ m2.astype(dtype).T) > 0
    p_y, p_x1, p_x2 = p1.sum(0), p1.sum(1), p2.sum(1)
    root_y = jnp.sqrt(jnp.where(p_y > 0, p_y, 1.0))
    # The start q0 = p(y) p(x1|y) p(x2|y) is exactly feasible.
    a0 = jnp.where(m1, jnp.log(jnp.where(m1, ratio(p1 / root_y[None], p_x1[:, None]), 1.0)), 0.0)
    b0 = jnp.where(m2, jnp.log(jnp.where(m2, ratio(p2 / root_y[None], p_x2[:, None]), 1.0)), 0.0)
    r0 = jnp.where(pairs, (p1 / root_y[None]) @ (p2 / root_y[None]).T, 0.0)
    independent = p_x1[:, None] * p_x2[None, :]
    pull = jnp.sqrt(ratio(independent, r0))
    omega = jnp.where(pairs, r0 * jnp.clip(pull, 1 / WEIGHT_RATIO, WEIGHT_RATIO), 0.0)
    omega = omega / omega.sum()

    def exponentials(a: Array, b: Array) -> tuple[Array, Array, Array]:
        u, v = jnp.where(m1, jnp.exp(a), 0.0), jnp.where(m2, jnp.exp(b), 0.0)
        s = u @ v.T
        return u, v, jnp.where(pairs & (s > 0), s, 1.0)

    def certify(best: _Best, a: Array, b: Array, r: Array) -> _Best:
        u, v, s = exponentials(a, b)
        primal = Primal(u, v, jnp.where(pairs, r / s, 0.0))
        upper = primal_bound(p1, p2, primal)
        lower, potentials = dual_bound(p1, p2, Potentials(a, b))

        def keep(better: Array, new: tuple, old: tuple) -> tuple:  # a bound that is NaN is never better
            return jax.tree.map(lambda x, y: jnp.where(better, x, y), new, old)

        lower, potentials = keep(lower.value > best.lower.value, (lower, potentials), (best.lower, best.potentials))
        upper, primal = keep(upper.value < best.upper.value, (upper, primal), (best.upper, best.primal))
        return _Best(lower, upper, potentials, primal)

    def recentre(a: Array, b: Array) -> tuple[Array, Array]:
        """The symmetric gauge: for each label both potentials reach equally high."""
        top_a = jnp.max(jnp.where(m1, a, -jnp.inf), 0)
        top_b = jnp.max(jnp.where(m2, b, -jnp.inf), 0)
        shift = jnp.where(p_y > 0, (top_a - top_b) / 2, 0.0)
        return jnp.where(m1, a - shift[None], 0.0), jnp.where(m2, b + shift[None], 0.0)

    def step(state: _State) -> _State:
        a, b, r, w, regularisation, steps, best, done = state
        u, v, s = exponentials(a, b)
        rho = jnp.where(pairs, r / s, 0.0)
        q1, q2 = u * (rho @ v), v * (rho.T @ u)
        dual_residual = jnp.where(pairs, w + jnp.log(s), 0.0)
        mu = jnp.sum(r * w)
        residual = jnp.sum(jnp.abs(p1 - q1)) + jnp.sum(jnp.abs(p2 - q2)) + jnp.sum(r * jnp.abs(dual_residual))
        curvature = jnp.where(pairs, (r / w - r) / s**2, 0.0)
        point = newton.Point(u, v, rho, curvature, q1, q2, m1, m2)
        system = newton.factorise(point, regularisation, support, large=large)

        def direction(target: Array) -> _Direction:
            t = jnp.where(pairs, (target + r * dual_residual) / (w * s), 0.0)
            ga = jnp.where(m1, p1 - u * (t @ v), 0.0)
            gb = jnp.where(m2, p2 - v * (t.T @ u), 0.0)
            da, db = newton.solve(system, ga, gb, SOLVE_ACCURACY * mu, large=large)
            change = ((u * da) @ v.T + u @ (v * db).T) / s
            dw = jnp.where(pairs, -change - dual_residual, 0.0)
            return _Direction(da, db, jnp.where(pairs, (target - r * w - r * dw) / w, 0.0), dw)

        def correct(search: _Search) -> _Search:
            new = direction(search.target)
            largest = jnp.maximum(jnp.max(jnp.abs(new.a)), jnp.max(jnp.abs(new.b)))
            full_r, full_w = _longest(r, new.r), _longest(w, new.w)
            step_r = jnp.minimum(1.0, TO_BOUNDARY * full_r)
            limit = LARGEST_STEP / jnp.maximum(largest, LARGEST_STEP)
            step_w = jnp.minimum(limit, TO_BOUNDARY * full_w)
            affine_r, affine_w = jnp.minimum(1.0, full_r), jnp.minimum(1.0, full_w)
            affine = jnp.sum((r + affine_r * new.r) * (w + affine_w * new.w))
            sigma = jnp.maximum(jnp.clip((affine / mu) ** 3, 1e-4, 1.0), _sigma_floor(residual / mu))
            predicting = search.round == 0
            sigma = jnp.where(predicting, sigma, search.sigma)
            good = (search.round < 2) | (step_r + step_w >= search.step_r + search.step_w + 0.02)
            kept = jax.tree.map(
                lambda x, y: jnp.where(good, x, y),
                (search.target, new, step_r, step_w),
                (search.accepted, search.direction, search.step_r, search.step_w),
            )
            accepted, held, step_r, step_w = kept
            # Gondzio: bring outlying products r w back into [.1, 10] times their target.
            aim = jnp.maximum(sigma, 1e-3) * mu * omega
            trial_r, trial_w = (jnp.minimum(1.0, 1.1 * x + 0.2) for x in (step_r, step_w))
            products = (r + trial_r * held.r) * (w + trial_w * held.w)
            pull = jnp.maximum(jnp.clip(products, 0.1 * aim, 10 * aim) - products, -10 * aim)
            gondzio = accepted + jnp.where(pairs, pull, 0.0)
            mehrotra = sigma * mu * omega - jnp.where(pairs, new.r * new.w, 0.0) * affine_r * affine_w
            more = good & (search.round <= CORRECTORS) & (jnp.minimum(step_r, step_w) < 0.95)
            target = jnp.where(predicting, mehrotra, gondzio)
            return _Search(target, accepted, held, step_r, step_w, sigma, search.round + 1, predicting | more)

        one = jnp.ones((), dtype)
        zero = jnp.zeros_like(r)
        search = _Search(
            zero,
            zero,
            _Direction(jnp.zeros_like(a), jnp.zeros_like(b), zero, zero),
            one,
            one,
            one,
            jnp.asarray(0),
            jnp.asarray(True),
        )
        if large:
            search = jax.lax.while_loop(lambda x: x.more, correct, search)
        else:
            search = correct(correct(search))
        move = search.direction
        finite = jnp.isfinite(jnp.sum(move.a) + jnp.sum(move.b) + jnp.sum(move.r))
        new_a, new_b = recentre(a + search.step_w * move.a, b + search.step_w * move.b)
        new_r = jnp.where(pairs, r + search.step_r * move.r, 0.0)
        new_w = jnp.where(pairs, w + search.step_w * move.w, 1.0)
        # The slack may exceed -log s but never fall below it where that is positive.
        new_w = jnp.where(pairs, jnp.maximum(new_w, -jnp.log(exponentials(new_a, new_b)[2])), 1.0)
        a, b, r, w = (jnp.where(finite, x, y) for x, y in ((new_a, a), (new_b, b), (new_r, r), (new_w, w)))
        regularisation = jnp.where(
            finite, jnp.maximum(regularisation / 100, least_regularisation), regularisation * 100
        )
        return _State(a, b, r, w, regularisation, steps + 1, best, done)

    def certify_and_step(state: _State) -> _State:
        # In this order, so that the certificate is compiled once and the start, too, is certified.
        near = (jnp.sum(state.r * state.w) < CERTIFY_BELOW) | (state.steps == 0)
        if large:
            best = jax.lax.cond(near, certify, lambda best, *_: best, state.best, state.a, state.b, state.r)
        else:
            best = certify(state.best, state.a, state.b, state.r)
        # Below twice the allowance for rounding no iteration can narrow the bracket.
        enough = jnp.maximum(tol, 2 * (best.lower.margin + best.upper.margin))
        done = best.upper.value - best.lower.value < enough
        return jax.lax.cond(done, lambda state: state, step, state._replace(best=best, done=done))

    def unfinished(state: _State) -> Array:
        return ~state.done & (state.steps < MAX_STEPS)

    a0, b0 = recentre(a0, b0)
    u0, v0, s0 = exponentials(a0, b0)
    # No optimiser is needed to know that the union says at least what either modality does. Where both say as much,
    # half of each: feasible, since the constraint is convex, and symmetric.
    (lower1, (a1, b1)), (lower2, (b2, a2)) = one_source_bound(p1, p2), one_source_bound(p2, p1)
    lead = lower1.value - lower2.value
    share = jnp.where(jnp.abs(lead) <= lower1.margin + lower2.margin, 0.5, jnp.where(lead > 0, 1.0, 0.0)).astype(dtype)
    lower, potentials = jax.tree.map(
        lambda x, y: share * x + (1 - share) * y, (lower1, Potentials(a1, b1)), (lower2, Potentials(a2, b2))
    )
    upper = Bound(jnp.asarray(jnp.inf, dtype), jnp.zeros((), dtype))
    known = _Best(lower, upper, potentials, Primal(u0, v0, jnp.where(pairs, r0 / s0, 0.0)))
    start = _State(
        a0,
        b0,
        r0,
        jnp.where(pairs, jnp.maximum(-jnp.log(s0), LEAST_SLACK), 1.0),
        jnp.asarray(least_regularisation, dtype),
        jnp.asarray(0, jnp.int32),
        known,
        jnp.asarray(False),
    )
    end = jax.lax.while_loop(unfinished, certify_and_step, start)
    best = end.best
    return Result(best.lower.value, best.upper.value, best.potentials, best.primal, end.steps)
