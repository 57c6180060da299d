"""What the documents say is so: doctests, and the README's Python."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import pidjax

MODULES = [m.name for m in pkgutil.walk_packages(pidjax.__path__, "pidjax.")]
README = Path(__file__).parent.parent / "README.md"


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name):
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failed == 0


def test_the_readme_runs():
    """Each Python block runs; lines of a comment after a print are what it prints."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    assert blocks
    for block in blocks:
        text = re.sub(r"^print\((.*)\)  # (.*)$", r"shown.append((format_like(\1), '''\2'''))", block, flags=re.M)
        shown = []
        exec(compile(text, "README.md", "exec"), {"shown": shown, "format_like": str})
        for printed, said in shown:
            assert printed == said


def test_the_readme_names_the_tree():
    text = README.read_text()
    for path in sorted(Path(pidjax.__file__).parent.rglob("*.py")):
        if path.name not in ("__init__.py",):
            assert path.name in text, f"{path.name} is missing from the README's map"
