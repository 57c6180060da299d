"""Two labelled modalities and unlabelled pairs, from samples to a report."""

import json
import os

import jax
import numpy as np
import pytest

import pidjax
from pidjax import quantify_unpaired
from pidjax.__main__ import main
from pidjax.estimators import Recipe
from pidjax.unpaired import BoundsReport

LOG2 = np.log(2)


def split(x1, x2, y):
    """Three samples of one population that share no row."""
    a, b, c = (slice(i, None, 3) for i in range(3))
    return (x1[a], y[a]), (x2[b], y[b]), (x1[c], x2[c])


def coins(function, n=9000, seed=0):
    x1, x2 = np.random.default_rng(seed).integers(0, 2, (2, n))
    return split(x1, x2, function(x1, x2))


@pytest.fixture(scope="module")
def of_and() -> BoundsReport:
    return quantify_unpaired(*coins(np.bitwise_and), key=jax.random.key(0), bootstrap=100)


def test_and_is_found_without_a_labelled_pair(of_and):
    # Truth R = .2158, U = 0, S = .3466, which both bounds reach. Entropies of 3000 samples err by about .01.
    known = of_and.estimate
    assert known.redundancy == pytest.approx(0.215762, abs=0.02)
    assert max(known.unique1, known.unique2) < 0.02
    assert known.synergy.lower == pytest.approx(0.346574, abs=0.02)
    assert known.synergy.upper == pytest.approx(0.346574, abs=0.02)
    assert of_and.binding[0] == "redundancy"


def test_intervals_hold_the_truth_and_surround_the_bounds(of_and):
    low, high = of_and.interval
    assert low.synergy.lower <= 0.346574 <= high.synergy.upper
    assert low.redundancy <= 0.215762 <= high.redundancy
    assert low.outlook.accuracy.lower <= 1.0 <= high.outlook.accuracy.upper + 1e-12
    assert 0 < high.redundancy - low.redundancy < 0.05
    assert low.outlook.gain <= of_and.estimate.outlook.gain <= high.outlook.gain


def test_xor_is_open_from_nothing_to_one_bit():
    report = quantify_unpaired(*coins(np.bitwise_xor), key=jax.random.key(0), bootstrap=0)
    assert report.interval is None
    # The tables of independent variables, up to sampling: at 3000 samples informations of some 1e-3.
    assert report.synergy.lower < 0.005
    assert report.synergy.upper == pytest.approx(LOG2, abs=0.01)
    assert report.estimate.outlook.gain == pytest.approx(0.25, abs=0.02)  # halfway from a half to one


def test_the_report_prints_and_is_json(of_and):
    text = str(of_and)
    assert all(len(line) <= 96 for line in text.splitlines())
    assert "3000 samples of (x1, y), 3000 of (x2, y), 3000 pairs (x1, x2)" in text
    told = json.loads(json.dumps(of_and.to_dict(), allow_nan=False))
    assert told["pid"]["synergy"] == list(of_and.synergy)
    assert told["interval"]["synergy"][0] <= told["pid"]["synergy"][0]
    assert told["units"] == "nats"
    assert told["accuracy"]["x1"] == pytest.approx(0.75, abs=0.03)
    bits = of_and.table(bits=True)
    assert f"{of_and.estimate.redundancy / LOG2:.5f}" in bits


def test_the_plot_stacks_what_is_known_and_what_is_possible(of_and):
    axes = of_and.plot(label="AND")
    heights = [bar.get_height() for bar in axes.patches]
    known = of_and.estimate
    assert sum(heights) == pytest.approx(known.information.upper, abs=1e-9)
    assert [text.get_text() for text in axes.get_xticklabels()] == ["AND"]


def test_names_of_labels_and_symbols_do_not_matter(of_and):
    (x1, y1), (x2, y2), (u1, u2) = coins(np.bitwise_and)
    word = np.array(["no", "yes"])
    report = quantify_unpaired(
        (word[x1], word[y1]), (x2, word[y2]), (word[u1], u2), key=jax.random.key(0), bootstrap=100
    )
    assert report.estimate.synergy.lower == pytest.approx(of_and.estimate.synergy.lower, abs=1e-9)


