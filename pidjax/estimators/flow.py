"""Normalising flows that make the pairs (x1,y) and (x2,y) Gaussian, where stretching single coordinates can't.

A layer turns its input by a matrix and stretches every coordinate by the normal quantile of a mixture's distribution
function, ``u_j = Phi^-1(F_j((x A)_j))``. Each variable has a flow of its own, so no information changes; the three are
trained together, by the likelihood of both pairs under Gaussian latents. What remains is the closed form.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.special import logsumexp, ndtri

from pidjax import _checks
from pidjax.bootstrap import group_numbers
from pidjax.estimators.base import Estimator, by_gradient
from pidjax.estimators.fit import fit
from pidjax.estimators.whitening import share, whitening
from pidjax.normal_scores import CopulaEstimate, checked_estimate
from pidjax.typing import Array, ArrayLike, Key, Samples

__all__ = ["RECIPE", "Flows", "Gaussianisation", "flow_pid", "flows", "halves"]

RECIPE: dict[str, Any] = {"steps": 600, "batch_size": 1000, "validation": 0.1}

_LEARNING_RATE = 1e-2
_TAIL = 1e-12  # of a distribution function: beyond, about seven standard deviations, a latent stays where it is


class Gaussianisation(nn.Module):
    """A flow: ``(n, d)`` to latents ``(n, d)`` and the log-determinants ``(n,)`` of their derivatives.

    Attributes:
        layers: how many times it turns and stretches.
        components: of the mixture of logistic distributions of each coordinate.
    """

    layers: int = 1
    components: int = 8

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        """The latents, and the log-determinants."""
        d, k, total = x.shape[1], self.components, jnp.zeros(len(x), x.dtype)
        for i in range(self.layers):
            turn = self.param(f"turn{i}", nn.initializers.orthogonal(), (d, d))
            mean = self.param(f"mean{i}", lambda _: jnp.tile(jnp.linspace(-2.0, 2.0, k)[None], (d, 1)))
            log_scale = self.param(f"log_scale{i}", nn.initializers.constant(-0.3), (d, k))
            logit = self.param(f"logit{i}", nn.initializers.zeros_init(), (d, k))
            turn, mean, log_scale, logit = (p.astype(x.dtype) for p in (turn, mean, log_scale, logit))
            z = ((x @ turn)[:, :, None] - mean[None]) * jnp.exp(-log_scale)[None]
            log_weight = jax.nn.log_softmax(logit)[None]
            below, above = jax.nn.log_sigmoid(z), jax.nn.log_sigmoid(-z)
            left, right = logsumexp(log_weight + below, 2), logsumexp(log_weight + above, 2)
            density = logsumexp(log_weight + below + above - log_scale[None], 2)
            # From the nearer tail, whose share of one is not rounded away.
            tail = jnp.clip(jnp.exp(jnp.minimum(left, right)), _TAIL, 0.5)
            x = jnp.where(left < right, 1.0, -1.0) * ndtri(tail)
            stretched = density + 0.5 * x**2 + 0.5 * jnp.log(2 * jnp.pi)
            total = total + stretched.sum(1) + jnp.linalg.slogdet(turn)[1]
        return x, total


class Flows(NamedTuple):
    """An estimator of three flows and the latents themselves.

    Attributes:
        estimator: for ``fit``; its estimates ``(n,)`` are the surprisals of both pairs, ``-log p(x1,y) - log p(x2,y)``,
            with the covariance of the latents taken from the samples at hand, nats.
        latents: ``(state, samples) -> Samples`` of three matrices.
    """

    estimator: Estimator
    latents: Callable[[Any, Samples], Samples]


def flows(*, layers: int = 1, components: int = 8, steps: int = RECIPE["steps"]) -> Flows:
    """Flows of x1, x2 and y whose latents are Gaussian in pairs.

    ``L = sum_i 1/2 logdet Cov(f_i(x_i), g(y)) - E log|f_i'| - E log|g'|`` and a constant: the cross entropy of either
    pair to the Gaussian of its own latents' covariance.

    Args:
        layers: of each flow.
        components: of each mixture.
        steps: updates that the optimiser's schedule is for.

    Returns:
        ``Flows``; ``fit(..., **RECIPE)`` suits the estimator.

    Raises:
        ValueError: fewer than one layer or component.

    Example:
        >>> model = flows(steps=10)
        >>> x = jax.random.normal(jax.random.key(0), (100, 2))
        >>> samples = Samples(x, x + 1.0, x[:, :1])
        >>> state = model.estimator.init(jax.random.key(1), samples)
        >>> model.latents(state, samples).y.shape, model.estimator.estimate(state, samples).shape
        ((100, 1), (100,))

    References:
        Meng et al. 2020, "Gaussianization flows"; arXiv 2510.04417 (Flow-PID: pairs, latents, closed form).
    """
    _checks.require(layers >= 1 and components >= 1, f"layers is {layers}, components {components}; expected 1 or more")
    net = Gaussianisation(layers, components)

    def matrices(samples: Samples) -> tuple[Array, ...]:
        parts = (jnp.asarray(x) for x in (samples.x1, samples.x2, samples.y) if x is not None)
        return tuple(x[:, None] if x.ndim == 1 else x for x in parts)

    def init(key: Key, samples: Samples) -> tuple[Any, Any]:
        parts = matrices(samples)
        maps = tuple(whitening(x, samples.weight) for x in parts)
        keys = jax.random.split(key, 3)
        return tuple(net.init(k, own(x[:1])) for k, own, x in zip(keys, maps, parts, strict=True)), maps

    def latents(params: Any, maps: Any, samples: Samples) -> list[tuple[Array, Array]]:
        found = []
        for own, white, x in zip(params, maps, matrices(samples), strict=True):
            z, log_slope = net.apply(own, white(x))
            found.append((z, log_slope + white.log_determinant))
        return found

    def surprisal(params: Any, maps: Any, samples: Samples) -> Array:
        first, second, last = latents(params, maps, samples)
        mass = share(samples.weight, first[0])
        total = jnp.zeros(len(mass), mass.dtype)
        for z, log_slope in (first, second):
            pair = jnp.concatenate([z, last[0]], 1)
            pair = pair - (mass @ pair)[None]
            d = pair.shape[1]
            cov = (pair * mass[:, None]).T @ pair + 1e-5 * jnp.eye(d, dtype=pair.dtype)
            entropy = (jnp.linalg.slogdet(cov)[1] + d * (1 + jnp.log(2 * jnp.pi))) / 2
            total = total + entropy - log_slope - last[1]
        return total

    tx = optax.chain(optax.clip_by_global_norm(5.0), optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, steps)))

    def apart(state: Any, samples: Samples) -> Samples:
        found = latents(state.params, state.constants, samples)
        return Samples(found[0][0], found[1][0], found[2][0], samples.weight)

    return Flows(by_gradient(init, surprisal, tx), apart)


def flow_pid(
    key: Key,
    x1: ArrayLike,
    x2: ArrayLike,
    y: ArrayLike,
    *,
    layers: int = 1,
    components: int = 8,
    replicates: int = 200,
    groups: ArrayLike | None = None,
    recipe: dict[str, Any] = RECIPE,
) -> CopulaEstimate:
    """The decomposition of samples whose pairs flows can make Gaussian: fitted on one half, evaluated on the other.

    Args:
        key: PRNG key.
        x1: ``(n, d1)``, continuous.
        x2: ``(n, d2)``, likewise.
        y: ``(n, dy)`` or ``(n,)``, likewise.
        layers: as in ``flows``.
        components: as in ``flows``.
        replicates: of the bootstrap, which holds the flows; static.
        groups: ``(n,)`` integers: samples that belong together, never divided between the halves, and drawn whole by
            the bootstrap; None takes samples to be independent.
        recipe: what ``fit`` is given.

    Returns:
        A ``CopulaEstimate`` from the latents of the second half, with its checks.

    Raises:
        ValueError: values that aren't finite, fewer than eight samples for each column (four in each half, where
            groups are uneven), fewer than four groups, and as ``fit`` and ``gaussian_estimate``.

    Example:
        >>> y, e1, e2 = jax.random.normal(jax.random.key(0), (3, 4000, 1))
        >>> found = flow_pid(jax.random.key(1), (2 * y + e1) ** 3, y + e2, y, recipe=RECIPE | {"steps": 200})
        >>> print(bool(abs(found.pid.redundancy - 0.347) < 0.06))
        True

    References:
        As ``flows``.
    """
    samples = Samples(*(jnp.asarray(_checks.as_float(x, name)) for x, name in ((x1, "x1"), (x2, "x2"), (y, "y"))))
    parts = {name: jnp.asarray(x) for name, x in zip(("x1", "x2", "y"), samples[:3], strict=True)}
    n, columns = len(parts["x1"]), sum(x[0].size for x in parts.values())
    _checks.require(
        all(len(x) == n for x in parts.values()), "x1, x2 and y differ in length; expected n samples of each"
    )
    _checks.require(
        n >= 8 * columns,
        f"there are {n} samples of {columns} columns; expected eight for each column: half of them are held out",
    )
    for name, x in parts.items():
        bad = int((~jnp.isfinite(x)).sum())
        _checks.require(bad == 0, f"{name} has {bad} NaN or infinite values; drop or impute those samples")
    rows = halves(key, n, groups)
    _checks.require(
        min(map(len, rows)) >= 4 * columns,
        f"the groups make halves of {len(rows[0])} and {len(rows[1])} samples of {columns} columns; expected four for "
        "each column in both: divide the largest groups, or take more",
    )
    seen, held = (jax.tree.map(lambda x, half=half: x[half], samples) for half in rows)
    model = flows(layers=layers, components=components, steps=recipe["steps"])
    settings = dict(recipe)
    settings["batch_size"] = min(settings["batch_size"], int(0.8 * len(rows[0])))
    done = fit(model.estimator, jax.random.fold_in(key, 1), seen, **settings)
    z1, z2, zy = (jnp.asarray(z) for z in model.latents(done.state, held) if z is not None)
    whole = None if groups is None else np.asarray(groups)[rows[1]]
    return checked_estimate(jax.random.fold_in(key, 2), z1, z2, zy, replicates=replicates, groups=whole)


def halves(key: Key, n: int, groups: ArrayLike | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The samples that ``flow_pid`` fits to, and those that it evaluates on: as many groups each.

    Args:
        key: as there.
        n: number of samples.
        groups: as there.

    Returns:
        Two arrays of row numbers.

    Raises:
        ValueError: fewer than four groups.

    Example:
        >>> [np.unique(half % 4).size for half in halves(jax.random.key(0), 20, np.arange(20) % 4)]
        [2, 2]
    """
    numbers, units = group_numbers(groups, n)
    _checks.require(
        units is None or units >= 4, f"groups has {units} distinct values; expected four or more, two for each half"
    )
    order = np.asarray(jax.random.permutation(jax.random.fold_in(key, 0), units or n))
    first, second = np.split(order, [len(order) // 2])
    if groups is None:
        return first, second
    return np.flatnonzero(np.isin(numbers, first)), np.flatnonzero(np.isin(numbers, second))
