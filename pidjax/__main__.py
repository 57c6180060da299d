"""The command line: ``pidjax quantify``, ``bounds`` and ``infometer`` of a FILE, and ``pidjax demo``."""

import argparse
import contextlib
import csv
import dataclasses
import importlib.util
import json
import os
import re
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pidjax import _checks
from pidjax.estimators.infometer import InfometerRecipe
from pidjax.metered import InformationReport
from pidjax.pointwise import panels
from pidjax.quantify import DISCRETISERS, METHODS, quantify
from pidjax.quantify_infometer import COMPONENTS, INFOMETER_MODELS, infometer
from pidjax.quantify_unpaired import UNPAIRED_METHODS, quantify_unpaired
from pidjax.report import Report
from pidjax.unpaired import BoundsReport

__all__ = ["main"]

_DESCRIPTION = """\
How do two modalities x1 and x2 inform a label y? I(x1,x2;y) splits into four parts:

  R   redundancy  what both say: either one would do
  U1  unique      what only x1 says
  U2  unique      what only x2 says
  S   synergy     what neither says alone and both say together

R + U1 = I(x1;y), R + U2 = I(x2;y), R + U1 + U2 + S = I(x1,x2;y). The table comes with bootstrap intervals.
Symbols are counted: the certified distance to the exact optimum comes with it, and what shuffled labels
would give (the null). From features classifiers are trained, each sample judged by some that never saw it,
and their posteriors decomposed; --bins 8 makes symbols of features instead. --method lsmi gives values of
single samples in its own definition; its means may be negative, and the published shift of them is shown."""

_BOUNDS = """\
Two modalities that were never labelled together: a sample of (x1, y), another of (x2, y), and pairs
(x1, x2) without labels. Redundancy and uniquenesses follow from the first two; the synergy is bounded from
below and above, and with it the accuracy that a model of both could have: is it worth collecting pairs?"""

_INFOMETER = """\
How much do two modalities tell of each other? Features are quantised and coded by learned entropy models, one
by one and together, each sample by models that never saw it; I(x1;x2) is what coding them together saves. No
label is needed; with --given it is the information given that label (or those features)."""

_EXAMPLES = """\
examples:
  pidjax demo
      the left half of handwritten digits against the right half (needs pip install pidjax[examples])
  pidjax quantify data.npz --x1 audio --x2 video --y label --json out.json --plot out.png
      arrays by name: (n,) integers and strings are symbols, (n, ...) arrays and floats are features
  pidjax quantify data.csv --x1 pulse,pressure --x2 smoker --y outcome --bins 5 --bits
      columns by header: one of integers or words is symbols, several, or one of floats, are features
  pidjax quantify clips.npz --x1 audio --x2 video --y label --groups speaker --per-sample atoms.csv
      the atoms of every sample; the intervals are those of a bootstrap over speakers

  pidjax quantify clips.npz --x1 audio --x2 video --y label --method lsmi --plot-samples a.png
      LSMI: learned, for each sample; which classes are redundant, which take both
  pidjax bounds data.npz --x1 a --y1 la --x2 v --y2 lv --pairs1 pa --pairs2 pv
      no labelled pairs: a with its labels, v with its own, and pairs without; bounds on the synergy
  pidjax infometer clips.npz --x1 audio --x2 video --step 1 .5 .25
      how much the two share, coded at three steps; no label is needed

Set JAX_COMPILATION_CACHE_DIR to a folder, and later runs are spared the compilation."""

_HOW_TO_READ = """\
How to read it: R is what either half of a digit gives away, U1 and U2 what only the left or only the
right half shows, S what takes both. Each digit was judged by classifiers that never saw it; what they
miss goes mostly into R, so their log loss is among the diagnostics. --bins 8 makes 8 symbols of each half
instead: certified for the table, with a null of shuffled labels, but symbols lose information."""

