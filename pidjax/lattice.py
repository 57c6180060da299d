"""The redundancy lattice of two, three or four sources, value by value.

The redundancy of a node, a set {A1, ..., Am} of sets of sources none of which holds another, is the least surprisal
of its sets less the least surprisal given the target. What a node holds beyond all the nodes below it, its atom,
follows by Moebius inversion: integers, computed once.
"""

import functools
import re
from dataclasses import dataclass, field
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from pidjax import _checks
from pidjax._precision import in_own_precision, is_traced
from pidjax.info import safe_log
from pidjax.typing import Array, ArrayLike

__all__ = ["Lattice", "Node", "antichains", "lattice_from_joint", "node_name", "pointwise_lattice"]

Node: TypeAlias = tuple[tuple[int, ...], ...]
# Five sources have 7,579 nodes: their matrices would fit, their meaning would not.
SOURCES = (2, 3, 4)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Lattice:
    """Atoms and redundancies of every node, in the order of ``antichains(sources)``. Nats.

    Attributes:
        atoms: what a node holds and no node below it, ``(..., m)`` with m = 4, 18 or 166 nodes.
        redundancies: what the sets of a node say alike, the sum of the atoms of the nodes at or below it.
        sources: how many sources, static.

    Example:
        >>> p = np.zeros((2, 2, 2)); p[[0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1]] = 0.25
        >>> lattice = lattice_from_joint(p)
        >>> lattice["{12}"][1, 1, 1].round(6), lattice.redundancy("{12}")[1, 1, 1].round(6)
        (np.float64(0.693147), np.float64(1.386294))
    """

    atoms: Array
    redundancies: Array
    sources: int = field(metadata={"static": True})

    def __getitem__(self, name: str) -> Array:
        """The atom of a node by its name, such as ``"{1}{23}"``, shape ``(...)``."""
        return self.atoms[..., _position(name, self.sources)]

    def redundancy(self, name: str) -> Array:
        """The redundancy of a node by its name, shape ``(...)``."""
        return self.redundancies[..., _position(name, self.sources)]


@functools.cache
def antichains(sources: int) -> tuple[Node, ...]:
    """The nodes of the lattice: every set of sets of sources in which no set holds another.

    From the bottom up: by how many nodes lie below, then by name; so each node stands after all those below it.

    Args:
        sources: how many sources, 2, 3 or 4.

    Returns:
        4, 18 or 166 nodes, each a tuple of sets, each set a tuple of source numbers from 1.

    Raises:
        ValueError: another number of sources.

    Example:
        >>> [node_name(node) for node in antichains(2)]
        ['{1}{2}', '{1}', '{2}', '{12}']
        >>> antichains(3)[1], len(antichains(3)), len(antichains(4))
        (((1,), (2,)), 18, 166)

    References:
        Williams & Beer 2010, "Nonnegative decomposition of multivariate information", arXiv 1004.2515, section 3.
    """
    _require_sources(sources)
    masks = range(1, 2**sources)
    found: list[tuple[int, ...]] = [()]
    for mask in masks:  # adding sets in one order only: each antichain is found once
        found += [(*node, mask) for node in found if all(mask & other not in (mask, other) for other in node)]
    nodes = [tuple(sorted(map(_members, node))) for node in found[1:]]
    below = {node: sum(_is_below(other, node) for other in nodes) for node in nodes}
    return tuple(sorted(nodes, key=lambda node: (below[node], node)))


def node_name(node: Node) -> str:
    """The readable name of a node.

    Args:
        node: a tuple of sets, as in ``antichains``.

    Returns:
        Its sets in braces.

    Example:
        >>> node_name(((1,), (2, 3)))
        '{1}{23}'
    """
    return "".join("{" + "".join(map(str, members)) + "}" for members in node)


