"""Couplings of least entropy: bounds hold, and are met where an enumeration of all vertices knows the optimum."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pairwise import entropy, tables

from pidjax import union_information
from pidjax.couplings.minimum_entropy import (
    coupling_table,
    greedy_coupling,
    greedy_entropy,
    joint_entropy_bounds,
    majorisation_meet,
    maximal_information,
    meet_entropy,
)
from pidjax.info import xlogx

BIT = math.log(2)
GUARANTEE = 1 / math.e + 1e-9  # of the greedy coupling of two marginals; of any number:
GUARANTEE_OF_MANY = (1 + BIT) / 2 + 1e-9
# bounds.md, C.4: the marginals, the atoms, their entropy (the optimum too) and the lower bound, both in bits.
EXAMPLES = [
    ((0.5, 0.5), (0.6, 0.4), (0.5, 0.4, 0.1), 1.3610, 1.0),
    ((0.5, 0.25, 0.25), (0.4, 0.3, 0.3), (0.4, 0.25, 0.25, 0.05, 0.05), 1.9610, 1.5710),
    ((0.7, 0.3), (0.5, 0.3, 0.2), (0.5, 0.3, 0.2), 1.4855, 1.4855),
]
SEGMENT = np.array([[[0.2, 0.05], [0.05, 0.2]], [[0.1, 0.15], [0.15, 0.1]]])
KINDS = ("dense", "sparse", "empty", "certain")


def draws(kind, shape, n, seed=0):
    """Random distributions of that shape: few small cells, mostly small ones, zeros, or nearly one cell alone."""
    generator = np.random.default_rng(seed)
    x = generator.gamma({"sparse": 0.1, "certain": 0.02}.get(kind, 1.0), size=(n, *shape)) + 1e-300
    if kind == "empty":
        x = x * (generator.random(x.shape) < 0.4)
        x.reshape(n, -1)[:, 0] += 1e-3
    return x / x.reshape(n, -1).sum(1).reshape(n, *(1 for _ in shape))


def least_entropies(*marginals):
    """Least entropy of a coupling of each row of the marginals: concave, so that it is at a basic feasible solution."""
    shape = [m.shape[1] for m in marginals]
    cells = np.array(list(np.ndindex(*shape)))
    # A cell adds to one symbol of each marginal; the last symbol of each but the first follows from the sums.
    rows = [cells[:, axis] == i for axis, n in enumerate(shape) for i in range(n - (axis > 0))]
    wanted = np.concatenate([m[:, : m.shape[1] - (axis > 0)] for axis, m in enumerate(marginals)], 1)
    constraints = np.array(rows, float)
    bases = np.array(list(itertools.combinations(range(len(cells)), len(rows))))
    matrices = constraints[:, bases].transpose(1, 0, 2)
    matrices = matrices[np.abs(np.linalg.det(matrices)) > 0.5]
    masses = np.einsum("bij,nj->nbi", np.linalg.inv(matrices), wanted)
    values = -(masses * np.log(np.where(masses > 0, masses, 1))).sum(-1)
    return np.where((masses > -2e-15).all(-1), values, np.inf).min(1)  # but for rounding


@pytest.mark.parametrize(("p", "q", "atoms", "bits", "lower"), EXAMPLES)
def test_the_examples_of_the_specification(p, q, atoms, bits, lower):
    p, q = np.array(p), np.array(q)
    coupling = greedy_coupling(p, q)
    mass = coupling.mass[coupling.mass > 1e-15]
    np.testing.assert_allclose(mass, atoms, atol=1e-15)
    assert coupling.entropy / BIT == pytest.approx(bits, abs=5e-5)
    assert least_entropies(p[None], q[None])[0] == pytest.approx(coupling.entropy, abs=1e-12)
    meet = majorisation_meet(p, q)
    assert entropy(meet) / BIT == pytest.approx(lower, abs=5e-5)
    assert meet.shape == (max(len(p), len(q)),)
    assert meet.sum() == pytest.approx(1, abs=1e-15)
    assert np.all(np.diff(meet) <= 1e-15)


def test_the_meet_is_the_lesser_of_the_sums_of_the_largest():
    p, q = draws("dense", (4,), 1)[0], draws("dense", (6,), 1, seed=1)[0]
    sums = [np.sort(np.pad(x, (0, 6 - len(x))))[::-1].cumsum() for x in (p, q)]
    np.testing.assert_allclose(majorisation_meet(p, q).cumsum(), np.minimum(*sums), atol=1e-15)
    np.testing.assert_allclose(majorisation_meet(q, p), majorisation_meet(p, q), atol=1e-15)
    np.testing.assert_allclose(majorisation_meet(p, p), np.sort(p)[::-1], atol=1e-15)


@pytest.mark.parametrize("shape", [(2, 2), (2, 3), (3, 3), (3, 4)])
def test_the_optimum_is_between_the_meet_and_greedy_and_greedy_near_it(shape):
    with jax.enable_x64(True):
        for kind in KINDS:
            p, q = (draws(kind, (n,), 250, seed) for seed, n in enumerate(shape))
            least = least_entropies(p, q)
            meet, greedy = (np.asarray(jax.jit(jax.vmap(f))(p, q)) for f in (meet_entropy, greedy_entropy))
            assert np.all(meet <= least + 1e-12)
            assert np.all(least <= greedy + 1e-12)
            assert np.all(greedy <= least + GUARANTEE)
            assert np.all(greedy <= meet + 1 + 1e-9)


@pytest.mark.parametrize("shape", [(2, 2, 2), pytest.param((3, 2, 2), marks=pytest.mark.slow)])
def test_greedy_is_near_the_optimum_of_three_marginals(shape):
    given = [draws("dense", (n,), 100, seed) for seed, n in enumerate(shape)]
    least = least_entropies(*given)
    found = np.array([greedy_coupling(*row).entropy for row in zip(*given, strict=True)])
    assert np.all(found >= least - 1e-12)
    assert np.all(found <= least + GUARANTEE_OF_MANY)


@pytest.mark.parametrize("sizes", [(1, 4), (60, 40), (5, 4, 3, 2)])
@pytest.mark.parametrize(("dtype", "eps"), [(np.float64, 2.3e-16), (np.float32, 1.2e-7)])
def test_its_marginals_are_those_given(sizes, dtype, eps):
    for kind in KINDS:
        given = [draws(kind, (n,), 1, seed)[0].astype(dtype) for seed, n in enumerate(sizes)]
        coupling = greedy_coupling(*given)
        assert coupling.mass.dtype == dtype
        assert coupling.indices.dtype == np.int32
        assert coupling.indices.shape == (sum(sizes) - len(sizes) + 1, len(sizes))
        assert np.all(coupling.mass >= 0)
        table = coupling_table(coupling, sizes)
        assert entropy(table) == pytest.approx(coupling.entropy, abs=100 * eps)
        for axis, p in enumerate(given):
            others = tuple(i for i in range(len(sizes)) if i != axis)
            np.testing.assert_allclose(table.sum(others), p, atol=4 * eps)


def test_equal_marginals_are_coupled_on_the_diagonal():
    p = draws("dense", (6,), 1)[0]
    for marginals in ((p, p), (p, p, p)):
        coupling = greedy_coupling(*marginals)
        assert coupling.entropy == pytest.approx(entropy(p), abs=1e-14)
        table = coupling_table(coupling, (6,) * len(marginals))
        np.testing.assert_array_equal(table[(np.arange(6),) * len(marginals)], p / p.sum())


@pytest.mark.parametrize("shape", [(2, 2, 2), (4, 5, 3), (1, 3, 2)])
def test_no_joint_has_less_entropy_than_a_bound(shape):
    """None of the three pairs with the third variable, nor of two given the third, nor any greedy one."""
    with jax.enable_x64(True):
        both = jax.jit(jax.vmap(lambda p: (joint_entropy_bounds(*tables(p)), -xlogx(p).sum())))
        for kind in KINDS:
            bounds, truth = jax.tree.map(np.asarray, both(draws(kind, shape, 2000)))
            assert len(bounds) == 12
            for name, bound in bounds.items():
                assert np.all(bound <= truth + 1e-12), name


def test_bounds_given_a_variable_are_mostly_tighter_than_the_papers():
    with jax.enable_x64(True):
        bounds = jax.jit(jax.vmap(lambda p: joint_entropy_bounds(*tables(p))))(draws("sparse", (4, 4, 3), 1000))
    best = lambda prefix: np.max([value for name, value in bounds.items() if name.startswith(prefix)], 0)
    assert np.mean(best("conditional_") > best("meet_") + 1e-9) >= 0.7
    assert np.all(best("greedy_conditional_") >= best("conditional_") - 1e-12)


def test_greedy_less_its_guarantee_can_be_above_the_meet():
    with jax.enable_x64(True):
        p, q = jnp.array([0.35, 0.35, 0.3]), jnp.array([0.55, 0.25, 0.2])
        assert float(greedy_entropy(p, q) - meet_entropy(p, q)) > GUARANTEE


def test_the_segment_of_a_binary_table_is_searched_exactly():
    """bounds.md, C.4: S between 0 and .42281 nats over the joints of these pairwise marginals."""
    union = union_information(SEGMENT.sum(1), SEGMENT.sum(0)).pid
    least = float(union.redundancy + union.unique1 + union.unique2)
    assert least == pytest.approx(0.02014, abs=5e-6)
    best = maximal_information(SEGMENT, key=jax.random.key(0))
    assert best.information - least == pytest.approx(0.42281, abs=5e-6)
    # Both ends are as good: cells .2 and .1 of one sign and .15 and .05 of the other, moved by .05 or .15.
    np.testing.assert_allclose(np.sort(best.joint.ravel()), [0, 0, 0.05, 0.05, 0.2, 0.2, 0.25, 0.25], atol=1e-15)
    bound = max(joint_entropy_bounds(*tables(SEGMENT)).values())
    above = entropy(SEGMENT.sum(2)) + entropy(SEGMENT.sum((0, 1))) - bound - least
    assert best.information - least <= above <= 0.67301 + 5e-6


def test_binary_tables_have_the_better_end_of_their_segment():
    signs = np.array([1, -1, -1, 1, -1, 1, 1, -1]).reshape(2, 2, 2)
    with jax.enable_x64(True):
        drawn = draws("dense", (2, 2, 2), 200)
        found = jax.vmap(lambda p: maximal_information(p, key=jax.random.key(0), restarts=2))(drawn)
    for p, joint in zip(drawn, np.asarray(found.joint), strict=True):
        ends = [p + signs * p[signs < 0].min(), p - signs * p[signs > 0].min()]
        assert entropy(joint) == pytest.approx(min(map(entropy, ends)), abs=1e-13)


@pytest.mark.parametrize("shape", [(3, 4, 2), (1, 3, 2)])
def test_a_search_keeps_the_marginals_and_loses_no_information(shape):
    with jax.enable_x64(True):
        search = jax.jit(lambda p, key: maximal_information(p, key=key, restarts=3))
        bounds = jax.jit(lambda p: joint_entropy_bounds(*tables(p)))
        for kind in KINDS:
            p = draws(kind, shape, 1)[0]
            found = jax.tree.map(np.asarray, search(p, jax.random.key(1)))
            assert np.all(found.joint >= 0)
            for own, given in zip(tables(found.joint), tables(p), strict=True):
                np.testing.assert_allclose(own, given, atol=1e-12)
            fixed = entropy(p.sum(2)) + entropy(p.sum((0, 1)))
            assert found.information >= fixed - entropy(p) - 1e-12
            assert found.information == pytest.approx(fixed - entropy(found.joint), abs=1e-12)
            assert found.information <= fixed - max(bounds(p).values()) + 1e-12
            assert found.steps < 4 * p.size


@pytest.mark.parametrize("shape", [(2, 2, 4), pytest.param((3, 3, 2), marks=pytest.mark.slow)])
def test_a_search_mostly_ends_at_the_best_vertex(shape):
    """All vertices of the joints that share three pairwise marginals, where they can be counted."""
    axes = np.indices(shape).reshape(3, -1)
    rows = [
        (axes[a] == i) & (axes[b] == j)
        for a, b in itertools.combinations(range(3), 2)
        for i in range(shape[a])
        for j in range(shape[b])
    ]
    constraints = np.array(rows, float)
    constraints = np.linalg.svd(constraints)[2][: np.linalg.matrix_rank(constraints)]  # the same, none twice
    bases = np.array(list(itertools.combinations(range(axes.shape[1]), len(constraints))))
    matrices = constraints[:, bases].transpose(1, 0, 2)
    inverses = np.linalg.inv(matrices[np.abs(np.linalg.det(matrices)) > 1e-9])
    with jax.enable_x64(True):
        drawn = draws("dense", shape, 50)
        found = jax.vmap(lambda p: maximal_information(p, key=jax.random.key(0)))(drawn).joint
    masses = np.einsum("bij,nj->nbi", inverses, drawn.reshape(50, -1) @ constraints.T)
    values = -(masses * np.log(np.where(masses > 0, masses, 1))).sum(-1)
    least = np.where((masses > -1e-12).all(-1), values, np.inf).min(1)
    own = np.array([entropy(r) for r in np.asarray(found)])
    assert np.all(own >= least - 1e-9)
    assert np.mean(own <= least + 1e-9) >= 0.9


@pytest.mark.slow
def test_more_moves_than_are_looked_at_are_drawn(monkeypatch):
    monkeypatch.setattr("pidjax.couplings.minimum_entropy._MOST_MOVES", 50)
    p = draws("dense", (4, 4, 5), 1)[0]  # 360 cubes
    found = maximal_information(p, key=jax.random.key(0), restarts=2)
    assert entropy(found.joint) < entropy(p) - 0.1
    for own, given in zip(tables(found.joint), tables(p), strict=True):
        np.testing.assert_allclose(own, given, atol=1e-12)


def everything(p):
    p, key = p / p.sum(), jax.random.key(0)
    marginals = p.sum((1, 2)), p.sum((0, 2)), p.sum((0, 1))
    coupling = greedy_coupling(*marginals)
    return (
        joint_entropy_bounds(*tables(p)), majorisation_meet(*marginals[:2]), coupling,
        coupling_table(coupling, p.shape), maximal_information(p, key=key, restarts=2),
    )  # fmt: skip


@pytest.mark.slow
def test_jit_is_eager_and_vmap_the_loop(x64):
    drawn = jnp.asarray(draws("sparse", (2, 3, 2), 3))
    together = jax.jit(jax.vmap(everything))(drawn)
    for i, p in enumerate(drawn):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], together)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-13), one, everything(p))


@pytest.mark.slow
def test_float32_is_kept():
    leaves = jax.tree.leaves(everything(draws("dense", (2, 3, 2), 1)[0].astype(np.float32)))
    assert {str(leaf.dtype) for leaf in leaves} == {"float32", "int32"}
    assert {leaf.dtype for leaf in joint_entropy_bounds(*tables(SEGMENT)).values()} == {np.dtype(np.float64)}


def test_gradients_are_finite_and_those_of_differences(x64):
    """Also where symbols and conditions don't occur."""
    p = draws("dense", (2, 3, 2), 1)[0]
    value = lambda p: jnp.stack(list(joint_entropy_bounds(*tables(p / p.sum())).values()))
    jacobian = jax.jit(jax.jacobian(value))
    direction = np.random.default_rng(0).normal(size=p.shape) * p
    slope = (value(p + 1e-6 * direction) - value(p - 1e-6 * direction)) / 2e-6
    np.testing.assert_allclose((jacobian(p) * direction[None]).sum((1, 2, 3)), slope, atol=1e-7)
    p[1], p[:, 2], p[0, 0, 1] = 0, 0, 0
    assert jnp.isfinite(jacobian(p / p.sum())).all()
    p, q = jnp.array([0.5, 0.5, 0.0]), jnp.array([0.5, 0.25, 0.25])
    assert jnp.isfinite(jax.grad(lambda p: greedy_coupling(p / p.sum(), q).entropy)(p)).all()
    assert jnp.isfinite(jax.jacobian(lambda p: majorisation_meet(p / p.sum(), q))(p)).all()


