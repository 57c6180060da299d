"""The decomposition of Gaussian variables, in closed form: one eigenproblem of the size of the target.

With ``S_i = Cov(Y|X_i)`` and the eigenvalues ``S_2 v = lambda S_1 v``, log lambda is by how much x1 says more of Y
along v: ``U1 = 1/2 sum (log lambda)^+``, ``U2 = 1/2 sum (-log lambda)^+``. Whiten Y and write V for the posterior
precision that a coupling gives the pair. Every V has ``V >= S_1^-1`` and ``V >= S_2^-1``, every such V is reached, and
of their inverses W, which lie below I and diag(lambda) after a congruence, Hadamard's inequality finds the largest
determinant, ``prod min(1, lambda)``.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pidjax import _checks
from pidjax._precision import in_own_precision, is_traced
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
        no variance (less than some tens of ulps of what it had); those that stay finite beside it are right to
        1e-8 (float64) or 1e-3 (float32). Works under jit, vmap and grad; the covariance counts as symmetric, and
        where a lambda is one, and both modalities say the same, the gradient is the mean of those on either side.

    Raises:
        ValueError: not a covariance of these dimensions, coordinates of one variable that are linearly dependent.

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
    return _checks.poison(pid, refusal(faults))


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
        A ``PID`` of scalars, nats. Works under jit, vmap and grad; gradients as in ``gaussian_pid``. Precisions whose
        ratio is beyond the resolution of the dtype (2/ulp) count as if it were that.

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
    return _checks.poison(pid, refusal(faults))


# What may be wrong with the values, in the order in which it is looked for: a message each.
Faults = dict[str, Array]
_MESSAGES = {
    "finite": "{} values are NaN or infinite; expected finite numbers: drop or impute such samples first",
    "weight": "weights are negative, not numbers, or so uneven that they leave no more degrees of freedom, "
    "(sum w)^2 / sum w^2 - 1, than there are columns",
    "symmetric": "cov differs from its transpose by {:.3g} of its diagonal; expected a symmetric matrix",
    "noise": "the noise has {} parts that are not positive definite; expected variances > 0 (a channel without noise "
    "is a covariance: use gaussian_pid)",
    "own": "the coordinates of {} of the variables are linearly dependent, or without variance; expected a positive "
    "definite covariance of each: drop what the others determine",
    "joint": "cov is not positive semidefinite, or coordinates of x1 are linearly dependent; expected the "
    "covariance of one set of samples, without coordinates that others of the same variable determine",
}


def refusal(faults: Faults) -> Any:
    """Raise what the faults say, or, traced, the condition for ``_checks.poison``."""
    ok: Any = True
    for name, message in _MESSAGES.items():
        if name in faults:
            found = faults[name] if is_traced(faults[name]) else faults[name].item()
            ok &= _checks.ensure(jnp.logical_not(found > 0), functools.partial(message.format, found))
    return ok


def checked_dims(cov: Array, dims: tuple[int, ...], *, sources: int | None) -> tuple[int, ...]:
    """The dimensions as integers, when they fit the covariance."""
    dims = tuple(int(d) for d in dims)
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
    """

    lower: Array
    factors: tuple[Array, ...]
    loadings: tuple[Array, ...]
    given: tuple[Array, ...]
    given_all: Array


