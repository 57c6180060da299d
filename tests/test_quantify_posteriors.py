"""From features to a report by way of posteriors: a small recipe here, the bars of the default one among the slow."""

import json

import jax
import numpy as np
import pytest

from pidjax.datasets import gaussian_task, mapped
from pidjax.estimators import Recipe
from pidjax.pid import PID, agreement
from pidjax.posteriors import pid_from_posteriors
from pidjax.quantify import quantify
from pidjax.typing import Samples

ATOMS = ("redundancy", "unique1", "unique2", "synergy")
KEY = jax.random.key(0)


def values(pid):
    return np.array([getattr(pid, atom) for atom in ATOMS])


def drawn(name="lsmi_2", n=600, seed=0):
    samples = gaussian_task(name).sample(jax.random.key(seed), n)
    return tuple(map(np.asarray, samples[:3]))


@pytest.fixture(scope="module")
def report(tiny_lsmi):
    x1, x2, y = drawn()
    return quantify(x1, x2, np.array(["cat", "dog"])[y], key=KEY, recipe=tiny_lsmi, bootstrap=30)


def test_features_are_decomposed_by_their_posteriors(report):
    """Against the true posteriors of the same samples: what 300 samples teach a linear model costs a few hundredths."""
    task, samples = gaussian_task("lsmi_2"), Samples(*(np.asarray(x, np.float64) for x in drawn()[:2]))
    exact = pid_from_posteriors(*(np.exp(own) for own in task.log_posteriors(samples)), drawn()[2])
    np.testing.assert_allclose(values(report.pid), values(exact.pid), atol=0.05)
    assert report.gap < 1e-6
    assert report.method == "posteriors of 1 x 2-fold cross-fitted classifiers, decomposed exactly"
    assert report.shape == (2, 2, 2)
    assert "Certified for these posteriors" in str(report)


def test_the_informations_are_the_held_out_log_losses(report):
    for name in ("x1", "x2", "x1x2"):
        loss = report.diagnostics[f"{name} log loss"]
        assert loss == pytest.approx(report.label_entropy - getattr(report.information, name), abs=1e-4)  # float32


def test_samples_have_values_and_intervals_their_place(report):
    assert values(report.pointwise.pid).shape == (4, 600)
    np.testing.assert_allclose(np.mean(report.pointwise.informations, 1), report.information, atol=1e-4)
    np.testing.assert_allclose(values(report.pointwise.mean), values(report.pid), atol=0.02)
    low, high = values(report.interval.lower), values(report.interval.upper)
    assert (low <= high).all()
    assert low[0] < report.pid.redundancy < high[0]
    assert any(warning.startswith("values of single samples: those of U1") for warning in report.warnings)
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["units"] == "nats"


def test_units_do_not_matter_and_neither_do_names(report, tiny_lsmi):
    x1, x2, y = drawn()
    scaled = quantify(100 * x1.astype(float) - 7, 0.01 * x2.astype(float), y, key=KEY, recipe=tiny_lsmi, bootstrap=0)
    np.testing.assert_allclose(values(scaled.pid), values(report.pid), atol=1e-3)


def test_symbols_beside_features_are_indicators(tiny_lsmi):
    _, x2, y = drawn()
    noisy = np.where(np.random.default_rng(0).uniform(size=600) < 0.9, y, 1 - y)
    found = quantify(np.array(["no", "yes"])[noisy], x2, y, key=KEY, recipe=tiny_lsmi, bootstrap=0)
    table = quantify(noisy, np.zeros(600, int), y, key=KEY, bootstrap=0, permutations=0)
    assert found.information.x1 == pytest.approx(table.information.x1, abs=0.01)  # a fold's rates against all


def test_probabilities_of_a_model_are_a_label_drawn_from_them(tiny_lsmi):
    """The model knows x1 alone and says so: nothing is synergy, nothing unique to x2."""
    x1, x2, _ = drawn()
    logit = 3.0 * x1[:, 0] - 3.0 * x1[:, 1]
    p = 1 / (1 + np.exp(-logit))
    probabilities = np.stack([1 - p, p], 1)
    found = quantify(x1, x2, probabilities, key=KEY, recipe=tiny_lsmi, bootstrap=0)
    entropy = lambda p: -(p * np.log(p)).sum(-1)
    exact = entropy(probabilities.mean(0)) - entropy(probabilities).mean()
    assert found.information.x1x2 == pytest.approx(exact, abs=0.06)  # 3 sd of 600 drawn labels
    assert found.pid.synergy == pytest.approx(0, abs=0.03)
    with pytest.raises(ValueError, match="y has rows that are no distributions"):
        quantify(x1, x2, 2 * probabilities, key=KEY)
    with pytest.raises(ValueError, match=r"y has shape \(600, 2\) and dtype int64; expected labels \(n,\), or"):
        quantify(x1, x2, np.zeros((600, 2), int), key=KEY)


