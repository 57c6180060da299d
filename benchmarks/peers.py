"""The peers behind one signature: a joint ``p[x1, x2, y]`` to its union information in nats.

A peer is loaded first, so that its imports are not timed: ``load("cvxpy_clarabel")(p)``. An answer that the peer
itself does not call optimal is raised as ``NotSolved``. BROJA_2PID is not on PyPI: put a checkout of
https://github.com/Abzinger/BROJA_2PID at the path in ``BROJA_2PID_PATH``.
"""

import functools
import math
import os
import sys
from collections.abc import Callable

import numpy as np

__all__ = ["LOADERS", "NotSolved", "load"]

Solver = Callable[[np.ndarray], float]


class NotSolved(RuntimeError):
    """The peer says itself that its answer is not optimal; ``value`` is that answer, NaN where there is none."""

    def __init__(self, message: str, value: float = math.nan) -> None:
        super().__init__(message)
        self.value = value


def _entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return -float(p @ np.log(p))


def _mutual_information(p: np.ndarray) -> float:
    return _entropy(p.sum(0)) + _entropy(p.sum(1)) - _entropy(p.ravel())


def _accepted(value: float, optimal: bool, status: object) -> float:
    if not optimal:
        raise NotSolved(str(status), float(value))
    return float(value)


def _cvxpy(solver: str) -> Solver:
    """Minimise sum q log(q / m), one variable for every cell that can be occupied; m(x1, x2) is its sum over y."""
    import cvxpy as cp
    from scipy import sparse

    if solver not in cp.installed_solvers():
        raise ImportError(f"cvxpy finds no {solver}")

    def solve(p: np.ndarray) -> float:
        p1, p2 = p.sum(1), p.sum(0)
        _, n2, k = p.shape
        i, j, y = np.nonzero((p1 > 0)[:, None, :] & (p2 > 0)[None, :, :])
        ones, cell = np.ones(len(i)), np.arange(len(i))

        def sums(group: np.ndarray) -> tuple[np.ndarray, sparse.csr_array]:
            """The matrix that adds the cells of each group, and the groups, in order."""
            groups, row = np.unique(group, return_inverse=True)
            return groups, sparse.csr_array((ones, (row, cell)), shape=(len(groups), len(cell)))

        (cells1, sum1), (cells2, sum2), (pairs, over_y) = sums(i * k + y), sums(j * k + y), sums(i * n2 + j)
        q, m = cp.Variable(len(cell)), cp.Variable(len(pairs))
        marginals = [sum1 @ q == p1.ravel()[cells1], sum2 @ q == p2.ravel()[cells2], over_y @ q == m]
        problem = cp.Problem(cp.Minimize(cp.sum(cp.rel_entr(q, over_y.T @ m))), marginals)
        problem.solve(solver=solver)
        if q.value is None:
            raise NotSolved(problem.status)
        found = np.maximum(q.value, 0.0)  # ``problem.value`` is infinite where a cell is a hair below zero
        value = _entropy(p1.sum(0)) + _entropy(over_y @ found) - _entropy(found)
        return _accepted(value, problem.status == cp.OPTIMAL, problem.status)

    return solve


def _broja_2pid() -> Solver:
    path = os.environ.get("BROJA_2PID_PATH")
    if path and path not in sys.path:
        sys.path.insert(0, path)
    try:
        from broja2pid import BROJA_2PID
    except ImportError as error:
        raise ImportError(f"{error} (not on PyPI: BROJA_2PID_PATH names a checkout; it needs ecos)") from error

    def solve(p: np.ndarray) -> float:
        # Its target comes first.
        pdf = {(y, i, j): float(p[i, j, y]) for i, j, y in zip(*map(np.ndarray.tolist, np.nonzero(p)), strict=True)}
        atoms = BROJA_2PID.pid(pdf, cone_solver="ECOS", output=0, keep_solver_object=True, verbose=False)
        status = atoms["Solver Object"].sol_info["exitFlag"]  # ECOS: 0 is optimal, 10 nearly so
        bits = atoms["SI"] + atoms["UIY"] + atoms["UIZ"]
        return _accepted(bits * math.log(2), status == 0, f"ECOS exit flag {status}")

    return solve


def _dit_cone() -> Solver:
    """The cone program alone: ``PID_BROJA(method="cone")`` falls back to other solvers without a word."""
    import dit
    import ecos  # noqa: F401
    from dit.algorithms.broja_cone import broja_cone_solve

    def solve(p: np.ndarray) -> float:
        _, meta = broja_cone_solve(dit.Distribution.from_ndarray(p), [[0], [1]], [2])
        value = _mutual_information(p.sum(0)) + meta["ui_source0"] * math.log(2)
        return _accepted(value, bool(meta["converged"]), "its feasibility check failed")

    return solve


def _dit_admui() -> Solver:
    """Alternating minimisation with dit's own settings (eps 1e-7, 1000 iterations), without its fall-backs."""
    import dit
    from dit.algorithms.admui import admui_dist

    def solve(p: np.ndarray) -> float:
        q, meta = admui_dist(dit.Distribution.from_ndarray(p), [[0], [1]], [2])
        # Its alphabets hold the symbols that occur, in order.
        q = np.asarray(q.pmf).reshape(*(len(alphabet) for alphabet in q.alphabet))
        value = _mutual_information(q.reshape(-1, q.shape[2]))
        return _accepted(value, meta["converged"], f"not converged in {meta['n_iters']} iterations")

    return solve


LOADERS: dict[str, Callable[[], Solver]] = {
    "cvxpy_clarabel": functools.partial(_cvxpy, "CLARABEL"),
    "cvxpy_ecos": functools.partial(_cvxpy, "ECOS"),
    "broja_2pid": _broja_2pid,
    "dit_cone": _dit_cone,
    "dit_admui": _dit_admui,
}


def load(name: str) -> Solver:
    """Import a peer.

    Args:
        name: a key of ``LOADERS``.

    Returns:
        The function ``p[x1, x2, y] -> union information`` (nats); it raises ``NotSolved`` for an answer that the
        peer does not call optimal.

    Raises:
        ImportError: the peer, or what it needs, is not installed.
    """
    with np.errstate():  # dit silences NumPy's warnings, for the whole process, when it is imported
        return LOADERS[name]()
