"""Linear tasks: the formulas of their truths are those of the closed form, and of their samples."""

import math

import jax
import numpy as np
import pytest

from pidjax import gaussian
from pidjax.datasets.linear import (
    DISTORTIONS,
    LINEAR_TASKS,
    LinearTask,
    correlated_noises,
    diagonal_channels,
    distorted,
    doubled,
    gaussian_chain,
    linear_task,
)

ATOMS = ("redundancy", "unique1", "unique2", "synergy")


def atoms(pid):
    return np.array([float(getattr(pid, atom)) for atom in ATOMS])


LARGE = [name for name in LINEAR_TASKS if "doubled" in name or "showcase" in name]  # a program each


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in LINEAR_TASKS]
)
def test_truths_are_those_of_the_closed_form(name):
    task = linear_task(name)
    assert task.name == name
    exact = 1e-10 if task.source == "closed form" else 1e-7 * math.log(2)
    assert atoms(gaussian.gaussian_pid(task.cov, task.dims)) == pytest.approx(atoms(task.truth), abs=exact)


def test_samples_have_the_covariance_and_distortions_are_what_they_say():
    plain = linear_task("crossed")
    x = np.concatenate(plain.sample(jax.random.key(0), 20_000)[:3], axis=1)
    # Entries of a covariance of 20,000 samples have standard errors of 0.07 or less (variances are 5 at most).
    assert np.cov(x.T) == pytest.approx(plain.cov, abs=0.3)
    bent = distorted(plain, "cube", "none", "cube_root")
    x1, x2, y, _ = bent.sample(jax.random.key(0), 100)
    whole = plain.sample(jax.random.key(0), 100)
    assert x1 == pytest.approx(np.asarray(whole.x1) ** 3, rel=1e-5)
    assert x2 == pytest.approx(np.asarray(whole.x2), rel=1e-5)
    assert y == pytest.approx(np.cbrt(whole.y), rel=1e-5)
    # A turned distortion is undone in its own basis.
    turned = distorted(plain, "cube", "none", "cube_root", turn=True)
    q = turned.turns[0]
    undone = np.cbrt(np.asarray(turned.sample(jax.random.key(0), 100).x1) @ q) @ q.T
    assert undone == pytest.approx(np.asarray(whole.x1), abs=1e-3)


def test_distortions_are_monotone():
    x = np.linspace(-3, 3, 101)
    assert all((np.diff(np.asarray(distort(x))) > 0).all() for distort in DISTORTIONS.values())


def test_doubling_twice_is_four_times():
    task = gaussian_chain(0.7)
    assert atoms(doubled(doubled(task)).truth) == pytest.approx(4 * atoms(task.truth), rel=1e-12)


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="no task is called 'chains'"):
        linear_task("chains")
    with pytest.raises(ValueError, match="determinant is -"):
        correlated_noises(0.9, -0.9, 0.9)
    with pytest.raises(ValueError, match="1 and 2 gains"):
        diagonal_channels((1.0,), (1.0, 2.0))
    with pytest.raises(ValueError, match="distortions are"):
        distorted(gaussian_chain(), "cube", "cube", "square")
    with pytest.raises(ValueError, match="there are 1 distortions"):
        distorted(gaussian_chain(), "cube")
    with pytest.raises(ValueError, match="positive definite"):
        LinearTask("flat", np.ones((3, 3)), (1, 1, 1))
    with pytest.raises(ValueError, match="turns have shapes"):
        LinearTask("turned", np.eye(3), (1, 1, 1), turns=(np.eye(2),) * 3)
    with pytest.raises(ValueError, match="n is 0"):
        gaussian_chain().sample(jax.random.key(0), 0)
