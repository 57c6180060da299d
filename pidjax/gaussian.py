"""The decomposition of Gaussian variables, in closed form: one eigenproblem of the size of the target.

With ``S_i = Cov(Y|X_i)`` and the eigenvalues ``S_2 v = lambda S_1 v``, log lambda is by how much x1 says more of Y
along v: ``U1 = 1/2 sum (log lambda)^+``, ``U2 = 1/2 sum (-log lambda)^+``. Whiten Y and write V for the posterior
precision that a coupling gives the pair. Every V has ``V >= S_1^-1`` and ``V >= S_2^-1``, every such V is reached, and
of their inverses W, which lie below I and diag(lambda) after a congruence, Hadamard's inequality finds the largest
determinant, ``prod min(1, lambda)``.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pidjax import _checks
from pidjax._precision import in_own_precision
from pidjax.pid import PID
from pidjax.typing import Array, ArrayLike

__all__ = ["gaussian_pid", "gaussian_pid_from_gains"]


@in_own_precision
def gaussian_pid(cov: ArrayLike, dims: tuple[int, int, int]) -> PID:
    """The decomposition of jointly Gaussian x1, x2 and y.

    ``U1 = 1/2 sum_j (log lambda_j)^+, U2 = 1/2 sum_j (-log lambda_j)^+, R = I1 - U1, S = I12 - I1 - U2`` with lambda_j
    the eigenvalues of ``Cov(Y|X2) v = lambda Cov(Y|X1) v``. R, U1 and U2 need the two pairs (x1,y) and (x2,y) to be
    Gaussian, S all three.

    Args:
        cov: covariance ``(d1 + d2 + dy, d1 + d2 + dy)`` of x1, x2 and y, in this order, any units.
        dims: ``(d1, d2, dy)``; static.

    Returns:
        A ``PID`` of scalars, nats. An atom is infinite where a modality, or only both together, leave a direction of y
        no variance (less than ``32 sqrt(d1 + d2 + dy)`` ulps of what it had); those that stay finite beside it are
        right to 1e-8 (float64) or 1e-3 (float32), over the squared sine of the angle between such directions of x1 and
        of x2. Works under jit, vmap and grad; the covariance counts as symmetric, and where a lambda is one, and both
        modalities say the same, the gradient is the mean of those on either side.

    Raises:
        ValueError: not a covariance of these dimensions, coordinates of one variable that are linearly dependent (those
            of different modalities may be).

    Example:
        >>> import numpy as np
        >>> h = np.array([[2.0], [1.0]])  # x1 = 2 y + noise, x2 = y + noise
        >>> cov = np.block([[h @ h.T + np.eye(2), h], [h.T, np.eye(1)]])
        >>> pid = gaussian_pid(cov, (1, 1, 1))
        >>> [float(round(atom, 6)) for atom in (pid.redundancy, pid.unique1, pid.unique2, pid.synergy)]
        [0.346574, 0.458145, 0.0, 0.091161]

    References:
        arXiv 2510.04417 (a Gaussian coupling is optimal for Gaussian pairs); Barrett 2015, "Exploration of synergistic
        and redundant information sharing in static and dynamical Gaussian systems" (one-dimensional y).
    """
    cov = jnp.asarray(_checks.as_float(cov, "cov"))
    pid, faults = _of_covariance(cov, dims=checked_dims(cov, dims, sources=2))
    return _checks.poison(pid, refusal(faults), cov)


@in_own_precision
def gaussian_pid_from_gains(h1: ArrayLike, h2: ArrayLike, noise: Any = 1.0) -> PID:
    """The decomposition of ``x_i = h_i y + noise`` with y white, ``y ~ N(0, I)``.

    The formula of ``gaussian_pid`` with the posterior precisions ``I + h_i' N_i^-1 h_i``, and ``I + h' N^-1 h`` for
    both: whatever the number of rows of the gains, systems of the size of y are all that is solved. For a y of
    covariance ``C = L L'`` pass ``h1 @ L`` and ``h2 @ L``.

    Args:
        h1: gains ``(d1, dy)`` of x1.
        h2: gains ``(d2, dy)`` of x2.
        noise: of independent noises, a variance, or a pair, one for each modality, of variances (a scalar or
            ``(d_i,)``) or covariances ``(d_i, d_i)``; of correlated noises, their covariance
            ``(d1 + d2, d1 + d2)``, of which only S depends on the part between the modalities.

    Returns:
        A ``PID`` of scalars, nats. Works under jit, vmap and grad; gradients as in ``gaussian_pid``. It is right to
        some ulps of the largest posterior precision: 1e-8 where a gain is 1e4 times the noise (float64). Precisions
        whose ratio is beyond the resolution of the dtype (2/ulp) count as if it were that.

    Raises:
        ValueError: shapes that don't fit, noise that is not positive definite (for channels without noise use
            ``gaussian_pid``), values that aren't finite.

    Example:
        >>> import numpy as np
        >>> pid = gaussian_pid_from_gains(np.array([[2.0]]), np.array([[1.0]]))
        >>> [float(round(atom, 6)) for atom in (pid.redundancy, pid.unique1, pid.unique2, pid.synergy)]
        [0.346574, 0.458145, 0.0, 0.091161]

    References:
        As ``gaussian_pid``.
    """
    gains = [jnp.asarray(_checks.as_float(h, name)) for h, name in ((h1, "h1"), (h2, "h2"))]
    _checks.require(
        all(h.ndim == 2 and h.size for h in gains) and gains[0].shape[1] == gains[1].shape[1],
        f"h1 has shape {gains[0].shape} and h2 {gains[1].shape}; expected (d1, dy) and (d2, dy)",
    )
    rows = tuple(len(h) for h in gains)
    if isinstance(noise, tuple):
        _checks.require(len(noise) == 2, f"noise has {len(noise)} parts; expected one for each modality")
        noise = tuple(_noise(part, h.dtype, ((), (d,), (d, d))) for part, d, h in zip(noise, rows, gains, strict=True))
    else:
        noise = _noise(noise, jnp.result_type(*gains), ((), (sum(rows),) * 2))
        noise = (noise, noise) if noise.ndim == 0 else noise
    pid, faults = _of_gains(*gains, noise)
    return _checks.poison(pid, refusal(faults), gains, noise)


# What may be wrong with the values, in the order in which it is looked for: a message each.
Faults = dict[str, Array]
_MESSAGES = {
    "finite": "{} values are NaN or infinite; expected finite numbers: drop or impute such samples first",
    "weight": "weights are negative, not numbers, or so uneven that they leave no more degrees of freedom, "
    "(sum w)^2 / sum w^2 - 1, than there are columns",
    "symmetric": "the covariance differs from its transpose by {:.3g} of its diagonal; expected a symmetric matrix",
    "noise": "the noise has {} parts that are not positive definite; expected variances > 0 (a channel without noise "
    "is a covariance: use gaussian_pid)",
    "precision": "the gains are so large, or the noise so small, that {} entries of h' N^-1 h overflow; expected "
    "channels with noise (one without is a covariance: use gaussian_pid)",
    "own": "the coordinates of {} are linearly dependent, or without variance; expected a positive definite covariance "
    "of each variable: drop what the others determine",
    "joint": "cov is not positive semidefinite: no variables have it; expected the covariance of one set of samples",
}


def refusal(faults: Faults) -> Any:
    """Raise what the faults say, or, traced, the condition for ``_checks.poison``."""
    ok: Any = True
    for name, message in _MESSAGES.items():
        if name in faults:
            found = faults[name]
            words = lambda message=message, found=found: message.format(_named(found) if found.ndim else found.item())
            ok &= _checks.ensure(jnp.logical_not((found > 0).any()), words)
    return ok


def _named(found: Array) -> str:
    """The variables of which this is true, one flag for each of x1, ..., xk and y."""
    names = [*(f"x{i}" for i in range(1, len(found))), "y"]
    return " and ".join(name for name, bad in zip(names, found.tolist(), strict=True) if bad)


def checked_dims(cov: Array, dims: tuple[int, ...], *, sources: int | None) -> tuple[int, ...]:
    """The dimensions as integers, when they fit the covariance."""
    dims = tuple(operator.index(d) for d in dims)
    expected = "(d1, d2, dy)" if sources == 2 else "(d1, ..., dk, dy)"
    _checks.require(
        len(dims) >= 2 and sources in (None, len(dims) - 1) and min(dims) >= 1,
        f"dims is {dims}; expected {expected}, each 1 or more",
    )
    _checks.require(
        cov.shape == (sum(dims),) * 2,
        f"cov has shape {cov.shape}; expected {(sum(dims),) * 2} for dims {dims}; for a batch use jax.vmap",
    )
    return dims


def _noise(noise: Any, dtype: Any, shapes: tuple[tuple[int, ...], ...]) -> Array:
    noise = jnp.asarray(_checks.as_float(noise, "noise"), dtype)
    _checks.require(
        noise.ndim in {len(shape) for shape in shapes} and noise.shape in shapes,
        f"noise has shape {noise.shape}; expected {' or '.join(map(str, shapes))}",
    )
    return noise


class White(NamedTuple):
    """What the variables say of a target made white, from their covariance.

    Attributes:
        lower: Cholesky factor of the target's covariance, ``(dy, dy)``.
        factors: Cholesky factors of the sources' covariances.
        loadings: ``B_i``, ``(d_i, dy)``: ``E[Y|x_i] = B_i' z_i`` with Y and ``z_i`` white.
        given: ``I - B_i' B_i``, the posterior covariances.
        given_all: the posterior covariance when all sources are known.
        gain_all: ``E[Y|x_1, ..., x_k] = gain_all' (x_1, ..., x_k)`` with Y white.
    """

    lower: Array
    factors: tuple[Array, ...]
    loadings: tuple[Array, ...]
    given: tuple[Array, ...]
    given_all: Array
    gain_all: Array


def white(cov: Array, dims: tuple[int, ...]) -> tuple[White, Faults]:
    """The posteriors of a covariance over ``x1, ..., xk, y``, and what is wrong with it."""
    faults = {"finite": jnp.sum(~jnp.isfinite(cov)), "symmetric": _asymmetry(cov)}
    cov = (cov + cov.T) / 2
    ends = [sum(dims[:i]) for i in range(len(dims) + 1)]
    part = lambda i, j: cov[ends[i] : ends[i + 1], ends[j] : ends[j + 1]]
    k, sources = len(dims) - 1, ends[-2]
    first, rest = slice(0, dims[0]), slice(dims[0], sources)
    factors = [jnp.linalg.cholesky(part(i, i)) for i in range(k)]
    lower = jnp.linalg.cholesky(part(k, k))
    dependent = [
        jnp.any(~(jnp.diagonal(factor) ** 2 > 4 * d * _ulp(cov) * jnp.diagonal(part(i, i))))
        for i, (factor, d) in enumerate(zip((*factors, lower), dims, strict=True))
    ]
    faults["own"] = jnp.stack(dependent).astype(jnp.int32)
    identity = jnp.eye(dims[-1], dtype=cov.dtype)
    mixed = solve(lower, cov[sources:, :sources]).T  # Cov(x, white y)
    loadings = [solve(factor, mixed[ends[i] : ends[i + 1]]) for i, factor in enumerate(factors)]
    given = [identity - b.T @ b for b in loadings]
    # What x1 leaves of the others. A coordinate that those before it determine has nothing to add: hence the ridge,
    # on all but x1; what it takes off is given back to first order, where it is not most of what there is.
    ridge = jnp.concatenate([jnp.full(d, 8.0 * d * _ulp(cov), cov.dtype) for d in dims[1:-1]]) if k > 1 else 0.0
    ridge = ridge * jnp.diagonal(cov)[rest]
    across = solve(factors[0], cov[first, rest])
    innovation = jnp.linalg.cholesky(cov[rest, rest] - across.T @ across + jnp.diag(ridge))
    fresh = solve(innovation, mixed[rest] - across.T @ loadings[0])
    gain = solve_transposed(innovation, fresh)
    left = given[0] - fresh.T @ fresh
    broken = jnp.any(jnp.isnan(innovation)) | impossible(left, dims)
    faults["joint"] = (broken & ~faults["own"].any()).astype(jnp.int32)
    gain_all = jnp.concatenate([solve_transposed(factors[0], loadings[0] - across @ gain), gain])
    left = left - (gain * ridge[:, None]).T @ gain
    return White(lower, tuple(factors), tuple(loadings), tuple(given), left, gain_all), faults


def impossible(given: Array, dims: tuple[int, ...]) -> Array:
    """Whether posterior covariances have a negative variance that is no rounding."""
    given = jax.lax.stop_gradient(jnp.where(jnp.isfinite(given).all(), given, jnp.eye(dims[-1], dtype=given.dtype)))
    return jnp.linalg.eigvalsh(given).min() < -100 * sum(dims) * _ulp(given)


def resolution(dims: tuple[int, ...], like: Array) -> float:
    """Share of a variance below which nothing is left of it: the rounding of a conditional covariance."""
    return 32 * float(sum(dims)) ** 0.5 * _ulp(like)


def floored(given: Array, least: float, by: Array | None = None) -> tuple[Array, Array]:
    """A posterior covariance with a little variance, of ``by``, in its empty directions, and how many these are."""
    fixed = jax.lax.stop_gradient(given)
    values, vectors = jnp.linalg.eigh(fixed)
    empty = values <= least
    # Small enough to be forgotten, large enough to be divided by: what stays finite is wrong by either's rounding.
    by = _ulp(given) ** 0.5 * jnp.eye(len(given), dtype=given.dtype) if by is None else jax.lax.stop_gradient(by)
    basis = vectors * empty[None, :]
    return given + basis @ (basis.T @ (by - fixed) @ basis) @ basis.T, jnp.sum(empty)


@functools.partial(jax.jit, static_argnames="dims")
def _of_covariance(cov: Array, *, dims: tuple[int, ...]) -> tuple[PID, Faults]:
    with jax.default_matmul_precision("highest"):
        posteriors, faults = white(cov, dims)
        pid = pid_of_posteriors((*posteriors.given, posteriors.given_all), resolution(dims, cov))
    return pid, faults


def pid_of_posteriors(given: tuple[Array, ...], least: float) -> PID:
    """The decomposition from the posterior covariances of a white y given x1, x2, and both."""
    (s1, empty1), (s2, empty2) = (floored(s, least) for s in given[:2])
    # What the pairs determine they determine under every coupling: there the posterior given both is the optimal one.
    s12, empty12 = floored(given[2], least, optimum(s1, s2)[0])
    both = jnp.sum(jnp.linalg.eigvalsh(jax.lax.stop_gradient(given[0] + given[1])) <= 2 * least)
    i1, i2, i12 = (-log_determinant(s) / 2 for s in (s1, s2, s12))
    u1, u2 = excesses(s2, s1)
    infinite = lambda condition, value: jnp.where(condition, jnp.inf, value)
    # What is infinite in I1 is so in U1 as well: the redundancy is read off the side that is finite.
    shared = jnp.where((empty1 > 0) & (empty2 == 0), i2 - u2, i1 - u1)
    return PID(
        redundancy=infinite(both > 0, shared),
        unique1=infinite(empty1 > both, u1),
        unique2=infinite(empty2 > both, u2),
        synergy=infinite(empty12 > empty1 + empty2 - both, i12 - i1 - u2),
    )


@jax.jit
def _of_gains(h1: Array, h2: Array, noise: Any) -> tuple[PID, Faults]:
    with jax.default_matmul_precision("highest"):
        if isinstance(noise, tuple):
            (f1, bad1), (f2, bad2) = (_precision(h, n) for h, n in zip((h1, h2), noise, strict=True))
            f12, bad12 = f1 + f2, jnp.zeros((), jnp.int32)
        else:
            d1 = len(h1)
            (f1, bad1), (f2, bad2) = _precision(h1, noise[:d1, :d1]), _precision(h2, noise[d1:, d1:])
            f12, bad12 = _precision(jnp.concatenate([h1, h2]), noise)
        identity = jnp.eye(h1.shape[1], dtype=f12.dtype)
        p, q = identity + f1, identity + f2
        i1, i12 = log_determinant(p) / 2, log_determinant(identity + f12) / 2
        u1, u2 = excesses(p, q)
    leaves = jax.tree.leaves((h1, h2, noise))
    finite = jnp.stack([jnp.sum(~jnp.isfinite(leaf)) for leaf in leaves]).sum()
    asymmetry = jnp.stack([jnp.zeros((), p.dtype), *(_asymmetry(leaf) for leaf in leaves[2:] if leaf.ndim == 2)]).max()
    faults = {
        "finite": finite,
        "symmetric": asymmetry,
        "noise": bad1 + bad2 + bad12,
        "precision": jnp.sum(~jnp.isfinite(p)) + jnp.sum(~jnp.isfinite(q)),
    }
    return PID(redundancy=i1 - u1, unique1=u1, unique2=u2, synergy=i12 - i1 - u2), faults


def _precision(h: Array, noise: Array) -> tuple[Array, Array]:
    """``h' N^-1 h``, and one where the noise is not positive definite."""
    if noise.ndim == 2:
        factor = jnp.linalg.cholesky((noise + noise.T) / 2)
        scaled, bad = solve(factor, h), jnp.any(~jnp.isfinite(factor))
    else:
        scaled = h / jnp.sqrt(noise)[:, None] if noise.ndim else h / jnp.sqrt(noise)
        bad = jnp.any(~(noise > 0))
    return scaled.T @ scaled, bad.astype(jnp.int32)


