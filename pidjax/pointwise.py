"""The atoms of every sample as a reader wants them: means by class, extremes, a file, a picture.

On the floor of the report: here, too, arrays leave the device and nats become bits. What both need is here.
"""

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from pidjax import _checks
from pidjax.info import Informations, to_bits
from pidjax.pid import PID

__all__ = ["ClassMean", "Pointwise"]

# Atom, its name for a reader, its letter, its colour (Okabe and Ito's palette, made for colour-blind eyes).
ATOMS = (
    ("redundancy", "redundancy", "R", "#0072B2"),
    ("unique1", "unique to x1", "U1", "#E69F00"),
    ("unique2", "unique to x2", "U2", "#56B4E9"),
    ("synergy", "synergy", "S", "#009E73"),
)
WIDTH = 96
# Labels longer than this are cut in tables and pictures.
_LABEL = 24
# Dots a class: more would only blacken the panel and swell a vector file.
_DOTS = 150


class ClassMean(NamedTuple):
    """The samples of a class: their number, and the means of their atoms (floats, nats)."""

    samples: int
    pid: PID


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Pointwise:
    """The atoms of every sample, their labels, and what they were made from: NumPy arrays ``(n,)``, in nats.

    The mean over the samples is the decomposition of the data set; single values may be negative
    (misinformation). Printing it gives ``table()``.

    Attributes:
        pid: the atoms, leaves ``(n,)``; NaN where a sample's are undefined.
        y: the labels, as the user gave them.
        informations: the pointwise informations ``Informations(x1, x2, x1x2)``, if known.
        surprisal: ``(h1, h2)``, the surprisals ``-log p(x1)`` and ``-log p(x2)``, if known.

    Example:
        >>> atoms = np.array([0.5, 0.25, 0.75, 0.0])
        >>> pid = PID(redundancy=atoms, unique1=0 * atoms, unique2=0 * atoms, synergy=1 - atoms)
        >>> pointwise = Pointwise(pid=pid, y=["cat", "dog", "cat", "dog"])
        >>> print(pointwise)
        Means by class of 4 samples (nats)
        <BLANKLINE>
        y            n        R       U1       U2        S      I12
        cat          2  0.62500  0.00000  0.00000  0.37500  1.00000
        dog          2  0.12500  0.00000  0.00000  0.87500  1.00000
        <BLANKLINE>
        all          4  0.37500  0.00000  0.00000  0.62500  1.00000
        >>> pointwise.extremes("synergy", 2).tolist()
        [3, 1]
    """

    pid: PID
    y: np.ndarray
    informations: Informations | None = None
    surprisal: tuple[np.ndarray, np.ndarray] | None = None

    def __post_init__(self) -> None:
        def fetched(tree: Any) -> Any:
            return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), jax.device_get(tree))

        object.__setattr__(self, "y", np.asarray(self.y))
        object.__setattr__(self, "pid", fetched(self.pid))
        if self.informations is not None:
            object.__setattr__(self, "informations", Informations(*fetched(tuple(self.informations))))
        if self.surprisal is not None:
            object.__setattr__(self, "surprisal", fetched(tuple(self.surprisal)))
        found = {name: values.shape for name, values in self._columns().items()}
        _checks.require(
            self.y.ndim == 1 and set(found.values()) == {self.y.shape},
            f"y has shape {self.y.shape} and the values of its samples {found}; expected (n,) throughout",
        )
        _checks.require(self.y.size > 0, "there are no samples; expected at least one: look at the filter before")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Pointwise):
            return NotImplemented
        own, others = self._columns(), other._columns()
        return (
            np.array_equal(self.y, other.y)
            and own.keys() == others.keys()
            and all(np.array_equal(own[name], others[name], equal_nan=True) for name in own)
        )

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return self.table()

    __repr__ = __str__

    def _columns(self) -> dict[str, np.ndarray]:
        """Everything there is of each sample, by the name it has in a file."""
        columns = {atom: getattr(self.pid, atom) for atom, *_ in ATOMS}
        columns |= zip(("i1", "i2", "i12"), self.informations or (), strict=False)
        columns |= zip(("h1", "h2"), self.surprisal or (), strict=False)
        return columns

    def _rows(self) -> dict[Any, np.ndarray]:
        """The sample numbers of each class, classes in order."""
        labels, codes = np.unique(self.y, return_inverse=True)
        order = np.argsort(codes, kind="stable")
        ends = np.cumsum(np.bincount(codes, minlength=labels.size))[:-1]
        return dict(zip(labels.tolist(), np.split(order, ends), strict=True))

    @property
    def mean(self) -> PID:
        """The decomposition of the data set: the means of the atoms, floats, nats."""
        return _mean(self.pid)

    def by_class(self) -> dict[Any, ClassMean]:
        """The number of samples of each class and the means of their atoms.

        Weighted by the numbers they average to ``mean``. A class with an undefined sample has NaN means.

        Returns:
            ``{label: ClassMean(samples, pid)}``, labels in order.

        Example:
            >>> atoms = np.array([0.5, 0.25, 0.75])
            >>> pid = PID(redundancy=atoms, unique1=atoms, unique2=atoms, synergy=atoms)
            >>> [(label, n, means.synergy) for label, (n, means) in Pointwise(pid=pid, y=[7, 3, 7]).by_class().items()]
            [(3, 1, 0.25), (7, 2, 0.625)]
        """
        return {
            label: ClassMean(rows.size, _mean(jax.tree.map(lambda leaf: leaf[rows], self.pid)))  # noqa: B023 (called now)
            for label, rows in self._rows().items()
        }

    def table(self, *, bits: bool = False) -> str:
        """The means by class as aligned plain text, at most 96 columns wide.

        Args:
            bits: show bits instead of nats.

        Returns:
            A row for each class and one for all: number of samples, R, U1, U2, S and I(X1,X2;Y), their sum.
        """
        means = self.by_class()
        rows = [(shown(label), *mean) for label, mean in means.items()]
        total = ("all", self.y.size, self.mean)
        width = max(6, *(len(name) for name, *_ in rows))
        scale = to_bits if bits else lambda nats: nats

        def row(name: str, count: int, pid: PID) -> str:
            pid = scale(pid)
            values = (*(getattr(pid, atom) for atom, *_ in ATOMS), pid.total)
            return f"{name:<{width}}{count:>8}" + "".join(f"{fixed(value):>9}" for value in values)

        letters = [letter for _, _, letter, _ in ATOMS]
        header = f"{'y':<{width}}{'n':>8}" + "".join(f"{letter:>9}" for letter in (*letters, "I12"))
        title = f"Means by class of {counted(self.y.size, 'sample')} ({'bits' if bits else 'nats'})"
        return "\n".join([title, "", header, *(row(*values) for values in rows), "", row(*total)])

    def extremes(self, atom: str, count: int = 10) -> np.ndarray:
        """The samples in which an atom is largest.

        Args:
            atom: ``"redundancy"``, ``"unique1"``, ``"unique2"`` or ``"synergy"``.
            count: how many; fewer come back where fewer have a value.

        Returns:
            Sample numbers from 0, the largest first, equal values in the order of the samples.

        Raises:
            ValueError: another name, or a negative count.
        """
        names = [name for name, *_ in ATOMS]
        _checks.require(atom in names, f"unknown atom {atom!r}; expected one of {', '.join(names)}")
        _checks.require(count >= 0, f"count is {count}; expected a number of samples, 0 or more")
        values = getattr(self.pid, atom)
        order = np.argsort(-values, kind="stable")
        return order[~np.isnan(values[order])][:count]

    def to_csv(self, path: str | Path) -> None:
        """Write a row for each sample, in nats and with every digit, under a header.

        The columns are ``sample`` (from 0), ``y``, ``redundancy``, ``unique1``, ``unique2``, ``synergy``, then
        ``i1``, ``i2``, ``i12`` and ``h1``, ``h2`` where they are known. What isn't finite (the atoms of a sample
        that the model holds impossible, say) is written ``nan``, which csv readers take for a missing number.

        Args:
            path: the file, replaced if there is one.
        """
        columns = [np.where(np.isfinite(x), x, np.nan).tolist() for x in self._columns().values()]
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["sample", "y", *self._columns()])
            writer.writerows(zip(range(self.y.size), self.y.tolist(), *columns, strict=True))

    def plot(self, axes: Any = None, *, bits: bool = False) -> np.ndarray:
        """Draw how each atom is distributed in each class: four panels, classes side by side.

        A box spans the quartiles, its line is the median, its whiskers end at 5 and 95 % of the class; the diamond
        is the mean, which is what adds up to the data set's atom. The dots are samples, 150 a class at most. The four
        panels have one scale, which leaves out at most 1 % of a class at either end: a few extremes would else
        flatten everything. Undefined samples aren't drawn.

        Args:
            axes: four Matplotlib axes, in any arrangement, to draw on; None makes a figure.
            bits: draw in bits instead of nats.

        Returns:
            The four axes ``(4,)``: redundancy, unique to x1, unique to x2, synergy.

        Raises:
            ValueError: not four axes.
            ImportError: Matplotlib is not installed.
        """
        classes = self._rows()
        if axes is None:
            axes = panels(pyplot("Pointwise.plot").figure, self)
        axes = np.ravel(axes)
        _checks.require(axes.size == 4, f"axes holds {axes.size}; expected four, one for each atom")
        unit, scale = ("bits", to_bits) if bits else ("nats", lambda nats: nats)
        pid, means = scale(self.pid), scale(self.mean)
        drawn = {
            atom: [values[rows][np.isfinite(values[rows])] for rows in classes.values()]
            for atom, values in ((atom, getattr(pid, atom)) for atom, *_ in ATOMS)
        }
        limits = _limits([x for parts in drawn.values() for x in parts if x.size])
        for ax, (atom, name, letter, colour) in zip(axes, ATOMS, strict=True):
            _draw(ax, drawn[atom], colour)
            ax.set_ylim(limits)
            ax.set_title(f"{name} ({letter}), mean {fixed(getattr(means, atom), 3)}", fontsize="medium")
            names = [shown(label) for label in classes]
            # Upright while they fit; a character is about an eighth of an inch wide, with its gap.
            room = 8 * ax.get_window_extent().width / ax.figure.dpi / len(names)
            turned = max(map(len, names)) + 1 > room
            ax.set_xticks(range(len(names)), names, rotation=90 if turned else 0)
            spec = ax.get_subplotspec()
            if spec is None or spec.is_first_col():
                ax.set_ylabel(unit)
            if spec is None or spec.is_last_row():
                ax.set_xlabel("y")
        return axes


