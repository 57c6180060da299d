"""Every notebook is committed as ``notebooks/execute.py`` made it, reads well without running, and still runs."""

import copy
import importlib.util
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXECUTE = ROOT / "notebooks" / "execute.py"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MOST_BYTES = 300_000
# A folder of somebody's machine.
PATH = re.compile(r"(?<![\w.:/])/(?:home|mnt|opt|private|root|tmp|usr|Users|var|work)/|\b[A-Z]:\\")

execute = runpy.run_path(str(EXECUTE))
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def texts(output):
    """What a reader sees of an output, pictures aside."""
    yield from (output.get("text", []), output.get("traceback", []))
    yield from (data for kind, data in output.get("data", {}).items() if not kind.startswith("image/"))


def is_table_or_picture(output):
    data = output.get("data", {})
    return "image/png" in data or "text/html" in data or "| --- |" in "".join(data.get("text/markdown", ""))


def flaws(notebook, *, complete=True):
    """What is wrong with an executed notebook; ``complete`` is false for one that ran without its data."""
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in code for output in cell["outputs"]]
    if [cell["execution_count"] for cell in code] != list(range(1, len(code) + 1)):
        yield "not executed from the first cell to the last"
    if notebook["metadata"].get("pidjax", {}).get("sources") != execute["digest"](notebook["cells"]):
        yield "edited after it was executed"
    for output in outputs:
        if output["output_type"] == "error":
            yield f"an error: {output['ename']}"
        if output.get("name") == "stderr":
            yield f"a warning: {''.join(output['text'])}"
        for text in texts(output):
            if found := PATH.search("".join(text)):
                yield f"an absolute path: {found[0]}"
    if complete and not (code[-1]["outputs"] and is_table_or_picture(code[-1]["outputs"][-1])):
        yield "does not end on a table or a picture (executed without its data?)"


def test_there_are_notebooks():
    assert NOTEBOOKS


@each
def test_what_is_committed_is_executed_and_clean(path):
    assert not list(flaws(json.loads(path.read_text()))), f"run: python notebooks/execute.py {path.stem}"
    assert path.stat().st_size <= MOST_BYTES


@pytest.mark.parametrize(
    ("spoil", "flaw"),
    [
        (lambda code: code[1].update(execution_count=7), "not executed"),
        (lambda code: code[0]["source"].append("\n1 / 0"), "edited"),
        (lambda code: code[0]["outputs"].append({"output_type": "error", "ename": "E", "traceback": []}), "an error"),
        (
            lambda code: code[0]["outputs"].append({"output_type": "stream", "name": "stderr", "text": ["old"]}),
            "a warning: old",
        ),
        (
            lambda code: code[0]["outputs"].append({"output_type": "stream", "name": "stdout", "text": ["in /work/x"]}),
            "an absolute path: /work/",
        ),
        (lambda code: code[-1]["outputs"].clear(), "does not end"),
    ],
)
def test_each_flaw_is_found(spoil, flaw):
    notebook = copy.deepcopy(json.loads(NOTEBOOKS[0].read_text()))
    spoil([cell for cell in notebook["cells"] if cell["cell_type"] == "code"])
    (found,) = flaws(notebook)
    assert found.startswith(flaw)


@each
@pytest.mark.slow
@pytest.mark.skipif(
    not all(importlib.util.find_spec(package) for package in ("nbclient", "ipykernel")),
    reason='executing notebooks needs an extra: pip install "pidjax[notebooks]"',
)
@pytest.mark.parametrize("with_data", [False, True], ids=["without_data", "with_data"])
def test_it_runs_in_a_fresh_kernel(path, with_data, tmp_path):
    python_path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    env = {**os.environ, **execute["SETTINGS"], "PYTHONPATH": python_path}
    if not with_data:
        env.pop("PIDJAX_DATA", None)
    elif "PIDJAX_DATA" not in env:
        pytest.skip("set PIDJAX_DATA to the folder of the data files")
    command = [sys.executable, EXECUTE, path.stem, "--out", tmp_path]
    run = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-4000:]
    assert not list(flaws(json.loads((tmp_path / path.name).read_text()), complete=with_data))