_REFUSALS = (ValueError, TypeError, OverflowError, ImportError, OSError, csv.Error, zipfile.BadZipFile)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments, without the program's name; None means those of the process.

    Returns:
        The exit status: 0, or 2 when the input was refused (the reason goes to stderr).

    Raises:
        SystemExit: ``--help`` (status 0) or arguments that can't be parsed (status 2).

    Example:
        >>> main(["quantify", "no_such_file.npz", "--x1", "a", "--x2", "b", "--y", "c"])
        2
    """
    # The OpenBLAS that JAX calls on CPUs reads this when it is loaded. Its threads gain nothing on matrices
    # this small, and spin when other programs run: 60 s were seen where one thread took 2 s.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    options = _parser().parse_args(argv)
    try:
        _check_outputs(options)
        arrays = options.load(options)
        with _progress() as progress:
            report = options.work(arrays, options, progress)
        _write(dataclasses.replace(report, seed=options.seed), options)
    except _REFUSALS as error:
        print(f"pidjax: {error}", file=sys.stderr)
        return 2
    return 0


Progress = Callable[[str], None] | None


def _quantify(arrays: list[np.ndarray], options: argparse.Namespace, progress: Progress) -> Report:
    x1, x2, y, *groups = arrays
    settings = ("method", "discretise", "bins", "bootstrap", "permutations")
    return quantify(
        x1, x2, y, key=jax.random.key(options.seed), progress=progress, groups=groups[0] if groups else None,
        **{name: getattr(options, name) for name in settings},
    )  # fmt: skip


def _bounds(arrays: list[np.ndarray], options: argparse.Namespace, progress: Progress) -> BoundsReport:
    x1, y1, x2, y2, u1, u2 = arrays
    settings = ("method", "discretise", "bins", "bootstrap")
    given = {name: getattr(options, name) for name in settings if getattr(options, name) is not None}
    return quantify_unpaired(
        (x1, y1), (x2, y2), (u1, u2), key=jax.random.key(options.seed), progress=progress, **given
    )  # fmt: skip


def _infometer(arrays: list[np.ndarray], options: argparse.Namespace, progress: Progress) -> InformationReport:
    x1, x2, *given = arrays
    return infometer(
        x1, x2, key=jax.random.key(options.seed), given=given[0] if given else None, step=options.step,
        components=options.components, recipe=InfometerRecipe(model=options.model), progress=progress,
    )  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    base = argparse.ArgumentParser(add_help=False)
    add = base.add_argument
    add("--bits", action="store_true", help="show bits only; the JSON stays in nats")
    add("--json", type=Path, metavar="OUT", help="write the report as JSON")
    add("--plot", type=Path, metavar="OUT.png", help="draw the report (needs pip install pidjax[plot])")
    add("--seed", type=int, default=0, metavar="N", help="same seed, same answer (default 0)")

    common = argparse.ArgumentParser(add_help=False, parents=[base])
    add = common.add_argument
    add("--bootstrap", type=int, default=200, metavar="N", help="replicates for intervals; 0: none (200)")

    shared = argparse.ArgumentParser(add_help=False, parents=[common])
    add = shared.add_argument
    add(
        "--method", choices=METHODS, default="auto",
        help="discrete for tables, posteriors for features (auto chooses, and takes --bins for a wish for tables); "
        "lsmi for single samples",
    )  # fmt: skip
    add(
        "--discretise", choices=DISCRETISERS,
        help="how features become symbols; quantile is for one column, none refuses features (kmeans)",
    )  # fmt: skip
    add("--bins", type=int, metavar="N", help="symbols that features become (discrete; default 20)")
    add("--per-sample", type=Path, metavar="OUT.csv", help="write each sample's atoms; list where they are largest")
    add("--plot-samples", type=Path, metavar="OUT.png", help="draw the samples' atoms, class by class (as --plot)")
    add("--permutations", type=int, metavar="N", help="for the null (200 of tables; else 0: each trains anew)")

    layout: dict[str, Any] = {
        "description": _DESCRIPTION,
        "epilog": _EXAMPLES,
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }
    parser = argparse.ArgumentParser(prog="pidjax", **layout)
    commands = parser.add_subparsers(required=True, metavar="{quantify,bounds,infometer,demo}")
    command = commands.add_parser("quantify", parents=[shared], help="decompose arrays of a file", **layout)
    command.add_argument("file", metavar="FILE", type=Path, help=".npz, or .csv with a header row")
    for name, what in (("x1", "first modality"), ("x2", "second modality"), ("y", "label")):
        command.add_argument(f"--{name}", metavar="NAME", required=True, help=f"{what}: array or column(s)")
    command.add_argument(
        "--groups", metavar="NAME", help="what the bootstrap draws whole (speakers, say): array or column"
    )
    command.set_defaults(load=_load, work=_quantify, names=("x1", "x2", "y", "groups"), epilogue=None)

    command = commands.add_parser(
        "bounds", parents=[common], help="bound the interactions of modalities without labelled pairs",
        **layout | {"description": _BOUNDS},
    )  # fmt: skip
    command.add_argument("file", metavar="FILE", type=Path, help=".npz")
    own = ("x1", "y1", "x2", "y2", "pairs1", "pairs2")
    told = (
        "first modality, where labelled", "its labels", "second modality, where labelled", "its labels",
        "first modality of the pairs", "second modality of the pairs",
    )  # fmt: skip
    for name, what in zip(own, told, strict=True):
        command.add_argument(f"--{name}", metavar="NAME", required=True, help=f"{what}: array")
    add = command.add_argument
    add(
        "--method", choices=UNPAIRED_METHODS, default="auto",
        help="discrete for tables, posteriors for features (auto chooses, and takes --bins for a wish for tables)",
    )  # fmt: skip
    add("--discretise", choices=("kmeans", "quantile"), help="how features become symbols (kmeans)")
    add("--bins", type=int, metavar="N", help="symbols that features become (discrete; default 20)")
    command.set_defaults(load=_load, work=_bounds, names=own, epilogue=None, per_sample=None, plot_samples=None)

    command = commands.add_parser(
        "infometer", parents=[base], help="measure what two modalities share", **layout | {"description": _INFOMETER}
    )
    command.add_argument("file", metavar="FILE", type=Path, help=".npz, or .csv with a header row")
    add = command.add_argument
    for name, what in (("x1", "first modality"), ("x2", "second modality")):
        add(f"--{name}", metavar="NAME", required=True, help=f"{what}: array or column(s)")
    add("--given", metavar="NAME", help="what is known beside, label or features: array or column(s)")
    add("--step", type=float, nargs="+", default=[0.25], metavar="S", help="cells, in standard deviations (.25)")
    add("--model", choices=INFOMETER_MODELS, default=INFOMETER_MODELS[0], help=f"of entropy ({INFOMETER_MODELS[0]})")
    add("--components", type=int, default=COMPONENTS, metavar="N", help=f"most columns coded of each ({COMPONENTS})")
    add("--per-sample", type=Path, metavar="OUT.csv", help="write each sample's information")
    command.set_defaults(load=_load, work=_infometer, names=("x1", "x2", "given"), epilogue=None, plot_samples=None)

    command = commands.add_parser("demo", parents=[shared], help="decompose scikit-learn's digits", **layout)
    command.set_defaults(load=_digits, work=_quantify, epilogue=_HOW_TO_READ)
    return parser


def _check_outputs(options: argparse.Namespace) -> None:
    """Refuse now what would fail after the work is done."""
    for path in (options.json, options.plot, options.per_sample, options.plot_samples):
        _checks.require(
            path is None or path.absolute().parent.is_dir(),
            f"can't write {path}: there is no such folder; make it first",
        )
    for name, path in (("--plot", options.plot), ("--plot-samples", options.plot_samples)):
        _checks.require(
            path is None or importlib.util.find_spec("matplotlib") is not None,
            f"{name} needs Matplotlib, which is an extra: pip install pidjax[plot]",
        )


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str], None] | None]:
    """What the work is at, on stderr, when that is a terminal; silence in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    with Console(stderr=True).status("starting") as status:
        yield status.update