def test_conditions_that_do_not_occur_have_no_entropy():
    for f in (meet_entropy, greedy_entropy):
        value, gradient = jax.value_and_grad(f, (0, 1))(jnp.zeros(2), jnp.zeros(3))
        assert value == 0
        assert all(np.all(np.asarray(g) == 0) for g in gradient)


def test_bad_input_is_refused_eagerly_and_nan_inside_jit():
    p, bad = np.array([0.5, 0.5]), np.array([0.5, 0.6])
    with pytest.raises(ValueError, match=r"marginal 1 sums to 1\.1"):
        greedy_coupling(p, bad)
    with pytest.raises(ValueError, match="1 marginals; expected two or more"):
        greedy_coupling(p)
    with pytest.raises(ValueError, match="q has rank 2"):
        majorisation_meet(p, SEGMENT[0])
    with pytest.raises(ValueError, match=r"shape \(2,\) has 1 axes, the coupling 2 marginals"):
        coupling_table(greedy_coupling(p, p), (2,))
    with pytest.raises(ValueError, match="joint has negative cells"):
        maximal_information(-SEGMENT, key=jax.random.key(0))
    with pytest.raises(ValueError, match="restarts is 0"):
        maximal_information(SEGMENT, key=jax.random.key(0), restarts=0)
    assert np.isnan(jax.jit(majorisation_meet)(p, bad)).all()
    assert np.isnan(jax.jit(greedy_coupling)(p, bad).entropy)
    found = jax.jit(lambda joint: maximal_information(joint, key=jax.random.key(0)))(-SEGMENT)
    assert np.isnan(found.information)
    assert np.isnan(found.joint).all()
