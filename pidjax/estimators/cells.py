"""Cells of whole numbers: how samples become symbols, and what distributions say of a cell ``[k - 1/2, k + 1/2]``.

Probabilities of cells are differences of cumulative functions. None is ever formed: the logarithms are exact as far
out as floating numbers go, so nothing is clamped.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from pidjax import _checks
from pidjax.estimators.whitening import Whitening, whitening
from pidjax.typing import Array, Samples

__all__ = ["RECIPE", "Grid", "Read", "Units", "grid", "log_logistic_cell", "log_normal_cell", "straight_through"]

Units = Literal["standard", "raw"]
UNITS = ("standard", "raw")

# What ``fit`` is given beside an entropy model: the schedule of its optimiser ends where these steps do.
RECIPE: dict[str, Any] = {"steps": 600, "batch_size": 256, "validation": 0.1, "every": 20}


class Grid(NamedTuple):
    """The map ``k = round((x - offset) / cell)``, for each column (the last axis).

    Attributes:
        offset: ``(d,)``.
        cell: ``(d,)``, positive.
    """

    offset: Array
    cell: Array

    def __call__(self, x: Array) -> Array:
        """Whole numbers of the shape and dtype of x."""
        wide = (1,) * (x.ndim - 1) + (-1,)
        return jnp.round((x - self.offset.reshape(wide)) / self.cell.reshape(wide))


def grid(x: Array, weight: Any = None, *, step: float = 0.25, units: Units = "standard") -> Grid:
    """The grid of features: cells of ``step`` standard deviations around their mean, or of ``step`` in their own unit.

    Args:
        x: features ``(n, ..., d)``, floating; the columns are those of the last axis.
        weight: ``(n,)`` non-negative, not all zero; None means all ones.
        step: width of a cell.
        units: ``"standard"`` reads mean and standard deviation of each column off the samples (a constant column keeps
            its unit); ``"raw"`` takes the offset 0 and the cell ``step``: with 1, whole numbers stay as they are.

    Returns:
        A ``Grid``, in the dtype of x. Works under jit and vmap.

    Raises:
        ValueError: a step that is not positive, unknown units.

    Example:
        >>> x = jnp.array([[0.0], [2.0], [4.0]])
        >>> print(grid(x, step=0.5)(x)[:, 0], grid(x, step=1.0, units="raw")(x)[:, 0])
        [-2.  0.  2.] [0. 2. 4.]
    """
    check_grid(step, units)
    if units == "raw":
        return Grid(jnp.zeros(x.shape[-1], x.dtype), jnp.full(x.shape[-1], step, x.dtype))
    seen = whitening(flat(x), spread(weight, x), mode="columns")
    return Grid(seen.mean, seen.scale * step)


def check_grid(step: float, units: Units) -> None:
    """Refuse what no grid has, with a ValueError.

    Args:
        step: width of a cell.
        units: ``"standard"`` or ``"raw"``.
    """
    _checks.require(step > 0, f"step is {step}; expected a positive width of cells: 0.25 standard deviations, say")
    _checks.require(units in UNITS, f"units is {units!r}; expected one of {UNITS}")


def flat(x: Array) -> Array:
    """Rows of columns.

    Args:
        x: ``(n, ..., d)``.

    Returns:
        ``(n x ..., d)``.
    """
    return x.reshape(-1, x.shape[-1])


def spread(weight: Any, x: Array) -> Any:
    """The weights of samples, for the rows of ``flat``.

    Args:
        weight: ``(n,)`` or None.
        x: ``(n, ..., d)``.

    Returns:
        ``(n x ...,)``; None for None.
    """
    return None if weight is None else jnp.repeat(jnp.asarray(weight), flat(x).shape[0] // x.shape[0])


class Read(NamedTuple):
    """What entropy models read off the samples: the grid, and what standardises the symbols."""

    grid: Grid
    seen: Whitening


def symbols(x: Array, weight: Any, step: float, units: Units) -> tuple[Array, Read]:
    """The symbols of features, and how they were made.

    Args:
        x: ``(n, d)``.
        weight: ``(n,)`` or None.
        step: width of a cell.
        units: see ``grid``.

    Returns:
        Symbols ``(n, d)``, and the grid with what standardises them.
    """
    own = grid(x, weight, step=step, units=units)
    k = own(x)
    return k, Read(own, whitening(k, weight, mode="columns"))


def straight_through(x: Array) -> Array:
    """``round(x)``, whose derivative is taken to be 1.

    Args:
        x: any array.

    Returns:
        Whole numbers of its shape.

    Example:
        >>> print(straight_through(1.2), jax.grad(straight_through)(1.2))
        1.0 1.0
    """
    return x + jax.lax.stop_gradient(jnp.round(x) - x)


def _softplus(x: Array) -> Array:
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


def log_logistic_cell(upper: Array, width: Array) -> Array:
    """``log(sigma(u) - sigma(u - w))``, by ``sigma(u) - sigma(l) = sigma(u) sigma(-l) (1 - exp(l - u))``.

    A product: nothing cancels, so it is exact in both tails and for cells of any width.

    Args:
        upper: u, any shape.
        width: w > 0, the same shape.

    Returns:
        Logarithms of that shape, nats.

    Example:
        >>> print([f"{value:.2f}" for value in log_logistic_cell(jnp.array([-1e4, 0.5, 1e4]), jnp.ones(3))])
        ['-10000.46', '-1.41', '-9999.46']
    """
    return jnp.log(-jnp.expm1(-width)) - _softplus(-upper) - _softplus(upper - width)


def log_normal_cell(centre: Array, half: Array) -> Array:
    """``log(Phi(c + h) - Phi(c - h))``, both ends in the lower tail, where differences of logarithms are exact.

    Args:
        centre: c, the middle of the cell in standard deviations, any shape.
        half: h > 0, half its width, the same shape.

    Returns:
        Logarithms of that shape, nats.

    Example:
        >>> print(log_normal_cell(jnp.array([0.0, 40.0]), jnp.array([0.5, 0.5])).round(2))
        [  -0.96 -784.72]
    """
    below = -jnp.abs(centre)
    high = jax.scipy.special.log_ndtr(below + half)
    low = jax.scipy.special.log_ndtr(below - half)
    return high + jnp.log(-jnp.expm1(low - high))


# What comes in


def check_fields(of: str | Sequence[str], given: str | Sequence[str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the fields that are coded and of those that are known; a ValueError where they overlap.

    Args:
        of: one field of ``Samples`` or several.
        given: likewise; None for none.

    Returns:
        Two tuples of names.
    """
    coded = (of,) if isinstance(of, str) else tuple(of)
    known = () if given is None else (given,) if isinstance(given, str) else tuple(given)
    fields = Samples._fields[:3]
    _checks.require(
        len(coded) > 0 and set(coded + known) <= set(fields) and len(set(coded + known)) == len(coded + known),
        f"of is {of!r}, given {given!r}; expected different ones of {fields}: of='x1' or of=('x1', 'x2')",
    )
    return coded, known


