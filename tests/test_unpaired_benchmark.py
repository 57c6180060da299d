"""The benchmark of the bounds: what a cell says, and that the table says what rows say."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "benchmarks"
sys.path.insert(0, str(FOLDER))
ROWS = FOLDER / "unpaired.jsonl"


def row(**more):
    return {
        "shape": [2, 2, 2], "kind": "dense", "count": 1000,
        "pidjax": {"seconds": 2e-5, "seconds_first": 9.5, "wrong": 0, "unsolved": 0, "gap": 1e-9},
        "published": {"seconds": 0.25, "failed": 0, "asked": 5, "not_finite": 1, "wrong_disagreement": 2,
                      "wrong_redundancy": 0, "wrong_upper": 0},
        "slack": {"pidjax": {"lower": 0.01, "upper": 0.2}, "published": {"lower": 0.03, "upper": 0.25}},
        "versions": {"jax": "1"}, "processor": "P", "cpus": 1, "timestamp": "2026-01-01T00:00:00",
    } | more  # fmt: skip


def test_the_table_sets_both_side_by_side():
    from summarise_unpaired import unpaired

    text = unpaired([row(), row(shape=[3, 3, 2], error="no such thing")])
    assert "| 2x2x2 dense | 20 µs (9.5 s) | 0 of 1,000 | 250 ms | 12,500x | 2 + 1 NaN of 5 |" in text
    assert "0.0100 / 0.0300 | 0.2000 / 0.2500 |" in text
    assert "- 3x3x2 dense: no such thing" in text
    assert unpaired([]) == ""


def test_drawn_joints_are_distributions_and_sparse_ones_half_empty():
    from unpaired import draws

    for kind, empty in (("dense", 0.0), ("sparse", 0.5)):
        p = draws((3, 3, 2), kind, 200)
        assert p.shape == (200, 3, 3, 2)
        assert p.sum((1, 2, 3)) == pytest.approx(np.ones(200))
        assert (p == 0).mean() == pytest.approx(empty, abs=0.05)


@pytest.mark.skipif(not ROWS.exists(), reason="the benchmark has not been recorded")
def test_the_readme_holds_the_table_of_the_recorded_rows():
    from summarise import rewritten
    from summarise_unpaired import unpaired

    rows = [json.loads(line) for line in ROWS.read_text().splitlines()]
    readme = (ROOT / "README.md").read_text()
    assert rewritten(readme, unpaired(rows), "unpaired") == readme
