"""Learned quantities: estimators, the fits that train them, and what LSMI is made of."""

from pidjax.calibration import Quality, VectorScaling, quality, vector_scaling
from pidjax.estimators.base import Estimator, by_gradient, parallel
from pidjax.estimators.batch import Alignment, BatchUnion, batch_alignment, batch_union
from pidjax.estimators.bottleneck import autoregressive, factorised, hyperprior, invertible, masked_convolution
from pidjax.estimators.checkpoint import fit_in_chunks
from pidjax.estimators.classifier import Classifier, Net, adamw, brought_logits, classifier, classifiers, log_prior
from pidjax.estimators.cross_fit import CrossFit, cross_fit
from pidjax.estimators.dual import DualNetworks, DualUnion, dual_networks, dual_union, pointwise_union
from pidjax.estimators.fit import Fit, Trace, fit
from pidjax.estimators.fitted import FittedPosteriors, PosteriorModels, Recipe, fitted_posteriors, unseen_posteriors
from pidjax.estimators.flow import Flows, flow_pid, flows
from pidjax.estimators.infometer import (
    FittedInfometer,
    InfometerModels,
    InfometerRecipe,
    InfometerValues,
    Mean,
    coded_entropy,
    fitted_infometer,
    rate_curve,
    unseen_infometer,
)
from pidjax.estimators.knife import knife, published_knife
from pidjax.estimators.lsmi import Switches, constant_shift, lsmi, lsmi_from_joint, switches
from pidjax.estimators.samplewise import (
    FittedLsmi,
    LsmiModels,
    LsmiValues,
    components,
    fitted_lsmi,
    unseen_lsmi,
)

__all__ = [
    "Alignment",
    "BatchUnion",
    "Classifier",
    "CrossFit",
    "DualNetworks",
    "DualUnion",
    "Estimator",
    "Fit",
    "FittedInfometer",
    "FittedLsmi",
    "FittedPosteriors",
    "Flows",
    "InfometerModels",
    "InfometerRecipe",
    "InfometerValues",
    "LsmiModels",
    "LsmiValues",
    "Mean",
    "Net",
    "PosteriorModels",
    "Quality",
    "Recipe",
    "Switches",
    "Trace",
    "VectorScaling",
    "adamw",
    "autoregressive",
    "batch_alignment",
    "batch_union",
    "brought_logits",
    "by_gradient",
    "classifier",
    "classifiers",
    "coded_entropy",
    "components",
    "constant_shift",
    "cross_fit",
    "dual_networks",
    "dual_union",
    "factorised",
    "fit",
    "fit_in_chunks",
    "fitted_infometer",
    "fitted_lsmi",
    "fitted_posteriors",
    "flow_pid",
    "flows",
    "hyperprior",
    "invertible",
    "knife",
    "log_prior",
    "lsmi",
    "lsmi_from_joint",
    "masked_convolution",
    "parallel",
    "pointwise_union",
    "published_knife",
    "quality",
    "rate_curve",
    "switches",
    "unseen_infometer",
    "unseen_lsmi",
    "unseen_posteriors",
    "vector_scaling",
]
