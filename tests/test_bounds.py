"""Bounds on the synergy: the specification's values, exact minima by other means, and random joints inside."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pairwise import IMPOSSIBLE, SIGNS, draws, entropy, gate, mapped, tables

from pidjax import union_information
from pidjax.bounds import disagreement, disagreement_bounds, synergy_bounds
from pidjax.info import mutual_information_of

BIT = math.log(2)
GATES = {"and": lambda a, b: a & b, "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b}
SEGMENT = np.array([[[0.2, 0.05], [0.05, 0.2]], [[0.1, 0.15], [0.15, 0.1]]])  # bounds.md, C.4
# C.3: with the constant 1 the disagreement is no bound.
VIOLATED = np.array([[[0.03336, 0.05576], [0.47943, 0.07974]], [[0.00459, 0.15342], [0.08404, 0.10966]]])
# C.6: the synthetic notebook's cell 6.
CELL_6 = np.array(
    [[[0.23148881, 0.00941881], [0.07064852, 0.00650789]], [[0.01758162, 0.42417211], [0.22418906, 0.01599317]]]
)
KINDS = ("dense", "sparse", "certain")
MANY = 666  # a program for each shape and number: most tests share one


def information(p):
    """``I(X1,X2;Y)``."""
    return entropy(p.sum(2)) + entropy(p.sum((0, 1))) - entropy(p)


@mapped
def bounds_and_truth(p):
    p1, p2, p12 = tables(p)
    found, union = synergy_bounds(p1, p2, p12), union_information(p1, p2)
    both = mutual_information_of(p.reshape(-1, p.shape[2]))
    return found, both - union.upper, both - union.lower


def contained(kind, shape, n, seed=0):
    """The bounds of random joints, after what must hold of each."""
    with jax.enable_x64(True):
        found, least, greatest = jax.tree.map(np.asarray, bounds_and_truth(jnp.asarray(draws(kind, shape, n, seed))))
    # Beyond the certificates of the union, the rounding of a sum of a hundred cells.
    rounding = 1e-12
    assert np.all(found.lower <= greatest + rounding)
    assert np.all(found.upper >= least - rounding)
    for value in found.lower_bounds.values():
        assert np.all(value <= found.lower)
        assert np.all(value <= greatest + rounding)
    for name, value in found.upper_bounds.items():
        assert np.all(value >= least - rounding), name
    assert np.all(found.lower >= 0)
    # The minimum is exact, so that no disagreement says more than it does, but where it did not converge.
    exact = found.lower_bounds["redundancy"] + found.gap
    assert np.all(found.lower_bounds["disagreement_sharp"] <= exact + rounding)
    assert np.all(found.lower_bounds["disagreement"] <= found.lower_bounds["disagreement_sharp"])
    return found


@pytest.mark.parametrize(
    ("name", "redundancy", "synergy", "lower", "alpha", "sharp", "upper"),
    [
        ("and", 0.3113, 0.5, 0.5, 0.25, 0.0902, 0.5),
        ("or", 0.3113, 0.5, 0.5, 0.25, 0.0902, 0.5),
        ("xor", 0, 1, 0, 0, 0, 1),
    ],
)
def test_gates_are_those_of_the_specification(name, redundancy, synergy, lower, alpha, sharp, upper):
    found = synergy_bounds(*tables(gate(GATES[name])))
    assert found.pid.redundancy / BIT == pytest.approx(redundancy, abs=5e-5)
    assert [found.pid.unique1, found.pid.unique2] == pytest.approx([0, 0], abs=1e-8)
    assert np.isnan(found.pid.synergy)
    assert found.lower / BIT == pytest.approx(lower, abs=1e-8)
    assert found.upper / BIT == pytest.approx(upper, abs=1e-8)
    assert found.lower - 1e-9 <= synergy * BIT <= found.upper + 1e-9
    assert found.disagreement == pytest.approx(alpha, abs=1e-12)
    assert found.lower_bounds["disagreement_sharp"] / BIT == pytest.approx(sharp, abs=5e-5)
    total = (redundancy + synergy) * BIT
    assert found.information.lower - 1e-4 <= total <= found.information.upper + 1e-4  # four digits
    assert (found.divergence, found.moved) == (0, 0)


def test_the_binding_bounds_are_named():
    assert synergy_bounds(*tables(gate(GATES["xor"]))).binding == ("zero", "meet_x1x2_y")
    assert synergy_bounds(*tables(gate(GATES["and"]))).binding[0] == "redundancy"
    with pytest.raises(ValueError, match="binding names the bounds of one problem"):
        _ = jax.vmap(lambda p: synergy_bounds(*tables(p)))(jnp.full((2, 2, 2, 2), 1 / 8)).binding


def test_the_synthetic_notebooks_example():
    p = CELL_6 / CELL_6.sum()
    found = synergy_bounds(*tables(p))
    numbers = [found.pid.redundancy, found.pid.unique1, found.pid.unique2, found.lower]
    np.testing.assert_allclose(np.array(numbers) / BIT, [0.23101, 0.03254, 0, 0.40358], atol=5.1e-6)
    assert found.disagreement == pytest.approx(0.32367, abs=5.1e-6)
    assert found.lower <= 0.44989 * BIT <= found.upper


def test_the_segments_example():
    found = synergy_bounds(*tables(SEGMENT))
    assert [found.pid.redundancy, found.pid.unique1] == pytest.approx([0, 0], abs=1e-8)
    assert found.pid.unique2 == pytest.approx(0.02014, abs=5.1e-6)
    assert found.lower == pytest.approx(0, abs=1e-8)
    assert found.disagreement == pytest.approx(0.02, abs=1e-12)
    paper = min(value for name, value in found.upper_bounds.items() if name.startswith("meet"))
    assert paper == pytest.approx(0.67301, abs=5.1e-6)
    assert 0.42281 - 5.1e-6 <= found.upper <= paper
    assert found.lower <= 0.0863 <= found.upper


def test_the_published_constant_is_no_bound_and_ours_is():
    p = VIOLATED / VIOLATED.sum()
    found = synergy_bounds(*tables(p))
    least = float(found.pid.redundancy + found.pid.unique1 + found.pid.unique2)
    synergy = information(p) - least
    assert synergy / BIT == pytest.approx(0.10017, abs=5.1e-6)
    assert found.disagreement == pytest.approx(0.17298, abs=5.1e-6)
    most = max(found.pid.unique1, found.pid.unique2) / BIT
    assert most == pytest.approx(0.02903, abs=1e-5)  # of cells given to five digits
    assert found.disagreement - most > synergy / BIT + 0.04  # 1 alpha - max U, in bits as published
    assert found.lower_bounds["disagreement_sharp"] < synergy
    assert found.lower <= synergy <= found.upper


@pytest.mark.parametrize("shape", [(2, 2, 2), (3, 3, 2)])
def test_the_synergy_of_random_joints_is_inside(shape):
    for kind in KINDS:
        found = contained(kind, shape, MANY, seed=1)
        assert np.mean(found.gap < 1e-8) > 0.998  # 1 of 666 may stop early


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "n"), [((2, 2, 2), 40_000), ((3, 3, 2), 30_000), ((4, 4, 3), 20_000), ((5, 5, 5), 10_000)]
)
def test_the_synergy_of_a_hundred_thousand_joints_is_inside(shape, n):
    for kind in KINDS:
        found = contained(kind, shape, n // len(KINDS) + 1, seed=2)
        assert np.mean(found.gap < 1e-7) > 0.999


def test_the_upper_bound_is_mostly_tighter_than_the_papers():
    for kind, shape in (("sparse", (3, 3, 2)), ("dense", (3, 3, 2))):
        found = contained(kind, shape, MANY)
        paper = np.min([value for name, value in found.upper_bounds.items() if name.startswith("meet")], 0)
        assert np.all(found.upper <= paper)
        if kind == "sparse":
            assert np.mean(found.upper < paper - 1e-9) >= 0.7


def test_the_lower_bound_is_the_least_synergy_of_a_binary_segment():
    """The joints of binary tables are p + t (-1)^(x1+x2+y), I_r is convex in t, and golden sections find its least."""
    drawn = np.concatenate([draws(kind, (2, 2, 2), MANY // len(KINDS), seed=3) for kind in KINDS])
    with jax.enable_x64(True):
        found, _, _ = jax.tree.map(np.asarray, bounds_and_truth(jnp.asarray(drawn)))
    for p, lower, union, gap in zip(drawn, found.lower, found.information.lower - found.lower, found.gap, strict=True):
        low, high = -p[SIGNS > 0].min(), p[SIGNS < 0].min()
        value = lambda t, p=p: information(np.maximum(p + t * SIGNS, 0))
        ratio = (math.sqrt(5) - 1) / 2
        for _ in range(60):
            left, right = high - ratio * (high - low), low + ratio * (high - low)
            low, high = (low, right) if value(left) < value(right) else (left, high)
        least = value((low + high) / 2) - float(union)
        # The search's rounding, and twice the gap: the union's end is that of the bound.
        assert abs(lower - max(least, 0)) <= 2 * gap + 1e-12
        assert gap < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_a_convex_solver_finds_the_same_least_synergy(kind):
    """Both problems by its cones: the least I_r of three tables less the least of two."""
    cp = pytest.importorskip("cvxpy")
    for p in draws(kind, (3, 3, 2), 8, seed=4):
        p1, p2, p12 = tables(p)
        values = []
        for pairs in (True, False):
            r = [cp.Variable(p12.shape, nonneg=True) for _ in range(2)]
            constraints = [cp.sum(q, axis=1) == p1[:, y] for y, q in enumerate(r)]
            constraints += [cp.sum(q, axis=0) == p2[:, y] for y, q in enumerate(r)]
            constraints += [q[(p1[:, y] == 0)[:, None] | (p2[:, y] == 0)[None]] == 0 for y, q in enumerate(r)]
            if pairs:
                constraints += [sum(r) == p12, *(q[p12 == 0] == 0 for q in r)]
            objective = sum(cp.sum(cp.rel_entr(q, sum(r))) for q in r)
            problem = cp.Problem(cp.Minimize(objective), constraints)
            problem.solve(solver=cp.CLARABEL)
            assert problem.status == "optimal"
            values.append(problem.value)
        found = synergy_bounds(p1, p2, p12)
        assert found.lower == pytest.approx(max(values[0] - values[1], 0), abs=2e-6)  # the solver's accuracy, twice


def test_the_disagreement_of_samples_is_that_of_their_table():
    generator = np.random.default_rng(0)
    p = draws("dense", (3, 3, 2), 1, seed=5)[0]
    x1, x2 = generator.integers(3, size=(2, 5000))
    given1, given2 = p.sum(1) / p.sum((1, 2))[:, None], p.sum(0) / p.sum((0, 2))[:, None]
    counts = np.zeros((3, 3))
    np.add.at(counts, (x1, x2), 1)
    distance = ((given1[:, None] - given2[None]) ** 2).sum(2)
    alpha = (counts * distance).sum() / 5000
    assert disagreement(given1[x1], given2[x2]) == pytest.approx(alpha, abs=1e-14)
    # The same with a pair for each cell, weighted; and of the table itself.
    rows, columns = np.indices((3, 3)).reshape(2, -1)
    weighted = disagreement(given1[rows], given2[columns], weight=counts.ravel())
    assert weighted == pytest.approx(alpha, abs=1e-14)
    weighted = disagreement(given1[rows], given2[columns], weight=p.sum(2).ravel())
    assert synergy_bounds(*tables(p)).disagreement == pytest.approx(float(weighted), abs=1e-14)


def test_what_classifiers_err_is_taken_off_the_disagreement():
    perfect = disagreement_bounds(0.25, 0.01, 0.02)
    assert perfect["disagreement"] == pytest.approx(0.25 / 4 - 0.015)
    assert perfect["disagreement_sharp"] == pytest.approx(0.25 / 4 - 0.015 + 0.01**2 / (4 * 0.25))
    reduced = disagreement_bounds(0.25, 0.01, 0.02, errors=(0.01, 0.04))  # sqrt: .5 - .1 - .2
    assert reduced["disagreement"] == pytest.approx(0.2**2 / 4 - 0.015)
    assert reduced["disagreement_sharp"] == pytest.approx(0.2**2 / 4 - 0.015 + 0.01**2 / (4 * 0.04))
    nothing = disagreement_bounds(0.25, 0.01, 0.02, errors=(0.25, 0.04))
    assert nothing["disagreement"] == pytest.approx(-0.015)
    # Posteriors with noise: their disagreement, errors known, bounds that of the exact ones from below.
    generator = np.random.default_rng(0)
    f1, f2 = generator.dirichlet(np.ones(3), (2, 500))
    noisy1, noisy2 = 0.9 * f1 + 0.1 * generator.dirichlet(np.ones(3), 500), 0.8 * f2 + 0.2 / 3
    errors = tuple(((a - b) ** 2).sum(1).mean() for a, b in ((f1, noisy1), (f2, noisy2)))
    known = disagreement_bounds(disagreement(noisy1, noisy2), 0.0, 0.0, errors=errors)
    exact = disagreement_bounds(disagreement(f1, f2), 0.0, 0.0)
    assert 0 < known["disagreement_sharp"] <= exact["disagreement_sharp"]


def test_bounds_of_an_unknown_disagreement_are_unknown_and_float32_is_kept():
    with pytest.raises(ValueError, match="alpha is nan"):
        disagreement_bounds(np.nan, 0.0, 0.0)
    with pytest.raises(ValueError, match="expected mean squared distances"):
        disagreement_bounds(0.1, 0.0, 0.0, errors=(-0.1, 0.0))
    inside = jax.jit(disagreement_bounds)(np.nan, 0.0, 0.0)
    assert np.isnan(list(inside.values())).all()
    single = disagreement_bounds(*np.float32([0.25, 0.01, 0.02]))
    assert {value.dtype for value in single.values()} == {np.dtype(np.float32)}


@pytest.mark.slow
def test_swapping_the_modalities_swaps_the_uniquenesses():
    p = draws("dense", (3, 4, 2), 1, seed=6)[0]
    one, other = synergy_bounds(*tables(p)), synergy_bounds(*tables(p.transpose(1, 0, 2)))
    assert one.pid.unique1 == pytest.approx(float(other.pid.unique2), abs=2e-9)  # the gaps of both
    assert one.pid.unique2 == pytest.approx(float(other.pid.unique1), abs=2e-9)
    assert one.lower == pytest.approx(float(other.lower), abs=4e-9)
    assert one.upper == pytest.approx(float(other.upper), abs=4e-9)
    assert one.disagreement == pytest.approx(float(other.disagreement), abs=1e-14)


@pytest.mark.slow
def test_gradients_are_those_of_differences_along_joints(x64):
    # Close to a gate, so that the least synergy is positive.
    p = 0.1 * draws("dense", (2, 2, 2), 1, seed=7)[0] + 0.9 * gate(GATES["and"]) + 1e-3
    p /= p.sum()
    ends = jax.jit(lambda *t: (lambda found: jnp.stack([found.lower, found.upper]))(synergy_bounds(*t, tol=1e-12)))
    assert ends(*tables(p))[0] > 0.01
    gradients = jax.jacobian(ends, (0, 1, 2))(*map(jnp.asarray, tables(p)))
    for seed in range(3):
        direction = np.random.default_rng(seed).normal(size=p.shape) * p
        direction -= p * direction.sum()
        slope = (ends(*tables(p + 1e-5 * direction)) - ends(*tables(p - 1e-5 * direction))) / 2e-5
        along = sum((g * d[None]).sum((1, 2)) for g, d in zip(gradients, tables(direction), strict=True))
        np.testing.assert_allclose(along, slope, atol=1e-6)  # gaps of 1e-12 over steps of 1e-5


@pytest.mark.slow
def test_jit_is_eager_and_vmap_the_loop(x64):
    drawn = jnp.asarray(draws("dense", (2, 2, 2), 3))
    together = jax.jit(jax.vmap(lambda p: synergy_bounds(*tables(p))))(drawn)
    for i, p in enumerate(drawn):
        one = synergy_bounds(*tables(p))
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, atol=1e-10), together, one)


@pytest.mark.slow
def test_float32_is_kept_and_its_bounds_hold():
    solve = jax.jit(jax.vmap(lambda *t: synergy_bounds(*t)))
    for kind in KINDS:
        drawn = draws(kind, (2, 2, 2), MANY, seed=8)
        given = [np.stack(t) for t in zip(*map(tables, drawn), strict=True)]
        single = solve(*(jnp.asarray(t, jnp.float32) for t in given))
        assert {leaf.dtype for leaf in jax.tree.leaves(single)} == {np.dtype(np.float32)}
        with jax.enable_x64(True):
            double, least, greatest = jax.tree.map(np.asarray, bounds_and_truth(jnp.asarray(drawn)))
        # Entropies of up to 2 nats, rounded to 1e-7 each.
        assert np.all(np.asarray(single.lower, float) <= greatest + 1e-6)
        assert np.all(np.asarray(single.upper, float) >= least - 1e-6)
        np.testing.assert_allclose(single.upper, double.upper, atol=1e-4)
    found = synergy_bounds(*(t.astype(np.float32) for t in tables(drawn[0])))
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype(np.float32)}
    assert synergy_bounds(*tables(drawn[0])).lower.dtype == np.float64


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 2), (3, 1, 2), (2, 3, 1)])
def test_one_symbol_or_one_label_has_no_synergy(shape):
    found = synergy_bounds(*tables(draws("dense", shape, 1)[0]))
    assert found.lower == 0
    assert 0 <= found.upper <= 2e-9


@pytest.mark.slow
def test_symbols_that_do_not_occur_change_nothing():
    p = draws("dense", (2, 3, 2), 1, seed=9)[0]
    few, many = synergy_bounds(*tables(p)), synergy_bounds(*tables(np.pad(p, ((1, 0), (0, 2), (1, 1)))))
    for name in ("lower", "upper", "disagreement"):
        assert getattr(few, name) == pytest.approx(float(getattr(many, name)), abs=4e-9)


def test_tables_of_other_populations_are_refused():
    p1, p2, p12 = tables(draws("dense", (2, 2, 2), 1)[0])
    x2 = p12.sum(0)
    for variable, given in (
        ("x1", (np.full((2, 2), 0.5) * p1.sum(0), p2, p12)),
        ("x2", (p1, np.full((2, 2), 0.5) * p2.sum(0), p12)),
        ("y", (p1, np.outer(x2, [0.5, 0.5]), p12)),
    ):
        with pytest.raises(ValueError, match=rf"disagree about {variable}:.*reconcile=True"):
            synergy_bounds(*given)
        assert np.isnan(jax.jit(synergy_bounds)(*given).lower)
    with pytest.raises(ValueError, match=r"no joint has these three tables.*reconcile=True"):
        synergy_bounds(*IMPOSSIBLE)
    found = jax.jit(synergy_bounds)(*IMPOSSIBLE)
    assert np.isnan([found.lower, found.upper, found.information.lower]).all()


@pytest.mark.slow
def test_correlations_are_refused_just_where_no_joint_has_them():
    """Fair coins of correlations c1, c2, c12 have one where ``1 + c1 s + c2 t + c12 s t >= 0`` for all signs."""
    c = np.random.default_rng(1).uniform(-1, 1, (500, 3))
    signs = [(s, t) for s in (1, -1) for t in (1, -1)]
    room = np.min([1 + c[:, 0] * s + c[:, 1] * t + c[:, 2] * s * t for s, t in signs], 0)
    given = (1 + c.T[:, :, None, None] * np.array([[1, -1], [-1, 1]])) / 4
    with jax.enable_x64(True):
        lower = np.asarray(jax.jit(jax.vmap(lambda *t: synergy_bounds(*t).lower))(*map(jnp.asarray, given)))
    assert np.all(np.isfinite(lower[room >= 0]))
    assert np.all(np.isnan(lower[room < -0.01]))


def test_bad_input_is_refused_eagerly_and_nan_inside_jit():
    p1, p2, p12 = tables(draws("dense", (2, 2, 2), 1)[0])
    with pytest.raises(ValueError, match="p_x1y has 1 cells that are NaN"):
        synergy_bounds(np.array([[np.nan, 0], [0, 1]]), p2, p12)
    with pytest.raises(ValueError, match=r"expected \(n1, k\), \(n2, k\), \(n1, n2\)"):
        synergy_bounds(p1, p2, np.full((3, 2), 1 / 6))
    with pytest.raises(ValueError, match="tol is -1"):
        synergy_bounds(p1, p2, p12, tol=-1)
    with pytest.raises(ValueError, match="expected three positive numbers"):
        synergy_bounds(p1, p2, p12, reconcile=True, weight=(1.0, 0.0, 1.0))
    for bad in (2 * p1, np.array([[np.nan, 0], [0, 1]])):
        found = jax.jit(synergy_bounds)(bad, p2, p12)
        assert np.isnan([found.lower, found.upper, found.disagreement]).all()
    even = np.full((3, 2), 0.5)
    with pytest.raises(ValueError, match=r"f2 has rows that are no distributions.*softmax"):
        disagreement(even, 3 * even)
    with pytest.raises(ValueError, match=r"expected one shape \(n, k\)"):
        disagreement(even, even[:2])
    with pytest.raises(ValueError, match="weight has negative numbers"):
        disagreement(even, even, weight=np.array([1.0, -1.0, 1.0]))
    assert np.isnan(jax.jit(disagreement)(even, 3 * even))


def test_reconciled_tables_of_one_joint_are_not_moved_and_contain_its_synergy():
    for p in draws("dense", (3, 3, 2), 3, seed=10):
        found, plain = synergy_bounds(*tables(p), reconcile=True), synergy_bounds(*tables(p))
        assert found.divergence < 1e-7  # the tolerance of its multipliers
        assert found.moved < 1e-9
        assert found.lower == pytest.approx(float(plain.lower), abs=1e-8)
        assert found.upper == pytest.approx(float(plain.upper), abs=1e-8)
        synergy = information(p) - float(plain.information.lower - plain.lower)
        assert found.lower - 1e-8 <= synergy <= found.upper + 1e-8


def test_tables_of_samples_are_reconciled():
    n, p = 20_000, draws("dense", (3, 3, 2), 1, seed=11)[0]
    generator = np.random.default_rng(0)
    counts = [generator.multinomial(n, t.ravel()).reshape(t.shape) / n for t in tables(p)]
    with pytest.raises(ValueError, match="disagree about x1"):
        synergy_bounds(*counts)
    found, exact = synergy_bounds(*counts, reconcile=True, weight=(n, n, n)), synergy_bounds(*tables(p))
    assert 0 < found.divergence < 20 / (2 * n)  # 5 degrees of freedom over 3 tables of n samples
    assert 0 < found.moved < 0.05
    assert found.lower == pytest.approx(float(exact.lower), abs=0.01)
    assert found.upper == pytest.approx(float(exact.upper), abs=0.02)
    impossible = synergy_bounds(*IMPOSSIBLE, reconcile=True)
    assert impossible.divergence == pytest.approx(math.log(1.5), abs=1e-7)
    assert impossible.lower <= impossible.upper
