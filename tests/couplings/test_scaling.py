"""The scaling route: its bracket holds and closes, on tables and on posteriors of samples, in memory O(n1 n2)."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import logsumexp
from reference import batched, joints

from pidjax import datasets, union_information
from pidjax.couplings.certificate import coupling
from pidjax.couplings.scaling import scaling

TASKS = [name for name in datasets.TASKS if datasets.task(name).joint.size <= 100]
pytestmark = pytest.mark.usefixtures("x64")


@functools.cache
def solver(batch):
    """One function for all tests, so that each shape is compiled once."""
    solve = lambda p1, p2, tol, steps: scaling(p1, p2, tol=tol, steps=steps)
    return jax.jit(jax.vmap(solve, (0, 0, None, None)) if batch else solve)


def solved(p1, p2, *, tol=1e-4, steps=5_000, shape=None):
    """The result, and the bracket of the union information (scaling's own is of the union less H(Y)).

    ``shape`` pads with symbols and labels that never occur: what differs in shape shares a program.
    """
    if shape is not None:
        p1, p2 = (padded(p, n, shape[2]) for p, n in zip((p1, p2), shape[:2], strict=True))
    result = jax.tree.map(np.asarray, solver(p1.ndim == 3)(p1, p2, tol, steps))
    p_y = p1.sum(-2, dtype=np.float64)
    entropy = -np.sum(p_y * np.log(np.where(p_y > 0, p_y, 1.0)), -1)
    return result, result.lower + entropy, result.upper + entropy


def padded(p, n, k):
    return np.pad(p, ((0, n - p.shape[0]), (0, k - p.shape[1])))


def small(kind="dense", seed=1):
    """The tables of one problem; ``solved`` with ``shape=SMALL``, they share a program."""
    p = joints((5, 4, 3), 1, kind=kind, seed=seed)[0]
    return p.sum(1), p.sum(0)


SMALL, SAMPLES = (6, 6, 4), (300, 300, 3)


@functools.cache
def every_kind(shape):
    """A few problems of every kind, and the interior point method's solutions."""
    p = np.concatenate([joints(shape, 3, kind=kind, seed=1) for kind in datasets.KINDS])
    return p, jax.tree.map(np.asarray, batched("interior_point")(p))


def consistent(log_posterior, p_y):
    """``p(x, y)`` of n samples: posteriors with an offset a label, fitted by Newton so that their mean is p_y."""
    offset = np.zeros_like(p_y)
    for _ in range(30):
        f = np.exp(log_posterior + offset)
        f /= f.sum(1, keepdims=True)
        slope = np.diag(f.mean(0)) - f.T @ f / len(f)
        offset += np.linalg.lstsq(slope, p_y - f.mean(0), rcond=1e-12)[0]
    return f * (p_y / f.mean(0)) / len(f)


@functools.cache
def posteriors(name, n):
    """The two tables of n samples of a continuous task, from its exact posteriors."""
    task = datasets.gaussian_task(name)
    log1, log2, _ = (np.asarray(x, np.float64) for x in task.log_posteriors(task.sample(jax.random.key(0), n)))
    p_y = (np.exp(log1).mean(0) + np.exp(log2).mean(0)) / 2
    return consistent(log1, p_y / p_y.sum()), consistent(log2, p_y / p_y.sum())


@pytest.mark.parametrize(
    "shape", [(5, 4, 3)] + [pytest.param(s, marks=pytest.mark.slow) for s in ((2, 2, 2), (9, 12, 7))]
)
def test_the_bracket_closes_on_the_interior_point_methods_for_every_kind(shape):
    p, truth = every_kind(shape)
    _, lower, upper = solved(p.sum(2), p.sum(1))
    assert np.max(lower - truth.upper) <= 0
    assert np.max(truth.lower - upper) <= 0
    assert np.max(upper - lower) <= 1e-4


def test_float32_is_kept_and_brackets_the_truth():
    p, truth = every_kind((5, 4, 3))
    result, lower, upper = solved(p.sum(2).astype(np.float32), p.sum(1).astype(np.float32))
    assert {leaf.dtype for leaf in jax.tree.leaves(result)} == {np.dtype(np.float32), np.dtype(np.int32)}
    assert np.max(lower - truth.upper) <= 0
    assert np.max(truth.lower - upper) <= 0
    assert np.max(upper - lower) <= 1e-4


def test_the_bracket_contains_every_tasks_truth():
    tasks = [datasets.task(name) for name in TASKS]
    truth = np.array([task.truth.redundancy + task.truth.unique1 + task.truth.unique2 for task in tasks])
    n1, n2, k = np.max([task.joint.shape for task in tasks], 0)
    p1, p2 = (np.stack([padded(t.joint.sum(axis), n, k) for t in tasks]) for axis, n in ((1, n1), (0, n2)))
    _, lower, upper = solved(p1, p2, tol=1e-5)
    assert np.max(lower - truth) <= 1e-12
    assert np.max(truth - upper) <= 1e-12
    assert np.max(upper - lower) <= 1e-5


def test_samples_of_a_binary_target_agree_with_the_closed_form():
    p1, p2 = posteriors("g30", 300)
    truth = union_information(p1, p2, method="binary")
    _, lower, upper = solved(p1, p2, tol=1e-5, shape=SAMPLES)
    assert lower <= truth.upper
    assert truth.lower <= upper
    assert upper - lower <= 1e-5


def test_merging_samples_only_loses_information():
    tables = posteriors("c3", 300)
    cells = (p[np.argsort(p[:, 0])].reshape(30, 10, 3).sum(1) for p in tables)
    _, lower, upper = solved(*tables, shape=SAMPLES)
    _, merged_lower, merged_upper = solved(*cells, shape=SAMPLES)
    assert merged_lower <= upper
    assert max(upper - lower, merged_upper - merged_lower) <= 1e-4


def test_what_a_source_says_twice_it_says_once():
    p, _ = small()
    truth = np.sum(p * np.log(p / p.sum(1, keepdims=True) / p.sum(0)))
    result, lower, upper = solved(p, p, tol=1e-5, shape=SMALL)
    assert lower <= truth <= upper
    assert upper - lower <= 1e-5
    assert np.abs(result.potentials.a - result.potentials.b).max() <= 1e-12  # and neither source is preferred


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c3", "lsmi_10"])
def test_samples_agree_with_the_interior_point_method(name):
    p1, p2 = posteriors(name, 150)
    truth = union_information(p1, p2)
    _, lower, upper = solved(p1, p2, tol=1e-6)
    assert lower <= truth.upper
    assert truth.lower <= upper
    assert upper - lower <= 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tol"), [(np.float32, 4e-3), (np.float64, 1e-4)])
def test_a_thousand_samples_of_ten_classes_are_certified(dtype, tol):
    _, lower, upper = solved(*(p.astype(dtype) for p in posteriors("lsmi_10", 1000)), tol=tol, steps=1000)
    assert upper - lower <= tol


def test_swapping_the_modalities_keeps_the_union():
    p1, p2 = small()
    _, lower, upper = solved(p1, p2, shape=SMALL)
    _, swapped_lower, swapped_upper = solved(p2, p1, shape=SMALL)
    assert max(lower - swapped_upper, swapped_lower - upper) <= 0


def test_the_bracket_only_narrows_and_steps_bound_the_work():
    found = [solved(*small("noisy_copy"), tol=1e-12, steps=steps, shape=SMALL) for steps in (0, 1, 7, 20, 33, 100)]
    assert [result.steps for result, *_ in found] == [0, 1, 7, 20, 33, 100]
    assert np.isfinite([bracket for _, *bracket in found]).all()
    for (_, lower, upper), (_, later_lower, later_upper) in itertools.pairwise(found):
        assert lower <= later_lower <= later_upper <= upper


@pytest.mark.parametrize("kind", datasets.KINDS)
def test_the_certificate_is_what_it_says(kind):
    """Potentials are feasible and give lower; the coupling has the marginals and gives upper."""
    p1, p2 = (padded(p, 6, 4) for p in small(kind))
    result, *_ = solved(p1, p2)
    a, b = (np.where(p > 0, x, -np.inf) for p, x in zip((p1, p2), result.potentials, strict=True))
    assert np.max(logsumexp(a[:, None, :] + b[None, :, :], axis=2)) <= 1e-14
    assert abs(p1[p1 > 0] @ a[p1 > 0] + p2[p2 > 0] @ b[p2 > 0] - result.lower) <= 1e-12
    u, v, rho = result.primal
    q = np.asarray(coupling(p1, p2, rho[:, :, None] * u[:, None, :] * v[None, :, :]))
    assert max(np.abs(q.sum(1) - p1).max(), np.abs(q.sum(0) - p2).max()) <= 1e-14
    pair = np.broadcast_to(q.sum(2, keepdims=True), q.shape)
    value = np.sum(q[q > 0] * np.log(q[q > 0] / pair[q > 0]))
    assert result.lower - 1e-12 <= value <= result.upper + 1e-12


def test_a_batch_is_its_problems_and_what_never_occurs_changes_nothing():
    """Alone, each has empty symbols and an absent label besides; the sparse kinds have empty cells."""
    p, _ = every_kind((5, 4, 3))
    _, lower, upper = solved(p.sum(2), p.sum(1))
    for i, q in enumerate(p):
        result, alone_lower, alone_upper = solved(q.sum(1), q.sum(0), shape=SMALL)
        assert max(lower[i] - alone_upper, alone_lower - upper[i]) <= 1e-15
        assert result.upper - result.lower <= 1e-4
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result))


def largest_array(jaxpr):
    """The size of the largest array that any equation makes, in all programs within."""
    sizes = [0]
    for equation in jaxpr.eqns:
        sizes += [variable.aval.size for variable in equation.outvars]
        for value in jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "jaxpr") or hasattr(x, "eqns")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                sizes.append(largest_array(inner))
    return max(sizes)


def test_no_array_is_larger_than_a_matrix_of_pairs():
    n1, n2, k = 100, 90, 10
    tables = jax.ShapeDtypeStruct((n1, k), jnp.float64), jax.ShapeDtypeStruct((n2, k), jnp.float64)
    assert largest_array(jax.make_jaxpr(functools.partial(scaling, tol=1e-3))(*tables).jaxpr) <= n1 * n2 + 1
