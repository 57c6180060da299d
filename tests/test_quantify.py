"""From arrays to a report: closed forms, invariances, Monte-Carlo errors, warnings, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pidjax.couplings.broja import broja
from pidjax.joint import joint_pmf
from pidjax.quantify import quantify

ATOMS = ("redundancy", "unique1", "unique2", "synergy")
KEY = jax.random.key(0)
# y = x1 AND x2, uniform inputs: I(Xi;Y) = H(Y) - (log 2) / 2; nothing is unique, as the channels are equal.
AND = {"redundancy": np.log(4) - 0.75 * np.log(3) - np.log(2) / 2, "synergy": np.log(2) / 2}
X1, X2 = np.tile([[0, 0, 1, 1], [0, 1, 0, 1]], 25)


def values(pid):
    return np.array([getattr(pid, atom) for atom in ATOMS])


def alone(*arrays, **settings):
    """The estimate without replicates."""
    return quantify(*arrays, **{"key": KEY, "method": "discrete", "bootstrap": 0, "permutations": 0} | settings)


@pytest.fixture
def features():
    """Two noisy looks at a coin."""
    rng = np.random.default_rng(3)
    # Always 100 samples, one or two columns and 4 bins: the tests share their compiled programs.
    y = rng.integers(0, 2, 100)
    x1, x2 = (y[:, None] + rng.normal(size=(100, 2)) for _ in range(2))
    return x1, x2, y


# Truth


def test_and_in_exact_proportions_is_the_closed_form():
    report = alone(X1, X2, X1 & X2)
    # 1e-9 is the certified gap asked for.
    np.testing.assert_allclose(values(report.pid), [AND["redundancy"], 0, 0, AND["synergy"]], atol=1e-9)
    assert 0 <= report.gap <= 1e-9
    information = AND["redundancy"] + AND["synergy"]
    np.testing.assert_allclose(report.information, [AND["redundancy"], AND["redundancy"], information], atol=1e-9)
    np.testing.assert_allclose(report.label_entropy, information, atol=1e-12)
    assert not jax.config.jax_enable_x64  # the answer came in float64, the user's flag is untouched


def test_a_third_of_the_labels_can_be_told_by_one_side_and_all_by_both():
    # y = x1 + x2 of fair bits: I(Xi;Y) = H(Y) - log 2 = (log 2) / 2, equal channels, I(X1,X2;Y) = H(Y).
    report = alone(X1, X2, X1 + X2)
    np.testing.assert_allclose(values(report.pid), np.log(2) * np.array([0.5, 0, 0, 1]), atol=1e-9)


def test_and_from_4000_samples_is_right_within_its_own_error():
    x1, x2 = np.random.default_rng(1).integers(0, 2, (2, 4000))
    report = quantify(x1, x2, x1 & x2, key=KEY, permutations=0)
    for atom, truth in AND.items():
        low, high = (getattr(end, atom) for end in report.interval)
        assert low < getattr(report.pid, atom) < high
        # The width of the interval is four standard errors.
        assert abs(getattr(report.pid, atom) - truth) < high - low


def test_the_interval_is_as_wide_as_sampling_makes_it():
    # y = x1, x2 says nothing: U1 = H(Y), whose standard error is sd(log p(y)) / sqrt(n) (delta method).
    n, share = 4096, 0.25
    y = (np.arange(n) < share * n).astype(int)
    report = quantify(y, np.zeros(n, int), y, key=KEY, bootstrap=400, permutations=0)
    error = np.sqrt(share * (1 - share) / n) * np.log((1 - share) / share)
    width = report.interval.upper.unique1 - report.interval.lower.unique1
    # Two quantiles of 400 draws: 7 % error each, 5 % of the width; four of those.
    np.testing.assert_allclose(width, 2 * 1.96 * error, rtol=0.2)


def test_independent_labels_are_not_significant_and_a_copy_is():
    rng = np.random.default_rng(2)
    x1, x2, y = rng.integers(0, 2, (3, 500))
    independent = quantify(x1, x2, y, key=KEY, bootstrap=0).null
    # Under the null p is uniform: each of the four is below 0.01 once in a hundred draws of the data.
    assert (values(independent.p_value) > 0.01).all()
    copied = quantify(x1, x1, x1, key=KEY, bootstrap=0).null
    assert copied.p_value.redundancy == 1 / 201
    assert 0 < copied.mean.redundancy < copied.quantile95.redundancy < 0.05


def test_a_permutation_uses_every_sample_once():
    # x1 names the sample: I(X1;Y) = H(Y) in any order of y. 5 samples are padded to 8.
    ids = np.arange(5)
    report = quantify(ids, np.zeros(5, int), ids < 2, key=KEY, bootstrap=0, permutations=9)
    entropy = -0.4 * np.log(0.4) - 0.6 * np.log(0.6)
    for pid in (report.pid, report.null.mean, report.null.quantile95):
        # Replicates are solved to 1e-6.
        np.testing.assert_allclose(values(pid), [0, entropy, 0, 0], atol=2e-6)
    np.testing.assert_allclose(values(report.null.p_value), 1)


# Invariances


def test_the_same_key_gives_the_same_report_and_another_key_another_interval(features):
    one, same, other = (
        quantify(*features, key=jax.random.key(seed), bins=4, bootstrap=20, permutations=20) for seed in (5, 5, 6)
    )
    assert one == same
    assert one.seed == (0, 5)
    assert one.interval != other.interval


def test_a_legacy_key_is_a_key(features):
    settings = {"bins": 4, "bootstrap": 20, "permutations": 20}
    assert quantify(*features, key=jax.random.PRNGKey(5), **settings) == quantify(
        *features, key=jax.random.key(5), **settings
    )


def test_swapping_modalities_swaps_uniques(features):
    x1, x2, y = features
    report, swapped = alone(x1, x2, y, bins=4), alone(x2, x1, y, bins=4)
    np.testing.assert_allclose(values(swapped.pid), values(report.pid)[[0, 2, 1, 3]], atol=1e-12)


def test_equal_modalities_are_all_redundant(features):
    report = alone(features[0], features[0].copy(), features[2], bins=4)
    np.testing.assert_allclose(values(report.pid), [report.information.x1, 0, 0, 0], atol=1e-9)


def test_names_do_not_matter():
    rng = np.random.default_rng(4)
    x1, x2, y = rng.integers(0, 2, 200), rng.integers(0, 3, 200), rng.integers(0, 2, 200)
    expected = values(alone(x1, x2, y).pid)
    words = np.array(["pear", "apple", "fig"])
    for renamed in [
        (x1 == 0, words[x2], -7 * y),
        (words[x1].astype(object), (x2 + 250).astype(np.uint8), words[y]),
        tuple(map(jnp.asarray, (x1, x2, y))),
    ]:
        np.testing.assert_allclose(values(alone(*renamed).pid), expected, atol=1e-12)


def test_increasing_maps_change_nothing_with_quantile_bins(features):
    x1, x2, y = features
    settings = {"discretise": "quantile", "bins": 4}
    report = alone(x1[:, 0], x2[:, 1], y, **settings)
    assert values(alone(np.exp(x1[:, 0]), x2[:, 1:] ** 3, y, **settings).pid).tolist() == values(report.pid).tolist()


def test_integers_in_two_dimensions_are_features():
    report = alone(X1[:, None], X2[:, None], X1 & X2, bins=4)
    np.testing.assert_allclose(report.pid.synergy, AND["synergy"], atol=1e-9)
    assert report.method == "discrete, features by kmeans"


# Samples


@pytest.mark.parametrize(("n1", "n2", "k"), [(2, 2, 2), (4, 4, 5)])
def test_the_mean_over_samples_is_the_decomposition(n1, n2, k):
    rng = np.random.default_rng(7)
    x1, x2 = rng.integers(0, n1, 300), rng.integers(0, n2, 300)
    report = alone(x1, x2, (x1 * x2 + rng.integers(0, 2, 300)) % k)
    np.testing.assert_allclose(values(report.pointwise.mean), values(report.pid), atol=1e-9)
    means = [np.mean(values) for values in report.pointwise.informations]
    np.testing.assert_allclose(means, report.information, atol=1e-9)


def test_a_sample_has_the_values_of_its_cell():
    names, y = np.array(["no", "yes"])[X1], (X1 & X2) - 5
    pointwise = alone(names, X2, y).pointwise
    assert pointwise.y.tolist() == y.tolist()
    cells = broja(joint_pmf(X1, X2, X1 & X2, shape=(2, 2, 2))).pointwise
    np.testing.assert_allclose(values(pointwise.pid), values(cells)[:, X1, X2, X1 & X2], atol=1e-9)
    # p(y | x1) / p(y) by counting: x1 = 0 leaves y = 0, of 3/4; x1 = 1 leaves both, of 3/4 and 1/4, equally.
    i1 = np.log(np.where(X1 == 0, 4 / 3, np.where(X2 == 0, 2 / 3, 2)))
    i12 = np.log(np.where(X1 & X2, 4, 4 / 3))
    np.testing.assert_allclose(pointwise.informations.x1, i1, atol=1e-12)
    np.testing.assert_allclose(pointwise.informations.x1x2, i12, atol=1e-12)
    np.testing.assert_allclose(pointwise.surprisal, np.log(2), atol=1e-12)


# Groups


def test_when_every_sample_is_its_own_group_the_interval_is_the_plain_one():
    x1, x2 = np.random.default_rng(8).integers(0, 2, (2, 100))
    plain, grouped = (
        quantify(x1, x2, x1 | x2, key=KEY, bootstrap=5, permutations=4, groups=groups)
        for groups in (None, np.arange(100))
    )
    # The draws are even the same; what is solved is equal up to the replicates' tolerance of 1e-6.
    for plain_end, grouped_end in zip(plain.interval, grouped.interval, strict=True):
        np.testing.assert_allclose(values(grouped_end), values(plain_end), atol=3e-6)
    assert "5 bootstrap replicates of 100 groups about the bias-corrected estimate" in str(grouped)
    assert "groups" not in str(plain)


def test_samples_entered_twice_inform_once():
    # Each row twice: n rows say what n / 2 samples say, whose standard error is sqrt(2) times that of n.
    y = np.tile([0, 0, 0, 1], 128)
    twice, speaker = np.tile(y, 2), np.tile(np.char.add("speaker ", np.arange(512).astype(str)), 2)
    naive, grouped = (
        quantify(twice, 0 * twice, twice, key=KEY, bootstrap=1600, permutations=0, groups=groups).interval
        for groups in (None, speaker)
    )
    widths = [ends.upper.unique1 - ends.lower.unique1 for ends in (naive, grouped)]
    # A 2.5 % quantile of 1600 normal draws errs by sqrt(0.025 x 0.975 / 1600) / 0.058 = 0.067 sd: two of them are 2.4 %
    # of the width, a ratio of widths 3.4 %; four of those.
    np.testing.assert_allclose(widths[1] / widths[0], np.sqrt(2), rtol=0.14)


def test_groups_change_neither_estimate_nor_null():
    settings = {"key": KEY, "bootstrap": 5, "permutations": 4}
    plain = quantify(X1, X2, X1 & X2, **settings)
    grouped = quantify(X1, X2, X1 & X2, groups=np.repeat(np.arange(25), 4), **settings)
    assert grouped.pid == plain.pid
    np.testing.assert_allclose(values(grouped.null.mean), values(plain.null.mean), atol=2e-6)
    # Each group holds every case of AND once: whichever are drawn, the table is the same.
    np.testing.assert_allclose(values(grouped.interval.lower), values(grouped.pid), atol=5e-6)


def test_few_groups_are_warned_of():
    (warning,) = alone(X1, X2, X1 & X2, groups=np.arange(100) % 3).warnings
    assert "3 groups are few" in warning


# What is switched off, and what is told


def test_switched_off_replicates_leave_none():
    report = alone(X1, X2, X1)
    assert report.interval is None
    assert report.null is None


def test_progress_is_told_stage_by_stage(capsys):
    stages = []
    quantify(X1, X2, X1 & X2, key=KEY, bootstrap=5, permutations=4, progress=stages.append)
    assert len(stages) == 3
    assert "9 replicates" in stages[-1]
    assert capsys.readouterr() == ("", "")


def test_plug_in_bias_is_warned_of_with_its_size():
    x1, x2, y = np.random.default_rng(6).integers(0, 5, (3, 100)) % np.array([[5], [5], [2]])
    report = alone(x1, x2, y)
    pairs = len(set(zip(x1.tolist(), x2.tolist(), strict=True)))
    (warning,) = report.warnings
    assert f"{pairs} occupied (x1, x2) pairs x 2 labels for 100 samples" in warning
    assert f"up to {(pairs - 1) / 200:.2g} nats" in warning
    # Five hundred times the samples, and it is 0.02 % of H(Y).
    assert alone(*(np.tile(x, 500) for x in (x1, x2, y))).warnings == ()


@pytest.mark.parametrize("x1", [np.full((100, 2), 0.1), np.full(100, 0.1), np.zeros(100, int), np.full(100, "a")])
def test_a_constant_modality_tells_nothing_and_is_warned_of(x1):
    report = alone(x1, X2, X2, bins=4)
    np.testing.assert_allclose(values(report.pid), [0, 0, np.log(2), 0], atol=1e-9)
    assert report.warnings == ("x1 is constant: it can't inform, its atoms are zero; look at its source",)


def test_a_single_class_leaves_nothing_to_tell():
    report = alone(X1, X2, np.full(100, "cat"))
    np.testing.assert_allclose(values(report.pid), 0, atol=1e-9)
    assert report.warnings == ("y has a single class (cat): there is nothing to inform about, all is zero",)


def test_one_sample_tells_nothing():
    x = np.array([[1.5, 2.0]])
    report = alone(x, x, np.array([1]), bins=2)
    np.testing.assert_allclose(values(report.pid), 0, atol=1e-9)
    assert len(report.warnings) == 1
    assert "one sample" in report.warnings[0]


def test_symbols_that_stay_empty_are_warned_of():
    report = alone(X1[:, None], X2, X1 & X2, bins=4)
    np.testing.assert_allclose(report.pid.redundancy, AND["redundancy"], atol=1e-9)
    (warning,) = report.warnings
    assert "x1 has 2 occupied symbols, 4 were asked for" in warning
    assert "bins=2" in warning


def test_a_gap_that_was_not_reached_is_warned_of():
    (warning,) = alone(X1, X2, X1 & X2, tol=1e-300).warnings
    assert "1.0e-300 was asked for" in warning


# Refusals


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            {"x1": np.full((100, 1), np.nan)},
            "x1 has 100 NaN or infinite values, in 100 of its 100 samples; drop",
        ),
        ({"x2": X2[:90]}, "x1, x2 and y have 100, 90 and 100 samples"),
        ({"x1": X1[:0], "x2": X2[:0], "y": X1[:0]}, "no samples"),
        ({"x1": None}, "x1 is a single value"),
        (
            {"y": X1 / 1},
            r"y is floating with 2 distinct values; if these are class numbers, pass y.astype\(int\)",
        ),
        ({"y": X1[:, None]}, r"y has shape \(100, 1\) and dtype int64; expected labels \(n,\), or a model's prob"),
        ({"method": "broja"}, "unknown method 'broja'; expected one of auto, discrete"),
        ({"discretise": "bins"}, "unknown discretise 'bins'; expected one of kmeans, quantile, none"),
        (
            {"discretise": "none", "x1": X1 / 1},
            'features, and discretise="none"; pass one-dimensional integers',
        ),
        (
            {"discretise": "quantile", "x2": np.ones((100, 2))},
            "x2 has 2 columns; quantile bins need exactly one",
        ),
        ({"bins": 0}, "bins is 0; expected at least 1"),
        ({"bootstrap": -1}, "bootstrap is -1"),
        ({"groups": np.arange(99)}, r"groups has shape \(99,\); expected a name for each sample, \(100,\)"),
        ({"groups": X1 / 1}, r"groups has dtype float64; expected names, integers or strings"),
        ({"permutations": -1}, "permutations is -1"),
        (
            {name: np.arange(1000) for name in ("x1", "x2", "y")},
            r"1.0e\+09 cells.*pass them as features: x\[:, None\]",
        ),
    ],
)
def test_bad_input_is_refused_with_what_was_found_and_the_cure(change, found):
    with pytest.raises(ValueError, match=found):
        quantify(**{"x1": X1, "x2": X2, "y": X1 & X2, "key": KEY} | change)


@pytest.mark.parametrize("key", [0, None, "seed", np.zeros(2), jax.random.split(KEY)])
def test_what_is_not_a_key_is_refused_with_the_way_to_make_one(key):
    with pytest.raises(TypeError, match=r"expected one PRNG key: make it from a seed, jax.random.key\(0\)"):
        quantify(X1, X2, X1, key=key)


@pytest.mark.parametrize("x1", [np.array(["a", None] * 50, object), X1.astype("M8[D]"), X1 * 1j])
def test_what_is_neither_names_nor_numbers_is_refused(x1):
    with pytest.raises(TypeError, match="x1"):
        quantify(x1, X2, X1, key=KEY)
