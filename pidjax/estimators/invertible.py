"""Invertible transforms of whole numbers before a factorised model: what InfoMeter's paper calls learnable."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pidjax import _checks
from pidjax.estimators.base import Estimator, by_gradient
from pidjax.estimators.cells import (
    RECIPE,
    Grid,
    Units,
    check_fields,
    check_grid,
    columns,
    default_optimiser,
    field,
    straight_through,
    symbols,
)
from pidjax.estimators.factorised import cumulative, log_cells
from pidjax.estimators.kernels import in_pieces
from pidjax.estimators.whitening import Whitening, ridge, share, whitening
from pidjax.typing import Array, Key, Samples

__all__ = ["Coupling", "coupled", "invertible", "uncoupled"]

_LEARNING_RATE = 1e-2
# Couplings move slower than the rest: the noise of their training must stay below half a cell.
_PACE, _NETWORK_PACE = 0.01, 0.03
# Moves are rounded up from .1 on and down from -.9 on. Were both as far, bits would stay where they are: their density
# pulls 0 up and 1 down as hard, both cross at once, and are pulled back.
_OFFSET = 0.4


class Coupling(NamedTuple):
    """``k + round(m(k) + .4)`` with m of some columns, added to the others: ``m = linear + network``.

    Attributes:
        slope: ``(d, d)``, inputs to outputs, in hundredths: symbols to symbols.
        into: ``(d, hidden)``, of standardised symbols.
        bias: ``(hidden,)``.
        out: ``(hidden, d)``, in three hundredths of standard deviations.
    """

    slope: Array
    into: Array
    bias: Array
    out: Array


class Read(NamedTuple):
    """What ``init`` reads off the samples: the grid, what standardises symbols, and symbols that were transformed."""

    grid: Grid
    seen: Whitening
    after: Whitening


def sides(sizes: Sequence[int], couplings: int) -> list[np.ndarray]:
    """For each coupling which columns move the others: modalities in turn, then even and odd columns in turn.

    One field is cut into halves. Of one column there is nothing to couple, and two have two sides.
    """
    d = sum(sizes)
    if d < 2:
        return []
    first = np.arange(d) < (sizes[0] if len(sizes) > 1 else d // 2)
    even = np.arange(d) % 2 == 0
    turn = [first, ~first, even, ~even]
    return [turn[i % 4] for i in range(min(couplings, 2) if d == 2 else couplings)]


def _move(coupling: Coupling, moving: np.ndarray, seen: Whitening, k: Array) -> Array:
    """What is added to each column; whole numbers, 0 for those that move the others."""
    inputs = jnp.where(moving[None], k - seen.mean[None], 0)
    hidden = jnp.tanh((inputs / seen.scale[None]) @ coupling.into + coupling.bias[None])
    move = _PACE * (inputs @ coupling.slope) + _NETWORK_PACE * (hidden @ coupling.out) * seen.scale[None]
    return straight_through(jnp.where(moving[None], 0, move + _OFFSET))


def coupled(couplings: Sequence[Coupling], moving: Sequence[np.ndarray], seen: Whitening, k: Array) -> Array:
    """Whole numbers ``(n, d)`` through the couplings: a bijection of all whole numbers.

    Args:
        couplings: one after the other.
        moving: of each the columns ``(d,)`` that move the others.
        seen: standardises symbols.
        k: whole numbers.

    Returns:
        Whole numbers of the same shape; ``uncoupled`` gives back k, exactly, while they are below 2^24 (float32).

    Example:
        >>> one = Coupling(jnp.array([[0.0, 130.0], [0.0, 0.0]]), jnp.zeros((2, 1)), jnp.zeros(1), jnp.zeros((1, 2)))
        >>> seen, moving = Whitening(jnp.zeros(2), jnp.ones(2), None), [np.array([True, False])]
        >>> there = coupled([one], moving, seen, jnp.array([[3.0, 5.0]]))
        >>> print(there, uncoupled([one], moving, seen, there))
        [[3. 9.]] [[3. 5.]]
    """
    for coupling, own in zip(couplings, moving, strict=True):
        k = k + _move(coupling, own, seen, k)
    return k


def uncoupled(couplings: Sequence[Coupling], moving: Sequence[np.ndarray], seen: Whitening, k: Array) -> Array:
    """The inverse of ``coupled``.

    Args:
        couplings: as there.
        moving: as there.
        seen: as there.
        k: what ``coupled`` returned.

    Returns:
        The whole numbers that went in.

    Example:
        >>> print(uncoupled([], [], None, jnp.array([[3.0, 9.0]])))
        [[3. 9.]]
    """
    for coupling, own in zip(reversed(couplings), reversed(moving), strict=True):
        k = k - _move(coupling, own, seen, k)
    return k


def _least_squares(k: Array, weight: Any, seen: Whitening, moving: np.ndarray) -> Array:
    """Slopes ``(d, d)`` that take from each column what those that move it say of it, linearly."""
    z = (k - seen.mean[None]) / seen.scale[None]
    inputs = jnp.where(moving[None], z, 0)
    mass = share(weight, z)[:, None]
    size = z.shape[1]
    gram = (inputs * mass).T @ inputs + (ridge(z) + size / len(z)) * jnp.eye(size, dtype=z.dtype)
    slope = jnp.linalg.solve(gram, (inputs * mass).T @ jnp.where(moving[None], 0, z - (mass.T @ z)))
    return -slope / _PACE / seen.scale[:, None] * seen.scale[None]


def invertible(
    of: str | tuple[str, ...] = ("x1", "x2"),
    *,
    step: float = 0.25,
    units: Units = "standard",
    couplings: int = 4,
    hidden: int = 32,
    filters: Sequence[int] = (3, 3, 3),
    steps: int = RECIPE["steps"],
    tx: optax.GradientTransformation | None = None,
) -> Estimator:
    """Surprisals ``-log P(k)`` by a learned bijection of whole numbers and a factorised model of what comes out.

    ``b' = b + round(m(a) + .4)`` and so on, with m a linear map, first by least squares, and a network that starts at
    zero; gradients go straight through the rounding. A bijection of symbols has their entropy, exactly, whereas a
    real-valued transform changes it. The couplings of a pair are, in turn, from x1 to x2, from x2 to x1, from even to
    odd columns and back. One column is left as it is: that is ``factorised``.

    What rounding leaves is the model's limit: the mean of ``y + round(m(x))`` given x still moves by up to half a
    cell, which costs about ``1 / (24 s^2)`` nats a column of standard deviation s cells given the other: .014 for
    correlation .9 at a quarter of a standard deviation. The information of the pair is underestimated by that. Nor does
    training always find the best of all whole moves: of the log 2 that a bit shares with the XOR of two others it finds
    .5 to .6.

    Args:
        of: the field of ``Samples``, ``(n, ...)``, or several, side by side.
        step: width of a cell, in standard deviations of each column or in its own unit.
        units: ``"standard"`` or ``"raw"``, see ``grid``; whole numbers as they are: ``step=1.0, units="raw"``.
        couplings: how many; two at least, so that each side moves the other. Two columns have two.
        hidden: width of each network.
        filters: of the cumulative functions, see ``factorised``.
        steps: updates of the fit, for the default optimiser.
        tx: the optimiser; None for Adam whose learning rate falls from 1e-2 to 0 along a cosine.

    Returns:
        An ``Estimator`` of surprisals ``(n,)``, nats; ``fit(..., **RECIPE)`` suits it.

    Raises:
        ValueError: unknown fields or settings, and at the first call samples that lack a field.
        TypeError: at the first call, whole numbers in standard units.

    Example:
        >>> from pidjax.estimators.fit import fit
        >>> x = jax.random.normal(jax.random.key(0), (6000, 1))
        >>> samples = Samples(x1=x, x2=x + jax.random.normal(jax.random.key(1), x.shape))
        >>> estimator = invertible(step=0.5, units="raw")
        >>> done = fit(estimator, jax.random.key(2), samples, **RECIPE)
        >>> bool(abs(estimator.estimate(done.state, samples).mean() - 4.22) < 0.1)  # the entropy of the pair
        True

    References:
        Hoogeboom et al. 2019, arXiv 1905.07376 (couplings of whole numbers). InfoMeter, arXiv 2405.12456, asks for an
        invertible transform before its entropy model; which one it takes could not be established.
    """
    names, _ = check_fields(of, None)
    check_grid(step, units)
    _checks.require(
        couplings >= 2 and hidden >= 1,
        f"couplings is {couplings}, hidden {hidden}; expected 2 couplings or more, which cross between the modalities",
    )

    def moving(samples: Samples) -> list[np.ndarray]:
        return sides([int(np.prod(field(samples, name).shape[1:])) for name in names], couplings)

    def init(key: Key, samples: Samples) -> tuple[dict[str, Any], Read]:
        x, weight = columns(samples, names, units), samples.weight
        k, (own, seen) = symbols(x, weight, step, units)
        size = x.shape[1]
        parts: list[Coupling] = []
        turns = moving(samples)
        unit = float(np.sqrt(3 / size))
        draws = jax.random.uniform(jax.random.fold_in(key, 0), (len(turns), size, hidden), k.dtype, -unit, unit)
        for side, into in zip(turns, draws, strict=True):
            silent = Coupling(
                _least_squares(k, weight, seen, side), into, jnp.zeros(hidden, k.dtype),
                jnp.zeros((hidden, size), k.dtype),
            )  # fmt: skip
            k = coupled([silent], [side], seen, k)
            parts.append(silent)
        layers = cumulative(jax.random.fold_in(key, 1), size, filters, k.dtype)
        return {"couplings": parts, "layers": layers}, Read(own, seen, whitening(k, weight, mode="columns"))

    def surprisal(params: dict[str, Any], read: Read, samples: Samples) -> Array:
        turns = moving(samples)

        def of_symbols(k: Array) -> Array:
            out = coupled(params["couplings"], turns, read.seen, k)
            return -log_cells(params["layers"], read.after(out), 0.5 / read.after.scale).sum(1)

        k = read.grid(columns(samples, names, units))
        return in_pieces(of_symbols, (4 * max(filters) + 4) * k.shape[1] + hidden, [k])

    return by_gradient(init, surprisal, default_optimiser(_LEARNING_RATE, steps) if tx is None else tx)
