"""Autoregressive entropy models: each symbol given those before it, as a mixture of discretised logistic functions."""

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
    log_logistic_cell,
    symbols,
)
from pidjax.estimators.kernels import in_pieces
from pidjax.estimators.whitening import Whitening, inverse_cholesky, ridge, share, whitening
from pidjax.typing import Array, Key, Samples

__all__ = ["Mixtures", "autoregressive", "first_mixtures", "log_mixture", "regression"]

_LEARNING_RATE = 5e-3
# The share of a component that nothing moves, as wide as the column: no sample can cost more than about 9 nats beyond
# what that costs, whatever a network says of inputs that it has not seen.
_BACKGROUND = 1e-4


class Mixtures(NamedTuple):
    """Of each column, the components around what the linear part predicts, in units of the residual.

    Attributes:
        log_weight: ``(d, m)``, up to a constant.
        centre: ``(d, m)``.
        log_scale: ``(d, m)``.
    """

    log_weight: Array
    centre: Array
    log_scale: Array


class Read(NamedTuple):
    """What ``init`` reads off the samples.

    Attributes:
        grid: from features to symbols.
        seen: standardises symbols.
        condition: standardises what is given; None for nothing.
        slope: ``(d, c + d)``, of each column on what is given and on the columns before it.
        unit: ``(d,)`` standard deviations of the residuals.
    """

    grid: Grid
    seen: Whitening
    condition: Whitening | None
    slope: Array
    unit: Array


class Net(NamedTuple):
    """Two hidden layers, the second beside a skip, and a last one that starts at zero; masks are not parameters."""

    into: Array
    bias: Array
    hidden: Array
    hidden_bias: Array
    out: Array


def regression(inputs: Array, weight: Any, known: int) -> tuple[Array, Array]:
    """Least squares of each standardised column on those before it, shrunk as much as there are columns for a sample.

    Args:
        inputs: ``(n, c + d)``, columns of mean 0.
        weight: of the samples, or None.
        known: c, the number of columns that are given.

    Returns:
        Slopes ``(d, c + d)``, zero from the own column on, and standard deviations ``(d,)`` of the residuals.

    Example:
        >>> x = jnp.array([[-1.0, -2.0], [1.0, 2.0], [-1.0, -2.0], [1.0, 2.0]])
        >>> slope, unit = regression(x, None, 1)
        >>> print([f"{value:.2f}" for value in slope[0]], unit.shape)
        ['1.33', '0.00'] (1,)
    """
    size = inputs.shape[1]
    mass = share(weight, inputs)
    covariance = (inputs * mass[:, None]).T @ inputs
    shrunk = covariance + (ridge(inputs) + size / len(inputs)) * jnp.eye(size, dtype=inputs.dtype)
    factor = inverse_cholesky(shrunk)[known:]
    own = jnp.diagonal(factor, offset=known)
    slope = jnp.tril(-factor / own[:, None], known - 1)
    residual = inputs[:, known:] - inputs @ slope.T
    return slope, jnp.sqrt(mass @ residual**2)


def first_mixtures(residual: Array, weight: Any, components: int) -> Mixtures:
    """Components at quantiles of the residuals, a third of their spread wide.

    Args:
        residual: ``(n, d)`` in units of their standard deviation.
        weight: of the samples, or None.
        components: m, how many.

    Returns:
        ``Mixtures`` of equal weights.

    Example:
        >>> print(first_mixtures(jnp.linspace(-1, 1, 101)[:, None], None, 2).centre.round(1))
        [[-0.5  0.5]]
    """
    # Read off cumulative shares on a mesh: a sort takes longer to compile than all else here.
    mass = share(weight, residual)
    mesh = jnp.linspace(-4, 4, 129, dtype=residual.dtype)
    below = jax.lax.map(lambda end: mass @ (residual <= end).astype(mass.dtype), mesh)
    levels = (jnp.arange(components, dtype=residual.dtype) + 0.5) / components
    centre = jax.vmap(lambda below: jnp.interp(levels, below, mesh))(below.T)
    return Mixtures(jnp.zeros_like(centre), centre, jnp.full_like(centre, float(np.log(0.3))))


