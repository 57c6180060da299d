"""Learned quantities: estimators, the fits that train them, and what LSMI is made of."""

from pidjax.calibration import Quality, VectorScaling, quality, vector_scaling
from pidjax.estimators.base import Estimator, by_gradient, parallel
from pidjax.estimators.checkpoint import fit_in_chunks
from pidjax.estimators.classifier import Classifier, Net, adamw, brought_logits, classifier, classifiers, log_prior
from pidjax.estimators.cross_fit import CrossFit, cross_fit
from pidjax.estimators.fit import Fit, Trace, fit
from pidjax.estimators.fitted import FittedPosteriors, PosteriorModels, Recipe, fitted_posteriors, unseen_posteriors
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
    "Classifier",
    "CrossFit",
    "Estimator",
    "Fit",
    "FittedLsmi",
    "FittedPosteriors",
    "LsmiModels",
    "LsmiValues",
    "Net",
    "PosteriorModels",
    "Quality",
    "Recipe",
    "Switches",
    "Trace",
    "VectorScaling",
    "adamw",
    "brought_logits",
    "by_gradient",
    "classifier",
    "classifiers",
    "components",
    "constant_shift",
    "cross_fit",
    "fit",
    "fit_in_chunks",
    "fitted_lsmi",
    "fitted_posteriors",
    "knife",
    "log_prior",
    "lsmi",
    "lsmi_from_joint",
    "parallel",
    "published_knife",
    "quality",
    "switches",
    "unseen_lsmi",
    "unseen_posteriors",
    "vector_scaling",
]
