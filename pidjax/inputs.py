"""What the roof accepts: keys, lengths, and arrays as symbols or features, each refused with its cause and cure."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pidjax import _checks
from pidjax.joint import feature_columns, finite, kmeans_codes, one_column, quantile_codes
from pidjax.typing import Key

__all__ = [
    "Question",
    "Symbols",
    "are_names",
    "check_cells",
    "check_lengths",
    "checked_key",
    "drawn_labels",
    "features",
    "group_symbols",
    "label_symbols",
    "modality_symbols",
    "named",
    "numbers",
    "weak_classifiers",
]

# Beyond this many cells the alphabets are surely measurements that were taken for names.
MOST_CELLS = 10**8
# The error of a spread found from g groups is about 1 / sqrt(2 (g - 1)): at 20 groups 16 %.
FEW_GROUPS = 20


class Symbols(NamedTuple):
    """A variable as codes ``(n,)`` in ``[0, size)``, and what is to be warned of."""

    codes: Any
    size: int
    warnings: tuple[str, ...] = ()


class Question(NamedTuple):
    """What ``quantify`` was asked, checked, whatever the method."""

    x1: np.ndarray
    x2: np.ndarray
    y: np.ndarray
    labels: Symbols
    clusters: Symbols | None
    key: Key
    bootstrap: int
    permutations: int
    say: Callable[[str], None]
    predictions: np.ndarray | None = None

    @property
    def of_groups(self) -> str:
        """What the bootstrap draws, in words."""
        return f" of {self.clusters.size} groups" if self.clusters else ""

    @property
    def seed(self) -> tuple[int, ...]:
        """The words of the key."""
        return tuple(int(word) for word in np.asarray(jax.random.key_data(self.key)).ravel())


def checked_key(key: Any) -> Key:
    """A new-style PRNG key, from one or from a legacy ``uint32`` key."""
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key) and shape == ():
        return key
    _checks.require(
        dtype == np.uint32 and shape in ((2,), (4,)),
        f"key is {repr(key) if shape is None else f'an array of {dtype}, shape {shape}'}; expected one PRNG "
        "key: make it from a seed, jax.random.key(0)",
        TypeError,
    )
    return jax.random.wrap_key_data(jnp.asarray(key))


def check_lengths(x1: np.ndarray, x2: np.ndarray, y: np.ndarray) -> None:
    """As many of each, and some."""
    for x, name in ((x1, "x1"), (x2, "x2"), (y, "y")):
        _checks.require(
            x.ndim >= 1,
            f"{name} is a single value ({x!r:.60}); expected an array whose first axis is the sample",
        )
    _checks.require(
        len(x1) == len(x2) == len(y),
        f"x1, x2 and y have {len(x1)}, {len(x2)} and {len(y)} samples; expected as many of each: row i of "
        "all three must be the same sample",
    )
    _checks.require(len(y) > 0, "x1, x2 and y have no samples; expected at least one: look at the filter before")


def check_cells(shape: tuple[int, ...]) -> None:
    """A table that fits in memory."""
    cells = int(np.prod(shape, dtype=object))
    _checks.require(
        cells <= MOST_CELLS,
        f"the alphabets {' x '.join(map(str, shape))} make a table of {cells:.1e} cells, more than "
        f"{MOST_CELLS:.0e}; if these integers are measurements rather than names, pass them as features: "
        "x[:, None]",
    )


def are_names(x: np.ndarray) -> bool:
    """Whether an array holds symbols: one-dimensional integers, booleans or strings."""
    return x.ndim == 1 and x.dtype.kind in "biuSUTO"


def named(x: np.ndarray, name: str) -> Symbols:
    """Codes of integers, booleans or strings."""
    _checks.require(
        x.dtype.kind != "O" or all(isinstance(value, str) for value in x),
        f"{name} is an array of Python objects that are not all strings (a missing value, perhaps); expected "
        "integers or strings",
        TypeError,
    )
    names, codes = np.unique(x, return_inverse=True)
    return Symbols(codes, names.size)


def label_symbols(y: np.ndarray) -> Symbols:
    """The labels, coded."""
    _checks.require(y.ndim == 1, f"y has shape {y.shape}; expected one label for each sample: y.ravel() or y.argmax(1)")
    _checks.require(
        are_names(y),
        f"y has dtype {y.dtype}; expected integer or string labels: a continuous target is for pidjax.quantify "
        "and copula_pid. If these are class numbers, pass y.astype(int); else bin them first (pidjax.quantile_codes)",
    )
    symbols = named(y, "y")
    if symbols.size > 1:
        return symbols
    return symbols._replace(warnings=(f"y has a single class ({y[0]}): there is nothing to inform about, all is zero",))


def drawn_labels(key: Key, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A model's predictions ``(n, k)`` as labels, one drawn from each row, and the probabilities themselves.

    Drawn labels have the model's own joint with the modalities, whatever its confidence; its likeliest labels haven't.
    """
    _checks.require(
        y.ndim == 2 and y.shape[1] >= 2 and y.dtype.kind == "f",
        f"y has shape {y.shape} and dtype {y.dtype}; expected labels (n,), or a model's probabilities (n, k), floats: "
        "y.ravel() of a column (a continuous target, if it is of floats), y.argmax(1) of indicators",
    )
    p = y.astype(np.float64)
    off = np.abs(p.sum(1) - 1).max()
    _checks.require(
        bool(np.isfinite(p).all() and (p >= 0).all() and off <= 1e-3),
        f"y has rows that are no distributions: values from {p.min():g} to {p.max():g}, sums off by up to {off:g}; "
        "expected a model's probabilities, jax.nn.softmax(logits); a continuous target of several columns is for "
        'method="copula"',
    )
    p /= p.sum(1, keepdims=True)
    uniform = np.asarray(jax.random.uniform(key, (len(p), 1)), np.float64)
    return np.minimum((np.cumsum(p, 1) <= uniform).sum(1), p.shape[1] - 1), p


