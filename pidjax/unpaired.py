"""Bounds as a reader wants them: table, dictionary, picture, of interactions that no labelled pair has shown."""

import math
import textwrap
from dataclasses import dataclass, field
from typing import Any

import jax

from pidjax.applications.collection import Outlook
from pidjax.info import to_bits
from pidjax.pid import Interval
from pidjax.pointwise import ATOMS, WIDTH, counted, fixed, number, pyplot
from pidjax.report import finished_bars, found_versions

__all__ = ["BoundsReport", "Known"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Known:
    """What unlabelled pairs and two labelled modalities tell: one estimate, or one end of an interval. Nats.

    Attributes:
        redundancy: R, identified by the labelled modalities.
        unique1: U1, likewise.
        unique2: U2, likewise.
        synergy: ``Interval``: the lower and the upper bound.
        information: ``Interval``: I(X1,X2;Y) with the synergy at either bound.
        outlook: expected accuracy and gains.
    """

    redundancy: Any
    unique1: Any
    unique2: Any
    synergy: Interval
    information: Interval
    outlook: Outlook


@dataclass(frozen=True, kw_only=True, repr=False)
class BoundsReport:
    """Bounds on the interactions of two modalities that were never labelled together: floats, in nats.

    Printing it gives a table; ``to_dict`` gives JSON, ``plot`` a picture.

    Attributes:
        estimate: what the samples say, taken at their word.
        interval: 95 % bootstrap ``Interval`` of two ``Known``; None when switched off. Its synergy runs from what the
            lower bound may be at least to what the upper one may be at most, each an ``Interval`` of that bound.
        lower_bounds: of the synergy, by name (see ``SynergyBounds``).
        upper_bounds: likewise.
        binding: which of them are the estimate's.
        label_entropy: H(Y).
        accuracies: of each modality alone.
        disagreement: of the two posteriors on the pairs.
        divergence: KL of the tables given from those used, nats: the three samples as counted fit no one joint.
        moved: the largest total variation that fitting them took.
        samples: numbers of labelled samples of x1, of x2, and of pairs.
        shape: numbers of symbols (or cells) of x1 and x2, and of labels.
        method: how the numbers were made, in words.
        bootstrap: number of replicates.
        warnings: what to beware of.
        seed: the seed of the command line, or the words of the key.
        versions: of python, pidjax and what it stands on.

    Example:
        >>> told = Outlook(Interval(0.5, 1.0), 0.75, 0.25, 0.25, 0.25, 0.35, 1.0)
        >>> known = Known(
        ...     redundancy=0.0, unique1=0.0, unique2=0.0, synergy=Interval(0.0, 0.69), information=Interval(0.0, 0.69),
        ...     outlook=told)
        >>> report = BoundsReport(
        ...     estimate=known, interval=None, lower_bounds={"zero": 0.0}, upper_bounds={"meet_x1x2_y": 0.69},
        ...     binding=("zero", "meet_x1x2_y"), label_entropy=0.69, accuracies=(0.5, 0.5), disagreement=0.0,
        ...     divergence=0.0, moved=0.0, samples=(300, 300, 300), shape=(2, 2, 2), method="symbols, tables of counts")
        >>> print(report.table().splitlines()[8])
        synergy       S                     0.00000 ..  0.69000
    """

    estimate: Known
    interval: Interval | None
    lower_bounds: dict[str, float]
    upper_bounds: dict[str, float]
    binding: tuple[str, str]
    label_entropy: float
    accuracies: tuple[float, float]
    disagreement: float
    divergence: float
    moved: float
    samples: tuple[int, int, int]
    shape: tuple[int, int, int]
    method: str
    bootstrap: int = 0
    warnings: tuple[str, ...] = ()
    seed: int | tuple[int, ...] | None = None
    versions: dict[str, str] = field(default_factory=found_versions)

    def __str__(self) -> str:
        return self.table()

    __repr__ = __str__

    @property
    def synergy(self) -> Interval:
        """The bounds on the synergy, as estimated."""
        return self.estimate.synergy

    def table(self, *, bits: bool = False) -> str:
        """The report as aligned plain text, at most 96 columns wide.

        Args:
            bits: informations in bits instead of nats.

        Returns:
            The text, without a final line break.
        """
        n1, n2, pairs = self.samples
        s1, s2, k = self.shape
        unit, scale = ("bits", to_bits) if bits else ("nats", lambda nats: nats)
        known = self.estimate
        title = [
            "Interactions of two modalities without labelled pairs",
            f"{counted(n1, 'sample')} of (x1, y), {n2} of (x2, y), {counted(pairs, 'pair')} (x1, x2)",
            *textwrap.wrap(f"x1: {s1}, x2: {s2}, y: {counted(k, 'label')}; {self.method}", WIDTH),
        ]
        ends = (None, None) if self.interval is None else tuple(self.interval)

        def row(name: str, of: Any, scaled: Any = scale, digits: int = 5) -> str:
            """A known number, or two bounds, and how far both may be off."""
            value = of(known)
            low, high = value if isinstance(value, Interval) else (value, value)
            text = f"{name:<34}{fixed(scaled(low), digits):>9}"
            text += f" ..{fixed(scaled(high), digits):>9}" if isinstance(value, Interval) else " " * 12
            if self.interval is not None:
                first, last = _outer(*(of(end) for end in ends))
                text += f"{fixed(scaled(first), 4):>12} ..{fixed(scaled(last), 4):>8}"
            return text

        plain = lambda x: x
        header = f"{'':<34}{unit:>9}" + " " * 12 + (f"{'95 % interval':>23}" if self.interval is not None else "")
        rows = [
            row(f"{name:<14}{letter:<4}", lambda of, atom=atom: getattr(of, atom)) for atom, name, letter, _ in ATOMS
        ]
        rows.append(row("I(x1,x2;y)", lambda of: of.information))
        told = [
            f"{'':<34}{'accuracy':>9}",
            f"{'x1 alone':<34}{fixed(self.accuracies[0], 4):>9}",
            f"{'x2 alone':<34}{fixed(self.accuracies[1], 4):>9}",
            row("both, best possible", lambda of: of.outlook.accuracy, plain, 4),
            row("both, expected", lambda of: of.outlook.expected, plain, 4),
            row("gain of x2 beside x1, expected", lambda of: of.outlook.gain_of_x2, plain, 4),
            row("gain of x1 beside x2, expected", lambda of: of.outlook.gain_of_x1, plain, 4),
            row("share of synergy, expected", lambda of: of.outlook.synergy_share, plain, 4),
        ]
        notes = [
            f"H(y) {fixed(scale(self.label_entropy), 4)} {unit}. Bounds that bind: {self.binding[0]} below, "
            f"{self.binding[1]} above. The redundancy and uniquenesses are known; the synergy lies between its bounds.",
            f"The three samples were fitted to one joint: divergence {self.divergence:.2g} nats, tables moved by up to "
            f"{self.moved:.2g}.",
        ]
        if self.interval is not None:
            notes.append(
                f"Interval: {self.bootstrap} bootstrap replicates of all three samples; of bounds, from the least "
                "lower to the greatest upper one."
            )
        notes += [f"Warning: {warning}" for warning in self.warnings]
        wrapped = [line for note in notes for line in textwrap.wrap(note, WIDTH, subsequent_indent="  ")]
        return "\n".join(line.rstrip() for line in [*title, "", header, *rows, "", *told, "", *wrapped])

    def to_dict(self) -> dict[str, Any]:
        """The report as a dictionary that ``json.dumps`` takes.

        Returns:
            Keys ``pid`` {redundancy, unique1, unique2: value; synergy: [lower, upper]}, ``interval`` {atom: [low,
            high]} or None, ``information`` {x1x2: [lower, upper]}, ``lower_bounds`` and ``upper_bounds`` {name:
            value}, ``binding`` [name, name], ``accuracy`` {x1, x2, expected: value; x1x2: [lower, upper]}, ``gain``
            {x1, x2: {expected, interval}}, ``synergy_share``, ``disagreement``, ``divergence``, ``moved``, ``units``
            ("nats"), ``samples``, ``warnings``, ``versions``, ``seed``. Numbers that aren't finite are None.
        """
        known, interval = self.estimate, self.interval
        both = lambda ends: [number(end) for end in ends]
        numbers = lambda values: {name: number(value) for name, value in values.items()}

        def span(of: Any) -> list[float | None] | None:
            if interval is None:
                return None
            return both(_outer(of(interval.lower), of(interval.upper)))

        told = known.outlook
        gains = {
            name: {"expected": number(getattr(told, f"gain_of_{name}")),
                   "interval": span(lambda of, name=name: getattr(of.outlook, f"gain_of_{name}"))}
            for name in ("x1", "x2")
        }  # fmt: skip
        return {
            "pid": {
                atom: both(known.synergy) if atom == "synergy" else number(getattr(known, atom)) for atom, *_ in ATOMS
            },
            "interval": interval and {atom: span(lambda of, atom=atom: getattr(of, atom)) for atom, *_ in ATOMS},
            "information": {"x1x2": both(known.information)},
            "lower_bounds": numbers(self.lower_bounds),
            "upper_bounds": numbers(self.upper_bounds),
            "binding": list(self.binding),
            "accuracy": {
                "x1": number(self.accuracies[0]), "x2": number(self.accuracies[1]),
                "expected": number(told.expected), "x1x2": both(told.accuracy),
            },
            "gain": gains,
            "synergy_share": number(told.synergy_share),
            "disagreement": number(self.disagreement),
            "divergence": number(self.divergence),
            "moved": number(self.moved),
            "units": "nats",
            "samples": list(self.samples),
            "warnings": list(self.warnings),
            "versions": dict(self.versions),
            "seed": list(self.seed) if isinstance(self.seed, tuple) else self.seed,
        }  # fmt: skip

    def plot(self, ax: Any = None, *, bits: bool = False, position: float = 0.0, label: str | None = None) -> Any:
        """Draw R, U1 and U2 as a stacked bar, and above it the synergy: solid to its lower, pale to its upper bound.

        Args:
            ax: Matplotlib axes to draw on; None makes a figure.
            bits: draw in bits instead of nats.
            position: where the bar stands.
            label: what is written below the bar; None means nothing.

        Returns:
            The axes.

        Raises:
            ImportError: Matplotlib is not installed.
        """
        if ax is None:
            ax = pyplot("BoundsReport.plot").subplots(figsize=(4.6, 4.2), layout="constrained")[1]
        scale = to_bits if bits else lambda nats: nats
        known, top, width = scale(self.estimate), 0.0, 0.7
        first = ax.get_legend() is None
        for atom, name, letter, colour in ATOMS:
            value = getattr(known, atom)
            parts = [(value, 1.0, f"{name} ({letter})")]
            if isinstance(value, Interval):
                parts = [(value.lower, 1.0, f"{name} ({letter}), at least"),
                         (value.upper - value.lower, 0.35, f"{name}, at most")]  # fmt: skip
            for height, alpha, text in parts:
                ax.bar(
                    position, max(height, 0.0), width, bottom=top, color=colour, alpha=alpha, edgecolor="white",
                    linewidth=0.8, label=text if first else None,
                )  # fmt: skip
                top += max(height, 0.0)
        if self.interval is not None and math.isfinite(known.synergy.upper):
            ends = [scale(end) for end in self.interval]
            base = known.redundancy + known.unique1 + known.unique2
            low, high = base + ends[0].synergy.lower, base + ends[1].synergy.upper
            ax.errorbar(
                position, (low + high) / 2, (high - low) / 2, fmt="none", ecolor="black", elinewidth=1.4, capsize=4
            )
        return finished_bars(ax, position, label or "", bits=bits)


def _outer(first: Any, last: Any) -> tuple[Any, Any]:
    """From the least that the lower end, to the most that the upper end of a value may be."""
    return (
        first.lower if isinstance(first, Interval) else first,
        last.upper if isinstance(last, Interval) else last,
    )
