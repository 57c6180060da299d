"""Fitting: one XLA program from samples to a trained state.

Nothing here knows what is estimated. Minibatches are drawn inside the program: each round of updates goes through
a fresh permutation (as many as it takes), so within a round no sample comes twice before all have come once. Rounds
are keyed by their number, so a fit that is resumed after any round continues as if nothing had happened.
"""

import functools
import math
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pidjax import _checks
from pidjax.estimators.base import Estimator, weighted_mean
from pidjax.typing import Array, Key, Samples

__all__ = ["Candidates", "Fit", "Trace", "fit"]

# Looks at the validation samples in a fit, unless ``every`` says otherwise.
_LOOKS = 40
# Samples whose index leaves half of a word of 32 bits to a random draw.
_PACKED = 1 << 16


class Candidates(NamedTuple):
    """Rivals for one place in a state: trained side by side, each kept at its own best, the best of them chosen.

    Attributes:
        parts: the states, or the surprisals, by name.
        chosen: the index, in the order of their sorted names, of the one that answers. Where ``fit`` validates, it
            sets None in a state to hear the surprisals of all, as ``Candidates``.
    """

    parts: dict[str, Any]
    chosen: Any = None


def _is_candidates(node: Any) -> bool:
    return isinstance(node, Candidates)


def _opened(state: Any) -> Any:
    """The state in which no candidate is chosen."""
    close = lambda node: node._replace(chosen=None) if _is_candidates(node) else node
    return jax.tree.map(close, state, is_leaf=_is_candidates)


def _closed(state: Any, losses: Any) -> Any:
    """The state in which the candidates of least loss are chosen; a loss that is NaN is no candidate's."""

    def close(losses: Any, state: Any) -> Any:
        if not _is_candidates(losses):
            return state
        each = jnp.stack([losses.parts[name] for name in sorted(losses.parts)])
        return state._replace(chosen=jnp.argmin(jnp.where(jnp.isnan(each), jnp.inf, each)))

    return jax.tree.map(close, losses, state, is_leaf=_is_candidates)


class Trace(NamedTuple):
    """How a fit went, since it was begun or resumed.

    Attributes:
        updates: what each update said, ``(steps, ...)``.
        validation: the validation losses before each round and at the end, nats.
    """

    updates: Any
    validation: Any


class Fit(NamedTuple):
    """A trained state, for ``estimator.estimate``, and how it came about.

    Attributes:
        state: the state with the least validation loss, part by part, and of ``Candidates`` the least chosen; the last
            one where nothing was validated.
        trace: see ``Trace``.
    """

    state: Any
    trace: Trace


class Run(NamedTuple):
    """A fit after some rounds: all that it takes to go on."""

    state: Any
    best: Any
    best_loss: Any