def log_mixture(mixtures: Mixtures, predicted: Array, unit: Array, z: Array, half: Array) -> Array:
    """``log P`` of the cells of standardised symbols under mixtures whose centres lie around predictions.

    Args:
        mixtures: leaves that broadcast against ``(..., d, m)``.
        predicted: of each column given those before it, ``(..., d)``.
        unit: of centres and scales, ``(d,)``.
        z: middles of cells, ``(..., d)``.
        half: half their width, ``(d,)``.

    Returns:
        ``(..., d)`` nats.

    Example:
        >>> one = Mixtures(*jnp.zeros((3, 1, 1, 1)))
        >>> z = jnp.arange(-50.0, 51.0)[:, None]
        >>> print(jnp.exp(log_mixture(one, jnp.zeros_like(z), jnp.ones(1), z, jnp.full(1, 0.5))).sum().round(4))
        1.0
    """
    wide = (1,) * (z.ndim - 1)
    half = half.reshape(*wide, -1)
    end = ((z + half - predicted) / unit.reshape(*wide, -1))[..., None] - mixtures.centre
    inverse = jnp.exp(-mixtures.log_scale)
    width = inverse * (2 * half / unit.reshape(*wide, -1))[..., None]
    log_weight = jax.nn.log_softmax(mixtures.log_weight, axis=-1)
    inside = jax.nn.logsumexp(log_weight + log_logistic_cell(end * inverse, width), axis=-1)
    around = log_logistic_cell(z + half, jnp.broadcast_to(2 * half, z.shape))
    return jnp.logaddexp(inside + float(np.log1p(-_BACKGROUND)), around + float(np.log(_BACKGROUND)))


