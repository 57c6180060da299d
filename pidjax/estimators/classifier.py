"""Classifiers: surprisals ``-log p(y | x)`` of labels, from networks that are trained or logits that are brought.

A network is anything with flax's two functions, ``init(key, x) -> params`` and ``apply(params, x) -> (n, k)`` logits:
a ``flax.linen`` module, or ``Net(init, apply)`` around an equinox or haiku model. Features reach it standardised, with
the moments of the samples that it is trained on, so units don't matter.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from pidjax import _checks
from pidjax.calibration import cross_entropy
from pidjax.estimators.base import Estimator, Learned, by_gradient, weighted_mean
from pidjax.typing import Array, Key, Samples

__all__ = [
    "Classifier",
    "Net",
    "adamw",
    "brought_logits",
    "classifier",
    "classifiers",
    "log_prior",
]

# Inputs from which on a matrix decays in full.
_INPUTS = 8


class Module(Protocol):
    """What a network has to have."""

    def init(self, key: Any, x: Any) -> Any:
        """The parameters."""

    def apply(self, params: Any, x: Any) -> Any:
        """The logits."""


class Net(NamedTuple):
    """A network as two functions: ``init(key, x) -> params`` and ``apply(params, x) -> (n, k)`` logits."""

    init: Callable[[Key, Any], Any]
    apply: Callable[[Any, Any], Array]


# A modality that is logits already (from PyTorch, say): nothing is trained.
brought_logits = Net(lambda key, x: {}, lambda params, x: x)


class Classifier(NamedTuple):
    """An estimator of ``-log p(y | x)`` and the whole posterior behind it.

    Attributes:
        estimator: for ``fit`` and ``cross_fit``.
        log_posterior: ``(state, samples) -> log p(. | x)``, ``(n, k)``; like the state a dictionary over ``x1``,
            ``x2`` and ``x1x2`` where three are trained. It doesn't look at the labels.
    """

    estimator: Estimator
    log_posterior: Callable[[Any, Samples], Any]


class WithSkip(nn.Module):
    """One hidden layer of GELU beside a linear map: the linear part need not be learned through the hidden one.

    Attributes:
        classes: number of labels.
        hidden: width of the hidden layer.
        from_zero: whether the logits start at zero.
    """

    classes: int
    hidden: int = 128
    from_zero: bool = False

    @nn.compact
    def __call__(self, x: Any) -> Array:
        """Logits of features ``(n, ...)``, or of several side by side."""
        x = jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(x)], axis=1)
        start = nn.initializers.zeros_init() if self.from_zero else nn.linear.default_kernel_init
        hidden = nn.gelu(nn.Dense(self.hidden, name="hidden")(x))
        out = nn.Dense(self.classes, kernel_init=start, name="out")(hidden)
        return out + nn.Dense(self.classes, kernel_init=start, name="skip")(x)


def adamw(steps: int, *, learning_rate: float = 1e-3, weight_decay: float = 1.0) -> optax.GradientTransformation:
    """AdamW with a cosine that ends at 0 after ``steps``; matrices decay, those of a layer called "skip" don't.

    A matrix of fewer than 8 inputs decays less, in their proportion: a steep function of few inputs takes large
    weights, and there are few to overfit with.

    Args:
        steps: updates of the fit.
        learning_rate: the first one.
        weight_decay: see optax.

    Returns:
        The optimiser.

    Example:
        >>> params = {"hidden": jnp.ones((8, 2)), "bias": jnp.ones(2)}  # without gradients: what decays
        >>> tx = adamw(100, learning_rate=0.01)
        >>> updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
        >>> print(updates["hidden"][0], jnp.abs(updates["bias"]))
        [-0.01 -0.01] [0. 0.]
    """

    def decayed(path: Any, update: Array, leaf: Array) -> Array:
        if leaf.ndim < 2 or "skip" in jax.tree_util.keystr(path):
            return update
        return update + weight_decay * min(math.prod(leaf.shape[:-1]) / _INPUTS, 1.0) * leaf

    return optax.chain(
        optax.scale_by_adam(),
        optax.stateless(lambda updates, params: jax.tree_util.tree_map_with_path(decayed, updates, params)),
        optax.scale_by_learning_rate(optax.cosine_decay_schedule(learning_rate, steps)),
    )


class _Moments(NamedTuple):
    """Of features: the mean and one over the standard deviation of each, 0 for those that are constant."""

    mean: Array
    scale: Array


def _moments(x: Array, weight: Any) -> _Moments:
    share = jnp.full(len(x), 1 / len(x), x.dtype) if weight is None else (weight / weight.sum()).astype(x.dtype)
    mean = jnp.tensordot(share, x, 1)
    variance = jnp.tensordot(share, (x - mean[None]) ** 2, 1)
    # What rounding leaves of a constant is no signal.
    constant = (x.max(0) == x.min(0)) | (variance <= (8 * jnp.finfo(x.dtype).eps * jnp.abs(mean)) ** 2)
    return _Moments(mean, jnp.where(constant, 0.0, 1 / jnp.sqrt(jnp.where(constant, 1.0, variance))))


def _standardised(moments: _Moments, x: Array) -> Array:
    return (x - moments.mean[None]) * moments.scale[None]


@functools.partial(jax.jit, static_argnames="classes")
def log_prior(y: Array, classes: int, weight: Any = None) -> Array:
    """Log of the shares of the labels, as counted.

    Args:
        y: labels ``(n,)`` in ``[0, classes)``.
        classes: number of labels; static.
        weight: ``(n,)`` non-negative weights; None means all ones.

    Returns:
        ``(classes,)`` nats; -inf for a label that never occurs.

    Example:
        >>> print(log_prior(jnp.array([0, 1, 1, 1]), 2).round(4))
        [-1.3863 -0.2877]
    """
    counts = jnp.zeros(classes, jnp.result_type(float)).at[y].add(1.0 if weight is None else weight)
    return jnp.log(counts) - jnp.log(counts.sum())


def _offset(y: Array, classes: int, weight: Any) -> Array:
    """The log prior that f1 + f2 counts twice.

    Half a sample is added to each label, so one that a fold lacks is unlikely there, not impossible. A first guess
    that the network corrects; no information is computed from it.
    """
    counts = jnp.full(classes, 0.5, jnp.result_type(float)).at[y].add(1.0 if weight is None else weight)
    return jnp.log(counts / counts.sum())


def classifier(
    net: Module | Net | None = None,
    *,
    of: str = "x1",
    classes: int,
    tx: optax.GradientTransformation,
    standardise: bool = True,
) -> Classifier:
    """A classifier of one modality: ``-log p(y | x)`` for each sample.

    Args:
        net: the network; None for one hidden layer of 128 beside a linear map.
        of: the field of ``Samples`` that holds the features.
        classes: number of labels.
        tx: the optimiser, ``adamw(steps)`` say.
        standardise: whether features are standardised before the network sees them; ``brought_logits`` never are.

    Returns:
        A ``Classifier``.

    Raises:
        ValueError: fewer than one class.

    Example:
        >>> from pidjax.estimators.fit import fit
        >>> x = jax.random.normal(jax.random.key(0), (2000, 3))
        >>> samples = Samples(x1=x, y=(x[:, 0] > 0).astype(int))
        >>> model = classifier(classes=2, tx=adamw(300))
        >>> done = fit(model.estimator, jax.random.key(1), samples, steps=300, batch_size=100, validation=0.1)
        >>> bool((model.log_posterior(done.state, samples).argmax(1) == samples.y).mean() > 0.98)
        True
    """
    _checks.require(classes >= 1, f"classes is {classes}; expected the number of labels")
    chosen: Any = WithSkip(classes) if net is None else net

    def init(key: Key, samples: Samples) -> tuple[Any, Any]:
        x: Any = getattr(samples, of)
        moments = _moments(x, samples.weight) if standardise and chosen is not brought_logits else None
        return chosen.init(key, x[:1] if moments is None else _standardised(moments, x[:1])), moments

    def log_p(params: Any, moments: Any, samples: Samples) -> Array:
        x: Any = getattr(samples, of)
        return jax.nn.log_softmax(chosen.apply(params, x if moments is None else _standardised(moments, x)))

    def surprisal(params: Any, moments: Any, samples: Samples) -> Array:
        y: Any = samples.y
        return cross_entropy(log_p(params, moments, samples), y)

    return Classifier(
        by_gradient(init, surprisal, tx), lambda state, samples: log_p(state.params, state.constants, samples)
    )


def classifiers(
    *,
    classes: int,
    tx: optax.GradientTransformation,
    net1: Module | Net | None = None,
    net2: Module | Net | None = None,
    net12: Module | Net | None = None,
    standardise: bool = True,
) -> Classifier:
    """The three classifiers that a decomposition takes, trained side by side: of x1, of x2, of both.

    The joint one starts from what conditionally independent modalities would say, and learns the rest:
    ``f12 = stop_gradient(f1 + f2 - log p(y)) + net12``, net12 zero at first. States, results and losses are
    dictionaries over ``x1``, ``x2``, ``x1x2``, each kept at its own best by ``fit``.

    Args:
        classes: number of labels.
        tx: the optimiser of each.
        net1: network of x1; None for one hidden layer of 128 beside a linear map.
        net2: network of x2, likewise.
        net12: network of the pair ``(x1, x2)``, likewise; it should start at zero.
        standardise: whether features are standardised before a network sees them; ``brought_logits`` never are.

    Returns:
        A ``Classifier`` whose estimate is ``{"x1": -log p(y|x1), "x2": ..., "x1x2": ...}``.

    Raises:
        ValueError: fewer than one class.

    Example:
        >>> from pidjax.estimators.fit import fit
        >>> x = jax.random.normal(jax.random.key(0), (2000, 2))
        >>> samples = Samples(x[:, :1], x[:, 1:], (x[:, 0] * x[:, 1] > 0).astype(int))  # an XOR of signs
        >>> model = classifiers(classes=2, tx=adamw(600))
        >>> done = fit(model.estimator, jax.random.key(1), samples, steps=600, batch_size=200, validation=0.1)
        >>> {name: bool(loss.mean() < 0.3) for name, loss in model.estimator.estimate(done.state, samples).items()}
        {'x1': False, 'x2': False, 'x1x2': True}
    """
    _checks.require(classes >= 1, f"classes is {classes}; expected the number of labels")
    nets: dict[str, Any] = {
        "x1": WithSkip(classes) if net1 is None else net1,
        "x2": WithSkip(classes) if net2 is None else net2,
        "x1x2": WithSkip(classes, from_zero=True) if net12 is None else net12,
    }

    def inputs(constants: Any, samples: Samples) -> dict[str, Any]:
        features = [
            x if moments is None else _standardised(moments, jnp.asarray(x))
            for moments, x in zip(constants[0], (samples.x1, samples.x2), strict=True)
        ]
        return {"x1": features[0], "x2": features[1], "x1x2": tuple(features)}

    def init(key: Key, samples: Samples) -> dict[str, Learned]:
        x1: Any = samples.x1
        x2: Any = samples.x2
        y: Any = samples.y
        moments = [
            _moments(x, samples.weight) if standardise and nets[name] is not brought_logits else None
            for name, x in (("x1", x1), ("x2", x2))
        ]
        constants = (moments, _offset(y, classes, samples.weight).astype(jnp.result_type(x1.dtype, jnp.float32)))
        first = inputs(constants, jax.tree.map(lambda leaf: leaf[:1], samples))
        keys = dict(zip(nets, jax.random.split(key, 3), strict=True))
        params = {name: net.init(keys[name], first[name]) for name, net in nets.items()}
        return state(params, constants, {name: tx.init(params[name]) for name in nets})

    def state(params: dict[str, Any], constants: Any, tx_states: dict[str, Any]) -> dict[str, Learned]:
        """The joint part holds the networks it stands on: its best step is not theirs."""
        held = {"x1": params["x1"], "x2": params["x2"], "x1x2": params}
        return {name: Learned(held[name], constants, tx_states[name]) for name in nets}

    def log_p(params: dict[str, Any], constants: Any, samples: Samples) -> dict[str, Array]:
        x = inputs(constants, samples)
        f = {name: nets[name].apply(params[name], x[name]) for name in ("x1", "x2")}
        single = {name: jax.nn.log_softmax(logits) for name, logits in f.items()}
        additive = jax.lax.stop_gradient(single["x1"] + single["x2"] - constants[1][None])
        return single | {"x1x2": jax.nn.log_softmax(additive + nets["x1x2"].apply(params["x1x2"], x["x1x2"]))}

    def update(key: Key, old: dict[str, Learned], samples: Samples) -> tuple[dict[str, Learned], dict[str, Array]]:
        constants = old["x1"].constants
        params = {"x1": old["x1"].params, "x2": old["x2"].params, "x1x2": old["x1x2"].params["x1x2"]}

        def loss(params: dict[str, Any]) -> tuple[Array, dict[str, Array]]:
            y: Any = samples.y
            losses = {
                name: weighted_mean(cross_entropy(own, y), samples.weight)
                for name, own in log_p(params, constants, samples).items()
            }
            return losses["x1"] + losses["x2"] + losses["x1x2"], losses  # no parameter is in two of them

        gradients, losses = jax.grad(loss, has_aux=True)(params)
        new, tx_states = {}, {}
        for name in nets:
            updates, tx_states[name] = tx.update(gradients[name], old[name].tx_state, params[name])
            new[name] = optax.apply_updates(params[name], updates)
        return state(new, constants, tx_states), losses

    def log_posterior(state: dict[str, Learned], samples: Samples) -> dict[str, Array]:
        constants = state["x1"].constants
        joint = state["x1x2"].params
        own = {"x1": state["x1"].params, "x2": state["x2"].params, "x1x2": joint["x1x2"]}
        return log_p(own, constants, samples) | {"x1x2": log_p(joint, constants, samples)["x1x2"]}

    def estimate(state: dict[str, Learned], samples: Samples) -> dict[str, Array]:
        y: Any = samples.y
        return {name: cross_entropy(own, y) for name, own in log_posterior(state, samples).items()}

    return Classifier(Estimator(init, update, estimate), log_posterior)
