"""What bounds on information say about the next modality."""

import jax
import numpy as np
import pytest
from pairwise import gate

import pidjax
from pidjax.applications import outlook
from pidjax.pid import Interval

LOG2 = np.log(2)


def of_joint(p, accuracy1, accuracy2):
    found = pidjax.synergy_bounds(p.sum(1), p.sum(0), p.sum(2))
    return outlook(
        Interval(found.lower, found.upper), found.information, p.sum((0, 1)), accuracy1=accuracy1, accuracy2=accuracy2
    )


def test_of_and_everything_is_known():
    told = of_joint(gate(lambda a, b: a & b), 0.75, 0.75)
    # S is .3466 for certain, so I(X1,X2;Y) = H(Y) and both together make no mistake.
    assert told.accuracy.lower == pytest.approx(1.0, abs=1e-6)
    assert told.gain == pytest.approx(0.25, abs=1e-6)
    assert told.gain_of_x1 == told.gain_of_x2 == pytest.approx(told.gain, abs=1e-12)
    assert told.synergy_share == pytest.approx(0.346574 / 0.562335, abs=1e-5)


def test_a_copy_gains_nothing_from_the_other():
    p = np.zeros((2, 2, 2))
    p[0, :, 0] = p[1, :, 1] = 0.25  # y = x1, x2 is a coin of its own
    told = of_joint(p, 1.0, 0.5)
    assert told.gain_of_x2 == pytest.approx(0.0, abs=1e-9)
    assert told.gain_of_x1 == pytest.approx(0.5, abs=1e-9)
    assert told.synergy_share == pytest.approx(0.0, abs=1e-9)


def test_what_a_modality_reaches_alone_both_reach_too():
    half = Interval(np.float64(0.0), np.float64(0.1))
    told = outlook(half, half, np.full(2, 0.5), accuracy1=0.9, accuracy2=0.6)
    assert told.accuracy.lower == 0.9
    assert told.gain >= 0


def test_it_maps_over_problems_and_has_a_gradient():
    p = np.stack([gate(lambda a, b: a & b), gate(lambda a, b: a ^ b)]) * 0.9 + 0.1 / 8

    def expected(p):
        return of_joint(p, 0.6, 0.6).expected

    with jax.enable_x64(True):
        together = jax.jit(jax.vmap(expected))(p)
        gradient = jax.grad(lambda p: expected(p / p.sum()))(jax.numpy.asarray(p[0]))
    assert together == pytest.approx([float(expected(q)) for q in p], abs=1e-9)
    assert np.isfinite(gradient).all()
