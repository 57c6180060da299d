"""Run the discrete benchmark: pidjax against every peer, one JSON row for each cell, failures too.

    python benchmarks/run.py [--only NAME ...] [--out rows.jsonl] [--quick] [--device]

Everybody has the same core, one thread, float64 and the same problems. "Cold" is the first call in a fresh process
(imports apart, compilation included), "warm" the median of the next. ``distance`` is how far a value lies outside of
pidjax's certified bracket. ``summarise.py`` makes the tables.
"""

import argparse
import datetime
import importlib.metadata
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cell
import config
import numpy as np
import problems

__all__ = ["Row", "cold_start_rows", "facts", "printed", "problem_rows"]

Row = dict[str, Any]

_FIRST_CALL = """
import os, time
os.sched_setaffinity(0, {core})
start = time.perf_counter()
import {package}
print(time.perf_counter() - start)
if {call}:
    import numpy
    p = numpy.random.default_rng(0).exponential(size={shape})
    p /= p.sum()
    start = time.perf_counter()
    {package}.broja(p)
    print(time.perf_counter() - start)
"""


def facts(device: bool = False) -> Row:
    """What every row says of the machine and the moment.

    Args:
        device: whether the cells may use every core and accelerator.

    Returns:
        Processor, number of cores used, XLA's flags, versions and time.
    """
    versions = {"python": platform.python_version()}
    for package in config.PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    with open("/proc/cpuinfo") as info:
        names = [line.split(":")[1].strip() for line in info if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.machine(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "cpus": len(os.sched_getaffinity(0)) if device else 1,
        "versions": versions,
        "timestamp": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def problem_rows(
    name: str,
    problem: config.Problem,
    *,
    limit: Callable[[str, config.Problem], float],
    exceeded: dict[str, tuple[int, str]] | None = None,
    device: bool = False,
) -> Iterator[Row]:
    """Ask every solver of a problem.

    Args:
        name: what the rows call the problem.
        problem: a row of a table.
        limit: seconds for a solver on a problem; zero or less skips it.
        exceeded: solvers that have run out of time: at how many cells, and the reason; updated.
        device: as in ``cell.measured``.

    Yields:
        A row for every solver and instance.
    """
    exceeded = {} if exceeded is None else exceeded
    size = math.prod(problem.shape)
    with tempfile.TemporaryDirectory() as folder:
        drawn = problems.saved(problem, folder)
        files = [path for _, path in drawn]
        brackets: list[tuple[np.ndarray, np.ndarray] | None] = [None for _ in files]
        for number, solver in enumerate(problem.solvers):
            seconds = limit(solver, problem)
            if solver in exceeded and size >= exceeded[solver][0]:
                results: list[Row] = [{"error": f"skipped: {exceeded[solver][1]}"} for _ in files]
            elif seconds <= 0:
                results = [{"error": "skipped: the run's time was up"} for _ in files]
            else:
                results = cell.measured(solver, problem, files, limit=seconds, device=device)
            if any(str(result.get("error")).startswith("exceeded") for result in results):
                exceeded[solver] = size, f"exceeded {seconds:g} s at {problem.shape}"
            if number == 0:
                brackets = [(r["lowers"], r["uppers"]) if "lowers" in r else None for r in results]
            for (labels, _), result, bracket in zip(drawn, results, brackets, strict=True):
                settings = {"form": problem.form, "dtype": problem.dtype, "tol": problem.tol, "solver": solver}
                yield {"problem": name} | labels | settings | _described(result, bracket) | facts(device)


def _described(result: Row, bracket: tuple[np.ndarray, np.ndarray] | None) -> Row:
    """A result as JSON: arrays become a number (the mean, of a batch), and the distance to the bracket."""
    row = {key: value for key, value in result.items() if key not in ("values", "lowers", "uppers")}
    if "values" in result:
        values = result["values"]
        row["problems"] = len(values)
        row["per_second"] = len(values) / result["seconds_warm"]
        row["value"] = np.mean(values)
        if len(values) == 1 and "lowers" in result:
            row |= {"lower": result["lowers"][0], "upper": result["uppers"][0]}
        if bracket is not None:  # an answer of ours is a bracket too: whether the two overlap
            lower, upper = (side[: len(values)] for side in bracket)
            outside = lower - result.get("uppers", values), result.get("lowers", values) - upper
            row["distance"] = np.max(np.maximum(np.maximum(*outside), 0.0))
    return {key: _json(value) for key, value in row.items()}


def _json(value: Any) -> Any:
    """Plain numbers; JSON knows neither NaN nor infinities."""
    value = value.item() if isinstance(value, np.generic | np.ndarray) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def cold_start_rows() -> Iterator[Row]:
    """Imports, and the first call on a new small shape, each in a fresh process on one core.

    The first call three ways: nothing cached; with a warm persistent cache as jax sets it up (it keeps only programs
    that took ``jax_persistent_cache_min_compile_time_secs``, 1 s, to compile); and with one that keeps every program.

    Yields:
        A row for each.
    """

    def fresh(package: str, call: bool, environment: Mapping[str, str]) -> list[float]:
        code = _FIRST_CALL.format(core={cell.one_core()}, package=package, call=call, shape=config.FIRST_CALL_SHAPE)
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=dict(os.environ) | cell.ON_CPU | environment,
            capture_output=True,
            text=True,
            timeout=config.START_LIMIT,
        )
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        return [float(line) for line in done.stdout.split()]

    def first_call(**environment: str) -> float:
        """Of the second process: the first one fills the cache."""
        with tempfile.TemporaryDirectory() as folder:
            cache = {"JAX_ENABLE_COMPILATION_CACHE": "true", "JAX_COMPILATION_CACHE_DIR": folder} | environment
            return [fresh("pidjax", True, cache)[1] for _ in range(2)][1]

    measures: dict[tuple[str, str], Callable[[], float]] = {
        ("import", "jax"): lambda: min(fresh("jax", False, {})[0] for _ in range(3)),
        ("import", "pidjax"): lambda: min(fresh("pidjax", False, {})[0] for _ in range(3)),
        ("first call", "no cache"): lambda: fresh("pidjax", True, {})[1],
        ("first call", "warm cache of programs above 1 s"): first_call,
        ("first call", "warm cache of every program"): lambda: first_call(
            JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0"
        ),
    }
    for (problem, kind), measure in measures.items():
        row: Row = {"problem": problem, "kind": kind, "solver": "pidjax", "form": "cold start", "device": "cpu"}
        if problem == "first call":
            row["shape"] = config.FIRST_CALL_SHAPE
        try:
            row["seconds_cold"] = measure()
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            row["error"] = str(error)[:300]
        yield row | facts()


def printed(row: Row) -> str:
    """One line of progress.

    Args:
        row: of ``problem_rows`` or ``cold_start_rows``.

    Returns:
        What was solved by whom, seconds, and what went wrong.
    """
    seconds = row.get("seconds_warm", row.get("seconds_cold"))
    shown = f"{seconds:.4g} s" if seconds is not None else ""
    if row.get("distance"):
        shown += f", off by {row['distance']:.1e}"
    what = " ".join(str(row[key]) for key in ("problem", "kind", "seed", "solver") if row.get(key) is not None)
    return f"{what}: {shown} {row.get('error', '')}".rstrip()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help='problems, solvers, "cold start"')
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("discrete.jsonl"), help="written anew")
    parser.add_argument("--quick", action="store_true", help="small problems, short limits")
    parser.add_argument("--device", action="store_true", help="pidjax on every core and accelerator that jax finds")
    options = parser.parse_args()
    table = config.QUICK if options.quick else config.PROBLEMS
    known = [*table, *config.ROUTES, *config.PEERS, "cold start"]
    if unknown := [name for name in options.only if name not in known]:
        parser.error(f"unknown {unknown}; expected names among {known}")
    solvers = {name for name in options.only if name in (*config.ROUTES, *config.PEERS)}
    chosen = set(options.only) - solvers or {*table, "cold start"}
    end = time.monotonic() + config.PEERS_UNTIL

    def limit(solver: str, problem: config.Problem) -> float:
        if solver in config.ROUTES:
            return config.PIDJAX_LIMIT
        seconds = config.QUICK_LIMIT if options.quick else problem.limit
        return seconds if time.monotonic() + seconds < end else 0.0

    def rows() -> Iterator[Row]:
        exceeded: dict[str, tuple[int, str]] = {}
        for name, problem in table.items():
            asked = tuple(solver for solver in problem.solvers if not solvers or solver in solvers)
            if name in chosen and asked:
                narrowed = problem._replace(solvers=asked)
                yield from problem_rows(name, narrowed, limit=limit, exceeded=exceeded, device=options.device)
        if "cold start" in chosen:
            yield from cold_start_rows()

    with options.out.open("w") as out:
        for row in rows():
            out.write(json.dumps(row, allow_nan=False) + "\n")
            out.flush()
            print(printed(row), flush=True)


if __name__ == "__main__":
    main()