def log_determinant(a: Array) -> Array:
    """Of a positive definite matrix."""
    return 2 * jnp.sum(jnp.log(jnp.diagonal(jnp.linalg.cholesky(a))))


def solve(lower: Array, b: Array) -> Array:
    """``lower^-1 b``."""
    return jax.lax.linalg.triangular_solve(lower, b, left_side=True, lower=True)


def solve_transposed(lower: Array, b: Array) -> Array:
    """``lower^-T b``."""
    return jax.lax.linalg.triangular_solve(lower, b, left_side=True, lower=True, transpose_a=True)


def shares(a: Array, b: Array, eigen: Callable[[Array], Any]) -> tuple[Array, Any]:
    """The factor of ``A + B = L L'``, and what ``eigen`` says of ``L^-1 A L^-T``, whose eigenvalues are in [0, 1].

    Those of ``L^-1 B L^-T`` are the rest to one, with the same vectors: neither of the two is preferred.
    """
    lower = jnp.linalg.cholesky(a + b)
    own = solve(lower, solve(lower, a).T)
    return lower, eigen((own + own.T) / 2)


def optimum(s1: Array, s2: Array) -> tuple[Array, tuple[Array, Array]]:
    """The largest W below both, and the two parts of its inverse: the multipliers of ``W <= S_1`` and ``W <= S_2``."""
    lower, (share, vectors) = shares(s2, s1, jnp.linalg.eigh)
    basis = lower @ vectors
    w = (basis * jnp.minimum(share, 1 - share)[None, :]) @ basis.T
    dual = solve_transposed(lower, vectors)
    kink = 32 * len(s1) * _ulp(s1)
    first = jnp.where(jnp.abs(share - 0.5) <= kink, 0.5, (share > 0.5).astype(s1.dtype))  # S_1 is the smaller one
    multiplier = lambda weight: (dual * weight[None, :]) @ dual.T
    return w, (multiplier(first / (1 - share)), multiplier((1 - first) / share))