def field(samples: Samples, name: str) -> Array:
    """One field, as it is; a ValueError where there is none.

    Args:
        samples: any.
        name: of the field.

    Returns:
        The array.
    """
    x = getattr(samples, name)
    _checks.require(x is not None, f"the samples have no {name}, which this model reads; expected Samples({name}=...)")
    return jnp.asarray(x)


def columns(samples: Samples, names: tuple[str, ...], units: Units) -> Array:
    """The features of some fields side by side, floating.

    Args:
        samples: fields ``(n, ...)``.
        names: of the fields, in this order.
        units: see ``grid``.

    Returns:
        ``(n, d)``.
    """
    parts = [floating(field(samples, name), name, units) for name in names]
    return jnp.concatenate([x.reshape(x.shape[0], -1) for x in parts], 1)


def floating(x: Array, name: str, units: Units) -> Array:
    """Features as floating numbers; whole numbers only where the units are their own, else a TypeError.

    Args:
        x: any shape.
        name: what the message calls them.
        units: see ``grid``.

    Returns:
        The features, of that shape.
    """
    if jnp.issubdtype(x.dtype, jnp.floating):
        return x
    _checks.require(
        units == "raw",
        f"{name} has dtype {x.dtype}: whole numbers are coded as they are with step=1, units='raw'; for measurements "
        "there is .astype(float)",
        TypeError,
    )
    return x.astype(jnp.zeros(()).dtype)


def default_optimiser(learning_rate: float, steps: int) -> optax.GradientTransformation:
    """Adam along a cosine, all parameters in one array: that compiles and runs faster than many.

    Args:
        learning_rate: the first one.
        steps: after which it is 0.

    Returns:
        The optimiser.
    """
    _checks.require(steps >= 1, f"steps is {steps}; expected at least 1")
    return optax.flatten(optax.adam(optax.cosine_decay_schedule(learning_rate, steps)))
