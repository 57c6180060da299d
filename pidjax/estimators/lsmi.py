"""LSMI: a decomposition of each sample by two minima of surprisals.

It is not BROJA: its raw redundancy depends on the units of continuous modalities, and its single values on which
modality happens to be the less surprising (``switches``). ``constant_shift`` is the published repair of the means.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pidjax import _checks
from pidjax._precision import in_own_precision
from pidjax.lattice import cell_values, checked_pointwise
from pidjax.pid import PID
from pidjax.typing import Array, ArrayLike

__all__ = ["Switches", "constant_shift", "lsmi", "lsmi_from_joint", "switches"]


class Switches(NamedTuple):
    """Which modality the two minima come from: shares of the samples, a tie counting half; scalars in [0, 1].

    Attributes:
        plus: ``min(h1, h2)`` is modality 1's.
        minus: ``min(h1 - i1, h2 - i2)`` is modality 1's.
        crossed: the two minima come from different modalities. Elsewhere r is the information of one modality.
    """

    plus: Array
    minus: Array
    crossed: Array


@in_own_precision
def lsmi(h1: ArrayLike, h2: ArrayLike, i1: ArrayLike, i2: ArrayLike, i12: ArrayLike) -> PID:
    """The decomposition of each sample from its surprisals and pointwise informations.

    ``r = min(h1, h2) - min(h1 - i1, h2 - i2), u1 = i1 - r, u2 = i2 - r, s = i12 - i1 - i2 + r``: redundancy is what
    surprises least less what surprises least once y is known. With a the modality of the smaller surprisal
    ``r = max(i_a, i_b - (h_b - h_a)) >= i_a``, so the smaller h, not the better informed modality, leads: rescaling
    x1 moves h1 by a constant, and the mean of r towards I(X1;Y) or I(X2;Y).

    Args:
        h1: ``-log p(x1)``, any shape, nats. Densities may make it negative.
        h2: ``-log p(x2)``, the same shape; in units comparable with those of x1, which is the caller's duty.
        i1: ``log p(y | x1) / p(y)``, the same shape.
        i2: ``log p(y | x2) / p(y)``, the same shape.
        i12: ``log p(y | x1, x2) / p(y)``, the same shape. An information of -inf (or a surprisal of +inf) marks a
            cell that can't occur: its four atoms are undefined and come out NaN (``lsmi_from_joint`` puts 0).

    Returns:
        ``PID`` whose leaves have that shape. Their means are the raw decomposition, whose atoms may be negative.

    Raises:
        ValueError: shapes that differ, NaN, a surprisal of -inf or an information of +inf.

    Example:
        >>> pid = lsmi(2.0, 1.0, 0.5, 0.25, 1.0)
        >>> pid.redundancy, pid.unique1, pid.unique2, pid.synergy
        (np.float64(0.25), np.float64(0.25), np.float64(0.0), np.float64(0.5))

    References:
        arXiv 2506.17248 (r+ and r- are the two minima); Finn & Lizier 2018, Entropy 20(4), 297.
    """
    h1, h2, i1, i2, i12 = checked_pointwise({"h1": h1, "h2": h2}, {"i1": i1, "i2": i2, "i12": i12})
    least = jnp.minimum(h1, h2)
    # The form with a maximum keeps r >= i_a in floating point, however large the surprisals.
    r = jnp.maximum(i1 - (h1 - least), i2 - (h2 - least))
    possible = jnp.isfinite(h1) & jnp.isfinite(h2) & jnp.isfinite(i1) & jnp.isfinite(i2) & jnp.isfinite(i12)
    pid = PID(redundancy=r, unique1=i1 - r, unique2=i2 - r, synergy=i12 - i1 - i2 + r)
    return jax.tree.map(lambda atom: jnp.where(possible, atom, jnp.nan), pid)


@in_own_precision
def constant_shift(pid: PID, *, weight: ArrayLike | None = None) -> PID:
    """The published "RUS adjustment": one constant added to every sample so that the means look legal.

    From the means: ``a = -min(R, S)`` where R or S is negative, else ``a = min(U1, U2)`` where U1 or U2 is, else
    0; then ``r + a, s + a, u1 - a, u2 - a``. I(X1;Y), I(X2;Y) and the total stay. The second branch clamps R to
    min(I1, I2) whatever the surprisals said, so the mean is then no longer LSMI's own; a sample's value then
    depends on all the others; and one pass may break another sign: the first branch can leave a negative U, the
    second a negative R or S. Signs are taken as computed: a rounding error below zero is below zero. Report the raw
    values too.

    Args:
        pid: raw values, leaves of one shape: scalars (the means) or one value for each sample or cell.
        weight: non-negative weights of that shape, not all zero; None means all ones. For the cells of a joint,
            the joint. Values of weight 0 are moved but don't count.

    Returns:
        The shifted ``PID``, the same shape.

    Raises:
        ValueError: NaN or infinite values of positive weight, bad weights, shapes that differ.

    Example:
        >>> raw = PID(redundancy=0.389, unique1=-0.1733, unique2=-0.1733, synergy=0.5199)  # AND
        >>> pid = constant_shift(raw)
        >>> [float(atom.round(4)) for atom in (pid.redundancy, pid.unique1, pid.unique2, pid.synergy)]
        [0.2157, 0.0, 0.0, 0.3466]

    References:
        arXiv 2506.17248, ``RUS_adjustment`` of its code (main_lsmi.py).
    """
    atoms = [jnp.asarray(_checks.as_float(x, "pid")) for x in (pid.redundancy, pid.synergy, pid.unique1, pid.unique2)]
    shapes = [atom.shape for atom in atoms]
    _checks.require(len(set(shapes)) == 1, f"the atoms of pid have shapes {shapes}; expected one shape")
    share, sound = _shares(weight, atoms[0])
    r, s, u1, u2 = (_mean(atom, share) for atom in atoms)
    total = jax.lax.stop_gradient(r + s + u1 + u2)
    finite = _checks.ensure(
        jnp.isfinite(total),
        lambda: (
            f"the means of pid add up to {float(total)}; expected numbers: look for NaN or infinite values, and give "
            "cells that can't occur the weight 0"
        ),
    )
    worse, unique = jnp.minimum(r, s), jnp.minimum(u1, u2)
    a = jnp.where(worse < 0, -worse, jnp.where(unique < 0, unique, 0.0))
    r, s, u1, u2 = (atom + sign * a for atom, sign in zip(atoms, (1, 1, -1, -1), strict=True))
    shifted = PID(redundancy=r, unique1=u1, unique2=u2, synergy=s)
    return _checks.poison(shifted, jnp.logical_and(sound, finite), atoms)


@in_own_precision
def switches(
    h1: ArrayLike, h2: ArrayLike, i1: ArrayLike, i2: ArrayLike, *, weight: ArrayLike | None = None
) -> Switches:
    """How often each minimum of ``lsmi`` is modality 1's, and how often the two disagree.

    Near 0 or 1 in ``plus`` and ``minus`` one modality's surprisal rules, by its units perhaps, and the raw R is
    that modality's information.

    Args:
        h1: as in ``lsmi``, any shape.
        h2: likewise.
        i1: likewise.
        i2: likewise.
        weight: non-negative weights of that shape, not all zero; None means all ones.

    Returns:
        ``Switches(plus, minus, crossed)``, scalars.

    Raises:
        ValueError: as in ``lsmi``; bad weights.

    Example:
        >>> import numpy as np
        >>> shares = switches(np.array([1.0, 3.0]), np.array([2.0, 2.0]), np.zeros(2), np.array([0.0, 0.5]))
        >>> [float(share) for share in shares]
        [0.5, 0.5, 0.0]
    """
    h1, h2, i1, i2 = checked_pointwise({"h1": h1, "h2": h2}, {"i1": i1, "i2": i2})
    share, ok = _shares(weight, h1)
    plus, minus = _first(h1, h2), _first(h1 - i1, h2 - i2)
    crossed = plus * (1 - minus) + minus * (1 - plus)
    return _checks.poison(Switches(*(_mean(x, share) for x in (plus, minus, crossed))), ok)


@in_own_precision
def lsmi_from_joint(p: ArrayLike) -> PID:
    """LSMI of every cell of an exact joint; the p-weighted mean is the raw decomposition of the joint.

    Args:
        p: joint array ``p[x1, x2, y]``.

    Returns:
        ``PID`` with leaves ``(n1, n2, k)``, 0 in empty cells.

    Raises:
        ValueError: not a probability mass function of rank three.

    Example:
        >>> import numpy as np
        >>> p = np.zeros((2, 2, 2)); p[[0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1]] = 0.25
        >>> pid = lsmi_from_joint(p)
        >>> float((p * pid.redundancy).sum().round(6)), float((p * pid.unique1).sum().round(6))
        (0.389048, -0.173287)
    """
    p = jnp.asarray(_checks.pmf(p, name="p", ndim=3, axes="[x1, x2, y]"))
    h, i = cell_values(p)
    values = lsmi(h[..., 0], h[..., 1], i[..., 0], i[..., 1], i[..., 2])
    return jax.tree.map(lambda atom: jnp.where(p == 0, 0.0, atom), values)


def _first(x1: Array, x2: Array) -> Array:
    """1 where x1 is the smaller, 1/2 where they tie, 0 elsewhere; NaN stays NaN."""
    first = 0.5 * ((x1 < x2).astype(x1.dtype) + (x1 <= x2).astype(x1.dtype))
    return jnp.where(jnp.isnan(x1) | jnp.isnan(x2), jnp.nan, first)


def _shares(weight: ArrayLike | None, like: Array) -> tuple[Array, ArrayLike]:
    """Weights over their sum, and whether they are sound."""
    w = jnp.ones(like.shape, like.dtype) if weight is None else jnp.asarray(_checks.as_float(weight, "weight"))
    _checks.require(w.shape == like.shape, f"weight has shape {w.shape}; expected {like.shape}, one for each value")
    _checks.require(w.size > 0, "there are no samples; expected at least one: look at the filter before")
    seen = jax.lax.stop_gradient(w)
    ok = _checks.ensure(
        jnp.all(jnp.isfinite(seen) & (seen >= 0)) & (seen.sum() > 0),
        lambda: f"weight runs from {float(seen.min()):g} to {float(seen.max()):g}; expected numbers >= 0, not all zero",
    )
    return w / w.sum(), ok


def _mean(x: Array, share: Array) -> Array:
    """The weighted mean; what has no weight may be NaN."""
    return jnp.sum(share * jnp.where(share > 0, x, 0.0))