@jax.custom_jvp
def excesses(a: Array, b: Array) -> tuple[Array, Array]:
    """``1/2 sum (log lambda)^+`` and ``1/2 sum (-log lambda)^+``, lambda the eigenvalues of ``A v = lambda B v``."""
    return _parts(_log_ratio(shares(a, b, jnp.linalg.eigvalsh)[1]))


@excesses.defjvp
def _excesses_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> Any:
    """As spectral functions: equal eigenvalues on one side of 1 are differentiated as a group.

    ``d log lambda = v' dA v / share - v' dB v / (1 - share)`` with ``v' (A + B) v = 1``.
    """
    (a, b), (da, db) = primals, tangents
    lower, (share, vectors) = shares(a, b, jnp.linalg.eigh)
    v = solve_transposed(lower, vectors)
    ratio = _log_ratio(share)
    share = 1 / (1 + jnp.exp(-ratio))
    move = ((da @ v) * v).sum(0) / share - ((db @ v) * v).sum(0) / (1 - share)
    # At the kink half to either side, so that swapping the modalities swaps the gradients.
    above = jnp.where(jnp.abs(ratio) <= 32 * len(a) * _ulp(a), 0.5, (ratio > 0).astype(a.dtype))
    return _parts(ratio), (jnp.sum(above * move) / 2, -jnp.sum((1 - above) * move) / 2)


def _log_ratio(share: Array) -> Array:
    share = jnp.clip(share, _ulp(share) / 2, 1 - _ulp(share) / 2)  # eigenvalues in (0, 1) that were rounded out of it
    return jnp.log(share) - jnp.log1p(-share)


def _parts(ratio: Array) -> tuple[Array, Array]:
    return jnp.sum(jnp.maximum(ratio, 0)) / 2, jnp.sum(jnp.maximum(-ratio, 0)) / 2


def _asymmetry(cov: Array) -> Array:
    """By how much a covariance differs from its transpose, as a share of the standard deviations, beyond rounding."""
    deviations = jnp.sqrt(jnp.abs(jnp.diagonal(cov)))
    scale = deviations[:, None] * deviations[None, :]
    found = jnp.max(jnp.abs(cov - cov.T) / jnp.where(scale > 0, scale, 1))
    return jnp.where(found > 1e3 * _ulp(cov), found, 0.0)


def _ulp(like: Array) -> float:
    return float(jnp.finfo(like.dtype).eps)
