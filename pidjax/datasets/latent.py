"""The latent suite: three Gaussian factors, one private to each modality and one shared, and a label from some of them.

Factors z1, z2, zc have independent normal coordinates. Modality 1 is ``[z1 T1, zc Tc]`` and modality 2
``[z2 T2, zc Tc]`` with fixed random matrices, so each sees its two factors exactly and the third not at all. The
label is the block, between quantiles, of the mean of some coordinates.

Truth. Of the m coordinates behind the label modality i sees ``a_i``. They are independent and all alike, so whoever
sees more of them can drop some, put noise for what the other sees besides, and stand in for the other: the weaker
modality is a garbling of the stronger, and the union information is ``max(I1, I2)``. Without dropout the sum of what
is seen says all, and ``I_i`` is ``quantile_information`` at the share ``a_i / m``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr

from pidjax import _checks
from pidjax._precision import in_own_precision, is_traced
from pidjax.datasets.channels import quantile_information
from pidjax.datasets.gaussian import finite_features
from pidjax.pid import PID, from_union
from pidjax.typing import Array, Key, Samples

__all__ = ["LATENT_LABELS", "LATENT_TASKS", "LatentTask", "latent_gaussians", "latent_task"]

# Which share of the coordinates of z1, z2 and zc makes the label.
LATENT_LABELS: dict[str, tuple[float, float, float]] = {
    "redundancy": (0.0, 0.0, 1.0),
    "unique1": (1.0, 0.0, 0.0),
    "unique2": (0.0, 1.0, 0.0),
    "synergy": (1.0, 1.0, 0.0),
    "mix1": (0.5, 0.5, 0.5),
    "mix2": (1.0, 0.5, 0.5),
    "mix3": (1.0, 1.0, 0.5),
    "mix4": (0.5, 0.5, 1.0),
    "mix5": (0.0, 0.5, 0.5),
    "mix6": (0.0, 0.5, 1.0),
}

# I(the coordinates that are seen; Y) for two classes and a dropout of 0.2, by (how many are seen, how many there are).
# Means over 2^18 or more scrambled Sobol points of the entropy that sums over all patterns of dropout leave; standard
# errors are 4e-5 or less.
DROPOUT_INFORMATION: dict[tuple[int, int], float] = {
    (2, 4): 0.14508, (4, 4): 0.39454, (5, 5): 0.38823, (4, 6): 0.20738, (6, 6): 0.38395, (5, 7): 0.22710,
    (7, 7): 0.38109, (4, 9): 0.12767, (7, 9): 0.25504, (9, 9): 0.37775, (5, 10): 0.14650, (10, 10): 0.37686,
    (7, 12): 0.17638, (12, 12): 0.37572,
}  # fmt: skip


@dataclass(frozen=True, eq=False)  # compared by identity, so that a bound method can be jitted
class LatentTask:
    """Factors ``z1, z2, zc`` of d normal coordinates; ``x1 = [z1 T1, zc Tc]``, ``x2 = [z2 T2, zc Tc]``.

    Attributes:
        name: what reports call it.
        coordinates: how many coordinates of z1, z2 and zc make the label, the first ones of each.
        mixing: the matrices T1, T2 and Tc, ``(3, d, D)`` with D at least d, so that factors can be read back.
        variance: of every coordinate.
        classes: number of labels, equally likely: blocks between the quantiles of the population.
        dropout: how often a coordinate is left out of a label, each on its own: noise in the label.
        truth: decomposition of I(X1,X2;Y), Python floats, nats; None when unknown.
        source: how the truth is known, and how well.

    Raises:
        ValueError: coordinates, matrices or settings that don't fit.

    Example:
        >>> task = latent_task("latent_synergy")
        >>> samples = task.sample(jax.random.key(0), 1000)
        >>> samples.x1.shape, round(task.truth.redundancy, 4), round(task.truth.synergy, 4), task.source
        ((1000, 100), 0.1931, 0.5, 'quadrature, 1e-10')

    References:
        Liang et al., arXiv 2302.12247, ``synthetic/generate_data.py`` of its code.
    """

    name: str
    coordinates: tuple[int, int, int]
    mixing: np.ndarray = field(repr=False)
    variance: float = 1.5
    classes: int = 2
    dropout: float = 0.0
    truth: PID | None = None
    source: str = "unknown"

    def __post_init__(self) -> None:
        _checks.require(
            self.mixing.ndim == 3 and len(self.mixing) == 3 and self.mixing.shape[1] <= self.mixing.shape[2],
            f"mixing has shape {self.mixing.shape}; expected (3, d, D) with D at least d, one matrix a factor",
        )
        _checks.require(
            all(0 <= m <= self.mixing.shape[1] for m in self.coordinates) and sum(self.coordinates) > 0,
            f"coordinates are {self.coordinates}; expected three counts from 0 to {self.mixing.shape[1]}, not all 0",
        )
        _checks.require(self.variance > 0, f"variance is {self.variance}; expected a number above 0")
        _checks.require(self.classes >= 2, f"classes is {self.classes}; expected 2 or more")
        _checks.require(0 <= self.dropout < 1, f"dropout is {self.dropout}; expected from 0 to below 1")

    def sample(self, key: Key, n: int) -> Samples:
        """Independent draws.

        Pure in the key; works under jit (``n`` static) and vmap. The published generator sorts the sample and cuts it
        into equal blocks, and draws the coordinates behind the label anew for every sample of a mixture; here the
        blocks are those of the population, so that samples are independent, and the coordinates are fixed.

        Args:
            key: random key.
            n: number of samples.

        Returns:
            ``Samples`` of x1 and x2 ``(n, 2 D)`` and y ``(n,)`` integers.

        Raises:
            ValueError: n below one.

        Example:
            >>> samples = latent_task("latent_mix1").sample(jax.random.key(0), 1000)
            >>> bool((samples.x1[:, 50:] == samples.x2[:, 50:]).all())  # the shared factor
            True
        """
        _checks.require(n >= 1, f"n is {n}; expected one sample or more")
        key, keep, tie = jax.random.split(key, 3)
        z = math.sqrt(self.variance) * jax.random.normal(key, (3, n, self.mixing.shape[1]))
        mixing = jnp.asarray(self.mixing, z.dtype)
        first, second, shared = (jnp.matmul(z[k], mixing[k], precision="highest") for k in range(3))
        kept = jnp.asarray(self._used)[:, None, :]
        if self.dropout:
            kept = kept & jax.random.bernoulli(keep, 1 - self.dropout, z.shape)
        # The block of the mean, or of its sigmoid, is that of the sum.
        total = jnp.where(kept, z, 0.0).sum((0, 2))
        y = (total[:, None] >= jnp.asarray(self._thresholds, z.dtype)[None, :]).sum(1)
        if self.dropout:  # where nothing is kept the sum is 0, a tie: any of the quantiles that 0 is
            nothing = self.dropout ** sum(self.coordinates)
            level = 0.5 + nothing * (jax.random.uniform(tie, (n,)) - 0.5)
            y = jnp.where(kept.any((0, 2)), y, jnp.floor(self.classes * level))
        return Samples(
            jnp.concatenate([first, shared], axis=1), jnp.concatenate([second, shared], axis=1), y.astype(jnp.int32)
        )

    @in_own_precision
    def log_posteriors(self, samples: Samples) -> tuple[Array, Array, Array]:
        """The exact posteriors of the target, as logarithms, without dropout.

        Coordinates are read back by the pseudo-inverses of the matrices. A sum that is known exactly is taken as
        known to the rounding of the features: logarithms stay finite, and a label so close to its threshold that
        rounding decides it isn't called impossible. Features must come in the precision they were drawn in.

        Args:
            samples: both modalities; their labels are not looked at.

        Returns:
            ``log p(y | x1), log p(y | x2), log p(y | x1, x2)``, each ``(n, k)``.

        Raises:
            ValueError: shapes that don't fit; a task with dropout.

        Example:
            >>> x = np.zeros((1, 100))
            >>> [p[0].round(4).tolist() for p in latent_task("latent_synergy").log_posteriors(Samples(x, x))]
            [[-0.6931, -0.6931], [-0.6931, -0.6931], [-0.6931, -0.6931]]
        """
        _checks.require(
            self.dropout == 0,
            f"dropout is {self.dropout}; the posteriors are known without dropout only: build the task with dropout=0",
        )
        columns = 2 * self.mixing.shape[2]
        x1, x2 = finite_features(samples.x1, "x1", columns), finite_features(samples.x2, "x2", columns)
        # Each factor's part of the sum as weights of its columns, and how large the terms are: what rounding goes by.
        weights = [np.linalg.pinv(t) @ used for t, used in zip(self.mixing, self._used, strict=True)]
        size = [np.abs(w) @ np.sqrt(self.variance * (t**2).sum(0)) for w, t in zip(weights, self.mixing, strict=True)]
        own1, own2, shared = weights

        def part(x: Array, *w: np.ndarray) -> Array:
            return jnp.matmul(x, jnp.asarray(np.concatenate(w), x.dtype), precision="highest")

        first, second = part(x1, own1, shared), part(x2, own2, shared)
        seen = jnp.stack([first, second, first + part(x2, own2, 0 * shared)])
        m1, m2, _ = self.coordinates
        open_variance = self.variance * np.array([m2, m1, 0])
        rounding = 4 * float(jnp.finfo(seen.dtype).eps) * np.array([size[0] + size[2], size[1] + size[2], sum(size)])
        log_p = self._log_blocks(seen, np.sqrt(open_variance + rounding**2))
        return log_p[0], log_p[1], log_p[2]

    @property
    def _used(self) -> np.ndarray:
        """Which coordinates make the label, ``(3, d)``."""
        return np.arange(self.mixing.shape[1])[None, :] < np.array(self.coordinates)[:, None]

    @property
    def _thresholds(self) -> np.ndarray:
        """The K - 1 quantiles of the sum of the coordinates that are kept: a mixture over how many those are."""
        levels = np.arange(1, self.classes) / self.classes
        m, kept = sum(self.coordinates), 1 - self.dropout
        deviation = math.sqrt(self.variance)
        if not self.dropout:
            return deviation * math.sqrt(m) * np.array([NormalDist().inv_cdf(level) for level in levels])
        chance = [math.comb(m, j) * kept**j * self.dropout ** (m - j) for j in range(m + 1)]

        def quantile(level: float) -> float:
            """By bisection: a sum of j coordinates is normal, and one of none is 0."""
            low, high = -40.0 * deviation * math.sqrt(m), 40.0 * deviation * math.sqrt(m)
            for _ in range(80):
                middle = (low + high) / 2
                below = chance[0] * (middle > 0) + sum(
                    p * NormalDist(0, deviation * math.sqrt(j)).cdf(middle) for j, p in enumerate(chance) if j
                )
                low, high = (middle, high) if below < level else (low, middle)
            return (low + high) / 2

        return np.array([quantile(level) for level in levels])

    def _log_blocks(self, seen: Array, deviation: np.ndarray) -> Array:
        """Log probability of every block, ``(3, n, k)``, given what is seen of the sum and how the rest varies."""
        edge = jnp.asarray(self._thresholds, seen.dtype)[None, None, :] - seen[:, :, None]
        edge = edge / jnp.asarray(deviation, seen.dtype)[:, None, None]
        below, above = edge[:, :, :-1], edge[:, :, 1:]  # of the inner blocks
        flip = below + above > 0  # so that small probabilities are differences of small ones
        ends = [edge[:, :, :1], -edge[:, :, -1:], jnp.where(flip, -above, below), jnp.where(flip, -below, above)]
        outer, low, high = jnp.split(log_ndtr(jnp.concatenate(ends, axis=2)), [2, self.classes], axis=2)
        inner = high + jnp.log(-jnp.expm1(jnp.minimum(low - high, -jnp.finfo(seen.dtype).eps)))
        return jnp.concatenate([outer[:, :, :1], inner, outer[:, :, 1:]], axis=2)


def latent_gaussians(
    label: str,
    *,
    dimension: int = 5,
    columns: int = 100,
    variance: float = 1.5,
    classes: int = 2,
    dropout: float = 0.0,
    key: Key | None = None,
) -> LatentTask:
    """One of the ten data sets of the latent suite.

    The published labels have a dropout of 0.2. It leaves the union information at ``max(I1, I2)``, but then the
    informations are no one-dimensional integrals: the truth is known for two classes in the default dimension, and
    None elsewhere.

    Args:
        label: which factors make the label, a key of ``LATENT_LABELS``.
        dimension: coordinates of a factor (d). A share r of them is ``int(r d)`` coordinates.
        columns: of a modality: half from its own factor, half from the shared one (2 D).
        variance: of every coordinate; a variance, not a standard deviation.
        classes: number of labels.
        dropout: how often a coordinate is left out of a label.
        key: random key of the matrices, whose entries are uniform on (0, 1); None takes ``jax.random.key(0)``.

    Returns:
        A task with ``columns`` columns a modality; tasks of one key share their matrices.

    Raises:
        ValueError: no such label, an odd number of columns or fewer than 2 d, or settings out of range.

    Example:
        >>> truth = latent_gaussians("mix2", classes=4).truth
        >>> [round(atom, 4) for atom in (truth.redundancy, truth.unique1, truth.unique2, truth.synergy)]
        [0.2426, 0.3313, 0.0, 0.8124]

    References:
        Liang et al., arXiv 2302.12247, section 4.
    """
    _checks.require(label in LATENT_LABELS, f"no label is called {label!r}; expected one of {', '.join(LATENT_LABELS)}")
    _checks.require(
        columns % 2 == 0 and columns >= 2 * dimension >= 2,
        f"columns is {columns} and dimension {dimension}; expected an even number of columns, at least 2 dimension",
    )
    seed = np.zeros(2, np.uint32)  # what key(0) holds; nothing is compiled to build a task
    if key is not None:
        _checks.require(not is_traced(key), "key is traced; the matrices of a task are constants: build it outside jit")
        with jax.ensure_compile_time_eval():
            seed = np.asarray(jax.random.key_data(key))
    mixing = np.random.default_rng(seed).uniform(size=(3, dimension, columns // 2))
    r1, r2, rc = LATENT_LABELS[label]
    counts = (int(r1 * dimension), int(r2 * dimension), int(rc * dimension))
    settings: list[tuple[str, float, float]] = [("dimension", dimension, 5), ("columns", columns, 100)]
    settings += [("variance", variance, 1.5), ("classes", classes, 2), ("dropout", dropout, 0.0)]
    name = f"latent_{label}" + "".join(f"_{what}_{value:g}" for what, value, usual in settings if value != usual)
    LatentTask(name, counts, mixing, variance, classes, dropout)  # checks
    m1, m2, shared = counts
    seen, every = (m1 + shared, m2 + shared, sum(counts)), sum(counts)
    truth, source = None, "unknown"
    if dropout == 0:
        i1, i2, i12 = (quantile_information(classes, m / every) for m in seen)
        truth, source = from_union(i1, i2, i12, max(i1, i2)), "quadrature, 1e-10"
    elif (dimension, classes, dropout) == (5, 2, 0.2):
        i1, i2, i12 = (DROPOUT_INFORMATION[m, every] if m else 0.0 for m in seen)
        truth, source = from_union(i1, i2, i12, max(i1, i2)), "quasi-Monte Carlo, 1e-4"
    return LatentTask(name, counts, mixing, variance, classes, dropout, truth, source)


def latent_task(name: str) -> LatentTask:
    """A task of the table ``LATENT_TASKS``, built now.

    Args:
        name: a key of ``LATENT_TASKS``.

    Returns:
        The task; its ``name`` is the key.

    Raises:
        ValueError: no such name.

    Example:
        >>> latent_task("latent_mix4").coordinates
        (2, 2, 5)
    """
    _checks.require(name in LATENT_TASKS, f"no task is called {name!r}; the names are {', '.join(LATENT_TASKS)}")
    return LATENT_TASKS[name]()


# Factories, so that importing costs nothing.
LATENT_TASKS: dict[str, Callable[[], LatentTask]] = {
    f"latent_{label}": partial(latent_gaussians, label) for label in LATENT_LABELS
}
