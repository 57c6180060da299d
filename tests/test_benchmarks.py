"""The benchmark harness: every solver, rows for failures too, tables made from rows. Nothing is timed here."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pidjax

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks"
sys.path.insert(0, str(FOLDER))

import config  # noqa: E402
import peers  # noqa: E402
import run  # noqa: E402
import summarise  # noqa: E402

AND = pidjax.datasets.GATES["and"]
UNION = AND.truth.redundancy  # U1 = U2 = 0
SOLVED = {"seconds_warm", "memory_mb", "value", "distance", "device", "versions", "processor", "cpus", "timestamp"}


@pytest.mark.parametrize("peer", config.PEERS)
def test_every_peer_solves_and(peer):
    before = np.geterr()
    try:
        solve = peers.load(peer)
    except ImportError as error:
        pytest.skip(str(error))
    assert np.geterr() == before
    assert solve(AND.joint) == pytest.approx(UNION, abs=1e-5)


@pytest.mark.parametrize("peer", config.PEERS)
def test_every_peer_takes_symbols_that_never_occur(peer):
    try:
        solve = peers.load(peer)
    except ImportError as error:
        pytest.skip(str(error))
    joint = np.pad(pidjax.datasets.GATES["unique1"].joint, (0, 1))
    assert solve(joint) == pytest.approx(math.log(2), abs=1e-5)


@pytest.mark.parametrize("method", config.ROUTES.values())
def test_every_route_solves_and(method):
    assert pidjax.broja(AND.joint, method=method).lower == pytest.approx(UNION, abs=1e-8)


def test_the_tables_name_known_solvers_and_begin_with_ours():
    tables = (config.PROBLEMS, config.QUICK, config.ACCELERATOR, config.ACCELERATOR_QUICK)
    for problem in (problem for table in tables for problem in table.values()):
        assert problem.solvers[0] in config.ROUTES
        assert set(problem.solvers) <= {*config.ROUTES, *config.PEERS}
        assert problem.form in ("gates", "joint", "tables", "batch")
    assert set(config.PEERS) == set(peers.LOADERS)
    assert set(summarise.NAMES) == {*config.ROUTES, *config.PEERS}


def command(script, *options):
    done = subprocess.run(
        [sys.executable, str(FOLDER / script), *map(str, options)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_one_cell_becomes_one_valid_row(tmp_path):
    out = tmp_path / "rows.jsonl"
    name = "binary target, 1000 symbols each"
    assert name in command("run.py", "--quick", "--only", name, "--out", out)
    (row,) = read(out)
    assert row.keys() >= SOLVED | {"lower", "upper", "gap", "seconds_cold", "seconds_compile"}
    assert row["lower"] <= row["value"] <= row["upper"]
    assert row["distance"] == 0
    assert row["cpus"] == 1
    assert "error" not in row


# A stand-in for a peer, in the one place where a peer is found by a path.
STAND_IN = """
import os, time
class BROJA_2PID:
    @staticmethod
    def pid(pdf, **_):
        if len(pdf) != 4:
            {otherwise}
        solver = type("Solver", (), dict(sol_info=dict(exitFlag=10)))
        return dict(SI=0.5, UIY=0.25, UIZ=0.0) | {{"Solver Object": solver}}
