"""The gates' closed forms, checked without a solver: accounting laws, and a bracket of the union."""

import math

import numpy as np
import pytest

from pidjax.datasets import GATES
from pidjax.info import informations

EXACT = 1e-12  # float64 sums of at most 64 terms of order one
L = math.log(2)


def in_order_coupling(p):
    """Pair the symbols of x1 and x2 in order, within each class (the north-west corner rule)."""
    q = np.zeros_like(p)
    for y in range(p.shape[2]):
        f = np.concatenate([[0], np.cumsum(p[:, :, y].sum(1))])
        g = np.concatenate([[0], np.cumsum(p[:, :, y].sum(0))])
        overlap = np.minimum(f[1:, None], g[None, 1:]) - np.maximum(f[:-1, None], g[None, :-1])
        q[:, :, y] = np.maximum(overlap, 0)
    return q


@pytest.mark.parametrize("name", GATES)
def test_joint_is_a_pmf_of_float64(name):
    p = GATES[name].joint
    assert p.dtype == np.float64
    assert p.min() >= 0
    assert p.sum() == 1.0
    assert all(p.any(axis=tuple({0, 1, 2} - {axis})).all() for axis in range(3)), "every symbol occurs"


@pytest.mark.parametrize("name", GATES)
def test_truth_keeps_the_accounting_laws(name):
    i1, i2, i12 = map(float, informations(GATES[name].joint))
    truth = GATES[name].truth
    assert truth.mi1 == pytest.approx(i1, abs=EXACT)
    assert truth.mi2 == pytest.approx(i2, abs=EXACT)
    assert truth.total == pytest.approx(i12, abs=EXACT)


@pytest.mark.parametrize("name", GATES)
def test_union_is_pinned_between_the_greater_information_and_a_coupling(name):
    p, truth = GATES[name].joint, GATES[name].truth
    q = in_order_coupling(p)
    np.testing.assert_allclose(q.sum(0), p.sum(0), atol=1e-15)
    np.testing.assert_allclose(q.sum(1), p.sum(1), atol=1e-15)
    i1, i2, i12 = map(float, informations(p))
    upper = min(i12, float(informations(q).x1x2))
    lower = max(i1, i2)
    if name == "copy":  # y fixes x1 and x2, so p is the only coupling
        assert all(np.count_nonzero(p[:, :, y]) == 1 for y in range(4))
        lower = i12
    assert upper == pytest.approx(lower, abs=EXACT)
    assert truth.total - truth.synergy == pytest.approx(upper, abs=EXACT)


def test_and_has_the_values_of_the_literature():
    truth = GATES["and"].truth
    assert truth.redundancy == pytest.approx(0.2157615543388357, abs=1e-15)
    assert truth.synergy == L / 2
    assert (truth.unique1, truth.unique2) == (0.0, 0.0)


@pytest.mark.parametrize("name", GATES)
def test_no_atom_is_negative(name):
    truth = GATES[name].truth
    assert min(truth.redundancy, truth.unique1, truth.unique2, truth.synergy) >= 0
