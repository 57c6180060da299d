"""Continuous tasks with a known decomposition: symbols sent as points, with Gaussian noise on every coordinate.

Truths are integrals (``channels``), or closed forms where the noise can't be seen.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from pidjax import _checks
from pidjax._precision import in_own_precision, is_traced
from pidjax.datasets.channels import onehot_information, parity_information
from pidjax.datasets.gates import GATES
from pidjax.pid import PID, from_union
from pidjax.typing import Array, ArrayLike, Key, Samples

__all__ = [
    "GAUSSIAN_TASKS",
    "MAPS",
    "GaussianTask",
    "finite_features",
    "gaussian_task",
    "lsmi_gaussian",
    "mapped",
    "noisy_gate",
    "three_classes",
    "two_classes",
    "xor_signs",
]

# Each map: the noise that fills the columns, how its matrices are drawn, the slope of its leaky relu.
MAPS: dict[str, tuple[float, str, float]] = {
    "pad": (0.0, "gaussian", 0.2),
    "mild": (1.0, "orthogonal", 0.5),
    "noise": (1.0, "gaussian", 0.2),
}


@dataclass(frozen=True, eq=False)  # compared by identity, so that a bound method can be jitted
class GaussianTask:
    """Symbols ``(s1, s2, y)`` from a joint; ``x1 = means1[s1] + noise``, ``x2 = means2[s2] + noise``.

    Attributes:
        name: what reports call it.
        joint: probability mass function of the symbols ``p[s1, s2, y]``. A mixture with one point for each class
            is the joint with the prior on its diagonal.
        means1: the points of modality 1, ``(n1, d1)``.
        means2: the points of modality 2, ``(n2, d2)``.
        noise: standard deviation on every coordinate.
        correlation: of the noise of coordinate j of x1 with that of coordinate j of x2; other pairs have none.
        truth: decomposition of I(X1,X2;Y), Python floats, nats; None when unknown.
        source: how the truth is known, and how well.

    Raises:
        ValueError: joint, points, noise or correlation that don't fit.

    Example:
        >>> task = gaussian_task("g30")
        >>> samples = task.sample(jax.random.key(0), 1000)
        >>> samples.x1.shape, round(task.truth.redundancy, 4), round(task.truth.unique1, 4), task.source
        ((1000, 1), 0.3368, 0.2491, 'quadrature, 1e-10')
    """

    name: str
    joint: np.ndarray = field(repr=False)
    means1: np.ndarray = field(repr=False)
    means2: np.ndarray = field(repr=False)
    noise: float = 1.0
    correlation: float = 0.0
    truth: PID | None = None
    source: str = "unknown"

    def __post_init__(self) -> None:
        _checks.pmf(self.joint, name="joint", ndim=3, axes="[s1, s2, y]")
        for means, symbols, name in ((self.means1, self.joint.shape[0], "1"), (self.means2, self.joint.shape[1], "2")):
            _checks.require(
                means.ndim == 2 and means.shape[0] == symbols,
                f"means{name} has shape {means.shape}; expected one row for each of the {symbols} symbols",
            )
        _checks.require(self.noise > 0, f"noise is {self.noise}; expected a standard deviation above 0")
        _checks.require(-1 < self.correlation < 1, f"correlation is {self.correlation}; expected above -1 and below 1")
        _checks.require(
            self.correlation == 0 or self.means1.shape[1] == self.means2.shape[1],
            f"x1 has {self.means1.shape[1]} coordinates, x2 {self.means2.shape[1]}; correlated noise pairs them",
        )

    def sample(self, key: Key, n: int) -> Samples:
        """Independent draws.

        Pure in the key; works under jit (``n`` static) and vmap.

        Args:
            key: random key.
            n: number of samples.

        Returns:
            ``Samples`` of x1 ``(n, d1)``, x2 ``(n, d2)`` and y ``(n,)`` integers.

        Raises:
            ValueError: n below one.

        Example:
            >>> gaussian_task("lsmi_10").sample(jax.random.key(0), 5).x2.shape
            (5, 10)
        """
        _checks.require(n >= 1, f"n is {n}; expected one sample or more")
        key, key1, key2 = jax.random.split(key, 3)
        support = np.nonzero(self.joint)
        cell = jax.random.choice(key, len(support[0]), (n,), p=jnp.asarray(self.joint[support]))
        s1, s2, y = (jnp.asarray(symbols.astype(np.int32))[cell] for symbols in support)
        e1 = jax.random.normal(key1, (n, self.means1.shape[1]))
        e2 = jax.random.normal(key2, (n, self.means2.shape[1]))
        if self.correlation:
            e2 = self.correlation * e1 + math.sqrt(1 - self.correlation**2) * e2
        return Samples(
            jnp.asarray(self.means1, e1.dtype)[s1] + self.noise * e1,
            jnp.asarray(self.means2, e2.dtype)[s2] + self.noise * e2,
            y,
        )

    @in_own_precision
    def log_posteriors(self, samples: Samples) -> tuple[Array, Array, Array]:
        """The exact posteriors of the target, as logarithms.

        Args:
            samples: both modalities; their labels are not looked at.

        Returns:
            ``log p(y | x1), log p(y | x2), log p(y | x1, x2)``, each ``(n, k)``.

        Raises:
            ValueError: shapes that don't fit.

        Example:
            >>> x = np.zeros((1, 1))
            >>> [p[0].round(4).tolist() for p in gaussian_task("g30").log_posteriors(Samples(x, x))]
            [[-0.6931, -0.6931], [-0.6931, -0.6931], [-0.6931, -0.6931]]
        """
        e1, e2 = self._residuals(samples)
        first, second, both = np.nonzero(self.joint.sum(1)), np.nonzero(self.joint.sum(0)), np.nonzero(self.joint)
        # What x1 leaves open of the noise of x2, for each pair of points that occurs.
        rest = e2[:, both[1]]
        if self.correlation:
            rest = (rest - self.correlation * e1[:, both[0]]) / math.sqrt(1 - self.correlation**2)
        pair = -0.5 * (e1**2).sum(-1)[:, both[0]] - 0.5 * (rest**2).sum(-1)
        return (
            _posterior(-0.5 * (e1**2).sum(-1)[:, first[0]], self.joint.sum(1)[first], first[1], self.joint.shape[2]),
            _posterior(-0.5 * (e2**2).sum(-1)[:, second[0]], self.joint.sum(0)[second], second[1], self.joint.shape[2]),
            _posterior(pair, self.joint[both], both[2], self.joint.shape[2]),
        )

    @in_own_precision
    def log_densities(self, samples: Samples) -> tuple[Array, Array]:
        """The exact densities of the modalities, as logarithms.

        Args:
            samples: both modalities.

        Returns:
            ``log p(x1), log p(x2)``, each ``(n,)``.

        Raises:
            ValueError: shapes that don't fit.

        Example:
            >>> x = np.zeros((1, 1))
            >>> [float(d[0].round(6)) for d in gaussian_task("g0").log_densities(Samples(x, x))]
            [-2.918939, -0.918939]
        """

        def density(e: Array, p: np.ndarray) -> Array:
            unit = math.log(self.noise) + 0.5 * math.log(2 * math.pi)
            return logsumexp(-0.5 * (e**2).sum(-1), axis=1, b=jnp.asarray(p, e.dtype)[None, :]) - e.shape[-1] * unit

        e1, e2 = self._residuals(samples)
        return density(e1, self.joint.sum((1, 2))), density(e2, self.joint.sum((0, 2)))

    def _residuals(self, samples: Samples) -> list[Array]:
        """How far every sample lies from every point, in units of the noise: ``(n, symbols, d)``."""
        found = []
        for x, means, name in ((samples.x1, self.means1, "x1"), (samples.x2, self.means2, "x2")):
            x = finite_features(x, name, means.shape[1])
            found.append((x[:, None, :] - jnp.asarray(means, x.dtype)[None, :, :]) / self.noise)
        return found


def finite_features(x: ArrayLike | None, name: str, columns: int) -> Array:
    """Features as an ``(n, columns)`` array, or an error; inside jit the values that aren't finite become NaN."""
    _checks.require(x is not None, f"{name} is missing; expected features (n, {columns})")
    x = jnp.asarray(_checks.as_float(x, name))
    _checks.require(
        x.ndim == 2 and x.shape[1] == columns,
        f"{name} has shape {x.shape}; expected (n, {columns})",
    )
    bad = jnp.logical_not(jnp.isfinite(jax.lax.stop_gradient(x)))
    _checks.ensure(
        jnp.logical_not(bad.any()),
        partial("{} has {} NaN or infinite values; drop or impute those samples".format, name, bad.sum()),
    )
    return jnp.where(bad, jnp.nan, x) if is_traced(bad) else x  # an infinite value would leave a plausible posterior