def _masks(known: int, size: int, hidden: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of MADE: inputs and units of degree g are seen by the columns from number g on."""
    inputs = np.concatenate([np.zeros(known, int), 1 + np.arange(size)])
    lowest = 0 if known else min(1, size - 1)
    units = lowest + np.arange(hidden) * (size - lowest) // hidden
    outputs = np.arange(size)
    masks = (inputs[:, None] <= units, units[:, None] <= units, units[:, None] <= outputs)
    return masks[0], masks[1], masks[2]


def _first_net(key: Key, known: int, size: int, hidden: int, outputs: int, dtype: Any) -> Net | None:
    """None where no column sees anything."""
    if known + size < 2:
        return None
    # One draw, of unit variance: each takes half a second to compile.
    draw = jax.random.uniform(key, (known + size + hidden, hidden), dtype, -1, 1) * float(np.sqrt(3))
    # What is given is heard less at first, so that it disturbs less of what is learned without it. Measured: of 16
    # columns and 4000 samples that share .28 nats, .24 are found at 1, .25 at .3 and .26 at .1; but a permutation of
    # symbols is learned too slowly below .5.
    heard = jnp.where(jnp.arange(known + size) < known, 0.5, 1.0).astype(dtype)
    return Net(
        draw[:-hidden] / float(np.sqrt(known + size)) * heard[:, None],
        jnp.zeros(hidden, dtype),
        draw[-hidden:] / float(np.sqrt(hidden)),
        jnp.zeros(hidden, dtype),
        jnp.zeros((hidden, size * outputs), dtype),
    )


def _net(net: Net, inputs: Array, known: int, size: int) -> Array:
    """``(n, 3 size components)``: for each column what moves its weights, its centres and its scales."""
    into, across, out = _masks(known, size, net.bias.shape[0])
    out = np.tile(np.repeat(out, net.out.shape[1] // (3 * size), 1), (1, 3))
    first = jnp.tanh(inputs @ (net.into * into) + net.bias[None])
    second = first + jnp.tanh(first @ (net.hidden * across) + net.hidden_bias[None])
    return second @ (net.out * out)


def autoregressive(
    of: str | tuple[str, ...] = "x1",
    *,
    given: str | tuple[str, ...] | None = None,
    classes: int | None = None,
    step: float = 0.25,
    units: Units = "standard",
    components: int = 8,
    hidden: int = 32,
    steps: int = RECIPE["steps"],
    tx: optax.GradientTransformation | None = None,
) -> Estimator:
    """Surprisals ``-log P(k)`` of quantised features, each column given those before it and, perhaps, other fields.

    ``P(k_j | k_<j, c) = sum_m w_m (sigma((k_j + 1/2 - mu_m) / s_m) - sigma((k_j - 1/2 - mu_m) / s_m))``: weights,
    centres and scales come from one masked network (MADE), silent at first, around a linear regression that is read
    off the samples; so is the first mixture of the residuals, and training only refines. Without the network and the
    slopes it is the model of the columns alone: what is given can be ignored, and independent data show no
    information but for noise. One ten-thousandth of the mass is spread as wide as the column.

    With ``of=("x1", "x2")`` the columns of x1 come first: the model of a pair.

    Args:
        of: the field of ``Samples`` that is coded, ``(n, ...)``, or several, side by side in this order.
        given: fields that are known, ``(n, ...)``, and not quantised; None for none.
        classes: number of labels of y, where it is among the given and integer; each label is then a column of
            its own. None takes y as a feature.
        step: width of a cell, in standard deviations of each column or in its own unit.
        units: ``"standard"`` or ``"raw"``, see ``grid``; whole numbers as they are: ``step=1.0, units="raw"``.
        components: of a mixture.
        hidden: width of the network.
        steps: updates of the fit, for the default optimiser.
        tx: the optimiser; None for Adam whose learning rate falls from 5e-3 to 0 along a cosine.

    Returns:
        An ``Estimator`` of surprisals ``(n,)``, nats; ``fit(..., **RECIPE)`` suits it.

    Raises:
        ValueError: unknown fields or settings, and at the first call samples that lack a field.
        TypeError: at the first call, whole numbers in standard units.

    Example:
        >>> from pidjax.estimators.fit import fit
        >>> x = jax.random.normal(jax.random.key(0), (6000, 1))
        >>> samples = Samples(x1=x, x2=x + 0.5 * jax.random.normal(jax.random.key(1), x.shape))
        >>> estimator = autoregressive("x2", given="x1", step=0.5, units="raw")
        >>> done = fit(estimator, jax.random.key(2), samples, **RECIPE)
        >>> print(f"{estimator.estimate(done.state, samples).mean():.1f}", "truth 1.5")
        1.5 truth 1.5

    References:
        Germain et al. 2015, arXiv 1502.03509 (MADE); Salimans et al. 2017, arXiv 1701.05517 (discretised logistic
        mixtures). The linear part and the first mixtures are not in them.
    """
    names, known = check_fields(of, given)
    check_grid(step, units)
    check_classes(classes, known)
    _checks.require(min(components, hidden) >= 1, f"components is {components}, hidden {hidden}; expected at least 1")

    def init(key: Key, samples: Samples) -> tuple[dict[str, Any], Read]:
        x, weight = columns(samples, names, units), samples.weight
        k, (own, seen) = symbols(x, weight, step, units)
        condition, c = None, conditions(samples, known, classes, x.dtype)
        if c is not None:
            condition = whitening(c, weight, mode="columns")
        inputs = _inputs(condition, c, seen(k))
        count = inputs.shape[1] - x.shape[1]
        slope, unit = regression(inputs, weight, count)
        # Where nothing is left, a tenth of a cell is.
        unit = jnp.sqrt(unit**2 + (0.1 / seen.scale) ** 2)
        residual = (inputs[:, count:] - inputs @ slope.T) / unit[None]
        params = {
            "mixtures": first_mixtures(residual, weight, components),
            "moves": jnp.zeros_like(slope),
            "net": _first_net(key, count, x.shape[1], hidden, 3 * components, x.dtype),
        }
        return params, Read(own, seen, condition, slope, unit)

    def surprisal(params: dict[str, Any], read: Read, samples: Samples) -> Array:
        size = read.unit.shape[0]
        count = read.slope.shape[1] - size
        # A tenth: one learning rate suits slopes and networks.
        slope = read.slope + 0.1 * jnp.tril(params["moves"], count - 1)

        def of_symbols(k: Array, *c: Array) -> Array:
            inputs = _inputs(read.condition, c[0] if c else None, read.seen(k))
            mixtures = jax.tree.map(lambda leaf: leaf[None], params["mixtures"])
            if params["net"] is not None:
                moved = _net(params["net"], inputs, count, size).reshape(len(k), 3, size, components)
                mixtures = Mixtures(*(leaf + moved[:, i] for i, leaf in enumerate(mixtures)))
            z = inputs[:, count:]
            return -log_mixture(mixtures, inputs @ slope.T, read.unit, z, 0.5 / read.seen.scale).sum(1)

        k = read.grid(columns(samples, names, units))
        c = conditions(samples, known, classes, k.dtype)
        return in_pieces(of_symbols, 6 * size * components + 2 * hidden, [k] if c is None else [k, c])

    return by_gradient(init, surprisal, default_optimiser(_LEARNING_RATE, steps) if tx is None else tx)


def _inputs(condition: Whitening | None, c: Array | None, z: Array) -> Array:
    """What is given, and what is coded after it, side by side."""
    return z if condition is None or c is None else jnp.concatenate([condition(c), z], 1)


def check_classes(classes: int | None, known: tuple[str, ...]) -> None:
    """Labels can only be given."""
    _checks.require(
        classes is None or ("y" in known and classes >= 1),
        f"classes is {classes}, given {known}; expected the number of labels of y, which is then among the given",
    )


def conditions(samples: Samples, known: tuple[str, ...], classes: int | None, dtype: Any) -> Array | None:
    """What is given, side by side ``(n, c)``; labels as columns of zeros and ones."""
    parts = []
    for name in known:
        x = field(samples, name)
        if name == "y" and classes is not None:
            _checks.require(
                x.ndim == 1 and jnp.issubdtype(x.dtype, jnp.integer),
                f"y has shape {x.shape} and dtype {x.dtype}; expected integer labels (n,), since classes are given",
                TypeError,
            )
            x = jax.nn.one_hot(x, classes, dtype=dtype)
        parts.append(x.reshape(x.shape[0], -1).astype(dtype))
    return jnp.concatenate(parts, 1) if parts else None
