"""Tasks: named joints with a known decomposition, the ways to combine them, and the one table of them."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np

from pidjax import _checks
from pidjax.datasets.gates import GATES
from pidjax.pid import PID, from_union
from pidjax.typing import Key, Samples

__all__ = [
    "TASKS",
    "Task",
    "erased",
    "noisy_copies",
    "noisy_xor",
    "padded",
    "power",
    "product",
    "swapped",
    "task",
]


@dataclass(frozen=True, eq=False)  # compared by identity, so that a bound ``sample`` can be jitted
class Task:
    """A joint with a name and, where it is known, its decomposition.

    Attributes:
        name: what reports call it.
        joint: probability mass function ``p[x1, x2, y]``, numpy float64.
        truth: its decomposition, Python floats, nats; None when unknown.
        source: how the truth is known ("closed form", ...).

    Raises:
        ValueError: the joint is not a probability mass function of rank three.

    Example:
        >>> xor = task("xor")
        >>> xor.name, xor.joint.shape, round(xor.truth.synergy, 6), xor.source
        ('xor', (2, 2, 2), 0.693147, 'closed form')
    """

    name: str
    joint: np.ndarray = field(repr=False)
    truth: PID | None = None
    source: str = "unknown"

    def __post_init__(self) -> None:
        _checks.pmf(self.joint, name="joint", ndim=3, axes="[x1, x2, y]")

    def sample(self, key: Key, n: int) -> Samples:
        """Independent draws from the joint.

        Pure in the key; works under jit (``n`` static) and vmap. The distribution function is inverted in
        32-bit integers: the draws are the same in either precision, probabilities are met to 2^-32, and an
        empty cell is never drawn.

        Args:
            key: random key.
            n: number of samples.

        Returns:
            ``Samples`` of three ``(n,)`` int32 arrays of symbols.

        Raises:
            ValueError: n below one.

        Example:
            >>> samples = task("and").sample(jax.random.key(0), 1000)
            >>> samples.x1.shape, bool(jnp.all(samples.y == samples.x1 * samples.x2))
            ((1000,), True)
        """
        _checks.require(n >= 1, f"n is {n}; expected one sample or more")
        support = np.nonzero(self.joint)
        below = np.cumsum(self.joint[support], dtype=np.float64)
        steps = np.minimum(np.rint(below[:-1] / below[-1] * 2.0**32), 2.0**32 - 1).astype(np.uint32)
        cell = jnp.searchsorted(jnp.asarray(steps), jax.random.bits(key, (n,), jnp.uint32), side="right")
        return Samples(*(jnp.asarray(symbols.astype(np.int32))[cell] for symbols in support))


def product(first: Task, second: Task) -> Task:
    """Two independent systems side by side: every information, and every atom, adds.

    ``p[(x1,x1'), (x2,x2'), (y,y')] = p[x1,x2,y] p'[x1',x2',y']``. BROJA is additive: Y and Y' are
    independent, so ``I_q(XX';YY') >= I_q(X;Y) + I_q(X';Y')`` for every coupling q, with equality for a
    product of couplings.

    Args:
        first: a task on ``(n1, n2, k)`` symbols.
        second: a task on ``(m1, m2, l)`` symbols.

    Returns:
        A task on ``(n1 m1, n2 m2, k l)`` symbols; its truth is None where one of the two is unknown.

    Example:
        >>> both = product(task("and"), task("xor"))
        >>> both.name, both.joint.shape, round(both.truth.redundancy, 6), round(both.truth.synergy, 6)
        ('and*xor', (4, 4, 4), 0.215762, 1.039721)

    References:
        Bertschinger et al. 2014, "Quantifying unique information" (additivity).
    """
    truth = None
    if first.truth is not None and second.truth is not None:
        truth = jax.tree.map(lambda s, t: s + t, first.truth, second.truth)
    source = first.source if first.source == second.source else f"{first.source}; {second.source}"
    return Task(f"{first.name}*{second.name}", np.kron(first.joint, second.joint), truth, source)


def power(task: Task, k: int) -> Task:
    """``k`` independent copies of a task side by side: an exact truth at any size.

    Args:
        task: a task on ``(n1, n2, m)`` symbols.
        k: number of copies.

    Returns:
        A task on ``(n1^k, n2^k, m^k)`` symbols whose atoms are k times as large.

    Raises:
        ValueError: k below one.

    Example:
        >>> cube = power(task("and"), 3)
        >>> cube.name, cube.joint.shape, round(cube.truth.redundancy, 6)
        ('and^3', (8, 8, 8), 0.647285)
    """
    _checks.require(k >= 1, f"k is {k}; expected one copy or more")
    many = reduce(product, [task] * k)
    return Task(f"{task.name}^{k}", many.joint, many.truth, many.source)


def swapped(task: Task) -> Task:
    """The same task with the modalities exchanged: the unique informations change places.

    Args:
        task: a task on ``(n1, n2, k)`` symbols.

    Returns:
        A task on ``(n2, n1, k)`` symbols.

    Example:
        >>> truth = swapped(task("red_xor_u1")).truth
        >>> round(truth.unique1, 6), round(truth.unique2, 6)
        (0.0, 0.693147)
    """
    t = task.truth
    truth = t and PID(redundancy=t.redundancy, unique1=t.unique2, unique2=t.unique1, synergy=t.synergy)
    return Task(f"{task.name}_swapped", task.joint.transpose(1, 0, 2), truth, task.source)


def erased(task: Task, probability: float) -> Task:
    """The target is replaced, independently of everything, by an extra symbol "erased": every atom shrinks.

    Noise with an exact truth. With E = [Y' erased], ``I_q(X;Y') = I_q(X;E) + (1 - e) I_q(X;Y)``. The first
    term is zero when the inputs of the erased are coupled like the others, so the union information, too, is
    ``(1 - e)`` of what it was.

    Args:
        task: a task on ``(n1, n2, k)`` symbols.
        probability: how often the target is erased, 0 to 1 (e above).

    Returns:
        A task on ``(n1, n2, k + 1)`` symbols, "erased" last.

    Raises:
        ValueError: the probability is outside [0, 1].

    Example:
        >>> noisy = erased(task("xor"), 0.25)
        >>> noisy.name, noisy.joint.shape, round(noisy.truth.synergy, 6)
        ('xor_erased_0.25', (2, 2, 3), 0.51986)
    """
    kept = 1.0 - _probability(probability)
    lost = probability * task.joint.sum(2, keepdims=True)
    joint = np.concatenate([kept * task.joint, lost], axis=2)
    truth = jax.tree.map(lambda t: kept * t, task.truth)
    return Task(f"{task.name}_erased_{probability:g}", joint, truth, task.source)


def padded(task: Task) -> Task:
    """The same task with one more symbol, which never occurs, on every axis: nothing changes.

    Args:
        task: a task on ``(n1, n2, k)`` symbols.

    Returns:
        A task on ``(n1 + 1, n2 + 1, k + 1)`` symbols.

    Example:
        >>> padded(task("and")).joint.shape
        (3, 3, 3)
    """
    return Task(f"{task.name}_padded", np.pad(task.joint, (0, 1)), task.truth, task.source)


def noisy_xor(flip: float) -> Task:
    """Exclusive or of two fair bits, flipped with a probability: all synergy, ``S = log 2 - h(flip)``.

    Neither input alone says anything of the target, so they may be coupled to say nothing together.

    Args:
        flip: probability that the target is flipped, 0 to 1.

    Returns:
        A task on ``(2, 2, 2)`` symbols.

    Raises:
        ValueError: the probability is outside [0, 1].

    Example:
        >>> round(noisy_xor(0.1).truth.synergy, 6)
        0.368064
    """
    kept = 1.0 - _probability(flip)
    xor = GATES["xor"].joint
    truth = from_union(0.0, 0.0, math.log(2) - _binary_entropy(flip), 0.0)
    return Task(f"noisy_xor_{flip:g}", kept * xor + flip * xor[:, :, ::-1], truth, "closed form")


def noisy_copies(flip1: float, flip2: float) -> Task:
    """Two copies of a fair bit, each flipped on its own: no empty cell, and yet a closed form.

    ``I1 = log 2 - h(f1), I2 = log 2 - h(f2), I12 = log 2 + h(f1 (1 - f2) + f2 (1 - f1)) - h(f1) - h(f2)``.
    The noisier copy is a garbling of the cleaner: nothing in it is unique, the union information is
    ``max(I1, I2)``.

    Args:
        flip1: probability that the first copy is flipped, 0 to 1.
        flip2: probability that the second copy is flipped, 0 to 1.

    Returns:
        A task on ``(2, 2, 2)`` symbols.

    Raises:
        ValueError: a probability is outside [0, 1].

    Example:
        >>> t = noisy_copies(0.1, 0.2).truth
        >>> [round(atom, 6) for atom in (t.redundancy, t.unique1, t.unique2, t.synergy)]
        [0.192745, 0.175319, 0.0, 0.072654]

    References:
        Bertschinger et al. 2014, "Quantifying unique information" (a unique information vanishes just when
        its channel is a garbling of the other's: Blackwell 1953).
    """
    p1, p2 = (np.array([[1.0 - f, f], [f, 1.0 - f]]) for f in map(_probability, (flip1, flip2)))
    h1, h2 = _binary_entropy(flip1), _binary_entropy(flip2)
    both = _binary_entropy(flip1 * (1 - flip2) + flip2 * (1 - flip1))
    i1, i2 = math.log(2) - h1, math.log(2) - h2
    truth = from_union(i1, i2, math.log(2) + both - h1 - h2, max(i1, i2))
    joint = 0.5 * np.einsum("ya,yb->aby", p1, p2)
    return Task(f"noisy_copies_{flip1:g}_{flip2:g}", joint, truth, "closed form")


def task(name: str) -> Task:
    """A task of the table ``TASKS``, built now.

    Args:
        name: a key of ``TASKS``.

    Returns:
        The task; its ``name`` is the key.

    Raises:
        ValueError: no such name.

    Example:
        >>> task("and^6").joint.shape
        (64, 64, 64)
    """
    _checks.require(name in TASKS, f"no task is called {name!r}; the names are {', '.join(TASKS)}")
    return TASKS[name]()


def _probability(value: float) -> float:
    _checks.require(0.0 <= value <= 1.0, f"a probability is {value}; expected a number from 0 to 1")
    return value


def _binary_entropy(probability: float) -> float:
    return -sum(p * math.log(p) for p in (probability, 1.0 - probability) if p > 0)


def _expression(name: str) -> Task:
    """A product of powers of gates, such as "and*xor^2"."""
    factors = []
    for factor in name.split("*"):
        gate, _, k = factor.partition("^")
        one = Task(gate, GATES[gate].joint, GATES[gate].truth, "closed form")
        factors.append(power(one, int(k)) if k else one)
    return reduce(product, factors)


def _changed(change: Callable[[Task], Task], name: str) -> Task:
    return change(_expression(name))


_PRODUCTS = (
    *(f"{name}^{k}" for name in GATES for k in (2, 3)),
    *(f"{name}^6" for name in ("and", "or", "xor", "unique1", "redundant")),
    *("and*xor", "and^3*xor^3"),
    "redundant*unique1*unique2*xor",  # every atom is log 2
)
_CHANGES: dict[str, Callable[[Task], Task]] = {
    "swapped": swapped,
    "erased_0.25": partial(erased, probability=0.25),
    "padded": padded,
}

# Factories, so that importing costs nothing: the largest joints have 64^3 cells.
TASKS: dict[str, Callable[[], Task]] = {
    **{name: partial(_expression, name) for name in (*GATES, *_PRODUCTS)},
    **{
        f"{name}_{suffix}": partial(_changed, change, name)
        for suffix, change in _CHANGES.items()
        for name in (*GATES, "and^3", "red_and_u1^3")
    },
    **{f"noisy_xor_{flip:g}": partial(noisy_xor, flip) for flip in (0.01, 0.1)},
    **{f"noisy_copies_{f:g}_{g:g}": partial(noisy_copies, f, g) for f, g in ((0.1, 0.1), (0.1, 0.2), (0.3, 0.05))},
}