def test_agreement_is_the_share_of_the_data_times_the_model():
    data = PID(redundancy=0.3, unique1=0.1, unique2=0.0, synergy=0.0)
    model = PID(redundancy=0.2, unique1=0.4, unique2=0.1, synergy=0.1)
    found = agreement(data, model)
    np.testing.assert_allclose(values(found), [0.15, 0.1, 0, 0], atol=1e-6)
    nothing = PID(redundancy=0.0, unique1=0.0, unique2=0.0, synergy=0.0)
    assert np.isnan(agreement(nothing, model).total)


def test_permutations_train_anew_and_find_nothing(tiny_lsmi):
    x1, x2, y = drawn(n=200)
    found = quantify(x1, x2, y, key=KEY, recipe=tiny_lsmi, bootstrap=0, permutations=3)
    assert found.null.p_value.redundancy == 0.25  # the estimate is above all three
    assert found.null.mean.redundancy < 0.05


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"method": "posteriors", "bins": 5}, "discretise and bins are for method"),
        ({"x1": np.full((600, 2), 0.1)}, "x1 is constant: it can't inform"),
        ({"x2": np.full((600, 2), np.nan)}, "x2 has 1200 NaN or infinite values"),
        ({"x1": np.arange(600)[:599]}, "x1, x2 and y have 599, 600 and 600 samples"),
        (
            {"x1": np.array([f"{i}" for i in range(1200)]), "x2": np.ones((1200, 1)), "y": np.arange(1200) % 2},
            "1200 symbols",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(change, found):
    x1, x2, y = drawn()
    with pytest.raises(ValueError, match=found):
        quantify(**{"x1": x1, "x2": x2, "y": y, "key": KEY} | change)


@pytest.mark.slow
def test_learned_bounds_enclose_the_solved_decomposition(report, tiny_lsmi):
    x1, x2, y = drawn()
    upper, lower = (
        quantify(x1, x2, y, key=KEY, method=method, recipe=tiny_lsmi, bootstrap=30) for method in ("batch", "dual")
    )
    for bound, sign in ((upper, 1), (lower, -1)):
        assert bound.gap is None
        for atom in ATOMS:
            assert getattr(bound.interval.lower, atom) <= max(getattr(bound.pid, atom), 0) + 1e-6
            assert getattr(bound.pid, atom) <= getattr(bound.interval.upper, atom)
        assert sign * (bound.pid.unique1 - report.pid.unique1) >= -1e-5  # float32
        assert bound.pid.unique1 == pytest.approx(report.pid.unique1, abs=0.02)
        assert bound.variants["exact"].redundancy == pytest.approx(report.pid.redundancy, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "width"), [("c3", 0.02), ("lsmi_10", 0.2)])
def test_learned_bounds_enclose_what_is_solved_without_cells(name, width):
    """Above two labels cells would move the value; all pairs of samples move nothing, and their gap is certified."""
    x1, x2, y = drawn(name, 400)
    recipe = Recipe(folds=2, repeats=1, steps=200, batch_size=100)
    solved, upper, lower = (
        quantify(x1, x2, y, key=KEY, method=method, recipe=recipe, bootstrap=0)
        for method in ("unquantised", "batch", "dual")
    )
    assert solved.gap <= 1.1e-4
    slack = solved.gap + 1e-5  # float32
    assert lower.pid.unique1 - slack <= solved.pid.unique1 <= upper.pid.unique1 + slack
    assert upper.pid.unique1 - lower.pid.unique1 <= width


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind", "tol"),
    [("g0", None, 0.012), ("g30", None, 0.012), ("g45", None, 0.012), ("c3", None, 0.012), ("g30", "mild", 0.02)],
)
def test_the_bars_for_learned_posteriors(name, kind, tol):
    """20,000 samples, the default recipe, one seed; benchmarks/continuous.py has the others."""
    samples = gaussian_task(name).sample(jax.random.key(1), 20_000)
    if kind:
        samples = mapped(samples, jax.random.key(101), kind)
    found = quantify(*map(np.asarray, samples[:3]), key=KEY, bootstrap=0)
    np.testing.assert_allclose(values(found.pid), values(gaussian_task(name).truth), atol=tol)
