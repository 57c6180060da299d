"""No failure on banks of random problems; the routes agree; an independent conic solver agrees."""

import jax
import numpy as np
import pytest
from reference import batched, joints, routes

from pidjax import datasets

KINDS = datasets.KINDS


def worst_gap(p, method="interior_point", chunk=20_000):
    """The largest certified gap over a batch; NaN counts as infinite."""
    solve = batched(method)
    with jax.enable_x64(True):
        gaps = [np.asarray(solve(p[i : i + chunk]).gap) for i in range(0, len(p), chunk)]
    return np.max(np.concatenate(gaps))


@pytest.mark.parametrize("power", [1.0, 8.0])
def test_interior_point_certifies_small_problems(power):
    assert worst_gap(joints((2, 2, 2), 4000, power=power, seed=1)) <= 1e-9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "kind", "power", "count"),
    [
        ((2, 2, 2), "dense", 1.0, 100_000),
        ((2, 2, 2), "dense", 4.0, 20_000),
        ((2, 2, 2), "dense", 8.0, 20_000),
        ((4, 3, 3), "sparse", 1.0, 20_000),
        ((4, 3, 3), "sparse", 4.0, 20_000),
    ],
)
def test_interior_point_never_fails_on_small_problems(shape, kind, power, count):
    assert worst_gap(joints(shape, count, kind=kind, power=power, seed=2)) <= 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(5, 5, 3), (10, 10, 2), (20, 20, 5)])
def test_interior_point_never_fails_on_any_kind(shape, kind):
    assert worst_gap(joints(shape, 300, kind=kind, seed=3), chunk=100) <= 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_interior_point_never_fails_on_larger_problems(kind):
    assert worst_gap(joints((50, 50, 10), 5, kind=kind, seed=4), chunk=1) <= 1e-9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "kind", "power"),
    [
        ((2, 2, 2), "dense", 1.0),
        ((2, 2, 2), "dense", 4.0),
        ((2, 2, 2), "sparse", 1.0),
        ((2, 2, 4), "dense", 1.0),
        ((2, 2, 4), "sparse", 4.0),
        ((2, 2, 4), "near_deterministic", 1.0),
        ((5, 7, 2), "dense", 1.0),
        ((5, 7, 2), "sparse", 4.0),
        ((5, 7, 2), "noisy_copy", 1.0),
        ((20, 30, 2), "dense", 1.0),
    ],
)
def test_the_routes_agree(shape, kind, power):
    """On 10,000 tables in all. Their brackets overlap, and tol 1e-10 makes the values agree to 1e-9."""
    p = joints(shape, 1000, kind=kind, power=power, seed=5)
    with jax.enable_x64(True):
        solutions = [batched(method, 1e-10)(p) for method in routes(shape)]
        brackets = [(np.asarray(solution.lower), np.asarray(solution.upper)) for solution in solutions]
    for lower, upper in brackets:
        assert np.max(upper - lower) <= 1e-9
        for other_lower, other_upper in brackets:
            assert np.max(lower - other_upper) <= 0
            assert np.max(np.abs(lower - other_lower)) <= 1e-9


def ecos_union(p1, p2):
    """Union information by cvxpy and ECOS, None unless it reports an optimum. (All cells: positive marginals.)"""
    cvxpy = pytest.importorskip("cvxpy", reason="needs the benchmarks extra: pip install pidjax[benchmarks]")
    if "ECOS" not in cvxpy.installed_solvers():
        pytest.skip("needs ECOS: pip install pidjax[benchmarks]")
    (n1, k), n2 = p1.shape, p2.shape[0]
    q = [cvxpy.Variable((n1, n2), nonneg=True) for _ in range(k)]
    total = sum(q)
    objective = sum(cvxpy.sum(cvxpy.rel_entr(q_y, total)) for q_y in q)
    limits = [cvxpy.sum(q_y, axis=1) == p1[:, y] for y, q_y in enumerate(q)]
    limits += [cvxpy.sum(q_y, axis=0) == p2[:, y] for y, q_y in enumerate(q)]
    problem = cvxpy.Problem(cvxpy.Minimize(objective), limits)
    try:
        problem.solve(solver="ECOS")
    except cvxpy.SolverError:
        return None
    p_y = p1.sum(0)
    return problem.value - np.sum(p_y * np.log(p_y)) if problem.status == "optimal" else None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # cvxpy's own, on ECOS and on inaccurate solutions
@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((2, 2, 2), "dense"),
        ((4, 3, 3), "dense"),
        ((5, 5, 3), "noisy_copy"),
        ((5, 5, 3), "near_deterministic"),
        ((10, 10, 2), "dense"),
    ],
)
def test_ecos_lies_in_the_bracket(shape, kind):
    p = joints(shape, 10, kind=kind, seed=6)
    with jax.enable_x64(True):
        solution = jax.tree.map(np.asarray, batched("interior_point")(p))
    values = [ecos_union(q.sum(1), q.sum(0)) for q in p]
    checked = [i for i, value in enumerate(values) if value is not None]
    assert len(checked) >= 5
    for i in checked:
        assert solution.lower[i] - 1e-6 <= values[i] <= solution.upper[i] + 1e-6


def test_ties_up_to_rounding_keep_the_certificate_sound():
    """Independent modalities tie everywhere; with a rare label a bridge may lead backwards."""
    rng = np.random.default_rng(7)
    x1, x2 = rng.dirichlet(np.ones(2), (2, 4000))
    rare = 10.0 ** rng.uniform(-8, -1, 4000)
    y = np.stack([1 - rare, rare], 1)
    p = x1[:, :, None, None] * x2[:, None, :, None] * y[:, None, None, :]
    with jax.enable_x64(True):
        solution = jax.tree.map(np.asarray, batched("binary")(p / p.sum((1, 2, 3), keepdims=True)))
    assert (solution.lower <= 0).all()  # the truth
    assert (solution.upper >= 0).all()
    assert np.max(solution.upper - solution.lower) <= 1e-9


@pytest.mark.parametrize("k", [3, 5])
def test_two_binary_keeps_what_lies_below_roundoff(k):
    """Cells of exp^8: masses whose complement would vanish next to them."""
    assert worst_gap(joints((2, 2, k), 2000, power=8.0, seed=8), method="two_binary") <= 1e-9
