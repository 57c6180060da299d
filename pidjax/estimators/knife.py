"""KNIFE: surprisals of features, by mixtures of Gaussian kernels that are trained.

All work is done on whitened features z. A kernel k is a lower triangular ``A_k`` and a ``b_k``: ``log p(z) =
logsumexp_k (log w_k + log |A_k| - |A_k z - b_k|^2 / 2) - d/2 log 2 pi``. Mixtures of several sizes are trained side by
side and the validation samples choose; with labels as the condition each label has its own. All their kernels lie along
one axis, so whatever is trained is one matrix product a step.
"""

import operator
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pidjax import _checks
from pidjax.estimators.base import Estimator, Learned, by_gradient, weighted_mean
from pidjax.estimators.fit import Candidates
from pidjax.estimators.kernels import First, Mixture, first_kernels, in_pieces, joined, log_density, split, subset
from pidjax.estimators.whitening import MODES, Mode, Whitening, share, whitening
from pidjax.typing import Array, Key, Samples

__all__ = ["RECIPE", "knife", "published_knife"]

# What ``fit`` is given beside a ``knife()``: the schedule of its optimiser ends where these steps do.
RECIPE: dict[str, Any] = {"steps": 780, "batch_size": 128, "validation": 0.1, "every": 20}

_LEARNING_RATE = 1e-2


class Moves(NamedTuple):
    """What is trained; all zero at the start, and in the coordinates in which the first kernel has unit covariance.

    So one learning rate suits kernels of all widths.

    Attributes:
        lower: ``(K, C, d, d)``, the part below the diagonal is used; None for diagonal kernels.
        log_scale: ``(K, C, d)``.
        shift: ``(K, C, d)``.
        log_weight: ``(K, C)``.
        net: of a continuous condition, else None.
    """

    lower: Array | None
    log_scale: Array
    shift: Array
    log_weight: Array
    net: Any


class Regression(NamedTuple):
    """A continuous condition c: what whitens it, what z is given c on average, what whitens the residual."""

    condition: Whitening
    slope: Array
    residual: Whitening

    def left(self, z: Array, c: Array) -> Array:
        """The whitened residual."""
        return self.residual(z - self.condition(c) @ self.slope.T)


class Read(NamedTuple):
    """What ``init`` reads off the samples."""

    features: Whitening
    regression: Regression | None
    first: First


