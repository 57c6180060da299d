"""Couplings of least entropy: what the joints of given marginals have at least, and at most, in common.

The least entropy of a coupling is NP-hard, so it is bracketed. From below: no coupling has less than the meet of its
marginals in the majorisation order, nor less than a greedy coupling by more than that one's guarantee. From above: any
coupling, the greedy one say, or the end of a local search. With ``p(x1,x2)`` and ``p(y)`` given, a joint of least
entropy is one of most information ``I(X1,X2;Y)``, so both sides bound the synergy.
"""

import itertools
import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pidjax import _checks
from pidjax._precision import in_own_precision
from pidjax.info import mutual_information_of, xlogx
from pidjax.typing import Array, ArrayLike, Key

__all__ = [
    "GreedyCoupling",
    "MaximalInformation",
    "coupling_table",
    "greedy_coupling",
    "joint_entropy_bounds",
    "majorisation_meet",
    "maximal_information",
]

_GUARANTEE = 1 / math.e  # nats; how far the greedy coupling of two marginals is from the least entropy, at most
_MOST_MOVES = 200_000  # that are all looked at in each step of a local search; of more, so many are drawn
_WALK = 512  # the same in each round of a random walk, which takes any move that is one
_ROUNDS = 32  # of a random walk
_AT_ONCE = 128  # moves, of which those that share no cell are taken in one step
_SIGNS = np.array([1, -1, -1, 1, -1, 1, 1, -1])  # (-1)^(i + j + l) over a 2x2x2 cube: every pair of axes sums to 0


class GreedyCoupling(NamedTuple):
    """A coupling as a list of its cells; ``coupling_table`` lays it out as an array.

    Attributes:
        indices: ``(atoms, marginals)`` int32, the cell of each atom. A cell of mass 0 may come more than once.
        mass: ``(atoms,)``, >= 0.
        entropy: of the coupling, scalar, nats.
    """

    indices: Array
    mass: Array
    entropy: Array


class MaximalInformation(NamedTuple):
    """The best joint that a local search found.

    Attributes:
        joint: ``r[x1, x2, y]``, with the pairwise marginals of the joint it started from.
        information: ``I_r(X1,X2;Y)``, scalar, nats; a lower bound on the maximum over such joints.
        steps: how many the search took, with the last, which found nothing better; where that is ``steps`` of the
            call, it was cut short.
    """

    joint: Array
    information: Array
    steps: Array


@in_own_precision
def majorisation_meet(p: ArrayLike, q: ArrayLike) -> Array:
    """Greatest lower bound of two distributions in the majorisation order.

    ``z_i = min(P_i, Q_i) - min(P_{i-1}, Q_{i-1})``, P and Q the cumulative sums of p and q in decreasing order, padded
    with zeros. Every coupling of p and q is majorised by either, hence by z, so that its entropy is at least ``H(z)``;
    and ``H(z) >= max(H(p), H(q))``.

    Args:
        p: probability mass function ``(n,)``, sum one.
        q: probability mass function ``(m,)``, sum one.

    Returns:
        ``(max(n, m),)``, decreasing, sum one.

    Raises:
        ValueError: not a probability mass function of rank one.

    Example:
        >>> import numpy as np
        >>> print(majorisation_meet(np.array([0.5, 0.5]), np.array([0.6, 0.2, 0.2])))
        [0.5 0.3 0.2]

    References:
        Cicalese, Gargano, Vaccaro 2019, "Minimum-entropy couplings and their applications", arXiv:1901.07530.
    """
    p, q = (jnp.asarray(_checks.pmf(x, name=name, ndim=1)) for x, name in ((p, "p"), (q, "q")))
    return _meet(p, q)


@in_own_precision
def greedy_coupling(*marginals: ArrayLike) -> GreedyCoupling:
    """The coupling that always gives the largest masses left to each other.

    Each step takes the largest remaining cell of every marginal, gives the least of these to their common cell and
    subtracts it. Of two marginals its entropy is at most ``1/e`` nats (0.53 bit) above the least one possible, and at
    most 1 nat (1.44 bit) above that of their ``majorisation_meet``; of any number, at most ``(1 + log 2) / 2``
    nats (1.22 bit) above the least.

    Args:
        *marginals: two or more probability mass functions, each ``(n_i,)`` with sum one.

    Returns:
        A ``GreedyCoupling`` of ``sum(n_i) - len(marginals) + 1`` atoms, in decreasing order but for rounding; no more
        are needed. Its marginals are those given, to the rounding of their sums.

    Raises:
        ValueError: fewer than two marginals, or one that is no probability mass function of rank one.

    Example:
        >>> import numpy as np
        >>> coupling = greedy_coupling(np.array([0.5, 0.5]), np.array([0.6, 0.4]))
        >>> print(coupling.mass.round(6), round(float(coupling.entropy), 6))
        [0.5 0.4 0.1] 0.943348

    References:
        Kocaoglu, Dimakis, Vishwanath, Hassibi 2017, "Entropic causal inference" (the algorithm); Compton 2022, "A
        tighter approximation guarantee for greedy minimum entropy coupling", and Compton, Katz, Qi, Greenewald,
        Kocaoglu 2023, "Minimum-entropy coupling approximation guarantees beyond the majorization barrier".
    """
    _checks.require(
        len(marginals) >= 2, f"{len(marginals)} marginals; expected two or more, each an argument of its own"
    )
    given = [jnp.asarray(_checks.pmf(p, name=f"marginal {i}", ndim=1)) for i, p in enumerate(marginals)]
    dtype = jnp.result_type(*given)
    indices, mass = _greedy(tuple(p.astype(dtype) for p in given))
    return GreedyCoupling(indices, mass, -jnp.sum(xlogx(mass)))