@in_own_precision
def pointwise_lattice(h: ArrayLike, i: ArrayLike, *, sources: int) -> Lattice:
    """The lattice of each value, from the surprisals and informations of every set of sources.

    ``redundancy{A1, ..., Am} = min_j h(A_j) - min_j h(A_j | y)`` with ``h(A | y) = h(A) - i(A; y)``, and the atoms
    by Moebius inversion. Surprisals depend on the units of continuous sources, and the minima with them.

    Args:
        h: surprisals ``-log p(a)``, ``(..., 2^n - 1)``, nats: the set of sources at position ``mask - 1`` holds
            source s where bit ``s - 1`` of the mask is set ({1}, {2}, {12}, {3}, {13}, {23}, {123}, ...).
        i: pointwise informations ``log p(y | a) / p(y)``, likewise. A value with a surprisal of +inf or an
            information of -inf can't occur: all its atoms and redundancies are NaN.
        sources: n, 2, 3 or 4.

    Returns:
        ``Lattice`` with leaves ``(..., m)``. Their means are the dataset's values.

    Raises:
        ValueError: NaN, a surprisal of -inf, an information of +inf, or shapes that don't fit.

    Example:
        >>> h, i = np.log([2.0, 2.0, 4.0]), np.log([2.0, 2.0, 4.0])  # AND, the cell where all is one
        >>> lattice = pointwise_lattice(h, i, sources=2)
        >>> [float(lattice[name].round(6)) for name in ("{1}{2}", "{1}", "{2}", "{12}")]
        [0.693147, 0.0, 0.0, 0.693147]

    References:
        Finn & Lizier 2018, "Pointwise partial information decomposition using the specificity and ambiguity
        lattices", Entropy 20(4), 297: the two minima are its specificity and ambiguity.
    """
    _require_sources(sources)
    h, i = checked_pointwise({"h": h}, {"i": i})
    _checks.require(
        h.ndim >= 1 and h.shape[-1] == 2**sources - 1,
        f"h and i have shape {h.shape}; expected (..., {2**sources - 1}), one for each set of {sources} sources",
    )
    return _lattice(h, i, sources=sources)


@in_own_precision
def lattice_from_joint(p: ArrayLike) -> Lattice:
    """The lattice of every cell of an exact joint; its p-weighted mean is the decomposition of the joint.

    Args:
        p: joint array ``p[x1, ..., xn, y]`` of 2, 3 or 4 sources, target last.

    Returns:
        ``Lattice`` with leaves ``(*p.shape, m)``, 0 in empty cells.

    Raises:
        ValueError: not a probability mass function of rank three to five.

    Example:
        >>> p = np.zeros((2, 2, 2, 2))
        >>> for a, b, c in np.ndindex(2, 2, 2):
        ...     p[a, b, c, a ^ b ^ c] = 1 / 8
        >>> atoms = np.tensordot(p, lattice_from_joint(p).atoms, p.ndim)
        >>> [(node_name(antichains(3)[m]), float(atoms[m].round(6))) for m in np.flatnonzero(atoms.round(9))]
        [('{123}', 0.693147)]
    """
    p = jnp.asarray(_checks.pmf(p, name="p"))
    _checks.require(
        p.ndim - 1 in SOURCES, f"p has rank {p.ndim} (shape {p.shape}); expected 2, 3 or 4 sources and the target last"
    )
    lattice = _lattice(*cell_values(p), sources=p.ndim - 1)
    return jax.tree.map(lambda leaf: jnp.where((p == 0)[..., None], 0.0, leaf), lattice)


@jax.jit
def cell_values(p: Array) -> tuple[Array, Array]:
    """Surprisals and informations of every cell of a checked joint, ``(*p.shape, 2^n - 1)``; finite everywhere."""
    axes = tuple(range(p.ndim - 1))
    log_y = safe_log(p.sum(axes, keepdims=True))
    h, i = [], []
    for mask in range(1, 2 ** len(axes)):
        pair = p.sum(tuple(axis for axis in axes if not mask >> axis & 1), keepdims=True)
        log_a = safe_log(pair.sum(-1, keepdims=True))
        h.append(jnp.broadcast_to(-log_a, p.shape))
        i.append(jnp.broadcast_to(safe_log(pair) - log_a - log_y, p.shape))
    return jnp.stack(h, -1), jnp.stack(i, -1)