def knife(
    of: str = "x1",
    *,
    given: str | None = None,
    classes: int | None = None,
    kernels: int | Sequence[int] = (8, 1, 32),
    covariance: Literal["full", "diagonal"] = "full",
    whiten: Mode = "full",
    units: Literal["raw", "whitened"] = "raw",
    hidden: int = 32,
    steps: int = RECIPE["steps"],
    tx: optax.GradientTransformation | None = None,
) -> Estimator:
    """Surprisals ``-log p(x)`` of features, or ``-log p(x | c)``; their mean is a differential entropy, in nats.

    The density is a mixture of Gaussians that integrates to one whatever its parameters. Features are whitened first
    (moments of the samples that are trained on) and first kernels come from clusters of them, so that training
    only refines. Evaluated on fresh samples, the mean is above the entropy, by the divergence of the fit. Samples
    that were trained on understate it: use ``cross_fit``.

    Given labels, each has a mixture of its own. Given a continuous c, the kernels are those of the residual of a linear
    regression, and a network of one hidden layer, silent at first, moves, scales and weighs them with c.

    Features that lie in a subspace have no density. Their surprisals are finite, and very negative: how much so says
    more about rounding and ``steps`` than about the data.

    Args:
        of: the field of ``Samples`` whose surprisal it is; floating, ``(n, ...)``.
        given: the field of the condition; None for none.
        classes: number of labels of the condition, which is then ``(n,)`` integers in ``[0, classes)``; a label
            outside gives NaN. None means that the condition is continuous. The cost grows with it.
        kernels: size of the mixture (for each label), or several among which the least validation loss chooses;
            the first answers where nothing is validated. Static.
        covariance: ``"full"`` or ``"diagonal"`` (in whitened coordinates), for each kernel.
        whiten: ``"full"``, ``"columns"`` or ``"none"``, see ``whitening``. It decides where training starts, and what
            the units are if they are whitened; any density can still be learned.
        units: ``"raw"``, the density of x itself; or ``"whitened"``, that of z, which no change of the units of a
            column moves. Differences (informations) are the same.
        hidden: width of the network of a continuous condition.
        steps: updates of the fit, for the default optimiser.
        tx: the optimiser; None for Adam whose learning rate falls from 1e-2 to 0 along a cosine.

    Returns:
        An ``Estimator``. Its state is ``Candidates``, its info the loss of each; ``fit(..., **RECIPE)`` suits it.

    Raises:
        ValueError: unknown fields or settings, and at the first call samples that lack a field.
        TypeError: at the first call, features that are not floating or labels that are not integers.

    Example:
        >>> from pidjax.estimators.fit import fit
        >>> x = 3.0 + 20.0 * jax.random.normal(jax.random.key(0), (4000, 1))
        >>> estimator = knife("x1", kernels=(4, 1))
        >>> done = fit(estimator, jax.random.key(1), Samples(x1=x[:2000]), **RECIPE)
        >>> surprisal = estimator.estimate(done.state, Samples(x1=x[2000:]))
        >>> print(surprisal.shape, f"{surprisal.mean():.1f}", f"truth {0.5 * np.log(2 * np.pi * np.e * 400):.1f}")
        (2000,) 4.4 truth 4.4

    References:
        Pichler et al. 2022, arXiv 2202.06618: the density and its conditional. Whitening, the first kernels and the
        choice of their number are not in it; ``published_knife`` is.
    """
    counts = _counts(kernels)
    _check_fields(of, given, classes)
    _checks.require(covariance in ("full", "diagonal"), f"covariance is {covariance!r}; expected 'full' or 'diagonal'")
    _checks.require(units in ("raw", "whitened"), f"units is {units!r}; expected 'raw' or 'whitened'")
    _checks.require(min(hidden, steps) >= 1, f"hidden is {hidden}, steps {steps}; expected at least 1")
    _checks.require(whiten in MODES, f"whiten is {whiten!r}; expected one of {MODES}")
    # Flattened: one array a mixture compiles faster than four.
    default = optax.flatten(optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, steps)))
    optimiser = default if tx is None else tx
    # Names in the order of sizes: the order in which jax keeps a dictionary, and its sorted names.
    sizes = tuple(sorted(counts))
    names = [f"kernels_{size:06d}" for size in sizes]
    # One of the two at most: a condition is of labels or continuous.
    continuous, labelled = (given, None) if classes is None else (None, given)

    def init(key: Key, samples: Samples) -> Candidates:
        keys = [jax.random.fold_in(key, i) for i in range(3)]
        x, weight = _features(samples, of), samples.weight
        seen = whitening(x, weight, mode=whiten)
        z = seen(x)
        regression = None
        if continuous is not None:
            c = _features(samples, continuous, z.dtype)
            regression = _regression(z, c, weight, whiten)
            z = regression.left(z, c)
        mass = jnp.ones(len(z), z.dtype) if weight is None else jnp.asarray(weight, z.dtype)
        group = mass[None]
        if labelled is not None:
            group = mass[None] * (_labels(samples, labelled)[None] == jnp.arange(classes)[:, None])
        rows = subset(keys[0], mass)
        first = first_kernels(keys[1], z[rows], group[:, rows], sizes, covariance == "full")
        parts = {}
        for name, size, own in zip(names, sizes, split(first, sizes), strict=True):
            net = None
            if regression is not None:
                net = _silent_net(keys[2], regression.slope.shape[1], hidden, (size, 2 * z.shape[1] + 1), z.dtype)
            zero = jax.tree.map(jnp.zeros_like, own)
            lower = zero.a if covariance == "full" else None
            moves = Moves(lower, zero.centre, zero.centre, zero.log_weight, net)
            parts[name] = Learned(moves, Read(seen, regression, own), optimiser.init(moves))
        return Candidates(parts, jnp.asarray(sizes.index(counts[0])))

    def surprisals(params: dict[str, Moves], parts: dict[str, Learned], samples: Samples) -> dict[str, Array]:
        read: Read = parts[names[0]].constants
        z = read.features(_features(samples, of))
        gain = read.features.log_determinant if units == "raw" else jnp.zeros((), z.dtype)
        inputs = [z, jnp.zeros(len(z), int) if labelled is None else _labels(samples, labelled)]
        if continuous is not None and read.regression is not None:
            c = _features(samples, continuous, z.dtype)
            inputs = [read.regression.left(z, c), inputs[1], read.regression.condition(c)]
            gain = gain + read.regression.residual.log_determinant
        mixture = _mixture(
            joined([params[name]._replace(net=None) for name in names]),
            joined([parts[name].constants.first for name in names]),
        )

        def density(z: Array, label: Array, *c: Array) -> Array:
            change = jnp.concatenate([_net(params[name].net, *c) for name in names], 1) if c else None
            return log_density(mixture, sizes, z, label, change)

        each = in_pieces(density, mixture.b.size, inputs)
        return {name: -each[:, i] - gain for i, name in enumerate(names)}

    def update(key: Key, state: Candidates, samples: Samples) -> tuple[Candidates, dict[str, Array]]:
        def loss(params: dict[str, Moves]) -> tuple[Array, dict[str, Array]]:
            values = surprisals(params, state.parts, samples)
            means = {name: weighted_mean(value, samples.weight) for name, value in values.items()}
            return jnp.stack(list(means.values())).sum(), means

        gradient, info = jax.grad(loss, has_aux=True)({name: part.params for name, part in state.parts.items()})
        parts = {}
        for name, part in state.parts.items():
            moved, tx_state = optimiser.update(gradient[name], part.tx_state, part.params)
            parts[name] = Learned(optax.apply_updates(part.params, moved), part.constants, tx_state)
        return state._replace(parts=parts), info

    def estimate(state: Candidates, samples: Samples) -> Any:
        results = surprisals({name: part.params for name, part in state.parts.items()}, state.parts, samples)
        if state.chosen is None:
            return Candidates(results)
        # An int again, should a refused input have been poisoned with NaN.
        return jnp.stack([results[name] for name in names])[jnp.asarray(state.chosen, int)]

    return Estimator(init, update, estimate)


