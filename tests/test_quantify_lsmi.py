"""From arrays to a report of LSMI: of symbols the published table, of features what was learned of them."""

import json

import jax
import numpy as np
import pytest

from pidjax.datasets import gaussian_task
from pidjax.estimators import Recipe
from pidjax.quantify import quantify

ATOMS = ("redundancy", "unique1", "unique2", "synergy")
KEY = jax.random.key(0)
# y = x1 AND x2, uniform inputs: I(Xi;Y) = H(Y) - (log 2) / 2
AND = {"redundancy": np.log(4) - 0.75 * np.log(3) - np.log(2) / 2}
X1, X2 = np.tile([[0, 0, 1, 1], [0, 1, 0, 1]], 25)


def values(pid):
    return np.array([getattr(pid, atom) for atom in ATOMS])


# LSMI of symbols

L = np.log(2)
# y = x1 AND x2: the raw table of arXiv 2506.17248 in closed form, and what its shift makes of it.
RAW_AND = np.array([L / 4 + AND["redundancy"], -L / 4, -L / 4, 3 * L / 4])


def of_lsmi(*arrays, **settings):
    return quantify(*arrays, **{"key": KEY, "method": "lsmi", "bootstrap": 0} | settings)


def test_lsmi_of_symbols_is_the_published_table_raw_and_shifted():
    report = of_lsmi(X1, X2, X1 & X2)
    # Exact proportions, float64.
    np.testing.assert_allclose(values(report.pid), RAW_AND, atol=1e-12)
    np.testing.assert_allclose(values(report.variants["constant shift"]), [AND["redundancy"], 0, 0, L / 2], atol=1e-12)
    np.testing.assert_allclose(report.information, [AND["redundancy"]] * 2 + [AND["redundancy"] + L / 2], atol=1e-12)
    np.testing.assert_allclose(report.label_entropy, AND["redundancy"] + L / 2, atol=1e-12)
    assert report.method == "LSMI of symbols, plug-in"
    assert any("sets R to min(I1, I2) = 0.2158" in warning for warning in report.warnings)


def test_lsmi_of_symbols_gives_a_sample_the_values_of_its_cell():
    """Both inputs surprise by one bit, so the redundancy is the greater information: by hand for the four cases."""
    pointwise = of_lsmi(np.array(["no", "yes"])[X1], X2, X1 & X2).pointwise
    np.testing.assert_allclose(pointwise.surprisal, L, atol=1e-12)
    i1, i2 = (np.log(np.where(x == 0, 4 / 3, np.where(X1 & X2, 2, 2 / 3))) for x in (X1, X2))
    i12 = np.log(np.where(X1 & X2, 4, 4 / 3))
    r = np.maximum(i1, i2)
    np.testing.assert_allclose(values(pointwise.pid), [r, i1 - r, i2 - r, i12 - i1 - i2 + r], atol=1e-12)
    np.testing.assert_allclose(pointwise.informations, [i1, i2, i12], atol=1e-12)
    assert pointwise.y.tolist() == (X1 & X2).tolist()


def test_lsmi_has_no_certificate_and_the_same_keys():
    lsmi = of_lsmi(X1, X2, X1 & X2).to_dict()
    discrete = quantify(X1, X2, X1 & X2, key=KEY, bootstrap=0, permutations=0).to_dict()
    assert lsmi.keys() == discrete.keys()
    assert lsmi["gap"] is None
    assert '"gap": null' in json.dumps(lsmi, allow_nan=False)
    assert lsmi["null"] is None
    assert discrete["variants"] == {}
    # All four cases of AND surprise alike: the first minimum ties. Given y, the better informed surprises least.
    expected = {"min(h1, h2) is h1": 0.5, "min(h1|y, h2|y) is h1|y": 0.5, "minima of different modalities": 0.5}
    assert lsmi["diagnostics"] == pytest.approx(expected, abs=1e-12)


