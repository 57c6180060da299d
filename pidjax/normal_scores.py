"""Normal scores: coordinates of any shape made Gaussian one by one, and whether pairs of variables then are.

Informations don't change when a coordinate is stretched, so a decomposition of the scores is one of the data. It is
the closed form's if the scores are jointly Gaussian, that is, if the copula is. Whether it is can be seen.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri

from pidjax import _checks
from pidjax._precision import in_own_precision
from pidjax.bootstrap import group_numbers
from pidjax.gaussian_samples import gaussian_estimate
from pidjax.pid import PID, Interval
from pidjax.typing import Array, ArrayLike, Key

__all__ = ["CopulaEstimate", "GaussianCheck", "copula_pid", "gaussian_check", "normal_scores"]

BINNED = "bin y (pidjax.quantile_codes) for a decomposition of tables or posteriors"
# A p-value below this is a warning: true models are warned of once in a hundred pairs.
_LEVEL = 0.01


@in_own_precision
def normal_scores(x: ArrayLike) -> Array:
    """Each column's ranks as quantiles of the standard normal distribution, ``Phi^-1((rank - 1/2) / n)``.

    Args:
        x: ``(n, d)`` or ``(n,)``, finite. Equal values share the mean of their ranks.

    Returns:
        The shape of x, in its dtype: without ties, columns of mean 0 and of variance just below 1. Works under jit
        and vmap.

    Raises:
        ValueError: another rank, values that aren't finite.

    Example:
        >>> import numpy as np
        >>> print(normal_scores(np.array([[1.0, 10.0], [8.0, 10.0], [27.0, 0.0]])).round(3) + 0.0)
        [[-0.967  0.431]
         [ 0.     0.431]
         [ 0.967 -0.967]]

    References:
        van der Waerden 1952; Ince et al. 2017, "A statistical framework for neuroimaging data analysis based on mutual
        information estimated via a Gaussian copula".
    """
    x = jnp.asarray(_checks.as_float(x, "x"))
    _checks.require(x.ndim in (1, 2) and x.size > 0, f"x has shape {x.shape}; expected (n, d) or (n,)")
    ok = _checks.ensure(
        jnp.isfinite(x).all(),
        lambda: f"x has {int((~jnp.isfinite(x)).sum())} NaN or infinite values; drop or impute those samples",
    )
    return _checks.poison(_scores(x if x.ndim == 2 else x[:, None]).reshape(x.shape), ok, x)


@jax.jit
def _scores(x: Array) -> Array:
    def column(values: Array) -> Array:
        ordered = jnp.sort(values)
        # Half the number of those below plus those at most as large is the mean rank less a half.
        below, most = (jnp.searchsorted(ordered, values, side=side) for side in ("left", "right"))
        return ndtri((below + most).astype(x.dtype) / (2 * len(values)))

    return jax.vmap(column, 1, 1)(x)


class GaussianCheck(NamedTuple):
    """Whether samples of a pair of variables look jointly Gaussian.

    Attributes:
        statistic: how many standard errors, of Gaussian samples, the other half's contractions are above zero.
        p_value: one-sided.
    """

    statistic: Array
    p_value: Array


@in_own_precision
def gaussian_check(key: Key, x: ArrayLike, y: ArrayLike, *, groups: ArrayLike | None = None) -> GaussianCheck:
    """A held-out test of joint Gaussianity: departures found on one half of the samples, looked for on the other.

    With ``u`` the pair made white, a half's departure from Gaussian is its mean Hermite contractions of order three
    and four, ``s = mean (|u|^2 - d - 2) u`` and ``K = mean (|u|^2 - d - 4) u u' - (|u|^2 - d - 2) I``. The statistic
    is the mean of the other half's own contractions times these, over the standard error that it has of Gaussian
    samples, whose variance is ``|s|^2 / 2(d + 2) + ((d + 4) |K|^2 + tr(K)^2) / 4(d + 4)^2`` (third moments weighed by
    ``1 / 2(d + 2)``, fourth by ``1 / 4(d + 4)``). Small errors of mean and covariance move neither contraction.

    It is stricter than the decomposition needs: the closed form is right wherever the informations of the pairs and of
    their best coupling are those of their covariance, and a departure that enough samples show may cost it little.

    Args:
        key: PRNG key of the halves.
        x: ``(n, d)`` or ``(n,)``.
        y: ``(n, dy)`` or ``(n,)``.
        groups: ``(n,)`` integers, concrete: samples that belong together, never divided between the halves, and one
            term of the standard error, which is as much wider as the values of the samples are so; None takes samples
            to be independent.

    Returns:
        A ``GaussianCheck`` of scalars. On Gaussian samples, or their normal scores, p-values are uniform or larger.
        NaN where columns of x and y are linearly dependent. Works under jit (without ``groups``) and vmap.

    Raises:
        ValueError: shapes that don't fit, fewer than four samples for each column, values that aren't finite.

    Example:
        >>> import numpy as np
        >>> key = jax.random.key(0)
        >>> y, e = np.random.default_rng(0).normal(size=(2, 2000))
        >>> bool(gaussian_check(key, y + e, y).p_value > 0.01), bool(gaussian_check(key, y * e, y).p_value < 1e-6)
        (True, True)

    References:
        Mardia 1970, "Measures of multivariate skewness and kurtosis with applications"; Cardoso 1989, "Source
        separation using higher order moments" (the matrix of fourth moments).
    """
    x, y = (jnp.asarray(_checks.as_float(part, name)) for part, name in ((x, "x"), (y, "y")))
    x, y = (part[:, None] if part.ndim == 1 else part for part in (x, y))
    _checks.require(
        x.ndim == 2 and y.ndim == 2 and len(x) == len(y) >= 4 * (x.shape[1] + y.shape[1]),
        f"x and y have shapes {x.shape} and {y.shape}; expected (n, d) and (n, dy), four samples for each column",
    )
    z = jnp.concatenate([x, y], 1)
    ok = _checks.ensure(
        jnp.isfinite(z).all(),
        lambda: f"x and y have {int((~jnp.isfinite(z)).sum())} NaN or infinite values; drop or impute those samples",
    )
    groups, units = group_numbers(groups, len(z))
    return _checks.poison(_check(key, z, groups, units=units or len(z)), ok, z)


@functools.partial(jax.jit, static_argnames="units")
def _check(key: Key, z: Array, groups: Any, *, units: int) -> GaussianCheck:
    n, d = z.shape
    z = z - z[:1]
    z = z - z.mean(0)[None]
    groups = jnp.arange(n) if groups is None else groups
    first = (jax.random.permutation(key, units) < units // 2)[groups]
    share = first / first.sum(dtype=z.dtype)
    with jax.default_matmul_precision("highest"):
        cov = z.T @ z / n
        lower = jnp.linalg.cholesky(cov)
        u = jax.lax.linalg.triangular_solve(lower, z.T, left_side=True, lower=True).T
        square = jnp.sum(u**2, 1)
        skew = (share * (square - d - 2)) @ u
        kurtosis = (u * (share * (square - d - 4))[:, None]).T @ u
        kurtosis = kurtosis - (share @ square - d - 2) * jnp.eye(d, dtype=z.dtype)
        third = (square - d - 2) * (u @ skew)
        fourth = (square - d - 4) * jnp.sum((u @ kurtosis) * u, 1) - (square - d - 2) * jnp.trace(kurtosis)
        # Each contraction by its own variance on Gaussian samples.
        values = third / (2 * (d + 2)) + fourth / (4 * (d + 4))
    mean = jnp.mean(values, where=~first)
    # That of Gaussian samples, whose contractions of different orders are uncorrelated: the values' own variance would
    # grow with what is looked for. The values tell only by how much groups widen it.
    variance = jnp.sum(skew**2) / (2 * (d + 2))
    variance += ((d + 4) * jnp.sum(kurtosis**2) + jnp.trace(kurtosis) ** 2) / (4 * (d + 4) ** 2)
    off = jnp.where(first, 0.0, values - mean)
    widened = jnp.sum(jnp.zeros(units, z.dtype).at[groups].add(off) ** 2) / jnp.sum(off**2)
    statistic = mean * jnp.sqrt(jnp.sum(~first) / (variance * widened))
    independent = (jnp.diagonal(lower) ** 2 > 4 * d * float(jnp.finfo(z.dtype).eps) * jnp.diagonal(cov)).all()
    statistic = jnp.where(independent, statistic, jnp.nan)
    return GaussianCheck(statistic, jax.scipy.stats.norm.sf(statistic))


class CopulaEstimate(NamedTuple):
    """A decomposition of normal scores, and whether these are what it takes them for. Nats.

    Attributes:
        pid: the decomposition, less its bias.
        interval: 95 % interval of each atom.
        check1: whether the pair (x1, y) is Gaussian; R, U1 and U2 need both pairs to be.
        check2: whether (x2, y) is.
        check12: whether (x1, x2) together with y is; only S needs it.
    """

    pid: PID
    interval: Interval
    check1: GaussianCheck
    check2: GaussianCheck
    check12: GaussianCheck

    @property
    def warnings(self) -> list[str]:
        """What the checks say against the decomposition, in words, with a cure; empty when nothing. Not under jit."""
        return self.warned(BINNED)

    def warned(self, cure: str) -> list[str]:
        """The warnings, with what the caller can do about pairs that are not Gaussian.

        Args:
            cure: ends the sentence.

        Returns:
            A sentence for each; empty when there is nothing to warn of. Not under jit.
        """
        found = []
        for name, check, atoms in (
            ("x1 and y", self.check1, "R, U1 and U2"),
            ("x2 and y", self.check2, "R, U1 and U2"),
            ("x1, x2 and y", self.check12, "S"),
        ):
            if math.isnan(check.p_value):
                found.append(
                    f"columns of {name} are linearly dependent: whether they are Gaussian was not checked; drop what "
                    "the others determine"
                )
            elif float(check.p_value) < _LEVEL:
                found.append(
                    f"{name} are not jointly Gaussian ({float(check.statistic):.1f} standard errors on held-out "
                    f"samples): {atoms} may be off, and the intervals don't know it; {cure}"
                )
        return found


@in_own_precision
def copula_pid(
    key: Key,
    x1: ArrayLike,
    x2: ArrayLike,
    y: ArrayLike,
    *,
    replicates: int = 200,
    groups: ArrayLike | None = None,
) -> CopulaEstimate:
    """The decomposition of samples whose copula is Gaussian: normal scores, then the closed form, then the check.

    Args:
        key: PRNG key.
        x1: ``(n, d1)`` or ``(n,)``, continuous, any shape of distribution.
        x2: ``(n, d2)`` or ``(n,)``, likewise.
        y: ``(n, dy)`` or ``(n,)``, likewise.
        replicates: of the bootstrap, which holds the scores; static.
        groups: as in ``gaussian_estimate``.

    Returns:
        A ``CopulaEstimate``. Works under jit (without ``groups``) and vmap.

    Raises:
        ValueError: as ``normal_scores`` and ``gaussian_estimate``.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> y, e1, e2 = rng.normal(size=(3, 5000, 1))
        >>> samples = (2 * y + e1) ** 3, np.exp(y + e2), np.cbrt(y)
        >>> found = copula_pid(jax.random.key(0), *samples)
        >>> print(f"{found.pid.redundancy:.2f} {found.pid.unique1:.2f} {found.pid.unique2:.2f}", found.warnings)
        0.33 0.48 0.00 []

        Values of single samples, whose means are the plug-in decomposition of the scores:

        >>> from pidjax import gaussian_pid_from_samples, gaussian_pointwise
        >>> scores = [normal_scores(x) for x in samples]
        >>> values = gaussian_pointwise(np.cov(np.hstack(scores).T, bias=True), (1, 1, 1), *scores)
        >>> plug_in = gaussian_pid_from_samples(*scores, corrected=False)
        >>> print(values.redundancy.shape, f"{values.redundancy.mean():.4f} {plug_in.redundancy:.4f}")
        (5000,) 0.3311 0.3311

    References:
        As ``normal_scores``; arXiv 2510.04417 for Gaussian pairs.
    """
    s1, s2, sy = (jnp.asarray(normal_scores(x)) for x in (x1, x2, y))
    s1, s2 = (s[:, None] if s.ndim == 1 else s for s in (s1, s2))
    return checked_estimate(key, s1, s2, sy, replicates=replicates, groups=groups)


def checked_estimate(
    key: Key, z1: Array, z2: Array, zy: Array, *, replicates: int, groups: ArrayLike | None = None
) -> CopulaEstimate:
    """The decomposition of samples that ought to be Gaussian, with the checks."""
    estimate = gaussian_estimate(key, z1, z2, zy, replicates=replicates, groups=groups)
    both = jnp.concatenate([z1.reshape(len(z1), -1), z2.reshape(len(z2), -1)], 1)
    keys = jax.random.split(jax.random.fold_in(key, 1), 3)
    checks = [gaussian_check(k, z, zy, groups=groups) for k, z in zip(keys, (z1, z2, both), strict=True)]
    return CopulaEstimate(estimate.pid, estimate.interval, *checks)
