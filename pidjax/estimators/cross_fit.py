"""Cross-fitting: every sample judged by a model that never saw it, all models trained in one XLA program."""

import functools
import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pidjax import _checks
from pidjax._precision import is_traced
from pidjax.estimators.base import Estimator
from pidjax.estimators.fit import Plan, Trace, arrays, held_out, planned, size, taken, trained
from pidjax.typing import Array, ArrayLike, Key, Samples

__all__ = ["CrossFit", "cross_fit", "training_size"]


class CrossFit(NamedTuple):
    """Out-of-fold estimates, and the models that made them.

    Attributes:
        estimate: every leaf ``(repeats, n, ...)``: each sample's value by a model that never saw it.
        fold: ``(repeats, n)``: the number of that model.
        state: every leaf ``(repeats, folds, ...)``, for samples that no model saw.
        trace: every leaf ``(repeats, folds, ...)``.
    """

    estimate: Any
    fold: Array
    state: Any
    trace: Trace


@functools.partial(jax.jit, static_argnames=("n", "folds"))
def _fold_indices(key: Key, n: int, folds: int) -> tuple[Array, Array]:
    """Of each fold the samples to train on ``(folds, n - c)`` and those held out ``(folds, c)``, c = ceil(n / folds).

    Windows of one length over a permutation: where n is no multiple they overlap, which costs nothing.
    """
    order = jax.random.permutation(key, n)
    held = -(-n // folds)
    starts = jnp.minimum(jnp.arange(folds) * held, n - held)[:, None]
    others = jnp.arange(n - held)[None]
    return order[others + held * (others >= starts)], order[starts + jnp.arange(held)[None]]


def _grouped_indices(key: Key, groups: np.ndarray, folds: int) -> tuple[np.ndarray, np.ndarray]:
    """The same with whole groups held out: shorter folds are filled up with samples they have already."""
    names, group = np.unique(groups, return_inverse=True)
    _checks.require(
        len(names) >= folds,
        f"groups has {len(names)} distinct values for {folds} folds; expected one a fold at least: take fewer folds, "
        f"Recipe(folds={max(len(names), 2)})",
    )
    rank = np.argsort(np.asarray(jax.random.permutation(key, len(names))))
    fold = rank[group] * folds // len(names)
    inside = [np.flatnonzero(fold == number) for number in range(folds)]
    outside = [np.flatnonzero(fold != number) for number in range(folds)]
    longest, shortest = max(map(len, inside)), min(map(len, outside))
    generator = np.random.default_rng(np.asarray(jax.random.bits(jax.random.fold_in(key, 1), (2,))))
    train = np.stack([generator.permutation(rows)[:shortest] for rows in outside])
    return train, np.stack([np.resize(rows, longest) for rows in inside])


@functools.partial(jax.jit, static_argnames=("estimator", "plan", "estimate"))
def _cross_fit(
    estimator: Estimator, plan: Plan, estimate: Callable[[Any, Samples], Any], key: Key, samples: Samples,
    train: Array, held: Array,
) -> CrossFit:  # fmt: skip
    """``train`` and ``held``: (repeats, folds, ...) indices."""
    repeats, folds, _ = train.shape
    keys = jax.random.split(key, repeats * folds)

    def one(key: Key, train: Array, held: Array) -> tuple[Any, Any]:
        done = trained(estimator, plan, key, taken(samples, train))
        return done, estimate(done.state, taken(samples, held))

    # One vmap over both, for each vmap costs as much tracing as the fit itself.
    trees = jax.vmap(one)(keys, train.reshape(-1, train.shape[2]), held.reshape(-1, held.shape[2]))
    done, values = jax.tree.map(lambda leaf: leaf.reshape(repeats, folds, *leaf.shape[1:]), trees)

    def gathered(leaf: Array) -> Array:
        """(repeats, folds, c, ...) to (repeats, n, ...)."""
        empty = jnp.zeros((size(samples), *leaf.shape[3:]), leaf.dtype)
        put = lambda index, rows: empty.at[index.ravel()].set(rows.reshape(-1, *rows.shape[2:]))
        return jax.vmap(put)(held, leaf)

    numbers = jnp.broadcast_to(jnp.arange(folds)[:, None], held.shape)
    return CrossFit(jax.tree.map(gathered, values), gathered(numbers), *done)


def training_size(n: int, folds: int, validation: float, groups: ArrayLike | None = None) -> int:
    """How many samples every fit of ``cross_fit`` trains on, at least: the largest minibatch.

    Args:
        n: number of samples.
        folds: as in ``cross_fit``.
        validation: likewise.
        groups: likewise.

    Returns:
        The number, 1 or more.

    Example:
        >>> training_size(1000, 5, 0.1)
        720
    """
    outside = n - -(-n // folds)
    if groups is not None:  # the largest groups may all be held out by one fold
        counts = np.sort(np.unique(np.asarray(groups), return_counts=True)[1])[::-1]
        outside = n - int(counts[: -(-len(counts) // folds)].sum())
    return max(outside - held_out(outside, validation), 1)


def cross_fit(
    estimator: Estimator,
    key: Key,
    samples: Samples,
    *,
    steps: int,
    batch_size: int,
    folds: int = 5,
    repeats: int = 1,
    validation: float = 0.1,
    every: int | None = None,
    estimate: Callable[[Any, Samples], Any] | None = None,
    groups: ArrayLike | None = None,
) -> CrossFit:
    """Every sample's estimate by a model that never saw it: all folds and repeats trained together under vmap.

    Args:
        estimator: what to train.
        key: PRNG key of the folds and of every fit.
        samples: arrays with one leading axis ``(n, ...)``.
        steps: updates of each fit.
        batch_size: samples of a minibatch.
        folds: parts of the data; each is held out once.
        repeats: how often the data are divided anew.
        validation: share of each training part that chooses its best state (see ``fit``).
        every: see ``fit``.
        estimate: another function ``(state, samples) -> result`` to evaluate instead of ``estimator.estimate``.
            Static by identity, like the estimator.
        groups: ``(n,)`` concrete; samples of one group (clips of a speaker, say) are never on both sides.

    Returns:
        A ``CrossFit``. Works under jit and vmap (without ``groups``).

    Raises:
        ValueError: fewer samples or groups than folds, and what ``fit`` refuses.

    Example:
        >>> import optax
        >>> from pidjax.estimators.base import by_gradient
        >>> normal = by_gradient(
        ...     lambda key, samples: (jnp.zeros(()), None),
        ...     lambda mean, _, samples: 0.5 * (samples.x1 - mean) ** 2 + 0.918939,
        ...     optax.sgd(0.1))
        >>> x = 3.0 + jax.random.normal(jax.random.key(0), (1000,))
        >>> done = cross_fit(normal, jax.random.key(1), Samples(x1=x), steps=100, batch_size=50, repeats=2)
        >>> print(done.estimate.shape, done.state.params.shape, f"{done.estimate.mean():.1f}")
        (2, 1000) (2, 5) 1.4
    """
    samples, ok = arrays(samples)
    n = size(samples)
    folds, repeats = operator.index(folds), operator.index(repeats)
    _checks.require(
        2 <= folds <= n and repeats >= 1,
        f"folds is {folds}, repeats {repeats}, for {n} samples; expected 2 folds or more, each with a sample",
    )
    keys = jax.random.split(jax.random.fold_in(key, 0), repeats)
    if groups is None:
        train, held = jax.vmap(lambda key: _fold_indices(key, n=n, folds=folds))(keys)
    else:
        _checks.require(
            not is_traced(groups) and np.shape(groups) == (n,),
            f"groups has shape {np.shape(groups)}; expected ({n},), concrete: it decides on shapes",
        )
        train, held = _stacked(_grouped_indices(key, np.asarray(groups), folds) for key in keys)
    plan = planned(train.shape[2], steps, batch_size, every, validation)
    chosen = estimator.estimate if estimate is None else estimate
    return _checks.poison(_cross_fit(estimator, plan, chosen, jax.random.fold_in(key, 1), samples, train, held), ok)


def _stacked(pairs: Iterator[tuple[np.ndarray, np.ndarray]]) -> tuple[Array, Array]:
    """Repeats of grouped folds differ in size: cut the training parts, fill up the held out."""
    trains, helds = zip(*pairs, strict=True)
    shortest, longest = min(t.shape[1] for t in trains), max(h.shape[1] for h in helds)
    grown = [np.stack([np.resize(row, longest) for row in held]) for held in helds]
    return jnp.asarray(np.stack([t[:, :shortest] for t in trains])), jnp.asarray(np.stack(grown))
