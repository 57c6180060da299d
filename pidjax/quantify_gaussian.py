"""The roof of continuous targets: arrays in, a ``Report`` by the Gaussian closed form out."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from pidjax import _checks
from pidjax.estimators.flow import flow_pid, halves
from pidjax.info import Informations
from pidjax.inputs import Symbols, are_names, features
from pidjax.normal_scores import BINNED, copula_pid
from pidjax.pointwise import counted
from pidjax.report import Report
from pidjax.typing import Key

__all__ = ["TARGETS", "gaussian_report", "is_continuous"]

TARGETS = ("copula", "flow")
# Fewer distinct values are class numbers that were stored as floats, rather than measurements.
FEW_VALUES = 20
REPLICATES = 200


def is_continuous(y: np.ndarray, method: str) -> bool:
    """Whether y is a target of floats, and not labels or a model's probabilities."""
    return method in TARGETS or (y.ndim == 1 and y.dtype.kind == "f")


def gaussian_report(
    x1: np.ndarray, x2: np.ndarray, y: np.ndarray, *, key: Key, method: str, bootstrap: int, clusters: Symbols | None,
    say: Callable[[str], None],
) -> Report:  # fmt: skip
    """The report of ``quantify`` where y is continuous."""
    _checks.require(
        method in ("auto", *TARGETS),
        f"y is continuous ({y.dtype}) and method is {method!r}, which is for labels; expected one of "
        f"{', '.join(TARGETS)}. If these are class numbers, pass y.astype(int); else bin them first "
        "(pidjax.quantile_codes)",
    )
    distinct = min(np.unique(column).size for column in y.reshape(len(y), -1).T)
    _checks.require(
        distinct >= min(FEW_VALUES, len(y)),
        f"y is floating with {distinct} distinct values; if these are class numbers, pass y.astype(int); a "
        f"continuous target has at least {FEW_VALUES}",
    )
    _checks.require(not are_names(y), f"y is {y.dtype} and method {method!r} of a continuous y; pass y.astype(float)")
    for x, name in ((x1, "x1"), (x2, "x2")):
        _checks.require(
            not are_names(x),
            f"{name} is symbols ({x.dtype}), and the target continuous: symbols have no normal scores, nor do their "
            f"indicators; {BINNED}",
        )
    values = [features(x, name).reshape(len(x), -1) for x, name in ((x1, "x1"), (x2, "x2"), (y, "y"))]
    tied = [warning for x, name in zip(values[:2], ("x1", "x2"), strict=True) for warning in _ties(x, name)]
    groups = None if clusters is None else clusters.codes
    # They correct the estimate's bias too, so some are drawn where no interval is asked for.
    drawn = bootstrap or REPLICATES
    if method == "flow":
        say("training flows")
        with jax.enable_x64(False):
            given = [jnp.asarray(x, jnp.float32) for x in values]
            found = jax.device_get(flow_pid(key, *given, replicates=drawn, groups=groups))
            held = halves(key, len(y), groups)[1]
        words, cure = "flows to pairwise Gaussian latents, held out", BINNED
    else:
        say("ranking")
        with jax.enable_x64(True):
            found = jax.device_get(copula_pid(key, *values, replicates=drawn, groups=groups))
        held = np.arange(len(y))
        words, cure = "normal scores, Gaussian closed form", f'try method="flow", or {BINNED}'
    pid = found.pid
    checks = {"x1 and y": found.check1, "x2 and y": found.check2, "all": found.check12}
    return Report(
        pid=pid,
        gap=None,
        information=Informations(pid.mi1, pid.mi2, pid.total),
        label_entropy=float("nan"),
        interval=found.interval if bootstrap else None,
        samples=len(held),
        shape=(values[0].shape[1], values[1].shape[1], values[2].shape[1]),
        method=f"continuous target, {words}",
        nouns=("column", "column"),
        target="column",
        bootstrap=bootstrap,
        interval_rule="bootstrap replicates" + ("" if groups is None else f" of {np.unique(groups[held]).size} groups"),
        warnings=(*tied, *found.warned(cure), *(clusters.warnings if clusters else ())),
        diagnostics={f"{name}, standard errors from Gaussian": float(c.statistic) for name, c in checks.items()},
        seed=tuple(int(word) for word in np.asarray(jax.random.key_data(key)).ravel()),
    )


def _ties(x: np.ndarray, name: str) -> list[str]:
    """A warning where columns have few distinct values."""
    distinct = np.array([np.unique(column).size for column in x.T])
    few = distinct < min(FEW_VALUES, len(x))
    if not few.any():
        return []
    have = "has" if few.sum() == 1 else "have"
    return [
        f"{few.sum()} of {counted(x.shape[1], 'column')} of {name} {have} fewer than {FEW_VALUES} distinct values (the "
        f"least {distinct.min()}): no stretching makes ties normal, and the atoms are off by what that costs; {BINNED}"
    ]
