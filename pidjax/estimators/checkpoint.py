"""Long fits: in jitted chunks, with progress and checkpoints between them; the one place that writes files of a fit."""

import contextlib
import operator
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pidjax import _checks
from pidjax._precision import is_traced
from pidjax.estimators.base import Estimator
from pidjax.estimators.fit import Fit, Run, Trace, advanced, arrays, finished, planned, size, split, started
from pidjax.typing import Key, Samples

__all__ = ["fit_in_chunks"]

_begin = jax.jit(started, static_argnames="estimator")
_continue = jax.jit(advanced, static_argnames=("estimator", "plan", "rounds"), donate_argnames="run")
_finish = jax.jit(finished, static_argnames=("estimator", "steps"))


def fit_in_chunks(
    estimator: Estimator,
    key: Key,
    samples: Samples,
    *,
    steps: int,
    batch_size: int,
    validation: float = 0.0,
    every: int | None = None,
    rounds: int = 1,
    callback: Callable[[int, Trace], None] | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> Fit:
    """``fit`` for long runs: jitted chunks, and between them the host may look, and save.

    Resuming is exact to the bit: a run that was killed and is called again with the same arguments and folder goes
    on after its last saved chunk and ends in the state that it would have ended in.

    Args:
        estimator: what to train.
        key: as in ``fit``.
        samples: as in ``fit``.
        steps: as in ``fit``.
        batch_size: as in ``fit``.
        validation: as in ``fit``.
        every: as in ``fit``; updates in a round.
        rounds: rounds in a chunk.
        callback: called after each chunk with the number of steps done and the trace of the chunk.
        folder: where checkpoints are written (orbax) and looked for; None saves nothing. A
            checkpoint of other settings, key or number of samples is refused; that estimator and samples are the same
            is the caller's duty.

    Returns:
        A ``Fit``; its trace starts where this call started.

    Raises:
        ValueError: as in ``fit``, or a checkpoint that doesn't belong to this fit.

    Example:
        >>> import optax
        >>> from pidjax.estimators.base import by_gradient
        >>> normal = by_gradient(
        ...     lambda key, samples: (jnp.zeros(()), None),
        ...     lambda mean, _, samples: 0.5 * (samples.x1 - mean) ** 2 + 0.918939,
        ...     optax.sgd(0.1))
        >>> x = 3.0 + jax.random.normal(jax.random.key(0), (1000,))
        >>> done = fit_in_chunks(
        ...     normal, jax.random.key(1), Samples(x1=x), steps=200, batch_size=100, every=50, rounds=2,
        ...     callback=lambda step, trace: print(step, trace.updates.shape))
        100 (100,)
        200 (100,)
    """
    samples, _ = arrays(samples)
    plan = planned(size(samples), steps, batch_size, every, validation)
    _checks.require(operator.index(rounds) >= 1, f"rounds is {rounds}; expected at least 1")
    _checks.require(
        not is_traced((key, samples)), "fit_in_chunks runs on the host; inside jit or vmap use fit", TypeError
    )
    parts = split(key, samples, plan.validation)
    run = _begin(estimator, key, *parts)
    traces = []
    # What has to be the same for a checkpoint to be of this fit.
    identity = plan._asdict() | {"samples": size(samples), "key": np.asarray(jax.random.key_data(key)).tolist()}
    with _checkpoints(folder) as checkpoints:
        begun, run = _restored(checkpoints, run, identity)
        done = begun
        while done < plan.rounds:
            count = min(rounds, plan.rounds - done)
            run, trace = _continue(estimator, plan, key, run, parts, jnp.asarray(done), count)
            done += count
            if checkpoints is not None:
                args = _orbax().args
                saved = args.Composite(run=args.StandardSave(run), identity=args.JsonSave(identity))
                checkpoints.save(done, args=saved)
            traces.append(trace)
            if callback is not None:
                callback(min(done * plan.every, plan.steps), trace)
    whole = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *traces) if traces else Trace(None, None)
    return _finish(estimator, run, parts[1], whole, plan.steps - begun * plan.every)


def _orbax() -> Any:
    """Orbax takes a second to import: only who saves waits for it."""
    import orbax.checkpoint

    return orbax.checkpoint


@contextlib.contextmanager
def _checkpoints(folder: str | os.PathLike[str] | None) -> Iterator[Any]:
    """Orbax's manager of a folder that keeps the newest two; None without a folder."""
    if folder is None:
        yield None
        return
    orbax = _orbax()
    options = orbax.CheckpointManagerOptions(max_to_keep=2, create=True)
    with orbax.CheckpointManager(os.path.abspath(folder), options=options) as manager:
        yield manager
        manager.wait_until_finished()


def _restored(manager: Any, run: Run, identity: dict[str, Any]) -> tuple[int, Run]:
    """The newest checkpoint and its number of rounds; what was given, and 0, where there is none."""
    if manager is None or (latest := manager.latest_step()) is None:
        return 0, run
    args = _orbax().args
    found = manager.restore(latest, args=args.Composite(identity=args.JsonRestore()))["identity"]
    differing = [name for name in identity if found.get(name) != identity[name]]
    _checks.require(
        not differing,
        f"the checkpoint in the folder is of another fit: it differs in {', '.join(differing)}; use another folder, or "
        "call with the arguments that it was begun with",
    )
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), run)
    return latest, manager.restore(latest, args=args.Composite(run=args.StandardRestore(shapes)))["run"]