def white(cov: Array, dims: tuple[int, ...]) -> tuple[White, Faults]:
    """The posteriors of a covariance over ``x1, ..., xk, y``, and what is wrong with it."""
    scale = jnp.max(jnp.abs(jnp.diagonal(cov)))
    faults = {
        "finite": jnp.sum(~jnp.isfinite(cov)),
        "symmetric": _beyond(jnp.max(jnp.abs(cov - cov.T)) / jnp.where(scale > 0, scale, 1), 1e3 * _ulp(cov)),
    }
    cov = (cov + cov.T) / 2
    ends = [sum(dims[:i]) for i in range(len(dims) + 1)]
    part = lambda i, j: cov[ends[i] : ends[i + 1], ends[j] : ends[j + 1]]
    k, sources = len(dims) - 1, ends[-2]
    # A source that those before it determine has nothing to add: hence the ridge, on all but the first.
    ridge = jnp.concatenate([jnp.full(d, 8.0 * d * (i > 0) * _ulp(cov), cov.dtype) for i, d in enumerate(dims[:-1])])
    pair = cov[:sources, :sources]
    joint = jnp.linalg.cholesky(pair + jnp.diag(ridge * jnp.diagonal(pair)))
    factors = [joint[: dims[0], : dims[0]], *(jnp.linalg.cholesky(part(i, i)) for i in range(1, k))]
    lower = jnp.linalg.cholesky(part(k, k))
    dependent = [
        jnp.any(~(jnp.diagonal(factor) ** 2 > 4 * d * _ulp(cov) * jnp.diagonal(part(i, i))))
        for i, (factor, d) in enumerate(zip((*factors, lower), dims, strict=True))
    ]
    broken = jnp.any(jnp.isnan(joint))  # and the first factor with it
    faults["own"] = jnp.sum(jnp.stack([dependent[0] & ~broken, *dependent[1:]]))
    identity = jnp.eye(dims[-1], dtype=cov.dtype)
    mixed = solve(lower, cov[sources:, :sources]).T  # Cov(x, white y)
    loadings = [solve(factor, mixed[ends[i] : ends[i + 1]]) for i, factor in enumerate(factors)]
    given = [identity - b.T @ b for b in loadings]
    innovations = solve(joint, mixed)
    left = identity - innovations.T @ innovations
    least = jnp.linalg.eigvalsh(jax.lax.stop_gradient(jnp.where(jnp.isfinite(left).all(), left, identity)))[0]
    faults["joint"] = (broken | (least < -100 * sum(dims) * _ulp(cov))).astype(jnp.int32)
    return White(lower, tuple(factors), tuple(loadings), tuple(given), left), faults


def resolution(dims: tuple[int, ...], like: Array) -> float:
    """Share of a variance below which nothing is left of it: the rounding of a conditional covariance."""
    return 32 * float(sum(dims)) ** 0.5 * _ulp(like)


def floored(given: Array, least: float) -> tuple[Array, Array]:
    """A posterior covariance whose empty directions have a little variance, and how many these are."""
    fixed = jax.lax.stop_gradient(given)
    values, vectors = jnp.linalg.eigh(fixed)
    empty = values <= least
    # Small enough to be forgotten, large enough to be divided by: what stays finite is wrong by either's rounding.
    missing = jnp.where(empty, _ulp(given) ** 0.5 - values, 0.0)
    return given + (vectors * missing[None, :]) @ vectors.T, jnp.sum(empty)


@functools.partial(jax.jit, static_argnames="dims")
def _of_covariance(cov: Array, *, dims: tuple[int, ...]) -> tuple[PID, Faults]:
    with jax.default_matmul_precision("highest"):
        posteriors, faults = white(cov, dims)
        pid = pid_of_posteriors((*posteriors.given, posteriors.given_all), resolution(dims, cov))
    return pid, faults


def pid_of_posteriors(given: tuple[Array, ...], least: float) -> PID:
    """The decomposition from the posterior covariances of a white y given x1, x2, and both."""
    (s1, empty1), (s2, empty2), (s12, empty12) = (floored(s, least) for s in given)
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
    faults = {"finite": finite, "noise": bad1 + bad2 + bad12}
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


def shares(a: Array, b: Array, eigen: Callable[[Array], Any]) -> tuple[Array, Any]:
    """The factor of ``A + B = L L'``, and what ``eigen`` says of ``L^-1 A L^-T``, whose eigenvalues are in [0, 1].

    Those of ``L^-1 B L^-T`` are the rest to one, with the same vectors: neither of the two is preferred.
    """
    lower = jnp.linalg.cholesky(a + b)
    own = solve(lower, solve(lower, a).T)
    return lower, eigen((own + own.T) / 2)


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
    v = jax.lax.linalg.triangular_solve(lower, vectors, left_side=True, lower=True, transpose_a=True)
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


def _beyond(value: Array, allowed: float) -> Array:
    """The value where it is above what is allowed, else zero."""
    return jnp.where(value > allowed, value, 0.0)


def _ulp(like: Array) -> float:
    return float(jnp.finfo(like.dtype).eps)