def checked_pointwise(surprisals: dict[str, ArrayLike], informations: dict[str, ArrayLike]) -> list[Array]:
    """Surprisals and informations of one shape, checked: NaN, h = -inf and i = +inf are refused.

    Inside jit what was refused comes out as NaN, value by value, so that every sum it enters is NaN.
    """
    arrays = {name: jnp.asarray(_checks.as_float(x, name)) for name, x in (surprisals | informations).items()}
    shapes = {x.shape for x in arrays.values()}
    found = ", ".join(f"{name} {x.shape}" for name, x in arrays.items())
    _checks.require(len(shapes) == 1, f"the shapes differ ({found}); expected one value of each for every sample")
    return [_checked(name, x, -np.inf if name in surprisals else np.inf) for name, x in arrays.items()]


def _checked(name: str, x: Array, impossible: float) -> Array:
    seen = jax.lax.stop_gradient(x)
    wrong = jnp.isnan(seen) | (seen == impossible)
    _checks.ensure(
        jnp.logical_not(wrong.any()),
        lambda: (
            f"{name} has {int(wrong.sum())} values that are NaN or {impossible}; look where a density or a "
            "probability was zero before its logarithm (jax.nn.log_softmax never is)"
        ),
    )
    return jnp.where(wrong, jnp.nan, x) if is_traced(wrong) else x


@functools.partial(jax.jit, static_argnames="sources")
def _lattice(h: Array, i: Array, *, sources: int) -> Lattice:
    columns, moebius = _tables(sources)
    # As max_j (i_j - (h_j - min h)): differences of surprisals only, which may be large and cancel.
    least = functools.reduce(jnp.minimum, (h[..., column] for column in columns))
    redundancies = functools.reduce(jnp.maximum, (i[..., c] - (h[..., c] - least) for c in columns))
    possible = (jnp.isfinite(h) & jnp.isfinite(i)).all(-1, keepdims=True)
    redundancies = jnp.where(possible, redundancies, jnp.nan)
    atoms = jnp.matmul(redundancies, jnp.asarray(moebius.T, redundancies.dtype), precision=jax.lax.Precision.HIGHEST)
    return Lattice(atoms=atoms, redundancies=redundancies, sources=sources)


@functools.cache
def _tables(sources: int) -> tuple[np.ndarray, np.ndarray]:
    """For each node the positions of its sets, ``(most sets, m)``, the first repeated; and the Moebius matrix."""
    nodes = antichains(sources)
    positions = [[sum(1 << (s - 1) for s in members) - 1 for members in node] for node in nodes]
    most = max(map(len, positions))
    columns = np.array([found + found[:1] * (most - len(found)) for found in positions]).T
    zeta = np.array([[_is_below(other, node) for other in nodes] for node in nodes], np.int64)
    # Unit lower triangular, as each node stands after those below it: forward substitution stays in integers.
    moebius = np.eye(len(nodes), dtype=np.int64)
    for m in range(len(nodes)):
        moebius[m] -= zeta[m, :m] @ moebius[:m]
    return columns, moebius


def _is_below(low: Node, high: Node) -> bool:
    """The order of the lattice: every set of the higher node holds a set of the lower."""
    return all(any(set(a) <= set(b) for a in low) for b in high)


def _members(mask: int) -> tuple[int, ...]:
    return tuple(s + 1 for s in range(mask.bit_length()) if mask >> s & 1)


def _require_sources(sources: int) -> None:
    _checks.require(sources in SOURCES, f"sources is {sources}; expected 2, 3 or 4")


def _position(name: str, sources: int) -> int:
    node = tuple(sorted(tuple(sorted(map(int, found))) for found in re.findall(r"\{(\d+)\}", name)))
    nodes = antichains(sources)
    _checks.require(
        node in nodes and len(re.sub(r"\{\d+\}", "", name)) == 0,
        f"no node of {sources} sources is called {name!r}; expected sets none of which holds another, such as "
        f"{node_name(nodes[1])!r}",
    )
    return nodes.index(node)
