"""What every learned quantity is: an ``Estimator``, three pure functions, and the ways to make one."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from pidjax import _checks
from pidjax.typing import Array, Key, Samples

__all__ = ["Estimator", "Learned", "by_gradient", "parallel", "weighted_mean"]


class Estimator(NamedTuple):
    """Three pure functions. Static to jit by identity: build it once and keep it, each new one compiles anew.

    Where ``estimate`` returns surprisals ``-log p(.)``, their mean is the loss by which ``fit`` keeps the best
    state. Results and states that are dictionaries with the same keys are kept key by key, each at its own best.

    Attributes:
        init: ``(key, samples) -> state``; reads moments, first means and counts off the samples.
        update: ``(key, state, samples) -> (state, info)``, one step on one minibatch.
        estimate: ``(state, samples) -> result``; no key: the same state and samples give the same answer.
    """

    init: Callable[[Key, Samples], Any]
    update: Callable[[Key, Any, Samples], tuple[Any, Any]]
    estimate: Callable[[Any, Samples], Any]


class Learned(NamedTuple):
    """The state of ``by_gradient``: what the optimiser moves, what ``init`` read off the samples, the optimiser's."""

    params: Any
    constants: Any
    tx_state: Any


def weighted_mean(values: Array, weight: Any) -> Array:
    """Mean over the samples ``(n,)``, weighted where there are weights; 0 where all of these are 0.

    Args:
        values: ``(n,)``; those of weight 0 may be NaN.
        weight: ``(n,)`` non-negative weights; None means all ones.

    Returns:
        The mean.
    """
    if weight is None:
        return values.mean()
    total = weight.sum()
    return jnp.where(weight > 0, values * weight, 0).sum() / jnp.where(total > 0, total, 1)


def by_gradient(
    init: Callable[[Key, Samples], tuple[Any, Any]],
    surprisal: Callable[[Any, Any, Samples], Array],
    tx: optax.GradientTransformation,
) -> Estimator:
    """The estimator that lowers the mean surprisal of its minibatches with an optax optimiser.

    Args:
        init: ``(key, samples) -> (params, constants)``.
        surprisal: ``(params, constants, samples) -> (n,)`` nats; the result of ``estimate``.
        tx: the optimiser, schedule included.

    Returns:
        An ``Estimator`` whose state is ``Learned`` and whose info is the loss of the step, nats.

    Example:
        >>> import optax, jax.numpy as jnp
        >>> normal = by_gradient(  # a normal density of unit variance: its mean is learned
        ...     lambda key, samples: (jnp.zeros(()), None),
        ...     lambda mean, _, samples: 0.5 * (samples.x1 - mean) ** 2 + 0.918939,
        ...     optax.sgd(0.5))
        >>> state = normal.init(jax.random.key(0), Samples(x1=jnp.array([2.0, 4.0])))
        >>> state, loss = normal.update(jax.random.key(1), state, Samples(x1=jnp.array([2.0, 4.0])))
        >>> print(state.params, loss)
        1.5 5.9189386
    """

    def start(key: Key, samples: Samples) -> Learned:
        params, constants = init(key, samples)
        return Learned(params, constants, tx.init(params))

    def update(key: Key, state: Learned, samples: Samples) -> tuple[Learned, Array]:
        def loss(params: Any) -> Array:
            return weighted_mean(surprisal(params, state.constants, samples), samples.weight)

        value, gradient = jax.value_and_grad(loss)(state.params)
        updates, tx_state = tx.update(gradient, state.tx_state, state.params)
        return Learned(optax.apply_updates(state.params, updates), state.constants, tx_state), value

    return Estimator(start, update, lambda state, samples: surprisal(state.params, state.constants, samples))


def parallel(**parts: Estimator) -> Estimator:
    """Several estimators as one, trained on the same minibatches: states, infos and results are dictionaries.

    Args:
        parts: the estimators, by name.

    Returns:
        An ``Estimator``; ``fit`` keeps the best state of each part on its own.

    Raises:
        ValueError: no parts.

    Example:
        >>> import optax, jax.numpy as jnp
        >>> part = by_gradient(lambda key, samples: (jnp.zeros(()), None),
        ...     lambda mean, _, samples: (samples.x1 - mean) ** 2, optax.sgd(0.25))
        >>> both = parallel(a=part, b=part)
        >>> samples = Samples(x1=jnp.array([2.0, 4.0]))
        >>> print(both.estimate(both.init(jax.random.key(0), samples), samples)["b"])
        [ 4. 16.]
    """
    _checks.require(len(parts) > 0, "parallel() has no parts; expected estimators by name: parallel(x1=..., x2=...)")

    def keys(key: Key) -> dict[str, Key]:
        # What ``split`` gives, too: it is that here and there which would take longer to compile.
        return {name: jax.random.fold_in(key, i) for i, name in enumerate(parts)}

    def init(key: Key, samples: Samples) -> dict[str, Any]:
        own = keys(key)
        return {name: part.init(own[name], samples) for name, part in parts.items()}

    def update(key: Key, state: dict[str, Any], samples: Samples) -> tuple[dict[str, Any], dict[str, Any]]:
        own = keys(key)
        both = {name: part.update(own[name], state[name], samples) for name, part in parts.items()}
        return {name: new for name, (new, _) in both.items()}, {name: info for name, (_, info) in both.items()}

    def estimate(state: dict[str, Any], samples: Samples) -> dict[str, Any]:
        return {name: part.estimate(state[name], samples) for name, part in parts.items()}

    return Estimator(init, update, estimate)
