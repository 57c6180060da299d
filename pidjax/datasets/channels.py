"""Informations of channels in Gaussian noise: the integrals behind the truths of the continuous tasks.

Each is a sum over equally spaced points of an analytic integrand that decays fast, or is periodic: its error falls
faster than any power of the step. Nats, Python floats, exact to 1e-10 or better.
"""

import math
from statistics import NormalDist

import numpy as np

__all__ = ["angle_information", "onehot_information", "parity_information", "quantile_information"]


def onehot_information(classes: int, signal: float) -> float:
    """I(Y; signal onehot(Y) + z), Y uniform on the classes, z standard normal.

    With ``T = e^(signal^2) e^(signal z_1) + sum_(j>1) e^(signal z_j)``, ``I = log K - E log T + signal^2``. For
    positive T ``E log T = int (e^-t - E e^-tT) dt / t``, and the transform of a sum is a product, so with t = e^v
    and ``phi(v) = E exp(-e^(v + signal z))``, ``E log T = int e^(-e^v) - phi(v + signal^2) phi(v)^(K-1) dv``.

    Args:
        classes: number of labels (K above).
        signal: height of the one, in units of the noise; 0 or more.

    Returns:
        The information.

    Example:
        >>> round(onehot_information(2, 2.0), 6)  # the points +-sqrt(2) under unit noise
        0.500072
    """
    if signal == 0 or signal > 30:  # a label is misread with a probability below e^(-signal^2 / 4)
        return math.log(classes) if signal else 0.0
    z = np.linspace(-13.0, 13.0, 261 * max(1, math.ceil(signal / 2)))
    density = np.exp(-0.5 * z**2)
    density /= density.sum()
    reach = 10.0 * signal + signal**2 + math.log(classes)
    v = np.arange(-45.0 - reach, 10.0 + reach, 0.1)

    def phi(shift: float) -> np.ndarray:
        return np.array([np.exp(-np.exp(np.minimum(at + shift + signal * z, 700.0))) @ density for at in v])

    terms = np.exp(-np.exp(np.minimum(v, 700.0))) - phi(signal**2) * phi(0.0) ** (classes - 1)
    return math.log(classes) - 0.1 * float(terms.sum()) + signal**2


def parity_information(signal: float) -> float:
    """I(AB; signal A + z, signal B + z') for fair signs A and B, z and z' standard normal.

    Given x the sign A has the mean ``tanh(signal x)``, so AB has the mean ``u = tanh(signal x) tanh(signal x')``,
    and ``I = E ((1 + u) log(1 + u) + (1 - u) log(1 - u)) / 2``.

    Args:
        signal: distance of the points from 0, in units of the noise; 0 or more.

    Returns:
        The information.

    Example:
        >>> round(parity_information(2.0), 6)
        0.578905
    """
    if signal > 10:  # a sign is misread with a probability below 1e-23
        return math.log(2)
    # The integrand is even in x and in x'; its poles lie pi / 2 signal off the axis, 7 steps or more.
    step = 0.2 / max(1.0, signal)
    x = np.arange(0.0, signal + 10.0, step)
    density = np.exp(-0.5 * (x - signal) ** 2) + np.exp(-0.5 * (x + signal) ** 2)
    density[0] /= 2
    density /= density.sum()
    mean = np.tanh(signal * x)
    u = np.outer(mean, mean)
    rest = 1 - u
    entropy_lost = 0.5 * ((1 + u) * np.log1p(u) + rest * np.log(np.where(rest > 0, rest, 1.0)))
    return float(density @ entropy_lost @ density)


def angle_information(norm: float) -> float:
    """I(Y; angle of the point ``norm (cos t, sin t) Y + z``) for a fair sign Y, z standard normal in the plane.

    With ``c = norm cos(a - t)`` the angle a has, given Y = 1, the density
    ``f(c) = e^(-norm^2/2) / 2 pi + c Phi(c) e^(-(norm^2 - c^2)/2) / sqrt(2 pi)``, and f(-c) given Y = -1.

    Args:
        norm: distance of the points from the origin, in units of the noise; 0 or more.

    Returns:
        The information, whatever t.

    Example:
        >>> round(angle_information(1.0) / math.log(2), 5)  # bits
        0.42721
    """
    points = 400 * max(1, math.ceil(norm))
    c = norm * np.cos(2 * math.pi * np.arange(points) / points)
    one = math.exp(-0.5 * norm**2) / (2 * math.pi)
    density = one + c * _normal_cdf(c) * np.exp(-0.5 * (norm**2 - c**2)) / math.sqrt(2 * math.pi)
    density = np.maximum(density, 0.0)  # far from the mean rounding is all there is
    opposite = np.roll(density, points // 2)
    terms = _xlogx(density) - density * np.log(0.5 * np.maximum(density + opposite, 1e-300))
    return float(terms.sum()) * 2 * math.pi / points


def quantile_information(classes: int, share: float) -> float:
    """I(Y; t), Y the block of ``T = t + u`` between its K-quantiles; t and u independent normals, mean 0.

    ``I = log K - E H(p(Y | t))``, one block having the probability of T between two thresholds given t. For two
    blocks and a share of one half ``p(Y=1 | t)`` is uniform on (0, 1), and I is ``log 2 - 1/2``.

    Args:
        classes: number of blocks (K above).
        share: of the variance of T that is t's, 0 to 1.

    Returns:
        The information.

    Example:
        >>> round(quantile_information(2, 0.5), 6), round(quantile_information(3, 1.0), 6)
        (0.193147, 1.098612)
    """
    if share in (0, 1):
        return share * math.log(classes)
    sharpness = math.sqrt(share / (1 - share))
    # Entropies of the blocks have singularities about 2.8 / sharpness off the axis: many steps.
    t = np.arange(-10.0, 10.0, 0.1 / max(1.0, sharpness))
    density = np.exp(-0.5 * t**2)
    density /= density.sum()
    thresholds = np.array([NormalDist().inv_cdf(j / classes) for j in range(1, classes)])
    below = _normal_cdf(thresholds[:, None] / math.sqrt(1 - share) - sharpness * t[None, :])
    blocks = np.diff(np.concatenate([np.zeros((1, t.size)), below, np.ones((1, t.size))]), axis=0)
    return math.log(classes) + float(_xlogx(blocks).sum(0) @ density)


def _normal_cdf(x: np.ndarray) -> np.ndarray:
    return 0.5 * np.vectorize(math.erfc, otypes=[float])(-x / math.sqrt(2))


def _xlogx(x: np.ndarray) -> np.ndarray:
    return x * np.log(np.where(x > 0, x, 1.0))
