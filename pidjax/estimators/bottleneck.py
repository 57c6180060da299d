"""Entropy bottlenecks: surprisals ``-log P(k)`` of features that are quantised, by models from learned compression.

One grid, ``k = round((x - offset) / cell)`` (``cells.py``), and five models of what falls into it: each an
``Estimator`` whose probabilities of all whole numbers sum to one (the hyperprior's, which pays for its side
information, to less). Their held-out means are upper bounds on entropies, but for sampling; differences of these are
informations (``infometer.py``).

==================== ===================================================================================
``factorised``       columns taken to be independent, a learned cumulative function each
``hyperprior``       normal columns whose means and scales are side information
``autoregressive``   each column given those before it, and given other fields; the default for vectors
``masked_convolution`` the same for feature maps: each pixel given those above and to the left
``invertible``       a learned bijection of whole numbers, then ``factorised``
==================== ===================================================================================
"""

from pidjax.estimators.autoregressive import autoregressive
from pidjax.estimators.cells import RECIPE, Grid, grid
from pidjax.estimators.factorised import factorised
from pidjax.estimators.hyperprior import hyperprior
from pidjax.estimators.invertible import invertible
from pidjax.estimators.masked_convolution import masked_convolution

__all__ = [
    "RECIPE", "Grid", "autoregressive", "factorised", "grid", "hyperprior", "invertible", "masked_convolution",
]  # fmt: skip
