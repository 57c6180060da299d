"""The house stands: imports go down, files stay short, nothing is left undone."""

import ast
import re
from pathlib import Path

import pytest

import pidjax

ROOT = Path(pidjax.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
# A module imports only from floors below its own; inside a folder its face may import its parts.
FLOORS = [
    {"typing", "_precision", "_checks"},
    {"info"},
    {"pid"},
    {"joint", "couplings", "lattice", "calibration", "gaussian"},
    {"quantise", "reconciled", "gaussian_coupling", "gaussian_sources"},
    {"datasets", "posteriors", "bounds", "accuracy"},
    {"bootstrap"},
    {"gaussian_samples"},
    {"normal_scores"},
    {"estimators"},
    {"applications"},
    {"pointwise"},
    {"report"},
    {"unpaired", "metered"},
    {"resampling", "inputs"},
    {"quantify_lsmi", "quantify_posteriors", "quantify_unpaired", "quantify_infometer", "quantify_gaussian"},
    {"quantify"},
    {"__main__"},
]
GROUND = ["typing", "_precision", "_checks"]  # within the lowest floor, in this order
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}


def room(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0]


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "pidjax":
            parts = node.module.split(".")[1:]
            yield from [parts[0]] if parts else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from [alias.name.split(".")[1] for alias in node.names if alias.name.startswith("pidjax.")]


@pytest.mark.parametrize("path", [f for f in FILES if f != ROOT / "__init__.py"], ids=lambda p: p.stem)
def test_a_module_imports_only_from_floors_below(path):
    own = room(path)
    for other in imported(path):
        if other == own:
            continue
        if other in GROUND and own in GROUND:
            assert GROUND.index(other) < GROUND.index(own)
        else:
            assert LEVEL[other] < LEVEL[own], f"{path.name} imports {other}"


def test_every_module_has_a_floor():
    assert {room(path) for path in FILES if path.name != "__init__.py" or path.parent != ROOT} == set(LEVEL)


def test_the_package_face_is_nothing_but_imports():
    kinds = {type(node) for node in ast.parse((ROOT / "__init__.py").read_text()).body}
    assert kinds <= {ast.Expr, ast.ImportFrom, ast.Assign}
    assert sorted(set(pidjax.__all__)) == sorted(pidjax.__all__)
    assert all(hasattr(pidjax, name) for name in pidjax.__all__)


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}.{p.stem}")
def test_a_file_is_short_finished_and_silent(path):
    text = path.read_text()
    assert text.count("\n") <= 450
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", text)
    if path.name != "__main__.py":
        calls = [node.func for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
        assert not [f for f in calls if isinstance(f, ast.Name) and f.id == "print"]


def public_functions():
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in pidjax.__all__:
                yield pytest.param(node, id=node.name)


@pytest.mark.parametrize("node", list(public_functions()))
def test_a_public_docstring_says_everything(node):
    doc = ast.get_docstring(node) or ""
    if isinstance(node, ast.FunctionDef):
        assert "Args:" in doc
        assert "Returns:" in doc
        assert "Example:" in doc
    elif not issubclass(getattr(pidjax, node.name), tuple) and node.name != "Solution":  # results of other functions
        assert "Example:" in doc
