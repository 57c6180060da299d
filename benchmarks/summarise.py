"""Make the tables of a benchmark from its rows: no number is typed by hand.

    python benchmarks/summarise.py rows.jsonl [--table NAME] [--readme README.md]

Prints markdown; with ``--readme`` it is also written between the markers ``<!-- benchmark:TABLE -->`` and
``<!-- /benchmark:TABLE -->`` of that file.
"""

import argparse
import json
import math
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import config
from summarise_continuous import batch_step, continuous
from summarise_gaussian import gaussian
from summarise_infometer import infometer
from summarise_unpaired import unpaired

__all__ = ["rewritten", "samplewise", "summary"]

Row = dict[str, Any]
BEGIN, END = "<!-- benchmark:discrete -->", "<!-- /benchmark:discrete -->"
NAMES = {
    "pidjax": "pidjax",
    "pidjax_binary": "pidjax, binary target (closed form)",
    "pidjax_two_binary": "pidjax, binary sources (scalar root)",
    "pidjax_interior_point": "pidjax, interior point",
    "pidjax_scaling": "pidjax, scaling",
    "cvxpy_clarabel": "cvxpy Clarabel",
    "cvxpy_ecos": "cvxpy ECOS",
    "broja_2pid": "BROJA_2PID",
    "dit_cone": "dit cone",
    "dit_admui": "dit admUI",
}
SAMPLEWISE_NAMES = {
    "lsmi": "LSMI as published",
    "lsmi_knife": "LSMI's KNIFE",
    "lsmi_knife_zero_grad": "the same, gradients cleared",
    "knife": "official KNIFE",
    "pidjax": "pidjax",
}
ATOMS = {"redundancy": "R", "unique1": "U1", "unique2": "U2", "synergy": "S"}
WORKS = {
    "classifiers": "three classifiers, same work",
    "knives": "two KNIFEs, same work",
    "pipeline": "the whole, each its own way",
}


def summary(rows: Iterable[Row]) -> str:
    """The tables.

    Args:
        rows: as ``run.py`` and ``accelerator.py`` write them.

    Returns:
        Markdown: every problem by solver, batches, pidjax where no peer applies, cold starts, the solvers, and a line
        of facts. Tables without rows are left out.
    """
    rows = list(rows)
    parts = (_speed(rows), _solvers(rows), _batches(rows), _alone(rows), _cold_starts(rows), _facts(rows))
    return "\n\n".join(part for part in parts if part)


def samplewise(rows: Iterable[Row]) -> str:
    """The tables of the sample-wise benchmark.

    Args:
        rows: as ``samplewise.py`` writes them.

    Returns:
        Markdown: seconds side by side, what the pipelines say, entropies, failures, and a line of facts.
    """
    rows = list(rows)
    remarks = (
        "First: in a fresh process, compilation included; cached: with a warm persistent compilation cache. Errors in "
        "nats, the largest of all seeds: of R, U1, U2 and S against the population's; r.m.s. ones of single samples "
        "against the exact densities; of entropies on held-out samples."
    )
    parts = [_side_by_side(rows), _pipelines(rows), _entropies(rows), _failures(rows)]
    return "\n\n".join(part for part in [*parts, f"{remarks} {_machine(rows)}" if rows else ""] if part)


def rewritten(text: str, tables: str, name: str = "discrete") -> str:
    """A text with what lies between the markers replaced.

    Args:
        text: a markdown file that holds both markers once.
        tables: what comes between them.
        name: of the markers.

    Returns:
        The new text; the markers stay.

    Raises:
        ValueError: a marker is missing, or there twice.
    """
    begin, end = (marker.replace("discrete", name) for marker in (BEGIN, END))
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"expected {begin} and then {end}, each once")
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n\n{tables}\n\n{end}{rest.partition(end)[2]}"


