"""Run the sample-wise benchmark: pidjax against the published LSMI and KNIFE, one JSON row a cell, failures too.

    python benchmarks/samplewise.py [--only NAME ...] [--out samplewise.jsonl] [--quick]

``LSMI_PATH`` and ``KNIFE_PATH`` name checkouts of the published codes (``samplewise_peers.py``), ``LSMI_PYTHON`` an
interpreter that has torch; without them their rows say so. All get the same arrays, one after the other, each in a
process of its own on one core with one thread, float32. "Cold" is the first call in it (imports apart, compilation
included), "cached" the same with a persistent compilation cache that a process before it has filled, "warm" the median
of the next calls. Forms of rows:

- ``classifiers`` and ``knives``, the same work, one after the other in a process, as LSMI does it: what it trains on
  1600 samples, 1500 steps of 32, judged on 400 more;
- ``pipeline``, each its own way: LSMI as published; pidjax by default, cross-fitted over the 2000;
- ``entropy``, each its own way: 10,000 samples, judged on 20,000 more.

``distance`` is the largest error, in nats: of R, U1, U2, S (``pipeline``) and of the informations (``classifiers``)
against the population's values; of the entropies against the mean surprisal of the very samples they are judged on,
which leaves the Kullback-Leibler divergence. ``rms`` are pointwise errors, against the exact densities; the pipelines'
are of the same 400 samples, judged by models of 1600 others (of a part of them, in pidjax), though pidjax answers for
all 2000.
``summarise.py --table samplewise`` makes the tables.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cell
import numpy as np
import run
import samplewise_peers

__all__ = ["PROBLEMS", "QUICK", "Entropy", "Gaussian", "channel_information", "judged", "problem_rows"]

Arrays = dict[str, np.ndarray]
RHO, NOISE = 0.5, 0.5  # of LSMI's gaussian_data


class Gaussian(NamedTuple):
    """LSMI's own data: both modalities are the label's unit vector plus noise, and the noises are correlated.

    Attributes:
        classes: of the label; the dimension of either modality.
        n: samples that a peer is trained on.
        n_val: samples that it is judged on.
        seeds: of the samples.
        repeats: further calls at most.
        cached: whether pidjax's first call is also timed with a warm compilation cache (two processes more).
    """

    classes: int
    n: int = 1600
    n_val: int = 400
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    repeats: int = 3
    cached: bool = True

    @property
    def works(self) -> dict[str, tuple[str, ...]]:
        """Who is asked, for what: each is a process."""
        return {"lsmi": ("lsmi",), "pidjax": ("training", "pipeline")}

    def arrays(self, seed: int) -> Arrays:
        """Samples to train on, and with ``_val`` to be judged on."""
        generator = np.random.default_rng(seed)
        arrays: Arrays = {}
        for part, n in (("", self.n), ("_val", self.n_val)):
            y = generator.integers(0, self.classes, n)
            label = np.eye(self.classes)[y]
            u, v = NOISE * generator.standard_normal((2, n, self.classes))
            x1, x2 = label + u, label + RHO * u + math.sqrt(1 - RHO**2) * v
            arrays |= {f"x1{part}": x1.astype(np.float32), f"x2{part}": x2.astype(np.float32), f"y{part}": y}
        return arrays

    def exact(self, arrays: Arrays) -> Arrays:
        """Pointwise informations, surprisals and LSMI's redundancy of all samples, the judged ones last."""
        x1, x2, y = (np.concatenate([arrays[name], arrays[f"{name}_val"]]) for name in ("x1", "x2", "y"))
        exact: Arrays = {}
        for which, x, variance in (("1", x1, 1.0), ("2", x2, 1.0), ("12", x1 + x2, 1 + RHO)):
            # |x - e_y|^2 = |x|^2 - 2 x_y + 1, whatever y is; of the pair, the sum is sufficient
            logits = x.astype(np.float64) / (variance * NOISE**2)
            exact[f"i{which}"] = math.log(self.classes) + logits[np.arange(len(y)), y] - _logsumexp(logits)
        for which, x in (("1", x1), ("2", x2)):
            x = x.astype(np.float64)
            squares = ((x**2).sum(1, keepdims=True) - 2 * x + 1) / (2 * NOISE**2)
            constant = math.log(self.classes) + self.classes / 2 * math.log(2 * math.pi * NOISE**2)
            exact[f"h{which}"] = constant - _logsumexp(-squares)
        return exact | {"r": pointwise_redundancy(exact)}

    def truths(self) -> dict[str, float]:
        """Of the population. The modalities are exchangeable: no unique information (BROJA), which LSMI agrees with."""
        one = channel_information(self.classes, NOISE)
        both = channel_information(self.classes, NOISE * math.sqrt((1 + RHO) / 2))
        atoms = {"redundancy": one, "unique1": 0.0, "unique2": 0.0, "synergy": both - one}
        return atoms | {"i1": one, "i2": one, "i12": both}


