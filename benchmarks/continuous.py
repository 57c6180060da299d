"""Run the continuous benchmark: every method on tasks of known truth, one JSON row for each method, size and seed.

    python benchmarks/continuous.py [--only NAME ...] [--out continuous.jsonl] [--quick] [--seeds N]

A process for each task and size, on one core with one thread. The first seed's seconds contain the compilation
(``seconds_cold``), those of the others are warm. Methods, each with its default recipe, the same for all tasks:

- ``exact``: the posteriors of the task itself, which leaves what quantising and sampling do;
- ``calibrated``: these, their informations taken from the labels that were drawn, as a classifier's have to be: what
  no calibrated classifier can be expected to better on that sample;
- ``posteriors``: cross-fitted and calibrated ones, the default of ``quantify``; seconds with training;
- ``batch`` and ``dual``: upper and lower bound on the union of the same posteriors, seconds of the union alone;
- ``histogram``: the CVX route of arXiv 2302.12247, 50 x 50 bins of [-5, 5] (tasks of one column a modality);
- ``kmeans``: 20 clusters a modality, the other table route;
- ``lsmi``: cross-fitted, after the published shift.

``errors`` are value less truth, nats, by atom; ``gaps`` how much longer the classifiers' log losses are than the true
posteriors', on the same samples. ``summarise.py --table continuous`` makes the tables.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cell
import numpy as np
import run

__all__ = ["METHODS", "TASKS", "cell_rows"]

TASKS = ("g0", "g15", "g30", "g45", "c3", "xor_signs", "lsmi_10", "g30 mild", "c3 mild", "lsmi_10 mild", "g30 noise")
SIZES = (2000, 20_000)
METHODS = ("exact", "calibrated", "posteriors", "batch", "dual", "histogram", "kmeans", "lsmi")
ATOMS = ("redundancy", "unique1", "unique2", "synergy")
HEADS = ("x1", "x2", "x1x2")
LIMIT = 1500.0  # seconds of a process
BINS, REACH = 50, 5.0


def cell_rows(task_name: str, n: int, seeds: int, methods: tuple[str, ...] = METHODS) -> Iterator[run.Row]:
    """All methods on all seeds of a task, in this process.

    Args:
        task_name: a name of ``TASKS``: a task, and the map that hides it if any.
        n: samples.
        seeds: how many, from 0 on.
        methods: names of ``METHODS``.

    Yields:
        A row for each method and seed.
    """
    import jax

    from pidjax.datasets import gaussian_task, mapped

    name, _, kind = task_name.partition(" ")
    task = gaussian_task(name)
    truth: Any = task.truth
    for seed in range(seeds):
        native = task.sample(jax.random.key(seed), n)
        samples = mapped(native, jax.random.key(1000 + seed), kind) if kind else native
        data = Data(task, native, samples, jax.random.key(2000 + seed))
        for method in methods:
            if method not in data.methods:
                continue
            start = time.perf_counter()
            try:
                found = data.methods[method]()
            except Exception as error:
                yield {"method": method, "seed": seed, "error": f"{type(error).__name__}: {error}"[:300]}
                continue
            seconds = found.pop("seconds", time.perf_counter() - start)
            pid = found.pop("pid")
            values = {atom: float(getattr(pid, atom)) for atom in ATOMS}
            errors = {atom: values[atom] - float(getattr(truth, atom)) for atom in ATOMS}
            yield {
                "method": method, "seed": seed, "seconds": seconds, "first": seed == 0, "values": values,
                "errors": errors, "distance": max(map(abs, errors.values())), "memory_mb": cell.peak_mb(), **found,
            }  # fmt: skip


class Data:
    """Samples of a task and the methods that apply to them."""

    def __init__(self, task: Any, native: Any, samples: Any, key: Any) -> None:
        import jax

        self.task, self.samples, self.key = task, samples, key
        x1, x2 = (np.asarray(x, np.float64) for x in (native.x1, native.x2))
        double = native._replace(x1=x1, x2=x2, y=np.asarray(native.y))
        self.log_posteriors = dict(zip(HEADS, map(np.asarray, task.log_posteriors(double)), strict=True))
        self.y = np.asarray(native.y)
        self.classes = task.joint.shape[2]
        self.fitted: Any = None
        self.done: Any = None
        self.cell_key = jax.random.fold_in(key, 1)
        self.methods: dict[str, Callable[[], dict[str, Any]]] = {
            "exact": self.exact, "calibrated": self.calibrated, "posteriors": self.posteriors, "batch": self.batch,
            "dual": self.dual, "kmeans": self.kmeans, "lsmi": self.lsmi,
        }  # fmt: skip
        if samples.x1.shape[1] == samples.x2.shape[1] == 1:
            self.methods["histogram"] = self.histogram

    def exact(self, y: Any = None) -> dict[str, Any]:
        """No classifier."""
        from pidjax import pid_from_posteriors

        p = [np.exp(self.log_posteriors[name]) for name in HEADS]
        done = pid_from_posteriors(*p, y, key=self.cell_key)
        return {"pid": done.pid, "gap": float(done.gap), "retained": float(done.retained)}

    def calibrated(self) -> dict[str, Any]:
        """No classifier, but labels."""
        return self.exact(self.y)

    def posteriors(self) -> dict[str, Any]:
        """Trained, calibrated, decomposed."""
        import jax

        from pidjax import pid_from_posteriors
        from pidjax.estimators import Recipe, fitted_posteriors

        recipe = Recipe(repeats=3)
        fitted = fitted_posteriors(self.key, self.samples, classes=self.classes, recipe=recipe)
        self.fitted = jax.device_get(fitted)
        p = [np.exp(np.asarray(self.fitted.log_posterior[name], np.float64)) for name in HEADS]
        self.done = done = pid_from_posteriors(*p, self.y, key=self.cell_key)
        rows = np.arange(len(self.y))
        gaps = {
            name: float(self.fitted.quality[name].log_loss + self.log_posteriors[name][rows, self.y].mean())
            for name in HEADS
        }
        variants = {name: {atom: float(getattr(pid, atom)) for atom in ATOMS} for name, pid in done.variants.items()}
        return {
            "pid": done.pid, "gap": float(done.gap), "retained": float(done.retained), "gaps": gaps,
            "drift": float(done.drift.redundancy), "variants": variants,
            "accuracies": {name: float(self.fitted.quality[name].accuracy) for name in HEADS},
        }  # fmt: skip

    def _of_union(self, union: Any, **facts: Any) -> dict[str, Any]:
        from pidjax import from_union

        i1, i2, i12 = self.done.information
        solved = self.done.variants["raw" if "raw" in self.done.variants else "exact"]
        exact = {atom: float(getattr(solved, atom)) for atom in ATOMS}
        return {"pid": from_union(i1, i2, i12, float(union)), "exact": exact, **facts}

    def _posteriors_in(self, dtype: Any) -> Any:
        """What ``posteriors`` reconciled, as samples."""
        import jax.numpy as jnp

        from pidjax import Samples

        own = self.done.log_posterior
        return Samples(jnp.asarray(np.asarray(own.x1, dtype)), jnp.asarray(np.asarray(own.x2, dtype)))

    def batch(self) -> dict[str, Any]:
        """PID-BATCH: an upper bound on the union."""
        from pidjax.estimators import batch_alignment, batch_union, fit
        from pidjax.estimators.batch import RECIPE

        samples = self._posteriors_in(np.float32)
        alignment = batch_alignment(classes=self.classes)
        state = fit(alignment.estimator, self.key, samples, **RECIPE).state
        found = batch_union(alignment, state, samples)
        return self._of_union(found.upper, leftover=float(found.leftover))

    def dual(self) -> dict[str, Any]:
        """Dual networks: a lower bound on the union."""
        from pidjax.estimators import dual_networks, dual_union, fit
        from pidjax.estimators.dual import RECIPE

        samples = self._posteriors_in(np.float32)
        networks = dual_networks(classes=self.classes)
        state = fit(networks.estimator, self.key, samples, **RECIPE).state
        return self._of_union(dual_union(networks, state, samples).lower)

    def histogram(self) -> dict[str, Any]:
        """Equal bins of [-5, 5]."""
        from pidjax import broja, joint_pmf

        edges = np.linspace(-REACH, REACH, BINS + 1)[1:-1]
        x1, x2 = (np.digitize(np.asarray(x)[:, 0], edges) for x in (self.samples.x1, self.samples.x2))
        solution = broja(joint_pmf(x1, x2, self.y, shape=(BINS, BINS, self.classes)), tol=1e-6)
        return {"pid": solution.pid, "gap": float(solution.gap)}

    def kmeans(self) -> dict[str, Any]:
        """Twenty clusters a modality."""
        from pidjax import quantify

        x1, x2 = (np.asarray(x) for x in (self.samples.x1, self.samples.x2))
        report = quantify(x1, x2, self.y, key=self.key, method="discrete", bootstrap=0, permutations=0)
        return {"pid": report.pid, "gap": report.gap}

    def lsmi(self) -> dict[str, Any]:
        """After the published shift."""
        from pidjax import quantify

        x1, x2 = (np.asarray(x) for x in (self.samples.x1, self.samples.x2))
        report = quantify(x1, x2, self.y, key=self.key, method="lsmi", bootstrap=0)
        return {"pid": report.variants["constant shift"]}


def _process(task: str, n: int, seeds: int, methods: tuple[str, ...]) -> Iterator[run.Row]:
    """A cell in a process of its own; its rows as they come."""
    command = [sys.executable, __file__, "--cell", task, str(n), str(seeds), *methods]
    environment = dict(os.environ) | cell.ON_CPU
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        stdout: Any = process.stdout
        start = time.monotonic()
        for line in stdout:
            yield json.loads(line)
            if time.monotonic() - start > LIMIT:
                process.kill()
                yield {"method": "all", "seed": -1, "error": f"exceeded {LIMIT:g} s"}
    if process.returncode not in (0, -9):
        yield {"method": "all", "seed": -1, "error": f"the process died (exit code {process.returncode})"}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="tasks, methods, sizes")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("continuous.jsonl"), help="written anew")
    parser.add_argument("--quick", action="store_true", help="one task, few samples")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds (default 5)")
    parser.add_argument("--cell", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cell:
        task, n, seeds, *methods = options.cell
        os.sched_setaffinity(0, {cell.one_core()})
        for row in cell_rows(task, int(n), int(seeds), tuple(methods)):
            print(json.dumps(row), flush=True)
        return
    sizes = tuple(map(str, SIZES))
    if unknown := [name for name in options.only if name not in (*TASKS, *METHODS, *sizes)]:
        parser.error(f"unknown {unknown}; expected names among {[*TASKS, *METHODS, *sizes]}")
    pick = lambda names: tuple(name for name in names if name in options.only) or tuple(names)
    tasks, methods = (("g30",) if options.quick else pick(TASKS)), pick(METHODS)
    chosen_sizes = (500,) if options.quick else tuple(map(int, pick(sizes)))
    seeds = 1 if options.quick else options.seeds
    facts = run.facts()
    with options.out.open("w") as out:
        for task in tasks:
            for n in chosen_sizes:
                for row in _process(task, n, seeds, methods):
                    row = {"task": task, "n": n, "solver": "pidjax"} | row | facts
                    out.write(json.dumps(row) + "\n")
                    out.flush()
                    print(f"{task} {n} {row['seed']} {row['method']}: {row.get('error') or row['errors']}", flush=True)


if __name__ == "__main__":
    main()
