"""The main jobs on real data: every pair of the six mfeat views, AV-MNIST by sample. Needs the files: PIDJAX_DATA."""

import itertools
import os

import jax
import numpy as np
import pytest

from pidjax import datasets, quantify
from pidjax.estimators import Recipe

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


@needs_data
@pytest.mark.slow
def test_avmnist_is_decomposed_sample_by_sample():
    """The first 8000 pairs; images weakened to 25 % of their energy, sound averaged over four frames (1 to 2 minutes).

    The bars are what logistic regression reaches on the official test split (README of the data), trained on all
    clips; here every sample is judged by models that never heard its clip, and all models train on four fifths.
    """
    n = 8000
    samples, clip = datasets.avmnist(key=jax.random.key(0))
    clip, y = clip[:n], samples.y[:n]
    images = samples.x1[:n].reshape(n, -1).astype(np.float64)
    images -= images.mean(0)
    energy, directions = np.linalg.eigh(images.T @ images)  # greatest last
    assert energy[-3:].sum() <= 0.25 * energy.sum() <= energy[-4:].sum()
    # Averages, not principal components: those would be standardised, and the first ones be no longer the greatest.
    sound = samples.x2[:n].reshape(n, 32, 8, 4).mean(3)
    report = quantify(
        images @ directions[:, -3:], sound, y, key=jax.random.key(1), method="lsmi", groups=clip,
        recipe=Recipe(repeats=1),
    )  # fmt: skip
    assert report.diagnostics["x1 accuracy"] >= 0.441
    assert report.diagnostics["x2 accuracy"] >= 0.943
    assert report.diagnostics["x1x2 accuracy"] >= report.diagnostics["x2 accuracy"]
    assert max(report.diagnostics[f"{name} calibration error"] for name in ("x1", "x2", "x1x2")) <= 0.04
    assert f"of {np.unique(clip).size} groups" in report.interval_rule
    assert report.information.x1 < report.information.x2 < report.information.x1x2 <= report.label_entropy
    # The raw means are what they are; after the shift the image, which says least, has nothing of its own.
    assert abs(report.variants["constant shift"].unique1) <= 1e-9
    assert abs(report.variants["constant shift"].redundancy - report.information.x1) <= 1e-9
    assert min(getattr(report.variants["constant shift"], atom) for atom in ATOMS) >= -1e-9
    by_class = report.pointwise.by_class()
    assert list(by_class) == list(range(10))
    for atom in ATOMS:
        assert getattr(report.interval.lower, atom) < getattr(report.pid, atom) < getattr(report.interval.upper, atom)
        mean = sum(count * getattr(pid, atom) for count, pid in by_class.values()) / n
        assert abs(mean - getattr(report.pid, atom)) <= 1e-9