def _posterior(log_density: Array, p: np.ndarray, y: np.ndarray, k: int) -> Array:
    """The log posterior from the log density of x at every cell, the probability of the cell and its label."""
    weight = jnp.asarray(p[:, None] * np.eye(k)[y], log_density.dtype)
    joint = logsumexp(log_density[:, :, None], axis=1, b=weight[None, :, :])
    return joint - logsumexp(joint, axis=1, keepdims=True)


def two_classes(angle: float, *, norm: float = 2.0) -> GaussianTask:
    """Two classes at the points ``+-norm (cos angle, sin angle)``, x1 and x2 the coordinates, unit noise.

    Each coordinate, and the projection on the mean, is a binary-input Gaussian channel; the weaker coordinate is the
    stronger one with more noise (Blackwell), so the union information is ``max(I1, I2)``.

    Args:
        angle: degrees.
        norm: distance of the points from the origin.

    Returns:
        A task with one column a modality and two labels.

    Example:
        >>> truth = two_classes(30.0, norm=1.5).truth
        >>> [round(atom, 3) for atom in (truth.redundancy, truth.unique1, truth.unique2, truth.synergy)]
        [0.221, 0.239, 0.0, 0.067]
    """
    a1, a2 = norm * math.cos(math.radians(angle)), norm * math.sin(math.radians(angle))
    i1, i2, i12 = (onehot_information(2, abs(a) * math.sqrt(2)) for a in (a1, a2, norm))
    name = f"g{angle:g}" + ("" if norm == 2.0 else f"_norm_{norm:g}")
    means = np.array([[-1.0], [1.0]])
    truth = from_union(i1, i2, i12, max(i1, i2))
    return GaussianTask(name, _classes(2), a1 * means, a2 * means, truth=truth, source="quadrature, 1e-10")


