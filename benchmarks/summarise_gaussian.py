"""The table of the Gaussian benchmark, from its rows."""

from collections.abc import Iterable
from typing import Any

__all__ = ["gaussian"]

Row = dict[str, Any]


def gaussian(rows: Iterable[Row]) -> str:
    """The table.

    Args:
        rows: as ``gaussian.py`` writes them.

    Returns:
        Markdown: seconds a system from gains and from a covariance, and of both iterations, failures, a line of facts.
    """
    rows = list(rows)
    if not rows:
        return ""
    body, failures = [], []
    for row in rows:
        name = ", ".join(map(str, row["dims"])) + (f", {row['count']:,} at once" if row["count"] > 1 else "")
        if "error" in row:
            failures.append(f"- {name}: {row['error']}")
            continue
        ours = row["gains"]
        cells = [f"{_time(ours['seconds'])} ({ours['seconds_first']:.2g} s)"]
        cells.append(_time(row["covariance"]["seconds"]) if "covariance" in row else "-")
        cells += [_iteration(row.get(peer), ours["seconds"]) for peer in ("thin", "full")]
        body.append([name, *cells])
    head = [
        "dimensions",
        "from gains (first call)",
        "from a covariance",
        "Thin-PID's iteration",
        "Tilde-PID's iteration",
    ]
    rule = ["---", *["---:"] * (len(head) - 1)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *body])
    last = rows[-1]
    versions = ", ".join(f"{name} {version}" for name, version in last["versions"].items())
    remark = (
        "Seconds of one system, x_i = h_i y + white noise with normal gains. The iterations are our own implementation "
        "of the published ones, stopped as soon as they were within 1e-6 nats of the answer (which they were told), or "
        f"after 40 s. {last['processor']}, {last['cpus']} core; {versions}. {last['timestamp'][:10]}."
    )
    return "\n\n".join(part for part in (table, "\n".join(failures), remark) if part)


def _iteration(found: dict[str, Any] | None, ours: float) -> str:
    if found is None:
        return "-"
    left = "" if found["above"] <= 1e-6 else f", {found['above']:.0e} above"
    steps = f"{found['steps']} step{'' if found['steps'] == 1 else 's'}"
    return f"{_time(found['seconds'])} ({steps}{left}), {found['seconds'] / ours:,.0f}x"


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"
