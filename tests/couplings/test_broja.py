"""The public solver: exact truths, laws, gradients, composition with jax's transformations."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import ATOMS, alternating_sinkhorn, batched, joint, joints, routes

import pidjax
from pidjax import broja, datasets, union_information
from pidjax.pid import PID

SMALL_TASKS = [name for name in datasets.TASKS if datasets.task(name).joint.size <= 100]
LARGE_TASKS = [name for name in datasets.TASKS if name not in SMALL_TASKS]


def distance(x, y):
    return max(float(np.max(np.abs(getattr(x, atom) - getattr(y, atom)))) for atom in ATOMS)


@pytest.mark.parametrize("name", SMALL_TASKS)
def test_every_task_is_solved_exactly_by_every_route(name):
    task = datasets.task(name)
    for method in ("auto", *routes(task.joint.shape)):
        solution = broja(task.joint, tol=1e-10, method=method)
        assert solution.gap <= 1e-10
        assert distance(solution.pid, task.truth) <= 1e-9, method


@pytest.mark.parametrize(
    "name", [name if name == "and^3" else pytest.param(name, marks=pytest.mark.slow) for name in LARGE_TASKS]
)
def test_every_product_is_solved_exactly(name):
    task = datasets.task(name)
    solution = broja(task.joint, tol=5e-10)
    assert solution.gap <= 5e-10
    assert distance(solution.pid, task.truth) <= 1e-9


def late_fusion(shape, seed):
    """``q = r(x1,x2) u(x1,y) v(x2,y)`` with ``sum_y u v = 1`` everywhere: optimal for its own marginals.

    The rows of v are on the simplex; those of u are one plus something orthogonal to all of them (k > n2).
    """
    rng = np.random.default_rng(seed)
    n1, n2, k = shape
    v = rng.dirichlet(np.ones(k), size=n2)
    null = np.linalg.svd(v)[2][n2:]
    u = rng.normal(size=(n1, k - n2)) @ null
    u = 1 + 0.8 * u / np.abs(u).max()
    r = rng.exponential(size=(n1, n2))
    return (r / r.sum())[:, :, None] * u[:, None, :] * v[None, :, :]


@pytest.mark.parametrize(("shape", "seed"), [((2, 2, 3), 1), ((5, 4, 6), 3)])
def test_late_fusion_models_have_no_synergy(shape, seed):
    q = late_fusion(shape, seed)
    for method in routes(shape):
        solution = broja(q, method=method)
        assert abs(solution.pid.synergy) <= 1e-9
        assert solution.lower <= pidjax.informations(q).x1x2 <= solution.upper


@pytest.mark.parametrize(("shape", "seed"), [((2, 2, 3), 1), ((5, 4, 6), 3)])
def test_alternating_sinkhorn_agrees(shape, seed):
    q = late_fusion(shape, seed)  # an interior optimum, where the reference converges linearly
    solution = broja(q)
    assert abs(alternating_sinkhorn(q.sum(1), q.sum(0)) - solution.lower) <= 1e-6


@pytest.mark.parametrize("shape", [(2, 2, 4), (6, 5, 2), (5, 4, 3)])
def test_the_union_needs_the_pairwise_marginals_alone(shape):
    p = joint(shape, 3)
    full, pair = broja(p), union_information(p.sum(1), p.sum(0))
    assert abs(full.lower - pair.lower) <= 1e-9
    assert np.isnan(pair.pid.synergy)
    for atom in ATOMS[:3]:
        assert abs(getattr(full.pid, atom) - getattr(pair.pid, atom)) <= 1e-9
    assert np.isnan(pair.pointwise.synergy).all()
    assert np.isfinite(pair.pointwise.redundancy).all()


@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 2, 4), (5, 3, 2), (12, 12, 7)])
@pytest.mark.parametrize("kind", datasets.KINDS)
def test_pointwise_values_average_to_the_pid(shape, kind):
    p = joints(shape, 1, kind=kind, seed=5)[0]
    for method in routes(shape):
        solution = broja(p, method=method)
        pointwise = solution.pointwise
        assert pointwise.synergy.shape == p.shape
        mean = jax.tree.map(lambda leaf, p=solution.joint: np.sum(p * leaf), pointwise)
        assert distance(mean, solution.pid) <= 1e-11, method


@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 2, 4), (5, 3, 2), (12, 12, 7)])
@pytest.mark.parametrize("kind", datasets.KINDS)
def test_the_certificate_is_what_it_says(shape, kind):
    """Potentials are feasible and give lower; the coupling has the marginals and gives upper."""
    p = joints(shape, 1, kind=kind, seed=6)[0]
    for method in routes(shape):
        solution = broja(p, method=method)
        a, b = solution.potentials
        occurs = (p.sum((1, 2)) > 0)[:, None] & (p.sum((0, 2)) > 0)[None, :]
        total = np.exp(a[:, None, :] + b[None, :, :]).sum(2)
        assert np.max(total[occurs]) <= 1 + 1e-14
        p1, p2 = solution.marginals
        entropy = float(pidjax.entropy(p.sum((0, 1))))
        dual = p1[p1 > 0] @ a[p1 > 0] + p2[p2 > 0] @ b[p2 > 0] + entropy
        assert abs(dual - solution.lower) <= 1e-12
        q = solution.coupling
        assert q.min() >= 0
        assert max(np.abs(q.sum(1) - p1).max(), np.abs(q.sum(0) - p2).max()) <= 1e-14
        attained = pidjax.informations(q).x1x2
        assert solution.lower - 1e-12 <= attained <= solution.upper + 1e-12
        assert solution.gap == solution.upper - solution.lower


@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 2, 4), (5, 4, 3)])
def test_swapping_the_modalities_swaps_everything(shape):
    p = joint(shape, 7)
    for method in routes(shape):
        one, two = broja(p, tol=1e-12, method=method), broja(p.transpose(1, 0, 2), tol=1e-12, method=method)
        assert abs(one.pid.unique1 - two.pid.unique2) <= 1e-11
        assert abs(one.pid.unique2 - two.pid.unique1) <= 1e-11
        # Potentials are determined to about the square root of the gap in the flattest directions.
        np.testing.assert_allclose(one.potentials.a, two.potentials.b, atol=1e-6)
        np.testing.assert_allclose(one.pointwise.unique1, two.pointwise.unique2.transpose(1, 0, 2), atol=1e-6)
        np.testing.assert_allclose(one.pointwise.synergy, two.pointwise.synergy.transpose(1, 0, 2), atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 2, 2), (4, 4, 3)])
def test_equal_channels_get_the_symmetric_potentials(shape):
    """Two conditionally independent sources with one channel: the optimum leaves the split of it free."""
    channel = joint(shape[1:], 8)
    p = channel[:, None, :] * channel[None, :, :] / channel.sum(0)
    for method in routes(shape):
        solution = broja(p / p.sum(), tol=1e-11, method=method)
        pointwise = solution.pointwise
        np.testing.assert_allclose(pointwise.unique1, pointwise.unique2.transpose(1, 0, 2), atol=1e-5)
        np.testing.assert_allclose(solution.potentials.a, solution.potentials.b, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "method"), [((3, 4, 2), "binary"), ((2, 2, 3), "two_binary"), ((3, 4, 3), "interior_point")]
)
def test_gradients_match_central_differences(shape, method, x64):
    """On 50 random p, along a random direction that keeps p a pmf."""
    p = (joints(shape, 50, seed=9) + 0.1 / np.prod(shape)) / 1.1
    direction = jax.random.normal(jax.random.key(10), p.shape)
    direction = direction * p  # stays inside
    direction = direction - p * jnp.sum(direction, (1, 2, 3), keepdims=True)

    def atoms(p):
        pid = broja(p, tol=1e-12, method=method).pid
        return jnp.stack([getattr(pid, atom) for atom in ATOMS])

    # The error of a central difference is step^2 / 6 times a third derivative plus gap / step.
    step = 3e-5
    batch = jax.jit(jax.vmap(atoms))
    numeric = (batch(p + step * direction) - batch(p - step * direction)) / (2 * step)
    both = jax.jit(jax.vmap(lambda p, d: (jax.jacrev(atoms)(p), jax.jvp(atoms, (p,), (d,))[1])))
    jacobian, forward = both(p, direction)
    exact = jnp.einsum("bsijk,bijk->bs", jacobian, direction)
    np.testing.assert_allclose(exact, numeric, atol=1e-6)
    np.testing.assert_allclose(forward, exact, atol=1e-12)


def test_the_gradient_is_the_pointwise_value_less_its_mean(x64):
    p = jnp.asarray(joint((5, 4, 3), 11))
    solution = broja(p)
    for atom, gradient in vars(jax.jit(jax.jacrev(lambda p: broja(p).pid))(p)).items():
        expected = getattr(solution.pointwise, atom) - getattr(solution.pid, atom)
        np.testing.assert_allclose(gradient, expected, atol=1e-12)


def test_empty_cells_get_no_gradient(x64):
    p = jnp.asarray(datasets.task("and").joint)
    gradient = jax.grad(lambda p: broja(p).pid.synergy)(p)
    assert (gradient[p == 0] == 0).all()
    assert jnp.isfinite(gradient).all()


def test_a_second_derivative_is_refused(x64):
    p = jnp.asarray(joint((2, 2, 2), 11))
    with pytest.raises(NotImplementedError, match="second derivative"):
        jax.hessian(lambda p: broja(p).pid.synergy)(p)


@pytest.mark.parametrize("shape", [(2, 2, 4), (5, 4, 3)])
def test_jit_vmap_and_grad_compose(shape, x64):
    p = jnp.asarray(joints(shape, 6, seed=12))
    batch = batched("auto")(p)
    gradient = jax.jit(jax.vmap(jax.grad(lambda p: broja(p).pid.redundancy)))(p)
    assert gradient.shape == p.shape
    for i in range(6):
        one = broja(np.asarray(p[i]))
        assert abs(batch.lower[i] - one.lower) <= 1e-9
        np.testing.assert_allclose(gradient[i], one.pointwise.redundancy - one.pid.redundancy, atol=1e-5)
    assert batch.gap.shape == (6,)
    assert batch.pointwise.synergy.shape == p.shape
    assert batch.coupling.shape == p.shape
    np.testing.assert_allclose(batch.coupling.sum(2), p.sum(2), atol=1e-14)


def test_a_second_call_compiles_nothing():
    p, q = joint((5, 4, 3), 13), joint((6, 3, 3), 14)  # one bucket: (6, 4, 3)
    broja(p, tol=1e-8)
    union_information(p.sum(1), p.sum(0))
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(lambda name, *_, **__: compiled.append(name))
    try:
        broja(q, tol=1e-9)
        union_information(q.sum(1), q.sum(0))
    finally:
        jax.monitoring.clear_event_listeners()
    assert not [name for name in compiled if "compile" in name]


def test_one_trace_serves_every_value():
    @jax.jit
    @chex.assert_max_traces(n=1)
    def synergy(p):
        return broja(p).pid.synergy

    for seed in range(3):
        synergy(jnp.asarray(joint((3, 3, 3), seed)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", datasets.KINDS)
def test_a_stopped_solve_still_knows_what_either_modality_says(kind, dtype):
    """With a tolerance that stops at once: union >= max(I1, I2), so no unique information below rounding."""
    p = joints((5, 4, 3), 16, kind=kind, seed=21).astype(dtype)
    with jax.enable_x64(True):
        solution = jax.tree.map(np.asarray, batched("interior_point", 0.1)(p))
    rounding = 200 * np.finfo(dtype).eps  # what the certificate allows for: dozens of units of sums of order one
    assert min(solution.pid.unique1.min(), solution.pid.unique2.min()) >= -rounding
    assert (solution.lower <= solution.upper).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2, 2, 2), (5, 4, 3)])
def test_dtypes_are_kept_and_the_flag_untouched(dtype, shape):
    flag = jax.config.jax_enable_x64
    for method in routes(shape):
        solution = broja(joint(shape, 15).astype(dtype), method=method)
        leaves = jax.tree.leaves((solution, solution.pointwise, solution.coupling, solution.gap))
        assert {str(leaf.dtype) for leaf in leaves} <= {np.dtype(dtype).name, "int32"}
    assert jax.config.jax_enable_x64 == flag
    assert isinstance(broja(joint(shape)).lower, np.float64)  # NumPy in, NumPy out
    assert isinstance(broja(jnp.asarray(joint(shape))).lower, jax.Array)


@pytest.mark.parametrize("shape", [(2, 2, 2), (5, 4, 3)])
@pytest.mark.parametrize("kind", ["dense", "sparse", "noisy_copy"])
def test_float32_brackets_the_float64_truth(shape, kind):
    p = joints(shape, 200, kind=kind, seed=16).astype(np.float32)
    exact = p.astype(np.float64)
    exact /= exact.sum((1, 2, 3), keepdims=True)
    with jax.enable_x64(True):
        truth = batched("auto", 1e-10)(exact)
        below, above = np.asarray(truth.lower), np.asarray(truth.upper)
    for method in routes(shape):
        narrow = batched(method)(p)
        lower, upper = np.asarray(narrow.lower, np.float64), np.asarray(narrow.upper, np.float64)
        assert (lower <= above).all()
        assert (below <= upper).all()
        assert np.median(narrow.gap) <= 1e-4  # honest, and still worth having


def test_empty_symbols_change_nothing():
    for shape in [(2, 2, 2), (4, 4, 3)]:
        p = joint(shape, 17)
        wide = np.zeros(tuple(n + 3 for n in shape))
        wide[np.ix_(*(np.sort(np.random.default_rng(18).permutation(n + 3)[:n]) for n in shape))] = p
        assert distance(broja(p).pid, broja(wide).pid) <= 2e-9  # two certified gaps


def test_label_marginals_are_reconciled_within_rounding():
    p = joint((5, 4, 3), 19)
    p1, p2 = p.sum(1), p.sum(0)
    p2 = p2 * (1 + 5e-7 * np.array([1.0, -1.0, 0.0]))
    assert abs(union_information(p1, p2 / p2.sum()).lower - broja(p).lower) <= 1e-5


@pytest.mark.parametrize("n", [1, 5])
def test_one_symbol_or_one_label_says_nothing(n):
    p = np.zeros((1, n, 3))
    p[0] = joint((n, 3), 20)
    solution = broja(p)
    assert abs(solution.pid.redundancy) + abs(solution.pid.unique1) + abs(solution.pid.synergy) <= 1e-9
    assert distance(broja(joint((n, 3, 1))).pid, PID(redundancy=0, unique1=0, unique2=0, synergy=0)) <= 1e-9


@pytest.mark.slow
def test_a_million_symbols_in_each_modality_fit_in_a_gigabyte():
    """Measured in a process of its own, by its own address space (ru_maxrss would remember the parent's)."""
    import subprocess
    import sys

    script = """
import numpy as np, pidjax
rng = np.random.default_rng(0); n = 10**6
t1, t2 = rng.beta(2, 2, n), rng.beta(3, 3, n)
t2 = np.clip(t2 - t2.mean() + t1.mean(), 1e-9, 1 - 1e-9); t2 *= t1.mean() / t2.mean()
make = lambda t: np.stack([1 - t, t], 1) / n
s = pidjax.union_information(make(t1), make(t2))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(s.gap, int(peak.split()[1]) / 1024)
"""
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert float(out[0]) <= 1e-9
    assert float(out[1]) <= 1024
