"""Samples to symbols to a table: counts, weights, clusters, quantiles."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pidjax.joint import joint_pmf, kmeans_codes, quantile_codes

SHAPE = (2, 3, 2)
KEY = jax.random.key(0)


@pytest.fixture
def codes():
    rng = np.random.default_rng(1)
    return tuple(rng.integers(0, size, 50) for size in SHAPE)


@pytest.fixture
def blobs():
    """Three clusters, 40 samples each, far apart next to their width; the third column is constant."""
    rng = np.random.default_rng(2)
    truth = np.repeat(np.arange(3), 40)
    x = np.array([[0, 0], [10, 0], [0, 10]])[truth] + 0.1 * rng.normal(size=(120, 2))
    # 0.1 has no exact mean in binary: a constant column must not come back as rounding noise of variance 1.
    return np.column_stack([x, np.full(120, 0.1)]), truth


def one_to_one(a, b):
    pairs = set(zip(np.asarray(a).tolist(), np.asarray(b).tolist(), strict=True))
    return len(pairs) == len(set(map(int, a))) == len(set(map(int, b)))


# The table


def test_the_table_holds_relative_frequencies(codes):
    counts = np.zeros(SHAPE)
    for cell in zip(*codes, strict=True):
        counts[cell] += 1
    np.testing.assert_allclose(joint_pmf(*codes, shape=SHAPE), counts / 50, rtol=1e-15)


def test_numpy_codes_answer_in_float64_and_jax_codes_in_the_users_precision(codes):
    assert joint_pmf(*codes, shape=SHAPE).dtype == np.float64
    assert joint_pmf(*map(jnp.asarray, codes), shape=SHAPE).dtype == jnp.float32
    assert joint_pmf(*codes, shape=SHAPE, weight=np.ones(50, np.float32)).dtype == np.float32


def test_a_weight_is_a_repeated_row(codes):
    weight = np.random.default_rng(3).integers(0, 4, 50)
    repeated = [np.repeat(c, weight) for c in codes]
    # Whole numbers add up exactly: equality, not closeness.
    np.testing.assert_array_equal(joint_pmf(*codes, shape=SHAPE, weight=weight), joint_pmf(*repeated, shape=SHAPE))


def test_only_the_ratio_of_weights_matters(codes):
    weight = np.random.default_rng(4).exponential(size=50)
    np.testing.assert_allclose(
        joint_pmf(*codes, shape=SHAPE, weight=weight),
        joint_pmf(*codes, shape=SHAPE, weight=7 * weight),
        rtol=1e-14,
    )


def test_relabelling_symbols_permutes_the_table(codes):
    x1, x2, y = codes
    order = np.array([2, 0, 1])
    np.testing.assert_array_equal(joint_pmf(x1, order[x2], y, shape=SHAPE)[:, order], joint_pmf(x1, x2, y, shape=SHAPE))


def test_an_unused_symbol_is_an_empty_slice(codes):
    tight, wide = (joint_pmf(*codes, shape=shape) for shape in (SHAPE, (5, 4, 3)))
    np.testing.assert_array_equal(wide[:2, :3, :2], tight)
    assert np.count_nonzero(wide) == np.count_nonzero(tight)


def test_a_vmap_over_weights_is_a_loop_and_jit_is_eager(codes):
    weights = jnp.asarray(np.random.default_rng(5).integers(1, 4, (3, 50)), jnp.float32)
    table = lambda w: joint_pmf(*map(jnp.asarray, codes), shape=SHAPE, weight=w)
    loop = np.stack([table(w) for w in weights])
    np.testing.assert_array_equal(jax.vmap(table)(weights), loop)
    np.testing.assert_array_equal(jax.jit(table)(weights[0]), loop[0])


def test_booleans_are_codes():
    x = np.array([True, False, True, True])
    assert joint_pmf(x, x, x, shape=(2, 2, 2))[1, 1, 1] == 0.75


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"x2": np.array([0, 1, 3])}, r"x2 has 1 codes outside 0..2 \(found 0 to 3\); enlarge shape"),
        ({"y": np.array([0, -1, -1])}, r"y has 2 codes outside 0..1 \(found -1 to 0\)"),
        ({"x1": np.array([0, 1])}, "x1, x2 and y have 2, 3 and 3 samples"),
        ({"x1": np.zeros((3, 1), int)}, r"x1 has shape \(3, 1\)"),
        ({name: np.zeros(0, int) for name in ("x1", "x2", "y")}, "no samples"),
        ({"weight": np.array([1, -1, 1])}, "weight has 1 negative, NaN or infinite values"),
        ({"weight": np.array([1, np.nan, 1])}, "weight has 1 negative, NaN or infinite values"),
        ({"weight": np.zeros(3)}, "the weights sum to 0"),
        ({"weight": np.ones(2)}, r"weight has shape \(2,\); expected one weight for each sample, \(3,\)"),
        ({"shape": (2, 3)}, r"shape is \(2, 3\)"),
        ({"shape": (2, 0, 2)}, "each at least 1"),
    ],
)
def test_a_bad_table_is_refused_with_its_number_and_cure(change, found):
    good = {name: np.array([0, 1, 0]) for name in ("x1", "x2", "y")} | {"shape": SHAPE}
    with pytest.raises(ValueError, match=found):
        joint_pmf(**good | change)


def test_codes_that_are_not_integers_are_refused():
    x = np.array([0, 1])
    with pytest.raises(TypeError, match="x1 has dtype float64; expected integer codes"):
        joint_pmf(x / 1, x, x, shape=(2, 2, 2))


def test_inside_jit_bad_codes_and_weights_give_nan():
    x = jnp.array([0, 1, 0])
    table = jax.jit(lambda x1, w: joint_pmf(x1, x, x, shape=(2, 2, 2), weight=w))
    assert np.isfinite(table(x, jnp.ones(3))).all()
    for x1, weight in [(x + 1, jnp.ones(3)), (x - 1, jnp.ones(3)), (x, -jnp.ones(3)), (x, jnp.zeros(3))]:
        assert np.isnan(table(x1, weight)).all()


# k-means


def test_kmeans_finds_clusters_that_are_far_apart(blobs):
    x, truth = blobs
    assert one_to_one(kmeans_codes(KEY, x, bins=3), truth)


def test_kmeans_is_deterministic_given_a_key(blobs):
    x = np.random.default_rng(6).normal(size=blobs[0].shape)
    np.testing.assert_array_equal(kmeans_codes(KEY, x, bins=3), kmeans_codes(KEY, x.copy(), bins=3))


def test_kmeans_ignores_units_and_constant_columns(blobs):
    x, truth = blobs
    assert one_to_one(kmeans_codes(KEY, x * [1e-6, 1e6, 1] + [5, -3e6, 0], bins=3), truth)


def test_kmeans_flattens_the_axes_after_the_sample(blobs):
    x, _ = blobs
    np.testing.assert_array_equal(kmeans_codes(KEY, x.reshape(120, 1, 3), bins=3), kmeans_codes(KEY, x, bins=3))


@pytest.mark.parametrize(("rows", "bins"), [(12, 5), (3, 5)])
def test_kmeans_with_fewer_distinct_rows_than_bins_separates_them_all(rows, bins):
    x = np.array([0.0, 1.0, 10.0])[np.arange(rows) % 3]
    codes = kmeans_codes(KEY, x, bins=bins)
    assert one_to_one(codes, x.astype(int))
    assert int(codes.max()) < bins


def test_kmeans_gives_one_symbol_to_constant_features():
    assert set(np.asarray(kmeans_codes(KEY, np.full((120, 3), 0.1), bins=3)).tolist()) == {0}


def test_padding_moves_no_cluster(blobs):
    x, truth = blobs
    real = np.arange(120) % 4 > 0
    x[~real] = 1e3
    assert one_to_one(kmeans_codes(KEY, x, bins=3, weight=real * 1.0)[real], truth[real])


def test_kmeans_works_under_jit_and_vmap(blobs):
    x, truth = jnp.asarray(blobs[0]), blobs[1]
    codes = jax.jit(jax.vmap(lambda key: kmeans_codes(key, x, bins=3)))(jax.random.split(KEY, 2))
    assert all(one_to_one(c, truth) for c in codes)


def test_kmeans_refuses_what_has_no_distance():
    x = np.array([[0.0, np.nan], [np.inf, np.nan], [1.0, 1.0]])
    with pytest.raises(ValueError, match="x has 3 NaN or infinite values, in 2 of its 3 samples; drop or impute"):
        kmeans_codes(KEY, x, bins=2)
    with pytest.raises(ValueError, match="bins is 0; expected at least 1"):
        kmeans_codes(KEY, x[2:], bins=0)
    with pytest.raises(ValueError, match=r"x has shape \(0, 2\)"):
        kmeans_codes(KEY, x[:0], bins=2)
    with pytest.raises(TypeError, match="expected real numbers"):
        kmeans_codes(KEY, np.array(["a", "b"]), bins=2)


def test_inside_jit_nan_features_poison_the_table():
    x = jnp.array([0.0, 1.0, jnp.nan, 2.0])
    for code in (lambda x: kmeans_codes(KEY, x, bins=2), lambda x: quantile_codes(x, bins=2)):
        table = jax.jit(lambda x, code=code: joint_pmf(code(x), code(x), code(x), shape=(2, 2, 2)))
        assert np.isnan(table(x)).all()
        assert np.isfinite(table(jnp.nan_to_num(x))).all()


def test_ott_is_imported_only_by_kmeans_and_its_warning_is_kept_from_the_user():
    program = (
        "import sys, jax, numpy as np, pidjax.joint as j; assert 'ott' not in sys.modules;"
        "print(j.kmeans_codes(jax.random.key(0), np.array([0.0, 9.0]), bins=2).tolist())"
    )
    found = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert sorted(found.stdout) == sorted("[0, 1]\n"), found.stderr


# Quantiles


def test_quantile_bins_hold_equal_shares():
    x = np.random.default_rng(7).permutation(60) / 7
    codes = np.asarray(quantile_codes(x, bins=5))
    np.testing.assert_array_equal(np.bincount(codes), 12)
    np.testing.assert_array_equal(codes, np.argsort(np.argsort(x)) // 12)


def test_quantile_codes_read_the_order_alone():
    x = np.random.default_rng(8).normal(size=200)
    expected = quantile_codes(x, bins=7)
    for increasing in (np.exp, lambda x: x**3, lambda x: 5 * x - 3):
        np.testing.assert_array_equal(quantile_codes(increasing(x), bins=7), expected)


def test_ties_share_a_bin():
    x = np.array([2.0, 1, 1, 1, 1, 1, 3, 0, 1, 9])
    codes = np.asarray(quantile_codes(x, bins=4))
    assert len(set(codes[x == 1].tolist())) == 1
    assert (np.diff(codes[np.argsort(x, kind="stable")]) >= 0).all()


def test_quantile_weights_are_repeated_rows():
    rng = np.random.default_rng(9)
    x, weight = rng.integers(0, 20, 40) / 3, rng.integers(0, 3, 40)
    repeated = np.asarray(quantile_codes(np.repeat(x, weight), bins=6))
    weighted = np.asarray(quantile_codes(x, bins=6, weight=weight))
    np.testing.assert_array_equal(np.repeat(weighted, weight), repeated)


def test_quantiles_need_one_column_without_nan():
    x = np.arange(6.0)
    np.testing.assert_array_equal(quantile_codes(x[:, None], bins=2), quantile_codes(x, bins=2))
    with pytest.raises(ValueError, match="x has 3 columns; quantile bins need exactly one: use k-means"):
        quantile_codes(x.reshape(2, 3), bins=2)
    with pytest.raises(ValueError, match="x has 1 NaN values among 2; drop or impute"):
        quantile_codes(np.array([0.0, np.nan]), bins=2)
