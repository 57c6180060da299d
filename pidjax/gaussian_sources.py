"""The union information of any number of Gaussian sources: a determinant to maximise, certified by its dual.

    max { logdet W : W <= Cov(Y|X_i) for all i }  <=  sum_i tr L_i Cov(Y|X_i) - logdet(sum_i L_i) - dy,   any L_i >= 0.

Two sources have a closed form (``pidjax.gaussian``). For more, Newton's method follows the central path, whose every
point is a W strictly below all bounds, and the ``L_i`` that belong to it.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve

from pidjax import _checks
from pidjax._precision import in_own_precision
from pidjax.gaussian import checked_dims, log_determinant, refusal, resolution, solve, white
from pidjax.typing import Array, ArrayLike

__all__ = ["GaussianUnion", "gaussian_union"]

_MOST_STEPS = 200
_NEAR = 0.3  # of the central path, in Newton decrements
_SHRINK = 0.15
_LEAST = 64  # ulps of the gap that rounding leaves, for each source and direction of y


class GaussianUnion(NamedTuple):
    """Bounds on the union information, and the posterior at which it is attained. Nats.

    They are those of the ``Cov(Y|X_i)`` as computed: what rounding did to these, which float32 shows, is in no gap.

    Attributes:
        lower: at most the union information: the dual's value, to rounding; with the envelope gradient.
        upper: at least the union information: that of ``given``.
        given: covariance of y given all sources under the best coupling found, ``(dy, dy)``, in the units of y; below
            every ``Cov(Y|X_i)``.
        multipliers: ``L_i`` above, ``(k, dy, dy)``: which source binds in which direction. They sum
            to about the inverse of ``given``.
        steps: Newton steps taken.
    """

    lower: Array
    upper: Array
    given: Array
    multipliers: Array
    steps: Array

    @property
    @in_own_precision
    def gap(self) -> Array:
        """``upper - lower``: 0 where both are infinite, NaN where the input was refused."""
        infinite = jnp.isposinf(self.upper)
        return jnp.where(infinite, 0.0, self.upper - jnp.where(infinite, 0.0, self.lower))


@in_own_precision
def gaussian_union(cov: ArrayLike, dims: tuple[int, ...], *, tol: float = 1e-9) -> GaussianUnion:
    """Union information of Gaussian sources x1, ..., xk about y: the least that pairs (x_i, y) admit together.

    ``min 1/2 (logdet Cov(Y) - logdet W)`` over ``W <= Cov(Y|X_i)``. With two sources it is ``I1 + U2 = I2 + U1``.

    Args:
        cov: covariance of x1, ..., xk and y, in this order; only the blocks of a source with itself and with y count
            (sources that are together impossible are refused all the same).
        dims: ``(d1, ..., dk, dy)``; static. A Newton step solves ``dy^2`` equations: meant for dy up to about 30.
        tol: the gap (nats) at which it stops, above 0. Less than ``64 k dy`` ulps (float32: 5e-5 for three sources of
            a plane) counts as that, since rounding leaves no less; ill-conditioned systems are left with more. What
            was reached is ``gap``.

    Returns:
        A ``GaussianUnion``. Infinite where a source determines a direction of y. Works under jit, vmap and grad
        (``lower``).

    Raises:
        ValueError: as ``gaussian_pid``, and a tol that is not positive.

    Example:
        >>> import numpy as np
        >>> h = np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]])  # three sources see a plane from three sides
        >>> cov = np.block([[h @ h.T + np.eye(3), h], [h.T, np.eye(2)]])
        >>> found = gaussian_union(cov, (1, 1, 1, 2))
        >>> print(f"{found.lower:.6f}", bool(found.gap < 1e-9))
        1.609438 True

    References:
        Vandenberghe, Boyd & Wu 1998, "Determinant maximization with linear matrix inequality constraints".
    """
    cov = jnp.asarray(_checks.as_float(cov, "cov"))
    dims = checked_dims(cov, dims, sources=None)
    asked = jnp.asarray(tol, cov.dtype)
    ok = _checks.ensure(
        asked > 0, lambda: f"tol is {float(asked):g}; expected a positive gap in nats (1e-9 is the default)"
    )
    least = _LEAST * (len(dims) - 1) * dims[-1] * float(jnp.finfo(cov.dtype).eps)
    found, faults = _union(cov, jnp.maximum(asked, least), dims=dims)
    return _checks.poison(found, ok & refusal(faults), cov)


class _State(NamedTuple):
    w: Array
    multipliers: Array
    lower: Array  # on the union information, the best so far
    upper: Array
    weight: Array  # of the barrier
    steps: Array
    stuck: Array


@functools.partial(jax.jit, static_argnames="dims")
def _union(cov: Array, tol: Array, *, dims: tuple[int, ...]) -> tuple[GaussianUnion, Any]:
    with jax.default_matmul_precision("highest"):
        posteriors, faults = white(cov, dims)
        given = jnp.stack(posteriors.given)
        fixed = jax.lax.stop_gradient(given)
        infinite = jnp.any(jnp.linalg.eigvalsh(fixed)[:, 0] <= resolution(dims, cov))
        identity = jnp.eye(dims[-1], dtype=cov.dtype)
        usable = jnp.where(infinite | ~jnp.isfinite(fixed).all(), identity[None], fixed)
        state = _solved(usable, tol)
        # The dual's value at these multipliers, as a function of what is given: its gradient is that of the optimum.
        value = _dual(state.multipliers, jnp.where(infinite, usable, given))
        lower = state.lower + value - jax.lax.stop_gradient(value)
        units = solve(posteriors.lower, identity)
        multipliers = jnp.einsum("ai,kab,bj->kij", units, state.multipliers, units)
        w = posteriors.lower @ state.w @ posteriors.lower.T
    blank = lambda x, by: jnp.where(infinite, by, x)
    found = GaussianUnion(
        blank(lower, jnp.inf), blank(state.upper, jnp.inf), blank(w, jnp.nan), blank(multipliers, jnp.nan), state.steps
    )
    return found, faults


def _dual(multipliers: Array, given: Array) -> Array:
    """A lower bound on ``-1/2 logdet W``; multiples of the multipliers are bounds too, and this is the best of them."""
    d = given.shape[-1]
    return (log_determinant(multipliers.sum(0)) - d * jnp.log(jnp.sum(multipliers * given) / d)) / 2


def _solved(given: Array, tol: Array) -> _State:
    """The central path of the max-det problem, from the posterior that independent sources would nearly have."""
    k, d, _ = given.shape
    dtype = given.dtype
    identity = jnp.eye(d, dtype=dtype)
    inverse = lambda a: cho_solve((jnp.linalg.cholesky(a), True), identity)
    start = inverse(jax.vmap(inverse)(given).sum(0))
    # In coordinates in which the path starts at half the identity, and every bound is at least the identity.
    lower = jnp.linalg.cholesky(start)
    within = lambda a: solve(lower, solve(lower, a).T)
    bounds = jax.vmap(within)(given)
    offset = -log_determinant(start) / 2

    def step(state: _State) -> _State:
        w_inverse, slack_inverse = inverse(state.w), jax.vmap(inverse)(bounds - state.w[None])
        gradient = -w_inverse / state.weight + slack_inverse.sum(0)
        hessian = jnp.kron(w_inverse, w_inverse) / state.weight + sum(jnp.kron(s, s) for s in slack_inverse)
        move = -cho_solve((jnp.linalg.cholesky(hessian), True), gradient.reshape(-1)).reshape(d, d)
        move = (move + move.T) / 2
        decrement = jnp.sqrt(jnp.maximum(-jnp.sum(gradient * move), 0.0))
        # A step of this length stays inside: the barrier is self-concordant.
        w = state.w + move / jnp.where(decrement < _NEAR, 1.0, 1 + decrement)
        slack = jax.vmap(inverse)(bounds - w[None])
        multipliers = state.weight * slack
        primal, dual = -log_determinant(w) / 2, _dual(multipliers, bounds)
        valid = jnp.isfinite(primal) & jnp.isfinite(dual)
        best = valid & (dual >= state.lower)
        weight = jnp.where(decrement < _NEAR, state.weight * _SHRINK, state.weight)
        keep = lambda condition, new, old: jnp.where(condition, new, old)
        return _State(
            keep(valid, w, state.w),
            keep(best, multipliers, state.multipliers),
            keep(best, dual, state.lower),
            keep(valid, primal, state.upper),
            weight,
            state.steps + 1,
            ~valid,
        )

    def unfinished(state: _State) -> Array:
        # On the path the gap is k d / 2 times the weight; what is open beyond that is rounding.
        path = state.weight * k * d > tol / 8
        return (state.steps < _MOST_STEPS) & ~state.stuck & path & ~(state.upper - state.lower <= tol)

    w = identity / 2
    first = jax.vmap(inverse)(bounds)
    one = jnp.ones((), dtype)
    state = _State(w, first, _dual(first, bounds), -log_determinant(w) / 2, one, jnp.asarray(0), jnp.asarray(False))
    state = jax.lax.while_loop(unfinished, step, state)
    back = solve(lower, identity)
    multipliers = state.multipliers * d / jnp.sum(state.multipliers * bounds)
    return state._replace(
        w=lower @ state.w @ lower.T,
        multipliers=jnp.einsum("ai,kab,bj->kij", back, multipliers, back),
        lower=state.lower + offset,
        upper=state.upper + offset,
    )
