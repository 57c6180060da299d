"""Reconciled tables: what one joint has stays; a closed form, random rivals and a convex solver know the optimum."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pairwise import IMPOSSIBLE, draws, tables

from pidjax.couplings.reconciliation import reconciled_tables


def apart(shape, seed=0):
    """Three tables of three joints: they disagree about every variable."""
    return tuple(tables(p)[i] for i, p in enumerate(draws("dense", shape, 3, seed)))


def divergence(given, used, share=(1 / 3, 1 / 3, 1 / 3)):
    """``KL(given || used)`` averaged over the tables."""
    log = lambda p: np.log(np.where(p > 0, p, 1))
    each = [(p * (log(p) - log(q))).sum() for p, q in zip(given, used, strict=True)]
    return float(np.dot(share, each))


@pytest.mark.parametrize("shape", [(2, 2, 2), (3, 4, 2)])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_tables_of_one_joint_come_back_unchanged(kind, shape):
    for p in draws(kind, shape, 5):
        found = reconciled_tables(*tables(p))
        for own, given in zip(found[:3], tables(p), strict=True):
            np.testing.assert_allclose(own, given, atol=1e-12)
        assert 0 <= found.divergence < 1e-7  # the tolerance of the multipliers
        assert found.moved < 1e-12


@pytest.mark.parametrize("given", [IMPOSSIBLE, apart((3, 4, 2)), apart((2, 2, 3))], ids=["impossible", "342", "223"])
def test_one_joint_has_the_tables(given):
    found = reconciled_tables(*given)
    assert np.all(found.joint >= 0)
    assert found.joint.sum() == pytest.approx(1, abs=1e-12)
    for own, used in zip(found[:3], tables(found.joint), strict=True):
        np.testing.assert_allclose(own, used, atol=1e-9)
    p1, p2, p12 = found[:3]
    for first, second in ((p1.sum(1), p12.sum(1)), (p2.sum(1), p12.sum(0)), (p1.sum(0), p2.sum(0))):
        np.testing.assert_allclose(first, second, atol=1e-12)
    assert found.moved == pytest.approx(max(abs(p - q).sum() / 2 for p, q in zip(given, found[:3], strict=True)))
    assert found.divergence == pytest.approx(divergence(given, found[:3]), abs=1e-12)


def test_the_symmetric_impossible_triple_has_a_closed_form():
    """Each table is given two cells in three: the divergence is log(3/2)."""
    found = reconciled_tables(*IMPOSSIBLE)
    for own, given in zip(found[:3], IMPOSSIBLE, strict=True):
        np.testing.assert_allclose(own, np.where(given > 0, 1 / 3, 1 / 6), atol=1e-6)
    assert found.divergence == pytest.approx(math.log(1.5), abs=1e-7)
    assert found.moved == pytest.approx(1 / 3, abs=1e-6)


@pytest.mark.parametrize("weight", [(1.0, 1.0, 1.0), (5.0, 1.0, 2.0)])
def test_no_joint_is_nearer(weight):
    given, share = apart((2, 3, 2), seed=1), np.array(weight) / sum(weight)
    found = reconciled_tables(*given, weight=weight)
    assert 0 <= found.slack < 1e-5
    rivals = draws("dense", (2, 3, 2), 100, seed=2)
    # Far away, and near the optimum.
    for rival in (*rivals, *(0.99 * found.joint + 0.01 * rivals)):
        assert found.divergence <= divergence(given, tables(rival), share) + found.slack + 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(2, 2, 2), (3, 3, 2), (3, 2, 4)])
def test_a_convex_solver_gains_no_more_than_the_slack(shape):
    cp = pytest.importorskip("cvxpy")
    share = np.array([0.5, 0.3, 0.2])
    for seed in range(4):
        given = apart(shape, seed)
        if seed == 3:  # with empty cells
            given = tuple((lambda q: q / q.sum())(np.where(p < np.median(p), 0, p)) for p in given)
        r = [cp.Variable(shape[:2], nonneg=True) for _ in range(shape[2])]
        own = (
            cp.vstack([cp.sum(q, axis=1) for q in r]).T,
            cp.vstack([cp.sum(q, axis=0) for q in r]).T,
            sum(r),
        )
        each = [s * cp.sum(cp.kl_div(p, q)) for s, p, q in zip(share, given, own, strict=True)]
        problem = cp.Problem(cp.Minimize(sum(each)), [sum(cp.sum(q) for q in r) == 1])
        problem.solve(solver=cp.CLARABEL)
        found = reconciled_tables(*given, weight=share)
        assert found.slack < 1e-3
        assert problem.value - 1e-7 <= found.divergence <= problem.value + found.slack + 1e-7  # the solver's accuracy


def test_a_table_of_all_the_weight_stays():
    given = apart((2, 3, 2), seed=3)
    for i in range(3):
        weight = [1.0, 1.0, 1.0]
        weight[i] = 1e9
        found = reconciled_tables(*given, weight=tuple(weight))
        # It moves by about the others' share of the weight; the multipliers are exact to 1e-7, shares to its root.
        np.testing.assert_allclose(found[i], given[i], atol=1e-3)
        assert found.moved > 0.01


def test_what_sampling_takes_is_a_chi_square():
    """Twice the lost log likelihood has one degree of freedom for each number that two tables both tell: 2 + 2 + 1."""
    n, repeats = 20_000, 60
    p = draws("dense", (3, 3, 2), 1, seed=5)[0]
    generator = np.random.default_rng(0)
    given = [generator.multinomial(n, t.ravel(), repeats).reshape(repeats, *t.shape) / n for t in tables(p)]
    with jax.enable_x64(True):
        found = jax.jit(jax.vmap(lambda *t: reconciled_tables(*t)))(*map(jnp.asarray, given))
    statistic = 2 * n * 3 * np.asarray(found.divergence)
    # Five standard errors of the mean of 60; the slack of 1e-7 is 0.01 here.
    assert statistic.mean() == pytest.approx(5, abs=5 * math.sqrt(2 * 5 / repeats))
    assert np.all(statistic >= 0)


def test_jit_is_eager_and_vmap_the_loop(x64):
    given = [jnp.stack(x) for x in zip(*(apart((2, 2, 3), seed) for seed in range(3)), strict=True)]
    together = jax.jit(jax.vmap(lambda *t: reconciled_tables(*t)))(*given)
    for i in range(3):
        one = reconciled_tables(*(t[i] for t in given))
        for name in ("p_x1y", "p_x2y", "p_x1x2", "divergence", "moved"):
            np.testing.assert_allclose(getattr(together, name)[i], getattr(one, name), atol=1e-10)


def test_float32_is_kept():
    given = apart((2, 3, 2), seed=1)
    single = reconciled_tables(*(t.astype(np.float32) for t in given))
    double = reconciled_tables(*given)
    assert {leaf.dtype for leaf in jax.tree.leaves(single)} == {np.dtype(np.float32)}
    assert {leaf.dtype for leaf in jax.tree.leaves(double)} == {np.dtype(np.float64)}
    # Multipliers are exact to 1e-5 in float32, tables to about its root.
    for a, b in zip(single[:3], double[:3], strict=True):
        np.testing.assert_allclose(a, b, atol=5e-3)
    assert single.divergence == pytest.approx(float(double.divergence), abs=5e-5)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 2), (3, 1, 2), (2, 3, 1)])
def test_one_symbol_or_one_label(shape):
    """With x2 constant, the other two tables tell p(x1), p(y) and p(x1,y): all that is asked is a joint of them."""
    found = reconciled_tables(*apart(shape))
    assert found.slack < 1e-5
    for own, used in zip(found[:3], tables(found.joint), strict=True):
        np.testing.assert_allclose(own, used, atol=1e-9)


def test_symbols_that_no_table_has_stay_empty():
    given = [t.copy() for t in apart((3, 3, 3))]
    given[0][1], given[2][1] = 0, 0  # x1 = 1
    given[0][:, 2], given[1][:, 2] = 0, 0  # y = 2
    found = reconciled_tables(*(t / t.sum() for t in given))
    assert np.isfinite(found.divergence)
    assert found.slack < 1e-5
    assert not found.joint[1].any()
    assert not found.joint[..., 2].any()


def test_bad_input_is_refused_eagerly_and_nan_inside_jit():
    p1, p2, p12 = apart((2, 2, 2))
    with pytest.raises(ValueError, match=r"expected \(n1, k\), \(n2, k\), \(n1, n2\)"):
        reconciled_tables(p1, p2, np.full((3, 2), 1 / 6))
    with pytest.raises(ValueError, match=r"p_x1y sums to 2"):
        reconciled_tables(2 * p1, p2, p12)
    for weight in ((1.0, 0.0, 1.0), (1.0, np.nan, 1.0), (1.0, -1.0, 1.0)):
        with pytest.raises(ValueError, match="expected three positive numbers"):
            reconciled_tables(p1, p2, p12, weight=weight)
    with pytest.raises(ValueError, match=r"weight has shape \(2,\)"):
        reconciled_tables(p1, p2, p12, weight=np.ones(2))
    for given, weight in (((2 * p1, p2, p12), np.ones(3)), ((p1, p2, p12), np.array([1.0, -1.0, 1.0]))):
        found = jax.jit(lambda *t, weight=weight: reconciled_tables(*t, weight=weight))(*given)
        assert np.isnan(found.divergence)
        assert np.isnan(found.joint).all()