def _table(head: list[str], body: list[list[str]]) -> str:
    if not body:
        return ""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _grouped(rows: Iterable[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def _values(rows: Iterable[Row], key: str) -> list[float]:
    return [row[key] for row in rows if row.get(key) is not None]


def _median(rows: Iterable[Row], key: str) -> float | None:
    return statistics.median(values) if (values := _values(rows, key)) else None


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{1e3 * value:.2g} ms" if value < 0.0995 else f"{value:.2g} s" if value < 99.5 else f"{value:.0f} s"


def _small(value: float | None) -> str:
    return "-" if value is None else f"{value:.0e}".replace("e-0", "e-") if value else "0"


def _exact(rows: list[Row]) -> bool:
    return all(
        "error" not in row and row.get("distance") is not None and row["distance"] <= config.EXACT for row in rows
    )


def _measured(rows: list[Row]) -> str:
    """Median seconds, and what is to be said against them."""
    if not rows:
        return "-"
    failed = [row["error"] for row in rows if "error" in row]
    seconds = _median(rows, "seconds_warm")
    if seconds is None:
        return failed[0].replace("exceeded", ">") if failed[0].startswith("exceeded") else failed[0].split(":")[0]
    worst = max(_values(rows, "distance"), default=0.0)
    remarks = [f"off by {_small(worst)}"] if worst > config.EXACT else []
    if failed:
        remarks.append("not optimal" if len(rows) == 1 else f"{len(failed)} of {len(rows)} failed")
    return _seconds(seconds) + (f" ({', '.join(remarks)})" if remarks else "")


def _speed(rows: list[Row]) -> str:
    body = []
    compared = [row for row in rows if row["form"] in ("gates", "joint")]
    for problem, group in _grouped(compared, lambda row: row["problem"]).items():
        by_solver = _grouped(group, lambda row: row["solver"])
        ours = by_solver.get("pidjax", [])
        seconds, cold = _median(ours, "seconds_warm"), _median(ours, "seconds_cold")
        exact = [_median(by_solver[peer], "seconds_warm") for peer in config.PEERS if _exact(by_solver.get(peer, [{}]))]
        ratio = f"{min(exact) / seconds:.2g}" if exact and seconds else "no exact peer"
        own = f"{_measured(ours)}; first {_seconds(cold)}" if cold is not None else _measured(ours)
        body.append([problem, own, *(_measured(by_solver.get(peer, [])) for peer in config.PEERS), ratio])
    peers = [NAMES[peer] for peer in config.PEERS]
    return _table(["problem", "pidjax", *peers, "best exact peer / pidjax"], body)


def _solvers(rows: list[Row]) -> str:
    body = []
    compared = [row for row in rows if row["form"] in ("gates", "joint")]
    for solver, group in _grouped(compared, lambda row: row["solver"]).items():
        failed = [row for row in group if "error" in row]
        reasons = _grouped(failed, lambda row: row["error"].split(":")[0])
        worst = max(_values(group, "gap" if solver in config.ROUTES else "distance"), default=None)
        memory = max(_values(group, "memory_mb"), default=None)
        body.append(
            [
                NAMES[solver],
                f"{sum(_exact([row]) for row in group)} of {len(group)}",
                f"{_small(worst)}{' (gap)' if solver in config.ROUTES else ''}",
                ", ".join(f"{len(of)} {reason}" for reason, of in reasons.items()) or "none",
                "-" if memory is None else f"{memory:,.0f}",
            ]
        )
    head = ["solver", f"exact to {_small(config.EXACT)}", "worst error (nats)", "failures", "peak memory (MB)"]
    return _table(head, body)


def _batches(rows: list[Row]) -> str:
    body = []
    for row in rows:
        if row["form"] == "batch":
            rate = "-" if row.get("per_second") is None else f"{row['per_second']:,.0f}"
            error = row.get("gap") if row["solver"] in config.ROUTES else row.get("distance")
            body.append(
                [
                    f"{row['problem']}, {row['dtype']}",
                    NAMES[row["solver"]],
                    rate,
                    _seconds(row.get("seconds_cold")),
                    _small(error),
                    row.get("error", "").split(":")[0] or "none",
                ]
            )
    return _table(["batch", "solver", "problems a second", "first call", "worst gap or error", "failures"], body)


def _alone(rows: list[Row]) -> str:
    body = []
    for row in rows:
        if row["form"] == "tables":
            device = row.get("memory_device_mb")
            memory = device if device is not None else row.get("memory_mb")
            body.append(
                [
                    row["problem"],
                    row["dtype"],
                    _seconds(row.get("seconds_warm")),
                    _seconds(row.get("seconds_cold")),
                    _small(row.get("gap")),
                    "-" if memory is None else f"{memory:,.0f}",
                    row.get("error", "none"),
                ]
            )
    head = ["from the two tables alone", "precision", "seconds", "first call", "gap", "peak memory (MB)", "failures"]
    return _table(head, body)


def _cold_starts(rows: list[Row]) -> str:
    body = [
        [f"{row['problem']}, {row['kind']}", _seconds(row.get("seconds_cold")) if "error" not in row else row["error"]]
        for row in rows
        if row["form"] == "cold start"
    ]
    return _table(["fresh process", "seconds"], body)


def _facts(rows: list[Row]) -> str:
    if not rows:
        return ""
    exact = (
        f"Exact: within {_small(config.EXACT)} nats of pidjax's certified bracket, and called optimal by the solver."
    )
    return f"{exact} {_machine(rows)}"


def _machine(rows: list[Row]) -> str:
    devices = sorted({row["device"] for row in rows if row["solver"] in config.ROUTES and "device" in row})
    versions: dict[tuple[str, ...], dict[str, set[str]]] = {}
    for row in rows:
        cores = f"{row['processor']}, {row['cpus']} core{'s' if row['cpus'] > 1 else ''}"
        found = versions.setdefault((cores, row.get("xla_flags") or ""), {})
        for package, version in row["versions"].items():
            found.setdefault(package, set()).add(version)
    described = [
        f"{cores}; "
        + ", ".join(f"{package} {' and '.join(sorted(each))}" for package, each in found.items())
        + (f"; {flags}" if flags else "")
        for (cores, flags), found in sorted(versions.items())
    ]
    days = sorted({row["timestamp"][:10] for row in rows})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return f"Device: {', '.join(devices)}. {'; '.join(described)}. {when}."


def _side_by_side(rows: list[Row]) -> str:
    body = []
    for (problem, form), group in _grouped(rows, lambda row: (row["problem"], row["form"])).items():
        if form in WORKS:
            own, theirs = ([row for row in group if (row["solver"] == "pidjax") == ours] for ours in (True, False))
            times = {name: _median(own, f"seconds_{name}") for name in ("warm", "cold", "cached")}
            peer = {"warm": _median(theirs, "seconds_warm"), "cold": _median(theirs, "seconds_cold")}
            peer["cached"] = peer["cold"]
            ratios = [f"{peer[name] / own:.2g}" if peer[name] and own else "-" for name, own in times.items()]
            seconds = [_seconds(value) for value in (peer["warm"], peer["cold"], *times.values())]
            body.append([f"{problem}: {WORKS[form]}", *seconds, " / ".join(ratios)])
    head = ["", "LSMI", "first", "pidjax", "first", "first, cached", "LSMI / pidjax: warm / first / cached"]
    return _table(head, body)


def _mean(rows: Iterable[Row], key: str, name: str) -> str:
    values = [row[key][name] for row in rows if name in row.get(key, {})]
    return f"{round(statistics.fmean(values), 3) + 0.0:.3f}" if values else "-"  # no -0.000


def _pipelines(rows: list[Row]) -> str:
    body = []
    compared = [row for row in rows if row["form"] == "pipeline" and "values" in row]
    for problem, group in _grouped(compared, lambda row: row["problem"]).items():
        truths = [_mean(group, "truths", name) for name in ATOMS]
        body.append([f"{problem}: truth", *truths, "0", "0", "-"])
        for solver, own in _grouped(group, lambda row: row["solver"]).items():
            worst = f"{max(_values(own, 'distance')):.3f}"
            rms = " / ".join(_mean(own, "rms", name) for name in ("r", "i12", "h1"))
            memory = max(_values(own, "memory_mb"), default=math.nan)
            values = [_mean(own, "values", name) for name in ATOMS]
            body.append([f"{problem}: {SAMPLEWISE_NAMES[solver]}", *values, worst, rms, f"{memory:,.0f}"])
    head = ["", *ATOMS.values(), "worst error", "r.m.s. error of r / i12 / h1", "peak memory (MB)"]
    return _table(head, body)


def _entropies(rows: list[Row]) -> str:
    compared = [row for row in rows if row["form"] == "entropy"]
    solvers = [solver for solver in SAMPLEWISE_NAMES if any(row["solver"] == solver for row in compared)]
    body = []
    for problem, group in _grouped(compared, lambda row: row["problem"]).items():
        by_solver = _grouped(group, lambda row: row["solver"])
        cells = []
        for solver in solvers:
            own = by_solver.get(solver, [])
            cold, warm = _median(own, "seconds_cold"), _median(own, "seconds_warm")
            error = max(_values(own, "distance"), default=None)
            cells.append("-" if error is None else f"{error:.3f} ({_seconds(warm)}; first {_seconds(cold)})")
        body.append([problem, _mean(group, "truths", "h"), *cells])
    return _table(["density", "entropy", *(f"{SAMPLEWISE_NAMES[solver]}: error" for solver in solvers)], body)


def _failures(rows: list[Row]) -> str:
    failed = [row for row in rows if "error" in row]
    reasons = _grouped(failed, lambda row: (SAMPLEWISE_NAMES[row["solver"]], row["error"]))
    return "\n".join(f"- {name}, {len(of)} rows: {error}" for (name, error), of in reasons.items())


TABLES: dict[str, Callable[[Iterable[Row]], str]] = {
    "discrete": summary, "samplewise": samplewise, "continuous": continuous, "unpaired": unpaired,
    "gaussian": gaussian, "infometer": infometer, "batch_step": batch_step,
}  # fmt: skip


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, nargs="+", help="files of rows")
    parser.add_argument("--table", choices=TABLES, default="discrete")
    parser.add_argument("--readme", type=Path, help="rewrite this file between its markers")
    options = parser.parse_args()
    rows = (json.loads(line) for path in options.rows for line in path.read_text().splitlines())
    tables = TABLES[options.table](rows)
    print(tables)
    if options.readme:
        options.readme.write_text(rewritten(options.readme.read_text(), tables, options.table))


if __name__ == "__main__":
    main()