@in_own_precision
def coupling_table(coupling: GreedyCoupling, shape: tuple[int, ...]) -> Array:
    """A greedy coupling as a joint array.

    Args:
        coupling: of ``greedy_coupling``.
        shape: the sizes of its marginals, in order; static.

    Returns:
        The joint ``p[x1, x2, ...]`` of that shape.

    Raises:
        ValueError: a shape of another rank than the coupling.

    Example:
        >>> import numpy as np
        >>> p, q = np.array([0.5, 0.5]), np.array([0.6, 0.4])
        >>> print(coupling_table(greedy_coupling(p, q), (2, 2)).round(6))
        [[0.5 0. ]
         [0.1 0.4]]
    """
    _checks.require(
        len(shape) == coupling.indices.shape[1],
        f"shape {shape} has {len(shape)} axes, the coupling {coupling.indices.shape[1]} marginals; give one size each",
    )
    # Added, not set: an atom of mass 0 may point to a cell that is taken.
    table = jnp.zeros(shape, coupling.mass.dtype)
    return table.at[tuple(jnp.asarray(coupling.indices).T)].add(coupling.mass)


@in_own_precision
def joint_entropy_bounds(p_x1y: ArrayLike, p_x2y: ArrayLike, p_x1x2: ArrayLike) -> dict[str, Array]:
    """Lower bounds on ``H(X1,X2,Y)`` over all joints of three pairwise marginals; the largest is the one to use.

    A joint couples each pair with the third variable, and, given any one variable, the other two:

    - ``meet_x1x2_y``, ...: ``H(p(x1,x2) ^ p(y))``, with ``^`` the ``majorisation_meet``;
    - ``conditional_x1``, ...: ``H(X1) + sum_x1 p(x1) H(p(x2|x1) ^ p(y|x1))``, tighter on most tables;
    - ``greedy_x1x2_y``, ...: the entropy of the greedy coupling less its guarantee of 1/e nats;
    - ``greedy_conditional_x1``, ...: for each symbol the larger of the meet's entropy and that.

    Args:
        p_x1y: joint ``(n1, k)``; that this and the others are normalised, and agree in their single marginals up
            to rounding, is the caller's duty.
        p_x2y: joint ``(n2, k)``.
        p_x1x2: joint ``(n1, n2)``.

    Returns:
        Scalars by name, nats. Symbols of probability 0 contribute nothing.

    Example:
        >>> import numpy as np
        >>> bounds = joint_entropy_bounds(*3 * (np.full((2, 2), 0.25),))
        >>> print(round(float(bounds["meet_x1x2_y"]), 6), round(float(bounds["greedy_x1x2_y"]), 6))
        1.386294 1.018415

    References:
        Liang et al. 2024, "Multimodal learning without labeled multimodal data: guarantees and applications",
        arXiv:2306.04539, theorem 4 (the first three; those given a variable are ours).
    """
    return _joint_entropy_bounds(*(jnp.asarray(p) for p in (p_x1y, p_x2y, p_x1x2)))