def _mean(pid: PID) -> PID:
    return jax.tree.map(lambda leaf: float(np.mean(leaf)), pid)


def _limits(values: list[np.ndarray]) -> tuple[float, float]:
    """A scale that holds 0, every mean, and all of each class but 1 % at either end, with a margin."""
    ends = [0.0, *(float(np.mean(x)) for x in values)]
    ends += [float(np.quantile(x, 0.01, method="lower")) for x in values]
    ends += [float(np.quantile(x, 0.99, method="higher")) for x in values]
    margin = max(0.05 * (max(ends) - min(ends)), 1e-3)
    return min(ends) - margin, max(ends) + margin


def _draw(ax: Any, values: list[np.ndarray], colour: str) -> None:
    """A box over a strip of dots for each class."""
    ax.axhline(0.0, color="0.6", linewidth=0.8, zorder=0)
    for at, finite in enumerate(values):
        if not finite.size:
            continue
        some = finite[np.linspace(0, finite.size - 1, min(finite.size, _DOTS)).astype(int)]
        # Jitter by the golden ratio: even, and the same in every picture.
        jitter = (np.arange(some.size) * 0.618034 % 1.0 - 0.5) * 0.6
        ax.scatter(at + jitter, some, s=6, color=colour, alpha=0.35, linewidths=0, zorder=1)
        ax.boxplot(
            finite, positions=[at], widths=0.7, whis=(5, 95), showfliers=False, showmeans=True, manage_ticks=False,
            patch_artist=True, zorder=2,
            boxprops={"facecolor": (*_rgb(colour), 0.25), "edgecolor": "0.2", "linewidth": 0.9},
            whiskerprops={"color": "0.2", "linewidth": 0.9}, capprops={"color": "0.2", "linewidth": 0.9},
            medianprops={"color": "0.2", "linewidth": 1.4},
            meanprops={"marker": "D", "markersize": 4, "markerfacecolor": "black", "markeredgecolor": "white"},
        )  # fmt: skip
    ax.set_xlim(-0.6, len(values) - 0.4)
    ax.spines[["top", "right"]].set_visible(False)


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def panels(figure: Callable[..., Any], pointwise: Pointwise) -> Any:
    """Four axes that share their scales, in a figure made by ``figure`` and wide enough for the classes."""
    classes = np.unique(pointwise.y).size
    # Many classes stand one above the other, and are named once; few, two by two.
    rows, columns = (4, 1) if classes > 12 else (2, 2)
    width = min(max(3.2, 1.0 + 0.35 * classes), 24.0)
    made = figure(figsize=(columns * width, 1.6 + 2.0 * rows), layout="constrained")
    made.supxlabel("box: quartiles and median; whiskers: 5 and 95 %; diamond: mean; scale: 1 to 99 %", fontsize="small")
    return made.subplots(rows, columns, sharex=True, sharey=True)


def pyplot(name: str) -> Any:
    """Matplotlib's pyplot, or an error that says what ``name`` lacks."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(f"{name} needs Matplotlib, which is an extra: pip install pidjax[plot]") from error
    return pyplot


def shown(label: Any) -> str:
    """A label on one line, cut where it is long."""
    text = " ".join(str(label).split())
    return text if len(text) <= _LABEL else f"{text[: _LABEL - 1]}…"


def counted(count: int, noun: str) -> str:
    """A number and its noun: ``1 sample``, ``2 samples``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def fixed(value: float, digits: int = 5) -> str:
    """Fixed-point text, without the sign of a rounded-away negative."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def number(value: float) -> float | None:
    """What JSON takes for a number: None where it isn't finite."""
    return value if math.isfinite(value) else None
