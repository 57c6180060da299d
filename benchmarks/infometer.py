"""Entropy models beside CompressAI's, on the same tensor; mutual information beside KSG and the Gaussian plug-in.

    COMPRESSAI_PATH=FOLDER COMPRESSAI_PYTHON=~/torch/bin/python python benchmarks/infometer.py > rows.jsonl

COMPRESSAI_PATH holds the package ``compressai``; COMPRESSAI_PYTHON is an interpreter with torch (the default is this
one). Each cell is a process of its own on one core, and a line of JSON. Rates: the factorised model of normal columns,
as many updates of the same batch by both; nats a sample on fresh samples, and the truth. Information: Gaussian pairs,
whose truth is known, quantised (ours) and not (KSG and the plug-in, which see the features themselves).
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["PAIRS", "RATES", "main"]

# Columns, batch, updates of both.
RATES: list[tuple[int, int, int]] = [(1, 256, 2000), (1, 2048, 1000), (16, 256, 1000), (16, 2048, 300)]
# Columns of each modality, correlation of each pair of them; 5000 samples.
PAIRS: list[tuple[int, float]] = [(1, 0.0), (1, 0.5), (1, 0.9), (5, 0.5), (10, 0.9)]
STEP = 0.25
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def _timed(work: Any) -> tuple[list[float], Any]:
    seconds, found = [], None
    for _ in range(3):
        start = time.perf_counter()
        found = work()
        seconds.append(time.perf_counter() - start)
    return seconds, found


def _rate(columns: int, batch: int, updates: int) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from pidjax import Samples
    from pidjax.estimators import factorised, fit

    x, test = (
        jnp.asarray(np.random.default_rng(seed).normal(size=(n, columns)), jnp.float32)
        for seed, n in ((0, 20_000), (1, 200_000))
    )
    # As many layers as CompressAI's.
    model = factorised("x1", step=STEP, units="raw", steps=updates, filters=(3, 3, 3, 3))
    work = lambda: jax.block_until_ready(fit(model, jax.random.key(0), Samples(x1=x), steps=updates, batch_size=batch))
    seconds, done = _timed(work)
    rate = float(jax.jit(model.estimate)(done.state, Samples(x1=test)).mean())
    settings = [str(columns), str(batch), str(updates), str(STEP)]
    python = os.environ.get("COMPRESSAI_PYTHON", sys.executable)
    peer = subprocess.run(
        [python, str(Path(__file__).parent / "infometer_peer.py"), os.environ["COMPRESSAI_PATH"], *settings],
        capture_output=True, text=True,
    )  # fmt: skip
    row = {
        "table": "rate", "columns": columns, "batch": batch, "updates": updates,
        "truth": columns * _cell_entropy(STEP),
        "pidjax": {"updates_per_second": updates / statistics.median(seconds[1:]), "seconds_first": seconds[0],
                   "rate": rate},
    }  # fmt: skip
    row["compressai"] = json.loads(peer.stdout) if peer.returncode == 0 else {"error": peer.stderr[-300:]}
    return row


def _cell_entropy(step: float) -> float:
    """Of a standard normal variable in cells."""
    from math import erf, sqrt

    edges = (np.arange(-int(9 / step) - 1, int(9 / step) + 2) - 0.5) * step
    p = np.diff([0.5 * (1 + erf(edge / sqrt(2))) for edge in edges])
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def _information(columns: int, rho: float) -> dict[str, Any]:
    import jax
    from sklearn.feature_selection import mutual_info_regression

    import pidjax
    from pidjax.estimators import InfometerRecipe, fitted_infometer

    rng = np.random.default_rng(0)
    x = rng.normal(size=(5000, columns)).astype(np.float32)
    y = (rho * x + np.sqrt(1 - rho**2) * rng.normal(size=x.shape)).astype(np.float32)
    recipe = InfometerRecipe(routes=("conditional",))
    work = lambda: jax.block_until_ready(
        fitted_infometer(jax.random.key(0), pidjax.Samples(x, y), step=STEP, recipe=recipe)
    )
    seconds, done = _timed(work)
    value, error = done.information["conditional"]
    row: dict[str, Any] = {
        "table": "information", "columns": columns, "rho": rho, "truth": -columns * float(np.log(1 - rho**2)) / 2,
        "pidjax": {"value": float(value), "standard_error": float(error), "seconds": statistics.median(seconds[1:]),
                   "seconds_first": seconds[0]},
    }  # fmt: skip
    if columns == 1:  # scikit-learn's takes one target
        took, found = _timed(lambda: mutual_info_regression(x, y[:, 0], random_state=0)[0])
        row["ksg"] = {"value": float(found), "seconds": statistics.median(took)}
    log_det = lambda *parts: np.linalg.slogdet(np.cov(np.concatenate(parts, 1).T.reshape(-1, len(x))).reshape(
        (sum(part.shape[1] for part in parts),) * 2))[1]  # fmt: skip
    took, found = _timed(lambda: (log_det(x) + log_det(y) - log_det(x, y)) / 2)
    row["gaussian"] = {"value": float(found), "seconds": statistics.median(took)}
    return row


def _cell(number: int) -> dict[str, Any]:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    return _rate(*RATES[number]) if number < len(RATES) else _information(*PAIRS[number - len(RATES)])


def main() -> None:
    """Run every cell, one after the other."""
    from run import facts  # what every row says of the machine

    inside = dict(os.environ, JAX_PLATFORMS="cpu", JAX_ENABLE_COMPILATION_CACHE="false", **ONE_THREAD)
    for number in range(len(RATES) + len(PAIRS)):
        done = subprocess.run([sys.executable, __file__, str(number)], capture_output=True, text=True, env=inside)
        try:
            answer = json.loads(done.stdout.splitlines()[-1])
        except (IndexError, json.JSONDecodeError):
            kind = "rate" if number < len(RATES) else "information"
            answer = {"table": kind, "cell": number, "error": done.stderr[-300:]}
        print(json.dumps(answer | facts()), flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        print(json.dumps(_cell(int(sys.argv[1]))))
