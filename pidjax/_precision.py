"""Answers in kind: the one place that decides in which precision, and as what, an eager call answers."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["in_own_precision", "is_traced"]

P = ParamSpec("P")
T = TypeVar("T")


def is_traced(*trees: Any) -> bool:
    """True when any leaf is being traced (jit, vmap, grad), so that its value can't be looked at."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(trees))


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) or leaf.dtype == np.uint32


def _to_numpy(leaf: Any) -> Any:
    """A jax array as NumPy, scalars as NumPy scalars (which can be formatted); anything else as it is."""
    return np.asarray(leaf)[()] if isinstance(leaf, jax.Array) and not _is_key(leaf) else leaf


def in_own_precision(function: Callable[P, T]) -> Callable[P, T]:
    """NumPy in, NumPy out, in NumPy's precision; jax arrays and anything traced as jax does.

    An eager call on NumPy arrays (random keys aside) runs with float64 at hand for its own length, whatever the
    user's ``jax_enable_x64``, and answers in NumPy: a float64 jax array outside of that flag would be truncated,
    with a warning, by the first arithmetic on it. Inside a jit such a call is a constant, computed at trace time.

    Args:
        function: of arrays and pytrees, written in jax.

    Returns:
        The same function, of either kind of array.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        arrays = [leaf for leaf in jax.tree.leaves((args, kwargs)) if hasattr(leaf, "dtype")]
        from_jax = any(isinstance(leaf, jax.Array) and not _is_key(leaf) for leaf in arrays)
        if from_jax or is_traced(arrays):
            return function(*args, **kwargs)
        # Only inside a jit, where constants are traced too: elsewhere it would compile each of a program's own apart.
        within = jax.ensure_compile_time_eval() if is_traced(jnp.zeros(())) else contextlib.nullcontext()
        with within, jax.enable_x64(True):
            return jax.tree.map(_to_numpy, function(*args, **kwargs))

    return call