def weak_classifiers(information: Any, labels: Symbols, n: int) -> list[str]:
    """Warnings of classifiers that are no better than the prior; ``information`` by name, means in nats."""
    slack = labels.size / n  # twice what calibrating on the same labels feigns
    return [
        f"the classifier of {name} is no better than the prior: it says {float(value):.4f} nats, of which calibration "
        f"feigns about {slack / 2:.4f}"
        for name, value in information._asdict().items()
        if labels.size > 1 and value < slack
    ]


def group_symbols(groups: np.ndarray, n: int) -> Symbols:
    """The groups that a bootstrap draws, coded."""
    _checks.require(groups.shape == (n,), f"groups has shape {groups.shape}; expected a name for each sample, ({n},)")
    _checks.require(
        are_names(groups), f"groups has dtype {groups.dtype}; expected names, integers or strings: groups.astype(str)"
    )
    symbols = named(groups, "groups")
    if symbols.size >= FEW_GROUPS:
        return symbols
    text = f"{symbols.size} groups are few to bootstrap: the interval's width is unsure, and rather too small"
    return symbols._replace(warnings=(f"{text}; read it as a hint, or collect more groups",))


def modality_symbols(key: Key, x: np.ndarray, name: str, discretise: str, bins: int) -> Symbols:
    """A modality, coded: names as they are, features by ``discretise``."""
    if are_names(x):
        symbols = named(x, name)
        constant = symbols.size == 1
    else:
        _checks.require(
            discretise != "none",
            f'{name} has dtype {x.dtype} and shape {x.shape}, which are features, and discretise="none"; '
            'pass one-dimensional integers or strings, or discretise="kmeans"',
        )
        columns = feature_columns(x, name)
        finite(columns, name)
        if discretise == "quantile":
            one_column(columns, name)
            codes = quantile_codes(columns, bins=bins)
        else:
            codes = kmeans_codes(key, columns, bins=bins)
        symbols = Symbols(np.asarray(codes), bins)
        constant = bool((columns == columns[0]).all())
    if constant:
        return symbols._replace(
            warnings=(f"{name} is constant: it can't inform, its atoms are zero; look at its source",)
        )
    occupied = np.unique(symbols.codes).size
    if occupied < symbols.size:
        text = f"{name} has {occupied} occupied symbols, {symbols.size} were asked for: too few distinct values"
        return symbols._replace(warnings=(f"{text}; nothing is lost, bins={occupied} would say the same",))
    return symbols


def features(x: np.ndarray, name: str) -> np.ndarray:
    """Features in their shape ``(n, ...)``, float64, each standardised: what 32-bit training keeps all digits of."""
    columns = feature_columns(x, name)
    finite(columns, name)
    columns = columns.astype(np.float64)
    centred = columns - columns.mean(0)
    deviation = np.sqrt((centred**2).mean(0))
    varies = (columns != columns[0]).any(0)
    _checks.require(bool(varies.any()), f"{name} is constant: it can't inform; look at its source, or drop it")
    return np.where(varies, centred / np.where(varies, deviation, 1), 0).reshape(x.shape if x.ndim > 1 else (-1, 1))


def numbers(x: np.ndarray, name: str) -> np.ndarray:
    """Standardised features; symbols as indicators."""
    if are_names(x):
        codes, size, _ = named(x, name)
        _checks.require(
            size <= 1000,
            f"{name} has {size} symbols; expected at most 1000 for a classifier to tell apart: if these are "
            f"measurements rather than names, pass them as features, {name}[:, None]",
        )
        _checks.require(size > 1, f"{name} is constant: it can't inform; look at its source, or drop it")
        indicators = np.eye(size)[codes]
        return indicators - indicators.mean(0)
    return features(x, name)