def _write(report: Report | BoundsReport | InformationReport, options: argparse.Namespace) -> None:
    print(report.table(bits=options.bits))
    metered = isinstance(report, InformationReport)
    samples: Any = report if metered else getattr(report, "pointwise", None)
    instead = "; in Python pidjax.gaussian_pointwise gives those of normal scores (the example of pidjax.copula_pid)"
    _checks.require(
        samples is not None or (options.per_sample is None and options.plot_samples is None),
        f"{report.method} gives no values of single samples; leave out --per-sample and --plot-samples"
        + (instead if getattr(report, "target", None) == "column" else ""),
    )
    if options.per_sample is not None:
        samples.to_csv(options.per_sample)
    if options.per_sample is not None and not metered:
        print()
        for atom, words in (("redundancy", "most redundant:  "), ("synergy", "most synergetic: ")):
            print(f"Samples (rows from 0), {words}{', '.join(map(str, samples.extremes(atom)))}")
    if options.epilogue:
        print(f"\n{options.epilogue}")
    if options.json is not None:
        text = json.dumps(report.to_dict(), indent=2, allow_nan=False)
        options.json.write_text(f"{text}\n", encoding="utf-8")
    if options.plot is not None:
        # Not pyplot, which would look for a display.
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.6, 3.2) if metered else (4.6, 4.2), layout="constrained")
        report.plot(figure.subplots(1, 2) if metered else figure.add_subplot(), bits=options.bits)
        figure.savefig(options.plot, dpi=200)
    if options.plot_samples is not None:
        from matplotlib.figure import Figure

        axes = samples.plot(panels(Figure, samples), bits=options.bits)
        axes[0].figure.savefig(options.plot_samples, dpi=200)