def test_bounds_on_the_command_line(tmp_path, capsys):
    (x1, y1), (x2, y2), (u1, u2) = coins(np.bitwise_and)
    np.savez(tmp_path / "data.npz", a=x1, la=y1, v=x2, lv=y2, pa=u1, pv=u2)
    names = ["--x1", "a", "--y1", "la", "--x2", "v", "--y2", "lv", "--pairs1", "pa", "--pairs2", "pv"]
    out = tmp_path / "out.json"
    assert main(["bounds", str(tmp_path / "data.npz"), *names, "--bootstrap", "100", "--json", str(out)]) == 0
    assert "synergy       S" in capsys.readouterr().out
    assert json.loads(out.read_text())["seed"] == 0
    assert main(["bounds", str(tmp_path / "data.csv"), *names]) == 2
    assert "savez" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, b, c: ((a[0], np.where(a[1] == 1, 7, 0)), b, c), r"labels \[7\] are in labelled1 only and \[1\]"),
        (lambda a, b, c: ((a[0], 0 * a[1]), (b[0], 0 * b[1]), c), "one label 0"),
        (lambda a, b, c: ((a[0][:-1], a[1]), b, c), "labelled1 has arrays of shapes"),
        (lambda a, b, c: (a, b, (c[0][:0], c[1][:0])), "pairs has arrays of shapes"),
        (lambda a, b, c: ((a[0] * np.nan, a[1]), b, (c[0] * 1.0, c[1])), "NaN"),
        (
            lambda a, b, c: ((np.ones((len(a[0]), 3)), a[1]), b, (np.ones((len(c[0]), 2)), c[1])),
            "same features in both",
        ),
    ],
)
def test_bad_samples_are_refused_with_a_cure(change, message):
    with pytest.raises(ValueError, match=message):
        quantify_unpaired(*change(*coins(np.bitwise_and)), key=jax.random.key(0), bins=2, bootstrap=0)


def test_settings_are_checked():
    parts = coins(np.bitwise_and)
    with pytest.raises(ValueError, match="unknown method"):
        quantify_unpaired(*parts, key=jax.random.key(0), method="guess")
    with pytest.raises(ValueError, match="bins is 3"):
        quantify_unpaired(*parts, key=jax.random.key(0), method="posteriors", bins=3)
    with pytest.raises(TypeError, match="labelled1 is ndarray"):
        quantify_unpaired(parts[0][0], *parts[1:], key=jax.random.key(0))


def test_samples_of_other_populations_are_told():
    (x1, y1), (x2, y2), (u1, _) = coins(np.bitwise_and)
    pairs = (u1, 1 - u1)  # x2 = not x1; as many replicates as above, or it would be another program
    report = quantify_unpaired((x1, y1), (x2, y2), pairs, key=jax.random.key(0), bootstrap=100)
    assert report.moved > 0.1  # y = x1 and x2 could never be one
    assert any("not of one population" in warning for warning in report.warnings)


@pytest.mark.slow
def test_features_are_bounded_through_their_posteriors():
    # Two means of 1 and .6 about +-1: R = I(x2;y), U2 = 0, S = I(x1,x2;y) - I(x1;y) in closed form (spec D.2).
    nodes, weights = np.polynomial.hermite_e.hermegauss(201)
    weights = weights / weights.sum()
    information = lambda m: LOG2 - weights @ np.logaddexp(0, -2 * m * (m + nodes))
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 12000)
    x = rng.normal(size=(12000, 2)) + (2 * y - 1)[:, None] * np.array([1.0, 0.6])
    recipe = Recipe(folds=2, repeats=1, steps=500)
    report = quantify_unpaired(*split(x[:, :1], x[:, 1:], y), key=jax.random.key(0), bootstrap=50, recipe=recipe)
    known, (low, high) = report.estimate, report.interval
    synergy = information(np.hypot(1.0, 0.6)) - information(1.0)
    # Labels are sampled: at 4000 an information errs by .01; what the classifiers miss is less.
    assert known.redundancy == pytest.approx(information(0.6), abs=0.03)
    assert known.unique2 < 0.01
    assert low.synergy.lower <= synergy <= known.synergy.upper
    assert known.synergy.upper == pytest.approx(LOG2 - information(1.0), abs=0.03)
    assert high.outlook.accuracy.upper == 1.0
    assert any("posteriors" in warning for warning in report.warnings)


@pytest.mark.slow
@pytest.mark.skipif("PIDJAX_DATA" not in os.environ, reason="set PIDJAX_DATA to the folder of the data sets")
def test_hidden_pairs_of_emotions_lie_within():
    samples = pidjax.datasets.real.crema_d()
    x1, x2, y = (np.asarray(leaf) for leaf in samples[:3])
    order = np.random.default_rng(0).permutation(len(y))
    report = quantify_unpaired(*split(x1[order], x2[order], y[order]), key=jax.random.key(0), bootstrap=50)
    joint = pidjax.joint_pmf(x1, x2, y, shape=(6, 6, 6))
    assert report.interval.lower.synergy.lower <= pidjax.broja(joint).pid.synergy <= report.interval.upper.synergy.upper
    low, high = (end.outlook.accuracy for end in report.interval)
    assert low.lower <= joint.max(2).sum() <= high.upper
