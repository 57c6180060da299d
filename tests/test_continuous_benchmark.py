"""The continuous benchmark: what a cell says, and that tables say what rows say."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "benchmarks"
sys.path.insert(0, str(FOLDER))
ROWS = FOLDER / "continuous.jsonl"


def row(method, seed, error, **more):
    atoms = ("redundancy", "unique1", "unique2", "synergy")
    errors = {atom: error * (i + 1) for i, atom in enumerate(atoms)}
    return {
        "task": "g30", "n": 2000, "method": method, "seed": seed, "seconds": 2.0 + seed, "first": seed == 0,
        "values": errors, "errors": errors, "distance": 4 * abs(error), "memory_mb": 500.0 + seed,
        "gaps": {"x1": 0.01, "x2": 0.02, "x1x2": 0.03}, "versions": {"jax": "1"}, "processor": "P", "cpus": 1,
        "timestamp": "2026-01-01T00:00:00",
    } | more  # fmt: skip


def test_the_table_of_the_default_route_gives_means_and_spreads():
    from summarise_continuous import continuous

    text = continuous([row("posteriors", 0, 0.01), row("posteriors", 1, 0.03)])
    # atoms' errors 0.01 and 0.03, 0.02 and 0.06, ...: mean 0.02, spread 0.01414
    assert "| g30, n = 2,000 | 2 | +0.0200 ± 0.0141 | +0.0400 ± 0.0283 |" in text
    assert "0.010 / 0.020 / 0.030 | 3 / 2 | 501 |" in text
    assert "0.120 (3 / 2)" in text  # the worst of eight


def test_methods_are_compared_on_the_seeds_that_all_of_them_have():
    from summarise_continuous import continuous

    text = continuous([row("posteriors", 0, 0.01), row("posteriors", 1, 0.03), row("kmeans", 0, 0.05)])
    assert "| g30, n = 2,000 | 0.040 (- / 2) | 0.200 (- / 2) |" in text


def test_the_sandwich_is_measured_from_the_solved_union():
    from summarise_continuous import continuous

    exact = {"unique1": 0.015}
    text = continuous([row("batch", 0, 0.01, exact=exact), row("dual", 0, 0.005, exact=exact)])
    # unique1 is 0.02 and 0.01
    assert "| g30, n = 2,000 | 0.0050 (least 0.0050) | 0.0050 (least 0.0050) | 0.0100 |" in text


def test_a_step_of_batch_is_compared_at_equal_and_at_published_sweeps():
    from summarise_continuous import batch_step

    facts = {"versions": {"jax": "1"}, "processor": "P", "cpus": 1, "timestamp": "2026-01-01T00:00:00", "noise": 0.5}
    step = lambda solver, sweeps, seconds: {
        "solver": solver, "labels": 10, "sweeps": sweeps, "seconds": seconds, "memory_mb": 500,
    } | facts  # fmt: skip
    rows = [step("pidjax", 20, 0.01), step("published", 20, 0.03), step("published", 500, 0.5)]
    assert "| 10 | 10 ms (500 MB) | 30 ms (500 MB) | 3x | 500 ms (500 MB) | 50x |" in batch_step(rows)
    assert "| 10 | 10 ms (500 MB) | 30 ms (500 MB) | 3x | not run: about 50 GB | - |" in batch_step(rows[:2])


def test_failures_are_told():
    from summarise_continuous import continuous

    failed = {"task": "c3", "n": 10, "method": "dual", "seed": 1, "error": "it broke"}
    assert "- c3, n = 10, dual: it broke" in continuous([failed, row("posteriors", 0, 0.0)])


def test_a_cell_yields_values_errors_and_seconds():
    from continuous import cell_rows

    (found,) = cell_rows("g30", 400, 1, ("exact",))
    assert found["method"] == "exact"
    assert found["distance"] == max(map(abs, found["errors"].values())) < 0.15  # four sd of 400 informations
    assert found["gap"] < 1e-9
    assert found["seconds"] > 0


@pytest.mark.skipif(not ROWS.exists(), reason="the benchmark has not been recorded")
def test_the_readme_holds_the_tables_of_the_recorded_rows():
    from summarise import rewritten
    from summarise_continuous import continuous

    rows = [json.loads(line) for line in ROWS.read_text().splitlines()]
    readme = (ROOT / "README.md").read_text()
    assert rewritten(readme, continuous(rows), "continuous") == readme
