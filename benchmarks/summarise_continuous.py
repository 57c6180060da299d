"""The tables of the continuous benchmark and of the step of BATCH, from their rows."""

import statistics
from collections.abc import Iterable
from typing import Any

__all__ = ["batch_step", "continuous"]

Row = dict[str, Any]
ATOMS = {"redundancy": "R", "unique1": "U1", "unique2": "U2", "synergy": "S"}
HEADS = ("x1", "x2", "x1x2")
NAMES = {
    "exact": "exact posteriors",
    "calibrated": "exact, calibrated on the labels",
    "posteriors": "posteriors, learned",
    "batch": "BATCH (upper)",
    "dual": "dual (lower)",
    "histogram": "50 x 50 histogram",
    "kmeans": "k-means, 20 cells",
    "lsmi": "LSMI, shifted",
}


def continuous(rows: Iterable[Row]) -> str:
    """The tables.

    Args:
        rows: as ``continuous.py`` writes them.

    Returns:
        Markdown: the default route atom by atom, all methods by their worst error, the width of the sandwich, failures
        and a line of facts.
    """
    rows = list(rows)
    if not rows:
        return ""
    sound = [row for row in rows if "error" not in row]
    parts = [_default(sound), _methods(sound), _sandwich(sound), _failures(rows), _remarks(rows)]
    return "\n\n".join(part for part in parts if part)


def _table(head: list[str], body: list[list[str]]) -> str:
    if not body:
        return ""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *body])


def _of(rows: list[Row], **what: Any) -> list[Row]:
    return [row for row in rows if all(row[key] == value for key, value in what.items())]


def _cells(rows: list[Row]) -> list[tuple[str, int]]:
    return list(dict.fromkeys((row["task"], row["n"]) for row in sorted(rows, key=lambda row: -row["n"])))


def _mean_sd(values: list[float]) -> str:
    mean = statistics.fmean(values)
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{mean + 0.0:+.4f} ± {spread:.4f}"


def _seconds(rows: list[Row]) -> str:
    warm = [row["seconds"] for row in rows if not row["first"]]
    cold = [row["seconds"] for row in rows if row["first"]]
    return " / ".join(f"{statistics.median(each):.2g}" if each else "-" for each in (warm, cold))


def _default(rows: list[Row]) -> str:
    body = []
    for task, n in _cells(rows):
        own = _of(rows, task=task, n=n, method="posteriors")
        if own:
            atoms = [_mean_sd([row["errors"][atom] for row in own]) for atom in ATOMS]
            gaps = " / ".join(f"{statistics.fmean(row['gaps'][name] for row in own):.3f}" for name in HEADS)
            memory = max(row["memory_mb"] for row in own)
            learned = _learned(own, _of(rows, task=task, n=n, method="calibrated"))
            body.append([f"{task}, n = {n:,}", str(len(own)), *atoms, learned, gaps, _seconds(own), f"{memory:,.0f}"])
    last = ("worst, learning's part", "loss gap x1 / x2 / both", "seconds warm / first", "memory (MB)")
    head = ["default route: error of", "seeds", *ATOMS.values(), *last]
    return _table(head, body)


def _learned(own: list[Row], calibrated: list[Row]) -> str:
    """The worst error of an atom, and how far an atom is from what true posteriors say of the same samples."""
    by_seed = {row["seed"]: row["values"] for row in calibrated}
    both = [(row["values"], by_seed[row["seed"]]) for row in own if row["seed"] in by_seed]
    apart = [abs(learned[atom] - known[atom]) for learned, known in both for atom in ATOMS]
    return f"{max(row['distance'] for row in own):.4f}, {f'{max(apart):.4f}' if apart else '-'}"


