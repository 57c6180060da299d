"""The accelerator benchmark: large direct solves and batches, in both precisions, within a time of its own.

    python benchmarks/accelerator.py [--quick] [--out FILE]

Rows as ``run.py`` writes them, to ``rows-DEVICE.jsonl``, with the device's peak memory. Each cell has a process of
its own and no more time than is left; a failure is a row. ``gpu.sh`` calls this. Without a GPU it runs on the CPU.
"""

import argparse
import json
import re
import time
from pathlib import Path

import config
import run

__all__ = ["main"]

LEAST = 15.0  # seconds: with less left nothing is begun


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small problems")
    parser.add_argument("--out", type=Path, help="written anew; rows-DEVICE.jsonl beside this file when not given")
    options = parser.parse_args()
    end = time.monotonic() + config.ACCELERATOR_TOTAL
    rows: list[run.Row] = []

    def limit(*_: object) -> float:
        left = end - time.monotonic()
        return left if left > LEAST else 0.0

    for name, problem in (config.ACCELERATOR_QUICK if options.quick else config.ACCELERATOR).items():
        try:
            for row in run.problem_rows(name, problem, limit=limit, device=True):
                rows.append(row)
                print(run.printed(row), flush=True)
        except Exception as error:  # the problem could not be drawn: no memory on the host
            labels = {"problem": name, "form": problem.form, "dtype": problem.dtype, "solver": problem.solvers[0]}
            rows.append(labels | {"error": f"{type(error).__name__}: {error}"[:300]} | run.facts(device=True))
        device = next((row["device"] for row in rows if "device" in row), "unknown")
        out = options.out or Path(__file__).with_name(f"rows-{re.sub(r'[^A-Za-z0-9]+', '-', device)}.jsonl")
        out.write_text("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


if __name__ == "__main__":
    main()
