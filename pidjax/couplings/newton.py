"""The Newton system of the interior point method: assembled, factored once, solved for several right sides.

Unknowns are steps of the potentials ``da[x1, y]``, ``db[x2, y]``. With ``u = exp a``, ``v = exp b``, ``s = u v'``,
``rho = r / s`` and ``D = (r / w - r) / s^2`` the matrix is

    H_aa[i] = u_i u_i' * (sum_j D_ij v_j v_j') + diag(q1_i)      (a k x k block for each x1)
    H_bb[j] = v_j v_j' * (sum_i D_ij u_i u_i') + diag(q2_j)
    H_ab[i y, j z] = u_iy v_jz (D_ij u_iz v_jy + rho_ij [y = z])

Rows x1 (the larger side) are eliminated block by block; what is left is a Schur complement of order n2 k. The free
gauge (a + c_y, b - c_y) is pinned by one rank-one term for each label.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pidjax.couplings import dense
from pidjax.typing import Array

__all__ = ["Point", "Support", "System", "factorise", "solve"]


class Support(NamedTuple):
    """Which cells are unknowns: flat indices into ``p1`` and ``p2``, distinct, every occupied cell among them."""

    rows: Array
    columns: Array


class Point(NamedTuple):
    """An iterate as the Newton system sees it; masked cells of u and v are exactly zero."""

    u: Array
    v: Array
    rho: Array
    curvature: Array  # D above
    q1: Array
    q2: Array
    m1: Array
    m2: Array


class System(NamedTuple):
    """A factored Newton system, Jacobi-scaled by ``scale1`` and ``scale2``."""

    point: Point
    scale1: Array
    scale2: Array
    blocks: Array  # Cholesky factors of the H_aa blocks (small), or their inverses (large)
    z: Array  # L^-1 H_ab, (n1 k, m)
    schur: dense.Factor
    columns: Array | None


_Refinement = tuple[tuple[Array, Array], tuple[Array, Array], Array]  # solution, residual, rounds


def _diagonal(blocks: Array) -> Array:
    return jnp.diagonal(blocks, axis1=-2, axis2=-1)


def _own_blocks(u: Array, v: Array, curvature: Array, q: Array, mask: Array) -> Array:
    n, k = u.shape
    pairs = (v[:, :, None] * v[:, None, :]).reshape(-1, k * k)
    blocks = u[:, :, None] * u[:, None, :] * (curvature @ pairs).reshape(n, k, k)
    return blocks + jnp.where(mask, q, 1.0)[:, :, None] * jnp.eye(k, dtype=u.dtype)[None]


def factorise(point: Point, regularisation: Array, support: Support | None, *, large: bool) -> System:
    """Assemble and factor the system at a point."""
    u, v, rho, curvature, q1, q2, m1, m2 = point
    (n1, k), n2 = u.shape, v.shape[0]
    eye = jnp.eye(k, dtype=u.dtype)
    h_aa = _own_blocks(u, v, curvature, q1, m1)
    h_bb = _own_blocks(v, u, curvature.T, q2, m2)
    scale1, scale2 = 1 / jnp.sqrt(_diagonal(h_aa)), 1 / jnp.sqrt(_diagonal(h_bb))
    h_aa = h_aa * scale1[:, :, None] * scale1[:, None, :] + regularisation * eye[None]
    h_bb = h_bb * scale2[:, :, None] * scale2[:, None, :] + regularisation * eye[None]
    gauge = jnp.where(m2, 1 / scale2, 0.0)
    length = jnp.sum(gauge**2, 0)
    gauge = gauge / jnp.sqrt(jnp.where(length > 0, length, 1.0))[None, :]

    scaled_v = (v * scale2).reshape(-1)
    if support is None:
        columns = None
        curved = (curvature[:, :, None] * u[:, None, :]).reshape(n1, n2 * k)
        label = jnp.tile(eye, (1, n2))
        other = jnp.repeat(v.T, k, axis=1)
        flat_rho = jnp.repeat(rho, k, axis=1)
        same = jnp.eye(n2, dtype=u.dtype)[:, None, :, None]
        corner = (same * h_bb[:, :, None, :]).reshape(n2 * k, n2 * k)
        gauge_flat = gauge.reshape(-1)
    else:
        columns = support.columns
        j, y = columns // k, columns % k
        curved = curvature[:, j] * u[:, y]
        label = eye[:, y]
        other = v[j].T
        flat_rho, scaled_v = rho[:, j], scaled_v[columns]
        corner = jnp.where(j[:, None] == j[None, :], h_bb[j, y][:, y], 0.0)
        gauge_flat = gauge.reshape(-1)[columns]
    # H_ab, scaled; the two (n1, m) factors carry everything that does not depend on the row's label.
    first, second = curved * scaled_v[None, :], flat_rho * scaled_v[None, :]
    h_ab = (u * scale1)[:, :, None] * (first[:, None, :] * other[None] + second[:, None, :] * label[None])

    blocks = dense.tiny_cholesky(h_aa)
    if large:
        blocks = dense.inverse_factor(blocks)
        z = jnp.einsum("iab,ibm->iam", blocks, h_ab)
    else:
        z = dense.tiny_solve_lower(blocks, h_ab)
    z = z.reshape(n1 * k, -1)
    occupied = z if support is None else z[support.rows]
    pinned = gauge_flat[:, None] * gauge_flat[None, :] * (label.T @ label)
    schur = dense.factor(corner + pinned - dense.gram_lower(occupied))
    return System(point, scale1, scale2, blocks, z, schur, columns)


def _apply_once(system: System, ga: Array, gb: Array, *, large: bool) -> tuple[Array, Array]:
    (n1, k), n2 = system.scale1.shape, system.scale2.shape[0]
    ga, right = ga * system.scale1, (gb * system.scale2).reshape(-1)
    if system.columns is not None:
        right = right[system.columns]
    if large:
        half = jnp.einsum("iab,ib->ia", system.blocks, ga)
    else:
        half = dense.tiny_solve_lower(system.blocks, ga[:, :, None])[:, :, 0]
    db = dense.solve(system.schur, right - half.reshape(-1) @ system.z)
    rest = half - (system.z @ db).reshape(n1, k)
    if large:
        da = jnp.einsum("iba,ib->ia", system.blocks, rest)
    else:
        da = dense.tiny_solve_lower(system.blocks, rest[:, :, None], transpose=True)[:, :, 0]
    if system.columns is not None:
        db = jnp.zeros((n2 * k,), db.dtype).at[system.columns].set(db)
    return da * system.scale1, db.reshape(n2, k) * system.scale2


def _product(point: Point, da: Array, db: Array) -> tuple[Array, Array]:
    """H times a vector, from thin matrices only."""
    u, v, rho, curvature, q1, q2, m1, m2 = point
    ua, vb = u * da, v * db
    t = curvature * (ua @ v.T + u @ vb.T)
    return (
        jnp.where(m1, q1 * da + u * (rho @ vb + t @ v), 0.0),
        jnp.where(m2, q2 * db + v * (rho.T @ ua + t.T @ u), 0.0),
    )


def solve(system: System, ga: Array, gb: Array, accuracy: Array, *, large: bool) -> tuple[Array, Array]:
    """Solve ``H (da, db) = (ga, gb)`` with one step of refinement; where large, only if ``accuracy`` calls for it.

    ``accuracy`` is the l1 norm that the residual may have. A large solve is bound by memory, and the residual, made
    of thin products, costs next to nothing.
    """

    def improve(x: tuple[Array, Array], residual: tuple[Array, Array]) -> tuple[Array, Array]:
        ea, eb = _apply_once(system, *residual, large=large)
        return x[0] + ea, x[1] + eb

    def residual(x: tuple[Array, Array]) -> tuple[Array, Array]:
        ha, hb = _product(system.point, *x)
        return ga - ha, gb - hb

    def norm(x: tuple[Array, Array]) -> Array:
        return jnp.sum(jnp.abs(x[0])) + jnp.sum(jnp.abs(x[1]))

    zero = (jnp.zeros_like(ga), jnp.zeros_like(gb))
    if not large:
        first = improve(zero, (ga, gb))
        return improve(first, residual(first))
    enough = jnp.minimum(accuracy, 1e-3 * norm((ga, gb)))

    def refine(state: _Refinement) -> _Refinement:
        x, rest, count = state
        x = improve(x, rest)
        return x, residual(x), count + 1

    def unfinished(state: _Refinement) -> Array:
        _, rest, count = state
        return (count == 0) | ((count < 2) & (norm(rest) > enough))

    return jax.lax.while_loop(unfinished, refine, (zero, (ga, gb), jnp.asarray(0)))[0]