def published_knife(
    of: str = "x1",
    *,
    kernels: int = 5,
    tanh: bool = True,
    init_std: float = 1.0,
    from_data: bool = False,
    tx: optax.GradientTransformation | None = None,
) -> Estimator:
    """KNIFE as published and as LSMI runs it, to compare with: no whitening, kernels that start anywhere.

    ``A = (I + L) diag(s)`` with ``s = exp(tanh(rho))``: a kernel's standard deviations lie in [1/e, e] (where L = 0),
    so features of other scales are out of its reach.

    Args:
        of: the field of ``Samples`` whose surprisal it is; floating, ``(n, ...)``.
        kernels: size of the mixture.
        tanh: False takes ``s = exp(rho)``.
        init_std: standard deviation of all first parameters: 1 in LSMI, 0.01 in KNIFE.
        from_data: whether the first means are samples, as in KNIFE, or normal numbers times ``init_std``, as in LSMI.
        tx: the optimiser; None for Adam at 1e-3.

    Returns:
        An ``Estimator`` of surprisals ``-log p(x)``, ``(n,)`` nats; its info is the loss.

    Raises:
        ValueError: unknown field or settings.
        TypeError: at the first call, features that are not floating.

    Example:
        >>> from pidjax.estimators.fit import fit
        >>> x = 20.0 * jax.random.normal(jax.random.key(0), (1600, 1))
        >>> estimator = published_knife("x1")
        >>> done = fit(estimator, jax.random.key(1), Samples(x1=x), steps=1500, batch_size=32)
        >>> bool(estimator.estimate(done.state, Samples(x1=x)).mean() > 4.4 + 5)  # the truth is 4.4
        True

    References:
        Pichler et al. 2022, arXiv 2202.06618; its code's ``MargKernel``, where rho is called ``logvar``, L ``tri``.
        arXiv 2506.17248 for the settings of LSMI.
    """
    (size,) = _counts(operator.index(kernels))
    _check_fields(of, None, None)

    def init(key: Key, samples: Samples) -> tuple[Any, None]:
        x = _features(samples, of)
        d = x.shape[1]
        drawn = init_std * jax.random.normal(key, (size, 1, d, d + 2), x.dtype)
        mean, rho, lower = drawn[..., 0], drawn[..., 1], drawn[..., 2:]
        if from_data:
            chosen = jax.random.choice(jax.random.fold_in(key, 1), len(x), (size, 1), p=share(samples.weight, x))
            mean = x[chosen]
        return (mean, rho, lower, jnp.zeros_like(mean[..., 0])), None

    def surprisal(params: Any, _: None, samples: Samples) -> Array:
        mean, rho, lower, log_weight = params
        log_scale = jnp.tanh(rho) if tanh else rho
        unit = jnp.broadcast_to(jnp.eye(lower.shape[-1], dtype=lower.dtype), lower.shape)
        a = (jnp.tril(lower, -1) + unit) * jnp.exp(log_scale)[:, :, None]
        b = jnp.einsum("kcij,kcj->kci", a, mean)
        mixture = Mixture(a, b, log_scale.sum(-1), log_weight)
        x = _features(samples, of)
        density = lambda x, label: log_density(mixture, (size,), x, label, None)
        return -in_pieces(density, b.size, [x, jnp.zeros(len(x), int)])[:, 0]

    return by_gradient(init, surprisal, optax.adam(1e-3) if tx is None else tx)


