"""The table of the bounds' benchmark, from its rows."""

from collections.abc import Iterable
from typing import Any

__all__ = ["unpaired"]

Row = dict[str, Any]


def unpaired(rows: Iterable[Row]) -> str:
    """The table.

    Args:
        rows: as ``unpaired.py`` writes them.

    Returns:
        Markdown: speed, wrong bounds and tightness side by side, failures, and a line of facts.
    """
    rows = list(rows)
    if not rows:
        return ""
    body, failures = [], []
    for row in rows:
        name = f"{'x'.join(map(str, row['shape']))} {row['kind']}"
        if "error" in row:
            failures.append(f"- {name}: {row['error']}")
            continue
        ours, theirs = row["pidjax"], row["published"]
        cells = [f"{_time(ours['seconds'])} ({ours['seconds_first']:.2g} s)", f"{ours['wrong']} of {row['count']:,}"]
        if theirs["seconds"] is None:
            cells += ["-", "-", "-"]
        else:
            cells += [
                f"{_time(theirs['seconds'])}",
                f"{theirs['seconds'] / ours['seconds']:,.0f}x",
                "-"
                if theirs["failed"]
                else f"{theirs['wrong_disagreement'] + theirs['wrong_upper']}"
                f" + {theirs['not_finite']} NaN of {theirs['asked']}",
            ]
        if ours["unsolved"]:
            failures.append(f"- {name}: pidjax left a gap above 1e-8 in {ours['unsolved']} of {row['count']:,}")
        cells.append(_slack(row, "lower"))
        cells.append(_slack(row, "upper"))
        if theirs["failed"]:
            failures.append(
                f"- {name}: the published procedure gave up on {theirs['failed']} of {theirs['asked']} joints"
            )
        body.append([name, *cells])
    head = [
        "joints", "pidjax, a problem (first call, all)", "wrong bounds", "published, a problem", "faster",
        "wrong bounds", "lower bound below S", "upper bound above S",
    ]  # fmt: skip
    rule = ["---", *["---:"] * (len(head) - 1)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *body])
    last = rows[-1]
    versions = ", ".join(f"{name} {version}" for name, version in last["versions"].items())
    remark = (
        "Random joints, known here, so that S is too. Wrong: off by more than 1e-7 nats (pidjax), 1e-3 (published, "
        "whose solvers leave that much). Tightness: mean nats, pidjax / published (its redundancy bound), over the "
        f"joints that both were asked about. {last['processor']}, {last['cpus']} core; {versions}. "
        f"{last['timestamp'][:10]}."
    )
    return "\n\n".join(part for part in (table, "\n".join(failures), remark) if part)


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


def _slack(row: Row, end: str) -> str:
    if "slack" not in row:
        return "-"
    return " / ".join(f"{row['slack'][who][end]:.4f}" for who in ("pidjax", "published"))
