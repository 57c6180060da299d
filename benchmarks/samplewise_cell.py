"""One sample-wise cell, in a process of its own: ``samplewise.py`` starts it, with the interpreter that has the peer.

    python benchmarks/samplewise_cell.py SOLVER WORK ARRAYS.npz ANSWERS.npz CORE REPEATS

Prints one line of JSON: ``seconds`` by what was timed, the first call first, ``memory_mb``, ``memory_import_mb``,
``device``, ``versions``; or ``error``. What is estimated goes to ANSWERS.npz, to be judged by who knows the truth.
Imports are not timed, nor is the garbage collector's way through what they left, for anyone.
"""

import contextlib
import gc
import json
import math
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import cell
import numpy as np
import samplewise_peers

__all__ = ["ENOUGH", "REPEATS_BELOW", "WORKS", "main"]

ENOUGH = 8.0  # seconds: no repetition begins once they have gone into repetitions
REPEATS_BELOW = 15.0  # seconds: a longer first call of a peer, which compiles nothing, stands for the warm time too
EPOCHS, BATCH = 30, 32  # of LSMI
ATOMS = ("redundancy", "unique1", "unique2", "synergy")


def measured(
    place: Callable[[dict[str, np.ndarray]], samplewise_peers.Call], files: list[str], repeats: int, below: float
) -> dict[str, list[float]]:
    """Place the arrays, call once, then again where that took less than so long: seconds by what was timed."""
    with np.load(files[0]) as arrays:
        call = place(dict(arrays))
    gc.collect()
    gc.freeze()  # else a tenth of a second, in whichever call the collector happens to come by
    first, answers = call()
    seconds = {name: [value] for name, value in first.items()}
    spent = 0.0
    while repeats and spent < ENOUGH and max(first.values()) < below:
        again, answers = call()
        for name, value in again.items():
            seconds[name].append(value)
        spent += max(again.values())
        repeats -= 1
    np.savez(files[1], **answers)
    return seconds


