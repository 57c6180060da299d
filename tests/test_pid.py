"""The PID type and its one linear map."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pidjax import PID, Interval, from_union


@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4)])
def test_the_map_closes_three_informations_and_a_union(shape):
    rng = np.random.default_rng(0)
    i1, i2, i12, union = rng.normal(size=(4, *shape))
    pid = from_union(i1, i2, i12, union)
    for found, expected in (
        (pid.mi1, i1),
        (pid.mi2, i2),
        (pid.total, i12),
        (pid.coinformation, i1 + i2 - i12),
    ):
        np.testing.assert_allclose(found, expected, atol=1e-14)
    np.testing.assert_allclose(pid.redundancy + pid.unique1 + pid.unique2, union, atol=1e-14)


def test_a_pid_is_a_pytree_and_frozen():
    pid = from_union(*jnp.arange(4.0))
    doubled = jax.jit(lambda pid: jax.tree.map(lambda leaf: 2 * leaf, pid))(pid)
    assert doubled.synergy == 2 * pid.synergy
    assert len(jax.tree.leaves(Interval(pid, doubled))) == 8
    with pytest.raises(AttributeError):
        pid.synergy = 0.0


def test_atoms_are_named_not_counted():
    with pytest.raises(TypeError):
        PID(0.0, 0.0, 0.0, 0.0)