def _mixture(moves: Moves, first: First) -> Mixture:
    scale = jnp.exp(moves.log_scale)
    if moves.lower is None:
        diagonal, a = first.a, first.a * scale
        b = a * first.centre
    else:
        diagonal, a = jnp.diagonal(first.a, axis1=-2, axis2=-1), first.a * scale[..., None]
        a = a + jnp.tril(moves.lower, -1) @ a
        b = jnp.einsum("kcij,kcj->kci", a, first.centre)
    log_det = (moves.log_scale + jnp.log(diagonal)).sum(-1)
    return Mixture(a, b + moves.shift, log_det, first.log_weight + moves.log_weight)


def _regression(z: Array, c: Array, weight: Any, mode: Mode) -> Regression:
    """Least squares: with whitened c, the slope is a covariance."""
    condition = whitening(c, weight)
    seen = condition(c)
    slope = (z * share(weight, z)[:, None]).T @ seen
    return Regression(condition, slope, whitening(z - seen @ slope.T, weight, mode=mode))


def _silent_net(key: Key, inputs: int, hidden: int, outputs: tuple[int, int], dtype: Any) -> tuple[Array, ...]:
    """A layer of tanh and a linear one that starts at zero."""
    into = jax.random.normal(key, (inputs, hidden), dtype) / float(np.sqrt(inputs))
    return into, jnp.zeros(hidden, dtype), jnp.zeros((hidden, *outputs), dtype), jnp.zeros(outputs, dtype)


def _net(params: tuple[Array, ...], c: Array) -> Array:
    into, bias, out, last = params
    return jnp.tensordot(jnp.tanh(c @ into + bias[None]), out, 1) + last[None]


# What comes in


def _field(samples: Samples, name: str) -> Array:
    x = getattr(samples, name)
    _checks.require(x is not None, f"the samples have no {name}, which this knife reads; expected Samples({name}=...)")
    return jnp.asarray(x)


def _features(samples: Samples, name: str, dtype: Any = None) -> Array:
    """The columns of a field ``(n, d)``; in ``dtype``, if given, else floating they must be."""
    x = _field(samples, name)
    _checks.require(
        dtype is not None or jnp.issubdtype(x.dtype, jnp.floating),
        f"{name} has dtype {x.dtype}; expected floating features, which have a density: symbols have a joint_pmf, and "
        "for whole numbers that are measurements there is .astype(float)",
        TypeError,
    )
    return x.reshape(x.shape[0], -1).astype(dtype or x.dtype)


def _labels(samples: Samples, name: str) -> Array:
    y = _field(samples, name)
    _checks.require(
        y.ndim == 1 and jnp.issubdtype(y.dtype, jnp.integer),
        f"{name} has shape {y.shape} and dtype {y.dtype}; expected integer labels (n,), since classes are given: "
        "classes=None is for a continuous condition",
        TypeError,
    )
    return y


def _counts(kernels: int | Sequence[int]) -> tuple[int, ...]:
    counts = tuple(map(operator.index, kernels if isinstance(kernels, Sequence) else (kernels,)))
    _checks.require(
        len(counts) > 0 and min(counts) >= 1 and len(set(counts)) == len(counts),
        f"kernels is {kernels}; expected a number of kernels, or different ones, at least 1: (8, 1, 32)",
    )
    return counts


def _check_fields(of: str, given: str | None, classes: int | None) -> None:
    fields = Samples._fields[:3]
    _checks.require(
        of in fields and given in (None, *fields) and of != given,
        f"of is {of!r}, given {given!r}; expected two of {fields}, or None for given",
    )
    _checks.require(
        classes is None or (given is not None and operator.index(classes) >= 1),
        f"classes is {classes}, given {given!r}; expected the number of labels of the field that is given",
    )