class Plan(NamedTuple):
    """The static settings of a fit."""

    steps: int
    batch_size: int
    every: int
    validation: float

    @property
    def rounds(self) -> int:
        return -(-self.steps // self.every)


def planned(n: int, steps: int, batch_size: int, every: int | None, validation: float) -> Plan:
    """The settings, checked against the number of samples."""
    steps, batch_size = operator.index(steps), operator.index(batch_size)
    every = _every(steps) if every is None else operator.index(every)
    _checks.require(steps >= 1 and every >= 1, f"steps is {steps}, every is {every}; expected at least 1")
    _checks.require(0 <= validation < 1, f"validation is {validation}; expected a share of the samples, below 1")
    training = n - held_out(n, validation)
    _checks.require(
        1 <= batch_size <= training,
        f"batch_size is {batch_size}, with {training} samples to train on ({n} less {validation:.0%} for "
        "validation); expected 1 to that many: lower batch_size",
    )
    return Plan(steps, batch_size, min(every, steps), float(validation))


def _every(steps: int) -> int:
    """About ``steps / 40``, and a divisor of the steps where there is one: a shorter last round costs a branch."""
    about = max(steps / _LOOKS, 1)
    divisors = [d for d in range(math.ceil(about / 2), int(2 * about) + 1) if steps % d == 0]
    return min(divisors, key=lambda d: abs(d - about), default=max(steps // _LOOKS, 1))


def size(samples: Samples) -> int:
    """The number of samples."""
    sizes = {name: leaf.shape[0] for name, leaf in samples._asdict().items() if leaf is not None}
    _checks.require(
        len(set(sizes.values())) == 1,
        f"the samples have leading axes {sizes}; expected one, the same for all: pair them before the call",
    )
    return next(iter(sizes.values()))


def arrays(samples: Samples) -> tuple[Samples, Any]:
    """The samples as jax arrays, and whether all is finite."""
    samples = Samples(*(None if leaf is None else jnp.asarray(leaf) for leaf in samples))
    ok: Any = True
    for (name, leaf), finite in zip(samples._asdict().items(), _finite(samples), strict=True):
        if finite is not None:
            ok &= _checks.ensure(finite, functools.partial(_missing, name, leaf))
    if samples.weight is not None:
        weight = jnp.asarray(samples.weight)
        ok &= _checks.ensure(
            (weight >= 0).all() & (weight.sum() > 0),
            lambda: (
                f"weight runs from {float(weight.min()):g} to {float(weight.max()):g}; expected numbers >= 0, not "
                "all 0: give samples that should not count the weight 0"
            ),
        )
    return samples, ok


@jax.jit  # one program, not two for each field
def _finite(samples: Samples) -> Samples:
    check = lambda leaf: jnp.isfinite(leaf).all() if jnp.issubdtype(leaf.dtype, jnp.floating) else None
    return Samples(*(None if leaf is None else check(leaf) for leaf in samples))


def _missing(name: str, leaf: Array) -> str:
    return (
        f"{name} has {int((~jnp.isfinite(leaf)).sum())} NaN or infinite values; drop or impute those samples before "
        "the call, or give them weight 0 and any finite value"
    )


def held_out(n: int, share: float) -> int:
    """Samples kept for validation: rounded, but at least one where any is asked for."""
    return max(round(n * share), 1) if share else 0


def taken(samples: Samples, index: Array) -> Samples:
    """The samples at some indices."""
    return jax.tree.map(lambda leaf: leaf[index], samples)


def split(key: Key, samples: Samples, share: float) -> tuple[Samples, Samples | None]:
    """What is trained on and, where there is any, what is validated on."""
    count = held_out(size(samples), share)
    if not count:
        return samples, None
    order = jax.random.permutation(jax.random.fold_in(key, 1), size(samples))
    return taken(samples, order[count:]), taken(samples, order[:count])


def _order(key: Key, n: int, count: int) -> Array:
    """``count`` indices: permutations of n, one after the other."""
    drawn = lambda number: jax.random.bits(jax.random.fold_in(key, number), (n,))
    times = -(-count // n)
    draws = drawn(0)[None] if times == 1 else jax.vmap(drawn)(jnp.arange(times))
    if n > _PACKED:
        return jnp.argsort(draws).ravel()[:count]
    # One word holds the draw and, in its lowest bits, the index: XLA sorts words six times as fast as pairs. Draws that
    # agree in all other bits, at least 16, stay in the order of their indices: neighbours, of one minibatch or two.
    lowest = (1 << (n - 1).bit_length()) - 1
    words = draws & jnp.uint32(~lowest & 0xFFFFFFFF) | jnp.arange(n, dtype=jnp.uint32)[None]
    return (jax.lax.sort(words, is_stable=False) & jnp.uint32(lowest)).astype(jnp.int32).ravel()[:count]


def _losses(estimator: Estimator, state: Any, validation: Samples) -> Any:
    return jax.tree.map(lambda leaf: weighted_mean(leaf, validation.weight), estimator.estimate(state, validation))


def started(estimator: Estimator, key: Key, training: Samples, validation: Samples | None) -> Run:
    """Before the first round: nothing is validated yet."""
    state = estimator.init(jax.random.fold_in(key, 0), training)
    if validation is None:
        return Run(state, None, None)
    best = _opened(state)
    losses = jax.eval_shape(functools.partial(_losses, estimator), best, validation)
    return Run(state, best, jax.tree.map(lambda loss: jnp.full(loss.shape, jnp.inf, loss.dtype), losses))


def _validated(estimator: Estimator, run: Run, validation: Samples) -> tuple[Run, Any]:
    """With the state among the best where it is, and its losses."""
    new = _opened(run.state)
    losses = _losses(estimator, new, validation)
    better = jax.tree.map(lambda new, old: new < old, losses, run.best_loss)
    if validation.weight is not None:  # where nothing that counts is validated, the last state is as good as any
        nothing = jnp.sum(jnp.asarray(validation.weight)) == 0
        better = jax.tree.map(lambda leaf: leaf | nothing, better)
    best = jax.tree.map(
        lambda better, new, old: jax.tree.map(lambda a, b: jnp.where(better, a, b), new, old),
        better, new, run.best,
    )  # fmt: skip
    return Run(run.state, best, jax.tree.map(jnp.where, better, losses, run.best_loss)), losses


def advanced(
    estimator: Estimator, plan: Plan, key: Key, run: Run, parts: tuple[Samples, Any], first: Array, rounds: int
) -> tuple[Run, Trace]:
    """``rounds`` more rounds, from number ``first`` on; of the trace, steps beyond the last are the caller's to cut."""
    training, validation = parts
    n = size(training)
    ragged = plan.steps % plan.every != 0

    def step(number: Array, key: Key, carry: tuple[Any, Any], inputs: tuple[Array, Array]) -> Any:
        place, index = inputs
        own = jax.random.fold_in(key, place)
        state, info = carry
        if not ragged:
            state, now = estimator.update(own, state, taken(training, index))
            return (state, info), now
        # The last round is shorter: what lies beyond the last step changes nothing.
        state, info = jax.lax.cond(
            number * plan.every + place < plan.steps,
            lambda: estimator.update(own, state, taken(training, index)),
            lambda: (state, info),
        )
        return (state, info), info

    def one_round(run: Run, number: Array) -> tuple[Run, Trace]:
        # Validated here and not where it is made: a state that has come through the loop holds no constants, and
        # XLA for CPUs (jaxlib 0.12 too) gets networks with constant weights wrong, such as last layers of zeros.
        losses = None
        if validation is not None:
            run, losses = _validated(estimator, run, validation)
        own = jax.random.fold_in(jax.random.fold_in(key, 2), number)
        order = _order(jax.random.fold_in(own, 0), n, plan.every * plan.batch_size)
        inputs = (jnp.arange(plan.every), order.reshape(plan.every, plan.batch_size))
        info = None
        if ragged:
            shapes = jax.eval_shape(estimator.update, own, run.state, taken(training, order[: plan.batch_size]))[1]
            info = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        in_round = functools.partial(step, number, jax.random.fold_in(own, 1))
        (state, _), infos = jax.lax.scan(in_round, (run.state, info), inputs)
        return run._replace(state=state), Trace(infos, losses)

    run, trace = jax.lax.scan(one_round, run, first + jnp.arange(rounds))
    updates = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), trace.updates)
    return run, Trace(updates, trace.validation)


def finished(estimator: Estimator, run: Run, validation: Samples | None, trace: Trace, steps: int) -> Fit:
    """After the last round; ``steps`` are those of the trace."""
    trace = trace._replace(updates=jax.tree.map(lambda leaf: leaf[:steps], trace.updates))
    if validation is None:
        return Fit(run.state, trace)
    run, losses = _validated(estimator, run, validation)
    every = jax.tree.map(lambda new: new[None], losses)
    if trace.validation is not None:
        every = jax.tree.map(lambda old, new: jnp.concatenate([old, new]), trace.validation, every)
    return Fit(_closed(run.best, run.best_loss), trace._replace(validation=every))


@functools.partial(jax.jit, static_argnames=("estimator", "plan"))
def trained(estimator: Estimator, plan: Plan, key: Key, samples: Samples) -> Fit:
    """``fit`` of arrays that are checked."""
    parts = split(key, samples, plan.validation)
    run = started(estimator, key, *parts)
    run, trace = advanced(estimator, plan, key, run, parts, jnp.asarray(0), plan.rounds)
    return finished(estimator, run, parts[1], trace, plan.steps)


def fit(
    estimator: Estimator,
    key: Key,
    samples: Samples,
    *,
    steps: int,
    batch_size: int,
    validation: float = 0.0,
    every: int | None = None,
) -> Fit:
    """Train an estimator: one XLA program, minibatches drawn inside it.

    Args:
        estimator: what to train.
        key: PRNG key of the split, the first state and the minibatches.
        samples: arrays with one leading axis ``(n, ...)``; weights scale each sample's loss.
        steps: number of updates.
        batch_size: samples of a minibatch, at most those that are trained on.
        validation: share of the samples that is set aside: the state returned is then the best on them, part by
            part, the first state included. 0 keeps the last state.
        every: updates between two looks at them; None means about a fortieth of the steps.

    Returns:
        A ``Fit``. Works under jit and vmap over keys and samples; NaN features give a NaN state there.

    Raises:
        ValueError: leading axes that differ, a batch larger than the training part, NaN features.

    Example:
        >>> import optax
        >>> from pidjax.estimators.base import by_gradient
        >>> normal = by_gradient(
        ...     lambda key, samples: (jnp.zeros(()), None),
        ...     lambda mean, _, samples: 0.5 * (samples.x1 - mean) ** 2 + 0.918939,
        ...     optax.sgd(0.1))
        >>> x = 3.0 + jax.random.normal(jax.random.key(0), (1000,))
        >>> done = fit(normal, jax.random.key(1), Samples(x1=x), steps=200, batch_size=100)
        >>> print(f"{done.state.params:.1f}", done.trace.updates.shape)
        3.0 (200,)
    """
    samples, ok = arrays(samples)
    plan = planned(size(samples), steps, batch_size, every, validation)
    return _checks.poison(trained(estimator, plan, key, samples), ok)
