"""Autoregressive entropy models of feature maps: each pixel given those above and to the left of it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pidjax import _checks
from pidjax.estimators.autoregressive import Mixtures, Read, first_mixtures, log_mixture, regression
from pidjax.estimators.base import Estimator, by_gradient
from pidjax.estimators.cells import (
    RECIPE,
    Units,
    check_fields,
    check_grid,
    default_optimiser,
    field,
    flat,
    floating,
    grid,
    spread,
)
from pidjax.estimators.kernels import in_pieces
from pidjax.estimators.whitening import whitening
from pidjax.typing import Array, Key, Samples

__all__ = ["masked_convolution"]

_LEARNING_RATE = 5e-3
# Of the linear part: rows up, columns left (negative: right).
_BEFORE = ((0, 1), (1, 0), (1, 1), (1, -1))
_SIZE = 3  # of all kernels


class Net(NamedTuple):
    """Kernels ``(3, 3, inputs, outputs)`` and biases; masks are not parameters. The last layer starts at zero."""

    into: Array
    given: Array | None
    bias: Array
    hidden: Array
    hidden_bias: Array
    out: Array


def _shifted(z: Array, up: int, left: int) -> Array:
    """The map whose pixel (i, j) is (i - up, j - left) of the map ``(n, h, w, c)``, zeros beyond the border."""
    height, width = z.shape[1:3]
    padded = jnp.pad(z, ((0, 0), (up, 0), (max(left, 0), max(-left, 0)), (0, 0)))
    return padded[:, :height, max(-left, 0) : max(-left, 0) + width]


def _neighbours(z: Array, c: Array | None) -> Array:
    """What the linear part sees of each pixel, then the pixel itself, ``(n, h, w, ...)``."""
    known = [] if c is None else [c]
    return jnp.concatenate([*known, *(_shifted(z, up, left) for up, left in _BEFORE), z], -1)


def _mask(inputs: np.ndarray, outputs: np.ndarray, strict: bool) -> np.ndarray:
    """Of a kernel: pixels before, and of the pixel itself the channels of lower degree, or (not strict) equal too."""
    mask = np.zeros((_SIZE, _SIZE, len(inputs), len(outputs)), np.float32)
    mask[0], mask[1, 0] = 1, 1
    mask[1, 1] = inputs[:, None] < outputs if strict else inputs[:, None] <= outputs
    return mask


def _convolved(x: Array, kernel: Array) -> Array:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _net(net: Net, z: Array, c: Array | None, channels: int) -> Array:
    """``(n, h, w, 3 channels components)``: what moves weights, centres and scales."""
    hidden, own = net.bias.shape[0], np.arange(channels)
    units = np.arange(hidden) * channels // hidden
    outputs = np.tile(np.repeat(own, net.out.shape[-1] // (3 * channels)), 3)
    bias = lambda b: b[None, None, None]
    first = _convolved(z, net.into * _mask(own, units, strict=True).astype(z.dtype)) + bias(net.bias)
    if net.given is not None and c is not None:
        first = first + _convolved(c, net.given)  # all of what is given is known
    first = jnp.tanh(first)
    across = net.hidden * _mask(units, units, strict=False).astype(z.dtype)
    second = first + jnp.tanh(_convolved(first, across) + bias(net.hidden_bias))
    return jnp.tensordot(second, net.out * (units[:, None] <= outputs).astype(z.dtype), 1)


def _first_net(key: Key, channels: int, known: int, hidden: int, outputs: int, dtype: Any) -> Net:
    keys = jax.random.split(key, 3)
    kernel = lambda key, inputs: (
        jax.random.normal(key, (_SIZE, _SIZE, inputs, hidden), dtype) / float(_SIZE * np.sqrt(inputs))
    )
    return Net(
        kernel(keys[0], channels), kernel(keys[1], known) if known else None, jnp.zeros(hidden, dtype),
        kernel(keys[2], hidden), jnp.zeros(hidden, dtype), jnp.zeros((hidden, outputs), dtype),
    )  # fmt: skip


def masked_convolution(
    of: str = "x1",
    *,
    given: str | None = None,
    step: float = 0.25,
    units: Units = "standard",
    components: int = 5,
    hidden: int = 24,
    steps: int = RECIPE["steps"],
    tx: optax.GradientTransformation | None = None,
) -> Estimator:
    """Surprisals ``-log P(k)`` of quantised feature maps, pixel by pixel, channel by channel.

    ``autoregressive`` with masked convolutions in the place of the masked network: one mixture for each channel,
    everywhere the same, around a linear prediction from four neighbours that come before; a network of two
    convolutions, silent at first, sees five by five pixels. With ``given`` another map of the same height and
    width is seen whole (three by three around each pixel): ``x2`` given ``x1``.

    Args:
        of: the field of ``Samples`` that is coded, ``(n, h, w, c)``.
        given: a map that is known, ``(n, h, w, c')``, not quantised; None for none.
        step: width of a cell, in standard deviations of each channel or in its own unit.
        units: ``"standard"`` or ``"raw"``, see ``grid``; whole numbers as they are: ``step=1.0, units="raw"``.
        components: of a mixture.
        hidden: channels of the network.
        steps: updates of the fit, for the default optimiser.
        tx: the optimiser; None for Adam whose learning rate falls from 5e-3 to 0 along a cosine.

    Returns:
        An ``Estimator`` of surprisals ``(n,)``, nats, summed over pixels and channels.

    Raises:
        ValueError: unknown fields or settings, and at the first call samples that lack a field or aren't maps.
        TypeError: at the first call, whole numbers in standard units.

    Example:
        >>> from pidjax.estimators.fit import fit
        >>> x = jnp.cumsum(jax.random.normal(jax.random.key(0), (400, 4, 4, 1)), 2)
        >>> estimator = masked_convolution("x1", step=1.0, units="raw")
        >>> done = fit(estimator, jax.random.key(1), Samples(x1=x), steps=100, batch_size=50)
        >>> nats = estimator.estimate(done.state, Samples(x1=x)).mean() / 16  # of steps whose noise has 1.459
        >>> bool(abs(nats - 1.459) < 0.2)
        True

    References:
        van den Oord et al. 2016, arXiv 1601.06759 (masked convolutions); Salimans et al. 2017, arXiv 1701.05517.
    """
    (name,), known = check_fields(of, given)
    check_grid(step, units)
    _checks.require(min(components, hidden) >= 1, f"components is {components}, hidden {hidden}; expected at least 1")

    def maps(samples: Samples, name: str, units: Units) -> Array:
        x = field(samples, name)
        _checks.require(x.ndim == 4, f"{name} has shape {x.shape}; expected feature maps (n, h, w, c)")
        return floating(x, name, units)

    def conditions(samples: Samples, x: Array) -> Array | None:
        if not known:
            return None
        c = maps(samples, known[0], "raw").astype(x.dtype)
        _checks.require(
            c.shape[:3] == x.shape[:3],
            f"{known[0]} has shape {c.shape}, {name} {x.shape}; expected maps of one height and width: resize one",
        )
        return c

    def init(key: Key, samples: Samples) -> tuple[dict[str, Any], Read]:
        x = maps(samples, name, units)
        weight, channels = samples.weight, x.shape[-1]
        own = grid(x, weight, step=step, units=units)
        rows = spread(weight, x)
        seen = whitening(flat(own(x)), rows, mode="columns")
        c = conditions(samples, x)
        condition = None if c is None else whitening(flat(c), rows, mode="columns")
        inputs = flat(_neighbours(_standard(seen, own(x)), None if condition is None else _standard(condition, c)))
        before = inputs.shape[1] - channels
        slope, unit = regression(inputs, rows, before)
        unit = jnp.sqrt(unit**2 + (0.1 / seen.scale) ** 2)
        residual = (inputs[:, before:] - inputs @ slope.T) / unit[None]
        params = {
            "mixtures": first_mixtures(residual, rows, components),
            "moves": jnp.zeros_like(slope),
            "net": _first_net(
                key, channels, 0 if c is None else c.shape[-1], hidden, 3 * channels * components, x.dtype
            ),
        }
        return params, Read(own, seen, condition, slope, unit)

    def surprisal(params: dict[str, Any], read: Read, samples: Samples) -> Array:
        channels = read.unit.shape[0]
        before = read.slope.shape[1] - channels
        slope = read.slope + 0.1 * jnp.tril(params["moves"], before - 1)

        def of_symbols(k: Array, *given: Array) -> Array:
            z = _standard(read.seen, k)
            c = _standard(read.condition, given[0]) if given else None
            moved = _net(params["net"], z, c, channels).reshape(*k.shape[:3], 3, channels, components)
            mixtures = Mixtures(*(leaf[None, None, None] + moved[..., i, :, :] for i, leaf in enumerate(own)))
            predicted = _neighbours(z, c) @ slope.T
            return -log_mixture(mixtures, predicted, read.unit, z, 0.5 / read.seen.scale).sum((1, 2, 3))

        own = params["mixtures"]
        x = maps(samples, name, units)
        c = conditions(samples, x)
        pixels = x.shape[1] * x.shape[2]
        numbers = pixels * (6 * channels * components + 2 * hidden)
        return in_pieces(of_symbols, numbers, [read.grid(x)] if c is None else [read.grid(x), c])

    return by_gradient(init, surprisal, default_optimiser(_LEARNING_RATE, steps) if tx is None else tx)


def _standard(seen: Any, x: Any) -> Array:
    """Of each channel of a map."""
    return seen(flat(x)).reshape(x.shape)