def _load(options: argparse.Namespace) -> list[np.ndarray]:
    path, suffix = options.file, options.file.suffix.lower()
    _checks.require(
        suffix in (".npz", ".csv"),
        f"{path} is neither .npz nor .csv; save arrays with numpy.savez('data.npz', x1=..., x2=..., y=...)",
    )
    _checks.require(
        suffix == ".npz" or options.work is not _bounds,
        f"{path} has one row for every sample, but three samples differ in length; save arrays with numpy.savez",
    )
    _checks.require(path.is_file(), f"there is no file {path}; look at the path and the current folder")
    names = [name for option in options.names if (name := getattr(options, option)) is not None]
    return (_from_npz if suffix == ".npz" else _from_csv)(path, names)


def _check_known(name: str, names: Sequence[str], path: Path, what: str) -> None:
    _checks.require(name in names, f"{path} has no {what} {name!r}; it has: {', '.join(names)}")


def _from_npz(path: Path, names: Sequence[str]) -> list[np.ndarray]:
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        for name in names:
            _check_known(name, file.files, path, "array")
        return [file[name] for name in names]


def _from_csv(path: Path, names: Sequence[str]) -> list[np.ndarray]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    header, rows = (lines[0], lines[1:]) if lines else ([], [])
    for i, row in enumerate(rows, start=1):
        _checks.require(
            len(row) == len(header),
            f"{path}: row {i} has {len(row)} cells, the header {len(header)}; quote cells that hold commas",
        )

    def column(name: str) -> np.ndarray:
        _check_known(name, header, path, "column")
        cells = [row[header.index(name)] for row in rows]
        _checks.require(
            "" not in cells,
            f"{path}: column {name!r} has {cells.count('')} empty cells; drop or impute those rows first",
        )
        return _typed(cells)

    def variable(selection: str) -> np.ndarray:
        columns = {name: column(name) for name in map(str.strip, selection.split(","))}
        if len(columns) == 1:
            return columns.popitem()[1]
        words = [name for name, values in columns.items() if values.dtype.kind == "U"]
        _checks.require(
            not words,
            f"{path}: columns {', '.join(words)} hold words; several columns are features, so numbers",
        )
        return np.column_stack(list(columns.values()))

    return [variable(name) for name in names]


def _typed(cells: list[str]) -> np.ndarray:
    """Integers, floats or words; what only looks like a number ("001", "1_0", twenty digits) stays a word."""
    if all(re.fullmatch(r"-?(0|[1-9]\d*)", cell.strip()) for cell in cells):
        with contextlib.suppress(OverflowError):
            return np.array([int(cell) for cell in cells], np.int64)
        return np.array(cells)
    if not any(re.fullmatch(r"0\d+|.*_.*", cell.strip()) for cell in cells):
        with contextlib.suppress(ValueError):
            return np.array([float(cell) for cell in cells])
    return np.array(cells)


def _digits(_: argparse.Namespace) -> list[np.ndarray]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        message = "the demo's digits come with scikit-learn, which is an extra: pip install pidjax[examples]"
        raise ImportError(message) from error
    digits = load_digits()
    return [digits.images[:, :, :4], digits.images[:, :, 4:], digits.target]


if __name__ == "__main__":
    sys.exit(main())
