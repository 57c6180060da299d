"""Sinkhorn projections: marginals, closed forms, another implementation, gradients, extremes."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pidjax.couplings.sinkhorn import class_couplings

FORMS = ("scaling", "log")


def problem(seed=0, k=3, n1=5, n2=4, width=2.0):
    """Affinities and masses of which every class has the same on both sides."""
    rng = np.random.default_rng(seed)
    p1, p2 = rng.dirichlet(np.ones(n1), k).T, rng.dirichlet(np.ones(n2), k).T
    mass = rng.dirichlet(np.ones(k))[None]
    return width * rng.normal(size=(k, n1, n2)), p1 * mass, p2 * mass


@pytest.mark.parametrize("form", FORMS)
def test_converged_it_has_the_marginals_and_the_odds_ratios(form):
    """The two properties that make it the projection: nothing else has both."""
    affinity, p1, p2 = problem()
    q, residual = class_couplings(affinity, p1, p2, sweeps=100, form=form)
    np.testing.assert_allclose(q.sum(2).T, p1, atol=1e-12)
    np.testing.assert_allclose(q.sum(1).T, p2, atol=1e-12)
    assert residual < 1e-12
    odds = lambda x: x[:, 1:, 1:] + x[:, :1, :1] - x[:, 1:, :1] - x[:, :1, 1:]
    np.testing.assert_allclose(odds(np.log(q)), odds(affinity), atol=1e-9)


@pytest.mark.slow  # importing it takes longest
def test_it_is_the_sinkhorn_of_ott():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ott.geometry import geometry
        from ott.solvers import linear
    affinity, p1, p2 = (jnp.asarray(x, jnp.float32) for x in problem(k=1))
    with jax.numpy_rank_promotion("allow"):
        geom = geometry.Geometry(cost_matrix=-affinity[0], epsilon=1.0)
        theirs = linear.solve(geom, p1[:, 0], p2[:, 0], min_iterations=100, max_iterations=100).matrix
    for form in FORMS:
        np.testing.assert_allclose(class_couplings(affinity, p1, p2, sweeps=100, form=form).q[0], theirs, atol=1e-6)


def test_the_residual_is_what_the_marginals_miss():
    affinity, p1, p2 = problem(width=5.0)
    q, residual = class_couplings(affinity, p1, p2, sweeps=1)
    missed = max(np.abs(q.sum(2).T - p1).max(), np.abs(q.sum(1).T - p2).max())
    assert residual > 1e-3
    np.testing.assert_allclose(residual, missed, rtol=1e-6)


def test_unequal_masses_are_coupled_up_to_the_smaller():
    affinity, p1, p2 = problem()
    more = p1 * np.array([[2.0, 1.0, 3.0]])
    expected = class_couplings(affinity, p1, p2, sweeps=100).q
    np.testing.assert_allclose(class_couplings(affinity, more, p2, sweeps=100).q, expected, atol=1e-14)
    np.testing.assert_allclose(class_couplings(affinity, p1, 7 * p2, sweeps=100).q, expected, atol=1e-14)


def test_shifts_of_rows_and_columns_change_nothing():
    affinity, p1, p2 = problem()
    shifted = affinity + 100 * np.arange(5)[None, :, None] - 70 * np.arange(4)[None, None, :]
    np.testing.assert_allclose(
        class_couplings(shifted, p1, p2, sweeps=100).q, class_couplings(affinity, p1, p2, sweeps=100).q, atol=1e-12
    )


@pytest.mark.parametrize("width", [1.0, 400.0])
def test_auto_is_the_form_that_holds_the_range(width):
    affinity, p1, p2 = problem(width=width)
    best = class_couplings(affinity, p1, p2, form="log")
    found = class_couplings(affinity, p1, p2, form="auto")
    np.testing.assert_allclose(found.q, best.q, atol=1e-12)


@pytest.mark.parametrize("sweeps", [2, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize("form", FORMS)
def test_gradients_match_central_differences(form, sweeps, x64):
    """Of the sweeps made, converged or not; by affinities and by masses."""
    affinity, p1, p2 = map(jnp.asarray, problem(k=2, n1=3, n2=4))
    weight = jax.random.normal(jax.random.key(0), affinity.shape)

    @jax.jit
    def value(arguments):
        return (class_couplings(*arguments, sweeps=sweeps, form=form).q * weight).sum()

    arguments = (affinity, 1.5 * p1, p2)
    gradient = jax.grad(value)(arguments)
    for seed in range(3):
        keys = jax.random.split(jax.random.key(seed), 3)
        direction = tuple(jax.random.normal(key, x.shape) * x for key, x in zip(keys, arguments, strict=True))
        step = lambda h, d=direction: value(tuple(x + h * y for x, y in zip(arguments, d, strict=True)))
        slope = sum(jnp.vdot(g, d) for g, d in zip(gradient, direction, strict=True))
        np.testing.assert_allclose(slope, (step(1e-5) - step(-1e-5)) / 2e-5, rtol=1e-4, atol=1e-9)


@functools.partial(jax.jit, static_argnames="form")
def value_and_gradient(affinity, p1, p2, form):
    def value(*arguments):
        q = class_couplings(*arguments, form=form).q
        return (q**2).sum(), q

    return jax.value_and_grad(value, argnums=(0, 1, 2), has_aux=True)(affinity, p1, p2)


@pytest.mark.parametrize("form", [*FORMS, pytest.param("auto", marks=pytest.mark.slow)])
def test_extreme_affinities_and_empty_masses_stay_finite_in_float32(form):
    """Affinities of +-100, an empty row, an empty column, a class without columns, an absent class, a tiny mass."""
    affinity, p1, p2 = problem(k=4)
    affinity = 100 * np.sign(affinity)
    p1[2], p2[1] = 0, 0
    p2[:, 1], p1[:, 2], p2[:, 2], p1[0, 0] = 0, 0, 0, 1e-30
    (value, q), gradient = value_and_gradient(*(jnp.asarray(x, jnp.float32) for x in (affinity, p1, p2)), form)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((value, q, gradient)))
    assert not q[1:3].any()
    assert not q[:, 2].any()
    assert not q[:, :, 1].any()
    assert abs(q[3].sum() - min(p1[:, 3].sum(), p2[:, 3].sum())) < 1e-6


@pytest.mark.parametrize("form", FORMS)
def test_what_is_empty_might_as_well_be_absent(form):
    affinity, p1, p2 = problem()
    full = class_couplings(affinity, p1, p2, sweeps=100, form=form).q
    wider = np.pad(affinity, ((0, 1), (0, 2), (0, 1)), constant_values=3.0)
    padded = class_couplings(wider, np.pad(p1, ((0, 2), (0, 1))), np.pad(p2, ((0, 1), (0, 1))), sweeps=100, form=form).q
    np.testing.assert_allclose(padded[:3, :5, :4], full, atol=1e-8)
    assert padded.sum() == pytest.approx(full.sum(), abs=1e-12)


def test_vmap_is_the_loop():
    problems = [problem(seed) for seed in range(3)]
    stacked = [jnp.asarray(np.stack(x), jnp.float32) for x in zip(*problems, strict=True)]
    together = jax.vmap(lambda *x: class_couplings(*x).q)(*stacked)
    for found, (affinity, p1, p2) in zip(together, problems, strict=True):
        np.testing.assert_allclose(found, class_couplings(affinity, p1, p2).q, atol=1e-6)


def test_dtypes_are_kept():
    affinity, p1, p2 = problem()
    assert class_couplings(affinity, p1, p2).q.dtype == np.float64
    assert class_couplings(*(jnp.asarray(x, jnp.float32) for x in (affinity, p1, p2))).q.dtype == jnp.float32


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"affinity": np.zeros((2, 5, 4))}, "affinity has shape"),
        ({"affinity": np.full((3, 5, 4), np.inf)}, "60 NaN or infinite"),
        ({"p1": np.full((5, 3), -1.0)}, "masses run from -1"),
        ({"sweeps": 0}, "sweeps is 0"),
        ({"form": "kernel"}, "unknown form 'kernel'"),
    ],
)
def test_bad_input_is_named(change, cause):
    given = dict(zip(("affinity", "p1", "p2"), problem(), strict=True)) | change
    with pytest.raises(ValueError, match=cause):
        class_couplings(**given)
