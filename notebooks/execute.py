"""Execute notebooks in a fresh kernel and save them, outputs and all, in place.

    python notebooks/execute.py                  # every notebook of this folder
    python notebooks/execute.py 01_discrete      # one of them

Needs ``pip install "pidjax[notebooks]"``; set ``PIDJAX_DATA`` first, or the cells that read files only say so. To
write a notebook: edit it in any editor, without caring for outputs; ``ruff check --fix`` and ``ruff format``; this
script; look at it; commit. ``tests/test_notebooks.py`` checks that what is committed was made this way from the
sources it shows (a digest of them is saved in the notebook), and, with ``-m slow``, that it still runs.
"""

import argparse
import hashlib
import os
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
# As in the tests: one backend, one thread of BLAS, and the faster of XLA's two compilers for programs of this size.
SETTINGS = {
    "JAX_PLATFORMS": "cpu",
    "OPENBLAS_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_use_fusion_emitters=false",
}
MOST_SECONDS = 600  # for one cell


def digest(cells: list[dict[str, Any]]) -> str:
    """A digest of the sources of all code cells: outputs belong to the sources that have it."""
    # In a file a source is a list of lines, in nbformat one string.
    sources = ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()


def execute(path: Path, out: Path) -> None:
    """Run all cells of the notebook ``path`` in a fresh kernel, and write it to ``out``; the first error is raised."""
    try:
        import nbformat
        from nbclient import NotebookClient
    except ImportError as error:
        raise SystemExit(f'{error}; this needs the extra: pip install "pidjax[notebooks]"') from error
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook,
        timeout=MOST_SECONDS,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],  # or it warns of the local socket that it is reached by
        record_timing=False,
        coalesce_streams=True,
    ).execute()
    # Only what does not depend on the machine.
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "pidjax": {"sources": digest(notebook.cells)},
    }
    nbformat.write(notebook, out)


def main() -> None:
    """Execute the notebooks that the command line names, or all."""
    parser = argparse.ArgumentParser(description="Execute notebooks and save them with their outputs.")
    names = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(names)}; none means all")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to save to (default: in place)")
    options = parser.parse_args()
    for name in options.names or names:
        if name not in names:
            parser.error(f"no notebook is called {name}; expected one of {', '.join(names)}")
    for setting, value in SETTINGS.items():
        os.environ.setdefault(setting, value)
    for name in options.names or names:
        print(f"executing {name}", flush=True)
        execute(FOLDER / f"{name}.ipynb", options.out / f"{name}.ipynb")


if __name__ == "__main__":
    main()
