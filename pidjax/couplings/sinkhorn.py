"""Sinkhorn: a positive tensor scaled onto the couplings of every class at once.

The projection ``q[y, x1, x2] = u[y, x1] exp(affinity[y, x1, x2]) v[y, x2]`` onto given ``q(x1,y)`` and ``q(x2,y)`` is
what a learned coupling is made of. Here the class comes first: each is a matrix of its own. The number of sweeps is
fixed and derivatives go through them, so value and gradient belong together whether or not it has converged.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from pidjax import _checks
from pidjax._precision import in_own_precision
from pidjax.couplings.certificate import ratio
from pidjax.info import safe_log
from pidjax.typing import Array, ArrayLike

__all__ = ["FORMS", "RANGE", "ClassCouplings", "class_couplings"]

FORMS = ("auto", "scaling", "log")
# How far apart, in nats, two affinities of a column may lie in scaling form: the scalings, and the derivatives by
# them, move by about twice that, and exp holds 87 (float32) and 708 (float64).
RANGE = {np.dtype(np.float64): 300.0, np.dtype(np.float32): 30.0}
# In log form: what can't be paired. Finite, so that no infinity meets another.
_NEVER = -1e9


class ClassCouplings(NamedTuple):
    """A coupling of the rows and columns of every class.

    Attributes:
        q: ``(k, n1, n2)``, non-negative; the mass of a class is the smaller of that of its rows and of its columns.
        residual: largest violation of a marginal (after scaling to that mass), in units of probability; a constant
            under differentiation.
    """

    q: Array
    residual: Array


@in_own_precision
def class_couplings(
    affinity: ArrayLike, p1: ArrayLike, p2: ArrayLike, *, sweeps: int = 20, form: str = "auto"
) -> ClassCouplings:
    """Scale ``exp(affinity)`` onto row sums p1 and column sums p2, class by class.

    One sweep is ``v = p2 / (K' u), u = p1 / (K v)`` for ``K = exp(affinity[y])``, u = 1 at first.

    Where the rows and the columns of a class have different masses, as in a minibatch, nothing has both marginals: the
    greater is scaled down to the smaller first. A class that one side lacks is left out. Rows and columns of mass 0
    stay empty.

    Args:
        affinity: ``(k, n1, n2)`` nats, any finite numbers; only differences within the rows and columns of a class
            matter.
        p1: masses of the rows, ``(n1, k)``, >= 0; any total.
        p2: masses of the columns, ``(n2, k)``, likewise.
        sweeps: number of sweeps; static.
        form: ``"scaling"`` multiplies by matrices and takes no exponential in a sweep; affinities more than
            ``RANGE`` (30 nats in float32, 300 in float64) below the greatest of their column count as that much below
            it, with no gradient, which is a coupling of the same marginals. ``"log"`` takes any affinities, several
            times slower. ``"auto"`` decides by the range found; inside vmap both are then computed.

    Returns:
        ``ClassCouplings``. Works under jit, vmap and grad (through the sweeps: affinity, p1 and p2).

    Raises:
        ValueError: shapes that don't fit, no sweeps, an unknown form, NaN or infinite affinities, negative masses.

    Example:
        >>> import numpy as np
        >>> affinity = np.array([[[2.0, 0.0], [0.0, 2.0]]])  # one class
        >>> found = class_couplings(affinity, np.array([[0.5], [0.5]]), np.array([[0.25], [0.75]]))
        >>> print(found.q[0].round(4), bool(found.residual < 1e-6))
        [[0.2416 0.2584]
         [0.0084 0.4916]] True

    References:
        Cuturi 2013, "Sinkhorn distances"; arXiv 2302.12247, section 3 (BATCH), algorithm 1.
    """
    affinity, p1, p2 = (
        jnp.asarray(_checks.as_float(x, name)) for x, name in ((affinity, "affinity"), (p1, "p1"), (p2, "p2"))
    )
    _checks.require(
        affinity.ndim == 3 and p1.shape == affinity.shape[1::-1] and p2.shape == affinity.shape[::-2],
        f"affinity has shape {affinity.shape}, p1 {p1.shape}, p2 {p2.shape}; expected (k, n1, n2), (n1, k), (n2, k)",
    )
    affinity, p1, p2 = (x.astype(jnp.result_type(affinity, p1, p2)) for x in (affinity, p1, p2))
    _checks.require(sweeps >= 1, f"sweeps is {sweeps}; expected at least 1")
    _checks.require(form in FORMS, f"unknown form {form!r}; expected one of {', '.join(FORMS)}")
    seen, seen1, seen2 = jax.lax.stop_gradient((affinity, p1, p2))
    ok = _checks.ensure(
        jnp.isfinite(seen).all(),
        lambda: (
            f"affinity has {int((~jnp.isfinite(seen)).sum())} NaN or infinite values; expected finite nats: to forbid "
            "a pair subtract 1000"
        ),
    )
    ok &= _checks.ensure(
        (seen1 >= 0).all() & (seen2 >= 0).all() & jnp.isfinite(seen1.sum() + seen2.sum()),
        lambda: (
            f"the masses run from {float(jnp.minimum(seen1.min(), seen2.min())):g} to "
            f"{float(jnp.maximum(seen1.max(), seen2.max())):g}; expected finite numbers >= 0"
        ),
    )
    return _checks.poison(_class_couplings(affinity, p1, p2, sweeps=sweeps, form=form), ok, affinity, p1, p2)


@functools.partial(jax.jit, static_argnames=("sweeps", "form"))
def _class_couplings(affinity: Array, p1: Array, p2: Array, *, sweeps: int, form: str) -> ClassCouplings:
    """Every class with masses of one."""
    mass1, mass2 = p1.sum(0), p2.sum(0)
    mass = jnp.minimum(mass1, mass2)
    shared = (mass > 0)[:, None]  # by both sides
    rows, columns = (jnp.where(shared, ratio(p, own[None]).T, 0.0) for p, own in ((p1, mass1), (p2, mass2)))
    limit = RANGE[np.dtype(affinity.dtype)]
    # Shifts of rows and columns change nothing but the range, and where the first sweep starts.
    below = affinity - affinity.max(2, keepdims=True)
    below = below - below.max(1, keepdims=True)
    scaling = functools.partial(_scaling_form, sweeps=sweeps, limit=limit)
    log = functools.partial(_log_form, sweeps=sweeps)
    if form == "auto":
        wide = jax.lax.stop_gradient(below).min() < -limit
        q = jax.lax.cond(wide, log, scaling, below, rows, columns)
    else:
        q = (log if form == "log" else scaling)(below, rows, columns)
    missed = [jnp.abs(q.sum(axis) - p).max(1) for axis, p in ((2, rows), (1, columns))]
    residual = (mass * jnp.maximum(*missed)).max()
    return ClassCouplings(q * mass[:, None, None], jax.lax.stop_gradient(residual))


def _scaling_form(affinity: Array, rows: Array, columns: Array, *, sweeps: int, limit: float) -> Array:
    """``(k, n1, n2)`` of affinities at most 0; an empty row or column has scaling 0 from its first update on."""
    kernel = jnp.exp(jnp.maximum(affinity, -limit))

    def sweep(scalings: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        v = ratio(columns, jnp.einsum("kij,ki->kj", kernel, scalings[0]))
        return (ratio(rows, jnp.einsum("kij,kj->ki", kernel, v)), v), None

    (u, v), _ = jax.lax.scan(sweep, (jnp.ones_like(rows), jnp.ones_like(columns)), length=sweeps)
    return u[:, :, None] * kernel * v[:, None, :]


def _log_form(affinity: Array, rows: Array, columns: Array, *, sweeps: int) -> Array:
    """The same from potentials, the logarithms of the scalings."""
    occupied = (rows > 0)[:, :, None] & (columns > 0)[:, None, :]
    affinity = jnp.where(occupied, affinity, _NEVER)
    log_rows, log_columns = safe_log(rows), safe_log(columns)

    def sweep(potentials: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        g = jnp.where(columns > 0, log_columns - logsumexp(affinity + potentials[0][:, :, None], axis=1), 0.0)
        f = jnp.where(rows > 0, log_rows - logsumexp(affinity + g[:, None, :], axis=2), 0.0)
        return (f, g), None

    (f, g), _ = jax.lax.scan(sweep, (jnp.zeros_like(rows), jnp.zeros_like(columns)), length=sweeps)
    return jnp.where(occupied, jnp.exp(affinity + f[:, :, None] + g[:, None, :]), 0.0)