def test_intervals_of_lsmi_are_those_of_means():
    """Of values held fixed: four standard errors wide, to the error of two quantiles of 1600 draws, times four."""
    x1, x2 = np.random.default_rng(1).integers(0, 2, (2, 4000))
    report = of_lsmi(x1, x2, x1 & x2, bootstrap=1600)
    widths = values(report.interval.upper) - values(report.interval.lower)
    errors = values(report.pointwise.pid).std(1) / np.sqrt(4000)
    np.testing.assert_allclose(widths, 2 * 1.96 * errors, rtol=0.1)
    assert (values(report.interval.lower) < values(report.pid)).all()
    assert (values(report.pid) < values(report.interval.upper)).all()
    # The truth, too, once in twenty not; within its own width always.
    assert (np.abs(values(report.pid) - RAW_AND) < widths).all()
    assert "1600 bootstrap means of the values as they are" in str(report)


def test_groups_are_what_the_bootstrap_of_lsmi_draws():
    # Each group holds every case of AND once: whichever are drawn, the means are the same.
    report = of_lsmi(X1, X2, X1 & X2, bootstrap=20, groups=np.repeat(np.arange(25), 4))
    np.testing.assert_allclose(values(report.interval.lower), values(report.pid), atol=1e-12)
    np.testing.assert_allclose(values(report.interval.upper), values(report.pid), atol=1e-12)
    assert "20 bootstrap means of 25 groups of the values as they are" in str(report)
    # Every sample its own group: the draws of the samples.
    plain, single = (of_lsmi(X1, X2, X1 & X2, bootstrap=20, groups=g) for g in (None, np.arange(100)))
    for one, other in zip(plain.interval, single.interval, strict=True):
        np.testing.assert_allclose(values(one), values(other), atol=1e-12)


def test_a_single_class_leaves_nothing_to_lsmi_either():
    report = of_lsmi(X1, X2, np.full(100, "cat"), bootstrap=5)
    np.testing.assert_allclose(values(report.pid), 0, atol=1e-12)
    np.testing.assert_allclose(values(report.variants["constant shift"]), 0, atol=1e-12)
    assert report.warnings == ("y has a single class (cat): there is nothing to inform about, all is zero",)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"x1": X1[:, None]}, 'one modality is symbols and the other features.*kmeans_codes.*method="discrete"'),
        ({"x2": X2 / 1}, "one modality is symbols and the other features"),
        ({"permutations": 5}, "permutations is 5: lsmi would have to be trained as many times; leave it out, or 0"),
        ({"method": "discrete", "recipe": Recipe()}, "recipe is for what is learned, and tables are counted"),
        ({"method": "auto", "recipe": Recipe()}, "recipe is for what is learned, and tables are counted"),
        ({"x1": np.full((100, 2), 0.1), "x2": X2[:, None]}, "x1 is constant: it can't inform; look at its source"),
        ({"x1": X1[:, None], "x2": np.where(X2, np.nan, 1.0)}, "x2 has 50 NaN or infinite values"),
        ({"x1": X1[:, None], "x2": X2[:, None], "groups": X1}, "groups has 2 distinct values for 5 folds"),
        ({"y": X1 / 1}, "y is continuous .float64. and method is 'lsmi', which is for labels"),
    ],
)
def test_what_lsmi_cannot_do_is_refused_with_its_cause(change, found):
    with pytest.raises(ValueError, match=found):
        quantify(**{"x1": X1, "x2": X2, "y": X1 & X2, "key": KEY, "method": "lsmi"} | change)


# LSMI of features: 600 samples of LSMI's own data, as in estimators/test_samplewise.py, and the recipe of conftest.


def gaussian():
    samples = gaussian_task("lsmi_2").sample(KEY, 600)
    x1, x2, y = map(np.asarray, samples[:3])
    return x1, x2, np.array(["cat", "dog"])[y]


@pytest.fixture(scope="module")
def learned(tiny_lsmi):
    return of_lsmi(*gaussian(), recipe=tiny_lsmi, bootstrap=50)


def test_every_sample_has_values_whose_means_are_reported(learned):
    pointwise, y = learned.pointwise, gaussian()[2]
    assert values(pointwise.pid).shape == (4, 600)
    assert pointwise.y.tolist() == y.tolist()
    np.testing.assert_allclose(values(pointwise.mean), values(learned.pid), atol=1e-12)
    np.testing.assert_allclose(np.mean(pointwise.informations, 1), learned.information, atol=1e-6)  # float32 atoms
    by_class = pointwise.by_class()
    assert {name: count for name, (count, _) in by_class.items()} == {
        "cat": (y == "cat").sum(),
        "dog": (y == "dog").sum(),
    }
    assert (values(learned.interval.lower) < values(learned.pid)).all()
    assert (values(learned.pid) < values(learned.interval.upper)).all()


