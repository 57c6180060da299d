#!/usr/bin/env bash
# The accelerator benchmark in one command, under eight minutes: rows in benchmarks/rows-DEVICE.jsonl.
# PYTHON names the interpreter. Nothing is installed but pidjax, and that only where it can't be imported.
#   benchmarks/gpu.sh [--quick] [--out FILE]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
"$python" -c 'import pidjax' 2>/dev/null || "$python" -m pip install --quiet -e .
timeout --kill-after=5 470 "$python" benchmarks/accelerator.py "$@"
