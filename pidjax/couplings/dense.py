"""Dense linear algebra shaped for the solver: unrolled for tiny orders, blocked for large ones.

XLA calls LAPACK once for every matrix of a batch, so under vmap a Cholesky factor of order eight costs more in
the call than in the arithmetic; written out, the whole batch is one fused loop. At the other end, XLA's triangular
solve with a single right side is ten times slower than a product, so large factors carry the inverses of their
diagonal blocks and solve by products.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax.lax.linalg import cholesky as lax_cholesky
from jax.lax.linalg import triangular_solve

from pidjax.typing import Array

__all__ = ["Factor", "factor", "gram_lower", "inverse_factor", "solve", "tiny_cholesky", "tiny_solve_lower"]

UNROLLED_ORDER = 8
BLOCK = 256
GRAM_PARTS = 6


class Factor(NamedTuple):
    """A lower Cholesky factor, with the inverses of its diagonal blocks where it is large (else None)."""

    lower: Array
    inverses: tuple[Array, ...] | None


def tiny_cholesky(matrix: Array) -> Array:
    """Cholesky factor of ``(..., n, n)`` matrices, reading the lower triangle only.

    Args:
        matrix: symmetric positive definite; small ones are unrolled, which is faster under vmap.

    Returns:
        Lower triangular factors, ``(..., n, n)``; NaN where a matrix is not positive definite.
    """
    n = matrix.shape[-1]
    if n > UNROLLED_ORDER:
        return lax_cholesky(matrix, symmetrize_input=False)
    zero = jnp.zeros_like(matrix[..., 0, 0])
    rows = [[zero] * n for _ in range(n)]
    for j in range(n):
        pivot = jnp.sqrt(matrix[..., j, j] - sum((rows[j][m] ** 2 for m in range(j)), zero))
        inverse = 1 / pivot
        rows[j][j] = pivot
        for i in range(j + 1, n):
            rows[i][j] = (matrix[..., i, j] - sum((rows[i][m] * rows[j][m] for m in range(j)), zero)) * inverse
    return jnp.stack([jnp.stack(row, -1) for row in rows], -2)


def tiny_solve_lower(lower: Array, right: Array, *, transpose: bool = False) -> Array:
    """Solve ``L x = right`` (or ``L' x = right``) for ``(..., n, n)`` and ``(..., n, m)``.

    Args:
        lower: lower triangular, ``(..., n, n)``.
        right: ``(..., n, m)``.
        transpose: whether to solve with ``L'``; static.

    Returns:
        x, ``(..., n, m)``.
    """
    n = lower.shape[-1]
    if n > UNROLLED_ORDER:
        return triangular_solve(lower, right, left_side=True, lower=True, transpose_a=transpose)
    solution: list[Array] = [right[..., 0, :]] * n
    order = range(n - 1, -1, -1) if transpose else range(n)
    for i in order:
        done = range(i + 1, n) if transpose else range(i)
        rest = right[..., i, :]
        for m in done:
            entry = lower[..., m, i] if transpose else lower[..., i, m]
            rest = rest - entry[..., None] * solution[m]
        solution[i] = rest / lower[..., i, i][..., None]
    return jnp.stack(solution, -2)


def inverse_factor(lower: Array) -> Array:
    """Inverse of ``(..., n, n)`` lower triangular matrices.

    Args:
        lower: ``(..., n, n)``.

    Returns:
        The inverses, ``(..., n, n)``.
    """
    n = lower.shape[-1]
    return tiny_solve_lower(lower, jnp.broadcast_to(jnp.eye(n, dtype=lower.dtype), lower.shape))


def _blocks(n: int, size: int) -> list[tuple[int, int]]:
    return [(i, min(i + size, n)) for i in range(0, n, size)]


def gram_lower(z: Array) -> Array:
    """``z' z``; for large ``z`` only its block-lower triangle (7/12 of the work), the rest zero.

    Args:
        z: ``(m, n)``.

    Returns:
        ``(n, n)``, of which ``factor`` reads the lower triangle.
    """
    n = z.shape[1]
    if n < 2 * BLOCK:
        return z.T @ z
    columns = [jnp.pad(z[:, i:].T @ z[:, i:j], ((i, 0), (0, 0))) for i, j in _blocks(n, -(-n // GRAM_PARTS))]
    return jnp.concatenate(columns, 1)


def factor(matrix: Array) -> Factor:
    """Cholesky factor of one symmetric positive definite matrix, of which only the lower triangle is read.

    Args:
        matrix: ``(n, n)``.

    Returns:
        A ``Factor`` for ``solve``; of large ones it holds the inverses of the diagonal blocks too.
    """
    lower = tiny_cholesky(matrix)
    n = lower.shape[0]
    if n <= BLOCK:
        return Factor(lower, None)
    return Factor(lower, tuple(inverse_factor(lower[i:j, i:j]) for i, j in _blocks(n, BLOCK)))


def solve(f: Factor, right: Array) -> Array:
    """Solve ``L L' x = right`` for one vector.

    Args:
        f: of ``factor``.
        right: ``(n,)``.

    Returns:
        x, ``(n,)``.
    """
    lower, inverses = f
    if inverses is None:
        half = tiny_solve_lower(lower, right[:, None])
        return tiny_solve_lower(lower, half, transpose=True)[:, 0]
    blocks = _blocks(right.shape[0], BLOCK)
    forward: list[Array] = []
    for inverse, (i, j) in zip(inverses, blocks, strict=True):
        rest = right[i:j] if i == 0 else right[i:j] - lower[i:j, :i] @ jnp.concatenate(forward)
        forward.append(inverse @ rest)
    backward: list[Array] = []
    for inverse, rest, (i, j) in zip(reversed(inverses), reversed(forward), reversed(blocks), strict=True):
        rest = rest - jnp.concatenate(backward) @ lower[j:, i:j] if backward else rest
        backward.insert(0, rest @ inverse)
    return jnp.concatenate(backward)
