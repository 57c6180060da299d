"""The decomposition as a value: ``PID``, its one linear map, and intervals."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pidjax.typing import Array, ArrayLike

__all__ = ["PID", "Interval", "agreement", "from_union", "sandwich"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class PID:
    """Partial information decomposition of I(X1,X2;Y) in nats.

    The leaves share one shape: ``()`` for a dataset, ``(n,)`` for samples, ``(b,)`` for a batch of problems,
    ``(n1, n2, k)`` for the cells of a joint.

    Attributes:
        redundancy: what both modalities say (R).
        unique1: what only the first says (U1).
        unique2: what only the second says (U2).
        synergy: what appears only when they are combined (S).

    Example:
        >>> pid = PID(redundancy=0.1, unique1=0.2, unique2=0.3, synergy=0.4)
        >>> round(pid.total, 6), round(pid.mi1, 6), round(pid.mi2, 6), round(pid.coinformation, 6)
        (1.0, 0.3, 0.4, -0.3)
    """

    redundancy: Array
    unique1: Array
    unique2: Array
    synergy: Array

    @property
    def total(self) -> Array:
        """I(X1,X2;Y), the sum of the four atoms."""
        return self.redundancy + self.unique1 + self.unique2 + self.synergy

    @property
    def mi1(self) -> Array:
        """I(X1;Y) = R + U1."""
        return self.redundancy + self.unique1

    @property
    def mi2(self) -> Array:
        """I(X2;Y) = R + U2."""
        return self.redundancy + self.unique2

    @property
    def coinformation(self) -> Array:
        """I(X1;Y) + I(X2;Y) - I(X1,X2;Y) = R - S."""
        return self.redundancy - self.synergy


class Interval(NamedTuple):
    """A lower and an upper end: arrays, or pytrees of the same structure (two ``PID``, say). Nats."""

    lower: Any
    upper: Any


def from_union(i1: ArrayLike, i2: ArrayLike, i12: ArrayLike, union: ArrayLike) -> PID:
    """The decomposition from three informations and the union information: the one linear map.

    ``R = i1 + i2 - union, U1 = union - i2, U2 = union - i1, S = i12 - union``. The same map serves scalars,
    vectors of samples (pointwise informations) and batches.

    Args:
        i1: I(X1;Y), any shape, nats.
        i2: I(X2;Y), the same shape.
        i12: I(X1,X2;Y), the same shape.
        union: union information, the same shape.

    Returns:
        A ``PID`` whose leaves have that shape.

    Example:
        >>> from_union(1.0, 2.0, 4.0, 2.5)
        PID(redundancy=0.5, unique1=0.5, unique2=1.5, synergy=1.5)

    References:
        Bertschinger et al. 2014, "Quantifying unique information", eqs. 4-6 (union: the least I_q(X1,X2;Y) over
        couplings); arXiv 2302.12247, section 2.
    """
    return PID(redundancy=i1 + i2 - union, unique1=union - i2, unique2=union - i1, synergy=i12 - union)  # type: ignore[operator, arg-type]


def agreement(data: PID, model: PID) -> PID:
    """How far a model relies on the interactions that its data have: ``alpha_I = (I_data / sum I_data) I_model``.

    Args:
        data: decomposition of the data's label, any shape, nats.
        model: decomposition of the model's predictions on the same modalities, the same shape.

    Returns:
        ``alpha`` of each interaction as a ``PID``; its ``total`` is the agreement, nats: it grows with what the model
        says, and with how alike the shares are. NaN where the data hold no information.

    Example:
        >>> data = PID(redundancy=0.4, unique1=0.0, unique2=0.0, synergy=0.1)
        >>> model = PID(redundancy=0.3, unique1=0.0, unique2=0.0, synergy=0.0)
        >>> round(float(agreement(data, model).total), 4)
        0.24

    References:
        arXiv 2302.12247, section 4.3.
    """
    total = jnp.where(jnp.abs(data.total) > 1e-9, data.total, jnp.nan)
    return jax.tree.map(lambda of_data, of_model: of_data / total * of_model, data, model)


def sandwich(lower: ArrayLike, upper: ArrayLike, i1: ArrayLike, i2: ArrayLike, i12: ArrayLike) -> Interval:
    """The decompositions that two bounds on the union information leave, atom by atom.

    Redundancy and synergy fall as the union rises, the uniquenesses rise with it. The ends are not decompositions
    themselves: their atoms are attained at different ends of the union.

    Args:
        lower: at most the union information, any shape, nats.
        upper: at least the union information, the same shape.
        i1: I(X1;Y), the same shape.
        i2: I(X2;Y), the same shape.
        i12: I(X1,X2;Y), the same shape.

    Returns:
        An ``Interval`` of two ``PID``: the least and the greatest value of each atom.

    Example:
        >>> found = sandwich(2.25, 2.5, 1.0, 2.0, 4.0)
        >>> found.lower
        PID(redundancy=0.5, unique1=0.25, unique2=1.25, synergy=1.5)
        >>> found.upper
        PID(redundancy=0.75, unique1=0.5, unique2=1.5, synergy=1.75)

    References:
        Bertschinger et al. 2014, "Quantifying unique information", eqs. 4-6.
    """
    low, high = (from_union(i1, i2, i12, union) for union in (lower, upper))
    return Interval(
        replace(low, redundancy=high.redundancy, synergy=high.synergy),
        replace(high, redundancy=low.redundancy, synergy=low.synergy),
    )
