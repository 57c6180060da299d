"""Two classes in the plane seen in polar coordinates: a radius that says nothing alone, and an angle that says most."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from pidjax import _checks
from pidjax._precision import in_own_precision
from pidjax.datasets.channels import angle_information, onehot_information
from pidjax.datasets.gaussian import finite_features
from pidjax.pid import PID, from_union
from pidjax.typing import Array, Key, Samples

__all__ = ["POLAR_TASKS", "PolarTask", "polar_classes", "polar_task"]


@dataclass(frozen=True, eq=False)  # compared by identity, so that a bound method can be jitted
class PolarTask:
    """A point ``+-norm (cos angle, sin angle) + z`` of the plane, z standard normal: x1 its radius, x2 its angle.

    The angle comes as ``(cos, sin)``: what a network can use, without the jump of a number at a full turn, and
    nothing is lost.

    Attributes:
        name: what reports call it.
        norm: distance of the two means from the origin.
        angle: of the mean of label 1, in degrees; label 0 has the opposite mean.
        truth: decomposition of I(X1,X2;Y), Python floats, nats; None when unknown.
        source: how the truth is known, and how well.

    Raises:
        ValueError: a negative norm.

    Example:
        >>> task = polar_task("polar_norm_1")
        >>> samples = task.sample(jax.random.key(0), 1000)
        >>> samples.x1.shape, samples.x2.shape, round(task.truth.unique2, 4), round(task.truth.synergy, 4)
        ((1000, 1), (1000, 2), 0.2961, 0.0407)
    """

    name: str
    norm: float = 2.0
    angle: float = 30.0
    truth: PID | None = None
    source: str = "unknown"

    def __post_init__(self) -> None:
        _checks.require(self.norm >= 0, f"norm is {self.norm}; expected a distance of 0 or more")

    def sample(self, key: Key, n: int) -> Samples:
        """Independent draws.

        Pure in the key; works under jit (``n`` static) and vmap.

        Args:
            key: random key.
            n: number of samples.

        Returns:
            ``Samples`` of the radius ``(n, 1)``, the cosine and sine of the angle ``(n, 2)`` and y ``(n,)`` integers.

        Raises:
            ValueError: n below one.

        Example:
            >>> samples = polar_task("polar_norm_2").sample(jax.random.key(0), 1000)
            >>> bool(jnp.allclose((samples.x2**2).sum(1), 1.0, atol=1e-6))
            True
        """
        _checks.require(n >= 1, f"n is {n}; expected one sample or more")
        key_y, key_z = jax.random.split(key)
        y = jax.random.bernoulli(key_y, 0.5, (n,))
        z = jax.random.normal(key_z, (n, 2))
        point = jnp.where(y, 1.0, -1.0).astype(z.dtype)[:, None] * jnp.asarray(self._mean, z.dtype)[None, :] + z
        angle = jnp.arctan2(point[:, 1], point[:, 0])
        return Samples(
            jnp.hypot(point[:, 0], point[:, 1])[:, None],
            jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1),
            y.astype(jnp.int32),
        )

    @in_own_precision
    def log_posteriors(self, samples: Samples) -> tuple[Array, Array, Array]:
        """The exact posteriors of the target, as logarithms.

        Args:
            samples: both modalities, x2 of length 1; their labels are not looked at.

        Returns:
            ``log p(y | x1), log p(y | x2), log p(y | x1, x2)``, each ``(n, 2)``.

        Raises:
            ValueError: shapes that don't fit.

        Example:
            >>> samples = Samples(np.ones((1, 1)), np.array([[math.cos(math.pi / 6), 0.5]]))
            >>> [np.exp(p[0]).round(4).tolist() for p in polar_task("polar_norm_2").log_posteriors(samples)]
            [[0.5, 0.5], [0.0042, 0.9958], [0.018, 0.982]]
        """
        x1, x2 = finite_features(samples.x1, "x1", 1), finite_features(samples.x2, "x2", 2)
        along = (x2 * jnp.asarray(self._mean, x2.dtype)[None, :]).sum(1)

        def both(odds: Array) -> Array:
            return jax.nn.log_sigmoid(jnp.stack([-odds, odds], axis=1))

        return both(0 * x1[:, 0]), both(_angle_odds(along)), both(2 * x1[:, 0] * along)

    @property
    def _mean(self) -> np.ndarray:
        turn = math.radians(self.angle)
        return self.norm * np.array([math.cos(turn), math.sin(turn)])


def _angle_odds(c: Array) -> Array:
    """``log g(c) - log g(-c)`` for ``g(c) = 1 + sqrt(2 pi) c Phi(c) e^(c^2/2)``, as which densities go."""
    size = jnp.abs(c)
    # For c > 0, g(c) e^(-c^2/2) is a sum of positive terms. But g(-c) = 1 - c M, with Mills' ratio M = 1 / (c + K) and
    # K = 1 / (c + 2 / (c + 3 / ...)), loses all digits to cancellation: from 2 on it is K / (c + K).
    phi = 1 - 0.5 * jax.lax.erfc(size / math.sqrt(2))
    ahead = 0.5 * size**2 + jnp.log(jnp.exp(-0.5 * size**2) + math.sqrt(2 * math.pi) * size * phi)
    near, far = jnp.minimum(size, 2.0), jnp.maximum(size, 2.0)
    mills = math.sqrt(0.5 * math.pi) * jax.lax.erfc(near / math.sqrt(2)) * jnp.exp(0.5 * near**2)
    # Sixty terms: at 2 they are good for 1e-16.
    fraction = jax.lax.fori_loop(0, 59, lambda j, fraction: far + (60.0 - j) / fraction, far)
    behind = jnp.where(size < 2.0, 1 - near * mills, 1 / (1 + far * fraction))
    return jnp.where(c < 0, -1.0, 1.0) * (ahead - jnp.log(behind))


def polar_classes(norm: float = 2.0, *, angle: float = 30.0) -> PolarTask:
    """Two opposite means under unit noise in polar coordinates: R = U1 = 0, U2 = I(angle;Y), the rest synergy.

    The radius is independent of the label, so the union information is what the angle says. How far from the origin
    a point lies tells how sure its angle is: synergy. In Cartesian coordinates the same points are ``two_classes``.

    Args:
        norm: distance of the means from the origin.
        angle: of the mean of label 1, in degrees; the truth doesn't depend on it.

    Returns:
        A task with one column of radius and two of angle, and two labels.

    Raises:
        ValueError: a negative norm.

    Example:
        >>> truth = polar_classes(2.0).truth
        >>> [round(atom, 5) for atom in (truth.redundancy, truth.unique1, truth.unique2, truth.synergy)]
        [0.0, 0.0, 0.61389, 0.01883]

    References:
        Liang et al., arXiv 2302.12247, section 4 (mixtures of Gaussians).
    """
    name = f"polar_norm_{norm:g}" + ("" if angle == 30.0 else f"_angle_{angle:g}")
    task = PolarTask(name, norm, angle)  # checks
    i2, i12 = angle_information(norm), onehot_information(2, norm * math.sqrt(2))
    return PolarTask(task.name, norm, angle, from_union(0.0, i2, i12, i2), "quadrature, 1e-10")


def polar_task(name: str) -> PolarTask:
    """A task of the table ``POLAR_TASKS``, built now.

    Args:
        name: a key of ``POLAR_TASKS``.

    Returns:
        The task; its ``name`` is the key.

    Raises:
        ValueError: no such name.

    Example:
        >>> polar_task("polar_norm_1").norm
        1.0
    """
    _checks.require(name in POLAR_TASKS, f"no task is called {name!r}; the names are {', '.join(POLAR_TASKS)}")
    return POLAR_TASKS[name]()


# Factories, so that importing costs nothing.
POLAR_TASKS: dict[str, Callable[[], PolarTask]] = {
    f"polar_norm_{norm:g}": partial(polar_classes, norm) for norm in (1.0, 2.0)
}