def main(solver: str, work: str, *files_core_repeats: str) -> dict[str, Any]:
    """Run the cell.

    Args:
        solver: ``"pidjax"``, or a key of ``samplewise_peers.LOADERS``.
        work: of pidjax a key of ``WORKS``; a peer has one.
        files_core_repeats: the arrays, where the answers go, a core, repetitions at most.

    Returns:
        What is printed.
    """
    *files, core, repeats = files_core_repeats
    os.sched_setaffinity(0, {int(core)})
    try:
        if solver == "pidjax":
            place, versions = WORKS[work](), {}
        else:
            place, versions = samplewise_peers.load(solver), samplewise_peers.versions()
        shared = {"device": "cpu", "versions": versions, "memory_import_mb": cell.peak_mb()}
        seconds = measured(place, files, int(repeats), math.inf if solver == "pidjax" else REPEATS_BELOW)
    except Exception as error:
        return {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
    return shared | {"seconds": seconds, "memory_mb": cell.peak_mb()}


def _timed(name: str, fitted: Callable[[], Any], answers: Callable[[Any], dict[str, Any]]) -> samplewise_peers.Call:
    """The fit is timed, to its end; what it says of the samples that judge it is not."""
    import jax

    def call() -> tuple[dict[str, float], dict[str, np.ndarray]]:
        start = time.perf_counter()
        done = jax.block_until_ready(fitted())
        seconds = time.perf_counter() - start
        return {name: seconds}, {key: np.asarray(value) for key, value in answers(done).items()}

    return call


def _samples(arrays: dict[str, np.ndarray], part: str) -> Any:
    from pidjax.typing import Samples

    return Samples(*(arrays[f"{name}{part}"] for name in ("x1", "x2", "y")))


def _stepped(steps: int) -> Any:
    """LSMI's optimiser: Adam at 1e-3, a tenth of it after each so many updates; on one array, not one a layer."""
    import optax

    return optax.flatten(optax.adam(optax.exponential_decay(1e-3, steps, 0.1, staircase=True)))


def _plan(n: int) -> dict[str, Any]:
    """LSMI's 30 epochs of batches of 32, nothing validated; a look costs nothing then, and once is enough."""
    steps = EPOCHS * (n // BATCH)
    return {"steps": steps, "batch_size": BATCH, "validation": 0.0, "every": steps // EPOCHS}


def _classifiers() -> Callable[[dict[str, np.ndarray]], samplewise_peers.Call]:
    """LSMI's three classifiers: d-64-64-k, ReLU, features as they are, the last state.

    pidjax's own joint classifier stands on the other two. Here each sees both modalities side by side and takes its
    columns of them. They start as torch's linear layers do, biases too: uniform within 1 / sqrt(inputs).
    """
    import jax
    import jax.numpy as jnp

    from pidjax.estimators.base import parallel
    from pidjax.estimators.classifier import Net, classifier
    from pidjax.estimators.fit import fit
    from pidjax.typing import Samples

    def place(arrays: dict[str, np.ndarray]) -> samplewise_peers.Call:
        d, k = arrays["x1"].shape[1], int(max(arrays["y"].max(), arrays["y_val"].max())) + 1

        def seeing(columns: slice, inputs: int) -> Net:
            def init(key: Any, x: Any) -> list[tuple[Any, Any]]:
                shapes = [(inputs + 1, 64), (65, 64), (65, k)]  # the last row is the bias
                ends = np.cumsum([rows * units for rows, units in shapes])
                drawn = jnp.split(jax.random.uniform(key, (ends[-1],), x.dtype, -1.0, 1.0), ends[:-1])
                layers = [
                    part.reshape(shape) / math.sqrt(shape[0] - 1) for part, shape in zip(drawn, shapes, strict=True)
                ]
                return [(layer[:-1], layer[-1:]) for layer in layers]

            def apply(layers: list[tuple[Any, Any]], x: Any) -> Any:
                x = x[:, columns]
                for weights, bias in layers[:-1]:
                    x = jnp.maximum(x @ weights + bias, 0.0)
                weights, bias = layers[-1]
                return x @ weights + bias

            return Net(init, apply)

        def both(part: str) -> Samples:
            x1, x2, y = _samples(arrays, part)[:3]
            return jax.device_put(Samples(x1=np.concatenate([x1, x2], axis=1), y=y))

        plan = _plan(len(arrays["y"]))
        networks = {"i1": seeing(slice(d), d), "i2": seeing(slice(d, None), d), "i12": seeing(slice(None), 2 * d)}
        estimator = parallel(
            **{
                name: classifier(network, classes=k, tx=_stepped(15 * plan["every"]), standardise=False).estimator
                for name, network in networks.items()
            }
        )
        samples, held, key = both(""), both("_val"), jax.random.key(0)
        return _timed(
            "classifiers",
            lambda: fit(estimator, key, samples, **plan),
            lambda done: {name: np.log(k) - h for name, h in estimator.estimate(done.state, held).items()},
        )

    return place


def _knives() -> Callable[[dict[str, np.ndarray]], samplewise_peers.Call]:
    """LSMI's two KNIFEs: 5 kernels from a random start, tanh, features as they are, the last state."""
    import jax

    from pidjax.estimators.base import parallel
    from pidjax.estimators.fit import fit
    from pidjax.estimators.knife import published_knife

    def place(arrays: dict[str, np.ndarray]) -> samplewise_peers.Call:
        plan = _plan(len(arrays["y"]))
        estimator = parallel(**{f"h{x[1]}": published_knife(x, tx=_stepped(20 * plan["every"])) for x in ("x1", "x2")})
        samples, held = (jax.device_put(_samples(arrays, part)) for part in ("", "_val"))
        key = jax.random.key(0)
        return _timed(
            "knives",
            lambda: fit(estimator, key, samples, **plan),
            lambda done: estimator.estimate(done.state, held),
        )

    return place


def _training() -> Callable[[dict[str, np.ndarray]], samplewise_peers.Call]:
    """LSMI's classifiers, then its KNIFEs: in a process it pays its start once."""
    places = [_classifiers(), _knives()]

    def place(arrays: dict[str, np.ndarray]) -> samplewise_peers.Call:
        calls = [place(arrays) for place in places]

        def call() -> tuple[dict[str, float], dict[str, np.ndarray]]:
            (seconds, answers), (more_seconds, more_answers) = [call() for call in calls]
            return seconds | more_seconds, answers | more_answers

        return call

    return place


def _pipeline() -> Callable[[dict[str, np.ndarray]], samplewise_peers.Call]:
    """``fitted_lsmi`` by default, over all samples; its means are then shifted as LSMI shifts them."""
    import jax

    from pidjax.estimators.lsmi import constant_shift
    from pidjax.estimators.samplewise import FittedLsmi, fitted_lsmi
    from pidjax.typing import Samples

    def place(arrays: dict[str, np.ndarray]) -> samplewise_peers.Call:
        parts = [_samples(arrays, part)[:3] for part in ("", "_val")]
        samples = jax.device_put(Samples(*map(np.concatenate, zip(*parts, strict=True))))
        key, fitted = jax.random.key(0), jax.jit(fitted_lsmi, static_argnames="classes")
        classes = int(samples.y.max()) + 1

        def answers(done: FittedLsmi) -> dict[str, Any]:
            shifted = constant_shift(done.values.pid)
            aggregates = {name: getattr(shifted, name).mean() for name in ATOMS}
            pointwise = (*done.values.information, *done.values.surprisal)
            return aggregates | dict(zip(("i1", "i2", "i12", "h1", "h2"), pointwise, strict=True))

        return _timed("pipeline", lambda: fitted(key, samples, classes=classes), answers)

    return place


def _entropy() -> Callable[[dict[str, np.ndarray]], samplewise_peers.Call]:
    """The default KNIFE by its recipe."""
    import jax

    from pidjax.estimators.fit import fit
    from pidjax.estimators.knife import RECIPE, knife
    from pidjax.typing import Samples

    def place(arrays: dict[str, np.ndarray]) -> samplewise_peers.Call:
        estimator, key = knife(), jax.random.key(0)
        samples, held = (jax.device_put(Samples(x1=arrays[name])) for name in ("x", "x_val"))
        return _timed(
            "entropy",
            lambda: fit(estimator, key, samples, **RECIPE),
            lambda done: {"h": estimator.estimate(done.state, held)},
        )

    return place


WORKS: dict[str, Callable[[], Callable[[dict[str, np.ndarray]], samplewise_peers.Call]]] = {
    "training": _training,
    "pipeline": _pipeline,
    "entropy": _entropy,
}


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):  # the peers print
        line = main(*sys.argv[1:])
    print(json.dumps(line))
