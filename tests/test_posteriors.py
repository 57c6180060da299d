"""The decomposition of posteriors: against exact tables, closed forms, its own laws, and bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pidjax.couplings.broja import broja
from pidjax.datasets import gaussian_task, random_joint
from pidjax.pid import PID
from pidjax.posteriors import pid_from_posteriors

ATOMS = ("redundancy", "unique1", "unique2", "synergy")
KEY = jax.random.key(0)


def values(pid):
    return np.array([np.asarray(getattr(pid, atom)) for atom in ATOMS])


def cells_as_samples(p):
    """Every cell of a joint as a sample: its posteriors and its weight."""
    k = p.shape[2]
    whole = lambda own: np.broadcast_to(own, p.shape).reshape(-1, k)
    p1 = p.sum(1, keepdims=True) / p.sum((1, 2), keepdims=True)
    p2 = p.sum(0, keepdims=True) / p.sum((0, 2), keepdims=True)
    weight = p.sum(2)
    p12 = p / np.where(weight > 0, weight, 1)[:, :, None]
    occupied = weight.ravel() > 0
    return [whole(own)[occupied] for own in (p1, p2, p12)], weight.ravel()[occupied]


def joint(k, seed=0):
    return np.asarray(random_joint(jax.random.key(seed), (5, 6, k), kind="dense"), np.float64)


def exact_posteriors(name, n, seed=0):
    task = gaussian_task(name)
    samples = jax.tree.map(np.asarray, task.sample(jax.random.key(seed), n))
    samples = samples._replace(x1=np.float64(samples.x1), x2=np.float64(samples.x2))
    return [np.exp(own) for own in task.log_posteriors(samples)], samples.y, task.truth


@pytest.mark.parametrize("seed", range(3))
def test_a_table_with_two_labels_is_decomposed_exactly(seed):
    p = joint(2, seed) / joint(2, seed).sum()
    posteriors, weight = cells_as_samples(p)
    done = pid_from_posteriors(*posteriors, weight=weight)
    np.testing.assert_allclose(values(done.pid), values(broja(p).pid), atol=1e-9)
    assert done.gap < 1e-9
    assert done.mismatch < 1e-12


def test_a_table_of_fewer_symbols_than_cells_loses_nothing():
    p = joint(3)
    posteriors, weight = cells_as_samples(p / p.sum())
    done = pid_from_posteriors(*posteriors, weight=weight, key=KEY, cells=24)
    truth = values(broja(p / p.sum()).pid)
    for name in ("table", "raw", "ratio"):
        np.testing.assert_allclose(values(done.variants[name]), truth, atol=3e-6)  # solved to 1e-6
    assert done.retained == pytest.approx(1, abs=1e-9)
    np.testing.assert_allclose(values(done.pointwise()) @ weight / weight.sum(), truth, atol=3e-6)


@pytest.mark.parametrize("name", ["g0", "g30", "g45"])
def test_exact_posteriors_give_the_closed_form(name):
    posteriors, y, truth = exact_posteriors(name, 1000)
    done = pid_from_posteriors(*posteriors, y)
    np.testing.assert_allclose(values(done.pid), values(truth), atol=0.06)  # 3 sd of a mean of 1000 informations
    assert done.gap < 1e-9
    assert list(done.variants) == ["exact"]


@pytest.mark.parametrize("bold", [0.3, 4.0])
def test_labels_undo_a_wrong_confidence_and_a_wrong_prior(bold):
    """What logits were multiplied by, and their offset, is what calibration finds, but for their normalisation."""
    posteriors, y, _ = exact_posteriors("g30", 1000)
    wrong = [np.exp(bold * np.log(p) + np.array([0.0, 0.7])) for p in posteriors]
    wrong = [p / p.sum(1, keepdims=True) for p in wrong]
    right = pid_from_posteriors(*posteriors, y)
    found = pid_from_posteriors(*wrong, y)
    np.testing.assert_allclose(values(found.pid), values(right.pid), atol=2e-3)
    assert found.mismatch > 0.01
    assert np.abs(values(pid_from_posteriors(*wrong, y, calibrate=False).pid) - values(right.pid)).max() > 0.05


def test_without_labels_priors_that_differ_are_reported_and_reconciled():
    posteriors, _, _ = exact_posteriors("g30", 1000)
    posteriors[0] = posteriors[0] * [1.0, 2.0]
    posteriors[0] /= posteriors[0].sum(1, keepdims=True)
    done = pid_from_posteriors(*posteriors)
    assert done.mismatch > 0.02
    assert done.residual < 1e-9
    means = [np.exp(own).mean(0) for own in done.log_posterior]
    np.testing.assert_allclose(means, np.tile(np.exp(done.log_prior), (3, 1)), atol=1e-9)


def test_swapping_modalities_swaps_uniques():
    (p1, p2, p12), y, _ = exact_posteriors("g15", 1000)
    one, other = pid_from_posteriors(p1, p2, p12, y).pid, pid_from_posteriors(p2, p1, p12, y).pid
    np.testing.assert_allclose(values(one), values(other)[[0, 2, 1, 3]], atol=1e-9)


def test_expected_pointwise_values_average_to_the_pid_and_labelled_ones_nearly():
    posteriors, y, _ = exact_posteriors("g30", 1000)
    done = pid_from_posteriors(*posteriors, y)
    np.testing.assert_allclose(values(done.pointwise()).mean(1), values(done.pid), atol=1e-12)
    labelled = done.pointwise(y)
    # i1 exactly (calibrated: log loss and entropy agree); the union but for what 2k numbers leave
    assert labelled.mi1.mean() == pytest.approx(done.information.x1, abs=1e-6)
    np.testing.assert_allclose(values(labelled).mean(1), values(done.pid), atol=0.01)
    # x2 is a garbling of x1: the union is what x1 says, sample by sample
    union = labelled.mi1 + labelled.unique2
    assert np.corrcoef(union, labelled.mi1)[0, 1] > 0.99


def test_rescaling_weights_changes_nothing_and_a_weight_of_zero_is_absence():
    posteriors, y, _ = exact_posteriors("g30", 1000)
    part = pid_from_posteriors(*(p[:700] for p in posteriors), y[:700]).pid
    weight = np.where(np.arange(1000) < 700, 7.0, 0.0)
    found = pid_from_posteriors(*posteriors, y, weight=weight)
    np.testing.assert_allclose(values(found.pid), values(part), atol=1e-7)


def test_jit_equals_eager_and_vmap_equals_the_loop(x64):
    sets = [exact_posteriors("g30", 200, seed)[0] for seed in range(3)]
    stacked = [jnp.stack([own[i] for own in sets]) for i in range(3)]
    together = jax.jit(jax.vmap(lambda *p: pid_from_posteriors(*p).pid))(*stacked)
    for number, own in enumerate(sets):
        alone = pid_from_posteriors(*own).pid
        np.testing.assert_allclose(values(together)[:, number], values(alone), atol=1e-9)


def test_the_gradient_is_the_slope(x64):
    p1, p2, p12 = (jnp.asarray(own) for own in exact_posteriors("g30", 60)[0])

    def redundancy(logits):
        return pid_from_posteriors(jax.nn.softmax(logits), p2, p12).pid.redundancy

    logits = jnp.log(p1)
    direction = np.random.default_rng(0).normal(size=logits.shape)
    slope = (redundancy(logits + 1e-5 * direction) - redundancy(logits - 1e-5 * direction)) / 2e-5
    assert float((jax.grad(redundancy)(logits) * direction).sum()) == pytest.approx(float(slope), rel=1e-4)


def test_float32_is_float64_to_its_digits():
    posteriors, y, _ = exact_posteriors("g30", 1000)
    double = pid_from_posteriors(*posteriors, y)
    single = pid_from_posteriors(*(jnp.asarray(p, jnp.float32) for p in posteriors), jnp.asarray(y))
    assert single.pid.redundancy.dtype == jnp.float32
    np.testing.assert_allclose(values(single.pid), values(double.pid), atol=3e-4)  # the gap of float32 at 1000 symbols


def test_certain_posteriors_and_absent_labels_give_numbers():
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, 300)
    logits = 40.0 * (2 * np.eye(3)[y] - 1)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    done = pid_from_posteriors(p, p, p, y, key=KEY, cells=24)
    np.testing.assert_allclose(values(done.pid), [np.log(2), 0, 0, 0], atol=0.01)  # shares of 300 coins
    assert np.isfinite(values(done.pointwise(y))).all()
    hard = np.eye(2)[y]
    assert np.isfinite(values(pid_from_posteriors(hard, hard[::-1], hard).pid)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_certain_pair_says_all_there_is_beside_unsure_modalities(dtype):
    """I(X1,X2;Y) = H(Y): what a pair that is never wrong says, exactly."""
    y = np.arange(64) % 2
    soft = np.where(y[:, None] == np.arange(2), 0.75, 0.25).astype(dtype)
    done = pid_from_posteriors(soft, soft, np.eye(2, dtype=dtype)[y], y, calibrate=False)
    assert done.information.x1x2 == pytest.approx(np.log(2), abs=1e-6)
    np.testing.assert_allclose(values(done.pid)[1:3], 0, atol=1e-3)  # float32 certifies no more
    assert np.isfinite(values(done.pointwise(y))).all()


def test_bold_posteriors_have_finite_values_of_samples():
    logits = 40 * np.random.default_rng(0).normal(size=(500, 2))
    p = jax.nn.softmax(jnp.asarray(logits, jnp.float32))
    done = pid_from_posteriors(p, p, p)
    assert np.isfinite(values(done.pointwise())).all()
    assert np.isfinite(values(done.pointwise(np.asarray(p.argmax(1))))).all()


def test_gradients_hold_the_calibration_fixed(x64):
    """With labels too; a label that never occurs leaves no NaN."""
    p1, p2, p12 = (jnp.asarray(own) for own in exact_posteriors("g30", 60)[0])
    y = jnp.arange(60) % 2
    for labels, calibrate in ((y, True), (0 * y, False)):
        found = jax.grad(lambda p, y, on: pid_from_posteriors(p1, p2, p, y, calibrate=on).pid.synergy)
        assert np.isfinite(found(p12, labels, calibrate)).all()


def test_many_labels_are_counted_and_not_added_up_in_single_precision():
    y = np.arange(100_000) % 10 < 3
    half = jnp.full((100_000, 2), 0.5, jnp.float32)
    done = pid_from_posteriors(half, half, half, jnp.asarray(y), calibrate=False)
    np.testing.assert_allclose(np.exp(done.log_prior), [0.7, 0.3], atol=1e-6)


def test_one_label_is_nothing():
    ones = np.ones((5, 1))
    np.testing.assert_allclose(values(pid_from_posteriors(ones, ones, ones).pid), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p1": np.full((4, 2), 0.7)}, "p1 has rows that are no distributions: values from 0.7"),
        ({"p1": np.array([[np.nan, 1.0]] * 4)}, "p1 has rows that are no distributions"),
        ({"p2": np.full((4, 3), 1 / 3)}, "p1, p2 and p12 have shapes"),
        ({"p12": np.ones(4)}, r"p12 has shape \(4,\); expected \(n, k\)"),
        ({"y": np.array([0, 1, 2, 0])}, "y runs from 0 to 2; expected 0 to 1"),
        ({"y": np.array([0, 1, 0])}, r"y has shape \(3,\); expected one label for each sample, \(4,\)"),
        ({"weight": np.array([1, 1, 1, -1.0])}, "weight runs from -1 to 1"),
        ({"cells": 7}, "cells is 7; expected an even number"),
    ],
)
def test_bad_input_is_refused(change, message):
    half = np.full((4, 2), 0.5)
    with pytest.raises(ValueError, match=message):
        pid_from_posteriors(**({"p1": half, "p2": half, "p12": half} | change))


def test_more_than_two_labels_need_a_key():
    third = np.full((4, 3), 1 / 3)
    with pytest.raises(ValueError, match="key is None for 3 labels"):
        pid_from_posteriors(third, third, third)


def test_inside_jit_bad_input_is_nan_with_an_infinite_gap():
    half = jnp.full((4, 2), 0.5)
    done = jax.jit(pid_from_posteriors)(half.at[0, 0].set(-1.0), half, half)
    assert np.isnan(values(done.pid)).all()
    assert done.gap == np.inf


@pytest.mark.slow
@pytest.mark.parametrize("name", ["g0", "g15", "g30", "g45", "c3"])
def test_the_bar_for_exact_posteriors_of_up_to_three_labels(name):
    posteriors, _, truth = exact_posteriors(name, 20_000)
    done = pid_from_posteriors(*posteriors, key=KEY)
    np.testing.assert_allclose(values(done.pid), values(truth), atol=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_bar_for_exact_posteriors_of_ten_labels(seed):
    posteriors, _, truth = exact_posteriors("lsmi_10", 20_000, seed)
    done = pid_from_posteriors(*posteriors, key=KEY)
    np.testing.assert_allclose(values(done.pid), values(truth), atol=0.02)
    assert set(done.variants) == {"table", "raw", "ratio", "halves"}
    assert done.retained < 0.9
    assert isinstance(done.variants["raw"], PID)
