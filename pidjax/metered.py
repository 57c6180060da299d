"""Information between two modalities as a reader wants it: table, dictionary, CSV, picture."""

import csv
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pidjax.info import to_bits
from pidjax.pointwise import WIDTH, counted, fixed, number, pyplot
from pidjax.report import found_versions

__all__ = ["InformationReport", "Rate"]

# Half of a central 95 % interval, in standard errors.
_HALF = 1.959964
_COLOURS = ("#4477AA", "#EE6677", "#228833")


class Rate(NamedTuple):
    """What one step of quantisation gives: floats, nats; each value with its standard error.

    Attributes:
        step: width of a cell, in standard deviations of each column.
        information: by route, ``(value, standard error)``.
        entropy: of the symbols of ``x1``, ``x2`` and ``joint``, likewise.
        pointwise: the information of each sample by the report's route, ``(n,)``.
    """

    step: float
    information: dict[str, tuple[float, float]]
    entropy: dict[str, tuple[float, float]]
    pointwise: np.ndarray


@dataclass(frozen=True, kw_only=True, repr=False)
class InformationReport:
    """The mutual information of two modalities, from what it takes to code them: floats, in nats.

    Printing it gives a table; ``to_dict`` gives JSON, ``plot`` a picture, ``to_csv`` the values of samples.

    Attributes:
        curve: a ``Rate`` for each step, the coarsest first; the report is about the last, the finest.
        route: of the two routes, the one that the report takes.
        given: what the information is conditional on, in words; None for nothing.
        samples: number of samples.
        columns: numbers of columns of x1 and x2 that were coded.
        method: how the numbers were made, in words.
        warnings: what to beware of.
        seed: the seed of the command line, or the words of the key.
        versions: of python, pidjax and what it stands on.

    Example:
        >>> rate = Rate(0.25, {"conditional": (0.81, 0.01)}, {
        ...     "x1": (2.8, 0.01), "x2": (2.8, 0.01), "joint": (4.8, 0.01)}, np.zeros(500))
        >>> report = InformationReport(
        ...     curve=(rate,), route="conditional", given=None, samples=500, columns=(1, 1), method="autoregressive")
        >>> print(report.table().splitlines()[5])
        I(X1;X2)      conditional             0.81000     0.0100      0.7904 ..  0.8296
        >>> round(report.normalised, 3)
        0.289
    """

    curve: tuple[Rate, ...]
    route: str
    given: str | None
    samples: int
    columns: tuple[int, int]
    method: str
    warnings: tuple[str, ...] = ()
    seed: int | tuple[int, ...] | None = None
    versions: dict[str, str] = field(default_factory=found_versions)

    def __str__(self) -> str:
        return self.table()

    __repr__ = __str__

    @property
    def rate(self) -> Rate:
        """At the finest step."""
        return self.curve[-1]

    @property
    def mutual_information(self) -> float:
        """Of the quantised modalities, as estimated: raw, so below zero where the models of the pair learned worse."""
        return self.rate.information[self.route][0]

    @property
    def standard_error(self) -> float:
        """Of ``mutual_information``: what other samples would have changed. What models miss is no part of it."""
        return self.rate.information[self.route][1]

    @property
    def pointwise(self) -> np.ndarray:
        """The information of each sample, ``(n,)``; ``mutual_information`` is their mean."""
        return self.rate.pointwise

    @property
    def normalised(self) -> float:
        """``I / min(H(X1), H(X2))`` at the report's step: it depends on the step."""
        entropy = self.rate.entropy
        return self.mutual_information / min(entropy["x1"][0], entropy["x2"][0])

    def table(self, *, bits: bool = False) -> str:
        """The report as aligned plain text, at most 96 columns wide.

        Args:
            bits: in bits instead of nats.

        Returns:
            The text, without a final line break.
        """
        unit, scale = ("bits", to_bits) if bits else ("nats", lambda nats: nats)
        given = f"|{self.given}" if self.given else ""
        rate = self.rate

        def row(name: str, what: str, found: tuple[float, float]) -> str:
            value, error = (float(scale(part)) for part in found)
            ends = f"{fixed(value - _HALF * error, 4):>12} ..{fixed(value + _HALF * error, 4):>8}"
            return f"{name:<14}{what:<20}{fixed(value):>11}{fixed(error, 4):>11}{ends}"

        lines = [
            f"Information between two modalities, {counted(self.samples, 'sample')}",
            *textwrap.wrap(f"x1: {counted(self.columns[0], 'column')}, x2: {self.columns[1]}; {self.method}", WIDTH),
            "",
            f"{unit + f', step {rate.step:g}':<34}{'estimate':>11}{'std. err.':>11}{'95 %':>15}",
            "",
        ]
        lines += [row(f"I(X1;X2{given})", name, found) for name, found in rate.information.items()]
        names = {"x1": f"H(X1{given})", "x2": f"H(X2{given})", "joint": f"H(X1,X2{given})"}
        lines += [row(name, "", rate.entropy[part]) for part, name in names.items()]
        lines += ["", f"I / min(H(X1), H(X2)){fixed(self.normalised, 4):>24}"]
        if len(self.curve) > 1:
            lines += ["", f"{'step':<14}{'I, ' + self.route:>24}{'H(X1)':>12}{'H(X2)':>12}{'H(X1,X2)':>12}"]
            lines += [
                f"{each.step:<14g}{fixed(float(scale(each.information[self.route][0]))):>24}"
                + "".join(f"{fixed(float(scale(each.entropy[part][0])), 4):>12}" for part in names)
                for each in self.curve
            ]
        for warning in self.warnings:
            lines += ["", *textwrap.wrap(f"Warning: {warning}.", WIDTH)]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON takes it, nats; what isn't finite is None.

        Returns:
            A dictionary with ``mutual_information``, ``standard_error``, ``entropy`` (``x1``, ``x2``, ``joint``),
            ``routes``, ``curve``, and how they came about.
        """

        def pairs(found: dict[str, tuple[float, float]]) -> dict[str, Any]:
            return {
                name: {"value": number(value), "standard_error": number(error)}
                for name, (value, error) in found.items()
            }

        return {
            "mutual_information": number(self.mutual_information),
            "standard_error": number(self.standard_error),
            "entropy": {name: number(value) for name, (value, _) in self.rate.entropy.items()},
            "normalised": number(self.normalised),
            "route": self.route,
            "routes": pairs(self.rate.information),
            "step": self.rate.step,
            "curve": [
                {"step": each.step, "information": pairs(each.information), "entropy": pairs(each.entropy)}
                for each in self.curve
            ],
            "given": self.given,
            "units": "nats",
            "samples": self.samples,
            "columns": list(self.columns),
            "method": self.method,
            "warnings": list(self.warnings),
            "versions": dict(self.versions),
            "seed": list(self.seed) if isinstance(self.seed, tuple) else self.seed,
        }

    def to_csv(self, path: str | Path) -> None:
        """Write a row for each sample, ``sample`` (from 0) and ``information``, nats.

        Args:
            path: the file, replaced if there is one.
        """
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["sample", "information"])
            writer.writerows(enumerate(self.pointwise.tolist()))

    def plot(self, axes: Any = None, *, bits: bool = False) -> Any:
        """Draw information against the step, and entropies against the step, with 95 % intervals.

        Args:
            axes: two Matplotlib axes, in any arrangement, to draw on; None makes a figure.
            bits: draw in bits instead of nats.

        Returns:
            The two axes ``(2,)``.

        Raises:
            ImportError: Matplotlib is not installed.
        """
        if axes is None:
            axes = pyplot("InformationReport.plot").subplots(1, 2, figsize=(7.6, 3.2), layout="constrained")[1]
        first, second = np.ravel(axes)
        unit, scale = ("bits", to_bits) if bits else ("nats", lambda nats: nats)
        steps = [each.step for each in self.curve]
        for ax, kind, title in ((first, "information", "I(X1;X2)"), (second, "entropy", "entropy of the symbols")):
            for colour, name in zip(_COLOURS, getattr(self.rate, kind), strict=False):
                found = scale(np.array([getattr(each, kind)[name] for each in self.curve]))
                ax.errorbar(steps, found[:, 0], _HALF * found[:, 1], marker="o", capsize=3, color=colour, label=name)
            ax.set_xscale("log", base=2)
            ax.set_xticks(steps, [f"{step:g}" for step in steps])
            ax.minorticks_off()
            ax.set_xlabel("step (standard deviations)")
            ax.set_ylabel(unit)
            ax.set_title(title, fontsize="medium")
            ax.spines[["top", "right"]].set_visible(False)
            ax.legend(frameon=False)
        first.axhline(0.0, color="black", linewidth=0.8)
        return np.ravel(axes)
