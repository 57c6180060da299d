"""The lattice of two to four sources: its order, hand-made truths, the laws of the inversion."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pidjax.datasets import GATES
from pidjax.estimators.lsmi import lsmi, lsmi_from_joint
from pidjax.lattice import antichains, lattice_from_joint, node_name, pointwise_lattice

LOG2 = math.log(2)


def values(sources, n=7, seed=0):
    """Surprisals and informations of a joint's shape: any numbers will do for the laws."""
    draws = np.random.default_rng(seed).normal(size=(2, n, 2**sources - 1))
    return draws[0], draws[1]


def position(members):
    return sum(1 << (s - 1) for s in members) - 1


def of_bits(rule, sources):
    """The joint of fair bits and a function of them."""
    p = np.zeros((2,) * sources + (2,))
    for bits in itertools.product((0, 1), repeat=sources):
        p[(*bits, rule(*bits))] = 0.5**sources
    return p


def means(p):
    """The atoms of the joint by name."""
    lattice = lattice_from_joint(p)
    names = map(node_name, antichains(p.ndim - 1))
    return dict(zip(names, np.tensordot(p, lattice.atoms, p.ndim), strict=True))


def is_below(low, high):
    return all(any(set(a) <= set(b) for a in low) for b in high)


@pytest.mark.parametrize(("sources", "count"), [(2, 4), (3, 18), (4, 166)])  # Dedekind's numbers less two
def test_the_nodes_are_all_the_antichains_from_the_bottom_up(sources, count):
    nodes = antichains(sources)
    assert len(set(nodes)) == len(nodes) == count
    for node in nodes:
        assert not [pair for pair in itertools.permutations(node, 2) if set(pair[0]) <= set(pair[1])]
    assert nodes[0] == tuple((s + 1,) for s in range(sources))
    assert nodes[-1] == (tuple(range(1, sources + 1)),)
    for i, low in enumerate(nodes):
        assert not any(is_below(nodes[j], low) for j in range(i + 1, len(nodes)))


def test_the_nodes_of_three_sources_are_those_of_the_paper():
    # Williams & Beer 2010, figure 2.
    expected = "{1}{2}{3} {1}{2} {1}{3} {2}{3} {1}{23} {2}{13} {3}{12} {1} {2} {3} {12}{13}{23} {12}{13} {12}{23} "
    expected = {*(expected + "{13}{23} {12} {13} {23} {123}").split()}
    assert {"".join(sorted(node_name(node).replace("}{", "} {").split())) for node in antichains(3)} == {
        "".join(sorted(name.replace("}{", "} {").split())) for name in expected
    }


@pytest.mark.parametrize("name", GATES)
def test_two_sources_are_lsmi(name):
    p = GATES[name].joint
    lattice, pid = lattice_from_joint(p), lsmi_from_joint(p)
    # The same few sums of logarithms in another order.
    for node, atom in (("{1}{2}", "redundancy"), ("{1}", "unique1"), ("{2}", "unique2"), ("{12}", "synergy")):
        np.testing.assert_allclose(lattice[node], getattr(pid, atom), atol=1e-14)


def test_two_sources_are_lsmi_for_any_values():
    h, i = values(2, n=100)
    lattice, pid = pointwise_lattice(h, i, sources=2), lsmi(h[:, 0], h[:, 1], *i.T)
    np.testing.assert_allclose(lattice["{1}{2}"], pid.redundancy, atol=1e-14)
    np.testing.assert_allclose(lattice["{12}"], pid.synergy, atol=1e-14)


@pytest.mark.parametrize("sources", [2, 3, 4])
def test_parity_has_only_the_top_synergy(sources):
    atoms = means(of_bits(lambda *bits: sum(bits) % 2, sources))
    top = "{" + "".join(str(s + 1) for s in range(sources)) + "}"
    assert atoms.pop(top) == pytest.approx(LOG2, abs=1e-14)
    np.testing.assert_allclose(list(atoms.values()), 0.0, atol=1e-14)


@pytest.mark.parametrize("sources", [2, 3, 4])
def test_copies_have_only_the_bottom_redundancy(sources):
    p = np.zeros((2,) * (sources + 1))
    p[(0,) * (sources + 1)] = p[(1,) * (sources + 1)] = 0.5
    atoms = means(p)
    assert atoms.pop(node_name(antichains(sources)[0])) == pytest.approx(LOG2, abs=1e-14)
    np.testing.assert_allclose(list(atoms.values()), 0.0, atol=1e-14)


def test_conjunction_of_three_has_the_redundancies_made_by_hand():
    # All single surprisals are log 2, so a redundancy of singles is their best information: log 2 where y = 1,
    # log 8/7 where one of the bits is 0, log 6/7 where only bits outside of the node are.
    p = of_bits(lambda a, b, c: a & b & c, 3)
    lattice = lattice_from_joint(p)
    bottom = (p * lattice.redundancy("{1}{2}{3}")).sum()
    pair = (p * lattice.redundancy("{1}{2}")).sum()
    assert bottom == pytest.approx((LOG2 + 7 * math.log(8 / 7)) / 8, abs=1e-14)
    assert pair == pytest.approx((LOG2 + 6 * math.log(8 / 7) + math.log(6 / 7)) / 8, abs=1e-14)


