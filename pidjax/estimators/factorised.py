"""The fully factorised entropy model: a learned cumulative function for each column."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pidjax import _checks
from pidjax.estimators.base import Estimator, by_gradient
from pidjax.estimators.cells import (
    RECIPE,
    Read,
    Units,
    check_fields,
    check_grid,
    columns,
    default_optimiser,
    log_logistic_cell,
    symbols,
)
from pidjax.estimators.kernels import in_pieces
from pidjax.typing import Array, Key, Samples

__all__ = ["Layer", "cumulative", "factorised", "log_cells"]

_LEARNING_RATE = 1e-2
# Symbols on either side of the middle that are looked up in a table: 12 standard deviations at a step of a quarter.
_REACH = 48
# The slope of the logistic function that is closest to the normal one.
_SLOPE = 1.702


class Layer(NamedTuple):
    """``v -> g(softplus(matrix) v + bias)`` with ``g(v) = v + tanh(gate) tanh(v)``, for each column.

    Attributes:
        matrix: ``(outputs, inputs, d)``.
        bias: ``(outputs, d)``.
        gate: ``(outputs, d)``; None in the last layer, whose g is the identity.
    """

    matrix: Array
    bias: Array
    gate: Array | None


def cumulative(key: Key, columns: int, filters: Sequence[int], dtype: Any) -> list[Layer]:
    """The first layers: together about the logistic function closest to the standard normal one.

    Args:
        key: PRNG key of the biases.
        columns: how many functions.
        filters: widths of the hidden layers.
        dtype: of the parameters.

    Returns:
        The layers.

    Example:
        >>> [layer.matrix.shape for layer in cumulative(jax.random.key(0), 5, (3, 3), jnp.float32)]
        [(3, 1, 5), (3, 3, 5), (1, 3, 5)]
    """
    widths = (1, *filters, 1)
    slope = _SLOPE ** (1 / (len(widths) - 1))
    # One draw for all layers: each takes half a second to compile.
    biases = jax.random.uniform(key, (sum(widths[1:]), columns), dtype, -1, 1)
    layers = []
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        first = float(np.log(np.expm1(slope / inputs)))
        last = i == len(widths) - 2
        own = sum(widths[1 : i + 1])
        bias = biases[own : own + outputs]
        layers.append(
            Layer(
                jnp.full((outputs, inputs, columns), first, dtype),
                jnp.zeros_like(bias) if last else bias,
                None if last else jnp.zeros((outputs, columns), dtype),
            )
        )
    return layers


def log_cells(layers: list[Layer], z: Array, half: Array) -> Array:
    """``log(c(z + h) - c(z - h))`` of the cumulative functions c.

    The upper end goes through the layers, and with it its distance from the lower one, by
    ``tanh a - tanh b = tanh(a - b) (1 - tanh a tanh b)``: the distance keeps its digits wherever the cell is.

    Args:
        layers: of ``cumulative``, trained or not.
        z: middles of cells ``(n, d)``.
        half: half their width ``(d,)``.

    Returns:
        ``(n, d)`` nats.

    Example:
        >>> layers = cumulative(jax.random.key(0), 1, (3,), jnp.float32)
        >>> cells = log_cells(layers, jnp.arange(-60.0, 61.0)[:, None], jnp.array([0.5]))
        >>> print(jnp.exp(cells).sum().round(5))
        1.0
    """
    upper, width = (z + half[None])[None], jnp.broadcast_to(2 * half, z.shape)[None]
    for layer in layers:
        matrix = jax.nn.softplus(layer.matrix)
        through = lambda v, matrix=matrix: sum(matrix[:, j, None] * v[j][None] for j in range(matrix.shape[1]))
        upper, width = through(upper) + layer.bias[:, None], through(width)
        if layer.gate is not None:
            gate = jnp.tanh(layer.gate)[:, None]
            high, low = jnp.tanh(upper), jnp.tanh(upper - width)
            upper, width = upper + gate * high, width + gate * jnp.tanh(width) * (1 - high * low)
    return log_logistic_cell(upper[0], width[0])


def factorised(
    of: str | tuple[str, ...] = "x1",
    *,
    step: float = 0.25,
    units: Units = "standard",
    filters: Sequence[int] = (3, 3, 3),
    steps: int = RECIPE["steps"],
    tx: optax.GradientTransformation | None = None,
) -> Estimator:
    """Surprisals ``-log P(k)`` of quantised features whose columns are taken to be independent.

    ``P(k) = c(k + 1/2) - c(k - 1/2)`` for each column, with a learned cumulative function c; the probabilities of all
    whole numbers sum to one whatever is learned. Evaluated on fresh samples, the mean is the sum of the columns'
    entropies, plus the divergence of the fit: the entropy of the whole only if they are independent. It is trained on
    the symbols themselves. Codecs train it with uniform noise instead, which their transforms need for a gradient; here
    nothing comes before it, and the likelihood of the symbols is the very thing that is evaluated.

    Args:
        of: the field of ``Samples``, ``(n, ...)``, or several, side by side.
        step: width of a cell, in standard deviations of each column or in its own unit.
        units: ``"standard"`` or ``"raw"``, see ``grid``; whole numbers as they are: ``step=1.0, units="raw"``.
        filters: widths of the hidden layers of c.
        steps: updates of the fit, for the default optimiser.
        tx: the optimiser; None for Adam whose learning rate falls from 1e-2 to 0 along a cosine.

    Returns:
        An ``Estimator`` of surprisals ``(n,)``, nats, summed over columns; ``fit(..., **RECIPE)`` suits it.

    Raises:
        ValueError: unknown fields or settings, and at the first call samples that lack a field.
        TypeError: at the first call, whole numbers in standard units.

    Example:
        >>> from pidjax.estimators.fit import fit
        >>> x = jax.random.normal(jax.random.key(0), (20_000, 1))
        >>> estimator = factorised("x1", step=1.0, units="raw")
        >>> done = fit(estimator, jax.random.key(1), Samples(x1=x[:10_000]), **RECIPE)
        >>> surprisal = estimator.estimate(done.state, Samples(x1=x[10_000:]))
        >>> print(surprisal.shape, bool(abs(surprisal.mean() - 1.459) < 0.05))
        (10000,) True

    References:
        Ballé et al. 2018, arXiv 1802.01436, appendix 6.1: c. There in the unit of the latents, started ten units wide;
        here in standard deviations, started as wide as the samples are.
    """
    names, _ = check_fields(of, None)
    check_grid(step, units)
    _checks.require(
        len(filters) > 0 and min(filters) >= 1, f"filters is {filters}; expected widths, 1 or more: (3, 3, 3)"
    )

    def init(key: Key, samples: Samples) -> tuple[list[Layer], Read]:
        x = columns(samples, names, units)
        return cumulative(key, x.shape[1], filters, x.dtype), symbols(x, samples.weight, step, units)[1]

    def surprisal(layers: list[Layer], read: Read, samples: Samples) -> Array:
        each = lambda k: log_cells(layers, read.seen(k), 0.5 / read.seen.scale)
        k = read.grid(columns(samples, names, units))
        centre = jnp.round(read.seen.mean)[None]
        window = centre + jnp.arange(-_REACH, _REACH + 1, dtype=k.dtype)[:, None]
        directly = lambda: in_pieces(lambda k: -each(k).sum(1), 4 * max(filters) * k.shape[1], [k])
        if len(k) <= len(window):
            return directly()

        # Symbols repeat: where all are near, those there are take fewer evaluations than the samples. The table is made
        # before the branch: within it, XLA for CPUs would evaluate it anew for each symbol that is looked up.
        table, index = each(window), (k - window[:1]).astype(jnp.int32)
        looked_up = lambda: -jnp.take_along_axis(table, index, 0, mode="clip").sum(1)
        return jax.lax.cond((jnp.abs(k - centre) <= _REACH).all(), looked_up, jax.checkpoint(directly))

    return by_gradient(init, surprisal, default_optimiser(_LEARNING_RATE, steps) if tx is None else tx)
