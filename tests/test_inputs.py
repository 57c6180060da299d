"""What the roof accepts, and how it sees it; its refusals are tested through the roof, in test_quantify.py."""

import jax
import numpy as np
import pytest

from pidjax.inputs import are_names, checked_key, features, group_symbols, label_symbols

X = np.random.default_rng(0).normal(size=(50, 3)) * [1.0, 100.0, 1e-6] + [0.0, 1e4, 1.0]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_features_are_standardised_in_double_precision(dtype):
    x = (X * [1e3, 1, 1e9]).astype(dtype)
    found = features(x, "x1")
    assert found.dtype == np.float64
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-9)  # means of 1e9 over spreads of 1e3, in float64
    np.testing.assert_allclose(found.std(0), 1, atol=1e-9)


def test_features_keep_their_shape():
    np.testing.assert_allclose(features(X.reshape(25, 2, 3), "x1").reshape(25, 6), features(X.reshape(25, 6), "x1"))
    np.testing.assert_array_equal(features(X[:, 0], "x1"), features(X[:, :1], "x1"))
    assert features(X[:, 0], "x1").shape == (50, 1)


def test_what_is_constant_is_zero_to_the_last_bit():
    """Rounding may leave its mean beside it: divided by as small a deviation, that would be a column of ones."""
    x = np.column_stack([X, np.full(50, 0.1)])
    assert (features(x, "x1")[:, 3] == 0).all()
    np.testing.assert_array_equal(features(x, "x1")[:, :3], features(X, "x1"))


def test_units_and_origin_do_not_matter():
    # Rounding at 1e3 spreads from zero, in float64.
    np.testing.assert_allclose(features(0.01 * X[:, :1] + 10, "x1"), features(X[:, :1], "x1"), atol=1e-11)
    np.testing.assert_array_equal(features(X * 2.0**20, "x1"), features(X, "x1"))


@pytest.mark.parametrize(
    ("x", "names"),
    [
        (np.arange(3), True),
        (np.array([True, False]), True),
        (np.array(["a", "b"]), True),
        (np.array(["a", "b"], object), True),
        (np.arange(3.0), False),
        (np.arange(3)[:, None], False),
        (np.array([["a"], ["b"]]), False),
    ],
)
def test_one_dimensional_names_are_symbols_and_all_else_is_features(x, names):
    assert are_names(x) == names


def test_labels_and_groups_are_coded_in_order():
    labels = label_symbols(np.array(["b", "a", "b"]))
    assert (labels.codes.tolist(), labels.size, labels.warnings) == ([1, 0, 1], 2, ())
    groups = group_symbols(np.array([30, -1, 30]), 3)
    assert (groups.codes.tolist(), groups.size) == ([1, 0, 1], 2)
    assert "2 groups are few" in groups.warnings[0]
    assert group_symbols(np.arange(20), 20).warnings == ()


def test_old_and_new_keys_are_the_same():
    old, new = checked_key(jax.random.PRNGKey(3)), checked_key(jax.random.key(3))
    assert (jax.random.key_data(old) == jax.random.key_data(new)).all()