@in_own_precision
def maximal_information(
    joint: ArrayLike, *, key: Key, restarts: int = 8, steps: int | None = None
) -> MaximalInformation:
    """A joint of much ``I(X1,X2;Y)`` among those that share all three pairwise marginals: a local search.

    Adding ``t (-1)^(i+j+l)`` to the cells of a 2x2x2 cube ``(x1, x1') x (x2, x2') x (y, y')`` keeps the pairwise
    marginals. The information is convex in t, so that it is greatest where a cell becomes 0, on one side or the other.
    Each step takes the best such moves of all cubes, as many as share no cell, until none is left that improves.
    Binary tables have one cube, and the answer is the maximum; otherwise it is a lower bound on it, and information
    that some joint attains.

    Args:
        joint: probability mass function ``p[x1, x2, y]`` with the marginals in question.
        key: PRNG key of the restarts.
        restarts: searches, all at once; the first starts from ``joint``, the others from random walks of such moves.
        steps: most steps of each search; None for four times the number of cells.

    Returns:
        The best, as a ``MaximalInformation``. Tables of more than 200,000 cubes (30x30x3, say) look at that many
        random ones in each step, and stop when none of them improves. It has no derivative.

    Raises:
        ValueError: not a probability mass function of rank three, or no restarts, or negative steps.

    Example:
        >>> import numpy as np
        >>> p = np.array([[[0.2, 0.05], [0.05, 0.2]], [[0.1, 0.15], [0.15, 0.1]]])
        >>> best = maximal_information(p, key=jax.random.key(0))
        >>> print(round(float(best.information), 6), best.joint.sum(0).round(6).tolist())
        0.442946 [[0.3, 0.2], [0.2, 0.3]]
    """
    p = jnp.asarray(_checks.pmf(joint, name="joint", ndim=3, axes="[x1, x2, y]"))
    most = 4 * p.size if steps is None else steps
    _checks.require(restarts >= 1 and most >= 0, f"restarts is {restarts}, steps {steps}; expected >= 1 and >= 0")
    return _searched(p, jax.random.split(key, restarts), most)


def meet_entropy(p: Array, q: Array) -> Array:
    """``H(p ^ q)`` of vectors that are normalised, or all zero: then it is 0.

    Args:
        p: probabilities ``(n,)``.
        q: probabilities ``(m,)``.

    Returns:
        The entropy, nats.
    """
    return -jnp.sum(xlogx(_meet(p, q)))


def greedy_entropy(p: Array, q: Array) -> Array:
    """The entropy of the greedy coupling of two vectors that are normalised, or all zero: then it is 0.

    Args:
        p: probabilities ``(n,)``.
        q: probabilities ``(m,)``.

    Returns:
        The entropy, nats.
    """
    return -jnp.sum(xlogx(_greedy((p, q))[1]))


def _meet(p: Array, q: Array) -> Array:
    n = max(len(p), len(q))
    p, q = (jnp.sort(jnp.pad(x, (0, n - len(x))), descending=True) for x in (p, q))
    # min(P, Q) = Q + min(P - Q, 0): where p and q are alike, nothing is lost in long sums.
    z = q + jnp.diff(jnp.minimum(jnp.cumsum(p - q), 0), prepend=0)
    return jnp.maximum(z, 0)  # rounding leaves -1e-17 where it is 0, and its logarithm NaN


@jax.jit
def _greedy(marginals: tuple[Array, ...]) -> tuple[Array, Array]:
    """Indices and masses. Each step empties a cell, so that after so many at least one marginal is empty."""

    def step(left: tuple[Array, ...], _: None) -> tuple[tuple[Array, ...], tuple[Array, Array]]:
        largest = [jnp.argmax(p) for p in left]
        mass = jnp.stack([p[i] for p, i in zip(left, largest, strict=True)]).min()
        # Never negative: the subtrahend is at most the cell. Masked, as a scatter is slow under vmap.
        left = tuple(jnp.where(jnp.arange(len(p)) == i, p - mass, p) for p, i in zip(left, largest, strict=True))
        return left, (jnp.stack(largest).astype(jnp.int32), mass)

    length = sum(len(p) for p in marginals) - len(marginals) + 1
    return jax.lax.scan(step, marginals, None, length=length)[1]


@jax.jit
def _joint_entropy_bounds(p_x1y: Array, p_x2y: Array, p_x1x2: Array) -> dict[str, Array]:
    bounds = {}
    for name, pair, single in (
        ("x1x2_y", p_x1x2, p_x1y.sum(0)),
        ("x1y_x2", p_x1y, p_x1x2.sum(0)),
        ("x2y_x1", p_x2y, p_x1x2.sum(1)),
    ):
        bounds[f"meet_{name}"] = meet_entropy(pair.ravel(), single)
        bounds[f"greedy_{name}"] = greedy_entropy(pair.ravel(), single) - _GUARANTEE
    for name, p_ab, p_ac in (("x1", p_x1x2, p_x1y), ("x2", p_x1x2.T, p_x2y), ("y", p_x1y.T, p_x2y.T)):
        p_a = p_ab.sum(1)
        b, c = (_rows(p) for p in (p_ab, p_ac))
        meet, greedy = jax.vmap(meet_entropy)(b, c), jax.vmap(greedy_entropy)(b, c) - _GUARANTEE
        bounds[f"conditional_{name}"] = jnp.sum(p_a * meet - xlogx(p_a))
        bounds[f"greedy_conditional_{name}"] = jnp.sum(p_a * jnp.maximum(meet, greedy) - xlogx(p_a))
    return bounds


