"""Cross-fitting: nobody is judged by a model that saw them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import column, normal

from pidjax.estimators.base import Estimator
from pidjax.estimators.cross_fit import cross_fit
from pidjax.typing import Samples

KEY = jax.random.key(0)


def recorder(n):
    """Its state marks every sample that ``init`` or an update saw; its estimate is whether the sample is marked."""

    def mark(state, samples):
        return state.at[samples.x1].set(True)

    return Estimator(
        lambda key, samples: mark(jnp.zeros(n, bool), samples),
        lambda key, state, samples: (mark(state, samples), 0),
        lambda state, samples: state[samples.x1].astype(float),
    )


slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("n", "folds", "validation"),
    [(23, 5, 0.1), (7, 3, 0.0), *(pytest.param(n, k, 0.1, marks=slow) for n, k in ((20, 5), (10, 10), (11, 4)))],
)
def test_no_sample_is_seen_by_the_model_that_judges_it(n, folds, validation):
    done = cross_fit(
        recorder(n), KEY, Samples(x1=jnp.arange(n)), steps=20, batch_size=2, folds=folds, repeats=2,
        validation=validation,
    )  # fmt: skip
    assert done.estimate.shape == (2, n)
    assert not done.estimate.any()
    # Each model trained on all that were not held out, but for the validation part and the overlap of windows.
    held = -(-n // folds)
    trained = n - held - (max(round((n - held) * validation), 1) if validation else 0)
    assert (done.state.sum(-1) == trained).all()
    assert sorted(np.unique(done.fold)) == list(range(folds))


def test_groups_are_never_split():
    group = np.repeat(np.arange(9), [1, 2, 3, 4, 5, 6, 7, 8, 9])
    n = len(group)
    done = cross_fit(
        recorder(n), KEY, Samples(x1=jnp.arange(n)), steps=40, batch_size=4, folds=4, repeats=3, validation=0.0,
        groups=group,
    )  # fmt: skip
    assert not done.estimate.any()
    for fold in np.asarray(done.fold):
        assert all(len(np.unique(fold[group == name])) == 1 for name in range(9))
        assert len(np.unique(fold)) == 4


def test_out_of_fold_is_a_fit_on_the_others():
    """Full batches make the fit of a mean exact: what is said of a sample is its loss under the others' mean."""
    x = np.random.default_rng(0).normal(size=20).astype(np.float32)
    done = cross_fit(normal(), KEY, column(x), steps=300, batch_size=16, folds=5, validation=0.0)
    fold = np.asarray(done.fold[0])
    for i in range(20):
        mean = x[fold != fold[i]].mean()
        assert abs(done.estimate[0, i] - (0.5 * (x[i] - mean) ** 2 + 0.9189385)) < 1e-4


def test_another_function_of_the_state_can_be_asked_for():
    mean = lambda state, samples: jnp.broadcast_to(state.params, samples.x1.shape)
    done = cross_fit(normal(), KEY, column(jnp.ones(20)), steps=300, batch_size=8, validation=0.0, estimate=mean)
    np.testing.assert_allclose(done.estimate, 1.0, atol=1e-4)


def test_it_runs_under_vmap_in_one_trace_and_equals_the_loop():
    x = jax.random.normal(KEY, (3, 30))
    keys = jax.random.split(KEY, 3)
    estimator = normal()
    run = lambda key, x: cross_fit(estimator, key, Samples(x1=x), steps=10, batch_size=8).estimate
    together = jax.jit(jax.vmap(run))(keys, x)
    alone = jnp.stack([run(key, row) for key, row in zip(keys, x, strict=True)])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_bad_settings_are_named():
    x = column(jnp.arange(8.0))
    with pytest.raises(ValueError, match="folds is 1"):
        cross_fit(normal(), KEY, x, steps=2, batch_size=2, folds=1)
    with pytest.raises(ValueError, match="folds is 9"):
        cross_fit(normal(), KEY, x, steps=2, batch_size=2, folds=9)
    with pytest.raises(ValueError, match="batch_size is 7, with 5 samples"):
        cross_fit(normal(), KEY, x, steps=2, batch_size=7)
    with pytest.raises(ValueError, match="2 distinct values for 5 folds"):
        cross_fit(normal(), KEY, x, steps=2, batch_size=2, groups=np.arange(8) % 2)
    with pytest.raises(ValueError, match="groups has shape"):
        cross_fit(normal(), KEY, x, steps=2, batch_size=2, groups=np.arange(7))


def test_repeats_divide_anew():
    done = cross_fit(normal(), KEY, column(jnp.arange(40.0)), steps=2, batch_size=4, repeats=2)
    assert (done.fold[0] != done.fold[1]).any()
