"""The hyperprior: a normal model whose means and scales are side information, which is paid for."""

from typing import Any

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
    log_normal_cell,
    symbols,
)
from pidjax.estimators.factorised import cumulative, log_cells
from pidjax.estimators.kernels import in_pieces
from pidjax.typing import Array, Key, Samples

__all__ = ["hyperprior"]

_LEARNING_RATE = 5e-3
# Standard deviation of a hyperlatent at the start, in cells: all are rounded to 0 and cost nothing, until training
# finds what pays.
_SPREAD = 0.1


def _first(key: Key, inputs: int, hidden: int, outputs: int, scale: float, dtype: Any) -> tuple[Array, ...]:
    one, two = jax.random.split(key)
    return (
        jax.random.normal(one, (inputs, hidden), dtype) / float(np.sqrt(inputs)),
        jnp.zeros(hidden, dtype),
        jax.random.normal(two, (hidden, outputs), dtype) * (scale / float(np.sqrt(hidden))),
        jnp.zeros(outputs, dtype),
    )


def _net(params: tuple[Array, ...], x: Array) -> Array:
    into, bias, out, last = params
    return jnp.tanh(x @ into + bias[None]) @ out + last[None]


def hyperprior(
    of: str | tuple[str, ...] = "x1",
    *,
    means: bool = True,
    latents: int = 2,
    step: float = 0.25,
    units: Units = "standard",
    hidden: int = 32,
    steps: int = RECIPE["steps"],
    tx: optax.GradientTransformation | None = None,
) -> Estimator:
    """Rates ``-log P(k | z) - log P(z)`` of quantised features, whose columns are normal given hyperlatents z.

    ``P(k|z) = Phi((k + 1/2 - mu) / sigma) - Phi((k - 1/2 - mu) / sigma)`` with mu and sigma made from z, and a
    factorised model of z. ``z = round(h(k))`` is made from the symbols, not from the features, so it is a function of
    them and ``H(k, z) = H(k)``: the mean rate is an upper bound on the entropy of k, which side information that
    says more than it costs makes tight. The grid stays where it is: codecs move it with mu, and code something else.

    It finds what columns share only as far as a few hyperlatents tell it. For informations prefer
    ``autoregressive``; if not, give marginals and joint the same number of latents.

    Args:
        of: the field of ``Samples``, ``(n, ...)``, or several, side by side.
        means: False for the scale hyperprior, whose mu is one number for each column.
        latents: numbers in z.
        step: width of a cell, in standard deviations of each column or in its own unit.
        units: ``"standard"`` or ``"raw"``, see ``grid``; whole numbers as they are: ``step=1.0, units="raw"``.
        hidden: width of the two networks.
        steps: updates of the fit, for the default optimiser.
        tx: the optimiser; None for Adam whose learning rate falls from 5e-3 to 0 along a cosine.

    Returns:
        An ``Estimator`` of rates ``(n,)``, nats; ``fit(..., **RECIPE)`` suits it.

    Raises:
        ValueError: unknown fields or settings, and at the first call samples that lack a field.
        TypeError: at the first call, whole numbers in standard units.

    Example:
        >>> from pidjax.estimators.fit import fit
        >>> x = jax.random.normal(jax.random.key(0), (6000, 1))
        >>> estimator = hyperprior("x1", step=1.0, units="raw")
        >>> done = fit(estimator, jax.random.key(1), Samples(x1=x), **RECIPE)
        >>> print(f"{estimator.estimate(done.state, Samples(x1=x)).mean():.1f}", "truth 1.5")
        1.5 truth 1.5

    References:
        Ballé et al. 2018, arXiv 1802.01436 (scales); Minnen et al. 2018, arXiv 1809.02736 (means). There the latents
        see features that are not quantised, which costs ``H(z|k)``, and likelihoods have a floor.
    """
    names, _ = check_fields(of, None)
    check_grid(step, units)
    _checks.require(min(latents, hidden) >= 1, f"latents is {latents}, hidden {hidden}; expected at least 1")

    def init(key: Key, samples: Samples) -> tuple[dict[str, Any], Read]:
        x = columns(samples, names, units)
        size, keys = x.shape[1], jax.random.split(key, 3)
        params = {
            "analysis": _first(keys[0], size, hidden, latents, _SPREAD, x.dtype),
            "synthesis": _first(keys[1], latents, hidden, 2 * size, 0.0, x.dtype),
            "layers": cumulative(keys[2], latents, (3, 3, 3), x.dtype),
        }
        return params, symbols(x, samples.weight, step, units)[1]

    def rate(params: dict[str, Any], read: Read, samples: Samples, key: Key | None = None) -> Array:
        def of_symbols(k: Array) -> Array:
            z = read.seen(k)
            latent = _net(params["analysis"], z)
            if key is None:
                latent = jnp.round(latent)
            else:
                latent = latent + jax.random.uniform(key, latent.shape, latent.dtype, -0.5, 0.5)
            mean, log_scale = jnp.split(_net(params["synthesis"], latent), 2, axis=1)
            if not means:
                mean = params["synthesis"][-1][None, : z.shape[1]]
            inverse = jnp.exp(-log_scale)
            cells = log_normal_cell((z - mean) * inverse, 0.5 / read.seen.scale[None] * inverse).sum(1)
            side = log_cells(params["layers"], latent, jnp.full(latents, 0.5, z.dtype)).sum(1)
            return -(cells + side)

        k = read.grid(columns(samples, names, units))
        return in_pieces(of_symbols, 8 * k.shape[1] + 2 * hidden + 12 * latents, [k])

    optimiser = default_optimiser(_LEARNING_RATE, steps) if tx is None else tx

    def update(key: Key, state: Any, samples: Samples) -> tuple[Any, Any]:
        noisy = by_gradient(init, lambda params, read, samples: rate(params, read, samples, key), optimiser)
        return noisy.update(key, state, samples)

    return by_gradient(init, rate, optimiser)._replace(update=update)