# I1, I2, I12 and the union information of three_classes; the test of the same name makes them again.
THREE_CLASSES = (0.402547858, 0.402547858, 0.735720621, 0.708796861)


def three_classes() -> GaussianTask:
    """Three classes of which each modality sees two as one: x1 at 0, 2.5, 2.5 and x2 at 0, 0, 2.5, unit noise.

    Neither modality is a garbling of the other: both have something of their own.

    Returns:
        A task with one column a modality and three labels.

    Example:
        >>> truth = three_classes().truth
        >>> [round(atom, 3) for atom in (truth.redundancy, truth.unique1, truth.unique2, truth.synergy)]
        [0.096, 0.306, 0.306, 0.027]
    """
    means = 2.5 * np.array([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
    truth = from_union(*THREE_CLASSES)
    source = "informations by quadrature, 1e-9; union by binning, certified and extrapolated, 1e-6"
    return GaussianTask("c3", _classes(3), means[0][:, None], means[1][:, None], truth=truth, source=source)


def lsmi_gaussian(classes: int, *, correlation: float = 0.5, noise: float = 0.5) -> GaussianTask:
    """One-hot labels under noise, twice: the data of LSMI's own demonstration.

    ``x1 = onehot(y) + noise u, x2 = onehot(y) + noise (rho u + sqrt(1 - rho^2) v)``. The two channels are one and
    the same, so nothing is unique and R = I1 = I2; ``x1 + x2`` is sufficient, so I12 is the information of one
    channel at the noise ``noise sqrt((1 + rho) / 2)``.

    Args:
        classes: number of labels, and of columns of each modality; 2 or more.
        correlation: rho above, between -1 and 1.
        noise: standard deviation.

    Returns:
        A task with ``classes`` columns a modality.

    Raises:
        ValueError: fewer than two classes, or a noise or correlation out of range.

    Example:
        >>> truth = lsmi_gaussian(2).truth
        >>> round(truth.redundancy, 5), round(truth.unique1, 5), round(truth.synergy, 5)
        (0.50007, 0.0, 0.0629)

    References:
        arXiv 2506.17248, ``gaussian_data`` of its code.
    """
    _checks.require(classes >= 2, f"classes is {classes}; expected 2 or more")
    task = GaussianTask("", _classes(classes), np.eye(classes), np.eye(classes), noise, correlation)  # checks the rest
    i = onehot_information(classes, 1 / noise)
    i12 = onehot_information(classes, 1 / (noise * math.sqrt((1 + correlation) / 2)))
    changed = "" if (correlation, noise) == (0.5, 0.5) else f"_{correlation:g}_{noise:g}"
    truth = from_union(i, i, i12, i)
    return GaussianTask(
        f"lsmi_{classes}{changed}", task.joint, task.means1, task.means2, noise, correlation, truth, "quadrature, 1e-10"
    )


def noisy_gate(name: str, *, noise: float = 0.1) -> GaussianTask:
    """A gate whose input symbols are sent one-hot, with noise on every coordinate.

    Args:
        name: a key of ``GATES``.
        noise: standard deviation. Up to 0.1 a symbol is misread with a probability below 1e-11, and the truth is
            the gate's; above it is None.

    Returns:
        A task with as many columns as the modality has symbols.

    Raises:
        ValueError: no such gate, or a noise of 0 or less.

    Example:
        >>> task = noisy_gate("xor")
        >>> task.name, round(task.truth.synergy, 6), task.source
        ('xor_noise_0.1', 0.693147, 'closed form without the noise, 1e-8')
    """
    _checks.require(name in GATES, f"no gate is called {name!r}; the names are {', '.join(GATES)}")
    joint = GATES[name].joint
    known = noise <= 0.1
    return GaussianTask(
        f"{name}_noise_{noise:g}",
        joint,
        np.eye(joint.shape[0]),
        np.eye(joint.shape[1]),
        noise,
        truth=GATES[name].truth if known else None,
        source="closed form without the noise, 1e-8" if known else "unknown",
    )


def xor_signs(signal: float = 2.0) -> GaussianTask:
    """Exclusive or of two fair bits, each sent as ``+-signal`` with unit noise: synergy alone.

    Neither modality says anything of the target, so they may be coupled to say nothing together.

    Args:
        signal: distance of the points from 0.

    Returns:
        A task with one column a modality and two labels.

    Raises:
        ValueError: a signal that is negative.

    Example:
        >>> truth = xor_signs(2.0).truth
        >>> round(truth.redundancy, 6), round(truth.unique1, 6), round(truth.synergy, 6)
        (0.0, 0.0, 0.578905)
    """
    _checks.require(signal >= 0, f"signal is {signal}; expected a distance of 0 or more")
    means = signal * np.array([[-1.0], [1.0]])
    truth = from_union(0.0, 0.0, parity_information(signal), 0.0)
    name = "xor_signs" + ("" if signal == 2.0 else f"_{signal:g}")
    return GaussianTask(name, GATES["xor"].joint, means, means, truth=truth, source="quadrature, 1e-10")


def gaussian_task(name: str) -> GaussianTask:
    """A task of the table ``GAUSSIAN_TASKS``, built now.

    Args:
        name: a key of ``GAUSSIAN_TASKS``.

    Returns:
        The task; its ``name`` is the key.

    Raises:
        ValueError: no such name.

    Example:
        >>> gaussian_task("c3").means1.ravel().tolist()
        [0.0, 2.5, 2.5]
    """
    _checks.require(name in GAUSSIAN_TASKS, f"no task is called {name!r}; the names are {', '.join(GAUSSIAN_TASKS)}")
    return GAUSSIAN_TASKS[name]()


@in_own_precision
def mapped(samples: Samples, key: Key, kind: str, *, columns: int = 64) -> Samples:
    """Each modality through a fixed random net of two square matrices and a leaky relu: the same truth, hidden.

    The net is invertible, so no information changes. "pad" fills up with zeros, "mild" and "noise" with unit noise;
    "mild" has orthogonal matrices and slope 0.5, the others Gaussian ones (ill-conditioned) and slope 0.2. Map all
    samples in one call and split them afterwards: a second call with this key draws the same noise.

    Args:
        samples: features ``(n, d1)`` and ``(n, d2)``.
        key: random key of the matrices and the noise.
        kind: "pad", "mild" or "noise".
        columns: how many columns each modality gets.

    Returns:
        ``Samples`` whose modalities are ``(n, columns)``; labels and weights as they were.

    Raises:
        ValueError: no such kind, features that are not ``(n, d)`` with d at most ``columns``.

    Example:
        >>> samples = gaussian_task("g30").sample(jax.random.key(0), 10)
        >>> mapped(samples, jax.random.key(1), "mild").x1.shape
        (10, 64)
    """
    _checks.require(kind in MAPS, f"kind is {kind!r}; expected one of {', '.join(MAPS)}")
    noise, matrices, slope = MAPS[kind]

    def through(key: Key, x: ArrayLike | None, name: str) -> Array:
        x = jnp.asarray(_checks.as_float(x, name))
        _checks.require(
            x.ndim == 2 and x.shape[1] <= columns, f"{name} has shape {x.shape}; expected (n, d), d at most {columns}"
        )
        fill, *keys = jax.random.split(key, 3)
        x = jnp.concatenate([x, noise * jax.random.normal(fill, (len(x), columns - x.shape[1]), x.dtype)], axis=1)
        if matrices == "orthogonal":
            first, last = (jax.random.orthogonal(k, columns, dtype=x.dtype) for k in keys)
        else:
            first, last = (jax.random.normal(k, (columns, columns), x.dtype) / math.sqrt(columns) for k in keys)
        return jax.nn.leaky_relu(x @ first, slope) @ last

    key1, key2 = jax.random.split(key)
    return samples._replace(x1=through(key1, samples.x1, "x1"), x2=through(key2, samples.x2, "x2"))


def _classes(k: int) -> np.ndarray:
    """Symbols that are the label: the uniform prior on the diagonal."""
    joint = np.zeros((k, k, k))
    joint[range(k), range(k), range(k)] = 1 / k
    return joint


# Factories, so that importing costs nothing.
GAUSSIAN_TASKS: dict[str, Callable[[], GaussianTask]] = {
    **{f"g{angle}": partial(two_classes, angle) for angle in (0, 15, 30, 45)},
    **{f"g{angle}_norm_1.5": partial(two_classes, angle, norm=1.5) for angle in (0, 15, 30, 45)},
    "c3": three_classes,
    **{f"lsmi_{classes}": partial(lsmi_gaussian, classes) for classes in (2, 10)},
    "xor_signs": xor_signs,
    **{f"{name}_noise_0.1": partial(noisy_gate, name) for name in GATES},
}
