"""Tasks: truths against the accounting laws, what each transformer does to them, and honest samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pidjax.datasets import (
    TASKS,
    Task,
    erased,
    noisy_copies,
    noisy_xor,
    padded,
    power,
    product,
    random_joint,
    swapped,
    task,
)
from pidjax.info import informations


def atoms(pid):
    return np.array([pid.redundancy, pid.unique1, pid.unique2, pid.synergy])


def numpy_informations(p):
    """I1, I2, I12 by entropies, in numpy: nothing is compiled for the many shapes of the table."""

    def h(q):
        q = q[q > 0]
        return -(q * np.log(q)).sum()

    h_y = h(p.sum((0, 1)))
    return np.array(
        [h(p.sum((1, 2))) + h_y - h(p.sum(1)), h(p.sum((0, 2))) + h_y - h(p.sum(0)), h(p.sum(2)) + h_y - h(p)]
    )


@pytest.mark.parametrize("name", TASKS)
def test_every_truth_of_the_table_keeps_the_accounting_laws(name):
    made = task(name)
    assert made.name == name
    assert made.source == "closed form"
    assert made.joint.dtype == np.float64
    assert made.joint.sum() == pytest.approx(1.0, abs=1e-12)
    found = np.array([made.truth.mi1, made.truth.mi2, made.truth.total])
    # Entropies of at most 64^3 cells, each below 13 nats: pairwise sums in float64 lose far less than 1e-12.
    np.testing.assert_allclose(found, numpy_informations(made.joint), atol=1e-12)
    assert atoms(made.truth).min() >= 0


def test_laws_hold_by_the_librarys_own_informations():
    made = product(task("red_and_u1"), noisy_copies(0.1, 0.2))
    found = np.array([float(i) for i in informations(made.joint)])
    np.testing.assert_allclose(found, [made.truth.mi1, made.truth.mi2, made.truth.total], atol=1e-12)


def test_product_adds_every_information():
    joints = [np.asarray(random_joint(jax.random.key(seed), (3, 2, 4)), np.float64) for seed in (0, 1)]
    first, second = (Task("random", p / p.sum()) for p in joints)
    added = numpy_informations(first.joint) + numpy_informations(second.joint)
    np.testing.assert_allclose(numpy_informations(product(first, second).joint), added, atol=1e-12)


def test_product_with_an_unknown_truth_is_unknown():
    unknown = Task("unknown", task("and").joint)
    both = product(task("xor"), unknown)
    assert both.truth is None
    assert both.source == "closed form; unknown"
    assert all(change(unknown).truth is None for change in (swapped, padded, lambda t: erased(t, 0.1)))


def test_power_is_a_repeated_product():
    one = task("red_and_u1")
    np.testing.assert_array_equal(power(one, 2).joint, product(one, one).joint)
    np.testing.assert_allclose(atoms(power(one, 3).truth), 3 * atoms(one.truth), rtol=1e-15)


def test_product_is_independence_of_two_systems():
    joint = product(task("and"), task("copy")).joint.reshape(2, 2, 2, 2, 2, 4)
    np.testing.assert_array_equal(joint.sum((1, 3, 5)), task("and").joint)
    np.testing.assert_array_equal(joint.sum((0, 2, 4)), task("copy").joint)


def test_swapping_twice_changes_nothing():
    one = task("red_and_u1")
    twice = swapped(swapped(one))
    np.testing.assert_array_equal(twice.joint, one.joint)
    assert twice.truth == one.truth
    assert swapped(task("unique1")).truth == task("unique2").truth


def test_erasing_never_changes_nothing_and_erasing_always_leaves_nothing():
    one = task("rdn_xor")
    np.testing.assert_array_equal(atoms(erased(one, 0.0).truth), atoms(one.truth))
    np.testing.assert_array_equal(atoms(erased(one, 1.0).truth), 0.0)
    np.testing.assert_allclose(numpy_informations(erased(one, 1.0).joint), 0.0, atol=1e-15)


def test_erasing_keeps_the_law_of_the_inputs():
    one = task("red_or_u1")
    np.testing.assert_allclose(erased(one, 0.3).joint.sum(2), one.joint.sum(2), atol=1e-16)


def test_noisy_xor_without_noise_is_xor_and_with_full_noise_nothing():
    np.testing.assert_array_equal(noisy_xor(0.0).joint, task("xor").joint)
    np.testing.assert_array_equal(atoms(noisy_xor(0.0).truth), atoms(task("xor").truth))
    np.testing.assert_array_equal(atoms(noisy_xor(0.5).truth), 0.0)


def test_noisy_xor_has_a_coupling_that_says_nothing():
    p = noisy_xor(0.1).joint
    q = np.full((2, 2, 2), 1 / 8)
    np.testing.assert_allclose([p.sum(0), p.sum(1)], [q.sum(0), q.sum(1)], atol=1e-16)


@pytest.mark.parametrize(("flip1", "flip2"), [(0.1, 0.1), (0.1, 0.2), (0.05, 0.45)])
def test_noisier_copy_is_a_garbling_of_the_cleaner(flip1, flip2):
    p = noisy_copies(flip1, flip2).joint
    garble = (flip2 - flip1) / (1 - 2 * flip1)
    channel = np.array([[1 - garble, garble], [garble, 1 - garble]])
    q = p.sum(1)[:, None, :] * channel[:, :, None]  # x2 made from x1 alone: I_q(X1X2;Y) = I(X1;Y)
    np.testing.assert_allclose(q.sum(0), p.sum(0), atol=1e-16)
    truth = noisy_copies(flip1, flip2).truth
    assert truth.total - truth.synergy == pytest.approx(numpy_informations(q)[2], abs=1e-14)


@pytest.mark.parametrize("name", ["and", "rdn_xor_erased_0.25", "noisy_copies_0.1_0.2", "red_and_u1_padded"])
def test_samples_have_the_frequencies_of_the_joint(name):
    n, p = 40_000, task(name).joint
    samples = task(name).sample(jax.random.key(1), n)
    counts = np.zeros_like(p)
    np.add.at(counts, tuple(np.asarray(leaf) for leaf in samples[:3]), 1)
    # Binomial error of a cell, five deviations: fewer than one run in 10^4 fails for the 80 cells at most.
    assert (np.abs(counts / n - p) <= 5 * np.sqrt(p * (1 - p) / n)).all()


def test_samples_never_fall_in_an_empty_cell():
    made = task("rdn_xor^3")
    samples = made.sample(jax.random.key(2), 5000)
    assert made.joint[samples.x1, samples.x2, samples.y].min() > 0


def test_samples_are_integers_and_pure_in_the_key():
    made = task("and")
    first, second = (made.sample(jax.random.key(3), 100) for _ in range(2))
    for leaf, other in zip(first[:3], second[:3], strict=True):
        assert leaf.dtype == jnp.int32
        np.testing.assert_array_equal(leaf, other)
    assert first.weight is None


def test_samples_are_the_same_under_jit_and_in_either_precision():
    made = task("noisy_copies_0.1_0.2")
    eager = made.sample(jax.random.key(4), 200)
    jitted = jax.jit(made.sample, static_argnums=1)(jax.random.key(4), 200)
    with jax.enable_x64(True):
        wide = made.sample(jax.random.key(4), 200)
    for leaves in zip(eager[:3], jitted[:3], wide[:3], strict=True):
        np.testing.assert_array_equal(leaves[0], leaves[1])
        np.testing.assert_array_equal(leaves[0], leaves[2])


def test_samples_over_a_batch_of_keys_are_those_of_a_loop():
    made, keys = task("or"), jax.random.split(jax.random.key(5), 3)
    batch = jax.vmap(lambda key: made.sample(key, 50))(keys)
    for i, key in enumerate(keys):
        np.testing.assert_array_equal(batch.x1[i], made.sample(key, 50).x1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: task("nand"), "no task is called 'nand'"),
        (lambda: task("and").sample(jax.random.key(0), 0), "n is 0"),
        (lambda: power(task("and"), 0), "k is 0"),
        (lambda: erased(task("and"), 1.5), "1.5; expected a number from 0 to 1"),
        (lambda: noisy_xor(-0.1), "-0.1; expected a number"),
        (lambda: noisy_copies(0.1, 2.0), "2.0; expected a number"),
        (lambda: Task("flat", np.ones((2, 2)) / 4), "rank 2"),
        (lambda: Task("counts", np.ones((2, 2, 2))), "sums to 8"),
    ],
)
def test_what_is_wrong_is_refused_with_its_number(call, message):
    with pytest.raises(ValueError, match=message):
        call()
