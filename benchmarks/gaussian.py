"""Gaussian systems: pidjax's closed form beside our own implementation of the published iterations, on one core.

    python benchmarks/gaussian.py > benchmarks/gaussian.jsonl

The publications (arXiv 2510.04417, Thin-PID; Venkatesh et al. 2023, Tilde-PID) minimise ``I(X1,X2;Y)`` over the
covariance C of the two noises, given y, by projected gradients. Written here from that description, in NumPy: ``thin``
projects C by its singular values, ``full`` the whole noise by its eigenvalues. Both step down the gradient with a step
that grows by half when it succeeds and is halved when not (which needs fewer steps than one sign at a time, measured),
start at independent noises, and are stopped by the answer, which they would not know: the moment they are within 1e-6
nats of it, or after LIMIT seconds. A line of JSON for each cell: seconds of one system, warm and
first, steps, distances.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["CELLS", "LIMIT", "full", "gains", "main", "objective", "thin", "through"]

# Dimensions, systems side by side for pidjax; the iterations get one.
CELLS: list[tuple[tuple[int, int, int], int]] = [
    ((8, 8, 4), 1),
    ((8, 8, 4), 100_000),
    ((16, 16, 2), 1),
    ((100, 100, 100), 1),
    ((1000, 600, 1), 1),
]
LIMIT = 40.0
ACCURACY = 1e-6  # nats
REPEATS = 20
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

Step = Callable[[np.ndarray], np.ndarray]


def gains(dims: tuple[int, int, int], count: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Normal gains of both modalities, ``(count, d_i, dy)``."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, dims[0], dims[2])), rng.normal(size=(count, dims[1], dims[2]))


def objective(c: np.ndarray, h1: np.ndarray, h2: np.ndarray) -> tuple[float, np.ndarray]:
    """``I(X1,X2;Y)`` for noises of unit covariance and cross covariance C, and its gradient in C."""
    second = np.linalg.solve(np.eye(c.shape[1]) - c.T @ c, h2 - c.T @ h1)
    first = h1 - c @ second
    v = np.eye(h1.shape[1]) + h1.T @ first + h2.T @ second
    return np.linalg.slogdet(v)[1] / 2, -first @ np.linalg.solve(v, second.T)


def thin(c: np.ndarray, cap: float = 1 - 1e-9) -> np.ndarray:
    """The nearest C that noises of unit covariance can have: singular values of one at most."""
    u, s, v = np.linalg.svd(c, full_matrices=False)
    return (u * np.minimum(s, cap)) @ v


def full(c: np.ndarray, least: float = 1e-9) -> np.ndarray:
    """The whole noise without its negative eigenvalues, and then with unit blocks again."""
    d1, d2 = c.shape
    values, vectors = np.linalg.eigh(np.block([[np.eye(d1), c], [c.T, np.eye(d2)]]))
    if values[0] >= least:
        return c
    noise = (vectors * np.maximum(values, least)) @ vectors.T

    def whitened(block: np.ndarray) -> np.ndarray:
        values, vectors = np.linalg.eigh(block)
        return (vectors / np.sqrt(values)) @ vectors.T

    return (1 - least) * whitened(noise[:d1, :d1]) @ noise[:d1, d1:] @ whitened(noise[d1:, d1:])


def through(project: Step, h1: np.ndarray, h2: np.ndarray, answer: float, limit: float = LIMIT) -> dict[str, Any]:
    """The iteration with this projection, until it is as accurate as asked or out of time."""
    start, steps, length = time.perf_counter(), 0, 0.1
    c = np.zeros((len(h1), len(h2)))
    value, slope = objective(c, h1, h2)
    while value - answer > ACCURACY and length > 1e-14 and time.perf_counter() - start < limit:
        trial = project(c - length * slope)
        found, gradient = objective(trial, h1, h2)
        steps += 1
        if found < value:
            c, value, slope, length = trial, found, gradient, 1.5 * length
        else:
            length /= 2
    return {"seconds": time.perf_counter() - start, "steps": steps, "above": float(value - answer)}


def _timed(call: Callable[[], Any]) -> dict[str, float]:
    seconds = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
        if sum(seconds[1:]) > 5:
            break
    return {"seconds": statistics.median(seconds[1:]), "seconds_first": seconds[0]}


def _cell(number: str) -> dict[str, Any]:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    dims, count = CELLS[int(number)]
    h1, h2 = gains(dims, count)
    import jax

    from pidjax.gaussian import gaussian_pid, gaussian_pid_from_gains

    row: dict[str, Any] = {"dims": dims, "count": count}
    with jax.enable_x64(True):
        each = jax.jit(jax.vmap(gaussian_pid_from_gains) if count > 1 else gaussian_pid_from_gains)
        first, second = (jax.numpy.asarray(h if count > 1 else h[0]) for h in (h1, h2))
        row["gains"] = _timed(lambda: jax.block_until_ready(each(first, second)))
        if count > 1:
            row["gains"]["seconds"] /= count
            return row
        pid = each(first, second)
        answer = float(pid.redundancy + pid.unique1 + pid.unique2)
        h = np.concatenate([h1[0], h2[0]])
        cov = jax.numpy.asarray(np.block([[h @ h.T + np.eye(len(h)), h], [h.T, np.eye(dims[2])]]))
        whole = jax.jit(gaussian_pid, static_argnums=1)
        row["covariance"] = _timed(lambda: jax.block_until_ready(whole(cov, dims)))
    row["thin"] = through(thin, h1[0], h2[0], answer)
    row["full"] = through(full, h1[0], h2[0], answer)
    return row


def main() -> None:
    """Run every cell, one after the other."""
    from run import facts  # what every row says of the machine

    inside = dict(os.environ, JAX_PLATFORMS="cpu", JAX_ENABLE_COMPILATION_CACHE="false", **ONE_THREAD)
    for number in range(len(CELLS)):
        done = subprocess.run([sys.executable, __file__, str(number)], capture_output=True, text=True, env=inside)
        try:
            answer = json.loads(done.stdout.splitlines()[-1])
        except (IndexError, json.JSONDecodeError):
            dims, count = CELLS[number]
            answer = {"dims": dims, "count": count, "error": done.stderr[-300:]}
        print(json.dumps(answer | facts()), flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        print(json.dumps(_cell(sys.argv[1])))
