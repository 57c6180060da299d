"""LSMI's algebra: the published tables in closed form, its laws, the shift, the switches."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pidjax import PID
from pidjax.datasets import GATES, gaussian_task
from pidjax.estimators.lsmi import constant_shift, lsmi, lsmi_from_joint, switches

L = math.log(2)
ATOMS = ("redundancy", "unique1", "unique2", "synergy")
AND = 0.75 * math.log(4 / 3)
HIDDEN = 0.75 * math.log(3 / 2)
HIDDEN_2 = L - 0.25 * math.log(4) - AND


def joint(rule, bits=3):
    """The joint of what a rule makes of fair bits."""
    cells = [rule(*draw) for draw in itertools.product((0, 1), repeat=bits)]
    p = np.zeros(np.max(cells, 0) + 1)
    np.add.at(p, tuple(np.transpose(cells)), 1 / len(cells))
    return p


def xor_not(a, b, s):
    return 1 - b if s else a ^ b


# What is decomposed, raw, and shifted: (R, U1, U2, S) of the tables, as the closed forms behind their digits.
TABLE = {
    "and": (GATES["and"].joint, (L / 4 + AND, -L / 4, -L / 4, 3 * L / 4), (AND, 0, 0, L / 2)),
    "or": (GATES["or"].joint, (L / 4 + AND, -L / 4, -L / 4, 3 * L / 4), (AND, 0, 0, L / 2)),
    "xor": (GATES["xor"].joint, (0, 0, 0, L), (0, 0, 0, L)),
    "unique1": (GATES["unique1"].joint, (L, 0, -L, L), (0, L, 0, 0)),
    "redundant": (GATES["redundant"].joint, (L, 0, 0, 0), (L, 0, 0, 0)),
    "copy": (GATES["copy"].joint, (L, 0, 0, L), (L, 0, 0, L)),
    "xor+not, selector in x2": (
        joint(lambda a, b, s: (a, 2 * s + b, xor_not(a, b, s))),
        (0, 0, L / 2, L / 2),
        (0, 0, L / 2, L / 2),
    ),
    "xor+not, selector in both": (
        joint(lambda a, b, s: (2 * s + a, 2 * s + b, xor_not(a, b, s))),
        (L / 2, -L / 2, 0, L),
        (0, 0, L / 2, L / 2),
    ),
    # y is not b three times in four: r = max(0, i2) is log 3/2 then, else 0.
    "xor+not, selector hidden": (
        joint(lambda a, b, s: (a, b, xor_not(a, b, s))),
        (HIDDEN, -HIDDEN, HIDDEN_2 - HIDDEN, L / 2 - HIDDEN_2 + HIDDEN),
        (0, 0, HIDDEN_2, L / 2 - HIDDEN_2),
    ),
}
# The digits as the specification gives them, so that a slip in the closed forms shows.
DIGITS = {
    "and": (0.3890, -0.1733, -0.1733, 0.5199, 0.2158, 0, 0, 0.3466),
    "or": (0.3890, -0.1733, -0.1733, 0.5199, 0.2158, 0, 0, 0.3466),
    "unique1": (0.6931, 0, -0.6931, 0.6931, 0, 0.6931, 0, 0),
    "xor+not, selector in both": (0.3466, -0.3466, 0, 0.6931, 0, 0, 0.3466, 0.3466),
    "xor+not, selector in x2": (0, 0, 0.3466, 0.3466, 0, 0, 0.3466, 0.3466),
    "xor+not, selector hidden": (0.3041, -0.3041, -0.1733, 0.5199, 0, 0, 0.1308, 0.2158),
}


def atoms(pid):
    return np.array([getattr(pid, name) for name in ATOMS])


def means(p):
    return PID(**{name: (p * getattr(lsmi_from_joint(p), name)).sum() for name in ATOMS})


def values(n=200, seed=0):
    return tuple(np.random.default_rng(seed).normal(size=(5, n)))


@pytest.mark.parametrize("name", TABLE)
def test_tables_of_the_paper(name):
    p, raw, shifted = TABLE[name]
    # Sums of at most 32 logarithms in float64.
    np.testing.assert_allclose(atoms(means(p)), raw, atol=1e-13)
    np.testing.assert_allclose(atoms(constant_shift(means(p))), shifted, atol=1e-13)


@pytest.mark.parametrize("name", DIGITS)
def test_tables_agree_with_the_printed_digits(name):
    _, raw, shifted = TABLE[name]
    np.testing.assert_allclose((*raw, *shifted), DIGITS[name], atol=5.1e-5)  # four digits, rounded


# Raw redundancy at x1 * 0.01, * 1, * 100 and what the shift makes of it, from exact densities and a million
# draws (peers.md, part II, "Algebra").
SCALES = (0.01, 1.0, 100.0)
CONTINUOUS = {
    "g0_norm_1.5": ((0.526, 0.177, 0.001), (0.0, 0.526, 0.0, 0.0)),
    "g30_norm_1.5": ((0.461, 0.356, 0.222), (0.222, 0.239, 0.0, 0.067)),
    "g45_norm_1.5": ((0.364, 0.447, 0.365), (0.364, 0.0, 0.0, 0.163)),
    "lsmi_2": ((0.5005, 0.569, 0.500), (0.500, 0.0, 0.0, 0.063)),
    "lsmi_10": ((1.340, 1.436, 1.342), (1.340, 0.0, 0.0, 0.259)),
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_raw_redundancy_slides_with_the_units_and_the_shift_clamps_it(name):
    task, n = gaussian_task(name), 40_000
    samples = task.sample(jax.random.key(7), n)
    k, d = task.joint.shape[2], task.means1.shape[1]
    i1, i2, i12 = (
        jnp.take_along_axis(posterior, samples.y[:, None], 1)[:, 0] + math.log(k)
        for posterior in task.log_posteriors(samples)
    )
    h1, h2 = (-density for density in task.log_densities(samples))
    raw, shifted = CONTINUOUS[name]
    for scale, redundancy in zip(SCALES, raw, strict=True):
        pid = lsmi(h1 + d * math.log(scale), h2, i1, i2, i12)
        # Five standard errors; the published mean has one of its own (a fifth of ours) and three digits.
        allowed = {atom: 6 * float(getattr(pid, atom).std()) / math.sqrt(n) + 0.001 for atom in ATOMS}
        assert float(pid.redundancy.mean()) == pytest.approx(redundancy, abs=allowed["redundancy"])
        moved = constant_shift(pid)
        for atom, expected in zip(ATOMS, shifted, strict=True):
            # Shifted means are differences of informations: the errors of two of them at most.
            slack = 6 * float(jnp.maximum(i1.std(), i12.std())) * 2 / math.sqrt(n) + 0.001
            assert float(getattr(moved, atom).mean()) == pytest.approx(expected, abs=slack)


def test_redundancy_is_at_least_the_information_of_the_less_surprising():
    h1, h2, i1, i2, i12 = values()
    found = lsmi(h1, h2, i1, i2, i12)
    assert (found.redundancy >= np.where(h1 < h2, i1, i2)).all()
    np.testing.assert_allclose(found.redundancy, np.minimum(h1, h2) - np.minimum(h1 - i1, h2 - i2), atol=1e-14)
    # A surprisal that is always the smaller leaves nothing but that modality's information.
    np.testing.assert_allclose(lsmi(h1 - 100, h2, i1, i2, i12).redundancy, i1, atol=1e-14)


def test_redundancy_stays_above_in_float32_however_large_the_surprisals():
    h1, h2, i1, i2, i12 = (jnp.asarray(x, jnp.float32) for x in values())
    found = lsmi(h1 + 5000, h2 + 5000, i1, i2, i12)
    assert (found.redundancy >= jnp.where(h1 + 5000 < h2 + 5000, i1, i2)).all()


def test_atoms_close_and_swapping_modalities_swaps_uniques():
    h1, h2, i1, i2, i12 = values()
    found, swapped = lsmi(h1, h2, i1, i2, i12), lsmi(h2, h1, i2, i1, i12)
    np.testing.assert_allclose([found.mi1, found.mi2, found.total], [i1, i2, i12], atol=1e-14)
    np.testing.assert_allclose(atoms(swapped), atoms(found)[[0, 2, 1, 3]], atol=1e-14)


def test_common_units_change_nothing():
    h1, h2, i1, i2, i12 = values()
    np.testing.assert_allclose(atoms(lsmi(h1 + 3, h2 + 3, i1, i2, i12)), atoms(lsmi(h1, h2, i1, i2, i12)), atol=1e-14)


def test_jit_and_vmap_agree_with_the_eager_call(x64):
    arguments = tuple(map(jnp.asarray, values()))
    eager = lsmi(*arguments)
    for other in (jax.jit(lsmi)(*arguments), jax.jit(jax.vmap(lsmi))(*arguments)):
        np.testing.assert_allclose(atoms(other), atoms(eager), atol=1e-15)
    shifted = jax.jit(constant_shift)(eager)
    np.testing.assert_allclose(atoms(shifted), atoms(constant_shift(eager)), atol=1e-14)
    many = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), eager)
    batch = jax.vmap(constant_shift)(many)
    np.testing.assert_allclose(batch.synergy[0], constant_shift(eager).synergy, atol=1e-14)
    np.testing.assert_allclose(jax.jit(switches)(*arguments[:4]), switches(*arguments[:4]), atol=1e-15)


def test_answers_in_kind():
    assert atoms(lsmi(*values())).dtype == np.float64
    assert isinstance(lsmi(*values()).synergy, np.ndarray)
    single = lsmi(*(jnp.asarray(x, jnp.float32) for x in values()))
    assert single.redundancy.dtype == jnp.float32
    np.testing.assert_allclose(atoms(single), atoms(lsmi(*values())), atol=5e-6)  # a few sums of numbers below 5
    assert isinstance(lsmi_from_joint(GATES["and"].joint).synergy, np.ndarray)
    assert isinstance(constant_shift(single).synergy, jax.Array)
    assert isinstance(switches(*values()[:4]).plus, np.float64)


def test_any_shape_serves():
    flat = lsmi(*values())
    square = lsmi(*(x.reshape(10, 20) for x in values()))
    np.testing.assert_array_equal(square.synergy, flat.synergy.reshape(10, 20))
    assert lsmi(*(x[0] for x in values())).synergy == flat.synergy[0]


def test_gradients_follow_the_minima():
    # r = i1 - (h1 - h2) here: modality 2 surprises least, and given y modality 1 does.
    gradient = jax.grad(lambda v: lsmi(*v).redundancy)(jnp.array([2.0, 1.5, 1.0, 0.2, 1.3]))
    np.testing.assert_allclose(gradient, [-1, 1, 1, 0, 0], atol=1e-6)


def test_gradient_of_a_joint(x64):
    p = jnp.asarray(np.random.default_rng(1).exponential(size=(2, 3, 2)))
    p, move = p / p.sum(), jnp.asarray(np.random.default_rng(2).normal(size=p.shape))
    move -= move.mean()

    def redundancy(step):
        q = p + step * move
        return (q * lsmi_from_joint(q).redundancy).sum()

    # Central differences of step 1e-6: truncation 1e-12 and rounding 1e-10, times derivatives of order ten.
    assert abs(jax.grad(redundancy)(0.0) - (redundancy(1e-6) - redundancy(-1e-6)) / 2e-6) <= 1e-7


def test_gradient_is_finite_where_cells_are_empty():
    gradient = jax.grad(lambda p: (p * lsmi_from_joint(p).synergy).sum())(jnp.asarray(GATES["and"].joint))
    assert jnp.isfinite(gradient).all()


def test_what_cannot_occur_is_nan_and_leaves_the_others_alone():
    h1, h2, i1, i2, i12 = values()
    expected = atoms(lsmi(h1, h2, i1, i2, i12))
    i1[0] = i12[0] = -np.inf
    h2[1] = np.inf
    found = atoms(lsmi(h1, h2, i1, i2, i12))
    assert np.isnan(found[:, :2]).all()
    np.testing.assert_array_equal(found[:, 2:], expected[:, 2:])


def test_shift_keeps_the_informations_and_is_one_constant():
    raw = lsmi(*values())
    shifted = constant_shift(raw)
    for name in ("mi1", "mi2", "total"):
        np.testing.assert_allclose(getattr(shifted, name), getattr(raw, name), atol=1e-13)
    moved = atoms(shifted) - atoms(raw)
    signs = np.array([[1], [-1], [-1], [1]])
    np.testing.assert_allclose(moved * signs, np.full_like(moved, moved[0, 0]), atol=1e-14)
    of_means = constant_shift(PID(**{name: getattr(raw, name).mean() for name in ATOMS}))
    np.testing.assert_allclose(atoms(shifted).mean(1), atoms(of_means), atol=1e-14)


@pytest.mark.parametrize(
    ("raw", "shifted"),
    [
        ((0.1, 0.2, 0.3, 0.4), (0.1, 0.2, 0.3, 0.4)),
        ((-0.1, 0.2, 0.3, 0.4), (0.0, 0.1, 0.2, 0.5)),
        ((0.2, 0.1, 0.3, -0.2), (0.4, -0.1, 0.1, 0.0)),  # one sign mended, another broken: as published
        ((0.1, -0.3, 0.3, 0.2), (-0.2, 0.0, 0.6, -0.1)),
        ((-0.1, -0.3, 0.3, 0.2), (0.0, -0.4, 0.2, 0.3)),  # the first branch wins
        ((0.5, -0.1, -0.2, 0.4), (0.3, 0.1, 0.0, 0.2)),
    ],
)
def test_shift_is_one_pass_of_the_published_rule(raw, shifted):
    found = constant_shift(PID(**dict(zip(ATOMS, raw, strict=True))))
    np.testing.assert_allclose(atoms(found), shifted, atol=1e-15)


def test_weights_are_repetitions():
    arrays = tuple(x[:6] for x in values())
    count = np.array([2, 0, 1, 3, 0, 1])
    raw, repeated = lsmi(*arrays), lsmi(*(np.repeat(x, count) for x in arrays))
    weighted = atoms(constant_shift(raw, weight=count))
    np.testing.assert_allclose(np.repeat(weighted, count, axis=1), atoms(constant_shift(repeated)), atol=1e-14)
    np.testing.assert_allclose(
        switches(*arrays[:4], weight=count), switches(*(np.repeat(x, count) for x in arrays[:4])), atol=1e-15
    )


def test_a_joint_is_the_weight_of_its_cells():
    p = GATES["unique1"].joint
    shifted = constant_shift(lsmi_from_joint(p), weight=p)
    np.testing.assert_allclose((p * atoms(shifted)).sum((1, 2, 3)), (0, L, 0, 0), atol=1e-14)


def test_values_without_weight_may_be_nan():
    h1, h2, i1, i2, i12 = values()
    i1[0] = i12[0] = -np.inf
    shifted = constant_shift(lsmi(h1, h2, i1, i2, i12), weight=np.arange(200) > 0)
    expected = constant_shift(lsmi(*(x[1:] for x in (h1, h2, i1, i2, i12))))
    np.testing.assert_allclose(atoms(shifted)[:, 1:], atoms(expected), atol=1e-14)


def test_switches_count_by_hand():
    h1, h2 = np.array([1.0, 1.0, 3.0, 2.0]), np.array([2.0, 2.0, 2.0, 2.0])
    i1, i2 = np.array([0.0, 0.0, 2.0, 0.5]), np.array([0.0, 1.5, 0.0, 0.0])
    # Minima before: 1, 1, 2, tie; after (1, 1, 1, 1.5 against 2, .5, 2, 2): 1, 2, 1, 1.
    assert switches(h1, h2, i1, i2) == (2.5 / 4, 3 / 4, (1 + 1 + 0.5) / 4)
    plus, minus, crossed = switches(h2, h1, i2, i1)
    assert (1 - plus, 1 - minus, crossed) == switches(h1, h2, i1, i2)
    assert switches(h1 - 100, h2, i1, i2) == (1, 1, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lsmi(np.zeros(3), *np.zeros((4, 2))), r"the shapes differ \(h1 \(3,\)"),
        (lambda: lsmi(0.0, np.nan, 0.0, 0.0, 0.0), "h2 has 1 values that are NaN"),
        (lambda: lsmi(-np.inf, 0.0, 0.0, 0.0, 0.0), "h1 has 1 values that are NaN or -inf"),
        (lambda: lsmi(0.0, 0.0, 0.0, 0.0, np.inf), "i12 has 1 values that are NaN or inf"),
        (lambda: switches(0.0, 0.0, np.nan, 0.0), "i1 has 1 values"),
        (lambda: switches(*values()[:4], weight=np.ones(3)), r"weight has shape \(3,\); expected \(200,\)"),
        (lambda: switches(*values()[:4], weight=np.zeros(200)), "weight runs from 0 to 0"),
        (lambda: constant_shift(lsmi(*values()), weight=-np.ones(200)), "weight runs from -1 to -1"),
        (lambda: switches(*np.zeros((4, 0))), "no samples"),
        (lambda: constant_shift(PID(redundancy=np.nan, unique1=0.0, unique2=0.0, synergy=0.0)), "add up to nan"),
        (
            lambda: constant_shift(PID(redundancy=np.zeros(2), unique1=0.0, unique2=0.0, synergy=0.0)),
            "expected one shape",
        ),
        (lambda: lsmi_from_joint(np.ones((2, 2, 2))), "sums to 8"),
    ],
)
def test_what_is_wrong_is_refused_with_its_number(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_is_wrong_inside_jit_is_nan():
    h1, h2, i1, i2, i12 = map(jnp.asarray, values())
    found = jax.jit(lsmi)(h1.at[0].set(jnp.nan), h2, i1, i2, i12.at[1].set(jnp.inf))
    assert jnp.isnan(atoms(found)[:, :2]).all()
    assert jnp.isfinite(atoms(found)[:, 2:]).all()
    assert jnp.isnan(atoms(jax.jit(constant_shift)(found))).all()
    assert jnp.isnan(jnp.stack(jax.jit(switches)(h1.at[0].set(jnp.nan), h2, i1, i2))).any()
    good = lsmi(h1, h2, i1, i2, i12)
    assert jnp.isnan(atoms(jax.jit(lambda w: constant_shift(good, weight=w))(-jnp.ones(200)))).all()
    assert jnp.isnan(atoms(jax.jit(lsmi_from_joint)(jnp.ones((2, 2, 2))))).all()