def _methods(rows: list[Row]) -> str:
    """All methods on the seeds that all of them have."""
    methods = [name for name in NAMES if _of(rows, method=name)]
    body = []
    for task, n in _cells(rows):
        found = [_of(rows, task=task, n=n, method=name) for name in methods]
        shared = set.intersection(*({row["seed"] for row in own} for own in found if own))
        found = [[row for row in own if row["seed"] in shared] for own in found]
        worst = [f"{max(row['distance'] for row in own):.3f} ({_seconds(own)})" if own else "-" for own in found]
        body.append([f"{task}, n = {n:,}", *worst])
    return _table(["worst error of an atom (seconds warm / first)", *(NAMES[name] for name in methods)], body)


def _sandwich(rows: list[Row]) -> str:
    body = []
    for task, n in _cells(rows):
        widths = []
        for method, sign in (("batch", 1), ("dual", -1)):
            own = _of(rows, task=task, n=n, method=method)
            excess = [sign * (row["values"]["unique1"] - row["exact"]["unique1"]) for row in own if "exact" in row]
            widths.append(excess)
        if any(widths):
            shown = [f"{statistics.fmean(own):.4f} (least {min(own):.4f})" if own else "-" for own in widths]
            whole = statistics.fmean(widths[0]) + statistics.fmean(widths[1]) if all(widths) else None
            body.append([f"{task}, n = {n:,}", *shown, "-" if whole is None else f"{whole:.4f}"])
    return _table(["union of the same posteriors", "BATCH above the solved one", "dual below it", "BATCH - dual"], body)


def _failures(rows: list[Row]) -> str:
    failed = [row for row in rows if "error" in row]
    return "\n".join(f"- {row['task']}, n = {row['n']:,}, {row['method']}: {row['error']}" for row in failed)


def _remarks(rows: list[Row]) -> str:
    last = rows[-1]
    versions = ", ".join(f"{name} {version}" for name, version in last["versions"].items())
    return (
        "Errors in nats, mean and standard deviation over the seeds; worst: of any atom and seed (methods beside each "
        "other: of the seeds that all have); learning's part: how far any is from what the true posteriors say of the "
        "same samples and labels; the loss gap is what the classifiers miss of the true posteriors' log loss. Seconds: "
        "of a method as a whole, training included; of BATCH and dual, of the union of posteriors that are there. "
        "Above two labels the solved union is that of cells, which itself is too small: the dual's may exceed it. "
        f"{last['processor']}, {last['cpus']} core; {versions}. {last['timestamp'][:10]}."
    )


def batch_step(rows: Iterable[Row]) -> str:
    """The table of ``batch_step.py``.

    Args:
        rows: as it prints them.

    Returns:
        Markdown: seconds and memory of a step by number of labels, the ratio at equal and at published sweeps.
    """
    rows = list(rows)
    if not rows:
        return ""
    body = []
    for labels in dict.fromkeys(row["labels"] for row in rows):
        found = {(row["solver"], row["sweeps"]): row for row in rows if row["labels"] == labels}
        own = found[("pidjax", 20)]
        cells = [_step(own)]
        for sweeps in (20, 500):
            peer = found.get(("published", sweeps), {"error": "not run: about 50 GB"})
            sound = "error" not in peer and "error" not in own
            cells += [_step(peer), f"{peer['seconds'] / own['seconds']:.0f}x" if sound else "-"]
        body.append([str(labels), *cells])
    head = ["labels", "pidjax, 20 sweeps", "published, 20 sweeps", "ratio", "published, up to 500", "ratio"]
    last = rows[-1]
    versions = ", ".join(f"{name} {version}" for name, version in last["versions"].items())
    return "\n\n".join([
        _table(head, body),
        "Median seconds of a step at batch 256, and the peak memory of its process. "
        f"{last['processor']}, {last['cpus']} core; {versions}. {last['timestamp'][:10]}.",
    ])  # fmt: skip


def _step(row: Row) -> str:
    if "error" in row:
        return row["error"]
    seconds = f"{row['seconds']:.3g} s" if row["seconds"] >= 1 else f"{row['seconds'] * 1e3:.3g} ms"
    return f"{seconds} ({row['memory_mb']:,} MB)"
