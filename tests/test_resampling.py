"""Replicates: what is drawn, what is permuted, what is read from them."""

import jax
import numpy as np

from pidjax import resampling
from pidjax.pid import PID
from pidjax.quantify import quantify
from pidjax.resampling import bootstrap_interval, permutation_null, replicates

ATOMS = ("redundancy", "unique1", "unique2", "synergy")
KEY = jax.random.key(0)
X1, X2 = np.tile([[0, 0, 1, 1], [0, 1, 0, 1]], 25)


def values(pid):
    return np.array([getattr(pid, atom) for atom in ATOMS])


def test_groups_are_drawn_whole():
    # y = x1, so U1 = H(y). Group 0 holds y = 0, 0, 1 and group 1 holds y = 1: of two draws, both are group 0 (a
    # third of the ones), both group 1 (nothing but ones), or one is of each (as many zeros as ones).
    y = np.array([0, 0, 1, 1])
    with jax.enable_x64(True):
        drawn, permuted = replicates(
            KEY, (y, 0 * y, y), (2, 1, 2), bootstrap=60, permutations=3, groups=np.array([0, 0, 0, 1])
        )
    entropies = np.array([np.log(3) - 2 / 3 * np.log(2), 0, np.log(2)])
    found = np.argmin(abs(drawn.unique1[:, None] - entropies), axis=1)
    np.testing.assert_allclose(drawn.unique1, entropies[found], atol=2e-6)
    # Missing one of the three in 60 draws: (3/4)^60 twice, 6e-8.
    assert set(found.tolist()) == {0, 1, 2}
    assert permuted.unique1.shape == (3,)


def test_the_interval_is_bias_corrected_and_cut_at_zero():
    """Draws with mean 1/2 about an estimate e: centred on e - (1/2 - e), widened by the replicates' gap of 1e-6."""
    draws = np.linspace(0.0, 1.0, 101)
    interval = bootstrap_interval(
        PID(redundancy=2.0, unique1=0.1, unique2=0.0, synergy=0.475),
        PID(redundancy=draws, unique1=draws, unique2=draws, synergy=draws),
    )
    np.testing.assert_allclose(values(interval.lower), [3.025 - 1e-6, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(values(interval.upper), [3.975 + 1e-6, 0.175 + 1e-6, 0, 0.925 + 1e-6], atol=1e-12)


def test_p_values_count_ties_and_the_estimate_itself():
    draws = np.array([0.0, 1.0, 2.0, 3.0])
    estimate = PID(redundancy=2.0, unique1=4.0, unique2=-1.0, synergy=2.0 + 5e-7)
    null = permutation_null(estimate, PID(**dict.fromkeys(ATOMS, draws)))
    # (1 + 2) / 5, (1 + 0) / 5, (1 + 4) / 5, and a tie within the tolerance of the replicates.
    assert values(null.p_value).tolist() == [0.6, 0.2, 1.0, 0.6]
    assert values(null.mean).tolist() == [1.5] * 4


def test_another_number_of_samples_compiles_no_new_solver():
    rng = np.random.default_rng(5)
    programs = []
    for n in (70, 128):
        quantify(*rng.integers(0, 2, (3, n)), key=KEY, bootstrap=3, permutations=3)
        programs.append(resampling._solved_replicates._cache_size())
    assert programs[0] == programs[1]


def test_large_tables_are_solved_in_rounds(monkeypatch):
    settings = {"key": KEY, "bootstrap": 5, "permutations": 4}
    whole = quantify(X1, X2, X1 & X2, **settings)
    monkeypatch.setattr(resampling, "REPLICATE_BYTES", 1)
    rounds = quantify(X1, X2, X1 & X2, **settings)
    np.testing.assert_allclose(values(rounds.null.mean), values(whole.null.mean), atol=2e-6)
