"""One training step of PID-BATCH at batch 256: pidjax's against the published one, on the same log posteriors.

    PID_PATH=~/PID PID_PYTHON=~/torch/bin/python python benchmarks/batch_step.py > batch_step.jsonl

PID_PATH is a checkout of github.com/pliang279/PID, PID_PYTHON an interpreter with torch. Each cell runs in a process
of its own on one core and one thread, and prints one line of JSON: the median ``seconds`` of a step, the least and the
most of them, the first apart (``seconds_first``: with compilation, or the first growth of memory), ``memory_mb`` at the
peak, ``loss`` of the first step; or ``error``. The published code sweeps up to 500 times, fewer where its stopping rule
is met by chance; the cells with 20 sweeps say what is left at equal work. ``summarise.py --table batch_step`` makes the
table.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["CELLS", "main"]

BATCH = 256
STEPS, ENOUGH = 21, 15.0  # steps at most, seconds after which none begins
LIMIT = 300.0  # seconds of a process
# Who, labels, noise, sweeps at most. With 101 labels and 500 sweeps the published step needs about 50 GB.
CELLS: list[tuple[str, int, float, int]] = [
    (who, labels, noise, sweeps)
    for labels, noise in ((2, 0.5), (10, 0.5), (101, 0.3))
    for who, sweeps in (("pidjax", 20), ("published", 20), ("published", 500))
    if (labels, sweeps) != (101, 500)
]
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def _log_posteriors(labels: int, noise: float, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A minibatch of one-hot labels under noise, seen twice: ``log p(y|x1), log p(y|x2)`` and the labels."""
    rng = np.random.default_rng(number)
    y = rng.integers(0, labels, BATCH)
    found = []
    for _ in range(2):
        logits = (np.eye(labels)[y] + noise * rng.normal(size=(BATCH, labels))) / noise**2
        logits -= logits.max(1, keepdims=True)
        found.append((logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32))
    return found[0], found[1], y


def _peak_mb() -> float:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def _timed(step: Any, labels: int, noise: float) -> dict[str, Any]:
    """Step until enough, each on a minibatch of its own: ``step(minibatch)`` makes one and returns its loss."""
    losses, seconds = [], []
    while len(seconds) < STEPS and sum(seconds[1:]) < ENOUGH:
        minibatch = _log_posteriors(labels, noise, len(seconds))
        start = time.perf_counter()
        losses.append(float(step(*minibatch)))
        seconds.append(time.perf_counter() - start)
    warm = seconds[1:] or seconds
    return {
        "seconds": statistics.median(warm), "seconds_least": min(warm), "seconds_most": max(warm),
        "seconds_first": seconds[0], "steps": len(seconds), "loss": losses[0],
        "memory_mb": round(_peak_mb()),
    }  # fmt: skip


def _pidjax(labels: int, noise: float, sweeps: int) -> dict[str, Any]:
    import jax

    from pidjax.estimators.batch import batch_alignment
    from pidjax.typing import Samples

    key, estimator = jax.random.key(0), batch_alignment(classes=labels, sweeps=sweeps).estimator
    update, state = jax.jit(estimator.update), estimator.init(key, Samples(*_log_posteriors(labels, noise, 0)[:2]))

    def step(log_p1: Any, log_p2: Any, _: Any) -> Any:
        nonlocal state
        state, loss = jax.block_until_ready(update(key, state, Samples(log_p1, log_p2)))
        return loss

    return _timed(step, labels, noise)


def _published(labels: int, noise: float, sweeps: int) -> dict[str, Any]:
    import types

    import torch

    torch.set_num_threads(1)
    source = (Path(os.environ["PID_PATH"]) / "estimators/ce_alignment_information.py").read_text()
    assert source.count("range(500)") == 1
    sys.modules.setdefault("matplotlib", types.ModuleType("matplotlib"))  # imported there, and not used
    sys.modules.setdefault("matplotlib.pyplot", types.ModuleType("matplotlib.pyplot"))
    theirs: dict[str, Any] = {"__name__": "published"}
    exec(compile(source.replace("range(500)", f"range({sweeps})"), "published", "exec"), theirs)
    torch.manual_seed(0)
    model = theirs["CEAlignmentInformation"](
        x1_dim=labels, x2_dim=labels, hidden_dim=32, embed_dim=10, num_labels=labels, layers=3, activation="relu",
        discrim_1=lambda x: x, discrim_2=lambda x: x, discrim_12=lambda a, b: a + b, p_y=torch.ones(labels) / labels,
    )  # fmt: skip
    optimiser = torch.optim.Adam(model.align_parameters(), lr=1e-3)

    def step(*minibatch: Any) -> Any:
        x1, x2, y = map(torch.from_numpy, minibatch)
        optimiser.zero_grad()
        loss = model(x1, x2, y[:, None])[0]
        loss.backward()
        optimiser.step()
        return loss.item()

    return _timed(step, labels, noise)


def _cell(who: str, labels: str, noise: str, sweeps: str) -> dict[str, Any]:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    try:
        return (_pidjax if who == "pidjax" else _published)(int(labels), float(noise), int(sweeps))
    except Exception as error:
        return {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}


def main() -> None:
    """Run every cell, one after the other."""
    import run  # not at the top: cells of the peer lack what it imports

    environment = dict(os.environ, JAX_PLATFORMS="cpu", JAX_ENABLE_COMPILATION_CACHE="false", **ONE_THREAD)
    for cell in CELLS:
        python = sys.executable if cell[0] == "pidjax" else os.environ["PID_PYTHON"]
        with tempfile.TemporaryFile("w+") as out:
            try:
                command = [python, __file__, *map(str, cell)]
                subprocess.run(command, stdout=out, env=environment, timeout=LIMIT, check=True)
                out.seek(0)
                answer = json.loads(out.read())
            except (subprocess.SubprocessError, json.JSONDecodeError) as error:
                answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        row = dict(zip(("solver", "labels", "noise", "sweeps"), cell, strict=True)) | answer | run.facts()
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        with contextlib.redirect_stdout(sys.stderr):  # the published step prints
            line = _cell(*sys.argv[1:])
        print(json.dumps(line))
