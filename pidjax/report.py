"""The answer as a reader wants it: table, dictionary, picture.

Here, and in ``pointwise`` for single samples, arrays leave the device and nats become bits: nowhere else.
"""

import importlib.metadata
import math
import platform
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax

from pidjax.info import Informations, to_bits
from pidjax.pid import PID, Interval
from pidjax.pointwise import ATOMS, WIDTH, Pointwise, counted, fixed, number, pyplot

__all__ = ["Null", "Report"]

_INVISIBLE = 1e-6  # of a plot's unit


class Null(NamedTuple):
    """What permuted labels give: each atom's mean and 95 % quantile (nats), and the estimate's p-value."""

    mean: PID
    quantile95: PID
    p_value: PID


def found_versions() -> dict[str, str]:
    """Of python, pidjax and what it stands on."""
    found = {"python": platform.python_version()}
    for package in ("pidjax", "jax", "jaxlib", "numpy", "ott-jax"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # run from a source tree that was never installed
            found[package] = "not installed"
    return found


@dataclass(frozen=True, kw_only=True, repr=False)
class Report:
    """A decomposition with its certificate, if any, its error bars and what to beware of: floats, in nats.

    Printing it gives a table in nats and bits; ``to_dict`` gives JSON, ``plot`` a picture.

    Attributes:
        pid: the estimate.
        gap: certified width: the exact optimum for the observed table lies within ``gap`` above the union
            information used. None (or NaN, which becomes None) where the method certifies nothing.
        information: I(X1;Y), I(X2;Y) and I(X1,X2;Y).
        label_entropy: H(Y), the most that anything can say about y; NaN of a continuous one, which has no bound.
        interval: 95 % bootstrap interval, ``Interval(lower=PID, upper=PID)``; None when switched off.
        null: what permuted labels give; None when switched off.
        samples: number of samples.
        shape: sizes of x1, x2 and y: numbers of symbols and labels, or of what ``nouns`` says.
        method: how the numbers were made, in words.
        bootstrap: number of bootstrap replicates.
        permutations: number of permutations.
        warnings: what to beware of, each with its numbers and a cure.
        seed: the seed of the command line, or the words of the key.
        nouns: what the sizes of x1 and x2 count: "symbol" or, say, "feature".
        target: what the size of y counts: "label", or "column" where y is continuous.
        interval_rule: what the interval is, in words that follow the number of replicates.
        variants: the decomposition by other rules, by name: LSMI's published constant shift, say, or the table before
            any correction.
        certified: what the gap is certified for.
        diagnostics: what tells a good fit from a bad one, by name (a classifier's held-out log loss, say).
        pointwise: the atoms of every sample; None where the method has none (of a continuous y ``gaussian_pointwise``
            gives them, see ``copula_pid``).
        versions: of python, pidjax and what it stands on.

    Example:
        >>> l = 0.6931471805599453
        >>> report = Report(
        ...     pid=PID(redundancy=0.0, unique1=0.0, unique2=0.0, synergy=l), gap=1e-12,
        ...     information=Informations(0.0, 0.0, l), label_entropy=l, samples=4000, shape=(2, 2, 2),
        ...     method="discrete")
        >>> print(report)  # doctest: +ELLIPSIS
        Partial information decomposition of 4000 samples
        x1: 2 symbols, x2: 2 symbols, y: 2 labels; discrete
        <BLANKLINE>
                               nats     bits
        redundancy    R     0.00000  0.00000
        unique to x1  U1    0.00000  0.00000
        unique to x2  U2    0.00000  0.00000
        synergy       S     0.69315  1.00000
        ...
    """

    pid: PID
    gap: float | None
    information: Informations
    label_entropy: float
    samples: int
    shape: tuple[int, int, int]
    method: str
    interval: Interval | None = None
    null: Null | None = None
    bootstrap: int = 0
    permutations: int = 0
    warnings: tuple[str, ...] = ()
    seed: int | tuple[int, ...] | None = None
    nouns: tuple[str, str] = ("symbol", "symbol")
    target: str = "label"
    interval_rule: str = "bootstrap replicates about the bias-corrected estimate"
    variants: dict[str, PID] = field(default_factory=dict)
    certified: str = "this table"
    diagnostics: dict[str, float] = field(default_factory=dict)
    pointwise: Pointwise | None = None
    versions: dict[str, str] = field(default_factory=found_versions)

    def __post_init__(self) -> None:
        for name in ("pid", "gap", "information", "label_entropy", "interval", "null"):
            object.__setattr__(self, name, jax.tree.map(float, jax.device_get(getattr(self, name))))
        # Not tree.map, which would sort the names.
        object.__setattr__(self, "diagnostics", {name: float(x) for name, x in self.diagnostics.items()})
        found = {name: jax.tree.map(float, jax.device_get(pid)) for name, pid in self.variants.items()}
        object.__setattr__(self, "variants", found)
        if self.gap is not None and math.isnan(self.gap):
            object.__setattr__(self, "gap", None)

    def __str__(self) -> str:
        return self.table()

    __repr__ = __str__

    def table(self, *, bits: bool = False) -> str:
        """The report as aligned plain text, at most 96 columns wide.

        Args:
            bits: show bits only; otherwise nats and bits side by side.

        Returns:
            The text, without a final line break.

        Example:
            >>> report = Report(
            ...     pid=PID(redundancy=0.0, unique1=0.6931471805599453, unique2=0.0, synergy=0.0), gap=0.0,
            ...     information=Informations(0.6931471805599453, 0.0, 0.6931471805599453),
            ...     label_entropy=0.6931471805599453, samples=8, shape=(2, 1, 2), method="discrete")
            >>> print(report.table(bits=True).splitlines()[5])
            unique to x1  U1    1.00000
        """
        n1, n2, k = self.shape
        title = [
            f"Partial information decomposition of {counted(self.samples, 'sample')}",
            *textwrap.wrap(
                f"x1: {counted(n1, self.nouns[0])}, x2: {counted(n2, self.nouns[1])}, y: {counted(k, self.target)}; "
                f"{self.method}",
                WIDTH,
            ),
        ]
        scales = [(to_bits, "bits")] if bits else [(lambda nats: nats, "nats"), (to_bits, "bits")]
        header = " " * 18
        rows = [f"{name:<14}{letter:<4}" for _, name, letter, _ in ATOMS]
        names = ("I(x1;y)", "I(x2;y)", "I(x1,x2;y)", "H(y)")
        others: dict[str, Any] = dict(zip(names, (*self.information, self.label_entropy), strict=True))
        if math.isnan(self.label_entropy):  # of a continuous target
            del others["H(y)"]
        tail = [f"{name:<18}" for name in others]
        for scale, unit in scales:
            header += f"{unit:>9}"
            atoms, interval = scale(self.pid), scale(self.interval)
            for i, (atom, *_) in enumerate(ATOMS):
                rows[i] += f"{fixed(getattr(atoms, atom)):>9}"
                if interval is not None:
                    low, high = (fixed(getattr(end, atom), 4) for end in interval)
                    known = self._of_one_column and not any(getattr(end, atom) for end in interval)
                    rows[i] += f"{'-':>19}" if known else f"{low:>9} ..{high:>7}"
            gutter = ""
            if interval is not None:
                gutter = " " * 19
                header += f"{'95 % interval':>19}"
            for i, value in enumerate(others.values()):
                tail[i] += f"{fixed(scale(value)):>9}{gutter}"
        if self.null is not None:
            scale, unit = scales[0]
            header += f"{'null 95 %':>12}{'p':>7}"
            for i, (atom, *_) in enumerate(ATOMS):
                rows[i] += f"{fixed(getattr(scale(self.null.quantile95), atom), 4):>12}"
                rows[i] += f"{getattr(self.null.p_value, atom):>7.3f}"
        lines = [*title, "", header, *rows, "", *tail, "", *self._notes(scales[0][1])]
        return "\n".join(line.rstrip() for line in lines)

    @property
    def _of_one_column(self) -> bool:
        return self.target == "column" and self.shape[2] == 1

    def _notes(self, unit: str) -> list[str]:
        notes = ["No certificate: this method has no bound on its error."]
        if self.gap is not None:
            notes = [f"Certified for {self.certified}: the optimum is at most {self.gap:.1e} nats away."]
        if self._of_one_column:
            notes.append(
                "With one column of y one unique atom is 0 by construction: the redundancy is the lesser of the two "
                "informations."
            )
        for name, pid in self.variants.items():
            notes.append(f"By other rules, {name} ({unit}): {_in_a_line(pid, unit)}.")
        if self.interval is not None:
            notes.append(f"Interval: {self.bootstrap} {self.interval_rule}.")
        if self.null is not None:
            means = _in_a_line(self.null.mean, unit)
            notes.append(f"Null ({unit}): {self.permutations} permutations of y; their mean: {means}.")
        if self.diagnostics:
            notes.append(f"Diagnostics: {', '.join(f'{name} {x:.3g}' for name, x in self.diagnostics.items())}.")
        notes += [f"Warning: {warning}" for warning in self.warnings]
        return [line for note in notes for line in textwrap.wrap(note, WIDTH, subsequent_indent="  ")]

    def to_dict(self) -> dict[str, Any]:
        """The report as a dictionary that ``json.dumps`` takes.

        Returns:
            Keys ``pid`` {atom: value}, ``gap`` or None, ``interval`` {atom: [low, high]} or None, ``null``
            {atom: {mean, quantile95, p_value}} or None, ``information`` {x1, x2, x1x2}, ``units`` ("nats"),
            ``warnings``, ``versions``, ``seed``, ``variants`` {name: {atom: value}}, ``diagnostics`` {name: value}.
            Numbers that aren't finite are None. Single samples are not here: ``pointwise.to_csv`` writes them.

        Example:
            >>> report = Report(
            ...     pid=PID(redundancy=0.0, unique1=0.5, unique2=0.0, synergy=0.0), gap=0.0,
            ...     information=Informations(0.5, 0.0, 0.5), label_entropy=0.6, samples=8, shape=(2, 1, 2),
            ...     method="discrete")
            >>> report.to_dict()["pid"]
            {'redundancy': 0.0, 'unique1': 0.5, 'unique2': 0.0, 'synergy': 0.0}
        """
        interval, null = self.interval, self.null

        def by_atom(value: Callable[[str], Any]) -> dict[str, Any]:
            return {atom: value(atom) for atom, *_ in ATOMS}

        def values(pid: PID) -> dict[str, Any]:
            return by_atom(lambda atom: number(getattr(pid, atom)))

        return {
            "pid": values(self.pid),
            "gap": None if self.gap is None else number(self.gap),
            "interval": interval and by_atom(lambda atom: [values(end)[atom] for end in interval]),
            "null": null and by_atom(lambda atom: {name: values(pid)[atom] for name, pid in null._asdict().items()}),
            "information": {name: number(value) for name, value in self.information._asdict().items()},
            "units": "nats",
            "warnings": list(self.warnings),
            "versions": dict(self.versions),
            "seed": list(self.seed) if isinstance(self.seed, tuple) else self.seed,
            "variants": {name: values(pid) for name, pid in self.variants.items()},
            "diagnostics": {name: number(value) for name, value in self.diagnostics.items()},
        }

    def plot(self, ax: Any = None, *, bits: bool = False, position: float = 0.0, label: str | None = None) -> Any:
        """Draw the atoms as one stacked bar, each with its interval.

        The bar's height is I(X1,X2;Y); negative atoms (LSMI's may be) hang below zero and count against it. The
        error bar of an atom is drawn at the outer edge of its segment, as if the others were exact; the four
        stand side by side. Call it again with the same ``ax`` and
        another ``position`` to set bars side by side.

        Args:
            ax: Matplotlib axes to draw on; None makes a figure.
            bits: draw in bits instead of nats.
            position: where the bar stands.
            label: what is written below the bar; None means the number of samples.

        Returns:
            The axes.

        Raises:
            ImportError: Matplotlib is not installed.
        """
        if ax is None:
            ax = pyplot("Report.plot").subplots(figsize=(4.6, 4.2), layout="constrained")[1]
        scale = to_bits if bits else lambda nats: nats
        pid, interval = scale(self.pid), scale(self.interval)
        first = ax.get_legend() is None
        top, bottom, width = 0.0, 0.0, 0.7
        for i, (atom, name, letter, colour) in enumerate(ATOMS):
            height = getattr(pid, atom)
            edge = (top if height > -_INVISIBLE else bottom) + height  # what rounding puts below zero is at the top
            ax.bar(
                position, height, width, bottom=edge - height, color=colour, edgecolor="white", linewidth=0.8,
                label=f"{name} ({letter})" if first else None,
            )  # fmt: skip
            if interval is not None:
                low, high = (getattr(end, atom) for end in interval)
                ax.errorbar(
                    position + width * (i - 1.5) / 4, edge,
                    [[max(height - low, 0.0)], [max(high - height, 0.0)]],
                    fmt="none", ecolor="black", elinewidth=1.4, capsize=4, capthick=1.4,
                )  # fmt: skip
            top, bottom = max(top, edge), min(bottom, edge)
        if bottom < 0:
            ax.axhline(0.0, color="black", linewidth=0.8)
        return finished_bars(ax, position, f"n = {self.samples}" if label is None else label, bits=bits)


def finished_bars(ax: Any, position: float, label: str, *, bits: bool) -> Any:
    """Name the bar just drawn, keeping the names of earlier ones, and label what all share.

    Args:
        ax: Matplotlib axes.
        position: where the bar stands.
        label: what is written below it.
        bits: whether its heights are bits, not nats.

    Returns:
        The axes.
    """
    first = ax.get_legend() is None
    ticks = {} if first else dict(zip(ax.get_xticks(), ax.get_xticklabels(), strict=True))
    ticks = {at: text.get_text() for at, text in ticks.items()} | {position: label}
    ax.set_xticks(list(ticks), list(ticks.values()))
    ax.set_xlim(min(ticks) - 0.6, max(ticks) + 0.6)
    ax.set_ylabel(f"information about y ({'bits' if bits else 'nats'})")
    ax.spines[["top", "right"]].set_visible(False)
    if first:
        # Outside, so that it hides no bar; in the order of the stack.
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, reverse=True)
    return ax


def _in_a_line(pid: PID, unit: str) -> str:
    """The atoms as running text."""
    scale = to_bits if unit == "bits" else float
    return ", ".join(f"{letter} {fixed(scale(getattr(pid, atom)), 4)}" for atom, _, letter, _ in ATOMS)