"""


def failing_rows(tmp_path, monkeypatch, otherwise, problem, *, stand_in=STAND_IN, **settings):
    (tmp_path / "broja2pid.py").write_text(stand_in.format(otherwise=otherwise))
    monkeypatch.setenv("BROJA_2PID_PATH", str(tmp_path))
    return list(run.problem_rows("planted", problem, **{"limit": lambda *_: 60.0} | settings))


ONE = config.Problem((3, 3, 3), solvers=("broja_2pid",))


def test_an_answer_that_is_not_optimal_is_a_row_with_its_value(tmp_path, monkeypatch):
    rows = failing_rows(tmp_path, monkeypatch, "raise ValueError('too wide')", ONE._replace(form="gates"))
    assert len(rows) == len(pidjax.datasets.GATES)
    by_kind = {row["kind"]: row for row in rows}
    assert by_kind["and"]["value"] == pytest.approx(0.75 * math.log(2))
    assert "exit flag 10" in by_kind["and"]["error"]
    assert by_kind["rdn_xor"]["error"] == "ValueError: too wide"
    assert by_kind["rdn_xor"]["value"] is None
    json.dumps(rows, allow_nan=False)


def test_a_process_that_dies_is_a_row(tmp_path, monkeypatch):
    (row,) = failing_rows(tmp_path, monkeypatch, "os._exit(7)", ONE)
    assert row["error"] == "the process died (exit code 7)"


def test_a_peer_that_is_not_installed_is_a_row(tmp_path, monkeypatch):
    (row,) = failing_rows(tmp_path, monkeypatch, "raise ImportError('planted')", ONE, stand_in="{otherwise}")
    assert row["error"].startswith("ImportError: planted")


def test_who_exceeds_the_limit_is_a_row_and_is_not_asked_again(tmp_path, monkeypatch):
    exceeded = {}
    (row,) = failing_rows(tmp_path, monkeypatch, "time.sleep(600)", ONE, limit=lambda *_: 0.2, exceeded=exceeded)
    assert row["error"] == "exceeded 0.2 s"
    larger = ONE._replace(shape=(4, 4, 4))
    (row,) = run.problem_rows("larger", larger, limit=lambda *_: 60.0, exceeded=exceeded)
    assert row["error"] == "skipped: exceeded 0.2 s at (3, 3, 3)"
    (row,) = run.problem_rows("late", ONE, limit=lambda *_: 0.0)
    assert row["error"].startswith("skipped")


FACTS = {"processor": "P", "cpus": 1, "versions": {"jax": "9.9"}, "timestamp": "2026-01-02T03:04:05+00:00"}


def made(solver, seconds=None, *, problem="3x3x3", form="joint", **more):
    labels = {"problem": problem, "form": form, "solver": solver, "kind": "dense", "dtype": "float64"} | FACTS
    times = {} if seconds is None else {"seconds_warm": seconds, "seconds_cold": 2 * seconds, "distance": 0.0}
    return labels | times | more


ROWS = [
    made("pidjax", 0.01, gap=1e-10, memory_mb=300.0, device="Abacus"),
    made("cvxpy_clarabel", 0.5, distance=1e-3),
    made("cvxpy_ecos", 0.2, error="optimal_inaccurate"),
    made("broja_2pid", 0.4),
    made("dit_cone", error="exceeded 120 s"),
    made("dit_admui", error="skipped: exceeded 120 s at (2, 2, 2)"),
    made("pidjax_binary", 0.5, problem="batch", form="batch", per_second=123456.0, gap=2e-13),
    made("pidjax", 1.5, problem="million", form="tables", gap=3e-12, memory_mb=900.0),
    made("pidjax", problem="import", form="cold start", seconds_cold=0.75),
]


def test_tables_are_made_of_the_rows():
    tables = summarise.summary(ROWS)
    lines = tables.splitlines()
    assert (
        "| 3x3x3 | 10 ms; first 20 ms | 0.5 s (off by 1e-3) | 0.2 s (not optimal) | 0.4 s | > 120 s | skipped | 40 |"
        in lines
    )  # the best exact peer: neither the inaccurate nor the one that gave up
    assert any("pidjax, binary target" in line and "123,456" in line for line in lines)
    assert any(line.startswith("| million | float64 | 1.5 s | 3 s | 3e-12 | 900 |") for line in lines)
    assert "| import, dense | 0.75 s |" in lines
    assert "Abacus" in lines[-1]
    assert "jax 9.9" in lines[-1]
    assert "2026-01-02" in lines[-1]
    assert all(line.count("|") <= 9 for line in lines)  # eight columns


def test_only_what_is_between_the_markers_is_rewritten(tmp_path):
    readme, rows = tmp_path / "README.md", tmp_path / "rows.jsonl"
    readme.write_text(f"before\n{summarise.BEGIN}\nold\n{summarise.END}\nafter\n")
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    tables = command("summarise.py", rows, "--readme", readme).strip()
    text = readme.read_text()
    assert text == f"before\n{summarise.BEGIN}\n\n{tables}\n\n{summarise.END}\nafter\n"
    assert summarise.rewritten(text, tables) == text


def test_the_readme_shows_the_rows_that_are_committed():
    """Numbers come from ``run.py`` through ``summarise.py``, never from a keyboard."""
    text = (ROOT / "README.md").read_text()
    assert summarise.rewritten(text, summarise.summary(read(FOLDER / "discrete.jsonl"))) == text


@pytest.mark.parametrize("text", ["", summarise.BEGIN, f"{summarise.END}{summarise.BEGIN}", summarise.BEGIN * 2])
def test_markers_that_are_not_there_once_are_refused(text):
    with pytest.raises(ValueError, match="each once"):
        summarise.rewritten(text, "tables")


@pytest.mark.slow
def test_the_quick_run_solves_everything_of_ours(tmp_path):
    out = tmp_path / "rows.jsonl"
    command("run.py", "--quick", "--only", *config.QUICK, "cold start", *config.ROUTES, "--out", out)
    rows = read(out)
    assert {row["problem"] for row in rows} == {*config.QUICK, "import", "first call"}
    assert [row for row in rows if "error" in row] == []
    assert all(row["distance"] < 1e-9 for row in rows if row["form"] != "cold start")


@pytest.mark.slow
def test_the_accelerator_benchmark_runs_anywhere(tmp_path):
    out = tmp_path / "rows.jsonl"
    subprocess.run(
        [FOLDER / "gpu.sh", "--quick", "--out", out], env=os.environ | {"PYTHON": sys.executable}, check=True
    )
    rows = read(out)
    assert {row["problem"] for row in rows} == {*config.ACCELERATOR_QUICK}
    assert [row for row in rows if "error" in row] == []
    assert {row["dtype"] for row in rows} == {"float64", "float32"}
    assert summarise.summary(rows)