class Entropy(NamedTuple):
    """A density whose entropy is wanted: pairs with correlation 0.8, or a mixture of unit normals.

    Attributes:
        dimension: of the samples.
        components: of the mixture; 1 for the pairs.
        n: samples to train on.
        n_val: samples to be judged on.
        seeds: of the samples.
        repeats: further calls at most.
        cached: whether pidjax's first call is also timed with a warm compilation cache (two processes more).
    """

    dimension: int
    components: int = 1
    n: int = 10_000
    n_val: int = 20_000
    seeds: tuple[int, ...] = (0,)
    repeats: int = 3
    cached: bool = True

    @property
    def works(self) -> dict[str, tuple[str, ...]]:
        """Who is asked, for what: each is a process."""
        return {peer: (peer,) for peer in ("lsmi_knife", "lsmi_knife_zero_grad", "knife")} | {"pidjax": ("entropy",)}

    def _means(self) -> np.ndarray:
        scale = 3.0 if self.components > 1 else 0.0
        return scale * np.random.default_rng(self.components).standard_normal((self.components, self.dimension))

    def _factor(self) -> np.ndarray:
        """Cholesky factor of a component's covariance."""
        correlation = 0.8 if self.components == 1 else 0.0
        pair = np.array([[1.0, 0.0], [correlation, math.sqrt(1 - correlation**2)]])
        return np.kron(np.eye(self.dimension // 2), pair)

    def arrays(self, seed: int) -> Arrays:
        """Samples ``x`` to train on, ``x_val`` to be judged on."""
        generator = np.random.default_rng(seed)
        arrays = {}
        for name, n in (("x", self.n), ("x_val", self.n_val)):
            component = self._means()[generator.integers(0, self.components, n)]
            noise = generator.standard_normal((n, self.dimension)) @ self._factor().T
            arrays[name] = (component + noise).astype(np.float32)
        return arrays

    def exact(self, arrays: Arrays) -> Arrays:
        """Surprisals ``h`` of all samples, the judged ones last."""
        x = np.concatenate([arrays["x"], arrays["x_val"]]).astype(np.float64)
        inverse = np.linalg.inv(self._factor())
        squares = ((x[:, None] - self._means()) @ inverse.T) ** 2
        constant = self.dimension / 2 * math.log(2 * math.pi) + math.log(self.components)
        constant += np.linalg.slogdet(self._factor())[1]
        return {"h": constant - _logsumexp(-squares.sum(-1) / 2)}

    def truths(self) -> dict[str, float]:
        """The entropy: in closed form, or of a mixture from a million samples."""
        if self.components == 1:
            normal = self.dimension / 2 * math.log(2 * math.pi * math.e) + np.linalg.slogdet(self._factor())[1]
            return {"h": float(normal)}
        drawn = self._replace(n=1, n_val=1 << 17)
        return {"h": float(np.mean([drawn.exact(drawn.arrays(seed))["h"].mean() for seed in range(1, 9)]))}


Problem = Gaussian | Entropy
PROBLEMS: dict[str, Problem] = {
    "Gaussian, 2 classes": Gaussian(2),
    "Gaussian, 10 classes": Gaussian(10),
    **{f"normal, d = {d}": Entropy(d) for d in (2, 10, 20)},
    **{f"mixture of 5, d = {d}": Entropy(d, 5) for d in (2, 10)},
}
QUICK: dict[str, Problem] = {
    "Gaussian, 2 classes": Gaussian(2, n=320, n_val=80, seeds=(0,), repeats=1, cached=False),
    "normal, d = 2": Entropy(2, n=1000, n_val=1000, repeats=1),
}
SOLVERS = ("lsmi", "lsmi_knife", "lsmi_knife_zero_grad", "knife", "pidjax")
LIMIT = 300.0  # seconds of a process
ATOMS = ("redundancy", "unique1", "unique2", "synergy")
JUDGED = {  # what decides the distance
    "classifiers": ("i1", "i2", "i12"),
    "knives": ("h1", "h2"),
    "pipeline": ATOMS,
    "entropy": ("h",),
}
POINTWISE = {
    "classifiers": ("i1", "i2", "i12"),
    "knives": ("h1", "h2"),
    "pipeline": ("i1", "i2", "i12", "h1", "h2", "r"),
    "entropy": ("h",),
}


def _logsumexp(a: np.ndarray) -> np.ndarray:
    top = a.max(-1)
    return top + np.log(np.exp(a - top[..., None]).sum(-1))


def pointwise_redundancy(terms: Arrays) -> np.ndarray:
    """LSMI's, before any adjustment: min(h1, h2) - min(h1 - i1, h2 - i2)."""
    h1, h2 = terms["h1"], terms["h2"]
    return np.minimum(h1, h2) - np.minimum(h1 - terms["i1"], h2 - terms["i2"])


def channel_information(classes: int, noise: float) -> float:
    """I(Y; e_Y + noise N(0, 1)) of a uniform label, nats: a mean over four million samples, right to about 1e-3.

    Args:
        classes: of the label.
        noise: standard deviation.

    Returns:
        The information.
    """
    generator = np.random.default_rng(0)
    total, chunk, chunks = 0.0, 1 << 16, 64
    for _ in range(chunks):
        logits = generator.standard_normal((chunk, classes)) / noise
        logits[:, 0] += 1 / noise**2  # the label is 0: all are alike
        total += float((logits[:, 0] - _logsumexp(logits)).sum())
    return math.log(classes) + total / (chunk * chunks)


def judged(form: str, answers: Arrays, exact: Arrays, truths: dict[str, float], held: int) -> run.Row:
    """What a cell answered, against what is known.

    Args:
        form: of the row.
        answers: pointwise values, of all samples or of the judged ones alone, and aggregates.
        exact: pointwise values of all samples, the judged ones last.
        truths: of the population.
        held: number of the judged ones.

    Returns:
        ``values``, ``truths``, ``distances``, their maximum ``distance``, ``rms`` and ``samples``, the number of
        samples that were answered: the aggregates are theirs, all else is of the judged ones.
    """
    pointwise = {name: answers[name] for name in POINTWISE[form] if name in answers}
    if form == "pipeline":
        pointwise["r"] = pointwise_redundancy(answers)
    count = max(values.shape[-1] for values in pointwise.values())
    pointwise = {name: values[..., -held:] for name, values in pointwise.items()}
    exact = {name: values[-held:] for name, values in exact.items()}
    errors = {name: values - exact[name] for name, values in pointwise.items()}
    values = {name: answers[name] for name in JUDGED[form]} | pointwise
    distances = {
        name: abs(float(np.mean(errors[name] if name.startswith("h") else values[name] - truths[name])))
        for name in JUDGED[form]
    }
    row: run.Row = {
        "values": {name: float(np.mean(value)) for name, value in values.items()},
        "truths": {name: truths[name] if name in truths else float(np.mean(exact[name])) for name in values},
        "distances": distances,
        "distance": max(distances.values()),
        "rms": {name: float(np.sqrt(np.mean(error**2))) for name, error in errors.items()},
        "samples": count,
    }
    if form == "pipeline" and "redundancy_train" in answers:  # its answer for the samples it was trained on
        row["values_train"] = {name: float(np.mean(answers[f"{name}_train"])) for name in values if name != "r"}
    return row


def _process(solver: str, work: str, files: list[str], repeats: int, **environment: str) -> run.Row:
    """One cell in a fresh process."""
    script = str(Path(__file__).with_name("samplewise_cell.py"))
    interpreter = sys.executable if solver == "pidjax" else os.environ.get("LSMI_PYTHON", sys.executable)
    command = [interpreter, script, solver, work, *files, str(cell.one_core()), str(repeats)]
    try:
        done = subprocess.run(
            command,
            env=dict(os.environ) | cell.ON_CPU | environment,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        return json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return {"error": f"exceeded {LIMIT:g} s"}
    except OSError as error:
        return {"error": f"{type(error).__name__}: {error}"[:300]}
    except json.JSONDecodeError:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        return {"error": f"the process died (exit code {done.returncode}): {last}"[:300]}


def _cached(work: str, files: list[str], folder: str, filled: bool) -> dict[str, float]:
    """Seconds of the first calls once more, by form, with a compilation cache that holds every program."""
    cache = {
        "JAX_ENABLE_COMPILATION_CACHE": "true",
        "JAX_COMPILATION_CACHE_DIR": folder,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    last = [_process("pidjax", work, files, 0, **cache) for _ in range(1 if filled else 2)][-1]
    return {form: seconds[0] for form, seconds in last.get("seconds", {}).items()}


def _skipped(solver: str) -> run.Row | None:
    variable = "KNIFE_PATH" if solver == "knife" else "LSMI_PATH"
    if solver == "pidjax" or os.environ.get(variable):
        return None
    return {"error": f"skipped: {variable} names no checkout of {samplewise_peers.HOMES[variable]}"}


def problem_rows(name: str, problem: Problem, solvers: tuple[str, ...] = SOLVERS) -> Iterator[run.Row]:
    """Ask the solvers, one after the other.

    Args:
        name: what the rows call the problem.
        problem: its samples and their truth.
        solvers: who is asked.

    Yields:
        A row for every seed, solver and form.
    """
    truths = problem.truths()
    with tempfile.TemporaryDirectory() as programs:
        for seed in problem.seeds:
            yield from _seed_rows(name, problem, solvers, seed, truths, programs)


def _seed_rows(
    name: str, problem: Problem, solvers: tuple[str, ...], seed: int, truths: dict[str, float], programs: str
) -> Iterator[run.Row]:
    """The rows of a seed; compiled programs are kept in a folder that the seeds share."""
    arrays = problem.arrays(seed)
    exact = problem.exact(arrays)
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder) / "arrays.npz"), str(Path(folder) / "answers.npz")]
        np.savez(files[0], **arrays)
        for solver in (solver for solver in SOLVERS if solver in solvers and solver in problem.works):
            for work in problem.works[solver]:
                result = _skipped(solver) or _process(solver, work, files, problem.repeats)
                labels = {"problem": name, "seed": seed, "dtype": "float32", "solver": solver}
                answers: Arrays = {}
                cached: dict[str, float] = {}
                if "error" not in result:
                    with np.load(files[1]) as saved:
                        answers = dict(saved)
                    if solver == "pidjax" and problem.cached:
                        cached = _cached(work, files, programs, seed != problem.seeds[0])
                for row in _rows(work, result, answers, exact, truths, problem.n_val):
                    again = {"seconds_cached": cached[row["form"]]} if row["form"] in cached else {}
                    yield labels | row | again


def _rows(
    work: str, result: run.Row, answers: Arrays, exact: Arrays, truths: dict[str, float], held: int
) -> Iterator[run.Row]:
    """A cell's result as rows: one for everything that was timed."""
    facts = run.facts()
    facts["versions"] |= result.pop("versions", {})
    timed = result.pop("seconds", {})
    whole = {"lsmi": "pipeline", "training": "classifiers"}  # what a cell is called that failed as a whole
    forms = list(timed) or [whole.get(work, work if work in JUDGED else "entropy")]
    for form in forms:
        row: run.Row = {"form": form} | result
        if timed:
            cold, *again = timed[form]
            warm = statistics.median(again) if again else cold
            row |= {"seconds_cold": cold, "seconds_warm": warm, "repeats": len(again)}
            row |= judged(form, answers, exact, truths, held)
        yield row | facts


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="problems, solvers")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("samplewise.jsonl"), help="written anew")
    parser.add_argument("--quick", action="store_true", help="few samples")
    options = parser.parse_args()
    table = QUICK if options.quick else PROBLEMS
    if unknown := [name for name in options.only if name not in (*table, *SOLVERS)]:
        parser.error(f"unknown {unknown}; expected names among {[*table, *SOLVERS]}")
    solvers = tuple(name for name in SOLVERS if name in options.only) or SOLVERS
    chosen = [name for name in table if name in options.only] or list(table)
    with options.out.open("w") as out:
        for name in chosen:
            for row in problem_rows(name, table[name], solvers):
                out.write(json.dumps(row, allow_nan=False) + "\n")
                out.flush()
                print(run.printed(row | {"solver": f"{row['solver']} {row['form']}"}), flush=True)


if __name__ == "__main__":
    main()