def _rows(p_ab: Array) -> Array:
    """``p(b|a)``, a row for each a; all zero for those that don't occur."""
    p_a = p_ab.sum(1, keepdims=True)
    return p_ab / jnp.where(p_a == 0, 1.0, p_a)


@partial(jax.jit, static_argnames="steps")
def _searched(p: Array, keys: Array, steps: int) -> MaximalInformation:
    sizes = p.shape
    pairs = [np.array(list(itertools.combinations(range(n), 2)), np.int32).reshape(-1, 2) for n in sizes]
    numbers = [len(pair) for pair in pairs]
    count = math.prod(numbers)
    tolerance = 8 * float(jnp.finfo(p.dtype).eps)

    def cubes(key: Array, most: int) -> Array:
        """Flat indices of the cells of all cubes, ``(cubes, 8)``; where there are more than that, of random ones."""
        if count <= most:
            chosen = [jnp.asarray(i) for i in np.unravel_index(np.arange(count), numbers)]
        else:
            draws = zip(jax.random.split(key, 3), numbers, strict=True)
            chosen = [jax.random.randint(key, (most,), 0, number) for key, number in draws]
        a, b, c = (jnp.asarray(pair)[at] for pair, at in zip(pairs, chosen, strict=True))
        cells = (a[:, :, None, None] * sizes[1] + b[:, None, :, None]) * sizes[2] + c[:, None, None, :]
        return cells.reshape(-1, 8)

    def ends(r: Array, cells: Array) -> tuple[Array, Array]:
        """Both ends of every move: its t and the cells there, ``(2 cubes, 8)``. The least cell becomes 0, exactly."""
        values, up = r[cells], (_SIGNS > 0)[None]
        rise = jnp.where(up, jnp.inf, values).min(1, keepdims=True)
        fall = -jnp.where(up, values, jnp.inf).min(1, keepdims=True)
        t = jnp.concatenate([rise, fall])
        return t, jnp.concatenate([values, values]) + t * jnp.asarray(_SIGNS, r.dtype)[None]

    def moved(r: Array, cells: Array, end: Array, score: Array, least: float) -> tuple[Array, Array]:
        """Moves of high score, more than the least, that share no cell, with the best of all; and how many they are."""
        # The best of each of some groups: ``top_k`` would sort all of them.
        groups = min(_AT_ONCE, len(score))
        grouped = jnp.pad(score, (0, -len(score) % groups), constant_values=-jnp.inf).reshape(groups, -1)
        best = jnp.arange(groups) * grouped.shape[1] + grouped.argmax(1)
        score, best = jax.lax.sort_key_val(-grouped.max(1), best)
        at = cells[best % len(cells)]
        shared = (at[:, None, :, None] == at[None, :, None, :]).any((2, 3))
        taken = (-score > least) & ~jnp.tril(shared, -1).any(1)
        return r.at[jnp.where(taken[:, None], at, r.size)].set(end[best], mode="drop"), taken.sum()

    def walk(r: Array, key: Array) -> tuple[Array, None]:
        key, draw = jax.random.split(key)
        cells = cubes(key, _WALK)
        t, end = ends(r, cells)
        score = jax.random.uniform(draw, t.shape[:1]) * (t[:, 0] != 0)
        return moved(r, cells, end, score, 0.0)[0], None

    def more(carry: Any) -> Array:
        _, number, new, _ = carry
        return (number < steps) & (new > 0)

    def climb(carry: Any) -> Any:
        r, number, _, key = carry
        key, draw = jax.random.split(key)
        cells = cubes(draw, _MOST_MOVES)
        end = ends(r, cells)[1]
        old = xlogx(r)[cells].sum(1)
        r, new = moved(r, cells, end, xlogx(end).sum(1) - jnp.concatenate([old, old]), tolerance)
        return r, number + 1, new, key

    def search(key: Array, first: Array) -> MaximalInformation:
        key, away = jax.random.split(key)
        r = p.ravel()
        if count:
            walked = jax.lax.scan(walk, r, jax.random.split(away, _ROUNDS))[0]
            start = jnp.where(first, r, walked), jnp.zeros((), jnp.int32), jnp.asarray(1), key
            r, number = jax.lax.while_loop(more, climb, start)[:2]
        else:  # of one symbol: no other joint
            number = jnp.zeros((), jnp.int32)
        return MaximalInformation(r.reshape(sizes), mutual_information_of(r.reshape(-1, sizes[2])), number)

    found = jax.vmap(search)(keys, jnp.arange(len(keys)) == 0)
    return jax.tree.map(lambda leaf: leaf[jnp.argmax(found.information)], found)