@pytest.mark.parametrize("sources", [2, 3, 4])
def test_atoms_at_and_below_a_node_sum_to_its_redundancy_and_to_the_information_of_a_set(sources):
    h, i = values(sources)
    lattice, nodes = pointwise_lattice(h, i, sources=sources), antichains(sources)
    for m, node in enumerate(nodes):
        below = [is_below(other, node) for other in nodes]
        # Up to 166 atoms, each a sum of a few numbers of size one.
        np.testing.assert_allclose(lattice.atoms[:, below].sum(1), lattice.redundancies[:, m], atol=1e-11)
        columns = [position(members) for members in node]
        minima = h[:, columns].min(1) - (h - i)[:, columns].min(1)
        np.testing.assert_allclose(lattice.redundancies[:, m], minima, atol=1e-14)
        if len(node) == 1:
            np.testing.assert_allclose(lattice.redundancies[:, m], i[:, columns[0]], atol=1e-14)
    np.testing.assert_allclose(lattice.atoms.sum(1), i[:, -1], atol=1e-11)


@pytest.mark.parametrize(("sources", "shape"), [(3, (2, 3, 2, 2)), (4, (2,) * 5)])
def test_permuting_the_sources_permutes_the_atoms(sources, shape):
    p = np.random.default_rng(3).exponential(size=shape)
    p /= p.sum()
    order = (2, 0, 1, 3)[:sources]  # new source s is the old order[s]
    atoms, moved = means(p), means(p.transpose(*order, sources))
    for node in antichains(sources):
        old = tuple(sorted(tuple(sorted(order[s - 1] + 1 for s in members)) for members in node))
        assert moved[node_name(node)] == pytest.approx(atoms[node_name(old)], abs=1e-12)


def test_empty_cells_carry_nothing():
    p = of_bits(lambda a, b, c: a ^ b ^ c, 3)
    lattice = lattice_from_joint(p)
    assert (lattice.atoms[p == 0] == 0).all()
    assert (lattice.redundancies[p == 0] == 0).all()


def test_names_find_their_atoms_and_others_are_refused():
    lattice = pointwise_lattice(*values(3), sources=3)
    for m, node in enumerate(antichains(3)):
        np.testing.assert_array_equal(lattice[node_name(node)], lattice.atoms[:, m])
        np.testing.assert_array_equal(lattice.redundancy(node_name(node)), lattice.redundancies[:, m])
    np.testing.assert_array_equal(lattice["{32}{1}"], lattice["{1}{23}"])
    for name in ("{1}{12}", "{4}", "1", "", "{1}, {2}"):
        with pytest.raises(ValueError, match="no node of 3 sources"):
            lattice[name]


def test_jit_vmap_and_grad(x64):
    h, i = map(jnp.asarray, values(3))
    eager = pointwise_lattice(h, i, sources=3)
    mapped = jax.jit(jax.vmap(lambda h, i: pointwise_lattice(h, i, sources=3)))(h, i)
    np.testing.assert_allclose(mapped.atoms, eager.atoms, atol=1e-14)
    assert mapped.sources == 3
    p = jnp.asarray(np.random.default_rng(1).exponential(size=(2, 2, 2, 2)))
    p, move = p / p.sum(), jnp.asarray(np.random.default_rng(2).normal(size=p.shape))
    move -= move.mean()

    def top(step):
        q = p + step * move
        return (q * lattice_from_joint(q)["{123}"]).sum()

    # Central differences of step 1e-6: truncation 1e-12 and rounding 1e-10, times derivatives of order ten.
    assert abs(jax.grad(top)(0.0) - (top(1e-6) - top(-1e-6)) / 2e-6) <= 1e-7


def test_answers_in_kind():
    h, i = values(4)
    assert isinstance(pointwise_lattice(h, i, sources=4).atoms, np.ndarray)
    assert pointwise_lattice(h, i, sources=4).atoms.dtype == np.float64
    single = pointwise_lattice(jnp.asarray(h, jnp.float32), jnp.asarray(i, jnp.float32), sources=4)
    assert single.atoms.dtype == jnp.float32
    # 166 terms of order one with small integers before them.
    np.testing.assert_allclose(single.atoms, pointwise_lattice(h, i, sources=4).atoms, atol=1e-4)


def test_what_cannot_occur_is_nan_and_leaves_the_others_alone():
    h, i = values(2)
    expected = pointwise_lattice(h, i, sources=2).atoms
    i[0, 0] = -np.inf
    found = pointwise_lattice(h, i, sources=2)
    assert np.isnan(found.atoms[0]).all()
    assert np.isnan(found.redundancies[0]).all()
    np.testing.assert_array_equal(found.atoms[1:], expected[1:])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: antichains(5), "sources is 5"),
        (lambda: pointwise_lattice(*values(2), sources=1), "sources is 1"),
        (lambda: pointwise_lattice(*values(2), sources=3), r"\(\.\.\., 7\)"),
        (lambda: pointwise_lattice(values(2)[0], np.zeros((7, 4)), sources=2), "the shapes differ"),
        (lambda: pointwise_lattice(np.full(3, np.nan), np.zeros(3), sources=2), "h has 3 values that are NaN"),
        (lambda: pointwise_lattice(np.zeros(3), np.full(3, np.inf), sources=2), "i has 3 values that are NaN or inf"),
        (lambda: lattice_from_joint(np.full((2, 2), 0.25)), "rank 2"),
        (lambda: lattice_from_joint(np.ones((2, 2, 2))), "sums to 8"),
    ],
)
def test_what_is_wrong_is_refused_with_its_number(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_is_wrong_inside_jit_is_nan():
    assert jnp.isnan(jax.jit(lambda p: lattice_from_joint(p).atoms)(jnp.ones((2, 2, 2)))).all()
    h, i = map(jnp.asarray, values(2))
    found = jax.jit(lambda h: pointwise_lattice(h, i, sources=2).atoms)(h.at[1, 0].set(jnp.nan))
    assert jnp.isnan(found[1]).all()
    assert jnp.isfinite(found[2]).all()
