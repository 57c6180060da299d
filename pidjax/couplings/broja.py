"""BROJA: the exact union information of two modalities, with a certificate, pointwise values and a gradient.

    I_min = min { I_q(X1,X2;Y) : q(x1,y) = p(x1,y), q(x2,y) = p(x2,y) }

Four routes solve it, each where it applies: ``binary`` (closed form), ``two_binary`` (a scalar root),
``interior_point`` (anything) and ``scaling`` (thousands of symbols a side, to fewer digits). All leave a bracket, dual
potentials and a way to a coupling.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pidjax import _checks
from pidjax._precision import in_own_precision, is_traced
from pidjax.couplings.binary import binary, binary_coupling
from pidjax.couplings.certificate import Potentials, Primal, Result, coupling, pairwise_sum
from pidjax.couplings.interior_point import LARGE_ORDER, interior_point
from pidjax.couplings.newton import Support
from pidjax.couplings.scaling import scaling
from pidjax.couplings.two_binary import two_binary
from pidjax.info import joint_informations, mutual_information_of, safe_log, xlogx
from pidjax.pid import PID, from_union
from pidjax.typing import Array, ArrayLike

__all__ = ["METHODS", "Potentials", "Solution", "broja", "union_information"]

METHODS = ("auto", "binary", "two_binary", "interior_point", "scaling")
# The solver squares sums of these: a positive cell below it is taken as empty. What that changes is far below the
# rounding that the certificate already allows for.
SMALLEST_CELL = {np.dtype(np.float64): 1e-150, np.dtype(np.float32): 1e-15}
# Restricting the unknowns to the occupied cells pays once the saved algebra outweighs the gathers.
SPARSE_ORDER = 4 * LARGE_ORDER
SPARSE_SHARE = 0.7


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Solution:
    """A solved problem: a certified bracket of the union information and what follows from it. Nats.

    A pytree; under ``vmap`` every leaf, and every value computed from it, gains the batch's axes. When the input
    was refused inside jit all is NaN and ``gap`` is infinite.

    Attributes:
        lower: at most the union information, whatever the optimiser did; with the envelope gradient.
        upper: at least the union information, likewise.
        pid: the PID at union = ``lower``; its synergy is NaN where no joint was given; with the envelope gradient.
        potentials: ``a (n1, k)`` and ``b (n2, k)``, feasible (``logsumexp_y(a + b) <= 0`` for every pair) and those
            of ``lower``: ``lower = sum p1 a + sum p2 b + H(Y)`` up to rounding; -inf in empty cells.
        steps: iterations taken (of Newton's method, or of the root); 0 for a binary target.
        marginals: ``p(x1, y)`` and ``p(x2, y)`` as solved (normalised, reconciled).
        joint: the normalised ``p[x1, x2, y]``; None for ``union_information``.
        primal: what ``coupling`` is built from; None for the binary route, which builds it from the marginals.
    """

    lower: Array
    upper: Array
    pid: PID
    potentials: Potentials
    steps: Array
    marginals: tuple[Array, Array]
    joint: Array | None
    primal: Primal | None

    @property
    @in_own_precision
    def gap(self) -> Array:
        """``upper - lower``: computed, never assumed; it includes the rounding of the certificate itself."""
        lower = jax.lax.stop_gradient(self.lower)
        return jnp.where(jnp.isnan(lower) | jnp.isnan(self.upper), jnp.inf, self.upper - lower)

    @property
    @in_own_precision
    def pointwise(self) -> PID:
        """The atoms of every cell, leaves ``(n1, n2, k)``; their mean under the joint is ``pid``.

        ``i_union = a(x1,y) + b(x2,y) - log p(y)``, and r, u1, u2, s from it as the atoms from the informations.
        These are influence functions: the derivative of each atom by ``p[x1, x2, y]``, up to a constant. Cells
        that can't occur carry 0. Single values may be negative (misinformation). Where the optimum leaves the
        potentials free the choice is symmetric in the modalities. Without a joint, synergy is NaN.
        """
        return self._each(_pointwise)(self.marginals, self.potentials, self.joint)

    @property
    @in_own_precision
    def coupling(self) -> Array:
        """An optimal ``q[x1, x2, y]`` with the marginals of p, built when asked for: memory O(n1 n2 k)."""
        return self._each(_coupling)(self.marginals, self.primal)

    def _each(self, function: Callable) -> Callable:
        return _compiled(function, self.lower.ndim)


@functools.cache
def _compiled(function: Callable, batch_axes: int) -> Callable:
    """The function jitted, mapped over its leading batch axes: one object each, so that jit remembers it."""
    for _ in range(batch_axes):
        function = jax.vmap(function)
    return jax.jit(function)


def _pointwise(marginals: tuple[Array, Array], potentials: Potentials, joint: Array | None) -> PID:
    (p1, p2), (a, b) = marginals, potentials
    log_y = safe_log(p1.sum(0))
    i1 = (safe_log(p1) - safe_log(p1.sum(1))[:, None] - log_y[None, :])[:, None, :]
    i2 = (safe_log(p2) - safe_log(p2.sum(1))[:, None] - log_y[None, :])[None, :, :]
    possible = (p1 > 0)[:, None, :] & (p2 > 0)[None, :, :]
    if joint is not None:
        possible &= joint > 0
    union = jnp.where(possible, a[:, None, :] + b[None, :, :] - log_y[None, None, :], 0.0)
    if joint is None:
        i12 = jnp.full_like(union, jnp.nan)
    else:
        i12 = safe_log(joint) - safe_log(joint.sum(2))[:, :, None] - log_y[None, None, :]
    refused = jnp.isnan(p1.sum())
    return jax.tree.map(
        lambda leaf: jnp.where(refused, jnp.nan, jnp.where(possible, leaf, 0.0)),
        from_union(i1, i2, i12, union),
    )


def _coupling(marginals: tuple[Array, Array], primal: Primal | None) -> Array:
    p1, p2 = marginals
    if primal is None:
        return binary_coupling(p1, p2)
    return coupling(p1, p2, primal.rho[:, :, None] * primal.u[:, None, :] * primal.v[None, :, :])


def _route(method: str, n1: int, n2: int, k: int) -> str:
    """The method that runs: what was asked for, where it applies; by shape for ``auto``."""
    _checks.require(method in METHODS, f"unknown method {method!r}; expected one of {', '.join(METHODS)}")
    _checks.require(
        method != "binary" or k <= 2,
        f'method="binary" needs a target with two labels at most, found {k}; use method="auto" or "interior_point"',
    )
    _checks.require(
        method != "two_binary" or (n1, n2) == (2, 2),
        f'method="two_binary" needs two symbols in each modality, found {n1} and {n2}; use method="auto"',
    )
    if method != "auto":
        return method
    return "binary" if k <= 2 else "two_binary" if (n1, n2) == (2, 2) else "interior_point"


def _bracket(p1: Array, p2: Array, tol: ArrayLike, support: Support | None, method: str) -> Result:
    """Run one route on constants; of the union information, NaN throughout where p is."""
    p1, p2 = jax.lax.stop_gradient((p1, p2))
    refused = jnp.isnan(jnp.sum(p1) + jnp.sum(p2))
    p1, p2 = (jnp.where(refused, 1 / p.size, p) for p in (p1, p2))  # something to solve; poisoned below
    with jax.default_matmul_precision("highest"):
        if method == "binary":
            result = binary(p1, p2)
        elif method == "two_binary":
            result = two_binary(p1, p2)
        elif method == "scaling":
            result = scaling(p1, p2, tol=jax.lax.stop_gradient(jnp.asarray(tol, p1.dtype)))
        else:
            result = interior_point(p1, p2, jax.lax.stop_gradient(jnp.asarray(tol, p1.dtype)), support)
    entropy = -jnp.sum(xlogx(jax.vmap(pairwise_sum, 1)(p1)))
    shifted = result._replace(lower=result.lower + entropy, upper=result.upper + entropy)
    return jax.tree.map(
        lambda x: jnp.where(refused, jnp.nan, x) if jnp.issubdtype(x.dtype, jnp.floating) else x, shifted
    )


@jax.custom_jvp
def _first_order(potentials: Potentials, marginals: tuple[Array, Array]) -> Potentials:
    """The potentials, as constants that refuse to be differentiated by the marginals they depend on."""
    return potentials


@_first_order.defjvp
def _no_second_derivative(primals: Any, tangents: Any) -> Any:
    raise NotImplementedError(
        "the second derivative of a BROJA value was asked for (jax.hessian, or a gradient of a gradient); pidjax "
        "carries first derivatives only: the potentials are constants. Difference the gradient instead"
    )


@jax.custom_jvp
def _dual_value(marginals: tuple[Array, Array], potentials: Potentials) -> Array:
    """``sum p1 a + sum p2 b``, whose derivative is the potentials (envelope theorem)."""
    return jnp.sum(marginals[0] * potentials.a) + jnp.sum(marginals[1] * potentials.b)


@_dual_value.defjvp
def _dual_value_jvp(primals: Any, tangents: Any) -> Any:
    marginals, potentials = primals
    constant = _first_order(potentials, marginals)
    return _dual_value(marginals, potentials), _dual_value(tangents[0], constant)


def _with_envelope(lower: Array, p1: Array, p2: Array, potentials: Potentials) -> Array:
    """``lower`` with the gradient of ``sum p1 a + sum p2 b + H(Y)`` at constant potentials."""
    value = _dual_value((p1, p2), potentials) - jnp.sum(xlogx(p1.sum(0)))
    return jax.lax.stop_gradient(lower - value) + value


def _solution(
    p1: Array, p2: Array, joint: Array | None, tol: ArrayLike, support: Support | None, method: str
) -> Solution:
    """Solve and assemble; all leaves but ``lower`` and ``pid`` are constants under differentiation."""
    smallest = SMALLEST_CELL[np.dtype(p1.dtype)]
    p1, p2 = (jnp.where(p < smallest, 0.0, p) for p in (p1, p2))
    result = _bracket(p1, p2, tol, support, method)
    lower = _with_envelope(result.lower, p1, p2, result.potentials)
    if joint is None:
        i1, i2, i12 = mutual_information_of(p1), mutual_information_of(p2), jnp.full_like(lower, jnp.nan)
    else:
        i1, i2, i12 = joint_informations(joint)
    a, b = (
        jnp.where(p > 0, x, jnp.where(jnp.isnan(p), jnp.nan, -jnp.inf))
        for p, x in zip((p1, p2), result.potentials, strict=True)
    )
    constants: dict[str, Any] = jax.lax.stop_gradient(
        {
            "upper": result.upper,
            "potentials": Potentials(a, b),
            "steps": result.steps,
            "marginals": (p1, p2),
            "joint": joint,
            "primal": result.primal,
        }
    )
    return Solution(lower=lower, pid=from_union(i1, i2, i12, lower), **constants)


@functools.partial(jax.jit, static_argnames="method")
def _solve_marginals(p1: Array, p2: Array, tol: ArrayLike, support: Support | None, method: str) -> Solution:
    return _solution(p1, p2, None, tol, support, method)


@functools.partial(jax.jit, static_argnames="method")
def _solve_joint(p: Array, tol: ArrayLike, support: Support | None, method: str) -> Solution:
    return _solution(p.sum(1), p.sum(0), p, tol, support, method)


def _bucket(n: int) -> int:
    """The alphabet size that a problem of n symbols is padded to, so that a new shape rarely costs a compile."""
    for size in (2, 4, 6, 8, 12, 16):
        if n <= size:
            return size
    step = 1 << ((n - 1).bit_length() - 4)  # an eighth of the octave: at most 12.5 % more symbols
    return -(-n // step) * step


def _padded(p: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    width = [(0, _bucket(n) - n if axis in axes else 0) for axis, n in enumerate(p.shape)]
    return np.pad(p, width) if any(extra for _, extra in width) else p


def _support(p1: np.ndarray, p2: np.ndarray, method: str) -> Support | None:
    """Occupied cells first, up to a bucket; None where most cells are occupied or the problem is small."""
    smallest = SMALLEST_CELL[p1.dtype]
    occupied = [p.reshape(-1) >= smallest for p in (p1, p2)]
    small = min(p1.size, p2.size) <= SPARSE_ORDER
    if method != "interior_point" or small or sum(map(np.sum, occupied)) > SPARSE_SHARE * (p1.size + p2.size):
        return None
    first = [np.argsort(~o, kind="stable")[: min(_bucket(int(o.sum())), o.size)] for o in occupied]
    return Support(*(jnp.asarray(cells, jnp.int32) for cells in first))


def _cropped(solution: Solution, n1: int, n2: int) -> Solution:
    """Undo the padding, on the host: a slice on the device would be compiled for every shape."""

    def cut(x: Array, *sizes: int) -> Array:
        return x if x.shape[: len(sizes)] == sizes else jax.device_put(np.asarray(x)[tuple(map(slice, sizes))])

    (a, b), (p1, p2), joint, primal = solution.potentials, solution.marginals, solution.joint, solution.primal
    return replace(
        solution,
        potentials=Potentials(cut(a, n1), cut(b, n2)),
        marginals=(cut(p1, n1), cut(p2, n2)),
        joint=None if joint is None else cut(joint, n1, n2),
        primal=None if primal is None else Primal(cut(primal.u, n1), cut(primal.v, n2), cut(primal.rho, n1, n2)),
    )


def _reconciled(p1: Any, p2: Any) -> tuple[Any, Any]:
    """Both marginals on the mean of their label marginals; a label that one of them lacks is dropped."""
    xp: Any = np if isinstance(p1, np.ndarray) and isinstance(p2, np.ndarray) else jnp
    if xp is np:  # NumPy sums a long first axis one by one
        y1, y2 = (p.sum(0, dtype=np.longdouble) for p in (p1, p2))
        seen1, seen2 = y1, y2
    else:
        y1, y2 = (jax.vmap(pairwise_sum, 1)(p) for p in (p1, p2))
        seen1, seen2 = jax.lax.stop_gradient((y1, y2))
    ok = _checks.ensure(
        xp.logical_not(xp.max(abs(seen1 - seen2)) > _checks.sum_tolerance(p1.shape, p1.dtype)),
        lambda: (
            f"p_x1y and p_x2y disagree about the labels: their label marginals differ by "
            f"{float(np.max(abs(seen1 - seen2))):g} (p_x1y {np.round(seen1, 6)}, p_x2y {np.round(seen2, 6)}), "
            "expected at most 1e-6; both must come from one population: reweight one of them, p_x2y * (p_y1 / p_y2)"
        ),
    )
    both = xp.where((y1 > 0) & (y2 > 0), (y1 + y2) / 2, 0.0)
    both = both / both.sum()
    scale1, scale2 = (both / xp.where(y > 0, y, 1.0) for y in (y1, y2))
    p1, p2 = (p * scale.astype(p.dtype)[None, :] for p, scale in ((p1, scale1), (p2, scale2)))
    return _checks.poison((p1, p2), ok)


@in_own_precision
def union_information(p_x1y: ArrayLike, p_x2y: ArrayLike, *, tol: float = 1e-9, method: str = "auto") -> Solution:
    """Union information, redundancy and uniquenesses from the two pairwise marginals alone.

    ``I_min = min I_q(X1,X2;Y)`` over couplings q of the marginals; ``R = I1 + I2 - I_min, U1 = I_min - I2,
    U2 = I_min - I1``. No array of shape (n1, n2, k) is made; a binary target needs memory O(n1 + n2) only.

    Args:
        p_x1y: joint of the first modality and the target, ``(n1, k)``, sum one.
        p_x2y: joint of the second modality and the target, ``(n2, k)``, sum one, with the same label marginal.
            Sums off by less than 1e-6 are divided out; label marginals that disagree by less than 1e-6 are
            replaced by their mean.
        tol: the certified gap (nats) at which the interior point method stops; the other routes are closed forms.
            What was reached is ``Solution.gap``: float64 certifies about 1e-12, float32 3e-5 on small
            tables and 1e-3 on a thousand symbols.
        method: ``"auto"`` picks by shape; ``"binary"`` (two labels at most), ``"two_binary"`` (two symbols in each
            modality), ``"interior_point"`` (anything), ``"scaling"`` (first order, memory O(n1 n2): for thousands of
            symbols and three labels or more, where a gap of 1e-4 will do).

    Returns:
        A ``Solution``. ``.pid.synergy`` is NaN: it needs the joint (``broja``). Works under jit, vmap and grad
        (first derivatives; constant potentials). Empty symbols change nothing. Gradients are taken within the
        support: an empty cell gets the gradient of no cell, and where the potentials are not unique, that of the
        symmetric choice.

    Raises:
        ValueError: not probability mass functions, label alphabets or marginals that differ, unknown or
            inapplicable method. Inside jit: NaN and an infinite gap.

    Example:
        >>> import numpy as np
        >>> p = np.array([[0.4, 0.1], [0.1, 0.4]])
        >>> solution = union_information(p, np.array([[0.35, 0.15], [0.15, 0.35]]))
        >>> print(f"{solution.lower:.6f} R {solution.pid.redundancy:.6f} U1 {solution.pid.unique1:.6f}")
        0.192745 R 0.082283 U1 0.110462
        >>> bool(solution.gap < 1e-9)
        True

    References:
        Bertschinger et al. 2014, "Quantifying unique information", eq. 3; arXiv 2302.12247, section 3 (CVX).
    """
    p1 = _checks.pmf(p_x1y, name="p_x1y", ndim=2, axes="[x1, y]")
    p2 = _checks.pmf(p_x2y, name="p_x2y", ndim=2, axes="[x2, y]")
    _checks.require(
        p1.shape[1] == p2.shape[1],
        f"p_x1y has {p1.shape[1]} labels and p_x2y has {p2.shape[1]}; expected the same target (last axis) in both",
    )
    _checks.require(is_traced(tol) or float(tol) > 0, f"tol is {tol}; expected a positive gap in nats, such as 1e-9")
    (n1, k), n2 = p1.shape, p2.shape[0]
    route = _route(method, n1, n2, k)
    dtype = jnp.result_type(p1, p2)
    if is_traced(p1, p2, tol):
        p1, p2 = _reconciled(jnp.asarray(p1, dtype), jnp.asarray(p2, dtype))
        return _solve_marginals(p1, p2, tol, None, route)
    p1, p2 = _reconciled(np.asarray(p1, dtype), np.asarray(p2, dtype))
    p1, p2 = _padded(p1, (0,)), _padded(p2, (0,))
    return _cropped(_solve_marginals(p1, p2, tol, _support(p1, p2, route), route), n1, n2)


@in_own_precision
def broja(p: ArrayLike, *, tol: float = 1e-9, method: str = "auto") -> Solution:
    """The BROJA decomposition of a joint distribution: redundancy, uniquenesses, synergy, certified.

    ``union_information`` of the two pairwise marginals, and ``S = I(X1,X2;Y) - I_min``.

    Args:
        p: joint ``p[x1, x2, y]``, shape ``(n1, n2, k)``, target last, sum one (off by less than 1e-6: divided out).
        tol: as in ``union_information``.
        method: as in ``union_information``.

    Returns:
        A ``Solution``, as in ``union_information``, with synergy; ``.pointwise`` has leaves shaped like p and its
        mean under p is ``.pid``. Under differentiation ``.pid`` and ``.lower`` carry the envelope gradient, which
        is ``pointwise`` less its mean; all other leaves are constants.

    Raises:
        ValueError: p is not a joint probability mass function of rank three; unknown or inapplicable method.
            Inside jit: NaN and an infinite gap.

    Example:
        >>> import numpy as np
        >>> p = np.zeros((2, 2, 2)); p[[0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1]] = 0.25  # y = x1 AND x2
        >>> solution = broja(p)
        >>> pid = solution.pid
        >>> print(f"R {pid.redundancy:.6f} U1 {abs(pid.unique1):.6f} U2 {abs(pid.unique2):.6f} S {pid.synergy:.6f}")
        R 0.215762 U1 0.000000 U2 0.000000 S 0.346574
        >>> print(f"{solution.pointwise.synergy[1, 1, 1]:.6f}")  # the cell (1, 1, 1): r = s = log 2
        0.693147

    References:
        Bertschinger et al. 2014, "Quantifying unique information"; arXiv 2302.12247, section 3 (CVX), whose
        ``p(x1, x2, y)`` is ``p`` here.
    """
    joint = _checks.pmf(p, name="p", ndim=3, axes="[x1, x2, y]")
    _checks.require(is_traced(tol) or float(tol) > 0, f"tol is {tol}; expected a positive gap in nats, such as 1e-9")
    n1, n2, k = joint.shape
    route = _route(method, n1, n2, k)
    if is_traced(joint, tol):
        return _solve_joint(jnp.asarray(joint), tol, None, route)
    joint = _padded(np.asarray(joint), (0, 1))
    return _cropped(_solve_joint(joint, tol, _support(joint.sum(1), joint.sum(0), route), route), n1, n2)
