"""The Gaussian benchmark: that the iterations are right where they are slow, and that the table says what rows say."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from pidjax.gaussian import gaussian_pid_from_gains

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "benchmarks"
sys.path.insert(0, str(FOLDER))
ROWS = FOLDER / "gaussian.jsonl"


def row(**more):
    return {
        "dims": [16, 16, 2], "count": 1, "gains": {"seconds": 2e-4, "seconds_first": 0.5},
        "covariance": {"seconds": 4e-4, "seconds_first": 1.5}, "thin": {"seconds": 0.002, "steps": 17, "above": 1e-7},
        "full": {"seconds": 40.0, "steps": 1, "above": 2e-3},
        "versions": {"jax": "1"}, "processor": "P", "cpus": 1, "timestamp": "2026-01-01T00:00:00",
    } | more  # fmt: skip


def test_the_table_sets_all_side_by_side():
    from summarise_gaussian import gaussian

    batch = {"dims": [8, 8, 4], "count": 100_000, "gains": {"seconds": 3e-6, "seconds_first": 1.0}}
    bare = {key: value for key, value in row().items() if key not in ("covariance", "thin", "full")}
    text = gaussian([row(), bare | batch, row(error="no such thing")])
    assert (
        "| 16, 16, 2 | 200 µs (0.5 s) | 400 µs | 2 ms (17 steps), 10x | 40 s (1 step, 2e-03 above), 200,000x |" in text
    )
    assert "| 8, 8, 4, 100,000 at once | 3 µs (1 s) | - | - | - |" in text
    assert "- 16, 16, 2: no such thing" in text
    assert gaussian([]) == ""


def test_the_gradient_of_the_iterations_is_that_of_finite_differences():
    from gaussian import objective

    h1, h2 = np.random.default_rng(0).normal(size=(2, 3, 2))
    c = 0.2 * np.random.default_rng(1).normal(size=(3, 3))
    move = np.random.default_rng(2).normal(size=(3, 3))
    slope = (objective(c + 1e-6 * move, h1, h2)[0] - objective(c - 1e-6 * move, h1, h2)[0]) / 2e-6
    assert np.sum(objective(c, h1, h2)[1] * move) == pytest.approx(slope, abs=1e-8)


@pytest.mark.parametrize("name", ["thin", "full"])
def test_the_iterations_reach_the_closed_form_from_above(name):
    import gaussian

    h1, h2 = np.random.default_rng(3).normal(size=(2, 5, 2))
    pid = gaussian_pid_from_gains(h1, h2)
    answer = float(pid.redundancy + pid.unique1 + pid.unique2)
    project = getattr(gaussian, name)
    found = gaussian.through(project, h1, h2, answer, limit=20.0)
    assert -1e-8 <= found["above"] <= 1e-6
    c = project(np.random.default_rng(4).normal(size=(5, 5)))
    assert np.linalg.norm(c, 2) < 1


@pytest.mark.skipif(not ROWS.exists(), reason="the benchmark has not been recorded")
def test_the_readme_holds_the_table_of_the_recorded_rows():
    from summarise import rewritten
    from summarise_gaussian import gaussian

    rows = [json.loads(line) for line in ROWS.read_text().splitlines()]
    readme = (ROOT / "README.md").read_text()
    assert rewritten(readme, gaussian(rows), "gaussian") == readme
