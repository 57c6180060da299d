"""Continuous targets with a known decomposition: linear Gaussian channels, and monotone distortions of them.

Truths are formulas of one line each, none of which solves an eigenproblem: where one source is a garbling of the
other, or where both channels are diagonal in one basis, direction by direction.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from pidjax import _checks
from pidjax.pid import PID, from_union
from pidjax.typing import Array, Key, Samples

__all__ = [
    "DISTORTIONS",
    "LINEAR_TASKS",
    "LinearTask",
    "correlated_noises",
    "diagonal_channels",
    "distorted",
    "doubled",
    "flow_showcase",
    "gaussian_chain",
    "linear_task",
]

# What may be done to a coordinate: monotone, so that no information changes.
DISTORTIONS: dict[str, Callable[[Array], Array]] = {
    "none": lambda x: x,
    "cube": lambda x: x**3,
    "cube_root": jnp.cbrt,
}


@dataclass(frozen=True, eq=False)  # compared by identity, so that a bound method can be jitted
class LinearTask:
    """Jointly Gaussian x1, x2 and y, then each coordinate distorted, in a turned basis or as it is.

    Attributes:
        name: what reports call it.
        cov: covariance of x1, x2 and y before the distortion, ``(d1 + d2 + dy, d1 + d2 + dy)``.
        dims: ``(d1, d2, dy)``.
        distortions: keys of ``DISTORTIONS``, for x1, x2 and y.
        turns: orthogonal matrices, one for each variable; a distortion f becomes ``Q f(Q' x)``, which mixes the
            coordinates; None leaves them apart.
        truth: decomposition of I(X1,X2;Y), Python floats, nats; None when unknown.
        source: how the truth is known, and how well.

    Raises:
        ValueError: a covariance, distortions or turns that don't fit.

    Example:
        >>> task = linear_task("chain")
        >>> samples = task.sample(jax.random.key(0), 1000)
        >>> samples.x1.shape, samples.y.shape, round(task.truth.unique1, 4), task.source
        ((1000, 3), (1000, 2), 0.4249, 'closed form')
    """

    name: str
    cov: np.ndarray = field(repr=False)
    dims: tuple[int, int, int]
    distortions: tuple[str, str, str] = ("none", "none", "none")
    turns: tuple[np.ndarray, np.ndarray, np.ndarray] | None = field(default=None, repr=False)
    truth: PID | None = None
    source: str = "unknown"

    def __post_init__(self) -> None:
        size = sum(self.dims)
        _checks.require(
            len(self.dims) == 3 and self.cov.shape == (size, size) and bool((np.linalg.eigvalsh(self.cov) > 0).all()),
            f"cov has shape {self.cov.shape}; expected {(size, size)} for dims {self.dims}, positive definite",
        )
        _checks.require(
            len(self.distortions) == 3 and set(self.distortions) <= set(DISTORTIONS),
            f"distortions are {self.distortions}; expected three of {', '.join(DISTORTIONS)}",
        )
        shapes = None if self.turns is None else tuple(turn.shape for turn in self.turns)
        _checks.require(
            shapes in (None, tuple((d, d) for d in self.dims)),
            f"turns have shapes {shapes}; expected one square matrix for each of {self.dims} coordinates",
        )

    def sample(self, key: Key, n: int) -> Samples:
        """Independent draws.

        Pure in the key; works under jit (``n`` static) and vmap.

        Args:
            key: random key.
            n: number of samples.

        Returns:
            ``Samples`` of x1 ``(n, d1)``, x2 ``(n, d2)`` and y ``(n, dy)``, all floating.

        Raises:
            ValueError: n below one.

        Example:
            >>> linear_task("showcase").sample(jax.random.key(0), 5).x1.shape
            (5, 16)
        """
        _checks.require(n >= 1, f"n is {n}; expected one sample or more")
        z = jax.random.normal(key, (n, sum(self.dims)))
        z = z @ jnp.asarray(np.linalg.cholesky(self.cov).T, z.dtype)
        d1, d2, _ = self.dims
        parts = []
        for i, x in enumerate((z[:, :d1], z[:, d1 : d1 + d2], z[:, d1 + d2 :])):
            turn = jnp.eye(x.shape[1], dtype=z.dtype) if self.turns is None else jnp.asarray(self.turns[i], z.dtype)
            parts.append(DISTORTIONS[self.distortions[i]](x @ turn) @ turn.T)
        return Samples(*parts)


def diagonal_channels(gains1: tuple[float, ...], gains2: tuple[float, ...], *, seed: int = 0) -> LinearTask:
    """Each modality sees every direction of y with a gain of its own and unit noise, all three in turned bases.

    ``U1 = sum_k 1/2 (log (1 + a_k^2) / (1 + b_k^2))^+``: independent systems of one dimension, side by side.

    Args:
        gains1: gain of x1 in each direction, a above.
        gains2: gain of x2, b above; as many.
        seed: of the bases.

    Returns:
        A task with as many columns for each variable as there are gains.

    Raises:
        ValueError: not as many gains.

    Example:
        >>> truth = diagonal_channels((2.0, 0.0), (1.0, 1.0)).truth
        >>> [round(atom, 6) for atom in (truth.redundancy, truth.unique1, truth.unique2, truth.synergy)]
        [0.346574, 0.458145, 0.346574, 0.091161]

    References:
        Barrett 2015 (one dimension); Bertschinger et al. 2014 (additivity).
    """
    d = len(gains1)
    _checks.require(d == len(gains2) >= 1, f"there are {d} and {len(gains2)} gains; expected as many")
    first, second, own = _turns(seed, (d, d, d))
    h = np.concatenate([first @ np.diag(gains1) @ own.T, second @ np.diag(gains2) @ own.T])
    a, b = (np.square(np.array(gains, float)) for gains in (gains1, gains2))
    i1, i2, i12, union = (float(np.log1p(info).sum() / 2) for info in (a, b, a + b, np.maximum(a, b)))
    name = f"diagonal_{'_'.join(f'{g:g}' for g in (*gains1, *gains2))}"
    return LinearTask(name, _covariance(h), (d, d, d), truth=from_union(i1, i2, i12, union), source="closed form")


def correlated_noises(correlation1: float, correlation2: float, correlation12: float) -> LinearTask:
    """One dimension for each variable, with the three correlations given: Barrett's grid.

    ``I_i = -1/2 log(1 - rho_i^2)``, the redundancy is the lesser of the two, and
    ``I12 = 1/2 log((1 - rho_12^2) / det)`` with the determinant of all correlations.

    Args:
        correlation1: of x1 with y.
        correlation2: of x2 with y.
        correlation12: of x1 with x2.

    Returns:
        A task with one column for each variable.

    Raises:
        ValueError: correlations that no three variables have.

    Example:
        >>> truth = correlated_noises(0.5, 0.5, -0.4).truth
        >>> round(truth.redundancy, 6), round(truth.unique1, 6), round(truth.synergy, 6)
        (0.143841, 0.0, 0.752039)

    References:
        Barrett 2015, "Exploration of synergistic and redundant information sharing in static and dynamical Gaussian
        systems", section III.
    """
    a, b, c = correlation1, correlation2, correlation12
    cov = np.array([[1.0, c, a], [c, 1.0, b], [a, b, 1.0]])
    determinant = 1 - a * a - b * b - c * c + 2 * a * b * c
    _checks.require(
        max(abs(a), abs(b), abs(c)) < 1 and determinant > 0,
        f"correlations are {(a, b, c)}; expected those of three variables: their determinant is {determinant:.3g}",
    )
    i1, i2 = -math.log1p(-a * a) / 2, -math.log1p(-b * b) / 2
    i12 = math.log((1 - c * c) / determinant) / 2
    truth = from_union(i1, i2, i12, max(i1, i2))
    return LinearTask(f"barrett_{a:g}_{b:g}_{c:g}", cov, (1, 1, 1), truth=truth, source="closed form")


def gaussian_chain(gain: float = 1.5, *, seed: int = 0) -> LinearTask:
    """``y -> x1 -> x2``: x2 is x1 through a matrix and more noise, so it adds nothing, alone or together.

    x1 sees both directions of y with the same gain and one more column of noise; x2 is two columns of x1 turned, with
    unit noise more, so ``R = I2 = log(1 + gain^2 / 2)``, ``R + U1 = log(1 + gain^2)``.

    Args:
        gain: of x1 in each of two directions.
        seed: of the bases.

    Returns:
        A task with 3, 2 and 2 columns.

    Example:
        >>> truth = gaussian_chain(1.5).truth
        >>> [round(atom, 6) for atom in (truth.redundancy, truth.unique1, truth.unique2, truth.synergy)]
        [0.753772, 0.424883, 0.0, 0.0]
    """
    first, second, own = _turns(seed, (3, 2, 2))
    h = first @ np.eye(3, 2) * gain @ own.T
    through = second @ np.eye(2, 3) @ first.T
    x1 = h @ h.T + np.eye(3)
    cross = x1 @ through.T
    x2 = through @ cross + np.eye(2)
    cov = np.block([[x1, cross, h], [cross.T, x2, through @ h], [h.T, h.T @ through.T, np.eye(2)]])
    i1, i2 = math.log1p(gain**2), math.log1p(gain**2 / 2)
    return LinearTask("chain", cov, (3, 2, 2), truth=from_union(i1, i2, i1, i1), source="closed form")


def flow_showcase() -> LinearTask:
    """The published system of 16 + 16 columns and a target of two, with unit noise; then y -> its cube root.

    x1 is cubed, of x2 and y the cube roots are taken. The truth is printed in the publication, to seven digits (bits).

    Returns:
        A task with 16, 16 and 2 columns.

    Example:
        >>> task = flow_showcase()
        >>> round(task.truth.total / math.log(2), 4), task.distortions
        (5.2002, ('cube', 'cube_root', 'cube_root'))

    References:
        arXiv 2510.04417, the showcase of Flow-PID.
    """
    rng = np.random.RandomState(0)  # as published
    cov = _covariance(np.concatenate([rng.randn(16, 2), rng.randn(16, 2)]))
    scale = np.sqrt(np.diag(cov))
    r, u1, u2, s = (math.log(2) * atom for atom in (3.8191348, 0.5473780, 0.1799183, 0.6537220))
    truth = from_union(r + u1, r + u2, r + u1 + u2 + s, r + u1 + u2)
    source = "published (Tilde-PID), 1e-7"
    distortions = ("cube", "cube_root", "cube_root")
    return LinearTask("showcase", cov / np.outer(scale, scale), (16, 16, 2), distortions, truth=truth, source=source)


def distorted(task: LinearTask, *distortions: str, turn: bool = False, seed: int = 1) -> LinearTask:
    """The same variables seen through monotone maps: the same truth.

    Args:
        task: a task.
        distortions: three keys of ``DISTORTIONS``, for x1, x2 and y.
        turn: distort in a turned basis, so that the maps mix coordinates and no map of single ones undoes them.
        seed: of the bases.

    Returns:
        A task of the same dimensions.

    Raises:
        ValueError: not three distortions.

    Example:
        >>> distorted(linear_task("chain"), "cube", "cube", "none", turn=True).name
        'chain_cube_cube_none_turned'
    """
    _checks.require(len(distortions) == 3, f"there are {len(distortions)} distortions; expected three")
    name = "_".join((task.name, *distortions, *(["turned"] if turn else [])))
    first, second, last = distortions
    turns = _turns(seed, task.dims) if turn else None
    return replace(task, name=name, distortions=(first, second, last), turns=turns)


def doubled(task: LinearTask, *, seed: int = 2) -> LinearTask:
    """Two independent copies side by side, every variable turned: every atom is twice as large.

    Args:
        task: a task; its distortions are dropped.
        seed: of the bases.

    Returns:
        A task with twice the columns.

    Example:
        >>> task = doubled(linear_task("chain"))
        >>> task.dims, round(task.truth.redundancy, 4)
        ((6, 4, 4), 1.5075)
    """
    d1, d2, dy = task.dims
    starts = np.cumsum([0, d1, d2, dy])
    twice = np.kron(np.eye(2), task.cov)
    order = np.concatenate([np.r_[a:b, a + starts[3] : b + starts[3]] for a, b in itertools.pairwise(starts)])
    turn = np.zeros_like(twice)
    for start, q in zip(2 * starts[:3], _turns(seed, (2 * d1, 2 * d2, 2 * dy)), strict=True):
        turn[start : start + len(q), start : start + len(q)] = q
    cov = turn @ twice[np.ix_(order, order)] @ turn.T
    truth = jax.tree.map(lambda atom: 2 * atom, task.truth)
    return LinearTask(f"{task.name}_doubled", cov, (2 * d1, 2 * d2, 2 * dy), truth=truth, source=task.source)


def linear_task(name: str) -> LinearTask:
    """A task of the table ``LINEAR_TASKS``, built now.

    Args:
        name: a key of ``LINEAR_TASKS``.

    Returns:
        The task; its ``name`` is the key.

    Raises:
        ValueError: no such name.

    Example:
        >>> linear_task("barrett_0.5_0.5_0").dims
        (1, 1, 1)
    """
    _checks.require(name in LINEAR_TASKS, f"no task is called {name!r}; the names are {', '.join(LINEAR_TASKS)}")
    return replace(LINEAR_TASKS[name](), name=name)


def _covariance(h: np.ndarray) -> np.ndarray:
    """Of x and y with x = h y + unit noise and y white."""
    return np.block([[h @ h.T + np.eye(len(h)), h], [h.T, np.eye(h.shape[1])]])


def _turns(seed: int, dims: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Orthogonal matrices."""
    rng = np.random.default_rng(seed)
    first, second, last = (np.linalg.qr(rng.normal(size=(d, d)))[0] for d in dims)
    return first, second, last


_crossed = partial(diagonal_channels, (2.0, 0.5, 1.0), (0.5, 2.0, 1.0))

# Factories, so that importing costs nothing.
LINEAR_TASKS: dict[str, Callable[[], LinearTask]] = {
    "chain": gaussian_chain,
    "chain_doubled": lambda: doubled(gaussian_chain()),
    "chain_cubes": lambda: distorted(gaussian_chain(), "cube", "cube_root", "cube"),
    **{f"barrett_{a:g}_{b:g}_{c:g}": partial(correlated_noises, a, b, c)
       for a in (0.2, 0.5, 0.6) for b in (0.5,) for c in (-0.3, 0.0, 0.4)},
    **{f"gain_{g:g}": partial(diagonal_channels, (g, 1.0), (1.0, 1.0)) for g in (0.0, 0.5, 2.0, 4.0)},
    "crossed": _crossed,
    "crossed_doubled": lambda: doubled(_crossed()),
    "crossed_cubes": lambda: distorted(_crossed(), "cube", "cube_root", "cube_root"),
    "showcase": flow_showcase,
    "showcase_turned": lambda: distorted(flow_showcase(), "cube", "cube_root", "cube_root", turn=True),
}  # fmt: skip
