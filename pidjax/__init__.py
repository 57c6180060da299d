"""pidjax: how two modalities inform a target, exactly, with certificates and error bars.

All quantities are in nats; joints are ``p[x1, x2, y]``, target last. ``quantify`` is the one call from arrays to
numbers, ``broja`` the exact solver under it.
"""

from pidjax import datasets, estimators
from pidjax.couplings.broja import Solution, broja, union_information
from pidjax.estimators.lsmi import constant_shift, lsmi, lsmi_from_joint
from pidjax.info import (
    Informations,
    conditional_entropy,
    conditional_mutual_information,
    entropy,
    informations,
    mutual_information,
    to_bits,
)
from pidjax.joint import joint_pmf, kmeans_codes, quantile_codes
from pidjax.lattice import lattice_from_joint, pointwise_lattice
from pidjax.pid import PID, Interval, agreement, from_union, sandwich
from pidjax.pointwise import Pointwise
from pidjax.posteriors import PosteriorPid, pid_from_posteriors
from pidjax.quantify import quantify
from pidjax.report import Null, Report
from pidjax.typing import Samples

__all__ = [
    "PID",
    "Informations",
    "Interval",
    "Null",
    "Pointwise",
    "PosteriorPid",
    "Report",
    "Samples",
    "Solution",
    "agreement",
    "broja",
    "conditional_entropy",
    "conditional_mutual_information",
    "constant_shift",
    "datasets",
    "entropy",
    "estimators",
    "from_union",
    "informations",
    "joint_pmf",
    "kmeans_codes",
    "lattice_from_joint",
    "lsmi",
    "lsmi_from_joint",
    "mutual_information",
    "pid_from_posteriors",
    "pointwise_lattice",
    "quantify",
    "quantile_codes",
    "sandwich",
    "to_bits",
    "union_information",
]
