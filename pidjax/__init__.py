"""pidjax: how two modalities inform a target, exactly, with certificates and error bars.

All quantities are in nats; joints are ``p[x1, x2, y]``, target last. ``quantify`` is the one call from arrays to
numbers, ``broja`` the exact solver under it.
"""

from pidjax import applications, datasets, estimators
from pidjax.accuracy import AccuracyBounds, accuracy_bounds
from pidjax.bounds import SynergyBounds, disagreement, disagreement_bounds, synergy_bounds
from pidjax.couplings.broja import Solution, broja, union_information
from pidjax.couplings.maximum_entropy import MaximumEntropy, maximum_entropy
from pidjax.couplings.minimum_entropy import GreedyCoupling, greedy_coupling, majorisation_meet, maximal_information
from pidjax.couplings.reconciliation import Reconciliation, reconciled_tables
from pidjax.estimators.lsmi import constant_shift, lsmi, lsmi_from_joint
from pidjax.gaussian import gaussian_pid, gaussian_pid_from_gains
from pidjax.gaussian_coupling import gaussian_coupling, gaussian_pointwise
from pidjax.gaussian_samples import GaussianEstimate, gaussian_estimate, gaussian_pid_from_samples
from pidjax.gaussian_sources import GaussianUnion, gaussian_union
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
from pidjax.metered import InformationReport
from pidjax.normal_scores import CopulaEstimate, GaussianCheck, copula_pid, gaussian_check, normal_scores
from pidjax.pid import PID, Interval, agreement, from_union, sandwich
from pidjax.pointwise import Pointwise
from pidjax.posteriors import PosteriorPid, pid_from_posteriors
from pidjax.quantify import quantify
from pidjax.quantify_infometer import infometer
from pidjax.quantify_unpaired import quantify_unpaired
from pidjax.report import Null, Report
from pidjax.typing import Samples
from pidjax.unpaired import BoundsReport

__all__ = [
    "PID",
    "AccuracyBounds",
    "BoundsReport",
    "CopulaEstimate",
    "GaussianCheck",
    "GaussianEstimate",
    "GaussianUnion",
    "GreedyCoupling",
    "InformationReport",
    "Informations",
    "Interval",
    "MaximumEntropy",
    "Null",
    "Pointwise",
    "PosteriorPid",
    "Reconciliation",
    "Report",
    "Samples",
    "Solution",
    "SynergyBounds",
    "accuracy_bounds",
    "agreement",
    "applications",
    "broja",
    "conditional_entropy",
    "conditional_mutual_information",
    "constant_shift",
    "copula_pid",
    "datasets",
    "disagreement",
    "disagreement_bounds",
    "entropy",
    "estimators",
    "from_union",
    "gaussian_check",
    "gaussian_coupling",
    "gaussian_estimate",
    "gaussian_pid",
    "gaussian_pid_from_gains",
    "gaussian_pid_from_samples",
    "gaussian_pointwise",
    "gaussian_union",
    "greedy_coupling",
    "infometer",
    "informations",
    "joint_pmf",
    "kmeans_codes",
    "lattice_from_joint",
    "lsmi",
    "lsmi_from_joint",
    "majorisation_meet",
    "maximal_information",
    "maximum_entropy",
    "mutual_information",
    "normal_scores",
    "pid_from_posteriors",
    "pointwise_lattice",
    "quantify",
    "quantify_unpaired",
    "quantile_codes",
    "reconciled_tables",
    "sandwich",
    "synergy_bounds",
    "to_bits",
    "union_information",
]