def test_the_shift_is_beside_the_raw_means_and_keeps_informations(learned):
    shifted = learned.variants["constant shift"]
    least = min(learned.information.x1, learned.information.x2)
    assert shifted.redundancy == pytest.approx(least, abs=1e-6)
    for name in ("mi1", "mi2", "total"):
        assert getattr(shifted, name) == pytest.approx(getattr(learned.pid, name), abs=1e-12)
    assert learned.pid.redundancy > shifted.redundancy


def test_a_report_of_lsmi_says_how_good_the_models_are(learned):
    for name in ("x1", "x2", "x1x2"):
        loss = learned.diagnostics[f"{name} log loss"]
        information = getattr(learned.information, name)
        assert loss == pytest.approx(learned.label_entropy - information, abs=1e-5)  # float32
        # The two points lie sqrt(2) apart, so half of it over the noise of 1/2 is 1.41 deviations: right in 92 %, and
        # both together in 95 % (an effective noise of 0.43): give or take four standard errors of 600 samples.
        assert learned.diagnostics[f"{name} accuracy"] == pytest.approx(0.95 if name == "x1x2" else 0.92, abs=0.045)
        assert 0 <= learned.diagnostics[f"{name} calibration error"] < 0.05
    text = str(learned)
    assert "x1: 2 features, x2: 2 features, y: 2 labels; LSMI, 2-fold cross-fitted" in text
    assert "No certificate" in text
    assert any("2 whitened principal components of each modality; means" in w for w in learned.warnings)
    assert json.loads(json.dumps(learned.to_dict(), allow_nan=False))["gap"] is None


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_units_of_a_modality_do_not_matter_to_lsmi(learned, tiny_lsmi, scale):
    """Features are standardised in float64; the slow tests ask the same of 20,000 samples and the default recipe."""
    x1, x2, y = gaussian()
    report = of_lsmi(scale * x1.astype(np.float64) + 3, x2, y, recipe=tiny_lsmi)
    np.testing.assert_allclose(values(report.pointwise.pid), values(learned.pointwise.pid), atol=1e-3)


def test_names_of_labels_and_the_key_are_all_that_lsmi_knows(learned, tiny_lsmi):
    x1, x2, y = gaussian()
    same = of_lsmi(x1, x2, (y == "dog") * 7 - 3, recipe=tiny_lsmi, bootstrap=50)
    assert same.pid == learned.pid
    assert same.interval == learned.interval
    assert same.warnings == learned.warnings
    other = of_lsmi(x1, x2, y, recipe=tiny_lsmi, key=jax.random.key(7))
    assert other.pid != learned.pid


def test_groups_of_features_are_neither_divided_nor_resampled_apart(learned, tiny_lsmi):
    """Thirty groups of twenty, each of one class: a group more of a class shows, so the interval is wider."""
    x1, x2, y = gaussian()
    order = np.argsort(y, kind="stable")
    groups = np.empty(600, int)
    groups[order] = np.arange(600) // 20
    report = of_lsmi(x1, x2, y, recipe=tiny_lsmi, bootstrap=50, groups=groups)
    assert "50 bootstrap means of 30 groups of the values as they are" in str(report)
    assert report.pid != learned.pid  # other folds
    drawn = report.pointwise.pid.redundancy
    low, high = report.interval.lower.redundancy, report.interval.upper.redundancy
    # Four standard errors of the mean of 30 group means; quantiles of 50 draws err by 30 % at most times.
    means = np.array([drawn[groups == g].mean() for g in range(30)])
    np.testing.assert_allclose(high - low, 2 * 1.96 * means.std() / np.sqrt(30), rtol=0.5)


@pytest.mark.slow
def test_features_of_a_single_class_leave_nothing_either():
    x1, x2, _ = gaussian()
    recipe = Recipe(folds=2, repeats=1, steps=20, batch_size=64, kernels=(1,), knife_steps=20)
    report = of_lsmi(x1[:100], x2[:100], np.zeros(100, int), recipe=recipe, bootstrap=5)
    np.testing.assert_allclose(values(report.pid), 0, atol=1e-6)  # float32
    assert report.warnings[0] == "y has a single class (0): there is nothing to inform about, all is zero"
