"""The tables of InfoMeter's benchmark, from its rows."""

from collections.abc import Iterable
from typing import Any

__all__ = ["infometer"]

Row = dict[str, Any]


def infometer(rows: Iterable[Row]) -> str:
    """The tables.

    Args:
        rows: as ``infometer.py`` writes them.

    Returns:
        Markdown: updates a second and rates beside CompressAI's, informations beside other estimators, failures, and a
        line of facts.
    """
    rows = list(rows)
    if not rows:
        return ""
    failures = [f"- {row['table']}: {row['error']}" for row in rows if "error" in row]
    good = [row for row in rows if "error" not in row]
    failures += [
        f"- CompressAI, {row['columns']} columns: {row['compressai']['error']}"
        for row in good
        if "error" in row.get("compressai", {})
    ]
    rates = [_rate(row) for row in good if row["table"] == "rate"]
    pairs = [_information(row) for row in good if row["table"] == "information"]
    last = rows[-1]
    versions = ", ".join(f"{name} {version}" for name, version in last["versions"].items())
    remark = (
        "Rates in nats a sample, on 200,000 fresh ones, after as many updates of the same batch; updates a second of a "
        "whole fit, drawing minibatches included. Informations in nats, 5000 samples; pidjax's are those of cells of "
        f"a quarter of a standard deviation. {last['processor']}, {last['cpus']} core; {versions}. "
        f"{last['timestamp'][:10]}."
    )
    head1 = ["normal columns", "pidjax: updates a second (first call)", "CompressAI", "ratio", "rate: truth", "pidjax",
             "CompressAI"]  # fmt: skip
    head2 = ["Gaussian pairs", "I", "pidjax, conditional (warm; first)", "KSG", "Gaussian plug-in"]
    parts = (_table(head1, rates), _table(head2, pairs), "\n".join(failures), remark)
    return "\n\n".join(part for part in parts if part)


def _rate(row: Row) -> list[str]:
    ours, theirs = row["pidjax"], row["compressai"]
    known = "error" not in theirs
    return [
        f"{row['columns']}, batch {row['batch']}",
        f"{ours['updates_per_second']:,.0f} ({ours['seconds_first']:.2g} s)",
        f"{theirs['updates_per_second']:,.0f}" if known else "-",
        f"{ours['updates_per_second'] / theirs['updates_per_second']:.1f}x" if known else "-",
        f"{row['truth']:.4f}",
        f"{ours['rate']:.4f}",
        f"{theirs['rate']:.4f}" if known else "-",
    ]


def _information(row: Row) -> list[str]:
    ours = row["pidjax"]
    peer = lambda name: f"{row[name]['value']:.4f} ({row[name]['seconds']:.2g} s)" if name in row else "-"
    return [
        f"{row['columns']} and {row['columns']} columns, correlation {row['rho']:g}",
        f"{row['truth']:.4f}",
        f"{ours['value']:.4f} ± {ours['standard_error']:.4f} ({ours['seconds']:.2g} s; {ours['seconds_first']:.2g} s)",
        peer("ksg"),
        peer("gaussian"),
    ]


def _table(head: list[str], body: list[list[str]]) -> str:
    if not body:
        return ""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *body])
