"""One cell: a solver on the instances of a problem, in a process of its own, killed at its limit. Linux."""

import contextlib
import math
import multiprocessing
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import config
import numpy as np
import peers

__all__ = ["ON_CPU", "measured", "one_core", "peak_mb"]

Result = dict[str, Any]
# A measured process compiles for itself, and its linear algebra on the host has one thread.
ALONE = {"JAX_ENABLE_COMPILATION_CACHE": "false"} | dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)
ON_CPU = ALONE | {"JAX_PLATFORMS": "cpu"}


class _Solver(NamedTuple):
    place: Callable[[dict[str, np.ndarray]], Any]  # the arrays of a file to what is solved; not timed
    solve: Callable[[Any], Any]  # timed
    describe: Callable[[Any], Result]  # what goes into the row; not timed
    device: str
    device_memory: Callable[[], Result]


def one_core() -> int:
    """The core that all measured processes share."""
    return max(os.sched_getaffinity(0))


def peak_mb() -> float:
    """Peak resident memory of this process (of its own: ``ru_maxrss`` starts at that of the process that forked)."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def measured(
    solver: str, problem: config.Problem, files: list[str], *, limit: float, device: bool = False
) -> list[Result]:
    """Run one cell.

    Args:
        solver: a key of ``config.ROUTES`` or one of ``config.PEERS``.
        problem: what the files hold.
        files: instances, as ``problems.saved`` writes them.
        limit: seconds for each instance, repeats included; the process is killed when one takes longer.
        device: leave all cores and accelerators to the process; otherwise it has one core.

    Returns:
        A result for every file: ``seconds_cold`` (the first only), ``seconds_warm``, ``memory_mb``, ``values`` and,
        from pidjax, ``lowers`` and ``uppers``; or ``error``, what went wrong.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(there, solver, problem, files, device), daemon=True)
    with _environment(ALONE if device else ON_CPU):
        process.start()
    there.close()
    common: Result = {}
    results: list[Result] = []
    try:
        common = _received(here, config.START_LIMIT)
        while len(results) < len(files) and "error" not in common:
            results.append(common | _received(here, limit))
    except (EOFError, TimeoutError) as stop:
        process.join(0 if isinstance(stop, TimeoutError) else None)
        died = f"the process died (exit code {process.exitcode})"
        results.append(common | {"error": str(stop) if isinstance(stop, TimeoutError) else died})
    finally:
        process.kill()
        process.join()
    rest = common if "error" in common else {"error": f"not run: {(results or [{}])[-1].get('error')}"}
    return results + [rest for _ in files[len(results) :]]


def _received(connection: Connection, limit: float) -> Result:
    if not connection.poll(limit):
        raise TimeoutError(f"exceeded {limit:g} s")
    return connection.recv()


@contextlib.contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _child(connection: Connection, solver: str, problem: config.Problem, files: list[str], device: bool) -> None:
    """Send what all rows share, then a result for every file."""
    ours = solver in config.ROUTES
    try:
        if not device:
            os.sched_setaffinity(0, {one_core()})
        if not ours:
            warnings.simplefilter("ignore")  # a peer's status goes into its row
        loaded = _pidjax(solver, problem) if ours else _peer(solver, problem)
    except Exception as error:
        connection.send({"error": _text(error)})
        return
    connection.send({"device": loaded.device, "memory_import_mb": peak_mb()})
    for number, file in enumerate(files):
        try:
            result = _timed(loaded, loaded.place(dict(np.load(file))), first=number == 0, ours=ours)
        except Exception as error:
            result = {"error": _text(error)}
        connection.send(result | {"memory_mb": peak_mb()} | loaded.device_memory())


def _text(error: Exception) -> str:
    text = str(error) if isinstance(error, peers.NotSolved) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:300]


def _timed(loaded: _Solver, placed: Any, *, first: bool, ours: bool) -> Result:
    def once() -> tuple[Any, float]:
        start = time.perf_counter()
        return loaded.solve(placed), time.perf_counter() - start

    answer, cold = once()
    times: list[float] = []
    repeated = cold < (config.PIDJAX_REPEATS_BELOW if ours else config.PEER_REPEATS_BELOW)
    while repeated and len(times) < config.REPEATS and sum(times) < config.ENOUGH:
        answer, seconds = once()
        times.append(seconds)
    warm = statistics.median(times) if times else cold
    result = {"seconds_warm": warm, "repeats": len(times)} | loaded.describe(answer)
    if first:  # later instances find everything compiled
        result["seconds_cold"] = cold
        if ours and times:
            result["seconds_compile"] = cold - warm
    return result


def _peer(solver: str, problem: config.Problem) -> _Solver:
    one = peers.load(solver)

    def or_error(p: np.ndarray) -> float | Exception:
        try:
            return one(p)
        except Exception as error:
            return error

    def place(arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
        return list(arrays["p"][: config.LOOP]) if problem.form == "batch" else [arrays["p"]]

    def describe(answers: list[float | Exception]) -> Result:
        failed = [answer for answer in answers if isinstance(answer, Exception)]
        values = [getattr(answer, "value", math.nan) if isinstance(answer, Exception) else answer for answer in answers]
        result: Result = {"values": np.array(values)}
        if failed:
            share = f"{len(failed)} of {len(answers)}: " if len(answers) > 1 else ""
            result["error"] = share + _text(failed[0])
        return result

    return _Solver(place, lambda joints: [or_error(p) for p in joints], describe, "cpu", dict)


def _pidjax(solver: str, problem: config.Problem) -> _Solver:
    import jax

    import pidjax

    settings = {"tol": problem.tol, "method": config.ROUTES[solver]}
    used = jax.devices()[0]

    def device_memory() -> Result:
        stats = used.memory_stats() or {}
        return {"memory_device_mb": stats["peak_bytes_in_use"] / 2**20} if "peak_bytes_in_use" in stats else {}

    def describe(answer: tuple) -> Result:
        lower, upper, gap, steps = map(np.atleast_1d, map(np.asarray, answer[:4]))
        return {"values": lower, "lowers": lower, "uppers": upper, "gap": gap.max(), "steps": steps.max()}

    def certified(solution: pidjax.Solution) -> tuple:
        return solution.lower, solution.upper, solution.gap, solution.steps, solution.pid

    if problem.form == "batch":
        jax.config.update("jax_enable_x64", problem.dtype == "float64")
        batch = jax.jit(jax.vmap(lambda p: certified(pidjax.broja(p, **settings))))

        def place(arrays: dict[str, np.ndarray]) -> jax.Array:
            return jax.block_until_ready(jax.device_put(arrays["p"]))

        def solve(p: jax.Array) -> tuple:
            return jax.block_until_ready(batch(p))

        return _Solver(place, solve, describe, used.device_kind, device_memory)
    # NumPy in, NumPy out: the answer is on the host, in the precision of the file.
    function = pidjax.union_information if problem.form == "tables" else pidjax.broja

    def arguments(arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        return (arrays["p1"], arrays["p2"]) if problem.form == "tables" else (arrays["p"],)

    return _Solver(
        arguments,
        lambda arrays: function(*arrays, **settings),
        lambda solution: describe(certified(solution)),
        used.device_kind,
        device_memory,
    )
