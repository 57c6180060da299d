"""The joint of greatest entropy: unique joints, closed forms, proportional fitting and a convex solver as truth."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pairwise import IMPOSSIBLE, SIGNS, draws, entropy, gate, mapped, tables

from pidjax.couplings.maximum_entropy import maximum_entropy
from pidjax.info import xlogx

KINDS = ("dense", "sparse", "small", "certain")


@mapped
def solved_and_own(p):
    return maximum_entropy(*tables(p)), -xlogx(p).sum()


def solve_all(drawn):
    return jax.tree.map(np.asarray, solved_and_own(jnp.asarray(drawn))[0])


def fitted(p1, p2, p12, sweeps=3000):
    """Iterative proportional fitting from the uniform joint."""
    r = np.ones((*p12.shape, p1.shape[1]))
    over = lambda p, own: np.divide(p, own, out=np.zeros_like(p), where=own > 0)
    for _ in range(sweeps):
        r *= over(p12, r.sum(2))[:, :, None]
        r *= over(p1, r.sum(1))[:, None, :]
        r *= over(p2, r.sum(0))[None, :, :]
    return r


def solved(p1, p2, p12):
    """The greatest entropy by an interior-point solver of exponential cones."""
    cp = pytest.importorskip("cvxpy")
    r = [cp.Variable(p12.shape, nonneg=True) for _ in range(p1.shape[1])]
    constraints = [sum(r) == p12]
    constraints += [cp.sum(q, axis=1) == p1[:, y] for y, q in enumerate(r)]
    constraints += [cp.sum(q, axis=0) == p2[:, y] for y, q in enumerate(r)]
    constraints += [q[(p12 == 0) | (p1[:, y] == 0)[:, None] | (p2[:, y] == 0)[None]] == 0 for y, q in enumerate(r)]
    problem = cp.Problem(cp.Maximize(sum(cp.sum(cp.entr(q)) for q in r)), constraints)
    problem.solve(solver=cp.CLARABEL)
    assert problem.status == "optimal"
    return problem.value


def test_and_has_one_joint_alone():
    found = maximum_entropy(*tables(gate(lambda a, b: a & b)))
    np.testing.assert_allclose(found.joint, gate(lambda a, b: a & b), atol=1e-9)
    assert math.log(4) <= found.upper
    # Of the joint that attains it all marginals are only near those given: a few 1e-13 may be its gain.
    assert found.lower <= math.log(4) + 1e-11
    assert found.gap < 1e-9


def test_the_tables_of_xor_are_those_of_three_coins():
    found = maximum_entropy(*tables(gate(lambda a, b: a ^ b)))
    np.testing.assert_allclose(found.joint, 1 / 8, atol=1e-12)
    assert found.upper == pytest.approx(3 * math.log(2), abs=1e-9)


def test_independent_tables_give_the_product():
    generator = np.random.default_rng(0)
    x1, x2, y = (generator.dirichlet(np.ones(n)) for n in (3, 4, 2))
    found = maximum_entropy(np.outer(x1, y), np.outer(x2, y), np.outer(x1, x2))
    np.testing.assert_allclose(found.joint, x1[:, None, None] * x2[:, None] * y, atol=1e-12)
    assert found.upper == pytest.approx(sum(map(entropy, (x1, x2, y))), abs=1e-9)


def test_conditional_independence_is_found_where_the_pairs_have_it():
    """p(x1,x2) made by p(y) p(x1|y) p(x2|y): no joint of those p(xi,y) has more entropy, so none with p(x1,x2) has."""
    generator = np.random.default_rng(1)
    y, given1, given2 = generator.dirichlet(np.ones(3)), *(generator.dirichlet(np.ones(n), 3) for n in (4, 2))
    p = np.einsum("y,yi,yj->ijy", y, given1, given2)
    found = maximum_entropy(*tables(p))
    np.testing.assert_allclose(found.joint, p, atol=1e-9)
    assert found.upper == pytest.approx(entropy(p), abs=1e-9)


@pytest.mark.parametrize("shape", [(2, 2, 2), (3, 4, 2)])
def test_it_is_the_limit_of_proportional_fitting(shape):
    with jax.enable_x64(True):
        drawn = draws("dense", shape, 5)
        # To its last digit: a gap of 1e-9 would leave the joint its root.
        found = jax.tree.map(np.asarray, jax.vmap(lambda p: maximum_entropy(*tables(p), tol=1e-15))(jnp.asarray(drawn)))
    for p, joint, upper in zip(drawn, found.joint, found.upper, strict=True):
        r = fitted(*tables(p))
        np.testing.assert_allclose(joint, r, rtol=1e-6)  # the root of the entropy's rounding, 1e-14
        assert upper == pytest.approx(entropy(r), abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(3, 3, 2), (4, 3, 3)])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_a_convex_solver_agrees(kind, shape):
    pytest.importorskip("cvxpy")
    for p in draws(kind, shape, 10, seed=2):
        found = maximum_entropy(*tables(p))
        truth = solved(*tables(p))
        assert found.upper == pytest.approx(truth, abs=1e-6)  # the solver's own accuracy
        assert found.lower == pytest.approx(truth, abs=1e-6)


def test_binary_tables_have_the_highest_point_of_their_segment():
    """All joints of binary tables are p + t (-1)^(x1+x2+y): the entropy is concave in t, golden sections find it."""
    drawn = np.concatenate([draws(kind, (2, 2, 2), 100, seed=3) for kind in KINDS])
    at = lambda t: np.maximum(drawn + SIGNS * t[:, None, None, None], 0)
    value = lambda t: -(at(t) * np.log(np.where(at(t) > 0, at(t), 1))).sum((1, 2, 3))
    low, high = -drawn[:, SIGNS > 0].min(1), drawn[:, SIGNS < 0].min(1)
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(80):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        rises = value(left) < value(right)
        low, high = np.where(rises, left, low), np.where(rises, high, right)
    best = value((low + high) / 2)
    with jax.enable_x64(True):
        found = solve_all(drawn)
    assert np.all(found.upper >= best - 1e-12)  # rounding of the search
    np.testing.assert_allclose(found.upper, best, atol=2e-9)
    np.testing.assert_allclose(found.lower, best, atol=2e-9)


def check(kind, shape, n):
    with jax.enable_x64(True):
        drawn = draws(kind, shape, n)
        found, own = jax.tree.map(np.asarray, solved_and_own(jnp.asarray(drawn)))
    off = sum(np.abs((found.joint - drawn).sum(axis)).sum((1, 2)) for axis in (1, 2, 3))
    assert np.all(found.upper >= own - 1e-13)  # always: of rounding only that of `own`
    assert np.all(found.lower <= found.upper)
    assert np.all(found.joint >= 0)
    np.testing.assert_allclose(off, found.residual, atol=1e-13)  # sums of up to 48 cells, three times
    closed = found.gap <= 1e-8
    assert np.all(found.residual[closed] <= 1e-9)
    return closed


@pytest.mark.parametrize("kind", KINDS)
def test_the_bracket_is_one_and_closes(kind):
    assert check(kind, (3, 3, 2), 2000).mean() >= 0.999


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(2, 2, 2), (3, 3, 2), (4, 4, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_bracket_closes_on_all_but_one_in_a_thousand(kind, shape):
    assert check(kind, shape, 20_000).mean() >= 0.999


def test_the_gradient_is_that_of_differences_along_joints(x64):
    p = draws("dense", (3, 2, 3), 1, seed=4)[0]
    upper = jax.jit(lambda *given: maximum_entropy(*given, tol=1e-12).upper)
    gradients = jax.grad(upper, (0, 1, 2))(*map(jnp.asarray, tables(p)))
    for seed in range(3):
        direction = np.random.default_rng(seed).normal(size=p.shape) * p
        direction -= p * direction.sum()
        slope = (upper(*tables(p + 1e-4 * direction)) - upper(*tables(p - 1e-4 * direction))) / 2e-4
        along = sum((g * d).sum() for g, d in zip(gradients, tables(direction), strict=True))
        assert float(along) == pytest.approx(float(slope), abs=1e-6)  # steps of 1e-4 and gaps of 1e-12


@pytest.mark.slow
def test_gradients_are_finite_where_symbols_do_not_occur(x64):
    p = draws("sparse", (3, 3, 3), 1)[0]
    p[1], p[:, 2], p[..., 0] = 0, 0, 0
    p /= p.sum()
    gradients = jax.grad(lambda *given: maximum_entropy(*given).upper, (0, 1, 2))(*map(jnp.asarray, tables(p)))
    assert all(jnp.isfinite(g).all() for g in gradients)


@pytest.mark.slow
def test_float32_is_kept_and_brackets_the_float64_value():
    solve = jax.jit(jax.vmap(lambda *t: maximum_entropy(*t)))
    for kind in KINDS:
        drawn = draws(kind, (3, 3, 2), 200, seed=5)
        given = [np.stack(x) for x in zip(*map(tables, drawn), strict=True)]
        single = solve(*(jnp.asarray(t, jnp.float32) for t in given))
        with jax.enable_x64(True):
            double = jax.tree.map(np.asarray, solve(*map(jnp.asarray, given)))
        assert {str(x.dtype) for x in jax.tree.leaves(single[:-1])} == {"float32"}
        # At most the rounding of the tables themselves, for the lower end also times the potentials (up to 30).
        assert np.all(np.asarray(single.upper, float) >= np.asarray(double.lower))
        assert np.all(np.asarray(single.lower, float) <= np.asarray(double.upper) + 1e-5)
    eager = maximum_entropy(*(t.astype(np.float32) for t in tables(drawn[0])))
    assert {x.dtype for x in (eager.upper, eager.joint)} == {np.dtype(np.float32)}
    assert maximum_entropy(*tables(drawn[0])).upper.dtype == np.float64


@pytest.mark.slow
def test_jit_is_eager_and_vmap_the_loop(x64):
    drawn = jnp.asarray(draws("dense", (2, 3, 2), 3))
    together = jax.jit(jax.vmap(lambda p: maximum_entropy(*tables(p))))(drawn)
    for i, p in enumerate(drawn):
        one = maximum_entropy(*tables(p))
        for name in ("joint", "lower", "upper"):
            np.testing.assert_allclose(getattr(together, name)[i], getattr(one, name), atol=1e-12)
    np.testing.assert_array_equal(together.gap, together.upper - together.lower)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 2), (3, 1, 2), (2, 3, 1)])
def test_one_symbol_or_one_label_leaves_no_choice(shape):
    p = draws("dense", shape, 1)[0]
    found = maximum_entropy(*tables(p))
    np.testing.assert_allclose(found.joint, p, atol=1e-9)
    assert found.lower <= entropy(p) + 1e-12  # rounding
    assert entropy(p) - 1e-14 <= found.upper <= entropy(p) + 1e-9


def test_tables_that_no_joint_has_are_seen():
    found = maximum_entropy(*IMPOSSIBLE)
    assert found.residual > 0.1
    assert found.upper < min(map(entropy, IMPOSSIBLE))
    with np.errstate(invalid="ignore"):  # -inf - -inf
        assert np.isposinf(found.gap)


def test_disagreeing_tables_are_refused_eagerly_and_nan_inside_jit():
    p1, p2, p12 = tables(draws("dense", (2, 2, 2), 1)[0])
    other = np.full((2, 2), 0.25)
    x2, y = p12.sum(0), p1.sum(0)
    for variable, given in (
        ("x1", (np.outer(other.sum(1), y), p2, p12)),
        ("x2", (p1, np.outer(other.sum(0), y), p12)),
        ("y", (p1, np.outer(x2, other.sum(0)), p12)),
    ):
        with pytest.raises(ValueError, match=rf"disagree about {variable}:.*reconcile=True"):
            maximum_entropy(*given)
        found = jax.jit(maximum_entropy)(*given)
        assert np.isnan(found.upper)
        assert np.isnan(found.joint).all()
        assert np.isposinf(found.gap)
    with pytest.raises(ValueError, match=r"expected \(n1, k\), \(n2, k\), \(n1, n2\)"):
        maximum_entropy(p1, p2, np.full((3, 2), 1 / 6))
    with pytest.raises(ValueError, match="p_x2y has negative cells"):
        maximum_entropy(p1, p2 - 1, p12)
    with pytest.raises(ValueError, match="p_x1y has 1 cells that are NaN"):
        maximum_entropy(np.array([[np.nan, 0], [0, 1]]), p2, p12)
    with pytest.raises(ValueError, match="tol is 0"):
        maximum_entropy(p1, p2, p12, tol=0)
