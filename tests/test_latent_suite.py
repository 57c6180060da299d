"""The latent suite of arXiv 2302.12247 as a study: ten sets in one program, then models of each (5 minutes)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pidjax import agreement, pid_from_posteriors
from pidjax.datasets import LATENT_TASKS, latent_task
from pidjax.estimators import Recipe, fitted_posteriors

ATOMS = ("redundancy", "unique1", "unique2", "synergy")
HEADS = ("x1", "x2", "x1x2")
N = 10_000
SETS = [name.removeprefix("latent_") for name in LATENT_TASKS]


@jax.jit
@jax.vmap
def decomposed(key, samples):
    """From the features of one set and a label to their decomposition, and the posteriors behind it."""
    log_p = fitted_posteriors(key, samples, classes=2, recipe=Recipe(repeats=1)).log_posterior
    return pid_from_posteriors(*(jnp.exp(log_p[head]) for head in HEADS), samples.y).pid, log_p


@functools.cache
def suite():
    """The samples of the ten sets, stacked, and what was found."""
    drawn = [latent_task(name).sample(jax.random.key(i), N) for i, name in enumerate(LATENT_TASKS)]
    samples = jax.tree.map(lambda *leaves: jnp.stack(leaves), *drawn)
    return samples, decomposed(jax.random.split(jax.random.key(10), len(SETS)), samples)


def table(pid):
    return np.stack([np.asarray(getattr(pid, atom)) for atom in ATOMS], -1)


@pytest.mark.slow
def test_ten_sets_in_one_program_are_what_they_were_made_to_be():
    samples, (found, _) = suite()
    assert samples.x1.shape == samples.x2.shape == (10, N, 100)
    truth = np.stack([table(latent_task(name).truth) for name in LATENT_TASKS])
    for name, dominant in zip(("redundancy", "unique1", "unique2", "synergy"), range(4), strict=True):
        assert table(found)[SETS.index(name)].argmax() == dominant
    np.testing.assert_allclose(table(found), truth, atol=0.03)
    assert decomposed._cache_size() == 1


@pytest.mark.slow
def test_agreement_goes_with_accuracy():
    """Four models a set: of one modality, of both, late fusion. Published, ten sets and ten models: .77 to .81."""
    samples, (data, log_p) = suite()
    prior = jnp.log(jnp.mean(jax.nn.one_hot(samples.y, 2), 1))[:, None]
    models = dict(log_p) | {"late fusion": log_p["x1"] + log_p["x2"] - prior}
    agreements, accuracies = [], []
    for number, logits in enumerate(models.values()):
        predicted = logits.argmax(-1).astype(samples.y.dtype)
        said, _ = decomposed(jax.random.split(jax.random.key(20 + number), len(SETS)), samples._replace(y=predicted))
        agreements.append(np.asarray(agreement(data, said).total))
        accuracies.append(np.asarray((predicted == samples.y).mean(1)))
    correlation = np.corrcoef(np.ravel(agreements), np.ravel(accuracies))[0, 1]
    assert correlation >= 0.7
    assert decomposed._cache_size() == 1
