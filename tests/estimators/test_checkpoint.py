"""Long fits: chunks, progress, and a kill in the middle."""

import os
import signal
import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest
from toys import column, normal

from pidjax.estimators.checkpoint import fit_in_chunks
from pidjax.estimators.fit import fit

KEY = jax.random.key(0)
X = column(np.random.default_rng(0).normal(size=90))
SETTINGS = {"steps": 50, "batch_size": 16, "every": 8, "validation": 0.1}  # seven rounds, the last of two steps


@pytest.mark.parametrize("rounds", [1, 3, 7, 100])
def test_chunks_are_the_whole(rounds):
    estimator = normal()
    whole = fit(estimator, KEY, X, **SETTINGS)
    told = []
    parts = fit_in_chunks(
        estimator, KEY, X, **SETTINGS, rounds=rounds, callback=lambda step, trace: told.append((step, trace))
    )
    # The same operations in programs that were compiled apart: equal up to how sums are fused.
    np.testing.assert_allclose(parts.state.params, whole.state.params, rtol=1e-6)
    np.testing.assert_allclose(parts.trace.updates, whole.trace.updates, rtol=1e-6)
    np.testing.assert_allclose(parts.trace.validation, whole.trace.validation, rtol=1e-6)
    assert [step for step, _ in told] == [min(8 * r, 50) for r in range(rounds, 7 + rounds, rounds) if r < 7 + rounds][
        : len(told)
    ]
    assert told[-1][0] == 50


KILLED = """
    import os, signal, sys
    import jax, numpy as np, optax
    sys.path.insert(0, {tests!r})
    from toys import column, normal
    from pidjax.estimators.checkpoint import fit_in_chunks
    x = column(np.random.default_rng(0).normal(size=90))
    def callback(step, trace):
        if step == {kill_at}:
            os.kill(os.getpid(), signal.SIGKILL)
    done = fit_in_chunks(
        normal(optax.adam(0.1)), jax.random.key(0), x, steps=50, batch_size=16, every=8, validation=0.1,
        folder={folder!r}, callback=callback)
    print(done.state.params.tobytes().hex(), done.trace.updates.shape[0])
"""


def run(folder, kill_at=None):
    tests = os.path.dirname(__file__)
    code = textwrap.dedent(KILLED.format(tests=tests, folder=str(folder), kill_at=kill_at))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)


def test_a_fit_that_was_killed_resumes_to_the_bit(tmp_path):
    whole = run(tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr[-2000:]
    state, steps = whole.stdout.split()
    assert steps == "50"
    killed = run(tmp_path / "killed", kill_at=32)
    assert killed.returncode == -signal.SIGKILL
    resumed = run(tmp_path / "killed")
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    again, left = resumed.stdout.split()
    assert again == state
    assert 0 < int(left) < 50  # it did not start over


def test_a_finished_fit_is_only_read(tmp_path):
    estimator = normal()
    first = fit_in_chunks(estimator, KEY, X, **SETTINGS, folder=tmp_path)
    second = fit_in_chunks(
        estimator, KEY, X, **SETTINGS, folder=tmp_path, callback=lambda *_: pytest.fail("nothing was left to do")
    )
    assert first.state.params == second.state.params
    assert second.trace.updates is None


def test_a_checkpoint_of_another_fit_is_refused(tmp_path):
    fit_in_chunks(normal(), KEY, X, **SETTINGS, folder=tmp_path)
    with pytest.raises(ValueError, match="another fit"):
        fit_in_chunks(normal(), KEY, X, **(SETTINGS | {"batch_size": 8}), folder=tmp_path)


def test_inside_jit_it_says_to_use_fit():
    with pytest.raises(TypeError, match="inside jit or vmap use fit"):
        jax.jit(lambda key: fit_in_chunks(normal(), key, X, **SETTINGS).state.params)(KEY)
