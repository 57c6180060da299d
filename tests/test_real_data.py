"""The main job on real data: every pair of the six mfeat views. Needs the files: PIDJAX_DATA."""

import itertools
import os

import jax
import numpy as np
import pytest

from pidjax import datasets, quantify

ATOMS = ("redundancy", "unique1", "unique2", "synergy")
needs_data = pytest.mark.skipif(
    "PIDJAX_DATA" not in os.environ, reason="set PIDJAX_DATA to the folder of the data files"
)


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("views", list(itertools.combinations(datasets.MFEAT_VIEWS, 2)), ids="-".join)
def test_every_pair_of_views_is_quantified(views):
    samples = datasets.mfeat(views=views)
    report = quantify(samples.x1, samples.x2, samples.y, key=jax.random.key(0), bins=10, bootstrap=40, permutations=20)
    assert report.gap <= 1e-9
    for atom in ATOMS:
        assert getattr(report.pid, atom) >= -1e-9
        assert getattr(report.interval.lower, atom) <= getattr(report.interval.upper, atom)
    # Ten equally frequent digits: log 10 bounds everything; each view alone says most of it.
    assert abs(report.label_entropy - np.log(10)) <= 1e-12
    assert report.information.x1x2 <= report.label_entropy + 1e-9
    assert report.pid.redundancy >= 0.25 * report.label_entropy
    # The null of a mean is far below what images say: no permutation comes near.
    assert report.null.p_value.redundancy == 1 / 21
