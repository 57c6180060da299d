"""The problems of a table, drawn and saved: one ``.npz`` for every kind and seed."""

from pathlib import Path
from typing import Any

import numpy as np
from config import Problem

__all__ = ["instances", "saved"]


def saved(problem: Problem, folder: str) -> list[tuple[dict[str, Any], str]]:
    """Draw a problem and write it down, so that the solvers' processes need not hold what drew it.

    Args:
        problem: a row of a table.
        folder: where the files go.

    Returns:
        The labels (shape, kind, seed) and the path of every instance.
    """
    found = []
    for number, (kind, seed, arrays) in enumerate(instances(problem)):
        path = Path(folder) / f"{number}.npz"
        np.savez(path, **{name: np.asarray(p, problem.dtype) for name, p in arrays.items()})
        shape = arrays["p"].shape[-3:] if "p" in arrays else problem.shape
        found.append(({"shape": shape, "kind": kind, "seed": seed}, str(path)))
    return found


def instances(problem: Problem) -> list[tuple[str, int | None, dict[str, np.ndarray]]]:
    """Draw a problem, in float64.

    Args:
        problem: a row of a table.

    Returns:
        ``(kind, seed, arrays)`` for every instance; ``arrays`` holds ``p`` (a joint, or a batch of joints), or
        ``p1`` and ``p2``, the joints of each modality and the target.
    """
    import jax

    from pidjax import datasets

    jax.config.update("jax_platforms", "cpu")  # this process leaves the accelerator to those it measures
    if problem.form == "gates":
        return [(name, None, {"p": gate.joint}) for name, gate in datasets.GATES.items()]
    kinds = problem.kinds or datasets.KINDS
    return [(kind, seed, _drawn(problem, kind, seed)) for kind in kinds for seed in problem.seeds]


def _drawn(problem: Problem, kind: str, seed: int) -> dict[str, np.ndarray]:
    import jax

    from pidjax import datasets

    if kind == "direct":  # where the joint has no room in memory
        rng = np.random.default_rng(seed)
        n1, n2, k = problem.shape
        p_y = rng.dirichlet(np.ones(k))
        p1, p2 = (rng.exponential(size=(n, k)) for n in (n1, n2))
        return {"p1": p1 / p1.sum(0) * p_y, "p2": p2 / p2.sum(0) * p_y}
    with jax.enable_x64(True):
        key = jax.random.key(seed)
        if problem.form == "batch":
            keys = jax.random.split(key, problem.count)
            draw = jax.jit(jax.vmap(lambda key: datasets.random_joint(key, problem.shape, kind=kind)))
            return {"p": np.asarray(draw(keys))}
        p = np.asarray(datasets.random_joint(key, problem.shape, kind=kind))
    return {"p1": p.sum(1), "p2": p.sum(0)} if problem.form == "tables" else {"p": p}
