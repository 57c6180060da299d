"""Bounds without labelled pairs: pidjax's beside the published procedure (cvxpy), on the same random joints.

    PID_PATH=~/PID python benchmarks/unpaired.py > benchmarks/unpaired.jsonl

PID_PATH is a checkout of github.com/pliang279/PID, whose ``bounds/bounds.py`` is called unchanged (it needs cvxpy and
scipy, the benchmarks extra). Each cell of a table below is a process of its own on one core: so many joints by pidjax
in one program, the first few of them by the published code, one after the other. A line of JSON each: seconds a
problem, warm and first; how often a bound was wrong (the joint is known here); how tight both are, on the same joints.
"""

import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["CELLS", "draws", "main"]

# Shape, kind, joints for pidjax, joints for the published procedure.
CELLS: list[tuple[tuple[int, int, int], str, int, int]] = [
    ((2, 2, 2), "dense", 100_000, 20),
    ((2, 2, 2), "sparse", 100_000, 20),
    ((3, 3, 2), "dense", 100_000, 10),
    ((3, 3, 2), "sparse", 100_000, 10),
    ((5, 5, 5), "dense", 5_000, 3),
    ((5, 5, 5), "sparse", 5_000, 3),
    ((20, 20, 2), "dense", 200, 2),
    ((20, 20, 2), "sparse", 200, 2),
]
AT_ONCE = 500
TOLERANCE = 1e-7
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def draws(shape: tuple[int, int, int], kind: str, count: int) -> np.ndarray:
    """Random joints: exponential cells; in sparse ones, each is empty with probability a half."""
    rng = np.random.default_rng(0)
    p = rng.exponential(size=(count, *shape))
    if kind == "sparse":
        p *= rng.random(p.shape) < 0.5
        p.reshape(count, -1)[:, 0] += 1e-3
    return p / p.sum((1, 2, 3), keepdims=True)


def _pidjax(p: np.ndarray) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    import jax

    import pidjax

    with jax.enable_x64(True):
        tables = [jax.numpy.asarray(t) for t in (p.sum(2), p.sum(1), p.sum(3))]

        def each(p1: Any, p2: Any, p12: Any) -> dict[str, Any]:
            found = pidjax.synergy_bounds(p1, p2, p12)
            return {"lower": found.lower, "upper": found.upper, "gap": found.gap, "known": found.pid.redundancy}

        # Side by side by the hundred: of a loop under vmap all wait for the slowest.
        program = jax.jit(lambda *tables: jax.lax.map(lambda own: each(*own), tables, batch_size=min(len(p), AT_ONCE)))
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            found = jax.block_until_ready(program(*tables))
            seconds.append(time.perf_counter() - start)
        synergy = lambda p: pidjax.broja(p).pid.synergy
        truth = jax.jit(lambda p: jax.lax.map(synergy, p, batch_size=min(len(p), AT_ONCE)))(jax.numpy.asarray(p))
    bounds = {name: np.asarray(found[name]) for name in ("lower", "upper", "gap")} | {"truth": np.asarray(truth)}
    seen = {"seconds": statistics.median(seconds[1:]) / len(p), "seconds_first": seconds[0]}
    return seen, bounds


def _published(p: np.ndarray) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    sys.path.insert(0, str(Path(os.environ["PID_PATH"]) / "bounds"))
    import bounds as published  # type: ignore[import-not-found]

    seconds, found, failed = [], [], 0
    for q in p:
        start = time.perf_counter()
        try:
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                own = published.get_bounds(q)[1]
        except Exception:  # a solver that gave up: the procedure has no answer
            failed += 1
            continue
        seconds.append(time.perf_counter() - start)
        bits = {name: float(own[name]) * np.log(2) for name in ("lower_R", "lower_diff", "upper")}
        found.append({"redundancy": bits["lower_R"], "disagreement": bits["lower_diff"], "upper": bits["upper"]})
    seen = {"seconds": statistics.median(seconds) if seconds else None, "failed": failed, "asked": len(p)}
    names = ("redundancy", "disagreement", "upper")
    return seen, {name: np.array([own[name] for own in found]) for name in names}


def _cell(number: str) -> dict[str, Any]:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    shape, kind, count, few = CELLS[int(number)]
    p = draws(shape, kind, count)
    seen, ours = _pidjax(p)
    row: dict[str, Any] = {"shape": shape, "kind": kind, "count": count, "pidjax": seen}
    row["pidjax"] |= {
        "wrong": int(((ours["lower"] > ours["truth"] + TOLERANCE) | (ours["upper"] < ours["truth"] - TOLERANCE)).sum()),
        "unsolved": int((~(ours["gap"] <= 1e-8)).sum()),
        "gap": float(np.nanmax(ours["gap"])),
    }
    seen, theirs = _published(p[:few])
    row["published"] = seen
    if not seen["failed"]:
        truth, off = ours["truth"][:few], 1e-3  # nats: what its solvers leave is no defect of the bound
        row["published"] |= {
            "not_finite": int(sum((~np.isfinite(value)).sum() for value in theirs.values())),
            "wrong_disagreement": int((theirs["disagreement"] > truth + off).sum()),
            "wrong_redundancy": int((theirs["redundancy"] > truth + off).sum()),
            "wrong_upper": int((theirs["upper"] < truth - off).sum()),
        }
        row["slack"] = {  # mean distance from the true synergy, nats
            "pidjax": {"lower": float((truth - ours["lower"][:few]).mean()),
                       "upper": float((ours["upper"][:few] - truth).mean())},
            "published": {"lower": float(np.nanmean(truth - theirs["redundancy"])),
                          "upper": float(np.nanmean(theirs["upper"] - truth))},
        }  # fmt: skip
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
            shape, kind, count, _ = CELLS[number]
            answer = {"shape": shape, "kind": kind, "count": count, "error": done.stderr[-300:]}
        print(json.dumps(answer | facts()), flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        print(json.dumps(_cell(sys.argv[1])))
