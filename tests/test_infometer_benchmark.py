"""InfoMeter's benchmark: that the tables say what rows say."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "benchmarks"
sys.path.insert(0, str(FOLDER))
ROWS = FOLDER / "infometer.jsonl"
FACTS = {"versions": {"jax": "1"}, "processor": "P", "cpus": 1, "timestamp": "2026-01-01T00:00:00"}


def test_the_tables_set_all_side_by_side():
    from summarise_infometer import infometer

    rate = {
        "table": "rate", "columns": 16, "batch": 256, "updates": 1000, "truth": 44.9253,
        "pidjax": {"updates_per_second": 1200.0, "seconds_first": 2.5, "rate": 44.95},
        "compressai": {"updates_per_second": 300.0, "rate": 45.1},
    }  # fmt: skip
    pair = {
        "table": "information", "columns": 1, "rho": 0.5, "truth": 0.143841,
        "pidjax": {"value": 0.141, "standard_error": 0.007, "seconds": 2.0, "seconds_first": 20.0},
        "ksg": {"value": 0.15, "seconds": 0.05},
    }  # fmt: skip
    text = infometer([rate | FACTS, pair | FACTS, {"table": "rate", "error": "no such thing"} | FACTS])
    assert "| 16, batch 256 | 1,200 (2.5 s) | 300 | 4.0x | 44.9253 | 44.9500 | 45.1000 |" in text
    line = "| 1 and 1 columns, correlation 0.5 | 0.1438 | 0.1410 ± 0.0070 (2 s; 20 s) | 0.1500 (0.05 s) | - |"
    assert line in text
    assert "- rate: no such thing" in text
    assert infometer([]) == ""


def test_the_truth_of_rates_is_the_entropy_of_cells():
    from infometer import _cell_entropy

    published = {2.0: 0.86033, 1.0: 1.45896, 0.5: 2.12240, 0.25: 2.80783}  # infometer.md, A.7
    for step, entropy in published.items():
        assert _cell_entropy(step) == pytest.approx(entropy, abs=5.1e-6)
    assert _cell_entropy(0.01) == pytest.approx(0.5 * np.log(2 * np.pi * np.e) - np.log(0.01), abs=1e-5)


@pytest.mark.skipif(not ROWS.exists(), reason="the benchmark has not been recorded")
def test_the_readme_holds_the_tables_of_the_recorded_rows():
    from summarise import rewritten
    from summarise_infometer import infometer

    rows = [json.loads(line) for line in ROWS.read_text().splitlines()]
    readme = (ROOT / "README.md").read_text()
    assert rewritten(readme, infometer(rows), "infometer") == readme
